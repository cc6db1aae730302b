//! Claims that were granted lately, so that a repeated one finds its leases again.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::Claim;
use capability::{MAX_CLOCK_SKEW, Payload, StatementId, Timestamp, Verified};

/// Claims remembered at most. One that is forgotten early may be granted anew if it is repeated.
pub const MAX_REMEMBERED_CLAIMS: usize = 50_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Claims {
    granted: BTreeMap<StatementId, (Timestamp, Vec<StatementId>)>,
    by_end: BTreeSet<(Timestamp, StatementId)>,
}

impl Claims {
    pub(crate) fn granted(&self, claim: StatementId) -> Option<&[StatementId]> {
        self.granted.get(&claim).map(|(_, leases)| leases.as_slice())
    }

    pub(crate) fn remember(&mut self, claim: &Verified<Claim>, leases: Vec<StatementId>) {
        // Until then `current` lets a repetition pass.
        let until = claim.expires() + MAX_CLOCK_SKEW;
        self.granted.insert(claim.id(), (until, leases));
        self.by_end.insert((until, claim.id()));
        if self.granted.len() > MAX_REMEMBERED_CLAIMS
            && let Some((_, first)) = self.by_end.pop_first()
        {
            self.granted.remove(&first);
        }
    }

    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some((until, claim)) = self.by_end.first().copied().filter(|(at, _)| *at <= now) {
            self.by_end.remove(&(until, claim));
            self.granted.remove(&claim);
        }
    }
}
