//! What volunteers and brokers say of themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, check_text};
use crate::encryption::EncryptionKey;
use crate::facts::{Capabilities, MAX_WORD, Runtime};
use crate::invalid::Invalid;
use crate::key::PublicKey;
use crate::statement::{Kind, Payload};
use crate::time::Timestamp;

/// Length of a shard's name in bytes: two words and a hyphen, so that each platform has one.
const MAX_SHARD: usize = 2 * MAX_WORD + 1;

/// A volunteer's capability advertisement, signed by its node key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Ad {
    /// Strictly increasing for each volunteer; the highest holds.
    pub seq: u64,
    /// The broker that matches it.
    pub broker: PublicKey,
    /// What it offers.
    pub capabilities: Capabilities,
    /// To it is sealed what this volunteer alone is to read (S81).
    pub encryption: EncryptionKey,
    /// At most a day ahead.
    pub expires: Timestamp,
}

/// A broker's digest of the ads it matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Summary {
    /// Strictly increasing for each broker and shard; the highest holds.
    pub seq: u64,
    /// The gossip shard that it is about: `<os>-<arch>`, or `wasm`.
    pub shard: String,
    /// At most 1,024 classes, each once.
    pub classes: Vec<ClassCount>,
    /// At most an hour ahead.
    pub expires: Timestamp,
}

/// A class of machines and how many ads fall into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ClassCount {
    /// The class.
    #[serde(flatten)]
    pub class: Class,
    /// Ads in it.
    pub count: u32,
}

/// Machines that are alike as far as a summary tells: magnitudes are powers of two, rounded down.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Class {
    /// The runtime.
    pub runtime: Runtime,
    /// Binary logarithm of the donated cores.
    pub cores_log2: u32,
    /// Binary logarithm of the donated memory in MiB.
    pub memory_log2: u32,
}

impl Summary {
    /// Classes in one summary.
    pub const MAX_CLASSES: usize = 1_024;
}

impl Class {
    /// The classes that `capabilities` falls into, one for each runtime.
    pub fn of(capabilities: &Capabilities) -> impl Iterator<Item = Self> + '_ {
        let resources = &capabilities.resources;
        let cores_log2 = resources.cores.max(1).ilog2();
        let memory_log2 = (resources.memory >> 20).max(1).ilog2();
        let runtimes = capabilities.runtimes.keys().cloned();
        runtimes.map(move |runtime| Self { runtime, cores_log2, memory_log2 })
    }
}

/// A broker's addresses and its current links, signed by its node key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct BrokerCard {
    /// Strictly increasing for each broker; the highest holds.
    pub seq: u64,
    /// Where it can be dialled, as multiaddrs; at most 8 of at most 256 bytes.
    pub addresses: Vec<String>,
    /// Brokers it is connected to now; at most 256.
    pub links: Vec<PublicKey>,
    /// At most a day ahead.
    pub expires: Timestamp,
}

impl Payload for Ad {
    const KIND: Kind = Kind::Ad;
    const MAX_LIFETIME: Duration = DAY;

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Ok(self.capabilities.validate()?)
    }
}

impl Payload for Summary {
    const KIND: Kind = Kind::Summary;
    const MAX_LIFETIME: Duration = Duration::from_secs(60 * 60);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("shard", &self.shard, MAX_SHARD)?;
        Invalid::unless(self.classes.len() <= Self::MAX_CLASSES, "S21", "over 1,024 classes")
    }
}

impl Payload for BrokerCard {
    const KIND: Kind = Kind::BrokerCard;
    const MAX_LIFETIME: Duration = DAY;

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.addresses.len() <= 8, "S22", "over 8 addresses")?;
        Invalid::unless(self.links.len() <= 256, "S22", "over 256 links")?;
        self.addresses.iter().try_for_each(|address| check_text("address", address, 256))
    }
}
