//! Which peers are here, and by which way: over the mesh, through the door, or by both.
//!
//! The mesh says when a connection ends. A visitor has none, so it is here until it has been silent
//! for [`SILENCE`]; one that pulls or collects asks at least every 25 s.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker_core::{Direction, Input};
use capability::PublicKey;
use mesh_core::Mono;
use thiserror::Error;

use crate::door::Origin;

/// Twice the longest wait for an answer, and some to spare for a slow line.
pub const SILENCE: Duration = Duration::from_secs(60);

/// Visitors at a time in all, as many as there can be connections, and of one origin: anybody can
/// make keys.
const MAX_VISITORS: usize = 4096;
const MAX_VISITORS_AN_ORIGIN: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub struct Presence {
    connected: BTreeSet<PublicKey>,
    visitors: BTreeMap<PublicKey, Visit>,
    /// How many of them each origin has.
    origins: BTreeMap<Origin, usize>,
}

#[derive(Debug)]
struct Visit {
    /// The first: who comes from elsewhere meanwhile is still one visitor.
    origin: Origin,
    seen: Mono,
}

/// There are too many visitors, in all or from there.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("too many visitors")]
pub struct Crowded;

impl Presence {
    /// `peer` is connected over the mesh, which goes before the door.
    pub fn connected(&mut self, peer: PublicKey, direction: Direction) -> Input {
        self.connected.insert(peer);
        Input::PeerUp { peer, direction }
    }

    /// `peer` is not connected any more. One that visits too has gone, and come by the door.
    pub fn disconnected(&mut self, peer: PublicKey) -> Vec<Input> {
        self.connected.remove(&peer);
        let visits = self.visitors.contains_key(&peer);
        let came = visits.then_some(Input::PeerUp { peer, direction: Direction::Door });
        std::iter::once(Input::PeerDown { peer }).chain(came).collect()
    }

    /// `peer` has made a request from `origin`; that may be news for the core.
    pub fn visited(
        &mut self,
        peer: PublicKey,
        origin: Origin,
        now: Mono,
    ) -> Result<Option<Input>, Crowded> {
        if let Some(visit) = self.visitors.get_mut(&peer) {
            visit.seen = now;
            return Ok(None);
        }
        let of_origin = self.origins.get(&origin).copied().unwrap_or(0);
        if self.visitors.len() >= MAX_VISITORS || of_origin >= MAX_VISITORS_AN_ORIGIN {
            return Err(Crowded);
        }
        self.origins.insert(origin, of_origin + 1);
        self.visitors.insert(peer, Visit { origin, seen: now });
        let news = !self.connected.contains(&peer);
        Ok(news.then_some(Input::PeerUp { peer, direction: Direction::Door }))
    }

    /// The visitors that have gone, being silent for too long; none of them is here any more.
    pub fn gone(&mut self, now: Mono) -> Vec<PublicKey> {
        let silent = self.visitors.extract_if(.., |_, visit| visit.seen + SILENCE <= now);
        let silent: Vec<_> = silent.collect();
        for (_, Visit { origin, .. }) in &silent {
            if let Some(count) = self.origins.get_mut(origin).filter(|count| **count > 1) {
                *count -= 1;
            } else {
                self.origins.remove(origin);
            }
        }
        silent.into_iter().map(|(peer, _)| peer).collect()
    }

    /// Whether `peer` can be asked.
    pub fn is_connected(&self, peer: PublicKey) -> bool {
        self.connected.contains(&peer)
    }

    /// How many visitors there are.
    pub fn visitors(&self) -> usize {
        self.visitors.len()
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const START: Mono = Mono(Duration::ZERO);

    fn peer(n: u16) -> PublicKey {
        let mut bytes = [9; 32];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        PublicKey::from_bytes(bytes)
    }

    fn origin(n: u16) -> Origin {
        Origin::of(Ipv4Addr::from_bits(n.into()).into())
    }

    fn by_door(peer: PublicKey) -> Option<Input> {
        Some(Input::PeerUp { peer, direction: Direction::Door })
    }

    #[test]
    fn a_visitor_is_up_from_its_first_request_until_it_has_been_silent() {
        let mut presence = Presence::default();
        assert_eq!(presence.visited(peer(1), origin(1), START), Ok(by_door(peer(1))));
        let later = START + SILENCE / 2;
        assert_eq!(presence.visited(peer(1), origin(2), later), Ok(None));
        assert_eq!(presence.gone(START + SILENCE), []);
        assert_eq!(presence.gone(later + SILENCE), [peer(1)]);
        assert_eq!(presence.gone(later + SILENCE), []);
        assert_eq!(presence.visited(peer(1), origin(1), later), Ok(by_door(peer(1))));
    }

    #[test]
    fn a_peer_with_both_ways_goes_when_both_have_ended() {
        let (mut presence, one) = (Presence::default(), peer(1));
        presence.connected(one, Direction::Inbound);
        assert_eq!(presence.visited(one, origin(1), START), Ok(None), "it is up already");
        assert!(presence.is_connected(one));
        let down = Input::PeerDown { peer: one };
        assert_eq!(presence.disconnected(one), [down.clone(), by_door(one).expect("it visits")]);
        assert!(!presence.is_connected(one));
        presence.connected(one, Direction::Inbound);
        assert_eq!(presence.gone(START + SILENCE), [one]);
        assert!(presence.is_connected(one), "over the mesh it is still here");
        assert_eq!(presence.disconnected(one), [down]);
    }

    #[test]
    fn one_origin_cannot_keep_out_all_others_and_makes_room_when_it_leaves() {
        let mut presence = Presence::default();
        let mut visit = |n, from, now| presence.visited(peer(n), origin(from), now).map(drop);
        let greedy = u16::try_from(MAX_VISITORS_AN_ORIGIN).expect("small");
        assert!((0..greedy).all(|n| visit(n, 1, START) == Ok(())));
        assert_eq!(visit(greedy, 1, START), Err(Crowded));
        assert_eq!(visit(0, 1, START), Ok(()), "who is here stays");
        assert_eq!(visit(greedy, 2, START), Ok(()));
        assert_eq!(presence.gone(START + SILENCE).len(), MAX_VISITORS_AN_ORIGIN + 1);
        assert!(presence.origins.is_empty());
        assert!(presence.visited(peer(greedy), origin(1), START).is_ok());
    }

    #[test]
    fn all_visitors_together_are_bounded() {
        let mut presence = Presence::default();
        let all = u16::try_from(MAX_VISITORS).expect("small");
        let mut came = |n: u16| presence.visited(peer(n), origin(n), START).is_ok();
        assert_eq!((0..=all).filter(|n| came(*n)).count(), MAX_VISITORS);
    }
}
