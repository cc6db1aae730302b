//! Blobs that arrive in pieces, and go on where they stopped.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::Hash;

use crate::blobs::{BlobError, Shared, Space, check, io_error};
use crate::system;

/// Where partial blobs are, each named by the hash that it will have.
pub(crate) const PARTIAL_DIR: &str = "partial";

/// A blob of known hash and size that is still arriving.
///
/// A decoder of a verified stream writes through [`file`](Self::file), at any offset. One that writes
/// from front to back can resume: [`present`](Self::present) says how far the file reached when it was
/// opened. After a crash those bytes may be wrong, and need not be trusted: [`finish`](Self::finish) hashes the
/// whole file, at several gigabytes per second.
///
/// Dropping it keeps what was written, restarts of the process included, until it is resumed or discarded.
/// Its whole size is taken from the quota while it is open, the size of its file afterwards.
pub struct PartialBlob {
    hash: Hash,
    size: u64,
    present: u64,
    path: PathBuf,
    file: File,
    space: Space,
    claim: Claim,
}

impl PartialBlob {
    pub(crate) fn open(shared: &Arc<Shared>, hash: Hash, size: u64) -> Result<Self, BlobError> {
        let claim = Claim::new(shared, hash)?;
        let path = shared.partial_path(&hash);
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let opened = system::make_private(&mut options).open(&path);
        let file = opened.map_err(io_error("open", &path))?;
        let found = file.metadata().map_err(io_error("inspect", &path))?.len();
        // What was there was counted, either when the store was opened or when its writer was dropped.
        let mut space = Space::counted(shared, found);
        if found > size {
            file.set_len(0).map_err(io_error("truncate", &path))?;
            space.shrink_to(0);
        }
        let present = if found > size { 0 } else { found };
        let taken = space
            .grow(size - present)
            .and_then(|()| allocate(&file, present, size).map_err(io_error("make room in", &path)));
        if let Err(full) = taken {
            space.shrink_to(present);
            if present == 0 {
                // There is nothing to go on with, and whoever is refused need not come back.
                fs::remove_file(&path).map_err(io_error("remove", &path))?;
            }
            space.hand_over();
            return Err(full);
        }
        Ok(Self { hash, size, present, path, file, space, claim })
    }

    /// The hash that the complete blob will have.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Bytes of the complete blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Bytes that the file had when it was opened.
    pub fn present(&self) -> u64 {
        self.present
    }

    /// The file, to be written at offsets below [`size`](Self::size), where the quota has room for it.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Makes the blob durable under its hash.
    ///
    /// # Errors
    /// [`BlobError::Incomplete`] keeps what is there; [`BlobError::Mismatch`] removes it.
    pub fn finish(mut self) -> Result<(), BlobError> {
        let found = self.length()?;
        if found != self.size {
            return Err(BlobError::Incomplete { hash: self.hash, expected: self.size, found });
        }
        if let Err(mismatch) = check(&self.rehash()?, &self.hash) {
            self.discard()?;
            return Err(mismatch);
        }
        self.claim.shared.install(&self.path, &self.file, &self.hash, &mut self.space)
    }

    /// Removes what has arrived.
    pub fn discard(mut self) -> Result<(), BlobError> {
        fs::remove_file(&self.path).map_err(io_error("remove", &self.path))?;
        self.space.shrink_to(0);
        Ok(())
    }

    fn rehash(&mut self) -> Result<Hash, BlobError> {
        let read = |file: &mut File| -> io::Result<Hash> {
            file.seek(SeekFrom::Start(0))?;
            Ok(blake3::Hasher::new().update_reader(file)?.finalize())
        };
        read(&mut self.file).map_err(io_error("read", &self.path))
    }

    fn length(&self) -> Result<u64, BlobError> {
        Ok(self.file.metadata().map_err(io_error("inspect", &self.path))?.len())
    }
}

impl Drop for PartialBlob {
    fn drop(&mut self) {
        // If its length cannot be had, its whole size stays counted until the next start.
        let mut length = self.length().unwrap_or(self.size).min(self.size);
        // Also gives back what was allocated behind the end.
        if self.file.set_len(length).is_err() {
            length = self.size;
        }
        self.space.shrink_to(length);
        self.space.hand_over();
    }
}

/// Takes the disk space of bytes `from..to` now, so that what was granted can be written, and nobody is
/// granted it twice. The file does not become longer. Where the file system cannot, it is taken as it
/// is written.
#[cfg(target_os = "linux")]
fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::Errno;
    if from == to {
        return Ok(());
    }
    match fallocate(file, FallocateFlags::KEEP_SIZE, from, to - from) {
        Err(Errno::NOTSUP | Errno::NOSYS) | Ok(()) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(not(target_os = "linux"))]
fn allocate(_: &File, _: u64, _: u64) -> io::Result<()> {
    Ok(())
}

/// The partial blobs that are open.
#[derive(Default)]
pub(crate) struct Partials(Mutex<BTreeSet<[u8; 32]>>);

impl Partials {
    fn lock(&self) -> MutexGuard<'_, BTreeSet<[u8; 32]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The right to write or to remove one partial blob.
pub(crate) struct Claim {
    shared: Arc<Shared>,
    hash: Hash,
}

impl Claim {
    pub(crate) fn new(shared: &Arc<Shared>, hash: Hash) -> Result<Self, BlobError> {
        if shared.partials.lock().insert(*hash.as_bytes()) {
            Ok(Self { shared: Arc::clone(shared), hash })
        } else {
            Err(BlobError::Busy { hash })
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.shared.partials.lock().remove(self.hash.as_bytes());
    }
}
