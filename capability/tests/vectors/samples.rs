//! One payload of each kind, with every optional key present.

use std::io::Write as _;
use std::time::Duration;

use capability::statements::{
    Ad, Artifact, Blob, BlobPart, BrokerCard, Check, Claim, Class, ClassCount, Credit, Delegation,
    Ended, Home, Intent, JobResult, Lease, List, ListedBroker, ListedProject, Log, Network, Offer,
    Ownership, Package, Permissions, Private, Receipt, Registration, Renewal, Report, Request,
    Revocation, StepReport, Succession, Summary, TaskId, Verdict, Withdrawal,
};
use capability::{
    BlobHash, BlobKey, Capabilities, Clause, DecryptionKey, EncryptingWriter, EncryptionKey,
    Envelope, Fact, Facts, HpkeSealer, JobSpec, Limits, Platform, Preference, ProjectKey,
    PublicKey, Requirements, Resource, Resources, Runtime, RuntimeFacts, SecretKey, Signer,
    StatementId, Step, Timestamp, Verified, encrypted_size,
};

/// When the vectors are looked at: 2027-01-15 08:00 UTC.
pub const NOW: Timestamp = Timestamp(1_800_000_000_000);

pub const HOUR: Duration = Duration::from_secs(60 * 60);

/// The seeds of the keys are 32 times one byte.
pub const PROJECT: u8 = 1;
pub const MASTER: u8 = 2;
pub const BROKER: u8 = 3;
pub const VOLUNTEER: u8 = 4;
pub const OWNER: u8 = 5;
pub const OTHER: u8 = 6;

pub fn secret(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

pub fn public(seed: u8) -> PublicKey {
    secret(seed).public()
}

/// Seeds of encryption keys are 32 times a byte 100 above that of the node's key.
pub fn decryption(seed: u8) -> DecryptionKey {
    DecryptionKey::from_seed(&[100 + seed; 32])
}

fn encryption(seed: u8) -> EncryptionKey {
    decryption(seed).public()
}

/// Draws the same each time: only where everybody may know what is sealed.
pub fn sealer() -> HpkeSealer {
    HpkeSealer::new([200; 32])
}

pub fn project() -> ProjectKey {
    public(PROJECT).into()
}

fn platform() -> Platform {
    Platform::new("linux", "x86_64").expect("two words")
}

fn id(n: u8) -> StatementId {
    StatementId::from_bytes([n; 32])
}

pub fn ad() -> Ad {
    let mut facts = Facts::new();
    facts.insert("os", "linux").expect("a sound fact");
    facts.insert("libc.version", 36).expect("a sound fact");
    facts.insert("tool.cc", "12.2.0").expect("a sound fact");
    facts.insert("network.loopback", true).expect("a sound fact");
    let features: Fact = ["aes", "avx2"].into_iter().collect();
    facts.insert("cpu.features", features).expect("a sound fact");
    let native = RuntimeFacts { strength: "namespaces+landlock+seccomp".into(), facts };
    let runtimes =
        [(Runtime::Native, native), (Runtime::Wasm, RuntimeFacts::default())].into_iter();
    Ad {
        seq: 7,
        broker: public(BROKER),
        capabilities: Capabilities {
            platform: platform(),
            resources: Resources { cores: 4, memory: 8 << 30, disk: 20 << 30 },
            runtimes: runtimes.collect(),
        },
        encryption: encryption(VOLUNTEER),
        expires: NOW + HOUR,
    }
}

pub fn summary() -> Summary {
    let class = Class { runtime: Runtime::Native, cores_log2: 2, memory_log2: 13 };
    Summary {
        seq: 3,
        shard: "linux-x86_64".into(),
        classes: vec![ClassCount { class, count: 40 }],
        expires: NOW + HOUR,
    }
}

pub fn registration() -> Registration {
    Registration {
        name: "tree-sorter".into(),
        homepage: "https://example.org/tree-sorter".into(),
        keywords: vec!["sorting".into(), "c".into()],
        permissions: Permissions { runtimes: vec![Runtime::Native, Runtime::Wasm], network: true },
        checks: vec![check()],
        expires: NOW + 24 * HOUR,
    }
}

pub fn check() -> Check {
    Check {
        name: "make-works".into(),
        runtime: Runtime::Native,
        command: vec!["make".into(), "--version".into()],
        depends: vec!["tool.make".parse().expect("a name")],
    }
}

pub fn delegation() -> Delegation {
    let expires = NOW + 10 * 24 * HOUR;
    Delegation { node: public(MASTER), encryption: encryption(MASTER), expires }
}

pub fn delegated() -> Envelope {
    Verified::sign(delegation(), &secret(PROJECT)).envelope().clone()
}

pub fn home() -> Home {
    Home {
        project: project(),
        epoch: 2,
        home: public(BROKER),
        standbys: vec![public(OTHER)],
        delegation: delegated(),
        expires: NOW + 24 * HOUR,
    }
}

pub const PACKAGE_KEY: BlobKey = BlobKey::from_bytes([10; 32]);

/// Encrypted.
pub fn package() -> Package {
    Package { hash: BlobHash::of(b"a package, encrypted"), size: encrypted_size(9) }
}

pub fn private() -> Private {
    let volunteers =
        [(public(VOLUNTEER), encryption(VOLUNTEER)), (public(OTHER), encryption(OTHER))];
    Private::new(project(), &package(), PACKAGE_KEY, 9, &volunteers, &sealer())
}

/// Every kind of clause and every key of a job.
pub fn offer() -> Offer {
    let fact = |name: &str| name.parse().expect("a fact's name");
    let clauses = vec![
        Clause::Equals { fact: fact("os"), value: "linux".into() },
        Clause::OneOf { fact: fact("arch"), values: vec!["x86_64".into(), "aarch64".into()] },
        Clause::AtLeast { fact: fact("libc.version"), amount: 31 },
        Clause::Donates { resource: Resource::Memory, amount: 1 << 30 },
        Clause::Version { fact: fact("tool.cc"), range: ">=9".parse().expect("a range") },
        Clause::Present { fact: fact("tool.make") },
        Clause::Absent { fact: fact("label.slow") },
        Clause::AtMost { fact: fact("cpu.cores"), amount: 64 },
        Clause::Includes { fact: fact("cpu.features"), words: ["avx2".to_owned()].into() },
        Clause::Any(vec![
            Clause::Present { fact: fact("tool.ninja") },
            Clause::All(vec![
                Clause::Present { fact: fact("tool.cmake") },
                Clause::Not(Box::new(Clause::Present { fact: fact("label.battery") })),
            ]),
        ]),
    ];
    let rank = vec![
        Preference::Holds { weight: 10, clause: Clause::Present { fact: fact("tool.ccache") } },
        Preference::More { weight: 5, fact: fact("cpu.cores"), enough: 16 },
        Preference::Less { weight: 1, fact: fact("cpu.load"), bearable: 100 },
    ];
    let step = |name: &str, run: &[&str]| Step {
        name: name.to_owned(),
        run: run.iter().map(|&argument| argument.to_owned()).collect(),
    };
    Offer {
        project: project(),
        name: "nightly".into(),
        builder: "make-check".into(),
        tasks: 40,
        replicas: 2,
        package: package(),
        private: Some(private()),
        requirements: Requirements { runtimes: vec![Runtime::Native], clauses, rank },
        job: JobSpec {
            environment: [("LC_ALL".to_owned(), "C".to_owned())].into(),
            steps: vec![step("build", &["make", "-j1"]), step("check", &["make", "check"])],
            limits: Limits::default(),
            artifacts: vec!["out/*.txt".into()],
            tap: Some("check".into()),
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        offline_ms: 3 * 24 * 60 * 60 * 1_000,
        priority: 7,
        issued: NOW,
        delegation: delegated(),
        expires: NOW + 24 * HOUR,
    }
}

fn offer_id() -> StatementId {
    Verified::sign(offer(), &secret(MASTER)).id()
}

pub fn withdrawal(n: u8) -> Withdrawal {
    Withdrawal { statement: id(n), reason: "superseded".into(), expires: NOW + HOUR }
}

pub fn claim() -> Claim {
    Claim {
        offer: offer_id(),
        epoch: 2,
        count: 4,
        runtime: Runtime::Native,
        ad: Verified::sign(ad(), &secret(VOLUNTEER)).envelope().clone(),
        ownership: Some(Verified::sign(ownership(), &secret(OWNER)).envelope().clone()),
        offline: true,
        nonce: 11,
        expires: NOW + Duration::from_secs(60),
    }
}

pub fn lease() -> Lease {
    Lease {
        project: project(),
        task: TaskId { offer: offer_id(), task: 39, replica: 1 },
        epoch: 2,
        volunteer: public(VOLUNTEER),
        runtime: Runtime::Native,
        granted: NOW,
        term_ms: 30_000,
        deadline: Some(NOW + HOUR),
        expires: NOW + 24 * HOUR,
    }
}

pub fn renewal() -> Renewal {
    Renewal {
        leases: vec![Verified::sign(lease(), &secret(BROKER)).id()],
        offer: offer_id(),
        epoch: 2,
        intent: Intent::Keep,
        lost: false,
        issued: NOW,
        expires: NOW + Duration::from_secs(60),
    }
}

pub const BLOB_KEY: BlobKey = BlobKey::from_bytes([9; 32]);

/// What is in the blobs of the result.
pub const BLOBS: [&[u8]; 2] = [b"a long log", b"a report"];

/// A blob as it travels.
pub fn encrypted(index: u32) -> Vec<u8> {
    let content = BLOBS[index as usize];
    let mut writer = EncryptingWriter::new(Vec::new(), BLOB_KEY, index, content.len() as u64);
    writer.write_all(content).expect("as much as was announced");
    writer.finish().expect("all of it")
}

pub fn blobs() -> Vec<Blob> {
    let encrypted = (0..2).map(encrypted);
    let blob = |bytes: Vec<u8>| Blob { hash: BlobHash::of(&bytes), size: bytes.len() as u64 };
    encrypted.map(blob).collect()
}

fn part(blob: u32) -> BlobPart {
    let content = BLOBS[blob as usize];
    BlobPart { blob, size: content.len() as u64, hash: BlobHash::of(content) }
}

pub fn report() -> Report {
    let step = |name: &str, exit, log| StepReport {
        name: name.to_owned(),
        exit,
        ending: if exit.is_none() { "killed by signal 9".to_owned() } else { String::new() },
        wall_ms: 1_200,
        cpu_ms: 1_100,
        memory: 30 << 20,
        fuel: None,
        log,
    };
    Report {
        ended: Ended::Limit("the memory limit of 1 GiB".into()),
        steps: vec![
            step("build", Some(0), Log::Inline(b"cc -o sort sort.c\n".to_vec())),
            step("check", None, Log::Blob(part(0))),
        ],
        artifacts: vec![Artifact { path: "out/report.txt".into(), content: part(1) }],
        key: BLOB_KEY,
        platform: platform(),
        system: "Debian GNU/Linux 12".into(),
        runtime: Runtime::Native,
        ownership: Some(Verified::sign(ownership(), &secret(OWNER)).envelope().clone()),
        started: NOW,
        finished: NOW + Duration::from_secs(3),
        resumed: 0,
    }
}

/// The result that carries `report`, with `blobs`.
pub fn result_of(report: &Report, blobs: Vec<Blob>) -> JobResult {
    let lease = Verified::sign(lease(), &secret(BROKER));
    JobResult::new(&lease, blobs, report, encryption(MASTER), &sealer())
}

pub fn result() -> JobResult {
    result_of(&report(), blobs())
}

pub fn receipt() -> Receipt {
    Receipt {
        project: project(),
        result: Verified::sign(result(), &secret(VOLUNTEER)).id(),
        task: lease().task,
        volunteer: public(VOLUNTEER),
        verdict: Verdict::Accepted(Credit(2_200)),
        issued: NOW,
        delegation: delegated(),
        expires: NOW + 9 * 24 * HOUR,
    }
}

pub fn broker_card() -> BrokerCard {
    BrokerCard {
        seq: 1_800_000_000_000,
        addresses: vec!["/dns4/broker.example.org/tcp/4077".into()],
        links: vec![public(OTHER)],
        expires: NOW + HOUR,
    }
}

pub fn revocation() -> Revocation {
    let reason = "the laptop was stolen".into();
    Revocation { key: public(VOLUNTEER), reason, expires: NOW + 24 * HOUR }
}

pub fn succession() -> Succession {
    Succession { successor: public(OTHER), expires: NOW + 24 * HOUR }
}

pub fn ownership() -> Ownership {
    Ownership { nodes: vec![public(VOLUNTEER), public(OTHER)], expires: NOW + 24 * HOUR }
}

pub fn network() -> Network {
    let at = |key, name: &str| ListedBroker {
        key,
        addresses: vec![format!("/dns4/{name}.example.org/tcp/4077")],
    };
    Network {
        name: "example".into(),
        seq: 1_800_000_000_000,
        brokers: vec![at(public(BROKER), "one"), at(public(OTHER), "two")],
        expires: NOW + 30 * 24 * HOUR,
    }
}

pub fn list() -> List {
    let (tree, sky) = (PublicKey::into(public(PROJECT)), PublicKey::into(public(OTHER)));
    List {
        name: "science".into(),
        seq: 1_800_000_000_000,
        projects: vec![
            ListedProject {
                key: tree,
                name: "tree-sorter".into(),
                brokers: vec!["/dns4/one.example.org/tcp/4077".into()],
                keywords: vec!["botany".into(), "sorting".into()],
            },
            ListedProject {
                key: sky,
                name: "sky survey".into(),
                brokers: Vec::new(),
                keywords: Vec::new(),
            },
        ],
        expires: NOW + 30 * 24 * HOUR,
    }
}

/// Its body is an ask of `calls.cddl`: `{"explain": {"offer": id}}`.
pub fn request() -> Request {
    #[derive(serde::Serialize)]
    #[serde(rename_all = "kebab-case")]
    enum Ask {
        Explain { offer: StatementId },
    }
    Request {
        audience: public(BROKER),
        nonce: 99,
        expires: NOW + Duration::from_secs(30),
        body: capability::encode_cbor(&Ask::Explain { offer: offer_id() }),
    }
}
