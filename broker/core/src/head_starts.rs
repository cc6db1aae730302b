//! Fresh offers that only the best of those who wait have been shown yet.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use capability::{PublicKey, StatementId};
use mesh_core::Mono;

/// How long the best are ahead of the others (rule C3): a claim crosses the mesh in some tenths of a
/// second.
pub const HEAD_START: Duration = Duration::from_secs(1);

/// See the module. Bounded by the offers that are known.
#[derive(Debug, Default)]
pub(crate) struct HeadStarts {
    ends: BTreeMap<StatementId, Mono>,
}

/// Who comes before whom: the better rank first, and among equals whom the hash of both names favours
/// (rule C2). A volunteer would have to make a key for each offer, once it knows that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Precedence {
    rank: Reverse<u64>,
    lot: [u8; blake3::OUT_LEN],
}

impl HeadStarts {
    /// `offer` is shown to the best now.
    pub(crate) fn begin(&mut self, offer: StatementId, now: Mono) {
        self.ends.insert(offer, now + HEAD_START);
    }

    /// Whether `offer` is kept from all but the best.
    pub(crate) fn has(&self, offer: StatementId) -> bool {
        self.ends.contains_key(&offer)
    }

    /// Offers that all may see from now on.
    pub(crate) fn end(&mut self, now: Mono) -> Vec<StatementId> {
        self.ends.extract_if(.., |_, end| *end <= now).map(|(offer, _)| offer).collect()
    }

    /// When the next of them may be seen by all.
    pub(crate) fn next_end(&self) -> Option<Mono> {
        self.ends.values().min().copied()
    }
}

impl Precedence {
    /// That of `volunteer`, whose machine has that rank for `offer`.
    pub(crate) fn of(volunteer: PublicKey, rank: u64, offer: StatementId) -> Self {
        let mut lot = blake3::Hasher::new();
        lot.update(offer.as_bytes()).update(volunteer.as_bytes());
        Self { rank: Reverse(rank), lot: *lot.finalize().as_bytes() }
    }
}
