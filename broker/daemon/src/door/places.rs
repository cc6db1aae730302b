//! How much there may be of something at a time, in all and of one.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The places that are taken; clones share them.
#[derive(Debug)]
pub(super) struct Places<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
    in_all: usize,
    of_one: usize,
}

/// A place, given back on drop.
#[derive(Debug)]
pub(super) struct Place<K: Ord> {
    taken: Arc<Mutex<BTreeMap<K, usize>>>,
    key: K,
}

impl<K: Ord + Copy> Places<K> {
    /// `in_all` places, of which one may take `of_one`.
    pub(super) fn new(in_all: usize, of_one: usize) -> Self {
        Self { taken: Arc::default(), in_all, of_one }
    }

    /// A place for `key`, if there is one.
    pub(super) fn take(&self, key: K) -> Option<Place<K>> {
        let mut taken = lock(&self.taken);
        let in_all: usize = taken.values().sum();
        let own = taken.get(&key).copied().unwrap_or(0);
        if in_all >= self.in_all || own >= self.of_one {
            return None;
        }
        taken.insert(key, own + 1);
        Some(Place { taken: Arc::clone(&self.taken), key })
    }
}

impl<K: Ord> Drop for Place<K> {
    fn drop(&mut self) {
        let mut taken = lock(&self.taken);
        match taken.get_mut(&self.key) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.key);
            }
        }
    }
}

/// The counts are right after every statement, so a panic elsewhere does not spoil them.
fn lock<K>(taken: &Mutex<BTreeMap<K, usize>>) -> MutexGuard<'_, BTreeMap<K, usize>> {
    taken.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cannot_take_all_places_and_each_comes_back() {
        let places = Places::new(5, 3);
        let mut held: Vec<_> = std::iter::from_fn(|| places.take('a')).collect();
        assert_eq!(held.len(), 3);
        held.extend(std::iter::from_fn(|| places.take('b')));
        assert_eq!(held.len(), 5, "in all");
        assert!(places.take('c').is_none());
        held.clear();
        assert!(places.take('c').is_some());
        assert!(lock(&places.taken).is_empty());
    }
}
