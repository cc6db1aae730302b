//! What ran here, as JSON: a page at a time, the newest first.

use capability::{Runtime, StatementId};
use serde::{Deserialize, Serialize};
use volunteer_core::{Fate, PastRun, Volunteer};

use crate::news::ending;
use crate::status::{ReceiptStatus, receipt};

/// Runs of a page at most.
pub const MAX_PAGE: usize = 500;

/// Runs of a page, unless more or fewer are asked for.
const USUAL_PAGE: usize = 100;

/// Which page is wanted.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PageAsked {
    /// Only runs with numbers below this one; all by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most so many, and [`MAX_PAGE`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
}

/// A page of the history.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HistoryPage {
    /// The newest first.
    pub runs: Vec<RunStatus>,
    /// What `before` has to be for the next page, if there is one.
    pub next: Option<u64>,
}

/// One run that has ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RunStatus {
    /// Its place in the history.
    pub number: u64,
    /// The project's key.
    pub project: String,
    /// What the owner called it then; may be empty.
    pub project_name: String,
    /// The job's name.
    pub name: String,
    /// Its offer.
    pub offer: StatementId,
    /// The task's number.
    pub task: u32,
    /// In which runtime.
    pub runtime: Runtime,
    /// When its first step started, as RFC 3339.
    pub started: String,
    /// When its last step ended, as RFC 3339.
    pub finished: String,
    /// `passed`, `failed`, `limit` or `machine`.
    pub ended: String,
    /// Which limit, or what was wrong with the machine.
    pub reason: String,
    /// What its steps took, in milliseconds.
    pub wall_ms: u64,
    /// What they took of the processors, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory that a step had, in bytes.
    pub memory: u64,
    /// Bytes that were fetched for it.
    pub fetched: u64,
    /// Bytes of what is sent back.
    pub sent: u64,
    /// What became of the result: `given up` if there is none, `waiting`, `judged`, or `unknown`.
    pub result: String,
    /// The receipt, if the result was judged and the receipt is kept.
    pub receipt: Option<ReceiptStatus>,
}

/// The page of `core`'s history that was asked for.
pub fn page(core: &Volunteer, asked: PageAsked) -> HistoryPage {
    let before = asked.before.unwrap_or(u64::MAX);
    let limit = asked.limit.unwrap_or(USUAL_PAGE).min(MAX_PAGE);
    let runs: Vec<_> = core.history(before, limit).map(|(past, fate)| run(past, fate)).collect();
    let last = runs.last().map(|run| run.number);
    let next = last.filter(|last| core.history(*last, 1).next().is_some());
    HistoryPage { runs, next }
}

fn run(past: &PastRun, fate: Fate<'_>) -> RunStatus {
    let (ended, reason) = ending(&past.ended);
    let (result, receipt) = match fate {
        Fate::NoResult => ("given up", None),
        Fate::Waits => ("waiting", None),
        Fate::Judged(judged) => ("judged", Some(receipt(judged))),
        Fate::Unknown => ("unknown", None),
    };
    RunStatus {
        number: past.number,
        project: past.project.to_string(),
        project_name: past.project_name.clone(),
        name: past.name.clone(),
        offer: past.task.offer,
        task: past.task.task,
        runtime: past.runtime.clone(),
        started: past.started.to_string(),
        finished: past.finished.to_string(),
        ended: ended.to_owned(),
        reason: reason.to_owned(),
        wall_ms: past.wall_ms,
        cpu_ms: past.cpu_ms,
        memory: past.memory,
        fetched: past.fetched,
        sent: past.sent,
        result: result.to_owned(),
        receipt,
    }
}
