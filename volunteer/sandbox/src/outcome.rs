//! How a step ended and what it used.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::network::NetworkUse;

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outcome {
    /// How it ended.
    pub ending: Ending,
    /// Time from start to end, pauses not counted.
    pub wall: Duration,
    /// Processor time of all its processes.
    pub cpu: Duration,
    /// The most memory that was seen in use, in bytes, by the rules of [`Limits::memory`](crate::Limits::memory).
    /// Below the limit, pages that forked processes share count once for each.
    pub memory_peak: u64,
    /// Standard output and error, in the order in which they were written, at most
    /// [`Limits::output`](crate::Limits::output) bytes.
    pub output: Vec<u8>,
    /// Whether more was written than `output` holds.
    pub output_truncated: bool,
    /// What it used of the network, if it was permitted some and its proxy could tell.
    pub network: Option<NetworkUse>,
}

/// Why a step is over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It exited by itself.
    Exited {
        /// Its exit code.
        code: i32,
    },
    /// A signal of its own making ended it.
    Signalled {
        /// The signal's number.
        signal: i32,
    },
    /// Its time was up.
    TimedOut,
    /// It used more memory than it may.
    MemoryExceeded,
    /// It filled its work directory, or the disk under it.
    DiskExceeded,
    /// It wrote more to standard output and error than it may.
    OutputExceeded,
    /// The daemon ended it.
    Killed,
    /// It never ran, or could not be watched any longer. Says nothing about the job.
    SandboxFailed {
        /// What failed, for a human.
        reason: String,
    },
}

/// What init tells the parent when all is over: one JSON object.
#[cfg(target_os = "linux")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Report {
    pub ending: Ending,
    pub wall: Duration,
    pub cpu: Duration,
    pub memory_peak: u64,
}

#[cfg(target_os = "linux")]
impl Report {
    pub fn failed(reason: String) -> Self {
        Self {
            ending: Ending::SandboxFailed { reason },
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            memory_peak: 0,
        }
    }
}
