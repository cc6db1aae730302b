//! How much this node begins at a time with each peer; more waits, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::{PeerKey, Protocol};

/// Blob transfers to one peer and in all.
const MAX_BLOBS_PER_PEER: usize = 4;
const MAX_BLOBS: usize = 64;

/// The turns at everything that is bounded so.
#[derive(Debug)]
pub(crate) struct Turns {
    blobs: PerKey<PeerKey>,
    all_blobs: Arc<Semaphore>,
    requests: PerKey<(PeerKey, Protocol)>,
}

/// The right to one blob transfer, given back on drop.
#[derive(Debug)]
pub(crate) struct BlobTurn {
    _peer: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Turns {
    pub(crate) fn new() -> Self {
        Self {
            blobs: PerKey::default(),
            all_blobs: Arc::new(Semaphore::new(MAX_BLOBS)),
            requests: PerKey::default(),
        }
    }

    /// Waits for a turn with `peer`, and only then for one in all, so that a slow peer holds up nobody else.
    pub(crate) async fn blob(&self, peer: PeerKey) -> BlobTurn {
        let peer = self.blobs.take(peer, MAX_BLOBS_PER_PEER).await;
        BlobTurn { _peer: peer, _all: acquire(Arc::clone(&self.all_blobs)).await }
    }

    /// Waits for a request to `peer` to be due.
    ///
    /// Half of the streams that a connection carries are for each direction, so well-mannered peers never find it full.
    pub(crate) async fn request(&self, peer: PeerKey, protocol: Protocol) -> OwnedSemaphorePermit {
        self.requests.take((peer, protocol), protocol.max_streams() / 2).await
    }
}

/// A semaphore for each key that is in use.
#[derive(Debug)]
struct PerKey<K>(Mutex<BTreeMap<K, Arc<Semaphore>>>);

impl<K> Default for PerKey<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Ord> PerKey<K> {
    async fn take(&self, key: K, limit: usize) -> OwnedSemaphorePermit {
        let turns = self.of(key, limit);
        acquire(turns).await
    }

    fn of(&self, key: K, limit: usize) -> Arc<Semaphore> {
        let mut keys = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever holds or awaits a permit holds its semaphore.
        keys.retain(|_, turns| Arc::strong_count(turns) > 1);
        let turns = keys.entry(key).or_insert_with(|| Arc::new(Semaphore::new(limit)));
        Arc::clone(turns)
    }
}

async fn acquire(semaphore: Arc<Semaphore>) -> OwnedSemaphorePermit {
    semaphore.acquire_owned().await.expect("the semaphores of turns are never closed")
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn a_peer_whose_turns_are_taken_holds_up_nobody_else() {
        let turns = Turns::new();
        let (slow, other) = (PeerKey([1; 32]), PeerKey([2; 32]));
        let held: Vec<_> = std::iter::from_fn(|| turns.blob(slow).now_or_never()).collect();
        assert_eq!(held.len(), MAX_BLOBS_PER_PEER);
        assert!(turns.blob(other).now_or_never().is_some());
        drop(held);
        assert!(turns.blob(slow).now_or_never().is_some());
    }

    #[test]
    fn peers_that_are_done_with_are_forgotten() {
        let turns = Turns::new();
        for peer in 0..=255 {
            drop(turns.request(PeerKey([peer; 32]), Protocol::Call).now_or_never());
        }
        assert_eq!(turns.requests.0.lock().expect("no panic").len(), 1);
    }
}
