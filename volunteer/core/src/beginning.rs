//! From the queue to the run: tasks that were brought or fetched ahead begin as there is room for them, the one that must be
//! done first before the others.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Lease, Offer};
use capability::{ProjectKey, StatementId, Timestamp, Verified};
use mesh_core::{Mono, Write};

use crate::action::{Action, News};
use crate::leases::{GroupKey, Leaving};
use crate::owner::MAX_UNDELIVERED;
use crate::queue::{Batch, Origin, over};
use crate::shares::End;
use crate::volunteer::{DISK_RESERVE, Volunteer};

impl Volunteer {
    /// Begins work of the queue as far as there is room for it.
    pub(crate) fn begin_queued(&mut self) {
        if self.queue.is_empty() && !self.queue.take_changed() {
            return;
        }
        self.look_through_queue();
        if self.may_begin_queued() {
            self.queue.by_deadline().into_iter().for_each(|offer| self.begin_batch(offer));
        }
    }

    /// Lets go what is over, and asks for what is lacking, if anything has changed or time has passed.
    fn look_through_queue(&mut self) {
        let is_due = self.buffer.look_at.is_some_and(|at| at <= self.now.wall);
        if !self.queue.take_changed() && !is_due {
            return;
        }
        self.drop_queued_that_is_over();
        self.charge_ahead();
        self.want_packages_ahead();
        let brought = self.queue.waiting(Origin::Brought).map(|(lease, _)| over(lease));
        let ahead = self.queue.waiting(Origin::Ahead);
        let tick = Duration::from_millis(1);
        let ahead =
            ahead.map(|(lease, offer)| (self.latest_begin(lease, offer) + tick).min(over(lease)));
        let ends = brought.chain(ahead);
        self.buffer.look_at = ends.filter(|at| *at > self.now.wall).min();
    }

    /// When the queue is to be looked through at the latest.
    pub(crate) fn queue_wake(&self) -> Option<Mono> {
        self.buffer.look_at.filter(|_| !self.queue.is_empty()).map(|at| self.now.mono_at(at))
    }

    fn may_begin_queued(&self) -> bool {
        let rests = self.faults.is_on_trial() && !self.work.is_empty();
        let waits = self.is_leaving() || self.stands_still() || self.off_duty || rests;
        // What was claimed for now takes what is free.
        !waits
            && !self.fetching.is_claiming_now()
            && self.faults.rest(self.now.mono).is_none()
            && self.disk_free >= DISK_RESERVE
            && self.custody.len() < MAX_UNDELIVERED
    }

    /// Whose task of the queue would begin now, of those that were fetched ahead.
    pub(crate) fn queued_next(&self) -> Option<ProjectKey> {
        if self.queue.count(Origin::Ahead) == 0 || !self.may_begin_queued() {
            return None;
        }
        let offers = self.queue.by_deadline().into_iter();
        let next = offers.filter_map(|offer| self.next_of(self.queue.batch(offer)?));
        let mut next = next.filter(|lease| self.queue.origin(lease.id()) == Some(Origin::Ahead));
        next.next().map(|lease| lease.project)
    }

    fn begin_batch(&mut self, offer: StatementId) {
        loop {
            let Some(machine) = &self.machine else { return };
            let donated = machine.resources;
            let Some(batch) = self.queue.batch(offer) else { return };
            let Some(lease) = self.next_of(batch).cloned() else { return };
            let offered = batch.offered.clone();
            let is_ahead = self.queue.origin(lease.id()) == Some(Origin::Ahead);
            // A buffer gives nobody more while others can be asked.
            if is_ahead && self.obstacle().is_none() && self.others_come_first(lease.project) {
                return;
            }
            self.queue.begins(lease.id());
            self.follow(lease.id(), &offered.offer);
            self.commit_rhythm();
            let (id, grounds) = (lease.id(), Arc::new(self.grounds(&offered, &lease.runtime)));
            self.shares.take(id, &offered.offer, donated);
            let package = offered.offer.package.hash;
            self.work.take(lease, Arc::new(offered.offer), grounds, self.now);
            self.work.is_here(package, self.now.mono);
            // It is, together with all that came with it.
            self.work.made_durable(id);
        }
    }

    /// The lease of `batch` that ends first, of those that can begin and have room.
    fn next_of<'a>(&self, batch: &'a Batch) -> Option<&'a Verified<Lease>> {
        let machine = self.machine.as_ref()?;
        let offer = &batch.offered.offer;
        if self.may_begin(offer).is_err() || !self.has_room_for(offer) {
            return None;
        }
        let is_here = self.work.has_package(&offer.package.hash);
        let can_begin = |lease: &&Verified<Lease>| {
            let has_package = is_here || self.queue.origin(lease.id()) == Some(Origin::Brought);
            has_package
                && machine.runtimes.get(&lease.runtime).is_some()
                && self.work.job(lease.id()).is_none()
        };
        let leases = batch.leases.values().filter(|_| batch.landing.is_none());
        leases.filter(can_begin).min_by_key(|lease| over(lease))
    }

    fn has_room_for(&self, offer: &Verified<Offer>) -> bool {
        let Some(lent) = self.lent() else { return false };
        self.work.room(offer, self.checks.spare(lent)) > 0
            && self.disk_left() >= offer.job.limits.disk.max(1)
    }

    /// What has lapsed before it began, is not trusted any more, or was fetched ahead and cannot be done in time, is let
    /// go.
    fn drop_queued_that_is_over(&mut self) {
        let mut over_now: BTreeMap<&'static str, Vec<StatementId>> = BTreeMap::new();
        for origin in [Origin::Brought, Origin::Ahead] {
            let waiting = self.queue.waiting(origin);
            // What a former process has begun may go on, and has little left to do.
            for (lease, offer) in waiting.filter(|(it, _)| !self.resuming.has(it.id())) {
                let reason = if over(lease) <= self.now.wall {
                    "its tasks were lent until now, and have not begun"
                } else if self.is_settled_trust() && !self.may_work_on(offer, &lease.runtime) {
                    "the owner does not trust it any more, or its key was revoked"
                } else if origin == Origin::Ahead && self.latest_begin(lease, offer) < self.now.wall
                {
                    "it cannot be done before its deadline any more"
                } else {
                    continue;
                };
                over_now.entry(reason).or_default().push(lease.id());
            }
        }
        for (reason, leases) in over_now {
            self.drop_queued(&leases, reason);
        }
    }

    /// Lets tasks go that have not begun, and gives their leases back while these hold.
    pub(crate) fn drop_queued(&mut self, leases: &[StatementId], reason: &'static str) {
        let (mut writes, mut by_offer) = (Vec::new(), BTreeMap::<_, usize>::new());
        let mut freed = Vec::new();
        for id in leases {
            let Some((lease, offer)) = self.queue.waiting_lease(*id) else { continue };
            let (group, ends) = (GroupKey::of(lease, lease.signer()), over(lease));
            *by_offer.entry(offer.id()).or_default() += 1;
            freed.push(offer.package.hash);
            writes.extend(self.end_queued(*id));
            if ends > self.now.wall {
                self.leases.release_of(*id, group, Leaving::GivenUp);
            }
        }
        let news = |(offer, leases)| Action::News(News::Released { offer, leases, reason });
        self.commit(writes, by_offer.into_iter().map(news).collect());
        self.drop_blobs(freed);
    }

    /// A task of the queue that has not begun is of no use; gives what need not be durable any more.
    pub(crate) fn end_queued(&mut self, lease: StatementId) -> Vec<Write> {
        self.shares.end(lease, End::Stopped);
        self.leases.forget(lease);
        self.queue.end(lease)
    }

    /// Their home tells that nobody waits for these: those of them that have not begun were fetched in vain.
    pub(crate) fn forget_queued(&mut self, leases: &[StatementId]) {
        let waits = |lease: &StatementId| {
            self.work.job(*lease).is_none() && self.queue.origin(*lease) == Some(Origin::Ahead)
        };
        let waiting: Vec<_> = leases.iter().copied().filter(waits).collect();
        if !waiting.is_empty() {
            let writes = waiting.into_iter().flat_map(|lease| self.end_queued(lease)).collect();
            self.commit(writes, Vec::new());
        }
    }

    /// When the next task of the queue may begin whose builder rests until then.
    pub(crate) fn queued_rests_until(&self) -> Option<Timestamp> {
        let offers = self.queue.batches().filter(|batch| !batch.leases.is_empty());
        offers.filter_map(|it| self.may_begin(&it.offered.offer).err()?.ends()).min()
    }

    /// Whether the owner's pins are known: a process begins without any.
    fn is_settled_trust(&self) -> bool {
        self.keys.knows_pins()
    }

    /// A lease is given up: one of the queue waits there again, unless nobody may run it here any more, or the
    /// machine drains and others can have it.
    pub(crate) fn keeps_queued(&mut self, lease: StatementId) -> bool {
        let Some(job) = self.work.job(lease) else { return false };
        let (of, offer) = (job.lease.clone(), Arc::clone(&job.offer));
        let keeps = match self.queue.origin(lease) {
            None => false,
            Some(Origin::Ahead) if self.is_draining() => false,
            Some(_) => over(&of) > self.now.wall && self.may_work_on(&offer, &of.runtime),
        };
        if keeps {
            self.queue.put_back(of);
        }
        keeps
    }

    /// Tasks of the queue are done of which there are results: a process may have ended between the two.
    pub(crate) fn end_queued_with_results(&mut self, done: &BTreeSet<StatementId>) -> Vec<Write> {
        done.iter().flat_map(|lease| self.queue.end(*lease)).collect()
    }

    /// Tasks that were brought and have not begun.
    pub fn brought_waiting(&self) -> usize {
        self.queue.waiting(Origin::Brought).count()
    }
}
