//! What goes out with a result: logs and artifacts, encrypted for the master alone.

use std::io::{self, Read};

use capability::statements::{Blob, BlobPart};
use capability::{BlobHash, BlobKey, EncryptingWriter, KEY_BYTES, encrypted_size};
use mesh_store::{BlobError, BlobStore};

use super::Reins;

/// The blobs of one result, in the order in which its report counts them.
pub struct Outgoing<'a> {
    store: &'a BlobStore,
    /// A paused job stores nothing.
    reins: &'a Reins,
    key: BlobKey,
    blobs: Vec<Blob>,
}

impl<'a> Outgoing<'a> {
    /// None yet; those that come are encrypted with a key of their own.
    pub fn new(store: &'a BlobStore, reins: &'a Reins) -> Result<Self, getrandom::Error> {
        let mut key = [0; KEY_BYTES];
        getrandom::fill(&mut key)?;
        Ok(Self { store, reins, key: BlobKey::from_bytes(key), blobs: Vec::new() })
    }

    /// Stores `size` bytes of `content`, encrypted.
    pub fn add(&mut self, content: impl Read, size: u64) -> Result<BlobPart, BlobError> {
        let index = u32::try_from(self.blobs.len()).expect("a result has at most 320 blobs");
        let file = self.store.create(encrypted_size(size))?;
        let mut encrypting = EncryptingWriter::new(file, self.key, index, size);
        let mut content =
            Hashing { inner: content.take(size), hasher: blake3::Hasher::new(), reins: self.reins };
        let copied = io::copy(&mut content, &mut encrypting);
        let file = copied.and_then(|_| encrypting.finish()).map_err(|source| BlobError::Io {
            attempt: "encrypt what goes with a result into",
            path: "the store".into(),
            source,
        })?;
        let (stored, encrypted) = file.finish(None)?;
        self.blobs.push(Blob { hash: our(stored), size: encrypted });
        Ok(BlobPart { blob: index, size, hash: our(content.hasher.finalize()) })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.blobs.len()
    }

    /// Gives up all but the first `count`; no other will follow them.
    pub fn keep(&mut self, count: usize) -> Vec<BlobHash> {
        self.blobs.split_off(count).into_iter().map(|blob| blob.hash).collect()
    }

    /// The blobs and their key.
    pub fn into_parts(self) -> (Vec<Blob>, BlobKey) {
        (self.blobs, self.key)
    }
}

/// Hashes what is read through it, piece by piece as the job goes on.
struct Hashing<'a, R> {
    inner: R,
    hasher: blake3::Hasher,
    reins: &'a Reins,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // One that was stopped stores what it has, which nobody will need, and is out of the way.
        self.reins.go_on();
        let read = self.inner.read(buffer)?;
        self.hasher.update(&buffer[..read]);
        Ok(read)
    }
}

fn our(hash: blake3::Hash) -> BlobHash {
    BlobHash::from_bytes(*hash.as_bytes())
}
