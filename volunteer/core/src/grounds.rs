//! Why a task was taken, as things were then: pins, policy and facts may have changed since.

use std::collections::BTreeSet;

use capability::{Finding, InRuntime, Runtime, compare};
use mesh_core::Offered;

use crate::policy::describe;
use crate::volunteer::Volunteer;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grounds {
    /// Runtimes that the owner's pin let the project use.
    pub permitted: BTreeSet<Runtime>,
    /// The job's requirements, each with the fact beside it, in the runtime that it was claimed for.
    pub requirements: Option<InRuntime>,
    /// What the owner wanted of offers, each clause beside what this one had.
    pub policy: Vec<Finding>,
    /// How welcome the offer was by the owner's preferences.
    pub rank: u64,
}

impl Volunteer {
    /// What speaks for `offered` in `runtime` now.
    pub(crate) fn grounds(&self, offered: &Offered, runtime: &Runtime) -> Grounds {
        let pin = self.trust.pin(&offered.offer.project);
        let facts = pin.map(|pin| describe(offered, pin)).unwrap_or_default();
        let compared = self.machine.as_ref().map(|it| compare(it, &offered.offer.requirements));
        let mut runtimes = compared.into_iter().flat_map(|it| it.runtimes);
        Grounds {
            permitted: pin.map(|pin| pin.runtimes.clone()).unwrap_or_default(),
            requirements: runtimes.find(|it| it.runtime == *runtime),
            policy: self.policy.examine(&facts).collect(),
            rank: self.policy.rank(&facts),
        }
    }
}
