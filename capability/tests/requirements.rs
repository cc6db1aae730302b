//! What a job needs, and how it travels.

use std::collections::BTreeSet;
use std::ops::Range;

use capability::{
    Clause, Fact, FactName, MAX_ALTERNATIVES, MAX_CLAUSES, MAX_NESTING, MAX_PREFERENCES,
    MAX_WEIGHT, Preference, Requirements, Resource, Runtime, decode_cbor, encode_cbor,
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
    check(Clause::AtMost { fact: name("n"), amount: 3 }, json!(["at-most", "n", 3]));
    check(
        Clause::Includes { fact: name("cpu"), words: ["aes".into(), "avx2".into()].into() },
        json!(["includes", "cpu", ["aes", "avx2"]]),
    );
    check(
        Clause::Equals { fact: name("cpu"), value: ["aes"].into_iter().collect() },
        json!(["equals", "cpu", ["aes"]]),
    );
    let present = |fact: &str| Clause::Present { fact: name(fact) };
    check(
        Clause::Any(vec![present("a"), Clause::All(vec![present("b"), present("c")])]),
        json!(["any", [["present", "a"], ["all", [["present", "b"], ["present", "c"]]]]]),
    );
    check(Clause::Not(Box::new(present("a"))), json!(["not", ["present", "a"]]));
    // An alternative that is not understood leaves the others.
    check(
        Clause::Any(vec![present("a"), Clause::Unknown { kind: "lucky".into() }]),
        json!(["any", [["present", "a"], ["lucky"]]]),
    );
}

#[test]
fn a_preference_is_an_array_that_begins_with_its_kind_and_its_weight() {
    let check = |preference: Preference, expected: Value| {
        assert_eq!(serde_json::to_value(&preference).expect("JSON"), expected);
        assert_eq!(preferred(&expected), Some(preference), "{expected}");
    };
    let clause = Clause::Present { fact: name("gpu") };
    check(Preference::Holds { weight: 5, clause }, json!(["holds", 5, ["present", "gpu"]]));
    let fact = name("bogomips");
    check(
        Preference::More { weight: 1, fact: fact.clone(), enough: 9000 },
        json!(["more", 1, "bogomips", 9000]),
    );
    check(
        Preference::Less { weight: 1000, fact, bearable: 7 },
        json!(["less", 1000, "bogomips", 7]),
    );
    for newer in [
        json!(["lucky"]),
        json!(["holds"]),
        json!(["holds", 5]),
        json!(["holds", 5, "gpu"]),
        json!(["holds", 65_536, ["present", "gpu"]]),
        json!(["holds", 5, ["present", "gpu"], "very"]),
        json!(["more", 5, "bogomips"]),
        json!(["less", "5", "bogomips", 1]),
    ] {
        let kind = newer[0].as_str().expect("a kind").to_owned();
        assert_eq!(preferred(&newer), Some(Preference::Unknown { kind }), "{newer}");
    }
    for wrong in [
        json!(["holds", 0, ["present", "gpu"]]),
        json!(["holds", 1001, ["present", "gpu"]]),
        json!(["holds", 1, ["one-of", "gpu", []]]),
        json!(["more", 1, "bogomips", 0]),
        json!([]),
    ] {
        assert_eq!(preferred(&wrong), None, "{wrong}");
    }
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
    check(json!(["not", ["lucky"]]));
    check(json!(["not", ["any", [["present", "os"], ["lucky"]]]]));
    check(json!(["not", "os"]));
    check(json!(["not", ["present", "os"], ["present", "os"]]));
    check(json!(["any", ["present", "os"]]));
    check(json!(["any", "os"]));
    check(json!(["all", [["present", "os"]], 1]));
    check(json!(["includes", "cpu", "avx2"]));
    check(json!(["includes", "cpu", ["avx2", "aes"]]));
    check(json!(["includes", "cpu", ["AVX2"]]));
    check(json!(["at-most", "n", -1]));
    check(json!(["equals"]));
    check(json!(["equals", "os"]));
    check(json!(["equals", "os", "linux", "ignoring-case"]));
    check(json!(["equals", "os", ["linux", 1]]));
    check(json!(["equals", "os", -1]));
    check(json!(["equals", 1, 1]));
    check(json!(["equals", "Not A Name", 1]));
    check(json!(["one-of", "os", "linux"]));
    check(json!(["one-of", "os", ["linux", ["macos", 1]]]));
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
    check(json!(["includes", "cpu", []]), "no word");
    check(json!(["any", []]), "no alternative");
    check(json!(["all", []]), "nothing");
    check(json!(["any", vec![json!(["present", "os"]); MAX_CLAUSES]]), "one clause too many");
    check(json!(["any", vec![json!(["present", "os"]); 1000]]), "very many clauses");
    let nested = |levels: usize| {
        (1..levels).fold(json!(["present", "os"]), |inner, _| json!(["not", inner]))
    };
    decoded(&nested(MAX_NESTING)).expect("just flat enough");
    check(nested(MAX_NESTING + 1), "nested too deep");

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

    let ranked = |preferences: usize| {
        let rank = vec![json!(["more", 1, "n", 1]); preferences];
        let bytes = encode_cbor(&json!({"runtimes": ["native"], "rank": rank}));
        decode_cbor::<Requirements>(&bytes, LIMIT).is_ok()
    };
    assert!(ranked(MAX_PREFERENCES) && !ranked(MAX_PREFERENCES + 1));
}

/// Otherwise 16 preferences could have whatever fits into a statement, and each machine that matches
/// would be held against all of it.
#[test]
fn clauses_of_preferences_count_with_those_that_are_required() {
    let taken = |required: usize, preferred: usize| {
        let present = json!(["present", "os"]);
        // A group is a clause too.
        let group = json!(["any", vec![present.clone(); preferred - 1]]);
        let clauses = vec![present; required];
        let rank = json!([["more", 1, "n", 1], ["holds", 1, group]]);
        let bytes = encode_cbor(&json!({"runtimes": ["native"], "clauses": clauses, "rank": rank}));
        decode_cbor::<Requirements>(&bytes, LIMIT).is_ok()
    };
    assert!(taken(0, MAX_CLAUSES) && taken(MAX_CLAUSES - 2, 2));
    assert!(!taken(0, MAX_CLAUSES + 1) && !taken(MAX_CLAUSES - 1, 2));
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
    let bytes = encode_cbor(&json!({"runtimes": ["native", "quantum"], "colour": [["cores", 1]]}));
    let job: Requirements = decode_cbor(&bytes, LIMIT).expect("newer, not wrong");
    assert_eq!(job.runtimes, [Runtime::Native, "quantum".parse().expect("a word")]);
    assert_eq!(job.clauses, []);
}

proptest! {
    #[test]
    fn encoding_and_decoding_is_the_identity(
        clauses in prop::collection::vec(nested(), 0..8),
        rank in prop::collection::vec(preference(), 0..5),
    ) {
        let job = Requirements { runtimes: vec![Runtime::Native], clauses, rank };
        prop_assume!(job.validate().is_ok());
        prop_assert_eq!(decode_cbor::<Requirements>(&encode_cbor(&job), LIMIT).expect("ours"), job);
    }
}

/// A clause with up to three levels.
fn nested() -> impl Strategy<Value = Clause> {
    clause().prop_recursive(2, 6, 3, |inner| {
        let without_unknown = inner.clone().prop_filter("not understood", |it| !it.has_unknown());
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Clause::All),
            prop::collection::vec(inner, 1..3).prop_map(Clause::Any),
            without_unknown.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn preference() -> impl Strategy<Value = Preference> {
    let fact = || "[a-z]{1,9}".prop_map(|text| name(&text));
    let weight = || 1..=MAX_WEIGHT;
    prop_oneof![
        (weight(), nested()).prop_map(|(weight, clause)| Preference::Holds { weight, clause }),
        (weight(), fact(), 1..=u64::MAX).prop_map(|(weight, fact, enough)| Preference::More {
            weight,
            fact,
            enough
        }),
        (weight(), fact(), 1..=u64::MAX).prop_map(|(weight, fact, bearable)| Preference::Less {
            weight,
            fact,
            bearable
        }),
        "[b-f]{1,30}".prop_map(|kind| Preference::Unknown { kind }),
    ]
}

fn clause() -> impl Strategy<Value = Clause> {
    let fact = || "[a-z0-9._+-]{1,64}".prop_map(|text| name(&text));
    let value = || {
        prop_oneof![
            "[^\\p{Cc}]{0,60}".prop_map(Fact::from),
            any::<u64>().prop_map(Fact::Number),
            any::<bool>().prop_map(Fact::Flag),
            words(0..9).prop_map(Fact::Set),
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
        (fact(), any::<u64>()).prop_map(|(fact, amount)| Clause::AtMost { fact, amount }),
        (fact(), words(1..9)).prop_map(|(fact, words)| Clause::Includes { fact, words }),
        (resource, any::<u64>())
            .prop_map(|(resource, amount)| Clause::Donates { resource, amount }),
        (fact(), range).prop_map(|(fact, range)| Clause::Version { fact, range }),
        fact().prop_map(|fact| Clause::Present { fact }),
        fact().prop_map(|fact| Clause::Absent { fact }),
        "[g-k]{1,30}".prop_map(|kind| Clause::Unknown { kind }),
    ]
}

fn words(count: Range<usize>) -> impl Strategy<Value = BTreeSet<String>> {
    prop::collection::btree_set("[a-z0-9._-]{1,32}", count)
}

/// The preference in the requirements whose one preference is `wire`, if they can be decoded.
fn preferred(wire: &Value) -> Option<Preference> {
    let bytes = encode_cbor(&json!({"runtimes": ["native"], "rank": [wire]}));
    let mut job: Requirements = decode_cbor(&bytes, LIMIT).ok()?;
    job.rank.pop()
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
