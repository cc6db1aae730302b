//! The facts that hold in one runtime.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Fact, FactName, FactsError, MAX_FACTS};
use crate::invalid::Invalid;

/// Facts by name, within [`MAX_FACTS`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts(BTreeMap<FactName, Fact>);

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
        self.0.get(name)
    }

    /// All facts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&FactName, &Fact)> {
        self.0.iter()
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert_named(&mut self, name: FactName, fact: Fact) -> Result<(), FactsError> {
        fact.check(&name)?;
        let full = self.0.len() >= MAX_FACTS;
        match self.0.entry(name) {
            Entry::Occupied(mut known) => {
                known.insert(fact);
            }
            Entry::Vacant(_) if full => return Err(FactsError::TooMany),
            Entry::Vacant(free) => {
                free.insert(fact);
            }
        }
        Ok(())
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
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
            if facts.0.contains_key(&name) {
                return Err(A::Error::custom(format_args!("fact {name} is stated twice")));
            }
            facts
                .insert_named(name, fact)
                .map_err(|error| A::Error::custom(Invalid::from(error)))?;
        }
        Ok(facts)
    }
}
