//! Who a peer is: the 32 bytes of its Ed25519 public key.
//!
//! A libp2p peer id of an Ed25519 key *is* that key (an identity multihash over its protobuf form), so the two convert
//! without a table. Peers with keys of another type cannot be named here and are refused (see the gate behaviour).

use std::fmt;

use capability::PublicKey;
use libp2p::identity::{self, ed25519};
use libp2p::{Multiaddr, PeerId};

use crate::transport::peer_in;

/// The Ed25519 public key that names a peer. The same bytes as a [`PublicKey`], and converted to and from it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerKey(pub [u8; 32]);

/// What an Ed25519 peer id starts with: identity multihash (00) of 36 bytes (24), protobuf key type 1 (08 01), then the
/// key as a field (12) of 32 bytes (20).
const PEER_ID_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

impl PeerKey {
    /// The key's bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The key in the form that libp2p shows and that a `/p2p/…` address ends with: base58, 52 characters.
    ///
    /// `None` if the bytes are not a point on the curve, so that no peer can have this key.
    pub fn peer_id_text(&self) -> Option<String> {
        self.peer_id().map(|id| id.to_base58())
    }

    /// The key that a peer id at the end of `address` has in it.
    pub fn in_address(address: &Multiaddr) -> Option<Self> {
        Self::from_peer_id(&peer_in(address)?)
    }

    pub(crate) fn peer_id(&self) -> Option<PeerId> {
        let key = ed25519::PublicKey::try_from_bytes(&self.0).ok()?;
        Some(identity::PublicKey::from(key).to_peer_id())
    }

    pub(crate) fn from_peer_id(id: &PeerId) -> Option<Self> {
        let bytes = id.to_bytes();
        let key: [u8; 32] = bytes.strip_prefix(&PEER_ID_PREFIX)?.try_into().ok()?;
        ed25519::PublicKey::try_from_bytes(&key).ok()?;
        Some(Self(key))
    }
}

impl From<[u8; 32]> for PeerKey {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl From<PublicKey> for PeerKey {
    fn from(key: PublicKey) -> Self {
        Self(*key.as_bytes())
    }
}

impl From<PeerKey> for PublicKey {
    fn from(key: PeerKey) -> Self {
        Self::from_bytes(key.0)
    }
}

/// The first five bytes in hexadecimal: enough to tell peers apart in a log.
impl fmt::Display for PeerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..5].iter().try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for PeerKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PeerKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use libp2p::identity::Keypair;

    use super::*;

    #[test]
    fn a_peer_id_and_its_key_convert_both_ways() {
        let pair = Keypair::ed25519_from_bytes([7; 32]).expect("any 32 bytes are a seed");
        let id = pair.public().to_peer_id();
        let key = PeerKey::from_peer_id(&id).expect("an ed25519 id");
        assert_eq!(key.0, pair.public().try_into_ed25519().expect("ed25519").to_bytes());
        assert_eq!(key.peer_id(), Some(id));
    }

    #[test]
    fn an_id_that_only_hashes_its_key_names_no_peer() {
        assert_eq!(PeerKey::from_peer_id(&PeerId::random()), None);
    }
}
