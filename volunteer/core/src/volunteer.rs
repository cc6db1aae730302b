//! The parent: routes inputs, and after each does whatever has become possible or due.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use capability::statements::Ownership;
use capability::{
    Capabilities, CborError, EncryptionKey, Policy, ProjectKey, PublicKey, Sealer, Signer,
    StatementError, StatementId, Timestamp, Verified, Verifier,
};
use mesh_core::{
    Answer, Ask, BundleError, CUSTODY_PREFIX, CallFailed, CallId, CommitId, Custody, CustodyLimits,
    Declarations, Mark, Mono, Now, Outbox, Write,
};
use thiserror::Error;

use crate::action::{Action, Idle, Input, News};
use crate::advertising::Advertising;
use crate::availability::{AVAILABILITY_PREFIX, Availability};
use crate::buffer::Buffer;
use crate::checks::{CHECK_PREFIX, Checks};
use crate::faults::Faults;
use crate::fetching::Fetching;
use crate::giving_way::Yielding;
use crate::held::Held;
use crate::held::LEASE_PREFIX;
use crate::history::{HISTORY_PREFIX, History};
use crate::key_changes::KEY_CHANGE_PREFIX;
use crate::keys::Keys;
use crate::leases::{Due, Leases};
use crate::ledger::{Ledger, LedgerError, RECEIPT_PREFIX, TOTAL_PREFIX};
use crate::offers::Offers;
use crate::owner::{DRAIN_PREFIX, FIRST_BROKER, PAUSE_PREFIX, Quiet, Wishes};
use crate::presence::Presence;
use crate::queue::{AHEAD_PREFIX, BROUGHT_PREFIX, Queue};
use crate::registrations::{REGISTRATION_PREFIX, Registrations};
use crate::resuming::{RESUMING_PREFIX, Resuming};
use crate::returning::Unconfirmed;
use crate::rhythm::{RHYTHM_PREFIX, Rhythm};
use crate::shares::{SHARE_PREFIX, Shares};
use crate::traffic::{TRAFFIC_PREFIX, Traffic};
use crate::trust::{Pin, Trust};
use crate::turned_away::TurnedAway;
use crate::work::Work;

/// Bytes of the disk that stay free for its owner. A task is taken if beyond that there is room for
/// it and for all that is in hand; below it the sandbox starts no step.
pub const DISK_RESERVE: u64 = 256 << 20;

/// How long claims and renewals hold: through the retries of [`crate::claiming`], and not longer.
pub(crate) const REQUEST_LIFETIME: Duration = Duration::from_secs(60);

/// Who a volunteer is: in whose name it signs, and how it keeps secrets.
#[derive(Clone)]
pub struct Identity {
    /// Signs as its node key.
    pub signer: Arc<dyn Signer>,
    /// What others seal to; its secret half stays in the shell.
    pub encryption: EncryptionKey,
    /// Seals reports.
    pub sealer: Arc<dyn Sealer>,
}

/// One volunteer. See the crate's documentation for its life.
pub struct Volunteer {
    pub(crate) me: PublicKey,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) encryption: EncryptionKey,
    pub(crate) sealer: Arc<dyn Sealer>,
    /// As the shell has measured it.
    pub(crate) measured: Option<Capabilities>,
    /// The same with what checks have found: what the ad says.
    pub(crate) machine: Option<Capabilities>,
    /// Those of the owner's pins that count.
    pub(crate) trust: Trust,
    /// All of them, and whether a project has several.
    pub(crate) pinned: Vec<Pin>,
    pub(crate) rivals: bool,
    pub(crate) shares: Shares,
    pub(crate) rhythm: Rhythm,
    pub(crate) policy: Policy,
    pub(crate) registrations: Registrations,
    pub(crate) checks: Checks,
    pub(crate) keys: Keys,
    pub(crate) ownership: Option<Verified<Ownership>>,
    pub(crate) presence: Presence,
    pub(crate) turned_away: TurnedAway,
    pub(crate) declarations: Declarations,
    /// Those that are up; the first is the primary.
    pub(crate) brokers: Vec<PublicKey>,
    /// The primary, or the last one there was.
    pub(crate) known_primary: Option<PublicKey>,
    pub(crate) ad: Advertising,
    calls: BTreeMap<CallId, (PublicKey, Call)>,
    next_call: u64,
    last_number: u64,
    pub(crate) fetching: Fetching,
    pub(crate) offers: Offers,
    pub(crate) work: Work,
    pub(crate) leases: Leases,
    /// The same, as they are durable.
    pub(crate) held: Held,
    /// Work that was brought or fetched ahead, and is not done.
    pub(crate) queue: Queue,
    pub(crate) buffer: Buffer,
    pub(crate) availability: Availability,
    pub(crate) resuming: Resuming,
    pub(crate) custody: Custody,
    /// Of results that wait for their receipts, the brokers that have taken them last.
    pub(crate) takers: BTreeMap<StatementId, PublicKey>,
    pub(crate) unconfirmed: Unconfirmed,
    pub(crate) ledger: Ledger,
    pub(crate) history: History,
    pub(crate) outbox: Outbox<Action>,
    /// What of custody is durable with which commit.
    landing: VecDeque<(CommitId, Mark)>,
    pub(crate) wishes: Wishes,
    /// Whether this is outside of the hours in which the machine works.
    pub(crate) off_duty: bool,
    /// Projects outside of the hours that the owner lets them have.
    pub(crate) off_hours: BTreeSet<ProjectKey>,
    /// Why the network is left alone, if it is.
    pub(crate) quiet: Option<Quiet>,
    pub(crate) yielding: Yielding,
    /// What has passed in the month in which something passed last.
    pub(crate) traffic: Traffic,
    /// What of it jobs that run have passed, down and up.
    pub(crate) passing: BTreeMap<StatementId, (u64, u64)>,
    /// Bytes that may pass in a month.
    pub(crate) quota: Option<u64>,
    pub(crate) drained: bool,
    pub(crate) disk_free: u64,
    pub(crate) faults: Faults,
    pub(crate) idle: Option<Option<Idle>>,
    pub(crate) now: Now,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Call {
    Advertise,
    Pull,
    Claim,
    Renew(Due),
    Registrations(Vec<ProjectKey>),
    KeyChanges,
    Declare(StatementId),
    Vouch,
}

/// A record of a former process cannot be read.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A bundle in custody.
    #[error("a result in custody")]
    Custody(#[from] BundleError),
    /// A receipt or a total.
    #[error("the ledger")]
    Ledger(#[from] LedgerError),
    /// A lease, what a check has found, a pause, a drain, traffic, what ran, a project's account, or when its builders ran.
    #[error(
        "malformed record of a lease, a check, a pause or a drain, the traffic, the history or a project's share"
    )]
    Record(#[from] CborError),
    /// A lease, a registration, or a key change.
    #[error("the record of a lease, a registration or a revoked key")]
    Statement(#[from] StatementError),
    /// A newer version may have written it.
    #[error("a record of the unknown kind {0}")]
    Kind(u8),
}

impl Volunteer {
    /// A volunteer with nothing in its hands.
    pub fn new(identity: Identity) -> Self {
        let Identity { signer, encryption, sealer } = identity;
        Self {
            me: signer.public(),
            signer,
            encryption,
            sealer,
            measured: None,
            machine: None,
            trust: Trust::default(),
            pinned: Vec::new(),
            rivals: false,
            shares: Shares::default(),
            rhythm: Rhythm::default(),
            policy: Policy::default(),
            registrations: Registrations::default(),
            checks: Checks::default(),
            keys: Keys::default(),
            ownership: None,
            presence: Presence::default(),
            turned_away: TurnedAway::default(),
            declarations: Declarations::default(),
            brokers: Vec::new(),
            known_primary: None,
            ad: Advertising::default(),
            calls: BTreeMap::new(),
            next_call: 0,
            last_number: 0,
            fetching: Fetching::default(),
            offers: Offers::default(),
            work: Work::default(),
            leases: Leases::default(),
            held: Held::default(),
            queue: Queue::default(),
            buffer: Buffer::default(),
            availability: Availability::default(),
            resuming: Resuming::default(),
            custody: Custody::new(CustodyLimits::default()),
            takers: BTreeMap::new(),
            unconfirmed: Unconfirmed::default(),
            ledger: Ledger::default(),
            history: History::default(),
            outbox: Outbox::default(),
            landing: VecDeque::new(),
            wishes: Wishes::default(),
            off_duty: false,
            off_hours: BTreeSet::new(),
            quiet: None,
            yielding: Yielding::default(),
            traffic: Traffic::default(),
            passing: BTreeMap::new(),
            quota: None,
            drained: false,
            disk_free: u64::MAX,
            faults: Faults::default(),
            idle: None,
            now: Now { mono: Mono::default(), wall: Timestamp::default() },
        }
    }

    /// Takes up what a former process had made durable: results in custody are sent again, leases
    /// whose work died with it are released unless [`Input::TakeUp`] is to say so, checks that have run need not run again.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub fn restore(
        identity: Identity,
        records: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>,
        verifier: &dyn Verifier,
    ) -> Result<Self, RestoreError> {
        let mut this = Self::new(identity);
        for (key, value) in records {
            match key.first().copied().unwrap_or_default() {
                CUSTODY_PREFIX => this.custody.restore(&key, &value, verifier)?,
                RECEIPT_PREFIX | TOTAL_PREFIX => this.ledger.restore(&key, &value, verifier)?,
                REGISTRATION_PREFIX => this.registrations.restore(&value, verifier)?,
                CHECK_PREFIX => this.checks.restore(&value)?,
                KEY_CHANGE_PREFIX => this.keys.restore(&value, verifier)?,
                RESUMING_PREFIX => this.resuming.restore(&value, verifier)?,
                LEASE_PREFIX => this.held.restore(&key, &value)?,
                BROUGHT_PREFIX | AHEAD_PREFIX => this.queue.restore(&key, &value, verifier)?,
                AVAILABILITY_PREFIX => this.availability.restore(&value)?,
                HISTORY_PREFIX => this.history.restore(&key, &value)?,
                PAUSE_PREFIX => this.wishes.restore_pause(&value)?,
                DRAIN_PREFIX => this.wishes.restore_drain(&value)?,
                TRAFFIC_PREFIX => this.traffic = Traffic::restore(&value)?,
                SHARE_PREFIX => this.shares.restore(&value)?,
                RHYTHM_PREFIX => this.rhythm.restore(&value)?,
                unknown => return Err(RestoreError::Kind(unknown)),
            }
        }
        this.assemble_queue();
        this.forget_what_was_judged();
        this.give_back_what_was_held();
        Ok(this)
    }

    /// Applies `input` at `now`, whose monotonic part never goes backwards.
    pub fn handle(&mut self, input: Input, now: Now) {
        self.now = now;
        self.presence.at(now);
        self.shares.at(now.mono);
        self.keep_rhythm();
        self.note_availability();
        match input {
            Input::BrokerUp { peer } => self.broker_up(peer),
            Input::BrokerDown { peer } => self.broker_down(peer),
            Input::Answered { call, answer } => self.answered(call, answer),
            Input::Handover { bundles, reply, .. } => self.take_over(bundles, reply),
            Input::Receipts { receipts, reply } => self.take_receipts(receipts, reply),
            Input::Brought { work, reply } => self.take_brought(*work, reply),
            Input::HandedOver { to, outcomes } => self.handed_over(to, outcomes),
            Input::Pins(pins) => self.pins_told(pins),
            Input::Policy(policy) => self.policy_changed(policy),
            Input::Owner(ownership) => self.owned(ownership),
            Input::Offline(offline) => self.presence.offline = offline,
            Input::WorkBuffer(wanted) => self.buffer_changed(wanted),
            Input::Stored(packages) => self.packages_stored(&packages),
            Input::Declare(changes) => self.declarations.set(changes),
            Input::Capabilities(machine) => self.machine_changed(machine),
            Input::TakeUp(leases) => self.take_up(&leases),
            Input::Checkpointed { lease } => self.checkpointed(lease),
            Input::Fetched { hash, fetched } => self.package_fetched(hash, fetched.is_ok()),
            Input::FetchCut { hash } => self.work.fetch_cut(hash),
            Input::Passing { lease, down, up } => self.passing(lease, down, up),
            Input::Ran(runs) => self.ran(runs),
            Input::Checked(end) => self.checked(end),
            Input::Committed(id) => self.committed(id),
            Input::DiskFree(bytes) => self.disk_measured(bytes),
            Input::Pause(pause) => self.pause(pause),
            Input::Resume => self.resume(),
            Input::OnDuty => self.off_duty = false,
            Input::OffDuty => self.off_duty = true,
            Input::OffHours(projects) => self.hours_changed(projects),
            Input::Quiet(quiet) => self.quiet = quiet,
            Input::Quota(quota) => self.quota_changed(quota),
            Input::GiveWay(preferences) => self.give_way(preferences),
            Input::Sampled(sample) => self.sampled(sample),
            Input::Drain { until } => self.drain(until),
            Input::Stop => self.stop(),
            Input::Quit => self.quit(),
            Input::Wake => {}
        }
        self.advance();
    }

    /// The next thing to do.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.outbox.poll()
    }

    /// When [`Input::Wake`] is due at the latest.
    pub fn next_wake(&self) -> Option<Mono> {
        let now = self.now.mono;
        let mut wakes = vec![self.custody.next_wake(), self.work.next_wake(now)];
        wakes.push(self.checks.next_wake(now));
        wakes.push(self.shares.next_wake());
        wakes.push(self.wishes.next_end().map(|end| self.now.mono_at(end)));
        wakes.push(self.hopes_for_broker().then_some(FIRST_BROKER));
        if self.primary().is_some() {
            wakes.push(self.leases.next_wake(now));
            wakes.push(self.offers.next_wake(self.now));
            wakes.push(self.faults.next_wake(now));
            wakes.push(self.fetching.next_wake());
            wakes.push(self.buffer_wake());
            wakes.push(self.ad.next_wake());
            wakes.push(self.registrations.next_wake());
            wakes.push(self.keys.next_wake(now));
            wakes.push(self.declarations.next_wake(now));
        }
        let leases = self.work.jobs().map(|(_, job)| self.now.mono_at(job.next_end()));
        wakes.push(leases.filter(|at| *at > now).min());
        wakes.push(self.queue_wake());
        wakes.push(self.faults.next_wake(now).filter(|_| !self.queue.is_empty()));
        wakes.push(self.queued_rests_until().map(|end| self.now.mono_at(end)));
        // Whatever was due at `now` has been done, or waits for an input that will come.
        wakes.into_iter().flatten().filter(|at| *at > now).min()
    }

    fn advance(&mut self) {
        self.expire_wishes();
        self.look_for_better_lists();
        self.expire();
        self.record_shares();
        self.run_checks();
        self.advertise();
        self.ask_registrations();
        self.ask_about_keys();
        self.declare();
        self.fetch_packages();
        self.begin_queued();
        self.start_jobs();
        self.hold_jobs();
        self.leave_what_stands_still();
        self.renew();
        self.fetch_work();
        self.hand_over();
        self.tell_idle();
        self.tell_drained();
    }

    // Brokers and calls.

    /// The broker that matches us, if one is up.
    pub fn primary(&self) -> Option<PublicKey> {
        self.brokers.first().copied()
    }

    /// Whether it asks for leases that hold while it is out of reach.
    pub fn is_seldom_online(&self) -> bool {
        self.wants_offline()
    }

    /// The brokers that are up, the primary first.
    pub fn brokers(&self) -> &[PublicKey] {
        &self.brokers
    }

    fn broker_up(&mut self, peer: PublicKey) {
        if self.brokers.contains(&peer) {
            return;
        }
        self.brokers.push(peer);
        self.presence.came(self.now);
        self.keys.broker_up(peer, self.now.mono);
        self.declarations.broker_up(peer);
        if self.brokers.len() == 1 {
            self.primary_changed();
        }
    }

    fn broker_down(&mut self, peer: PublicKey) {
        let was_primary = self.primary() == Some(peer);
        let was_up = self.brokers.contains(&peer);
        self.brokers.retain(|broker| *broker != peer);
        if was_up && self.brokers.is_empty() {
            self.presence.went(self.now);
        }
        self.keys.broker_down(peer);
        self.turned_away.broker_down(peer);
        self.declarations.broker_down(peer);
        let lost: Vec<_> =
            self.calls.iter().filter(|(_, (to, _))| *to == peer).map(|(id, _)| *id).collect();
        for call in lost {
            self.answered(call, Err(CallFailed("the connection was lost".to_owned())));
        }
        if was_primary {
            self.primary_changed();
        }
    }

    pub(crate) fn primary_changed(&mut self) {
        let to = self.primary();
        self.news(News::PrimaryChanged { to });
        self.ad.drop_taken();
        self.fetching.stop_pulling();
        let Some(primary) = to else { return };
        self.known_primary = Some(primary);
        self.custody.send_again(primary);
        self.leases.hurry(self.now.mono);
        self.work.try_packages_anew();
        self.fetching.hurry();
        self.registrations.hurry();
    }

    /// Asks the primary; nothing happens without one.
    pub(crate) fn ask(&mut self, call: Call, ask: Ask) -> Option<CallId> {
        let to = self.primary()?;
        Some(self.ask_of(to, call, ask))
    }

    pub(crate) fn ask_of(&mut self, to: PublicKey, call: Call, ask: Ask) -> CallId {
        let id = CallId(self.next_call);
        self.next_call += 1;
        self.calls.insert(id, (to, call));
        self.outbox.push(Action::Ask { to, call: id, ask });
        id
    }

    fn answered(&mut self, id: CallId, answer: Result<Answer, CallFailed>) {
        let Some((to, call)) = self.calls.remove(&id) else { return };
        let refusal = match &answer {
            Ok(Answer::Refused(refusal)) => Some(refusal.clone()),
            _ => None,
        };
        match call {
            Call::Advertise => self.advertised(to, &answer),
            Call::Pull => self.pulled(id, answer),
            Call::Claim => self.claimed(id, answer),
            Call::Renew(due) => self.renewed(&due, answer),
            Call::Registrations(projects) => self.registrations_told(projects, answer),
            Call::KeyChanges => self.told_about_keys(to, answer),
            Call::Declare(change) => self.declared(to, change, answer),
            Call::Vouch => self.owner_shown(to, &answer),
        }
        if let Some(refusal) = refusal {
            self.heed(to, &refusal);
        }
    }

    // Durability, and numbers.

    /// Emits `writes`, and withholds `released` until they are durable.
    pub(crate) fn commit(&mut self, writes: Vec<Write>, released: Vec<Action>) -> CommitId {
        // A result must not be lost with its lease: it comes first, should they need two commits.
        let (mut all, mark) = self.custody.writes();
        all.extend(writes);
        all.extend(self.history.writes());
        let id = self.outbox.commit(all, released);
        self.landing.push_back((id, mark));
        id
    }

    fn committed(&mut self, id: CommitId) {
        self.outbox.committed(id);
        while let Some((_, mark)) = self.landing.pop_front_if(|(commit, _)| *commit <= id) {
            self.custody.made_durable(mark);
        }
        self.queue.made_durable(id);
        for lease in self.unconfirmed.confirmed(id) {
            self.work.made_durable(lease);
        }
    }

    /// A number above all before it, also those of former processes unless the clock was set back.
    pub(crate) fn number(&mut self) -> u64 {
        self.last_number = self.now.wall.0.max(self.last_number + 1);
        self.last_number
    }

    pub(crate) fn news(&mut self, news: News) {
        self.outbox.push(Action::News(news));
    }
}
