//! Statements that break one rule each.

use std::time::Duration;

use capability::statements::{
    Check, Claim, Delegation, Home, Lease, List, ListedBroker, ListedProject, Network, Offer,
    Ownership, Permissions, Private, Receipt, Recipient, Revocation, Succession, Verdict,
};
use capability::{
    Checkpoint, Clause, Envelope, FactName, Image, ImageDigest, ImageSource, JobSpec, Kind,
    Payload, Preference, PublicKey, Requirements, Runtime, SecretKey, Signer, Verified,
    encode_cbor,
};
use ciborium::Value;

use super::by_hand::{BATCH, Header, STATEMENT, alone, cbor, generic, leaves, sign1, sign1_under};
use super::samples::{
    self, BROKER, HOUR, MASTER, NOW, OTHER, OWNER, PROJECT, VOLUNTEER, secret, withdrawal,
};
use super::{Vector, bounds, wire};

/// What every reader must refuse. The comment begins with the broken rule and the kind expected.
pub fn invalid() -> Vec<Vector> {
    let groups = [encoding(), envelopes(), signatures(), authority(), time(), contents()];
    let more = [wire::wire(), bounds::bounds()];
    groups.into_iter().chain(more).flatten().collect()
}

/// `comment` is the rule, a colon and what is wrong; the file names the kind as well.
pub fn vector(name: &str, kind: Kind, comment: &str, bytes: Vec<u8>) -> Vector {
    let comment = comment.replacen(':', &format!(", {kind}:"), 1);
    Vector { name: name.into(), kind, comment, bytes }
}

/// A withdrawal that breaks a rule of the envelope.
pub fn broken(name: &str, comment: &str, bytes: Vec<u8>) -> Vector {
    vector(name, Kind::Withdrawal, comment, bytes)
}

/// A payload of ours that is signed although it breaks a rule.
pub fn signed<T: Payload>(name: &str, comment: &str, payload: &T, seed: u8) -> Vector {
    let header = Header::new(T::KIND.number(), seed);
    vector(name, T::KIND, comment, alone(&header, &encode_cbor(payload), seed))
}

pub fn sound() -> Vec<u8> {
    encode_cbor(&withdrawal(9))
}

pub fn header() -> Header {
    Header::new(Kind::Withdrawal.number(), MASTER)
}

/// A sound withdrawal whose payload is `payload` instead.
pub fn with_payload(payload: &[u8]) -> Vec<u8> {
    alone(&header(), payload, MASTER)
}

/// The items of a sound withdrawal, changed.
pub fn changed(change: impl FnOnce(&mut Vec<Value>)) -> Vec<u8> {
    let mut items = sign1(&header(), STATEMENT, &sound(), MASTER);
    change(&mut items);
    cbor(&Value::Array(items))
}

fn encoding() -> Vec<Vector> {
    let entries = || generic(&sound()).into_map().expect("a payload is a map");
    let mut unsorted = entries();
    unsorted.reverse();
    let mut repeated = entries();
    repeated.push(repeated[2].clone());
    let with = |value| {
        let mut entries = entries();
        entries.insert(0, (Value::from("later"), value));
        with_payload(&cbor(&Value::Map(entries)))
    };
    // 8 in one byte more than it needs, as the value of a key that sorts first.
    let long = with(Value::from(8));
    let long = replaced(long, b"\x65later\x08", b"\x65later\x18\x08");
    let mut indefinite = vec![0x9f];
    indefinite.extend(&with_payload(&sound())[1..]);
    indefinite.push(0xff);
    vec![
        broken(
            "trailing-byte",
            "S2: a byte after the envelope",
            [with_payload(&sound()), vec![0]].concat(),
        ),
        broken(
            "trailing-byte-in-payload",
            "S2: a byte after the payload",
            with_payload(&[sound(), vec![0]].concat()),
        ),
        broken("indefinite-length", "S2: an array of indefinite length", indefinite),
        broken(
            "unsorted-keys",
            "S2: keys in another order",
            with_payload(&cbor(&Value::Map(unsorted))),
        ),
        broken("repeated-key", "S2: a key twice", with_payload(&cbor(&Value::Map(repeated)))),
        broken("long-integer", "S2: an integer in more bytes than it needs", long),
        broken("float", "S2: a floating-point number", with(Value::Float(1.5))),
        broken("null", "S2: a null", with(Value::Null)),
        broken("tag", "S2: a tag", with(Value::Tag(1, Box::new(Value::from(1))))),
        broken(
            "deep-nesting",
            "S2: arrays nested 16 deep inside the map",
            with((0..16).fold(Value::from(1), |inner, _| Value::Array(vec![inner]))),
        ),
    ]
}

/// `bytes` signed anew after `from` became `to` in its payload.
fn replaced(bytes: Vec<u8>, from: &[u8], to: &[u8]) -> Vec<u8> {
    let items = generic(&bytes).into_array().expect("an envelope is an array");
    let payload = items[2].as_bytes().expect("the payload's bytes").clone();
    let at = payload.windows(from.len()).position(|window| window == from).expect("it is there");
    with_payload(&[&payload[..at], to, &payload[at + from.len()..]].concat())
}

fn envelopes() -> Vec<Vector> {
    let header_with = |change: &dyn Fn(&mut Header)| {
        let mut header = header();
        change(&mut header);
        alone(&header, &sound(), MASTER)
    };
    let foreign_root = {
        let [mut leaf, ..] = three_leaves();
        let [stranger, ..] =
            leaves(Kind::Withdrawal.number(), [&sound(), &sound(), &sound()], OTHER);
        leaf[2] = stranger[2].clone();
        cbor(&Value::Array(leaf))
    };
    vec![
        broken("three-items", "S3: an array of 3 items", changed(|items| drop(items.pop()))),
        broken(
            "unprotected-header",
            "S3: an unprotected header that is not empty",
            changed(|items| items[1] = Value::Map(vec![(Value::from(4), Value::from("x"))])),
        ),
        broken(
            "short-signature",
            "S3: a signature of 63 bytes",
            changed(|items| items[3] = Value::Bytes(vec![1; 63])),
        ),
        broken(
            "detached-payload",
            "S3: no payload in the envelope",
            changed(|items| items[2] = Value::from(0)),
        ),
        broken("missing-key", "S3: a payload without `statement`", {
            let mut entries = generic(&sound()).into_map().expect("a payload is a map");
            entries.retain(|(key, _)| key.as_text() != Some("statement"));
            with_payload(&cbor(&Value::Map(entries)))
        }),
        broken(
            "wrong-algorithm",
            "S4: an algorithm that is not EdDSA",
            header_with(&|header| header.algorithm = -7),
        ),
        broken(
            "short-key",
            "S4: a key of 31 bytes",
            header_with(&|header| {
                header.key.pop();
            }),
        ),
        broken(
            "wrong-kind",
            "S4: a withdrawal labelled a revocation",
            header_with(&|header| header.kind = Kind::Revocation.number()),
        ),
        broken("unknown-kind", "S4: kind 4711", header_with(&|header| header.kind = 4711)),
        broken(
            "root-kind",
            "S4: kind 0, which only the root of a batch has",
            header_with(&|header| header.kind = 0),
        ),
        broken("unknown-version", "S4: version 2", header_with(&|header| header.version = 2)),
        broken("extra-header", "S4: a fifth entry in the protected header", {
            let items = sign1_under(with_content_type(), STATEMENT, &sound(), MASTER);
            cbor(&Value::Array(items))
        }),
        broken("foreign-root", "S4: a leaf below another signer's root", foreign_root),
    ]
}

fn with_content_type() -> Vec<u8> {
    let mut entries = generic(&header().encode()).into_map().expect("a header is a map");
    entries.insert(1, (Value::from(3), Value::from(0)));
    cbor(&Value::Map(entries))
}

pub fn three_leaves() -> [Vec<Value>; 3] {
    let payloads: Vec<_> = (0..3).map(|n| encode_cbor(&withdrawal(n))).collect();
    leaves(Kind::Withdrawal.number(), [&payloads[0], &payloads[1], &payloads[2]], MASTER)
}

fn signatures() -> Vec<Vector> {
    let leaf = |which: usize, change: &dyn Fn(&mut Vec<Value>)| {
        let mut leaf = three_leaves()[which].clone();
        change(&mut leaf);
        cbor(&Value::Array(leaf))
    };
    let flip = |items: &mut Vec<Value>, item: usize, byte: usize| {
        items[item].as_bytes_mut().expect("a byte string")[byte] ^= 1;
    };
    vec![
        broken(
            "flipped-signature",
            "S6: one bit of the signature",
            changed(|items| flip(items, 3, 0)),
        ),
        broken("flipped-payload", "S6: one bit of the payload's reason", {
            changed(|items| {
                let payload = items[2].as_bytes_mut().expect("a byte string");
                let at = payload.windows(10).position(|text| text == b"superseded");
                payload[at.expect("the reason is there")] ^= 1;
            })
        }),
        broken(
            "other-signer",
            "S6: signed by another key than the header names",
            alone(&header(), &sound(), OTHER),
        ),
        broken(
            "other-domain",
            "S6: signed in the domain of batches",
            cbor(&Value::Array(sign1(&header(), BATCH, &sound(), MASTER))),
        ),
        broken(
            "malleable-signature",
            "S6: the group order added to S",
            changed(|items| add_order(&mut items[3].as_bytes_mut().expect("a byte string")[32..])),
        ),
        broken(
            "weak-key",
            "S6: the identity as key, under which every message verifies",
            weak_key(),
        ),
        broken(
            "leaf-moved",
            "S6: leaf 1 with the index of leaf 0",
            leaf(1, &|items| items[3] = Value::from(0)),
        ),
        broken(
            "leaf-outside",
            "S6: an index that is not below the count",
            leaf(2, &|items| items[3] = Value::from(3)),
        ),
        broken(
            "leaf-path-cut",
            "S6: a path that is too short",
            leaf(0, &|items| drop(items[4].as_array_mut().expect("a path").pop())),
        ),
        broken(
            "leaf-path-long",
            "S6: a path that is too long",
            leaf(0, &|items| {
                items[4].as_array_mut().expect("a path").push(Value::Bytes(vec![0; 32]));
            }),
        ),
        broken(
            "leaf-root-flipped",
            "S6: one bit of the root's signature",
            leaf(0, &|items| flip(items[2].as_array_mut().expect("a COSE_Sign1"), 3, 9)),
        ),
    ]
}

/// S + L is the same number modulo the order L, and no canonical encoding (RFC 8032 section 5.1.7).
fn add_order(scalar: &mut [u8]) {
    const ORDER: [u8; 32] = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde,
        0x14, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let mut carry = 0;
    for (byte, added) in scalar.iter_mut().zip(ORDER) {
        let sum = u16::from(*byte) + u16::from(added) + carry;
        [*byte, _] = sum.to_le_bytes();
        carry = sum >> 8;
    }
}

/// With the identity as key and as R, and S = 0, the equation of RFC 8032 holds for any message.
fn weak_key() -> Vec<u8> {
    let mut identity = vec![0; 32];
    identity[0] = 1;
    let header = Header { key: identity.clone(), ..header() };
    let mut items = sign1(&header, STATEMENT, &sound(), MASTER);
    items[3] = Value::Bytes([identity, vec![0; 32]].concat());
    cbor(&Value::Array(items))
}

fn authority() -> Vec<Vector> {
    let delegate = |project: u8, node: u8| -> Envelope {
        let node = samples::public(node);
        let delegation = Delegation { node, ..samples::delegation() };
        Verified::sign(delegation, &secret(project)).envelope().clone()
    };
    let forged = {
        let header = Header::new(Kind::Delegation.number(), PROJECT);
        alone(&header, &encode_cbor(&samples::delegation()), OTHER)
    };
    let forged = Envelope::parse(&forged).expect("sound but for its signature");
    vec![
        signed(
            "delegation-of-another-project",
            "S7: delegated by another project",
            &Home { delegation: delegate(OTHER, MASTER), ..samples::home() },
            MASTER,
        ),
        signed(
            "delegation-to-another-key",
            "S7: delegated to another key",
            &Offer { delegation: delegate(PROJECT, OTHER), ..samples::offer() },
            MASTER,
        ),
        signed(
            "outlives-its-delegation",
            "S7: expires after the delegation",
            &Receipt { expires: NOW + 11 * 24 * HOUR, ..samples::receipt() },
            MASTER,
        ),
        signed(
            "forged-delegation",
            "S6: a delegation that the project did not sign",
            &Home { delegation: forged, ..samples::home() },
            MASTER,
        ),
    ]
}

fn time() -> Vec<Vector> {
    let mut expired = withdrawal(9);
    expired.expires = NOW.before(Duration::from_secs(5 * 60));
    let mut eternal = withdrawal(9);
    eternal.expires = NOW + 31 * 24 * HOUR;
    let node = samples::public(MASTER);
    let endless = Delegation { node, expires: NOW + 367 * 24 * HOUR, ..samples::delegation() };
    let delegation = Verified::sign(endless, &secret(PROJECT)).envelope().clone();
    let endless = Offer { delegation, ..samples::offer() };
    vec![
        signed("delegation-too-late", "S9: under a delegation of 367 days", &endless, MASTER),
        signed("expired", "S8: expired 5 minutes before 1,800,000,000,000", &expired, MASTER),
        signed("expires-too-late", "S9: a withdrawal that holds for 31 days", &eternal, MASTER),
    ]
}

/// One vector for each rule of a kind.
fn contents() -> Vec<Vector> {
    let mut vectors = machines();
    vectors.extend(checks());
    vectors.extend(offers());
    vectors.extend(leases_and_results());
    vectors.extend(key_changes());
    vectors.extend(networks());
    vectors.extend(lists());
    vectors
}

fn networks() -> Vec<Vector> {
    let with = |change: &dyn Fn(&mut Network)| {
        let mut network = samples::network();
        change(&mut network);
        network
    };
    let by =
        |name, comment, change: &dyn Fn(&mut Network)| signed(name, comment, &with(change), OWNER);
    let of = |count: u8| {
        let addresses = samples::network().brokers[0].addresses.clone();
        (1..=count)
            .map(|n| ListedBroker { key: samples::public(n), addresses: addresses.clone() })
            .collect()
    };
    vec![
        by("network-nameless", "S96: no name", &|it| it.name.clear()),
        by("network-without-brokers", "S96: no broker", &|it| it.brokers.clear()),
        by("network-of-33", "S96: 33 brokers", &|it| it.brokers = of(33)),
        by("network-twice", "S96: a broker twice", &|it| it.brokers[1].key = it.brokers[0].key),
        by("network-no-address", "S96: a broker without addresses", &|it| {
            it.brokers[0].addresses.clear();
        }),
        by("network-addresses", "S96: a broker with 5 addresses", &|it| {
            it.brokers[0].addresses = vec!["/ip4/192.0.2.1/tcp/4077".into(); 5];
        }),
        by("network-name", "S10: a name of 65 bytes", &|it| it.name = "x".repeat(65)),
        by("network-address", "S10: an address of 257 bytes", &|it| {
            it.brokers[0].addresses[0] = "x".repeat(257);
        }),
    ]
}

fn lists() -> Vec<Vector> {
    let with = |change: &dyn Fn(&mut List)| {
        let mut list = samples::list();
        change(&mut list);
        list
    };
    let by =
        |name, comment, change: &dyn Fn(&mut List)| signed(name, comment, &with(change), OWNER);
    let of = |count: u16| {
        let listed = |n: u16| {
            let mut seed = [7; 32];
            seed[..2].copy_from_slice(&n.to_le_bytes());
            let key = SecretKey::from_seed(&seed).public().into();
            ListedProject { key, name: "x".into(), brokers: Vec::new(), keywords: Vec::new() }
        };
        (0..count).map(listed).collect()
    };
    vec![
        by("list-nameless", "S106: no name", &|it| it.name.clear()),
        by("list-of-257", "S106: 257 projects", &|it| it.projects = of(257)),
        by("list-twice", "S106: a project twice", &|it| it.projects[1].key = it.projects[0].key),
        by("list-project-nameless", "S106: a project without a name", &|it| {
            it.projects[0].name.clear();
        }),
        by("list-brokers", "S106: a project with 5 brokers", &|it| {
            it.projects[0].brokers = vec!["/ip4/192.0.2.1/tcp/4077".into(); 5];
        }),
        by("list-keywords", "S106: a project with 9 keywords", &|it| {
            it.projects[0].keywords = vec!["word".into(); 9];
        }),
        by("list-name", "S10: a name of 65 bytes", &|it| it.name = "x".repeat(65)),
        by("list-project-name", "S10: a project's name of 65 bytes", &|it| {
            it.projects[0].name = "x".repeat(65);
        }),
        by("list-address", "S10: an address of 257 bytes", &|it| {
            it.projects[0].brokers[0] = "x".repeat(257);
        }),
        by("list-keyword", "S10: a keyword of 33 bytes", &|it| {
            it.projects[0].keywords[0] = "x".repeat(33);
        }),
    ]
}

/// An ownership of so many nodes, none of which is the volunteer.
fn owned_by(nodes: usize) -> Option<Envelope> {
    let nodes = (0..nodes).map(|_| samples::public(OTHER)).collect();
    let ownership = Ownership { nodes, ..samples::ownership() };
    Some(Verified::sign(ownership, &secret(OWNER)).envelope().clone())
}

fn key_changes() -> Vec<Vector> {
    let crowd = Ownership { nodes: vec![samples::public(OTHER); 1025], ..samples::ownership() };
    let itself = Succession { successor: samples::public(VOLUNTEER), ..samples::succession() };
    let reason = "x".repeat(257);
    let verbose = Revocation { reason, ..samples::revocation() };
    vec![
        signed("ownership-of-1025-nodes", "S72: 1,025 nodes", &crowd, OWNER),
        signed("succession-to-itself", "S73: a key that follows itself", &itself, VOLUNTEER),
        signed("revocation-reason", "S10: a reason of 257 bytes", &verbose, VOLUNTEER),
    ]
}

fn machines() -> Vec<Vector> {
    let mut control = withdrawal(9);
    control.reason = "\u{1b}[2Jgone".into();
    let mut long = withdrawal(9);
    long.reason = "x".repeat(257);
    let mut ad = samples::ad();
    let native = ad.capabilities.runtimes.get_mut(&Runtime::Native).expect("it is there");
    native.strength = "x".repeat(65);
    let mut summary = samples::summary();
    summary.classes = vec![summary.classes[0].clone(); 1025];
    let mut shard = samples::summary();
    shard.shard = "x".repeat(66);
    let mut card = samples::broker_card();
    card.addresses = vec!["/ip4/192.0.2.1/tcp/4077".into(); 9];
    let mut nameless = samples::registration();
    nameless.name.clear();
    let mut homepage = samples::registration();
    homepage.homepage = "javascript:alert(1)".into();
    let mut greedy = samples::registration();
    greedy.permissions = Permissions { runtimes: vec![Runtime::Wasm; 9], network: false };
    let home = samples::home();
    let own_standby = Home { standbys: vec![home.home], ..home };
    vec![
        signed("control-character", "S10: a reason that moves the cursor", &control, MASTER),
        signed("long-reason", "S10: a reason of 257 bytes", &long, MASTER),
        signed("ad-strength", "S20: a strength of 65 bytes", &ad, VOLUNTEER),
        signed("summary-classes", "S21: 1,025 classes", &summary, BROKER),
        signed("summary-shard", "S10: a shard's name of 66 bytes", &shard, BROKER),
        signed("card-addresses", "S22: 9 addresses", &card, BROKER),
        signed("registration-name", "S30: an empty name", &nameless, PROJECT),
        signed(
            "registration-homepage",
            "S30: a homepage that is no web address",
            &homepage,
            PROJECT,
        ),
        signed("registration-runtimes", "S30: 9 runtimes", &greedy, PROJECT),
        signed("home-own-standby", "S32: the home among its standbys", &own_standby, MASTER),
    ]
}

fn checks() -> Vec<Vector> {
    let registration = |name: &str, comment: &str, change: &dyn Fn(&mut Vec<Check>)| {
        let mut registration = samples::registration();
        change(&mut registration.checks);
        signed(name, comment, &registration, PROJECT)
    };
    let named = |name: &str| Check { name: name.into(), ..samples::check() };
    vec![
        registration("checks-17", "S33: 17 checks", &|checks| {
            *checks = (0..17).map(|n| named(&format!("check-{n}"))).collect();
        }),
        registration("check-twice", "S33: two checks of one name", &|checks| {
            checks.push(samples::check());
        }),
        registration("check-name", "S33: a name of 33 characters", &|checks| {
            checks[0].name = "x".repeat(33);
        }),
        registration("check-dotted-name", "S33: a dot in a name", &|checks| {
            checks[0].name = "make.works".into();
        }),
        registration("check-runtime", "S33: a runtime that is not asked for", &|checks| {
            checks[0].runtime = "later".parse().expect("a word");
        }),
        registration("check-no-command", "S34: no argument", &|checks| checks[0].command.clear()),
        registration("check-no-program", "S34: an empty program", &|checks| {
            checks[0].command[0].clear();
        }),
        registration("check-arguments", "S34: 65 arguments", &|checks| {
            checks[0].command = vec!["x".into(); 65];
        }),
        registration("check-zero-byte", "S34: a zero byte in an argument", &|checks| {
            checks[0].command[1] = "a\0b".into();
        }),
        registration("check-long-command", "S34: arguments of 4,097 bytes", &|checks| {
            checks[0].command = vec!["x".repeat(4_097)];
        }),
        registration("checks-long-commands", "S34: arguments of 36 KiB in all", &|checks| {
            let long =
                |n| Check { command: vec!["x".repeat(4_096)], ..named(&format!("check-{n}")) };
            *checks = (0..9).map(long).collect();
        }),
        registration("check-depends", "S35: 17 facts", &|checks| {
            checks[0].depends = (0..17).map(|n| fact(&format!("tool.{n}"))).collect();
        }),
        registration("check-depends-twice", "S35: a fact twice", &|checks| {
            checks[0].depends = vec![fact("os"); 2];
        }),
        registration("check-depends-on-check", "S35: another check's fact", &|checks| {
            checks[0].depends = vec![fact("check.other")];
        }),
    ]
}

fn fact(name: &str) -> FactName {
    name.parse().expect("a name")
}

fn offers() -> Vec<Vector> {
    let offer = |name: &str, comment: &str, change: &dyn Fn(&mut Offer)| {
        let mut offer = samples::offer();
        change(&mut offer);
        signed(name, comment, &offer, MASTER)
    };
    let private = |name: &str, comment: &str, change: &dyn Fn(&mut Private)| {
        offer(name, comment, &|offer: &mut Offer| offer.private.iter_mut().for_each(change))
    };
    vec![
        offer("offer-no-task", "S40: no task", &|offer| offer.tasks = 0),
        offer("offer-tasks", "S40: 100,001 tasks", &|offer| offer.tasks = 100_001),
        offer("offer-replicas", "S41: 17 replicas", &|offer| offer.replicas = 17),
        offer("offer-offline", "S90: a millisecond over 30 days", &|offer| {
            offer.offline_ms = 30 * 24 * 60 * 60 * 1_000 + 1;
        }),
        offer("offer-priority", "S91: a priority of 10", &|offer| offer.priority = 10),
        offer("offer-package", "S42: a package of 1 GiB and a byte", &|offer| {
            offer.package.size = (1 << 30) + 1;
            offer.private = None;
        }),
        private("offer-for-nobody", "S85: no recipient", &|private| private.recipients.clear()),
        private("offer-for-65", "S85: 65 recipients", &|private| {
            let someone = private.recipients[0].clone();
            let volunteer = |n| PublicKey::from_bytes([n; 32]);
            let recipients =
                (0..65).map(|n| Recipient { volunteer: volunteer(n), ..someone.clone() });
            private.recipients = recipients.collect();
        }),
        private("offer-for-one-twice", "S85: a recipient twice", &|private| {
            private.recipients[1] = private.recipients[0].clone();
        }),
        private("offer-sealed-key", "S85: a sealed key of 47 bytes", &|private| {
            private.recipients[1].key.body.pop();
        }),
        private("offer-private-size", "S85: a package of another size", &|it| it.size = 600),
        offer("offer-runtimes", "S43: no runtime", &|offer| {
            offer.requirements =
                Requirements { runtimes: Vec::new(), clauses: Vec::new(), rank: Vec::new() };
        }),
        offer("offer-nesting", "S43: clauses five deep", &|offer| {
            let mut clause = Clause::Present { fact: "os".parse().expect("a name") };
            for _ in 0..4 {
                clause = Clause::Not(Box::new(clause));
            }
            offer.requirements.clauses = vec![clause];
        }),
        offer("offer-weight", "S43: a preference without weight", &|offer| {
            let fact = "os".parse().expect("a name");
            offer.requirements.rank = vec![Preference::More { weight: 0, fact, enough: 1 }];
        }),
        offer("offer-steps", "S44: no step", &|offer| {
            offer.job = JobSpec { steps: Vec::new(), tap: None, ..offer.job.clone() };
        }),
        offer("offer-network-unasked", "S99: a destination, and no proxy is required", &|offer| {
            offer.job.network = vec!["a.example:443".parse().expect("a destination")];
        }),
        offer("offer-image", "S113: an image outside of the package", &|offer| {
            let digest = ImageDigest::from_bytes([0xab; 32]);
            let source = ImageSource::Package("../image".into());
            offer.job.image = Some(Image { source, digest });
        }),
        offer("offer-image-unasked", "S116: an image of a repository, and no engine", &|offer| {
            let digest = ImageDigest::from_bytes([0xab; 32]);
            let repository = "docker.io/library/debian".parse().expect("a repository");
            offer.requirements.runtimes = vec![Runtime::Container];
            offer.job.image = Some(Image { source: ImageSource::Repository(repository), digest });
        }),
        offer("offer-checkpoint", "S109: a checkpoint every second", &|offer| {
            offer.job.checkpoint = Some(Checkpoint { every_ms: 1_000, size: 1 });
        }),
        offer("offer-checkpoint-size", "S109: checkpoints that leave no disk space", &|offer| {
            let size = offer.job.limits.disk / 2;
            offer.job.checkpoint = Some(Checkpoint { every_ms: 60_000, size });
        }),
        offer("offer-fuel", "S111: fuel in another runtime than wasm", &|offer| {
            offer.job.limits.fuel = Some(1);
        }),
        offer("offer-artifacts", "S44: an artifact's pattern that leads out", &|offer| {
            offer.job.artifacts = vec!["../out".into()];
        }),
    ]
}

fn leases_and_results() -> Vec<Vector> {
    let mut claim = samples::claim();
    claim.count = 257;
    let mut lease = samples::lease();
    lease.term_ms = 999;
    let (granted, expires) = (samples::lease().granted, samples::lease().expires);
    let until = |deadline| Lease { deadline: Some(deadline), ..samples::lease() };
    let millisecond = Duration::from_millis(1);
    let (over, late) = (until(granted.before(millisecond)), until(expires + millisecond));
    let strange = Claim { ownership: owned_by(1), ..samples::claim() };
    let mut renewal = samples::renewal();
    renewal.leases.clear();
    let mut result = samples::result();
    result.blobs = vec![result.blobs[0]; 321];
    let mut receipt = samples::receipt();
    receipt.verdict = Verdict::Rejected("x".repeat(257));
    vec![
        signed("claim-count", "S50: a claim of 257 tasks", &claim, VOLUNTEER),
        signed("claim-of-others", "S92: an ownership of others", &strange, VOLUNTEER),
        signed("lease-term", "S51: a term of 999 ms", &lease, BROKER),
        signed("lease-over", "S93: a deadline before the grant", &over, BROKER),
        signed("lease-late", "S93: a deadline after the expiry", &late, BROKER),
        signed("renewal-of-nothing", "S52: a renewal of no lease", &renewal, VOLUNTEER),
        signed("result-blobs", "S83: 321 blobs", &result, VOLUNTEER),
        signed("receipt-reason", "S10: a reason of 257 bytes", &receipt, MASTER),
    ]
}
