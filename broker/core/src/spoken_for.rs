//! Rule C4: offers that as many volunteers were just shown as there are tasks open. Each may be about to
//! claim one, so that others had better look at the next.

use std::collections::{BTreeMap, BTreeSet};

use capability::{PublicKey, StatementId};
use mesh_core::Mono;

use crate::head_starts::HEAD_START;

/// See the module. Bounded by the offers that are known, and the volunteers that pull within a second.
#[derive(Debug, Default)]
pub(crate) struct SpokenFor {
    shown: BTreeMap<StatementId, Shown>,
}

#[derive(Debug)]
struct Shown {
    to: BTreeSet<PublicKey>,
    /// For as long as a claim takes at most, from the first of them on.
    until: Mono,
}

impl SpokenFor {
    /// `offer` is shown to `volunteer`.
    pub(crate) fn show(&mut self, offer: StatementId, volunteer: PublicKey, now: Mono) {
        let fresh = || Shown { to: BTreeSet::new(), until: now + HEAD_START };
        let shown = self.shown.entry(offer).or_insert_with(fresh);
        if shown.until <= now {
            *shown = fresh();
        }
        shown.to.insert(volunteer);
    }

    /// Whether `offer`, of which that many tasks are open, was shown to as many.
    pub(crate) fn has(&self, offer: StatementId, open: usize) -> bool {
        self.shown.get(&offer).is_some_and(|shown| shown.to.len() >= open)
    }

    /// Forgets what claims have followed by now.
    pub(crate) fn expire(&mut self, now: Mono) {
        self.shown.retain(|_, shown| shown.until > now);
    }
}
