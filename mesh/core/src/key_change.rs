//! What is said about keys: that one is void, or that another follows it.

use capability::statements::{Revocation, Succession};
use capability::{
    Envelope, Kind, Payload, PublicKey, StatementError, StatementId, Timestamp, Verified, Verifier,
};

use crate::gossip::Gossip;

/// Bytes of a key change that brokers keep: three times what its longest reason takes, so that all
/// that one question can be about fits into a frame.
pub const MAX_KEY_CHANGE_BYTES: usize = 1024;

/// Keys that one question is about at most.
pub const MAX_KEYS_AN_ASK: usize = 8;

/// Revocations of one signer that brokers keep: a project has delegated to some dozens of adapters,
/// an owner lost some dozens of nodes.
pub const MAX_REVOCATIONS_A_SIGNER: usize = 64;

/// Successions of one signer that brokers keep: two, which prove that the key is in two hands.
pub const MAX_SUCCESSIONS_A_SIGNER: usize = 2;

/// Key changes in one answer at most.
pub(crate) const MAX_KEY_CHANGES_AN_ANSWER: usize =
    MAX_KEYS_AN_ASK * (MAX_REVOCATIONS_A_SIGNER + MAX_SUCCESSIONS_A_SIGNER);

const _: () = assert!(
    MAX_KEY_CHANGES_AN_ANSWER * (MAX_KEY_CHANGE_BYTES + 8) < crate::message::MAX_FRAME_BYTES,
    "an answer fits into a frame"
);

/// A checked revocation or succession.
#[derive(Debug, Clone, PartialEq)]
pub enum KeyChange {
    /// A key is void.
    Revocation(Verified<Revocation>),
    /// A key has passed on.
    Succession(Verified<Succession>),
}

impl KeyChange {
    /// Checks everything about `envelope` but time.
    pub fn check(envelope: &Envelope, verifier: &dyn Verifier) -> Result<Self, StatementError> {
        if envelope.kind() == Some(Kind::Succession) {
            return Ok(Self::Succession(Verified::check(envelope, verifier)?));
        }
        Ok(Self::Revocation(Verified::check(envelope, verifier)?))
    }

    /// Whether it holds at `now`.
    pub fn current(&self, now: Timestamp) -> Result<(), StatementError> {
        match self {
            Self::Revocation(it) => it.current(now),
            Self::Succession(it) => it.current(now),
        }
    }

    /// The statement's bytes.
    pub fn envelope(&self) -> &Envelope {
        match self {
            Self::Revocation(it) => it.envelope(),
            Self::Succession(it) => it.envelope(),
        }
    }

    /// The statement's name.
    pub fn id(&self) -> StatementId {
        self.envelope().id()
    }

    /// Who signed it.
    pub fn signer(&self) -> PublicKey {
        self.envelope().signer()
    }

    /// When it ceases to hold.
    pub fn expires(&self) -> Timestamp {
        match self {
            Self::Revocation(it) => it.expires(),
            Self::Succession(it) => it.expires(),
        }
    }
}

impl From<KeyChange> for Gossip {
    fn from(change: KeyChange) -> Self {
        match change {
            KeyChange::Revocation(it) => Self::Revocation(it),
            KeyChange::Succession(it) => Self::Succession(it),
        }
    }
}
