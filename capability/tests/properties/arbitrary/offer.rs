//! What projects say of themselves, and what they want run.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{Check, Offer, Package, Permissions, Registration};
use capability::{
    BlobHash, Checkpoint, Clause, FactName, Image, ImageDigest, ImageSource, JobSpec, Limits,
    Preference, Requirements, Resource, Runtime, Step,
};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::{delegated, fact_name, known_fact, number, project, runtime, set_word, text, time};

fn resource() -> impl Strategy<Value = Resource> {
    select(vec![Resource::Cores, Resource::Memory, Resource::Disk])
}

fn range() -> impl Strategy<Value = String> {
    let part = prop_oneof![3 => "0|[1-9][0-9]{0,4}", 1 => Just("*".to_owned())];
    let numbers = ("0|[1-9][0-9]{0,18}", option::of(part))
        .prop_map(|(major, minor)| minor.map_or(major.clone(), |minor| format!("{major}.{minor}")));
    let full = "(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})\\.(0|[1-9][0-9]{0,3})(-rc[1-9])?";
    let operator = select(vec!["", "=", ">", ">=", "<", "<=", "~", "^"]);
    let comparator = (operator, prop_oneof![numbers.boxed(), full.boxed()])
        .prop_map(|(operator, version)| format!("{operator}{version}"));
    prop_oneof![
        1 => Just("*".to_owned()),
        9 => vec(comparator, 1..4).prop_map(|all| all.join(", ")),
    ]
}

fn plain_clause() -> impl Strategy<Value = Clause> {
    prop_oneof![
        (fact_name(), known_fact()).prop_map(|(fact, value)| Clause::Equals { fact, value }),
        (fact_name(), vec(known_fact(), 1..5))
            .prop_map(|(fact, values)| Clause::OneOf { fact, values }),
        (fact_name(), number()).prop_map(|(fact, amount)| Clause::AtLeast { fact, amount }),
        (fact_name(), number()).prop_map(|(fact, amount)| Clause::AtMost { fact, amount }),
        (fact_name(), btree_set(set_word(), 1..5))
            .prop_map(|(fact, words)| Clause::Includes { fact, words }),
        (resource(), number()).prop_map(|(resource, amount)| Clause::Donates { resource, amount }),
        (fact_name(), range()).prop_map(|(fact, range)| {
            Clause::Version { fact, range: range.parse().expect("a range") }
        }),
        fact_name().prop_map(|fact| Clause::Present { fact }),
        fact_name().prop_map(|fact| Clause::Absent { fact }),
        later().prop_map(|kind| Clause::Unknown { kind }),
    ]
}

/// A word that this version has for nothing.
fn later() -> impl Strategy<Value = String> {
    "later-[a-z]{0,16}"
}

/// At most four deep.
fn clause() -> impl Strategy<Value = Clause> {
    plain_clause().prop_recursive(3, 8, 3, |inner| {
        // What is not understood inside it makes a `not` be not understood.
        let clear = inner.clone().prop_filter("not clear", |clause| !clause.has_unknown());
        prop_oneof![
            vec(inner.clone(), 1..4).prop_map(Clause::All),
            vec(inner, 1..4).prop_map(Clause::Any),
            clear.prop_map(|clause| Clause::Not(Box::new(clause))),
        ]
    })
}

fn preference() -> impl Strategy<Value = Preference> {
    let (weight, scale) = (1..=1_000_u16, 1..=u64::MAX);
    prop_oneof![
        (weight.clone(), clause())
            .prop_map(|(weight, clause)| Preference::Holds { weight, clause }),
        (weight.clone(), fact_name(), scale.clone())
            .prop_map(|(weight, fact, enough)| Preference::More { weight, fact, enough }),
        (weight, fact_name(), scale).prop_map(|(weight, fact, bearable)| Preference::Less {
            weight,
            fact,
            bearable
        }),
        later().prop_map(|kind| Preference::Unknown { kind }),
    ]
}

fn requirements() -> impl Strategy<Value = Requirements> {
    (vec(runtime(), 1..=16), vec(clause(), 0..4), vec(preference(), 0..3))
        .prop_map(|(runtimes, clauses, rank)| Requirements { runtimes, clauses, rank })
        .prop_filter("too many clauses", |requirements| requirements.validate().is_ok())
}

fn job() -> impl Strategy<Value = JobSpec> {
    let variable = "[A-SU-Z_a-z][A-Za-z0-9_]{0,63}";
    let environment = btree_map(variable, "[^\\x00]{0,64}", 0..5);
    let run = ("[^\\x00]{1,32}", vec("[^\\x00]{0,64}", 0..5))
        .prop_map(|(program, arguments)| [vec![program], arguments].concat());
    let steps = btree_map("[a-z0-9._-]{1,64}", run, 1..5);
    let limits =
        (1..=86_400_000_u64, 1..=u64::MAX, 1..=u64::MAX, 1..=16_777_216_u64, 1..=65_536_u32)
            .prop_map(|(wall_ms, memory, disk, output, processes)| Limits {
                wall_ms,
                memory,
                disk,
                output,
                processes,
                fuel: None,
            });
    let pattern = "[a-z]{1,8}(/(\\*\\*|[a-z*?]{1,8}|\\[!?[a-f]\\]|\\{a,[b-d]\\})){0,3}";
    let image = ("[a-z]{1,8}(/[^/\\x00.]{1,8}){0,2}", any::<[u8; 32]>())
        .prop_map(|(path, hash)| (ImageSource::Package(path), hash));
    let repository = (
        "[a-z]{1,4}(\\.[a-z]{1,4}|:[0-9]{1,5})(/[a-z0-9]{1,3}([._-][a-z0-9])?){1,3}",
        any::<[u8; 32]>(),
    )
        .prop_map(|(name, hash)| {
            (ImageSource::Repository(name.parse().expect("a repository")), hash)
        });
    let image = prop_oneof![image, repository]
        .prop_map(|(source, hash)| Image { source, digest: ImageDigest::from_bytes(hash) });
    let checkpoint = option::of((10_000..=86_400_000_u64, 1..=u64::MAX));
    let (artifacts, tap) = (vec(pattern, 0..5), option::of(any::<Index>()));
    (environment, steps, limits, artifacts, tap, checkpoint, option::of(image)).prop_map(
        |(environment, steps, limits, artifacts, tap, checkpoint, image)| {
            let steps = steps.into_iter().map(|(name, run)| Step { name, run });
            let steps: Vec<_> = steps.collect();
            let tap = tap.map(|index: Index| index.get(&steps).name.clone());
            let room = (limits.disk - 1) / 2;
            let checkpoint = checkpoint
                .filter(|_| room > 0)
                .map(|(every_ms, size)| Checkpoint { every_ms, size: size % room + 1 });
            let network = Vec::new();
            JobSpec { environment, steps, limits, artifacts, tap, network, image, checkpoint }
        },
    )
}

pub fn offer() -> impl Strategy<Value = Offer> {
    let names = (text(16), text(16));
    let counts = (1..=100_000_u32, 1..=16_u16);
    let how = (0..=30 * 24 * 60 * 60 * 1_000_u64, 0..=9_u8);
    let package = (any::<[u8; 32]>(), 0..=1_u64 << 30)
        .prop_map(|(bytes, size)| Package { hash: BlobHash::of(&bytes), size });
    (names, counts, package, requirements(), job(), how, time(), time()).prop_map(
        |(
            (name, builder),
            (tasks, replicas),
            package,
            mut requirements,
            job,
            (offline_ms, priority),
            issued,
            expires,
        )| {
            requirements.clauses.extend(job.image.as_ref().and_then(Image::required));
            Offer {
                project: project(),
                name,
                builder,
                tasks,
                replicas,
                package,
                private: None,
                requirements,
                job,
                offline_ms,
                priority,
                issued,
                delegation: delegated(),
                expires,
            }
        },
    )
}

pub fn registration() -> impl Strategy<Value = Registration> {
    let name = text(16).prop_filter("no name", |name| !name.is_empty());
    let homepage = prop_oneof!["", "https?://[a-z]{1,8}\\.example(/[a-z]{0,8})?"];
    let permissions = (vec(runtime(), 1..=8), any::<bool>())
        .prop_map(|(runtimes, network)| Permissions { runtimes, network });
    let depends = btree_set(fact_name(), 0..5).prop_map(|names| -> BTreeSet<FactName> {
        names.into_iter().filter(|name| !name.as_str().starts_with("check.")).collect()
    });
    let command = ("[^\\x00]{1,32}", vec("[^\\x00]{0,32}", 0..5))
        .prop_map(|(program, arguments)| [vec![program], arguments].concat());
    let checks = btree_map("[a-z0-9_-]{1,32}", (any::<Index>(), command, depends), 0..4);
    (name, homepage, vec(text(8), 0..=16), permissions, checks, time()).prop_map(
        |(name, homepage, keywords, permissions, checks, expires)| {
            let checks = those_in(&permissions.runtimes, checks);
            Registration { name, homepage, keywords, permissions, checks, expires }
        },
    )
}

type Checks = BTreeMap<String, (Index, Vec<String>, BTreeSet<FactName>)>;

/// Checks, each in one of `runtimes`.
fn those_in(runtimes: &[Runtime], checks: Checks) -> Vec<Check> {
    let check = |(name, (runtime, command, depends)): (String, (Index, _, BTreeSet<_>))| Check {
        name,
        runtime: runtime.get(runtimes).clone(),
        command,
        depends: depends.into_iter().collect(),
    };
    checks.into_iter().map(check).collect()
}
