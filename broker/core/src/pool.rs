//! The replicas of one offer: open, leased, returned or done.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Lease, Offer, TaskId};
use capability::{ProjectKey, PublicKey, Runtime, StatementId, Timestamp, Verified};
use mesh_core::Mono;
use serde::Serialize;

use crate::troubles::{Holder, Tries, Troubles};

/// A lease can be renewed for the wall time of its job and this, in which the volunteer's owner may
/// pause, or the job may wait for others there.
pub const PAUSE_ALLOWANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pool {
    pub(crate) project: ProjectKey,
    pub(crate) epoch: u64,
    pub(crate) replicas: u16,
    /// How long a job may take.
    pub(crate) wall: Duration,
    /// Replicas with offline leases.
    pub(crate) offline: usize,
    /// By task, then replica.
    pub(crate) slots: Vec<Slot>,
    pub(crate) open: usize,
    stopped: usize,
    /// No slot before this one is open.
    pub(crate) first_open: usize,
    pub(crate) taken: BTreeMap<usize, Taken>,
    pub(crate) by_lease: BTreeMap<StatementId, usize>,
    pub(crate) troubles: Troubles,
    /// The numbers of the durable records of settled tasks.
    pub(crate) settled: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Open,
    Leased,
    Returned,
    Done,
    /// Nobody has it, and nobody gets it: a result that comes late counts all the same.
    Stopped,
}

/// More about a slot that is not open.
#[derive(Debug)]
pub(crate) enum Taken {
    Leased(Held),
    Returned { result: StatementId, holder: Holder },
    Done { holder: Holder },
}

#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) lease: Verified<Lease>,
    pub(crate) owner: Option<PublicKey>,
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
    /// Too many machines that had them were not heard of any more: nobody gets them.
    pub stopped: usize,
}

impl Pool {
    /// All replicas of `offer`, open.
    pub(crate) fn new(offer: &Verified<Offer>, epoch: u64) -> Self {
        let count = replicas(offer);
        Self {
            project: offer.project,
            epoch,
            replicas: offer.replicas,
            wall: offer.job.limits.wall(),
            offline: 0,
            slots: vec![Slot::Open; count],
            open: count,
            stopped: 0,
            first_open: 0,
            taken: BTreeMap::new(),
            by_lease: BTreeMap::new(),
            troubles: Troubles::default(),
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
        counts.stopped = self.stopped;
        let others = self.open + counts.leased + counts.returned + counts.stopped;
        counts.done = self.slots.len() - others;
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
        self.stopped -= usize::from(before == Slot::Stopped);
        self.stopped += usize::from(slot == Slot::Stopped);
        if slot == Slot::Open {
            self.first_open = self.first_open.min(index);
        }
        if slot == Slot::Done {
            self.troubles.settled(index);
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

    /// The offline leases that `volunteer` has here in `runtime`, in the order of the tasks.
    pub(crate) fn lent(
        &self,
        volunteer: PublicKey,
        runtime: &Runtime,
    ) -> impl Iterator<Item = &Verified<Lease>> {
        let held = self.taken.values().filter_map(|taken| match taken {
            Taken::Leased(held) => Some(&held.lease),
            Taken::Returned { .. } | Taken::Done { .. } => None,
        });
        let is_lent = move |lease: &&Verified<Lease>| {
            lease.volunteer == volunteer && lease.deadline.is_some() && lease.runtime == *runtime
        };
        held.filter(is_lent)
    }

    /// How long one volunteer may hold a lease, however often it renews it.
    pub(crate) fn longest(&self) -> Duration {
        self.wall + PAUSE_ALLOWANCE
    }

    /// Offline leases that may be granted beside those that there are: of half of the replicas, lest
    /// those who say nothing hold them all.
    pub(crate) fn room_offline(&self) -> usize {
        self.slots.len().div_ceil(2).saturating_sub(self.offline)
    }

    /// Whose the replica at `index` is, if it is that volunteer's.
    pub(crate) fn holder_at(&self, index: usize, volunteer: PublicKey) -> Holder {
        let holder = self.taken.get(&index).map(Taken::holder);
        let nobody_known = Holder { volunteer, owner: None };
        holder.filter(|holder| holder.volunteer == volunteer).unwrap_or(nobody_known)
    }

    /// Tasks of which a replica is stopped, and nobody can be at work on it any more.
    pub(crate) fn stopped_for_good(&self, now: Mono) -> impl Iterator<Item = (u32, Tries)> + '_ {
        let stopped = self.troubles.stopped(self.wall, now);
        let stopped = stopped.filter(|(index, _)| self.slots[*index] == Slot::Stopped);
        stopped.map(|(index, tries)| (self.task_and_replica(index).0, tries))
    }

    /// In a new epoch nothing is held against any task or volunteer.
    pub(crate) fn begin_anew(&mut self) {
        self.troubles = Troubles::default();
        for index in 0..self.slots.len() {
            if self.slots[index] == Slot::Stopped {
                self.set(index, Slot::Open);
            }
        }
    }

    /// Nobody has the replica at `index` any more.
    pub(crate) fn free(&mut self, index: usize) {
        self.taken.remove(&index);
        let stopped = self.troubles.is_stopped(index);
        self.set(index, if stopped { Slot::Stopped } else { Slot::Open });
    }

    /// Up to `count` open replicas, of tasks of which no machine akin to `holder` has another.
    pub(crate) fn open_for(&self, holder: Holder, count: usize, now: Mono) -> Vec<(u32, u16)> {
        let mut tasks: Vec<(u32, u16)> = Vec::new();
        for index in self.first_open..self.slots.len() {
            if tasks.len() >= count {
                break;
            }
            let (task, replica) = self.task_and_replica(index);
            let open =
                self.slots[index] == Slot::Open && !self.troubles.is_barred(index, holder, now);
            let same_task = tasks.last().is_some_and(|(last, _)| *last == task);
            if open && !same_task && !self.has_replica(task, holder) {
                tasks.push((task, replica));
            }
        }
        tasks
    }

    pub(crate) fn has_replica(&self, task: u32, holder: Holder) -> bool {
        if self.replicas == 1 {
            return false;
        }
        let id = |replica| TaskId { offer: StatementId::from_bytes([0; 32]), task, replica };
        (0..self.replicas)
            .filter_map(|replica| self.index(id(replica)))
            .filter_map(|index| self.taken.get(&index))
            .any(|taken| taken.holder().is_akin_to(holder))
    }
}

impl Taken {
    pub(crate) fn holder(&self) -> Holder {
        match self {
            Self::Leased(held) => held.holder(),
            Self::Returned { holder, .. } | Self::Done { holder } => *holder,
        }
    }
}

impl Held {
    pub(crate) fn holder(&self) -> Holder {
        Holder { volunteer: self.lease.volunteer, owner: self.owner }
    }
}

/// How many replicas `offer` has.
pub(crate) fn replicas(offer: &Offer) -> usize {
    // At most MAX_TASKS times 16.
    usize::try_from(offer.tasks).unwrap_or(usize::MAX).saturating_mul(usize::from(offer.replicas))
}
