//! Whose the key of a channel's end is (rule C46).
//!
//! Each end makes an X25519 key for one channel, and proves in the handshake that it is that node's: by a request,
//! signed with the node key, that names the other end, the lease and the key. So a channel needs no key that would
//! have to be told beforehand, and ends with the node key's life.

use capability::statements::Request;
use capability::{PublicKey, Signer, StatementError, StatementId, Timestamp, Verified, Verifier};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::MessageError;
use crate::request::REQUEST_LIFETIME;

/// Bytes of the body of a proof at most.
const MAX_BODY_BYTES: usize = 256;

/// An X25519 key that one end uses on one channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelKey {
    /// The lease that the channel is about.
    pub lease: StatementId,
    /// The public key.
    pub key: [u8; 32],
}

/// A proof does not hold.
#[derive(Debug, Error)]
pub enum ChannelKeyError {
    /// The statement around it.
    #[error("the other end's proof of its key")]
    Statement(#[from] StatementError),
    /// What is in it.
    #[error("the body of the other end's proof")]
    Body(#[from] MessageError),
    /// Somebody else is there.
    #[error("the other end is {0:?}, which the channel is not to")]
    Stranger(PublicKey),
    /// It was made for somebody else, for another lease or another key.
    #[error("the other end's proof is of another channel")]
    Elsewhere,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Body {
    ChannelKey {
        lease: StatementId,
        #[serde(with = "serde_bytes")]
        key: [u8; 32],
    },
}

impl ChannelKey {
    /// Proves to `audience` that the key is the signer's. `nonce` is different for each request.
    pub fn prove(
        &self,
        audience: PublicKey,
        nonce: u64,
        now: Timestamp,
        signer: &dyn Signer,
    ) -> Verified<Request> {
        let body = Body::ChannelKey { lease: self.lease, key: self.key };
        let body = capability::encode_cbor(&body);
        let expires = now + REQUEST_LIFETIME;
        Verified::sign(Request { audience, nonce, expires, body }, signer)
    }

    /// Checks that `proof` is of this key and lease, made by `prover` for `audience`.
    ///
    /// A proof that somebody repeats is worth nothing without the key's secret half, so none is remembered.
    pub fn check(
        &self,
        proof: &[u8],
        prover: PublicKey,
        audience: PublicKey,
        now: Timestamp,
        verifier: &dyn Verifier,
    ) -> Result<(), ChannelKeyError> {
        let proof = Verified::<Request>::parse(proof, verifier)?;
        proof.current(now)?;
        if proof.signer() != prover {
            return Err(ChannelKeyError::Stranger(proof.signer()));
        }
        let body = capability::decode_cbor(&proof.body, MAX_BODY_BYTES);
        let Body::ChannelKey { lease, key } = body.map_err(MessageError::from)?;
        let same = proof.audience == audience && lease == self.lease && key == self.key;
        if same { Ok(()) } else { Err(ChannelKeyError::Elsewhere) }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capability::{Ed25519, SecretKey};

    use super::*;
    use crate::{Ask, RequestGuard};

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn lease(byte: u8) -> StatementId {
        StatementId::from_bytes([byte; 32])
    }

    #[test]
    fn a_proof_holds_for_one_key_one_lease_and_two_ends() {
        let (prover, audience) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let (prover_key, audience_key) = (prover.public(), audience.public());
        let ours = ChannelKey { lease: lease(1), key: [7; 32] };
        let proof = ours.prove(audience_key, 1, NOW, &prover);
        let proof = proof.envelope().as_bytes();
        let check = |key: ChannelKey, prover, audience, now| {
            key.check(proof, prover, audience, now, &Ed25519)
        };
        check(ours, prover_key, audience_key, NOW).expect("it is what it says");

        let stranger = check(ours, audience_key, audience_key, NOW);
        assert!(matches!(stranger, Err(ChannelKeyError::Stranger(it)) if it == prover_key));
        let elsewhere = [
            check(ours, prover_key, prover_key, NOW),
            check(ChannelKey { lease: lease(2), ..ours }, prover_key, audience_key, NOW),
            check(ChannelKey { key: [8; 32], ..ours }, prover_key, audience_key, NOW),
        ];
        for outcome in elsewhere {
            assert!(matches!(outcome, Err(ChannelKeyError::Elsewhere)), "{outcome:?}");
        }
        let late = check(ours, prover_key, audience_key, NOW + Duration::from_secs(3600));
        assert!(matches!(late, Err(ChannelKeyError::Statement(_))), "{late:?}");
    }

    #[test]
    fn no_question_is_a_proof_and_no_proof_a_question() {
        let node = SecretKey::from_seed(&[1; 32]);
        let ask = Ask::Registrations { projects: vec![] };
        let question = crate::seal(&ask, node.public(), 1, NOW, &node);
        let key = ChannelKey { lease: lease(1), key: [7; 32] };
        let check = |proof: &[u8]| key.check(proof, node.public(), node.public(), NOW, &Ed25519);
        let taken = check(question.envelope().as_bytes());
        assert!(matches!(taken, Err(ChannelKeyError::Body(_))), "{taken:?}");

        let proof = key.prove(node.public(), 2, NOW, &node);
        let mut guard = RequestGuard::new(node.public());
        let bytes = proof.envelope().as_bytes();
        guard.admit(bytes, node.public(), NOW, &Ed25519).expect_err("it asks nothing");
    }
}
