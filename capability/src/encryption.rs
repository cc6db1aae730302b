//! Encryption to a recipient: what only one node is to read crosses brokers sealed.
//!
//! Each volunteer and each master's adapter has an X25519 key beside its node key. Its public half is
//! in the ad, or in the delegation. What is small is **sealed** to it with HPKE (RFC 9180): the report
//! in a result, and the key of a private package. What is large, logs, artifacts and packages, is
//! encrypted as a stream with a key that travels sealed ([`EncryptingWriter`]).
//!
//! Cores take a [`Sealer`], as they take a [`Signer`](crate::Signer); their shells hold the secret key
//! and open ([`Opener`]). ADR 0018 has the why.

mod hpke;
mod keys;
mod padding;
mod stream;

pub use self::hpke::{HpkeOpener, HpkeSealer};
pub use self::keys::{BlobKey, DecryptionKey, Encapsulated, EncryptionKey};
pub use self::padding::padded;
pub use self::stream::{DecryptingReader, EncryptingWriter, encrypted_size};

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What is sealed. Nothing that was sealed for one purpose opens for another (S81).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// The report in a result.
    Report,
    /// The key of a private package.
    Package,
}

impl Purpose {
    /// The `info` of RFC 9180.
    fn info(self) -> &'static [u8] {
        match self {
            Self::Report => b"talkoot/1/report",
            Self::Package => b"talkoot/1/package",
        }
    }
}

/// Bytes that one node can read (S81).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Sealed {
    /// Who can.
    pub to: EncryptionKey,
    /// What RFC 9180 calls `enc`. Many sealed bodies may have the same.
    pub encapsulated: Encapsulated,
    /// Tells bodies with the same `encapsulated` apart; no two have the same number.
    pub number: u32,
    /// The ciphertext, and its tag of 16 bytes.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// Something that was sealed cannot be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum OpenError {
    /// Only who has another secret key could.
    #[error("it is sealed to another key than ours")]
    OtherKey,
    /// It was changed, cut, moved from where it belongs, or never sound.
    #[error("what is sealed is not sound, or belongs elsewhere")]
    Unsound,
}

/// Can seal for whoever has an encryption key.
pub trait Sealer: Send + Sync {
    /// Seals `plaintext`. It opens only beside the same `associated` bytes.
    fn seal(
        &self,
        purpose: Purpose,
        to: EncryptionKey,
        plaintext: &[u8],
        associated: &[u8],
    ) -> Sealed;
}

/// Can open what was sealed to its keys.
pub trait Opener: Send + Sync {
    /// The plaintext.
    ///
    /// # Errors
    /// If it is sealed to somebody else, or anything differs from what was sealed.
    fn open(
        &self,
        purpose: Purpose,
        sealed: &Sealed,
        associated: &[u8],
    ) -> Result<Vec<u8>, OpenError>;
}
