//! Claims: for as many candidates at a time as there is room for, whose home is one broker.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Claim, Lease, MAX_TASKS_A_CLAIM, Offer};
use capability::{
    BlobHash, Envelope, MAX_STATEMENT_BYTES, PublicKey, Resources, Runtime, Verified,
};
use mesh_core::{Answer, Ask, CallFailed, CallId, MAX_CLAIMS_AN_ASK, MAX_HOPS, Mono, Refusal};

use crate::action::{Action, News};
use crate::backoff::Backoff;
use crate::fetching::{Candidate, State};
use crate::leases::{GroupKey, Leaving};
use crate::trust::Decline;
use crate::volunteer::{Call, REQUEST_LIFETIME, Volunteer};
use crate::work::needs;

/// Bytes of a lease at most: some ids, times and a branch of hashes take one. Its result carries it
/// home, and needs room for what else there is to say.
pub(crate) const MAX_LEASE_BYTES: usize = 4096;

/// Bytes of a claim at most, beside the ad and the ownership in it; and of a question beside its claims.
const CLAIM_MARGIN: usize = 1024;

/// Attempts at the same claims. The home answers the same claim with the same leases, so that an answer
/// that was lost costs nothing.
const CLAIM_TRIES: u32 = 3;
const FIRST_CLAIM_WAIT: Duration = Duration::from_secs(1);
const LONGEST_CLAIM_WAIT: Duration = Duration::from_secs(4);

/// Why a claim that was under way comes to nothing.
const NO_LONGER_TRUSTED: &str =
    "the owner does not trust it any more, or the key that offered it was revoked";

/// Claims that are under way together.
#[derive(Debug)]
pub(crate) struct Claiming {
    wishes: Vec<Wish>,
    /// Of all their offers.
    home: PublicKey,
    /// None while a retry waits.
    call: Option<CallId>,
    tries: Backoff,
    /// Whether the tasks are for later.
    ahead: bool,
}

/// What is claimed of one offer.
#[derive(Debug)]
struct Wish {
    claim: Verified<Claim>,
    candidate: Candidate,
}

/// Candidates that are to be claimed together, with the number of tasks of each.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    parts: Vec<(Candidate, u16)>,
    /// What all of it will take.
    takes: Resources,
    tasks: u16,
    /// The packages that must be fetched for it, and their bytes.
    packages: BTreeMap<BlobHash, u64>,
}

/// Leases that were granted, until they are durable.
#[derive(Debug, Default)]
struct Granted {
    /// Whether they are for later.
    ahead: bool,
    leases: Vec<Verified<Lease>>,
    news: Vec<Action>,
}

impl Claiming {
    /// Whether it is for later.
    pub(crate) fn is_ahead(&self) -> bool {
        self.ahead
    }

    pub(crate) fn not_before(&mut self, time: Mono) {
        self.tries.not_before = self.tries.not_before.max(time);
    }

    pub(crate) fn hurry(&mut self) {
        self.tries.not_before = Mono::default();
    }

    pub(crate) fn next_wake(&self) -> Option<Mono> {
        self.call.is_none().then_some(self.tries.not_before)
    }
}

impl Plan {
    /// Whether a task of that builder is planned already.
    pub(crate) fn has_builder_of(&self, offer: &Offer) -> bool {
        let mut offers = self.parts.iter().map(|(candidate, _)| &candidate.offered.offer);
        offers.any(|it| it.project == offer.project && it.builder == offer.builder)
    }

    /// How many tasks it has in all.
    pub(crate) fn tasks(&self) -> u16 {
        self.tasks
    }

    /// Its offers, and how many tasks of each.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&Verified<Offer>, u16)> {
        self.parts.iter().map(|(candidate, count)| (&candidate.offered.offer, *count))
    }

    fn is_for(&self, home: PublicKey) -> bool {
        self.parts.first().is_none_or(|(first, _)| first.offered.home.home == home)
    }

    /// Bytes of the disk that it will take.
    fn disk(&self) -> u64 {
        self.takes.disk.saturating_add(self.traffic())
    }

    /// Bytes that will be fetched for it.
    fn traffic(&self) -> u64 {
        self.packages.values().copied().fold(0, u64::saturating_add)
    }

    fn add(&mut self, candidate: Candidate, count: u16, package: u64) {
        self.packages.entry(candidate.offered.offer.package.hash).or_insert(package);
        let needs = needs(&candidate.offered.offer);
        let takes = &mut self.takes;
        takes.cores = takes.cores.saturating_add(needs.cores.saturating_mul(count.into()));
        takes.memory = takes.memory.saturating_add(needs.memory.saturating_mul(count.into()));
        takes.disk = takes.disk.saturating_add(needs.disk.saturating_mul(count.into()));
        self.tasks += count;
        self.parts.push((candidate, count));
    }
}

impl Volunteer {
    /// Claims tasks of the first candidates, as many as there is room for.
    pub(crate) fn claim_candidates(&mut self) {
        let mut plan = Plan::default();
        let most = self.claims_an_ask();
        while let Some(candidate) = self.fetching.candidates.pop_front() {
            let offered = &candidate.offered;
            let judged = self.keys.judge(&offered.offer, self.now);
            match judged.and_then(|()| self.may_begin(&offered.offer)) {
                Ok(()) if plan.parts.len() < most && plan.is_for(offered.home.home) => {
                    match self.room(&plan, &offered.offer) {
                        0 if plan.parts.is_empty() => (),
                        0 => return self.claim(plan, Some(candidate)),
                        room => {
                            let room = room.min(self.turn(&plan, &offered.offer));
                            let package = self.work.package_lacking(&offered.offer);
                            plan.add(candidate, room, package);
                        }
                    }
                }
                Ok(()) => return self.claim(plan, Some(candidate)),
                Err(Decline::Unconfirmed) if self.keys.is_asking(&offered.offer) => {
                    // The answer is on its way.
                    return self.claim(plan, Some(candidate));
                }
                Err(reason) => self.decline(&candidate.offered, reason),
            }
        }
        self.claim(plan, None);
    }

    /// How many claims fit into a question.
    fn claims_an_ask(&self) -> usize {
        let length = |envelope: &Envelope| envelope.as_bytes().len();
        let ad = self.ad.current.as_ref().map_or(0, |ad| length(ad.envelope()));
        let ownership = self.vouched().as_ref().map_or(0, length);
        let claim = ad + ownership + CLAIM_MARGIN;
        // A question is a statement itself, and no larger.
        ((MAX_STATEMENT_BYTES - CLAIM_MARGIN) / claim).clamp(1, MAX_CLAIMS_AN_ASK)
    }

    /// How many tasks of `offer` are claimed beside what is planned.
    pub(crate) fn room(&mut self, plan: &Plan, offer: &Verified<Offer>) -> u16 {
        if self.buffer.is_fetching() {
            self.room_ahead(plan, offer)
        } else {
            self.room_beside(plan, offer)
        }
    }

    /// How many tasks of `offer` fit into what is donated, the disk and the network's quota, beside what is planned. If
    /// none does although nothing is planned, the offer is not to be shown again before there is more; what the
    /// quota has no room for is declined when it is shown next.
    fn room_beside(&mut self, plan: &Plan, offer: &Verified<Offer>) -> u16 {
        let Some(lent) = self.lent() else { return 0 };
        let donated = self.checks.spare(lent);
        let free = Resources {
            cores: donated.cores.saturating_sub(plan.takes.cores),
            memory: donated.memory.saturating_sub(plan.takes.memory),
            disk: donated.disk.saturating_sub(plan.takes.disk),
        };
        let room = self.work.room(offer, free).min(self.work.places().saturating_sub(plan.tasks));
        if room == 0 {
            if plan.parts.is_empty() {
                self.offers.does_not_fit(offer);
            }
            return 0;
        }
        let Some(package) = self.package_within_quota(plan, offer) else { return 0 };
        let task = offer.job.limits.disk.max(1);
        let left = self.disk_left().saturating_sub(plan.disk());
        let on_disk = left.saturating_sub(package) / task;
        if on_disk == 0 && plan.parts.is_empty() {
            let needed = package.saturating_add(task);
            self.offers.lacks_disk(offer, needed, self.now.mono);
        }
        let most = if self.faults.is_on_trial() { 1 } else { MAX_TASKS_A_CLAIM };
        let tasks = u16::try_from(offer.tasks).unwrap_or(u16::MAX);
        let on_disk = u16::try_from(on_disk).unwrap_or(u16::MAX);
        let at_once = self.most_of_builder(plan, offer);
        let room = room.min(on_disk).min(tasks).min(at_once).min(most.saturating_sub(plan.tasks));
        self.most_beside_queue(plan, offer, room)
    }

    /// Bytes to be fetched for a task of `offer` beside what is planned, if the network's quota has room for them.
    fn package_within_quota(&self, plan: &Plan, offer: &Verified<Offer>) -> Option<u64> {
        let planned = plan.packages.contains_key(&offer.package.hash);
        let package = if planned { 0 } else { self.work.package_lacking(offer) };
        let quota = self.quota_for_packages().map(|left| left.saturating_sub(plan.traffic()));
        quota.is_none_or(|left| left >= package).then_some(package)
    }

    /// Whether the package of `offer` can be kept until a task of it begins, and that has room then.
    pub(crate) fn is_fetchable(&self, plan: &Plan, offer: &Verified<Offer>) -> bool {
        let left = self.disk_left().saturating_sub(plan.traffic());
        let donated = self.machine.as_ref().map_or(0, |machine| machine.resources.disk);
        let ahead = self.queue.packages_ahead().into_values().fold(0, u64::saturating_add);
        let ahead = ahead.saturating_add(plan.traffic());
        self.package_within_quota(plan, offer).is_some_and(|package| {
            left >= package.saturating_add(offer.job.limits.disk)
                && donated >= package.saturating_add(ahead)
        })
    }

    /// Claims what is planned; `next` waits until that is answered.
    fn claim(&mut self, plan: Plan, next: Option<Candidate>) {
        next.into_iter().for_each(|next| self.fetching.candidates.push_front(next));
        let Some((first, _)) = plan.parts.first() else { return };
        let home = first.offered.home.home;
        let Some(ad) = self.ad.current.as_ref().map(|ad| ad.envelope().clone()) else { return };
        let (ownership, offline) = (self.vouched(), self.wants_offline());
        let (mut claims, mut candidates) = (Vec::new(), Vec::new());
        for (candidate, count) in plan.parts {
            claims.push(Claim {
                offer: candidate.offered.offer.id(),
                epoch: candidate.offered.home.epoch,
                count,
                runtime: candidate.runtime.clone(),
                ad: ad.clone(),
                ownership: ownership.clone(),
                offline,
                nonce: self.number(),
                expires: self.now.wall + REQUEST_LIFETIME,
            });
            candidates.push(candidate);
        }
        let claims = Verified::sign_batch(claims, &*self.signer).into_iter();
        let wish = |(claim, candidate)| Wish { claim, candidate };
        let wishes = claims.zip(candidates).map(wish).collect();
        let (tries, ahead) = (Backoff::default(), self.buffer.is_fetching());
        self.fetching.state = State::Claiming(Claiming { wishes, home, call: None, tries, ahead });
        self.retry_claims();
    }

    pub(crate) fn retry_claims(&mut self) {
        let State::Claiming(claiming) = &mut self.fetching.state else { return };
        if claiming.call.is_some() || !claiming.tries.is_over(self.now.mono) {
            return;
        }
        let wishes = std::mem::take(&mut claiming.wishes);
        let home = claiming.home;
        let mut left = Vec::with_capacity(wishes.len());
        for wish in wishes {
            if wish.claim.expires <= self.now.wall {
                self.not_granted(
                    &wish.candidate.offered.offer,
                    "the claim was never answered".to_owned(),
                );
            } else if !self.may_work_on(&wish.candidate.offered.offer, &wish.claim.runtime) {
                self.not_granted(&wish.candidate.offered.offer, NO_LONGER_TRUSTED.to_owned());
            } else {
                left.push(wish);
            }
        }
        if left.is_empty() {
            self.fetching.state = State::Nothing;
            return;
        }
        let claims = left.iter().map(|wish| wish.claim.clone()).collect();
        let call = self.ask(Call::Claim, Ask::Claim { claims, home, hops: MAX_HOPS });
        if let State::Claiming(claiming) = &mut self.fetching.state {
            claiming.wishes = left;
            claiming.call = call;
        }
    }

    pub(crate) fn claimed(&mut self, id: CallId, answer: Result<Answer, CallFailed>) {
        let now = self.now.mono;
        let State::Claiming(claiming) = &mut self.fetching.state else { return };
        if claiming.call != Some(id) {
            return;
        }
        claiming.call = None;
        let parts = match answer {
            Ok(answer) => answer.parts(claiming.wishes.len()),
            Err(failed) => {
                claiming.tries.fail(now, FIRST_CLAIM_WAIT, LONGEST_CLAIM_WAIT);
                if claiming.tries.failures < CLAIM_TRIES {
                    return;
                }
                for wish in self.end_claiming() {
                    self.not_granted(&wish.candidate.offered.offer, failed.to_string());
                }
                return;
            }
        };
        let (home, ahead) = (claiming.home, claiming.ahead);
        let wishes = self.end_claiming();
        let mut parts = parts.unwrap_or_default().into_iter();
        let mut granted = Granted { ahead, ..Granted::default() };
        for wish in wishes {
            let offer = &wish.candidate.offered.offer;
            match parts.next() {
                Some(Answer::Leases(leases)) => self.granted(wish, home, leases, &mut granted),
                Some(Answer::Refused(refusal)) => {
                    if matches!(refusal, Refusal::Invalid(_)) {
                        self.advertise_again();
                    }
                    self.not_granted(offer, refusal.to_string());
                }
                _ => self.not_granted(offer, "the broker's answer makes no sense".to_owned()),
            }
        }
        if !granted.leases.is_empty() {
            let mut writes = self.held.hold(&granted.leases, home);
            writes.extend(self.rhythm.writes());
            let commit = self.commit(writes, granted.news);
            let leases = granted.leases.iter().map(Verified::id);
            leases.for_each(|lease| self.unconfirmed.add(commit, lease));
        }
    }

    fn end_claiming(&mut self) -> Vec<Wish> {
        match std::mem::take(&mut self.fetching.state) {
            State::Claiming(claiming) => claiming.wishes,
            _ => Vec::new(),
        }
    }

    /// Takes what of `leases` is sound and wanted, and gives back the rest.
    fn granted(
        &mut self,
        wish: Wish,
        home: PublicKey,
        leases: Vec<Verified<Lease>>,
        granted: &mut Granted,
    ) {
        let Wish { claim, candidate: Candidate { offered, .. } } = wish;
        let group = GroupKey { offer: claim.offer, epoch: claim.epoch, home };
        let (project, asked) = (offered.offer.project, usize::from(claim.count));
        let offer = &offered.offer;
        let sound = |lease: &Verified<Lease>| {
            lease.envelope().as_bytes().len() <= MAX_LEASE_BYTES
                && lease.volunteer == self.me
                && lease.signer() == group.home
                && lease.project == project
                && GroupKey::of(lease, group.home) == group
                && lease.runtime == claim.runtime
                && lease.task.task < offer.tasks
                && lease.current(self.now.wall).is_ok()
                && self.work.job(lease.id()).is_none()
                && !self.queue.holds(lease.id())
        };
        let mut leases: Vec<_> = leases.into_iter().filter(sound).collect();
        // Pins and keys may have changed since it was claimed.
        let trusted = self.may_work_on(offer, &claim.runtime);
        // More than was asked for would be more than is donated.
        let welcome = if trusted && !self.is_leaving() { asked } else { 0 };
        for superfluous in leases.split_off(leases.len().min(welcome)) {
            self.leases.release_of(superfluous.id(), group, Leaving::GivenUp);
        }
        if leases.is_empty() {
            let reason =
                if trusted { "the broker sent no lease that holds" } else { NO_LONGER_TRUSTED };
            return self.not_granted(offer, reason.to_owned());
        }
        self.offers.succeeded(claim.offer);
        if leases.len() < asked {
            // The pool has run dry for now.
            self.offers.leave_alone(offer, "all its open tasks are leased", self.now.mono);
        }
        if granted.ahead {
            return self.take_ahead(offered, leases, group);
        }
        let grounds = Arc::new(self.grounds(&offered, &claim.runtime));
        let offer = Arc::new(offered.offer);
        let donated = self.machine.as_ref().map(|it| it.resources).unwrap_or_default();
        for lease in leases {
            let news = News::Leased { lease: lease.id(), task: lease.task };
            granted.news.push(Action::News(news));
            // An offline lease holds by itself.
            if lease.deadline.is_none() {
                self.leases.hold(lease.id(), group, self.now.mono);
            }
            self.shares.take(lease.id(), &offer, donated);
            self.follow(lease.id(), &offer);
            let (offer, grounds) = (Arc::clone(&offer), Arc::clone(&grounds));
            self.work.take(lease.clone(), offer, grounds, self.now);
            granted.leases.push(lease);
        }
    }

    pub(crate) fn may_work_on(&self, offer: &Verified<Offer>, runtime: &Runtime) -> bool {
        self.trust.permits_offer(offer, runtime) && !self.keys.is_void(offer)
    }

    fn not_granted(&mut self, offer: &Verified<Offer>, reason: String) {
        self.offers.leave_alone(offer, &reason, self.now.mono);
        let offer = offer.id();
        self.news(News::NotGranted { offer, reason });
    }
}
