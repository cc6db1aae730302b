//! Offers, so that those that one machine satisfies are found.
//!
//! Offers ask for the same things over and over: each clause is kept once for each runtime, with
//! the offers that have it. A machine is held against each clause once, and what fails rules out
//! all its offers. Clauses that many have come first: who is ruled out is not judged again. A clause that no other offer has costs what it costs the plain evaluator.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::cbor;
use crate::facts::{Capabilities, Runtime};
use crate::matching::satisfies;
use crate::requirements::{Clause, Requirements};

/// Every offer with what it needs, to answer which of them a machine can run.
///
/// ```
/// use capability::{Capabilities, OfferIndex, Platform, Requirements, Resources, Runtime};
/// use capability::RuntimeFacts;
///
/// let job = Requirements { runtimes: vec![Runtime::Wasm], clauses: vec![], rank: vec![] };
/// let mut index = OfferIndex::new();
/// index.put(7, &job);
///
/// let machine = Capabilities {
///     platform: Platform::current(),
///     resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
///     runtimes: [(Runtime::Wasm, RuntimeFacts::default())].into(),
/// };
/// assert_eq!(index.select(&machine), [(&7, &Runtime::Wasm)]);
/// ```
#[derive(Debug)]
pub struct OfferIndex<K> {
    numbers: BTreeMap<K, Number>,
    offers: Vec<Option<Offer<K>>>,
    free: Vec<Number>,
    tables: BTreeMap<Runtime, Table>,
}

/// Offers from which on a clause is judged first: the rest are then mostly ruled out already.
const COMMON: usize = 8;

/// An offer by number.
type Number = u32;

#[derive(Debug)]
struct Offer<K> {
    id: K,
    runtimes: Vec<Runtime>,
    /// Its clauses, encoded.
    clauses: Vec<Vec<u8>>,
}

/// The offers that would do with one runtime.
#[derive(Debug, Default)]
struct Table {
    /// Ascending.
    offers: Vec<Number>,
    /// By the clause's encoding.
    clauses: BTreeMap<Vec<u8>, Shared>,
}

/// A clause, and who has it.
#[derive(Debug)]
struct Shared {
    /// The clause and the runtime, alone.
    need: Requirements,
    /// Ascending.
    offers: Vec<Number>,
}

impl<K: Ord + Clone> OfferIndex<K> {
    /// No offers.
    pub fn new() -> Self {
        Self {
            numbers: BTreeMap::new(),
            offers: Vec::new(),
            free: Vec::new(),
            tables: BTreeMap::new(),
        }
    }

    /// How many offers there are.
    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.numbers.is_empty()
    }

    /// States what offer `id` needs, in place of what it needed before.
    pub fn put(&mut self, id: K, needs: &Requirements) {
        self.remove(&id);
        let number = self.free.pop().unwrap_or_else(|| {
            self.offers.push(None);
            Number::try_from(self.offers.len() - 1).expect("offers fit into memory")
        });
        let clauses: Vec<_> = needs.clauses.iter().map(cbor::encode).collect();
        for runtime in &needs.runtimes {
            let table = self.tables.entry(runtime.clone()).or_default();
            add(&mut table.offers, number);
            for (clause, key) in needs.clauses.iter().zip(&clauses) {
                let shared = table.clauses.entry(key.clone());
                add(&mut shared.or_insert_with(|| Shared::new(runtime, clause)).offers, number);
            }
        }
        let runtimes = needs.runtimes.clone();
        self.offers[number as usize] = Some(Offer { id: id.clone(), runtimes, clauses });
        self.numbers.insert(id, number);
    }

    /// Forgets offer `id`; whether it was there.
    pub fn remove(&mut self, id: &K) -> bool {
        let Some(number) = self.numbers.remove(id) else { return false };
        let offer = self.offers[number as usize].take().expect("an offer with a number is kept");
        for runtime in offer.runtimes {
            // A runtime may be named twice.
            let Entry::Occupied(mut table) = self.tables.entry(runtime) else { continue };
            take(&mut table.get_mut().offers, number);
            for key in &offer.clauses {
                if let Some(shared) = table.get_mut().clauses.get_mut(key) {
                    take(&mut shared.offers, number);
                    if shared.offers.is_empty() {
                        table.get_mut().clauses.remove(key);
                    }
                }
            }
            if table.get().offers.is_empty() {
                table.remove();
            }
        }
        self.free.push(number);
        true
    }

    /// The offers that `machine` satisfies, each with the first of its runtimes in which it does:
    /// what [`crate::satisfies`] says of each.
    pub fn select(&self, machine: &Capabilities) -> Vec<(&K, &Runtime)> {
        // By offer, the place of the runtime among those that the offer names.
        let mut chosen: BTreeMap<Number, usize> = BTreeMap::new();
        for runtime in machine.runtimes.keys() {
            let Some(table) = self.tables.get(runtime) else { continue };
            for number in table.satisfied(machine, self.offers.len()) {
                let place = self.offer(number).runtimes.iter().position(|it| it == runtime);
                let place = place.expect("it is in the tables of its runtimes");
                let known = chosen.entry(number).or_insert(place);
                *known = place.min(*known);
            }
        }
        let found = chosen.into_iter().map(|(number, place)| {
            let Offer { id, runtimes, .. } = self.offer(number);
            (id, &runtimes[place])
        });
        found.collect()
    }

    fn offer(&self, number: Number) -> &Offer<K> {
        self.offers[number as usize].as_ref().expect("an offer with a number is kept")
    }
}

impl<K: Ord + Clone> Default for OfferIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl Table {
    /// The offers all whose clauses hold; numbers are below `end`.
    fn satisfied(&self, machine: &Capabilities, end: usize) -> impl Iterator<Item = Number> {
        let mut failing = vec![false; end];
        let (common, rare): (Vec<_>, Vec<_>) =
            self.clauses.values().partition(|shared| shared.offers.len() >= COMMON);
        for Shared { need, offers } in common.into_iter().chain(rare) {
            let is_open = offers.iter().any(|number| !failing[*number as usize]);
            if is_open && satisfies(machine, need).is_none() {
                offers.iter().for_each(|number| failing[*number as usize] = true);
            }
        }
        self.offers.iter().copied().filter(move |number| !failing[*number as usize])
    }
}

impl Shared {
    fn new(runtime: &Runtime, clause: &Clause) -> Self {
        let (runtimes, clauses) = (vec![runtime.clone()], vec![clause.clone()]);
        Self { need: Requirements { runtimes, clauses, rank: Vec::new() }, offers: Vec::new() }
    }
}

fn add(numbers: &mut Vec<Number>, number: Number) {
    if let Err(place) = numbers.binary_search(&number) {
        numbers.insert(place, number);
    }
}

fn take(numbers: &mut Vec<Number>, number: Number) {
    if let Ok(place) = numbers.binary_search(&number) {
        numbers.remove(place);
    }
}
