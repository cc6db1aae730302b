//! Who has sent wrong bytes of blobs.
//!
//! Whoever serves or brings a blob holds its copy against the hash before, so that no honest peer sends a wrong byte
//! but by a fault of its memory. A peer that does gets no gossip but what its mesh brings at the first time, no
//! publications at the second, and is not connected to for a while at the third.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::PeerId;

/// Times, each within [`REMEMBERED`] of the one before, after which a peer is shunned.
const SHUNNED_AFTER: u32 = 3;
/// How long it is shunned.
const SHUNNED_FOR: Duration = Duration::from_secs(10 * 60);
/// After so long without a wrong byte all is forgotten.
const REMEMBERED: Duration = Duration::from_secs(60 * 60);
/// What each time takes from a peer's score, which is of no weight above −10 and the worst below −80.
const POINTS: f64 = 30.0;
/// Peers remembered at most; the one whose last fault is the oldest gives way.
const MAX_PEERS: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Blame(HashMap<PeerId, Record>);

#[derive(Debug, Clone, Copy)]
struct Record {
    times: u32,
    last: Instant,
}

impl Record {
    fn counts(&self, now: Instant) -> bool {
        now < self.last + REMEMBERED
    }
}

impl Blame {
    /// `peer` has sent a wrong byte; gives its part of the peer's score.
    pub(crate) fn add(&mut self, peer: PeerId, now: Instant) -> f64 {
        if self.0.len() >= MAX_PEERS && !self.0.contains_key(&peer) {
            let oldest = self.0.iter().min_by_key(|(_, record)| record.last).map(|(peer, _)| *peer);
            oldest.and_then(|oldest| self.0.remove(&oldest));
        }
        let before = self.0.get(&peer).filter(|record| record.counts(now));
        let times = before.map_or(0, |record| record.times).saturating_add(1);
        self.0.insert(peer, Record { times, last: now });
        -POINTS * f64::from(times)
    }

    /// Whether the last fault of `peer` has just been forgotten: it is not held against its score any more.
    pub(crate) fn forgives(&mut self, peer: &PeerId, now: Instant) -> bool {
        let over = self.0.get(peer).is_some_and(|record| !record.counts(now));
        over && self.0.remove(peer).is_some()
    }

    /// Whether there is to be no connection to `peer` now.
    pub(crate) fn shuns(&self, peer: &PeerId, now: Instant) -> bool {
        let record = self.0.get(peer).filter(|record| record.times >= SHUNNED_AFTER);
        record.is_some_and(|record| now < record.last + SHUNNED_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_costs_points_the_third_the_connection_and_all_is_forgotten() {
        let (mut blame, peer, start) = (Blame::default(), PeerId::random(), Instant::now());
        assert!(blame.add(peer, start) < -10.0);
        let again = blame.add(peer, start);
        assert!(again < -50.0 && !blame.shuns(&peer, start));
        assert!(blame.add(peer, start) < -80.0 && blame.shuns(&peer, start));
        assert!(!blame.shuns(&PeerId::random(), start));
        assert!(!blame.shuns(&peer, start + SHUNNED_FOR));
        assert!(!blame.forgives(&peer, start + REMEMBERED / 2));
        assert!(
            blame.forgives(&peer, start + REMEMBERED) && !blame.forgives(&peer, start + REMEMBERED)
        );
        assert_eq!(blame.add(peer, start + REMEMBERED), -POINTS);
    }

    #[test]
    fn so_many_are_remembered_and_the_oldest_gives_way() {
        let (mut blame, start) = (Blame::default(), Instant::now());
        let first = PeerId::random();
        for times in 0..SHUNNED_AFTER {
            blame.add(first, start + Duration::from_millis(times.into()));
        }
        for n in 0..MAX_PEERS {
            assert_eq!(blame.shuns(&first, start), n < MAX_PEERS);
            blame.add(PeerId::random(), start + Duration::from_secs(1));
        }
        assert!(!blame.shuns(&first, start));
        assert_eq!(blame.0.len(), MAX_PEERS);
    }
}
