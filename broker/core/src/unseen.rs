//! Brokers to which this one knows no way, and for how long: the offers of homes wait, and receipts that go
//! by them are let go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::PublicKey;
use mesh_core::Mono;

/// A broker is missed only after this while: a broker's restart, or a link that is dialled again, takes
/// less.
const MISSED_AFTER: Duration = Duration::from_secs(60);

/// See the module. Bounded by the homes that are known and by what is in custody.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// Since when, and how long that was at the last look.
    brokers: BTreeMap<PublicKey, (Mono, Duration)>,
}

impl Unseen {
    /// These are the brokers to which no way is known.
    pub(crate) fn look(&mut self, brokers: BTreeSet<PublicKey>, now: Mono) {
        let before = std::mem::take(&mut self.brokers);
        let since = |broker| before.get(&broker).map_or(now, |(since, _)| *since);
        self.brokers = brokers.into_iter().map(|it| (it, (since(it), now - since(it)))).collect();
    }

    /// For how long no way to `broker` has been known.
    pub(crate) fn since(&self, broker: PublicKey) -> Duration {
        self.brokers.get(&broker).map_or(Duration::ZERO, |(_, unseen)| *unseen)
    }

    /// For how long `broker` has been missed, if it is.
    pub(crate) fn missed(&self, broker: PublicKey) -> Option<Duration> {
        self.brokers.get(&broker).map(|(_, unseen)| *unseen).filter(|it| *it >= MISSED_AFTER)
    }
}
