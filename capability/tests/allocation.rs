//! Decoding takes no more memory than a constant times what it is given, whoever made it.
//!
//! So who bounds the bytes that come bounds the memory, before a single one is looked at.

use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

use allocation_counter::measure;
use capability::statements::OfKind;
use capability::{
    Capabilities, Clause, Ed25519, Envelope, Fact, Facts, Kind, MAX_CLAUSES, MAX_PREFERENCES,
    MAX_RUNTIMES, MAX_SET, MAX_STATEMENT_BYTES, MachineIndex, Payload, Platform, Preference,
    Requirements, Resources, Runtime, RuntimeFacts, Verified, decode_cbor, encode_cbor,
};
use ciborium::Value;
use data_encoding::HEXLOWER;

/// Bytes of memory at a time for each byte of input. A generic value has 32 bytes, and a list of
/// them begins with room for four: so a map of one small entry, three bytes on the wire, takes most,
/// 125 of them, and another 80 where a flattened structure makes serde keep what it passes over.
const FACTOR: u64 = 256;

/// Bytes of memory that keys, hashes and messages of errors take besides, however short the input.
const BASE: u64 = 8 << 10;

#[test]
fn golden_vectors_take_no_more_than_their_share() {
    let folders = ["docs/spec/vectors/valid", "docs/spec/vectors/invalid"];
    for file in folders.iter().flat_map(|folder| files(&root().join(folder))) {
        let text = fs::read_to_string(&file).expect("a vector is text");
        let digits: String = text.lines().filter(|line| !line.starts_with('#')).collect();
        check(&file.display(), &HEXLOWER.decode(digits.as_bytes()).expect("digits"));
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the corpus is in files")]
fn what_fuzzing_found_takes_no_more_than_its_share() {
    for file in files(&root().join("fuzz/corpus")).iter().flat_map(|folder| files(folder)) {
        check(&file.display(), &fs::read(&file).expect("a file"));
    }
}

#[test]
fn the_smallest_items_take_no_more_than_their_share() {
    let arrays = nested(10, |inner| Value::Array(vec![inner]));
    let maps = nested(10, |inner| Value::Map(vec![(Value::from(1), inner)]));
    let keys = nested(10, |inner| Value::Map(vec![(inner, Value::from(1))]));
    let items = [
        Value::from(1),
        Value::from(""),
        Value::from("x"),
        Value::Bytes(Vec::new()),
        Value::Array(Vec::new()),
        Value::Map(Vec::new()),
        nested(1, |inner| Value::Array(vec![inner])),
        nested(1, |inner| Value::Map(vec![(inner, Value::from(1))])),
        arrays,
        maps,
        keys,
        serialized(&("lucky",)),
        serialized(&("present", "x")),
        serialized(&("not", ("not", ("not", ("absent", "x"))))),
        serialized(&("equals", "x", ["a", "b", "c"])),
        serialized(&("one-of", "x", vec![1; 64])),
        serialized(&("version", "x", vec!["1"; 32].join(","))),
    ];
    for item in items {
        let size = encode_cbor(&item).len();
        for bytes in [300, 10_000] {
            let list = Value::Array(vec![item.clone(); bytes / size]);
            let what = format!("{bytes} bytes of {item:?}");
            check(&what, &encode_cbor(&list));
            for (place, wrapped) in wrapped(list) {
                check(&format!("{what} in {place}"), &encode_cbor(&wrapped));
            }
        }
    }
}

#[test]
fn lengths_that_are_lies_take_no_more_than_the_bytes_that_are_there() {
    for major in [0x40, 0x60, 0x80, 0xa0] {
        for length in [1 << 16, u64::from(u32::MAX), u64::MAX] {
            let lie = [&[major | 0x1b][..], &length.to_be_bytes()].concat();
            for follow in [0, 10_000] {
                let what = format!("{lie:02x?} and {follow} bytes");
                check(&what, &[&lie[..], &vec![0x61; follow]].concat());
            }
            check(&format!("{lie:02x?} again and again"), &lie.repeat(1_000));
        }
    }
}

#[test]
fn keys_and_patterns_take_no_more_than_their_share() {
    let numbers = (0..3_000).map(|n| (Value::from(n), Value::from(1))).collect();
    check(&"a map of numbers", &encode_cbor(&Value::Map(numbers)));
    for pattern in ["*", "?", "[!a]", "**/", "{?,a}", "é"] {
        let patterns = vec![pattern.repeat(256 / pattern.len()); 64];
        let step = [("name", Value::from("x")), ("run", serialized(&["x"]))].map(entry);
        let steps = Value::Array(vec![Value::Map(step.into())]);
        let job = [("steps", steps), ("artifacts", serialized(&patterns))].map(entry);
        check(&pattern, &encode_cbor(&Value::Map(job.into())));
    }
}

#[test]
fn an_explanation_takes_no_memory_for_the_sets_of_machines() {
    let words: Vec<String> = (0..MAX_SET).map(|word| format!("word-{word}")).collect();
    let mut index = MachineIndex::new();
    for number in 0..20 {
        let own = format!("own-{number}");
        let set: Fact = words.iter().skip(1).chain([&own]).map(String::as_str).collect();
        let mut facts = Facts::new();
        facts.insert("features", set).expect("a fact");
        let inside = RuntimeFacts { strength: String::new(), facts };
        let machine = Capabilities {
            platform: Platform::new("linux", "x86_64").expect("a platform"),
            resources: Resources { cores: 1, memory: 1, disk: 1 },
            runtimes: [(Runtime::Native, inside)].into(),
        };
        index.put(number, &machine);
    }
    let fact = || "features".parse().expect("the name of a fact");
    let lacked = |number: usize| format!("lacked-{number}");
    let one_word = |number| Clause::Includes { fact: fact(), words: [lacked(number)].into() };
    let two_words = |number| Clause::Includes {
        fact: fact(),
        words: [lacked(number), words[1].clone()].into(),
    };
    let equal = |number| Clause::Equals { fact: fact(), value: lacked(number).as_str().into() };
    let parts: [&dyn Fn(usize) -> Clause; 3] = [&one_word, &two_words, &equal];
    for part in parts {
        let any = Clause::Any((1..MAX_CLAUSES).map(part).collect());
        let runtimes = vec![Runtime::Native; MAX_RUNTIMES];
        let job = Requirements { runtimes, clauses: vec![any], rank: Vec::new() };
        job.validate().expect("it may be asked");
        let taken = measure(|| assert_eq!(index.explain(&job).matching, 0)).bytes_max;
        assert!(taken < 1 << 20, "{taken} bytes for {job:?}");
    }
}

#[test]
fn who_only_counts_machines_plans_no_preferences() {
    let mut facts = Facts::new();
    facts.insert("features", "none").expect("a fact");
    let inside = RuntimeFacts { strength: String::new(), facts };
    let mut index = MachineIndex::new();
    let machine = Capabilities {
        platform: Platform::new("linux", "x86_64").expect("a platform"),
        resources: Resources { cores: 1, memory: 1, disk: 1 },
        runtimes: [(Runtime::Native, inside)].into(),
    };
    index.put(0, &machine);
    let fact = || "features".parse().expect("the name of a fact");
    let clause = || Clause::Present { fact: fact() };
    let prefers = Preference::Holds { weight: 1, clause: clause() };
    let plain =
        Requirements { runtimes: vec![Runtime::Native], clauses: vec![clause()], rank: Vec::new() };
    let ranked = Requirements { rank: vec![prefers; MAX_PREFERENCES], ..plain.clone() };
    let taken =
        |job: &Requirements| measure(|| assert_eq!(index.select(job, 0, 0).len(), 1)).bytes_total;
    assert_eq!(taken(&ranked), taken(&plain));
}

/// Lets everything that reads bytes of peers read `bytes`.
fn check(what: &dyn std::fmt::Display, bytes: &[u8]) {
    let most = FACTOR * u64::try_from(bytes.len()).expect("64 bits") + BASE;
    let within = |decoder: &str, decode: &mut dyn FnMut()| {
        let taken = measure(&mut *decode).bytes_max;
        let length = bytes.len();
        assert!(taken <= most, "{decoder} took {taken} bytes for {length}: {what}");
    };
    within("envelope", &mut || drop(Envelope::parse(bytes)));
    within("requirements", &mut || drop(decode_cbor::<Requirements>(bytes, LIMIT)));
    within("capabilities", &mut || drop(decode_cbor::<Capabilities>(bytes, LIMIT)));
    within("job", &mut || drop(decode_cbor::<capability::JobSpec>(bytes, LIMIT)));
    for kind in Kind::ALL {
        within(kind.name(), &mut || kind.apply(Decode(bytes)));
    }
    let Ok(envelope) = Envelope::parse(bytes) else { return };
    for kind in Kind::ALL {
        within(kind.name(), &mut || kind.apply(Check(&envelope)));
    }
}

/// A frame's, which holds more than a statement.
const LIMIT: usize = 1 << 20;

/// Reads bytes as a payload.
struct Decode<'a>(&'a [u8]);

impl OfKind for Decode<'_> {
    type Output = ();

    fn of<T: Payload + Debug + PartialEq>(self) {
        drop(decode_cbor::<T>(self.0, MAX_STATEMENT_BYTES));
    }
}

/// Reads the payload of an envelope, and what is inside it.
struct Check<'a>(&'a Envelope);

impl OfKind for Check<'_> {
    type Output = ();

    fn of<T: Payload + Debug + PartialEq>(self) {
        drop(Verified::<T>::check(self.0, &Ed25519));
    }
}

/// A list in the places where a peer can put one.
fn wrapped(list: Value) -> [(&'static str, Value); 4] {
    let map = |entries: Vec<(&str, Value)>| Value::Map(entries.into_iter().map(entry).collect());
    let facts = map(vec![("label", list.clone())]);
    let native = map(vec![("facts", facts)]);
    let platform = map(vec![("os", Value::from("linux")), ("arch", Value::from("x86_64"))]);
    let resources = ["cores", "memory", "disk"].map(|what| (what, Value::from(1))).to_vec();
    let capabilities = map(vec![
        ("platform", platform),
        ("resources", map(resources)),
        ("runtimes", map(vec![("native", native)])),
    ]);
    let needs = |key| map(vec![("runtimes", serialized(&["native"])), (key, list.clone())]);
    let later = map(vec![("later", list.clone())]);
    [
        ("a fact", capabilities),
        ("clauses", needs("clauses")),
        ("a rank", needs("rank")),
        ("a key of a later version", later),
    ]
}

fn entry<K: Into<Value>, V: Into<Value>>((key, value): (K, V)) -> (Value, Value) {
    (key.into(), value.into())
}

fn nested(depth: usize, around: impl Fn(Value) -> Value) -> Value {
    (0..depth).fold(Value::from(1), |inner, _| around(inner))
}

fn serialized(value: &impl serde::Serialize) -> Value {
    Value::serialized(value).expect("a value")
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|_| panic!("no {}", folder.display()));
    let files: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    assert!(!files.is_empty(), "{} is empty", folder.display());
    files
}
