//! What holds for the sled engine in particular: its files, damage to them, exports, and a model.

#[path = "support/noise.rs"]
mod noise;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::Path;

use mesh_core::Write;
use mesh_store::{ImportError, MAX_VALUE, Options, Records, SledStore, Store, StoreError};
use proptest::prelude::*;

use self::noise::noise;

#[test]
fn its_directory_is_private() {
    let temp = temp();
    let dir = temp.path().join("state/records");

    let _store = open(&dir);

    assert_eq!(dir.metadata().expect("it exists").permissions().mode() & 0o777, 0o700);
}

#[test]
fn records_of_the_largest_size_stay_in_the_synced_file() {
    let temp = temp();
    let store = open(temp.path());

    for round in 0..4_u8 {
        for key in 0..60_u8 {
            let value = noise(u64::from(round) << 8 | u64::from(key), MAX_VALUE);
            store.commit(vec![Write::put([key], value)]).expect("durable");
        }
    }

    let outside = fs::read_dir(temp.path().join("blobs")).expect("sled made it").count();
    assert_eq!(outside, 0, "sled does not sync these files");
}

#[test]
fn garbage_in_place_of_the_file_is_damage() {
    let temp = filled();
    let path = temp.path().join("db");
    let length = fs::metadata(&path).expect("it exists").len();
    let garbage: Vec<u8> =
        (0..length).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    fs::write(&path, garbage).expect("written");

    assert_damaged(temp.path());
}

#[test]
fn a_missing_file_is_damage() {
    let temp = filled();
    fs::remove_file(temp.path().join("db")).expect("removed");

    assert_damaged(temp.path());
}

#[test]
fn an_emptied_file_is_damage() {
    let temp = filled();
    OpenOptions::new().write(true).truncate(true).open(temp.path().join("db")).expect("truncated");

    assert_damaged(temp.path());
}

#[test]
fn garbage_at_the_beginning_is_damage() {
    let temp = filled();
    let file = OpenOptions::new().write(true).open(temp.path().join("db")).expect("opened");
    file.write_all_at(&[0xa5; 64 * 1024], 0).expect("written");

    assert_damaged(temp.path());
}

#[test]
fn a_damaged_store_is_rebuilt_from_its_export() {
    let temp = temp();
    let (dir, backup) = (temp.path().join("store"), temp.path().join("backup"));
    let store = open(&dir);
    let writes = (0..5_000_u16).map(|n| Write::put(n.to_be_bytes(), vec![7; usize::from(n) % 300]));
    store.commit(writes.collect()).expect("durable");
    let before = contents(&store);
    assert_eq!(store.export(&backup).expect("exported"), 5_000);
    store.close();

    let refused = import(&dir, &backup).expect_err("not on top of another");
    assert!(matches!(refused, ImportError::NotEmpty { .. }), "{refused:?}");
    fs::rename(&dir, temp.path().join("aside")).expect("moved aside");
    let records = import(&dir, &backup).expect("rebuilt");

    assert_eq!(records, 5_000);
    assert_eq!(contents(&open(&dir)), before);
    assert_eq!(names(temp.path()), ["aside", "backup", "store"], "nothing is left behind");
}

#[test]
fn an_import_has_its_marks_from_the_beginning() {
    let temp = temp();
    let (dir, backup) = (temp.path().join("store"), temp.path().join("backup"));
    let store = open(&dir);
    store.commit(vec![Write::put("a", "1"), Write::put("b", "2")]).expect("durable");
    store.export(&backup).expect("exported");
    store.close();
    let (rebuilt, marks) = (temp.path().join("rebuilt"), vec![Write::put("mark", "now")]);
    let records =
        SledStore::import(&rebuilt, &backup, marks, &Options::default()).expect("rebuilt");
    assert_eq!(records, 2, "the marks are no part of the export");
    assert_eq!(open(&rebuilt).get(b"mark").expect("read"), Some(b"now".to_vec()));
}

#[test]
fn an_export_that_was_changed_or_cut_is_refused_and_leaves_no_store() {
    let temp = temp();
    let (dir, backup) = (temp.path().join("store"), temp.path().join("backup"));
    let store = open(&dir);
    store.commit(vec![Write::put("a", "1"), Write::put("b", "2")]).expect("durable");
    store.export(&backup).expect("exported");
    let whole = fs::read(&backup).expect("read");
    let mut wrong: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    wrong.extend((0..whole.len()).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        flipped
    }));
    wrong.push([&whole[..], b"x"].concat());

    for (case, bytes) in wrong.into_iter().enumerate() {
        let (path, rebuilt) = (temp.path().join("wrong"), temp.path().join("rebuilt"));
        fs::write(&path, bytes).expect("written");
        let refused = import(&rebuilt, &path);
        assert!(matches!(refused, Err(ImportError::Damaged { .. })), "case {case}: {refused:?}");
        assert_eq!(fs::read_dir(&rebuilt).expect("left empty").count(), 0, "case {case}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn it_equals_a_map(steps in prop::collection::vec(step(), 1..40)) {
        let temp = temp();
        let mut store = open(temp.path());
        let mut model = BTreeMap::new();
        for step in steps {
            match step {
                Step::Commit(writes) => {
                    writes.iter().for_each(|write| apply(&mut model, write));
                    store.commit(writes).expect("durable");
                }
                Step::Reopen => {
                    store.close();
                    store = open(temp.path());
                }
                Step::Scan(prefix) => {
                    let expected = model.range(prefix.clone()..).take_while(|(key, _)| key.starts_with(&prefix));
                    let expected: Vec<_> = expected.map(|(key, value)| (key.clone(), value.clone())).collect();
                    let found: Result<Vec<_>, _> = Records::new(&store, prefix).collect();
                    prop_assert_eq!(found.expect("read"), expected);
                }
            }
        }
        prop_assert_eq!(contents(&store), model);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Commit(Vec<Write>),
    Reopen,
    Scan(Vec<u8>),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop::collection::vec(0..4_u8, 0..4);
    let value = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 0..64),
        1 => (any::<u8>(), 1_000..=MAX_VALUE).prop_map(|(byte, length)| vec![byte; length]),
        1 => (any::<u64>(), 1_000..=MAX_VALUE).prop_map(|(seed, length)| noise(seed, length)),
    ];
    let write = prop_oneof![
        3 => (key(), value).prop_map(|(key, value)| Write::Put { key, value }),
        1 => key().prop_map(|key| Write::Delete { key }),
    ];
    prop_oneof![
        8 => prop::collection::vec(write, 0..20).prop_map(Step::Commit),
        1 => Just(Step::Reopen),
        2 => key().prop_map(Step::Scan),
    ]
}

fn apply(model: &mut BTreeMap<Vec<u8>, Vec<u8>>, write: &Write) {
    match write {
        Write::Put { key, value } => model.insert(key.clone(), value.clone()),
        Write::Delete { key } => model.remove(key),
    };
}

/// A directory with a closed store of some records.
fn filled() -> tempfile::TempDir {
    let temp = temp();
    let store = open(temp.path());
    for n in 0..100_u8 {
        store.commit(vec![Write::put([n], noise(n.into(), 1_000))]).expect("durable");
    }
    store.close();
    temp
}

fn assert_damaged(dir: &Path) {
    let error = SledStore::open(dir, &Options::default()).err().expect("it does not open");
    assert!(matches!(&error, StoreError::Corrupt { dir: named, .. } if named == dir), "{error:?}");
    let message = error.to_string();
    assert!(message.contains("move that directory aside"), "{message}");
}

fn open(dir: &Path) -> SledStore {
    SledStore::open(dir, &Options::default()).expect("opens")
}

fn contents(store: &SledStore) -> BTreeMap<Vec<u8>, Vec<u8>> {
    Records::new(store, []).map(|record| record.expect("read")).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let entries =
        fs::read_dir(dir).expect("listed").map(|entry| entry.expect("listed").file_name());
    let mut names: Vec<String> = entries.map(|name| name.into_string().expect("ASCII")).collect();
    names.sort();
    names
}

fn temp() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

fn import(dir: &Path, export: &Path) -> Result<u64, ImportError> {
    SledStore::import(dir, export, Vec::new(), &Options::default())
}
