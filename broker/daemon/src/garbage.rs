//! Blobs that nothing refers to any more.

use std::collections::BTreeSet;

use broker_core::Broker;
use capability::BlobHash;
use mesh_shell::Storage;
use mesh_store::BlobError;

/// What was found unreferred to the last time.
///
/// A blob comes before the statement that refers to it, so it goes only when it is found twice.
#[derive(Debug, Default)]
pub struct Garbage {
    suspects: BTreeSet<[u8; 32]>,
}

impl Garbage {
    /// Removes what nothing has referred to since the last time.
    pub fn collect(&mut self, broker: &Broker, storage: &Storage) {
        if let Err(error) = self.try_collect(&broker.kept_blobs(), storage) {
            tracing::warn!(%error, "blobs that nothing refers to were not removed");
        }
    }

    fn try_collect(
        &mut self,
        kept: &BTreeSet<BlobHash>,
        storage: &Storage,
    ) -> Result<(), BlobError> {
        let blobs = storage.blobs();
        let mut suspects = BTreeSet::new();
        for (hash, size) in blobs.list()? {
            let bytes = *hash.as_bytes();
            if kept.contains(&BlobHash::from_bytes(bytes)) {
                continue;
            }
            if self.suspects.contains(&bytes) {
                blobs.remove(&hash)?;
                tracing::debug!(%hash, size, "blob that nothing refers to removed");
            } else {
                suspects.insert(bytes);
            }
        }
        self.suspects = suspects;
        Ok(())
    }
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
        garbage.try_collect(&kept, &storage).expect("collected");
        assert!(storage.blobs().has(&litter).expect("read").is_some(), "it may just have come");
        garbage.try_collect(&kept, &storage).expect("collected");
        assert!(storage.blobs().has(&litter).expect("read").is_none());
        assert!(storage.blobs().has(&package).expect("read").is_some());
    }
}
