//! `docs/spec/calls.cddl` and `door.cddl` held against what the code writes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use capability::statements::{
    Ad, Blob, BrokerCard, Claim, Class, Credit, Delegation, Home, Intent, JobResult, Lease,
    ListedBroker, MAX_TASKS_A_CLAIM, Network, Offer, Ownership, Package, Permissions, Receipt,
    Registration, Renewal, Revocation, Succession, TaskId, USUAL_PRIORITY, Verdict, Withdrawal,
};
use capability::{
    BlobHash, Capabilities, Clause, Ed25519, Encapsulated, EncryptionKey, Envelope, Explanation,
    Fact, FactName, JobSpec, Limits, MAX_ALTERNATIVES, MAX_NESTING, MAX_STATEMENT_BYTES, Need,
    Obstacle, Platform, Preference, PublicKey, Relaxed, Requirements, Resources, Runtime,
    RuntimeFacts, Sealed, SecretKey, Signer, StatementId, Step, Timestamp, Verified, encode_cbor,
};
use cddl_cat::cbor::validate_cbor;
use cddl_cat::context::BasicContext;
use cddl_cat::flatten::flatten_from_str;
use mesh_core::{
    Answer, Ask, Bundle, Cargo, Carries, ChannelAnswer, ChannelKey, ChannelMessage, ChannelOpen,
    ChannelRefusal, FlowId, HandoverAnswer, JobNeeds, KeyChange, Loan, MAX_BROKERS_AN_ANSWER,
    MAX_BUNDLES_A_FRAME, MAX_CLAIMS_AN_ASK, MAX_COLLECTED, MAX_DATA_BYTES, MAX_FRAME_BYTES,
    MAX_HOPS, MAX_KEYS_AN_ASK, MAX_OFFERS_A_PUBLICATION, MAX_OTHER_BROKERS,
    MAX_REGISTRATIONS_AN_ANSWER, MAX_STOPPED_AN_ANSWER, MAX_WITHDRAWALS_AN_ASK, Offered, Pass,
    Published, ReconcileAnswer, ReconcileAsk, Refusal, StoppedTask, WINDOW, Wants, decode_answers,
    decode_bundles, differences, encode_answers, encode_bundles,
};

const EXPIRES: Timestamp = Timestamp(1_800_000_000_000);

#[test]
fn asks_are_as_specified_and_come_back() {
    let cddl = Cddl::read();
    let wants = Wants {
        runtimes: vec![Runtime::Wasm],
        free: Resources { cores: 1, memory: 1 << 30, disk: 1 << 30 },
        projects: vec![key(1).public().into()],
        except: vec![id(9)],
        wait_ms: Some(60_000),
    };
    let class = Class { runtime: Runtime::Wasm, cores_log2: 1, memory_log2: 10 };
    let asks = [
        Ask::Advertise { ad: ad() },
        Ask::Pull { wants },
        Ask::Publish {
            registration: registration(),
            home: home(),
            offers: vec![Published { offer: offer(), again: true, settled: vec![(0, 3), (7, 7)] }],
        },
        Ask::Publish {
            registration: registration(),
            home: home(),
            offers: vec![
                Published { offer: offer(), again: false, settled: Vec::new() };
                MAX_OFFERS_A_PUBLICATION
            ],
        },
        Ask::Withdraw { withdrawals: vec![withdrawal()] },
        Ask::Claim { claims: vec![claim()], home: key(3).public(), hops: MAX_HOPS },
        Ask::Claim { claims: claims(&[2, 3]), home: key(3).public(), hops: 1 },
        Ask::Renew { renewal: renewal(), home: key(3).public(), hops: 0 },
        Ask::Explain(JobNeeds::Offer(offer().id())),
        Ask::Explain(JobNeeds::Requirements(requirements())),
        Ask::Ad { volunteer: volunteer() },
        Ask::Ads { class },
        Ask::Lend(Loan {
            offer: offer().id(),
            epoch: u64::MAX - 1,
            volunteer: volunteer(),
            runtime: Runtime::Wasm,
            count: MAX_TASKS_A_CLAIM,
            until: EXPIRES,
        }),
        Ask::Registrations { projects: vec![key(1).public().into(); 15] },
        Ask::Declare { change: revocation() },
        Ask::Declare { change: succession() },
        Ask::KeyChanges { of: vec![key(1).public(); MAX_KEYS_AN_ASK] },
        Ask::Stopped { project: key(1).public().into() },
        Ask::Vouch { ownership: ownership() },
        Ask::Brokers { of: Vec::new(), network: None },
        Ask::Brokers {
            of: vec![key(1).public(); MAX_BROKERS_AN_ANSWER],
            network: Some(key(1).public()),
        },
    ];
    for ask in asks {
        cddl.check("ask", &ask.encode());
        assert_eq!(Ask::decode(&ask.encode(), &Ed25519).expect("our own"), ask);
    }
}

#[test]
fn what_opens_channels_and_passes_on_them_is_as_specified_and_comes_back() {
    let cddl = Cddl::read();
    for open in [ChannelOpen::Task(task()), ChannelOpen::Lease { lease: lease(), hops: MAX_HOPS }] {
        cddl.check("channel-open", &open.encode());
        assert_eq!(ChannelOpen::decode(&open.encode(), &Ed25519).expect("our own"), open);
    }
    let refusals = [
        ChannelRefusal::Nobody,
        ChannelRefusal::NotYours,
        ChannelRefusal::NoRoute,
        ChannelRefusal::Declined,
        ChannelRefusal::NotRelayed,
        ChannelRefusal::Full,
        ChannelRefusal::Invalid,
    ];
    let refused = refusals.map(ChannelAnswer::Refused);
    for answer in refused.into_iter().chain([ChannelAnswer::Open(lease())]) {
        cddl.check("channel-answer", &answer.encode());
        assert_eq!(ChannelAnswer::decode(&answer.encode(), &Ed25519).expect("our own"), answer);
    }
    let key_of = ChannelKey { lease: lease().id(), key: [7; 32] };
    cddl.check("channel-proof", &key_of.prove(volunteer(), 1, EXPIRES, &key(2)).body);
    let flow = FlowId(3);
    let carries = Carries::Log { step: 2, name: "build".to_owned() };
    let messages = [
        ChannelMessage::Open { flow, carries },
        ChannelMessage::Data { flow, bytes: vec![0; MAX_DATA_BYTES] },
        ChannelMessage::LeftOut { flow, bytes: 1 << 40 },
        ChannelMessage::End { flow },
        ChannelMessage::Grant { flow, bytes: WINDOW },
        ChannelMessage::Here,
        ChannelMessage::Bye("done".to_owned()),
    ];
    for message in messages {
        cddl.check("channel-message", &message.encode());
        assert_eq!(ChannelMessage::decode(&message.encode()).expect("our own"), message);
    }
}

#[test]
fn answers_are_as_specified_and_come_back() {
    let cddl = Cddl::read();
    let offered = |registration, others, home_unseen| {
        let (offer, home) = (offer(), home());
        Offered { offer, home, registration, others, home_unseen }
    };
    let mut answers = vec![
        Answer::Done,
        Answer::Offers(vec![
            offered(None, None, None),
            offered(Some(registration()), Some(3), Some(60)),
        ]),
        Answer::Leases(vec![lease()]),
        Answer::Each(vec![
            Answer::Leases(vec![lease()]),
            Answer::Refused(Refusal::NoTask),
            Answer::Done,
        ]),
        Answer::Renewed { lapsed: vec![id(4)] },
        Answer::Explanation(explanation()),
        Answer::Explanation(Explanation::default()),
        Answer::Ads(vec![ad()]),
        Answer::Registrations(vec![registration(); 15]),
        Answer::Withdrawn(withdrawal()),
        Answer::Stopped(vec![StoppedTask { offer: id(4), task: 3, volunteers: 5, times: 7 }]),
        Answer::KeyChanges(vec![revocation(), succession()]),
        Answer::Brokers { cards: Vec::new(), network: None },
        Answer::Brokers {
            cards: vec![broker_card(); MAX_BROKERS_AN_ANSWER],
            network: Some(network()),
        },
    ];
    let refusals = [
        Refusal::NoTask,
        Refusal::UnknownOffer,
        Refusal::NotHome,
        Refusal::Unmatched("no tool.make".into()),
        Refusal::NoRoute,
        Refusal::Full("offers".into()),
        Refusal::Invalid("another broker's ad".into()),
        Refusal::Superseded { epoch: 7 },
        Refusal::Forgotten,
        Refusal::SlowDown(u32::MAX),
        Refusal::NotAdmitted("blocked: spam".into()),
        Refusal::TakenDown("malware".into()),
        Refusal::Elsewhere(vec!["/ip4/192.0.2.1/tcp/4077".into(); MAX_OTHER_BROKERS]),
    ];
    answers.extend(refusals.map(Answer::Refused));
    for answer in answers {
        cddl.check("answer", &answer.encode());
        assert_eq!(Answer::decode(&answer.encode(), &Ed25519).expect("our own"), answer);
    }
}

#[test]
fn passes_are_as_specified_and_no_asks() {
    let cddl = Cddl::read();
    let hash = BlobHash::of(b"blob");
    let passes = [
        Pass::Collect { taken: Vec::new(), wait_ms: None },
        Pass::Collect { taken: vec![id(1); MAX_COLLECTED], wait_ms: Some(0) },
        Pass::Custody { frame: hash },
        Pass::Get { hash, limit: u64::MAX },
        Pass::Put { hash, size: 0 },
    ];
    for pass in passes {
        cddl.check("pass", &pass.encode());
        assert_eq!(Pass::decode(&pass.encode()).expect("our own"), pass);
        assert!(Ask::decode(&pass.encode(), &Ed25519).is_err(), "{pass:?}");
    }
    let ask = Ask::Ad { volunteer: volunteer() };
    assert!(Pass::decode(&ask.encode()).is_err());
    let too_many = Pass::Collect { taken: vec![id(1); MAX_COLLECTED + 1], wait_ms: None };
    assert!(Pass::decode(&too_many.encode()).is_err());
}

#[test]
fn requirements_of_which_there_is_no_offer_yet_are_no_larger_than_an_offer_could_be() {
    let asked = |texts: usize| {
        let values = vec![Fact::from("x".repeat(256)); MAX_ALTERNATIVES];
        let clauses = vec![Clause::OneOf { fact: fact(), values }; texts];
        let needs = Requirements { clauses, ..requirements() };
        let ask = Ask::Explain(JobNeeds::Requirements(needs));
        Ask::decode(&ask.encode(), &Ed25519).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(asked(3), Ok(()));
    assert_eq!(asked(4), Err("over 65536 bytes of requirements in one message".to_owned()));
}

#[test]
fn no_more_registrations_are_asked_for_or_answered_than_a_frame_holds() {
    let ask = Ask::Registrations { projects: vec![key(1).public().into(); 16] };
    assert!(Ask::decode(&ask.encode(), &Ed25519).is_err());
    let answer = Answer::Registrations(vec![registration(); 16]);
    assert!(Answer::decode(&answer.encode(), &Ed25519).is_err());
    const { assert!(MAX_REGISTRATIONS_AN_ANSWER * (MAX_STATEMENT_BYTES + 8) < MAX_FRAME_BYTES) };
}

#[test]
fn no_more_stopped_tasks_are_answered_than_one_answer_may_have() {
    let stopped = StoppedTask { offer: id(4), task: 3, volunteers: 5, times: 7 };
    let answer = |count| Answer::Stopped(vec![stopped; count]).encode();
    assert!(Answer::decode(&answer(MAX_STOPPED_AN_ANSWER), &Ed25519).is_ok());
    assert!(Answer::decode(&answer(MAX_STOPPED_AN_ANSWER + 1), &Ed25519).is_err());
}

#[test]
fn claims_in_one_question_are_some_and_not_for_more_tasks_than_one_may_be() {
    let said = |claims: Vec<Verified<Claim>>| {
        let ask = Ask::Claim { claims, home: key(3).public(), hops: 1 };
        Ask::decode(&ask.encode(), &Ed25519).map(|_| ()).map_err(|error| error.to_string())
    };
    assert_eq!(said(Vec::new()), Err("no claims in a message about them".to_owned()));
    assert_eq!(said(claims(&[1; MAX_CLAIMS_AN_ASK])), Ok(()));
    assert_eq!(
        said(claims(&[1; MAX_CLAIMS_AN_ASK + 1])),
        Err("over 32 claims in one message".to_owned())
    );
    assert_eq!(said(claims(&[128, 128])), Ok(()));
    assert_eq!(
        said(claims(&[128, 128, 1])),
        Err("over 256 tasks claimed in one message".to_owned())
    );
}

#[test]
fn claims_in_one_question_are_of_one_machine_and_one_batch() {
    let said = |claims: Vec<Verified<Claim>>| {
        let ask = Ask::Claim { claims, home: key(3).public(), hops: 1 };
        Ask::decode(&ask.encode(), &Ed25519).map(|_| ()).map_err(|error| error.to_string())
    };
    let apart = [claims(&[1, 2]), claims(&[1, 3])].map(|mut claims| claims.remove(0));
    let batches = Err("statements of several batches in one question".to_owned());
    assert_eq!(said(apart.to_vec()), batches);
    assert_eq!(said(vec![claim(), claim()]), batches);

    let another = Verified::sign(Ad { seq: 77, ..(*ad()).clone() }, &key(4));
    let other = Claim { ad: another.envelope().clone(), ..(*claim()).clone() };
    let mixed = Verified::sign_batch(vec![(*claim()).clone(), other], &key(4));
    assert_eq!(said(mixed), Err("claims of several machines in one question".to_owned()));
}

#[test]
fn leases_in_one_answer_are_no_more_than_can_be_claimed() {
    let leases = |count| Answer::Leases(vec![lease(); count]);
    let is_read = |parts| Answer::decode(&Answer::Each(parts).encode(), &Ed25519).is_ok();
    assert!(is_read(vec![leases(200), leases(56)]));
    assert!(!is_read(vec![leases(200), leases(57)]));
}

#[test]
fn withdrawals_in_one_question_are_some_and_not_too_many() {
    let is_read = |count| {
        let withdrawals = vec![(*withdrawal()).clone(); count];
        let withdrawals = Verified::sign_batch(withdrawals, &key(4));
        let ask = Ask::Withdraw { withdrawals };
        Ask::decode(&ask.encode(), &Ed25519).is_ok()
    };
    assert!(is_read(1) && is_read(MAX_WITHDRAWALS_AN_ASK));
    assert!(!is_read(0) && !is_read(MAX_WITHDRAWALS_AN_ASK + 1));
}

#[test]
fn offers_in_one_publication_are_some_and_not_too_many() {
    let is_read = |count| {
        let published = Published { offer: offer(), again: false, settled: Vec::new() };
        let (registration, home) = (registration(), home());
        let ask = Ask::Publish { registration, home, offers: vec![published; count] };
        Ask::decode(&ask.encode(), &Ed25519).is_ok()
    };
    assert!(is_read(1) && is_read(MAX_OFFERS_A_PUBLICATION));
    assert!(!is_read(0) && !is_read(MAX_OFFERS_A_PUBLICATION + 1));
}

#[test]
fn a_question_about_too_many_keys_is_refused() {
    let ask = Ask::KeyChanges { of: vec![key(1).public(); MAX_KEYS_AN_ASK + 1] };
    let refused = Ask::decode(&ask.encode(), &Ed25519).expect_err("too many");
    assert_eq!(refused.to_string(), "over 8 keys in one message");
}

#[test]
fn nobody_is_sent_to_more_brokers_than_he_can_look_at() {
    let elsewhere = Refusal::Elsewhere(vec![String::new(); MAX_OTHER_BROKERS + 1]);
    let refused = Answer::decode(&Answer::Refused(elsewhere).encode(), &Ed25519);
    assert_eq!(refused.expect_err("too many").to_string(), "over 8 other brokers in one message");
}

#[test]
fn no_more_brokers_are_asked_for_or_answered_than_a_frame_holds() {
    let of = vec![key(1).public(); MAX_BROKERS_AN_ANSWER + 1];
    let ask = Ask::Brokers { of, network: None };
    assert!(Ask::decode(&ask.encode(), &Ed25519).is_err());
    let cards = vec![broker_card(); MAX_BROKERS_AN_ANSWER + 1];
    let answer = Answer::Brokers { cards, network: None };
    assert!(Answer::decode(&answer.encode(), &Ed25519).is_err());
    const { assert!((MAX_BROKERS_AN_ANSWER + 1) * (MAX_STATEMENT_BYTES + 8) < MAX_FRAME_BYTES) };
}

#[test]
fn handovers_are_as_specified_and_come_back() {
    let cddl = Cddl::read();
    for cargo in [Cargo::Result(result()), Cargo::Receipt(receipt())] {
        let bundle = Bundle { cargo, via: key(3).public() };
        let frame = encode_bundles(std::slice::from_ref(&bundle));
        cddl.check("handover", &frame);
        let read = decode_bundles(&frame, &Ed25519).expect("our own");
        assert!(matches!(&read[..], [Ok(read)] if *read == bundle));
    }
    let answers = [
        HandoverAnswer::Taken,
        HandoverAnswer::Missing(vec![BlobHash::of(b"a log")]),
        HandoverAnswer::Refused("custody refused: full".into()),
    ];
    let frame = encode_answers(&answers);
    cddl.check("handover-answers", &frame);
    assert_eq!(decode_answers(&frame, answers.len()).expect("our own"), answers);
    assert!(decode_answers(&frame, 2).is_err(), "each bundle has its answer");
}

#[test]
fn an_unsound_bundle_says_nothing_about_the_others_of_its_handover() {
    #[derive(serde::Serialize)]
    struct Unchecked {
        statement: Envelope,
        via: PublicKey,
    }
    let (via, receipt) = (key(3).public(), receipt());
    let mut forged = receipt.envelope().as_bytes().to_vec();
    *forged.last_mut().expect("it ends with a signature") ^= 1;
    let statements = [Envelope::parse(&forged).expect("still one"), receipt.envelope().clone()];
    let frame = encode_cbor(&statements.map(|statement| Unchecked { statement, via }));
    let read = decode_bundles(&frame, &Ed25519).expect("a frame");
    let sound = Bundle { cargo: Cargo::Receipt(receipt), via };
    assert!(matches!(&read[..], [Err(_), Ok(read)] if *read == sound));
}

#[test]
fn a_frame_of_more_bundles_than_a_handover_has_is_refused() {
    let bundle = Bundle { cargo: Cargo::Receipt(receipt()), via: key(3).public() };
    let one = encode_bundles(std::slice::from_ref(&bundle));
    let count = u16::try_from(MAX_BUNDLES_A_FRAME + 1).expect("small");
    // An array of so many, and after it so many of what the array of one has.
    let mut frame = vec![0x99];
    frame.extend(count.to_be_bytes());
    (0..count).for_each(|_| frame.extend(&one[1..]));
    assert!(decode_bundles(&frame, &Ed25519).is_err());
}

#[test]
fn reconciliation_is_as_specified_and_comes_back() {
    let cddl = Cddl::read();
    let envelope: Envelope = registration().envelope().clone();
    let (few, many): (BTreeSet<_>, BTreeSet<_>) =
        ((0..3).map(id).collect(), (0..200).map(id).collect());
    let start = ReconcileAsk::start(&few);
    let ReconcileAsk::Compare(branches) = &start else { panic!("it starts by comparing") };
    let split = ReconcileAnswer::Differs(differences(&many, branches));
    let listed = ReconcileAnswer::Differs(differences(&(0..2).map(id).collect(), branches));
    let asks =
        [start, ReconcileAsk::Fetch(vec![id(1)]), ReconcileAsk::Give(vec![envelope.clone()])];
    for ask in asks {
        cddl.check("reconcile-ask", &ask.encode());
        assert_eq!(ReconcileAsk::decode(&ask.encode()).expect("our own"), ask);
    }
    let statements = ReconcileAnswer::Statements(vec![envelope]);
    for answer in [split, listed, statements, ReconcileAnswer::Thanks] {
        cddl.check("reconcile-answer", &answer.encode());
        assert_eq!(ReconcileAnswer::decode(&answer.encode()).expect("our own"), answer);
    }
}

struct Cddl(BasicContext);

impl Cddl {
    /// All files, with the maps of calls closed as they are and those of statements too: no key is
    /// written that the specification does not name.
    fn read() -> Self {
        let spec = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec");
        let read = |name| fs::read_to_string(spec.join(name)).expect("the specification");
        let text = read("statements.cddl") + &read("calls.cddl") + &read("door.cddl");
        let closed = text.replace("* tstr => any,", "").replace(", * tstr => any", "");
        Self(BasicContext::new(flatten_from_str(&closed).expect("the CDDL can be read")))
    }

    fn check(&self, rule: &str, bytes: &[u8]) {
        let value = ciborium::from_reader(bytes).expect("our own encoding");
        let outcome = validate_cbor(&self.0.rules[rule], &value, &self.0);
        outcome.unwrap_or_else(|error| panic!("not {rule}: {error}: {value:?}"));
    }
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

fn id(n: u8) -> StatementId {
    StatementId::from_bytes([n; 32])
}

fn encryption() -> EncryptionKey {
    EncryptionKey::from_bytes([9; 32]).expect("a sound key")
}

fn envelope_of_delegation() -> Envelope {
    let encryption = encryption();
    let delegation = Delegation { node: key(2).public(), encryption, expires: EXPIRES };
    Verified::sign(delegation, &key(1)).envelope().clone()
}

fn withdrawal() -> Verified<Withdrawal> {
    let withdrawal = Withdrawal { statement: id(1), reason: String::new(), expires: EXPIRES };
    Verified::sign(withdrawal, &key(2))
}

fn network() -> Verified<Network> {
    let addresses = vec!["/ip4/192.0.2.1/tcp/4077".to_owned()];
    let brokers = vec![ListedBroker { key: key(2).public(), addresses }];
    let network = Network { name: "test".to_owned(), seq: 1, brokers, expires: EXPIRES };
    Verified::sign(network, &key(1))
}

fn broker_card() -> Verified<BrokerCard> {
    let addresses = vec!["/dns/broker.example/tcp/4077".to_owned()];
    let links = vec![key(2).public()];
    Verified::sign(BrokerCard { seq: 1, addresses, links, expires: EXPIRES }, &key(1))
}

fn revocation() -> KeyChange {
    let revocation = Revocation { key: key(2).public(), reason: "lost".into(), expires: EXPIRES };
    KeyChange::Revocation(Verified::sign(revocation, &key(1)))
}

fn ownership() -> Verified<Ownership> {
    let ownership = Ownership { nodes: vec![key(2).public()], expires: Timestamp(1_000) };
    Verified::sign(ownership, &key(1))
}

fn succession() -> KeyChange {
    let succession = Succession { successor: key(2).public(), expires: EXPIRES };
    KeyChange::Succession(Verified::sign(succession, &key(1)))
}

fn ad() -> Verified<Ad> {
    let ad = Ad {
        seq: 1,
        broker: key(3).public(),
        capabilities: Capabilities {
            platform: platform(),
            resources: Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 },
            runtimes: [(Runtime::Wasm, RuntimeFacts::default())].into(),
        },
        encryption: encryption(),
        expires: EXPIRES,
    };
    Verified::sign(ad, &key(4))
}

fn platform() -> Platform {
    Platform::new("linux", "x86_64").expect("two words")
}

fn registration() -> Verified<Registration> {
    let registration = Registration {
        name: "tree-sorter".into(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions::default(),
        checks: Vec::new(),
        expires: EXPIRES,
    };
    Verified::sign(registration, &key(1))
}

fn home() -> Verified<Home> {
    let home = Home {
        project: key(1).public().into(),
        epoch: 1,
        home: key(3).public(),
        standbys: Vec::new(),
        delegation: envelope_of_delegation(),
        expires: EXPIRES,
    };
    Verified::sign(home, &key(2))
}

fn offer() -> Verified<Offer> {
    let offer = Offer {
        project: key(1).public().into(),
        name: "sweep".into(),
        builder: "sweep".into(),
        tasks: 40,
        replicas: 1,
        package: Package { hash: BlobHash::of(b"a package"), size: 9 },
        private: None,
        requirements: Requirements {
            runtimes: vec![Runtime::Wasm],
            clauses: Vec::new(),
            rank: Vec::new(),
        },
        job: JobSpec {
            environment: BTreeMap::new(),
            steps: vec![Step { name: "run".into(), run: vec!["sweep.wasm".into()] }],
            limits: Limits::default(),
            artifacts: Vec::new(),
            tap: None,
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        offline_ms: 0,
        priority: USUAL_PRIORITY,
        issued: EXPIRES,
        delegation: envelope_of_delegation(),
        expires: EXPIRES,
    };
    Verified::sign(offer, &key(2))
}

/// Nested as deep as it may be.
fn requirements() -> Requirements {
    let words = ["avx2", "bmi2"].into_iter().collect();
    let one_of = Clause::OneOf { fact: fact(), values: vec![words, Fact::Flag(true)] };
    let deepest = (1..MAX_NESTING).fold(one_of, |inner, _| Clause::Any(vec![inner]));
    let rank = vec![Preference::Holds { weight: 1, clause: deepest.clone() }];
    Requirements { runtimes: vec![Runtime::Wasm], clauses: vec![deepest], rank }
}

fn explanation() -> Explanation {
    let [deepest] = <[Clause; 1]>::try_from(requirements().clauses).expect("one");
    let relaxed = |amount| Relaxed { clause: Clause::AtLeast { fact: fact(), amount }, gains: 2 };
    let obstacles = vec![
        Obstacle {
            need: Need::Clause(Clause::AtLeast { fact: fact(), amount: 4 }),
            excludes: 3,
            alone: 3,
            relaxed: Some(relaxed(2)),
        },
        Obstacle { need: Need::Clause(deepest), excludes: 2, alone: 0, relaxed: None },
        Obstacle {
            need: Need::Runtimes(vec![Runtime::Wasm]),
            excludes: 1,
            alone: 0,
            relaxed: None,
        },
    ];
    Explanation { known: 9, matching: 4, obstacles }
}

fn fact() -> FactName {
    "label.size".parse().expect("the name of a fact")
}

/// Of so many tasks each.
fn claims(counts: &[u16]) -> Vec<Verified<Claim>> {
    let claims = counts.iter().map(|count| Claim { count: *count, ..(*claim()).clone() });
    Verified::sign_batch(claims.collect(), &key(4))
}

fn claim() -> Verified<Claim> {
    let claim = Claim {
        offer: offer().id(),
        epoch: 1,
        count: 2,
        runtime: Runtime::Wasm,
        ad: ad().envelope().clone(),
        ownership: None,
        offline: false,
        nonce: 5,
        expires: EXPIRES,
    };
    Verified::sign(claim, &key(4))
}

fn task() -> TaskId {
    TaskId { offer: offer().id(), task: 0, replica: 0 }
}

fn volunteer() -> PublicKey {
    key(4).public()
}

fn lease() -> Verified<Lease> {
    let lease = Lease {
        project: key(1).public().into(),
        task: task(),
        epoch: 1,
        volunteer: volunteer(),
        runtime: Runtime::Wasm,
        granted: EXPIRES,
        term_ms: 30_000,
        deadline: None,
        expires: EXPIRES,
    };
    Verified::sign(lease, &key(3))
}

fn renewal() -> Verified<Renewal> {
    let renewal = Renewal {
        leases: vec![lease().id()],
        offer: offer().id(),
        epoch: 1,
        intent: Intent::Release,
        lost: false,
        issued: EXPIRES,
        expires: EXPIRES,
    };
    Verified::sign(renewal, &key(4))
}

fn result() -> Verified<JobResult> {
    let encapsulated = Encapsulated::from_bytes([7; 32]);
    let report = Sealed { to: encryption(), encapsulated, number: 3, body: vec![7; 528] };
    let result = JobResult {
        project: key(1).public().into(),
        task: task(),
        lease: lease().envelope().clone(),
        blobs: vec![Blob { hash: BlobHash::of(b"a log"), size: 528 }],
        report,
        expires: EXPIRES,
    };
    Verified::sign(result, &key(4))
}

fn receipt() -> Verified<Receipt> {
    let receipt = Receipt {
        project: key(1).public().into(),
        result: result().id(),
        task: task(),
        volunteer: volunteer(),
        verdict: Verdict::Accepted(Credit(1)),
        issued: EXPIRES,
        delegation: envelope_of_delegation(),
        expires: EXPIRES,
    };
    Verified::sign(receipt, &key(2))
}
