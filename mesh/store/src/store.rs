//! The contract between the daemons and whatever engine keeps their records.

use std::path::PathBuf;
use std::sync::{Arc, mpsc};
use std::{io, vec};

use mesh_core::{Commit, CommitId, Write};

/// Bytes of the longest key: a kind and a few hashes, with room to spare.
pub const MAX_KEY: usize = 1024;

/// Bytes of the largest value: a statement of 64 KiB and the record around it. What is larger is a blob:
/// engines rewrite neighbouring values together.
pub const MAX_VALUE: usize = 68 * 1024;

/// Bytes of keys and values in the largest commit, so that one commit cannot hold up the others for long.
pub const MAX_COMMIT: usize = 4 * 1024 * 1024;

/// Records in the largest page that a caller can ask for.
pub const MAX_PAGE: usize = 1024;

/// Runs once, when its commit is durable or has failed.
pub type Completion = Box<dyn FnOnce(Result<CommitId, StoreError>) + Send + 'static>;

/// Records that survive a power cut once their commit has completed.
///
/// A commit is durable in whole or not at all. Commits become durable, and complete, in the order in
/// which [`commit_with`](Self::commit_with) was called; a caller that calls from several threads chooses
/// that order by its own means.
///
/// Reads see every commit that was applied, which may be a moment before it is durable. Whoever draws a
/// promise to others from what it read must have waited for the completion; a core that keeps its state in
/// memory and reads only when it starts does so by construction.
pub trait Store: Send + Sync {
    /// Queues `commit`, and runs `done` with its id once it is durable.
    ///
    /// Blocks while the queue is full, which is the backpressure: a shell that waits here reads no
    /// further input meanwhile. A place becomes free with the next group, after some milliseconds.
    ///
    /// `done` runs on the committer's thread, or on the caller's if the commit is refused at once
    /// (too large, closed, failed). It should only pass the news on, to a channel for instance: every
    /// later commit waits for it. It may call `commit_with`, never `commit` or `close`.
    fn commit_with(&self, commit: Commit, done: Completion);

    /// Makes `writes` durable, and blocks until they are.
    ///
    /// # Panics
    /// If called from a completion, which would wait for itself.
    fn commit(&self, writes: Vec<Write>) -> Result<(), StoreError>;

    /// The value of `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// The records whose key begins with `prefix` and comes after `after`, in key order: at most `limit`,
    /// itself at most [`MAX_PAGE`], and not much more than a mebibyte.
    fn page(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Page, StoreError>;

    /// What the engine has done since it was opened.
    fn stats(&self) -> Stats;

    /// Completes what is queued, stops, and releases the directory. Afterwards every call fails with
    /// [`StoreError::Closed`]. Closing twice is no error.
    ///
    /// # Panics
    /// If called from a completion.
    fn close(&self);
}

/// [`Store::commit`] by way of [`Store::commit_with`].
pub(crate) fn commit_blocking(store: &dyn Store, writes: Vec<Write>) -> Result<(), StoreError> {
    let (tell, told) = mpsc::sync_channel(1);
    // Nobody but this call sees the id.
    let commit = Commit { id: CommitId(0), writes };
    store.commit_with(
        commit,
        Box::new(move |result| {
            // The receiver waits below for as long as this completion exists.
            let _ = tell.send(result);
        }),
    );
    let result = told.recv().expect("an engine runs every completion");
    result.map(drop)
}

/// A key and its value.
pub type Record = (Vec<u8>, Vec<u8>);

/// Some consecutive records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// In key order.
    pub records: Vec<Record>,
    /// Pass it as `after` for the next page; `None` if this page is the last.
    pub next: Option<Vec<u8>>,
}

/// Iterates over all records below a prefix, in key order, one page in memory at a time.
///
/// Not a snapshot: a record written meanwhile is seen if its key is still ahead. Ends after an error.
pub struct Records<'a, S: ?Sized> {
    store: &'a S,
    prefix: Vec<u8>,
    page: vec::IntoIter<Record>,
    rest: Rest,
}

enum Rest {
    After(Option<Vec<u8>>),
    Nothing,
}

impl<'a, S: Store + ?Sized> Records<'a, S> {
    /// The records of `store` whose key begins with `prefix`.
    pub fn new(store: &'a S, prefix: impl Into<Vec<u8>>) -> Self {
        Self { store, prefix: prefix.into(), page: Vec::new().into_iter(), rest: Rest::After(None) }
    }

    fn turn_page(&mut self, after: Option<&[u8]>) -> Result<(), StoreError> {
        let page = self.store.page(&self.prefix, after, MAX_PAGE)?;
        self.page = page.records.into_iter();
        if page.next.is_some() {
            self.rest = Rest::After(page.next);
        }
        Ok(())
    }
}

impl<S: Store + ?Sized> Iterator for Records<'_, S> {
    type Item = Result<Record, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(record) = self.page.next() {
                return Some(Ok(record));
            }
            match std::mem::replace(&mut self.rest, Rest::Nothing) {
                Rest::Nothing => return None,
                Rest::After(after) => {
                    if let Err(error) = self.turn_page(after.as_deref()) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

/// What an engine has done since it was opened.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits that completed well.
    pub commits: u64,
    /// Groups of commits, each made durable by one flush.
    pub flushes: u64,
    /// Commits in the largest group so far.
    pub largest_group: u64,
    /// Commits that wait for their turn.
    pub queued: u64,
}

/// Why a store could not be opened, read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The directory is locked.
    #[error("the store in {} is in use: stop the other process, or choose another directory", dir.display())]
    InUse {
        /// The directory of the store.
        dir: PathBuf,
    },

    /// What is on disk is not what was written there.
    #[error(
        "the store in {} is damaged ({cause}): move that directory aside, check the disk, and rebuild the \
         store from the last export, or start with an empty one and let the originators send again",
        dir.display()
    )]
    Corrupt {
        /// The directory of the store.
        dir: PathBuf,
        /// In the engine's words.
        cause: Arc<str>,
    },

    /// A flush failed. This commit, and every later one, is not acknowledged; whether it is on disk is unknown.
    #[error(
        "the disk below the store in {} failed ({cause}), so nothing more is acknowledged: free space on it \
         if it is full, check or replace it otherwise, then start again",
        dir.display()
    )]
    DiskFailed {
        /// The directory of the store.
        dir: PathBuf,
        /// The first failure.
        cause: Arc<str>,
    },

    /// The operating system refused something other than a commit.
    #[error("cannot {attempt} {}", path.display())]
    Io {
        /// What was attempted, as a verb.
        attempt: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: Arc<io::Error>,
    },

    /// A key exceeds [`MAX_KEY`].
    #[error("cannot commit a key of {size} bytes, the limit is {MAX_KEY}")]
    KeyTooLarge {
        /// Bytes of the key.
        size: usize,
    },

    /// A value exceeds [`MAX_VALUE`].
    #[error("cannot commit a value of {size} bytes, the limit is {MAX_VALUE}: store it as a blob")]
    ValueTooLarge {
        /// Bytes of the value.
        size: usize,
    },

    /// A commit exceeds [`MAX_COMMIT`].
    #[error("cannot commit {size} bytes at once, the limit is {MAX_COMMIT}")]
    CommitTooLarge {
        /// Bytes of all keys and values.
        size: usize,
    },

    /// The store was closed before.
    #[error("the store in {} is closed", dir.display())]
    Closed {
        /// The directory of the store.
        dir: PathBuf,
    },
}

/// Bytes of the keys and values in `writes`, if every limit holds.
pub(crate) fn measure(writes: &[Write]) -> Result<usize, StoreError> {
    let mut total = 0;
    for write in writes {
        let (key, value) = match write {
            Write::Put { key, value } => (key.len(), value.len()),
            Write::Delete { key } => (key.len(), 0),
        };
        if key > MAX_KEY {
            return Err(StoreError::KeyTooLarge { size: key });
        }
        if value > MAX_VALUE {
            return Err(StoreError::ValueTooLarge { size: value });
        }
        total += key + value;
    }
    if total > MAX_COMMIT {
        return Err(StoreError::CommitTooLarge { size: total });
    }
    Ok(total)
}
