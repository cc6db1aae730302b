//! Homes to which this broker knows no way, and for how long: their offers wait.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::PublicKey;
use mesh_core::Mono;

/// A home is missed only after this while: a broker's restart, or a link that is dialled again, takes
/// less.
const MISSED_AFTER: Duration = Duration::from_secs(60);

/// See the module. Bounded by the homes that are known.
#[derive(Debug, Default)]
pub(crate) struct Unseen {
    /// Since when, and how long that was at the last look.
    homes: BTreeMap<PublicKey, (Mono, Duration)>,
}

impl Unseen {
    /// These are the homes to which no way is known.
    pub(crate) fn look(&mut self, homes: impl Iterator<Item = PublicKey>, now: Mono) {
        let before = std::mem::take(&mut self.homes);
        let since = |home| before.get(&home).map_or(now, |(since, _)| *since);
        self.homes = homes.map(|home| (home, (since(home), now - since(home)))).collect();
    }

    /// For how long `home` has been missed, if it is.
    pub(crate) fn missed(&self, home: PublicKey) -> Option<Duration> {
        self.homes.get(&home).map(|(_, unseen)| *unseen).filter(|it| *it >= MISSED_AFTER)
    }
}
