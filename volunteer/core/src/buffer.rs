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
use capability::{BlobHash, ProjectKey, StatementId, Timestamp, Verified};
use mesh_core::{Mono, Offered, Write};

use crate::action::{Action, News};
use crate::availability::AVAILABILITY_PREFIX;
use crate::claiming::Plan;
use crate::giving_way::is_full;
use crate::leases::{GroupKey, Leaving};
use crate::presence::Offline;
use crate::queue::{Origin, over};
use crate::schedule::{Runs, Schedule, Waits};
use crate::shares::WHOLE;
use crate::volunteer::{REQUEST_LIFETIME, Volunteer};
use crate::work::needs;

/// The most that an owner can want: an offer lives for 30 days at most.
pub const MAX_WORK_BUFFER: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Tasks that were fetched ahead, at most: as many offline leases as one home grants.
pub const MAX_AHEAD: usize = 256;

/// Between two rounds, if the first has brought anything; with each that has not it is twice as long.
const ROUND_INTERVAL: Duration = Duration::from_secs(60);

/// Doublings at most: up to 16 minutes.
const MOST_FRUITLESS: u32 = 5;

/// For so long a broker that was asked for what fits now has not answered when something is fetched for later.
const ASKED_FOR: Duration = Duration::from_secs(1);

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
    /// Rounds in a row that have brought nothing.
    fruitless: u32,
    /// When the queue is to be looked through again.
    pub(crate) look_at: Option<Timestamp>,
    /// Offers whose home lends no more tasks than it has, and until when it is not asked again.
    unlent: BTreeMap<StatementId, Mono>,
}

#[derive(Debug, Default)]
struct Round {
    pulls: u32,
    /// What need not be shown again in this round.
    shown: BTreeSet<StatementId>,
    /// Those that were asked for by name.
    asked: BTreeSet<ProjectKey>,
    /// Those that have work which cannot be held for later.
    for_now: BTreeSet<ProjectKey>,
    /// Tasks that it has brought.
    taken: usize,
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
        if let Some(round) = self.round.take() {
            let fruitless = if round.taken > 0 { 0 } else { self.fruitless + 1 };
            self.fruitless = fruitless.min(MOST_FRUITLESS);
            self.next_round = now + ROUND_INTERVAL * (1 << self.fruitless) / 2;
        }
    }

    /// These were asked for by name in this round.
    pub fn asked_for(&mut self, projects: &[ProjectKey]) {
        self.round.iter_mut().for_each(|round| round.asked.extend(projects));
    }

    /// Whether that was so.
    pub fn has_asked(&self, project: ProjectKey) -> bool {
        self.round.as_ref().is_some_and(|round| round.asked.contains(&project))
    }

    /// `offer` lends nothing for a while.
    fn lends_nothing(&mut self, offer: StatementId, now: Mono) {
        if self.unlent.len() < MAX_UNLENT {
            self.unlent.insert(offer, now + UNLENT_WAIT);
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
        (self.buffer.next_round, self.buffer.fruitless) = (self.now.mono, 0);
        if wanted.is_zero() {
            self.buffer.round = None;
            self.drop_ahead("the owner wants no work buffer any more");
            if self.availability.forget() {
                self.commit(vec![Write::delete([AVAILABILITY_PREFIX])], Vec::new());
            }
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

    /// What is free now is filled first: a round begins when nothing is, or nobody has anything for it.
    fn is_time_for_round(&self) -> bool {
        self.may_begin_round().is_some_and(|at| at <= self.now.mono) && self.lacks_work()
    }

    fn may_begin_round(&self) -> Option<Mono> {
        let next = self.buffer.next_round;
        let is_full = self.lent_left().is_none_or(is_full);
        match self.fetching.waits_since() {
            _ if self.work.is_empty() => None,
            Some(asked) => Some(next.max(asked + ASKED_FOR)),
            None => is_full.then_some(next),
        }
    }

    /// More is free than before, and is filled first.
    pub(crate) fn interrupt_round(&mut self) {
        if self.buffer.round.take().is_some() {
            self.buffer.next_round = self.now.mono;
        }
    }

    /// `offer` is good for this machine, and nothing of it is taken in this round.
    pub(crate) fn note_for_now(&mut self, offer: &Verified<Offer>) {
        let is_for_now = !self.is_lent(offer);
        if let Some(round) = self.buffer.round.as_mut().filter(|_| is_for_now) {
            round.for_now.insert(offer.project);
        }
    }

    /// Whether tasks of `offer` can be held for later.
    fn is_lent(&self, offer: &Verified<Offer>) -> bool {
        let pin = self.trust.pin(&offer.project);
        // Who is followed at times of its own is followed when they have come.
        offer.offline_ms > 0
            && pin.is_some_and(|pin| pin.every.is_none() && !pin.has_hours)
            && !self.buffer.unlent.contains_key(&offer.id())
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

    /// When the next round may begin.
    pub(crate) fn buffer_wake(&self) -> Option<Mono> {
        self.may_begin_round().filter(|_| self.buffer.round.is_none() && self.has_room_ahead())
    }

    /// When a task of `offer` must begin to be done by the end of its lease, as it usually is.
    pub(crate) fn latest_begin(&self, lease: &Lease, offer: &Offer) -> Timestamp {
        over(lease).before(self.shares.usual_of(offer))
    }

    /// How many tasks of `offer` are fetched ahead beside what is planned: as many as can be done in time, until the
    /// owner has as much as is wanted.
    pub(crate) fn room_ahead(&self, plan: &Plan, offer: &Verified<Offer>) -> u16 {
        let Some(machine) = &self.machine else { return 0 };
        if !self.is_lent(offer) {
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

    /// The most, up to `most`, that can be done in time beside what those have for now who share the machine.
    fn most_in_time(&self, plan: &Plan, offer: &Offer, most: u16) -> u16 {
        let part = self.part_of_ahead(plan, offer);
        let schedule = self.schedule(plan, part);
        let task = self.waits(offer, self.deadline_of(offer), part);
        most_that_hold(most, |count| {
            let mut tried = schedule.clone();
            (0..count).for_each(|_| tried.add(task));
            tried.holds()
        })
    }

    /// How many tasks of `offer`, up to `most`, can begin now without making any late that was fetched ahead.
    pub(crate) fn most_beside_queue(&self, plan: &Plan, offer: &Offer, most: u16) -> u16 {
        if self.queue.waiting(Origin::Ahead).next().is_none() {
            return most;
        }
        let mut schedule = self.schedule(&Plan::default(), WHOLE);
        for (planned, count) in plan.parts() {
            let task = Runs { needs: needs(planned), left: self.shares.usual_of(planned) };
            (0..count).for_each(|_| schedule.begin(task));
        }
        if !schedule.holds() {
            // What is late anyway keeps nobody waiting.
            return most;
        }
        let task = Runs { needs: needs(offer), left: self.shares.usual_of(offer) };
        most_that_hold(most, |count| {
            let mut tried = schedule.clone();
            (0..count).for_each(|_| tried.begin(task));
            tried.holds()
        })
    }

    /// Which part of the machine the projects have, in thousandths, of which tasks are fetched ahead.
    fn part_of_ahead(&self, plan: &Plan, offer: &Offer) -> u32 {
        let queued = self.queue.waiting(Origin::Ahead).map(|(_, offer)| offer.project);
        let planned = plan.parts().map(|(offer, _)| offer.project);
        let own: BTreeSet<_> = queued.chain(planned).chain([offer.project]).collect();
        let for_now = self.buffer.round.iter().flat_map(|round| &round.for_now);
        let others = for_now.copied().filter(|project| !own.contains(project)).collect();
        self.shares.part_beside(&own, &others)
    }

    /// Until when a home lends a task of `offer` that is claimed now (C13).
    fn deadline_of(&self, offer: &Offer) -> Timestamp {
        let longest = offer.job.limits.wall() + Duration::from_millis(offer.offline_ms);
        (self.now.wall + longest).min(offer.expires)
    }

    /// What is in hand and planned, as it will be done.
    fn schedule(&self, plan: &Plan, part: u32) -> Schedule {
        let machine = self.machine.as_ref().map(|it| it.resources).unwrap_or_default();
        let runs = self.work.jobs().map(|(lease, job)| Runs {
            needs: needs(&job.offer),
            left: self.shares.left_of(*lease),
        });
        let queued = [Origin::Brought, Origin::Ahead].into_iter();
        let queued = queued.flat_map(|origin| self.queue.waiting(origin));
        let queued = queued.map(|(lease, offer)| self.waits(offer, over(lease), part));
        let planned = plan.parts().flat_map(|(offer, count)| {
            let task = self.waits(offer, self.deadline_of(offer), part);
            std::iter::repeat_n(task, count.into())
        });
        Schedule::new(machine, runs.collect(), queued.chain(planned).collect())
    }

    /// A task of `offer` of a project that has such a part of the machine.
    fn waits(&self, offer: &Offer, until: Timestamp, part: u32) -> Waits {
        let time = until.since(self.now.wall);
        let within = self.availability.works_in(time - time / RESERVE) * part / WHOLE;
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
        // What it was claimed for is as long as C13 says, but for the time that the claim took.
        let least = self.deadline_of(&offered.offer).before(REQUEST_LIFETIME);
        let (kept, others): (Vec<_>, Vec<_>) = leases
            .into_iter()
            .partition(|lease| lease.deadline.is_some_and(|deadline| deadline >= least));
        if !others.is_empty() {
            self.buffer.lends_nothing(offered.offer.id(), self.now.mono);
        }
        if let Some(round) = &mut self.buffer.round {
            round.taken += kept.len();
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

    /// What waits is on the accounts and looked after, also if a former process had fetched it, or it was given up and
    /// waits again.
    pub(crate) fn charge_ahead(&mut self) {
        let Some(machine) = &self.machine else { return };
        for (lease, offer) in self.queue.waiting(Origin::Ahead) {
            if !self.shares.has(lease.id()) {
                let group = GroupKey::of(lease, lease.signer());
                self.shares.take_ahead(lease.id(), offer, machine.resources);
                self.leases.look_after(lease.id(), group, self.now.mono);
            }
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

    /// Puts together what a former process has left in the queue; what is not whole is given back.
    pub(crate) fn assemble_queue(&mut self) {
        let (lost, deletions) = self.queue.assemble();
        for lease in lost {
            let group = GroupKey::of(&lease, lease.signer());
            self.leases.release_of(lease.id(), group, Leaving::Lost);
        }
        if !deletions.is_empty() {
            self.commit(deletions, Vec::new());
        }
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
        let is_former = |lease: &StatementId| self.resuming.is_former(*lease);
        let waiting = waiting.map(|(lease, _)| lease.id()).filter(|lease| !is_former(lease));
        let waiting: Vec<_> = waiting.collect();
        if !waiting.is_empty() {
            self.drop_queued(&waiting, reason);
        }
    }

    /// The package of these is nowhere to be had.
    pub(crate) fn drop_ahead_of(&mut self, package: &BlobHash, reason: &'static str) {
        let waiting = self.queue.waiting(Origin::Ahead);
        let waiting = waiting.filter(|(_, offer)| offer.package.hash == *package);
        let (waiting, offers): (Vec<_>, BTreeSet<_>) =
            waiting.map(|(lease, offer)| (lease.id(), offer.id())).unzip();
        for offer in offers {
            self.buffer.lends_nothing(offer, self.now.mono);
        }
        if !waiting.is_empty() {
            self.drop_queued(&waiting, reason);
        }
    }
}

/// The most tasks, up to `most`, of which `hold` says so; it says so of fewer as well.
fn most_that_hold(most: u16, hold: impl Fn(u16) -> bool) -> u16 {
    let (mut least, mut beyond) = (0, most.saturating_add(1));
    while least + 1 < beyond {
        let middle = least + (beyond - least) / 2;
        if hold(middle) { least = middle } else { beyond = middle }
    }
    least
}
