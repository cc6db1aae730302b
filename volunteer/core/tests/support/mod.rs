//! A volunteer on a bench: the test plays its shell, its brokers and its masters.
#![allow(dead_code, reason = "shared by several test crates")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use capability::statements::{
    Claim, Credit, Delegation, Ended, Home, JobResult, Lease, Offer, Package, Receipt, Renewal,
    Report, TaskId, USUAL_PRIORITY, Verdict,
};
use capability::{
    BlobHash, BlobKey, Capabilities, Clause, DecryptionKey, Ed25519, Facts, HpkeOpener, HpkeSealer,
    Invalid, JobSpec, Kind, Payload, Platform, ProjectKey, PublicKey, Requirements, Resource,
    Resources, Runtime, RuntimeFacts, SecretKey, Signer, StatementId, Step, Timestamp, Verified,
};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, CallId, Cargo, Commit, Handover, HandoverAnswer,
    HandoverFailed, KeyChange, Mono, Now, Offered, ReplyId, Wants, Write,
};
use serde::{Deserialize, Serialize};
use volunteer_core::{Action, Identity, Input, News, Order, Outcome, Pin, Volunteer};

pub const START: Timestamp = Timestamp(1_800_000_000_000);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub fn key(n: u8) -> Arc<SecretKey> {
    Arc::new(SecretKey::from_seed(&[n; 32]))
}

/// The volunteer's key, the brokers', the adapter's and the project's.
pub const ME: u8 = 1;
pub const BROKER: u8 = 2;
pub const OTHER_BROKER: u8 = 3;
pub const ADAPTER: u8 = 4;
pub const PROJECT: u8 = 5;

pub fn peer(n: u8) -> PublicKey {
    key(n).public()
}

/// The key to which the adapter has reports sealed.
pub fn adapter() -> DecryptionKey {
    DecryptionKey::from_seed(&[ADAPTER; 32])
}

/// Who the volunteer is, in each of its processes.
pub fn identity() -> Identity {
    static PROCESSES: AtomicU8 = AtomicU8::new(0);
    let seed = [PROCESSES.fetch_add(1, Ordering::Relaxed); 32];
    Identity {
        signer: key(ME),
        encryption: DecryptionKey::from_seed(&[ME; 32]).public(),
        sealer: Arc::new(HpkeSealer::new(seed)),
    }
}

pub fn project() -> ProjectKey {
    peer(PROJECT).into()
}

pub fn pin() -> Pin {
    Pin { name: "sweep".into(), runtimes: [Runtime::Wasm].into(), ..Pin::of(project()) }
}

pub fn machine(cores: u32) -> Capabilities {
    let runtime = RuntimeFacts { strength: String::new(), facts: Facts::new() };
    Capabilities {
        platform: Platform::new("linux", "x86_64").expect("words"),
        resources: Resources { cores, memory: 8 << 30, disk: 8 << 30 },
        runtimes: [(Runtime::Native, runtime.clone()), (Runtime::Wasm, runtime)].into(),
    }
}

/// An offer of `tasks` tasks with `cores` each, in the wasm runtime, from the adapter.
pub fn offered(name: &str, tasks: u32, cores: u64) -> Offered {
    offered_in(Runtime::Wasm, name, tasks, cores)
}

pub fn offered_in(runtime: Runtime, name: &str, tasks: u32, cores: u64) -> Offered {
    offered_by(PROJECT, runtime, name, tasks, cores)
}

/// An offer of the project with that key, whose adapter is the same.
pub fn offered_by(by: u8, runtime: Runtime, name: &str, tasks: u32, cores: u64) -> Offered {
    let expires = START + DAY;
    let delegation = Delegation {
        node: peer(ADAPTER),
        encryption: adapter().public(),
        expires: START + 30 * DAY,
    };
    let delegation = Verified::sign(delegation, &*key(by)).envelope().clone();
    let offer = Offer {
        project: peer(by).into(),
        name: name.into(),
        builder: "b".into(),
        tasks,
        replicas: 1,
        package: Package { hash: BlobHash::of(name.as_bytes()), size: 1000 },
        private: None,
        requirements: Requirements {
            runtimes: vec![runtime],
            clauses: vec![Clause::Donates { resource: Resource::Cores, amount: cores }],
            rank: Vec::new(),
        },
        job: JobSpec {
            environment: [].into(),
            steps: vec![Step { name: "run".into(), run: vec!["a.wasm".into()] }],
            limits: capability::Limits::default(),
            artifacts: Vec::new(),
            tap: None,
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        offline_ms: 0,
        priority: USUAL_PRIORITY,
        issued: START,
        delegation: delegation.clone(),
        expires,
    };
    let home = Home {
        project: peer(by).into(),
        epoch: 1,
        home: peer(BROKER),
        standbys: Vec::new(),
        delegation,
        expires,
    };
    let (offer, home) =
        (Verified::sign(offer, &*key(ADAPTER)), Verified::sign(home, &*key(ADAPTER)));
    Offered { offer, home, registration: None, others: None, home_unseen: None }
}

pub fn outcome(ended: Ended) -> Outcome {
    let (started, finished) = (START, START);
    Outcome {
        ended,
        steps: vec![],
        artifacts: vec![],
        blobs: vec![],
        key: BlobKey::from_bytes([7; 32]),
        leftover: vec![],
        system: String::new(),
        started,
        finished,
        resumed: 0,
        network_down: 0,
        network_up: 0,
    }
}

pub struct Bench {
    pub volunteer: Volunteer,
    pub now: Now,
    /// Everything that has come out and was not asked for yet.
    pub seen: VecDeque<Action>,
    /// What the disk would hold after a crash.
    pub disk: std::collections::BTreeMap<Vec<u8>, Vec<u8>>,
    /// Commits are durable at once unless this is set.
    pub slow_disk: bool,
    /// What all brokers know about keys; they answer at once unless this is `None`.
    pub said: Option<Vec<KeyChange>>,
    commits: VecDeque<Commit>,
    next_reply: u64,
}

impl Bench {
    pub fn new() -> Self {
        Self::around(Volunteer::new(identity()), Now { mono: Mono::default(), wall: START })
    }

    /// A volunteer of `cores` cores with the usual pin, at its broker.
    pub fn ready(cores: u32) -> Self {
        let mut bench = Self::new();
        bench.handle(Input::Capabilities(machine(cores)));
        bench.handle(Input::Pins(vec![pin()]));
        bench.connect(BROKER);
        bench
    }

    fn around(volunteer: Volunteer, now: Now) -> Self {
        Self {
            volunteer,
            now,
            seen: VecDeque::new(),
            disk: [].into(),
            slow_disk: false,
            said: Some(Vec::new()),
            commits: VecDeque::new(),
            next_reply: 0,
        }
    }

    /// `kill -9`, and a new process some seconds later that finds what is durable.
    pub fn restart(self) -> Self {
        self.restart_as(2, vec![pin()])
    }

    /// The same of a machine of so many cores that trusts these projects.
    pub fn restart_as(self, cores: u32, pins: Vec<Pin>) -> Self {
        let records = self.disk.clone();
        let volunteer = Volunteer::restore(identity(), records, &Ed25519).expect("our own records");
        let mut bench = Self::around(volunteer, self.now.after(Duration::from_secs(5)));
        bench.disk = self.disk;
        bench.drain();
        bench.handle(Input::Capabilities(machine(cores)));
        bench.handle(Input::Pins(pins));
        bench
    }

    pub fn handle(&mut self, input: Input) {
        self.volunteer.handle(input, self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(action) = self.volunteer.poll_action() {
            match action {
                Action::Commit(commit) => self.commits.push_back(commit),
                Action::Ask { call, ask: Ask::KeyChanges { of }, .. } if self.said.is_some() => {
                    self.tell_about_keys(call, &of);
                }
                action => self.seen.push_back(action),
            }
            if !self.slow_disk {
                self.finish_commits();
            }
        }
    }

    fn tell_about_keys(&mut self, call: CallId, of: &[PublicKey]) {
        let said = self.said.iter().flatten().filter(|change| of.contains(&change.signer()));
        let answer = Ok(Answer::KeyChanges(said.cloned().collect()));
        self.volunteer.handle(Input::Answered { call, answer }, self.now);
    }

    /// The questions about keys that brokers were asked, when they do not answer at once.
    pub fn key_questions(&mut self) -> Vec<(CallId, PublicKey, Vec<PublicKey>)> {
        let mut all = Vec::new();
        while let Some(question) = self.find(|action| match action {
            Action::Ask { call, to, ask: Ask::KeyChanges { of } } => Some((*call, *to, of.clone())),
            _ => None,
        }) {
            all.push(question);
        }
        all
    }

    pub fn finish_commits(&mut self) {
        while let Some(Commit { id, writes }) = self.commits.pop_front() {
            for write in writes {
                match write {
                    Write::Put { key, value } => drop(self.disk.insert(key, value)),
                    Write::Delete { key } => drop(self.disk.remove(&key)),
                }
            }
            self.volunteer.handle(Input::Committed(id), self.now);
            self.drain();
        }
    }

    /// Time passes, and the shell wakes the core whenever it wants to be woken.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        while let Some(at) = self.volunteer.next_wake().filter(|at| *at <= end.mono) {
            assert!(at > self.now.mono, "the core wants to be woken at once, again and again");
            self.now = self.now.after(at - self.now.mono);
            self.handle(Input::Wake);
        }
        self.now = end;
        self.handle(Input::Wake);
    }

    pub fn connect(&mut self, broker: u8) {
        self.handle(Input::BrokerUp { peer: peer(broker) });
        let (call, ask) = self.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
        let Ask::Advertise { ad } = ask else { unreachable!() };
        assert_eq!(ad.broker, peer(broker));
        self.answer(call, Answer::Done);
    }

    pub fn answer(&mut self, call: CallId, answer: Answer) {
        self.handle(Input::Answered { call, answer: Ok(answer) });
    }

    pub fn fail(&mut self, call: CallId) {
        self.handle(Input::Answered { call, answer: Err(CallFailed("timed out".into())) });
    }

    /// The first action that `wanted` chooses; it must have come out.
    pub fn take<T>(&mut self, wanted: impl Fn(&Action) -> Option<T>) -> T {
        self.find(wanted).unwrap_or_else(|| panic!("not among {:#?}", self.seen))
    }

    pub fn find<T>(&mut self, wanted: impl Fn(&Action) -> Option<T>) -> Option<T> {
        let at = self.seen.iter().position(|action| wanted(action).is_some())?;
        let action = self.seen.remove(at).expect("just found");
        wanted(&action)
    }

    pub fn take_ask(&mut self, wanted: impl Fn(&Ask) -> bool) -> (CallId, Ask) {
        self.take(|action| match action {
            Action::Ask { call, ask, .. } if wanted(ask) => Some((*call, ask.clone())),
            _ => None,
        })
    }

    /// The newest pull; older ones are dropped, as a broker does.
    pub fn take_pull(&mut self) -> (CallId, Wants) {
        let mut newest = None;
        while let Some(pull) = self.find_pull() {
            newest = Some(pull);
        }
        newest.expect("a pull")
    }

    pub fn find_pull(&mut self) -> Option<(CallId, Wants)> {
        self.find(|action| match action {
            Action::Ask { call, ask: Ask::Pull { wants }, .. } => Some((*call, wants.clone())),
            _ => None,
        })
    }

    /// The claim of one offer.
    pub fn take_claim(&mut self) -> (CallId, Verified<Claim>) {
        let (call, mut claims) = self.take_claims();
        assert_eq!(claims.len(), 1, "claims of one offer");
        (call, claims.remove(0))
    }

    /// The claims of one question.
    pub fn take_claims(&mut self) -> (CallId, Vec<Verified<Claim>>) {
        let (call, ask) = self.take_ask(|ask| matches!(ask, Ask::Claim { .. }));
        let Ask::Claim { claims, .. } = ask else { unreachable!() };
        (call, claims)
    }

    pub fn claims(&mut self) -> bool {
        self.find(|it| matches!(it, Action::Ask { ask: Ask::Claim { .. }, .. }).then_some(()))
            .is_some()
    }

    pub fn take_order(&mut self) -> Order {
        self.take(|action| match action {
            Action::Run(order) => Some(order.clone()),
            _ => None,
        })
    }

    pub fn take_handover(&mut self) -> (PublicKey, Bundle) {
        self.find_handover().expect("a handover")
    }

    /// All bundles of the next handover.
    pub fn take_handovers(&mut self) -> Vec<Bundle> {
        self.take(|action| match action {
            Action::HandOver(handover) => Some(handover.bundles.clone()),
            _ => None,
        })
    }

    pub fn find_handover(&mut self) -> Option<(PublicKey, Bundle)> {
        self.find(|action| match action {
            Action::HandOver(Handover { to, bundles }) => Some((*to, bundles[0].clone())),
            _ => None,
        })
    }

    pub fn news(&mut self) -> Vec<News> {
        let mut all = Vec::new();
        while let Some(news) = self.find(|action| match action {
            Action::News(news) => Some(news.clone()),
            _ => None,
        }) {
            all.push(news);
        }
        all
    }

    /// Grants what `claim` asks for, numbered from `first`.
    pub fn grant(
        &mut self,
        call: CallId,
        claim: &Claim,
        first: u32,
        count: u16,
    ) -> Vec<StatementId> {
        let leases = leases(claim, first, count);
        let ids = leases.iter().map(Verified::id).collect();
        self.answer(call, Answer::Leases(leases));
        ids
    }

    /// From the outstanding pull to the claim, which is not answered.
    pub fn claim_of(&mut self, offered: &Offered) -> (CallId, Verified<Claim>) {
        let (call, _) = self.take_pull();
        self.answer(call, Answer::Offers(vec![offered.clone()]));
        self.take_claim()
    }

    /// From the outstanding pull to running jobs; gives their orders.
    pub fn run_offer(&mut self, offered: &Offered) -> Vec<Order> {
        let (call, claim) = self.claim_of(offered);
        let leases = self.grant(call, &claim, 0, claim.count);
        self.fetched(&offered.offer);
        leases.iter().map(|_| self.take_order()).collect()
    }

    pub fn fetched(&mut self, offer: &Offer) {
        let hash = offer.package.hash;
        self.take(|it| {
            matches!(it, Action::Fetch { hash: found, .. } if *found == hash).then_some(())
        });
        self.handle(Input::Fetched { hash, fetched: Ok(()) });
    }

    /// A run has ended, and no other.
    pub fn ran(&mut self, lease: StatementId, outcome: Outcome) {
        self.handle(Input::Ran(vec![(lease, outcome)]));
    }

    pub fn handed_over(&mut self, to: PublicKey, id: StatementId) {
        self.handle(Input::HandedOver { to, outcomes: vec![(id, Ok(()))] });
    }

    pub fn not_handed_over(&mut self, to: PublicKey, id: StatementId) {
        let taken = Err(HandoverFailed("the connection was lost".into()));
        self.handle(Input::HandedOver { to, outcomes: vec![(id, taken)] });
    }

    pub fn receive(&mut self, receipt: Verified<Receipt>) -> ReplyId {
        let reply = ReplyId(self.next_reply);
        self.next_reply += 1;
        let bundle = Bundle { cargo: Cargo::Receipt(receipt), via: peer(BROKER) };
        self.handle(Input::Handover { from: peer(BROKER), bundles: vec![bundle], reply });
        reply
    }

    pub fn reply_to(&mut self, reply: ReplyId) -> Option<HandoverAnswer> {
        self.find(|action| match action {
            Action::ReplyHandover { reply: found, answers } if *found == reply => {
                Some(answers[0].clone())
            }
            _ => None,
        })
    }
}

pub fn leases(claim: &Claim, first: u32, count: u16) -> Vec<Verified<Lease>> {
    leases_of(PROJECT, claim, first, count)
}

/// The same of the project with that key.
pub fn leases_of(by: u8, claim: &Claim, first: u32, count: u16) -> Vec<Verified<Lease>> {
    let lease = |task| Lease {
        project: peer(by).into(),
        task: TaskId { offer: claim.offer, task, replica: 0 },
        epoch: claim.epoch,
        volunteer: peer(ME),
        runtime: claim.runtime.clone(),
        granted: START,
        term_ms: 30_000,
        deadline: None,
        expires: START + DAY,
    };
    let leases = (first..first + u32::from(count)).map(lease).collect();
    Verified::sign_batch(leases, &*key(BROKER))
}

/// `statement` as somebody signs it who adds a field of `bytes` that nobody knows.
pub fn padded<T>(statement: T, signer: &SecretKey, bytes: usize) -> Verified<T>
where
    T: Payload,
{
    let padded = Padded { statement, padding: "x".repeat(bytes) };
    let envelope = Verified::sign(padded, signer).envelope().clone();
    Verified::check(&envelope, &Ed25519).expect("unknown fields are allowed")
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Padded<T> {
    #[serde(flatten)]
    statement: T,
    padding: String,
}

impl<T: Payload> Payload for Padded<T> {
    const KIND: Kind = T::KIND;
    const MAX_LIFETIME: Duration = T::MAX_LIFETIME;

    fn expires(&self) -> Timestamp {
        self.statement.expires()
    }

    fn validate(&self) -> Result<(), Invalid> {
        self.statement.validate()
    }
}

pub fn receipt(result: &Verified<JobResult>, verdict: Verdict) -> Verified<Receipt> {
    receipt_by(PROJECT, result, verdict)
}

/// The same of the project with that key.
pub fn receipt_by(by: u8, result: &Verified<JobResult>, verdict: Verdict) -> Verified<Receipt> {
    let expires = START + 30 * DAY;
    let delegation = Delegation { node: peer(ADAPTER), encryption: adapter().public(), expires };
    let receipt = Receipt {
        project: result.project,
        result: result.id(),
        task: result.task,
        volunteer: result.signer(),
        verdict,
        issued: START,
        delegation: Verified::sign(delegation, &*key(by)).envelope().clone(),
        expires,
    };
    Verified::sign(receipt, &*key(ADAPTER))
}

pub fn accepted(result: &Verified<JobResult>) -> Verified<Receipt> {
    receipt(result, Verdict::Accepted(Credit(7)))
}

/// What the adapter reads in a result.
pub fn report_in(result: &Verified<JobResult>) -> Report {
    let opener = HpkeOpener::new([adapter()]);
    Report::open(result, &opener, &Ed25519).expect("it is sealed to the adapter").report
}

pub fn result_in(bundle: &Bundle) -> Verified<JobResult> {
    match &bundle.cargo {
        Cargo::Result(result) => result.clone(),
        Cargo::Receipt(_) => panic!("a receipt where a result was expected"),
    }
}

/// The renewals that are due, each answered.
pub fn renewals(bench: &mut Bench) -> Vec<Verified<Renewal>> {
    let mut all = Vec::new();
    while let Some((call, renewal)) = bench.find(|action| match action {
        Action::Ask { call, ask: Ask::Renew { renewal, .. }, .. } => Some((*call, renewal.clone())),
        _ => None,
    }) {
        bench.answer(call, Answer::Renewed { lapsed: Vec::new() });
        all.push(renewal);
    }
    all
}
