//! The work buffer: tasks that are fetched ahead, for times without a connection.
//!
//! While the machine has all the work that it can do at a time, it looks every minute for more, until there is as much
//! as its owner wants: hours of work for the whole machine, what runs included. Such tasks are held under offline
//! leases, wait in the queue, and their packages are fetched. No more is fetched than can be done by the deadlines: before a
//! claim, all that is in hand is played through with it ([`Schedule`]), at the pace at which this machine was there over the last
//! days. What cannot be done in time any more is given back, so that others can have it.
//!
//! A **round** asks for offers that the machine could do when it is empty, and claims of them, until there is enough or
//! nothing more. Whose turn it is among the projects is decided as for any claim; what waits in the queue counts as given.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Lease, MAX_TASKS_A_CLAIM, Offer};
use capability::{BlobHash, StatementId, Timestamp, Verified};
use mesh_core::{Mono, Offered};

use crate::action::{Action, News};
use crate::claiming::Plan;
use crate::leases::{GroupKey, Leaving};
use crate::presence::Offline;
use crate::queue::{Origin, over};
use crate::schedule::{Runs, Schedule, Waits};
use crate::volunteer::Volunteer;
use crate::work::needs;

/// The most that an owner can want: an offer lives for 30 days at most.
pub const MAX_WORK_BUFFER: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Tasks that were fetched ahead, at most: as many offline leases as one home grants.
pub const MAX_AHEAD: usize = 256;

/// Between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_secs(60);

/// Questions of one round: an answer shows some offers, and others in the next.
const PULLS_A_ROUND: u32 = 16;

/// A home lends half of an offer at most (C13). One that has done so is asked for more of it after this time.
const UNLENT_WAIT: Duration = Duration::from_secs(30 * 60);

/// Offers of which that is remembered, at most: of others it is found out anew.
const MAX_UNLENT: usize = 256;

/// A round begins when this part of the work that is wanted is lacking.
const SLACK: u32 = 8;

/// Of the time until a deadline so much is kept back, for what nobody foresees and for the result's way home.
const RESERVE: u32 = 8;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    wanted: Duration,
    /// Whether the shell is still to say which packages a former process has left.
    awaits_stored: bool,
    round: Option<Round>,
    next_round: Mono,
    /// Offers whose home lends no more tasks than it has, and until when it is not asked again.
    unlent: BTreeMap<StatementId, Mono>,
}

#[derive(Debug, Default)]
struct Round {
    pulls: u32,
    /// What need not be shown again in this round.
    shown: BTreeSet<StatementId>,
}

impl Buffer {
    /// Whether what is asked for and claimed is for later.
    pub fn is_fetching(&self) -> bool {
        self.round.is_some()
    }

    /// What the present round has seen.
    pub fn shown(&self) -> impl Iterator<Item = StatementId> {
        let unlent = self.round.iter().flat_map(|_| self.unlent.keys());
        self.round.iter().flat_map(|round| &round.shown).chain(unlent).copied()
    }

    /// These were shown in this round, and are of no use now.
    pub fn show(&mut self, offers: impl Iterator<Item = StatementId>) {
        if let Some(round) = &mut self.round {
            round.shown.extend(offers);
        }
    }

    /// Something more is asked for in this round.
    pub fn asks(&mut self) {
        self.round.iter_mut().for_each(|round| round.pulls += 1);
    }

    /// There is nothing more to be had for now.
    pub fn end_round(&mut self, now: Mono) {
        if self.round.take().is_some() {
            self.next_round = now + ROUND_INTERVAL;
        }
    }
}

impl Volunteer {
    /// How much work the owner wants to have here, and how much there is: both as time of the whole machine.
    pub fn work_buffer(&self) -> (Duration, Duration) {
        (self.buffer.wanted, self.work_in_hand(&Plan::default()))
    }

    /// Tasks that were fetched ahead and have not begun.
    pub fn ahead_waiting(&self) -> usize {
        self.queue.waiting(Origin::Ahead).count()
    }

    pub(crate) fn buffer_changed(&mut self, wanted: Duration) {
        self.buffer.wanted = wanted.min(MAX_WORK_BUFFER);
        self.buffer.next_round = self.now.mono;
        if wanted.is_zero() {
            self.buffer.round = None;
            self.drop_ahead("the owner wants no work buffer any more");
        }
    }

    /// Whether leases are wanted that hold while the machine is out of reach.
    pub(crate) fn wants_offline(&self) -> bool {
        self.has_buffer() || self.presence.is_uncertain(self.now.wall)
    }

    fn has_buffer(&self) -> bool {
        !self.buffer.wanted.is_zero() && self.presence.offline != Offline::Never
    }

    /// Notes how much of the time this machine works, for whoever plans ahead.
    pub(crate) fn note_availability(&mut self) {
        if self.has_buffer() {
            let works = !self.off_duty && !self.stands_still() && !self.is_leaving();
            self.availability.at(self.now, works);
            if let Some(write) = self.availability.writes() {
                self.commit(vec![write], Vec::new());
            }
        }
    }

    /// Begins a round if it is time for one, or ends the present one if it has brought all that there is. Nothing is
    /// claimed just now, and nothing waits to be.
    pub(crate) fn turn_round(&mut self) {
        match &self.buffer.round {
            None if self.is_time_for_round() => {
                let now = self.now.mono;
                self.buffer.unlent.retain(|_, until| *until > now);
                self.buffer.round = Some(Round::default());
            }
            Some(round) if round.pulls >= PULLS_A_ROUND || !self.has_room_ahead() => {
                self.buffer.end_round(self.now.mono);
            }
            _ => {}
        }
    }

    fn is_time_for_round(&self) -> bool {
        let is_busy = !self.work.is_empty() || self.queue.count(Origin::Ahead) > 0;
        is_busy && self.lacks_work() && self.buffer.next_round <= self.now.mono
    }

    /// Whether a round is worth its questions.
    fn lacks_work(&self) -> bool {
        let enough = self.buffer.wanted - self.buffer.wanted / SLACK;
        self.has_room_ahead() && self.work_in_hand(&Plan::default()) <= enough
    }

    fn has_room_ahead(&self) -> bool {
        self.has_buffer()
            && self.queue.count(Origin::Ahead) < MAX_AHEAD
            && self.work_in_hand(&Plan::default()) < self.buffer.wanted
    }

    /// When the next round may begin, and when the next task that waits is to be given back.
    pub(crate) fn buffer_wake(&self) -> Option<Mono> {
        let may_lack = self.buffer.round.is_none() && self.has_room_ahead();
        let round = (may_lack && !self.work.is_empty()).then_some(self.buffer.next_round);
        let waiting = self.queue.waiting(Origin::Ahead);
        let latest = waiting.map(|(lease, offer)| self.latest_begin(lease, offer));
        let tick = Duration::from_millis(1);
        let given_back = latest.min().map(|at| self.now.mono_at(at + tick));
        round.into_iter().chain(given_back).min()
    }

    /// When a task of `offer` must begin to be done by the end of its lease, as it usually is.
    pub(crate) fn latest_begin(&self, lease: &Lease, offer: &Offer) -> Timestamp {
        over(lease).before(self.shares.usual_of(offer))
    }

    /// How many tasks of `offer` are fetched ahead beside what is planned: as many as can be done in time, until the
    /// owner has as much as is wanted.
    pub(crate) fn room_ahead(&self, plan: &Plan, offer: &Verified<Offer>) -> u16 {
        let Some(machine) = &self.machine else { return 0 };
        // A builder that is followed now and then is followed when its time has come.
        let is_lent = offer.offline_ms > 0 && !self.buffer.unlent.contains_key(&offer.id());
        if !is_lent || self.every(offer.project).is_some() {
            return 0;
        }
        let takes = self.shares.takes_of(offer, machine.resources).max(Duration::from_millis(1));
        let wanted = self.buffer.wanted.saturating_sub(self.work_in_hand(plan));
        let wanted = wanted.as_millis() / takes.as_millis();
        let most = u128::from(MAX_TASKS_A_CLAIM.min(self.places_ahead(plan)));
        let most = most.min(wanted).min(offer.tasks.into());
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        if self.is_fetchable(plan, offer) { self.most_in_time(plan, offer, most) } else { 0 }
    }

    fn places_ahead(&self, plan: &Plan) -> u16 {
        let places = MAX_AHEAD.saturating_sub(self.queue.count(Origin::Ahead));
        u16::try_from(places).unwrap_or(u16::MAX).saturating_sub(plan.tasks())
    }

    /// The most, up to `most`, that can be done in time.
    fn most_in_time(&self, plan: &Plan, offer: &Offer, most: u16) -> u16 {
        let schedule = self.schedule(plan);
        let task = self.waits(offer, self.deadline_of(offer));
        let (mut least, mut beyond) = (0, most.saturating_add(1));
        while least + 1 < beyond {
            let middle = least + (beyond - least) / 2;
            let mut tried = schedule.clone();
            (0..middle).for_each(|_| tried.add(task));
            if tried.holds() { least = middle } else { beyond = middle }
        }
        least
    }

    /// Until when a home lends a task of `offer` that is claimed now (C13).
    fn deadline_of(&self, offer: &Offer) -> Timestamp {
        let longest = offer.job.limits.wall() + Duration::from_millis(offer.offline_ms);
        (self.now.wall + longest).min(offer.expires)
    }

    /// What is in hand and planned, as it will be done.
    fn schedule(&self, plan: &Plan) -> Schedule {
        let machine = self.machine.as_ref().map(|it| it.resources).unwrap_or_default();
        let runs = self.work.jobs().map(|(lease, job)| Runs {
            needs: needs(&job.offer),
            left: self.shares.left_of(*lease),
        });
        let queued = [Origin::Brought, Origin::Ahead].into_iter();
        let queued = queued.flat_map(|origin| self.queue.waiting(origin));
        let queued = queued.map(|(lease, offer)| self.waits(offer, over(lease)));
        let planned = plan.parts().flat_map(|(offer, count)| {
            let task = self.waits(offer, self.deadline_of(offer));
            std::iter::repeat_n(task, count.into())
        });
        Schedule::new(machine, runs.collect(), queued.chain(planned).collect())
    }

    fn waits(&self, offer: &Offer, until: Timestamp) -> Waits {
        let time = until.since(self.now.wall);
        let within = self.availability.works_in(time - time / RESERVE);
        let (usual, limit) = (self.shares.usual_of(offer), offer.job.limits.wall());
        Waits { needs: needs(offer), usual, limit, within }
    }

    /// What is in hand and planned, as time of the whole machine.
    fn work_in_hand(&self, plan: &Plan) -> Duration {
        let Some(machine) = &self.machine else { return Duration::ZERO };
        let running = self.shares.left_in_hand();
        let brought = self.queue.waiting(Origin::Brought);
        let brought = brought.map(|(_, offer)| self.shares.takes_of(offer, machine.resources));
        let planned = plan.parts().map(|(offer, count)| {
            self.shares.takes_of(offer, machine.resources) * u32::from(count)
        });
        // What was fetched ahead is on the accounts already.
        running + brought.sum::<Duration>() + planned.sum::<Duration>()
    }

    /// Takes tasks on that were claimed for later; what does not hold without a connection is given back.
    pub(crate) fn take_ahead(
        &mut self,
        offered: Offered,
        leases: Vec<Verified<Lease>>,
        group: GroupKey,
    ) {
        let (kept, others): (Vec<_>, Vec<_>) =
            leases.into_iter().partition(|lease| lease.deadline.is_some());
        if !others.is_empty() && self.buffer.unlent.len() < MAX_UNLENT {
            self.buffer.unlent.insert(offered.offer.id(), self.now.mono + UNLENT_WAIT);
        }
        for lease in others {
            self.leases.release_of(lease.id(), group, Leaving::GivenUp);
        }
        if kept.is_empty() {
            return;
        }
        let donated = self.machine.as_ref().map(|it| it.resources).unwrap_or_default();
        let (offer, count) = (offered.offer.id(), kept.len());
        for lease in &kept {
            self.shares.take_ahead(lease.id(), &offered.offer, donated);
            self.leases.look_after(lease.id(), group, self.now.mono);
        }
        let writes = self.queue.put(offered, kept, Origin::Ahead);
        let news = News::FetchedAhead { offer, leases: count };
        let commit = self.commit(writes, vec![Action::News(news)]);
        self.queue.lands(offer, commit);
    }

    /// What a former process had fetched ahead is on the accounts again, and is looked after.
    pub(crate) fn take_up_ahead(&mut self) {
        let waiting = self.queue.waiting(Origin::Ahead);
        let waiting: Vec<_> = waiting.map(|(it, offer)| (it.clone(), offer.clone())).collect();
        let Some(machine) = &self.machine else { return };
        for (lease, offer) in waiting {
            let group = GroupKey::of(&lease, lease.signer());
            self.shares.take_ahead(lease.id(), &offer, machine.resources);
            self.leases.look_after(lease.id(), group, self.now.mono);
        }
    }

    /// The packages of what was fetched ahead are wanted, and of nothing else.
    pub(crate) fn want_packages_ahead(&mut self) {
        if !self.buffer.awaits_stored {
            self.work.want_ahead(&self.queue.packages_ahead(), self.now.mono);
        }
    }

    /// The packages of tasks that were fetched ahead and have not begun.
    pub fn packages_ahead(&self) -> impl Iterator<Item = BlobHash> {
        self.queue.packages_ahead().into_keys()
    }

    /// A former process has left tasks that it had fetched ahead.
    pub(crate) fn await_stored(&mut self) {
        self.buffer.awaits_stored = self.queue.count(Origin::Ahead) > 0;
    }

    /// It has left these of their packages.
    pub(crate) fn packages_stored(&mut self, stored: &BTreeSet<BlobHash>) {
        self.buffer.awaits_stored = false;
        self.want_packages_ahead();
        stored.iter().for_each(|hash| self.work.is_here(*hash, self.now.mono));
    }

    /// Gives back what was fetched ahead and has not begun.
    pub(crate) fn drop_ahead(&mut self, reason: &'static str) {
        let waiting = self.queue.waiting(Origin::Ahead);
        let waiting: Vec<_> = waiting.map(|(lease, _)| lease.id()).collect();
        if !waiting.is_empty() {
            self.drop_queued(&waiting, reason);
        }
    }

    /// The package of these is nowhere to be had.
    pub(crate) fn drop_ahead_of(&mut self, package: &BlobHash, reason: &'static str) {
        let waiting = self.queue.waiting(Origin::Ahead);
        let waiting = waiting.filter(|(_, offer)| offer.package.hash == *package);
        let waiting: Vec<_> = waiting.map(|(lease, _)| lease.id()).collect();
        if !waiting.is_empty() {
            self.drop_queued(&waiting, reason);
        }
    }
}
