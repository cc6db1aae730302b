//! Answers that are on their way: a peer that asks and does not read must not fill our memory.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use crate::PeerKey;
use crate::frame::MAX_FRAME_BYTES;

/// Bytes of answers on their way to one peer: four of the longest, and to all.
const MAX_BYTES_A_PEER: usize = 4 * MAX_FRAME_BYTES;
const MAX_BYTES: usize = 256 * MAX_FRAME_BYTES;

/// Answers by the requests that they answer.
#[derive(Debug)]
pub(crate) struct Unread<K> {
    answers: HashMap<K, (PeerKey, usize)>,
    by_peer: BTreeMap<PeerKey, usize>,
    bytes: usize,
}

impl<K> Default for Unread<K> {
    fn default() -> Self {
        Self { answers: HashMap::new(), by_peer: BTreeMap::new(), bytes: 0 }
    }
}

impl<K: Eq + Hash> Unread<K> {
    /// An answer of so many bytes is to be sent to `peer`; says whether there is room for it.
    pub(crate) fn begin(&mut self, request: K, peer: PeerKey, bytes: usize) -> bool {
        let to_peer = self.by_peer.get(&peer).copied().unwrap_or_default();
        if to_peer + bytes > MAX_BYTES_A_PEER || self.bytes + bytes > MAX_BYTES {
            return false;
        }
        self.by_peer.insert(peer, to_peer + bytes);
        self.bytes += bytes;
        self.answers.insert(request, (peer, bytes));
        true
    }

    /// The answer is out, or will never be.
    pub(crate) fn over(&mut self, request: &K) {
        let Some((peer, bytes)) = self.answers.remove(request) else { return };
        self.bytes -= bytes;
        if let Some(to_peer) = self.by_peer.get_mut(&peer) {
            *to_peer -= bytes;
            if *to_peer == 0 {
                self.by_peer.remove(&peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_its_share_and_all_have_theirs() {
        let mut unread = Unread::default();
        let peer = |n: u16| {
            let mut key = [0; 32];
            key[..2].copy_from_slice(&n.to_le_bytes());
            PeerKey(key)
        };
        assert!((0..4).all(|request| unread.begin((1, request), peer(1), MAX_FRAME_BYTES)));
        assert!(!unread.begin((1, 4), peer(1), 1), "its share is taken");
        unread.over(&(1, 0));
        assert!(unread.begin((1, 4), peer(1), MAX_FRAME_BYTES));

        let others = (2..100).filter(|other| {
            (0..4).all(|request| unread.begin((*other, request), peer(*other), MAX_FRAME_BYTES))
        });
        assert_eq!(others.count(), 63, "256 MiB in all");
        for (who, request) in unread.answers.keys().copied().collect::<Vec<_>>() {
            unread.over(&(who, request));
        }
        unread.over(&(1, 77));
        assert!(unread.by_peer.is_empty() && unread.bytes == 0);
    }
}
