//! The matching engine says what the plain evaluator says, of whatever machines, jobs and changes.
//!
//! `TALKOOT_CASES` says how many cases of each property are tried; see CONTRIBUTING.md.

use std::collections::BTreeMap;

use capability::{
    Capabilities, Clause, Fact, FactName, Facts, MachineIndex, OfferIndex, Platform, Preference,
    Requirements, Resource, Resources, Runtime, RuntimeFacts, explain, rank, satisfies,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

/// Enough for each kind of clause to meet each kind of value many times.
const CASES: u32 = 256;

fn cases() -> ProptestConfig {
    #[expect(clippy::disallowed_methods, reason = "a test takes its length from outside")]
    let cases = std::env::var("TALKOOT_CASES").map(|text| text.parse().expect("a number of cases"));
    ProptestConfig::with_cases(cases.unwrap_or(CASES))
}

/// Machines that are there, by id.
type Machines = BTreeMap<u16, Capabilities>;

#[derive(Debug, Clone)]
enum Step {
    Put(u16, Capabilities),
    Remove(u16),
}

/// Few names, so that machines and jobs speak of the same.
fn name() -> impl Strategy<Value = FactName> {
    select(vec!["a", "b", "c", "d"]).prop_map(|name| name.parse().expect("a name"))
}

fn text() -> impl Strategy<Value = String> {
    let version = (0..4_u64, 0..3_u64, 0..2_u64);
    prop_oneof![
        4 => version.prop_map(|(major, minor, patch)| format!("{major}.{minor}.{patch}")),
        1 => select(vec!["", "1", "1.0", "v1.0.0", "1:2.0", "2.0-rc1", "word", "other",
            "18446744073709551615.1", "99999999999999999999"]).prop_map(str::to_owned),
    ]
}

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0..10_u64, 1 => select(vec![255, 256, 1 << 32, u64::MAX - 1, u64::MAX])]
}

fn word() -> impl Strategy<Value = String> {
    select(vec!["p", "q", "r", "s"]).prop_map(str::to_owned)
}

fn fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        5 => text().prop_map(Fact::from),
        3 => number().prop_map(Fact::Number),
        1 => any::<bool>().prop_map(Fact::Flag),
        2 => btree_set(word(), 0..4).prop_map(|words| words.iter().map(String::as_str).collect()),
        1 => Just(Fact::Unknown),
    ]
}

fn runtime() -> impl Strategy<Value = Runtime> {
    select(vec!["native", "wasm", "other"]).prop_map(|name| name.parse().expect("a word"))
}

/// Amounts around the bounds of the ranges that the index puts them in.
fn amount() -> impl Strategy<Value = u64> {
    prop_oneof![
        Just(0),
        1..20_u64,
        (0..64_u32, -2..3_i64).prop_map(|(bit, more)| (1_u64 << bit).saturating_add_signed(more)),
        any::<u64>(),
    ]
}

fn machine() -> impl Strategy<Value = Capabilities> {
    let facts = btree_map(name(), fact(), 0..5).prop_map(|stated| {
        let mut facts = Facts::new();
        for (name, fact) in stated {
            facts.insert(name.as_str(), fact).expect("a sound fact");
        }
        RuntimeFacts { strength: String::new(), facts }
    });
    let os = select(vec!["linux", "windows"]);
    (os, 0..6_u32, amount(), amount(), btree_map(runtime(), facts, 0..4)).prop_map(
        |(os, cores, memory, disk, runtimes)| Capabilities {
            platform: Platform::new(os, "x86_64").expect("words"),
            resources: Resources { cores, memory, disk },
            runtimes: runtimes.into_iter().collect(),
        },
    )
}

fn range() -> impl Strategy<Value = String> {
    let bound = (select(vec![">=", ">", "<", "<=", "=", "^", "~"]), 0..4_u64, 0..3_u64, 0..2_u64);
    let bound = (bound, 0..4_u8).prop_map(|((op, major, minor, patch), parts)| match parts {
        0 => format!("{op}{major}"),
        1 => format!("{op}{major}.{minor}"),
        2 => format!("{op}{major}.{minor}.{patch}"),
        _ => format!("{op}{major}.{minor}.{patch}-rc1"),
    });
    prop_oneof![
        8 => vec(bound, 1..3).prop_map(|bounds| bounds.join(", ")),
        1 => select(vec!["*", "1.*", "2.1.*", "^0.0.1", "=18446744073709551615.1.0"])
            .prop_map(str::to_owned),
    ]
}

fn resource() -> impl Strategy<Value = Resource> {
    select(vec![Resource::Cores, Resource::Memory, Resource::Disk])
}

fn plain_clause() -> impl Strategy<Value = Clause> {
    prop_oneof![
        3 => (name(), fact()).prop_map(|(fact, value)| Clause::Equals { fact, value }),
        2 => (name(), vec(fact(), 1..4))
            .prop_map(|(fact, values)| Clause::OneOf { fact, values }),
        2 => (name(), number()).prop_map(|(fact, amount)| Clause::AtLeast { fact, amount }),
        2 => (name(), number()).prop_map(|(fact, amount)| Clause::AtMost { fact, amount }),
        2 => (name(), btree_set(word(), 0..3))
            .prop_map(|(fact, words)| Clause::Includes { fact, words }),
        2 => (resource(), amount())
            .prop_map(|(resource, amount)| Clause::Donates { resource, amount }),
        4 => (name(), range()).prop_map(|(fact, range)| {
            Clause::Version { fact, range: range.parse().expect("a range") }
        }),
        2 => name().prop_map(|fact| Clause::Present { fact }),
        2 => name().prop_map(|fact| Clause::Absent { fact }),
        1 => Just(Clause::Unknown { kind: "lucky".into() }),
    ]
}

fn clause() -> impl Strategy<Value = Clause> {
    plain_clause().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Clause::All),
            vec(inner.clone(), 1..4).prop_map(Clause::Any),
            inner.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn preference() -> impl Strategy<Value = Preference> {
    prop_oneof![
        (1..4_u16, clause()).prop_map(|(weight, clause)| Preference::Holds { weight, clause }),
        (1..1001_u16, name(), scale()).prop_map(|(weight, fact, enough)| Preference::More {
            weight,
            fact,
            enough
        }),
        (1..4_u16, name(), scale()).prop_map(|(weight, fact, bearable)| Preference::Less {
            weight,
            fact,
            bearable
        }),
        Just(Preference::Unknown { kind: "lucky".into() }),
    ]
}

fn scale() -> impl Strategy<Value = u64> {
    prop_oneof![1..12_u64, select(vec![999, 1000, 1001, u64::MAX])]
}

fn job() -> impl Strategy<Value = Requirements> {
    (vec(runtime(), 1..4), vec(clause(), 0..4), vec(preference(), 0..4))
        .prop_map(|(runtimes, clauses, rank)| Requirements { runtimes, clauses, rank })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => (0..40_u16, machine()).prop_map(|(id, machine)| Step::Put(id, machine)),
        1 => (0..40_u16).prop_map(Step::Remove),
    ]
}

/// The machines after `steps`, and the index of them.
fn after(steps: Vec<Step>) -> (Machines, MachineIndex<u16>) {
    let (mut machines, mut index) = (Machines::new(), MachineIndex::new());
    for step in steps {
        match step {
            Step::Put(id, machine) => {
                index.put(id, &machine);
                machines.insert(id, machine);
            }
            Step::Remove(id) => {
                assert_eq!(index.remove(&id), machines.remove(&id).is_some());
            }
        }
        assert_eq!(index.len(), machines.len());
    }
    (machines, index)
}

/// Holds what `index` says of `job` against the plain evaluator.
fn check(
    machines: &Machines,
    index: &MachineIndex<u16>,
    job: &Requirements,
    limit: usize,
    seed: u64,
) {
    let expected: BTreeMap<u16, &Runtime> = machines
        .iter()
        .filter_map(|(id, machine)| satisfies(machine, job).map(|runtime| (*id, runtime)))
        .collect();
    let selected = index.select(job, limit, seed);
    let found: Vec<(u16, &Runtime)> = selected.iter().map(|(id, runtime)| (*id, runtime)).collect();
    assert_eq!(selected.len(), found.len());
    assert_eq!(expected.len(), found.len(), "none is found twice");
    assert_eq!(expected, found.iter().copied().collect::<BTreeMap<_, _>>());

    let rank_of = |(id, runtime): (u16, &Runtime)| rank(&machines[&id], runtime, &job.rank);
    let best: Vec<(u16, &Runtime)> =
        selected.best().iter().map(|best| (*best.id, best.runtime)).collect();
    assert!(best.iter().all(|(id, runtime)| expected.get(id) == Some(runtime)));
    let ranks: Vec<u64> = selected.best().iter().map(|best| best.rank).collect();
    assert_eq!(ranks, best.iter().copied().map(rank_of).collect::<Vec<_>>());
    let mut sorted = found;
    sorted.sort_by_key(|entry| std::cmp::Reverse(rank_of(*entry)));
    sorted.truncate(limit);
    assert_eq!(ranks, sorted.iter().copied().map(rank_of).collect::<Vec<_>>());
    if job.runtimes.len() == 1 {
        // Those that are found come in the order that decides among machines of one rank.
        assert_eq!(best, sorted);
    }
    assert_eq!(selected.best(), index.select(job, limit, seed).best());
    assert_eq!(index.explain(job), explain(machines.values(), job));
}

#[test]
fn what_a_machine_has_made_up_and_left_is_not_looked_through() {
    let mut index = MachineIndex::new();
    let mut machine = with("a", 1_u64);
    for number in 0..300 {
        machine.platform = Platform::new("linux", &format!("arch{number}")).expect("words");
        index.put(0, &machine);
        assert_eq!(index.blocks(), 1, "after {number}");
    }
    let fact = "a".parse().expect("the name of a fact");
    let job = asking(Clause::Present { fact }, Vec::new());
    check(&[(0, machine)].into(), &index, &job, 1, 7);
    assert!(index.remove(&0));
    assert_eq!(index.blocks(), 0);
    assert_eq!(index.explain(&job), explain([], &job));
    assert!(index.select(&job, 1, 0).is_empty());
}

#[test]
fn parts_are_the_facts_and_words_that_some_machine_has() {
    let mut index = MachineIndex::new();
    let words = |words: &[&str]| words.iter().copied().collect::<Fact>();
    index.put(1, &with("features", words(&["a", "b"])));
    assert_eq!(index.parts(), 4, "the runtime, its fact, two words");
    index.put(2, &with("features", words(&["b", "c"])));
    assert_eq!(index.parts(), 5);
    index.put(1, &with("speed", 3_u64));
    assert_eq!(index.parts(), 5, "a fact more, a word less");
    index.remove(&2);
    assert_eq!(index.parts(), 2);
    index.remove(&1);
    assert_eq!(index.parts(), 0);
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn the_index_says_what_the_evaluator_says(
        steps in vec(step(), 0..80),
        jobs in vec(job(), 1..6),
        limit in 0..12_usize,
        seed: u64,
    ) {
        let (machines, index) = after(steps);
        for job in &jobs {
            check(&machines, &index, job, limit, seed);
        }
    }

    #[test]
    fn the_index_of_offers_says_what_the_evaluator_says(
        steps in vec((0..20_u16, proptest::option::weighted(0.8, job())), 0..40),
        machines in vec(machine(), 1..6),
    ) {
        let (mut offers, mut index) = (BTreeMap::new(), OfferIndex::new());
        for (id, job) in steps {
            match job {
                Some(job) => {
                    index.put(id, &job);
                    offers.insert(id, job);
                }
                None => assert_eq!(index.remove(&id), offers.remove(&id).is_some()),
            }
            assert_eq!(index.len(), offers.len());
        }
        for machine in &machines {
            let expected: BTreeMap<u16, &Runtime> = offers
                .iter()
                .filter_map(|(id, job)| satisfies(machine, job).map(|runtime| (*id, runtime)))
                .collect();
            let found = index.select(machine);
            assert_eq!(found.len(), expected.len(), "none is found twice");
            let found: BTreeMap<u16, &Runtime> =
                found.into_iter().map(|(id, runtime)| (*id, runtime)).collect();
            assert_eq!(found, expected);
        }
    }
}

/// A machine with one fact of its own.
fn with(name: &str, fact: impl Into<Fact>) -> Capabilities {
    let mut facts = Facts::new();
    facts.insert(name, fact).expect("a sound fact");
    Capabilities {
        platform: Platform::new("linux", "x86_64").expect("words"),
        resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
        runtimes: [(Runtime::Native, RuntimeFacts { strength: String::new(), facts })].into(),
    }
}

fn asking(clause: Clause, rank: Vec<Preference>) -> Requirements {
    Requirements { runtimes: vec![Runtime::Native], clauses: vec![clause], rank }
}

/// More machines than a block has, and twice the values that can have a label of their own.
const MANY: u16 = 6000;

#[test]
fn more_values_than_there_are_labels_are_told_apart() {
    // In an order that is none of theirs, so that most come between two others.
    let version = |id: u16| format!("{}.{}", u32::from(id) * 7919 % 4093 / 10, id % 10);
    let (mut machines, mut index) = (Machines::new(), MachineIndex::new());
    for id in 0..MANY {
        let machine = with("tool.x", version(id));
        index.put(id, &machine);
        machines.insert(id, machine);
    }
    let job = |text: &str| {
        let (fact, range) = ("tool.x".parse().expect("a name"), text.parse().expect("a range"));
        asking(Clause::Version { fact, range }, Vec::new())
    };
    let ranges = ["^17", "=100.3", ">=250.5, <251", "<0.4", ">408", ">=409", "*"];
    let jobs = ranges.map(job);
    let exact = Clause::Equals { fact: "tool.x".parse().expect("a name"), value: "17.3".into() };
    let jobs: Vec<_> = jobs.into_iter().chain([asking(exact, Vec::new())]).collect();
    let check_all = |machines: &Machines, index: &MachineIndex<u16>| {
        jobs.iter().for_each(|job| check(machines, index, job, 3, 4711));
    };
    check_all(&machines, &index);
    for id in (0..MANY).filter(|id| id % 50 != 0) {
        index.remove(&id);
        machines.remove(&id);
    }
    check_all(&machines, &index);
    for id in 0..MANY / 2 {
        let machine = with("tool.x", version(id / 2));
        index.put(id, &machine);
        machines.insert(id, machine);
    }
    check_all(&machines, &index);
}

#[test]
fn the_best_are_found_among_many_that_get_better_and_better() {
    let (mut machines, mut index) = (Machines::new(), MachineIndex::new());
    for id in 0..MANY {
        let machine = with("speed", u64::from(id));
        index.put(id, &machine);
        machines.insert(id, machine);
    }
    let fact: FactName = "speed".parse().expect("a name");
    let fast = || Clause::AtLeast { fact: fact.clone(), amount: 3000 };
    let preferences = [
        Preference::More { weight: 3, fact: fact.clone(), enough: 10_000 },
        Preference::Less { weight: 2, fact: fact.clone(), bearable: 5_000 },
        Preference::Holds { weight: 1, clause: fast() },
    ];
    for seed in [0, 4095, 4096, 8191, 8192, u64::MAX] {
        for count in 1..=preferences.len() {
            let present = Clause::Present { fact: fact.clone() };
            let job = asking(present, preferences[..count].to_vec());
            check(&machines, &index, &job, 10, seed);
            check(&machines, &index, &asking(fast(), preferences[..count].to_vec()), 10, seed);
        }
    }
}

#[test]
fn platforms_that_peers_make_up_are_found_like_others() {
    let (mut machines, mut index) = (Machines::new(), MachineIndex::new());
    for id in 0..700 {
        let mut machine = with("speed", u64::from(id));
        machine.platform = Platform::new("linux", &format!("arch{}", id % 350)).expect("words");
        index.put(id, &machine);
        machines.insert(id, machine);
    }
    for id in 0..350 {
        // To another kind of machine, some of which have places of their own.
        let machine = machines[&(699 - id)].clone();
        index.put(id, &machine);
        machines.insert(id, machine);
    }
    let fact = "speed".parse().expect("a name");
    check(&machines, &index, &asking(Clause::AtMost { fact, amount: 500 }, Vec::new()), 5, 1);
}

#[test]
fn machines_of_one_rank_share_the_work_out() {
    let mut index = MachineIndex::new();
    (0..100_u16).for_each(|id| index.put(id, &with("speed", 1_u64)));
    let job = asking(Clause::Present { fact: "speed".parse().expect("a name") }, Vec::new());
    let first = |seed| *index.select(&job, 1, seed).best()[0].id;
    assert_eq!((0..100).map(first).collect::<Vec<_>>(), (0..100).collect::<Vec<_>>());
    assert_eq!(first(3), first(3));
}
