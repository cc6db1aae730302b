//! Where brokers are, for those who ask: every broker has the cards of all.

use capability::statements::BrokerCard;
use capability::{Payload, PublicKey, Timestamp, Verified};
use mesh_core::{MAX_BROKERS_AN_ANSWER, Routes, draw};

/// The cards of the brokers `of`; if there are none, of some that `asker` could turn to.
///
/// Rule C60: those can be reached from here just now, so that they most likely live; and each asker
/// is told of others, always the same, so that all of a broker's volunteers together know the whole
/// mesh and burden no broker more than another.
pub(crate) fn cards_for(
    asker: PublicKey,
    of: &[PublicKey],
    routes: &Routes,
    now: Timestamp,
) -> Vec<Verified<BrokerCard>> {
    let is_of_use = |card: &&Verified<BrokerCard>| {
        card.signer() != asker && !card.addresses.is_empty() && card.expires() > now
    };
    if !of.is_empty() {
        let cards = of.iter().filter_map(|broker| routes.card(*broker)).filter(is_of_use);
        return cards.take(MAX_BROKERS_AN_ANSWER).cloned().collect();
    }
    let living = routes.cards().filter(|card| routes.next_hop(card.signer()).is_some());
    let mut cards: Vec<_> = living.filter(is_of_use).collect();
    cards.sort_by_cached_key(|card| draw(asker, card.signer()));
    cards.into_iter().take(MAX_BROKERS_AN_ANSWER).cloned().collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use capability::{SecretKey, Signer};

    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn card(of: u8, links: &[u8], addresses: &[&str]) -> Verified<BrokerCard> {
        let links = links.iter().map(|link| key(*link).public()).collect();
        let addresses = addresses.iter().map(|it| (*it).to_owned()).collect();
        let card = BrokerCard { seq: 1, addresses, links, expires: Timestamp(1_000) };
        Verified::sign(card, &key(of))
    }

    static ROUTES: LazyLock<Routes> = LazyLock::new(routes);

    /// Broker 1, linked to 2 to 100; nobody is linked to 101, and 102 has no address.
    fn routes() -> Routes {
        let mut routes = Routes::new(key(1).public());
        for n in 2..=100 {
            routes.link_up(key(n).public());
            routes.learn(card(n, &[1], &["/memory/1"]));
        }
        routes.learn(card(101, &[2], &["/memory/1"]));
        routes.link_up(key(102).public());
        routes.learn(card(102, &[1], &[]));
        routes
    }

    fn told(asker: u8, of: &[u8], now: u64) -> Vec<PublicKey> {
        let of: Vec<_> = of.iter().map(|it| key(*it).public()).collect();
        let cards = cards_for(key(asker).public(), &of, &ROUTES, Timestamp(now));
        cards.iter().map(|card| card.signer()).collect()
    }

    #[test]
    fn a_broker_is_found_by_its_key() {
        assert_eq!(told(200, &[7, 101, 103], 0), [key(7).public(), key(101).public()]);
        assert_eq!(told(200, &[102], 0), []);
        assert_eq!(told(200, &[7], 1_000), [], "its card has expired");
    }

    #[test]
    fn each_asker_is_told_of_others_that_live_and_never_of_itself() {
        let all: BTreeSet<_> = (150..250).flat_map(|asker| told(asker, &[], 0)).collect();
        assert!(all.len() > 90, "{} of 99 are told of", all.len());
        assert!(!all.contains(&key(101).public()) && !all.contains(&key(102).public()));
        assert_eq!(told(150, &[], 0), told(150, &[], 0));
        assert_eq!(told(150, &[], 0).len(), MAX_BROKERS_AN_ANSWER);
        assert!((2..=100).all(|asker| !told(asker, &[], 0).contains(&key(asker).public())));
    }
}
