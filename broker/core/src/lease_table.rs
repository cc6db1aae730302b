//! The leases that this broker has granted as the home of projects, and the tasks that are open.
//!
//! Each offer published here has a pool of replicas: open, leased, returned or done. A claim takes
//! open ones; a lease that is not renewed within its term makes its replica open again, and so does
//! one that is overdue: held for longer than its job and an owner's pause can take. An offline lease
//! has a deadline instead. A result makes it returned, which nobody leases again unless the master
//! says so; a receipt settles it. There is at most one live lease of a replica, because a replica is
//! one slot. What goes wrong with a replica, [`crate::troubles`] remembers.
//!
//! Grants, returns and ends are durable; renewals are not, so a restarted broker gives every lease
//! that it finds one more term.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{
    Claim, Intent, JobResult, Lease, Offer, Receipt, Renewal, TaskId, Verdict,
};
use capability::{
    Envelope, Payload, ProjectKey, PublicKey, Signer, StatementId, Timestamp, Verified, encode_cbor,
};
use mesh_core::{Loan, Mono, Now, Refusal, StoppedTask, Write};
use serde::{Deserialize, Serialize};

use crate::claims::Claims;
use crate::pool::{Held, Pool, Slot, Taken, TaskCounts, replicas};
use crate::record;
use crate::troubles::{Holder, Tries};

/// Three renewals, 10 s apart: one lost message must not end a lease.
pub const LEASE_TERM: Duration = Duration::from_secs(30);
/// Replicas of all pools at most; one takes a byte while it is open.
pub const MAX_REPLICAS: usize = 16_000_000;
/// Replicas of one project at most, a tenth of all: its largest offer, so that ten projects always
/// fit.
pub const MAX_REPLICAS_A_PROJECT: usize = MAX_REPLICAS / 10;
/// Whose lease was overdue gets the replica again only after this while, so that others come first.
pub const OVERDUE_PAUSE: Duration = Duration::from_secs(10 * 60);
/// Offline leases of one volunteer at most: one claim. They say nothing until their deadlines.
pub const MAX_OFFLINE_A_VOLUNTEER: usize = 256;
/// After a machine could not run a task, those of its owner get it again only after this while, so that
/// others come first if there are some.
pub const RETRY_PAUSE: Duration = Duration::from_secs(2 * 60);
/// Stopped tasks in one answer at most.
const MAX_STOPPED: usize = mesh_core::MAX_STOPPED_AN_ANSWER;
/// Live leases at most; each takes about a kilobyte.
pub const MAX_LEASES: usize = 200_000;
/// Live leases of one volunteer at most, so that none can sit on everything.
pub const MAX_LEASES_A_VOLUNTEER: usize = 2_048;
/// Waits of volunteers whose end is told at most. Of more they learn when they ask the next time.
const MAX_WAITS: usize = 10_000;
/// Ranges in one durable record: at most 11 bytes each, below the store's bound of 64 KiB.
const RANGES_A_RECORD: usize = 4_096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct LeaseTable {
    pools: BTreeMap<StatementId, Pool>,
    deadlines: BTreeSet<(Mono, TaskId)>,
    by_volunteer: BTreeMap<PublicKey, InHand>,
    leases: usize,
    replicas: usize,
    replicas_of: BTreeMap<ProjectKey, usize>,
    claims: Claims,
    /// When volunteers that have failed at an offer may have more of it.
    waits: BTreeSet<(Mono, StatementId)>,
}

/// What one volunteer has.
#[derive(Debug, Clone, Copy, Default)]
struct InHand {
    leases: usize,
    offline: usize,
}

/// How a slot that is not open is durable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum SlotRecord {
    Leased {
        lease: Envelope,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        owner: Option<PublicKey>,
    },
    Returned {
        result: StatementId,
        #[serde(flatten)]
        holder: Holder,
    },
    Done(Holder),
}

impl SlotRecord {
    fn of(taken: &Taken) -> Self {
        match taken {
            Taken::Leased(held) => {
                Self::Leased { lease: held.lease.envelope().clone(), owner: held.owner }
            }
            Taken::Returned { result, holder } => {
                Self::Returned { result: *result, holder: *holder }
            }
            Taken::Done { holder } => Self::Done(*holder),
        }
    }
}

/// That this broker grants an offer's tasks.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PoolRecord {
    pub(crate) epoch: u64,
}

impl LeaseTable {
    /// Whether tasks of `offer` are granted here in `epoch`.
    pub(crate) fn grants(&self, offer: StatementId, epoch: u64) -> bool {
        self.pools.get(&offer).is_some_and(|pool| pool.epoch == epoch)
    }

    /// Replicas of `offer` that are open here; `None` if there is no pool of it.
    pub(crate) fn open(&self, offer: StatementId) -> Option<usize> {
        self.pools.get(&offer).map(|pool| pool.open)
    }

    /// How the replicas of `offer` stand, if they are granted here.
    pub(crate) fn counts(&self, offer: StatementId) -> Option<TaskCounts> {
        self.pools.get(&offer).map(Pool::counts)
    }

    /// The offers of `project` that have a pool here.
    pub(crate) fn offers_of(&self, project: ProjectKey) -> Vec<StatementId> {
        let of_project = self.pools.iter().filter(|(_, pool)| pool.project == project);
        of_project.map(|(offer, _)| *offer).collect()
    }

    /// The offers that have a pool here.
    pub(crate) fn offers(&self) -> impl Iterator<Item = StatementId> + '_ {
        self.pools.keys().copied()
    }

    /// How many leases are live.
    pub(crate) fn len(&self) -> usize {
        self.leases
    }

    /// What the slots of `offer` are that are not open, as records.
    pub(crate) fn slots_of(&self, offer: StatementId) -> Vec<(TaskId, Vec<u8>)> {
        let Some(pool) = self.pools.get(&offer) else { return Vec::new() };
        let record = |(index, taken): (&usize, &Taken)| {
            (pool.task_id(offer, *index), encode_cbor(&SlotRecord::of(taken)))
        };
        pool.taken.iter().map(record).collect()
    }

    /// Every live lease.
    pub(crate) fn leases(&self) -> impl Iterator<Item = &Verified<Lease>> {
        let taken = self.pools.values().flat_map(|pool| pool.taken.values());
        taken.filter_map(|taken| match taken {
            Taken::Leased(held) => Some(&held.lease),
            _ => None,
        })
    }

    /// Refuses an `offer` whose pool would not fit.
    pub(crate) fn has_room(&self, offer: &Verified<Offer>) -> Result<(), Refusal> {
        let count = replicas(offer);
        let of_project = self.replicas_of.get(&offer.project).copied().unwrap_or_default();
        if self.pools.contains_key(&offer.id()) {
            Ok(())
        } else if of_project.saturating_add(count) > MAX_REPLICAS_A_PROJECT {
            Err(Refusal::Full("too many tasks of this project".to_owned()))
        } else if self.replicas.saturating_add(count) > MAX_REPLICAS {
            Err(Refusal::Full("too many tasks".to_owned()))
        } else {
            Ok(())
        }
    }

    /// Grants tasks of `offer` from now on, in `epoch`, but none of those that are `settled`.
    pub(crate) fn begin(
        &mut self,
        offer: &Verified<Offer>,
        epoch: u64,
        settled: &[(u32, u32)],
    ) -> Vec<Write> {
        let id = offer.id();
        let mut writes = self.end_leases(id, epoch);
        if !self.grants(id, epoch) {
            self.restore_pool(offer, epoch);
            self.pools.get_mut(&id).into_iter().for_each(Pool::begin_anew);
            writes.push(Write::put(record::pool(id), encode_cbor(&PoolRecord { epoch })));
        }
        writes.extend(self.settle(id, settled));
        writes
    }

    /// Takes up again a pool that a former process had made durable.
    pub(crate) fn restore_pool(&mut self, offer: &Verified<Offer>, epoch: u64) {
        let pool = self.pools.entry(offer.id()).or_insert_with(|| {
            self.replicas += replicas(offer);
            *self.replicas_of.entry(offer.project).or_default() += replicas(offer);
            Pool::new(offer, epoch)
        });
        pool.epoch = epoch;
    }

    /// Takes up again settled tasks that a former process had made durable.
    pub(crate) fn restore_settled(
        &mut self,
        offer: StatementId,
        number: u32,
        ranges: &[(u32, u32)],
    ) {
        self.settle_ranges(offer, ranges);
        if let Some(pool) = self.pools.get_mut(&offer) {
            pool.settled.insert(number);
        }
    }

    /// Takes up again what became of one replica. A lease gets one more term.
    pub(crate) fn restore_slot(&mut self, id: TaskId, taken: RestoredSlot, now: Now) {
        let Some(pool) = self.pools.get_mut(&id.offer) else { return };
        let Some(index) = pool.index(id) else { return };
        match taken {
            // The task was settled, and the process ended before this record was deleted. The mark
            // makes the end of the pool delete it.
            taken if pool.slots[index] == Slot::Done => {
                pool.take(index, Slot::Done, Taken::Done { holder: taken.holder() });
            }
            RestoredSlot::Leased { lease, owner } if lease.epoch == pool.epoch => {
                self.hold(id, lease, owner, now);
            }
            RestoredSlot::Leased { .. } => (),
            RestoredSlot::Returned { result, holder } => {
                pool.take(index, Slot::Returned, Taken::Returned { result, holder });
            }
            RestoredSlot::Done { holder } => {
                pool.take(index, Slot::Done, Taken::Done { holder });
            }
        }
    }

    /// Grants what `claim` asks for, as far as there is. The parent has checked that it may.
    ///
    /// A claim that was granted before gets what is left of its leases: the answer was lost, or
    /// somebody else repeats it.
    pub(crate) fn grant(
        &mut self,
        claim: &Verified<Claim>,
        owner: Option<PublicKey>,
        offer: &Verified<Offer>,
        signer: &dyn Signer,
        now: Now,
    ) -> Result<(Vec<Verified<Lease>>, Vec<Write>), Refusal> {
        let volunteer = claim.signer();
        let holder = Holder { volunteer, owner };
        let Some(pool) = self.pools.get(&claim.offer) else { return Err(Refusal::UnknownOffer) };
        if let Some(granted) = self.claims.granted(claim.id()) {
            let left: Vec<_> = granted.iter().filter_map(|id| pool.lease(*id)).cloned().collect();
            return if left.is_empty() { Err(Refusal::NoTask) } else { Ok((left, Vec::new())) };
        }
        if let Some((wait, failures)) = pool.troubles.wait(volunteer, now.mono) {
            return Err(Refusal::Full(format!(
                "you failed at this offer {failures} times of late, ask again in {} s",
                wait.as_secs() + 1
            )));
        }
        let of_volunteer = self.by_volunteer.get(&volunteer).copied().unwrap_or_default();
        let room = MAX_LEASES_A_VOLUNTEER
            .saturating_sub(of_volunteer.leases)
            .min(MAX_LEASES.saturating_sub(self.leases));
        if room == 0 {
            return Err(Refusal::Full("too many live leases".to_owned()));
        }
        let count = room.min(usize::from(claim.count));
        let tasks = pool.open_for(holder, count, now.mono);
        if tasks.is_empty() {
            return Err(Refusal::NoTask);
        }
        let deadline = offline_deadline(claim, offer, now);
        let offline =
            pool.room_offline().min(MAX_OFFLINE_A_VOLUNTEER.saturating_sub(of_volunteer.offline));
        let lease = |(number, (task, replica))| Lease {
            project: offer.project,
            task: TaskId { offer: claim.offer, task, replica },
            epoch: claim.epoch,
            volunteer,
            runtime: claim.runtime.clone(),
            granted: now.wall,
            term_ms: term_ms(),
            deadline: deadline.filter(|_| number < offline),
            expires: offer.expires(),
        };
        let leases = tasks.into_iter().enumerate().map(lease).collect();
        let (leases, writes) = self.sign_and_hold(leases, owner, signer, now);
        self.claims.remember(claim, leases.iter().map(Verified::id).collect());
        Ok((leases, writes))
    }

    /// Offline leases of `offer` for the volunteer of `loan`: those that it has, and of as many more open
    /// tasks as it lacks. The parent has checked that it may.
    pub(crate) fn lend(
        &mut self,
        loan: &Loan,
        offer: &Verified<Offer>,
        signer: &dyn Signer,
        now: Now,
    ) -> Result<(Vec<Verified<Lease>>, Vec<Write>), Refusal> {
        let volunteer = loan.volunteer;
        let Some(pool) = self.pools.get(&loan.offer) else { return Err(Refusal::UnknownOffer) };
        let mut lent: Vec<_> = pool.lent(volunteer, &loan.runtime).cloned().collect();
        lent.truncate(loan.count.into());
        let of_volunteer = self.by_volunteer.get(&volunteer).copied().unwrap_or_default();
        let room = MAX_LEASES_A_VOLUNTEER
            .saturating_sub(of_volunteer.leases)
            .min(MAX_OFFLINE_A_VOLUNTEER.saturating_sub(of_volunteer.offline))
            .min(MAX_LEASES.saturating_sub(self.leases));
        let lacking = usize::from(loan.count) - lent.len();
        if room == 0 && lacking > 0 && lent.is_empty() {
            return Err(Refusal::Full("too many live leases of that volunteer".to_owned()));
        }
        let holder = Holder { volunteer, owner: None };
        let tasks = pool.open_for(holder, lacking.min(room), now.mono);
        if tasks.is_empty() && lent.is_empty() {
            return Err(Refusal::NoTask);
        }
        let lease = |(task, replica)| Lease {
            project: offer.project,
            task: TaskId { offer: loan.offer, task, replica },
            epoch: loan.epoch,
            volunteer,
            runtime: loan.runtime.clone(),
            granted: now.wall,
            term_ms: term_ms(),
            deadline: Some(loan.until),
            expires: offer.expires(),
        };
        let leases = tasks.into_iter().map(lease).collect();
        let (leases, writes) = self.sign_and_hold(leases, None, signer, now);
        lent.extend(leases);
        Ok((lent, writes))
    }

    /// Signs `leases` together; they are live from now on.
    fn sign_and_hold(
        &mut self,
        leases: Vec<Lease>,
        owner: Option<PublicKey>,
        signer: &dyn Signer,
        now: Now,
    ) -> (Vec<Verified<Lease>>, Vec<Write>) {
        // S51 and S93 are all that a lease can break, and the times are ours or were looked at; it has some
        // hundred bytes.
        let leases = Verified::sign_batch(leases, signer);
        let mut writes = Vec::with_capacity(leases.len());
        for lease in &leases {
            let record = SlotRecord::Leased { lease: lease.envelope().clone(), owner };
            writes.push(Write::put(record::slot(lease.task), encode_cbor(&record)));
            self.hold(lease.task, lease.clone(), owner, now);
        }
        (leases, writes)
    }

    /// Keeps or gives back the leases that `renewal` names; gives those that are not its signer's
    /// any more, and how many tasks were given back.
    ///
    /// Nobody keeps a task for ever: a lease that is overdue ends, and its replica is open. A late
    /// result still counts while it is.
    pub(crate) fn renew(&mut self, renewal: &Verified<Renewal>, now: Now) -> Renewed {
        let mut renewed = Renewed::default();
        for lease in &renewal.leases {
            let pool = self.pools.get_mut(&renewal.offer);
            let longest = pool.as_ref().map_or(Duration::ZERO, |pool| pool.longest());
            let held = pool.and_then(|pool| pool.held(*lease));
            let Some(held) = held.filter(|held| held.lease.volunteer == renewal.signer()) else {
                renewed.lapsed.push(*lease);
                continue;
            };
            let task = held.lease.task;
            match renewal.intent {
                Intent::Keep if held.lease.deadline.is_some() => (),
                Intent::Keep if held.lease.granted + longest <= now.wall => {
                    renewed.lapsed.push(*lease);
                    renewed.overdue.push(task);
                    renewed.writes.extend(self.give_up(task, OVERDUE_PAUSE, now));
                }
                Intent::Keep if renewal.issued > held.renewed => {
                    self.deadlines.remove(&(held.deadline, task));
                    held.deadline = now.mono + LEASE_TERM;
                    held.renewed = renewal.issued;
                    self.deadlines.insert((held.deadline, task));
                }
                Intent::Keep => (),
                Intent::Release => {
                    renewed.writes.extend(if renewal.lost {
                        self.give_up(task, RETRY_PAUSE, now)
                    } else {
                        self.reopen(task)
                    });
                    renewed.released += 1;
                }
            }
        }
        renewed
    }

    /// Opens the tasks whose leases were not renewed in time.
    pub(crate) fn lapse(&mut self, now: Now) -> (Vec<Verified<Lease>>, Vec<Write>) {
        let (mut lapsed, mut writes) = (Vec::new(), Vec::new());
        while let Some((at, task)) =
            self.deadlines.first().copied().filter(|(at, _)| *at <= now.mono)
        {
            // Whatever is known of the task, the loop comes to an end.
            self.deadlines.remove(&(at, task));
            lapsed.extend(self.current(task).cloned());
            // Whoever is still at it may have it again: only the way was cut, perhaps.
            writes.extend(self.give_up(task, Duration::ZERO, now));
        }
        (lapsed, writes)
    }

    /// When the next lease lapses.
    pub(crate) fn next_lapse(&self) -> Option<Mono> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Offers of which a volunteer that has failed may have more from now on.
    pub(crate) fn end_waits(&mut self, now: Mono) -> Vec<StatementId> {
        let mut offers = Vec::new();
        while let Some((_, offer)) = self.waits.first().copied().filter(|(end, _)| *end <= now) {
            self.waits.pop_first();
            offers.push(offer);
        }
        offers
    }

    /// When the next of them may.
    pub(crate) fn next_wait_end(&self) -> Option<Mono> {
        self.waits.first().map(|(end, _)| *end)
    }

    /// The live lease of a replica.
    pub(crate) fn current(&self, task: TaskId) -> Option<&Verified<Lease>> {
        let pool = self.pools.get(&task.offer)?;
        match pool.taken.get(&pool.index(task)?)? {
            Taken::Leased(held) => Some(&held.lease),
            _ => None,
        }
    }

    /// Whether a replica is nobody's.
    pub(crate) fn is_open(&self, task: TaskId) -> bool {
        let Some(pool) = self.pools.get(&task.offer) else { return false };
        let nobodys = |index: usize| matches!(pool.slots[index], Slot::Open | Slot::Stopped);
        pool.index(task).is_some_and(nobodys)
    }

    /// A result was taken: its replica is not leased again. The parent has checked that its lease
    /// is the current one, or that the replica is open.
    pub(crate) fn returned(&mut self, result: &Verified<JobResult>) -> Vec<Write> {
        let (task, result, volunteer) = (result.task, result.id(), result.signer());
        let Some((pool, index)) = self.pool_and_index(task) else { return Vec::new() };
        let holder = pool.holder_at(index, volunteer);
        self.drop_lease(task);
        let Some((pool, index)) = self.pool_and_index(task) else { return Vec::new() };
        pool.take(index, Slot::Returned, Taken::Returned { result, holder });
        let record = SlotRecord::Returned { result, holder };
        vec![Write::put(record::slot(task), encode_cbor(&record))]
    }

    /// A receipt crosses its home: its replica is done, or open again.
    ///
    /// Whose result it was waits for more of the offer if it does not count, longer each time, and
    /// other owners' machines have the replica first.
    pub(crate) fn judged(&mut self, receipt: &Verified<Receipt>, now: Now) -> Vec<Write> {
        let (task, volunteer) = (receipt.task, receipt.volunteer);
        let Some((pool, index)) = self.pool_and_index(task) else { return Vec::new() };
        let holder = pool.holder_at(index, volunteer);
        match receipt.verdict {
            Verdict::Accepted(_) if pool.slots[index] != Slot::Done => {
                if pool.troubles.worked(volunteer) {
                    self.waits.insert((now.mono, task.offer));
                }
                self.drop_lease(task);
                let (pool, index) = self.pool_and_index(task).expect("it was there just now");
                pool.take(index, Slot::Done, Taken::Done { holder });
                vec![Write::put(record::slot(task), encode_cbor(&SlotRecord::Done(holder)))]
            }
            Verdict::Accepted(_) => Vec::new(),
            // Only what was judged opens again: another's lease or result of the replica stays.
            Verdict::Rejected(_) | Verdict::Again(_) => match pool.taken.get(&index) {
                Some(Taken::Returned { result, .. }) if *result == receipt.result => {
                    pool.troubles.bar(index, holder, now.mono + RETRY_PAUSE);
                    let end = pool.troubles.failed(volunteer, now.mono);
                    if self.waits.len() < MAX_WAITS {
                        self.waits.insert((end, task.offer));
                    }
                    self.reopen(task)
                }
                _ => Vec::new(),
            },
        }
    }

    /// Ends the leases of epochs before `epoch`.
    pub(crate) fn end_leases(&mut self, offer: StatementId, epoch: u64) -> Vec<Write> {
        if self.pools.get(&offer).is_some_and(|pool| pool.epoch < epoch) {
            self.reopen_leased(offer)
        } else {
            Vec::new()
        }
    }

    /// Ends all leases of an offer's tasks.
    fn reopen_leased(&mut self, offer: StatementId) -> Vec<Write> {
        let Some(pool) = self.pools.get(&offer) else { return Vec::new() };
        let leased = pool.taken.values().filter_map(|taken| match taken {
            Taken::Leased(held) => Some(held.lease.task),
            _ => None,
        });
        let leased: Vec<_> = leased.collect();
        leased.into_iter().flat_map(|task| self.reopen(task)).collect()
    }

    /// The offer is over, or its home is elsewhere.
    pub(crate) fn end(&mut self, offer: StatementId) -> Vec<Write> {
        let mut writes = self.reopen_leased(offer);
        let Some(pool) = self.pools.remove(&offer) else { return writes };
        self.replicas -= pool.slots.len();
        if let Some(count) = self.replicas_of.get_mut(&pool.project) {
            *count -= pool.slots.len();
            if *count == 0 {
                self.replicas_of.remove(&pool.project);
            }
        }
        writes.push(Write::delete(record::pool(offer)));
        let taken = pool.taken.keys().map(|index| record::slot(pool.task_id(offer, *index)));
        writes.extend(taken.map(Write::delete));
        let settled = pool.settled.iter().map(|number| record::settled(offer, *number));
        writes.extend(settled.map(Write::delete));
        writes
    }

    /// Forgets claims that nobody can repeat any more.
    pub(crate) fn forget_claims(&mut self, now: Timestamp) {
        self.claims.expire(now);
    }

    /// Settles what is not settled yet, durably.
    fn settle(&mut self, offer: StatementId, ranges: &[(u32, u32)]) -> Vec<Write> {
        let (fresh, superseded) = self.settle_ranges(offer, ranges);
        let Some(pool) = self.pools.get_mut(&offer) else { return Vec::new() };
        let mut writes = Vec::new();
        for chunk in fresh.chunks(RANGES_A_RECORD) {
            // Each record settles a task that none before it did, so there are fewer than tasks.
            let number = pool.settled.last().map_or(0, |last| last + 1);
            pool.settled.insert(number);
            writes.push(Write::put(record::settled(offer, number), encode_cbor(chunk)));
        }
        writes.extend(superseded);
        writes
    }

    /// Settles what is not settled yet; gives the ranges that have such tasks, and the deletions of
    /// what was durable about them. Ranges ascend; one that does not is passed over, so that the
    /// work is bounded by the tasks, whoever sent them.
    fn settle_ranges(
        &mut self,
        offer: StatementId,
        ranges: &[(u32, u32)],
    ) -> (Vec<(u32, u32)>, Vec<Write>) {
        let Some(pool) = self.pools.get(&offer) else { return Default::default() };
        let (mut next, last) = (0, pool.last_task());
        let mut fresh = Vec::new();
        for (first, to) in ranges.iter().map(|(first, to)| (*first, (*to).min(last))) {
            if first >= next && to >= first {
                next = to + 1;
                if (first..=to).any(|task| !pool.is_done(task)) {
                    fresh.push((first, to));
                }
            }
        }
        let tasks = fresh.iter().flat_map(|(first, to)| *first..=*to);
        let superseded = tasks.flat_map(|task| self.settle_task(offer, task)).collect();
        (fresh, superseded)
    }

    /// Gives the deletions of what was durable about the task's replicas.
    fn settle_task(&mut self, offer: StatementId, task: u32) -> Vec<Write> {
        let replicas = self.pools.get(&offer).map_or(0, |pool| pool.replicas);
        let mut deletions = Vec::new();
        for replica in 0..replicas {
            let id = TaskId { offer, task, replica };
            let was_leased = self.drop_lease(id);
            if let Some((pool, index)) = self.pool_and_index(id) {
                pool.set(index, Slot::Done);
                if pool.taken.remove(&index).is_some() || was_leased {
                    deletions.push(Write::delete(record::slot(id)));
                }
            }
        }
        deletions
    }

    /// The tasks of `project` that nobody gets any more, and that nobody can be at work on.
    pub(crate) fn stopped(&self, project: ProjectKey, now: Mono) -> Vec<StoppedTask> {
        let pools = self.pools.iter().filter(|(_, pool)| pool.project == project);
        let stopped = pools.flat_map(|(offer, pool)| {
            pool.stopped_for_good(now).map(|(task, Tries { volunteers, times })| StoppedTask {
                offer: *offer,
                task,
                volunteers,
                times,
            })
        });
        stopped.take(MAX_STOPPED).collect()
    }

    /// How long `volunteer` has to wait for more of `offer`, if it has.
    pub(crate) fn must_wait(&self, offer: StatementId, volunteer: PublicKey, now: Mono) -> bool {
        let pool = self.pools.get(&offer);
        pool.is_some_and(|pool| pool.troubles.wait(volunteer, now).is_some())
    }

    fn hold(&mut self, task: TaskId, lease: Verified<Lease>, owner: Option<PublicKey>, now: Now) {
        // A restarted home may have been away when the deadline was.
        let term = now.mono + LEASE_TERM;
        let deadline = lease.deadline.map_or(term, |at| now.mono_at(at).max(term));
        let offline = usize::from(lease.deadline.is_some());
        let (id, volunteer) = (lease.id(), lease.volunteer);
        // Not the time of the grant: that is this broker's clock, renewals go by the volunteer's.
        let held = Held { deadline, renewed: Timestamp::default(), lease, owner };
        let Some((pool, index)) = self.pool_and_index(task) else { return };
        pool.take(index, Slot::Leased, Taken::Leased(held));
        pool.offline += offline;
        pool.by_lease.insert(id, index);
        self.deadlines.insert((deadline, task));
        let of_volunteer = self.by_volunteer.entry(volunteer).or_default();
        of_volunteer.leases += 1;
        of_volunteer.offline += offline;
        self.leases += 1;
    }

    /// The holder of a replica was not heard of any more. Machines akin to it get it again after a
    /// `pause`, if anybody does.
    fn give_up(&mut self, task: TaskId, pause: Duration, now: Now) -> Vec<Write> {
        if let Some((pool, index)) = self.pool_and_index(task)
            && let Some(holder) = pool.taken.get(&index).map(Taken::holder)
        {
            pool.troubles.vanished(index, holder.volunteer, now.mono);
            pool.troubles.bar(index, holder, now.mono + pause);
        }
        self.reopen(task)
    }

    /// Makes a replica open, unless it is stopped, and ends its lease if it has one.
    fn reopen(&mut self, task: TaskId) -> Vec<Write> {
        self.drop_lease(task);
        let Some((pool, index)) = self.pool_and_index(task) else { return Vec::new() };
        pool.free(index);
        vec![Write::delete(record::slot(task))]
    }

    /// Ends the lease of a replica, whatever becomes of the replica next; says whether it had one.
    fn drop_lease(&mut self, task: TaskId) -> bool {
        let Some((pool, index)) = self.pool_and_index(task) else { return false };
        let Some(Taken::Leased(_)) = pool.taken.get(&index) else { return false };
        let Some(Taken::Leased(held)) = pool.taken.remove(&index) else { return false };
        let offline = usize::from(held.lease.deadline.is_some());
        pool.offline -= offline;
        pool.by_lease.remove(&held.lease.id());
        self.deadlines.remove(&(held.deadline, task));
        self.leases -= 1;
        let volunteer = held.lease.volunteer;
        if let Some(of_volunteer) = self.by_volunteer.get_mut(&volunteer) {
            of_volunteer.leases -= 1;
            of_volunteer.offline -= offline;
            if of_volunteer.leases == 0 {
                self.by_volunteer.remove(&volunteer);
            }
        }
        true
    }

    fn pool_and_index(&mut self, task: TaskId) -> Option<(&mut Pool, usize)> {
        let pool = self.pools.get_mut(&task.offer)?;
        let index = pool.index(task)?;
        Some((pool, index))
    }
}

/// What a former process had made durable about a replica.
#[derive(Debug)]
pub(crate) enum RestoredSlot {
    Leased { lease: Verified<Lease>, owner: Option<PublicKey> },
    Returned { result: StatementId, holder: Holder },
    Done { holder: Holder },
}

impl RestoredSlot {
    fn holder(&self) -> Holder {
        match self {
            Self::Leased { lease, owner } => Holder { volunteer: lease.volunteer, owner: *owner },
            Self::Returned { holder, .. } | Self::Done { holder } => *holder,
        }
    }
}

fn term_ms() -> u64 {
    u64::try_from(LEASE_TERM.as_millis()).unwrap_or(u64::MAX)
}

/// When an offline lease of `offer` that is granted `now` ends; none if the claim wants no such one,
/// the offer has none, or it is nearly over.
fn offline_deadline(claim: &Claim, offer: &Offer, now: Now) -> Option<Timestamp> {
    if !claim.offline || offer.offline_ms == 0 {
        return None;
    }
    let longest = offer.job.limits.wall() + Duration::from_millis(offer.offline_ms);
    let deadline = (now.wall + longest).min(offer.expires);
    (deadline > now.wall + LEASE_TERM).then_some(deadline)
}

/// What came of a renewal.
#[derive(Debug, Default)]
pub(crate) struct Renewed {
    pub(crate) lapsed: Vec<StatementId>,
    /// Those of `lapsed` that were held for too long.
    pub(crate) overdue: Vec<TaskId>,
    pub(crate) released: usize,
    pub(crate) writes: Vec<Write>,
}
