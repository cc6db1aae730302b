//! Times and sizes.

use std::fmt;
use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long the same thing took each time.
#[derive(Debug, Default)]
pub struct Times(Vec<Duration>);

impl Times {
    /// Does it and notes how long it took.
    pub fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let began = Instant::now();
        let result = black_box(work());
        self.0.push(began.elapsed());
        result
    }

    /// How often it was timed.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// How long half of them took at most.
    pub fn median(&self) -> Duration {
        self.at(0.5)
    }

    /// How long that part of them took at most.
    fn at(&self, part: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[((sorted.len() - 1) as f64 * part) as usize]
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [median, p99, most] = [0.5, 0.99, 1.0].map(|part| self.at(part));
        write!(f, "median {median:.1?}, p99 {p99:.1?}, longest {most:.1?}")
    }
}

/// How long this process has had a core, by Linux's account: other work on the machine does not
/// count. It is told in steps of a few milliseconds.
pub fn core_time() -> Duration {
    let status = std::fs::read_to_string("/proc/self/schedstat").expect("Linux tells");
    let nanoseconds = status.split(' ').next().expect("it begins with the time");
    Duration::from_nanos(nanoseconds.parse().expect("a number"))
}

/// Memory of this process that is in use, by Linux's account.
pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}
