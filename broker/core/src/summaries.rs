//! What this broker tells the others about its volunteers: one summary for each shard.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{ClassCount, Summary};
use capability::{Signer, Verified};
use mesh_core::{Mono, Now, Shard};

/// Changes within this time share one summary.
const SETTLE: Duration = Duration::from_secs(2);
/// A summary is made anew this often although nothing has changed.
const RENEW_EVERY: Duration = Duration::from_secs(10 * 60);
/// The longest that its kind allows.
const LIFETIME: Duration = Duration::from_secs(60 * 60);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Summaries {
    told: BTreeMap<Shard, Told>,
    seq: u64,
    due: Option<Mono>,
}

#[derive(Debug)]
struct Told {
    classes: Vec<ClassCount>,
    at: Mono,
}

impl Summaries {
    /// The ads have changed.
    pub(crate) fn changed(&mut self, now: Now) {
        let soon = now.mono + SETTLE;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// When summaries should be looked at.
    pub(crate) fn due(&self) -> Option<Mono> {
        self.due
    }

    /// The summaries to tell now, of volunteers that are `current`ly known.
    pub(crate) fn issue(
        &mut self,
        mut current: BTreeMap<Shard, Vec<ClassCount>>,
        signer: &dyn Signer,
        now: Now,
    ) -> Vec<Verified<Summary>> {
        // A shard whose last volunteer has left is told of once more.
        for shard in self.told.keys() {
            current.entry(shard.clone()).or_default();
        }
        let stale = |told: &Told, classes: &[ClassCount]| {
            told.classes != classes || told.at + RENEW_EVERY <= now.mono
        };
        current
            .retain(|shard, classes| self.told.get(shard).is_none_or(|told| stale(told, classes)));
        let mut summaries = Vec::new();
        for (shard, classes) in current {
            self.seq = now.wall.0.max(self.seq + 1);
            let expires = now.wall + LIFETIME;
            let (seq, name) = (self.seq, shard.to_string());
            let summary = Summary { seq, shard: name, classes: classes.clone(), expires };
            // The words in it are peers': whatever they wrote, it is no reason to stop here.
            summaries.extend(Verified::try_sign(summary, signer));
            if classes.is_empty() {
                self.told.remove(&shard);
            } else {
                self.told.insert(shard, Told { classes, at: now.mono });
            }
        }
        self.due = self.told.values().map(|told| told.at + RENEW_EVERY).min();
        summaries
    }
}
