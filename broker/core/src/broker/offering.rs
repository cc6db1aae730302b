//! Which offers a volunteer is shown, and who is shown a fresh one first.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{Lease, Offer};
use capability::{
    Capabilities, Payload, PublicKey, Requirements, Resources, Runtime, StatementId, Verified,
    rank, satisfies,
};
use mesh_core::{Answer, MAX_FRAME_BYTES, MAX_OFFERS_AN_ANSWER, Now, Offered, Wants};

use super::Broker;
use crate::head_starts::Precedence;
use crate::offer_book::OfferBook;
use crate::pulls::Pull;

/// Offers that even a volunteer with a single core free is shown: it may not want the first.
const CHOICE: usize = 4;

/// Bytes of an answer beside its offers, and of each beside its statements, at most.
const FRAME_MARGIN: usize = 1024;
const OFFERED_MARGIN: usize = 128;

/// How many machines suit an offer, once it was counted; it is the same for all who are shown it.
type Able = BTreeMap<StatementId, Option<u32>>;

/// Who is shown which fresh offers that are kept from others.
#[derive(Default)]
struct Shown {
    to: BTreeMap<PublicKey, Helping>,
    /// Those volunteers, who ranks best first.
    in_order: Vec<PublicKey>,
}

/// What one volunteer is shown: of what it has no room for it would only keep others.
#[derive(Default)]
struct Helping {
    offers: BTreeSet<StatementId>,
    /// What all tasks of these would take.
    takes: Resources,
}

impl Broker {
    /// Answers the volunteer's pull if there is something for it that is not kept for others.
    pub(super) fn answer_pull(&mut self, volunteer: PublicKey, now: Now) {
        let mut projects: Vec<_> = self.book.projects().collect();
        projects.sort_by_key(|project| self.shares.had(*project));
        self.spoken_for.expire(now.mono);
        let offers = || projects.iter().flat_map(|project| self.book.offers_of(*project));
        let for_all = || offers().filter(|offer| !self.head_starts.has(offer.id()));
        let is_free = |offer: &&Verified<Offer>| {
            let id = offer.id();
            !self.spoken_for.has(id, self.open(id))
        };
        let mut offers = self.suiting(volunteer, for_all(), now);
        // A project whose offers others are shown has its turn all the same.
        let served: Vec<_> = offers.iter().map(|offered| offered.offer.project).collect();
        if !offers.iter().all(|offered| is_free(&&offered.offer)) {
            let free = self.suiting(volunteer, for_all().filter(is_free), now);
            // What is spoken for may be claimed by nobody.
            offers = if free.is_empty() { offers } else { free };
        }
        // Who names projects passes over no other: it asks for those by its owner's shares.
        if self.pulls.of(volunteer).is_some_and(|pull| pull.wants.projects.is_empty()) {
            self.shares.passed_over(&projects, &served);
        }
        self.answer_pull_with(volunteer, offers, &mut Able::new(), now);
    }

    fn answer_pull_with(
        &mut self,
        volunteer: PublicKey,
        mut offers: Vec<Offered>,
        able: &mut Able,
        now: Now,
    ) {
        if !offers.is_empty()
            && let Some(pull) = self.pulls.end(volunteer)
        {
            for offered in &mut offers {
                // Those beside somebody who can.
                let count = || self.able(&offered.offer);
                let able = able.entry(offered.offer.id()).or_insert_with(count);
                offered.others = able.map(|able| able.saturating_sub(1));
                self.spoken_for.show(offered.offer.id(), volunteer, now.mono);
            }
            self.reply(pull.reply, Answer::Offers(offers));
        }
    }

    /// How many machines could run `offer`: of a private one, no more than can read it.
    fn able(&self, offer: &Offer) -> Option<u32> {
        let matching = self.ads.matching(&offer.requirements)?;
        let readers = offer.private.as_ref().map(|private| private.recipients.len());
        let readers = readers.and_then(|readers| u32::try_from(readers).ok());
        Some(readers.map_or(matching, |readers| matching.min(readers)))
    }

    /// Ends pulls that waited in vain, and answers those that one of the fresh offers suits: the best
    /// machines first (rules C1 to C3).
    pub(super) fn match_pulls(&mut self, now: Now) {
        while let Some(pull) = self.pulls.expire(now) {
            self.reply(pull.reply, Answer::Offers(Vec::new()));
        }
        self.fresh_offers.extend(self.leases.end_waits(now.mono));
        let mut fresh = self.rests.due(std::mem::take(&mut self.fresh_offers), now.mono);
        let for_all: BTreeSet<_> = self.head_starts.end(now.mono).into_iter().collect();
        // All will see it when the head start ends.
        fresh.retain(|offer| !self.head_starts.has(*offer));
        fresh.extend(&for_all);
        let waiting = if fresh.is_empty() { Vec::new() } else { self.pulls.volunteers() };
        let mut shown = Shown::default();
        let fresh: Vec<_> = self.in_turn(&fresh).map(Verified::id).collect();
        for offer in fresh {
            if !waiting.is_empty() {
                self.rests.begin(offer, now.mono);
            }
            let mut suited = self.suited(offer, &waiting, &shown, now);
            let first = if for_all.contains(&offer) { suited.len() } else { self.open(offer) };
            if first < suited.len() {
                self.head_starts.begin(offer, now.mono);
                suited.truncate(first);
            }
            let Some(offer) = self.book.offer(offer) else { continue };
            suited.into_iter().for_each(|volunteer| shown.show(offer, volunteer));
        }
        // Who waits has been shown all else.
        let mut able = Able::new();
        for volunteer in shown.in_order {
            let first = self.in_turn(&shown.to[&volunteer].offers);
            let offers = self.suiting(volunteer, first, now);
            self.answer_pull_with(volunteer, offers, &mut able, now);
        }
    }

    /// Those of `waiting` that `offer` suits and that can be shown one more, in the order of their
    /// precedence.
    fn suited(
        &self,
        offer: StatementId,
        waiting: &[PublicKey],
        shown: &Shown,
        now: Now,
    ) -> Vec<PublicKey> {
        let Some(offer) = self.book.offer(offer) else { return Vec::new() };
        let precedence = |volunteer: &PublicKey| {
            let wants = &self.pulls.of(*volunteer)?.wants;
            let machine = &self.ads.own(*volunteer)?.capabilities;
            if !shown.has_room_for(*volunteer, free(wants, machine)) {
                return None;
            }
            let runtime = self.runtime_for(offer, *volunteer, wants, now)?;
            let rank = rank(machine, &runtime, &offer.requirements.rank);
            Some((Precedence::of(*volunteer, rank, offer.id()), *volunteer))
        };
        let mut ranked: Vec<_> = waiting.iter().filter_map(precedence).collect();
        ranked.sort_unstable();
        ranked.into_iter().map(|(_, volunteer)| volunteer).collect()
    }

    /// Replicas of `offer` that can be claimed: of one whose home is elsewhere, as many as it has.
    fn open(&self, offer: StatementId) -> usize {
        let in_all = |offer: &Verified<Offer>| {
            let replicas = u64::from(offer.tasks) * u64::from(offer.replicas);
            usize::try_from(replicas).unwrap_or(usize::MAX)
        };
        self.leases.open(offer).or_else(|| self.book.offer(offer).map(in_all)).unwrap_or_default()
    }

    /// Charges the leases that volunteers of this broker were given.
    ///
    /// An answer from elsewhere may hold leases that anybody made up: those count that the home of
    /// a known offer has signed, for that offer's project.
    pub(super) fn charge_for(&mut self, answer: &Answer, now: Now) {
        match answer {
            Answer::Leases(leases) => self.charge(leases, now),
            Answer::Each(parts) => parts.iter().for_each(|part| self.charge_for(part, now)),
            _ => (),
        }
    }

    /// The same for leases of this broker.
    pub(super) fn charge(&mut self, leases: &[Verified<Lease>], now: Now) {
        for lease in leases.iter().filter(|lease| self.ads.own(lease.volunteer).is_some()) {
            let Some(offer) = self.book.offer(lease.task.offer) else { continue };
            let home = self.book.home(offer.project).map(|home| home.home);
            if home == Some(lease.signer()) {
                self.shares.charge(lease, offer, now.mono);
            }
        }
    }

    /// Those offers, of the projects that had least first, and of each in its project's order.
    fn in_turn(&self, offers: &BTreeSet<StatementId>) -> impl Iterator<Item = &Verified<Offer>> {
        let mut offers: Vec<_> = offers.iter().filter_map(|id| self.book.offer(*id)).collect();
        offers.sort_by_key(|offer| {
            (self.shares.had(offer.project), offer.project, OfferBook::place(offer))
        });
        offers.into_iter()
    }

    /// Those of `offers` that suit the pull of `volunteer`, in their order, as many as fit into an
    /// answer.
    fn suiting<'a>(
        &'a self,
        volunteer: PublicKey,
        offers: impl Iterator<Item = &'a Verified<Offer>>,
        now: Now,
    ) -> Vec<Offered> {
        let Some(Pull { wants, .. }) = self.pulls.of(volunteer) else { return Vec::new() };
        let Some(ad) = self.ads.own(volunteer) else { return Vec::new() };
        let suiting =
            offers.filter(|offer| self.runtime_for(offer, volunteer, wants, now).is_some());
        let offered = suiting.filter_map(|offer| {
            let home = self.book.home(offer.project)?;
            let unseen = self.unseen.missed(home.home).map(|unseen| unseen.as_secs());
            Some(Offered {
                offer: offer.clone(),
                home: home.clone(),
                registration: self.book.registration(offer.project).cloned(),
                others: None,
                home_unseen: unseen.map(|unseen| u32::try_from(unseen).unwrap_or(u32::MAX)),
            })
        });
        let mut left = MAX_FRAME_BYTES - FRAME_MARGIN;
        let fits = |offered: &Offered| {
            let room = left.checked_sub(size(offered));
            room.map(|room| left = room).is_some()
        };
        let (free, mut helping) = (free(wants, &ad.capabilities), Helping::default());
        let has_room = |offered: &Offered| {
            let has_room = helping.has_room(free);
            helping.add(&offered.offer);
            has_room
        };
        offered.take_while(has_room).take_while(fits).collect()
    }

    /// The runtime in which `volunteer` could run `offer`, if it wants to and a task may be open.
    fn runtime_for(
        &self,
        offer: &Verified<Offer>,
        volunteer: PublicKey,
        wants: &Wants,
        now: Now,
    ) -> Option<Runtime> {
        let ad = self.ads.own(volunteer)?;
        let wanted = wants.projects.is_empty() || wants.projects.contains(&offer.project);
        let may = wanted
            && !wants.except.contains(&offer.id())
            && offer.admits(volunteer)
            && offer.expires() > now.wall
            && has_room(offer, wants)
            && !self.leases.must_wait(offer.id(), volunteer, now.mono)
            && self.can_be_claimed(offer);
        if !may {
            return None;
        }
        let first = satisfies(&ad.capabilities, &offer.requirements)?;
        if wants.runtimes.contains(first) {
            return Some(first.clone());
        }
        // Another runtime of the job's may do.
        let mut runtimes = offer.requirements.runtimes.clone();
        runtimes.retain(|runtime| wants.runtimes.contains(runtime));
        let clauses = offer.requirements.clauses.clone();
        let others = Requirements { runtimes, clauses, rank: Vec::new() };
        satisfies(&ad.capabilities, &others).cloned()
    }

    /// Of an offer whose home is elsewhere only that home can tell.
    fn can_be_claimed(&self, offer: &Verified<Offer>) -> bool {
        let Some(home) = self.book.home(offer.project) else { return false };
        home.home != self.me
            || (self.leases.grants(offer.id(), home.epoch)
                && self.leases.open(offer.id()).is_some_and(|open| open > 0))
    }
}

impl Shown {
    fn show(&mut self, offer: &Verified<Offer>, volunteer: PublicKey) {
        let helping = self.to.entry(volunteer).or_default();
        if helping.offers.is_empty() {
            self.in_order.push(volunteer);
        }
        helping.add(offer);
    }

    /// Whether `volunteer`, which has that free, is shown one more.
    fn has_room_for(&self, volunteer: PublicKey, free: Resources) -> bool {
        self.to.get(&volunteer).is_none_or(|helping| helping.has_room(free))
    }
}

impl Helping {
    fn has_room(&self, free: Resources) -> bool {
        let Resources { cores, memory, disk } = self.takes;
        let is_left = cores < free.cores && memory < free.memory && disk < free.disk;
        self.offers.len() < if is_left { MAX_OFFERS_AN_ANSWER } else { CHOICE }
    }

    fn add(&mut self, offer: &Verified<Offer>) {
        self.offers.insert(offer.id());
        let (limits, takes) = (&offer.job.limits, &mut self.takes);
        let tasks = u64::from(offer.tasks);
        let cores = offer.requirements.cores().saturating_mul(offer.tasks);
        takes.cores = takes.cores.saturating_add(cores);
        takes.memory = takes.memory.saturating_add(limits.memory.saturating_mul(tasks));
        takes.disk = takes.disk.saturating_add(limits.disk.saturating_mul(tasks));
    }
}

/// What a machine has free, as far as it has it.
fn free(wants: &Wants, machine: &Capabilities) -> Resources {
    let (free, has) = (wants.free, machine.resources);
    Resources {
        cores: free.cores.min(has.cores),
        memory: free.memory.min(has.memory),
        disk: free.disk.min(has.disk),
    }
}

/// Bytes of it in an answer.
fn size(offered: &Offered) -> usize {
    let registration = offered.registration.as_ref().map(|it| it.envelope().as_bytes().len());
    let (offer, home) = (offered.offer.envelope(), offered.home.envelope());
    offer.as_bytes().len()
        + home.as_bytes().len()
        + registration.unwrap_or_default()
        + OFFERED_MARGIN
}

/// Whether one task fits into what the volunteer has free.
fn has_room(offer: &Offer, wants: &Wants) -> bool {
    let limits = &offer.job.limits;
    let runtime = offer.requirements.runtimes.iter().any(|it| wants.runtimes.contains(it));
    runtime && limits.memory <= wants.free.memory && limits.disk <= wants.free.disk
}
