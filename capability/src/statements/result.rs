//! What happened, and what the master makes of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, ForProject, TaskId, check_text, owned};
use crate::Envelope;
use crate::facts::{Platform, Runtime};
use crate::invalid::Invalid;
use crate::key::{BlobHash, ProjectKey, PublicKey, StatementId, Verifier};
use crate::statement::{Kind, Payload, StatementError};
use crate::time::Timestamp;

/// A step's log up to this size travels inside its result; a larger one is a blob.
pub const MAX_INLINE_LOG_BYTES: usize = 2048;

/// Bytes of the path of a file that a result names.
const MAX_ARTIFACT_PATH: usize = 512;

/// What became of one leased task. Signed by the volunteer that held the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct JobResult {
    /// Whose offer it was.
    pub project: ProjectKey,
    /// Which task.
    #[serde(flatten)]
    pub task: TaskId,
    /// The lease under which it ran.
    pub lease: Envelope,
    /// How it ended.
    pub ended: Ended,
    /// The steps that ran, in order; at most 64.
    pub steps: Vec<StepReport>,
    /// Files that the job file names as artifacts; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// The machine.
    pub platform: Platform,
    /// The operating system as the runtime shows it, for people; at most 128 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub system: String,
    /// The runtime.
    pub runtime: Runtime,
    /// The ownership that names the volunteer, if it has an owner (S75, S76).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Envelope>,
    /// When the first step started, by the volunteer's clock.
    pub started: Timestamp,
    /// When the last one ended.
    pub finished: Timestamp,
    /// The lease's expiry.
    pub expires: Timestamp,
}

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ended {
    /// Every step exited with 0.
    Passed,
    /// A step exited with another code, or was ended by a signal: the job's doing.
    Failed,
    /// A limit of the job was exceeded; which one, for people.
    Limit(String),
    /// The machine could not run it: no fault of the job. Why, for people.
    Machine(String),
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct StepReport {
    /// Its name in the job file.
    pub name: String,
    /// Its exit code; absent if it did not exit by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// How it ended, for people, where the exit code does not tell; at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ending: String,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory in bytes.
    pub memory: u64,
    /// Standard output and error as they came.
    pub log: Log,
}

/// A log, where its size suggests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Log {
    /// The bytes themselves.
    #[serde(with = "serde_bytes")]
    Inline(Vec<u8>),
    /// A blob that goes with the result.
    Blob {
        /// Its hash.
        hash: BlobHash,
        /// Its size in bytes.
        size: u64,
    },
}

/// A file that the job made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    /// Relative to the work directory, with `/`; at most 512 bytes, no `..`.
    pub path: String,
    /// Its contents.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size: u64,
}

/// The master's judgement of one result, signed by a key to which the project delegated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Receipt {
    /// The project.
    pub project: ProjectKey,
    /// The result.
    pub result: StatementId,
    /// The task it was for.
    #[serde(flatten)]
    pub task: TaskId,
    /// Who sent it.
    pub volunteer: PublicKey,
    /// Taken or not.
    pub verdict: Verdict,
    /// When it was judged.
    pub issued: Timestamp,
    /// The project key's delegation to the signer.
    pub delegation: Envelope,
    /// Not after the delegation's.
    pub expires: Timestamp,
}

/// What became of a result.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It counts, and earns credit.
    Accepted(Credit),
    /// It does not count; why, for people. The task is settled or open as before.
    Rejected(String),
    /// It does not count, and the task is open again; why, for people.
    Again(String),
}

/// Core-milliseconds that a volunteer has given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Credit(pub u64);

impl JobResult {
    /// The blobs that must go with the result, with their sizes in bytes.
    pub fn blobs(&self) -> impl Iterator<Item = (BlobHash, u64)> + '_ {
        let logs = self.steps.iter().filter_map(|step| match step.log {
            Log::Blob { hash, size } => Some((hash, size)),
            Log::Inline(_) => None,
        });
        logs.chain(self.artifacts.iter().map(|artifact| (artifact.hash, artifact.size)))
    }

    /// CPU time of all steps.
    pub fn credit(&self) -> Credit {
        Credit(self.steps.iter().fold(0, |sum, step| sum.saturating_add(step.cpu_ms)))
    }
}

impl Payload for JobResult {
    const KIND: Kind = Kind::Result;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(30);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.steps.len() <= 64, "S60", "over 64 steps")?;
        Invalid::unless(self.artifacts.len() <= 256, "S61", "over 256 artifacts")?;
        check_text("system", &self.system, 128)?;
        if let Ended::Limit(why) | Ended::Machine(why) = &self.ended {
            check_text("ending", why, 256)?;
        }
        for step in &self.steps {
            check_text("step name", &step.name, 64)?;
            check_text("ending", &step.ending, 256)?;
            if let Log::Inline(bytes) = &step.log {
                let small = bytes.len() <= MAX_INLINE_LOG_BYTES;
                Invalid::unless(small, "S62", "an inline log of over 2,048 bytes")?;
            }
        }
        self.artifacts.iter().try_for_each(Artifact::validate)
    }

    /// S75: the owner and the volunteer name each other, this one by signing.
    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        owned(Self::KIND, "S75", self.ownership.as_ref(), signer, verifier)
    }
}

impl Artifact {
    /// Why no result can name a file by `path` (S10, S63); none if it can.
    pub fn path_fault(path: &str) -> Option<&'static str> {
        broken_by(path).map(|(_, reason)| reason)
    }

    fn validate(&self) -> Result<(), Invalid> {
        let invalid = |(rule, reason)| Invalid::new(rule, format!("an artifact: {reason}"));
        broken_by(&self.path).map_or(Ok(()), |broken| Err(invalid(broken)))
    }
}

/// The rule that a file's path breaks, and how: it is to stay where it is put, and to be shown.
fn broken_by(path: &str) -> Option<(&'static str, &'static str)> {
    let leads_elsewhere = |part| matches!(part, "" | "." | "..");
    if path.len() > MAX_ARTIFACT_PATH {
        Some(("S10", "its path is longer than 512 bytes"))
    } else if path.contains(char::is_control) {
        Some(("S10", "its path holds control characters"))
    } else {
        path.split('/').any(leads_elsewhere).then_some(("S63", "its path leads elsewhere"))
    }
}

impl Payload for Receipt {
    const KIND: Kind = Kind::Receipt;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        match &self.verdict {
            Verdict::Accepted(_) => Ok(()),
            Verdict::Rejected(why) | Verdict::Again(why) => check_text("reason", why, 256),
        }
    }

    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        let Self { project, expires, ref delegation, .. } = *self;
        ForProject { kind: Self::KIND, project, expires, delegation }.authorize(signer, verifier)
    }

    fn delegation(&self) -> Option<&Envelope> {
        Some(&self.delegation)
    }
}
