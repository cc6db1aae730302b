//! What a result tells the master alone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::result::{Blob, JobResult};
use super::{Credit, Lease, Ownership, check_text, owned};
use crate::cbor::{self, CborError};
use crate::encryption::{
    BlobKey, EncryptionKey, OpenError, Opener, Purpose, Sealer, encrypted_size, padded,
};
use crate::envelope::{Envelope, MAX_STATEMENT_BYTES};
use crate::facts::{Platform, Runtime};
use crate::invalid::Invalid;
use crate::key::{BlobHash, Verifier};
use crate::statement::{Kind, StatementError, Verified};
use crate::time::Timestamp;

/// A step's log up to this size travels inside its report; a larger one is a blob.
pub const MAX_INLINE_LOG_BYTES: usize = 2048;

/// Steps and artifacts of a report (S60, S61).
pub(super) const MAX_STEPS: usize = 64;
pub(super) const MAX_ARTIFACTS: usize = 256;

/// Bytes of the path of a file that a report names.
const MAX_ARTIFACT_PATH: usize = 512;

/// Bytes before the report that tell its length; padding follows it.
const LENGTH: usize = 4;

/// What became of a task, for the master's eyes only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// The steps that ran, in order; at most 64.
    pub steps: Vec<StepReport>,
    /// Files that the job file names as artifacts; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Artifact>,
    /// The key of the result's blobs.
    pub key: BlobKey,
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
    /// How often the job went on from a checkpoint of its own (S110).
    #[serde(default, skip_serializing_if = "is_zero")]
    pub resumed: u32,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
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
    /// Units of fuel that it used, if that was metered (S112).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
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
    Blob(BlobPart),
}

/// A file that the job made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Artifact {
    /// Relative to the work directory, with `/`; at most 512 bytes, no `..`.
    pub path: String,
    /// Its contents.
    #[serde(flatten)]
    pub content: BlobPart,
}

/// What is in one of the result's blobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BlobPart {
    /// Which of [`JobResult::blobs`], counted from 0. Also chooses its key (S84).
    pub blob: u32,
    /// How many bytes there are, before padding and encryption.
    pub size: u64,
    /// Their hash. So what several volunteers bring can be compared, though each encrypts it anew.
    pub hash: BlobHash,
}

/// A report that was opened and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// What it says.
    pub report: Report,
    /// The ownership in it, whose signature is genuine and which names the volunteer (S75).
    pub ownership: Option<Verified<Ownership>>,
}

/// A report cannot be had from its result.
#[derive(Debug, Error)]
pub enum Unreadable {
    /// Opening failed.
    #[error("cannot open the report")]
    Sealed(#[from] OpenError),
    /// It is no report.
    #[error("malformed report")]
    Malformed(#[from] CborError),
    /// It breaks a rule.
    #[error("invalid report")]
    Invalid(#[from] Invalid),
    /// The ownership in it is not sound.
    #[error("the ownership in a report")]
    Ownership(#[source] StatementError),
}

impl Unreadable {
    /// The rule of `docs/spec/statements.md` that is broken.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Sealed(_) => "S81",
            Self::Malformed(source) => source.rule(),
            Self::Invalid(source) => source.rule,
            Self::Ownership(source) => source.rule(),
        }
    }
}

impl JobResult {
    /// The result of the task that `lease` grants: `report`, sealed to `to`, and the `blobs` that it
    /// names.
    pub fn new(
        lease: &Verified<Lease>,
        blobs: Vec<Blob>,
        report: &Report,
        to: EncryptionKey,
        sealer: &dyn Sealer,
    ) -> Self {
        let bond = Self::bond(lease.volunteer, lease.id(), &blobs);
        let report = sealer.seal(Purpose::Report, to, &padded_report(report), &bond);
        Self {
            project: lease.project,
            task: lease.task,
            lease: lease.envelope().clone(),
            blobs,
            report,
            expires: lease.expires,
        }
    }
}

impl Report {
    /// The report in `result`, checked as the statements of brokers are (S3, S10, S60 to S63, S75, S83).
    ///
    /// # Errors
    /// If `opener` cannot open it, or it breaks a rule.
    pub fn open(
        result: &Verified<JobResult>,
        opener: &dyn Opener,
        verifier: &dyn Verifier,
    ) -> Result<Opened, Unreadable> {
        let volunteer = result.signer();
        let bond = JobResult::bond(volunteer, result.lease.id(), &result.blobs);
        let plaintext = opener.open(Purpose::Report, &result.report, &bond)?;
        let report: Self = cbor::decode(unpadded(&plaintext)?, MAX_STATEMENT_BYTES)?;
        report.validate(&result.blobs)?;
        let ownership = report.ownership.as_ref();
        let ownership = owned(Kind::Result, "S75", ownership, volunteer, verifier)
            .map_err(Unreadable::Ownership)?;
        Ok(Opened { report, ownership })
    }

    /// CPU time of all steps.
    pub fn credit(&self) -> Credit {
        Credit(self.steps.iter().fold(0, |sum, step| sum.saturating_add(step.cpu_ms)))
    }

    /// What is in the blobs that go with the result.
    pub fn parts(&self) -> impl Iterator<Item = BlobPart> + '_ {
        let logs = self.steps.iter().filter_map(|step| match step.log {
            Log::Blob(part) => Some(part),
            Log::Inline(_) => None,
        });
        logs.chain(self.artifacts.iter().map(|artifact| artifact.content))
    }

    /// Bounds and shapes that the types alone do not express, and whether the report is about `blobs`.
    ///
    /// # Errors
    /// The first rule that is broken.
    pub fn validate(&self, blobs: &[Blob]) -> Result<(), Invalid> {
        Invalid::unless(self.steps.len() <= MAX_STEPS, "S60", "over 64 steps")?;
        Invalid::unless(self.artifacts.len() <= MAX_ARTIFACTS, "S61", "over 256 artifacts")?;
        check_text("system", &self.system, 128)?;
        if let Ended::Limit(why) | Ended::Machine(why) = &self.ended {
            check_text("ending", why, 256)?;
        }
        self.steps.iter().try_for_each(StepReport::validate)?;
        self.artifacts.iter().try_for_each(Artifact::validate)?;
        self.account_for(blobs)
    }

    /// S83: the report names each of `blobs` once, and their sizes are those of what it says is in them.
    fn account_for(&self, blobs: &[Blob]) -> Result<(), Invalid> {
        let mut named = BTreeSet::new();
        for BlobPart { blob, size, .. } in self.parts() {
            let found = usize::try_from(blob).ok().and_then(|index| blobs.get(index));
            let encrypted = found.is_some_and(|found| found.size == encrypted_size(size));
            Invalid::unless(
                encrypted,
                "S83",
                "a blob that the result has not, or of another size",
            )?;
            Invalid::unless(named.insert(blob), "S83", "a blob that is named twice")?;
        }
        Invalid::unless(named.len() == blobs.len(), "S83", "a blob that the report does not name")
    }
}

/// S82: the report's length, the report, and zeros.
fn padded_report(report: &Report) -> Vec<u8> {
    let report = cbor::encode(report);
    let length = u32::try_from(report.len()).expect("a report is far below 4 GiB");
    let mut plaintext = length.to_be_bytes().to_vec();
    plaintext.extend(&report);
    let padded = padded(plaintext.len() as u64);
    plaintext.resize(usize::try_from(padded).expect("hardly more than is in memory"), 0);
    plaintext
}

fn unpadded(plaintext: &[u8]) -> Result<&[u8], Invalid> {
    let sound = || {
        let (length, rest) = plaintext.split_first_chunk::<LENGTH>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (report, padding) = rest.split_at_checked(length)?;
        let padded = padded((LENGTH + length) as u64) == plaintext.len() as u64;
        (padded && padding.iter().all(|byte| *byte == 0)).then_some(report)
    };
    sound().ok_or_else(|| Invalid::new("S82", "a report that is not padded as it should be"))
}

impl StepReport {
    fn validate(&self) -> Result<(), Invalid> {
        check_text("step name", &self.name, 64)?;
        check_text("ending", &self.ending, 256)?;
        let Log::Inline(bytes) = &self.log else { return Ok(()) };
        let small = bytes.len() <= MAX_INLINE_LOG_BYTES;
        Invalid::unless(small, "S62", "an inline log of over 2,048 bytes")
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
