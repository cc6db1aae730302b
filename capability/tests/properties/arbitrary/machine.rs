//! What volunteers and brokers say of themselves.

use capability::statements::{Ad, BrokerCard, Class, ClassCount, Summary};
use capability::{Capabilities, Fact, FactName, Facts, Platform, Resources, Runtime, RuntimeFacts};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;

use super::{encryption_key, key, number, text, time};

pub fn fact_name() -> impl Strategy<Value = FactName> {
    "[a-z0-9._+-]{1,64}".prop_map(|name| name.parse().expect("a name"))
}

pub fn set_word() -> impl Strategy<Value = String> {
    "[a-z0-9._-]{1,32}"
}

pub fn runtime() -> impl Strategy<Value = Runtime> {
    prop_oneof!["native", "wasm", "[a-z0-9_-]{1,32}"].prop_map(|name| name.parse().expect("a word"))
}

/// A value that this version understands.
pub fn known_fact() -> impl Strategy<Value = Fact> {
    prop_oneof![
        text(64).prop_map(Fact::from),
        number().prop_map(Fact::Number),
        any::<bool>().prop_map(Fact::Flag),
        btree_set(set_word(), 0..20).prop_map(Fact::Set),
    ]
}

fn facts() -> impl Strategy<Value = Facts> {
    let fact = prop_oneof![9 => known_fact(), 1 => Just(Fact::Unknown)];
    btree_map(fact_name(), fact, 0..30).prop_map(|stated| {
        let mut facts = Facts::new();
        for (name, fact) in stated {
            facts.insert(name.as_str(), fact).expect("a sound fact");
        }
        facts
    })
}

pub fn platform() -> impl Strategy<Value = Platform> {
    let word = "[a-z0-9_]{1,32}";
    (word, word).prop_map(|(os, arch)| Platform::new(&os, &arch).expect("two words"))
}

fn machine() -> impl Strategy<Value = Capabilities> {
    let inside = (text(16), facts()).prop_map(|(strength, facts)| RuntimeFacts { strength, facts });
    let resources = (any::<u32>(), number(), number())
        .prop_map(|(cores, memory, disk)| Resources { cores, memory, disk });
    (platform(), resources, btree_map(runtime(), inside, 0..4)).prop_map(
        |(platform, resources, runtimes)| Capabilities {
            platform,
            resources,
            runtimes: runtimes.into_iter().collect(),
        },
    )
}

pub fn ad() -> impl Strategy<Value = Ad> {
    (number(), key(), machine(), encryption_key(), time()).prop_map(
        |(seq, broker, capabilities, encryption, expires)| Ad {
            seq,
            broker,
            capabilities,
            encryption,
            expires,
        },
    )
}

pub fn summary() -> impl Strategy<Value = Summary> {
    let class = (runtime(), any::<u32>(), any::<u32>())
        .prop_map(|(runtime, cores_log2, memory_log2)| Class { runtime, cores_log2, memory_log2 });
    let counted = (class, any::<u32>()).prop_map(|(class, count)| ClassCount { class, count });
    (number(), text(16), vec(counted, 0..40), time())
        .prop_map(|(seq, shard, classes, expires)| Summary { seq, shard, classes, expires })
}

pub fn broker_card() -> impl Strategy<Value = BrokerCard> {
    (number(), vec(text(64), 0..=8), vec(key(), 0..64), time())
        .prop_map(|(seq, addresses, links, expires)| BrokerCard { seq, addresses, links, expires })
}
