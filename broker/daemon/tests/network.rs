//! Brokers as real processes, with a master and a volunteer that speak the protocol to them.

mod support;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{
    Ad, Claim, Credit, Delegation, Ended, Home, JobResult, Lease, Offer, Package, Permissions,
    Receipt, Registration, USUAL_PRIORITY, Verdict,
};
use capability::{
    BlobHash, Capabilities, Ed25519, Facts, JobSpec, Limits, Platform, PublicKey, Requirements,
    Resources, Runtime, RuntimeFacts, SecretKey, Signer, Step, Verified,
};
use mesh_core::{
    Answer, Ask, Bundle, Cargo, HandoverAnswer, MAX_HOPS, Now, Offered, Refusal, Wants,
};
use mesh_net::{Config, Event, Protocol, Role};
use mesh_shell::{Clock, Link, Storage, public_key};
use serde_json::Value;
use support::{Process, directory, program, text};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Somebody who dials brokers, and takes what they hand over.
struct Client {
    link: Link,
    key: Arc<SecretKey>,
    clock: Clock,
    arrived: mpsc::UnboundedReceiver<Bundle>,
    _directory: TempDir,
}

impl Client {
    async fn start(seed: u8) -> Self {
        let directory = directory();
        let key = Arc::new(SecretKey::from_seed(&[seed; 32]));
        let clock = Clock::new();
        let storage = Storage::open(directory.path(), 1 << 20).expect("opened");
        let config = Config::new(*key.seed(), Role::Client);
        let (net, mut events) = mesh_net::start(config).await.expect("started");
        let link = Link::new(net, storage, key.clone(), clock);
        let (bundles, arrived) = mpsc::unbounded_channel();
        let serving = link.clone();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Request { protocol: Protocol::Custody, data, reply, .. } => {
                        let bundle = Bundle::decode(&data, &Ed25519)
                            .expect("brokers hand over what is sound");
                        reply.send(HandoverAnswer::Taken.encode()).expect("a small answer");
                        drop(bundles.send(bundle));
                    }
                    Event::Blob(incoming) => serving.serve_blob(incoming, None).await,
                    _ => (),
                }
            }
        });
        Self { link, key, clock, arrived, _directory: directory }
    }

    async fn dial(&self, address: &str) -> PublicKey {
        let address = address.parse().expect("a logged address");
        public_key(self.link.net().dial(address).await.expect("reached"))
    }

    async fn ask(&self, broker: PublicKey, ask: Ask) -> Answer {
        self.link.ask(broker, &ask).await.expect("an answer")
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

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What `master` publishes for a project of its own, with `home` as home.
fn publication(master: &Client, home: PublicKey, package: Package) -> (Ask, Verified<Offer>) {
    let now = master.clock.now().wall;
    let project = SecretKey::from_seed(&[99; 32]);
    let delegation = Delegation { node: master.key.public(), expires: now + 30 * DAY };
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
        offer: offer.clone(),
        again: false,
        settled: Vec::new(),
    };
    (ask, offer)
}

fn ad(volunteer: &Client, broker: PublicKey) -> Verified<Ad> {
    let Now { wall, .. } = volunteer.clock.now();
    let inside = RuntimeFacts { strength: "wasm".to_owned(), facts: Facts::new() };
    let capabilities = Capabilities {
        platform: Platform::current(),
        resources: Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 },
        runtimes: [(Runtime::Wasm, inside)].into(),
    };
    let ad = Ad { seq: wall.0, broker, capabilities, expires: wall + Duration::from_secs(3600) };
    Verified::sign(ad, volunteer.key.as_ref())
}

fn pull() -> Ask {
    let free = Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 };
    let runtimes = vec![Runtime::Wasm];
    Ask::Pull { wants: Wants { runtimes, free, projects: Vec::new(), except: Vec::new() } }
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
    Ask::Claim { claim, home: offered.home.home, hops: MAX_HOPS }
}

fn result(volunteer: &Client, lease: &Verified<Lease>) -> Verified<JobResult> {
    let now = volunteer.clock.now().wall;
    let result = JobResult {
        project: lease.project,
        task: lease.task,
        lease: lease.envelope().clone(),
        ended: Ended::Passed,
        steps: Vec::new(),
        artifacts: Vec::new(),
        platform: Platform::current(),
        system: String::new(),
        runtime: Runtime::Wasm,
        ownership: None,
        started: now,
        finished: now,
        expires: lease.expires,
    };
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
    let (home_place, near_place) = (directory(), directory());
    let mut home = Process::start(home_place.path(), &[]);
    let home_address = home.address();
    let port = home_address.split("/p2p/").next().expect("the address").to_owned();
    let mut near = Process::start(near_place.path(), &["--bootstrap", &home_address]);
    let near_address = near.address();
    near.event("link up");

    let (mut master, mut volunteer) = (Client::start(1).await, Client::start(2).await);
    let home_key = master.dial(&home_address).await;
    let near_key = volunteer.dial(&near_address).await;
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
    volunteer.link.fetch(near_key, package.hash, package.size).await.expect("pulled through");

    home.kill();
    let result = result(&volunteer, &leases[0]);
    let bundle = Bundle { cargo: Cargo::Result(result.clone()), via: near_key };
    assert_eq!(volunteer.link.hand_over(near_key, &bundle).await, Ok(()));

    let mut home = Process::start(home_place.path(), &["--listen", &port]);
    home.event("listening");
    let http = text(&home.event("http")["address"]);
    let status = home.status(&http, |status| links(status) == 1);
    let counts = &status["offers"][0]["counts"];
    assert_eq!(counts["open"], 1, "the lease was remembered: {status:#}");
    assert_eq!(master.dial(&home_address).await, home_key);
    let mut again = publish;
    if let Ask::Publish { again, .. } = &mut again {
        *again = true;
    }
    assert_eq!(master.ask(home_key, again).await, Answer::Done, "it has not forgotten");
    assert_eq!(master.next_bundle().await, bundle);

    let receipt = Verified::sign(receipt(&master, &offer, &result), master.key.as_ref());
    let receipt = Bundle { cargo: Cargo::Receipt(receipt), via: near_key };
    assert_eq!(master.link.hand_over(home_key, &receipt).await, Ok(()));
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
    let address = broker.address();
    let port = address.split("/p2p/").next().expect("the address").to_owned();
    let http = text(&broker.event("http")["address"]);
    let (master, volunteer) = (Client::start(5).await, Client::start(6).await);
    let key = master.dial(&address).await;
    volunteer.dial(&address).await;
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
    for client in [&master, &volunteer] {
        assert_eq!(client.dial(&address).await, key);
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

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_for_a_home_that_is_nowhere_is_refused_at_once() {
    let place = directory();
    let mut broker = Process::start(place.path(), &[]);
    let address = broker.address();
    let volunteer = Client::start(3).await;
    let key = volunteer.dial(&address).await;
    let nobody = SecretKey::from_seed(&[9; 32]).public();
    let (publish, offer) =
        publication(&volunteer, nobody, Package { hash: BlobHash::of(b""), size: 0 });
    let Ask::Publish { home, .. } = publish else { unreachable!("a publication") };
    let offered = Offered { offer, home, registration: None, others: None, home_unseen: None };
    let ask = claim(&volunteer, &ad(&volunteer, key), &offered);
    assert_eq!(volunteer.ask(key, ask).await, Answer::Refused(Refusal::NoRoute));
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
    let master = Client::start(4).await;
    let key = master.dial(&address).await;
    let (publish, _) = publication(&master, key, master.store(b"package"));
    let refused = master.link.ask(key, &publish).await.expect_err("there is no room");
    let reason = mesh_shell::chain(&refused);
    assert!(reason.contains("the disk is full"), "{reason}");
}
