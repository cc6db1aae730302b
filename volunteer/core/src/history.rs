//! The **history**: what ran on this machine, for its owner to see.
//!
//! A run that has ended is written with whatever is written next, so that no run waits for the disk
//! on account of the history; of a process that is killed the last moments may be missing. What a
//! master said of a run is not repeated here: [`Volunteer::history`] looks it up among the receipts.

use std::collections::VecDeque;

use capability::statements::{Ended, JobResult, Receipt, TaskId};
use capability::{CborError, ProjectKey, Runtime, StatementId, Timestamp, Verified};
use mesh_core::{Chunks, Write};
use serde::{Deserialize, Serialize};

use crate::action::Outcome;
use crate::ledger::MAX_RECEIPTS;
use crate::volunteer::Volunteer;
use crate::work::Job;

/// Runs remembered at most; the oldest give way. For each that is remembered there may be a receipt.
pub const MAX_HISTORY: usize = MAX_RECEIPTS;

/// First byte of the keys of what ran.
pub(crate) const HISTORY_PREFIX: u8 = b'h';

/// Bytes of a run in a record, but for its words.
const RECORD_BYTES: usize = 384;

/// One run that has ended. There are many: fields in the order of the encoding need not be put into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PastRun {
    /// The job's name.
    pub name: String,
    /// Bytes of its result, logs and artifacts included, as they are sent; zero without a result.
    pub sent: u64,
    /// Which task of which offer.
    pub task: TaskId,
    /// How it ended.
    pub ended: Ended,
    /// What its steps took of the processors, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that one of them had, in bytes.
    pub memory: u64,
    /// Its place in the history, counted from zero, and never used again.
    pub number: u64,
    /// Its result; none if it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<StatementId>,
    /// Bytes that were fetched for it: its package, unless a run before it had fetched that.
    pub fetched: u64,
    /// Whose job it was.
    pub project: ProjectKey,
    /// In which runtime.
    pub runtime: Runtime,
    /// When the first step started.
    pub started: Timestamp,
    /// What its steps took together, in milliseconds.
    pub wall_ms: u64,
    /// When the last one ended.
    pub finished: Timestamp,
    /// What the owner called the project then; may be empty.
    pub project_name: String,
}

/// What has become of the result of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate<'a> {
    /// There is none: the run was given up.
    NoResult,
    /// It waits for its receipt.
    Waits,
    /// The master has judged it.
    Judged(&'a Receipt),
    /// It was let go without a receipt, or its receipt is among the oldest and kept no more.
    Unknown,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct History {
    /// The oldest first, each with the record that holds it once there is one.
    runs: VecDeque<(PastRun, Option<u64>)>,
    chunks: Chunks,
    /// How many at the end are in no record yet.
    unwritten: usize,
    next: u64,
}

impl Default for History {
    fn default() -> Self {
        let chunks = Chunks::new(HISTORY_PREFIX);
        Self { runs: VecDeque::new(), chunks, unwritten: 0, next: 0 }
    }
}

impl History {
    /// Takes up what a former process had made durable; records come in the order of their keys.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), CborError> {
        let (chunk, runs) = self.chunks.restore::<PastRun>(key, value)?;
        for run in runs {
            self.next = self.next.max(run.number + 1);
            self.push(run, Some(chunk));
        }
        Ok(())
    }

    /// Remembers `run`, as the newest.
    pub fn enter(&mut self, mut run: PastRun) {
        run.number = self.next;
        self.next += 1;
        self.push(run, None);
        self.unwritten = (self.unwritten + 1).min(self.runs.len());
    }

    /// Whether something waits to be written.
    pub fn has_writes(&self) -> bool {
        self.unwritten > 0
    }

    /// What must become durable of what was entered since the last call.
    pub fn writes(&mut self) -> Vec<Write> {
        if self.unwritten == 0 {
            return Vec::new();
        }
        let written = self.runs.len() - std::mem::take(&mut self.unwritten);
        let new = self.runs.range(written..).map(|(run, _)| (run.size(), run));
        let (mut writes, chunks) = self.chunks.put(new);
        for ((_, chunk), of) in self.runs.range_mut(written..).zip(chunks) {
            *chunk = Some(of);
        }
        writes.extend(self.chunks.deletions());
        writes
    }

    fn push(&mut self, run: PastRun, chunk: Option<u64>) {
        self.runs.push_back((run, chunk));
        if self.runs.len() > MAX_HISTORY
            && let Some((_, Some(chunk))) = self.runs.pop_front()
        {
            self.chunks.leave(chunk);
        }
    }
}

impl PastRun {
    fn new(job: &Job, outcome: &Outcome, project_name: String) -> Self {
        let steps = &outcome.steps;
        Self {
            number: 0,
            project: job.lease.project,
            project_name,
            name: job.offer.name.clone(),
            task: job.lease.task,
            runtime: job.lease.runtime.clone(),
            started: outcome.started,
            finished: outcome.finished,
            wall_ms: steps.iter().map(|step| step.wall_ms).fold(0, u64::saturating_add),
            cpu_ms: steps.iter().map(|step| step.cpu_ms).fold(0, u64::saturating_add),
            memory: steps.iter().map(|step| step.memory).max().unwrap_or_default(),
            fetched: job.fetched,
            sent: 0,
            ended: outcome.ended.clone(),
            result: None,
        }
    }

    /// The same with `result`, which was made of it.
    pub(crate) fn with(self, result: &Verified<JobResult>) -> Self {
        let blobs = result.blobs().map(|(_, size)| size).fold(0, u64::saturating_add);
        let sent = blobs.saturating_add(result.envelope().as_bytes().len() as u64);
        Self { sent, result: Some(result.id()), ..self }
    }

    /// Its bytes in a record, or some more.
    fn size(&self) -> usize {
        let reason = match &self.ended {
            Ended::Limit(reason) | Ended::Machine(reason) => reason.len(),
            Ended::Passed | Ended::Failed => 0,
        };
        RECORD_BYTES + self.project_name.len() + self.name.len() + reason
    }
}

impl Volunteer {
    /// Up to `limit` runs whose numbers are below `before`, the newest first, each with what has become
    /// of its result.
    pub fn history(&self, before: u64, limit: usize) -> impl Iterator<Item = (&PastRun, Fate<'_>)> {
        let older = self.history.runs.partition_point(|(run, _)| run.number < before);
        let newest_first = self.history.runs.range(..older).rev();
        newest_first.take(limit).map(|(run, _)| (run, self.fate(run)))
    }

    fn fate(&self, run: &PastRun) -> Fate<'_> {
        let Some(result) = run.result else { return Fate::NoResult };
        match self.ledger.receipt_of(result) {
            Some(receipt) => Fate::Judged(receipt),
            None if self.custody.holds(result) => Fate::Waits,
            None => Fate::Unknown,
        }
    }

    /// `job`, which has ended with `outcome`, as the history has it while there is no result.
    pub(crate) fn past(&self, job: &Job, outcome: &Outcome) -> PastRun {
        let pin = self.trust.pin(&job.lease.project);
        PastRun::new(job, outcome, pin.map(|pin| pin.name.clone()).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use capability::{PublicKey, SecretKey, Signer};

    use super::*;

    fn run() -> PastRun {
        let key: PublicKey = SecretKey::from_seed(&[1; 32]).public();
        let offer = StatementId::from_bytes([7; 32]);
        PastRun {
            number: 0,
            project: key.into(),
            project_name: "n".repeat(64),
            name: "n".repeat(64),
            task: TaskId { offer, task: 99_999, replica: 15 },
            runtime: Runtime::Native,
            started: Timestamp(u64::MAX),
            finished: Timestamp(u64::MAX),
            wall_ms: u64::MAX,
            cpu_ms: u64::MAX,
            memory: u64::MAX,
            fetched: u64::MAX,
            sent: u64::MAX,
            ended: Ended::Machine("r".repeat(256)),
            result: Some(offer),
        }
    }

    fn apply(disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: Vec<Write>) {
        for write in writes {
            match write {
                Write::Put { key, value } => drop(disk.insert(key, value)),
                Write::Delete { key } => drop(disk.remove(&key)),
            }
        }
    }

    #[test]
    fn the_oldest_give_way_in_memory_and_on_the_disk() {
        let (mut history, mut disk) = (History::default(), BTreeMap::new());
        let entered = MAX_HISTORY + 1000;
        for batch in 0..entered / 8 {
            (0..8).for_each(|_| history.enter(run()));
            if batch % 2 == 0 {
                apply(&mut disk, history.writes());
            }
        }
        apply(&mut disk, history.writes());
        assert!(!history.has_writes());
        let numbers = |history: &History| {
            let numbers = history.runs.iter().map(|(run, _)| run.number);
            numbers.collect::<Vec<_>>()
        };
        let last: Vec<_> = (1000..entered as u64).collect();
        assert_eq!(numbers(&history), last);
        assert!(disk.values().all(|value| value.len() <= 64 << 10), "what a record may have");
        assert!(disk.len() <= MAX_HISTORY / 8, "{} records", disk.len());

        let mut again = History::default();
        disk.iter().for_each(|(key, value)| again.restore(key, value).expect("our own"));
        assert_eq!(numbers(&again), last);
        again.enter(run());
        assert_eq!(again.runs.back().map(|(run, _)| run.number), Some(entered as u64));
    }

    #[test]
    fn a_run_takes_no_more_of_a_record_than_is_reckoned() {
        assert!(capability::encode_cbor(&run()).len() <= run().size());
    }
}
