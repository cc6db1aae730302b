//! Brokers as real processes, with a master and a volunteer that speak the protocol to them: over
//! the mesh, and through the door. What is true of one way is true of the other.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{
    Ad, Blob, Claim, Credit, Delegation, Ended, Home, JobResult, Lease, Offer, Package,
    Permissions, Receipt, Registration, Report, TaskId, USUAL_PRIORITY, Verdict,
};
use capability::{
    BlobHash, BlobKey, Capabilities, DecryptionKey, Ed25519, Facts, HpkeSealer, JobSpec, Limits,
    Platform, PublicKey, Requirements, Resources, Runtime, RuntimeFacts, SecretKey, Signer, Step,
    Verified,
};
use mesh_core::{
    Answer, Ask, Bundle, Cargo, Handover, HandoverAnswer, MAX_HOPS, Now, Offered, Published,
    Refusal, Wants, decode_bundles, encode_answers, seal,
};
use mesh_net::{Config, Event, Protocol, Role};
use mesh_shell::{Clock, Link, Storage, public_key};
use serde_json::Value;
use support::visitor::{Visitor, beside};
use support::{Process, directory, program, text};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// How somebody reaches a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Mesh,
    Door,
}

/// Where a broker can be reached.
struct Place {
    address: String,
    door: String,
}

impl Place {
    fn of(broker: &mut Process) -> Self {
        Self { address: broker.address(), door: broker.door() }
    }
}

/// Somebody who goes to brokers, and takes what they hand over.
struct Client {
    way: Way,
    link: Link,
    key: Arc<SecretKey>,
    clock: Clock,
    /// Once it has come to a door.
    visitor: Option<Visitor>,
    bundles: mpsc::UnboundedSender<Bundle>,
    arrived: mpsc::UnboundedReceiver<Bundle>,
    _directory: TempDir,
}

impl Client {
    async fn start(way: Way, seed: u8) -> Self {
        let directory = directory();
        let key = Arc::new(SecretKey::from_seed(&[seed; 32]));
        let clock = Clock::new();
        let storage = Storage::open(directory.path(), 1 << 20).expect("opened");
        let config = Config::new(*key.seed(), Role::Client);
        let (net, mut events) = mesh_net::start(config).await.expect("started");
        let link = Link::new(net, storage, key.clone(), clock);
        let (bundles, arrived) = mpsc::unbounded_channel();
        let (serving, taking) = (link.clone(), bundles.clone());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Request { protocol: Protocol::Custody, data, reply, .. } => {
                        let came = decode_bundles(&data, &Ed25519).expect("a handover");
                        let taken = vec![HandoverAnswer::Taken; came.len()];
                        reply.send(encode_answers(&taken)).expect("a small answer");
                        for bundle in came {
                            let bundle = bundle.expect("brokers hand over what is sound");
                            drop(taking.send(bundle));
                        }
                    }
                    Event::Blob(incoming) => serving.serve_blob(incoming, None).await,
                    _ => (),
                }
            }
        });
        Self { way, link, key, clock, visitor: None, bundles, arrived, _directory: directory }
    }

    async fn go_to(&mut self, place: &Place) -> PublicKey {
        if self.way == Way::Mesh {
            let address = place.address.parse().expect("a logged address");
            return public_key(self.link.net().dial(address).await.expect("reached"));
        }
        let (door, key, bundles) = (place.door.clone(), self.key.clone(), self.bundles.clone());
        let visitor = beside(move || Visitor::come(&door, key)).await;
        self.visitor = Some(visitor.clone());
        let broker = visitor.broker;
        std::thread::spawn(move || collect(&visitor, &bundles));
        broker
    }

    async fn ask(&self, broker: PublicKey, ask: Ask) -> Answer {
        let Some(visitor) = self.visitor.clone() else {
            return self.link.ask(broker, &ask).await.expect("an answer");
        };
        let package = match &ask {
            Ask::Publish { offers, .. } => Some(self.bytes(offers[0].offer.package.hash)),
            _ => None,
        };
        beside(move || {
            if let Some((hash, bytes)) = package {
                let came = visitor.put(hash, bytes.len(), &[], &bytes);
                assert_eq!(came.status(), 200, "{}", support::visitor::text(&came));
            }
            visitor.ask(&ask)
        })
        .await
    }

    /// Sends the bytes of a request as they are.
    async fn ask_frame(&self, broker: PublicKey, frame: Vec<u8>) -> Answer {
        match self.visitor.clone() {
            Some(visitor) => beside(move || visitor.call(frame)).await,
            None => {
                let answer = self.link.net().request(Protocol::Call, broker.into(), frame).await;
                Answer::decode(&answer.expect("an answer"), &Ed25519).expect("sound")
            }
        }
    }

    async fn hand_over(&self, broker: PublicKey, bundle: &Bundle) {
        let Some(visitor) = self.visitor.clone() else {
            let handover = Handover { to: broker, bundles: vec![bundle.clone()] };
            return assert_eq!(self.link.hand_over(handover).await, [(bundle.id(), Ok(()))]);
        };
        let blobs: Vec<_> = bundle.blobs().iter().map(|(hash, _)| self.bytes(*hash)).collect();
        let bundle = bundle.clone();
        beside(move || {
            let mut answer = visitor.hand_over(&bundle);
            if let HandoverAnswer::Missing(missing) = &answer {
                assert_eq!(missing.len(), blobs.len());
                for (hash, bytes) in blobs {
                    assert_eq!(visitor.put(hash, bytes.len(), &[], &bytes).status(), 200);
                }
                answer = visitor.hand_over(&bundle);
            }
            assert_eq!(answer, HandoverAnswer::Taken);
        })
        .await;
    }

    async fn fetch(&self, broker: PublicKey, package: Package) {
        let Some(visitor) = self.visitor.clone() else {
            let Package { hash, size } = package;
            return self.link.fetch(broker, hash, size).await.expect("pulled through");
        };
        let came = beside(move || visitor.get(package.hash, package.size, &[])).await;
        assert_eq!(BlobHash::of(came.body()), package.hash, "{}", support::visitor::text(&came));
    }

    fn bytes(&self, hash: BlobHash) -> (BlobHash, Vec<u8>) {
        let path = self.link.storage().blobs().path(&blake3::Hash::from_bytes(*hash.as_bytes()));
        (hash, std::fs::read(path).expect("stored before"))
    }

    async fn next_bundle(&mut self) -> Bundle {
        let arrived = tokio::time::timeout(support::PATIENCE, self.arrived.recv()).await;
        arrived.expect("in time").expect("the client runs")
    }

    fn store(&self, bytes: &[u8]) -> Package {
        let mut writer = self.link.storage().blobs().create(1 << 10).expect("room");
        writer.append(bytes).expect("appended");
        let (hash, size) = writer.finish(None).expect("stored");
        Package { hash: BlobHash::from_bytes(*hash.as_bytes()), size }
    }
}

/// Collects until the client or the broker has gone.
fn collect(visitor: &Visitor, bundles: &mpsc::UnboundedSender<Bundle>) {
    let mut taken = Vec::new();
    while !bundles.is_closed() {
        let Some(collected) = visitor.try_collect(&taken) else { return };
        taken = collected.iter().map(Bundle::id).collect();
        for bundle in collected {
            drop(bundles.send(bundle));
        }
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `master` publishes for a project of its own, with `home` as home.
fn publication(master: &Client, home: PublicKey, package: Package) -> (Ask, Verified<Offer>) {
    let now = master.clock.now().wall;
    let project = SecretKey::from_seed(&[99; 32]);
    let delegation = Delegation {
        node: master.key.public(),
        encryption: encryption().public(),
        expires: now + 30 * DAY,
    };
    let delegation = Verified::sign(delegation, &project).envelope().clone();
    let registration = Registration {
        name: "Example".to_owned(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions::default(),
        checks: Vec::new(),
        expires: now + 30 * DAY,
    };
    let home = Home {
        project: project.public().into(),
        epoch: 1,
        home,
        standbys: Vec::new(),
        delegation: delegation.clone(),
        expires: now + 20 * DAY,
    };
    let offer = Offer {
        project: project.public().into(),
        name: "job".to_owned(),
        builder: "builder".to_owned(),
        tasks: 2,
        replicas: 1,
        package,
        private: None,
        requirements: Requirements {
            runtimes: vec![Runtime::Wasm],
            clauses: Vec::new(),
            rank: Vec::new(),
        },
        job: JobSpec {
            environment: BTreeMap::new(),
            steps: vec![Step { name: "run".to_owned(), run: vec!["job.wasm".to_owned()] }],
            limits: Limits { memory: 1 << 20, disk: 1 << 20, ..Limits::default() },
            artifacts: Vec::new(),
            tap: None,
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        offline_ms: 0,
        priority: USUAL_PRIORITY,
        issued: now,
        delegation,
        expires: now + DAY,
    };
    let offer = Verified::sign(offer, master.key.as_ref());
    let ask = Ask::Publish {
        registration: Verified::sign(registration, &project),
        home: Verified::sign(home, master.key.as_ref()),
        offers: vec![Published { offer: offer.clone(), again: false, settled: Vec::new() }],
    };
    (ask, offer)
}

/// The encryption key of whoever is here.
fn encryption() -> DecryptionKey {
    DecryptionKey::from_seed(&[9; 32])
}

fn ad(volunteer: &Client, broker: PublicKey) -> Verified<Ad> {
    let Now { wall, .. } = volunteer.clock.now();
    let inside = RuntimeFacts { strength: "wasm".to_owned(), facts: Facts::new() };
    let capabilities = Capabilities {
        platform: Platform::current(),
        resources: Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 },
        runtimes: [(Runtime::Wasm, inside)].into(),
    };
    let (encryption, expires) = (encryption().public(), wall + Duration::from_secs(3600));
    let ad = Ad { seq: wall.0, broker, capabilities, encryption, expires };
    Verified::sign(ad, volunteer.key.as_ref())
}

fn pull() -> Ask {
    let free = Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 };
    let runtimes = vec![Runtime::Wasm];
    let (projects, except) = (Vec::new(), Vec::new());
    Ask::Pull { wants: Wants { runtimes, free, projects, except, wait_ms: None } }
}

fn claim(volunteer: &Client, ad: &Verified<Ad>, offered: &Offered) -> Ask {
    let claim = Claim {
        offer: offered.offer.id(),
        epoch: offered.home.epoch,
        count: 1,
        runtime: Runtime::Wasm,
        ad: ad.envelope().clone(),
        ownership: None,
        offline: false,
        nonce: 1,
        expires: volunteer.clock.now().wall + Duration::from_secs(60),
    };
    let claim = Verified::sign(claim, volunteer.key.as_ref());
    Ask::Claim { claims: vec![claim], home: offered.home.home, hops: MAX_HOPS }
}

fn result(volunteer: &Client, lease: &Verified<Lease>) -> Verified<JobResult> {
    let now = volunteer.clock.now().wall;
    let report = Report {
        ended: Ended::Passed,
        steps: Vec::new(),
        artifacts: Vec::new(),
        key: BlobKey::from_bytes([1; 32]),
        platform: Platform::current(),
        system: String::new(),
        runtime: Runtime::Wasm,
        ownership: None,
        started: now,
        finished: now,
        resumed: 0,
    };
    let sealer = HpkeSealer::new([1; 32]);
    let result = JobResult::new(lease, Vec::new(), &report, encryption().public(), &sealer);
    Verified::sign(result, volunteer.key.as_ref())
}

fn receipt(
    master: &Client,
    publication: &Verified<Offer>,
    result: &Verified<JobResult>,
) -> Receipt {
    let now = master.clock.now().wall;
    Receipt {
        project: result.project,
        result: result.id(),
        task: result.task,
        volunteer: result.signer(),
        verdict: Verdict::Accepted(Credit(1)),
        issued: now,
        delegation: publication.delegation.clone(),
        expires: now + 10 * DAY,
    }
}

fn links(status: &Value) -> usize {
    let peers = status["peers"].as_array().map_or(&[][..], Vec::as_slice);
    peers.iter().filter(|peer| peer["role"] == "broker").count()
}

#[test]
fn brokers_find_each_other_from_one_that_they_know_and_end_when_asked() {
    let places = [directory(), directory(), directory()];
    let mut first = Process::start(places[0].path(), &[]);
    let known = first.address();
    let mut others: Vec<_> = places[1..]
        .iter()
        .map(|place| Process::start(place.path(), &["--bootstrap", &known]))
        .collect();
    for broker in &mut others {
        broker.event("link up");
        let http = text(&broker.event("http")["address"]);
        let status = broker.status(&http, |status| links(status) == 2);
        assert_eq!(status["reachable"], 2, "{status:#}");
    }
    assert_eq!(first.terminate(), Some(0));
}

#[test]
fn the_node_key_stays_and_completes_addresses() {
    let place = directory();
    let key = |args: &[&str]| {
        let mut command = program();
        let output = command.arg("key").args(args).arg("--state").arg(place.path()).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let printed = key(&["/dns4/broker.example/tcp/4077"]);
    let lines: Vec<_> = printed.lines().collect();
    assert!(lines[0].parse::<PublicKey>().is_ok(), "{printed}");
    assert!(lines[1].starts_with("/dns4/broker.example/tcp/4077/p2p/12D3KooW"), "{printed}");
    assert_eq!(key(&[]).trim(), lines[0]);

    let mut broker = Process::start(place.path(), &[]);
    let id = lines[1].rsplit('/').next().expect("the peer id");
    assert!(broker.address().ends_with(id));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_through_two_brokers_though_its_home_is_killed_meanwhile() {
    job_through_two_brokers(Way::Mesh).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn so_does_one_of_a_volunteer_at_the_door() {
    job_through_two_brokers(Way::Door).await;
}

async fn job_through_two_brokers(way: Way) {
    let (home_place, near_place) = (directory(), directory());
    let mut home = Process::start(home_place.path(), &[]);
    let home_address = home.address();
    let port = home_address.split("/p2p/").next().expect("the address").to_owned();
    let mut near = Process::start(near_place.path(), &["--bootstrap", &home_address]);
    let near_at = Place::of(&mut near);
    near.event("link up");

    let mut master = Client::start(Way::Mesh, 1).await;
    let mut volunteer = Client::start(way, 2).await;
    let home_at = Place { address: home_address, door: home.door() };
    let home_key = master.go_to(&home_at).await;
    let near_key = volunteer.go_to(&near_at).await;
    let ad = ad(&volunteer, near_key);
    let left = volunteer.ask(near_key, Ask::Advertise { ad: ad.clone() }).await;
    assert_eq!(left, Answer::Done);

    // Without its package an offer is not taken; with it, it is, and the volunteer hears of it.
    let nowhere = Package { hash: BlobHash::of(b"nowhere"), size: 7 };
    let (early, _) = publication(&master, home_key, nowhere);
    assert!(master.link.ask(home_key, &early).await.is_err(), "there is nothing to send");
    let package = master.store(b"package");
    let (publish, offer) = publication(&master, home_key, package);
    assert_eq!(master.ask(home_key, publish.clone()).await, Answer::Done);
    home.event("offer taken");
    let offered = loop {
        match volunteer.ask(near_key, pull()).await {
            Answer::Offers(mut offers) if !offers.is_empty() => break offers.remove(0),
            Answer::Offers(_) => (),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(offered.offer, offer);
    let ask = claim(&volunteer, &ad, &offered);
    let Answer::Leases(leases) = volunteer.ask(near_key, ask).await else { panic!("no lease") };
    assert_eq!((leases.len(), leases[0].signer()), (1, home_key));
    volunteer.fetch(near_key, package).await;

    home.kill();
    let result = result(&volunteer, &leases[0]);
    let bundle = Bundle { cargo: Cargo::Result(result.clone()), via: near_key };
    volunteer.hand_over(near_key, &bundle).await;

    let mut home = Process::start(home_place.path(), &["--listen", &port]);
    home.event("listening");
    let http = text(&home.event("http")["address"]);
    let status = home.status(&http, |status| links(status) == 1);
    let counts = &status["offers"][0]["counts"];
    assert_eq!(counts["open"], 1, "the lease was remembered: {status:#}");
    assert_eq!(master.go_to(&home_at).await, home_key);
    let mut again = publish;
    if let Ask::Publish { offers, .. } = &mut again {
        offers[0].again = true;
    }
    assert_eq!(master.ask(home_key, again).await, Answer::Done, "it has not forgotten");
    assert_eq!(master.next_bundle().await, bundle);

    let receipt = Verified::sign(receipt(&master, &offer, &result), master.key.as_ref());
    let receipt = Bundle { cargo: Cargo::Receipt(receipt), via: near_key };
    master.hand_over(home_key, &receipt).await;
    assert_eq!(volunteer.next_bundle().await, receipt);
    home.status(&http, |status| status["offers"][0]["counts"]["done"] == 1);
}

/// `publish` in a new epoch of the same home.
fn in_epoch(epoch: u64, master: &Client, publish: &Ask) -> Ask {
    let mut anew = publish.clone();
    if let Ask::Publish { home, .. } = &mut anew {
        *home = Verified::sign(Home { epoch, ..(**home).clone() }, master.key.as_ref());
    }
    anew
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_restored_from_a_back_up_grants_nothing_until_a_new_epoch() {
    let place = directory();
    let mut broker = Process::start(place.path(), &[]);
    let at = Place::of(&mut broker);
    let port = at.address.split("/p2p/").next().expect("the address").to_owned();
    let http = text(&broker.event("http")["address"]);
    let mut master = Client::start(Way::Mesh, 5).await;
    let mut volunteer = Client::start(Way::Mesh, 6).await;
    let key = master.go_to(&at).await;
    volunteer.go_to(&at).await;
    let (publish, offer) = publication(&master, key, master.store(b"package"));
    assert_eq!(master.ask(key, publish.clone()).await, Answer::Done);
    let Ask::Publish { home, .. } = &publish else { unreachable!("a publication") };
    let offered =
        Offered { offer, home: home.clone(), registration: None, others: None, home_unseen: None };
    let ad = ad(&volunteer, key);

    let backup = place.path().join("back-up");
    let operator = |command: &str| {
        let mut program = program();
        program.arg(command).arg(&backup).arg("--state").arg(place.path());
        let done = support::end_of(program.env("TALKOOT_HTTP", &http));
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    };
    operator("backup");
    let granted = volunteer.ask(key, claim(&volunteer, &ad, &offered)).await;
    let Answer::Leases(leases) = granted else { panic!("{granted:?}") };
    broker.kill();
    std::fs::rename(place.path().join("store"), place.path().join("store.old")).expect("moved");
    operator("restore");

    let mut broker = Process::start(place.path(), &["--listen", &port]);
    broker.event("listening");
    for client in [&mut master, &mut volunteer] {
        assert_eq!(client.go_to(&at).await, key);
    }
    let refused = volunteer.ask(key, claim(&volunteer, &ad, &offered)).await;
    assert_eq!(refused, Answer::Refused(Refusal::UnknownOffer), "{leases:?} are forgotten");
    assert_eq!(master.ask(key, publish.clone()).await, Answer::Refused(Refusal::Forgotten));

    let anew = in_epoch(2, &master, &publish);
    assert_eq!(master.ask(key, anew.clone()).await, Answer::Done);
    let Ask::Publish { home, .. } = anew else { unreachable!("a publication") };
    let offered = Offered { home, ..offered };
    let granted = volunteer.ask(key, claim(&volunteer, &ad, &offered)).await;
    assert!(matches!(granted, Answer::Leases(leases) if leases[0].epoch == 2));
}

async fn dial(client: &Client, address: &str) -> PublicKey {
    let address = address.parse().expect("a logged address");
    public_key(client.link.net().dial(address).await.expect("reached"))
}

/// A command of the operator of the broker at `place`, which succeeds.
fn operate(place: &TempDir, http: &str, arguments: &[&str]) {
    let mut program = program();
    program.args(arguments).arg("--state").arg(place.path()).env("TALKOOT_HTTP", http);
    let done = support::end_of(&mut program);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_package_that_was_taken_down_is_neither_served_nor_taken_and_says_why() {
    let place = directory();
    let mut broker = Process::start(place.path(), &[]);
    let (address, http) = (broker.address(), text(&broker.event("http")["address"]));
    let (master, volunteer) =
        (Client::start(Way::Mesh, 7).await, Client::start(Way::Mesh, 8).await);
    let key = dial(&master, &address).await;
    dial(&volunteer, &address).await;
    let package = master.store(b"package");
    let (publish, _) = publication(&master, key, package);
    assert_eq!(master.ask(key, publish.clone()).await, Answer::Done);

    operate(&place, &http, &["take-down", &package.hash.to_string(), "--reason", "malware"]);
    let refused = volunteer.link.fetch(key, package.hash, package.size).await;
    let why = mesh_shell::chain(&refused.expect_err("taken down"));
    assert!(why.contains("malware"), "{why}");
    let refused = master.link.ask(key, &publish).await.expect_err("its package is not taken");
    assert!(mesh_shell::chain(&refused).contains("malware"), "{refused:?}");
    let (door, bytes) = (broker.door(), b"package");
    let at_door = move |visitor: Visitor| {
        let brought = visitor.put(package.hash, bytes.len(), &[], bytes);
        [visitor.get(package.hash, package.size, &[]), brought]
    };
    let visitor = Arc::new(SecretKey::from_seed(&[9; 32]));
    for came in beside(move || at_door(Visitor::come(&door, visitor))).await {
        let said = support::visitor::text(&came);
        assert!(came.status() == 403 && said.contains("malware"), "{said}");
    }
    operate(&place, &http, &["put-back", &package.hash.to_string()]);
    assert_eq!(master.ask(key, publish).await, Answer::Done);
    volunteer.link.fetch(key, package.hash, package.size).await.expect("served again");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_blocked_by_key_or_by_address_is_disconnected_and_not_let_in() {
    let place = directory();
    let mut broker = Process::start(place.path(), &[]);
    let (address, http) = (broker.address(), text(&broker.event("http")["address"]));
    let volunteer = Client::start(Way::Mesh, 9).await;
    let key = dial(&volunteer, &address).await;
    for whom in [volunteer.key.public().to_string(), "127.0.0.0/8".to_owned()] {
        let left = Ask::Advertise { ad: ad(&volunteer, key) };
        assert_eq!(volunteer.ask(key, left.clone()).await, Answer::Done);
        operate(&place, &http, &["block", &whom]);
        broker.status(&http, |status| status["connected"] == 0);
        // The network may admit a connection for the moment that it takes to see where it is from.
        drop(volunteer.link.net().dial(address.parse().expect("an address")).await);
        assert!(volunteer.link.ask(key, &left).await.is_err(), "{whom}");
        operate(&place, &http, &["unblock", &whom]);
        assert_eq!(dial(&volunteer, &address).await, key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_over_a_limit_is_told_when_to_come_again_and_then_gets_an_answer() {
    let place = directory();
    let config = place.path().join("broker.toml");
    let limits = "[limits.key]\ncalls = { a-minute = 600, burst = 3 }\n\
                  custody = { a-minute = 1, burst = 1 }\n\
                  uploads = { a-minute = 1, burst = 1 }\n";
    std::fs::write(&config, limits).expect("written");
    let mut broker =
        Process::start(&place.path().join("state"), &["--config", &config.to_string_lossy()]);
    let (address, http) = (broker.address(), text(&broker.event("http")["address"]));
    let volunteer = Client::start(Way::Mesh, 10).await;
    let key = dial(&volunteer, &address).await;
    let ask = || volunteer.ask(key, Ask::Ad { volunteer: volunteer.key.public() });
    let wait = loop {
        if let Answer::Refused(Refusal::SlowDown(wait)) = ask().await {
            break wait;
        }
    };
    assert!((1..=100).contains(&wait), "600 a minute are one in 100 ms: {wait}");
    tokio::time::sleep(Duration::from_millis(wait.into())).await;
    assert_eq!(ask().await, Answer::Ads(Vec::new()));
    let status = broker.status(&http, |status| status["limited"] == 1);
    assert!(status["times-limited"].as_u64() >= Some(1));

    // Who has taken nothing may take more than a burst, and then has to wait.
    let (door, key) = (broker.door(), Arc::new(SecretKey::from_seed(&[11; 32])));
    let put =
        |visitor: &Visitor, bytes: &[u8]| visitor.put(BlobHash::of(bytes), bytes.len(), &[], bytes);
    let came = beside(move || {
        let visitor = Visitor::come(&door, key);
        [put(&visitor, b"first"), put(&visitor, b"second")]
    });
    let [first, second] = came.await;
    assert_eq!(first.status(), 200, "{}", support::visitor::text(&first));
    let said = support::visitor::text(&second);
    assert!(second.status() == 429 && said.contains("room again"), "{said}");
    let seconds: u64 = support::visitor::header(&second, "retry-after").parse().expect("seconds");
    assert!((50..=61).contains(&seconds), "a burst of one at one a minute: {seconds}");
}

/// A broker, and somebody at it.
async fn scene(way: Way) -> (Process, Client, PublicKey, TempDir) {
    let place = directory();
    let mut broker = Process::start(place.path(), &[]);
    let mut client = Client::start(way, 3).await;
    let key = client.go_to(&Place::of(&mut broker)).await;
    (broker, client, key, place)
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_refuse_the_same() {
    for way in [Way::Mesh, Way::Door] {
        a_claim_for_a_home_that_is_nowhere_is_refused_at_once(way).await;
        a_request_is_taken_once_and_only_by_its_audience(way).await;
        an_offer_without_its_package_is_refused(way).await;
        what_is_no_bundle_and_of_no_known_project_stays_with_its_sender(way).await;
    }
}

async fn a_claim_for_a_home_that_is_nowhere_is_refused_at_once(way: Way) {
    let (_broker, volunteer, key, _place) = scene(way).await;
    let nobody = SecretKey::from_seed(&[9; 32]).public();
    let (publish, offer) =
        publication(&volunteer, nobody, Package { hash: BlobHash::of(b""), size: 0 });
    let Ask::Publish { home, .. } = publish else { unreachable!("a publication") };
    let offered = Offered { offer, home, registration: None, others: None, home_unseen: None };
    let ask = claim(&volunteer, &ad(&volunteer, key), &offered);
    assert_eq!(volunteer.ask(key, ask).await, Answer::Refused(Refusal::NoRoute));
}

async fn a_request_is_taken_once_and_only_by_its_audience(way: Way) {
    let (_broker, client, key, _place) = scene(way).await;
    let sealed = |audience, nonce| {
        let ask = Ask::Registrations { projects: Vec::new() };
        let request = seal(&ask, audience, nonce, client.clock.now().wall, client.key.as_ref());
        request.envelope().as_bytes().to_vec()
    };
    let request = sealed(key, 1);
    let answer = client.ask_frame(key, request.clone()).await;
    assert_eq!(answer, Answer::Registrations(Vec::new()));
    let elsewhere = sealed(SecretKey::from_seed(&[9; 32]).public(), 2);
    for (frame, says) in [(request, "seen before"), (elsewhere, "for"), (vec![0], "request")] {
        let answer = client.ask_frame(key, frame).await;
        let Answer::Refused(Refusal::Invalid(why)) = &answer else { panic!("{answer:?}") };
        assert!(why.contains(says), "{why}");
    }
}

async fn an_offer_without_its_package_is_refused(way: Way) {
    let (_broker, client, key, _place) = scene(way).await;
    let nowhere = Package { hash: BlobHash::of(b"nowhere"), size: 7 };
    let (publish, _) = publication(&client, key, nowhere);
    let request = seal(&publish, key, 1, client.clock.now().wall, client.key.as_ref());
    let answer = client.ask_frame(key, request.envelope().as_bytes().to_vec()).await;
    let Answer::Refused(Refusal::Invalid(why)) = &answer else { panic!("{answer:?}") };
    assert!(why.contains("package must be sent"), "{why}");
}

async fn what_is_no_bundle_and_of_no_known_project_stays_with_its_sender(way: Way) {
    let (_broker, client, key, _place) = scene(way).await;
    let offer_frame = |frame: Vec<u8>| async {
        match client.visitor.clone() {
            Some(visitor) => beside(move || visitor.offer_custody(frame)).await,
            None => {
                let answer = client.link.net().request(Protocol::Custody, key.into(), frame).await;
                HandoverAnswer::decode(&answer.expect("an answer")).expect("sound")
            }
        }
    };
    let (_, offer) = publication(&client, key, client.store(b"package"));
    let lease = lease(&client, &offer);
    let receipt = receipt(&client, &offer, &result(&client, &lease));
    let cargo = Cargo::Receipt(Verified::sign(receipt, client.key.as_ref()));
    let unknown = Bundle { cargo, via: key }.encode();
    for (frame, says) in [(vec![0xa0], "bundle"), (unknown, "no home")] {
        let answer = offer_frame(frame).await;
        let HandoverAnswer::Refused(why) = &answer else { panic!("{answer:?}") };
        assert!(why.contains(says), "{why}");
    }
}

/// A lease that the client grants itself.
fn lease(client: &Client, offer: &Verified<Offer>) -> Verified<Lease> {
    let now = client.clock.now().wall;
    let lease = Lease {
        project: offer.project,
        task: TaskId { offer: offer.id(), task: 0, replica: 0 },
        epoch: 1,
        volunteer: client.key.public(),
        runtime: Runtime::Wasm,
        granted: now,
        term_ms: 30_000,
        deadline: None,
        expires: offer.expires,
    };
    Verified::sign(lease, client.key.as_ref())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_master_and_a_volunteer_at_one_door_need_no_mesh() {
    let (mut broker, mut master, key, _place) = scene(Way::Door).await;
    let door = master.visitor.as_ref().expect("at the door").base.clone();
    let at = Place { address: String::new(), door };
    let mut volunteer = Client::start(Way::Door, 5).await;
    volunteer.go_to(&at).await;
    let ad = ad(&volunteer, key);
    let left = volunteer.ask(key, Ask::Advertise { ad: ad.clone() }).await;
    assert_eq!(left, Answer::Done);
    let (publish, offer) = publication(&master, key, master.store(b"package"));
    assert_eq!(master.ask(key, publish).await, Answer::Done);
    let Answer::Offers(offers) = volunteer.ask(key, pull()).await else { panic!("no offers") };
    let ask = claim(&volunteer, &ad, &offers[0]);
    let Answer::Leases(leases) = volunteer.ask(key, ask).await else { panic!("no lease") };
    volunteer.fetch(key, offer.package).await;

    let log = volunteer.store(b"what the job said");
    let blobs = vec![Blob { hash: log.hash, size: log.size }];
    let result = JobResult { blobs, ..JobResult::clone(&result(&volunteer, &leases[0])) };
    let result = Verified::sign(result, volunteer.key.as_ref());
    let bundle = Bundle { cargo: Cargo::Result(result.clone()), via: key };
    volunteer.hand_over(key, &bundle).await;
    assert_eq!(master.next_bundle().await, bundle);
    master.fetch(key, log).await;

    // Whoever collects gets what is for its own key.
    let mut nosy = Client::start(Way::Door, 6).await;
    nosy.go_to(&at).await;
    let receipt = Verified::sign(receipt(&master, &offer, &result), master.key.as_ref());
    let receipt = Bundle { cargo: Cargo::Receipt(receipt), via: key };
    master.hand_over(key, &receipt).await;
    assert_eq!(volunteer.next_bundle().await, receipt);
    broker.event("handed over");
    assert!(nosy.arrived.try_recv().is_err(), "nothing is for it");
}

/// Needs root, for the disk; CI has it.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_without_room_for_what_follows_takes_no_offer() {
    if !rustix::process::geteuid().is_root() {
        assert!(std::env::var_os("CI").is_none(), "CI runs as root, to make a small disk");
        eprintln!("NOT RUN: only root can make a small disk");
        return;
    }
    let place = directory();
    let mut broker = Process::start_on_small_disk(place.path(), "48m");
    let address = broker.address();
    let mut master = Client::start(Way::Mesh, 4).await;
    let door = broker.door();
    let key = master.go_to(&Place { address, door: door.clone() }).await;
    let (publish, _) = publication(&master, key, master.store(b"package"));
    let refused = master.link.ask(key, &publish).await.expect_err("there is no room");
    let reason = mesh_shell::chain(&refused);
    assert!(reason.contains("the disk is full"), "{reason}");
    let (hash, bytes) = master.bytes(master.store(b"package").hash);
    let came = beside(move || Visitor::come(&door, master.key.clone()).put(hash, 7, &[], &bytes));
    let came = came.await;
    assert_eq!(came.status(), 507, "{}", support::visitor::text(&came));
    assert!(support::visitor::text(&came).contains("the disk is full"));
}
