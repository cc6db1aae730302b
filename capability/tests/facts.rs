//! What a machine says of itself, and how it travels.

use std::collections::BTreeMap;

use capability::{
    Capabilities, Fact, Facts, FactsError, MAX_FACTS, Platform, Resources, Runtime, RuntimeFacts,
    decode_cbor, encode_cbor,
};
use proptest::prelude::*;
use serde_json::json;

const LIMIT: usize = 1 << 20;

#[test]
fn names_of_facts_are_short_lower_case_words() {
    let check = |name: &str, valid: bool| {
        assert_eq!(Facts::new().insert(name, true).is_ok(), valid, "{name:?}");
    };
    for name in ["os", "tool.make", "tool.g++", "cpu_2", "a-b", "7zip"] {
        check(name, true);
    }
    check(&"x".repeat(64), true);
    for name in ["", "OS", "a b", "ä", "a/b", "a\n", "a=b"] {
        check(name, false);
    }
    check(&"x".repeat(65), false);
}

#[test]
fn texts_are_short_and_printable() {
    let mut facts = Facts::new();
    assert_eq!(facts.insert("a", "x".repeat(256)), Ok(()));
    for text in ["x".repeat(257), "\u{1b}[2J".to_owned(), "a\nb".to_owned()] {
        assert!(matches!(facts.insert("b", text), Err(FactsError::Text { .. })));
    }
    assert_eq!(facts.len(), 1);
}

#[test]
fn facts_are_counted_and_can_be_replaced_when_full() {
    let mut facts = Facts::new();
    for number in 0..MAX_FACTS {
        facts.insert(&format!("fact{number}"), true).expect("room");
    }
    assert_eq!(facts.insert("one-more", true), Err(FactsError::TooMany));
    assert_eq!(facts.insert("fact7", false), Ok(()));
    assert_eq!(facts.get("fact7"), Some(&Fact::Flag(false)));
}

#[test]
fn a_fact_that_is_stated_twice_is_refused() {
    let error = serde_json::from_str::<Facts>(r#"{"os": "linux", "os": "macos"}"#);
    assert!(error.expect_err("two systems").to_string().contains("fact os is stated twice"));
}

#[test]
fn runtimes_and_platforms_are_named_by_words() {
    let check = |name: &str, expected: Option<Runtime>| {
        assert_eq!(name.parse::<Runtime>().ok(), expected, "{name:?}");
    };
    check("native", Some(Runtime::Native));
    check("wasm", Some(Runtime::Wasm));
    check("", None);
    check("Native", None);
    check(&"x".repeat(33), None);
    let other: Runtime = "oci-image".parse().expect("a word");
    assert_eq!(other.to_string(), "oci-image");
    assert!(matches!(other, Runtime::Other(_)));

    assert_eq!(Platform::new("linux", "x86_64").expect("words").to_string(), "linux-x86_64");
    for (os, arch) in [("", "x"), ("a-b", "x"), ("x", "a/b"), ("Linux", "x"), ("../x", "x")] {
        assert!(Platform::new(os, arch).is_err(), "{os:?} {arch:?}");
    }
    Platform::new(Platform::current().os(), Platform::current().arch()).expect("ours is valid");
}

#[test]
fn a_machine_in_cbor_is_what_the_specification_says() {
    let mut facts = Facts::new();
    facts.insert("os", "linux").expect("a fact");
    facts.insert("bits", 64).expect("a fact");
    let machine = Capabilities {
        platform: Platform::new("linux", "arm").expect("a platform"),
        resources: Resources { cores: 1, memory: 2, disk: 3 },
        runtimes: [(Runtime::Native, RuntimeFacts { strength: "s".into(), facts })].into(),
    };
    let expected = [
        &b"\xa3\x68platform\xa2\x62os\x65linux\x64arch\x63arm"[..],
        b"\x68runtimes\xa1\x66native\xa2\x65facts\xa2\x62os\x65linux\x64bits\x18\x40",
        b"\x68strength\x61s",
        b"\x69resources\xa3\x64disk\x03\x65cores\x01\x66memory\x02",
    ]
    .concat();
    assert_eq!(encode_cbor(&machine), expected);
    assert_eq!(decode_cbor::<Capabilities>(&expected, LIMIT).expect("ours"), machine);
}

#[test]
fn values_and_keys_of_newer_versions_survive_decoding() {
    let bytes = encode_cbor(&json!({
        "platform": {"os": "linux", "arch": "x86_64", "endian": "little"},
        "resources": {"cores": 1, "memory": 1, "disk": 1, "gpus": 4},
        "runtimes": {
            "native": {"facts": {"list": [1, [2]], "map": {"a": 1}, "negative": -1, "flag": true}},
            "quantum": {"facts": {}},
        },
        "mood": "good",
    }));
    let machine: Capabilities = decode_cbor(&bytes, LIMIT).expect("newer, not wrong");
    let facts = &machine.runtimes[&Runtime::Native].facts;
    for name in ["list", "map", "negative"] {
        assert_eq!(facts.get(name), Some(&Fact::Unknown), "{name}");
    }
    assert_eq!(facts.get("flag"), Some(&Fact::Flag(true)));
    assert!(machine.runtimes.contains_key(&"quantum".parse().expect("a word")));

    // Shown again, it is still there and still unknown.
    assert_eq!(decode_cbor::<Capabilities>(&encode_cbor(&machine), LIMIT).expect("ours"), machine);
}

#[test]
fn a_machine_that_breaks_a_limit_is_refused() {
    let machine = |runtimes: serde_json::Value| {
        let bytes = encode_cbor(&json!({
            "platform": {"os": "linux", "arch": "x86_64"},
            "resources": {"cores": 1, "memory": 1, "disk": 1},
            "runtimes": runtimes,
        }));
        decode_cbor::<Capabilities>(&bytes, LIMIT)
    };
    let check = |runtimes: serde_json::Value, what: &str| {
        assert!(machine(runtimes).is_err(), "{what}");
    };
    machine(json!({"native": {"strength": "s", "facts": {"os": "linux"}}})).expect("in limits");

    let many: serde_json::Map<_, _> =
        (0..=MAX_FACTS).map(|number| (format!("tool.t{number}"), json!("1"))).collect();
    check(json!({"native": {"facts": many}}), "too many facts");
    let many: serde_json::Map<_, _> =
        (0..17).map(|number| (format!("r{number}"), json!({"facts": {}}))).collect();
    check(many.into(), "too many runtimes");
    check(json!({"native": {"facts": {"os": "x".repeat(257)}}}), "long text");
    check(json!({"native": {"facts": {"os": "\u{7}"}}}), "control character");
    check(json!({"native": {"facts": {"x".repeat(65): "1"}}}), "long name");
    check(json!({"native": {"strength": "x".repeat(65), "facts": {}}}), "long strength");
    check(json!({"../native": {"facts": {}}}), "runtime that is no word");
    check(json!({"native": {"facts": []}}), "facts that are no map");
    check(json!([]), "runtimes that are no map");
}

proptest! {
    // Up to three times as many as there are slots: most are shared.
    #[test]
    fn facts_are_a_map_by_name_whatever_order_they_came_in(
        stated in prop::collection::vec(("[a-c]{1,4}|[a-c]{9,10}", 0..9_u64), 0..384),
    ) {
        let (mut facts, mut model) = (Facts::new(), BTreeMap::new());
        for (name, value) in &stated {
            facts.insert(name, *value).expect("within the limits");
            model.insert(name.as_str(), *value);
            prop_assert_eq!(facts.len(), model.len());
        }
        let found = facts.iter().map(|(name, fact)| (name.as_str(), fact.clone()));
        let expected = model.iter().map(|(name, value)| (*name, Fact::from(*value)));
        prop_assert!(found.eq(expected));
        for name in ["a", "b", "cc", "abc", "abcd", "aaaaaaaaa"] {
            prop_assert_eq!(facts.get(name).cloned(), model.get(name).map(|it| Fact::from(*it)));
        }
        prop_assert!(model.iter().all(|(name, it)| facts.get(name) == Some(&Fact::from(*it))));
        let mut again = Facts::new();
        for (name, value) in model.iter().rev() {
            again.insert(name, *value).expect("within the limits");
        }
        prop_assert_eq!(facts, again);
    }

    #[test]
    fn encoding_and_decoding_is_the_identity(
        stated in prop::collection::btree_map("[a-z0-9._+-]{1,64}", fact(), 0..20),
        cores: u32, memory: u64, disk: u64,
    ) {
        let mut facts = Facts::new();
        for (name, fact) in stated {
            facts.insert(&name, fact).expect("within the limits");
        }
        let machine = Capabilities {
            platform: Platform::current(),
            resources: Resources { cores, memory, disk },
            runtimes: [(Runtime::Wasm, RuntimeFacts { strength: String::new(), facts })].into(),
        };
        prop_assert_eq!(
            &decode_cbor::<Capabilities>(&encode_cbor(&machine), LIMIT).expect("ours"),
            &machine
        );
        // The same words serve `--json`.
        let text = serde_json::to_string(&machine).expect("JSON");
        prop_assert_eq!(serde_json::from_str::<Capabilities>(&text).expect("ours"), machine);
    }
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        "[^\\p{Cc}]{0,60}".prop_map(Fact::from),
        any::<u64>().prop_map(Fact::Number),
        any::<bool>().prop_map(Fact::Flag),
        Just(Fact::Unknown),
    ]
}
