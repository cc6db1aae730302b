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

    /// How many things a second, of `each` at a time.
    pub fn per_second(&self, each: usize) -> f64 {
        (each * self.0.len()) as f64 / self.0.iter().sum::<Duration>().as_secs_f64()
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let [median, p99, most] =
            [0.5, 0.99, 1.0].map(|part| sorted[((sorted.len() - 1) as f64 * part) as usize]);
        write!(f, "median {median:.1?}, p99 {p99:.1?}, longest {most:.1?}")
    }
}

/// Memory of this process that is in use, by Linux's account.
pub fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    let kilobytes: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kilobytes * 1024
}
