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
    let map = |entries: Vec<(&str, Value)>| {
        Value::Map(entries.into_iter().map(|(key, value)| (key.into(), value)).collect())
    };
    let small = [
        Value::from(1),
        Value::Bytes(Vec::new()),
        Value::Bytes(vec![7; 32]),
        Value::Array(vec![Value::from(1), Value::from(2)]),
        Value::Array(vec![Value::from("present"), Value::from("x")]),
        map(vec![("x", Value::from(1))]),
    ];
    for item in small {
        let list = || Value::Array(vec![item.clone(); 10_000 / encode_cbor(&item).len()]);
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
    let length = bytes.len();
    let most = FACTOR * u64::try_from(length).expect("64 bits") + BASE;
    for (name, read) in readers {
        let taken = measure(|| read(bytes)).bytes_max;
        assert!(taken <= most, "{name} took {taken} bytes for {length}: {what}");
    }
}
