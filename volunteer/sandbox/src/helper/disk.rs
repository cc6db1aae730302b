//! How much of the disk the work directory uses.
//!
//! No quota is to be had without being root, so the tree is walked again and again: once a second, and sooner when
//! the file system has visibly lost space. A walk goes in slices, between which init attends to everything else.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use super::memory;
use crate::DISK_RESERVE;
use crate::disk_use::Count;
use crate::walk::Walk;

/// Watches over the use of one directory tree.
pub struct DiskWatch {
    root: OwnedFd,
    limit: u64,
    /// Bytes that must stay free on the file system.
    reserve: u64,
    count: Option<Counting>,
    /// However suspicious things look, no count begins earlier.
    not_before: Instant,
    /// Whatever happens, a count begins then.
    next_count: Instant,
    /// Free bytes of the file system when the last count began.
    free_then: u64,
}

/// What a look at the disk tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing is known to be wrong.
    Fine,
    /// The work directory uses more than it may.
    Exceeded,
    /// The file system is nearly full. Whose doing that is, a final count tells.
    NearlyFull,
}

/// A count with the time that it has taken.
struct Counting {
    count: Count,
    worked: Duration,
}

impl DiskWatch {
    /// Watches over `root`, which may use `limit` bytes. Fails if the file system is full already.
    pub fn new(root: OwnedFd, limit: u64, now: Instant) -> io::Result<Self> {
        let free_then = free_bytes(&root)?;
        if free_then < DISK_RESERVE {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let reserve = DISK_RESERVE;
        Ok(Self { root, limit, reserve, count: None, not_before: now, next_count: now, free_then })
    }

    /// Spends `most` at most, and never more than a few milliseconds. Of a job that stands still no new count begins
    /// unless something has been written.
    pub fn look(&mut self, now: Instant, most: Duration, stands_still: bool) -> io::Result<Look> {
        let free = free_bytes(&self.root)?;
        if free < self.reserve {
            return Ok(Look::NearlyFull);
        }
        let is_time = now >= self.next_count && !stands_still;
        let due = is_time || self.has_shrunk(free) && now >= self.not_before;
        if self.count.is_none() && due {
            self.free_then = free;
            self.count = Some(Counting::begin(&self.root)?);
        }
        let Some(counting) = &mut self.count else { return Ok(Look::Fine) };
        let complete = counting.advance(self.limit, most.min(SLICE))?;
        if counting.count.bytes() > self.limit {
            return Ok(Look::Exceeded);
        }
        if complete {
            self.not_before = now + counting.worked * REST_PER_WORK;
            self.next_count = self.not_before + INTERVAL;
            self.count = None;
        }
        Ok(Look::Fine)
    }

    /// Begins to count everything once more, if much has been written since the last count began. For the end of the
    /// step: nobody writes any more. [`advance_finally`](Self::advance_finally) goes on with it.
    pub fn begin_finally(&mut self) -> io::Result<()> {
        let is_due = self.has_shrunk(free_bytes(&self.root)?);
        self.count = is_due.then(|| Counting::begin(&self.root)).transpose()?;
        Ok(())
    }

    /// Spends a few milliseconds at most. Answers whether the limit is broken, once that is known.
    pub fn advance_finally(&mut self) -> io::Result<Option<bool>> {
        let Some(counting) = &mut self.count else { return Ok(Some(false)) };
        let complete = counting.advance(self.limit, SLICE)?;
        Ok(complete.then_some(counting.count.bytes() > self.limit))
    }

    /// Whether the file system has lost so much that the limit may be near; others may have taken it, too.
    fn has_shrunk(&self, free: u64) -> bool {
        self.free_then.saturating_sub(free) > self.limit / 16
    }
}

/// Between two counts, when nothing looks suspicious.
const INTERVAL: Duration = Duration::from_secs(1);

/// Counting takes at most a fifth of a processor.
const REST_PER_WORK: u32 = 4;

/// Time for counting before init looks at everything else again.
const SLICE: Duration = Duration::from_millis(5);

impl Counting {
    fn begin(root: &OwnedFd) -> io::Result<Self> {
        // Through a name of its own: a descriptor's position in a directory is shared by its copies.
        let walk = Walk::new(reopen(root)?)?;
        let count = Count::begin(walk, Box::new(memory::processes))?;
        Ok(Self { count, worked: Duration::ZERO })
    }

    /// Goes on for `slice`, by one entry at least. Answers whether there is nothing left to count, or no need to.
    fn advance(&mut self, limit: u64, slice: Duration) -> io::Result<bool> {
        let began = Instant::now();
        let complete = loop {
            if !self.count.step()? || self.count.bytes() > limit {
                break true;
            }
            if began.elapsed() > slice {
                break false;
            }
        };
        self.worked += began.elapsed();
        Ok(complete)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_the_jobs_doing_only_if_the_job_has_filled_it() {
        let directory = tempfile::tempdir().unwrap();
        let root = reopen(std::fs::File::open(directory.path()).unwrap()).unwrap();
        let mut watch = DiskWatch::new(root, 1 << 20, Instant::now()).unwrap();
        assert_eq!(watch.look(Instant::now(), SLICE, false).unwrap(), Look::Fine);

        watch.reserve = u64::MAX;
        // Whatever others have written, it looks as if the job might have.
        watch.free_then = u64::MAX;
        let mut blame = || {
            assert_eq!(watch.look(Instant::now(), SLICE, false).unwrap(), Look::NearlyFull);
            watch.begin_finally().unwrap();
            loop {
                if let Some(exceeded) = watch.advance_finally().unwrap() {
                    return exceeded;
                }
            }
        };
        assert!(!blame());
        std::fs::write(directory.path().join("large"), vec![1; 2 << 20]).unwrap();
        assert!(blame());
    }
}
