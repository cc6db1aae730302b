//! Work fetch: one pull while there is room, then claims for what it brought.

use std::collections::VecDeque;
use std::time::Duration;

use capability::{Capabilities, ProjectKey, Runtime};
use mesh_core::{Answer, Ask, CallFailed, CallId, MAX_EXCEPTIONS, Mono, Offered, Wants};

use crate::action::News;
use crate::backoff::Backoff;
use crate::claiming::{Claiming, Plan};
use crate::giving_way::is_full;
use crate::policy::describe;
use crate::trust::{Decline, Passes};
use crate::turns::InVain;
use crate::volunteer::{Call, Volunteer};

/// How long a pull waits: over a connection that stands there is nothing to win by asking more often.
const PULL_WAIT: Duration = Duration::from_secs(100);
/// Pulls that bring nothing to claim are at least that far apart, whatever the broker does.
const PULL_INTERVAL: Duration = Duration::from_secs(1);
/// The longest that a broker is waited for before it is asked again after a failure.
const LONGEST_PULL_WAIT: Duration = Duration::from_secs(15);

/// Room is made for a job that long before one looks whether it is still there.
const ROOM_LOOK: Duration = Duration::from_secs(60);

/// What is asked of the primary at present.
#[derive(Debug, Default)]
pub(crate) struct Fetching {
    pub(crate) state: State,
    /// Offers of the last answer that are worth a claim, after those that are claimed.
    pub(crate) candidates: VecDeque<Candidate>,
    /// Projects that are needier than those of the candidates, and are asked for by name.
    needier: Vec<ProjectKey>,
    pub(crate) in_vain: InVain,
    /// For whom nothing else is taken, and until when before one looks again.
    room_for: Option<(ProjectKey, Mono)>,
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
    /// How welcome the policy finds it.
    pub(crate) rank: u64,
}

impl Candidate {
    pub(crate) fn project(&self) -> ProjectKey {
        self.offered.offer.project
    }
}

impl Fetching {
    /// What is claimed must be judged anew.
    pub fn drop_candidates(&mut self) {
        self.candidates.clear();
        self.needier.clear();
        self.in_vain.clear();
    }

    /// The primary that was asked is gone.
    pub fn stop_pulling(&mut self) {
        if matches!(self.state, State::Pulling { .. }) {
            self.state = State::Nothing;
        }
        self.needier.clear();
        self.in_vain.clear();
        self.pull = Backoff::default();
    }

    /// Nothing is pulled or claimed before that time.
    pub fn not_before(&mut self, time: Mono) {
        self.pull.not_before = self.pull.not_before.max(time);
        if let State::Claiming(claiming) = &mut self.state {
            claiming.not_before(time);
        }
    }

    /// These had nothing, or nobody knows.
    fn in_vain(&mut self, projects: &[ProjectKey], now: Mono) {
        projects.iter().for_each(|project| self.in_vain.add(*project, now));
    }

    /// Since when a question for what fits now is unanswered.
    pub fn waits_since(&self) -> Option<Mono> {
        match &self.state {
            State::Pulling { asked, .. } => Some(*asked),
            _ => None,
        }
    }

    /// Whether leases may come that take what is free now.
    pub fn is_claiming_now(&self) -> bool {
        matches!(&self.state, State::Claiming(claiming) if !claiming.is_ahead())
    }

    /// There is a new primary to ask.
    pub fn hurry(&mut self) {
        if let State::Claiming(claiming) = &mut self.state {
            claiming.hurry();
        }
    }

    /// For whom room is made.
    pub fn room_for(&self) -> Option<ProjectKey> {
        self.room_for.map(|(project, _)| project)
    }

    /// More is free than before: it may be enough.
    pub fn resources_freed(&mut self) {
        self.room_for = None;
    }

    /// Whether leases may come.
    pub fn is_claiming(&self) -> bool {
        matches!(self.state, State::Claiming(_))
    }

    pub fn next_wake(&self) -> Option<Mono> {
        match &self.state {
            State::Nothing => Some(self.room_for.map_or(self.pull.not_before, |(_, until)| until)),
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
        if self.fetching.room_for.is_some_and(|(_, until)| until <= self.now.mono) {
            self.resources_freed();
        }
        let on_trial = self.faults.is_on_trial() && !self.work.is_empty();
        if on_trial || self.obstacle().is_some() {
            self.fetching.candidates.clear();
            self.fetching.needier.clear();
            self.buffer.end_round(self.now.mono);
            return;
        }
        if !self.fetching.needier.is_empty() {
            return self.pull();
        }
        if self.fetching.candidates.is_empty() && !self.buffer.is_fetching() {
            // What is in the queue waits for those that come before it.
            self.fetching.needier =
                self.queued_next().map(|_| self.to_ask_for()).unwrap_or_default();
            if !self.fetching.needier.is_empty() {
                return self.pull();
            }
        }
        if let Some(project) = self.makes_room() {
            self.fetching.room_for = Some((project, self.now.mono + ROOM_LOOK));
            self.fetching.candidates.clear();
            return;
        }
        self.claim_candidates();
        // What is left waits for an answer about its keys.
        if !self.fetching.is_claiming() && self.fetching.candidates.is_empty() {
            self.turn_round();
            self.pull();
        }
    }

    /// More is free than before.
    pub(crate) fn resources_freed(&mut self) {
        self.offers.resources_freed();
        self.fetching.resources_freed();
        self.interrupt_round();
        self.queue.touch();
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
            self.buffer.asks();
            self.fetching.state = State::Pulling { call, wants, asked: now };
        }
    }

    /// What would be taken now; `None` if nothing is free.
    fn wants(&self) -> Option<Wants> {
        let machine = self.machine.as_ref()?;
        let spare = self.checks.spare(self.lent()?);
        let free = self.work.free(spare);
        let ahead = self.buffer.is_fetching();
        if is_full(if ahead { spare } else { free }) {
            return None;
        }
        // Of those that come first one wants to know also what would need more, and for later what the whole
        // machine can do.
        let is_aside = ahead || !self.fetching.needier.is_empty();
        let free = if is_aside { spare } else { free };
        let runtimes = machine.runtimes.keys().cloned().collect();
        let except = if ahead {
            self.offers.exceptions_and(self.buffer.shown(), self.now.mono)
        } else {
            self.offers.exceptions(self.disk_left(), self.now.mono)
        };
        // There is work already: whoever has none now is not waited for.
        let wait = if is_aside { Duration::ZERO } else { PULL_WAIT };
        let wait_ms = Some(u64::try_from(wait.as_millis()).unwrap_or(u64::MAX));
        Some(Wants { runtimes, free, projects: self.projects_wanted(), except, wait_ms })
    }

    /// Those of which offers are to be shown; none are all.
    fn projects_wanted(&self) -> Vec<ProjectKey> {
        if !self.fetching.needier.is_empty() {
            self.fetching.needier.clone()
        } else if self.offers.is_crowded() {
            self.trust.pins().map(|pin| pin.project).take(MAX_EXCEPTIONS).collect()
        } else {
            Vec::new()
        }
    }

    pub(crate) fn pulled(&mut self, id: CallId, answer: Result<Answer, CallFailed>) {
        let State::Pulling { call, asked, .. } = self.fetching.state else { return };
        if call != id {
            return;
        }
        self.fetching.state = State::Nothing;
        let now = self.now.mono;
        let asked_for = std::mem::take(&mut self.fetching.needier);
        match answer {
            Ok(Answer::Offers(offers)) => {
                let registrations = offers.iter().filter_map(|it| it.registration.clone());
                registrations.for_each(|registration| self.learn(registration));
                let brought = offers.iter().map(|it| it.offer.project).collect();
                let shown: Vec<_> = offers.iter().map(|it| it.offer.id()).collect();
                let found = self.judge(offers);
                let is_candidate =
                    |id| self.fetching.candidates.iter().any(|it| it.offered.offer.id() == id);
                let useless = shown.iter().copied().filter(|id| !is_candidate(*id));
                self.buffer.show(useless);
                let nothing = shown.is_empty();
                self.asked_for(&asked_for, &brought);
                self.fetching.needier = self.to_ask_for();
                self.put_in_order();
                self.fetching.pull = Backoff::default();
                if !found {
                    self.fetching.pull.not_before = asked + PULL_INTERVAL;
                }
                let is_done = nothing && self.fetching.needier.is_empty();
                if is_done && self.fetching.candidates.is_empty() {
                    self.buffer.end_round(now);
                }
            }
            Ok(_) => {
                self.fetching.pull.fail(now, PULL_INTERVAL, LONGEST_PULL_WAIT);
                self.advertise_again();
            }
            Err(CallFailed(_)) => {
                // Nobody waits for a broker that does not answer.
                self.fetching.in_vain(&asked_for, now);
                self.fetching.pull.fail(now, PULL_INTERVAL, LONGEST_PULL_WAIT);
            }
        }
    }

    /// Declines offers or makes them candidates; says whether there is one. What is declined must
    /// not hurry the next pull: whoever makes offers to no end could keep this machine asking.
    fn judge(&mut self, offers: Vec<Offered>) -> bool {
        let Some(machine) = self.machine.clone() else { return false };
        for offered in offers {
            match self.assess(&offered, &machine) {
                Ok((runtime, rank)) => {
                    let offer = offered.offer.id();
                    self.offers.welcome(offer);
                    let room = self.room(&Plan::default(), &offered.offer) > 0;
                    if !room {
                        self.note_for_now(&offered.offer);
                    }
                    if room && !self.offers.is_left_alone(offer, self.now.mono) {
                        self.keys.meet(offered.offer.signer(), self.now);
                        let candidate = Candidate { offered, runtime, rank };
                        self.fetching.candidates.push_back(candidate);
                    }
                }
                Err(reason) => self.decline(&offered, reason),
            }
        }
        !self.fetching.candidates.is_empty()
    }

    /// The runtime in which `machine` would take the offer and how welcome it is, or why it does not.
    fn assess(&self, offered: &Offered, machine: &Capabilities) -> Result<(Runtime, u64), Decline> {
        let suiting = self.suits(offered, machine)?;
        if let Some(seconds) = offered.home_unseen {
            return Err(Decline::HomeUnseen { minutes: 1 << (seconds / 60).max(1).ilog2() });
        }
        let package = self.work.package_lacking(&offered.offer);
        if let Some(left) = self.quota_for_packages().filter(|left| *left < package) {
            return Err(Decline::Quota { package, left });
        }
        Ok(suiting)
    }

    /// The same, as far as the network does not matter.
    pub(crate) fn suits(
        &self,
        offered: &Offered,
        machine: &Capabilities,
    ) -> Result<(Runtime, u64), Decline> {
        let runtime = self.trust.judge(offered, machine, self.now.wall)?;
        let pin = self.trust.pin(&offered.offer.project).ok_or(Decline::NotPinned)?;
        self.judge_voucher(pin)?;
        if !offered.offer.admits(self.me) {
            return Err(Decline::NotForUs);
        }
        let facts = describe(offered, pin);
        let beyond = pin.bounds.unmet(&facts);
        if !beyond.is_empty() {
            return Err(Decline::Beyond(beyond));
        }
        self.may_begin(&offered.offer)?;
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
