//! How many incoming blob streams there may be, in all and from one peer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::PeerKey;

/// In all. Each that moves occupies a blocking thread, of which tokio has 512.
const MAX_TOTAL: usize = 128;

/// From one peer: twice what our own side opens, because the ends of a transfer do not notice its end together.
const MAX_PER_PEER: usize = 8;

/// The places that are taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Slots(Arc<Mutex<BTreeMap<PeerKey, usize>>>);

/// A place, given back on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    slots: Slots,
    peer: PeerKey,
}

impl Slots {
    pub(crate) fn take(&self, peer: PeerKey) -> Option<Slot> {
        let mut taken = self.lock();
        let total: usize = taken.values().sum();
        let own = taken.get(&peer).copied().unwrap_or(0);
        if total >= MAX_TOTAL || own >= MAX_PER_PEER {
            return None;
        }
        taken.insert(peer, own + 1);
        Some(Slot { slots: self.clone(), peer })
    }

    /// The counts are right after every statement, so a panic elsewhere does not spoil them.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<PeerKey, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let slots = Slots::default();
        let greedy = PeerKey([1; 32]);
        let held: Vec<_> = std::iter::from_fn(|| slots.take(greedy)).collect();
        assert_eq!(held.len(), MAX_PER_PEER);
        assert!(slots.take(PeerKey([2; 32])).is_some());
        drop(held);
        assert!(slots.take(greedy).is_some());
    }

    #[test]
    fn all_places_together_are_bounded() {
        let slots = Slots::default();
        let held: Vec<_> = (0..=255).filter_map(|peer| slots.take(PeerKey([peer; 32]))).collect();
        assert_eq!(held.len(), MAX_TOTAL);
        drop(held);
        assert!(slots.lock().is_empty());
    }
}
