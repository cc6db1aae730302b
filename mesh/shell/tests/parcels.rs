//! Parcels between files and blob stores.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::io::Read;

use capability::statements::Succession;
use capability::{BlobHash, Envelope, SecretKey, Signer, Timestamp, Verified};
use mesh_shell::{ParcelFailed, ParcelFile, ParcelWriter, Unpacked, copy_parcel, open_blob};
use mesh_store::BlobStore;

fn statement() -> Envelope {
    let key = |seed| SecretKey::from_seed(&[seed; 32]);
    let payload = Succession { successor: key(2).public(), expires: Timestamp(1) };
    Verified::sign(payload, &key(1)).envelope().clone()
}

/// Larger than what is read at a time.
fn content() -> Vec<u8> {
    (0..200_000_u32).flat_map(u32::to_be_bytes).collect()
}

fn parcel(content: &[u8], named: BlobHash) -> Vec<u8> {
    let mut file = Vec::new();
    let mut parcel = ParcelWriter::new(&mut file).unwrap();
    parcel.statements(&[statement()]).unwrap();
    parcel.blob(named, content.len() as u64, content).unwrap();
    parcel.finish().unwrap();
    file
}

/// Takes all blobs of `file`, which are named by its statements, into `blobs`.
fn take(file: &[u8], named: BlobHash, blobs: &BlobStore) -> Result<usize, ParcelFailed> {
    let (mut parcel, mut statements) = (ParcelFile::new(file), 0);
    while let Some(next) = parcel.unpack_next()? {
        match next {
            Unpacked::Statements(list) => {
                statements += list.len();
                parcel.expect(named, content().len() as u64);
            }
            Unpacked::Blob { size, .. } => parcel.take_blob(size, blobs)?,
        }
    }
    Ok(statements)
}

#[test]
fn a_blob_comes_into_the_store_whole_and_as_it_is_named_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = BlobStore::open(directory.path(), 1 << 20).unwrap();
    let (content, hash) = (content(), BlobHash::of(&content()));
    let size = content.len() as u64;

    let broken_off = &parcel(&content, hash)[..content.len() / 2];
    assert!(take(broken_off, hash, &blobs).unwrap_err().to_string().contains("end is missing"));
    let mut damaged = parcel(&content, hash);
    damaged[100_000] ^= 1;
    assert!(take(&damaged, hash, &blobs).unwrap_err().to_string().contains("damaged"));
    assert!(blobs.list().unwrap().is_empty() && blobs.used() == 0, "nothing is left of them");

    assert_eq!(take(&parcel(&content, hash), hash, &blobs).unwrap(), 1);
    let mut kept = Vec::new();
    open_blob(&blobs, hash, size).unwrap().read_to_end(&mut kept).unwrap();
    assert!(kept == content);
    assert!(open_blob(&blobs, hash, size - 1).is_none(), "another blob than was meant");
}

#[test]
fn what_is_copied_is_whole_and_the_same() {
    let (content, hash) = (content(), BlobHash::of(&content()));
    let named = |_: &Envelope| vec![(hash, content.len() as u64)];
    let file = parcel(&content, hash);
    let mut copy = Vec::new();
    copy_parcel(&file[..], &mut copy, named).unwrap();
    assert!(copy == file);
    assert!(copy_parcel(&file[..file.len() - 1], Vec::new(), named).is_err());
    assert!(copy_parcel(&file[..], Vec::new(), |_| Vec::new()).is_err(), "nobody names the blob");
}
