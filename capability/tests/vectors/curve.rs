//! Signatures that only some verifiers take: they tell a strict reader from a lax one (S6).
//!
//! Nobody could make them for another's key. But their own signer can, and two readers that differ
//! would then hold different statements.

use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::EdwardsPoint;
use curve25519_dalek::scalar::Scalar;
use curve25519_dalek::traits::Identity;
use sha2::{Digest, Sha512};

use super::by_hand::{Header, STATEMENT, cbor, to_be_signed};
use ciborium::Value;

/// A secret scalar and a public point that may have a part of small order.
pub struct Key {
    secret: Scalar,
    pub public: [u8; 32],
}

/// A statement that holds if both sides of the equation are multiplied by 8.
pub struct Cofactored {
    bytes: Vec<u8>,
    challenge: Scalar,
}

/// A sound key; its `R` can be chosen.
pub fn plain_key() -> Key {
    key_with(Scalar::from(4_077_u64), EdwardsPoint::identity())
}

/// The same, plus a point of order 8.
pub fn mixed_key() -> Key {
    key_with(Scalar::from(4_077_u64), EIGHT_TORSION[1])
}

/// A point of order 8, under which one message in eight verifies with any `R`.
pub fn small_key() -> Key {
    key_with(Scalar::ZERO, EIGHT_TORSION[1])
}

fn key_with(secret: Scalar, small: EdwardsPoint) -> Key {
    let public = (ED25519_BASEPOINT_TABLE * &secret + small).compress().to_bytes();
    Key { secret, public }
}

impl Key {
    /// Signs with the identity for `R`: the equation holds.
    pub fn sign_with_weak_r(&self, header: &Header, payload: &[u8]) -> Vec<u8> {
        self.sign(Scalar::ZERO, header, payload).bytes
    }

    /// Signs as if the part of small order were not there.
    pub fn sign_cofactored(&self, header: &Header, payload: &[u8]) -> Cofactored {
        self.sign(Scalar::from(1_234_567_u64), header, payload)
    }

    fn sign(&self, nonce: Scalar, header: &Header, payload: &[u8]) -> Cofactored {
        let protected = header.encode();
        let r = (ED25519_BASEPOINT_TABLE * &nonce).compress().to_bytes();
        let mut hasher = Sha512::new();
        hasher.update(r);
        hasher.update(self.public);
        hasher.update(to_be_signed(&protected, STATEMENT, payload));
        let challenge = Scalar::from_bytes_mod_order_wide(&hasher.finalize().into());
        let s = nonce + challenge * self.secret;
        let bytes = cbor(&Value::Array(vec![
            Value::Bytes(protected),
            Value::Map(Vec::new()),
            Value::Bytes(payload.to_vec()),
            Value::Bytes([r, s.to_bytes()].concat()),
        ]));
        Cofactored { bytes, challenge }
    }
}

impl Cofactored {
    /// The statement, if the challenge takes the part of small order away.
    pub fn holds_without_cofactor(self) -> Option<Vec<u8>> {
        self.challenge.to_bytes()[0].is_multiple_of(8).then_some(self.bytes)
    }

    /// The statement, if the challenge does not.
    pub fn needs_cofactor(self) -> Option<Vec<u8>> {
        (!self.challenge.to_bytes()[0].is_multiple_of(8)).then_some(self.bytes)
    }
}
