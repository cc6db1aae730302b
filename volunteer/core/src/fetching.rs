//! Work fetch: one pull while there is room, then claims for what it brought.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use capability::{Capabilities, ProjectKey, Runtime};
use mesh_core::{Answer, Ask, CallFailed, CallId, MAX_EXCEPTIONS, Mono, Offered, Wants};

use crate::action::News;
use crate::backoff::Backoff;
use crate::claiming::{Claiming, Plan};
use crate::policy::describe;
use crate::trust::{Decline, Passes};
use crate::volunteer::{Call, Volunteer};

/// How long a pull waits: over a connection that stands there is nothing to win by asking more often.
const PULL_WAIT: Duration = Duration::from_secs(100);
/// Pulls that bring nothing to claim are at least that far apart, whatever the broker does.
const PULL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that a broker is waited for before it is asked again after a failure.
const LONGEST_PULL_WAIT: Duration = Duration::from_secs(15);

/// What is asked of the primary at present.
#[derive(Debug, Default)]
pub(crate) struct Fetching {
    pub(crate) state: State,
    /// Offers of the last answer that are worth a claim, after those that are claimed.
    pub(crate) candidates: VecDeque<Candidate>,
    pull: Backoff,
}

#[derive(Debug, Default)]
pub(crate) enum State {
    #[default]
    Nothing,
    Pulling {
        call: CallId,
        wants: Wants,
        asked: Mono,
    },
    Claiming(Claiming),
}

/// An offer that is worth a claim.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub(crate) offered: Offered,
    pub(crate) runtime: Runtime,
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
            claiming.not_before(time);
        }
    }

    /// There is a new primary to ask.
    pub fn hurry(&mut self) {
        if let State::Claiming(claiming) = &mut self.state {
            claiming.hurry();
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
            State::Claiming(claiming) => claiming.next_wake(),
        }
    }
}

impl Volunteer {
    /// Retries the claims, claims the next candidates, or pulls: whatever comes first.
    pub(crate) fn fetch_work(&mut self) {
        if self.fetching.is_claiming() {
            return self.retry_claims();
        }
        let on_trial = self.faults.is_on_trial() && !self.work.is_empty();
        if on_trial || self.obstacle().is_some() {
            self.fetching.candidates.clear();
            return;
        }
        self.claim_candidates();
        // What is left waits for an answer about its keys.
        if !self.fetching.is_claiming() && self.fetching.candidates.is_empty() {
            self.pull();
        }
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
        let free = self.work.free(self.checks.spare(self.lent()?));
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
                    let room = self.room_beside(&Plan::default(), &offered.offer) > 0;
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
        let package = self.work.package_disk(&offered.offer);
        if let Some(left) = self.quota_left().filter(|left| *left < package) {
            return Err(Decline::Quota { package, left });
        }
        let facts = describe(offered, pin);
        match self.policy.unmet(&facts) {
            unmet if unmet.is_empty() => Ok((runtime, self.policy.rank(&facts))),
            unmet => Err(Decline::Policy(unmet)),
        }
    }

    pub(crate) fn decline(&mut self, offered: &Offered, reason: Decline) {
        let (offer, project) = (offered.offer.id(), offered.offer.project);
        let why = reason.to_string();
        match reason.passes() {
            Passes::Soon => self.offers.leave_alone(&offered.offer, &why, self.now.mono),
            Passes::Later => self.offers.look_again_later(&offered.offer, &why, self.now.mono),
            Passes::Never => {}
        }
        if self.offers.decline(offered, reason.clone(), self.now.wall) {
            let name = offered.offer.name.clone();
            self.news(News::Declined { offer, project, name, reason });
        }
    }
}
