//! What has become of keys, as far as it matters here: kept until it is over, and durable.
//!
//! Signers may be thieves. So of a delegate only that it is void itself is kept, and of a pinned
//! project so much as brokers keep, with room beside for what must not go unheard.

use std::collections::{BTreeMap, BTreeSet};

use capability::{
    Envelope, KeyBook, MAX_CLOCK_SKEW, PublicKey, StatementError, StatementId, Timestamp, Verifier,
};
use mesh_core::{
    KeyChange, MAX_KEY_CHANGE_BYTES, MAX_REVOCATIONS_A_SIGNER, MAX_SUCCESSIONS_A_SIGNER, Mono,
    Write,
};

/// First byte of the keys of records of key changes.
pub(crate) const KEY_CHANGE_PREFIX: u8 = b'v';

/// Key changes by delegates kept at most, a kibibyte each.
const MAX_BY_DELEGATES: usize = 4096;

/// Revocations by a pinned project of delegates in use, beside those of other keys.
const ROOM_FOR_DELEGATES: usize = 64;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct KeyChanges {
    book: KeyBook,
    /// What the book says, and on what ground.
    kept: BTreeMap<StatementId, KeyChange>,
}

/// The keys that this volunteer goes by.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Relied<'k> {
    pub pinned: &'k BTreeSet<PublicKey>,
    pub delegates: &'k BTreeMap<PublicKey, Mono>,
}

/// What comes of an answer.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What nobody had said before.
    pub news: Vec<KeyChange>,
    /// To be made durable.
    pub writes: Vec<Write>,
}

/// Something was said that matters and could not be kept: there is no room, or it cannot hold yet by
/// this machine's clock.
#[derive(Debug)]
pub(crate) struct Missed;

impl KeyChanges {
    /// Takes up what a former process had made durable.
    pub fn restore(&mut self, value: &[u8], verifier: &dyn Verifier) -> Result<(), StatementError> {
        let change = KeyChange::check(&Envelope::parse(value)?, verifier)?;
        self.enter(change);
        Ok(())
    }

    /// What they add up to.
    pub fn book(&self) -> &KeyBook {
        &self.book
    }

    /// Keeps `change` if it matters to whoever goes by `relied`, and says more than is known.
    pub fn hear(
        &mut self,
        change: KeyChange,
        relied: Relied<'_>,
        now: Timestamp,
        heard: &mut Heard,
    ) -> Result<(), Missed> {
        let former = self.kept.values().find(|former| say_the_same(former, &change));
        let is_known = former.is_some_and(|former| former.expires() >= change.expires());
        if is_known || !relied.concern(&change) {
            return Ok(());
        }
        match change.current(now) {
            Ok(()) => {}
            Err(StatementError::Expired { .. }) => return Ok(()),
            Err(_) => return Err(Missed),
        }
        let gives_way = match former {
            Some(former) => Some(former.id()),
            None if self.is_settled(&change) => return Ok(()),
            None => {
                let gives_way = self.make_room(&change, relied, now)?;
                heard.news.push(change.clone());
                gives_way
            }
        };
        heard.writes.extend(self.forget(gives_way));
        heard.writes.push(Write::put(record_key(change.id()), change.envelope().as_bytes()));
        self.enter(change);
        Ok(())
    }

    /// Forgets what has expired; a pinned key never expires, and what it has said stays with it
    /// (S71).
    pub fn expire(&mut self, pinned: &BTreeSet<PublicKey>, now: Timestamp) -> Vec<Write> {
        let is_over = |it: &&KeyChange| has_expired(it, now) && !pinned.contains(&it.signer());
        let over: Vec<_> = self.kept.values().filter(is_over).map(KeyChange::id).collect();
        self.forget(over)
    }

    fn forget(&mut self, over: impl IntoIterator<Item = StatementId>) -> Vec<Write> {
        let mut writes = Vec::new();
        for id in over {
            let Some(change) = self.kept.remove(&id) else { continue };
            match &change {
                KeyChange::Revocation(it) => self.book.forget_revocation(it.key, it.signer()),
                KeyChange::Succession(it) => {
                    self.book.forget_succession(it.signer(), it.successor);
                }
            }
            writes.push(Write::delete(record_key(id)));
        }
        if !writes.is_empty() {
            // Former processes kept several by one signer about one key.
            self.kept.values().for_each(|change| note(&mut self.book, change));
        }
        writes
    }

    /// Which change gives way to `change`, if there is too little room for both.
    fn make_room(
        &self,
        change: &KeyChange,
        relied: Relied<'_>,
        now: Timestamp,
    ) -> Result<Option<StatementId>, Missed> {
        let signer = change.signer();
        if !relied.pinned.contains(&signer) {
            let others = self.kept.values().filter(|it| !relied.pinned.contains(&it.signer()));
            return if others.count() < MAX_BY_DELEGATES { Ok(None) } else { Err(Missed) };
        }
        let Some(key) = revoked(change).filter(|key| *key != signer) else { return Ok(None) };
        let is_in_use = |key: &PublicKey| relied.delegates.contains_key(key);
        let alike = |other: PublicKey| other != signer && is_in_use(&other) == is_in_use(&key);
        let by_signer = self.kept.values().filter(|it| it.signer() == signer);
        let alike: Vec<_> = by_signer.filter(|it| revoked(it).is_some_and(alike)).collect();
        let most = if is_in_use(&key) { ROOM_FOR_DELEGATES } else { MAX_REVOCATIONS_A_SIGNER };
        if alike.len() < most {
            return Ok(None);
        }
        // Its delegation has expired before it.
        let over = alike.into_iter().filter(|it| has_expired(it, now));
        over.min_by_key(|it| it.expires()).map(|it| Some(it.id())).ok_or(Missed)
    }

    /// Whether the signer is known to be in two hands, which one more succession does not change.
    fn is_settled(&self, change: &KeyChange) -> bool {
        let is_succession = |it: &KeyChange| matches!(it, KeyChange::Succession(_));
        let of_signer = self.kept.values().filter(|it| it.signer() == change.signer());
        is_succession(change)
            && of_signer.filter(|it| is_succession(it)).count() >= MAX_SUCCESSIONS_A_SIGNER
    }

    fn enter(&mut self, change: KeyChange) {
        note(&mut self.book, &change);
        self.kept.insert(change.id(), change);
    }
}

impl Relied<'_> {
    /// Whether `change` could matter: a project answers for its delegates, and whoever else signs is
    /// heard about itself only (S70). Brokers keep none that is too large.
    fn concern(self, change: &KeyChange) -> bool {
        let signer = change.signer();
        change.envelope().as_bytes().len() <= MAX_KEY_CHANGE_BYTES
            && (self.pinned.contains(&signer) || revoked(change) == Some(signer))
    }
}

fn note(book: &mut KeyBook, change: &KeyChange) {
    match change {
        KeyChange::Revocation(it) => book.revoke(it),
        KeyChange::Succession(it) => book.pass_on(it),
    };
}

/// Whether they differ in nothing but how long they hold and what they tell people.
fn say_the_same(one: &KeyChange, other: &KeyChange) -> bool {
    let about = |change: &KeyChange| match change {
        KeyChange::Revocation(it) => (Some(it.key), None),
        KeyChange::Succession(it) => (None, Some(it.successor)),
    };
    one.signer() == other.signer() && about(one) == about(other)
}

fn revoked(change: &KeyChange) -> Option<PublicKey> {
    if let KeyChange::Revocation(it) = change { Some(it.key) } else { None }
}

fn has_expired(change: &KeyChange, now: Timestamp) -> bool {
    change.expires() + MAX_CLOCK_SKEW <= now
}

fn record_key(id: StatementId) -> Vec<u8> {
    [&[KEY_CHANGE_PREFIX], id.as_bytes().as_slice()].concat()
}
