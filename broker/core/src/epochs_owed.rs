//! What a restored broker may grant: nothing of a project until its master has begun a new epoch.
//!
//! Between the back-up and now it granted tasks that it does not remember. Granted once more in the
//! same epoch, a task would have two live leases. So of every project the first home that it is
//! shown after the restoration, or finds in the back-up, only counts as the past: what it grants
//! needs a later one. A new project pays with one epoch more than it would have needed.

use std::collections::BTreeMap;

use capability::statements::Lease;
use capability::{MAX_CLOCK_SKEW, Payload, ProjectKey, Timestamp, encode_cbor};
use mesh_core::Write;
use serde::{Deserialize, Serialize};

use crate::record;

/// The write that turns a copy of a broker's records into those of a restored broker.
pub fn mark_restored(now: Timestamp) -> Write {
    Write::put(vec![record::RESTORED], encode_cbor(&RestoredRecord { at: now }))
}

/// When the records were restored.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct RestoredRecord {
    at: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct EpochsOwed {
    restored: Option<Timestamp>,
    /// The epoch that counts as the past.
    past: BTreeMap<ProjectKey, u64>,
}

impl EpochsOwed {
    /// Takes up that the broker was restored, unless every lease of the time before has expired.
    pub(crate) fn restore(&mut self, mark: &RestoredRecord, now: Timestamp) {
        if now < mark.at + Lease::MAX_LIFETIME + MAX_CLOCK_SKEW {
            self.restored = Some(mark.at);
        }
    }

    /// Takes up what was recorded of a project.
    pub(crate) fn restore_past(&mut self, project: ProjectKey, epoch: u64) {
        if self.is_restored() {
            self.past.insert(project, epoch);
        }
    }

    /// Whether anything may be owed.
    pub(crate) fn is_restored(&self) -> bool {
        self.restored.is_some()
    }

    /// Whether nothing may be granted in `epoch`, as far as is known.
    pub(crate) fn is_past(&self, project: ProjectKey, epoch: u64) -> bool {
        self.is_restored() && self.past.get(&project).is_none_or(|past| epoch <= *past)
    }

    /// A home of `project` was shown: the first one ever is the past.
    pub(crate) fn shown(&mut self, project: ProjectKey, epoch: u64) -> Option<Write> {
        if !self.is_restored() || self.past.contains_key(&project) {
            return None;
        }
        self.past.insert(project, epoch);
        Some(Write::put(record::past_epoch(project), encode_cbor(&epoch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROJECT: ProjectKey = ProjectKey::from_bytes([1; 32]);

    fn restored() -> EpochsOwed {
        let mut owed = EpochsOwed::default();
        owed.restore(&RestoredRecord { at: Timestamp(1_000) }, Timestamp(2_000));
        owed
    }

    #[test]
    fn of_every_project_the_first_epoch_that_is_shown_is_the_past() {
        let mut owed = restored();
        assert!(owed.is_past(PROJECT, 7));
        assert!(owed.shown(PROJECT, 7).is_some());
        assert!(owed.shown(PROJECT, 8).is_none(), "it is written once");
        assert!(owed.is_past(PROJECT, 7) && !owed.is_past(PROJECT, 8));
    }

    #[test]
    fn nothing_is_owed_by_who_was_not_restored_or_long_ago() {
        let mut owed = EpochsOwed::default();
        assert!(!owed.is_past(PROJECT, 1) && owed.shown(PROJECT, 1).is_none());
        let later = Timestamp(1_000) + Lease::MAX_LIFETIME + MAX_CLOCK_SKEW;
        owed.restore(&RestoredRecord { at: Timestamp(1_000) }, later);
        assert!(!owed.is_past(PROJECT, 1));
    }
}
