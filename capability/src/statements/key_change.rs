//! Keys that end, that pass on, and that vouch for others.
//!
//! What follows from these statements, [`crate::KeyBook`] tells.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, check_text};
use crate::invalid::Invalid;
use crate::key::{PublicKey, Verifier};
use crate::statement::{Kind, Payload, StatementError};
use crate::time::Timestamp;

/// A year and a day: no delegation that a revocation ends can hold longer (S71).
const YEAR: Duration = DAY.saturating_mul(366);

/// Nodes that one ownership names at most (S72).
pub const MAX_NODES: usize = 1024;

/// A key is void (S70): everywhere, if the key itself says so; else in what the signer answers for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Revocation {
    /// The key that is void from now on.
    pub key: PublicKey,
    /// Why, for people; at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When whatever the key may have signed has expired (S71).
    pub expires: Timestamp,
}

/// The signing key names the one that follows it (S73, S74).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Succession {
    /// The new key.
    pub successor: PublicKey,
    /// At most a year ahead.
    pub expires: Timestamp,
}

/// An owner key vouches for the node keys of its volunteers (S75).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ownership {
    /// The node keys, each once; at most [`MAX_NODES`].
    pub nodes: Vec<PublicKey>,
    /// At most a year ahead.
    pub expires: Timestamp,
}

impl Payload for Revocation {
    const KIND: Kind = Kind::Revocation;
    const MAX_LIFETIME: Duration = YEAR;

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("reason", &self.reason, 256)
    }
}

impl Payload for Succession {
    const KIND: Kind = Kind::Succession;
    const MAX_LIFETIME: Duration = YEAR;

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }

    fn authorize(&self, signer: PublicKey, _: &dyn Verifier) -> Result<(), StatementError> {
        Invalid::unless(self.successor != signer, "S73", "a key that follows itself")
            .map_err(|source| StatementError::Invalid { kind: Self::KIND, source })
    }
}

impl Payload for Ownership {
    const KIND: Kind = Kind::Ownership;
    const MAX_LIFETIME: Duration = YEAR;

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.nodes.len() <= MAX_NODES, "S72", "over 1,024 nodes")
    }
}
