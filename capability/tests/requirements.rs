//! What a job needs, and how it travels.

use capability::{
    Clause, Fact, FactName, MAX_ALTERNATIVES, MAX_CLAUSES, Requirements, Resource, Runtime,
    decode_cbor, encode_cbor,
};
use proptest::prelude::*;
use serde_json::{Value, json};

const LIMIT: usize = 1 << 20;

#[test]
fn a_clause_is_an_array_that_begins_with_its_kind() {
    let check = |clause: Clause, expected: Value| {
        assert_eq!(serde_json::to_value(&clause).expect("JSON"), expected);
        assert_eq!(decoded(&expected), Some(clause), "{expected}");
    };
    check(
        Clause::Equals { fact: name("os"), value: "linux".into() },
        json!(["equals", "os", "linux"]),
    );
    check(Clause::Equals { fact: name("n"), value: 7.into() }, json!(["equals", "n", 7]));
    check(Clause::Equals { fact: name("n"), value: true.into() }, json!(["equals", "n", true]));
    check(
        Clause::OneOf { fact: name("os"), values: vec!["linux".into(), 1.into()] },
        json!(["one-of", "os", ["linux", 1]]),
    );
    check(Clause::AtLeast { fact: name("n"), amount: 3 }, json!(["at-least", "n", 3]));
    check(
        Clause::Donates { resource: Resource::Memory, amount: 1 << 40 },
        json!(["donates", "memory", 1_u64 << 40]),
    );
    check(
        Clause::Version { fact: name("tool.make"), range: ">=4, <6".parse().expect("range") },
        json!(["version", "tool.make", ">=4, <6"]),
    );
    check(Clause::Present { fact: name("tool.make") }, json!(["present", "tool.make"]));
    check(Clause::Absent { fact: name("tool.make") }, json!(["absent", "tool.make"]));
}

#[test]
fn what_is_not_understood_is_kept_as_unknown() {
    let check = |wire: Value| {
        let kind = wire[0].as_str().expect("a kind").to_owned();
        let clause = decoded(&wire);
        assert_eq!(clause, Some(Clause::Unknown { kind }), "{wire}");
        // Shown again it does not become something that could hold.
        let again = decoded(&serde_json::to_value(&clause).expect("JSON"));
        assert_eq!(again, clause, "{wire}");
    };
    check(json!(["lucky"]));
    check(json!(["lucky", "os", [["deep", {"er": [1, 2]}]], {"a": 1}, 5, 6, 7]));
    check(json!(["not", ["equals", "os", "linux"]]));
    check(json!(["equals"]));
    check(json!(["equals", "os"]));
    check(json!(["equals", "os", "linux", "ignoring-case"]));
    check(json!(["equals", "os", ["linux"]]));
    check(json!(["equals", "os", -1]));
    check(json!(["equals", 1, 1]));
    check(json!(["equals", "Not A Name", 1]));
    check(json!(["one-of", "os", "linux"]));
    check(json!(["one-of", "os", ["linux", ["macos"]]]));
    check(json!(["at-least", "n", "3"]));
    check(json!(["donates", "gpus", 3]));
    check(json!(["donates", "memory", "3"]));
    check(json!(["version", "tool.make", "newer than 4"]));
    check(json!(["version", "tool.make", 4]));
    check(json!(["present", "os", "linux"]));
    check(json!(["absent"]));
}

#[test]
fn what_is_no_clause_or_breaks_a_limit_is_refused() {
    let check = |wire: Value, what: &str| assert_eq!(decoded(&wire), None, "{what}");
    check(json!([]), "no kind");
    check(json!([7]), "a kind that is no text");
    check(json!("present"), "no array");
    check(json!({"present": "os"}), "a map");
    check(json!(["equals", "os", "x".repeat(257)]), "a long text");
    check(json!(["equals", "os", "\u{1b}"]), "a control character");
    check(json!(["one-of", "os", []]), "no alternative");
    check(json!(["one-of", "os", vec![1; MAX_ALTERNATIVES + 1]]), "too many alternatives");
    decoded(&json!(["one-of", "os", vec![1; MAX_ALTERNATIVES]])).expect("just enough");

    let job = |runtimes: Value, clauses: usize| {
        let clauses = vec![json!(["present", "os"]); clauses];
        let bytes = encode_cbor(&json!({"runtimes": runtimes, "clauses": clauses}));
        decode_cbor::<Requirements>(&bytes, LIMIT).is_ok()
    };
    assert!(job(json!(["native"]), MAX_CLAUSES));
    assert!(!job(json!(["native"]), MAX_CLAUSES + 1));
    assert!(!job(json!([]), 0));
    assert!(!job(json!(vec!["native"; 17]), 0));
    assert!(!job(json!(["Native!"]), 0));
}

#[test]
fn a_long_kind_is_shortened_and_shown_without_control_characters() {
    let wire = json!([format!("\u{1b}[2J{}", "x".repeat(1000))]);
    let clause = decoded(&wire).expect("unknown, not wrong");
    assert!(clause.to_string().len() < 100, "{clause}");
    assert!(!clause.to_string().contains('\u{1b}'), "{clause}");
}

#[test]
fn keys_of_newer_versions_are_passed_over() {
    let bytes = encode_cbor(&json!({"runtimes": ["native", "quantum"], "rank": [["cores", 1]]}));
    let job: Requirements = decode_cbor(&bytes, LIMIT).expect("newer, not wrong");
    assert_eq!(job.runtimes, [Runtime::Native, "quantum".parse().expect("a word")]);
    assert_eq!(job.clauses, []);
}

proptest! {
    #[test]
    fn encoding_and_decoding_is_the_identity(
        clauses in prop::collection::vec(clause(), 0..20),
    ) {
        let job = Requirements { runtimes: vec![Runtime::Native], clauses };
        prop_assert_eq!(decode_cbor::<Requirements>(&encode_cbor(&job), LIMIT).expect("ours"), job);
    }
}

fn clause() -> impl Strategy<Value = Clause> {
    let fact = || "[a-z0-9._+-]{1,64}".prop_map(|text| name(&text));
    let value = || {
        prop_oneof![
            "[^\\p{Cc}]{0,60}".prop_map(Fact::Text),
            any::<u64>().prop_map(Fact::Number),
            any::<bool>().prop_map(Fact::Flag),
        ]
    };
    let resource = prop_oneof![Just(Resource::Cores), Just(Resource::Memory), Just(Resource::Disk)];
    let range = "(>=|<|=|~|\\^)[0-9]{1,4}\\.[0-9]{1,4}"
        .prop_filter_map("leading zeros are no version", |range| range.parse().ok());
    prop_oneof![
        (fact(), value()).prop_map(|(fact, value)| Clause::Equals { fact, value }),
        (fact(), prop::collection::vec(value(), 1..=MAX_ALTERNATIVES))
            .prop_map(|(fact, values)| Clause::OneOf { fact, values }),
        (fact(), any::<u64>()).prop_map(|(fact, amount)| Clause::AtLeast { fact, amount }),
        (resource, any::<u64>())
            .prop_map(|(resource, amount)| Clause::Donates { resource, amount }),
        (fact(), range).prop_map(|(fact, range)| Clause::Version { fact, range }),
        fact().prop_map(|fact| Clause::Present { fact }),
        fact().prop_map(|fact| Clause::Absent { fact }),
        "[g-k]{1,30}".prop_map(|kind| Clause::Unknown { kind }),
    ]
}

/// The clause in the requirements whose one clause is `wire`, if they can be decoded.
fn decoded(wire: &Value) -> Option<Clause> {
    let bytes = encode_cbor(&json!({"runtimes": ["native"], "clauses": [wire]}));
    let mut job: Requirements = decode_cbor(&bytes, LIMIT).ok()?;
    job.clauses.pop()
}

fn name(name: &str) -> FactName {
    name.parse().expect("the name of a fact")
}
