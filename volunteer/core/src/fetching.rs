//! Work fetch: one pull while there is room, then one claim at a time.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Claim, Lease, MAX_TASKS_A_CLAIM, Offer};
use capability::{Capabilities, ProjectKey, Resources, Runtime, StatementId, Verified};
use mesh_core::{
    Answer, Ask, CallFailed, CallId, MAX_EXCEPTIONS, MAX_HOPS, Mono, Offered, Refusal, Wants,
};

use crate::action::{Action, News};
use crate::backoff::Backoff;
use crate::leases::{GroupKey, Leaving};
use crate::policy::describe;
use crate::trust::{Decline, Passes};
use crate::volunteer::{Call, REQUEST_LIFETIME, Volunteer};

/// How long a pull waits: over a connection that stands there is nothing to win by asking more often.
const PULL_WAIT: Duration = Duration::from_secs(100);
/// Pulls that bring nothing to claim are at least that far apart, whatever the broker does.
const PULL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that a broker is waited for before it is asked again after a failure.
const LONGEST_PULL_WAIT: Duration = Duration::from_secs(15);

/// Bytes of a lease at most: some ids, times and a branch of hashes take one. Its result carries it
/// home, and needs room for what else there is to say.
const MAX_LEASE_BYTES: usize = 4096;

/// Attempts at one claim. The home answers the same claim with the same leases, so that an answer
/// that was lost costs nothing.
const CLAIM_TRIES: u32 = 3;
const FIRST_CLAIM_WAIT: Duration = Duration::from_secs(1);
const LONGEST_CLAIM_WAIT: Duration = Duration::from_secs(4);

/// Why a claim that was under way comes to nothing.
const NO_LONGER_TRUSTED: &str =
    "the owner does not trust it any more, or the key that offered it was revoked";

/// What is asked of the primary at present.
#[derive(Debug, Default)]
pub(crate) struct Fetching {
    state: State,
    /// Offers of the last answer that are worth a claim, after the one that is claimed.
    candidates: VecDeque<Candidate>,
    pull: Backoff,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Nothing,
    Pulling {
        call: CallId,
        wants: Wants,
        asked: Mono,
    },
    Claiming(Box<Claiming>),
}

#[derive(Debug)]
struct Candidate {
    offered: Offered,
    runtime: Runtime,
}

#[derive(Debug)]
struct Claiming {
    claim: Verified<Claim>,
    candidate: Candidate,
    /// None while a retry waits.
    call: Option<CallId>,
    tries: Backoff,
}

impl Fetching {
    /// What is claimed must be judged anew.
    pub fn drop_candidates(&mut self) {
        self.candidates.clear();
    }

    /// The primary that was asked is gone.
    pub fn stop_pulling(&mut self) {
        if matches!(self.state, State::Pulling { .. }) {
            self.state = State::Nothing;
        }
        self.pull = Backoff::default();
    }

    /// Nothing is pulled or claimed before that time.
    pub fn not_before(&mut self, time: Mono) {
        self.pull.not_before = self.pull.not_before.max(time);
        if let State::Claiming(claiming) = &mut self.state {
            claiming.tries.not_before = claiming.tries.not_before.max(time);
        }
    }

    /// There is a new primary to ask.
    pub fn hurry(&mut self) {
        if let State::Claiming(claiming) = &mut self.state {
            claiming.tries.not_before = Mono::default();
        }
    }

    /// Whether leases may come.
    pub fn is_claiming(&self) -> bool {
        matches!(self.state, State::Claiming(_))
    }

    pub fn next_wake(&self) -> Option<Mono> {
        match &self.state {
            State::Nothing => Some(self.pull.not_before),
            State::Pulling { .. } => None,
            State::Claiming(claiming) => {
                claiming.call.is_none().then_some(claiming.tries.not_before)
            }
        }
    }
}

impl Volunteer {
    /// Retries the claim, claims the next candidate, or pulls: whatever comes first.
    pub(crate) fn fetch_work(&mut self) {
        if self.fetching.is_claiming() {
            return self.retry_claim();
        }
        let on_trial = self.faults.is_on_trial() && !self.work.is_empty();
        if on_trial || self.obstacle().is_some() {
            self.fetching.candidates.clear();
            return;
        }
        while let Some(candidate) = self.fetching.candidates.pop_front() {
            match self.keys.judge(&candidate.offered.offer, self.now) {
                Ok(()) => {
                    if self.claim(candidate) {
                        return;
                    }
                }
                Err(Decline::Unconfirmed) if self.keys.is_asking(&candidate.offered.offer) => {
                    // The answer is on its way.
                    return self.fetching.candidates.push_front(candidate);
                }
                Err(reason) => self.decline(&candidate.offered, reason),
            }
        }
        self.pull();
    }

    /// Nobody tells what has become of the keys behind what could be claimed.
    pub(crate) fn decline_unconfirmed(&mut self) {
        for candidate in std::mem::take(&mut self.fetching.candidates) {
            match self.keys.judge(&candidate.offered.offer, self.now) {
                Err(Decline::Unconfirmed) if !self.keys.is_asking(&candidate.offered.offer) => {
                    self.decline(&candidate.offered, Decline::Unconfirmed);
                }
                _ => self.fetching.candidates.push_back(candidate),
            }
        }
    }

    fn pull(&mut self) {
        let now = self.now.mono;
        let Some(wants) = self.wants() else { return };
        match &self.fetching.state {
            State::Pulling { wants: asked, .. } if *asked == wants => return,
            State::Nothing if !self.fetching.pull.is_over(now) => return,
            _ => {}
        }
        // Of two pulls the broker answers the newer one, so a change replaces what is outstanding.
        let ask = Ask::Pull { wants: wants.clone() };
        if let Some(call) = self.ask(Call::Pull, ask) {
            self.fetching.state = State::Pulling { call, wants, asked: now };
        }
    }

    /// What would be taken now; `None` if nothing is free.
    fn wants(&self) -> Option<Wants> {
        let machine = self.machine.as_ref()?;
        let free = self.work.free(self.checks.spare(machine.resources));
        if free.cores == 0 || free.memory == 0 || free.disk == 0 {
            return None;
        }
        let runtimes = machine.runtimes.keys().cloned().collect();
        let crowded = self.offers.is_crowded();
        let pinned = self.trust.pins().map(|pin| pin.project).take(MAX_EXCEPTIONS);
        let projects: Vec<ProjectKey> = if crowded { pinned.collect() } else { Vec::new() };
        let except = self.offers.exceptions(self.disk_left(), self.now.mono);
        let wait = PULL_WAIT.as_millis();
        let wait_ms = Some(u64::try_from(wait).unwrap_or(u64::MAX));
        Some(Wants { runtimes, free, projects, except, wait_ms })
    }

    pub(crate) fn pulled(&mut self, id: CallId, answer: Result<Answer, CallFailed>) {
        let State::Pulling { call, asked, .. } = self.fetching.state else { return };
        if call != id {
            return;
        }
        self.fetching.state = State::Nothing;
        let now = self.now.mono;
        match answer {
            Ok(Answer::Offers(offers)) => {
                let registrations = offers.iter().filter_map(|it| it.registration.clone());
                registrations.for_each(|registration| self.learn(registration));
                let found = self.judge(offers);
                self.fetching.pull = Backoff::default();
                if !found {
                    self.fetching.pull.not_before = asked + PULL_INTERVAL;
                }
            }
            Ok(_) => {
                self.fetching.pull.fail(now, PULL_INTERVAL, LONGEST_PULL_WAIT);
                self.advertise_again();
            }
            Err(CallFailed(_)) => {
                self.fetching.pull.fail(now, PULL_INTERVAL, LONGEST_PULL_WAIT);
            }
        }
    }

    /// Declines offers or makes them candidates; says whether there is one. What is declined must
    /// not hurry the next pull: whoever makes offers to no end could keep this machine asking.
    ///
    /// The owner's preferences put candidates in order. Where they are silent the broker's order
    /// stays, in which those projects come first that were given least.
    fn judge(&mut self, offers: Vec<Offered>) -> bool {
        let Some(machine) = self.machine.clone() else { return false };
        let mut found = Vec::new();
        for offered in offers {
            match self.assess(&offered, &machine) {
                Ok((runtime, rank)) => {
                    let offer = offered.offer.id();
                    self.offers.welcome(offer);
                    let room = self.room_for(&offered.offer, machine.resources) > 0;
                    if room && !self.offers.is_left_alone(offer, self.now.mono) {
                        self.keys.meet(offered.offer.signer(), self.now);
                        found.push((rank, Candidate { offered, runtime }));
                    }
                }
                Err(reason) => self.decline(&offered, reason),
            }
        }
        found.sort_by_key(|(rank, _)| Reverse(*rank));
        let candidates = &mut self.fetching.candidates;
        candidates.extend(found.into_iter().map(|(_, candidate)| candidate));
        !candidates.is_empty()
    }

    /// The runtime in which `machine` would take the offer and how welcome it is, or why it does not.
    fn assess(&self, offered: &Offered, machine: &Capabilities) -> Result<(Runtime, u64), Decline> {
        let runtime = self.trust.judge(offered, machine, self.now.wall)?;
        let pin = self.trust.pin(&offered.offer.project).ok_or(Decline::NotPinned)?;
        if !offered.offer.admits(self.me) {
            return Err(Decline::NotForUs);
        }
        if let Some(seconds) = offered.home_unseen {
            return Err(Decline::HomeUnseen { minutes: 1 << (seconds / 60).max(1).ilog2() });
        }
        let facts = describe(offered, pin);
        match self.policy.unmet(&facts) {
            unmet if unmet.is_empty() => Ok((runtime, self.policy.rank(&facts))),
            unmet => Err(Decline::Policy(unmet)),
        }
    }

    fn decline(&mut self, offered: &Offered, reason: Decline) {
        let (offer, project) = (offered.offer.id(), offered.offer.project);
        match reason.passes() {
            Passes::Soon => self.offers.leave_alone(offer, self.now.mono),
            Passes::Later => self.offers.look_again_later(offer, self.now.mono),
            Passes::Never => {}
        }
        if self.offers.decline(offered, reason.clone(), self.now.wall) {
            let name = offered.offer.name.clone();
            self.news(News::Declined { offer, project, name, reason });
        }
    }

    /// How many tasks of `offer` fit into what is left of `donated` and of the disk. If none does,
    /// the offer is not to be shown again before there is more.
    fn room_for(&mut self, offer: &Verified<Offer>, donated: Resources) -> u16 {
        let room = self.work.room(offer, self.checks.spare(donated));
        if room == 0 {
            self.offers.does_not_fit(offer.id());
            return 0;
        }
        let (package, task) = (self.work.package_disk(offer), offer.job.limits.disk.max(1));
        let on_disk = self.disk_left().saturating_sub(package) / task;
        if on_disk == 0 {
            let needed = package.saturating_add(task);
            self.offers.lacks_disk(offer.id(), needed, self.now.mono);
        }
        room.min(u16::try_from(on_disk).unwrap_or(u16::MAX))
    }

    /// Claims as many tasks as there is room for; says whether there was any.
    fn claim(&mut self, candidate: Candidate) -> bool {
        let Candidate { offered, runtime } = &candidate;
        let Some(donated) = self.machine.as_ref().map(|machine| machine.resources) else {
            return false;
        };
        let most = if self.faults.is_on_trial() { 1 } else { MAX_TASKS_A_CLAIM };
        let room = self.room_for(&offered.offer, donated).min(most);
        let Some(ad) = self.ad.current.as_ref().filter(|_| room > 0) else { return false };
        let ad = ad.envelope().clone();
        let claim = Claim {
            offer: offered.offer.id(),
            epoch: offered.home.epoch,
            count: room,
            runtime: runtime.clone(),
            ad,
            ownership: self.vouched(),
            offline: self.presence.is_uncertain(self.now.wall),
            nonce: self.number(),
            expires: self.now.wall + REQUEST_LIFETIME,
        };
        let claim = Verified::sign(claim, &*self.signer);
        let tries = Backoff::default();
        let claiming = Claiming { claim, candidate, call: None, tries };
        self.fetching.state = State::Claiming(Box::new(claiming));
        self.retry_claim();
        true
    }

    fn retry_claim(&mut self) {
        let State::Claiming(claiming) = &self.fetching.state else { return };
        if claiming.call.is_some() || !claiming.tries.is_over(self.now.mono) {
            return;
        }
        if claiming.claim.expires <= self.now.wall {
            return self.not_granted(claiming.claim.offer, "the claim was never answered".into());
        }
        if !self.may_work_on(&claiming.candidate.offered.offer, &claiming.claim.runtime) {
            return self.not_granted(claiming.claim.offer, NO_LONGER_TRUSTED.to_owned());
        }
        let home = claiming.candidate.offered.home.home;
        let ask = Ask::Claim { claim: claiming.claim.clone(), home, hops: MAX_HOPS };
        let asked = self.ask(Call::Claim, ask);
        if let State::Claiming(claiming) = &mut self.fetching.state {
            claiming.call = asked;
        }
    }

    pub(crate) fn claimed(&mut self, id: CallId, answer: Result<Answer, CallFailed>) {
        let now = self.now.mono;
        let State::Claiming(claiming) = &mut self.fetching.state else { return };
        if claiming.call != Some(id) {
            return;
        }
        claiming.call = None;
        let offer = claiming.claim.offer;
        match answer {
            Ok(Answer::Leases(leases)) => self.granted(leases),
            Ok(Answer::Refused(refusal)) => {
                if matches!(refusal, Refusal::Invalid(_)) {
                    self.advertise_again();
                }
                self.not_granted(offer, refusal.to_string());
            }
            Ok(_) => self.not_granted(offer, "the broker's answer makes no sense".to_owned()),
            Err(failed) => {
                claiming.tries.fail(now, FIRST_CLAIM_WAIT, LONGEST_CLAIM_WAIT);
                if claiming.tries.failures >= CLAIM_TRIES {
                    self.not_granted(offer, failed.to_string());
                }
            }
        }
    }

    fn granted(&mut self, leases: Vec<Verified<Lease>>) {
        let State::Claiming(claiming) = std::mem::take(&mut self.fetching.state) else { return };
        let Claiming { claim, candidate: Candidate { offered, .. }, .. } = *claiming;
        let group = GroupKey { offer: claim.offer, epoch: claim.epoch, home: offered.home.home };
        let (project, asked) = (offered.offer.project, usize::from(claim.count));
        let offer = Arc::new(offered.offer);
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
        };
        let mut leases: Vec<_> = leases.into_iter().filter(sound).collect();
        // Pins and keys may have changed since it was claimed.
        let trusted = self.may_work_on(&offer, &claim.runtime);
        // More than was asked for would be more than is donated.
        let welcome = if trusted && !self.is_leaving() { asked } else { 0 };
        for superfluous in leases.split_off(leases.len().min(welcome)) {
            self.leases.release_of(superfluous.id(), group, Leaving::GivenUp);
        }
        if leases.is_empty() {
            let reason =
                if trusted { "the broker sent no lease that holds" } else { NO_LONGER_TRUSTED };
            return self.not_granted(claim.offer, reason.to_owned());
        }
        self.offers.succeeded(claim.offer);
        if leases.len() < asked {
            // The pool has run dry for now.
            self.offers.leave_alone(claim.offer, self.now.mono);
        }
        let writes = self.held.hold(&leases, group.home);
        let ids: Vec<_> = leases.iter().map(Verified::id).collect();
        let leased = leases.iter().map(|it| News::Leased { lease: it.id(), task: it.task });
        let leased = leased.map(Action::News).collect();
        for lease in leases {
            // An offline lease holds by itself.
            if lease.deadline.is_none() {
                self.leases.hold(lease.id(), group, self.now.mono);
            }
            self.work.take(lease, Arc::clone(&offer), self.now.mono);
        }
        let commit = self.commit(writes, leased);
        ids.into_iter().for_each(|lease| self.unconfirmed.add(commit, lease));
    }

    fn may_work_on(&self, offer: &Verified<Offer>, runtime: &Runtime) -> bool {
        self.trust.permits_offer(offer, runtime) && !self.keys.is_void(offer)
    }

    fn not_granted(&mut self, offer: StatementId, reason: String) {
        self.fetching.state = State::Nothing;
        self.offers.leave_alone(offer, self.now.mono);
        self.news(News::NotGranted { offer, reason });
    }
}
