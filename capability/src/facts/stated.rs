//! The facts that hold in one runtime.

use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fact, FactName, FactsError, MAX_FACTS};
use crate::invalid::Invalid;
use crate::version::has_short_numbers;

/// Facts by name, within [`MAX_FACTS`].
///
/// Whoever looks into many machines waits for memory and for nothing else. So all facts lie in one
/// row, of which a look-up reads one place, and none if nothing like the fact is stated: each name has
/// one of 128 slots, a bit says which slots are taken, and the number of lower bits is the place.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts {
    /// Bit `slot(name)` is set for the name of each fact.
    taken: u128,
    /// First, in the order of slots, the least name of each slot; then all others by name.
    stated: Vec<(FactName, Fact)>,
}

/// Where a fact is.
enum Place {
    Known(usize),
    /// It is not there, and would come here as the first of its slot.
    Free(usize),
    /// It is not there, but another one here that has the same slot.
    Shared(usize),
}

impl Facts {
    /// No facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// States that `name` is `fact`, in place of what it was before.
    ///
    /// # Errors
    /// If the name or the text breaks a limit, or there are [`MAX_FACTS`] already.
    pub fn insert(&mut self, name: &str, fact: impl Into<Fact>) -> Result<(), FactsError> {
        self.insert_named(name.parse()?, fact.into())
    }

    /// The fact `name`, if this machine states it.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        match self.place(name) {
            Place::Known(at) => Some(&self.stated[at].1),
            _ => None,
        }
    }

    /// All facts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&FactName, &Fact)> {
        let mut stated: Vec<_> = self.stated.iter().map(|(name, fact)| (name, fact)).collect();
        stated.sort_unstable_by_key(|(name, _)| *name);
        stated.into_iter()
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        self.stated.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.stated.is_empty()
    }

    fn place(&self, name: &str) -> Place {
        let slot = slot(name);
        let first = (self.taken & (slot - 1)).count_ones() as usize;
        if self.taken & slot == 0 {
            return Place::Free(first);
        }
        if self.stated[first].0.as_str() == name {
            return Place::Known(first);
        }
        let slots = self.taken.count_ones() as usize;
        let others = &self.stated[slots..];
        match others.binary_search_by(|(known, _)| known.as_str().cmp(name)) {
            Ok(at) => Place::Known(slots + at),
            Err(_) => Place::Shared(first),
        }
    }

    fn insert_named(&mut self, name: FactName, fact: Fact) -> Result<(), FactsError> {
        fact.check(&name)?;
        if let Fact::Text(text) = &fact
            && name.is_version()
            && !has_short_numbers(text)
        {
            return Err(FactsError::Digits(name));
        }
        let place = self.place(name.as_str());
        if self.stated.len() >= MAX_FACTS && !matches!(place, Place::Known(_)) {
            return Err(FactsError::TooMany);
        }
        match place {
            Place::Known(at) => self.stated[at].1 = fact,
            Place::Free(at) => {
                self.taken |= slot(name.as_str());
                self.stated.insert(at, (name, fact));
            }
            Place::Shared(first) => {
                let mut greater = (name, fact);
                if greater.0 < self.stated[first].0 {
                    std::mem::swap(&mut greater, &mut self.stated[first]);
                }
                let slots = self.taken.count_ones() as usize;
                let at = self.stated[slots..].partition_point(|(known, _)| *known < greater.0);
                self.stated.insert(slots + at, greater);
            }
        }
        Ok(())
    }
}

/// The one bit that stands for `name`: by its first eight bytes and its last, which tell most names
/// apart.
fn slot(name: &str) -> u128 {
    // An odd number with its bits well spread: 2^64 divided by the golden ratio.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    let name = name.as_bytes();
    let ends = match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => {
            u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
        }
        _ => name.iter().fold(0, |word, byte| word << 8 | u64::from(*byte)),
    };
    1 << (ends.wrapping_mul(SPREAD) >> 57)
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FactsVisitor)
    }
}

struct FactsVisitor;

impl<'de> Visitor<'de> for FactsVisitor {
    type Value = Facts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {MAX_FACTS} facts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts, A::Error> {
        let mut facts = Facts::new();
        while let Some((name, fact)) = map.next_entry::<FactName, Fact>()? {
            if facts.get(name.as_str()).is_some() {
                return Err(A::Error::custom(format_args!("fact {name} is stated twice")));
            }
            facts
                .insert_named(name, fact)
                .map_err(|error| A::Error::custom(Invalid::from(error)))?;
        }
        facts.stated.shrink_to_fit();
        Ok(facts)
    }
}
