//! A workload whose whole state follows from the number of its last commit, so that whatever a crash leaves
//! can be compared with what it should have left: no commit in part, none out of order, none lost.

mod noise;

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::io::{self, BufRead, BufReader, Write as _};
use std::path::Path;
use std::process::ChildStdout;

use mesh_core::{Commit, CommitId, Write};
use mesh_store::{MAX_VALUE, Options, Records, SledStore, Store, StoreError};

/// Commits whose records are kept; each commit deletes those of the commit so long before.
const KEPT: u64 = 150;

const LAST: &[u8] = b"last";

/// What commit `n` writes.
pub fn writes(n: u64) -> Vec<Write> {
    let mut writes: Vec<Write> = records(n).map(|(key, value)| Write::Put { key, value }).collect();
    if let Some(old) = n.checked_sub(KEPT) {
        writes.extend(records(old).map(|(key, _)| Write::Delete { key }));
    }
    writes.push(Write::put(LAST, n.to_be_bytes()));
    writes
}

/// Commits from where the store stopped until the store or the process ends, and prints each number that was acknowledged.
pub fn write_on(store: &SledStore) -> StoreError {
    let first = last(store).map_or(0, |last| last + 1);
    let (tell, told) = std::sync::mpsc::channel();
    for n in first.. {
        let tell = tell.clone();
        let done = Box::new(move |result| match result {
            Ok(CommitId(n)) => {
                let mut out = io::stdout().lock();
                writeln!(out, "ack {n}").and_then(|()| out.flush()).expect("the parent reads");
            }
            Err(error) => tell.send(error).expect("the loop outlives its commits"),
        });
        store.commit_with(Commit { id: CommitId(n), writes: writes(n) }, done);
        if let Ok(error) = told.try_recv() {
            return error;
        }
    }
    unreachable!("numbers do not run out")
}

/// The numbers that are acknowledged on `output`, as they come, until it ends.
pub fn acknowledged_on(output: ChildStdout) -> impl Iterator<Item = u64> {
    let lines = BufReader::new(output).lines().map(|line| line.expect("text"));
    lines.filter_map(|line| line.strip_prefix("ack ")?.parse().ok())
}

/// Opens the store in `dir`, requires it to hold exactly what its commits up to some number have left, and
/// returns that number.
pub fn check(dir: &Path) -> Result<Option<u64>, String> {
    let store = open(dir).map_err(|error| format!("does not open: {error}"))?;
    let last = last(&store);
    let mut expected = BTreeMap::new();
    if let Some(last) = last {
        expected.extend((last.saturating_sub(KEPT - 1)..=last).flat_map(records));
        expected.insert(LAST.to_vec(), last.to_be_bytes().to_vec());
    }
    let found: Result<BTreeMap<_, _>, _> = Records::new(&store, []).collect();
    let found = found.map_err(|error| format!("cannot be read: {error}"))?;
    if found == expected {
        return Ok(last);
    }
    let missing = expected.keys().filter(|key| !found.contains_key(*key)).count();
    let surplus = found.keys().filter(|key| !expected.contains_key(*key)).count();
    Err(format!(
        "differs from commit {last:?}: {missing} of {} missing, {surplus} too many",
        expected.len()
    ))
}

/// Whether what was `acknowledged` is covered by what was `found`.
pub fn covers(found: Option<u64>, acknowledged: Option<u64>) -> bool {
    found >= acknowledged
}

pub fn open(dir: &Path) -> Result<SledStore, StoreError> {
    SledStore::open(dir, &Options { cache_bytes: 16 * 1024 * 1024, queue_commits: 64 })
}

/// A number from `low` up to `high`.
pub fn random_between(low: u64, high: u64) -> u64 {
    low + RandomState::new().hash_one(()) % (high - low)
}

fn last(store: &SledStore) -> Option<u64> {
    let value = store.get(LAST).expect("read")?;
    Some(u64::from_be_bytes(value.try_into().expect("eight bytes")))
}

/// One to twelve records, some large; every other commit's repeat themselves.
fn records(n: u64) -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let mix = move |i: u64| (n * 31 + i).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (0..=mix(0) % 12).map(move |i| {
        let size = match mix(i) % 100 {
            0 => MAX_VALUE,
            1..6 => 20_000,
            _ => 100,
        };
        let key = [&mix(i).to_be_bytes()[4..], &n.to_be_bytes(), &i.to_be_bytes()].concat();
        let byte = (n % 251) as u8;
        (key, if n.is_multiple_of(2) { vec![byte; size] } else { noise::noise(n, size) })
    })
}
