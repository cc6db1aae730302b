//! What the operator has decided against: keys and addresses that are turned away, and contents that
//! were taken down. It holds until the operator says otherwise, and survives a restart.

use std::collections::BTreeMap;
use std::fmt;

use capability::{BlobHash, KEY_BYTES, PublicKey, StatementId, Timestamp, encode_cbor};
use mesh_core::{Gossip, Write};
use serde::{Deserialize, Serialize};

use crate::record;

/// Keys and ranges that are turned away, and contents that were taken down, at most, each.
pub const MAX_RULES: usize = 10_000;
/// Bytes of a reason, and of a range, at most.
pub const MAX_REASON: usize = 256;

/// Who is turned away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Whom {
    /// A project, volunteer, master's adapter or broker.
    Key(PublicKey),
    /// Addresses, in words that the shell understands.
    Range(String),
}

impl fmt::Display for Whom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => key.fmt(f),
            Self::Range(range) => range.fmt(f),
        }
    }
}

/// What was taken down: a package or another blob, or a statement, by its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Content(pub [u8; KEY_BYTES]);

impl From<StatementId> for Content {
    fn from(id: StatementId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<BlobHash> for Content {
    fn from(hash: BlobHash) -> Self {
        Self(*hash.as_bytes())
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        BlobHash::from_bytes(self.0).fmt(f)
    }
}

/// Why, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// In the operator's words; those concerned are told.
    pub reason: String,
    /// When it was taken.
    pub at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    pub(crate) blocked: BTreeMap<Whom, Decision>,
    pub(crate) taken_down: BTreeMap<Content, Decision>,
}

/// There is no room for one more.
#[derive(Debug)]
pub(crate) struct TooMany;

impl Rules {
    pub(crate) fn block(&mut self, whom: Whom, decision: Decision) -> Result<Write, TooMany> {
        let write = Write::put(record::blocked(&whom), encode_cbor(&decision));
        enter(&mut self.blocked, whom, decision).map(|()| write)
    }

    pub(crate) fn unblock(&mut self, whom: &Whom) -> Option<Write> {
        self.blocked.remove(whom).map(|_| Write::delete(record::blocked(whom)))
    }

    pub(crate) fn take_down(&mut self, it: Content, decision: Decision) -> Result<Write, TooMany> {
        let write = Write::put(record::taken_down(it), encode_cbor(&decision));
        enter(&mut self.taken_down, it, decision).map(|()| write)
    }

    pub(crate) fn put_back(&mut self, it: Content) -> Option<Write> {
        self.taken_down.remove(&it).map(|_| Write::delete(record::taken_down(it)))
    }

    /// Why `key` is turned away, if it is.
    pub(crate) fn against(&self, key: PublicKey) -> Option<&Decision> {
        self.blocked.get(&Whom::Key(key))
    }

    /// Why that was taken down, if it was.
    pub(crate) fn down(&self, it: impl Into<Content>) -> Option<&Decision> {
        self.taken_down.get(&it.into())
    }

    /// Whether a statement is not to be kept, nor told on.
    pub(crate) fn forbid(&self, gossip: &Gossip) -> bool {
        let blocks = |key| self.against(key).is_some();
        let of_blocked = match gossip {
            // Who has void keys must hear of it, whoever they are.
            Gossip::Revocation(_) | Gossip::Succession(_) => false,
            Gossip::Offer(offer) => {
                blocks(offer.project.into()) || self.down(offer.package.hash).is_some()
            }
            Gossip::Home(home) => blocks(home.project.into()),
            _ => false,
        };
        let free = matches!(gossip, Gossip::Revocation(_) | Gossip::Succession(_));
        of_blocked || self.down(gossip.id()).is_some() || (!free && blocks(gossip.signer()))
    }
}

fn enter<K: Ord>(
    rules: &mut BTreeMap<K, Decision>,
    key: K,
    decision: Decision,
) -> Result<(), TooMany> {
    if rules.len() >= MAX_RULES && !rules.contains_key(&key) {
        return Err(TooMany);
    }
    rules.insert(key, decision);
    Ok(())
}
