//! Projects that the owner trusts by trusting a curator's choice.
//!
//! The owner pins the key of a list, with the terms that hold for each project on it. A list names projects
//! by their keys, and nothing else: keywords choose among those that it names, and what a project calls itself
//! in its registration puts it on no list (S108). Whom the owner pinned is trusted as that pin says; whom the owner
//! removed is trusted by no list.
//!
//! Of several lists that name a project the one counts that holds longest, of those that hold. A list that has expired,
//! or whose curator's key is void, is a ground for nothing new; what is in hand goes on. A
//! project that a newer list does not name any more is not trusted, as if the owner had removed it.

use std::collections::BTreeSet;

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
/// `removed`. Whom several lists name has a pin by each, that of the list that holds longest first.
pub fn all_pins(own: Vec<Pin>, lists: &[PinnedList], removed: &BTreeSet<ProjectKey>) -> Vec<Pin> {
    let is_own: BTreeSet<_> = own.iter().map(|pin| pin.project).collect();
    let listed = lists.iter().flat_map(|list| list.wanted().map(|project| list.pin(project)));
    let wanted = |pin: &Pin| !removed.contains(&pin.project) && !is_own.contains(&pin.project);
    let mut all: Vec<_> = listed.filter(wanted).chain(own).collect();
    let end = |pin: &Pin| pin.voucher.as_ref().map(|voucher| voucher.expires);
    all.sort_by(|one, other| one.project.cmp(&other.project).then(end(other).cmp(&end(one))));
    all
}

/// Of the pins of each project in `all`, which stand side by side, the first that `holds`, or else the first.
fn chosen(all: &[Pin], holds: impl Fn(&Pin) -> bool) -> Vec<Pin> {
    let of_each = all.chunk_by(|one, next| one.project == next.project);
    let best = of_each
        .filter_map(|rivals| rivals.iter().find(|pin| holds(pin)).or_else(|| rivals.first()));
    best.cloned().collect()
}

impl Volunteer {
    /// The shell says who is trusted, and by which lists.
    pub(crate) fn pins_told(&mut self, pins: Vec<Pin>) {
        self.rivals = pins.windows(2).any(|pair| pair[0].project == pair[1].project);
        self.pinned = pins;
        self.pins_changed(chosen(&self.pinned, |pin| self.judge_voucher(pin).is_ok()));
    }

    /// Another list may vouch for a project whose own has ended, or whose curator's key is void now.
    pub(crate) fn look_for_better_lists(&mut self) {
        let fails = |pin: &Pin| self.judge_voucher(pin).is_err();
        if self.rivals && self.trust.pins().any(fails) {
            let pins = chosen(&self.pinned, |pin| !fails(pin));
            if pins.iter().any(|pin| self.trust.pin(&pin.project) != Some(pin)) {
                self.pins_changed(pins);
            }
        }
    }

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
