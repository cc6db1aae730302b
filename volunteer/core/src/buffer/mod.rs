//! The work buffer: tasks that are fetched ahead, for times without a connection.
//!
//! While the machine has all the work that it can do at a time, it looks every minute for more, until there is as much
//! as its owner wants: hours of work for the whole machine, what runs included. Such tasks are held under offline
//! leases, wait in the queue, and their packages are fetched. No more is fetched than can be done by the deadlines: before a
//! claim, all that is in hand is played through with it ([`Schedule`](crate::schedule::Schedule)), at the pace at which this machine was there over the last
//! days. What cannot be done in time any more is given back, so that others can have it.
//!
//! A **round** asks for offers that the machine could do when it is empty, and claims of them, until there is enough or
//! nothing more. Whose turn it is among the projects is decided as for any claim; what waits in the queue counts as given.

mod play;
mod round;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Lease;
use capability::{BlobHash, StatementId, Timestamp, Verified};
use mesh_core::{Mono, Offered, Write};

use self::round::Round;
use crate::action::{Action, News};
use crate::availability::AVAILABILITY_PREFIX;
use crate::claiming::Plan;
use crate::leases::{GroupKey, Leaving};
use crate::presence::Offline;
use crate::queue::Origin;
use crate::volunteer::{REQUEST_LIFETIME, Volunteer};

/// The most that an owner can want: an offer lives for 30 days at most.
pub const MAX_WORK_BUFFER: Duration = Duration::from_secs(14 * 24 * 60 * 60);

/// Tasks that were fetched ahead, at most: as many offline leases as one home grants.
pub const MAX_AHEAD: usize = 256;

/// A home lends half of an offer at most (C13). One that has done so is asked for more of it after this time.
const UNLENT_WAIT: Duration = Duration::from_secs(30 * 60);

/// Offers of which that is remembered, at most: of others it is found out anew.
const MAX_UNLENT: usize = 256;

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

impl Buffer {
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
