//! Which keys are void and which have passed on: what revocations and successions add up to.
//!
//! Whoever acts on statements keeps a book and enters what it has checked. In which order does not
//! matter, so that all who know the same statements come to the same verdict.

use std::collections::{BTreeMap, BTreeSet};

use crate::key::PublicKey;
use crate::statement::Verified;
use crate::statements::{Revocation, Succession};

/// Steps from a key to its heir at most (S74): a project that moves each year is found for eight.
pub const MAX_SUCCESSIONS: usize = 8;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyBook {
    /// Which key is void according to whom.
    void: BTreeSet<(PublicKey, PublicKey)>,
    /// By key, which ones it has named; of an honest one at most one.
    successors: BTreeMap<PublicKey, BTreeSet<PublicKey>>,
}

impl KeyBook {
    /// Enters `revocation`; says whether it is news.
    pub fn revoke(&mut self, revocation: &Verified<Revocation>) -> bool {
        self.void.insert((revocation.key, revocation.signer()))
    }

    /// Enters `succession`; says whether it is news.
    pub fn pass_on(&mut self, succession: &Verified<Succession>) -> bool {
        self.successors.entry(succession.signer()).or_default().insert(succession.successor)
    }

    /// The revocation of `key` by `signer` has expired.
    pub fn forget_revocation(&mut self, key: PublicKey, signer: PublicKey) {
        self.void.remove(&(key, signer));
    }

    /// The succession of `signer` by `successor` has expired.
    pub fn forget_succession(&mut self, signer: PublicKey, successor: PublicKey) {
        if let Some(named) = self.successors.get_mut(&signer) {
            named.remove(&successor);
            if named.is_empty() {
                self.successors.remove(&signer);
            }
        }
    }

    /// Whether `key` has said of itself that it is void (S70).
    pub fn is_void(&self, key: PublicKey) -> bool {
        self.void.contains(&(key, key))
    }

    /// Whether `key` is void in what `principal` answers for (S70): a project key for its delegates,
    /// an owner key for its nodes.
    pub fn is_void_for(&self, key: PublicKey, principal: impl Into<PublicKey>) -> bool {
        let principal = principal.into();
        self.is_void(key) || self.is_void(principal) || self.void.contains(&(key, principal))
    }

    /// The key in whose hands `key` is now (S74). None if it has named no other; if it is void, since
    /// whoever stole it may have named the other; or if it or one after it has named two, or itself
    /// in a circle, or the way is longer than [`MAX_SUCCESSIONS`].
    pub fn heir(&self, key: PublicKey) -> Option<PublicKey> {
        let mut heir = self.successor(key)?;
        for _ in 1..MAX_SUCCESSIONS {
            if !self.successors.contains_key(&heir) {
                break;
            }
            heir = self.successor(heir)?;
        }
        let is_last = !self.successors.contains_key(&heir) && !self.is_void(heir);
        is_last.then_some(heir)
    }

    fn successor(&self, key: PublicKey) -> Option<PublicKey> {
        let named = self.successors.get(&key).filter(|named| named.len() == 1)?;
        named.first().copied().filter(|_| !self.is_void(key))
    }
}
