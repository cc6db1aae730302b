//! One thread that makes commits durable, in groups, in order.
//!
//! The thread takes whatever is queued, as one group up to a bound, applies it as one batch, makes it
//! durable, and runs the completions. While it does so the next group gathers, so that groups grow with
//! the load and an idle store adds no delay. The first failure is kept and given to every later commit.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use mesh_core::{Commit, CommitId, Write};

use crate::store::{Completion, Stats, StoreError, measure};

/// Commits in the largest group. More would not lower the cost of a flush per commit by much.
const GROUP_COMMITS: usize = 500;

/// Bytes after which a group is closed, so that the first of it need not wait for long.
const GROUP_BYTES: usize = 1024 * 1024;

/// Bytes that may wait; one commit may exceed it by its own size.
const QUEUE_BYTES: usize = 16 * 1024 * 1024;

/// Where the thread puts its groups.
pub(crate) trait Engine {
    /// Applies `writes` in order, atomically, and returns once they would survive a power cut.
    fn make_durable(&self, writes: Vec<Write>) -> Result<(), StoreError>;
}

/// The queue in front of the committer thread, and what became of earlier commits.
pub(crate) struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    drained: Condvar,
    capacity: usize,
    failure: OnceLock<StoreError>,
    committer: OnceLock<ThreadId>,
    /// Held while a group is applied and made durable.
    group: Mutex<()>,
    commits: AtomicU64,
    flushes: AtomicU64,
    largest_group: AtomicU64,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Waiting>,
    bytes: usize,
    closed: bool,
}

struct Waiting {
    id: CommitId,
    writes: Vec<Write>,
    bytes: usize,
    done: Completion,
}

/// Why a commit cannot be queued.
enum Refusal {
    Closed,
    Error(StoreError),
}

impl Queue {
    /// A queue for `capacity` commits.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            state: Mutex::default(),
            filled: Condvar::new(),
            drained: Condvar::new(),
            capacity: capacity.max(1),
            failure: OnceLock::new(),
            committer: OnceLock::new(),
            group: Mutex::default(),
            commits: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            largest_group: AtomicU64::new(0),
        }
    }

    /// Queues `commit`, blocking while the queue is full. `closed` makes the error for a closed queue.
    pub(crate) fn push(
        &self,
        commit: Commit,
        done: Completion,
        closed: impl FnOnce() -> StoreError,
    ) {
        match self.admit(&commit) {
            Ok((mut state, bytes)) => {
                state.bytes += bytes;
                state.waiting.push_back(Waiting {
                    id: commit.id,
                    writes: commit.writes,
                    bytes,
                    done,
                });
                drop(state);
                self.filled.notify_one();
            }
            Err(Refusal::Closed) => done(Err(closed())),
            Err(Refusal::Error(error)) => done(Err(error)),
        }
    }

    fn admit(&self, commit: &Commit) -> Result<(MutexGuard<'_, State>, usize), Refusal> {
        let bytes = measure(&commit.writes).map_err(Refusal::Error)?;
        let mut state = self.lock();
        // A completion that commits cannot wait for the thread that it runs on.
        let may_wait = !self.on_committer();
        while may_wait && self.is_full(&state) && !state.closed && self.failure().is_none() {
            state = self.drained.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Some(failure) = self.failure() {
            return Err(Refusal::Error(failure));
        }
        if state.closed {
            return Err(Refusal::Closed);
        }
        Ok((state, bytes))
    }

    fn is_full(&self, state: &State) -> bool {
        state.waiting.len() >= self.capacity || state.bytes >= QUEUE_BYTES
    }

    /// Accepts no more commits; the thread ends after those that are queued.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.drained.notify_all();
    }

    /// The failure after which nothing is acknowledged.
    pub(crate) fn failure(&self) -> Option<StoreError> {
        self.failure.get().cloned()
    }

    /// Whether the caller runs on the committer thread.
    pub(crate) fn on_committer(&self) -> bool {
        self.committer.get() == Some(&thread::current().id())
    }

    /// Keeps the committer between two groups while the guard lives: all that is applied is durable.
    pub(crate) fn pause(&self) -> MutexGuard<'_, ()> {
        self.group.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn stats(&self) -> Stats {
        let queued = self.lock().waiting.len();
        Stats {
            commits: self.commits.load(Ordering::Relaxed),
            flushes: self.flushes.load(Ordering::Relaxed),
            largest_group: self.largest_group.load(Ordering::Relaxed),
            queued: u64::try_from(queued).unwrap_or(u64::MAX),
        }
    }

    /// The life of the committer thread.
    pub(crate) fn run(&self, engine: &impl Engine) {
        self.committer.set(thread::current().id()).expect("a queue has one committer");
        while let Some(group) = self.take_group() {
            self.complete(group, engine);
        }
    }

    /// Waits for commits, and takes as many as a group holds. `None` once closed and empty.
    fn take_group(&self) -> Option<Vec<Waiting>> {
        let mut state = self.lock();
        while state.waiting.is_empty() {
            if state.closed {
                return None;
            }
            state = self.filled.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut bytes = 0;
        let mut length = 0;
        for waiting in state.waiting.iter().take(GROUP_COMMITS) {
            bytes += waiting.bytes;
            if length > 0 && bytes > GROUP_BYTES {
                break;
            }
            length += 1;
        }
        let group: Vec<Waiting> = state.waiting.drain(..length).collect();
        state.bytes -= group.iter().map(|waiting| waiting.bytes).sum::<usize>();
        drop(state);
        self.drained.notify_all();
        Some(group)
    }

    fn complete(&self, mut group: Vec<Waiting>, engine: &impl Engine) {
        let writes =
            group.iter_mut().flat_map(|waiting| std::mem::take(&mut waiting.writes)).collect();
        let result = self.make_durable(writes, engine);
        if result.is_ok() {
            let size = u64::try_from(group.len()).unwrap_or(u64::MAX);
            self.commits.fetch_add(size, Ordering::Relaxed);
            self.largest_group.fetch_max(size, Ordering::Relaxed);
        }
        for Waiting { id, done, .. } in group {
            let result = result.clone().map(|()| id);
            if catch_unwind(AssertUnwindSafe(|| done(result))).is_err() {
                tracing::error!(commit = id.0, "the completion of a commit panicked");
            }
        }
    }

    fn make_durable(&self, writes: Vec<Write>, engine: &impl Engine) -> Result<(), StoreError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        if writes.is_empty() {
            // All that came before is durable already.
            return Ok(());
        }
        let _group = self.pause();
        let result = engine.make_durable(writes);
        match &result {
            Ok(()) => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tracing::error!(%error, "a commit failed, no more are acknowledged");
                // Only this thread sets it, and not a second time.
                let _ = self.failure.set(error.clone());
            }
        }
        result
    }

    /// No code of others runs under this lock, so a poisoned one is in order.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
