//! What a step leaves on the host, and what it takes of it meanwhile, as anybody can see in `/proc`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The processes of the host that see a mount of something below a directory of this name: those of its sandboxes, and
/// all of the host if a mount has leaked. Names of temporary directories are unique.
pub fn processes_with_mounts_of(name: &str) -> BTreeSet<u32> {
    processes().filter(|process| has_mounts_of(*process, name)).collect()
}

/// How often these processes have gone to sleep.
pub fn naps_of(name: &str) -> u64 {
    let naps = |process: u32| -> Option<u64> {
        let status = read_of(process, "status")?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line?.trim().parse().ok()
    };
    processes_with_mounts_of(name).into_iter().filter_map(naps).sum()
}

/// What lies in `directory`.
pub fn names_in(directory: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(directory).unwrap().flatten().map(|entry| entry.file_name());
    names.map(|name| name.to_string_lossy().into_owned()).collect()
}

fn processes() -> impl Iterator<Item = u32> {
    let names = fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    names.filter_map(|name| name.to_str()?.parse().ok())
}

fn has_mounts_of(process: u32, name: &str) -> bool {
    read_of(process, "mountinfo").is_some_and(|mounts| mounts.contains(name))
}

/// What the kernel says of a process in `file`: of any of its threads, since the first may have ended.
fn read_of(process: u32, file: &str) -> Option<String> {
    let read = |directory: &Path| {
        let said = fs::read_to_string(directory.join(file)).ok();
        said.filter(|said| !said.is_empty())
    };
    let directory = Path::new("/proc").join(process.to_string());
    let threads = || fs::read_dir(directory.join("task")).ok();
    read(&directory).or_else(|| threads()?.flatten().find_map(|thread| read(&thread.path())))
}

/// Adds up the memory of a sandbox from outside, again and again, until it is asked.
pub struct Sampler {
    enough: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Sample>>,
}

/// The memory at some moment between two.
struct Sample {
    began: Instant,
    ended: Instant,
    bytes: u64,
}

/// Between two samples, beside the time that they take.
const INTERVAL: Duration = Duration::from_millis(2);

impl Sampler {
    /// Looks at the processes with mounts of `name`.
    pub fn of(name: &str) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let (until, name) = (Arc::clone(&enough), name.to_owned());
        let thread = std::thread::spawn(move || {
            let (mut samples, mut known) = (Vec::new(), BTreeMap::new());
            while !until.load(Ordering::Relaxed) {
                let ours = |process: &u32| {
                    *known.entry(*process).or_insert_with(|| has_mounts_of(*process, &name))
                };
                let began = Instant::now();
                let bytes = processes().filter(ours).map(memory_of).sum();
                samples.push(Sample { began, ended: Instant::now(), bytes });
                std::thread::sleep(INTERVAL);
            }
            samples
        });
        Self { enough, thread }
    }

    /// How far `limit` was exceeded.
    pub fn overshoot(self, limit: u64) -> Overshoot {
        self.enough.store(true, Ordering::Relaxed);
        let samples = self.thread.join().unwrap();
        let most = samples.iter().map(|sample| sample.bytes).max().unwrap_or(0);
        let mut above = samples.iter().filter(|sample| sample.bytes > limit);
        let between =
            |first: &Sample, last: &Sample| last.began.saturating_duration_since(first.ended);
        let first = above.next();
        let above = first.zip(above.next_back()).map(|(first, last)| between(first, last));
        let gaps = samples.windows(2).map(|pair| between(&pair[0], &pair[1]));
        let gap = gaps.max().unwrap_or_default();
        Overshoot { most, above: above.unwrap_or_default(), gap }
    }
}

/// What was seen above a limit.
#[derive(Debug)]
pub struct Overshoot {
    /// Bytes in the largest sample.
    pub most: u64,
    /// For how long there was certainly more than the limit.
    pub above: Duration,
    gap: Duration,
}

impl Overshoot {
    /// Whether the sampler itself had to wait for a processor for so long that the machine was too busy for a word about
    /// milliseconds.
    pub fn is_blurred(&self) -> bool {
        self.gap > 10 * INTERVAL
    }
}

/// What a process has for itself, and its part of what it shares; no pages of files.
fn memory_of(process: u32) -> u64 {
    let shares = read_of(process, "smaps_rollup").unwrap_or_default();
    let bytes = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let counts = ["Pss_Anon", "Pss_Shmem", "SwapPss"].contains(&name);
        counts.then(|| value.trim().strip_suffix(" kB")?.parse::<u64>().ok())?
    };
    shares.lines().filter_map(bytes).sum::<u64>() * 1024
}
