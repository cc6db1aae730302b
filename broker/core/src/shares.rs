//! Whose turn it is: weighted fair queueing of projects for the core-seconds that this broker's own
//! volunteers give.
//!
//! Each project has an account of what it was given, divided by its weight; the one that had least
//! comes first. A lease is charged when it is granted, by how long a task of its offer usually takes
//! here, or else may take. When its end passes here that becomes the time between, by this broker's
//! clock: neither master nor volunteer has to be believed.
//!
//! Nobody saves anything up. A project that has nothing for a volunteer, when others have, is raised
//! to what the first of them has used; and one that is new begins there. So a newcomer is served at
//! once, and who was away is owed nothing. That is start-time fair queueing, but that costs are known
//! afterwards only: what is under way counts for the order, and not for the level that others are
//! raised to, or an estimate that was too high would be paid by whoever comes next.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Lease, Offer};
use capability::{ProjectKey, PublicKey, StatementId, Verified};
use mesh_core::Mono;
use thiserror::Error;

/// Leases that are under way at most; beyond, the one that must end first counts as if it had.
const MAX_CHARGES: usize = 200_000;
/// Accounts at most: twice as many as projects can have offers here. Who had least is forgotten, and
/// would begin with as much.
const MAX_ACCOUNTS: usize = 20_000;
/// A new duration is this part of the usual one, so that one odd task does not matter.
const SMOOTHING: u32 = 8;

/// How much of what volunteers give is a project's, beside the others: in hundredths of what one has
/// of which the operator says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

/// A weight is 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a weight is 1 to {}, and {} is usual", Weight::MOST.0, Weight::default().0)]
pub struct NoWeight;

impl Weight {
    /// A hundred times the usual.
    pub const MOST: Self = Self(10_000);
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for Weight {
    type Error = NoWeight;

    fn try_from(hundredths: u16) -> Result<Self, NoWeight> {
        if (1..=Self::MOST.0).contains(&hundredths) { Ok(Self(hundredths)) } else { Err(NoWeight) }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    weights: BTreeMap<ProjectKey, Weight>,
    accounts: BTreeMap<ProjectKey, Account>,
    /// What the first in turn of the last answer had used.
    level: Used,
    charges: BTreeMap<StatementId, Charge>,
    by_end: BTreeSet<(Mono, StatementId)>,
    /// How long a task of an offer takes here.
    usual: BTreeMap<StatementId, Duration>,
}

/// Core-milliseconds by weight: a project of the largest weight has one for each that it is given.
type Used = u128;

#[derive(Debug, Clone, Copy, Default)]
struct Account {
    used: Used,
    under_way: Used,
}

#[derive(Debug)]
struct Charge {
    project: ProjectKey,
    offer: StatementId,
    volunteer: PublicKey,
    cores: u32,
    granted: Mono,
    /// By then its job is over.
    end: Mono,
    estimate: Used,
}

impl Account {
    fn in_all(&self) -> Used {
        self.used.saturating_add(self.under_way)
    }

    fn raise(&mut self, level: Used) {
        self.used = self.used.max(level.saturating_sub(self.under_way));
    }
}

impl Shares {
    pub(crate) fn new(weights: BTreeMap<ProjectKey, Weight>) -> Self {
        Self { weights, ..Self::default() }
    }

    /// What `project` has had; who is new had nothing.
    pub(crate) fn had(&self, project: ProjectKey) -> u128 {
        self.accounts.get(&project).map(Account::in_all).unwrap_or_default()
    }

    /// A volunteer was answered with offers of `served`, the first in turn first; `in_turn` are all
    /// projects in their order. Those before had nothing for it.
    pub(crate) fn passed_over(&mut self, in_turn: &[ProjectKey], served: &[ProjectKey]) {
        let known = served.iter().find_map(|project| self.accounts.get(project));
        let Some(level) = known.map(|account| account.used) else { return };
        self.level = level;
        for project in in_turn.iter().take_while(|project| !served.contains(project)) {
            if let Some(account) = self.accounts.get_mut(project) {
                account.raise(level);
            }
        }
    }

    /// `project` had no offer, and has one now.
    pub(crate) fn came_back(&mut self, project: ProjectKey) {
        if let Some(account) = self.accounts.get_mut(&project) {
            account.raise(self.level);
        }
    }

    /// A task of `offer` was given to a volunteer of ours by `lease`. The same one again is nothing:
    /// a claim can be repeated, and its answer then passes here once more.
    pub(crate) fn charge(&mut self, lease: &Verified<Lease>, offer: &Offer, now: Mono) {
        if self.charges.contains_key(&lease.id()) {
            return;
        }
        let cores = offer.requirements.cores();
        let most = offer.job.limits.wall();
        let usual = self.usual.get(&lease.task.offer).copied().unwrap_or(most);
        let estimate = self.cost(offer.project, cores, usual);
        let charge = Charge {
            project: offer.project,
            offer: lease.task.offer,
            volunteer: lease.volunteer,
            cores,
            granted: now,
            end: now + most,
            estimate,
        };
        self.account(offer.project).under_way += estimate;
        self.by_end.insert((charge.end, lease.id()));
        self.charges.insert(lease.id(), charge);
        if self.charges.len() > MAX_CHARGES
            && let Some((end, lease)) = self.by_end.first().copied()
        {
            self.end(lease, end);
        }
    }

    /// The end of `lease` has passed here, as its `volunteer` says: by a result, or giving it back.
    pub(crate) fn ended(&mut self, lease: StatementId, volunteer: PublicKey, now: Mono) {
        if self.charges.get(&lease).is_some_and(|charge| charge.volunteer == volunteer) {
            self.end(lease, now);
        }
    }

    fn end(&mut self, lease: StatementId, now: Mono) {
        let Some(charge) = self.charges.remove(&lease) else { return };
        self.by_end.remove(&(charge.end, lease));
        // An owner's pause, or the way here, is no use of the machine.
        let took = now.min(charge.end) - charge.granted;
        let cost = self.cost(charge.project, charge.cores, took);
        let account = self.account(charge.project);
        account.under_way = account.under_way.saturating_sub(charge.estimate);
        account.used = account.used.saturating_add(cost);
        let usual = self.usual.entry(charge.offer).or_insert(took);
        *usual = (*usual * (SMOOTHING - 1) + took) / SMOOTHING;
    }

    /// Leases whose jobs must be over have ended, whoever keeps silent about it.
    pub(crate) fn expire(&mut self, now: Mono) {
        while let Some((end, lease)) = self.by_end.first().copied().filter(|(end, _)| *end <= now) {
            self.end(lease, end);
        }
    }

    /// The offer is over.
    pub(crate) fn forget_offer(&mut self, offer: StatementId) {
        self.usual.remove(&offer);
    }

    fn account(&mut self, project: ProjectKey) -> &mut Account {
        if self.accounts.len() >= MAX_ACCOUNTS && !self.accounts.contains_key(&project) {
            let least = self.accounts.iter().min_by_key(|(_, account)| account.in_all());
            let least = least.map(|(project, _)| *project);
            least.and_then(|least| self.accounts.remove(&least));
        }
        let new = Account { used: self.level, under_way: 0 };
        self.accounts.entry(project).or_insert(new)
    }

    /// A task costs something, however short it is.
    fn cost(&self, project: ProjectKey, cores: u32, time: Duration) -> Used {
        let weight = self.weights.get(&project).copied().unwrap_or_default();
        let given = time.as_millis().max(1).saturating_mul(u128::from(cores));
        given.saturating_mul(u128::from(Weight::MOST.0)) / u128::from(weight.0)
    }
}
