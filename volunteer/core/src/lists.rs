//! Projects that the owner trusts by trusting a curator's choice.
//!
//! The owner pins the key of a list, with the terms that hold for each project on it. A list names projects
//! by their keys, and nothing else: keywords choose among those that it names, and what a project calls itself
//! in its registration puts it on no list (S108). Whom the owner pinned is trusted as that pin says; whom the owner
//! removed is trusted by no list.
//!
//! A list that has expired, or whose curator's key is void, is a ground for nothing new; what is in hand goes on. A
//! project that a newer list does not name any more is not trusted, as if the owner had removed it.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{List, ListedProject};
use capability::{ProjectKey, PublicKey, Timestamp, Verified};

use crate::trust::{Decline, Pin};
use crate::volunteer::Volunteer;

/// A list that the owner pinned.
#[derive(Debug, Clone)]
pub struct PinnedList {
    /// The newest of its curator.
    pub list: Verified<List>,
    /// Of its projects those of which the curator uses one of these words, in small letters; none are all.
    pub keywords: BTreeSet<String>,
    /// What each of them may do; whose pin it is does not matter.
    pub terms: Pin,
}

/// By which list a project is trusted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voucher {
    /// Who signed the list.
    pub curator: PublicKey,
    /// What the curator calls it.
    pub list: String,
    /// How long it holds.
    pub expires: Timestamp,
}

impl PinnedList {
    /// The projects on it that the owner wants.
    pub fn wanted(&self) -> impl Iterator<Item = &ListedProject> {
        let is_wanted = |project: &&ListedProject| {
            let mut words = project.keywords.iter().map(|word| word.to_lowercase());
            self.keywords.is_empty() || words.any(|word| self.keywords.contains(&word))
        };
        self.list.projects.iter().filter(is_wanted)
    }

    fn pin(&self, project: &ListedProject) -> Pin {
        let List { name, expires, .. } = &*self.list;
        let voucher =
            Voucher { curator: self.list.signer(), list: name.clone(), expires: *expires };
        Pin {
            project: project.key,
            name: project.name.clone(),
            voucher: Some(voucher),
            ..self.terms.clone()
        }
    }
}

/// All that are trusted: the owner's `own` pins, and those on `lists` that the owner has neither pinned nor
/// `removed`. Of several lists that name a project the one counts that holds longest.
pub fn all_pins(own: Vec<Pin>, lists: &[PinnedList], removed: &BTreeSet<ProjectKey>) -> Vec<Pin> {
    let mut all: BTreeMap<ProjectKey, Pin> = BTreeMap::new();
    let listed = lists.iter().flat_map(|list| list.wanted().map(|project| list.pin(project)));
    for pin in listed.filter(|pin| !removed.contains(&pin.project)) {
        let end = |pin: &Pin| pin.voucher.as_ref().map(|voucher| voucher.expires);
        let is_better = all.get(&pin.project).is_none_or(|other| end(other) < end(&pin));
        if is_better {
            all.insert(pin.project, pin);
        }
    }
    all.extend(own.into_iter().map(|pin| (pin.project, pin)));
    all.into_values().collect()
}

impl Volunteer {
    /// Whether the list by which the project of `pin` is trusted is a ground for anything new.
    ///
    /// # Errors
    /// Why it is not (S107).
    pub(crate) fn judge_voucher(&self, pin: &Pin) -> Result<(), Decline> {
        let Some(Voucher { curator, list, expires }) = &pin.voucher else { return Ok(()) };
        if self.keys.book().is_void(*curator) {
            return Err(Decline::CuratorVoid { list: list.clone() });
        }
        if *expires <= self.now.wall {
            return Err(Decline::ListOver { list: list.clone(), expires: *expires });
        }
        Ok(())
    }
}
