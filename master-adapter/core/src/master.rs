//! The parent: routes inputs to homes, jobs, judge and custody, and drives what is due.

mod declaring;
mod judging;
mod owning;
mod publishing;
mod restoring;
mod signing_again;
mod stopped;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use capability::statements::Home;
use capability::{Envelope, PublicKey, StatementId, Verified, Verifier, encode_cbor};
use mesh_core::{
    CallId, Chunks, CommitId, Custody, CustodyLimits, Declarations, HandoverFailed, Mark, Mono,
    Now, Outbox, ReplyId, Write,
};

use crate::agenda::Agenda;
use crate::attempts::StoppedInquiry;
use crate::authority::Authority;
use crate::homes::{Homes, MAX_BROKERS};
use crate::jobs::{Job, JobState, Jobs, NewJob, SubmitError};
use crate::message::{Action, CancelError, Input, RevokedKey};
use crate::owners::Owners;
use crate::records::{JUDGED_PREFIX, Judgement, RestoreError, offer_key, state_key};
use publishing::Question;
pub use restoring::standing_offers;

/// Below this much free space no job and no result is taken: a commit must never fail for want of it.
pub const MIN_FREE_DISK: u64 = 64 << 20;

/// How often expired offers and receipts are looked for.
const EXPIRY_PERIOD: Duration = Duration::from_secs(60);

/// Receipts that wait for the home. A quarter of a kibibyte each; results are refused beyond.
const MAX_RECEIPTS_WAITING: usize = 100_000;

/// One project's master.
///
/// Call [`handle`](Self::handle), drain [`poll_action`](Self::poll_action) until `None`, sleep until
/// [`next_wake`](Self::next_wake). After a start [`restore`](Self::restore) rebuilds it from the
/// records that it had asked to commit.
#[derive(Debug)]
pub struct Master {
    authority: Authority,
    homes: Homes,
    jobs: Jobs,
    judgements: BTreeMap<StatementId, Judgement>,
    /// Delegations to this node under which receipts were signed.
    delegations: BTreeMap<StatementId, Envelope>,
    custody: Custody,
    calls: BTreeMap<CallId, Question>,
    /// Of each broker of the current epoch, and which epoch that is.
    agendas: BTreeMap<PublicKey, Agenda>,
    agendas_of: u64,
    declarations: Declarations,
    declaring: BTreeMap<CallId, (PublicKey, StatementId)>,
    /// What the project has revoked, after which nothing that this node signs is worth anything.
    revoked: Option<RevokedKey>,
    owners: Owners,
    asking_of_owners: Option<CallId>,
    asking_of_stopped: StoppedInquiry,
    next_call: u64,
    outbox: Outbox<Action>,
    /// What was judged, durably.
    judged: Chunks,
    /// The home that receipts go to, while it is connected.
    receipts_to: Option<PublicKey>,
    durable_with: VecDeque<(CommitId, Vec<Pending>)>,
    disk_full: bool,
    next_expiry: Mono,
    wake: Option<Mono>,
}

/// What becomes usable with a commit.
#[derive(Debug, Clone, Copy)]
enum Pending {
    Home(u64),
    Job(StatementId),
    Custody(Mark),
}

impl Master {
    /// Takes up what a former process left in `records`, which come in the order of their keys, or
    /// begins anew if there are none. `brokers` are the configured ones, the preferred home first.
    ///
    /// # Errors
    /// If a record is not one of this core's, or a statement in it is not sound.
    ///
    /// # Panics
    /// If there are no brokers, more than [`MAX_BROKERS`], or one twice.
    pub fn restore(
        authority: Authority,
        brokers: Vec<PublicKey>,
        records: impl Iterator<Item = (Vec<u8>, Vec<u8>)>,
        verifier: &dyn Verifier,
        now: Now,
    ) -> Result<Self, RestoreError> {
        let unique = brokers.iter().collect::<BTreeSet<_>>().len();
        let counted = (1..=MAX_BROKERS).contains(&brokers.len()) && unique == brokers.len();
        assert!(counted, "a master has 1 to {MAX_BROKERS} brokers, each once");
        let limits = CustodyLimits {
            bundles: MAX_RECEIPTS_WAITING,
            bundles_an_origin: MAX_RECEIPTS_WAITING,
            ..CustodyLimits::default()
        };
        let mut master = Self {
            authority,
            homes: Homes::new(brokers, now),
            jobs: Jobs::default(),
            judgements: BTreeMap::new(),
            delegations: BTreeMap::new(),
            custody: Custody::new(limits),
            calls: BTreeMap::new(),
            agendas: BTreeMap::new(),
            agendas_of: 0,
            declarations: Declarations::default(),
            declaring: BTreeMap::new(),
            revoked: None,
            owners: Owners::default(),
            asking_of_owners: None,
            asking_of_stopped: StoppedInquiry::default(),
            next_call: 0,
            outbox: Outbox::default(),
            judged: Chunks::new(JUDGED_PREFIX),
            receipts_to: None,
            durable_with: VecDeque::new(),
            disk_full: false,
            next_expiry: now.mono,
            wake: None,
        };
        for (key, value) in records {
            master.restore_record(&key, &value, verifier, now)?;
        }
        master.meet_owners();
        master.sign_again(now);
        master.pump(now);
        Ok(master)
    }

    /// Applies `input` at `now`, whose monotonic part never goes backwards.
    pub fn handle(&mut self, input: Input, now: Now) {
        match input {
            Input::BrokerUp { peer } => self.broker_up(peer),
            Input::BrokerDown { peer } => self.broker_down(peer, now),
            Input::Submit { job, reply } => self.submit(job, reply, now),
            Input::Cancel { offer, reply } => self.cancel(offer, reply),
            Input::Declare(changes) => self.declare(changes),
            Input::Answered { call, answer } => self.answered(call, answer, now),
            Input::Handover { from, arrivals, reply } => {
                self.take_over(from, arrivals, reply, now);
            }
            Input::Import { arrivals, reply } => self.import(arrivals, reply, now),
            Input::HandedOver { outcomes } => self.handed_over(outcomes, now),
            Input::Committed(id) => self.committed(id),
            Input::DiskFree { bytes } => self.disk_full = bytes < MIN_FREE_DISK,
            Input::Wake => {}
        }
        self.pump(now);
    }

    /// The next thing for the shell to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.poll()
    }

    /// When to give [`Input::Wake`], if nothing happens before.
    pub fn next_wake(&self) -> Option<Mono> {
        self.wake
    }

    /// In whose name it signs.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// The home of the current epoch, once it is durable.
    pub fn home(&self) -> Option<&Verified<Home>> {
        self.homes.published()
    }

    /// Whether one of the configured brokers is connected.
    pub fn is_up(&self, broker: PublicKey) -> bool {
        self.homes.is_up(broker)
    }

    /// The job with the id `offer`, or that was offered as that, until some minutes after its expiry.
    pub fn job(&self, offer: StatementId) -> Option<&Job> {
        self.jobs.get(offer)
    }

    /// Every job that has not expired.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter()
    }

    /// Whether the project has revoked the key of this node, or itself.
    pub fn is_revoked(&self) -> bool {
        self.revoked.is_some()
    }

    /// The epoch of another home of the project, if somebody else speaks for it with the same key.
    /// Nothing is offered or judged then.
    pub fn superseded_by(&self) -> Option<u64> {
        self.homes.other()
    }

    /// How long the home may be out of reach before a standby takes its place; [`REHOME_AFTER`] unless
    /// told otherwise.
    ///
    /// [`REHOME_AFTER`]: crate::REHOME_AFTER
    pub fn rehome_after(&mut self, outage: Duration) {
        self.homes.rehome_after(outage);
    }

    /// Receipts that the home has not taken yet.
    pub fn receipts_waiting(&self) -> usize {
        self.custody.len()
    }

    // Submitting and cancelling.

    fn submit(&mut self, job: NewJob, reply: ReplyId, now: Now) {
        match self.make_job(job, now) {
            Err(error) => self.outbox.push(Action::Submitted { reply, result: Err(error) }),
            Ok(job) => {
                let offer = job.offer().id();
                let writes = vec![
                    Write::put(offer_key(offer), job.offer().envelope().as_bytes()),
                    Write::put(state_key(offer), encode_cbor(&job.record())),
                ];
                self.jobs.insert(job);
                let told = Action::Submitted { reply, result: Ok(offer) };
                self.commit(writes, vec![told], vec![Pending::Job(offer)]);
            }
        }
    }

    fn make_job(&self, job: NewJob, now: Now) -> Result<Job, SubmitError> {
        if let Some(key) = self.revoked {
            return Err(SubmitError::Revoked(key));
        }
        if let Some(epoch) = self.superseded_by() {
            return Err(SubmitError::Superseded(epoch));
        }
        if self.disk_full {
            return Err(SubmitError::DiskFull);
        }
        if !self.jobs.has_room(job.tasks, job.replicas) {
            return Err(SubmitError::TooMany);
        }
        Job::make(job, &self.authority, now, |offer| self.jobs.get(offer).is_some())
    }

    fn cancel(&mut self, offer: StatementId, reply: ReplyId) {
        let result = match self.jobs.get_mut(offer) {
            None => Err(CancelError::Unknown),
            Some(job) if job.state() != JobState::Open => Err(CancelError::Over),
            Some(job) => {
                job.set_state(JobState::Cancelled);
                Ok(vec![Write::put(state_key(offer), encode_cbor(&job.record()))])
            }
        };
        match result {
            Err(error) => self.outbox.push(Action::Cancelled { reply, result: Err(error) }),
            Ok(writes) => {
                let told = Action::Cancelled { reply, result: Ok(()) };
                self.commit(writes, vec![told], Vec::new());
            }
        }
    }

    // Durability.

    fn commit(&mut self, mut writes: Vec<Write>, released: Vec<Action>, mut pending: Vec<Pending>) {
        let (of_custody, mark) = self.custody.writes();
        writes.extend(of_custody);
        pending.push(Pending::Custody(mark));
        let id = self.outbox.commit(writes, released);
        self.durable_with.push_back((id, pending));
    }

    fn commit_custody(&mut self) {
        if self.custody.has_writes() {
            self.commit(Vec::new(), Vec::new(), Vec::new());
        }
    }

    fn handed_over(&mut self, outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>, now: Now) {
        for (id, taken) in outcomes {
            match taken {
                Ok(()) => self.custody.handed_over(id, now),
                Err(_) => self.custody.not_handed_over(id, now),
            }
        }
        self.commit_custody();
    }

    fn committed(&mut self, id: CommitId) {
        while self.durable_with.front().is_some_and(|(waiting, _)| *waiting <= id) {
            let (_, pending) = self.durable_with.pop_front().expect("front was just seen");
            for pending in pending {
                match pending {
                    Pending::Home(epoch) => self.homes.made_durable(epoch),
                    Pending::Custody(mark) => self.custody.made_durable(mark),
                    Pending::Job(offer) => {
                        if let Some(job) = self.jobs.get_mut(offer) {
                            job.made_durable();
                        }
                    }
                }
            }
        }
        self.outbox.committed(id);
    }

    // What is due.

    fn pump(&mut self, now: Now) {
        self.expire(now);
        self.tell_of_keys(now);
        if !self.is_revoked() && self.superseded_by().is_none() {
            if let Some(home) = self.homes.successor(&self.authority, now) {
                self.begin_epoch(home, 0, now);
            }
            self.hand_over(now);
            self.ask_what_is_due(now);
            self.ask_of_owners(now);
            self.ask_of_stopped(now);
        }
        self.note_what_is_due(now);
        self.wake = self.next_due(now.mono).filter(|at| *at > now.mono).min();
    }

    fn expire(&mut self, now: Now) {
        if now.mono < self.next_expiry {
            return;
        }
        self.next_expiry = now.mono + EXPIRY_PERIOD;
        let jobs = &mut self.jobs;
        let ended = jobs.expire(now.wall);
        if !ended.is_empty() {
            self.judgements.retain(|_, judgement| jobs.get(judgement.offer).is_some());
        }
        self.custody.expire(now);
        self.custody.tidy();
        self.commit_custody();
    }

    fn hand_over(&mut self, now: Now) {
        let home = self.connected_home();
        if std::mem::replace(&mut self.receipts_to, home) != home {
            self.custody.reroute();
        }
        for handover in self.custody.due(now, |_| home) {
            self.outbox.push(Action::HandOver(handover));
        }
    }

    fn connected_home(&self) -> Option<PublicKey> {
        let home = self.homes.published()?.home;
        self.homes.is_up(home).then_some(home)
    }

    /// Everything that only time can make due.
    fn next_due(&self, now: Mono) -> impl Iterator<Item = Mono> {
        let home = self.connected_home();
        let connected = self.agendas.iter().filter(|(broker, _)| self.homes.is_up(**broker));
        let of_jobs = connected.filter_map(move |(_, agenda)| agenda.next_wake(now));
        let custody = self.custody.next_wake().filter(|_| home.is_some());
        let told = self.declarations.next_wake(now);
        let owners = self.owners.next_wake().filter(|_| home.is_some());
        let open = self.jobs.under_way().any(|job| job.state() == JobState::Open);
        let stopped = self.asking_of_stopped.next_wake().filter(|_| home.is_some() && open);
        let others =
            [self.homes.next_wake(), custody, told, owners, stopped, Some(self.next_expiry)];
        of_jobs.chain(others.into_iter().flatten())
    }
}
