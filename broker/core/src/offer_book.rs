//! Offers, whose they are, which broker grants their tasks, what has been withdrawn, and which keys
//! are void.
//!
//! What is newer and what there is room for, [`crate::gossip_set`] decides; here it is looked up.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use capability::statements::{Home, Offer, Registration, Withdrawal};
use capability::{
    BlobHash, KEY_BYTES, KeyBook, ProjectKey, PublicKey, StatementId, Timestamp, Verified,
};

/// The first in their order.
const LEAST_KEY: PublicKey = PublicKey::from_bytes([0; KEY_BYTES]);

/// Where an offer stands among its project's: the higher priority first, then the older.
pub(crate) type Place = (Reverse<u8>, Timestamp, StatementId);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct OfferBook {
    offers: BTreeMap<StatementId, Verified<Offer>>,
    by_project: BTreeMap<ProjectKey, BTreeSet<Place>>,
    by_package: BTreeMap<BlobHash, BTreeSet<StatementId>>,
    homes: BTreeMap<ProjectKey, Verified<Home>>,
    registrations: BTreeMap<ProjectKey, Verified<Registration>>,
    /// Who has withdrawn what; of an offer that is not known anybody may have said so.
    withdrawn: BTreeSet<(StatementId, PublicKey)>,
    /// Offers that their own signers have withdrawn, and who these are.
    ended: BTreeMap<StatementId, PublicKey>,
    keys: KeyBook,
    /// Offers that were published here, and survive a restart.
    durable: BTreeSet<StatementId>,
}

impl OfferBook {
    pub(crate) fn offer(&self, id: StatementId) -> Option<&Verified<Offer>> {
        self.offers.get(&id)
    }

    pub(crate) fn home(&self, project: ProjectKey) -> Option<&Verified<Home>> {
        self.homes.get(&project)
    }

    /// Every known home.
    pub(crate) fn homes(&self) -> impl Iterator<Item = &Verified<Home>> {
        self.homes.values()
    }

    pub(crate) fn registration(&self, project: ProjectKey) -> Option<&Verified<Registration>> {
        self.registrations.get(&project)
    }

    /// Every offer, in the order of ids.
    pub(crate) fn offers(&self) -> impl ExactSizeIterator<Item = &Verified<Offer>> {
        self.offers.values()
    }

    /// The offers from one on, in the order of ids.
    pub(crate) fn offers_from(
        &self,
        from: Bound<StatementId>,
    ) -> impl Iterator<Item = &Verified<Offer>> {
        self.offers.range((from, Bound::Unbounded)).map(|(_, offer)| offer)
    }

    /// Projects with offers.
    pub(crate) fn projects(&self) -> impl Iterator<Item = ProjectKey> + '_ {
        self.by_project.keys().copied()
    }

    /// Where `offer` stands among its project's.
    pub(crate) fn place(offer: &Verified<Offer>) -> Place {
        (Reverse(offer.priority), offer.issued, offer.id())
    }

    /// The offers of `project`, in their order.
    pub(crate) fn offers_of(&self, project: ProjectKey) -> impl Iterator<Item = &Verified<Offer>> {
        let of_project = self.by_project.get(&project).into_iter().flatten();
        of_project.map(|(.., id)| &self.offers[id])
    }

    /// The offers whose package is `hash`.
    pub(crate) fn offers_with(&self, hash: BlobHash) -> impl Iterator<Item = &Verified<Offer>> {
        self.by_package.get(&hash).into_iter().flatten().map(|id| &self.offers[id])
    }

    /// The packages of all offers.
    pub(crate) fn packages(&self) -> impl Iterator<Item = BlobHash> + '_ {
        self.by_package.keys().copied()
    }

    /// Whether the offer was published here.
    pub(crate) fn is_durable(&self, offer: StatementId) -> bool {
        self.durable.contains(&offer)
    }

    /// Whether an offer of the project was published here.
    pub(crate) fn has_durable(&self, project: ProjectKey) -> bool {
        self.offers_of(project).any(|offer| self.durable.contains(&offer.id()))
    }

    /// The offer was published here.
    pub(crate) fn make_durable(&mut self, offer: StatementId) {
        self.durable.insert(offer);
    }

    /// Whether the signer of `offer` has withdrawn it.
    pub(crate) fn is_withdrawn(&self, offer: &Verified<Offer>) -> bool {
        self.withdrawn.contains(&(offer.id(), offer.signer()))
    }

    /// Who has withdrawn `offer`, if it was known to be its signer.
    pub(crate) fn ended_by(&self, offer: StatementId) -> Option<PublicKey> {
        self.ended.get(&offer).copied()
    }

    /// Which keys are void, and which have passed on.
    pub(crate) fn keys(&self) -> &KeyBook {
        &self.keys
    }

    /// To enter more.
    pub(crate) fn keys_mut(&mut self) -> &mut KeyBook {
        &mut self.keys
    }

    /// Whether nothing may be done on behalf of that home: its signer or its broker is void.
    pub(crate) fn is_void_home(&self, home: &Verified<Home>) -> bool {
        self.keys.is_void_for(home.signer(), home.project) || self.keys.is_void(home.home)
    }

    /// Whether the signer of `offer` is void in its project.
    pub(crate) fn is_void_offer(&self, offer: &Verified<Offer>) -> bool {
        self.keys.is_void_for(offer.signer(), offer.project)
    }

    pub(crate) fn insert_offer(&mut self, offer: Verified<Offer>) {
        let id = offer.id();
        self.by_project.entry(offer.project).or_default().insert(Self::place(&offer));
        self.by_package.entry(offer.package.hash).or_default().insert(id);
        self.offers.insert(id, offer);
    }

    pub(crate) fn insert_home(&mut self, home: Verified<Home>) {
        self.homes.insert(home.project, home);
    }

    pub(crate) fn insert_registration(&mut self, registration: Verified<Registration>) {
        self.registrations.insert(registration.signer().into(), registration);
    }

    pub(crate) fn insert_withdrawal(&mut self, withdrawal: &Verified<Withdrawal>) {
        self.withdrawn.insert((withdrawal.statement, withdrawal.signer()));
    }

    /// The offer ends here, withdrawn by its signer.
    pub(crate) fn end(&mut self, withdrawal: &Verified<Withdrawal>) {
        self.ended.insert(withdrawal.statement, withdrawal.signer());
    }

    /// Takes up a durable withdrawal. Of an offer that was never known others may have said the same
    /// before; then nobody can tell any more whose word counts.
    pub(crate) fn restore_withdrawal(&mut self, withdrawal: &Verified<Withdrawal>) {
        let others = self.withdrawn.range((withdrawal.statement, LEAST_KEY)..).next();
        match others.filter(|(offer, _)| *offer == withdrawal.statement) {
            None => self.end(withdrawal),
            Some(_) => drop(self.ended.remove(&withdrawal.statement)),
        }
        self.insert_withdrawal(withdrawal);
    }

    /// The offers, homes and registrations whose signers are void.
    pub(crate) fn void(&self) -> (Vec<StatementId>, Vec<ProjectKey>, Vec<ProjectKey>) {
        let offers = self.offers.values().filter(|offer| self.is_void_offer(offer));
        let homes = self.homes.values().filter(|home| self.is_void_home(home));
        let projects = self.registrations.keys().filter(|it| self.keys.is_void((**it).into()));
        (
            offers.map(Verified::id).collect(),
            homes.map(|home| home.project).collect(),
            projects.copied().collect(),
        )
    }

    pub(crate) fn remove_offer(&mut self, id: StatementId) -> Option<Verified<Offer>> {
        let offer = self.offers.remove(&id)?;
        self.durable.remove(&id);
        remove_from(&mut self.by_project, offer.project, &Self::place(&offer));
        remove_from(&mut self.by_package, offer.package.hash, &id);
        Some(offer)
    }

    pub(crate) fn remove_home(&mut self, project: ProjectKey) {
        self.homes.remove(&project);
    }

    pub(crate) fn remove_registration(&mut self, project: ProjectKey) {
        self.registrations.remove(&project);
    }

    pub(crate) fn remove_withdrawal(&mut self, offer: StatementId, signer: PublicKey) {
        self.withdrawn.remove(&(offer, signer));
        if self.ended_by(offer) == Some(signer) {
            self.ended.remove(&offer);
        }
    }
}

fn remove_from<K: Ord, V: Ord>(index: &mut BTreeMap<K, BTreeSet<V>>, key: K, value: &V) {
    if let Some(values) = index.get_mut(&key) {
        values.remove(value);
        if values.is_empty() {
            index.remove(&key);
        }
    }
}
