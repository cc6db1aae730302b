//! What happened, and what the master makes of it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::report::{MAX_ARTIFACTS, MAX_STEPS};
use super::{DAY, ForProject, TaskId, check_text};
use crate::Envelope;
use crate::cbor::Writer;
use crate::encryption::Sealed;
use crate::invalid::Invalid;
use crate::key::{BlobHash, ProjectKey, PublicKey, StatementId, Verifier};
use crate::statement::{Kind, Payload, StatementError};
use crate::time::Timestamp;

/// Blobs of one result at most: a log of each step, and all artifacts.
pub const MAX_BLOBS: usize = MAX_STEPS + MAX_ARTIFACTS;

/// What became of one leased task. Signed by the volunteer that held the lease.
///
/// It says in clear what brokers need to carry it home, and what happened to the master alone: that is
/// its [`Report`](super::Report).
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
    /// What must go with it: logs and artifacts, encrypted; at most 320.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub blobs: Vec<Blob>,
    /// The report, sealed to the encryption key of the offer's delegation (S81).
    pub report: Sealed,
    /// The lease's expiry.
    pub expires: Timestamp,
}

/// Bytes that travel beside a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Blob {
    /// Their hash, as they travel.
    pub hash: BlobHash,
    /// How many there are.
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
        self.blobs.iter().map(|blob| (blob.hash, blob.size))
    }

    /// What the report of a result by `volunteer` is bound to (S81): with other blobs, under another
    /// lease or by another volunteer it does not open.
    pub(crate) fn bond(volunteer: PublicKey, lease: StatementId, blobs: &[Blob]) -> Vec<u8> {
        let mut bond = Writer::default();
        bond.array(3).byte_string(volunteer.as_bytes()).byte_string(lease.as_bytes());
        bond.array(blobs.len() as u64);
        for blob in blobs {
            bond.array(2).byte_string(blob.hash.as_bytes()).unsigned(blob.size);
        }
        bond.into_bytes()
    }
}

impl Payload for JobResult {
    const KIND: Kind = Kind::Result;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(30);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.blobs.len() <= MAX_BLOBS, "S83", "over 320 blobs")
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
