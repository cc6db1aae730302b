//! The vectors of `docs/spec/vectors` that are no statements, held against the code.

use std::collections::BTreeMap;
use std::path::Path;

use capability::{
    Capabilities, Clause, Preference, Requirements, decode_cbor, encode_cbor, evaluate,
    parse_version, rank, satisfies,
};
use semver::{Version, VersionReq};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// `versions.json`.
#[derive(Deserialize)]
struct Versions {
    read: Vec<(String, Option<Triple>)>,
    ranges: Vec<(String, bool)>,
    #[serde(rename = "in")]
    inside: Vec<(String, Triple, bool)>,
}

type Triple = (u64, u64, u64);

/// `requirements.json`.
#[derive(Deserialize)]
struct Readings {
    clauses: Vec<(Value, Reading)>,
    preferences: Vec<(Value, Reading)>,
    requirements: Vec<(Value, Reading)>,
}

/// What a reader makes of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Reading {
    Understood,
    /// Carried along, never satisfied.
    NotUnderstood,
    Refused,
}

/// `matching.json`.
#[derive(Deserialize)]
struct Matching {
    machines: BTreeMap<String, Capabilities>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    what: String,
    machine: String,
    requirements: Requirements,
    runtime: Option<String>,
    rank: Option<u64>,
}

#[test]
fn versions_are_read_as_the_vectors_say() {
    let vectors: Versions = read("versions.json");
    for (text, expected) in vectors.read {
        let found = parse_version(&text).map(|it| (it.major, it.minor, it.patch));
        assert_eq!(found, expected, "{text:?}");
    }
    for (range, expected) in vectors.ranges {
        assert_eq!(VersionReq::parse(&range).is_ok(), expected, "{range:?}");
    }
    for (range, (major, minor, patch), expected) in vectors.inside {
        let version = Version::new(major, minor, patch);
        let read = VersionReq::parse(&range).expect("a range");
        assert_eq!(read.matches(&version), expected, "{version} in {range:?}");
    }
}

#[test]
fn requirements_are_read_as_the_vectors_say() {
    let vectors: Readings = read("requirements.json");
    for (clause, expected) in vectors.clauses {
        let read = decoded(&json!({"runtimes": ["native"], "clauses": [clause]}));
        let found = read.map(|it| match it.clauses[0] {
            Clause::Unknown { .. } => Reading::NotUnderstood,
            _ => Reading::Understood,
        });
        assert_eq!(found.unwrap_or(Reading::Refused), expected, "{clause}");
    }
    for (preference, expected) in vectors.preferences {
        let read = decoded(&json!({"runtimes": ["native"], "rank": [preference]}));
        let found = read.map(|it| match it.rank[0] {
            Preference::Unknown { .. } => Reading::NotUnderstood,
            _ => Reading::Understood,
        });
        assert_eq!(found.unwrap_or(Reading::Refused), expected, "{preference}");
    }
    for (requirements, expected) in vectors.requirements {
        let found = decoded(&requirements).map(|_| Reading::Understood);
        assert_eq!(found.unwrap_or(Reading::Refused), expected, "{requirements}");
    }
}

#[test]
fn machines_match_as_the_vectors_say() {
    let vectors: Matching = read("matching.json");
    for case in vectors.cases {
        let (machine, requirements) = (&vectors.machines[&case.machine], &case.requirements);
        let found = satisfies(machine, requirements);
        assert_eq!(found.map(ToString::to_string), case.runtime, "{}", case.what);
        assert_eq!(
            evaluate(machine, requirements).ok().map(|found| found.runtime),
            found.cloned(),
            "{}",
            case.what
        );
        let points = found.map(|runtime| rank(machine, runtime, &requirements.rank));
        assert_eq!(points, case.rank, "{}", case.what);
    }
}

/// As it travels: the way over CBOR is the one that matters.
fn decoded(requirements: &Value) -> Option<Requirements> {
    decode_cbor(&encode_cbor(requirements), 1 << 16).ok()
}

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/spec/vectors").join(name);
    let text = std::fs::read_to_string(&path).expect("the vectors are there");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}
