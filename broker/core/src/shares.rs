//! Receipts in custody by project, so that one project, with however many delegates, does not take
//! the room of all others.
//!
//! Results are not counted: anybody can sign one for any project, and would take its share.

use std::collections::BTreeMap;

use capability::{ProjectKey, StatementId};

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    project_of: BTreeMap<StatementId, ProjectKey>,
    counts: BTreeMap<ProjectKey, usize>,
}

impl Shares {
    /// Receipts of `project` in custody.
    pub(crate) fn of(&self, project: ProjectKey) -> usize {
        self.counts.get(&project).copied().unwrap_or_default()
    }

    /// The receipt is in custody.
    pub(crate) fn add(&mut self, receipt: StatementId, project: ProjectKey) {
        if self.project_of.insert(receipt, project).is_none() {
            *self.counts.entry(project).or_default() += 1;
        }
    }

    /// Whatever it was, it is not in custody any more.
    pub(crate) fn remove(&mut self, bundle: StatementId) {
        let Some(project) = self.project_of.remove(&bundle) else { return };
        if let Some(count) = self.counts.get_mut(&project) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&project);
            }
        }
    }

    /// Only those that are `held` are in custody any more.
    pub(crate) fn retain(&mut self, held: impl Fn(StatementId) -> bool) {
        let gone: Vec<_> = self.project_of.keys().copied().filter(|id| !held(*id)).collect();
        gone.into_iter().for_each(|id| self.remove(id));
    }
}
