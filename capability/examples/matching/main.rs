//! How fast machines are matched with jobs, on one core: by the index, by the plain evaluator, and
//! in the other direction. `cargo run --release -p capability --example matching` takes some
//! minutes; a number after `--` is how many machines there are (default 1,000,000).

#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock, and its own size")]

#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod figures;
mod population;

use std::collections::BTreeSet;
use std::hint::black_box;
use std::ops::RangeInclusive;
use std::time::Duration;

use capability::{
    Capabilities, MAX_STATEMENT_BYTES, MachineIndex, OfferIndex, Requirements, Runtime,
    decode_cbor, encode_cbor, rank, satisfies,
};
use fastrand::Rng;
use figures::{Times, core_time, resident_bytes};

const SEED: u64 = 20_261_121;
const JOBS: usize = 1000;
/// Machines by which it is told how many a job matches.
const SAMPLE: usize = 4_000;
/// Jobs that match fewer or more are left out: they would say nothing of an index.
const SELECTIVITY: RangeInclusive<f64> = 0.001..=0.5;

/// How many are wanted of each job.
const BEST: usize = 10;
/// Machines for the plain evaluator: a million of them do not fit beside the index.
const PLAIN_MACHINES: usize = 200_000;
/// Jobs that the plain evaluator is timed with: all would take minutes.
const PLAIN_JOBS: usize = 40;
/// How many the engines of others were measured with, HTCondor's among them.
const PEERS_MACHINES: usize = 10_000;
const PEERS_JOBS: usize = 100;
/// Machines that come, change and go in the full index.
const CHANGES: usize = 20_000;
const OFFERS: usize = 10_000;
/// Machines that ask for their offers.
const ASKING: usize = 1_000;

/// As long as a public key.
type Id = [u8; 32];

fn main() {
    let count = std::env::args().nth(1).map_or(1_000_000, |text| text.parse().expect("a number"));
    let mut rng = Rng::with_seed(SEED);
    let mut index = build(count, &mut rng);
    // The same machines again, as far as they are needed as such.
    let mut again = Rng::with_seed(SEED);
    let machines: Vec<_> =
        (0..count.min(PLAIN_MACHINES)).map(|_| decoded(&population::machine(&mut again))).collect();

    let jobs = jobs(&machines, &mut rng);
    let matches = select(&index, &jobs);
    plain(&machines, &jobs[..PLAIN_JOBS]);
    plain(&machines[..PEERS_MACHINES.min(machines.len())], &jobs[..PEERS_JOBS]);
    check(&machines, &jobs, &matches);
    change(&mut index, &machines, &mut rng);
    drop(index);
    offers(&machines, &mut rng);
}

/// The index of `count` machines, and what it is made of.
fn build(count: usize, rng: &mut Rng) -> MachineIndex<Id> {
    let mut digests = Vec::with_capacity(count);
    let before = resident_bytes();
    let mut index = MachineIndex::new();
    let mut puts = Times::default();
    for number in 0..count {
        let machine = population::machine(rng);
        digests.push(digest(&machine));
        puts.time(|| index.put(id(number), &machine));
    }
    let bytes = resident_bytes().saturating_sub(before) / count;
    digests.sort_unstable();
    digests.dedup();
    println!("{count} machines, {} of them distinct, seed {SEED}", digests.len());
    println!("building the index: {puts} a machine");
    // The list of digests is among it.
    println!("resident memory of index and rows: {} bytes a machine", bytes - size_of::<u64>());
    index
}

/// The machine as it comes out of its ad.
fn decoded(machine: &Capabilities) -> Capabilities {
    decode_cbor(&encode_cbor(machine), MAX_STATEMENT_BYTES).expect("our own")
}

/// Jobs that no two are the same of, each of which some of `machines` match, but not most.
fn jobs(machines: &[Capabilities], rng: &mut Rng) -> Vec<Requirements> {
    let sample: Vec<_> = machines.iter().step_by(machines.len().div_ceil(SAMPLE)).collect();
    let mut seen = BTreeSet::new();
    let mut jobs: Vec<(f64, Requirements)> = Vec::new();
    while jobs.len() < JOBS {
        let job = population::job(rng);
        let share = share(&sample, &job);
        if SELECTIVITY.contains(&share) && seen.insert(encode_cbor(&job)) {
            jobs.push((share, job));
        }
    }
    let mut shares: Vec<f64> = jobs.iter().map(|(share, _)| share * 100.0).collect();
    shares.sort_by(f64::total_cmp);
    let [low, median, high, most] =
        [0.1, 0.5, 0.9, 1.0].map(|part| shares[((shares.len() - 1) as f64 * part) as usize]);
    println!(
        "{JOBS} jobs, no two the same; they match, in % of the machines: \
         p10 {low:.2}, median {median:.2}, p90 {high:.2}, most {most:.2}"
    );
    jobs.into_iter().map(|(_, job)| job).collect()
}

/// What share of the machines `job` matches, by a sample.
fn share(sample: &[&Capabilities], job: &Requirements) -> f64 {
    let matching = sample.iter().filter(|machine| satisfies(machine, job).is_some()).count();
    matching as f64 / sample.len() as f64
}

/// Times the index; gives the numbers of the first machines that match each of the jobs that the
/// plain evaluator is timed with.
fn select(index: &MachineIndex<Id>, jobs: &[Requirements]) -> Vec<BTreeSet<usize>> {
    let mut times = Times::default();
    let (mut found, mut ranked) = (0, 0);
    let began = core_time();
    for (seed, job) in (0..).zip(jobs) {
        let selected = times.time(|| index.select(job, BEST, seed * 7919));
        found += selected.len();
        ranked += selected.best().len();
    }
    let took = core_time() - began;
    println!(
        "index, matching set and the best {BEST}: {times} a job; {found} matches, {ranked} ranked"
    );
    let mut explained = Times::default();
    for job in &jobs[..PLAIN_JOBS] {
        explained.time(|| index.explain(job));
    }
    println!("index, explanation: {explained} a job");
    let pairs = million_pairs(times.count() * index.len(), took);
    println!("index: {pairs:.0} million pairs a core-second");
    let plain = jobs.iter().take(PLAIN_JOBS).map(|job| {
        let selected = index.select(job, 0, 0);
        let numbers = selected.iter().map(|(id, _)| number(id));
        numbers.filter(|number| *number < PLAIN_MACHINES).collect()
    });
    plain.collect()
}

/// The plain evaluator, with the best by rank.
fn plain(machines: &[Capabilities], jobs: &[Requirements]) {
    let mut times = Times::default();
    let began = core_time();
    for job in jobs {
        times.time(|| {
            let mut best: Vec<(u64, usize)> = Vec::new();
            for (index, machine) in machines.iter().enumerate() {
                if let Some(runtime) = satisfies(machine, job) {
                    best.push((rank(machine, runtime, &job.rank), index));
                }
            }
            best.sort_unstable_by(|left, right| right.cmp(left));
            best.truncate(BEST);
            black_box(best)
        });
    }
    let (count, took) = (machines.len(), core_time() - began);
    println!("plain evaluator, {} jobs with {count} machines: {times} a job", times.count());
    let pairs = million_pairs(times.count() * count, took);
    println!("plain evaluator: {pairs:.1} million pairs a core-second");
}

fn million_pairs(pairs: usize, time: Duration) -> f64 {
    pairs as f64 / time.as_secs_f64() / 1e6
}

/// Holds the index against the plain evaluator.
fn check(machines: &[Capabilities], jobs: &[Requirements], matches: &[BTreeSet<usize>]) {
    for (job, matches) in jobs.iter().zip(matches) {
        let numbers = 0..machines.len();
        let plain = numbers.filter(|number| satisfies(&machines[*number], job).is_some());
        assert!(plain.eq(matches.iter().copied()), "index and plain evaluator disagree: {job:?}");
    }
    println!("index and plain evaluator agree on {} jobs", matches.len());
}

/// Changes, removes and puts back machines that are spread over the index.
fn change(index: &mut MachineIndex<Id>, machines: &[Capabilities], rng: &mut Rng) {
    let (mut same, mut changed) = (Times::default(), Times::default());
    let (mut removed, mut put) = (Times::default(), Times::default());
    for _ in 0..CHANGES {
        let chosen = rng.usize(..machines.len());
        let mut machine = machines[chosen].clone();
        let id = id(chosen);
        index.put(id, &machine);
        same.time(|| index.put(id, &machine));
        machine.resources.memory += 1 << 30;
        if let Some(native) = machine.runtimes.get_mut(&Runtime::Native) {
            let version = format!("3.{}.{}", rng.u64(..12), rng.u64(..4));
            native.facts.insert("tool.python3", version).expect("a sound fact");
        }
        changed.time(|| index.put(id, &machine));
        removed.time(|| assert!(index.remove(&id)));
        put.time(|| index.put(id, &machine));
    }
    println!("put unchanged: {same}");
    println!("put with a tool and a donation changed: {changed}");
    println!("remove: {removed}");
    println!("put anew: {put}");
}

/// The other direction: which of many offers does a machine satisfy?
fn offers(machines: &[Capabilities], rng: &mut Rng) {
    let jobs: Vec<Requirements> = (0..OFFERS).map(|_| population::job(rng)).collect();
    let mut index = OfferIndex::new();
    let mut puts = Times::default();
    for (number, job) in jobs.iter().enumerate() {
        puts.time(|| index.put(number, job));
    }
    let (mut indexed, mut plain) = (Times::default(), Times::default());
    for machine in machines.iter().take(ASKING) {
        let found = indexed.time(|| index.select(machine).len());
        let expected =
            plain.time(|| jobs.iter().filter(|job| satisfies(machine, job).is_some()).count());
        assert_eq!(found, expected);
    }
    println!("{OFFERS} offers, put: {puts}");
    println!("offers that a machine satisfies, by the index: {indexed}");
    println!("offers that a machine satisfies, plain: {plain}");
}

/// An id that tells its number, but is in no order of it.
fn id(number: usize) -> Id {
    let mut id = *blake3::hash(&number.to_le_bytes()).as_bytes();
    *id.last_chunk_mut().expect("it is longer") = number.to_le_bytes();
    id
}

fn number(id: &Id) -> usize {
    usize::from_le_bytes(*id.last_chunk().expect("it is longer"))
}

fn digest(machine: &Capabilities) -> u64 {
    let digest = blake3::hash(&encode_cbor(machine));
    u64::from_le_bytes(*digest.as_bytes().first_chunk().expect("it is longer"))
}
