//! How a volunteer comes by a task, and keeps it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, TaskId, owned};
use crate::Envelope;
use crate::facts::Runtime;
use crate::invalid::Invalid;
use crate::key::{ProjectKey, PublicKey, StatementId, Verifier};
use crate::statement::{Kind, Payload, StatementError};
use crate::time::Timestamp;

/// Tasks that one claim can ask for, and leases that one renewal can name.
pub const MAX_TASKS_A_CLAIM: u16 = 256;

/// A volunteer asks the home broker of an offer for tasks. Signed by the volunteer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Claim {
    /// The offer.
    pub offer: StatementId,
    /// The epoch whose home is asked.
    pub epoch: u64,
    /// How many tasks are wanted at most; 1 to 256.
    pub count: u16,
    /// The runtime that they would run in.
    pub runtime: Runtime,
    /// The volunteer's current ad, by which the home checks that it may have the task.
    pub ad: Envelope,
    /// The ownership that names the volunteer, if it has an owner (S92).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ownership: Option<Envelope>,
    /// Whether the machine may be out of reach while it works, so that leases with a deadline are
    /// wanted where the offer has some.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// Tells this claim from the volunteer's others.
    pub nonce: u64,
    /// At most an hour ahead.
    pub expires: Timestamp,
}

/// One task, granted to one volunteer. Signed by the home broker of the epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Lease {
    /// Whose offer it is.
    pub project: ProjectKey,
    /// What is granted.
    #[serde(flatten)]
    pub task: TaskId,
    /// The home's epoch.
    pub epoch: u64,
    /// To whom.
    pub volunteer: PublicKey,
    /// In which runtime.
    pub runtime: Runtime,
    /// When it was granted.
    pub granted: Timestamp,
    /// How long it holds after grant and after each renewal, in milliseconds.
    pub term_ms: u64,
    /// Until when it holds without being renewed, if it is an offline lease (S93).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deadline: Option<Timestamp>,
    /// The offer's expiry: a result may come until then.
    pub expires: Timestamp,
}

/// A volunteer still holds leases of one offer, or gives them back. Signed by the volunteer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Renewal {
    /// The leases; 1 to 256, all of `offer`.
    pub leases: Vec<StatementId>,
    /// Their offer.
    pub offer: StatementId,
    /// The epoch whose home is asked.
    pub epoch: u64,
    /// Kept or given back.
    pub intent: Intent,
    /// Whether the work on them is lost with the process or the machine, rather than given up. Only
    /// of leases that are released.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// When it was made; the home applies the latest.
    pub issued: Timestamp,
    /// At most an hour ahead.
    pub expires: Timestamp,
}

/// What a volunteer wants with its leases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Intent {
    /// The tasks are under way.
    Keep,
    /// Somebody else may have them.
    Release,
}

impl Payload for Claim {
    const KIND: Kind = Kind::Claim;
    const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        let counted = (1..=MAX_TASKS_A_CLAIM).contains(&self.count);
        Invalid::unless(counted, "S50", "a claim asks for 1 to 256 tasks")
    }

    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        owned(Self::KIND, "S92", self.ownership.as_ref(), signer, verifier).map(drop)
    }
}

impl Payload for Lease {
    const KIND: Kind = Kind::Lease;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(30);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.term_ms >= 1_000, "S51", "a term of under a second")?;
        let within = |deadline| (self.granted..=self.expires).contains(&deadline);
        let sound = self.deadline.is_none_or(within);
        Invalid::unless(sound, "S93", "a deadline before the grant or after the expiry")
    }
}

impl Payload for Renewal {
    const KIND: Kind = Kind::Renewal;
    const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        let counted = (1..=usize::from(MAX_TASKS_A_CLAIM)).contains(&self.leases.len());
        Invalid::unless(counted, "S52", "a renewal names 1 to 256 leases")
    }
}
