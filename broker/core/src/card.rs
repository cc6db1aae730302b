//! This broker's own card.

use std::time::Duration;

use capability::statements::BrokerCard;
use capability::{PublicKey, Signer, Verified};
use mesh_core::{Mono, Now};

/// Changes of links within this time share one card.
pub(crate) const SETTLE: Duration = Duration::from_millis(500);
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
