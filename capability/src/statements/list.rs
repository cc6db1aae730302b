//! Whom a curator vouches for: projects that others may trust by trusting the curator.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{DAY, check_text};
use crate::invalid::Invalid;
use crate::key::ProjectKey;
use crate::statement::{Kind, Payload};
use crate::time::Timestamp;

/// Projects of a list at most: what one person can look after. With an address and some words each they
/// fit into a statement.
pub const MAX_LISTED: usize = 256;

/// Projects that a curator vouches for, signed by the curator's key.
///
/// It lets nobody do anything by itself: who pins the curator's key says what the projects may do (S108), and the
/// curator can replace the list (S107).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct List {
    /// For people; 1 to 64 bytes.
    pub name: String,
    /// Strictly increasing for each curator; the highest holds.
    pub seq: u64,
    /// At most [`MAX_LISTED`], with different keys.
    pub projects: Vec<ListedProject>,
    /// At most a year ahead.
    pub expires: Timestamp,
}

/// One project of the list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct ListedProject {
    /// The project's key.
    pub key: ProjectKey,
    /// What the curator calls it; 1 to 64 bytes.
    pub name: String,
    /// Brokers that know it, as multiaddrs; at most 4 of at most 256 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub brokers: Vec<String>,
    /// What the curator says that it is about; at most 8 of at most 32 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub keywords: Vec<String>,
}

impl Payload for List {
    const KIND: Kind = Kind::List;
    const MAX_LIFETIME: Duration = DAY.saturating_mul(366);

    fn expires(&self) -> Timestamp {
        self.expires
    }

    fn validate(&self) -> Result<(), Invalid> {
        check_text("name", &self.name, 64)?;
        Invalid::unless(!self.name.is_empty(), "S106", "a list has a name")?;
        let count = self.projects.len();
        Invalid::unless(count <= MAX_LISTED, "S106", "over 256 projects")?;
        let keys: BTreeSet<_> = self.projects.iter().map(|project| project.key).collect();
        Invalid::unless(keys.len() == count, "S106", "a project is listed twice")?;
        self.projects.iter().try_for_each(ListedProject::validate)
    }
}

impl ListedProject {
    fn validate(&self) -> Result<(), Invalid> {
        check_text("name", &self.name, 64)?;
        Invalid::unless(!self.name.is_empty(), "S106", "a listed project has a name")?;
        Invalid::unless(self.brokers.len() <= 4, "S106", "a project with over 4 brokers")?;
        Invalid::unless(self.keywords.len() <= 8, "S106", "a project with over 8 keywords")?;
        self.brokers.iter().try_for_each(|address| check_text("address", address, 256))?;
        self.keywords.iter().try_for_each(|keyword| check_text("keyword", keyword, 32))
    }
}
