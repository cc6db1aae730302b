//! What brokers tell of the owners whose machines made results: who has moved, and who is void (S76).
//!
//! Nothing of it is durable. The owner that vouched is kept with each result, and the home is asked
//! anew after a start.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::Ownership;
use capability::{KeyBook, PublicKey, Timestamp, Verified};
use mesh_core::{Answer, CallFailed, KeyChange, MAX_KEYS_AN_ASK, Mono, Now};

/// How often the home is asked about each.
const ROUND: Duration = Duration::from_secs(60 * 60);

/// Wait after a question without an answer.
const RETRY: Duration = Duration::from_secs(60);

/// Owners that are asked about at most, 500 questions an hour. Those beyond are taken at their word.
const MAX_OWNERS: usize = 4096;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    book: KeyBook,
    /// When each is to be asked about.
    due: BTreeMap<PublicKey, Mono>,
    under_way: Vec<PublicKey>,
    /// By owner that has passed on, the key in whose hands it is, as was told last.
    heirs: BTreeMap<PublicKey, PublicKey>,
}

impl Owners {
    /// A machine of `owner` has made a result.
    pub(crate) fn meet(&mut self, owner: PublicKey) {
        if self.due.len() < MAX_OWNERS {
            self.due.entry(owner).or_default();
        }
    }

    /// Whose `volunteer` is, if `ownership` counts at `now`.
    pub(crate) fn owner_of(
        &self,
        volunteer: PublicKey,
        ownership: Option<&Verified<Ownership>>,
        now: Timestamp,
    ) -> Option<PublicKey> {
        let ownership = ownership.filter(|it| it.current(now).is_ok())?;
        let owner = ownership.signer();
        let counts =
            ownership.nodes.contains(&volunteer) && !self.book.is_void_for(volunteer, owner);
        counts.then_some(owner)
    }

    /// In whose hands `owner` is now.
    pub(crate) fn heir(&self, owner: PublicKey) -> PublicKey {
        self.heirs.get(&owner).copied().unwrap_or(owner)
    }

    /// About whom to ask the home now, if anybody; the question is under way until
    /// [`Self::answered`].
    pub(crate) fn ask(&mut self, now: Mono) -> Option<Vec<PublicKey>> {
        if !self.under_way.is_empty() {
            return None;
        }
        let due = self.due.iter().filter(|(_, at)| **at <= now).map(|(owner, _)| *owner);
        self.under_way = due.take(MAX_KEYS_AN_ASK).collect();
        (!self.under_way.is_empty()).then(|| self.under_way.clone())
    }

    /// What the home has told. Gives the owners whose heir is another than before, with the heir.
    pub(crate) fn answered(
        &mut self,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) -> Vec<(PublicKey, PublicKey)> {
        let asked = std::mem::take(&mut self.under_way);
        let (changes, wait) = match answer {
            Ok(Answer::KeyChanges(changes)) => (changes, ROUND),
            _ => (Vec::new(), RETRY),
        };
        for owner in &asked {
            self.due.insert(*owner, now.mono + wait);
        }
        let told = changes.into_iter();
        let told = told.filter(|it| asked.contains(&it.signer()) && it.current(now.wall).is_ok());
        let news = told.filter(|change| self.enter(change)).count();
        if news > 0 { self.heirs_anew() } else { Vec::new() }
    }

    /// When somebody is to be asked about.
    pub(crate) fn next_wake(&self) -> Option<Mono> {
        self.due.values().min().copied().filter(|_| self.under_way.is_empty())
    }

    /// Enters `change`; says whether it is news.
    fn enter(&mut self, change: &KeyChange) -> bool {
        match change {
            KeyChange::Revocation(it) => self.book.revoke(it),
            KeyChange::Succession(it) => {
                // It may have passed on as well.
                self.meet(it.successor);
                self.book.pass_on(it)
            }
        }
    }

    /// Those whose heir is another than was told.
    fn heirs_anew(&mut self) -> Vec<(PublicKey, PublicKey)> {
        let book = &self.book;
        let heirs = self.due.keys().filter_map(|owner| Some((*owner, book.heir(*owner)?)));
        let former = std::mem::replace(&mut self.heirs, heirs.collect());
        let owners = self.due.keys().map(|owner| (*owner, self.heir(*owner)));
        let told = |owner: &PublicKey| former.get(owner).copied().unwrap_or(*owner);
        owners.filter(|(owner, heir)| told(owner) != *heir).collect()
    }
}
