//! The ads that this broker knows: those of its own volunteers, which it matches, and those that it
//! has pulled from other brokers to say who could run an offer.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{Ad, Class, ClassCount, Summary};
use capability::{
    Capabilities, Clause, Explanation, MAX_STATEMENT_BYTES, Payload, PublicKey, Requirements,
    Runtime, Timestamp, Verified, encode_cbor, evaluate, explain, satisfies,
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
/// Comparisons for one explanation at most, each some 100 ns: nobody must hold up a broker for longer
/// than some hundredths of a second. All ads there can be, of jobs with few clauses.
const MAX_JUDGEMENTS: usize = 300_000;
/// The same for one count, of which a minute can have a thousand: 5,000 ads of a job with six clauses.
const MAX_COUNT_JUDGEMENTS: usize = 30_000;
/// Bytes of ads in one answer: a frame, less what is wrapped around them.
const MAX_ANSWER_BYTES: usize = 900 << 10;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct AdTable {
    own: BTreeMap<PublicKey, OwnAd>,
    foreign: BTreeMap<PublicKey, Verified<Ad>>,
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

    /// How many own volunteers there are.
    pub(crate) fn len(&self) -> usize {
        self.own.len()
    }

    /// Takes the ad of an own volunteer.
    pub(crate) fn advertise(&mut self, ad: Verified<Ad>) -> Advertised {
        let volunteer = ad.signer();
        match self.own.get(&volunteer) {
            Some(known) if known.ad.id() == ad.id() => Advertised::Known,
            Some(known) if known.ad.seq >= ad.seq => Advertised::Older,
            None if self.own.len() >= MAX_ADS => Advertised::Full,
            _ => {
                self.foreign.remove(&volunteer);
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
        self.own.retain(|_, own| {
            let away = own.gone.is_some_and(|since| since + AD_GRACE <= now.mono);
            own.ad.expires() > now.wall && !away
        });
        self.foreign.retain(|_, ad| ad.expires() > now.wall);
        self.own.len() < before
    }

    /// Takes what `broker` says are ads of its volunteers.
    pub(crate) fn learn(&mut self, broker: PublicKey, ads: Vec<Verified<Ad>>, now: Timestamp) {
        for ad in ads {
            let volunteer = ad.signer();
            let known = self.foreign.get(&volunteer).map(|known| known.seq);
            let room = known.is_some() || self.foreign.len() < MAX_FOREIGN_ADS;
            let newer = known.is_none_or(|seq| ad.seq > seq);
            let ours = self.own.contains_key(&volunteer);
            if ad.broker == broker && ad.current(now).is_ok() && newer && room && !ours {
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

    /// How the machines of the ads stand to `requirements`.
    pub(crate) fn explain(&self, requirements: &Requirements) -> Explanation {
        explain(self.looked_at(requirements, MAX_JUDGEMENTS), requirements)
    }

    /// How many machines satisfy `requirements`, of as many as one count looks at.
    pub(crate) fn matching(&self, requirements: &Requirements) -> u32 {
        let looked_at = self.looked_at(requirements, MAX_COUNT_JUDGEMENTS);
        let fit = looked_at.filter(|machine| satisfies(machine, requirements).is_some());
        u32::try_from(fit.count()).unwrap_or(u32::MAX)
    }

    /// The machines of the ads, our own volunteers' first: as many as can be held against
    /// `requirements` within that many judgements.
    fn looked_at(
        &self,
        requirements: &Requirements,
        judgements: usize,
    ) -> impl Iterator<Item = &Capabilities> {
        let own = self.own.values().map(|own| &own.ad);
        let ads = own.chain(self.foreign.values()).map(|ad| &ad.capabilities);
        ads.take(judgements / judgements_of_one(requirements))
    }
}

/// Comparisons that hold one machine against `requirements`, at least 1.
fn judgements_of_one(requirements: &Requirements) -> usize {
    let each: usize = requirements.clauses.iter().map(judgements).sum();
    (each * requirements.runtimes.len()).max(1)
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

fn shard_of(runtime: &Runtime, capabilities: &Capabilities) -> Option<Shard> {
    match runtime {
        Runtime::Wasm => Some(Shard::wasm()),
        Runtime::Native => Shard::of_platform(&capabilities.platform),
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
    use super::*;

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
