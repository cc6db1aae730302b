//! Blobs: files named by their BLAKE3 hash, complete or absent, below a quota.
//!
//! A blob is written to `tmp/` and hashed on the way, synced, and renamed to `ab/cd/abcd…` where readers
//! look; then the directory is synced. A crash leaves temporary files, which the next start removes,
//! and [partial blobs](PartialBlob), which it keeps. Space is taken from the quota before a byte is
//! written, and given back when a writer is dropped unfinished.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use blake3::Hash;
use tempfile::NamedTempFile;

use crate::partial::{Claim, PARTIAL_DIR, PartialBlob, Partials};
use crate::{dirs, system};

/// Where blobs are written before they have a name.
const TMP_DIR: &str = "tmp";

const COPY_BYTES: usize = 64 * 1024;

/// A directory of blobs, open in one process at a time. Clones share it.
///
/// The calls block on the disk; an async caller runs them where blocking is allowed.
#[derive(Clone)]
pub struct BlobStore {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    root: PathBuf,
    quota: Quota,
    /// Bytes of the disk that blobs leave free.
    reserve: u64,
    /// Held while a name appears or disappears, so that the quota counts each file once.
    names: Mutex<()>,
    pub(crate) partials: Partials,
    _lock: File,
}

impl BlobStore {
    /// Opens the blobs below `root`, a directory of their own, creating it, closed to others, if it is absent.
    /// Together, blobs, partial blobs and what is being written take at most `quota` bytes.
    ///
    /// Walks the directory once to measure it.
    pub fn open(root: impl Into<PathBuf>, quota: u64) -> Result<Self, BlobError> {
        let root = root.into();
        dirs::create_private(&root).map_err(io_error("create", &root))?;
        let lock = dirs::lock(&root).map_err(|error| match error {
            TryLockError::WouldBlock => BlobError::InUse { root: root.clone() },
            TryLockError::Error(source) => io_error("lock", &root)(source),
        })?;
        empty(&root.join(TMP_DIR))?;
        let partial_dir = root.join(PARTIAL_DIR);
        dirs::create_private(&partial_dir).map_err(io_error("create", &partial_dir))?;
        let shared = Shared {
            partials: Partials::default(),
            root,
            quota: Quota { limit: quota, used: Mutex::new(0) },
            reserve: 0,
            names: Mutex::new(()),
            _lock: lock,
        };
        let store = Self { shared: Arc::new(shared) };
        let found = store.list()?.into_iter().chain(store.partials()?);
        *store.shared.quota.lock() = found.map(|(_, size)| size).sum();
        Ok(store)
    }

    /// Leaves at least `reserve` bytes of the disk free from now on, for records above all: whoever
    /// cannot make those durable must stop. To be called before the store is shared.
    #[must_use]
    pub fn keeping_free(mut self, reserve: u64) -> Self {
        Arc::get_mut(&mut self.shared).expect("nobody else has it yet").reserve = reserve;
        self
    }

    /// The size of the blob `hash` in bytes, if it is here.
    pub fn has(&self, hash: &Hash) -> Result<Option<u64>, BlobError> {
        self.shared.size_of(hash)
    }

    /// Where the blob `hash` is if it is here.
    pub fn path(&self, hash: &Hash) -> PathBuf {
        self.shared.path(hash)
    }

    /// Opens the blob `hash` for reading. It stays readable if it is removed meanwhile.
    pub fn read(&self, hash: &Hash) -> Result<File, BlobError> {
        let path = self.path(hash);
        File::open(&path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => BlobError::Absent { hash: *hash },
            _ => io_error("open", &path)(source),
        })
    }

    /// A writer for a blob of at most `limit` bytes whose hash need not be known yet.
    pub fn create(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        let dir = self.shared.root.join(TMP_DIR);
        let temp = NamedTempFile::new_in(&dir).map_err(io_error("create a file in", &dir))?;
        let space = Space::new(&self.shared);
        Ok(BlobWriter { temp, hasher: blake3::Hasher::new(), limit, space })
    }

    /// Stores a copy of the regular file `path`, of at most `limit` bytes, and returns its hash and size.
    ///
    /// A copy, because whoever made the file may still have it open; a symbolic link is refused, because
    /// whoever made it chose where it points.
    pub fn adopt(&self, path: &Path, limit: u64) -> Result<(Hash, u64), BlobError> {
        let mut file = system::open_unfollowed(path).map_err(io_error("open", path))?;
        if !file.metadata().map_err(io_error("inspect", path))?.is_file() {
            return Err(BlobError::NotAFile { path: path.to_path_buf() });
        }
        let mut writer = self.create(limit)?;
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match file.read(&mut buffer).map_err(io_error("read", path))? {
                0 => return writer.finish(None),
                length => writer.append(&buffer[..length])?,
            }
        }
    }

    /// Removes the blob `hash`, and says whether it was here. A power cut may bring it back.
    pub fn remove(&self, hash: &Hash) -> Result<bool, BlobError> {
        let _names = self.shared.lock_names();
        let Some(size) = self.has(hash)? else { return Ok(false) };
        let path = self.path(hash);
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
        self.shared.quota.give_back(size);
        Ok(true)
    }

    /// Every blob with its size in bytes, ordered by hash. Walks the directory.
    pub fn list(&self) -> Result<Vec<(Hash, u64)>, BlobError> {
        let mut found = Vec::new();
        for first in fan_out(&self.shared.root)? {
            for second in fan_out(&first)? {
                list_files(&second, &mut found)?;
            }
        }
        found.sort_unstable_by_key(|(hash, _)| *hash.as_bytes());
        Ok(found)
    }

    /// Bytes of the quota that are taken.
    pub fn used(&self) -> u64 {
        *self.shared.quota.lock()
    }

    /// Bytes that all blobs together may take.
    pub fn quota(&self) -> u64 {
        self.shared.quota.limit
    }

    /// Opens the partial blob `hash` of `size` bytes, as it was left or empty. See [`PartialBlob`].
    pub fn resume(&self, hash: &Hash, size: u64) -> Result<PartialBlob, BlobError> {
        PartialBlob::open(&self.shared, *hash, size)
    }

    /// How many bytes of the partial blob `hash` are here; none if they cannot be counted.
    pub fn present(&self, hash: &Hash) -> u64 {
        fs::metadata(self.shared.partial_path(hash)).map_or(0, |metadata| metadata.len())
    }

    /// The partial blobs, with the bytes that their files have. For whoever decides which to give up.
    pub fn partials(&self) -> Result<Vec<(Hash, u64)>, BlobError> {
        let mut found = Vec::new();
        list_files(&self.shared.root.join(PARTIAL_DIR), &mut found)?;
        found.sort_unstable_by_key(|(hash, _)| *hash.as_bytes());
        Ok(found)
    }
}

impl Shared {
    fn path(&self, hash: &Hash) -> PathBuf {
        let name = hash.to_hex();
        self.root.join(&name[..2]).join(&name[2..4]).join(name.as_str())
    }

    pub(crate) fn partial_path(&self, hash: &Hash) -> PathBuf {
        self.root.join(PARTIAL_DIR).join(hash.to_hex().as_str())
    }

    pub(crate) fn size_of(&self, hash: &Hash) -> Result<Option<u64>, BlobError> {
        let path = self.path(hash);
        match fs::metadata(&path) {
            Ok(metadata) => Ok(Some(metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(io_error("inspect", &path)(source)),
        }
    }

    /// Gives the complete file at `source` the name of `hash`, durably, and hands its `space` over to the blob.
    ///
    /// If it fails, the file is still at `source` and `space` still counts it, or both are the blob's.
    pub(crate) fn install(
        &self,
        source: &Path,
        file: &File,
        hash: &Hash,
        space: &mut Space,
    ) -> Result<(), BlobError> {
        file.sync_all().map_err(io_error("sync", source))?;
        let path = self.path(hash);
        let dir = dirs::parent(&path);
        let _names = self.lock_names();
        if self.size_of(hash)?.is_some() {
            // Somebody else was first; the file at `source` is superfluous, and its space with it.
            fs::remove_file(source).map_err(io_error("remove", source))?;
            space.shrink_to(0);
        } else {
            dirs::create_private(dir).map_err(io_error("create", dir))?;
            fs::rename(source, &path).map_err(io_error("move a blob to", &path))?;
            space.hand_over();
        }
        // The name may be there already and not be durable, after an earlier failure at this line.
        dirs::sync_dir(dir).map_err(io_error("sync", dir))
    }

    /// Fails if `bytes` more on the disk would touch the reserve.
    fn check_disk(&self, bytes: u64) -> Result<(), BlobError> {
        let free = dirs::disk_free(&self.root).map_err(io_error("inspect", &self.root))?;
        let free = free.saturating_sub(self.reserve);
        if bytes > free { Err(BlobError::DiskFull { needed: bytes, free }) } else { Ok(()) }
    }

    fn lock_names(&self) -> MutexGuard<'_, ()> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes one blob from front to back. Dropping it unfinished removes what was written.
pub struct BlobWriter {
    temp: NamedTempFile,
    hasher: blake3::Hasher,
    limit: u64,
    space: Space,
}

impl BlobWriter {
    /// Appends `bytes`, all of them or, if they exceed the limit or the quota, none.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        let length = bytes.len() as u64;
        if length > self.limit - self.space.bytes {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.space.grow(length)?;
        io::Write::write_all(self.temp.as_file_mut(), bytes)
            .map_err(|source| io_error("write", self.temp.path())(source))?;
        self.hasher.update(bytes);
        Ok(())
    }

    /// Bytes written so far.
    pub fn size(&self) -> u64 {
        self.space.bytes
    }

    /// Makes the blob durable under its hash, which must be `expected` if that is given, and returns its hash and size.
    pub fn finish(self, expected: Option<&Hash>) -> Result<(Hash, u64), BlobError> {
        let Self { temp, hasher, mut space, .. } = self;
        let found = hasher.finalize();
        check(&found, expected.unwrap_or(&found))?;
        let size = space.bytes;
        let shared = Arc::clone(&space.shared);
        let (file, mut source) = temp.into_parts();
        shared.install(&source, &file, &found, &mut space)?;
        source.disable_cleanup(true);
        Ok((found, size))
    }
}

/// As [`append`](BlobWriter::append); the error's inner value is the [`BlobError`].
impl io::Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.append(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn check(found: &Hash, expected: &Hash) -> Result<(), BlobError> {
    if found == expected {
        return Ok(());
    }
    Err(BlobError::Mismatch { expected: *expected, found: *found })
}

/// Counts bytes against a limit.
struct Quota {
    limit: u64,
    used: Mutex<u64>,
}

impl Quota {
    fn take(&self, bytes: u64) -> Result<(), BlobError> {
        let mut used = self.lock();
        let free = self.limit.saturating_sub(*used);
        if bytes > free {
            return Err(BlobError::Full { needed: bytes, free, quota: self.limit });
        }
        *used += bytes;
        Ok(())
    }

    fn give_back(&self, bytes: u64) {
        let mut used = self.lock();
        *used = used.saturating_sub(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, u64> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes taken from the quota, given back on drop.
pub(crate) struct Space {
    shared: Arc<Shared>,
    bytes: u64,
}

impl Space {
    fn new(shared: &Arc<Shared>) -> Self {
        Self { shared: Arc::clone(shared), bytes: 0 }
    }

    /// Space for a file that was counted before.
    pub(crate) fn counted(shared: &Arc<Shared>, bytes: u64) -> Self {
        Self { shared: Arc::clone(shared), bytes }
    }

    /// Takes `bytes` more, if need be from blobs whose arrival was broken off.
    pub(crate) fn grow(&mut self, bytes: u64) -> Result<(), BlobError> {
        if self.try_grow(bytes).is_err() {
            discard_idle_partials(&self.shared)?;
            self.try_grow(bytes)?;
        }
        Ok(())
    }

    fn try_grow(&mut self, bytes: u64) -> Result<(), BlobError> {
        self.shared.check_disk(bytes)?;
        self.shared.quota.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    pub(crate) fn shrink_to(&mut self, bytes: u64) {
        self.shared.quota.give_back(self.bytes.saturating_sub(bytes));
        self.bytes = self.bytes.min(bytes);
    }

    /// Leaves the bytes taken: a file on disk has them now.
    pub(crate) fn hand_over(&mut self) {
        self.bytes = 0;
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        self.shared.quota.give_back(self.bytes);
    }
}

/// Removes the partial blobs that nobody is writing: they can be had again from the beginning.
fn discard_idle_partials(shared: &Arc<Shared>) -> Result<(), BlobError> {
    let mut found = Vec::new();
    list_files(&shared.root.join(PARTIAL_DIR), &mut found)?;
    for (hash, _) in found {
        // Claimed, so that nobody begins to write what is being removed.
        let Ok(_claim) = Claim::new(shared, hash) else { continue };
        let path = shared.partial_path(&hash);
        let Ok(metadata) = fs::metadata(&path) else { continue };
        fs::remove_file(&path).map_err(io_error("remove", &path))?;
        shared.quota.give_back(metadata.len());
    }
    Ok(())
}

/// Removes everything in `dir`, creating it if it is absent.
fn empty(dir: &Path) -> Result<(), BlobError> {
    if dir.exists() {
        fs::remove_dir_all(dir).map_err(io_error("empty", dir))?;
    }
    dirs::create_private(dir).map_err(io_error("create", dir))
}

/// The subdirectories of `dir` that are named by two hexadecimal digits.
fn fan_out(dir: &Path) -> Result<Vec<PathBuf>, BlobError> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let name = entry.file_name();
        if name.len() == 2 && name.as_encoded_bytes().iter().all(u8::is_ascii_hexdigit) {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Appends the files in `dir` that are named by a hash. Others are none of ours.
fn list_files(dir: &Path, found: &mut Vec<(Hash, u64)>) -> Result<(), BlobError> {
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let Ok(hash) = Hash::from_hex(entry.file_name().as_encoded_bytes()) else { continue };
        match entry.metadata() {
            Ok(metadata) => found.push((hash, metadata.len())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(io_error("inspect", &entry.path())(source)),
        }
    }
    Ok(())
}

/// Why a blob could not be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// The directory is locked.
    #[error("the blobs in {} are in use: stop the other process, or choose another directory", root.display())]
    InUse {
        /// The directory of the blobs.
        root: PathBuf,
    },

    /// The quota has no room.
    #[error("cannot store {needed} more bytes of blobs, {free} of the quota of {quota} are free")]
    Full {
        /// Bytes asked for.
        needed: u64,
        /// Bytes that could be had.
        free: u64,
        /// Bytes of the quota.
        quota: u64,
    },

    /// The disk has no room beside what must stay free.
    #[error("cannot store {needed} more bytes of blobs, the disk has room for {free}")]
    DiskFull {
        /// Bytes asked for.
        needed: u64,
        /// Bytes that could be had.
        free: u64,
    },

    /// The writer was given more than its limit.
    #[error("cannot store a blob of more than {limit} bytes here")]
    TooLarge {
        /// Bytes that were allowed.
        limit: u64,
    },

    /// The bytes are not those that were announced. They have been removed.
    #[error("the blob {expected} was expected, these bytes are {found}")]
    Mismatch {
        /// Its announced hash.
        expected: Hash,
        /// The hash of what came.
        found: Hash,
    },

    /// A partial blob has not the announced size. It stays as it is.
    #[error("the blob {hash} has {found} bytes of {expected}")]
    Incomplete {
        /// Its hash.
        hash: Hash,
        /// Its announced size.
        expected: u64,
        /// The size of its file.
        found: u64,
    },

    /// Another writer has this partial blob open.
    #[error("the blob {hash} is being written already")]
    Busy {
        /// Its hash.
        hash: Hash,
    },

    /// The blob is not here.
    #[error("the blob {hash} is not here")]
    Absent {
        /// Its hash.
        hash: Hash,
    },

    /// Only regular files become blobs.
    #[error("cannot store {}, which is not a regular file", path.display())]
    NotAFile {
        /// What was to be stored.
        path: PathBuf,
    },

    /// The operating system refused.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

pub(crate) fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.to_path_buf();
    move |source| BlobError::Io { attempt, path, source }
}
