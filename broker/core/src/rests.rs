//! Offers that have just been held against all who wait: whoever makes one fresh again and again has
//! that done once a second.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::StatementId;
use mesh_core::Mono;

/// How long an offer rests: as long as the best are ahead of the others.
const REST: Duration = Duration::from_secs(1);

/// See the module. Bounded by the offers that are known.
#[derive(Debug, Default)]
pub(crate) struct Rests {
    ends: BTreeMap<StatementId, Mono>,
    /// Those that have become fresh meanwhile.
    again: BTreeSet<StatementId>,
}

impl Rests {
    /// `offer` is held against all who wait now.
    pub(crate) fn begin(&mut self, offer: StatementId, now: Mono) {
        self.ends.insert(offer, now + REST);
    }

    /// The offers of `fresh` and of before whose turn it is.
    pub(crate) fn due(&mut self, fresh: BTreeSet<StatementId>, now: Mono) -> BTreeSet<StatementId> {
        self.again.extend(fresh);
        let rested = |offer: &StatementId| self.ends.get(offer).is_none_or(|end| *end <= now);
        let due: BTreeSet<_> = self.again.extract_if(.., |offer| rested(offer)).collect();
        if !due.is_empty() {
            self.ends.retain(|_, end| *end > now);
        }
        due
    }

    /// When it is the turn of the next of them.
    pub(crate) fn next_end(&self) -> Option<Mono> {
        self.again.iter().filter_map(|offer| self.ends.get(offer)).min().copied()
    }
}
