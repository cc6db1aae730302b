//! Who a project is, who may speak for it, and which broker arbitrates its offers.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::check::{self, Check};
use super::{DAY, ForProject, check_text};
use crate::facts::Runtime;
use crate::invalid::Invalid;
use crate::key::{ProjectKey, PublicKey, Verifier};
use crate::statement::{Kind, Payload, StatementError};
use crate::time::Timestamp;
use crate::{EncryptionKey, Envelope};

/// A project's public entry, signed by the project key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Registration {
    /// For people; at most 64 bytes.
    pub name: String,
    /// An address for people; empty, or http(s), at most 256 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub homepage: String,
    /// At most 16 of at most 32 bytes, by which volunteers can choose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
    /// What its jobs will ask for.
    pub permissions: Permissions,
    /// What is to be tried on machines that trust it; at most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<Check>,
    /// At most a year ahead.
    pub expires: Timestamp,
}

/// What a project's jobs ask of a volunteer beyond running at all.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Permissions {
    /// Runtimes that jobs may use.
    pub runtimes: Vec<Runtime>,
    /// Whether jobs may reach the network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub network: bool,
}

/// Lets a node key sign offers, homes and receipts of the project that signs this.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Delegation {
    /// The adapter's node key.
    pub node: PublicKey,
    /// To it is sealed what the adapter alone is to read (S81).
    pub encryption: EncryptionKey,
    /// Nothing signed under this delegation expires after it. At most a year ahead.
    pub expires: Timestamp,
}

/// Which broker grants leases of a project's offers in one epoch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Home {
    /// The project.
    pub project: ProjectKey,
    /// Strictly increasing; durable at the master before it is published.
    pub epoch: u64,
    /// The only broker that grants leases of this epoch.
    pub home: PublicKey,
    /// Brokers that keep the offers too and never grant; at most 4.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub standbys: Vec<PublicKey>,
    /// The project key's delegation to the signer.
    pub delegation: Envelope,
    /// Not after the delegation's.
    pub expires: Timestamp,
}

impl Payload for Registration {
    const KIND: Kind = Kind::Registration;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("name", &self.name, 64)?;
        check_text("homepage", &self.homepage, 256)?;
        Invalid::unless(!self.name.is_empty(), "S30", "a project has a name")?;
        let web = self.homepage.is_empty()
            || self.homepage.starts_with("https://")
            || self.homepage.starts_with("http://");
        Invalid::unless(web, "S30", "a homepage starts with https:// or http://")?;
        Invalid::unless(self.keywords.len() <= 16, "S30", "over 16 keywords")?;
        self.keywords.iter().try_for_each(|keyword| check_text("keyword", keyword, 32))?;
        Invalid::unless(self.permissions.runtimes.len() <= 8, "S30", "over 8 runtimes")?;
        check::validate(&self.checks, &self.permissions)
    }
}

impl Payload for Delegation {
    const KIND: Kind = Kind::Delegation;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

impl Payload for Home {
    const KIND: Kind = Kind::Home;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        Invalid::unless(self.standbys.len() <= 4, "S32", "over 4 standbys")?;
        Invalid::unless(self.epoch < u64::MAX, "S32", "an epoch after which there can be none")?;
        let twice = self.standbys.contains(&self.home);
        Invalid::unless(!twice, "S32", "the home is among its own standbys")
    }

    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        let Self { project, expires, ref delegation, .. } = *self;
        ForProject { kind: Self::KIND, project, expires, delegation }.authorize(signer, verifier)
    }

    fn delegation(&self) -> Option<&Envelope> {
        Some(&self.delegation)
    }
}
