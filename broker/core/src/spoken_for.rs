//! Rule C4: offers that as many volunteers were just shown as there are tasks open: each may be about to claim
//! one, so that others had better look at the next.

use std::collections::BTreeMap;

use capability::StatementId;
use mesh_core::Mono;

use crate::head_starts::HEAD_START;

/// See the module. Bounded by the offers that are known.
#[derive(Debug, Default)]
pub(crate) struct SpokenFor {
    shown: BTreeMap<StatementId, Shown>,
}

/// Since the first time that counts.
#[derive(Debug)]
struct Shown {
    times: usize,
    until: Mono,
}

impl SpokenFor {
    /// `offer` is shown to a volunteer: that counts for as long as a claim takes at most.
    pub(crate) fn show(&mut self, offer: StatementId, now: Mono) {
        let fresh = Shown { times: 0, until: now + HEAD_START };
        let shown = self.shown.entry(offer).or_insert(fresh);
        shown.times += 1;
    }

    /// Whether `offer`, of which that many tasks are open, was shown to as many.
    pub(crate) fn has(&self, offer: StatementId, open: usize) -> bool {
        self.shown.get(&offer).is_some_and(|shown| shown.times >= open)
    }

    /// Forgets what claims have followed by now.
    pub(crate) fn expire(&mut self, now: Mono) {
        self.shown.retain(|_, shown| shown.until > now);
    }
}
