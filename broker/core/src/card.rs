//! This broker's own card, and whom it dials.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::BrokerCard;
use capability::{PublicKey, Signer, Verified};
use mesh_core::{Mono, Now, Routes};

/// Changes of links within this time share one card.
const SETTLE: Duration = Duration::from_millis(500);
/// A card is made anew this often although nothing has changed.
const RENEW_EVERY: Duration = Duration::from_secs(60 * 60);
/// A broker that is gone for good leaves the mesh's routes after a day.
const CARD_LIFETIME: Duration = Duration::from_secs(24 * 60 * 60);
/// Links in one card at most, by the statement's own rules. A link that our card does not state is
/// none to the others.
pub(crate) const MAX_LINKS: usize = 256;
/// Addresses in one card at most, by the statement's own rules.
const MAX_ADDRESSES: usize = 8;
/// Bytes of one address, by the same rules.
const MAX_ADDRESS: usize = 256;

/// How often it is looked whether somebody should be dialled.
const DIAL_EVERY: Duration = Duration::from_secs(5);
/// The same while there is nobody to dial.
const DIAL_SELDOM: Duration = Duration::from_secs(60);
/// A broker that was dialled in vain is dialled again after this while.
const DIAL_AGAIN: Duration = Duration::from_secs(30);
/// The same if the operator names it: it should be found soon after it has come back.
const DIAL_NAMED_AGAIN: Duration = Duration::from_secs(5);

/// When the next card is due, and with what.
#[derive(Debug)]
pub(crate) struct OwnCard {
    addresses: Vec<String>,
    seq: u64,
    due: Mono,
}

impl OwnCard {
    /// Due at once.
    pub(crate) fn new(addresses: Vec<String>, now: Now) -> Self {
        Self { addresses, seq: 0, due: now.mono }
    }

    /// Takes new addresses.
    pub(crate) fn set_addresses(&mut self, addresses: Vec<String>, now: Now) {
        if self.addresses != addresses {
            self.addresses = addresses;
            self.changed(now);
        }
    }

    /// Something that it tells has changed.
    pub(crate) fn changed(&mut self, now: Now) {
        self.due = self.due.min(now.mono + SETTLE);
    }

    /// When the next card is due.
    pub(crate) fn due(&self) -> Mono {
        self.due
    }

    /// The card as of now. Of more links than it holds the first are in it.
    pub(crate) fn issue(
        &mut self,
        links: impl Iterator<Item = PublicKey>,
        signer: &dyn Signer,
        now: Now,
    ) -> Verified<BrokerCard> {
        // Wall time, so that a restarted broker's cards are newer than its former ones.
        self.seq = now.wall.0.max(self.seq + 1);
        self.due = now.mono + RENEW_EVERY;
        let tellable = self
            .addresses
            .iter()
            .filter(|address| address.len() <= MAX_ADDRESS && !address.contains(char::is_control));
        let card = BrokerCard {
            seq: self.seq,
            addresses: tellable.take(MAX_ADDRESSES).cloned().collect(),
            links: links.take(MAX_LINKS).collect(),
            expires: now.wall + CARD_LIFETIME,
        };
        // Every bound of S22 is kept above, and no peer's word is in it.
        Verified::sign(card, signer)
    }
}

/// Whom to dial: the brokers that the operator names, always; those that cards tell of, until there
/// are links enough.
#[derive(Debug)]
pub(crate) struct Dialling {
    /// Addresses that the operator names, and who was found there.
    named: BTreeMap<String, Option<PublicKey>>,
    /// Links to aim at with the help of cards; 0 to dial nobody but the named.
    target: usize,
    not_before: BTreeMap<String, Mono>,
    due: Mono,
}

impl Dialling {
    pub(crate) fn new(bootstrap: Vec<String>, target: usize, now: Now) -> Self {
        let named = bootstrap.into_iter().map(|address| (address, None)).collect();
        Self { named, target, not_before: BTreeMap::new(), due: now.mono }
    }

    /// `peer` was found at `address`; it may be ourselves.
    pub(crate) fn found(&mut self, address: &str, peer: PublicKey) {
        if let Some(found) = self.named.get_mut(address) {
            *found = Some(peer);
        }
    }

    /// There is somebody new to dial, or somebody less to talk to.
    pub(crate) fn stir(&mut self, now: Now) {
        self.due = self.due.min(now.mono + SETTLE);
    }

    /// When to look again.
    pub(crate) fn due(&self) -> Mono {
        self.due
    }

    /// Addresses to dial now.
    pub(crate) fn addresses(
        &mut self,
        me: PublicKey,
        routes: &Routes,
        is_connected: impl Fn(PublicKey) -> bool,
        now: Now,
    ) -> Vec<String> {
        self.not_before.retain(|_, at| *at > now.mono);
        let links = routes.links().count();
        let named = self
            .named
            .iter()
            .filter(|(_, found)| found.is_none_or(|peer| peer != me && !is_connected(peer)));
        let mut addresses: Vec<String> = named.map(|(address, _)| address.clone()).collect();
        let others = routes.cards().filter(|card| {
            card.signer() != me && !is_connected(card.signer()) && !card.addresses.is_empty()
        });
        let untried = others.filter(|card| {
            card.addresses.iter().all(|address| !self.not_before.contains_key(address))
        });
        let wanted = self.target.saturating_sub(links);
        addresses.extend(untried.take(wanted).flat_map(|card| card.addresses.clone()));
        addresses.retain(|address| !self.not_before.contains_key(address));
        for address in &addresses {
            let named = self.named.contains_key(address);
            let again = if named { DIAL_NAMED_AGAIN } else { DIAL_AGAIN };
            self.not_before.insert(address.clone(), now.mono + again);
        }
        let busy = !self.not_before.is_empty();
        self.due = now.mono + if busy { DIAL_EVERY } else { DIAL_SELDOM };
        addresses
    }
}
