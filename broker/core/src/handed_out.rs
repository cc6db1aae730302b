//! How many tasks each project was given of late: who had least comes first.

use std::collections::{BTreeMap, BTreeSet};

use capability::{ProjectKey, StatementId};

/// Leases remembered at most, twice: as many as one home may have.
const MAX_COUNTED: usize = 200_000;

/// See the module.
///
/// A claim can be repeated for an hour, by anybody, and its answer then passes here once more. So a
/// lease that was counted is remembered for that long.
#[derive(Debug, Default)]
pub(crate) struct HandedOut {
    tasks: BTreeMap<ProjectKey, u64>,
    counted: BTreeSet<StatementId>,
    counted_before: BTreeSet<StatementId>,
}

impl HandedOut {
    /// Tasks that `project` was given.
    pub(crate) fn to(&self, project: ProjectKey) -> u64 {
        self.tasks.get(&project).copied().unwrap_or_default()
    }

    /// A task of `project` was given away by `lease`.
    pub(crate) fn count(&mut self, project: ProjectKey, lease: StatementId) {
        if self.counted_before.contains(&lease) || !self.counted.insert(lease) {
            return;
        }
        *self.tasks.entry(project).or_default() += 1;
        if self.counted.len() >= MAX_COUNTED {
            self.forget_leases();
        }
    }

    /// An hour has passed: what projects were given counts half as much.
    pub(crate) fn forgive(&mut self) {
        self.tasks.retain(|_, count| {
            *count /= 2;
            *count > 0
        });
        self.forget_leases();
    }

    fn forget_leases(&mut self) {
        self.counted_before = std::mem::take(&mut self.counted);
    }
}
