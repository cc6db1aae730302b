//! Whom a broker dials: those that its operator names, always; those that its network's founder lists,
//! until there is a link; those that cards tell of, until there are links enough.
//!
//! Which of the many is chance, so that the mesh has short ways and no centre, and nobody can make
//! keys that all others choose. Who is dialled in vain is dialled again later, and later each time:
//! when a broker comes back, its neighbours do not knock all at once.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::PublicKey;
use capability::statements::ListedBroker;
use mesh_core::{Listing, Mono, Now, Patience, Random, Routes};

use crate::card::SETTLE;

/// How often it is looked whether somebody should be dialled, while somebody was.
const DIAL_EVERY: Duration = Duration::from_secs(1);
/// The same while there is nobody to dial.
const DIAL_SELDOM: Duration = Duration::from_secs(60);

/// How long dialling may take until it has come to nothing.
const DIAL_TIME: Duration = Duration::from_secs(10);

/// Waits after a broker that the operator names was dialled: it should be found soon after it has
/// come back.
const NAMED_WAITS: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(10));
/// The same for a broker that cards tell of. The first is longer than dialling may take.
const TOLD_WAITS: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(10 * 60));

/// See the module.
#[derive(Debug)]
pub(crate) struct Dialling {
    named: BTreeMap<String, Named>,
    /// Brokers of the network's list, in this broker's own order.
    listed: Vec<Listed>,
    /// Links to aim at with the help of cards; 0 to dial nobody but the named.
    target: usize,
    /// Brokers that cards tell of and that were dialled. Those without a card are forgotten.
    told: BTreeMap<PublicKey, Attempts>,
    random: Random,
    /// Mixed into keys, for an order of brokers that is this broker's own.
    salt: u64,
    due: Mono,
}

/// An address that the operator names.
#[derive(Debug, Default)]
struct Named {
    /// Who was found there.
    found: Option<PublicKey>,
    attempts: Attempts,
}

/// A broker that the network's founder names.
#[derive(Debug)]
struct Listed {
    broker: ListedBroker,
    attempts: Attempts,
}

/// Since the broker was connected the last time.
#[derive(Debug, Default)]
struct Attempts {
    count: usize,
    patience: Patience,
    /// The latest may be under way until then.
    open_until: Mono,
    not_before: Mono,
}

impl Attempts {
    fn count(&mut self, (first, longest): (Duration, Duration), random: &mut Random, now: Mono) {
        self.count += 1;
        self.open_until = now + DIAL_TIME;
        self.not_before = now + self.patience.lose(first, longest, random);
    }
}

impl Dialling {
    pub(crate) fn new(bootstrap: Vec<String>, target: usize, seed: u64, now: Now) -> Self {
        let named = bootstrap.into_iter().map(|address| (address, Named::default())).collect();
        let mut random = Random::new(seed);
        let salt = random.next_u64();
        let (listed, told) = (Vec::new(), BTreeMap::new());
        Self { named, listed, target, told, random, salt, due: now.mono }
    }

    /// From now on the network's list is `listing`; we are `me`.
    pub(crate) fn list(&mut self, listing: &Listing, me: PublicKey, now: Now) {
        let listed = |broker: &ListedBroker| Listed {
            broker: broker.clone(),
            attempts: Attempts::default(),
        };
        self.listed = listing.brokers(me, now.wall).into_iter().map(listed).collect();
        self.due = now.mono;
    }

    /// `peer` was found at `address`; it may be ourselves.
    pub(crate) fn found(&mut self, address: &str, peer: PublicKey) {
        if let Some(named) = self.named.get_mut(address) {
            *named = Named { found: Some(peer), attempts: Attempts::default() };
        }
    }

    /// `peer` is connected: whatever was in vain before counts no more.
    pub(crate) fn connected(&mut self, peer: PublicKey) {
        self.told.remove(&peer);
        for listed in self.listed.iter_mut().filter(|listed| listed.broker.key == peer) {
            listed.attempts = Attempts::default();
        }
    }

    /// There is somebody new to dial, or somebody less to talk to.
    pub(crate) fn stir(&mut self, now: Now) {
        self.due = self.due.min(now.mono + self.random.upper_half(2 * SETTLE));
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Mono {
        self.due
    }

    /// Addresses to dial now: one of each broker.
    pub(crate) fn addresses(
        &mut self,
        me: PublicKey,
        routes: &Routes,
        is_connected: impl Fn(PublicKey) -> bool,
        now: Now,
    ) -> Vec<String> {
        let mut addresses = Vec::new();
        for (address, named) in &mut self.named {
            let missing = named.found.is_none_or(|peer| peer != me && !is_connected(peer));
            if missing && named.attempts.not_before <= now.mono {
                named.attempts.count(NAMED_WAITS, &mut self.random, now.mono);
                addresses.push(address.clone());
            }
        }
        if routes.links().next().is_none() {
            addresses.extend(self.next_listed(now.mono));
        }
        self.told.retain(|broker, _| routes.knows(*broker));
        let under_way = self.told.values().filter(|attempts| attempts.open_until > now.mono);
        let wanted = self.target.saturating_sub(routes.links().count() + under_way.count());
        let mut others: Vec<_> = routes
            .cards()
            .filter(|card| card.signer() != me && !is_connected(card.signer()))
            .filter(|card| {
                let attempts = self.told.get(&card.signer());
                attempts.is_none_or(|attempts| attempts.not_before <= now.mono)
            })
            .collect();
        others.sort_by_cached_key(|card| self.place_of(card.signer()));
        for card in others.into_iter().filter(|it| !it.addresses.is_empty()).take(wanted) {
            let attempts = self.told.entry(card.signer()).or_default();
            addresses.push(next_address(&card.addresses, attempts.count).to_owned());
            attempts.count(TOLD_WAITS, &mut self.random, now.mono);
        }
        let busy = self.told.values().any(|attempts| attempts.not_before > now.mono)
            || self.named.values().any(|named| named.attempts.not_before > now.mono)
            || self.listed.iter().any(|listed| listed.attempts.not_before > now.mono);
        self.due = now.mono + if busy { DIAL_EVERY } else { DIAL_SELDOM };
        addresses
    }

    /// An address of that broker of the network's list that was dialled least often, and not lately.
    fn next_listed(&mut self, now: Mono) -> Option<String> {
        let ready = self.listed.iter_mut().filter(|listed| listed.attempts.not_before <= now);
        let listed = ready.min_by_key(|listed| listed.attempts.count)?;
        let address = next_address(&listed.broker.addresses, listed.attempts.count).to_owned();
        listed.attempts.count(NAMED_WAITS, &mut self.random, now);
        Some(address)
    }

    /// Where a broker stands in the order of those to dial.
    fn place_of(&self, broker: PublicKey) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = *broker.as_bytes();
        Random::new(self.salt ^ u64::from_le_bytes([a, b, c, d, e, f, g, h])).next_u64()
    }
}

/// One address after the other. TCP before all: it is there in every program, and firewalls know it.
fn next_address(addresses: &[String], tried: usize) -> &str {
    let mut addresses: Vec<_> = addresses.iter().collect();
    addresses.sort_by_key(|address| address.contains("/udp/") || address.contains("/ws"));
    addresses[tried % addresses.len()]
}

#[cfg(test)]
mod tests {
    use capability::statements::{BrokerCard, Network};
    use capability::{SecretKey, Signer, Timestamp, Verified};

    use super::*;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn at(seconds: u64) -> Now {
        let since = Duration::from_secs(seconds);
        Now { mono: Mono(since), wall: Timestamp(1_000) + since }
    }

    /// What broker 0 knows after it has heard of `brokers`.
    fn routes(brokers: impl Iterator<Item = u8>) -> Routes {
        let mut routes = Routes::new(key(0).public());
        for n in brokers {
            let transports = ["/udp/1/quic-v1", "/tcp/1", "/tcp/2/ws"];
            let addresses = transports.map(|it| format!("/ip4/192.0.2.{n}{it}")).to_vec();
            let expires = Timestamp(u64::MAX);
            let card = BrokerCard { seq: 1, addresses, links: Vec::new(), expires };
            routes.learn(Verified::sign(card, &key(n)));
        }
        routes
    }

    fn dial(dialling: &mut Dialling, routes: &Routes, now: Now) -> Vec<String> {
        dialling.addresses(key(0).public(), routes, |_| false, now)
    }

    #[test]
    fn each_broker_chooses_others() {
        let routes = routes(1..=40);
        let chosen = |seed| {
            let mut dialling = Dialling::new(Vec::new(), 4, seed, at(0));
            dial(&mut dialling, &routes, at(0))
        };
        assert_eq!(chosen(1).len(), 4);
        assert_eq!(chosen(1), chosen(1));
        let all: std::collections::BTreeSet<_> = (0..40).flat_map(chosen).collect();
        assert!(all.len() > 30, "{} of 40 brokers are chosen by somebody", all.len());
    }

    #[test]
    fn the_addresses_of_a_broker_are_tried_one_after_the_other() {
        let routes = routes(1..=1);
        let mut dialling = Dialling::new(Vec::new(), 4, 1, at(0));
        let mut tried = Vec::new();
        for second in 0..120 {
            tried.extend(dial(&mut dialling, &routes, at(second)));
        }
        let transports: Vec<_> =
            tried.iter().map(|it| it.trim_start_matches("/ip4/192.0.2.1")).collect();
        assert_eq!(transports[..3], ["/tcp/1", "/udp/1/quic-v1", "/tcp/2/ws"]);
        assert!(tried.len() < 6, "{tried:?}");
    }

    #[test]
    fn without_a_link_the_networks_list_is_dialled_and_with_one_it_is_not() {
        let listed = |n: u8| ListedBroker {
            key: key(n).public(),
            addresses: vec![format!("/ip4/192.0.2.{n}/tcp/1")],
        };
        let brokers = (0..4).map(listed).collect();
        let (name, expires) = ("test".to_owned(), Timestamp(60_000));
        let list = Verified::sign(Network { name, seq: 1, brokers, expires }, &key(9));
        let mut listing = Listing::new(key(9).public());
        listing.take(list, at(0).wall).expect("a list");
        let mut dialling = Dialling::new(Vec::new(), 0, 1, at(0));
        dialling.list(&listing, key(0).public(), at(0));

        let mut nobody = routes(0..0);
        let mut tried = Vec::new();
        for second in 0..3 {
            tried.extend(dial(&mut dialling, &nobody, at(second)));
        }
        tried.sort();
        assert_eq!(tried, [1, 2, 3].map(|n| format!("/ip4/192.0.2.{n}/tcp/1")), "not ourselves");
        nobody.link_up(key(1).public());
        let with_a_link = nobody;
        assert_eq!(dial(&mut dialling, &with_a_link, at(30)), [""; 0]);
    }

    #[test]
    fn no_more_are_dialled_than_links_are_wanting() {
        let routes = routes(1..=40);
        let mut dialling = Dialling::new(Vec::new(), 4, 1, at(0));
        assert_eq!(dial(&mut dialling, &routes, at(0)).len(), 4);
        assert_eq!(dial(&mut dialling, &routes, at(1)), [""; 0]);
        let later = dial(&mut dialling, &routes, at(60));
        assert_eq!(later.len(), 4);
    }

    #[test]
    fn neighbours_of_a_broker_that_comes_back_do_not_knock_together() {
        let address = "/ip4/192.0.2.1/tcp/1".to_owned();
        let knocks = |seed| {
            let mut dialling = Dialling::new(vec![address.clone()], 0, seed, at(0));
            let nobody = routes(0..0);
            let knocks = (0..600).filter(|tenth| {
                let now = at(0).after(Duration::from_millis(100 * tenth));
                !dialling.addresses(key(0).public(), &nobody, |_| false, now).is_empty()
            });
            knocks.collect::<Vec<_>>()
        };
        let (one, other) = (knocks(1), knocks(2));
        assert!((6..20).contains(&one.len()), "{one:?}");
        let together = one.iter().filter(|it| other.contains(it)).count();
        assert!(together < one.len() / 2, "{one:?} {other:?}");
    }
}
