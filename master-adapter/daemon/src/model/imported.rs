//! What goes and comes in parcels.

use capability::{PublicKey, Runtime, StatementId, Timestamp};
use serde::{Deserialize, Serialize};

/// `POST /api/v1/jobs/{offer}/lend`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LendRequest {
    /// To which machine.
    pub volunteer: PublicKey,
    /// In which runtime; the job's first, if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runtime: Option<Runtime>,
    /// How many tasks, those that it has already included; 1 to 256.
    pub tasks: u16,
    /// Until when; never longer than the offer.
    pub until: Timestamp,
}

/// The answer to `POST /api/v1/import`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct ImportView {
    /// The results, in their order.
    pub results: Vec<ImportedView>,
    /// Why statements among them are not sound.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unsound: Vec<String>,
    /// What is wrong with the rest of the file, if anything is. What stands before it holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub complaint: Option<String>,
}

/// One result of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImportedView {
    /// The result.
    pub result: StatementId,
    /// Its offer.
    pub offer: StatementId,
    /// Its task.
    pub task: u32,
    /// Which replica of it.
    pub replica: u16,
    /// Who made it.
    pub volunteer: PublicKey,
    /// What became of it.
    pub fate: FateView,
    /// Why, where it does not count.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Whether it had been judged before, so that nothing has changed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub known: bool,
    /// The receipt, as text of a list, if it was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub receipt: Option<String>,
}

/// What became of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FateView {
    /// It counts.
    Accepted,
    /// It does not count.
    Rejected,
    /// It does not count, and its task is open again.
    Again,
    /// It was not judged.
    Refused,
}

impl FateView {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Rejected => "rejected",
            Self::Again => "rejected, and open again",
            Self::Refused => "not taken",
        }
    }
}
