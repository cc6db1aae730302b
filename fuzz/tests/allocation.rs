//! Reading what peers say takes no more memory than a constant times its length.

use std::fs;
use std::path::Path;

use allocation_counter::measure;
use capability::{Ed25519, encode_cbor};
use ciborium::Value;
use mesh_core::{Answer, Ask, ReconcileAnswer, ReconcileAsk, decode_answers, decode_bundles};

/// Bytes of memory at a time for each byte of input, as in `capability/tests/allocation.rs`.
const FACTOR: u64 = 256;
const BASE: u64 = 8 << 10;

/// Bytes of memory that whoever decrypts a blob needs besides: a chunk, whatever the blob claims to be.
const CHUNK: u64 = 68 << 10;

#[test]
fn what_fuzzing_found_takes_no_more_than_its_share() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for folder in ["call", "custody", "reconcile", "statement"] {
        for entry in fs::read_dir(corpus.join(folder)).expect("a corpus") {
            let file = entry.expect("an entry").path();
            check(&file.display().to_string(), &fs::read(&file).expect("a readable file"));
        }
    }
}

#[test]
fn questions_and_answers_that_are_lists_without_end_take_no_more_than_their_share() {
    for item in small() {
        let list = || list_of(&item);
        let needs = map(vec![("runtimes", list()), ("clauses", list())]);
        for said in [
            map(vec![("pull", map(vec![("wants", map(vec![("runtimes", list())]))]))]),
            map(vec![("explain", map(vec![("requirements", needs)]))]),
            map(vec![("registrations", map(vec![("projects", list())]))]),
            map(vec![("registrations", list())]),
            map(vec![("leases", list())]),
            map(vec![("offers", list())]),
            map(vec![("explanation", map(vec![("obstacles", list())]))]),
            map(vec![("compare", list())]),
            map(vec![("give", list())]),
            map(vec![("differs", list())]),
            map(vec![("missing", list())]),
        ] {
            check(&format!("{said:.200?}"), &encode_cbor(&said));
        }
    }
}

#[test]
fn what_only_its_recipient_reads_takes_no_more_than_its_share_and_a_chunk() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    for (folder, law) in [("report", fuzz::report as Reader), ("encrypted", fuzz::encrypted)] {
        for entry in fs::read_dir(corpus.join(folder)).expect("a corpus") {
            let file = entry.expect("an entry").path();
            let bytes = fs::read(&file).expect("a readable file");
            bounded(folder, &file.display().to_string(), CHUNK, &bytes, law);
        }
    }
    for item in small() {
        for name in ["steps", "artifacts", "platform", "ended"] {
            let said = map(vec![(name, list_of(&item))]);
            let bytes = encode_cbor(&said);
            bounded("report", &format!("{said:.200?}"), CHUNK, &bytes, fuzz::report);
        }
    }
}

/// The smallest items of each sort.
fn small() -> [Value; 6] {
    [
        Value::from(1),
        Value::Bytes(Vec::new()),
        Value::Bytes(vec![7; 32]),
        Value::Array(vec![Value::from(1), Value::from(2)]),
        Value::Array(vec![Value::from("present"), Value::from("x")]),
        map(vec![("x", Value::from(1))]),
    ]
}

fn map(entries: Vec<(&str, Value)>) -> Value {
    Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// 10,000 bytes of that item.
fn list_of(item: &Value) -> Value {
    Value::Array(vec![item.clone(); 10_000 / encode_cbor(item).len()])
}

type Reader = fn(&[u8]);

/// Lets everything that reads what peers say read `bytes`.
fn check(what: &str, bytes: &[u8]) {
    let readers: [(&str, Reader); 6] = [
        ("ask", |bytes| drop(Ask::decode(bytes, &Ed25519))),
        ("answer", |bytes| drop(Answer::decode(bytes, &Ed25519))),
        ("handover", |bytes| drop(decode_bundles(bytes, &Ed25519))),
        ("answers to a handover", |bytes| drop(decode_answers(bytes, 1))),
        ("question of reconciliation", |bytes| drop(ReconcileAsk::decode(bytes))),
        ("answer of reconciliation", |bytes| drop(ReconcileAnswer::decode(bytes))),
    ];
    for (name, read) in readers {
        bounded(name, what, 0, bytes, read);
    }
}

/// Lets `read` read `bytes`, for which it may take `more` bytes of memory than their share.
fn bounded(name: &str, what: &str, more: u64, bytes: &[u8], read: Reader) {
    let length = bytes.len();
    let most = FACTOR * u64::try_from(length).expect("64 bits") + BASE + more;
    let taken = measure(|| read(bytes)).bytes_max;
    assert!(taken <= most, "{name} took {taken} bytes for {length}: {what}");
}
