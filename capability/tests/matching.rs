//! Whether a machine can run a job, and what is said if not.

use capability::{
    Capabilities, Clause, Fact, FactName, Facts, Match, Platform, Preference, Requirements,
    Resource, Resources, Runtime, RuntimeFacts, evaluate, parse_version, rank, satisfies,
};
use proptest::prelude::*;
use semver::Version;

#[test]
fn a_clause_holds_or_says_why_not() {
    // One clause against the machine below; no text means that it holds.
    let check = |clause: Clause, expected: &str| {
        let job = Requirements {
            runtimes: vec![Runtime::Native],
            clauses: vec![clause.clone()],
            rank: Vec::new(),
        };
        let said = evaluate(&machine(), &job).map_or_else(|no| no.to_string(), |_| String::new());
        assert_eq!(said, expected, "{clause:?}");
    };

    check(equals("os", "linux"), "");
    check(equals("os", "macos"), "needs os macos, this machine's native runtime has linux");
    check(equals("libc", "gnu"), "needs libc gnu, this machine's native runtime does not have it");
    check(equals("bits", 64), "");
    check(equals("bits", "64"), "needs bits 64, this machine's native runtime has 64");
    check(equals("kvm", true), "");
    check(equals("kvm", false), "needs kvm no, this machine's native runtime has yes");

    check(one_of("os", &["macos", "linux"]), "");
    check(
        one_of("os", &["macos", "windows"]),
        "needs os macos or windows, this machine's native runtime has linux",
    );

    check(Clause::AtLeast { fact: name("bits"), amount: 64 }, "");
    check(
        Clause::AtLeast { fact: name("bits"), amount: 65 },
        "needs bits of at least 65, this machine's native runtime has 64",
    );
    check(
        Clause::AtLeast { fact: name("os"), amount: 0 },
        "needs os of at least 0, this machine's native runtime has linux",
    );

    check(donates(Resource::Cores, 2), "");
    check(donates(Resource::Cores, 4), "needs 4 cores, 2 are donated");
    check(donates(Resource::Memory, 4 << 30), "");
    check(donates(Resource::Memory, 6 << 30), "needs 6 GiB of memory, 4 GiB are donated");
    check(donates(Resource::Disk, 21 << 30), "needs 21 GiB of disk, 20 GiB are donated");

    check(version("tool.make", ">=3.80"), "");
    check(
        version("tool.make", ">=4.0"),
        "needs tool.make >=4.0, this machine's native runtime has 3.81",
    );
    check(version("tool.gcc", "^12.2"), "");
    check(
        version("tool.odd", ">=0"),
        "needs tool.odd >=0, this machine's native runtime has unknown",
    );
    check(version("bits", ">=1"), "needs bits >=1, this machine's native runtime has 64");
    check(
        version("tool.cmake", ">=3"),
        "needs tool.cmake >=3, this machine's native runtime does not have it",
    );

    check(Clause::Present { fact: name("tool.odd") }, "");
    check(
        Clause::Present { fact: name("tool.cmake") },
        "needs tool.cmake, this machine's native runtime does not have it",
    );
    check(Clause::Absent { fact: name("tool.cmake") }, "");
    check(
        Clause::Absent { fact: name("tool.make") },
        "needs no tool.make, this machine's native runtime has 3.81",
    );
    check(
        Clause::Unknown { kind: "luck".into() },
        "needs \"luck\", which this version cannot judge",
    );
}

#[test]
fn the_first_runtime_in_which_all_holds_is_chosen() {
    let mut machine = machine();
    machine.runtimes.insert(Runtime::Wasm, RuntimeFacts::default());
    let check = |runtimes: &[Runtime], clauses: &[Clause], expected: Result<Runtime, &str>| {
        let job = Requirements {
            runtimes: runtimes.to_vec(),
            clauses: clauses.to_vec(),
            rank: Vec::new(),
        };
        let found = evaluate(&machine, &job);
        match expected {
            Ok(runtime) => assert_eq!(found, Ok(Match { runtime })),
            Err(reasons) => assert_eq!(found.expect_err("no match").to_string(), reasons),
        }
    };
    let future: Runtime = "unikernel".parse().expect("a word");
    let linux = equals("os", "linux");
    check(&[Runtime::Native, Runtime::Wasm], &[], Ok(Runtime::Native));
    check(&[Runtime::Wasm, Runtime::Native], &[], Ok(Runtime::Wasm));
    check(&[Runtime::Wasm, Runtime::Native], std::slice::from_ref(&linux), Ok(Runtime::Native));
    check(&[future.clone(), Runtime::Native], &[], Ok(Runtime::Native));
    check(
        &[future, Runtime::Wasm],
        &[linux, donates(Resource::Cores, 3)],
        Err("needs 3 cores, 2 are donated; \
             needs runtime unikernel, this machine does not have it; \
             needs os linux, this machine's wasm runtime does not have it"),
    );
}

#[test]
fn a_fact_of_a_newer_kind_is_there_and_equals_nothing() {
    let mut machine = machine();
    let native = machine.runtimes.get_mut(&Runtime::Native).expect("native");
    native.facts.insert("gpu", Fact::Unknown).expect("a fact");
    let holds = |clause: Clause| {
        let job = Requirements {
            runtimes: vec![Runtime::Native],
            clauses: vec![clause],
            rank: Vec::new(),
        };
        evaluate(&machine, &job).is_ok()
    };
    assert!(holds(Clause::Present { fact: name("gpu") }));
    assert!(!holds(Clause::Absent { fact: name("gpu") }));
    assert!(!holds(equals("gpu", "x")));
    assert!(!holds(Clause::Equals { fact: name("gpu"), value: Fact::Unknown }));
    assert!(!holds(Clause::OneOf { fact: name("gpu"), values: vec![Fact::Unknown] }));
    assert!(!holds(Clause::AtLeast { fact: name("gpu"), amount: 0 }));
}

#[test]
fn groups_hold_or_say_what_was_found_of_them() {
    let present = |fact: &str| Clause::Present { fact: name(fact) };
    let old = Clause::Version { fact: name("tool.gcc"), range: "<10".parse().expect("range") };
    let check = |clause: Clause, expected: &str| {
        let (runtimes, clauses) = (vec![Runtime::Native], vec![clause]);
        let job = Requirements { runtimes, clauses, rank: Vec::new() };
        let said = evaluate(&machine(), &job).map_or_else(|no| no.to_string(), |_| String::new());
        assert_eq!(said, expected, "{job:?}");
        assert_eq!(satisfies(&machine(), &job).is_some(), expected.is_empty());
    };
    check(Clause::Any(vec![present("gpu"), present("kvm")]), "");
    check(
        Clause::Any(vec![present("gpu"), old.clone()]),
        "needs (gpu or tool.gcc <10), this machine's native runtime has tool.gcc 12.2.0-14+deb12u1",
    );
    check(
        Clause::Any(vec![present("gpu")]),
        "needs gpu, this machine's native runtime does not fit",
    );
    check(Clause::All(vec![present("kvm"), present("os")]), "");
    check(
        Clause::All(vec![present("kvm"), present("gpu")]),
        "needs (kvm and gpu), this machine's native runtime has kvm yes",
    );
    check(Clause::Not(Box::new(old)), "");
    check(Clause::Not(Box::new(present("gpu"))), "");
    check(
        Clause::Not(Box::new(donates(Resource::Cores, 1))),
        "needs not 1 core, this machine's native runtime does not fit",
    );
    // What nobody can judge does not hold, and neither does its contrary.
    let unknown = || Clause::Unknown { kind: "lucky".into() };
    check(Clause::Any(vec![unknown(), present("os")]), "");
    for never in [Clause::Not(Box::new(unknown())), Clause::All(vec![unknown()])] {
        let (runtimes, clauses) = (vec![Runtime::Native], vec![never]);
        let job = Requirements { runtimes, clauses, rank: Vec::new() };
        assert_eq!(satisfies(&machine(), &job), None);
    }
}

#[test]
fn sets_and_upper_bounds_are_judged() {
    let mut machine = machine();
    let inside = machine.runtimes.get_mut(&Runtime::Native).expect("there");
    let features: Fact = ["aes", "avx2"].into_iter().collect();
    inside.facts.insert("cpu", features).expect("a fact");
    let holds = |clause: Clause| {
        let (runtimes, clauses) = (vec![Runtime::Native], vec![clause]);
        satisfies(&machine, &Requirements { runtimes, clauses, rank: Vec::new() }).is_some()
    };
    let includes = |fact: &str, words: &[&str]| Clause::Includes {
        fact: name(fact),
        words: words.iter().map(|word| (*word).to_owned()).collect(),
    };
    assert!(holds(includes("cpu", &["avx2"])) && holds(includes("cpu", &["aes", "avx2"])));
    assert!(!holds(includes("cpu", &["aes", "avx512f"])));
    assert!(!holds(includes("gpu", &["aes"])) && !holds(includes("os", &["linux"])));
    assert!(holds(Clause::AtMost { fact: name("bits"), amount: 64 }));
    assert!(!holds(Clause::AtMost { fact: name("bits"), amount: 63 }));
    assert!(!holds(Clause::AtMost { fact: name("os"), amount: 63 }));
}

#[test]
fn the_rank_is_the_sum_of_weights_times_degrees() {
    let points = |preferences: &[Preference]| rank(&machine(), &Runtime::Native, preferences);
    let holds =
        |fact: &str| Preference::Holds { weight: 3, clause: Clause::Present { fact: name(fact) } };
    assert_eq!(points(&[]), 0);
    assert_eq!((points(&[holds("os")]), points(&[holds("gpu")])), (3000, 0));
    let more = |enough| Preference::More { weight: 2, fact: name("bits"), enough };
    assert_eq!(
        (points(&[more(64)]), points(&[more(32)]), points(&[more(128)])),
        (2000, 2000, 1000)
    );
    assert_eq!(points(&[more(192)]), 666);
    let less = |bearable| Preference::Less { weight: 2, fact: name("bits"), bearable };
    assert_eq!((points(&[less(64)]), points(&[less(128)])), (0, 1000));
    // A number that is not stated is neither large nor small.
    assert_eq!(points(&[Preference::Less { weight: 2, fact: name("os"), bearable: 9 }]), 0);
    assert_eq!(points(&[Preference::Unknown { kind: "lucky".into() }]), 0);
    assert_eq!(points(&[holds("os"), more(64), more(128)]), 6000);
    let largest = Preference::More { weight: 1000, fact: name("bits"), enough: u64::MAX };
    assert_eq!(points(&[largest]), 0);
    assert_eq!(rank(&machine(), &Runtime::Wasm, &[holds("os")]), 0);
}

#[test]
fn versions_are_read_leniently_and_in_one_way() {
    let check = |text: &str, expected: Option<(u64, u64, u64)>| {
        let expected = expected.map(|(major, minor, patch)| Version::new(major, minor, patch));
        assert_eq!(parse_version(text), expected, "{text:?}");
    };
    check("1.2.3", Some((1, 2, 3)));
    check("4.3", Some((4, 3, 0)));
    check("7", Some((7, 0, 0)));
    check("12.2.0-14+deb12u1", Some((12, 2, 0)));
    check("1:2.47", Some((2, 47, 0)));
    check("1:2.47.1-1~bpo12+1", Some((2, 47, 1)));
    check("go1.26.8", Some((1, 26, 8)));
    check("v20.11.1", Some((20, 11, 1)));
    check("jdk-21.0.1", Some((21, 0, 1)));
    check("2024a", Some((2024, 0, 0)));
    check("9.6p1", Some((9, 6, 0)));
    check("1.2.3.4", Some((1, 2, 3)));
    check("1.2-rc1", Some((1, 2, 0)));
    check("2024.04.01", Some((2024, 4, 1)));
    check("1.", Some((1, 0, 0)));
    check("1..2", Some((1, 0, 0)));
    check(" 1.2 ", Some((1, 2, 0)));
    check("18446744073709551615", Some((u64::MAX, 0, 0)));
    check("18446744073709551616", None);
    check("1.99999999999999999999", None);
    check("", None);
    check("unknown", None);
    check(".1", None);
    check("-1", Some((1, 0, 0)));
    check("\u{663}.1", None);
}

proptest! {
    #[test]
    fn an_unrelated_fact_never_turns_a_match_into_a_no(
        machine in machines(), job in jobs(), value in facts(), runtime in runtimes(),
    ) {
        let before = evaluate(&machine, &job);
        let mut richer = machine;
        let mut inside = richer.runtimes.remove(&runtime).unwrap_or_default();
        // No clause is about it: their names come from a shorter alphabet.
        inside.facts.insert("unrelated", value).expect("room");
        richer.runtimes.insert(runtime, inside);
        if before.is_ok() {
            prop_assert!(evaluate(&richer, &job).is_ok());
        }
    }

    #[test]
    fn more_donated_never_turns_a_match_into_a_no(
        machine in machines(), job in jobs(), more in 0_u32..10,
    ) {
        let before = evaluate(&machine, &job);
        let Resources { cores, memory, disk } = machine.resources;
        let bytes = u64::from(more);
        let resources =
            Resources { cores: cores + more, memory: memory + bytes, disk: disk + bytes };
        let after = evaluate(&Capabilities { resources, ..machine }, &job);
        if before.is_ok() {
            prop_assert_eq!(before, after);
        }
    }

    #[test]
    fn a_clause_of_a_newer_version_is_always_a_no(
        machine in machines(), mut job in jobs(), at in 0_usize..8, kind in "[a-z]{1,9}",
    ) {
        job.clauses.insert(at.min(job.clauses.len()), Clause::Unknown { kind });
        prop_assert!(evaluate(&machine, &job).is_err());
    }

    #[test]
    fn a_no_names_each_clause_that_fails_alone(machine in machines(), job in jobs()) {
        // Matching is per runtime, and a runtime is as good as the worst clause in it.
        let alone = |runtime: &Runtime, clause: &Clause| {
            let clauses = vec![clause.clone()];
            evaluate(&machine, &Requirements { runtimes: vec![runtime.clone()], clauses, rank: Vec::new() }).is_ok()
        };
        let expected = job.runtimes.iter().find(|runtime| {
            machine.runtimes.contains_key(runtime)
                && job.clauses.iter().all(|clause| alone(runtime, clause))
        });
        match evaluate(&machine, &job) {
            Ok(Match { runtime }) => prop_assert_eq!(Some(&runtime), expected),
            Err(no) => {
                prop_assert_eq!(expected, None);
                prop_assert!(no.reasons.len() >= job.runtimes.len().min(1));
            }
        }
        let quick = satisfies(&machine, &job).cloned();
        prop_assert_eq!(quick, evaluate(&machine, &job).ok().map(|found| found.runtime));
    }
}

/// Few names and few values, so that clauses often meet facts.
fn names() -> impl Strategy<Value = FactName> {
    "[ab]".prop_map(|text| text.parse().expect("the name of a fact"))
}

fn facts() -> impl Strategy<Value = Fact> {
    prop_oneof![
        "[0-2]".prop_map(Fact::from),
        (0_u64..3).prop_map(Fact::Number),
        any::<bool>().prop_map(Fact::Flag),
        Just(Fact::Unknown),
    ]
}

fn runtimes() -> impl Strategy<Value = Runtime> {
    prop_oneof![Just(Runtime::Native), Just(Runtime::Wasm)]
}

fn machines() -> impl Strategy<Value = Capabilities> {
    let inside = prop::collection::btree_map(names(), facts(), 0..3).prop_map(|stated| {
        let mut facts = Facts::new();
        for (name, fact) in stated {
            facts.insert(name.as_str(), fact).expect("few facts");
        }
        RuntimeFacts { strength: String::new(), facts }
    });
    let donated = (0_u32..3, 0_u64..3, 0_u64..3);
    (donated, prop::collection::btree_map(runtimes(), inside, 0..3)).prop_map(
        |((cores, memory, disk), runtimes)| Capabilities {
            resources: Resources { cores, memory, disk },
            runtimes: runtimes.into_iter().collect(),
            ..machine()
        },
    )
}

fn jobs() -> impl Strategy<Value = Requirements> {
    let clauses = prop_oneof![
        (names(), facts()).prop_map(|(fact, value)| Clause::Equals { fact, value }),
        (names(), prop::collection::vec(facts(), 1..3))
            .prop_map(|(fact, values)| Clause::OneOf { fact, values }),
        (names(), 0_u64..3).prop_map(|(fact, amount)| Clause::AtLeast { fact, amount }),
        (0_u64..3).prop_map(|amount| donates(Resource::Memory, amount)),
        names().prop_map(|fact| Clause::Version { fact, range: ">=1".parse().expect("range") }),
        names().prop_map(|fact| Clause::Present { fact }),
        names().prop_map(|fact| Clause::Absent { fact }),
    ];
    (prop::collection::vec(runtimes(), 1..3), prop::collection::vec(clauses, 0..4))
        .prop_map(|(runtimes, clauses)| Requirements { runtimes, clauses, rank: Vec::new() })
}

fn machine() -> Capabilities {
    let mut facts = Facts::new();
    let stated: [(&str, Fact); 6] = [
        ("os", "linux".into()),
        ("bits", 64.into()),
        ("kvm", true.into()),
        ("tool.make", "3.81".into()),
        ("tool.gcc", "12.2.0-14+deb12u1".into()),
        ("tool.odd", "unknown".into()),
    ];
    for (name, fact) in stated {
        facts.insert(name, fact).expect("a fact");
    }
    Capabilities {
        platform: Platform::new("linux", "x86_64").expect("a platform"),
        resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
        runtimes: [(Runtime::Native, RuntimeFacts { strength: "namespaces".into(), facts })].into(),
    }
}

fn equals(fact: &str, value: impl Into<Fact>) -> Clause {
    Clause::Equals { fact: name(fact), value: value.into() }
}

fn one_of(fact: &str, values: &[&str]) -> Clause {
    let values = values.iter().map(|value| Fact::from(*value)).collect();
    Clause::OneOf { fact: name(fact), values }
}

fn donates(resource: Resource, amount: u64) -> Clause {
    Clause::Donates { resource, amount }
}

fn version(fact: &str, range: &str) -> Clause {
    Clause::Version { fact: name(fact), range: range.parse().expect("a range of versions") }
}

fn name(name: &str) -> FactName {
    name.parse().expect("the name of a fact")
}
