//! Which list holds, of those that one key has signed: of brokers, by a network's founder; of projects, by a
//! curator.

use capability::statements::{List, ListedBroker, Network};
use capability::{Payload, PublicKey, StatementError, Timestamp, Verified};
use thiserror::Error;

/// A statement of which each replaces those before it, wherever it comes from.
pub trait Replaced: Payload {
    /// Its place among those of its signer; the highest holds.
    fn seq(&self) -> u64;
}

impl Replaced for Network {
    fn seq(&self) -> u64 {
        self.seq
    }
}

impl Replaced for List {
    fn seq(&self) -> u64 {
        self.seq
    }
}

/// The newest list of one signer (S97, S107).
#[derive(Debug, Clone, PartialEq)]
pub struct Listing<P = Network> {
    signer: PublicKey,
    newest: Option<Verified<P>>,
}

/// A list was not taken.
#[derive(Debug, Error)]
pub enum NotTaken {
    /// Another key signed it.
    #[error("another key signed it, {signer}")]
    OtherSigner {
        /// Which.
        signer: PublicKey,
    },
    /// It does not hold now.
    #[error("it does not hold now")]
    NotCurrent(#[source] StatementError),
    /// A later one is known.
    #[error("its number is {found}, and a list with {known} is known")]
    Earlier {
        /// The number of this one.
        found: u64,
        /// That of the one that is known.
        known: u64,
    },
}

impl<P: Replaced> Listing<P> {
    /// Lists of `signer`; none is known yet.
    pub fn new(signer: PublicKey) -> Self {
        Self { signer, newest: None }
    }

    /// Whose lists these are.
    pub fn signer(&self) -> PublicKey {
        self.signer
    }

    /// Takes `list` if it is the signer's, holds, and is later than what is known. Says whether it is
    /// news; the same once more is none, and no mistake.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn take(&mut self, list: Verified<P>, now: Timestamp) -> Result<bool, NotTaken> {
        let signer = list.signer();
        if signer != self.signer {
            return Err(NotTaken::OtherSigner { signer });
        }
        let place = |list: &Verified<P>| (list.seq(), list.expires(), list.id());
        if let Some(known) = &self.newest {
            if known.id() == list.id() {
                return Ok(false);
            }
            if place(known) > place(&list) {
                return Err(NotTaken::Earlier { found: list.seq(), known: known.seq() });
            }
        }
        list.current(now).map_err(NotTaken::NotCurrent)?;
        self.newest = Some(list);
        Ok(true)
    }

    /// Remembers `list`, of an earlier run, though it may have expired since: so that none before it
    /// is taken.
    pub fn remember(&mut self, list: Verified<P>) {
        if list.signer() == self.signer {
            self.newest = Some(list);
        }
    }

    /// The newest list, if it holds at `now`.
    pub fn current(&self, now: Timestamp) -> Option<&Verified<P>> {
        self.newest.as_ref().filter(|list| list.current(now).is_ok())
    }

    /// The newest list, whether it holds or not.
    pub fn newest(&self) -> Option<&Verified<P>> {
        self.newest.as_ref()
    }
}

impl Listing {
    /// The brokers of the newest list, if it holds at `now`, in an order of `who`'s own: so that not
    /// all begin with the same.
    pub fn brokers(&self, who: PublicKey, now: Timestamp) -> Vec<&ListedBroker> {
        let listed = self.current(now).map_or(&[][..], |list| &list.brokers);
        let mut brokers: Vec<_> = listed.iter().filter(|broker| broker.key != who).collect();
        brokers.sort_by_cached_key(|broker| draw(who, broker.key));
        brokers
    }
}

/// C60: a number by which `who` comes to some brokers and not to others.
pub fn draw(who: PublicKey, broker: PublicKey) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(who.as_bytes());
    hasher.update(broker.as_bytes());
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);
    const HOUR: u64 = 60 * 60 * 1000;

    fn key(n: u8) -> SecretKey {
        SecretKey::from_seed(&[n; 32])
    }

    fn list(founder: u8, seq: u64, hours: u64, brokers: u8) -> Verified<Network> {
        let listed = |n| ListedBroker { key: key(n).public(), addresses: vec!["/memory/1".into()] };
        let brokers = (100..100 + brokers).map(listed).collect();
        let expires = Timestamp(NOW.0 + hours * HOUR);
        Verified::sign(Network { name: "test".into(), seq, brokers, expires }, &key(founder))
    }

    #[test]
    fn the_latest_list_of_the_founder_holds_and_no_other() {
        let mut listing = Listing::new(key(1).public());
        assert!(listing.take(list(1, 5, 1, 1), NOW).expect("a list"));
        assert!(!listing.take(list(1, 5, 1, 1), NOW).expect("the same once more"));
        let error = listing.take(list(2, 6, 1, 1), NOW).expect_err("another founder's");
        assert!(error.to_string().starts_with("another key signed it"));
        let error = listing.take(list(1, 4, 9, 1), NOW).expect_err("an earlier one");
        assert_eq!(error.to_string(), "its number is 4, and a list with 5 is known");
        assert!(listing.take(list(1, 5, 2, 1), NOW).expect("the same number, and holds longer"));
        assert!(listing.take(list(1, 6, 1, 2), NOW).expect("a later one"));
        assert_eq!(listing.current(NOW).map(|list| list.seq), Some(6));
    }

    #[test]
    fn a_list_that_has_expired_is_not_taken_and_leads_nowhere_but_is_not_forgotten() {
        let mut listing = Listing::new(key(1).public());
        let late = Timestamp(NOW.0 + 2 * HOUR);
        let error = listing.take(list(1, 5, 1, 1), late).expect_err("expired");
        assert!(matches!(error, NotTaken::NotCurrent(_)), "{error}");
        assert!(listing.take(list(1, 5, 1, 1), NOW).expect("a list"));
        assert!(listing.brokers(key(9).public(), late).is_empty());
        assert!(listing.take(list(1, 4, 9, 1), late).is_err());

        let mut again = Listing::new(key(1).public());
        again.remember(list(2, 9, 1, 1));
        assert!(again.current(NOW).is_none(), "another founder's");
        again.remember(list(1, 5, 1, 1));
        assert!(again.take(list(1, 4, 9, 1), late).is_err());
    }

    #[test]
    fn who_looks_begins_in_an_order_of_its_own_and_never_with_itself() {
        let mut listing = Listing::new(key(1).public());
        listing.take(list(1, 1, 1, 32), NOW).expect("a list");
        let first = |n| listing.brokers(key(n).public(), NOW)[0].key;
        let firsts: std::collections::BTreeSet<_> = (1..=90).map(first).collect();
        assert!(firsts.len() > 20, "{} of 32 come first for somebody", firsts.len());
        assert_eq!(listing.brokers(key(101).public(), NOW).len(), 31);
    }
}
