//! Figures as people read them.

use std::time::Duration;

use crate::processes::{Process, Usage};

/// Median, 99th percentile and the worst of `samples`, of which there is at least one.
pub fn spread(mut samples: Vec<Duration>) -> String {
    samples.sort_unstable();
    let at = |percent: usize| samples[(samples.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!(
        "median {:.1} ms, p99 {:.1} ms, worst {:.1} ms of {}",
        at(50),
        at(99),
        at(100),
        samples.len()
    )
}

/// Minimum, median and 99th percentile of `samples`, of which there is at least one.
pub fn lowest(mut samples: Vec<Duration>) -> String {
    samples.sort_unstable();
    let at = |percent: usize| samples[(samples.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    format!(
        "min {:.2} ms, median {:.2} ms, p99 {:.2} ms of {}",
        at(0),
        at(50),
        at(99),
        samples.len()
    )
}

/// From one time to a later one.
pub fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}

/// The machine, as far as figures depend on it.
pub fn machine() -> String {
    let cpus = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':']));
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores ({model}), load {}", load())
}

/// The load of the machine over the last minute.
pub fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split_whitespace().next().unwrap_or("unknown").to_owned()
}

/// A measurement under way: what each process had taken at its start.
pub struct Meter(Vec<Usage>);

impl Meter {
    /// Begins now.
    pub fn start<'a>(processes: impl Iterator<Item = &'a Process>) -> anyhow::Result<Self> {
        processes.map(Process::usage).collect::<Result<_, _>>().map(Self)
    }

    /// Prints what the same processes have taken since, in all and for each of `tasks`.
    pub fn print<'a>(
        &self,
        processes: impl Iterator<Item = &'a Process>,
        tasks: u32,
    ) -> anyhow::Result<()> {
        let mut sum = 0.0;
        for (process, before) in processes.zip(&self.0) {
            let now = process.usage()?;
            let cpu = now.cpu - before.cpu;
            sum += cpu;
            let micros = cpu * 1e6 / f64::from(tasks);
            let peak = now.peak >> 20;
            println!("  {:<12} {cpu:8.2} s CPU {micros:8.1} us a task {peak:6} MiB", process.name);
        }
        let micros = sum * 1e6 / f64::from(tasks);
        println!("  {:<12} {sum:8.2} s CPU {micros:8.1} us a task, load {}", "together", load());
        Ok(())
    }
}
