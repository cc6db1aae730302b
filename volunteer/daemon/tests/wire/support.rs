//! A broker with one package, and the daemon as a process.

use std::collections::BTreeMap;
use std::io::{Read, Seek, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use capability::statements::{
    Ad, BlobPart, Check, Claim, Credit, Delegation, Home, JobResult, Lease, Offer, Package,
    Permissions, Receipt, Registration, Report, TaskId, USUAL_PRIORITY, Verdict,
};
use capability::{
    BlobHash, Clause, DecryptingReader, DecryptionKey, Ed25519, HpkeOpener, JobSpec, Limits,
    ProjectKey, PublicKey, Requirements, Runtime, SecretKey, Signer, Step, Timestamp, Verified,
};
use mesh_core::{
    Answer, Ask, Bundle, Cargo, HandoverAnswer, Offered, RequestGuard, decode_answers,
    decode_bundles, encode_answers, encode_bundles,
};
use mesh_net::{Config, Event, IncomingBlob, Net, PeerKey, Protocol, Reply, Role};
use mesh_shell::{Clock, public_key};
use serde_json::Value;
use tokio::sync::mpsc;

/// How long a job of these tests takes at the very most, on a machine with much else to do.
const PATIENCE: Duration = Duration::from_secs(180);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn key(n: u8) -> SecretKey {
    SecretKey::from_seed(&[n; 32])
}

/// So many that a share of the sweep takes no time.
const TASKS: u32 = 100_000;

const BROKER: u8 = 21;
const ADAPTER: u8 = 22;
const PROJECT: u8 = 23;

pub fn project() -> ProjectKey {
    key(PROJECT).public().into()
}

pub struct Broker {
    net: Net,
    events: mpsc::Receiver<Event>,
    pub address: String,
    now: Timestamp,
    package: tempfile::NamedTempFile,
    pub offered: Offered,
    /// What the next pull is answered with.
    show: Option<Vec<Offered>>,
    /// A pull for which there was nothing to show.
    held: Option<Reply>,
    /// What is told of the project.
    registration: Option<Verified<Registration>>,
    /// The newest ad.
    ad: Option<Verified<Ad>>,
    guard: RequestGuard,
    /// What was brought.
    blobs: BTreeMap<BlobHash, std::fs::File>,
}

impl Broker {
    /// A broker that shows an offer of `steps` on a package of `files`.
    pub async fn start(runtime: Runtime, steps: Vec<Step>, files: &[(&str, &[u8])]) -> Self {
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
        Self {
            net,
            events,
            address,
            now,
            package,
            show: Some(vec![offered.clone()]),
            offered,
            held: None,
            registration: None,
            ad: None,
            guard: RequestGuard::new(key(BROKER).public()),
            blobs: BTreeMap::new(),
        }
    }

    /// An offer of the same steps under `name` that also needs `clauses`.
    pub fn offer_that_needs(&self, name: &str, clauses: Vec<Clause>) -> Offered {
        let mut offer = (*self.offered.offer).clone();
        name.clone_into(&mut offer.name);
        offer.requirements.clauses = clauses;
        Offered { offer: Verified::sign(offer, &key(ADAPTER)), ..self.offered.clone() }
    }

    /// Offers the job as `change` makes it, and nothing else.
    pub fn change_job(&mut self, change: impl FnOnce(&mut JobSpec)) {
        let mut offer = (*self.offered.offer).clone();
        change(&mut offer.job);
        self.offered.offer = Verified::sign(offer, &key(ADAPTER));
        self.show(vec![self.offered.clone()]);
    }

    /// Answers the pull that waits, or the next one, with `offers` and nothing else.
    pub fn show(&mut self, offers: Vec<Offered>) {
        self.show = match self.held.take() {
            Some(reply) => {
                reply.send(Answer::Offers(offers).encode()).unwrap();
                None
            }
            None => Some(offers),
        };
    }

    /// Tells whoever asks that the project has these `checks`.
    pub fn tell(&mut self, checks: Vec<Check>) {
        let registration = Registration {
            name: "checked".into(),
            homepage: String::new(),
            keywords: Vec::new(),
            permissions: Permissions { runtimes: vec![Runtime::Native], network: false },
            checks,
            expires: self.now + DAY,
        };
        self.registration = Some(Verified::sign(registration, &key(PROJECT)));
    }

    /// The volunteer has ended, and with it its ad and the pull that waits.
    pub fn forget_ad_and_pull(&mut self) {
        self.ad = None;
        self.held = None;
    }

    /// As if it were destroyed with its disk, and another one had its key.
    pub fn forget_everything(&mut self) {
        self.forget_ad_and_pull();
        self.blobs.clear();
    }

    /// Whether the blob was brought.
    pub fn has(&self, blob: &BlobHash) -> bool {
        self.blobs.contains_key(blob)
    }

    /// Answers whatever the volunteer asks until it hands its result over; gives that.
    pub async fn serve(&mut self) -> (PeerKey, Verified<JobResult>) {
        let result = async {
            loop {
                if let Some(result) = self.serve_next().await {
                    return result;
                }
            }
        };
        tokio::time::timeout(PATIENCE, result).await.expect("a result within minutes")
    }

    /// Answers whatever the volunteer asks until its ad is as `wanted`; gives that.
    pub async fn serve_until_ad(&mut self, wanted: impl Fn(&Ad) -> bool) -> Verified<Ad> {
        loop {
            if let Some(ad) = self.ad.as_ref().filter(|ad| wanted(ad)) {
                return ad.clone();
            }
            assert!(self.serve_next().await.is_none(), "a result that nobody waits for");
        }
    }

    /// Answers whatever the volunteer asks as long as `what` takes.
    pub async fn serve_while<T>(&mut self, what: impl Future<Output = T>) -> T {
        tokio::select! {
            _ = self.serve() => panic!("a result that nobody waits for"),
            done = what => done,
        }
    }

    /// Deals with what comes next; gives the result that it may be.
    async fn serve_next(&mut self) -> Option<(PeerKey, Verified<JobResult>)> {
        match self.events.recv().await.unwrap() {
            Event::Request { protocol: Protocol::Call, peer, data, reply } => {
                let now = Clock::new().now().wall;
                let ask = self.guard.admit(&data, public_key(peer), now, &Ed25519).unwrap();
                self.answer(ask, public_key(peer), reply);
            }
            Event::Request { protocol: Protocol::Custody, peer, data, reply } => {
                let mut came = decode_bundles(&data, &Ed25519).unwrap();
                assert_eq!(came.len(), 1, "jobs end one at a time in these tests");
                let bundle = came.pop().unwrap().unwrap();
                let wanted = bundle.blobs().into_iter().map(|(hash, _)| hash);
                let missing: Vec<_> = wanted.filter(|it| !self.blobs.contains_key(it)).collect();
                if !missing.is_empty() {
                    reply.send(encode_answers(&[HandoverAnswer::Missing(missing)])).unwrap();
                    return None;
                }
                reply.send(encode_answers(&[HandoverAnswer::Taken])).unwrap();
                let Cargo::Result(result) = bundle.cargo else { panic!("not a result") };
                return Some((peer, result));
            }
            Event::Blob(IncomingBlob::Get(get)) => {
                let mut file = self.package.reopen().unwrap();
                file.rewind().unwrap();
                let size = self.offered.offer.package.size;
                tokio::spawn(async move { get.serve(file, size).await.unwrap() });
            }
            Event::Blob(IncomingBlob::Put(put)) => {
                let (file, hash) = (tempfile::tempfile().unwrap(), *put.hash.as_bytes());
                self.blobs.insert(BlobHash::from_bytes(hash), file.try_clone().unwrap());
                let received = put.receive_into(file);
                tokio::spawn(async move { received.await.unwrap().stored().await.unwrap() });
            }
            _ => {}
        }
        None
    }

    /// What is in a blob that came with `result`, as its master reads it.
    pub fn read(&self, result: &Verified<JobResult>, part: BlobPart) -> Vec<u8> {
        let mut file = &self.blobs[&result.blobs[part.blob as usize].hash];
        file.rewind().unwrap();
        let key = report_in(result).key;
        let mut reader =
            DecryptingReader::new(file, key, part.blob, part.size).expecting(part.hash);
        let mut content = Vec::new();
        reader.read_to_end(&mut content).unwrap();
        content
    }

    fn answer(&mut self, ask: Ask, peer: PublicKey, reply: Reply) {
        let answer = match ask {
            Ask::Advertise { ad } => {
                assert_eq!((ad.signer(), ad.broker), (peer, key(BROKER).public()));
                self.ad = Some(ad);
                Answer::Done
            }
            Ask::Pull { .. } => match self.show.take() {
                Some(offers) => Answer::Offers(offers),
                // Of two pulls a broker answers the newer one.
                None => return self.held = Some(reply),
            },
            Ask::Registrations { projects } => {
                assert_eq!(projects, [project()]);
                Answer::Registrations(self.registration.iter().cloned().collect())
            }
            Ask::KeyChanges { .. } => Answer::KeyChanges(Vec::new()),
            Ask::Brokers { .. } => Answer::Brokers { cards: Vec::new(), network: None },
            Ask::Claim { claims, .. } => {
                let leases =
                    claims.iter().map(|claim| Answer::Leases(vec![self.lease(claim, peer)]));
                Answer::to_parts(leases.collect())
            }
            Ask::Renew { .. } => Answer::Renewed { lapsed: Vec::new() },
            other => panic!("a volunteer does not ask {other:?}"),
        };
        reply.send(answer.encode()).unwrap();
    }

    fn lease(&self, claim: &Claim, volunteer: PublicKey) -> Verified<Lease> {
        let offer = &self.offered.offer;
        let lease = Lease {
            project: offer.project,
            task: TaskId { offer: claim.offer, task: 4, replica: 0 },
            epoch: claim.epoch,
            volunteer,
            runtime: claim.runtime.clone(),
            granted: self.now,
            term_ms: 30_000,
            deadline: None,
            expires: offer.expires,
        };
        Verified::sign(lease, &key(BROKER))
    }

    /// Where a runtime cannot be had the promise is that no job is taken that needs it.
    pub async fn expect_no_claim(&mut self) {
        let served = tokio::time::timeout(Duration::from_secs(3), self.serve()).await;
        assert!(served.is_err(), "a job came back from a runtime that is not there");
    }

    /// Brings the volunteer the receipt of `result`, as its master would sign it.
    pub async fn give_receipt(&self, to: PeerKey, result: &Verified<JobResult>) -> HandoverAnswer {
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
        let frame = encode_bundles(&[Bundle { cargo, via: key(BROKER).public() }]);
        let answer = self.net.request(Protocol::Custody, to, frame).await.unwrap();
        decode_answers(&answer, 1).unwrap().remove(0)
    }
}

/// The key to which the adapter has reports sealed.
fn adapter() -> DecryptionKey {
    DecryptionKey::from_seed(&[ADAPTER; 32])
}

/// What the adapter reads in a result.
pub fn report_in(result: &Verified<JobResult>) -> Report {
    let opener = HpkeOpener::new([adapter()]);
    Report::open(result, &opener, &Ed25519).expect("it is sealed to the adapter").report
}

fn offered(package: Package, runtime: Runtime, steps: Vec<Step>, now: Timestamp) -> Offered {
    let expires = now + DAY;
    let encryption = adapter().public();
    let delegation = Delegation { node: key(ADAPTER).public(), encryption, expires };
    let delegation = Verified::sign(delegation, &key(PROJECT)).envelope().clone();
    let project = project();
    let offer = Offer {
        project,
        name: "hello".into(),
        builder: "b".into(),
        tasks: TASKS,
        replicas: 1,
        package,
        private: None,
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
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        offline_ms: 0,
        priority: USUAL_PRIORITY,
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
    Offered { offer, home, registration: None, others: None, home_unseen: None }
}

pub struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn volunteer(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkoot-volunteer"));
    command.env("TALKOOT_STATE", directory.join("state"));
    command.env("TALKOOT_CONFIG", directory.join("volunteer.toml"));
    command
}

pub fn ask(directory: &Path, arguments: &[&str]) -> Value {
    let output = volunteer(directory).args(arguments).output().unwrap();
    serde_json::from_slice(&output.stdout).unwrap()
}

pub fn start(directory: &Path, broker: &str) -> Daemon {
    start_with(directory, broker, "")
}

/// With `tables` at the end of the configuration.
pub fn start_with(directory: &Path, broker: &str, tables: &str) -> Daemon {
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
pub fn is_offered(directory: &Path, runtime: &str) -> bool {
    let found = ask(directory, &["doctor", "--json"]);
    let mut found = found["runtimes"].as_array().unwrap().iter();
    let works = found.any(|it| it["runtime"] == runtime && it["reason"].is_null());
    assert!(works || std::env::var_os("CI").is_none(), "{runtime} works where CI runs");
    works
}
