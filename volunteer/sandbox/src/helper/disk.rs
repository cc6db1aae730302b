//! How much of the disk the work directory uses.
//!
//! No quota is to be had without being root, so the tree is walked again and again: once a second, and sooner when
//! the file system has visibly lost space. A walk goes in slices, between which init attends to everything else.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, FileType, Stat};

use super::memory;
use crate::walk::{EnterError, Walk};

/// Watches over the use of one directory tree.
pub struct DiskWatch {
    root: OwnedFd,
    limit: u64,
    count: Option<Count>,
    /// However suspicious things look, no count begins earlier.
    not_before: Instant,
    /// Whatever happens, a count begins then.
    next_count: Instant,
    /// Free bytes of the file system when the last count began.
    free_then: u64,
}

/// Counting in progress: first what has a name, then what only an open descriptor holds.
struct Count {
    walk: Walk,
    device: u64,
    unlinked: Option<Vec<PathBuf>>,
    bytes: u64,
    /// Files with several names or descriptors, which use their blocks once.
    seen: BTreeSet<u64>,
    worked: Duration,
}

impl DiskWatch {
    /// Watches over `root`, which may use `limit` bytes. Fails if the file system is full already.
    pub fn new(root: OwnedFd, limit: u64, now: Instant) -> io::Result<Self> {
        let free_then = free_bytes(&root)?;
        if free_then < RESERVE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(Self { root, limit, count: None, not_before: now, next_count: now, free_then })
    }

    /// Spends a few milliseconds at most. Answers whether the limit is known to be broken.
    pub fn is_exceeded(&mut self, now: Instant) -> io::Result<bool> {
        let free = free_bytes(&self.root)?;
        if free < RESERVE {
            return Ok(true);
        }
        let due = now >= self.next_count || self.has_shrunk(free) && now >= self.not_before;
        if self.count.is_none() && due {
            self.free_then = free;
            self.count = Some(Count::begin(&self.root)?);
        }
        let Some(count) = &mut self.count else { return Ok(false) };
        let complete = count.advance(self.limit)?;
        if count.bytes > self.limit {
            return Ok(true);
        }
        if complete {
            self.not_before = now + count.worked * REST_PER_WORK;
            self.next_count = self.not_before + INTERVAL;
            self.count = None;
        }
        Ok(false)
    }

    /// Counts everything at once, for the end of the step, if much has been written since the last count began.
    pub fn is_exceeded_finally(&self) -> io::Result<bool> {
        if !self.has_shrunk(free_bytes(&self.root)?) {
            return Ok(false);
        }
        let mut count = Count::begin(&self.root)?;
        while !count.advance(self.limit)? {}
        Ok(count.bytes > self.limit)
    }

    /// Whether the file system has lost so much that the limit may be near; others may have taken it, too.
    fn has_shrunk(&self, free: u64) -> bool {
        self.free_then.saturating_sub(free) > self.limit / 16
    }
}

/// What must stay free on the file system for its owner, whoever fills it.
const RESERVE: u64 = 256 << 20;

/// Between two counts, when nothing looks suspicious.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counting takes at most a fifth of a processor.
const REST_PER_WORK: u32 = 4;

/// Time for counting before init looks at everything else again.
const SLICE: Duration = Duration::from_millis(5);

/// What a file costs beyond its blocks: an inode and its name, generously, so that empty files run out as well.
const ENTRY_BYTES: u64 = 1024;

impl Count {
    fn begin(root: &OwnedFd) -> io::Result<Self> {
        // Through a name of its own: a descriptor's position in a directory is shared by its copies.
        let walk = Walk::new(reopen(root)?)?;
        let device = rustix::fs::fstat(root)?.st_dev;
        let (seen, worked) = (BTreeSet::new(), Duration::ZERO);
        Ok(Self { walk, device, unlinked: None, bytes: 0, seen, worked })
    }

    /// Goes on for a slice. Answers whether there is nothing left to count, or no need to.
    fn advance(&mut self, limit: u64) -> io::Result<bool> {
        let began = Instant::now();
        let complete = loop {
            if !self.step()? || self.bytes > limit {
                break true;
            }
            if began.elapsed() > SLICE {
                break false;
            }
        };
        self.worked += began.elapsed();
        Ok(complete)
    }

    /// Counts one thing. Answers whether there was one.
    fn step(&mut self) -> io::Result<bool> {
        if let Some(threads) = &mut self.unlinked {
            let Some(thread) = threads.pop() else { return Ok(false) };
            self.add_unlinked(&thread);
            return Ok(true);
        }
        let Some(entry) = self.walk.next_entry()? else {
            let processes = memory::processes()?;
            self.unlinked = Some(processes.into_iter().flat_map(memory::threads).collect());
            return Ok(true);
        };
        self.add(&entry.stat);
        match self.walk.enter(&entry) {
            Ok(()) => {}
            // What cannot be counted is not permitted.
            Err(EnterError::Nested) => self.bytes = u64::MAX,
            Err(EnterError::Failed(failure)) => return Err(failure),
        }
        Ok(true)
    }

    fn add(&mut self, stat: &Stat) {
        let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if directory || stat.st_nlink == 1 || self.seen.insert(stat.st_ino) {
            let blocks = u64::try_from(stat.st_blocks).unwrap_or(0);
            self.bytes = self.bytes.saturating_add(blocks * 512 + ENTRY_BYTES);
        }
    }

    /// Adds the files that `thread` holds open but that have no name any more.
    fn add_unlinked(&mut self, thread: &Path) {
        let Ok(descriptors) = fs::read_dir(thread.join("fd")) else { return };
        for descriptor in descriptors.flatten() {
            let Ok(stat) = rustix::fs::statat(CWD, descriptor.path(), AtFlags::empty()) else {
                continue;
            };
            let unlinked = stat.st_dev == self.device && stat.st_nlink == 0;
            if unlinked {
                self.add(&stat);
            }
        }
    }
}

fn reopen(directory: impl AsFd) -> io::Result<OwnedFd> {
    use rustix::fs::{Mode, OFlags, openat};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    Ok(openat(directory, ".", flags, Mode::empty())?)
}

fn free_bytes(file_system: impl AsFd) -> io::Result<u64> {
    let usage = rustix::fs::fstatvfs(file_system)?;
    Ok(usage.f_bfree.saturating_mul(usage.f_frsize))
}
