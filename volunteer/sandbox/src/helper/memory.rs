//! How much memory the job uses, all its processes together.
//!
//! Where no cgroup with a memory controller is delegated, resource limits are all the kernel offers, and they do not
//! add up over processes. So init adds up what `/proc` says. The cheap sum counts what processes share once for each,
//! which is never too little; only near the limit are proportional shares read, which costs the kernel a walk over the
//! page tables.
//!
//! How soon it looks again depends on how long the processors that the job has would take to break the limit: far from
//! it seldom, near it each millisecond.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::affinity;
use crate::processes::{living_status, threads};
use crate::sys;

/// Watches over the memory of all processes but this one in its pid namespace.
pub struct MemoryWatch {
    /// The file system that holds the job's private `/tmp`, `/dev/shm` and home.
    scratch: OwnedFd,
    limit: u64,
    /// The most that was seen in use.
    pub peak: u64,
    /// How many bytes the job's processors could touch in a millisecond.
    speed: u64,
    shares: Shares,
    /// Before that, the limit cannot be broken by much.
    next_look: Instant,
}

impl MemoryWatch {
    /// Watches over a job on `processors`, or on all if there are none, that may use `limit` bytes.
    pub fn new(scratch: OwnedFd, limit: u64, processors: usize, now: Instant) -> Self {
        // Not what the standard library takes for parallelism: it reads all mounts and cgroups for that.
        let all = || affinity::processors().map_or(1, |all| all.len().max(1));
        let processors = if processors == 0 { all() } else { processors } as u64;
        let speed = processors * SPEED_PER_PROCESSOR;
        let shares = Shares::default();
        Self { scratch, limit, peak: 0, speed, shares, next_look: now }
    }

    /// Measures if it is time to. Answers whether the limit is broken.
    pub fn look(&mut self, now: Instant) -> io::Result<bool> {
        if now < self.next_look {
            return Ok(false);
        }
        let cpu_before = sys::own_cpu();
        let used = self.used()?;
        let cost = sys::own_cpu().saturating_sub(cpu_before);
        self.peak = self.peak.max(used);
        let Some(left) = self.limit.checked_sub(used) else { return Ok(true) };
        self.next_look = now + self.rest(left, cost);
        Ok(false)
    }

    /// Time until the next look is due.
    pub fn rest_at(&self, now: Instant) -> Duration {
        self.next_look.saturating_duration_since(now)
    }

    /// How long nobody need look if `left` bytes are free and a look takes `cost` of a processor: no longer than it takes
    /// to go over the limit by a tenth, unless the look itself takes longer. As much again may be taken while the next
    /// look lasts.
    fn rest(&self, left: u64, cost: Duration) -> Duration {
        let until_broken = Duration::from_micros((left + self.limit / 10) * 1000 / self.speed);
        until_broken.min(LONGEST_REST.max(cost * REST_PER_LOOK)).max(SHORTEST_REST).max(cost)
    }

    fn used(&mut self) -> io::Result<u64> {
        let elsewhere = self.scratch_bytes()? + system_v_bytes();
        let sizes = sizes()?;
        let at_most = elsewhere.saturating_add(sum(sizes.values().map(|size| size.total())));
        if at_most <= self.limit / 4 * 3 {
            self.shares = Shares::default();
            return Ok(at_most);
        }
        let at_least = elsewhere.saturating_add(self.shares.at_least(&sizes));
        if at_least > self.limit {
            return Ok(at_least);
        }
        if at_most <= self.limit && self.shares.covers(&sizes) {
            return Ok(at_most);
        }
        let (shares, used) = Shares::measure(sizes);
        self.shares = shares;
        Ok(elsewhere.saturating_add(used))
    }

    fn scratch_bytes(&self) -> io::Result<u64> {
        let usage = rustix::fs::fstatvfs(&self.scratch)?;
        Ok((usage.f_blocks - usage.f_bfree) * usage.f_frsize)
    }
}

/// How much anonymous memory processes shared when that was measured, near the limit but not yet over it.
///
/// To measure it takes a lock that a process holds while it maps memory, and on a busy machine a job waits for its turn
/// with the lock in its hands. Anonymous memory is shared since a fork, and of that there becomes more only by new
/// processes; so a limit that the anonymous memory of the others has broken is known to be broken without asking for it
/// again. Of any other memory processes can share more whenever they touch it: of that nothing is known in advance.
#[derive(Default)]
struct Shares {
    /// Those with an address space of their own, or else all that one takes is another's, too.
    among: BTreeSet<u32>,
    /// Anonymous bytes that were counted more than once, at most.
    excess: u64,
}

impl Shares {
    /// Measures, and gives the sum of what processes of these `sizes` use.
    fn measure(sizes: Sizes) -> (Self, u64) {
        let (mut shares, mut used) = (Self::default(), 0_u64);
        let (mut counted, mut anonymous) = (0_u64, 0_u64);
        for (process, before) in sizes {
            let Some(usage) = usage(process) else { continue };
            // Before and after, since they grow and shrink meanwhile: too much is the safe side.
            let larger = usage_at_most(process).anonymous.max(before.anonymous);
            counted = counted.saturating_add(larger);
            anonymous = anonymous.saturating_add(usage.anonymous);
            used = used.saturating_add(usage.total());
            shares.among.insert(process);
        }
        shares.excess = counted.saturating_sub(anonymous);
        (shares, used)
    }

    /// What processes of these `sizes` use at the very least.
    fn at_least(&self, sizes: &Sizes) -> u64 {
        let known = sizes.iter().filter(|(process, _)| self.among.contains(process));
        sum(known.map(|(_, size)| size.anonymous)).saturating_sub(self.excess)
    }

    /// Whether all of them were there that have not ended, as those have that nobody has waited for.
    fn covers(&self, sizes: &Sizes) -> bool {
        sizes.iter().all(|(process, size)| size.total() == 0 || self.among.contains(process))
    }
}

/// Bytes of memory, but of files only those that live in memory: the kernel can take others back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Size {
    /// A process's own, or shared since a fork.
    anonymous: u64,
    /// Of mappings that processes share, and of files in memory.
    shared: u64,
}

impl Size {
    fn total(self) -> u64 {
        self.anonymous.saturating_add(self.shared)
    }
}

/// What each process uses at most.
type Sizes = BTreeMap<u32, Size>;

fn sizes() -> io::Result<Sizes> {
    Ok(processes()?.into_iter().map(|process| (process, usage_at_most(process))).collect())
}

fn sum(sizes: impl Iterator<Item = u64>) -> u64 {
    sizes.fold(0, u64::saturating_add)
}

/// What a fast processor fills in a millisecond when it only takes page faults, with large pages: 12 MiB were measured.
const SPEED_PER_PROCESSOR: u64 = 12 << 20;

/// Between two looks, however far away the limit is, so that the peak is worth telling.
const LONGEST_REST: Duration = Duration::from_millis(25);

/// Below that, watching would cost more than it prevents.
const SHORTEST_REST: Duration = Duration::from_millis(1);

/// Far from its limit, watching over a job with many processes takes at most a twentieth of a processor; near it, half of
/// one, since a rest is never shorter than the look before it.
const REST_PER_LOOK: u32 = 20;

/// Takes their memory from all processes that have been killed, in this process's time. By themselves they give it back
/// when their turn comes, and the job's is the last of all on a busy machine.
pub fn release() -> io::Result<()> {
    for process in processes()? {
        let process = i32::try_from(process).ok().and_then(Pid::from_raw);
        // Whoever has ended meanwhile has no memory.
        let Some(Ok(process)) = process.map(|it| pidfd_open(it, PidfdFlags::empty())) else {
            continue;
        };
        let descriptor = process.as_raw_fd().cast_unsigned().into();
        // Fails before Linux 5.15, and for a process that has nothing left.
        let _ = sys::attempt(libc::SYS_process_mrelease, [descriptor, 0, 0, 0]);
    }
    Ok(())
}

/// The ids of all processes of this pid namespace but init.
pub fn processes() -> io::Result<Vec<u32>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        processes.extend(process.filter(|process| *process != 1));
    }
    Ok(processes)
}

/// What `process` uses, with what it shares counted in full. Nothing if it has ended.
fn usage_at_most(process: u32) -> Size {
    let Some((_, status)) = living_thread(process) else { return Size::default() };
    let anonymous = kilobytes(&status, &["RssAnon:", "VmSwap:", "VmPTE:"]);
    Size { anonymous, shared: kilobytes(&status, &["RssShmem:"]) }
}

/// What `process` uses, with its part of what it shares. None if all of that is its parent's, as between `vfork` and
/// `exec`, or if it has ended.
fn usage(process: u32) -> Option<Size> {
    let (thread, status) = living_thread(process)?;
    if shares_address_space(process, number(&status, "PPid:")) {
        return None;
    }
    let shares = read(&thread.join("smaps_rollup"));
    let tables = kilobytes(&status, &["VmPTE:"]);
    let anonymous = kilobytes(&shares, &["Pss_Anon:", "SwapPss:"]).saturating_add(tables);
    Some(Size { anonymous, shared: kilobytes(&shares, &["Pss_Shmem:"]) })
}

/// A thread of `process` that still has memory, and its status: usually the first, unless that has ended before
/// the others.
fn living_thread(process: u32) -> Option<(PathBuf, String)> {
    let living = |thread: PathBuf| living_status(&thread).map(|status| (thread, status));
    living(PathBuf::from(format!("/proc/{process}")))
        .or_else(|| threads(process).into_iter().find_map(living))
}

fn shares_address_space(process: u32, parent: u64) -> bool {
    const KCMP_VM: u64 = 1;
    parent > 1 && sys::attempt(libc::SYS_kcmp, [process.into(), parent, KCMP_VM, 0]) == Ok(0)
}

fn number(status: &str, name: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse().ok()).unwrap_or(0)
}

/// The segments of System V shared memory, which need no process to live.
fn system_v_bytes() -> u64 {
    let table = read(Path::new("/proc/sysvipc/shm"));
    let segments = table.lines().skip(1);
    // The columns `rss` and `swap`.
    let columns = |line: &str| -> u64 {
        line.split_ascii_whitespace().skip(14).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
    };
    segments.map(columns).fold(0, u64::saturating_add)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The sum, in bytes, of the lines of `text` that begin with one of `names` and give kilobytes.
fn kilobytes(text: &str, names: &[&str]) -> u64 {
    let value = |line: &str| {
        let (name, rest) = line.split_at_checked(line.find(':')? + 1)?;
        let known = names.contains(&name);
        known.then(|| rest.split_ascii_whitespace().next()?.parse::<u64>().ok())?
    };
    text.lines().filter_map(value).fold(0, u64::saturating_add).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_sooner_the_next_look() {
        let scratch = fs::File::open("/").unwrap().into();
        let watch = MemoryWatch::new(scratch, 1000 << 20, 2, Instant::now());
        let check = |left: u64, cost: u64, expected: u64| {
            let rest = watch.rest(left << 20, Duration::from_millis(cost));
            assert_eq!(rest, Duration::from_micros(expected), "{left} left, {cost} ms");
        };
        check(900, 0, 25_000);
        check(900, 1, 25_000);
        check(900, 2, 40_000);
        check(900, 10, 41_666);
        check(60, 5, 6_666);
        check(60, 10, 10_000);
        check(0, 0, 4_166);
        let tiny = MemoryWatch { limit: 1 << 20, ..watch };
        assert_eq!(tiny.rest(0, Duration::ZERO), SHORTEST_REST);
    }

    #[test]
    fn what_was_shared_says_how_much_is_used_at_least() {
        let shares = Shares { among: [2, 3].into(), excess: 60 };
        let check = |sizes: &[(u32, u64)], at_least: u64, covered: bool| {
            // Of the other kind each can come to have more at any time.
            let shared = |anonymous| if anonymous == 0 { 0 } else { 1000 };
            let size = |anonymous| Size { anonymous, shared: shared(anonymous) };
            let sizes = sizes.iter().map(|(process, bytes)| (*process, size(*bytes))).collect();
            assert_eq!((shares.at_least(&sizes), shares.covers(&sizes)), (at_least, covered));
        };
        check(&[(2, 100), (3, 100)], 140, true);
        check(&[(2, 150), (3, 110)], 200, true);
        check(&[(2, 100), (3, 100), (4, 100)], 140, false);
        check(&[(3, 100)], 40, true);
        check(&[(3, 10), (4, 100)], 0, false);
        check(&[(2, 100), (3, 100), (4, 0)], 140, true);
    }

    #[test]
    fn only_the_named_lines_are_added_up() {
        let text = "Name:\tRssAnon: 9 kB\nRssAnon:\t  12 kB\nRssFile:\t 400 kB\nVmSwap:\t 3 kB\n";

        assert_eq!(kilobytes(text, &["RssAnon:", "VmSwap:"]), 15 * 1024);
    }
}
