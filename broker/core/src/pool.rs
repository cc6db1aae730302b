//! The replicas of one offer: open, leased, returned or done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Lease, Offer, TaskId};
use capability::{ProjectKey, PublicKey, StatementId, Timestamp, Verified};
use mesh_core::Mono;
use serde::Serialize;

/// A lease can be renewed for the wall time of its job and this, in which the volunteer's owner may
/// pause, or the job may wait for others there.
pub const PAUSE_ALLOWANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) project: ProjectKey,
    pub(crate) epoch: u64,
    pub(crate) replicas: u16,
    /// How long one volunteer may hold a lease, however often it renews it.
    pub(crate) longest: Duration,
    /// By task, then replica.
    pub(crate) slots: Vec<Slot>,
    pub(crate) open: usize,
    /// No slot before this one is open.
    pub(crate) first_open: usize,
    pub(crate) taken: BTreeMap<usize, Taken>,
    pub(crate) by_lease: BTreeMap<StatementId, usize>,
    /// Open replicas that their last holder had for too long, and until when it gets them no more.
    pub(crate) barred: BTreeMap<usize, (PublicKey, Mono)>,
    /// The numbers of the durable records of settled tasks.
    pub(crate) settled: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Open,
    Leased,
    Returned,
    Done,
}

/// More about a slot that is not open.
#[derive(Debug)]
pub(crate) enum Taken {
    Leased(Held),
    Returned { result: StatementId, volunteer: PublicKey },
    Done { volunteer: PublicKey },
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lease: Verified<Lease>,
    pub(crate) deadline: Mono,
    /// When the volunteer made the latest renewal that was applied.
    pub(crate) renewed: Timestamp,
}

/// How the replicas of an offer stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct TaskCounts {
    /// Nobody has them.
    pub open: usize,
    /// Somebody is at them.
    pub leased: usize,
    /// Their results are on the way to the master, or being judged.
    pub returned: usize,
    /// Settled.
    pub done: usize,
}

impl Pool {
    /// All replicas of `offer`, open.
    pub(crate) fn new(offer: &Verified<Offer>, epoch: u64) -> Self {
        let count = replicas(offer);
        Self {
            project: offer.project,
            epoch,
            replicas: offer.replicas,
            longest: offer.job.limits.wall() + PAUSE_ALLOWANCE,
            slots: vec![Slot::Open; count],
            open: count,
            first_open: 0,
            taken: BTreeMap::new(),
            by_lease: BTreeMap::new(),
            barred: BTreeMap::new(),
            settled: BTreeSet::new(),
        }
    }

    /// How they stand.
    pub(crate) fn counts(&self) -> TaskCounts {
        let mut counts = TaskCounts { open: self.open, ..TaskCounts::default() };
        for taken in self.taken.values() {
            match taken {
                Taken::Leased(_) => counts.leased += 1,
                Taken::Returned { .. } => counts.returned += 1,
                Taken::Done { .. } => (),
            }
        }
        counts.done = self.slots.len() - self.open - counts.leased - counts.returned;
        counts
    }

    pub(crate) fn index(&self, id: TaskId) -> Option<usize> {
        (id.replica < self.replicas).then_some(self.first_of(id.task)? + usize::from(id.replica))
    }

    /// The slot of the task's first replica; those of the others follow.
    fn first_of(&self, task: u32) -> Option<usize> {
        // The task is a peer's word: on 32-bit machines it may lead beyond all numbers.
        let first = usize::try_from(task).ok()?.checked_mul(usize::from(self.replicas))?;
        (first < self.slots.len()).then_some(first)
    }

    pub(crate) fn task_id(&self, offer: StatementId, index: usize) -> TaskId {
        let (task, replica) = self.task_and_replica(index);
        TaskId { offer, task, replica }
    }

    pub(crate) fn task_and_replica(&self, index: usize) -> (u32, u16) {
        let replicas = usize::from(self.replicas);
        let task = u32::try_from(index / replicas).expect("at most MAX_TASKS tasks");
        let replica = u16::try_from(index % replicas).expect("below a u16");
        (task, replica)
    }

    pub(crate) fn last_task(&self) -> u32 {
        self.task_and_replica(self.slots.len() - 1).0
    }

    pub(crate) fn is_done(&self, task: u32) -> bool {
        let Some(first) = self.first_of(task) else { return false };
        let slots = self.slots.iter().skip(first).take(usize::from(self.replicas));
        slots.into_iter().all(|slot| *slot == Slot::Done)
    }

    pub(crate) fn set(&mut self, index: usize, slot: Slot) {
        let before = std::mem::replace(&mut self.slots[index], slot);
        self.open -= usize::from(before == Slot::Open);
        self.open += usize::from(slot == Slot::Open);
        if slot == Slot::Open {
            self.first_open = self.first_open.min(index);
        } else {
            self.barred.remove(&index);
        }
        while self.slots.get(self.first_open).is_some_and(|slot| *slot != Slot::Open) {
            self.first_open += 1;
        }
    }

    pub(crate) fn take(&mut self, index: usize, slot: Slot, taken: Taken) {
        self.set(index, slot);
        self.taken.insert(index, taken);
    }

    pub(crate) fn lease(&self, id: StatementId) -> Option<&Verified<Lease>> {
        match self.taken.get(self.by_lease.get(&id)?)? {
            Taken::Leased(held) => Some(&held.lease),
            _ => None,
        }
    }

    pub(crate) fn held(&mut self, id: StatementId) -> Option<&mut Held> {
        match self.taken.get_mut(self.by_lease.get(&id)?)? {
            Taken::Leased(held) => Some(held),
            _ => None,
        }
    }

    /// Up to `count` open replicas, of tasks that `volunteer` has no other replica of.
    pub(crate) fn open_for(
        &self,
        volunteer: PublicKey,
        count: usize,
        now: Mono,
    ) -> Vec<(u32, u16)> {
        let mut tasks: Vec<(u32, u16)> = Vec::new();
        for index in self.first_open..self.slots.len() {
            if tasks.len() >= count {
                break;
            }
            let (task, replica) = self.task_and_replica(index);
            let barred = self.barred.get(&index);
            let barred = barred.is_some_and(|(who, until)| *who == volunteer && *until > now);
            let open = self.slots[index] == Slot::Open && !barred;
            let same_task = tasks.last().is_some_and(|(last, _)| *last == task);
            if open && !same_task && !self.has_replica(task, volunteer) {
                tasks.push((task, replica));
            }
        }
        tasks
    }

    pub(crate) fn has_replica(&self, task: u32, volunteer: PublicKey) -> bool {
        if self.replicas == 1 {
            return false;
        }
        let id = |replica| TaskId { offer: StatementId::from_bytes([0; 32]), task, replica };
        (0..self.replicas)
            .filter_map(|replica| self.index(id(replica)))
            .any(|index| self.taken.get(&index).is_some_and(|taken| taken.volunteer() == volunteer))
    }
}

impl Taken {
    pub(crate) fn volunteer(&self) -> PublicKey {
        match self {
            Self::Leased(held) => held.lease.volunteer,
            Self::Returned { volunteer, .. } | Self::Done { volunteer } => *volunteer,
        }
    }
}

/// How many replicas `offer` has.
pub(crate) fn replicas(offer: &Offer) -> usize {
    // At most MAX_TASKS times 16.
    usize::try_from(offer.tasks).unwrap_or(usize::MAX).saturating_mul(usize::from(offer.replicas))
}
