//! Offers of work, and their end.

use std::time::Duration;

use serde::ser::SerializeStruct as _;
use serde::{Deserialize, Serialize, Serializer};

use super::{DAY, Delegation, ForProject, Private, SealedPackage, check_text, strictly};
use crate::cbor;
use crate::destination::Destination;
use crate::encryption::EncryptionKey;
use crate::envelope::{Envelope, MAX_STATEMENT_BYTES};
use crate::facts::Runtime;
use crate::invalid::Invalid;
use crate::job_file::{Image, JobSpec};
use crate::key::{BlobHash, ProjectKey, PublicKey, StatementId, Verifier};
use crate::requirements::Requirements;
use crate::statement::{Kind, Payload, StatementError, Verified};
use crate::time::Timestamp;

/// Tasks in one offer at most: the home broker keeps some bytes for each.
pub const MAX_TASKS: u32 = 100_000;

/// Of an offer that says nothing about its priority.
pub const USUAL_PRIORITY: u8 = 5;

/// The highest priority (S91).
pub const MAX_PRIORITY: u8 = 9;

/// How long an offer can let leases be held without a sign of life, beyond what the job may take
/// (S90): as long as an offer lives.
pub const MAX_OFFLINE: Duration = DAY.saturating_mul(30);

/// Bytes of one package at most.
pub const MAX_PACKAGE_BYTES: u64 = 1 << 30;

/// A pool of tasks of one package, signed by a key to which the project delegated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Offer {
    /// The project.
    pub project: ProjectKey,
    /// The job's name; at most 64 bytes.
    pub name: String,
    /// The column of the matrix that its results belong to; at most 64 bytes.
    pub builder: String,
    /// How many tasks; they are numbered from 0.
    pub tasks: u32,
    /// Results wanted of each task, from different volunteers; 1 to 16.
    pub replicas: u16,
    /// Sources and modules.
    pub package: Package,
    /// Who can read the package, if not everybody; nobody else may run the job (S85, S86).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub private: Option<Private>,
    /// What a machine must have.
    pub requirements: Requirements,
    /// What is run there, and within which limits.
    pub job: JobSpec,
    /// How much longer than the job may take an offline lease holds, in milliseconds; 0: there are
    /// none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offline_ms: u64,
    /// Which of its project's offers come first: those of the highest number, 0 to 9. Other projects
    /// are not concerned.
    #[serde(default = "usual_priority", skip_serializing_if = "is_usual")]
    pub priority: u8,
    /// When the master made the offer.
    pub issued: Timestamp,
    /// The project key's delegation to the signer.
    pub delegation: Envelope,
    /// Not after the delegation's, and at most 30 days ahead.
    pub expires: Timestamp,
}

/// A blob that holds a tar archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Package {
    /// Its BLAKE3 hash.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size: u64,
}

/// One replica of one task of one offer: what a lease grants and a result is accepted for, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct TaskId {
    /// The offer.
    #[serde(deserialize_with = "strictly::id")]
    pub offer: StatementId,
    /// The task's number in it.
    pub task: u32,
    /// The replica's number, from 0.
    pub replica: u16,
}

/// In the order of the encoding, which is not that of tasks: what is in order need not be put in order.
impl Serialize for TaskId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("TaskId", 3)?;
        fields.serialize_field("task", &self.task)?;
        fields.serialize_field("offer", &self.offer)?;
        fields.serialize_field("replica", &self.replica)?;
        fields.end()
    }
}

/// The end of an offer or ad before it expires. Signed by the key that signed the original.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Withdrawal {
    /// What is withdrawn.
    pub statement: StatementId,
    /// Why, for people; at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// The original's expiry: until then the withdrawal is kept, so that nothing resurrects it.
    pub expires: Timestamp,
}

impl Offer {
    /// Whether `volunteer` can read the package, and so may run the job.
    pub fn admits(&self, volunteer: PublicKey) -> bool {
        let recipients = self.private.as_ref().map(|private| &private.recipients);
        recipients.is_none_or(|recipients| recipients.iter().any(|it| it.volunteer == volunteer))
    }

    /// What `volunteer` needs to read the package, if that is private and for it.
    pub fn package_for(&self, volunteer: PublicKey) -> Option<SealedPackage> {
        self.private.as_ref()?.sealed_for(self.project, &self.package, volunteer)
    }
}

impl Verified<Offer> {
    /// To whom reports of its tasks are sealed: the delegate who signed it.
    pub fn recipient(&self) -> EncryptionKey {
        let delegation = cbor::decode::<Delegation>(self.delegation.payload(), MAX_STATEMENT_BYTES);
        delegation.expect("it was checked with the offer (S7)").encryption
    }
}

impl Payload for Offer {
    const KIND: Kind = Kind::Offer;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(30);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("name", &self.name, 64)?;
        check_text("builder", &self.builder, 64)?;
        Invalid::unless((1..=MAX_TASKS).contains(&self.tasks), "S40", "1 to 100,000 tasks")?;
        Invalid::unless((1..=16).contains(&self.replicas), "S41", "1 to 16 replicas")?;
        let size = self.package.size;
        Invalid::unless(size <= MAX_PACKAGE_BYTES, "S42", "a package of over 1 GiB")?;
        self.private.as_ref().map_or(Ok(()), |private| private.validate(&self.package))?;
        let bounded = u128::from(self.offline_ms) <= MAX_OFFLINE.as_millis();
        Invalid::unless(bounded, "S90", "offline leases of over 30 days")?;
        Invalid::unless(self.priority <= MAX_PRIORITY, "S91", "a priority of over 9")?;
        self.requirements.validate()?;
        let asks = self.requirements.clauses.contains(&Destination::required());
        let said = asks || self.job.network.is_empty();
        Invalid::unless(said, "S99", "destinations, and no network.proxy is required")?;
        let image = self.job.image.as_ref().and_then(Image::required);
        let asks = image.is_none_or(|engine| self.requirements.clauses.contains(&engine));
        let why = "an image of a repository, and no image.engine is required";
        Invalid::unless(asks, "S116", why)?;
        let metered = self.job.limits.fuel.is_some();
        let wasm_alone = self.requirements.runtimes.iter().all(|it| *it == Runtime::Wasm);
        Invalid::unless(!metered || wasm_alone, "S111", "fuel in another runtime than wasm")?;
        Ok(self.job.validate()?)
    }

    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        let Self { project, expires, ref delegation, .. } = *self;
        ForProject { kind: Self::KIND, project, expires, delegation }.authorize(signer, verifier)
    }

    fn delegation(&self) -> Option<&Envelope> {
        Some(&self.delegation)
    }
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

fn usual_priority() -> u8 {
    USUAL_PRIORITY
}

fn is_usual(priority: &u8) -> bool {
    *priority == USUAL_PRIORITY
}

impl Payload for Withdrawal {
    const KIND: Kind = Kind::Withdrawal;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(30);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("reason", &self.reason, 256)
    }
}
