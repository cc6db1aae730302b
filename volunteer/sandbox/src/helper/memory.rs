//! How much memory the job uses, all its processes together.
//!
//! Where no cgroup with a memory controller is delegated, resource limits are all the kernel offers, and they do not
//! add up over processes. So init adds up what `/proc` says. The cheap sum counts what processes share once for each,
//! which is never too little; only when it breaks the limit are proportional shares read, which costs the kernel a
//! walk over the page tables.

use std::fs;
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

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
}

impl MemoryWatch {
    /// Watches over a job on `processors`, or on all if there are none, that may use `limit` bytes.
    pub fn new(scratch: OwnedFd, limit: u64, processors: usize) -> Self {
        let all = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let processors = if processors == 0 { all() } else { processors } as u64;
        Self { scratch, limit, peak: 0, speed: processors * SPEED_PER_PROCESSOR }
    }

    /// Measures. Answers whether the limit is broken, and else the time until it could be by a fifth.
    pub fn check(&mut self) -> io::Result<Option<Duration>> {
        let outside_processes = self.scratch_bytes()? + system_v_bytes();
        let processes = processes()?;
        let mut used = outside_processes + sum(&processes, usage_at_most);
        if used > self.limit {
            used = outside_processes + sum(&processes, usage);
        }
        self.peak = self.peak.max(used);
        if used > self.limit {
            return Ok(None);
        }
        let room = self.limit - used + self.limit / 5;
        Ok(Some(Duration::from_millis(room / self.speed)))
    }

    fn scratch_bytes(&self) -> io::Result<u64> {
        let usage = rustix::fs::fstatvfs(&self.scratch)?;
        Ok((usage.f_blocks - usage.f_bfree) * usage.f_frsize)
    }
}

/// What a fast processor fills in a millisecond when it only takes page faults, with large pages.
const SPEED_PER_PROCESSOR: u64 = 4 << 20;

/// The ids of all processes of this pid namespace but init.
pub fn processes() -> io::Result<Vec<u32>> {
    let mut processes = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let process = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        processes.extend(process.filter(|process| *process != 1));
    }
    Ok(processes)
}

fn sum(processes: &[u32], usage: fn(u32) -> u64) -> u64 {
    processes.iter().map(|process| usage(*process)).fold(0, u64::saturating_add)
}

/// What `process` uses, with what it shares counted in full. Nothing if it has ended.
fn usage_at_most(process: u32) -> u64 {
    let Some((_, status)) = living_thread(process) else { return 0 };
    kilobytes(&status, &["RssAnon:", "RssShmem:", "VmSwap:", "VmPTE:"])
}

/// What `process` uses, with its part of what it shares, but without files, whose memory the kernel can take back.
/// Nothing if all of that is its parent's, as between `vfork` and `exec`.
fn usage(process: u32) -> u64 {
    let Some((thread, status)) = living_thread(process) else { return 0 };
    if shares_address_space(process, number(&status, "PPid:")) {
        return 0;
    }
    let shares = read(&thread.join("smaps_rollup"));
    let tables = kilobytes(&status, &["VmPTE:"]);
    kilobytes(&shares, &["Pss_Anon:", "Pss_Shmem:", "SwapPss:"]).saturating_add(tables)
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
    use super::kilobytes;

    #[test]
    fn only_the_named_lines_are_added_up() {
        let text = "Name:\tRssAnon: 9 kB\nRssAnon:\t  12 kB\nRssFile:\t 400 kB\nVmSwap:\t 3 kB\n";

        assert_eq!(kilobytes(text, &["RssAnon:", "VmSwap:"]), 15 * 1024);
    }
}
