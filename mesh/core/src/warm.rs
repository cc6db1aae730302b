//! Which brokers a node that only dials out keeps connections to.
//!
//! It is given places where brokers may be, best first, and keeps as many of them warm as it was
//! told. A place that fails waits, longer each time, while the next ones are tried: so one dead
//! broker strands nobody. No two nodes wait alike, or all volunteers of a broker that restarts would
//! knock at the same moment, again and again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::PublicKey;

use crate::random::{Patience, Random};
use crate::time::Mono;

/// The first wait after a failure, and the longest.
const FIRST_WAIT: Duration = Duration::from_millis(400);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Who has lost one broker and has another can take its time: 10,000 volunteers come back to a
/// broker that has restarted within this time, each for a millisecond of its processor's time.
const SPREAD: Duration = Duration::from_secs(30);

/// Who has lost its only broker.
const SPREAD_ALONE: Duration = Duration::from_secs(1);

/// How long the word that a connection stands may be behind the end of its dialling.
const NEWS_LAG: Duration = Duration::from_secs(5);

/// Places that are known at most; of more the first count.
pub const MAX_PLACES: usize = 256;

/// The brokers of one node. See the module.
#[derive(Debug)]
pub struct WarmBrokers {
    wanted: usize,
    random: Random,
    places: BTreeMap<String, Place>,
    up: BTreeSet<PublicKey>,
}

/// An address where a broker may be.
#[derive(Debug, Default)]
struct Place {
    /// How many are better.
    rank: usize,
    dial: Dial,
    /// Who was found there the last time.
    found: Option<PublicKey>,
    patience: Patience,
    not_before: Mono,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Dial {
    #[default]
    No,
    UnderWay,
    /// Somebody answered; that the connection stands is told separately, until then.
    Made(Mono),
}

impl WarmBrokers {
    /// Keeps up to `wanted` brokers warm, and waits as `seed` says.
    pub fn new(wanted: usize, seed: u64) -> Self {
        let random = Random::new(seed);
        Self { wanted, random, places: BTreeMap::new(), up: BTreeSet::new() }
    }

    /// From now on these are the places, best first. What is known of those that stay is kept.
    pub fn set_places(&mut self, addresses: impl IntoIterator<Item = String>) {
        let mut former = std::mem::take(&mut self.places);
        for address in addresses {
            if self.places.len() < MAX_PLACES && !self.places.contains_key(&address) {
                let rank = self.places.len();
                let place = former.remove(&address).unwrap_or_default();
                self.places.insert(address, Place { rank, ..place });
            }
        }
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.places.len()
    }

    /// `broker` is connected.
    pub fn up(&mut self, broker: PublicKey) {
        self.up.insert(broker);
        for place in self.places.values_mut().filter(|place| place.found == Some(broker)) {
            place.settle();
        }
    }

    /// `broker` is no longer connected.
    pub fn down(&mut self, broker: PublicKey, now: Mono) {
        if !self.up.remove(&broker) {
            return;
        }
        let spread = if self.up.is_empty() { SPREAD_ALONE } else { SPREAD };
        for place in self.places.values_mut().filter(|place| place.found == Some(broker)) {
            place.patience = Patience::default();
            place.not_before = now + self.random.below(spread);
        }
    }

    /// Addresses to dial now, each until [`WarmBrokers::dialled`].
    pub fn to_dial(&mut self, now: Mono) -> Vec<String> {
        self.places.values_mut().for_each(|place| place.despair(now));
        let mut lacking = self.lacking();
        let Self { places, up, .. } = self;
        let mut ready: Vec<_> =
            places.iter_mut().filter(|(_, place)| place.is_free(up, now)).collect();
        ready.sort_by_key(|(_, place)| place.rank);
        let mut dialled = BTreeSet::new();
        let mut addresses = Vec::new();
        for (address, place) in ready {
            // One address of a broker at a time.
            let another = place.found.is_none_or(|broker| dialled.insert(broker));
            if lacking > 0 && another {
                lacking -= 1;
                place.dial = Dial::UnderWay;
                addresses.push(address.clone());
            }
        }
        addresses
    }

    /// What dialling `address` has come to: who is there, or nobody.
    pub fn dialled(&mut self, address: &str, found: Option<PublicKey>, now: Mono) {
        let Some(place) = self.places.get_mut(address) else { return };
        match found {
            Some(broker) => {
                place.found = Some(broker);
                place.dial = Dial::Made(now + NEWS_LAG);
                if self.up.contains(&broker) {
                    place.settle();
                }
            }
            None => {
                place.dial = Dial::No;
                let wait = place.patience.lose(FIRST_WAIT, LONGEST_WAIT, &mut self.random);
                place.not_before = now + wait;
            }
        }
    }

    /// When to look again for what to dial, if nothing happens before.
    pub fn next_wake(&self) -> Option<Mono> {
        let lacks = self.lacking() > 0;
        let awaited = self.places.values().filter_map(|place| match place.dial {
            Dial::No => (lacks && place.is_missing(&self.up)).then_some(place.not_before),
            Dial::UnderWay => None,
            Dial::Made(until) => Some(until),
        });
        awaited.min()
    }

    /// Connections that neither stand nor are being made.
    fn lacking(&self) -> usize {
        let dialled = self.places.values().filter(|place| place.dial != Dial::No).count();
        self.wanted.saturating_sub(self.up.len() + dialled)
    }
}

impl Place {
    /// Whether dialling it now might bring one more broker.
    fn is_free(&self, up: &BTreeSet<PublicKey>, now: Mono) -> bool {
        self.dial == Dial::No && self.not_before <= now && self.is_missing(up)
    }

    /// Whether nobody who is up is known to be there.
    fn is_missing(&self, up: &BTreeSet<PublicKey>) -> bool {
        self.found.is_none_or(|broker| !up.contains(&broker))
    }

    /// The broker here is up.
    fn settle(&mut self) {
        if let Dial::Made(_) = self.dial {
            self.dial = Dial::No;
        }
        self.patience = Patience::default();
    }

    /// A connection of which nothing was heard was over before it was told.
    fn despair(&mut self, now: Mono) {
        if matches!(self.dial, Dial::Made(until) if until <= now) {
            self.dial = Dial::No;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broker(n: u8) -> PublicKey {
        PublicKey::from_bytes([n; 32])
    }

    fn at(millis: u64) -> Mono {
        Mono(Duration::from_millis(millis))
    }

    fn warm(places: &[&str]) -> WarmBrokers {
        let mut warm = WarmBrokers::new(2, 7);
        warm.set_places(places.iter().map(|place| (*place).to_owned()));
        warm
    }

    /// Somebody answers at `address`, and the connection stands.
    fn come_up(warm: &mut WarmBrokers, address: &str, broker: PublicKey) {
        warm.dialled(address, Some(broker), at(0));
        warm.up(broker);
    }

    #[test]
    fn the_best_two_are_dialled_and_a_third_when_one_fails() {
        let mut warm = warm(&["z", "a", "m"]);
        assert_eq!(warm.to_dial(at(0)), ["z", "a"]);
        assert!(warm.to_dial(at(0)).is_empty());
        come_up(&mut warm, "z", broker(1));
        warm.dialled("a", None, at(1));
        assert_eq!(warm.to_dial(at(1)), ["m"]);
        come_up(&mut warm, "m", broker(3));
        assert!(warm.to_dial(at(60_000)).is_empty());
        assert_eq!(warm.next_wake(), None);
    }

    #[test]
    fn a_place_that_fails_is_tried_ever_more_seldom() {
        let mut warm = warm(&["only"]);
        let mut now = at(0);
        let mut tries = 0;
        while now < at(600_000) {
            assert_eq!(warm.to_dial(now), ["only"]);
            warm.dialled("only", None, now);
            assert!(warm.to_dial(now).is_empty());
            now = warm.next_wake().expect("it is tried again");
            tries += 1;
        }
        assert!((20..60).contains(&tries), "{tries} in ten minutes");
    }

    #[test]
    fn who_has_another_broker_comes_back_later_than_who_has_none() {
        let waits = |others: &[u8]| {
            let wait = |seed| {
                let mut warm = WarmBrokers::new(3, seed);
                warm.set_places(["gone".to_owned()]);
                warm.to_dial(at(0));
                come_up(&mut warm, "gone", broker(1));
                others.iter().for_each(|other| warm.up(broker(*other)));
                warm.down(broker(1), at(0));
                warm.next_wake().expect("it is lacking").0
            };
            (0..1000).map(wait).collect::<Vec<_>>()
        };
        let (alone, with_another) = (waits(&[]), waits(&[2]));
        assert!(alone.iter().max() < Some(&SPREAD_ALONE));
        // No second of the half minute has much more than its thirtieth of them.
        for second in 0..30 {
            let came = with_another.iter().filter(|wait| wait.as_secs() == second).count();
            assert!((10..70).contains(&came), "{came} of 1000 in second {second}");
        }
    }

    #[test]
    fn two_addresses_of_one_broker_make_one_connection() {
        let mut warm = warm(&["tcp", "quic", "other"]);
        assert_eq!(warm.to_dial(at(0)), ["tcp", "quic"]);
        come_up(&mut warm, "tcp", broker(1));
        warm.dialled("quic", Some(broker(1)), at(1));
        assert_eq!(warm.to_dial(at(1)), ["other"]);
        come_up(&mut warm, "other", broker(2));
        warm.down(broker(1), at(3));
        assert_eq!(warm.to_dial(at(60_000)), ["tcp"]);
    }

    #[test]
    fn places_that_are_no_longer_named_are_not_dialled() {
        let mut warm = warm(&["a", "b"]);
        warm.to_dial(at(0));
        warm.dialled("a", None, at(0));
        warm.set_places(["c".to_owned(), "a".to_owned()]);
        warm.dialled("b", None, at(0));
        assert_eq!(warm.to_dial(at(60_000)), ["c", "a"]);
    }

    #[test]
    fn a_connection_that_was_over_before_it_was_told_is_made_again() {
        let mut warm = warm(&["a"]);
        warm.to_dial(at(0));
        warm.up(broker(1));
        warm.down(broker(1), at(1));
        warm.dialled("a", Some(broker(1)), at(2));
        assert!(warm.to_dial(at(3)).is_empty());
        let again = warm.next_wake().expect("news may be late, but not for ever");
        assert_eq!(warm.to_dial(again), ["a"]);
    }
}
