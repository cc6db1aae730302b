//! Ed25519 keys (RFC 8032): who signed, and how it is checked.
//!
//! Nothing here signs bytes at large. [`Signer`] and [`Verifier`] take [`ToBeSigned`], which only
//! the envelopes of this crate can make, so that every signature has a purpose and a domain.

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE32_NOPAD, HEXLOWER};
use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

/// Bytes of a public key, of a seed, and of every hash.
pub const KEY_BYTES: usize = 32;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;

/// Reads and writes a fixed array as a CBOR byte string, and prints it in one alphabet.
macro_rules! byte_newtype {
    ($(#[$doc:meta])* $name:ident, $expected:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; KEY_BYTES]);

        impl $name {
            /// Takes the bytes as they are.
            pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
                Self(bytes)
            }

            /// The bytes.
            pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
                &self.0
            }

            /// The first eight characters, for people and logs.
            pub fn short(&self) -> String {
                self.to_string()[..8].to_owned()
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.short())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serializer.serialize_bytes(&self.0)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                struct Bytes;

                impl Visitor<'_> for Bytes {
                    type Value = $name;

                    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                        f.write_str($expected)
                    }

                    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<$name, E> {
                        let bytes = bytes.try_into();
                        bytes.map($name).map_err(|_| E::custom(concat!("not ", $expected)))
                    }

                    fn visit_str<E: de::Error>(self, text: &str) -> Result<$name, E> {
                        text.parse().map_err(E::custom)
                    }
                }

                if deserializer.is_human_readable() {
                    deserializer.deserialize_str(Bytes)
                } else {
                    deserializer.deserialize_bytes(Bytes)
                }
            }
        }
    };
}

byte_newtype!(
    /// The public key of a node: a volunteer, a broker or a master's adapter. Also its libp2p identity.
    PublicKey,
    "32 bytes of a public key"
);

byte_newtype!(
    /// The public key of a project. What volunteers pin; its secret half may stay offline.
    ProjectKey,
    "32 bytes of a project key"
);

byte_newtype!(
    /// A BLAKE3 hash of a blob's bytes.
    BlobHash,
    "32 bytes of a BLAKE3 hash"
);

byte_newtype!(
    /// What names a statement: BLAKE3 over domain, kind, version, signer and payload.
    ///
    /// It is the same whether the statement was signed alone or as a leaf of a batch.
    StatementId,
    "32 bytes of a statement id"
);

byte_newtype!(
    /// A random point of X25519 with which a recipient's secret key finds what was encapsulated.
    Encapsulated,
    "32 bytes of an encapsulated key"
);

byte_newtype!(
    /// As keys are written whose type says more.
    Bytes32,
    "32 bytes of a key"
);

/// A key or hash in text is not what it should be.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum TextError {
    /// Wrong alphabet or length of a key.
    #[error("`{0}` is not a key: expected 52 characters of a-z and 2-7")]
    Key(String),
    /// The bytes are no point of the curve, or a weak one.
    #[error("`{0}` has the form of a key but is none: a character was mistyped")]
    NotAPoint(String),
    /// Wrong alphabet or length of a hash.
    #[error("`{0}` is not a hash: expected 64 characters of 0-9 and a-f")]
    Hash(String),
}

macro_rules! key_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            /// Base32 (RFC 4648) in lower case, without padding: 52 characters.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&BASE32_NOPAD.encode(&self.0).to_ascii_lowercase())
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                let shown = || text.chars().take(64).collect::<String>();
                let bytes = BASE32_NOPAD
                    .decode(text.to_ascii_uppercase().as_bytes())
                    .map_err(|_| TextError::Key(shown()))?;
                let bytes = bytes.try_into().map_err(|_| TextError::Key(shown()))?;
                match VerifyingKey::from_bytes(&bytes) {
                    Ok(point) if !point.is_weak() => Ok(Self(bytes)),
                    _ => Err(TextError::NotAPoint(shown())),
                }
            }
        }
    };
}

macro_rules! hash_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            /// 64 lower-case hexadecimal digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&HEXLOWER.encode(&self.0))
            }
        }

        impl FromStr for $name {
            type Err = TextError;

            fn from_str(text: &str) -> Result<Self, TextError> {
                let bytes = HEXLOWER.decode(text.as_bytes()).ok();
                let bytes = bytes.and_then(|bytes| bytes.try_into().ok());
                bytes.map(Self).ok_or_else(|| TextError::Hash(text.chars().take(80).collect()))
            }
        }
    };
}

key_text!(PublicKey);
key_text!(ProjectKey);
hash_text!(BlobHash);
hash_text!(StatementId);
hash_text!(Encapsulated);
hash_text!(Bytes32);

impl From<PublicKey> for ProjectKey {
    fn from(key: PublicKey) -> Self {
        Self(key.0)
    }
}

impl From<ProjectKey> for PublicKey {
    fn from(key: ProjectKey) -> Self {
        Self(key.0)
    }
}

impl BlobHash {
    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

/// An Ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Signature(pub [u8; SIGNATURE_BYTES]);

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({})", HEXLOWER.encode(&self.0[..4]))
    }
}

/// Exactly the bytes that a signature covers, domain included. Only envelopes make it.
#[derive(Debug)]
pub struct ToBeSigned(Vec<u8>);

impl ToBeSigned {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for an implementation of [`Signer`] or [`Verifier`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// Can sign as one key.
pub trait Signer: Send + Sync {
    /// Whose signatures these are.
    fn public(&self) -> PublicKey;

    /// Signs; never fails.
    fn sign(&self, message: &ToBeSigned) -> Signature;
}

/// Can tell a genuine signature.
pub trait Verifier: Send + Sync {
    /// Whether `key` made `signature` over `message`.
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool;

    /// The same of what many statements or messages bring along: the root of a batch, a delegation, an
    /// ownership, the home of an offer. A verifier may remember that it was genuine.
    fn verify_carried(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.verify(key, message, signature)
    }
}

/// Takes whatever it verifies for something that many statements or messages bring along.
pub struct Carried<'a>(pub &'a dyn Verifier);

impl Verifier for Carried<'_> {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.0.verify_carried(key, message, signature)
    }

    fn verify_carried(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        self.0.verify_carried(key, message, signature)
    }
}

/// The verifier of every real node: strict Ed25519, which refuses weak keys and malleable encodings.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ed25519;

impl Verifier for Ed25519 {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(key.as_bytes()) else { return false };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        key.verify_strict(message.as_bytes(), &signature).is_ok()
    }
}

/// A secret key in memory; wiped when dropped.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key that grows from `seed`, 32 bytes of the operating system's randomness.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The seed, for the key file and for libp2p.
    pub fn seed(&self) -> &[u8; KEY_BYTES] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public().short())
    }
}

impl Signer for SecretKey {
    fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    fn sign(&self, message: &ToBeSigned) -> Signature {
        Signature(self.0.sign(message.as_bytes()).to_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_survive_text() {
        let key = SecretKey::from_seed(&[7; 32]).public();
        assert_eq!(key.to_string().len(), 52);
        assert_eq!(key.to_string().parse(), Ok(key));
    }

    #[test]
    fn text_that_is_no_key_says_so() {
        assert!(matches!("talkoot".parse::<PublicKey>(), Err(TextError::Key(_))));
        let weak = PublicKey([0; 32]).to_string();
        assert_eq!(weak.parse::<PublicKey>(), Err(TextError::NotAPoint(weak)));
    }

    #[test]
    fn a_strict_verifier_refuses_another_key_and_another_message() {
        let (ours, theirs) = (SecretKey::from_seed(&[1; 32]), SecretKey::from_seed(&[2; 32]));
        let message = ToBeSigned::new(b"purpose".to_vec());
        let signature = ours.sign(&message);

        assert!(Ed25519.verify(&ours.public(), &message, &signature));
        assert!(!Ed25519.verify(&theirs.public(), &message, &signature));
        assert!(!Ed25519.verify(&ours.public(), &ToBeSigned::new(b"other".to_vec()), &signature));
    }
}
