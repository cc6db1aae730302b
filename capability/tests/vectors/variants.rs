//! Sound statements that are not as usual: the least of a kind, every word of a choice, the bounds
//! of time, and what a later version may add.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{
    BrokerCard, Claim, Ended, Home, Intent, JobResult, Lease, Offer, Ownership, Permissions,
    Receipt, Registration, Renewal, Report, Revocation, Summary, USUAL_PRIORITY, Verdict,
    Withdrawal,
};
use capability::{
    Checkpoint, Destination, Envelope, Image, ImageDigest, ImageSource, JobSpec, Kind, Payload,
    Runtime, Verified, encode_cbor,
};
use ciborium::Value;

use super::Vector;
use super::by_hand::{Header, alone, generic};
use super::curve;
use super::samples::{
    self, BROKER, HOUR, MASTER, NOW, OTHER, OWNER, PROJECT, VOLUNTEER, secret, withdrawal,
};

/// All of them.
pub fn variants() -> Vec<Vector> {
    let groups = [
        least(),
        choices(),
        vec![with_destinations()],
        odd(),
        bounds_of_time(),
        of_a_later_version(),
    ];
    groups
        .into_iter()
        .flatten()
        .chain([offer_of_an_image(), offer_of_an_image_elsewhere()])
        .chain([of_a_mixed_key(), with_a_forged_ad()])
        .collect()
}

fn signed<T: Payload>(name: &str, comment: &str, payload: T, seed: u8) -> Vector {
    let bytes = Verified::sign(payload, &secret(seed)).envelope().as_bytes().to_vec();
    Vector { name: name.into(), kind: T::KIND, comment: comment.into(), bytes }
}

/// Without a single optional key, and with lists as short as they may be.
fn least() -> Vec<Vector> {
    let mut report = samples::report();
    report.steps.clear();
    report.artifacts.clear();
    report.system.clear();
    report.ownership = None;
    let result = samples::result_of(&report, Vec::new());
    let registration = Registration {
        name: "x".into(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions::default(),
        checks: Vec::new(),
        ..samples::registration()
    };
    let ownership = Ownership { nodes: Vec::new(), ..samples::ownership() };
    let revocation = Revocation { reason: String::new(), ..samples::revocation() };
    let summary = Summary { classes: Vec::new(), ..samples::summary() };
    let card = BrokerCard { addresses: Vec::new(), links: Vec::new(), ..samples::broker_card() };
    vec![
        least_ad(),
        least_offer(),
        signed(
            "result-least",
            "a result without blobs, and in its report no optional keys and steps",
            result,
            VOLUNTEER,
        ),
        signed("registration-least", "a registration of a name", registration, PROJECT),
        signed(
            "home-least",
            "a home without standbys",
            Home { standbys: Vec::new(), ..samples::home() },
            MASTER,
        ),
        signed("summary-least", "a summary without classes", summary, BROKER),
        signed("broker-card-least", "a broker card without addresses and links", card, BROKER),
        signed("ownership-least", "an ownership of no node", ownership, OWNER),
        signed("revocation-least", "a revocation without a reason", revocation, VOLUNTEER),
    ]
}

/// Our own encoder always writes `runtimes`, which may be absent.
fn least_ad() -> Vector {
    let mut ad = samples::ad();
    ad.capabilities.runtimes.clear();
    let mut payload = generic(&encode_cbor(&ad));
    entries(entry(&mut payload, "capabilities")).retain(|(key, _)| key != &Value::from("runtimes"));
    by_value("ad-least", "an ad without optional keys", Kind::Ad, &payload, VOLUNTEER)
}

/// Nor does it leave `limits` out.
fn least_offer() -> Vector {
    let mut offer = samples::offer();
    (offer.name, offer.builder) = (String::new(), String::new());
    (offer.offline_ms, offer.priority) = (0, USUAL_PRIORITY);
    offer.private = None;
    offer.requirements.clauses.clear();
    offer.requirements.rank.clear();
    offer.job = JobSpec {
        environment: BTreeMap::new(),
        artifacts: Vec::new(),
        tap: None,
        network: Vec::new(),
        checkpoint: None,
        ..offer.job.clone()
    };
    let mut payload = generic(&encode_cbor(&offer));
    entries(entry(&mut payload, "job")).retain(|(key, _)| key != &Value::from("limits"));
    by_value("offer-least", "an offer without optional keys", Kind::Offer, &payload, MASTER)
}

/// What a job may list of the network, each in its one spelling.
fn with_destinations() -> Vector {
    let mut offer = samples::offer();
    offer.requirements.clauses.push(Destination::required());
    let listed = ["deb.debian.org:80", "*.crates.io:443", "a_b-c.xn--p1ai:65535", "9.9.9.9:853"];
    let listed =
        listed.into_iter().chain(["[2620:fe::fe]:853", "[2001:db8:0:1:1:1:1:1]:1", "localhost:1"]);
    offer.job.network = listed.map(|it| it.parse().expect("a destination")).collect();
    signed("offer-network", "an offer whose job reaches the network", offer, MASTER)
}

/// One whose steps have an image as their root.
fn offer_of_an_image() -> Vector {
    let mut offer = samples::offer();
    offer.requirements.runtimes = vec![Runtime::Container];
    let digest = ImageDigest::from_bytes([0xab; 32]);
    let source = ImageSource::Package("images/debian".into());
    offer.job.image = Some(Image { source, digest });
    signed("offer-image", "an offer for the runtime container", offer, MASTER)
}

/// One whose image does not come with the package.
fn offer_of_an_image_elsewhere() -> Vector {
    let mut offer = samples::offer();
    offer.requirements.runtimes = vec![Runtime::Container];
    let digest = ImageDigest::from_bytes([0xab; 32]);
    let repository = "registry.example:5000/tools/a__b/debian-12".parse().expect("a repository");
    let image = Image { source: ImageSource::Repository(repository), digest };
    offer.requirements.clauses.extend(image.required());
    offer.job.image = Some(image);
    signed("offer-image-repository", "an offer with an image of a repository", offer, MASTER)
}

fn metered() -> Offer {
    let mut offer = samples::offer();
    offer.requirements.runtimes = vec![Runtime::Wasm];
    offer.job.limits.fuel = Some(5_000_000_000);
    offer.job.checkpoint = Some(Checkpoint { every_ms: 600_000, size: 1 << 20 });
    offer
}

fn resumed() -> JobResult {
    let mut report = Report { resumed: 2, runtime: Runtime::Wasm, ..samples::report() };
    report.steps.iter_mut().for_each(|step| step.fuel = Some(4_999));
    samples::result_of(&report, samples::blobs())
}

/// Each word of a choice that the samples do not have.
fn choices() -> Vec<Vector> {
    let ended = |name: &str, ended: Ended| {
        let comment = format!("a result that ended in another way: {}", &name["result-".len()..]);
        let report = Report { ended, ..samples::report() };
        signed(name, &comment, samples::result_of(&report, samples::blobs()), VOLUNTEER)
    };
    let receipt = |name, comment, verdict| {
        signed(name, comment, Receipt { verdict, ..samples::receipt() }, MASTER)
    };
    let release = Renewal { intent: Intent::Release, ..samples::renewal() };
    let lost = Renewal { lost: true, ..release.clone() };
    let online = Lease { deadline: None, ..samples::lease() };
    let last = Lease { deadline: Some(samples::lease().expires), ..samples::lease() };
    let plain = Claim { ownership: None, offline: false, ..samples::claim() };
    vec![
        ended("result-passed", Ended::Passed),
        ended("result-failed", Ended::Failed),
        ended("result-machine", Ended::Machine("no room on the disk".into())),
        receipt("receipt-rejected", "a rejection", Verdict::Rejected("late".into())),
        receipt("receipt-again", "a task that is open again", Verdict::Again("no log".into())),
        signed("offer-metered", "fuel, and checkpoints", metered(), MASTER),
        signed("result-resumed", "a result of a job that went on twice", resumed(), VOLUNTEER),
        signed("renewal-release", "leases given back", release, VOLUNTEER),
        signed("renewal-lost", "leases given back by a process that was killed", lost, VOLUNTEER),
        signed("lease-online", "a lease without a deadline", online, BROKER),
        signed("lease-to-the-end", "a deadline when the offer expires", last, BROKER),
        signed("claim-least", "a claim without optional keys", plain, VOLUNTEER),
    ]
}

/// What a reader might think that a rule refuses.
fn odd() -> Vec<Vector> {
    let script = "printf 'int main(void) { return 0; }\n' | cc -x c -\n\ta.out";
    let mut registration = samples::registration();
    registration.checks[0].command = vec!["sh".into(), "-c".into(), script.into()];
    registration.checks[0].depends.clear();
    let shard = Summary { shard: "anywhere".into(), ..samples::summary() };
    let mut names = samples::ownership();
    names.nodes.push(names.nodes[0]);
    vec![
        signed("registration-script", "arguments of several lines", registration, PROJECT),
        signed("summary-strange-shard", "a shard that no broker knows", shard, BROKER),
        signed("ownership-twice", "an ownership that names a node twice", names, OWNER),
    ]
}

/// S8 and S9, to the millisecond.
fn bounds_of_time() -> Vec<Vector> {
    let skew = Duration::from_secs(5 * 60);
    let until = |expires| Withdrawal { expires, ..withdrawal(9) };
    let just_held = until(NOW.before(skew) + Duration::from_millis(1));
    let longest = until(NOW + 30 * 24 * HOUR + skew);
    vec![
        signed(
            "withdrawal-in-the-skew",
            "expired 5 minutes before 1,800,000,000,000, less 1 ms",
            just_held,
            MASTER,
        ),
        signed(
            "withdrawal-longest",
            "expires 30 days and 5 minutes after 1,800,000,000,000",
            longest,
            MASTER,
        ),
    ]
}

/// What version 1 does not know: it is carried along, and does not count.
fn of_a_later_version() -> Vec<Vector> {
    let later = || (Value::from("later"), Value::Map(vec![(Value::from(1), Value::from("x"))]));
    let mut ad = generic(&encode_cbor(&samples::ad()));
    let capabilities = entry(&mut ad, "capabilities");
    for map in ["platform", "resources"] {
        entries(entry(capabilities, map)).push(later());
    }
    let runtimes = entry(capabilities, "runtimes");
    let inside = Value::Map(vec![(
        Value::from("facts"),
        Value::Map(vec![
            (Value::from("negative"), Value::from(-1)),
            (Value::from("bytes"), Value::Bytes(vec![1])),
            (Value::from("map"), Value::Map(Vec::new())),
            (Value::from("unsorted"), array(&["b", "a"])),
        ]),
    )]);
    entries(runtimes).push((Value::from("unikernel-2"), inside));
    let mut offer = generic(&encode_cbor(&samples::offer()));
    entries(entry(&mut offer, "job")).push(later());
    let requirements = entry(&mut offer, "requirements");
    items(entry(requirements, "runtimes")).push(Value::from("unikernel-2"));
    items(entry(requirements, "clauses")).extend([
        array(&["lucky"]),
        Value::Array(vec![Value::from("near"), Value::from("cpu.cores"), Value::from(-7)]),
    ]);
    items(entry(requirements, "rank")).push(array(&["prettier", "label"]));
    entries(requirements).push(later());
    let mut lease = generic(&encode_cbor(&samples::lease()));
    entries(&mut lease).extend([
        (Value::from("least"), Value::from(i64::MIN)),
        (Value::from("most"), Value::from(u64::MAX)),
    ]);
    let comment = "keys that version 1 does not know, with the least and the largest integer";
    let lease = by_value("lease-with-unknown-keys", comment, Kind::Lease, &lease, BROKER);
    let comment = "keys, a runtime and facts that version 1 does not know";
    let ad = by_value("ad-with-unknown-keys", comment, Kind::Ad, &ad, VOLUNTEER);
    let comment = "keys, a runtime, clauses and a preference that version 1 does not know";
    vec![ad, lease, by_value("offer-with-unknown-keys", comment, Kind::Offer, &offer, MASTER)]
}

/// S6 refuses points of small order, not all that have a part of small order.
fn of_a_mixed_key() -> Vector {
    let key = curve::mixed_key();
    let header =
        Header { key: key.public.to_vec(), ..Header::new(Kind::Withdrawal.number(), MASTER) };
    let sound = (0..=u8::MAX).find_map(|n| {
        let payload = encode_cbor(&withdrawal(n));
        key.sign_cofactored(&header, &payload).holds_without_cofactor()
    });
    Vector {
        name: "withdrawal-by-a-mixed-key".into(),
        kind: Kind::Withdrawal,
        comment: "signed by a key with a part of small order, which holds without the cofactor"
            .into(),
        bytes: sound.expect("one of eight does"),
    }
}

/// S3: nobody has acted on the ad yet.
fn with_a_forged_ad() -> Vector {
    let header = Header::new(Kind::Ad.number(), VOLUNTEER);
    let ad = alone(&header, &encode_cbor(&samples::ad()), OTHER);
    let ad = Envelope::parse(&ad).expect("sound but for its signature");
    let comment = "a claim with an ad that the volunteer did not sign, which is the home's to see";
    signed("claim-with-a-forged-ad", comment, Claim { ad, ..samples::claim() }, VOLUNTEER)
}

fn by_value(name: &str, comment: &str, kind: Kind, payload: &Value, seed: u8) -> Vector {
    // It sorts the keys.
    let payload = encode_cbor(payload);
    let bytes = alone(&Header::new(kind.number(), seed), &payload, seed);
    Vector { name: name.into(), kind, comment: comment.into(), bytes }
}

fn array(words: &[&str]) -> Value {
    Value::Array(words.iter().map(|&word| Value::from(word)).collect())
}

/// The value of `key` in a map that has it.
pub fn entry<'v>(map: &'v mut Value, key: &str) -> &'v mut Value {
    let mut entries = entries(map).iter_mut();
    &mut entries.find(|(found, _)| found.as_text() == Some(key)).expect("it has the key").1
}

pub fn entries(map: &mut Value) -> &mut Vec<(Value, Value)> {
    map.as_map_mut().expect("it is a map")
}

pub fn items(array: &mut Value) -> &mut Vec<Value> {
    array.as_array_mut().expect("it is an array")
}
