//! What the end of a step means for its job, and how it is reported.

use std::time::Duration;

use capability::statements::{Ended, Log, StepReport};
use volunteer_sandbox::Ending;

use crate::runtimes::StepEnd;

/// Length of a reason in bytes, as results allow it.
const MAX_REASON: usize = 256;

/// How the job ends because of this step; `None` if it goes on.
pub(super) fn judge(end: &StepEnd) -> Option<Ended> {
    let limit = |what: &str| Some(Ended::Limit(what.to_owned()));
    if end.fuel.is_some_and(|fuel| fuel.ran_out) {
        return limit("fuel");
    }
    match &end.ending {
        Ending::Exited { code: 0 } => None,
        Ending::Exited { .. } | Ending::Signalled { .. } => Some(Ended::Failed),
        Ending::TimedOut => limit("wall time"),
        Ending::MemoryExceeded => limit("memory"),
        Ending::DiskExceeded => limit("disk"),
        Ending::OutputExceeded => limit("output"),
        Ending::Killed => Some(Ended::Machine("stopped by the owner of the machine".to_owned())),
        Ending::SandboxFailed { reason } => Some(Ended::Machine(short(reason))),
    }
}

/// What the exit code does not tell.
pub(super) fn describe(end: &StepEnd) -> String {
    if end.fuel.is_some_and(|fuel| fuel.ran_out) {
        return "it used all the fuel that the job may".to_owned();
    }
    match &end.ending {
        Ending::Exited { .. } => end.note.clone(),
        Ending::Signalled { signal } => format!("ended by signal {signal}"),
        Ending::TimedOut => "the job's time was up".to_owned(),
        Ending::MemoryExceeded => "it used more memory than the job may".to_owned(),
        Ending::DiskExceeded => "it used more disk space than the job may".to_owned(),
        Ending::OutputExceeded => "it wrote more output than a step may".to_owned(),
        Ending::Killed => "stopped by the owner of the machine".to_owned(),
        Ending::SandboxFailed { reason } => reason.clone(),
    }
}

pub(super) fn report(name: &str, exit: Option<i32>, ending: String) -> StepReport {
    StepReport {
        name: name.to_owned(),
        exit,
        ending,
        wall_ms: 0,
        cpu_ms: 0,
        memory: 0,
        fuel: None,
        log: Log::Inline(Vec::new()),
    }
}

/// `text` as a reason: one line, cut to length.
pub(super) fn short(text: &str) -> String {
    let mut short: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    short.truncate(short.floor_char_boundary(MAX_REASON));
    short
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
