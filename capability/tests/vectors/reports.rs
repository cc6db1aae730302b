//! What is inside results: `docs/spec/vectors/reports.json`.

use capability::statements::{
    Artifact, Blob, BlobPart, JobResult, Lease, Log, Ownership, Report, StepReport,
};
use capability::{
    BlobHash, DecryptionKey, Envelope, Kind, Opener as _, Purpose, Sealed, Sealer as _, Verified,
    encode_cbor, encrypted_size, padded,
};
use ciborium::Value;
use data_encoding::HEXLOWER;
use serde_json::{Map, json};

use super::by_hand::{Header, alone, generic};
use super::samples::{self, BROKER, MASTER, OTHER, OWNER, VOLUNTEER, secret};
use super::valid;
use super::variants::{entry, items};

/// A sound result, whose report is to be refused.
pub struct Refused {
    /// The rule that the report breaks, and no other.
    pub rule: &'static str,
    pub what: &'static str,
    pub result: JobResult,
}

pub fn reader() -> DecryptionKey {
    samples::decryption(MASTER)
}

/// The file. Bytes are hexadecimal.
pub fn file() -> String {
    let secret = |seed: u8| HEXLOWER.encode(&[100 + seed; 32]);
    let taken = valid().into_iter().filter(|vector| vector.kind == Kind::Result);
    let taken = taken.map(|vector| {
        let result = Verified::parse(&vector.bytes, &capability::Ed25519).expect("a valid vector");
        (vector.name, HEXLOWER.encode(&plaintext(&result)).into())
    });
    let refused = refused().into_iter().map(|it| {
        let result = Verified::sign(it.result, &secret_of_volunteer());
        let bytes = HEXLOWER.encode(result.envelope().as_bytes());
        json!({ "rule": it.rule, "what": it.what, "result": bytes })
    });
    let blobs = (0..2).map(|index| {
        json!({
            "index": index,
            "size": samples::BLOBS[index as usize].len(),
            "encrypted": HEXLOWER.encode(&samples::encrypted(index)),
            "content": HEXLOWER.encode(samples::BLOBS[index as usize]),
        })
    });
    let package = json!({
        "offer": "offer",
        "volunteer-key": secret(VOLUNTEER),
        "key": HEXLOWER.encode(samples::PACKAGE_KEY.as_bytes()),
    });
    let sizes = [0, 512, 513, 1000, 65_536, 100_000, 1 << 30];
    let file = json!({
        "key": secret(MASTER),
        "reports": Map::from_iter(taken),
        "refused": refused.collect::<Vec<_>>(),
        "package": package,
        "blob-key": HEXLOWER.encode(samples::BLOB_KEY.as_bytes()),
        "blobs": blobs.collect::<Vec<_>>(),
        "sizes": sizes.map(|size: u64| [size, padded(size), encrypted_size(size)]),
    });
    serde_json::to_string_pretty(&file).expect("it is JSON") + "\n"
}

/// What is sealed in `result`, padding and all.
fn plaintext(result: &Verified<JobResult>) -> Vec<u8> {
    let opener = capability::HpkeOpener::new([reader()]);
    let bond = bond(result);
    opener.open(Purpose::Report, &result.report, &bond).expect("it is for this key")
}

/// As `statements.md` has it (S81), by another encoder than the crate's.
fn bond(result: &JobResult) -> Vec<u8> {
    let bytes = |bytes: &[u8]| Value::Bytes(bytes.to_vec());
    let blobs = result
        .blobs
        .iter()
        .map(|blob| Value::Array(vec![bytes(blob.hash.as_bytes()), Value::from(blob.size)]));
    encode_cbor(&Value::Array(vec![
        bytes(samples::public(VOLUNTEER).as_bytes()),
        bytes(result.lease.id().as_bytes()),
        Value::Array(blobs.collect()),
    ]))
}

pub fn refused() -> Vec<Refused> {
    let mut refused =
        vec![Refused { rule: "S81", what: "sealed to somebody else", result: sealed_to_another() }];
    refused.extend(unsound());
    refused.extend(misshapen());
    refused.extend(beyond_bounds());
    refused.extend(about_blobs());
    refused.extend(owned());
    refused
}

fn sealed_to_another() -> JobResult {
    let lease = Verified::sign(samples::lease(), &secret(BROKER));
    let to = samples::decryption(OTHER).public();
    JobResult::new(&lease, samples::blobs(), &samples::report(), to, &samples::sealer())
}

/// S81: whatever is changed.
fn unsound() -> Vec<Refused> {
    let changed = |what, change: &dyn Fn(&mut JobResult)| {
        let mut result = samples::result();
        change(&mut result);
        Refused { rule: "S81", what, result }
    };
    let sealed = |what, change: &dyn Fn(&mut Sealed)| changed(what, &|it| change(&mut it.report));
    let elsewhere = Lease { granted: samples::NOW + samples::HOUR, ..samples::lease() };
    let elsewhere = Verified::sign(elsewhere, &secret(BROKER)).envelope().clone();
    vec![
        sealed("a bit of the body", &|it| it.body[40] ^= 1),
        sealed("no body", &|it| it.body.clear()),
        sealed("another number", &|it| it.number += 1),
        changed("under another lease", &|it| it.lease = elsewhere.clone()),
        changed("with another blob", &|it| it.blobs[0].hash = BlobHash::of(b"another")),
        changed("without a blob", &|it| it.blobs.truncate(1)),
    ]
}

/// S2, S3, S82: a report that is none.
fn misshapen() -> Vec<Refused> {
    let sound = encode_cbor(&samples::report());
    let sealed = |plaintext: &[u8]| {
        let mut result = samples::result();
        let bond = bond(&result);
        result.report =
            samples::sealer().seal(Purpose::Report, reader().public(), plaintext, &bond);
        result
    };
    let with = |change: &dyn Fn(&mut Value)| {
        let mut report = generic(&sound);
        change(&mut report);
        sealed(&padded_with(&encode_cbor(&report), 0))
    };
    let one = |key: &str| (Value::from(key), Value::from("why"));
    let two = Value::Map(vec![one("limit"), one("machine")]);
    let ended = |what, ended: Value| Refused {
        rule: "S3",
        what,
        result: with(&|it| *entry(it, "ended") = ended.clone()),
    };
    let mut twice = sound.clone();
    twice.push(0);
    vec![
        Refused { rule: "S82", what: "not padded", result: sealed(&unpadded(&sound)) },
        Refused { rule: "S82", what: "padded with ones", result: sealed(&padded_with(&sound, 1)) },
        Refused { rule: "S82", what: "nothing at all", result: sealed(b"") },
        Refused { rule: "S2", what: "two items", result: sealed(&padded_with(&twice, 0)) },
        ended("an end of another version", Value::from("vanished")),
        ended("two ends at once", two),
        ended("a limit without a text", Value::from("limit")),
        Refused {
            rule: "S3",
            what: "an exit code of 33 bits",
            result: with(&|it| {
                *entry(&mut items(entry(it, "steps"))[0], "exit") = Value::from(1_u64 << 31);
            }),
        },
        Refused {
            rule: "S20",
            what: "a platform without a word",
            result: with(&|it| *entry(entry(it, "platform"), "arch") = Value::from("")),
        },
    ]
}

fn unpadded(report: &[u8]) -> Vec<u8> {
    let length = u32::try_from(report.len()).expect("small").to_be_bytes();
    [&length[..], report].concat()
}

fn padded_with(report: &[u8], padding: u8) -> Vec<u8> {
    let mut plaintext = unpadded(report);
    let size = usize::try_from(padded(plaintext.len() as u64)).expect("small");
    plaintext.resize(size, padding);
    plaintext
}

/// S10, S60 to S63.
fn beyond_bounds() -> Vec<Refused> {
    let changed = |rule, what, change: &dyn Fn(&mut Report)| {
        let mut report = samples::report();
        change(&mut report);
        Refused { rule, what, result: samples::result_of(&report, samples::blobs()) }
    };
    let step = StepReport { log: Log::Inline(Vec::new()), ..samples::report().steps[0].clone() };
    vec![
        changed("S60", "65 steps", &|it| it.steps.extend(vec![step.clone(); 63])),
        too_many_artifacts(),
        changed("S62", "an inline log of 2,049 bytes", &|it| {
            it.steps[0].log = Log::Inline(vec![b'x'; 2049]);
        }),
        changed("S63", "a path that leads out", &|it| {
            it.artifacts[0].path = "../../etc/passwd".into();
        }),
        changed("S10", "a path of 513 bytes", &|it| it.artifacts[0].path = "x".repeat(513)),
        changed("S10", "a system with a control character", &|it| it.system = "a\nb".into()),
    ]
}

fn too_many_artifacts() -> Refused {
    let blob = samples::blobs()[1];
    let artifact = |index: u32| Artifact {
        path: index.to_string(),
        content: BlobPart { blob: index, ..samples::report().artifacts[0].content },
    };
    let mut report = samples::report();
    report.steps.clear();
    report.artifacts = (0..257).map(artifact).collect();
    let result = samples::result_of(&report, vec![blob; 257]);
    Refused { rule: "S61", what: "257 artifacts", result }
}

/// S83.
fn about_blobs() -> Vec<Refused> {
    let changed = |what, change: &dyn Fn(&mut Report, &mut Vec<Blob>)| {
        let (mut report, mut blobs) = (samples::report(), samples::blobs());
        change(&mut report, &mut blobs);
        Refused { rule: "S83", what, result: samples::result_of(&report, blobs) }
    };
    vec![
        changed("a blob that is not named", &|report, _| report.artifacts.clear()),
        changed("a blob that is named twice", &|report, blobs| {
            report.artifacts[0].content.blob = 0;
            blobs.truncate(1);
        }),
        changed("a blob that is not there", &|_, blobs| blobs.truncate(1)),
        changed("a blob of another size", &|_, blobs| blobs[1].size += 1),
    ]
}

/// S75, and what is inside the ownership.
fn owned() -> Vec<Refused> {
    let by = |rule, what, ownership: Envelope| {
        let report = Report { ownership: Some(ownership), ..samples::report() };
        Refused { rule, what, result: samples::result_of(&report, samples::blobs()) }
    };
    let owned_by = |nodes: usize| {
        let nodes = (0..nodes).map(|_| samples::public(OTHER)).collect();
        let ownership = Ownership { nodes, ..samples::ownership() };
        Verified::sign(ownership, &secret(OWNER)).envelope().clone()
    };
    let header = Header::new(Kind::Ownership.number(), OWNER);
    let forged = alone(&header, &encode_cbor(&samples::ownership()), OTHER);
    let forged = Envelope::parse(&forged).expect("sound but for its signature");
    vec![
        by("S75", "an ownership of others", owned_by(1)),
        by("S75", "an ownership of 120 nodes", owned_by(120)),
        by("S6", "an ownership by somebody else", forged),
        by("S4", "a lease for an ownership", samples::result().lease),
    ]
}

fn secret_of_volunteer() -> capability::SecretKey {
    secret(VOLUNTEER)
}
