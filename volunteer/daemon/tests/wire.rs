//! The daemon at a broker that is played by the test: from the pull to the receipt, over TCP.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use capability::statements::{
    Claim, Credit, Delegation, Ended, Home, JobResult, Lease, Log, Offer, Package, Receipt, TaskId,
    Verdict,
};
use capability::{
    BlobHash, Ed25519, JobSpec, Limits, PublicKey, Requirements, Runtime, SecretKey, Signer, Step,
    Timestamp, Verified,
};
use mesh_core::{Answer, Ask, Bundle, Cargo, HandoverAnswer, Offered, RequestGuard};
use mesh_net::{Config, Event, IncomingBlob, Net, PeerKey, Protocol, Reply, Role};
use mesh_shell::{Clock, peer_key, public_key};
use serde_json::Value;
use tokio::sync::mpsc;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// So many that a share of the sweep takes no time.
const TASKS: u32 = 100_000;

const BROKER: u8 = 21;
const ADAPTER: u8 = 22;
const PROJECT: u8 = 23;

struct Broker {
    net: Net,
    events: mpsc::Receiver<Event>,
    address: String,
    now: Timestamp,
    package: tempfile::NamedTempFile,
    offered: Offered,
    /// Questions that are never answered: pulls after the first.
    held: Vec<Reply>,
    shown: bool,
    blobs: BTreeSet<BlobHash>,
}

impl Broker {
    /// A broker with an offer of `steps` on a package of `files`.
    async fn start(runtime: Runtime, steps: Vec<Step>, files: &[(&str, &[u8])]) -> Self {
        let mut config = Config::new(*key(BROKER).seed(), Role::Broker);
        config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
        let (net, mut events) = mesh_net::start(config).await.unwrap();
        let address = loop {
            if let Some(Event::Listening { address }) = events.recv().await {
                break address.to_string();
            }
        };
        let mut package = tempfile::NamedTempFile::new().unwrap();
        let mut archive = tar::Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            archive.append_data(&mut header, name, *content).unwrap();
        }
        let archive = archive.into_inner().unwrap();
        package.write_all(&archive).unwrap();
        let now = Clock::new().now().wall;
        let package_of = Package { hash: BlobHash::of(&archive), size: archive.len() as u64 };
        let offered = offered(package_of, runtime, steps, now);
        let (held, shown, blobs) = (Vec::new(), false, BTreeSet::new());
        Self { net, events, address, now, package, offered, held, shown, blobs }
    }

    /// Answers whatever the volunteer asks until it hands its result over; gives that.
    async fn serve(&mut self) -> (PeerKey, Verified<JobResult>) {
        let mut guard = RequestGuard::new(key(BROKER).public());
        loop {
            match self.events.recv().await.unwrap() {
                Event::Request { protocol: Protocol::Call, peer, data, reply } => {
                    let now = Clock::new().now().wall;
                    let ask = guard.admit(&data, public_key(peer), now, &Ed25519).unwrap();
                    self.answer(ask, public_key(peer), reply);
                }
                Event::Request { protocol: Protocol::Custody, peer, data, reply } => {
                    let bundle = Bundle::decode(&data, &Ed25519).unwrap();
                    let wanted = bundle.blobs().into_iter().map(|(hash, _)| hash);
                    let missing: Vec<_> = wanted.filter(|it| !self.blobs.contains(it)).collect();
                    if !missing.is_empty() {
                        reply.send(HandoverAnswer::Missing(missing).encode()).unwrap();
                        continue;
                    }
                    reply.send(HandoverAnswer::Taken.encode()).unwrap();
                    let Cargo::Result(result) = bundle.cargo else { panic!("not a result") };
                    return (peer, result);
                }
                Event::Blob(IncomingBlob::Get(get)) => {
                    let mut file = self.package.reopen().unwrap();
                    file.rewind().unwrap();
                    let size = self.offered.offer.package.size;
                    tokio::spawn(async move { get.serve(file, size).await.unwrap() });
                }
                Event::Blob(IncomingBlob::Put(put)) => {
                    self.blobs.insert(BlobHash::from_bytes(*put.hash.as_bytes()));
                    let received = put.receive_into(tempfile::tempfile().unwrap());
                    tokio::spawn(async move { received.await.unwrap().stored().await.unwrap() });
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, ask: Ask, peer: PublicKey, reply: Reply) {
        let answer = match ask {
            Ask::Advertise { ad } => {
                assert_eq!((ad.signer(), ad.broker), (peer, key(BROKER).public()));
                Answer::Done
            }
            Ask::Pull { .. } if self.shown => return self.held.push(reply),
            Ask::Pull { .. } => {
                self.shown = true;
                Answer::Offers(vec![self.offered.clone()])
            }
            Ask::Claim { claim, .. } => Answer::Leases(vec![self.lease(&claim, peer)]),
            Ask::Renew { .. } => Answer::Renewed { lapsed: Vec::new() },
            Ask::Registrations { .. } => Answer::Registrations(Vec::new()),
            Ask::KeyChanges { .. } => Answer::KeyChanges(Vec::new()),
            other => panic!("a volunteer does not ask {other:?}"),
        };
        reply.send(answer.encode()).unwrap();
    }

    fn lease(&self, claim: &Claim, volunteer: PublicKey) -> Verified<Lease> {
        let offer = &self.offered.offer;
        assert_eq!(claim.offer, offer.id());
        let lease = Lease {
            project: offer.project,
            task: TaskId { offer: offer.id(), task: 4, replica: 0 },
            epoch: claim.epoch,
            volunteer,
            runtime: claim.runtime.clone(),
            granted: self.now,
            term_ms: 30_000,
            expires: offer.expires,
        };
        Verified::sign(lease, &key(BROKER))
    }

    /// Where a runtime cannot be had the promise is that no job is taken that needs it.
    async fn expect_no_claim(&mut self) {
        let served = tokio::time::timeout(Duration::from_secs(3), self.serve()).await;
        assert!(served.is_err(), "a job came back from a runtime that is not there");
    }

    /// Brings the volunteer the receipt of `result`, as its master would sign it.
    async fn give_receipt(&self, to: PeerKey, result: &Verified<JobResult>) -> HandoverAnswer {
        let receipt = Receipt {
            project: result.project,
            result: result.id(),
            task: result.task,
            volunteer: result.signer(),
            verdict: Verdict::Accepted(Credit(1234)),
            issued: self.now,
            delegation: self.offered.offer.delegation.clone(),
            expires: self.offered.offer.expires,
        };
        let cargo = Cargo::Receipt(Verified::sign(receipt, &key(ADAPTER)));
        let frame = Bundle { cargo, via: key(BROKER).public() }.encode();
        let answer = self.net.request(Protocol::Custody, to, frame).await.unwrap();
        HandoverAnswer::decode(&answer).unwrap()
    }
}

fn offered(package: Package, runtime: Runtime, steps: Vec<Step>, now: Timestamp) -> Offered {
    let expires = now + DAY;
    let delegation = Delegation { node: key(ADAPTER).public(), expires };
    let delegation = Verified::sign(delegation, &key(PROJECT)).envelope().clone();
    let project = key(PROJECT).public().into();
    let offer = Offer {
        project,
        name: "hello".into(),
        builder: "b".into(),
        tasks: TASKS,
        replicas: 1,
        package,
        requirements: Requirements {
            runtimes: vec![runtime],
            clauses: Vec::new(),
            rank: Vec::new(),
        },
        job: JobSpec {
            environment: [].into(),
            steps,
            limits: Limits { memory: 256 << 20, disk: 16 << 20, ..Limits::default() },
            artifacts: vec!["out/*".into()],
            tap: None,
        },
        issued: now,
        delegation: delegation.clone(),
        expires,
    };
    let home = Home {
        project,
        epoch: 1,
        home: key(BROKER).public(),
        standbys: Vec::new(),
        delegation,
        expires,
    };
    let (offer, home) = (Verified::sign(offer, &key(ADAPTER)), Verified::sign(home, &key(ADAPTER)));
    Offered { offer, home, registration: None, others: None }
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn volunteer(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkoot-volunteer"));
    command.env("TALKOOT_STATE", directory.join("state"));
    command.env("TALKOOT_CONFIG", directory.join("volunteer.toml"));
    command
}

fn ask(directory: &Path, arguments: &[&str]) -> Value {
    let output = volunteer(directory).args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

fn start(directory: &Path, broker: &str) -> Daemon {
    start_with(directory, broker, "")
}

/// With `tables` at the end of the configuration.
fn start_with(directory: &Path, broker: &str, tables: &str) -> Daemon {
    let settings = format!("cores = 1\nmemory = \"512 MiB\"\n{tables}");
    std::fs::write(directory.join("volunteer.toml"), settings).unwrap();
    let uri = format!("talkoot:{}?broker={broker}", key(PROJECT).public());
    let added = volunteer(directory).args(["project", "add", &uri]).output().unwrap();
    assert!(added.status.success());
    let mut command = volunteer(directory);
    command.args(["--log", "warn", "run", "--http", "127.0.0.1:0"]);
    Daemon(command.stderr(Stdio::inherit()).spawn().unwrap())
}

/// Whether the daemon offers `runtime` on this machine.
fn is_offered(directory: &Path, runtime: &str) -> bool {
    let found = ask(directory, &["doctor", "--json"]);
    let mut found = found["runtimes"].as_array().unwrap().iter();
    found.any(|it| it["runtime"] == runtime && it["reason"].is_null())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_pulled_run_in_the_sandbox_returned_and_credited() {
    let directory = tempfile::tempdir().unwrap();
    let script = "head -c 5000 /dev/zero; mkdir out; cat input >out/copy; \
                  echo $TALKOOT_TASK_INDEX of $TALKOOT_TASK_COUNT >out/task; ls /root";
    let step = Step { name: "all".into(), run: ["sh", "-c", script].map(str::to_owned).into() };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("input", b"answer")]).await;
    let daemon = start(directory.path(), &broker.address.clone());
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }

    let (peer, result) = broker.serve().await;

    assert_eq!(result.ended, Ended::Failed, "there is no /root inside: {:?}", result.steps);
    assert_eq!((result.task.task, result.steps[0].exit), (4, Some(2)));
    assert!(matches!(result.steps[0].log, Log::Blob { size: 5000.., .. }));
    let artifacts: Vec<_> = result.artifacts.iter().map(|it| (it.path.as_str(), it.hash)).collect();
    let expected =
        [("out/copy", BlobHash::of(b"answer")), ("out/task", BlobHash::of(b"4 of 100000\n"))];
    assert_eq!(artifacts, expected);
    assert!(!result.system.is_empty());
    let jobs = directory.path().join("state/jobs");
    assert!(std::fs::read_dir(jobs).unwrap().next().is_none(), "something was left behind");
    assert_eq!(peer, peer_key(result.signer()));

    assert_eq!(broker.give_receipt(peer, &result).await, HandoverAnswer::Taken);
    let results = ask(directory.path(), &["results", "--json"]);
    assert_eq!(results["projects"][0]["credit"], 1234);
    assert_eq!(
        (&results["undelivered"], &results["receipts"][0]["verdict"]),
        (&0.into(), &"accepted".into())
    );
    drop(daemon);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_module_of_the_sweep_computes_its_share() {
    let directory = tempfile::tempdir().unwrap();
    let module = wat::parse_str(include_str!("../../../examples/sweep/sweep.wat")).unwrap();
    let step = Step { name: "sweep".into(), run: vec!["sweep.wasm".into()] };
    let files: [(&str, &[u8]); 2] = [("sweep.wasm", &module), ("out/placeholder", b"")];
    let mut broker = Broker::start(Runtime::Wasm, vec![step], &files).await;
    let _daemon = start(directory.path(), &broker.address.clone());
    if !is_offered(directory.path(), "wasm") {
        return broker.expect_no_claim().await;
    }

    let (_, result) = broker.serve().await;

    assert_eq!(result.ended, Ended::Passed, "{:?}", result.steps);
    let Log::Inline(log) = &result.steps[0].log else { panic!("a short log") };
    assert!(log.starts_with(b"task 4 of 100000: n in [4000, 5000)"), "{result:?}");
    assert_eq!(result.runtime, Runtime::Wasm);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_machine_says_that_it_drains_or_has_paused() {
    let directory = tempfile::tempdir().unwrap();
    let step = Step { name: "all".into(), run: ["sleep", "4"].map(str::to_owned).into() };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"")]).await;
    let _daemon = start(directory.path(), &broker.address.clone());
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let owner = tokio::task::spawn_blocking(move || {
        let status = || ask(&path, &["status", "--json"]);
        let wish = |wish: &str| assert!(volunteer(&path).arg(wish).status().unwrap().success());
        while status()["jobs"][0]["stage"] != "running" {
            std::thread::sleep(Duration::from_millis(50));
        }
        wish("drain");
        let draining = status();
        wish("resume");
        wish("pause");
        let paused = status();
        wish("resume");
        (draining, paused)
    });

    let (_, result) = broker.serve().await;

    assert_eq!(result.ended, Ended::Passed, "{:?}", result.steps);
    let (draining, paused) = owner.await.unwrap();
    assert_eq!(
        (&draining["idle"], &draining["jobs"][0]["stage"]),
        (&Value::Null, &"running".into())
    );
    assert_eq!(draining["obstacle"]["reason"], "draining: nothing new is taken");
    assert_eq!(paused["jobs"][0]["stage"], "paused");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_the_policy_declines_is_taken_after_a_restart_with_another() {
    let directory = tempfile::tempdir().unwrap();
    let step = Step { name: "all".into(), run: vec!["true".to_owned()] };
    let mut broker = Broker::start(Runtime::Native, vec![step], &[("out/file", b"")]).await;
    broker.offered.others = Some(5);
    let rare = "[policy]\nothers = { at-most = 2 }\n";
    let daemon = start_with(directory.path(), &broker.address.clone(), rare);
    if !is_offered(directory.path(), "native") {
        return broker.expect_no_claim().await;
    }
    let path = directory.path().to_owned();
    let owner = tokio::task::spawn_blocking(move || {
        loop {
            match ask(&path, &["why", "--json"])["declined"].as_array() {
                Some(declined) if !declined.is_empty() => break declined[0].clone(),
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    });

    let declined = tokio::select! {
        _ = broker.serve() => panic!("it ran in spite of the policy"),
        declined = owner => declined.unwrap(),
    };

    let reason = "your policy says no: needs others of at most 2, this offer has 5";
    assert_eq!((&declined["reason"], &declined["name"]), (&reason.into(), &"hello".into()));
    drop(daemon);

    broker.shown = false;
    let common = "[policy]\nothers = { at-most = 5 }\n";
    let _daemon = start_with(directory.path(), &broker.address.clone(), common);
    let (_, result) = broker.serve().await;
    assert_eq!(result.ended, Ended::Passed, "{:?}", result.steps);
}
