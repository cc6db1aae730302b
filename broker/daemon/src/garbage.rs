//! Blobs, whole or partial, that nothing refers to any more.

use std::collections::BTreeSet;

use broker_core::Broker;
use capability::BlobHash;
use mesh_shell::Storage;
use mesh_store::BlobError;

/// What is in the store.
#[derive(Debug)]
pub struct Stored {
    blobs: Vec<Found>,
    partials: Vec<Found>,
}

type Found = (blake3::Hash, u64);

impl Stored {
    /// Walks the directories, which takes a while when they are large.
    pub fn list(storage: &Storage) -> Result<Self, BlobError> {
        let blobs = storage.blobs();
        Ok(Self { blobs: blobs.list()?, partials: blobs.partials()? })
    }
}

/// What was found unreferred to the last time.
///
/// A blob comes before the statement that refers to it, and a partial one may be gone on with, so
/// they go only when they are found twice.
#[derive(Debug, Default)]
pub struct Garbage {
    blobs: BTreeSet<[u8; 32]>,
    partials: BTreeSet<[u8; 32]>,
}

impl Garbage {
    /// Removes of what is `stored` what nothing has referred to since the last time.
    pub fn collect(&mut self, stored: &Stored, broker: &Broker, storage: &Storage) {
        if let Err(error) = self.try_collect(stored, &broker.kept_blobs(), storage) {
            tracing::warn!(%error, "blobs that nothing refers to were not removed");
        }
    }

    fn try_collect(
        &mut self,
        stored: &Stored,
        kept: &BTreeSet<BlobHash>,
        storage: &Storage,
    ) -> Result<(), BlobError> {
        let blobs = storage.blobs();
        for (hash, size) in found_again(&mut self.blobs, &stored.blobs, kept) {
            blobs.remove(&hash)?;
            tracing::debug!(%hash, size, "blob that nothing refers to removed");
        }
        for (hash, size) in found_again(&mut self.partials, &stored.partials, kept) {
            match blobs.resume(&hash, size) {
                Ok(partial) => partial.discard()?,
                // It is still arriving.
                Err(BlobError::Busy { .. }) => continue,
                Err(error) => return Err(error),
            }
            tracing::debug!(%hash, size, "partial blob that nothing refers to removed");
        }
        Ok(())
    }
}

/// Those of `found` that are not kept and are among the `suspects` already; the others become the
/// suspects of the next time.
fn found_again(
    suspects: &mut BTreeSet<[u8; 32]>,
    found: &[Found],
    kept: &BTreeSet<BlobHash>,
) -> Vec<Found> {
    let loose = found
        .iter()
        .copied()
        .filter(|(hash, _)| !kept.contains(&BlobHash::from_bytes(*hash.as_bytes())));
    let (again, fresh): (Vec<_>, Vec<_>) =
        loose.partition(|(hash, _)| suspects.contains(hash.as_bytes()));
    *suspects = fresh.iter().map(|(hash, _)| *hash.as_bytes()).collect();
    again
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_goes_when_nothing_has_referred_to_it_twice() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = Storage::open(directory.path(), 1 << 20).expect("opened");
        let store = |bytes: &[u8]| {
            let mut writer = storage.blobs().create(1 << 10).expect("room");
            writer.append(bytes).expect("appended");
            writer.finish(None).expect("stored").0
        };
        let (package, litter) = (store(b"package"), store(b"litter"));
        let kept = [BlobHash::from_bytes(*package.as_bytes())].into();

        let mut garbage = Garbage::default();
        let mut collect = || {
            let stored = Stored::list(&storage).expect("listed");
            garbage.try_collect(&stored, &kept, &storage).expect("collected");
        };
        collect();
        assert!(storage.blobs().has(&litter).expect("read").is_some(), "it may just have come");
        collect();
        assert!(storage.blobs().has(&litter).expect("read").is_none());
        assert!(storage.blobs().has(&package).expect("read").is_some());
    }

    #[test]
    fn a_partial_blob_goes_when_it_is_abandoned_and_not_while_it_arrives() {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = Storage::open(directory.path(), 1 << 20).expect("opened");
        let (abandoned, arriving) = (blake3::hash(b"abandoned"), blake3::hash(b"arriving"));
        let arrive = |hash| {
            let partial = storage.blobs().resume(hash, 100).expect("room");
            partial.file().set_len(10).expect("written");
            partial
        };
        drop(arrive(&abandoned));
        let open = arrive(&arriving);

        let mut garbage = Garbage::default();
        let mut collect = || {
            let stored = Stored::list(&storage).expect("listed");
            garbage.try_collect(&stored, &BTreeSet::new(), &storage).expect("collected");
            storage.blobs().partials().expect("listed").len()
        };
        assert_eq!(collect(), 2, "it may be gone on with");
        assert_eq!(collect(), 1);
        assert_eq!(storage.blobs().used(), 100, "of the one that is open");
        drop(open);
        assert_eq!((collect(), collect()), (1, 0));
    }
}
