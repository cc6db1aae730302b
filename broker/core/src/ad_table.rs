//! The ads that this broker knows: those of its own volunteers, which it matches, and those that it
//! has pulled from other brokers to say who could run an offer.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::Duration;

use capability::statements::{Ad, Class, ClassCount, Summary};
use capability::{
    Capabilities, Clause, Explanation, MAX_STATEMENT_BYTES, MachineIndex, Payload, PublicKey,
    Requirements, Runtime, StatementId, Timestamp, Verified, encode_cbor, evaluate,
};
use mesh_core::{Mono, Now, Shard};

/// Ads of own volunteers at most: ten times what one small broker should serve.
pub const MAX_ADS: usize = 20_000;
/// Ads pulled from other brokers at most.
pub const MAX_FOREIGN_ADS: usize = 10_000;
/// A volunteer's ad outlives its connection by this long: home lines are cut and come back.
pub const AD_GRACE: Duration = Duration::from_secs(2 * 60);

/// Classes of fewer machines are merged: a summary should not point at a person.
const MERGED_BELOW: u32 = 5;
/// Bytes of the classes in one summary: a statement, less what is wrapped around them.
const MAX_CLASSES_BYTES: usize = MAX_STATEMENT_BYTES - (1 << 10);
/// Facts and words that the index tells apart at most, each some 600 bytes: several times what honest
/// volunteers have, and less than the ads take.
const MAX_PARTS: usize = 100_000;
/// Comparisons for one explanation at most, each of one value with a block of machines, some 100 ns:
/// nobody must hold up a broker for longer than some hundredths of a second. A job of 20 clauses has
/// some hundred.
const MAX_JUDGEMENTS: usize = 100_000;
/// Values that one explanation looks at one by one at most, each some 200 ns: ten of each machine that a
/// full broker knows.
const MAX_LOOKS: usize = 10 * (MAX_ADS + MAX_FOREIGN_ADS);
/// Judgements for one count, of which each answer to a volunteer has some.
const MAX_COUNT_JUDGEMENTS: usize = 5_000;
/// Bytes of ads in one answer: a frame, less what is wrapped around them.
const MAX_ANSWER_BYTES: usize = 900 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AdTable {
    own: BTreeMap<PublicKey, OwnAd>,
    foreign: BTreeMap<PublicKey, Verified<Ad>>,
    /// The machines of both, to be counted. Those that would be too much for it are left out: what
    /// is counted is advice.
    index: MachineIndex<PublicKey>,
}

#[derive(Debug)]
struct OwnAd {
    ad: Verified<Ad>,
    /// Since when the volunteer has been away.
    gone: Option<Mono>,
}

/// What became of an ad.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Advertised {
    /// It replaces what was known.
    Newer,
    /// It is the one that is known.
    Known,
    /// A newer one is known.
    Older,
    /// There is no room.
    Full,
}

impl AdTable {
    /// The ad of an own volunteer.
    pub(crate) fn own(&self, volunteer: PublicKey) -> Option<&Verified<Ad>> {
        self.own.get(&volunteer).map(|own| &own.ad)
    }

    /// The ads of own volunteers from one on, in the order of keys.
    pub(crate) fn own_from(&self, from: Bound<PublicKey>) -> impl Iterator<Item = &Verified<Ad>> {
        self.own.range((from, Bound::Unbounded)).map(|(_, own)| &own.ad)
    }

    /// How many own volunteers there are.
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    /// Takes the ad of an own volunteer.
    pub(crate) fn advertise(&mut self, ad: Verified<Ad>) -> Advertised {
        let volunteer = ad.signer();
        match self.own.get(&volunteer) {
            Some(known) if known.ad.id() == ad.id() => Advertised::Known,
            Some(known) if newness(&known.ad) > newness(&ad) => Advertised::Older,
            None if self.own.len() >= MAX_ADS => Advertised::Full,
            _ => {
                self.foreign.remove(&volunteer);
                count_in(&mut self.index, &ad);
                self.own.insert(volunteer, OwnAd { ad, gone: None });
                Advertised::Newer
            }
        }
    }

    /// The volunteer is connected again.
    pub(crate) fn came(&mut self, volunteer: PublicKey) {
        self.own.entry(volunteer).and_modify(|own| own.gone = None);
    }

    /// The volunteer is not connected any more.
    pub(crate) fn went(&mut self, volunteer: PublicKey, now: Now) {
        self.own.entry(volunteer).and_modify(|own| own.gone = Some(now.mono));
    }

    /// Forgets ads that have expired, and volunteers that stayed away; says whether any of ours.
    pub(crate) fn expire(&mut self, now: Now) -> bool {
        let before = self.own.len();
        self.own.retain(|volunteer, own| {
            let away = own.gone.is_some_and(|since| since + AD_GRACE <= now.mono);
            let stays = own.ad.expires() > now.wall && !away;
            if !stays {
                self.index.remove(volunteer);
            }
            stays
        });
        self.foreign.retain(|volunteer, ad| {
            let stays = ad.expires() > now.wall;
            if !stays {
                self.index.remove(volunteer);
            }
            stays
        });
        self.own.len() < before
    }

    /// Takes what `broker` says are ads of its volunteers.
    pub(crate) fn learn(&mut self, broker: PublicKey, ads: Vec<Verified<Ad>>, now: Timestamp) {
        for ad in ads {
            let volunteer = ad.signer();
            let known = self.foreign.get(&volunteer);
            let room = known.is_some() || self.foreign.len() < MAX_FOREIGN_ADS;
            let newer = known.is_none_or(|known| newness(&ad) > newness(known));
            let ours = self.own.contains_key(&volunteer);
            if ad.broker == broker && ad.current(now).is_ok() && newer && room && !ours {
                count_in(&mut self.index, &ad);
                self.foreign.insert(volunteer, ad);
            }
        }
    }

    /// The own volunteers' ads of that class or above, as many as fit into an answer.
    pub(crate) fn in_class(&self, class: &Class) -> Vec<Verified<Ad>> {
        let fits = |own: &&OwnAd| {
            Class::of(&own.ad.capabilities).any(|it| {
                it.runtime == class.runtime
                    && it.cores_log2 >= class.cores_log2
                    && it.memory_log2 >= class.memory_log2
            })
        };
        let mut bytes = 0;
        let within = |ad: &Verified<Ad>| {
            bytes += ad.envelope().as_bytes().len();
            bytes <= MAX_ANSWER_BYTES
        };
        self.own.values().filter(fits).map(|own| own.ad.clone()).take_while(within).collect()
    }

    /// The own volunteers, by shard and class.
    ///
    /// Only shards that brokers gossip about, and runtimes that this version knows: whatever other
    /// words a volunteer's ad has, no broker could use them, and they would bloat the summary.
    pub(crate) fn summaries(&self) -> BTreeMap<Shard, Vec<ClassCount>> {
        let mut counts: BTreeMap<Shard, BTreeMap<Class, u32>> = BTreeMap::new();
        for own in self.own.values() {
            let capabilities = &own.ad.capabilities;
            for class in Class::of(capabilities) {
                if let Some(shard) = shard_of(&class.runtime, capabilities) {
                    *counts.entry(shard).or_default().entry(class).or_default() += 1;
                }
            }
        }
        counts.into_iter().map(|(shard, classes)| (shard, merged(classes))).collect()
    }

    /// The ad of `volunteer`, whose ever it is.
    pub(crate) fn of(&self, volunteer: PublicKey) -> Option<&Verified<Ad>> {
        self.own(volunteer).or_else(|| self.foreign.get(&volunteer))
    }

    /// How the machines of the ads stand to `requirements`, unless that takes too long.
    pub(crate) fn explain(&self, requirements: &Requirements) -> Option<Explanation> {
        let within = self.judgements(requirements) <= MAX_JUDGEMENTS
            && self.index.looks(requirements) <= MAX_LOOKS;
        within.then(|| self.index.explain(requirements))
    }

    /// How many machines satisfy `requirements`, unless that takes too long.
    pub(crate) fn matching(&self, requirements: &Requirements) -> Option<u32> {
        let within = self.judgements(requirements) <= MAX_COUNT_JUDGEMENTS;
        let count = within.then(|| self.index.select(requirements, 0, 0).len())?;
        u32::try_from(count).ok()
    }

    /// Comparisons that hold all machines against `requirements` at most.
    fn judgements(&self, requirements: &Requirements) -> usize {
        let each: usize = requirements.clauses.iter().map(judgements).sum();
        each * requirements.distinct_runtimes().count() * self.index.blocks()
    }
}

/// Of two ads of one volunteer the one holds of which this is the larger.
fn newness(ad: &Verified<Ad>) -> (u64, Timestamp, StatementId) {
    (ad.seq, ad.expires(), ad.id())
}

/// Puts the machine of `ad` into `index`, if there is room.
fn count_in(index: &mut MachineIndex<PublicKey>, ad: &Verified<Ad>) {
    index.put(ad.signer(), &ad.capabilities);
    if index.parts() > MAX_PARTS {
        index.remove(&ad.signer());
    }
}

/// Comparisons that `clause` takes, of clauses and of values.
fn judgements(clause: &Clause) -> usize {
    let values = match clause {
        Clause::OneOf { values, .. } => values.len(),
        Clause::Includes { words, .. } => words.len(),
        _ => 1,
    };
    values + clause.inner().iter().map(judgements).sum::<usize>()
}

/// Whether a machine could run a job in `runtime`, and if not, why.
pub(crate) fn fits_in(
    runtime: &Runtime,
    machine: &Capabilities,
    job: &Requirements,
) -> Result<(), String> {
    if !job.runtimes.contains(runtime) {
        return Err(format!("the job does not run in {runtime}"));
    }
    let requirements = Requirements {
        runtimes: vec![runtime.clone()],
        clauses: job.clauses.clone(),
        rank: Vec::new(),
    };
    evaluate(machine, &requirements).map(|_| ()).map_err(|no| no.to_string())
}

/// Where offers in `runtime` for such a machine are gossiped about, if they are at all.
pub(crate) fn shard_of(runtime: &Runtime, capabilities: &Capabilities) -> Option<Shard> {
    match runtime {
        Runtime::Wasm => Some(Shard::wasm()),
        Runtime::Native | Runtime::Container => Shard::of_platform(&capabilities.platform),
        Runtime::Other(_) => None,
    }
}

/// Small classes become one of each runtime, of no magnitude.
fn merged(classes: BTreeMap<Class, u32>) -> Vec<ClassCount> {
    let mut counts: BTreeMap<Class, u32> = BTreeMap::new();
    for (class, count) in classes {
        let small = count < MERGED_BELOW;
        let least = Class { runtime: class.runtime.clone(), cores_log2: 0, memory_log2: 0 };
        *counts.entry(if small { least } else { class }).or_default() += count;
    }
    let mut bytes = 0;
    let fits = |counted: &ClassCount| {
        bytes += encode_cbor(counted).len();
        bytes <= MAX_CLASSES_BYTES
    };
    // Those that are left out are the largest machines of a runtime whose name sorts last.
    let counted = counts.into_iter().map(|(class, count)| ClassCount { class, count });
    counted.take(Summary::MAX_CLASSES).take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use capability::{
        EncryptionKey, Fact, Facts, MAX_CLAUSES, MAX_FACTS, MAX_RUNTIMES, Platform, Resources,
        RuntimeFacts, SecretKey,
    };

    use super::*;

    /// The ad of a machine with `count` facts whose names begin with `name`.
    fn ad(volunteer: u32, name: &str, count: usize) -> Verified<Ad> {
        let mut facts = Facts::new();
        for number in 0..count {
            facts.insert(&format!("{name}.{number}"), true).expect("a sound fact");
        }
        let inside = RuntimeFacts { strength: String::new(), facts };
        let capabilities = Capabilities {
            platform: Platform::current(),
            resources: Resources { cores: 1, memory: 1 << 30, disk: 1 << 30 },
            runtimes: [(Runtime::Wasm, inside)].into(),
        };
        let broker = PublicKey::from_bytes([1; 32]);
        let encryption = EncryptionKey::from_bytes([9; 32]).expect("a sound key");
        let ad = Ad { seq: 1, broker, capabilities, encryption, expires: Timestamp(1) };
        Verified::sign(ad, &SecretKey::from_seed(&seed(volunteer)))
    }

    fn seed(volunteer: u32) -> [u8; 32] {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&volunteer.to_le_bytes());
        seed
    }

    #[test]
    fn machines_that_would_be_too_much_for_the_index_are_kept_but_not_counted() {
        let mut table = AdTable::default();
        let runtimes = vec![Runtime::Wasm];
        let job = Requirements { runtimes, clauses: Vec::new(), rank: Vec::new() };
        let fitting = u32::try_from((MAX_PARTS - 1) / MAX_FACTS).expect("small");
        for volunteer in 0..fitting + 3 {
            let ad = ad(volunteer, &format!("label.{volunteer}"), MAX_FACTS);
            assert_eq!(table.advertise(ad), Advertised::Newer);
        }
        assert_eq!(table.len(), fitting as usize + 3);
        assert_eq!(table.matching(&job), Some(fitting));
        assert!(table.index.parts() <= MAX_PARTS);
        // What others have too is no burden.
        table.advertise(ad(fitting + 3, "label.0", MAX_FACTS));
        assert_eq!(table.matching(&job), Some(fitting + 1));
    }

    #[test]
    fn of_ads_with_one_number_the_same_holds_everywhere() {
        let now = Timestamp(0);
        let (later, other) = (ad(1, "later", 1), ad(1, "other", 1));
        let ad = |it: &Verified<Ad>, expires| {
            let changed = Ad { expires: Timestamp(expires), ..Ad::clone(it) };
            Verified::sign(changed, &SecretKey::from_seed(&seed(1)))
        };
        let (short, [less, more]) = (ad(&later, 1), {
            let mut pair = [ad(&later, 2), ad(&other, 2)];
            pair.sort_by_key(Verified::id);
            pair
        });
        let volunteer = short.signer();
        for order in [[&short, &less, &more], [&more, &less, &short], [&less, &more, &short]] {
            let (mut own, mut foreign) = (AdTable::default(), AdTable::default());
            for ad in order {
                own.advertise(ad.clone());
                foreign.learn(ad.broker, vec![ad.clone()], now);
            }
            assert_eq!(own.of(volunteer), Some(&more));
            assert_eq!(foreign.of(volunteer), Some(&more));
        }
    }

    #[test]
    fn what_looks_at_too_many_values_one_by_one_is_not_explained() {
        let mut table = AdTable::default();
        let count = MAX_LOOKS / (MAX_CLAUSES - 1);
        for volunteer in 0..=u32::try_from(count).expect("small") {
            table.advertise(ad(volunteer, "label", 1));
        }
        let fact = || "label.0".parse().expect("a fact's name");
        let part =
            |number: usize| Clause::Equals { fact: fact(), value: Fact::from(number as u64) };
        let any = |parts: usize| Requirements {
            runtimes: vec![Runtime::Wasm; MAX_RUNTIMES],
            clauses: vec![Clause::Any((0..parts).map(part).collect())],
            rank: Vec::new(),
        };
        // The same runtime again is no second one.
        let explained = table.explain(&any(MAX_CLAUSES - 2)).expect("few enough");
        assert_eq!(explained.obstacles[0].alone, count as u64 + 1);
        assert_eq!(table.explain(&any(MAX_CLAUSES - 1)), None);
        // What has nothing milder is only counted.
        let one_word = Clause::Includes { fact: fact(), words: [String::from("word")].into() };
        let words = Clause::Any(vec![one_word; MAX_CLAUSES - 1]);
        let job = Requirements { clauses: vec![words], ..any(1) };
        assert!(table.explain(&job).is_some());
    }

    #[test]
    fn classes_fit_into_a_statement_however_long_their_words_are() {
        let class = |n| Class {
            runtime: format!("{n:032}").parse().expect("a word"),
            cores_log2: u32::MAX,
            memory_log2: u32::MAX,
        };
        let classes = merged((0..2_000).map(|n| (class(n), u32::MAX)).collect());
        assert!(encode_cbor(&classes).len() <= MAX_CLASSES_BYTES + 3, "with the list's own length");
        assert!(classes.len() > 500);
    }
}
