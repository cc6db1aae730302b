//! Facts that come to a machine take no job from it that asks for no absence.

use capability::{
    Capabilities, Clause, Fact, FactName, Platform, Requirements, Resource, Resources, Runtime,
    RuntimeFacts, satisfies,
};
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;
use proptest::sample::select;

use crate::config;

const CASES: u32 = 512;

/// Few names, so that clauses and machines speak of the same.
fn name() -> impl Strategy<Value = FactName> {
    select(vec!["a", "b", "c"]).prop_map(|name| name.parse().expect("a name"))
}

/// Few values, so that clauses hold now and then.
fn value() -> impl Strategy<Value = Fact> {
    let words = btree_set(select(vec!["p", "q", "r"]), 1..4);
    prop_oneof![
        (0..4_u64).prop_map(Fact::Number),
        any::<bool>().prop_map(Fact::Flag),
        select(vec!["1.2.3", "2.0", "word"]).prop_map(Fact::from),
        words.prop_map(|words| words.into_iter().collect()),
    ]
}

/// Clauses of every kind about these facts.
fn clause() -> impl Strategy<Value = Clause> {
    let range = select(vec![">=1.2", "<2", "^2", "*"]).prop_map(|range| range.parse());
    let words = btree_set("[p-r]", 1..3);
    let plain = prop_oneof![
        (name(), value()).prop_map(|(fact, value)| Clause::Equals { fact, value }),
        (name(), vec(value(), 1..4)).prop_map(|(fact, values)| Clause::OneOf { fact, values }),
        (name(), 0..4_u64).prop_map(|(fact, amount)| Clause::AtLeast { fact, amount }),
        (name(), 0..4_u64).prop_map(|(fact, amount)| Clause::AtMost { fact, amount }),
        (name(), words).prop_map(|(fact, words)| Clause::Includes { fact, words }),
        (name(), range)
            .prop_map(|(fact, range)| { Clause::Version { fact, range: range.expect("a range") } }),
        donates(),
        name().prop_map(|fact| Clause::Present { fact }),
        name().prop_map(|fact| Clause::Absent { fact }),
    ];
    plain.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Clause::All),
            vec(inner.clone(), 1..4).prop_map(Clause::Any),
            inner.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn donates() -> impl Strategy<Value = Clause> {
    let resource = select(vec![Resource::Cores, Resource::Memory, Resource::Disk]);
    (resource, 0..6_u64).prop_map(|(resource, amount)| Clause::Donates { resource, amount })
}

/// Whether a clause, or one inside it, holds because something is not there or not so.
fn wants_absence(clause: &Clause) -> bool {
    matches!(clause, Clause::Absent { .. } | Clause::Not(_))
        || clause.inner().iter().any(wants_absence)
}

/// A machine with some of the few facts.
fn machine() -> impl Strategy<Value = Capabilities> {
    let resources = (0..5_u32, 0..5_u64, 0..5_u64);
    (resources, vec((name(), value()), 0..3)).prop_map(|((cores, memory, disk), stated)| {
        let mut machine = Capabilities {
            platform: Platform::new("linux", "x86_64").expect("two words"),
            resources: Resources { cores, memory, disk },
            runtimes: [(Runtime::Native, RuntimeFacts::default())].into(),
        };
        for (name, value) in stated {
            state(&mut machine, &name, value);
        }
        machine
    })
}

fn state(machine: &mut Capabilities, name: &FactName, value: Fact) {
    let facts = &mut machine.runtimes.get_mut(&Runtime::Native).expect("it has it").facts;
    facts.insert(name.as_str(), value).expect("a sound fact");
}

fn fits(machine: &Capabilities, clauses: Vec<Clause>) -> bool {
    let job = Requirements { runtimes: vec![Runtime::Native], clauses, rank: Vec::new() };
    satisfies(machine, &job).is_some()
}

proptest! {
    #![proptest_config(config(CASES))]

    #[test]
    fn a_fact_more_loses_no_job_that_wants_no_absence(
        machine in machine(),
        name in name(),
        value in value(),
        clauses in vec(clause(), 0..3),
    ) {
        let known = machine.runtimes[&Runtime::Native].facts.get(name.as_str()).is_some();
        prop_assume!(!known && !clauses.iter().any(wants_absence));
        let mut richer = machine.clone();
        state(&mut richer, &name, value);
        let (before, after) = (fits(&machine, clauses.clone()), fits(&richer, clauses));
        prop_assert!(after || !before);
    }

    #[test]
    fn a_fact_more_turns_no_present_into_an_absent(
        machine in machine(),
        name in name(),
        value in value(),
        other in name(),
    ) {
        let present = vec![Clause::Present { fact: other.clone() }];
        let absent = vec![Clause::Absent { fact: other }];
        let mut richer = machine.clone();
        state(&mut richer, &name, value);
        prop_assert!(fits(&richer, present.clone()) || !fits(&machine, present.clone()));
        prop_assert!(!fits(&richer, absent.clone()) || fits(&machine, absent.clone()));
        // One of the two, for every fact.
        prop_assert_ne!(fits(&richer, present), fits(&richer, absent));
    }

    #[test]
    fn more_of_what_there_is_loses_nothing_that_asks_for_a_least(
        machine in machine(),
        name in name(),
        number in 0..4_u64,
        more in prop_oneof![0..4_u64, Just(u64::MAX)],
        amount in 0..8_u64,
        words in btree_set("[p-s]", 0..4),
        wanted in btree_set("[p-s]", 1..4),
        donates in donates(),
    ) {
        let with = |value: Fact| {
            let mut machine = machine.clone();
            state(&mut machine, &name, value);
            machine
        };
        let least = vec![Clause::AtLeast { fact: name.clone(), amount }];
        let (fewer, larger) = (with(number.into()), with(number.saturating_add(more).into()));
        prop_assert!(fits(&larger, least.clone()) || !fits(&fewer, least));

        let includes = vec![Clause::Includes { fact: name.clone(), words: wanted }];
        let all = ["p", "q", "r", "s"].into_iter().collect();
        prop_assert!(fits(&with(all), includes.clone()) || !fits(&with(Fact::Set(words)), includes));

        let mut generous = machine.clone();
        let resources = &mut generous.resources;
        resources.cores = resources.cores.saturating_add(1);
        resources.memory = resources.memory.saturating_add(more);
        resources.disk = resources.disk.saturating_add(more);
        prop_assert!(fits(&generous, vec![donates.clone()]) || !fits(&machine, vec![donates]));
    }
}
