//! Keys whose signatures cost nothing.

use capability::{
    BlobHash, KEY_BYTES, PublicKey, SIGNATURE_BYTES, Signature, Signer, ToBeSigned, Verifier,
};

/// Signs with a keyed hash: nothing here defends against forgery, and Ed25519 is slow unoptimised.
#[derive(Debug, Clone, Copy)]
pub struct Key(pub PublicKey);

pub fn key(n: u8) -> Key {
    Key(PublicKey::from_bytes([n; KEY_BYTES]))
}

pub struct Hashed;

fn hashed(key: &PublicKey, message: &ToBeSigned) -> Signature {
    let mut bytes = key.as_bytes().to_vec();
    bytes.extend_from_slice(message.as_bytes());
    let mut signature = [0; SIGNATURE_BYTES];
    signature[..KEY_BYTES].copy_from_slice(BlobHash::of(&bytes).as_bytes());
    Signature(signature)
}

impl Signer for Key {
    fn public(&self) -> PublicKey {
        self.0
    }

    fn sign(&self, message: &ToBeSigned) -> Signature {
        hashed(&self.0, message)
    }
}

impl Verifier for Hashed {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        hashed(key, message) == *signature
    }
}
