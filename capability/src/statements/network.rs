//! Where a network begins: brokers that its founder vouches for.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, check_text};
use crate::invalid::Invalid;
use crate::key::PublicKey;
use crate::statement::{Kind, Payload};
use crate::time::Timestamp;

/// Brokers of a list at most: enough that some are there in any year. At its longest a list fits into
/// a statement, with half of the room left.
const MAX_BROKERS: usize = 32;

/// The brokers of a network by which others find it, signed by its founder's key.
///
/// Whoever is given that key finds the network, wherever the list comes from; and the founder can
/// replace the list (S97).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Network {
    /// For people; 1 to 64 bytes.
    pub name: String,
    /// Strictly increasing for each founder; the highest holds.
    pub seq: u64,
    /// 1 to 32 with different keys.
    pub brokers: Vec<ListedBroker>,
    /// At most a year ahead.
    pub expires: Timestamp,
}

/// One broker of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedBroker {
    /// Its node key: whoever dials demands it.
    pub key: PublicKey,
    /// Where it can be dialled, as multiaddrs; 1 to 4 of at most 256 bytes.
    pub addresses: Vec<String>,
}

impl Payload for Network {
    const KIND: Kind = Kind::Network;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("name", &self.name, 64)?;
        Invalid::unless(!self.name.is_empty(), "S96", "a network has a name")?;
        let count = self.brokers.len();
        Invalid::unless((1..=MAX_BROKERS).contains(&count), "S96", "not 1 to 32 brokers")?;
        let keys: BTreeSet<_> = self.brokers.iter().map(|broker| broker.key).collect();
        Invalid::unless(keys.len() == count, "S96", "a broker is listed twice")?;
        self.brokers.iter().try_for_each(ListedBroker::validate)
    }
}

impl ListedBroker {
    fn validate(&self) -> Result<(), Invalid> {
        let sound = (1..=4).contains(&self.addresses.len());
        Invalid::unless(sound, "S96", "a broker without addresses, or with over 4")?;
        self.addresses.iter().try_for_each(|address| check_text("address", address, 256))
    }
}
