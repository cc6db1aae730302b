//! How fast machines are matched with jobs. `cargo run --release -p capability --example matching`
//! takes a minute; a number after `--` is how many machines there are (default 200,000).

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

mod population;

use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::Instant;

use capability::{Capabilities, Requirements, rank, satisfies};
use fastrand::Rng;

const SEED: u64 = 20_261_121;
const JOBS: usize = 1000;

/// Machines by which it is told how many a job matches.
const SAMPLE: usize = 4_000;

/// Jobs that match fewer or more are left out: they would say nothing of an index.
const SELECTIVITY: RangeInclusive<f64> = 0.001..=0.5;

/// Jobs that the plain evaluator is timed with: all would take minutes.
const TIMED: usize = 40;

fn main() {
    let machines = std::env::args().nth(1).map_or(200_000, |text| text.parse().expect("a number"));
    let mut rng = Rng::with_seed(SEED);
    let machines: Vec<Capabilities> =
        (0..machines).map(|_| population::machine(&mut rng)).collect();
    let sample: Vec<&Capabilities> =
        machines.iter().step_by(machines.len().div_ceil(SAMPLE)).collect();
    let mut jobs: Vec<(f64, Requirements)> = Vec::new();
    while jobs.len() < JOBS {
        let job = population::job(&mut rng);
        let share = share(&sample, &job);
        if SELECTIVITY.contains(&share) {
            jobs.push((share, job));
        }
    }
    println!("{} machines, {} jobs, seed {SEED}", machines.len(), jobs.len());
    let mut shares: Vec<f64> = jobs.iter().map(|(share, _)| share * 100.0).collect();
    shares.sort_by(f64::total_cmp);
    let at = |part: f64| shares[((shares.len() - 1) as f64 * part) as usize];
    println!(
        "match, in % of the machines: p10 {:.2}, median {:.2}, p90 {:.2}, most {:.2}",
        at(0.1),
        at(0.5),
        at(0.9),
        at(1.0)
    );
    let jobs: Vec<Requirements> = jobs.into_iter().map(|(_, job)| job).collect();
    plain(&machines, &jobs);
}

/// What share of the machines `job` matches, by a sample.
fn share(sample: &[&Capabilities], job: &Requirements) -> f64 {
    let matching = sample.iter().filter(|machine| satisfies(machine, job).is_some()).count();
    matching as f64 / sample.len() as f64
}

/// The plain evaluator, with the ten best by rank.
fn plain(machines: &[Capabilities], jobs: &[Requirements]) {
    let mut millis: Vec<f64> = Vec::new();
    for job in &jobs[..TIMED] {
        let began = Instant::now();
        let mut best: Vec<(u64, usize)> = Vec::new();
        for (index, machine) in machines.iter().enumerate() {
            if let Some(runtime) = satisfies(machine, job) {
                best.push((rank(machine, runtime, &job.rank), index));
            }
        }
        best.sort_unstable_by(|left, right| right.cmp(left));
        best.truncate(10);
        black_box(&best);
        millis.push(began.elapsed().as_secs_f64() * 1e3);
    }
    millis.sort_by(f64::total_cmp);
    let pairs = (machines.len() * TIMED) as f64 / (millis.iter().sum::<f64>() / 1e3);
    println!(
        "plain evaluator, one core: median {:.1} ms a job, {:.1} million pairs/s",
        millis[millis.len() / 2],
        pairs / 1e6
    );
}
