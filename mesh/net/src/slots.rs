//! How many streams of one kind there may be, in all and with one peer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::PeerKey;

/// The places that are taken.
#[derive(Debug, Clone)]
pub(crate) struct Slots {
    taken: Arc<Mutex<BTreeMap<PeerKey, usize>>>,
    in_all: usize,
    a_peer: usize,
}

/// A place, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    peer: PeerKey,
}

impl Slots {
    /// So many places `in_all`, and with `a_peer`.
    pub(crate) fn new(in_all: usize, a_peer: usize) -> Self {
        Self { taken: Arc::default(), in_all, a_peer }
    }

    pub(crate) fn take(&self, peer: PeerKey) -> Option<Slot> {
        let mut taken = self.lock();
        let total: usize = taken.values().sum();
        let own = taken.get(&peer).copied().unwrap_or(0);
        if total >= self.in_all || own >= self.a_peer {
            return None;
        }
        taken.insert(peer, own + 1);
        Some(Slot { slots: self.clone(), peer })
    }

    /// The counts are right after every statement, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerKey, usize>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.slots.lock();
        match taken.get_mut(&self.peer) {
            Some(own) if *own > 1 => *own -= 1,
            _ => {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_peer_cannot_take_all_places_and_gets_its_own_back() {
        let slots = Slots::new(128, 8);
        let greedy = PeerKey([1; 32]);
        let held: Vec<_> = std::iter::from_fn(|| slots.take(greedy)).collect();
        assert_eq!(held.len(), 8);
        assert!(slots.take(PeerKey([2; 32])).is_some());
        drop(held);
        assert!(slots.take(greedy).is_some());
    }

    #[test]
    fn all_places_together_are_bounded() {
        let slots = Slots::new(128, 8);
        let held: Vec<_> = (0..=255).filter_map(|peer| slots.take(PeerKey([peer; 32]))).collect();
        assert_eq!(held.len(), 128);
        drop(held);
        assert!(slots.lock().is_empty());
    }
}
