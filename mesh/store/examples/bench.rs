//! Measures durable commits: one at a time, and many at once. `bench [DIRECTORY]`; the directory decides the disk.

use std::env;
use std::error::Error;
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mesh_core::{Commit, CommitId, Write};
use mesh_store::{Options, SledStore, Store};

const SINGLE: u64 = 2_000;
const GROUPED: u64 = 100_000;
/// Commits under way at once.
const WINDOW: u64 = 1_000;

fn main() -> Result<(), Box<dyn Error>> {
    let parent = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let temp = tempfile::tempdir_in(parent)?;
    let store = SledStore::open(temp.path().join("store"), &Options::default())?;

    let started = Instant::now();
    let mut latencies = Vec::new();
    for n in 0..SINGLE {
        let begun = Instant::now();
        store.commit(vec![record(n)])?;
        latencies.push(begun.elapsed());
    }
    report("one at a time", SINGLE, started.elapsed(), latencies);

    let started = Instant::now();
    let flushes = store.stats().flushes;
    let latencies = grouped(&store)?;
    report("many at once", GROUPED, started.elapsed(), latencies);
    println!(
        "{:14} {:.0} commits per flush",
        "",
        GROUPED as f64 / (store.stats().flushes - flushes) as f64
    );
    Ok(())
}

/// Commits while at most [`WINDOW`] are under way, and returns how long each took.
fn grouped(store: &SledStore) -> Result<Vec<Duration>, Box<dyn Error>> {
    let (tell, told) = mpsc::channel();
    let mut latencies = Vec::new();
    for n in 0..GROUPED {
        if n >= WINDOW {
            latencies.push(told.recv()??);
        }
        let (tell, begun) = (tell.clone(), Instant::now());
        let done = Box::new(move |result: Result<CommitId, _>| {
            // Nobody listens once the bench has failed.
            let _ = tell.send(result.map(|_| begun.elapsed()));
        });
        store.commit_with(Commit { id: CommitId(n), writes: vec![record(SINGLE + n)] }, done);
    }
    for _ in 0..WINDOW {
        latencies.push(told.recv()??);
    }
    Ok(latencies)
}

/// A random key of 16 bytes with a value of 100.
fn record(n: u64) -> Write {
    Write::put(&blake3::hash(&n.to_le_bytes()).as_bytes()[..16], vec![0x5a; 100])
}

fn report(what: &str, commits: u64, elapsed: Duration, mut latencies: Vec<Duration>) {
    latencies.sort_unstable();
    let rank = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let rate = commits as f64 / elapsed.as_secs_f64();
    println!("{what:14} {rate:.0} durable commits/s, p50 {:?}, p99 {:?}", rank(50), rank(99));
}
