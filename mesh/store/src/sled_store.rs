//! The engine: sled 0.34, in the one form that survived simulated power cuts.
//!
//! Three habits of sled decide how it is used here.
//!
//! - Its `flush` starts the writing and does not wait for the disk's cache. Hence every group ends in a
//!   `sync_data` on sled's data file, through a descriptor that stays open: a failed write-back is reported
//!   once to each descriptor, and sled's own background `sync_all` must not swallow it.
//! - It moves pages above a quarter of a segment into files of their own, and never syncs those. A page
//!   holds some 17 records, so segments are large enough that no page of ours comes near.
//! - Damaged segments may be skipped in silence, or panic. Hence opening is guarded, and a marker file
//!   tells a store that lost everything from one that is new.
//!
//! All records live in one tree, because a batch is atomic within one tree only.

use std::any::Any;
use std::fs::{File, TryLockError};
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mesh_core::{Commit, Write};

use crate::committer::{Engine, Queue};
use crate::dirs;
use crate::packing::{pack, unpack};
use crate::store::{Completion, MAX_PAGE, Page, Stats, Store, StoreError};

/// Sled's name for the file that holds everything.
const DATA_FILE: &str = "db";

/// Present once the tree exists durably.
const MARKER_FILE: &str = "created";

const TREE: &str = "records";

/// A page of 17 records of the largest size is 1.1 MiB, and sled inlines pages up to a quarter of a segment.
const SEGMENT_BYTES: usize = 8 * 1024 * 1024;

/// Sled reclaims space only in its flusher thread, for half of each such time at most, so that thread must not be
/// turned off. It syncs the file each time, whether there is anything to write or not, so that an idle
/// daemon should not be woken often by it; a store that is closed waits for half of it at most.
const BACKGROUND_FLUSH_MS: u64 = 2000;

/// Bytes of values after which a page of records ends.
const PAGE_BYTES: usize = 1024 * 1024;

/// How long the threads of a store that was just closed in this process may hold the data file.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);

/// How a [`SledStore`] is opened.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes of sled's page cache; resident memory is about a third more. Default 64 MiB.
    pub cache_bytes: u64,
    /// Commits that may wait before [`Store::commit_with`] blocks; 16 MiB of them block as well. Default 4096.
    pub queue_commits: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, queue_commits: 4096 }
    }
}

/// A [`Store`] in a directory, open in one process at a time. Dropping it closes it.
pub struct SledStore {
    dir: PathBuf,
    queue: Arc<Queue>,
    open: RwLock<Option<Open>>,
    committer: Mutex<Option<JoinHandle<()>>>,
}

/// What an open store holds on to. Fields drop in this order: the lock goes last.
struct Open {
    sled: Sled,
    _lock: File,
}

/// Sled's handles; clones share one database.
#[derive(Clone)]
struct Sled {
    dir: PathBuf,
    records: sled::Tree,
    db: sled::Db,
    data: Arc<File>,
}

impl SledStore {
    /// Opens the store in `dir`, creating it, closed to others, if it is absent.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if it is open elsewhere, [`StoreError::Corrupt`] if its files are not what was
    /// written, [`StoreError::Io`] for what the operating system refuses.
    pub fn open(dir: impl Into<PathBuf>, options: &Options) -> Result<Self, StoreError> {
        let dir = dir.into();
        dirs::create_private(&dir).map_err(io_error("create", &dir))?;
        let lock = lock(&dir)?;
        await_release(&dir)?;
        let sled = Sled::open(&dir, options)?;
        let queue = Arc::new(Queue::new(options.queue_commits));
        let committer = thread::Builder::new()
            .name("store-committer".to_owned())
            .spawn({
                let (queue, sled) = (Arc::clone(&queue), sled.clone());
                move || queue.run(&sled)
            })
            .map_err(io_error("start a thread for", &dir))?;
        Ok(Self {
            dir,
            queue,
            open: RwLock::new(Some(Open { sled, _lock: lock })),
            committer: Mutex::new(Some(committer)),
        })
    }

    /// The directory of the store.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Runs `read` on the tree, unless the store is closed or failed.
    fn read<T>(&self, read: impl FnOnce(&sled::Tree) -> sled::Result<T>) -> Result<T, StoreError> {
        if let Some(failure) = self.queue.failure() {
            return Err(failure);
        }
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Open { sled, .. }) = open.as_ref() else { return Err(self.closed()) };
        guarded(&self.dir, "read", || read(&sled.records))
    }

    /// Calls `each` with all records in key order, while commits wait: what it sees is durable and of one moment.
    pub(crate) fn snapshot<E: From<StoreError>>(
        &self,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let _pause = self.queue.pause();
        let mut after = None;
        loop {
            let page = self.page(&[], after.as_deref(), MAX_PAGE)?;
            for (key, value) in &page.records {
                each(key, value)?;
            }
            after = page.next;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    fn closed(&self) -> StoreError {
        StoreError::Closed { dir: self.dir.clone() }
    }
}

impl Store for SledStore {
    fn commit_with(&self, commit: Commit, done: Completion) {
        self.queue.push(commit, done, || self.closed());
    }

    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        assert!(!self.queue.on_committer(), "a completion may not wait for a commit");
        crate::store::commit_blocking(self, writes)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|records| Ok(records.get(key)?.map(|value| unpack(&value)).transpose()?))
    }

    fn page(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Page, StoreError> {
        let start = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let limit = limit.clamp(1, MAX_PAGE);
        self.read(|records| {
            let mut page = Page { records: Vec::new(), next: None };
            let mut bytes = 0;
            for record in records.range::<&[u8], _>((start, Bound::Unbounded)) {
                let (key, value) = record?;
                if !key.starts_with(prefix) {
                    break;
                }
                if page.records.len() == limit || bytes >= PAGE_BYTES {
                    page.next = page.records.last().map(|(key, _)| key.clone());
                    break;
                }
                let value = unpack(&value)?;
                bytes += key.len() + value.len();
                page.records.push((key.to_vec(), value));
            }
            Ok(page)
        })
    }

    fn stats(&self) -> Stats {
        self.queue.stats()
    }

    fn close(&self) {
        assert!(!self.queue.on_committer(), "a completion may not close its store");
        self.stop();
    }
}

impl SledStore {
    fn stop(&self) {
        self.queue.close();
        let committer = self.committer.lock().unwrap_or_else(PoisonError::into_inner).take();
        // The last handle may be dropped by a completion; its thread then ends by itself.
        if let Some(committer) = committer.filter(|_| !self.queue.on_committer())
            && committer.join().is_err()
        {
            tracing::error!(dir = %self.dir.display(), "the committer thread panicked");
        }
        let open = self.open.write().unwrap_or_else(PoisonError::into_inner).take();
        if catch_unwind(AssertUnwindSafe(|| drop(open))).is_err() {
            tracing::warn!(dir = %self.dir.display(), "sled panicked while it was closed");
        }
    }
}

impl Drop for SledStore {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Sled {
    fn open(dir: &Path, options: &Options) -> Result<Self, StoreError> {
        let marker = dir.join(MARKER_FILE);
        let existed = marker.try_exists().map_err(io_error("look for", &marker))?;
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(options.cache_bytes)
            .segment_size(SEGMENT_BYTES)
            .flush_every_ms(Some(BACKGROUND_FLUSH_MS));
        let db = guarded(dir, "open", || config.open())?;
        if existed && !db.tree_names().iter().any(|name| name == TREE.as_bytes()) {
            return Err(corrupt(dir, "the file opens, but all records are gone"));
        }
        let records = guarded(dir, "open", || db.open_tree(TREE))?;
        let path = dir.join(DATA_FILE);
        // Windows syncs only what may be written to.
        let data = File::options().read(true).write(true).open(&path);
        let data = data.map_err(io_error("open", &path))?;
        let sled = Self { dir: dir.to_path_buf(), records, db, data: Arc::new(data) };
        if !existed {
            sled.flush()?;
            dirs::sync_dir(dir).map_err(io_error("sync", dir))?;
            let file = File::create_new(&marker).map_err(io_error("create", &marker))?;
            file.sync_all().map_err(io_error("sync", &marker))?;
            dirs::sync_dir(dir).map_err(io_error("sync", dir))?;
        }
        Ok(sled)
    }

    /// Returns once everything applied would survive a power cut.
    fn flush(&self) -> Result<(), StoreError> {
        self.disk("flush", || self.db.flush().map(drop))?;
        self.disk("sync", || Ok(self.data.sync_data()?))
    }

    /// Runs a step of a commit. However it fails, the disk can no longer be vouched for.
    fn disk(&self, step: &str, run: impl FnOnce() -> sled::Result<()>) -> Result<(), StoreError> {
        let cause = match catch_unwind(AssertUnwindSafe(run)) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic_message(panic.as_ref()),
        };
        Err(StoreError::DiskFailed {
            dir: self.dir.clone(),
            cause: format!("{step}: {cause}").into(),
        })
    }
}

impl Engine for Sled {
    fn make_durable(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for write in writes {
            match write {
                Write::Put { key, value } => batch.insert(key, pack(value)),
                Write::Delete { key } => batch.remove(key),
            }
        }
        self.disk("write", || self.records.apply_batch(batch))?;
        self.flush()
    }
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    dirs::lock(dir).map_err(|error| match error {
        TryLockError::WouldBlock => StoreError::InUse { dir: dir.to_path_buf() },
        TryLockError::Error(source) => io_error("lock", dir)(source),
    })
}

/// Sled locks its data file too, and its threads may release it a moment after it was dropped.
fn await_release(dir: &Path) -> Result<(), StoreError> {
    let path = dir.join(DATA_FILE);
    let deadline = Instant::now() + RELEASE_PATIENCE;
    loop {
        match File::open(&path).map_err(TryLockError::Error).and_then(|file| file.try_lock()) {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(());
            }
            Err(TryLockError::Error(source)) => return Err(io_error("lock", &path)(source)),
            Err(TryLockError::WouldBlock) if Instant::now() >= deadline => {
                return Err(StoreError::InUse { dir: dir.to_path_buf() });
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(5)),
        }
    }
}

/// Runs an operation of sled outside of commits, turning its errors and panics into ours.
fn guarded<T>(
    dir: &Path,
    attempt: &'static str,
    operation: impl FnOnce() -> sled::Result<T>,
) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(source))) if !is_damage(source.kind()) => {
            Err(io_error(attempt, dir)(source))
        }
        Ok(Err(error)) => Err(corrupt(dir, &error.to_string())),
        Err(panic) => Err(corrupt(dir, &panic_message(panic.as_ref()))),
    }
}

/// Whether an error of this kind is about what was read rather than about reading.
fn is_damage(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
    )
}

fn corrupt(dir: &Path, cause: &str) -> StoreError {
    StoreError::Corrupt { dir: dir.to_path_buf(), cause: cause.into() }
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("sled panicked: {}", text.unwrap_or("no message"))
}

pub(crate) fn io_error(attempt: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_path_buf();
    move |source| StoreError::Io { attempt, path, source: Arc::new(source) }
}
