//! X25519 keys (RFC 7748), and the keys of blobs.

use std::fmt;

use hpke::{Deserializable, Kem as _, Serializable};
use serde::{Deserialize, Serialize};

use super::hpke::Kem;
use crate::invalid::Invalid;
pub use crate::key::Encapsulated;
use crate::key::{Bytes32, KEY_BYTES};

/// The points of the curve and of its twist whose order divides 8, as little-endian numbers below
/// 2^255: 0, 1, two of order 8, and p - 1, p and p + 1 for the prime p. A product with one of them is no
/// secret, so that HPKE refuses to seal to them.
const SMALL_ORDER: [[u8; KEY_BYTES]; 7] = [
    [0; KEY_BYTES],
    number(1, 0, 0),
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4,
        0x6a, 0xda, 0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49,
        0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef,
        0x5b, 0x04, 0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f,
        0x11, 0x57,
    ],
    number(0xec, 0xff, 0x7f),
    number(0xed, 0xff, 0x7f),
    number(0xee, 0xff, 0x7f),
];

/// A number by its first byte, its last one, and all between.
const fn number(first: u8, between: u8, last: u8) -> [u8; KEY_BYTES] {
    let mut bytes = [between; KEY_BYTES];
    bytes[0] = first;
    bytes[KEY_BYTES - 1] = last;
    bytes
}

/// The public half of a node's encryption key. Not one of small order (S80).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "Bytes32", into = "Bytes32")]
pub struct EncryptionKey([u8; KEY_BYTES]);

impl EncryptionKey {
    /// The key of these bytes.
    ///
    /// # Errors
    /// If nothing could be sealed to it (S80).
    pub fn from_bytes(bytes: [u8; KEY_BYTES]) -> Result<Self, Invalid> {
        let mut canonical = bytes;
        // RFC 7748 has readers ignore it.
        canonical[KEY_BYTES - 1] &= 0x7f;
        let sound = !SMALL_ORDER.contains(&canonical);
        Invalid::unless(sound, "S80", "an encryption key of small order").map(|()| Self(bytes))
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    pub(super) fn for_hpke(self) -> <Kem as hpke::Kem>::PublicKey {
        Deserializable::from_bytes(&self.0).expect("it has 32 bytes")
    }
}

impl TryFrom<Bytes32> for EncryptionKey {
    type Error = Invalid;

    fn try_from(bytes: Bytes32) -> Result<Self, Invalid> {
        Self::from_bytes(*bytes.as_bytes())
    }
}

impl From<EncryptionKey> for Bytes32 {
    fn from(key: EncryptionKey) -> Self {
        Self::from_bytes(key.0)
    }
}

impl fmt::Debug for EncryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "EncryptionKey({})", Bytes32::from(*self).short())
    }
}

/// The secret half; wiped when dropped.
#[derive(Clone)]
pub struct DecryptionKey {
    secret: <Kem as hpke::Kem>::PrivateKey,
    public: EncryptionKey,
}

impl DecryptionKey {
    /// The key of `seed`, 32 bytes of the operating system's randomness.
    pub fn from_seed(seed: &[u8; KEY_BYTES]) -> Self {
        let secret: <Kem as hpke::Kem>::PrivateKey =
            Deserializable::from_bytes(seed).expect("it has 32 bytes");
        // A product with the base point is of large order.
        let public = EncryptionKey(Kem::sk_to_pk(&secret).to_bytes().into());
        Self { secret, public }
    }

    /// The public half.
    pub fn public(&self) -> EncryptionKey {
        self.public
    }

    pub(super) fn for_hpke(&self) -> &<Kem as hpke::Kem>::PrivateKey {
        &self.secret
    }
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecryptionKey(of {:?})", self.public)
    }
}

/// The secret from which the keys of some blobs are made (S84).
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Bytes32", into = "Bytes32")]
pub struct BlobKey([u8; KEY_BYTES]);

impl BlobKey {
    /// Takes 32 bytes of the operating system's randomness.
    pub const fn from_bytes(bytes: [u8; KEY_BYTES]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// The key of blob `index`.
    pub(super) fn of_blob(self, index: u32) -> [u8; KEY_BYTES] {
        numbered(&self.0, index)
    }
}

impl From<Bytes32> for BlobKey {
    fn from(bytes: Bytes32) -> Self {
        Self(*bytes.as_bytes())
    }
}

impl From<BlobKey> for Bytes32 {
    fn from(key: BlobKey) -> Self {
        Self::from_bytes(key.0)
    }
}

impl fmt::Debug for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlobKey(secret)")
    }
}

/// One key of many that are made from `secret`.
pub(super) fn numbered(secret: &[u8; KEY_BYTES], number: u32) -> [u8; KEY_BYTES] {
    *blake3::keyed_hash(secret, &number.to_be_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encryption::{HpkeSealer, Purpose, Sealer};

    #[test]
    fn keys_of_small_order_are_refused_however_they_are_written() {
        for mut bytes in SMALL_ORDER {
            // What the list is for: HPKE takes none of them.
            let made = EncryptionKey(bytes);
            let sealing = || {
                HpkeSealer::new([7; 32]).seal(Purpose::Report, made, b"", b"");
            };
            assert!(std::panic::catch_unwind(sealing).is_err(), "{made:?}");
            for _ in 0..2 {
                assert_eq!(EncryptionKey::from_bytes(bytes).expect_err("no key").rule, "S80");
                bytes[31] |= 0x80;
            }
        }
        let mut nine = [0; 32];
        nine[0] = 9;
        EncryptionKey::from_bytes(nine).expect("the base point");
    }

    #[test]
    fn secrets_are_not_shown() {
        let shown = format!("{:?} {:?}", DecryptionKey::from_seed(&[7; 32]), BlobKey([7; 32]));
        assert!(!shown.contains("0707") && !shown.contains("7, 7"), "{shown}");
    }
}
