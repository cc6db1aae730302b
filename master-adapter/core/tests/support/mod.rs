//! A master on a bench: its disk, its brokers and its volunteers are in the test's hands.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{
    Artifact, Blob, BlobPart, Delegation, Ended, Home, JobResult, Lease, Log, Offer, Ownership,
    Package, Permissions, Receipt, Registration, Report, Revocation, StepReport, TaskId,
    USUAL_PRIORITY, Verdict,
};
use capability::{
    BlobHash, BlobKey, Encapsulated, EncryptionKey, JobSpec, Limits, OpenError, Opener, Platform,
    PublicKey, Purpose, Requirements, Runtime, SIGNATURE_BYTES, Sealed, Sealer, Signature, Signer,
    StatementId, Step, Timestamp, ToBeSigned, Verified, Verifier, encrypted_size,
};
use master_core::{Action, Arrival, Authority, Input, Inside, Master, NewJob, News};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, CallId, Cargo, Commit, HandoverAnswer, KeyChange, Mono, Now,
    Published, ReplyId, Write,
};

pub const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A key whose signatures are hashes: thousands a test cost nothing. Nobody forges in these tests;
/// that forgeries do not get in is tested where they are checked.
#[derive(Debug, Clone, Copy)]
pub struct TestKey(PublicKey);

/// Knows the signatures of [`TestKey`]s.
pub struct TestVerifier;

impl Signer for TestKey {
    fn public(&self) -> PublicKey {
        self.0
    }

    fn sign(&self, message: &ToBeSigned) -> Signature {
        let mut hasher = blake3::Hasher::new_keyed(self.0.as_bytes());
        let mut signature = [0; SIGNATURE_BYTES];
        hasher.update(message.as_bytes()).finalize_xof().fill(&mut signature);
        Signature(signature)
    }
}

impl Verifier for TestVerifier {
    fn verify(&self, key: &PublicKey, message: &ToBeSigned, signature: &Signature) -> bool {
        TestKey(*key).sign(message) == *signature
    }
}

/// Seals by writing down what belongs together, and opens what belongs to [`recipient`].
pub struct TestKeys;

impl Sealer for TestKeys {
    fn seal(&self, _: Purpose, to: EncryptionKey, plaintext: &[u8], associated: &[u8]) -> Sealed {
        let body = [blake3::hash(associated).as_bytes(), plaintext].concat();
        Sealed { to, encapsulated: Encapsulated::from_bytes([0; 32]), number: 0, body }
    }
}

impl Opener for TestKeys {
    fn open(&self, _: Purpose, sealed: &Sealed, associated: &[u8]) -> Result<Vec<u8>, OpenError> {
        if sealed.to != recipient() {
            return Err(OpenError::OtherKey);
        }
        let bond = *blake3::hash(associated).as_bytes();
        let opened = sealed.body.strip_prefix(&bond);
        opened.map(<[u8]>::to_vec).ok_or(OpenError::Unsound)
    }
}

/// The one offer that is published, and its home.
pub fn publication(ask: Ask) -> Option<(Verified<Home>, Published)> {
    let Ask::Publish { home, mut offers, .. } = ask else { return None };
    assert_eq!(offers.len(), 1);
    Some((home, offers.remove(0)))
}

/// The encryption key of every master here.
pub fn recipient() -> EncryptionKey {
    EncryptionKey::from_bytes([5; 32]).expect("a sound key")
}

pub fn key(n: u8) -> TestKey {
    TestKey(PublicKey::from_bytes([n; 32]))
}

/// The broker that is home by preference, and the one that stands by.
pub fn home() -> TestKey {
    key(10)
}

pub fn standby() -> TestKey {
    key(11)
}

pub fn volunteer(n: u8) -> TestKey {
    key(100 + n)
}

pub struct Bench {
    pub master: Master,
    pub now: Now,
    authority: Authority,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Commits that the disk has not finished.
    queue: VecDeque<Commit>,
    disk_is_slow: bool,
    seen: VecDeque<Action>,
    /// Receipts of a handover that the home has not taken yet.
    on_the_way: VecDeque<Bundle>,
    next_reply: u64,
}

pub fn authority(now: Timestamp, node: TestKey, lifetime: Duration) -> Authority {
    let project = key(1);
    let registration = Registration {
        name: "example".into(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions { runtimes: vec![Runtime::Native], network: false },
        checks: Vec::new(),
        expires: now + 300 * DAY,
    };
    let delegation =
        Delegation { node: node.public(), encryption: recipient(), expires: now + lifetime };
    let registration = Verified::sign(registration, &project);
    let delegation = Verified::sign(delegation, &project);
    Authority::new(Arc::new(node), registration, delegation).expect("one project, its node")
}

pub fn job(tasks: u32) -> NewJob {
    NewJob {
        name: "hello".into(),
        builder: "hello".into(),
        tasks,
        replicas: 1,
        package: Package { hash: BlobHash::of(b"package"), size: 7 },
        private: None,
        requirements: Requirements {
            runtimes: vec![Runtime::Native],
            clauses: Vec::new(),
            rank: Vec::new(),
        },
        job: JobSpec {
            environment: BTreeMap::new(),
            steps: vec![Step { name: "test".into(), run: vec!["true".into()] }],
            limits: Limits::default(),
            artifacts: Vec::new(),
            tap: None,
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        lifetime: 7 * DAY,
        offline: Duration::ZERO,
        priority: USUAL_PRIORITY,
    }
}

impl Bench {
    pub fn new() -> Self {
        let now = Now { mono: Mono::default(), wall: Timestamp(1_800_000_000_000) };
        let authority = authority(now.wall, key(2), 90 * DAY);
        let mut bench = Self {
            master: start(&authority, now, &BTreeMap::new()),
            now,
            authority,
            disk: BTreeMap::new(),
            queue: VecDeque::new(),
            disk_is_slow: false,
            seen: VecDeque::new(),
            on_the_way: VecDeque::new(),
            next_reply: 0,
        };
        bench.drain();
        bench
    }

    /// With the home connected and one job published there.
    pub fn with_job(tasks: u32) -> (Self, Verified<Offer>) {
        let mut bench = Self::new();
        let offer = bench.submit(job(tasks)).expect("a sound job");
        bench.up(&home());
        let (_, call, ask) = bench.asked().expect("a publication");
        let (_, published) = publication(ask).expect("a publication");
        assert!(!published.again, "published for the first time");
        assert_eq!(published.offer.id(), offer);
        bench.answer(call, Ok(Answer::Done));
        (bench, published.offer)
    }

    /// The process is killed and started again: what was not durable is gone.
    pub fn restart(&mut self) {
        self.disk_is_slow = false;
        self.start_again();
    }

    /// The same, and commits wait from the start on for [`Self::finish_commits`].
    pub fn restart_with_slow_disk(&mut self) {
        self.disk_is_slow = true;
        self.start_again();
    }

    fn start_again(&mut self) {
        self.queue.clear();
        self.seen.clear();
        self.on_the_way.clear();
        self.now = self.now.after(Duration::from_secs(1));
        self.master = start(&self.authority, self.now, &self.disk);
        self.drain();
    }

    /// What is durable.
    pub fn records(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.disk.clone().into_iter().collect()
    }

    /// From the next start on `node` signs, for so long.
    pub fn delegate(&mut self, node: TestKey, lifetime: Duration) {
        self.authority = authority(self.now.wall, node, lifetime);
    }

    /// From now on commits wait for [`Self::finish_commits`].
    pub fn slow_disk(&mut self) {
        self.disk_is_slow = true;
    }

    pub fn finish_commits(&mut self) {
        self.disk_is_slow = false;
        while let Some(commit) = self.queue.pop_front() {
            self.apply(commit);
        }
        self.drain();
    }

    pub fn give(&mut self, input: Input) {
        self.master.handle(input, self.now);
        self.drain();
    }

    pub fn up(&mut self, broker: &TestKey) {
        self.give(Input::BrokerUp { peer: broker.public() });
    }

    pub fn down(&mut self, broker: &TestKey) {
        self.give(Input::BrokerDown { peer: broker.public() });
    }

    /// Time passes in the steps that the master asks for.
    pub fn pass(&mut self, duration: Duration) {
        let end = self.now.after(duration);
        while let Some(wake) = self.master.next_wake().filter(|wake| *wake <= end.mono) {
            assert!(wake > self.now.mono, "a wake that is not ahead would spin");
            self.now = self.now.after(wake - self.now.mono);
            self.give(Input::Wake);
        }
        self.now = end;
    }

    pub fn reply(&mut self) -> ReplyId {
        self.next_reply += 1;
        ReplyId(self.next_reply)
    }

    pub fn submit(&mut self, job: NewJob) -> Option<StatementId> {
        let reply = self.reply();
        self.give(Input::Submit { job, reply });
        self.submitted(reply)
    }

    pub fn submitted(&mut self, reply: ReplyId) -> Option<StatementId> {
        self.take(|action| match action {
            Action::Submitted { reply: to, result } if *to == reply => {
                result.as_ref().ok().copied()
            }
            _ => None,
        })
    }

    pub fn answer(&mut self, call: CallId, answer: Result<Answer, CallFailed>) {
        self.give(Input::Answered { call, answer });
    }

    /// The question which tasks nobody gets any more, if it was asked.
    pub fn asked_of_stopped(&mut self) -> Option<CallId> {
        self.take(|action| match action {
            Action::Ask { call, ask: Ask::Stopped { .. }, .. } => Some(*call),
            _ => None,
        })
    }

    /// The oldest other question that was not looked at yet.
    pub fn asked(&mut self) -> Option<(PublicKey, CallId, Ask)> {
        self.take(|action| match action {
            Action::Ask { ask: Ask::Stopped { .. }, .. } => None,
            Action::Ask { to, call, ask } => Some((*to, *call, ask.clone())),
            _ => None,
        })
    }

    /// The broker hands a result over; what it hears at once.
    pub fn deliver(&mut self, result: &Verified<JobResult>) -> Option<HandoverAnswer> {
        let reply = self.deliver_slowly(result);
        self.delivered(reply)
    }

    pub fn deliver_slowly(&mut self, result: &Verified<JobResult>) -> ReplyId {
        self.deliver_without(result, Vec::new())
    }

    /// The broker hands a result over of which these blobs are not here.
    pub fn deliver_without(
        &mut self,
        result: &Verified<JobResult>,
        missing: Vec<BlobHash>,
    ) -> ReplyId {
        let bundle = Bundle { cargo: Cargo::Result(result.clone()), via: home().public() };
        let inside = Inside::of(&bundle, &TestKeys, &TestVerifier);
        let from = home().public();
        let reply = self.reply();
        let arrivals = vec![Arrival { bundle, inside, missing }];
        self.give(Input::Handover { from, arrivals, reply });
        reply
    }

    /// The broker hands results over in one frame.
    pub fn deliver_together(&mut self, results: &[&Verified<JobResult>]) -> ReplyId {
        let arrival = |result: &&Verified<JobResult>| {
            let cargo = Cargo::Result((*result).clone());
            let bundle = Bundle { cargo, via: home().public() };
            let inside = Inside::of(&bundle, &TestKeys, &TestVerifier);
            Arrival { bundle, inside, missing: Vec::new() }
        };
        let arrivals = results.iter().map(arrival).collect();
        let (from, reply) = (home().public(), self.reply());
        self.give(Input::Handover { from, arrivals, reply });
        reply
    }

    pub fn delivered(&mut self, reply: ReplyId) -> Option<HandoverAnswer> {
        self.answers(reply)?.pop()
    }

    pub fn answers(&mut self, reply: ReplyId) -> Option<Vec<HandoverAnswer>> {
        self.take(|action| match action {
            Action::ReplyHandover { reply: to, answers } if *to == reply => Some(answers.clone()),
            _ => None,
        })
    }

    /// The oldest receipt on its way to the home, which takes it.
    pub fn receipt(&mut self) -> Option<Verified<Receipt>> {
        if self.on_the_way.is_empty() {
            let bundles = self.take(|action| match action {
                Action::HandOver(handover) => Some(handover.bundles.clone()),
                _ => None,
            })?;
            self.on_the_way.extend(bundles);
        }
        let bundle = self.on_the_way.pop_front()?;
        let Cargo::Receipt(receipt) = bundle.cargo else { panic!("a master hands receipts over") };
        self.give(Input::HandedOver { outcomes: vec![(receipt.id(), Ok(()))] });
        Some(receipt)
    }

    pub fn verdict_of(&mut self, result: &Verified<JobResult>) -> Verdict {
        assert_eq!(self.deliver(result), Some(HandoverAnswer::Taken));
        self.receipt().expect("a receipt for every result that was taken").verdict.clone()
    }

    pub fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        self.seen.retain(|action| match action {
            Action::News(item) => {
                news.push(item.clone());
                false
            }
            _ => true,
        });
        news
    }

    pub fn home(&self) -> Verified<Home> {
        self.master.home().expect("a durable home").clone()
    }

    pub fn take<T>(&mut self, pick: impl Fn(&Action) -> Option<T>) -> Option<T> {
        let (index, picked) = self
            .seen
            .iter()
            .enumerate()
            .find_map(|(index, action)| Some((index, pick(action)?)))?;
        self.seen.remove(index);
        Some(picked)
    }

    fn drain(&mut self) {
        while let Some(action) = self.master.poll_action() {
            match action {
                Action::Commit(commit) if self.disk_is_slow => self.queue.push_back(commit),
                Action::Commit(commit) => self.apply(commit),
                other => self.seen.push_back(other),
            }
        }
    }

    fn apply(&mut self, commit: Commit) {
        for write in commit.writes {
            match write {
                Write::Put { key, value } => self.disk.insert(key, value),
                Write::Delete { key } => self.disk.remove(&key),
            };
        }
        self.master.handle(Input::Committed(commit.id), self.now);
    }
}

fn start(authority: &Authority, now: Now, disk: &BTreeMap<Vec<u8>, Vec<u8>>) -> Master {
    let brokers = vec![home().public(), standby().public()];
    Master::restore(authority.clone(), brokers, disk.clone().into_iter(), &TestVerifier, now)
        .expect("its own records")
}

/// What a volunteer sends for a task that it leased in order.
pub struct Draft {
    pub offer: Verified<Offer>,
    pub task: u32,
    pub replica: u16,
    pub epoch: u64,
    pub granter: TestKey,
    pub leased_to: TestKey,
    pub sender: TestKey,
    pub ended: Ended,
    /// Of the step; none: as `ended` has it.
    pub exit: Option<i32>,
    pub cpu_ms: u64,
    pub artifacts: Vec<Artifact>,
    pub ownership: Option<Verified<Ownership>>,
    pub to: EncryptionKey,
}

impl Draft {
    pub fn new(offer: &Verified<Offer>, task: u32, by: u8) -> Self {
        Self {
            offer: offer.clone(),
            task,
            replica: 0,
            epoch: 1,
            granter: home(),
            leased_to: volunteer(by),
            sender: volunteer(by),
            ended: Ended::Passed,
            exit: None,
            cpu_ms: 5,
            artifacts: Vec::new(),
            ownership: None,
            to: recipient(),
        }
    }

    pub fn sign(self) -> Verified<JobResult> {
        let task = TaskId { offer: self.offer.id(), task: self.task, replica: self.replica };
        let lease = Lease {
            project: self.offer.project,
            task,
            epoch: self.epoch,
            volunteer: self.leased_to.public(),
            runtime: Runtime::Native,
            granted: self.offer.issued,
            term_ms: 30_000,
            deadline: None,
            expires: self.offer.expires,
        };
        let lease = Verified::sign(lease, &self.granter);
        let step = StepReport {
            name: "test".into(),
            exit: Some(self.exit.unwrap_or((self.ended != Ended::Passed).into())),
            ending: String::new(),
            wall_ms: 10,
            cpu_ms: self.cpu_ms,
            memory: 1 << 20,
            fuel: None,
            log: Log::Inline(b"1..1\nok 1\n".to_vec()),
        };
        let report = Report {
            ended: self.ended,
            steps: vec![step],
            artifacts: self.artifacts,
            key: BlobKey::from_bytes([0; 32]),
            platform: Platform::new("linux", "x86_64").expect("a platform"),
            system: String::new(),
            runtime: Runtime::Native,
            ownership: self.ownership.map(|it| it.envelope().clone()),
            started: self.offer.issued,
            finished: self.offer.issued,
            resumed: 0,
        };
        let result = JobResult::new(&lease, blobs(&report), &report, self.to, &TestKeys);
        Verified::sign(result, &self.sender)
    }
}

/// The blobs that `report` names.
pub fn blobs(report: &Report) -> Vec<Blob> {
    let blob = |part: BlobPart| Blob {
        hash: BlobHash::of(&part.blob.to_be_bytes()),
        size: encrypted_size(part.size),
    };
    report.parts().map(blob).collect()
}

/// `of` is void, says `by`.
pub fn revocation(of: TestKey, by: TestKey) -> KeyChange {
    let expires = Timestamp(1_800_000_000_000) + 366 * DAY;
    let payload = Revocation { key: of.public(), reason: String::new(), expires };
    KeyChange::Revocation(Verified::sign(payload, &by))
}
