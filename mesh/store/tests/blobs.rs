//! Blobs: written, found, refused, resumed, counted.

use std::fs::{self, File};
use std::io::{Read, Write as _};
use std::os::unix::fs::{FileExt, symlink};
use std::path::Path;

use blake3::Hash;
use mesh_store::{BlobError, BlobStore};

const QUOTA: u64 = 1_000;

#[test]
fn a_blob_is_found_by_its_hash_and_survives_reopening() {
    let temp = temp();
    let store = open(temp.path());
    let mut writer = store.create(QUOTA).expect("created");
    writer.append(b"hello ").expect("written");
    writer.write_all(b"world").expect("written");

    let (hash, size) = writer.finish(Some(&blake3::hash(b"hello world"))).expect("finished");

    assert_eq!((hash, size), (blake3::hash(b"hello world"), 11));
    drop(store);
    let store = open(temp.path());
    assert_eq!(store.has(&hash).expect("looked"), Some(11));
    assert_eq!(content(&store, &hash), b"hello world");
    assert_eq!(store.list().expect("listed"), [(hash, 11)]);
    assert_eq!(store.used(), 11);
    let hex = hash.to_hex();
    assert_eq!(store.path(&hash), temp.path().join(&hex[..2]).join(&hex[2..4]).join(hex.as_str()));
}

#[test]
fn other_bytes_than_announced_leave_nothing() {
    let temp = temp();
    let store = open(temp.path());
    let mut writer = store.create(QUOTA).expect("created");
    writer.append(b"forged").expect("written");

    let refused = writer.finish(Some(&blake3::hash(b"genuine"))).expect_err("refused");

    assert!(matches!(refused, BlobError::Mismatch { .. }), "{refused:?}");
    assert_empty(&store, temp.path());
}

#[test]
fn a_dropped_writer_leaves_nothing() {
    let temp = temp();
    let store = open(temp.path());
    let mut writer = store.create(QUOTA).expect("created");
    writer.append(b"half").expect("written");
    assert_eq!(store.used(), 4);

    drop(writer);

    assert_empty(&store, temp.path());
}

#[test]
fn a_writer_stops_at_its_limit() {
    let temp = temp();
    let store = open(temp.path());
    let mut writer = store.create(5).expect("created");
    writer.append(b"12345").expect("written");

    let refused = writer.append(b"6").expect_err("refused");

    assert!(matches!(refused, BlobError::TooLarge { limit: 5 }), "{refused:?}");
    assert_eq!(writer.finish(None).expect("the rest is kept").1, 5);
}

#[test]
fn the_quota_counts_what_is_being_written() {
    let temp = temp();
    let store = open(temp.path());
    let mut first = store.create(QUOTA).expect("created");
    first.append(&[1; 600]).expect("written");
    let mut second = store.create(QUOTA).expect("created");

    let refused = second.append(&[2; 401]).expect_err("refused");

    assert!(
        matches!(refused, BlobError::Full { needed: 401, free: 400, quota: QUOTA }),
        "{refused:?}"
    );
    drop(first);
    second.append(&[2; 401]).expect("the space is free again");
}

#[test]
fn the_same_blob_counts_once() {
    let temp = temp();
    let store = open(temp.path());

    let first = store_bytes(&store, &[7; 400]);
    let second = store_bytes(&store, &[7; 400]);

    assert_eq!(first, second);
    assert_eq!(store.used(), 400);
    assert_eq!(files(&temp.path().join("tmp")), 0);
}

#[test]
fn a_removed_blob_is_gone_and_its_space_free() {
    let temp = temp();
    let store = open(temp.path());
    let hash = store_bytes(&store, &[7; 400]);
    let mut open_before = store.read(&hash).expect("opened");

    assert!(store.remove(&hash).expect("removed"));

    assert!(!store.remove(&hash).expect("no error"));
    assert!(matches!(store.read(&hash), Err(BlobError::Absent { .. })));
    assert_eq!(open_before.read_to_end(&mut Vec::new()).expect("still readable"), 400);
    assert_empty(&store, temp.path());
}

#[test]
fn adopting_copies_regular_files_only() {
    let (temp, outside) = (temp(), temp());
    let store = open(temp.path());
    let (file, link) = (outside.path().join("file"), outside.path().join("link"));
    fs::write(&file, [3; 300]).expect("written");
    symlink(&file, &link).expect("linked");

    let (hash, size) = store.adopt(&file, QUOTA).expect("adopted");
    fs::write(&file, [4; 300]).expect("changed afterwards");

    assert_eq!((hash, size), (blake3::hash(&[3; 300]), 300));
    assert_eq!(content(&store, &hash), [3; 300]);
    assert!(matches!(store.adopt(&link, QUOTA), Err(BlobError::Io { .. })));
    assert!(matches!(store.adopt(outside.path(), QUOTA), Err(BlobError::NotAFile { .. })));
    assert!(matches!(store.adopt(&file, 299), Err(BlobError::TooLarge { limit: 299 })));
    assert_eq!(store.used(), 300);
}

#[test]
fn leftovers_are_removed_at_the_start() {
    let temp = temp();
    drop(open(temp.path()));
    fs::write(temp.path().join("tmp/leftover"), b"of a crash").expect("written");

    let store = open(temp.path());

    assert_empty(&store, temp.path());
}

#[test]
fn a_second_handle_on_the_directory_is_refused() {
    let temp = temp();
    let store = open(temp.path());

    assert!(matches!(BlobStore::open(temp.path(), QUOTA), Err(BlobError::InUse { .. })));

    drop(store);
    open(temp.path());
}

#[test]
fn a_partial_blob_goes_on_after_a_restart() {
    let temp = temp();
    let store = open(temp.path());
    let bytes: Vec<u8> = (0..=255).collect();
    let hash = blake3::hash(&bytes);
    let partial = store.resume(&hash, 256).expect("opened");
    assert_eq!((partial.present(), store.used()), (0, 256));
    partial.file().write_all_at(&bytes[..100], 0).expect("written");
    assert!(matches!(store.resume(&hash, 256), Err(BlobError::Busy { .. })));
    drop(partial);
    assert_eq!(store.used(), 100);
    drop(store);

    let store = open(temp.path());
    assert_eq!((store.used(), store.partials().expect("listed")), (100, vec![(hash, 100)]));
    let partial = store.resume(&hash, 256).expect("opened");
    assert_eq!((partial.present(), store.used()), (100, 256));
    partial.file().write_all_at(&bytes[200..], 200).expect("written");
    partial.file().write_all_at(&bytes[100..200], 100).expect("written");
    partial.finish().expect("complete");

    assert_eq!(content(&store, &hash), bytes);
    assert_eq!((store.used(), store.partials().expect("listed")), (256, vec![]));
}

#[test]
fn a_partial_blob_is_judged_by_its_bytes() {
    let temp = temp();
    let store = open(temp.path());
    let hash = blake3::hash(&[1; 50]);
    let short = store.resume(&hash, 50).expect("opened");
    short.file().write_all_at(&[1; 49], 0).expect("written");
    assert!(matches!(short.finish(), Err(BlobError::Incomplete { expected: 50, found: 49, .. })));
    assert_eq!(store.used(), 49);

    let wrong = store.resume(&hash, 50).expect("opened");
    wrong.file().write_all_at(&[2; 50], 0).expect("written");

    assert!(matches!(wrong.finish(), Err(BlobError::Mismatch { .. })));
    assert_empty(&store, temp.path());
}

#[test]
fn a_partial_blob_takes_no_more_than_the_quota() {
    let temp = temp();
    let store = open(temp.path());
    let hash = blake3::hash(b"large");

    assert!(matches!(store.resume(&hash, QUOTA + 1), Err(BlobError::Full { .. })));
    assert_eq!(store.partials().expect("listed"), [], "nothing came of it");
    assert_eq!(store.used(), 0);

    let overrun = store.resume(&hash, 10).expect("opened");
    overrun.file().write_all_at(&[0; 500], 0).expect("written");
    drop(overrun);
    assert_eq!(store.used(), 10);
    store.resume(&hash, 10).expect("opened").discard().expect("discarded");
    assert_empty(&store, temp.path());
}

#[test]
fn what_was_broken_off_makes_room_for_what_arrives() {
    let temp = temp();
    let store = open(temp.path());
    let arrive = |name: &[u8], bytes: usize| {
        let partial = store.resume(&blake3::hash(name), 600).expect("room");
        partial.file().write_all_at(&vec![0; bytes], 0).expect("written");
        partial
    };
    drop(arrive(b"broken off", 500));
    assert_eq!(store.used(), 500);
    let under_way = arrive(b"under way", 10);
    assert_eq!((store.used(), store.partials().expect("listed").len()), (600, 1));

    let refused = store.resume(&blake3::hash(b"third"), 600);
    assert!(matches!(refused, Err(BlobError::Full { .. })), "what arrives is left alone");
    drop(under_way);
    store.create(QUOTA).expect("created").append(&[1; 995]).expect("it made room too");
}

#[test]
fn blobs_leave_of_the_disk_what_records_need() {
    let temp = temp();
    let store = open(temp.path()).keeping_free(u64::MAX);
    let refused = store.create(QUOTA).expect("created").append(b"1").expect_err("no room");
    assert!(matches!(refused, BlobError::DiskFull { needed: 1, free: 0 }), "{refused:?}");
    let refused = store.resume(&blake3::hash(b"1"), 1);
    assert!(matches!(refused, Err(BlobError::DiskFull { .. })));
    assert_empty(&store, temp.path());
}

#[cfg(target_os = "linux")]
#[test]
fn a_partial_blob_has_its_disk_space_from_the_beginning_and_gives_back_what_it_does_not_use() {
    use std::os::unix::fs::MetadataExt;
    const SIZE: u64 = 1 << 20;
    let temp = temp();
    let store = BlobStore::open(temp.path(), SIZE).expect("opens");
    let partial = store.resume(&blake3::hash(b"large"), SIZE).expect("room");
    let on_disk = |file: &File| file.metadata().expect("inspected").blocks() * 512;
    assert!(on_disk(partial.file()) >= SIZE, "the file system of the tests can do that");
    partial.file().write_all_at(&[1; 100], 0).expect("written");
    let file = partial.file().try_clone().expect("a second handle");
    drop(partial);
    assert!(on_disk(&file) < SIZE / 2);
    assert_eq!(file.metadata().expect("inspected").len(), 100);
}

fn open(root: &Path) -> BlobStore {
    BlobStore::open(root, QUOTA).expect("opens")
}

fn store_bytes(store: &BlobStore, bytes: &[u8]) -> Hash {
    let mut writer = store.create(QUOTA).expect("created");
    writer.append(bytes).expect("written");
    writer.finish(None).expect("finished").0
}

fn content(store: &BlobStore, hash: &Hash) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file: File = store.read(hash).expect("here");
    file.read_to_end(&mut bytes).expect("read");
    bytes
}

fn assert_empty(store: &BlobStore, root: &Path) {
    assert_eq!(store.used(), 0);
    assert_eq!(store.list().expect("listed"), []);
    assert_eq!((files(&root.join("tmp")), files(&root.join("partial"))), (0, 0));
}

fn files(dir: &Path) -> usize {
    fs::read_dir(dir).expect("listed").count()
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
