//! What is asked of a peer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::invalid::Invalid;
use crate::key::PublicKey;
use crate::statement::{Kind, Payload};
use crate::time::Timestamp;

/// A question to one peer, bound to it and to a moment, so that nobody can ask it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Request {
    /// The peer that is asked.
    pub audience: PublicKey,
    /// Random; the audience takes each once.
    pub nonce: u64,
    /// A minute ahead: as long must nonces be remembered.
    pub expires: Timestamp,
    /// What is asked, in the encoding of `docs/spec/calls.md`.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

impl Payload for Request {
    const KIND: Kind = Kind::Request;
    const MAX_LIFETIME: Duration = Duration::from_secs(60);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}
