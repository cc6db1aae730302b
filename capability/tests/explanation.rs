//! Which needs keep machines out, and what something milder would gain.

use capability::{
    Capabilities, Clause, Explanation, Fact, FactName, Facts, MAX_ALTERNATIVES, MAX_CLAUSES, Need,
    Obstacle, Platform, Preference, Relaxed, Requirements, Resource, Resources, Runtime,
    RuntimeFacts, compare, decode_cbor, encode_cbor, explain, rank, satisfies,
};
use proptest::prelude::*;

const LIMIT: usize = 1 << 20;

#[test]
fn the_milder_clause_lets_in_half_of_those_that_the_clause_alone_keeps_out() {
    // The fact of each machine, what is needed, what is milder and how many that lets in.
    let check = |stated: &[Fact], needed: Clause, milder: Option<(Clause, u64)>| {
        let machines: Vec<_> = stated.iter().map(|fact| machine(&[("a", fact.clone())])).collect();
        let explanation = explain(&machines, &job(vec![needed]));
        let [obstacle] = &*explanation.obstacles else { panic!("{explanation}") };
        let found = obstacle.relaxed.clone().map(|it| (it.clause, it.gains));
        assert_eq!(found, milder, "{explanation}");
    };
    let numbers = [1, 2, 3, 4, 9].map(Fact::Number);
    let at_least = |amount| Clause::AtLeast { fact: name("a"), amount };
    let at_most = |amount| Clause::AtMost { fact: name("a"), amount };
    check(&numbers, at_least(9), Some((at_least(2), 3)));
    check(&numbers, at_least(4), Some((at_least(2), 2)));
    check(&numbers, at_most(1), Some((at_most(4), 3)));
    check(&["text".into()], at_least(9), None);

    let texts = ["3.20", "3.22.1", "3.22.1-2", "4.1", "unknown"].map(Fact::from);
    check(&texts, version(">=3.25"), Some((version(">=3.22.1"), 2)));
    check(&texts[..1], version(">=3.25"), Some((version(">=3.20"), 1)));
    // What a range takes already it still takes.
    check(&texts[3..], version("~3.25"), Some((version(">=3.25"), 1)));
    check(&texts, version("<3"), Some((version("<=3.22.1"), 3)));
    check(&texts[4..], version("<3"), None);
    // `<=3.20` would take 3.20.5.
    let patched = ["3.19", "3.20", "3.20.5"].map(Fact::from);
    check(&patched, version("<3"), Some((version("<=3.20.0"), 2)));

    let words = ["gnu", "musl", "musl", "uclibc"].map(Fact::from);
    check(&words, equals("gnu"), Some((one_of(&["gnu", "musl"]), 2)));
    check(&words, one_of(&["gnu", "musl"]), Some((one_of(&["gnu", "musl", "uclibc"]), 1)));
    // Of equals always the same.
    check(&words[2..], equals("gnu"), Some((one_of(&["gnu", "musl"]), 1)));
    check(&[Fact::Unknown], equals("gnu"), None);
    check(&words, one_of(&["x"; MAX_ALTERNATIVES]), None);
    check(&words, Clause::Absent { fact: name("a") }, None);

    let set = |words: &[&str]| words.iter().copied().collect::<Fact>();
    let sets = [set(&["aes"]), set(&["aes", "avx"]), set(&["sse"]), "avx".into()];
    check(&sets, includes(&["aes", "avx", "avx2"]), Some((includes(&["aes", "avx"]), 1)));
    check(&sets[..1], includes(&["aes", "avx"]), Some((includes(&["aes"]), 1)));
    // Of equals the first goes.
    check(&[set(&["a"]), set(&["b"])], includes(&["a", "b"]), Some((includes(&["b"]), 1)));
    check(&sets[2..], includes(&["aes", "avx"]), None);
    check(&sets[2..], includes(&["aes"]), None);
}

#[test]
fn in_a_group_the_part_becomes_milder_that_gains_most() {
    let machines: Vec<_> = [("3.20", 8), ("3.20", 6), ("3.22", 1), ("4.0", 1)]
        .map(|(version, cores)| machine(&[("a", version.into()), ("b", Fact::Number(cores))]))
        .into();
    let cores = |amount| Clause::AtLeast { fact: name("b"), amount };
    let relaxed = |clause: Clause| {
        let explanation = explain(&machines, &job(vec![clause]));
        explanation.obstacles[0].relaxed.clone().map(|it| (it.clause, it.gains))
    };
    // Any part of alternatives can let in whom they keep out.
    let either = |range, amount| Clause::Any(vec![version(range), cores(amount)]);
    assert_eq!(relaxed(either(">=5", 9)), Some((either(">=3.20", 9), 4)));
    assert_eq!(relaxed(either(">=3.22", 9)), Some((either(">=3.20", 9), 2)));
    // Of what must hold together, only the one that does not.
    let both = |range, amount| Clause::All(vec![version(range), cores(amount)]);
    assert_eq!(relaxed(both(">=3.20", 8)), Some((both(">=3.20", 1), 3)));
    assert_eq!(relaxed(both(">=3.22", 8)), Some((both(">=3.22", 1), 2)));
    assert_eq!(relaxed(both(">=5", 9)), None);
}

#[test]
fn donations_are_suggested_in_whole_mebibytes() {
    let mut small = machine(&[]);
    small.resources.memory = (3 << 30) + 12_345;
    let memory = |amount| Clause::Donates { resource: Resource::Memory, amount };
    let explanation = explain([&small], &job(vec![memory(4 << 30)]));
    assert_eq!(explanation.worst().expect("one").gains(), 1);
    let relaxed = explanation.obstacles[0].relaxed.as_ref().expect("less");
    assert_eq!(relaxed.clause, memory(3 << 30));
}

#[test]
fn people_read_what_keeps_out_most_first_and_what_would_gain_most_last() {
    let tools = |make: &str, gpu: Option<&str>| {
        let mut stated = vec![("a", Fact::from(make))];
        stated.extend(gpu.map(|gpu| ("gpu", Fact::from(gpu))));
        machine(&stated)
    };
    let mut machines = vec![
        tools("4.3", None),
        tools("3.81", None),
        tools("3.82", None),
        tools("3.81", Some("big")),
        tools("4.3", Some("big")),
        machine(&[]),
    ];
    let no_gpu = Clause::Absent { fact: name("gpu") };
    let job = job(vec![no_gpu, version(">=4")]);
    assert_eq!(
        explain(&machines, &job).to_string(),
        "1 of 6 machines could run it\n\
         needs a >=4: excludes 4, alone 3; with a >=3.81 it would be 2 more\n\
         needs no gpu: excludes 2, alone 1\n\
         most would be gained with a >=3.81: 2 machines"
    );

    // Of equals the first.
    let equal = explain([&machines[2], &machines[4]], &job);
    assert_eq!(equal.worst(), equal.obstacles.first());

    for machine in &mut machines {
        let facts = machine.runtimes.remove(&Runtime::Native).expect("native");
        machine.runtimes.insert(Runtime::Wasm, facts);
    }
    assert_eq!(
        explain(&machines, &job).to_string(),
        "none of 6 machines could run it\n\
         needs runtime native: excludes 6, alone 1\n\
         most would be gained in another runtime: 1 machine"
    );
    assert_eq!(explain(&[], &job).to_string(), "no machine is known");
    assert_eq!(
        explain([&machine(&[])], &self::job(vec![])).to_string(),
        "1 of 1 machine could run it"
    );
}

#[test]
fn an_explanation_is_no_larger_than_what_it_is_about() {
    let obstacle = |clause: Clause| Obstacle {
        need: Need::Clause(clause),
        excludes: 1,
        alone: 0,
        relaxed: None,
    };
    let taken = |obstacles: Vec<Obstacle>| {
        let explanation = Explanation { known: 1, matching: 0, obstacles };
        decode_cbor::<Explanation>(&encode_cbor(&explanation), LIMIT).is_ok()
    };
    let runtimes = |count| Obstacle {
        need: Need::Runtimes(vec![Runtime::Native; count]),
        ..obstacle(equals("gnu"))
    };
    let many = |count| vec![obstacle(equals("gnu")); count];
    let with_runtimes = |count| [many(count), vec![runtimes(1)]].concat();
    assert!(taken(with_runtimes(MAX_CLAUSES)) && !taken(with_runtimes(MAX_CLAUSES + 1)));
    assert!(taken(vec![runtimes(16)]) && !taken(vec![runtimes(17)]) && !taken(vec![runtimes(0)]));
    let group = |count| Clause::Any(vec![equals("gnu"); count]);
    assert!(taken(vec![obstacle(group(MAX_CLAUSES))]));
    assert!(!taken(vec![obstacle(group(MAX_CLAUSES + 1))]));
    let milder = |clause| Obstacle {
        relaxed: Some(Relaxed { clause, gains: 1 }),
        ..obstacle(equals("gnu"))
    };
    assert!(taken(vec![milder(one_of(&["x"; 64]))]));
    assert!(!taken(vec![milder(one_of(&["x"; 65]))]));
}

#[test]
fn a_comparison_has_every_need_with_the_fact_beside_it() {
    let mut machine = machine(&[("a", "3.81".into()), ("n", Fact::Number(2))]);
    machine.runtimes.insert(Runtime::Wasm, RuntimeFacts::default());
    let donates = |resource, amount| Clause::Donates { resource, amount };
    let future: Runtime = "unikernel".parse().expect("a word");
    let job = Requirements {
        runtimes: vec![Runtime::Native, Runtime::Wasm, future],
        clauses: vec![
            donates(Resource::Cores, 2),
            donates(Resource::Memory, 6 << 30),
            Clause::Any(vec![
                version(">=4"),
                Clause::Not(Box::new(Clause::Present { fact: name("gpu") })),
            ]),
            Clause::Unknown { kind: "luck".into() },
        ],
        rank: vec![
            Preference::More { weight: 2, fact: name("n"), enough: 4 },
            Preference::Holds { weight: 3, clause: version("<4") },
        ],
    };
    let expected = "\
native: could not run it
  yes  2 cores          2
  no   6 GiB of memory  4 GiB
  yes  one of
  no     a >=4          3.81
  yes    not
  no       gpu          not stated
  no   \"luck\"           cannot be judged by this version
  rank 4000
    1000 of 2000 for more n, up to 4
    3000 of 3000 for a <4
wasm: could not run it
  yes  2 cores          2
  no   6 GiB of memory  4 GiB
  yes  one of
  no     a >=4          not stated
  yes    not
  no       gpu          not stated
  no   \"luck\"           cannot be judged by this version
  rank 0
    0 of 2000 for more n, up to 4
    0 of 3000 for a <4
unikernel: this machine does not have it";
    let comparison = compare(&machine, &job);
    assert_eq!(comparison.to_string(), expected);
    let json = serde_json::to_string(&comparison).expect("JSON");
    assert_eq!(serde_json::from_str::<capability::Comparison>(&json).expect("read"), comparison);
}

proptest! {
    #[test]
    fn every_count_is_what_counting_machines_gives(
        machines in prop::collection::vec(machines(), 0..12), job in jobs(),
    ) {
        let matching = |job: &Requirements| {
            machines.iter().filter(|machine| satisfies(machine, job).is_some()).count() as u64
        };
        let explanation = explain(&machines, &job);
        prop_assert_eq!(explanation.known, machines.len() as u64);
        prop_assert_eq!(explanation.matching, matching(&job));
        let mut expected = 0;
        for (index, clause) in job.clauses.iter().enumerate() {
            let mut without = job.clone();
            without.clauses.remove(index);
            let alone = matching(&without) - explanation.matching;
            let excludes = machines.iter().filter(|machine| excludes(machine, &job, clause)).count();
            if alone == 0 && excludes == 0 {
                continue;
            }
            expected += 1;
            let obstacle = explanation.obstacles.iter().find(|it| it.need == Need::Clause(clause.clone()));
            let obstacle = obstacle.expect("an obstacle");
            prop_assert_eq!((obstacle.alone, obstacle.excludes), (alone, excludes as u64));
            if let Some(relaxed) = &obstacle.relaxed {
                let mut milder = job.clone();
                milder.clauses[index] = relaxed.clause.clone();
                prop_assert!(relaxed.gains > 0);
                prop_assert_eq!(matching(&milder), explanation.matching + relaxed.gains);
                let lost = machines.iter().any(|machine| {
                    satisfies(machine, &job).is_some() && satisfies(machine, &milder).is_none()
                });
                prop_assert!(!lost);
                milder.validate().expect("a clause within the limits");
            }
        }
        let without = |machine: &&Capabilities| {
            !job.runtimes.iter().any(|runtime| machine.runtimes.contains_key(runtime))
        };
        let elsewhere = Requirements { runtimes: Runtime::KNOWN.to_vec(), ..job.clone() };
        let alone = machines.iter().filter(without);
        let alone = alone.filter(|machine| satisfies(machine, &elsewhere).is_some()).count() as u64;
        let excludes = machines.iter().filter(without).count() as u64;
        let runtimes = explanation.obstacles.iter().find(|it| matches!(it.need, Need::Runtimes(_)));
        let found = runtimes.map_or((0, 0), |it| (it.alone, it.excludes));
        prop_assert_eq!(found, (alone, excludes));
        prop_assert_eq!(explanation.obstacles.len(), expected + usize::from(excludes > 0));
    }

    #[test]
    fn an_explanation_does_not_depend_on_the_order_of_machines_and_survives_the_wire(
        mut machines in prop::collection::vec(machines(), 0..12), job in jobs(),
    ) {
        let explanation = explain(&machines, &job);
        let weights = explanation.obstacles.iter().map(|it| (it.alone, it.excludes));
        prop_assert!(weights.rev().is_sorted());
        machines.reverse();
        prop_assert_eq!(&explain(&machines, &job), &explanation);
        let decoded = decode_cbor::<Explanation>(&encode_cbor(&explanation), LIMIT);
        prop_assert_eq!(decoded.expect("sound"), explanation);
    }

    #[test]
    fn a_comparison_agrees_with_the_evaluator(machine in machines(), job in jobs()) {
        let comparison = compare(&machine, &job);
        let first = comparison.runtimes.iter().find(|it| {
            it.inside.as_ref().is_some_and(|inside| inside.fits)
        });
        prop_assert_eq!(first.map(|it| &it.runtime), satisfies(&machine, &job));
        for in_runtime in &comparison.runtimes {
            let inside = in_runtime.inside.iter().flat_map(|inside| &inside.rank);
            let points = inside.map(|credited| credited.points).sum::<u64>();
            prop_assert_eq!(points, rank(&machine, &in_runtime.runtime, &job.rank));
        }
    }
}

/// Whether `clause` holds in none of the job's runtimes that the machine has, which has some.
fn excludes(machine: &Capabilities, job: &Requirements, clause: &Clause) -> bool {
    let mut has = job.runtimes.iter().filter(|runtime| machine.runtimes.contains_key(runtime));
    let alone = Requirements { clauses: vec![clause.clone()], ..job.clone() };
    has.next().is_some() && satisfies(machine, &alone).is_none()
}

fn names() -> impl Strategy<Value = FactName> {
    "[ab]".prop_map(|text| name(&text))
}

fn facts() -> impl Strategy<Value = Fact> {
    prop_oneof![
        4 => "[0-4](\\.[0-2]){0,2}".prop_map(Fact::from),
        3 => (0_u64..5).prop_map(Fact::Number),
        1 => any::<bool>().prop_map(Fact::Flag),
        2 => prop::sample::subsequence(vec!["x", "y", "z"], 0..4)
            .prop_map(|words| words.into_iter().collect()),
    ]
}

fn runtimes() -> impl Strategy<Value = Runtime> {
    let other: Runtime = "unikernel".parse().expect("a word");
    prop_oneof![3 => Just(Runtime::Native), 2 => Just(Runtime::Wasm), 1 => Just(other)]
}

fn machines() -> impl Strategy<Value = Capabilities> {
    let stated = prop_oneof![facts(), Just(Fact::Unknown)];
    let inside = prop::collection::btree_map(names(), stated, 0..3).prop_map(|stated| {
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
            ..machine(&[])
        },
    )
}

fn clauses() -> impl Strategy<Value = Clause> {
    let range = "(>=|>|<|<=|\\^|~|=|>=1, <)[0-3](\\.[0-2]){0,2}";
    let leaf = prop_oneof![
        (names(), facts()).prop_map(|(fact, value)| Clause::Equals { fact, value }),
        (names(), prop::collection::vec(facts(), 1..3))
            .prop_map(|(fact, values)| Clause::OneOf { fact, values }),
        (names(), 0_u64..5).prop_map(|(fact, amount)| Clause::AtLeast { fact, amount }),
        (names(), 0_u64..5).prop_map(|(fact, amount)| Clause::AtMost { fact, amount }),
        (0_u64..3).prop_map(|amount| Clause::Donates { resource: Resource::Memory, amount }),
        (names(), range).prop_map(|(fact, range)| Clause::Version {
            fact,
            range: range.parse().expect("a range")
        }),
        (names(), prop::sample::subsequence(vec!["x", "y", "z"], 1..4)).prop_map(
            |(fact, words)| Clause::Includes {
                fact,
                words: words.into_iter().map(str::to_owned).collect(),
            }
        ),
        names().prop_map(|fact| Clause::Present { fact }),
        names().prop_map(|fact| Clause::Absent { fact }),
    ];
    leaf.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 1..3).prop_map(Clause::All),
            prop::collection::vec(inner.clone(), 1..3).prop_map(Clause::Any),
            inner.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn jobs() -> impl Strategy<Value = Requirements> {
    let preference =
        (1_u16..9, clauses()).prop_map(|(weight, clause)| Preference::Holds { weight, clause });
    let runtimes = prop::collection::vec(runtimes(), 1..3);
    let rank = prop::collection::vec(preference, 0..3);
    (runtimes, prop::collection::vec(clauses(), 0..4), rank)
        .prop_map(|(runtimes, clauses, rank)| Requirements { runtimes, clauses, rank })
}

fn machine(stated: &[(&str, Fact)]) -> Capabilities {
    let mut facts = Facts::new();
    for (name, fact) in stated {
        facts.insert(name, fact.clone()).expect("a fact");
    }
    Capabilities {
        platform: Platform::new("linux", "x86_64").expect("a platform"),
        resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
        runtimes: [(Runtime::Native, RuntimeFacts { strength: String::new(), facts })].into(),
    }
}

fn job(clauses: Vec<Clause>) -> Requirements {
    Requirements { runtimes: vec![Runtime::Native], clauses, rank: Vec::new() }
}

fn equals(value: &str) -> Clause {
    Clause::Equals { fact: name("a"), value: value.into() }
}

fn one_of(values: &[&str]) -> Clause {
    let values = values.iter().map(|value| Fact::from(*value)).collect();
    Clause::OneOf { fact: name("a"), values }
}

fn includes(words: &[&str]) -> Clause {
    let words = words.iter().map(|word| (*word).to_owned()).collect();
    Clause::Includes { fact: name("a"), words }
}

fn version(range: &str) -> Clause {
    Clause::Version { fact: name("a"), range: range.parse().expect("a range") }
}

fn name(name: &str) -> FactName {
    name.parse().expect("the name of a fact")
}
