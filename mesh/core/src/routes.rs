//! Routes: link state from broker cards, shortest paths, next hops.
//!
//! A link counts when both of its ends state it, so that a liar cannot draw traffic by claiming
//! links that nobody confirms. Our own links are those that are up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;

use capability::statements::BrokerCard;
use capability::{Payload, PublicKey, Timestamp, Verified};

/// Broker cards kept at most; a network of that many brokers has outgrown flooding link state.
pub const MAX_CARDS: usize = 16_384;

/// What one broker knows of the mesh.
#[derive(Debug)]
pub struct Routes {
    me: PublicKey,
    links: BTreeSet<PublicKey>,
    cards: BTreeMap<PublicKey, Verified<BrokerCard>>,
    /// The first hop to every broker that can be reached.
    first_hops: BTreeMap<PublicKey, PublicKey>,
}

impl Routes {
    /// Knows nobody but `me`.
    pub fn new(me: PublicKey) -> Self {
        Self { me, links: BTreeSet::new(), cards: BTreeMap::new(), first_hops: BTreeMap::new() }
    }

    /// A link to broker `peer` is up.
    pub fn link_up(&mut self, peer: PublicKey) {
        self.links.insert(peer);
        self.recompute();
    }

    /// The link to `peer` is gone.
    pub fn link_down(&mut self, peer: PublicKey) {
        self.links.remove(&peer);
        self.recompute();
    }

    /// Learns `card`; says whether it is news.
    pub fn learn(&mut self, card: Verified<BrokerCard>) -> bool {
        let broker = card.signer();
        let known = self.cards.get(&broker);
        if known.is_some_and(|known| known.seq >= card.seq)
            || (known.is_none() && self.cards.len() >= MAX_CARDS)
        {
            return false;
        }
        let same = known.is_some_and(|known| known.links == card.links);
        self.cards.insert(broker, card);
        if !same {
            self.recompute();
        }
        true
    }

    /// Forgets cards that have expired.
    pub fn expire(&mut self, now: Timestamp) {
        let before = self.cards.len();
        self.cards.retain(|_, card| card.expires() > now);
        if self.cards.len() != before {
            self.recompute();
        }
    }

    /// The linked broker that is nearest to `to`; `to` itself if it is linked.
    pub fn next_hop(&self, to: PublicKey) -> Option<PublicKey> {
        self.first_hops.get(&to).copied()
    }

    /// Brokers linked to this one, in the order of their keys.
    pub fn links(&self) -> impl Iterator<Item = PublicKey> + '_ {
        self.links.iter().copied()
    }

    /// Whether the link to broker `peer` is up.
    pub fn is_linked(&self, peer: PublicKey) -> bool {
        self.links.contains(&peer)
    }

    /// Whether `peer` is a broker as far as is known.
    pub fn knows(&self, peer: PublicKey) -> bool {
        self.cards.contains_key(&peer)
    }

    /// How many brokers there is a way to.
    pub fn reachable(&self) -> usize {
        self.first_hops.len()
    }

    /// The card of one broker.
    pub fn card(&self, broker: PublicKey) -> Option<&Verified<BrokerCard>> {
        self.cards.get(&broker)
    }

    /// The current cards.
    pub fn cards(&self) -> impl ExactSizeIterator<Item = &Verified<BrokerCard>> {
        self.cards.values()
    }

    /// The current cards from one broker's on, in the order of keys.
    pub fn cards_from(
        &self,
        from: Bound<PublicKey>,
    ) -> impl Iterator<Item = &Verified<BrokerCard>> {
        self.cards.range((from, Bound::Unbounded)).map(|(_, card)| card)
    }

    /// Breadth first from here; neighbours in the order of their keys, so that ties are stable.
    fn recompute(&mut self) {
        self.first_hops = self.links.iter().map(|link| (*link, *link)).collect();
        let mut queue: VecDeque<_> = self.links.iter().copied().collect();
        while let Some(broker) = queue.pop_front() {
            let first_hop = self.first_hops[&broker];
            let Some(card) = self.cards.get(&broker) else { continue };
            for next in card.links.iter().copied() {
                let confirmed = self.cards.get(&next).is_some_and(|it| it.links.contains(&broker));
                if next != self.me && confirmed && !self.first_hops.contains_key(&next) {
                    self.first_hops.insert(next, first_hop);
                    queue.push_back(next);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};

    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn card(of: u8, seq: u64, links: &[u8]) -> Verified<BrokerCard> {
        let links = links.iter().map(|link| key(*link).public()).collect();
        let card = BrokerCard { seq, addresses: Vec::new(), links, expires: Timestamp(1_000) };
        Verified::sign(card, &key(of))
    }

    #[test]
    fn a_line_is_crossed_hop_by_hop_and_a_cut_is_noticed() {
        let mut routes = Routes::new(key(1).public());
        routes.link_up(key(2).public());
        assert!(routes.learn(card(2, 1, &[1, 3])));
        assert!(routes.learn(card(3, 1, &[2])));
        assert!(routes.is_linked(key(2).public()) && !routes.is_linked(key(3).public()));
        assert_eq!(routes.next_hop(key(3).public()), Some(key(2).public()));

        assert!(routes.learn(card(2, 2, &[1])));
        assert_eq!(routes.next_hop(key(3).public()), None);
        assert!(!routes.learn(card(2, 1, &[1, 3])), "an older card is no news");
    }

    #[test]
    fn a_link_that_only_one_end_states_is_not_used() {
        let mut routes = Routes::new(key(1).public());
        routes.link_up(key(2).public());
        routes.learn(card(2, 1, &[1, 3]));
        routes.learn(card(3, 1, &[]));
        assert_eq!(routes.next_hop(key(3).public()), None);
    }

    #[test]
    fn expired_cards_lead_nowhere() {
        let mut routes = Routes::new(key(1).public());
        routes.link_up(key(2).public());
        routes.learn(card(2, 1, &[1, 3]));
        routes.learn(card(3, 1, &[2]));
        routes.expire(Timestamp(1_000));
        assert_eq!(routes.next_hop(key(3).public()), None);
        assert_eq!(routes.next_hop(key(2).public()), Some(key(2).public()));
    }
}
