//! The runtimes of one machine.

use std::collections::BTreeMap;
use std::ops::Index;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use super::{Runtime, RuntimeFacts};

/// The ways in which a machine runs jobs, and what a job finds in each: a map.
///
/// Most machines have one or two, so they lie in a row, and two in the machine itself: the nodes of a
/// tree have room for eleven, and a look into a million machines is a wait for memory.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Runtimes(
    /// In the order of runtimes, no two the same.
    SmallVec<[(Runtime, RuntimeFacts); 2]>,
);

impl Runtimes {
    /// What a job finds in `runtime`, if there is one.
    pub fn get(&self, runtime: &Runtime) -> Option<&RuntimeFacts> {
        self.iter().find(|(known, _)| *known == runtime).map(|(_, inside)| inside)
    }

    /// What a job finds in `runtime`, to change it.
    pub fn get_mut(&mut self, runtime: &Runtime) -> Option<&mut RuntimeFacts> {
        self.0.iter_mut().find(|(known, _)| known == runtime).map(|(_, inside)| inside)
    }

    /// Whether there is `runtime`.
    pub fn contains_key(&self, runtime: &Runtime) -> bool {
        self.get(runtime).is_some()
    }

    /// States what a job finds in `runtime`; gives what was stated before.
    pub fn insert(&mut self, runtime: Runtime, inside: RuntimeFacts) -> Option<RuntimeFacts> {
        match self.0.binary_search_by(|(known, _)| known.cmp(&runtime)) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, inside)),
            Err(at) => {
                self.0.insert(at, (runtime, inside));
                None
            }
        }
    }

    /// Takes `runtime` away; gives what was stated of it.
    pub fn remove(&mut self, runtime: &Runtime) -> Option<RuntimeFacts> {
        let at = self.0.iter().position(|(known, _)| known == runtime)?;
        Some(self.0.remove(at).1)
    }

    /// Takes all away that `keep` does not want.
    pub fn retain(&mut self, mut keep: impl FnMut(&Runtime, &mut RuntimeFacts) -> bool) {
        self.0.retain(|(runtime, inside)| keep(runtime, inside));
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// All of them, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&Runtime, &RuntimeFacts)> {
        self.0.iter().map(|(runtime, inside)| (runtime, inside))
    }

    /// The runtimes alone, in their order.
    pub fn keys(&self) -> impl Iterator<Item = &Runtime> {
        self.iter().map(|(runtime, _)| runtime)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Runtime, RuntimeFacts)> for Runtimes {
    /// Of one that comes twice, the latter is kept.
    fn from_iter<I: IntoIterator<Item = (Runtime, RuntimeFacts)>>(runtimes: I) -> Self {
        Self(runtimes.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect())
    }
}

impl<const N: usize> From<[(Runtime, RuntimeFacts); N]> for Runtimes {
    fn from(runtimes: [(Runtime, RuntimeFacts); N]) -> Self {
        runtimes.into_iter().collect()
    }
}

impl Index<&Runtime> for Runtimes {
    type Output = RuntimeFacts;

    /// # Panics
    /// If there is no such runtime.
    fn index(&self, runtime: &Runtime) -> &RuntimeFacts {
        self.get(runtime).expect("a runtime that is there")
    }
}

impl Serialize for Runtimes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Runtimes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(BTreeMap::deserialize(deserializer)?.into_iter().collect())
    }
}
