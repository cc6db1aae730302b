//! Whom a broker works for: everybody, those that its operator names, or also those that the named
//! ones vouch for.
//!
//! A key is a project's, a volunteer's or a broker's. Whoever acts for an admitted project by its
//! delegation is admitted with it, and so are the volunteers whose owner is admitted and says that
//! they are its own.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::Ownership;
use capability::{Payload, ProjectKey, PublicKey, Timestamp, Verified};
use serde::Serialize;

/// Keys that are vouched for at most: those of a hundred owners with all the machines they can have.
const MAX_VOUCHED: usize = 100_000;

/// Whom a broker works for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct AdmissionRules {
    /// Who beside those that are named.
    pub mode: AdmissionMode,
    /// Keys that the operator names.
    pub named: BTreeSet<PublicKey>,
}

/// Who beside those that are named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum AdmissionMode {
    /// Everybody.
    #[default]
    Open,
    /// Nobody.
    Listed,
    /// The volunteers of owners that are named.
    Vouched,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Admitted {
    rules: AdmissionRules,
    /// Volunteers that an owner vouches for, and until when.
    vouched: BTreeMap<PublicKey, Timestamp>,
    /// Adapters of admitted projects.
    acting: BTreeMap<PublicKey, ProjectKey>,
}

impl Admitted {
    pub(crate) fn new(rules: AdmissionRules) -> Self {
        Self { rules, ..Self::default() }
    }

    pub(crate) fn mode(&self) -> AdmissionMode {
        self.rules.mode
    }

    /// Whether the broker works for `key`.
    pub(crate) fn has(&self, key: PublicKey) -> bool {
        self.rules.mode == AdmissionMode::Open
            || self.rules.named.contains(&key)
            || self.vouched.contains_key(&key)
            || self.acting.contains_key(&key)
    }

    /// `node` acts for `project`, by its delegation, if that is admitted itself.
    pub(crate) fn acts_for(&mut self, node: PublicKey, project: ProjectKey) {
        let named = self.rules.named.contains(&project.into());
        if self.rules.mode != AdmissionMode::Open && named {
            self.acting.retain(|_, of| *of != project);
            self.acting.insert(node, project);
        }
    }

    /// Takes an owner's word for its volunteers; says whether it counts.
    pub(crate) fn vouch(&mut self, ownership: &Verified<Ownership>) -> bool {
        let counts = self.rules.mode == AdmissionMode::Vouched
            && self.rules.named.contains(&ownership.signer());
        if counts {
            let room = MAX_VOUCHED.saturating_sub(self.vouched.len());
            let nodes = ownership.nodes.iter().take(room);
            self.vouched.extend(nodes.map(|node| (*node, ownership.expires())));
        }
        counts
    }

    pub(crate) fn expire(&mut self, now: Timestamp) {
        self.vouched.retain(|_, until| *until > now);
    }
}
