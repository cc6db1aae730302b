//! Everything that a broker knows, page by page: nobody wants 20,000 ads at once, and nobody waits
//! for them.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Bound;

use capability::statements::{Ad, BrokerCard, TaskId};
use capability::{Explanation, Payload, PublicKey, Resources, StatementId, Timestamp, Verified};
use mesh_core::Bundle;
use serde::Serialize;

use super::Broker;
use super::carrying::describe;
use super::status::{OfferStatus, PeerStatus};
use crate::ad_table::shard_of;
use crate::rules::Decision;

/// Some consecutive entries of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Page<T> {
    /// The entries.
    pub items: Vec<T>,
    /// After which entry the next page begins; nothing if this page is the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// An own volunteer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct AdStatus {
    /// Who.
    pub volunteer: PublicKey,
    /// The shards whose offers it could take: `linux-x86_64`, `wasm`.
    pub shards: BTreeSet<String>,
    /// What it donates.
    pub resources: Resources,
    /// Whether it is connected; if not, its ad is forgotten soon.
    pub connected: bool,
    /// Whether it waits for an offer.
    pub waiting: bool,
    /// When the ad expires.
    pub expires: Timestamp,
}

/// A result or a receipt in custody.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BundleStatus {
    /// Its statement.
    pub statement: StatementId,
    /// `result` or `receipt`.
    pub kind: &'static str,
    /// For which task.
    #[serde(flatten)]
    pub task: TaskId,
    /// Whose share of the room it takes.
    pub origin: PublicKey,
    /// Who has it next; nothing while there is no way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<PublicKey>,
    /// Whether it is being handed over.
    pub in_hand: bool,
    /// Bytes of its blobs.
    pub blob_bytes: u64,
    /// When nobody waits for it any more.
    pub expires: Timestamp,
}

/// A broker that this one knows of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct BrokerStatus {
    /// Which.
    pub broker: PublicKey,
    /// Where others can dial it.
    pub addresses: Vec<String>,
    /// Brokers that it says it is linked to.
    pub links: Vec<PublicKey>,
    /// The linked broker that leads there; nothing if it cannot be reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_hop: Option<PublicKey>,
}

/// How an offer stands, and who could run it.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OfferExplained {
    /// The offer.
    #[serde(flatten)]
    pub offer: OfferStatus,
    /// Where its tasks are granted.
    pub grants: Grants,
    /// Own volunteers that wait for any offer.
    pub waiting: usize,
    /// How the known machines stand to it; nothing if that takes too long to find out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machines: Option<Explanation>,
}

/// Where the tasks of an offer are granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grants {
    /// Here.
    Here,
    /// Here, as soon as its master publishes it anew.
    HereOncePublished,
    /// At its home, which can be reached.
    AtHome,
    /// At its home, to which there is no way at present: its tasks wait.
    OutOfReach,
    /// Nobody has said which broker is the home.
    NowhereKnown,
}

/// A rule of the operator's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RuleStatus {
    /// Whom or what it is about.
    pub subject: String,
    /// Why.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
}

impl Broker {
    /// Who is turned away.
    pub fn blocked(&self, after: Option<String>, limit: usize) -> Page<RuleStatus> {
        let blocked = self.rules.blocked.iter().map(|(whom, why)| (whom.to_string(), why));
        rules(blocked, after.as_deref(), limit)
    }

    /// What was taken down.
    pub fn all_taken_down(&self, after: Option<String>, limit: usize) -> Page<RuleStatus> {
        let down = self.rules.taken_down.iter().map(|(content, why)| (content.to_string(), why));
        rules(down, after.as_deref(), limit)
    }

    /// Who is connected, in the order of keys: at most `limit` of those that come after `after`.
    pub fn peers(&self, after: Option<PublicKey>, limit: usize) -> Page<PeerStatus> {
        let masters = self.book.homes().map(|home| home.signer()).collect();
        let peers = self.peers.range((beyond(after), Bound::Unbounded));
        let peers =
            peers.map(|(peer, direction)| (*peer, self.peer_status(*peer, *direction, &masters)));
        page(peers, limit)
    }

    /// The offers that are known, in the order of ids.
    pub fn offers(&self, after: Option<StatementId>, limit: usize) -> Page<OfferStatus> {
        let offers = self.book.offers_from(beyond(after));
        page(offers.map(|offer| (offer.id(), self.offer_status(offer))), limit)
    }

    /// The own volunteers, in the order of keys.
    pub fn ads(&self, after: Option<PublicKey>, limit: usize) -> Page<AdStatus> {
        let ads = self.ads.own_from(beyond(after));
        page(ads.map(|ad| (ad.signer(), self.ad_status(ad))), limit)
    }

    /// What is in custody, in the order of ids.
    pub fn custody(&self, after: Option<StatementId>, limit: usize) -> Page<BundleStatus> {
        let bundles = self.custody.bundles_from(beyond(after));
        page(bundles.map(|bundle| (bundle.id(), self.bundle_status(bundle))), limit)
    }

    /// The brokers that are known, in the order of keys: with their links, a map of the mesh.
    pub fn brokers(&self, after: Option<PublicKey>, limit: usize) -> Page<BrokerStatus> {
        let cards = self.routes.cards_from(beyond(after));
        page(cards.map(|card| (card.signer(), self.broker_status(card))), limit)
    }

    /// The offers whose ids begin with `digits`, as logs and lists show them.
    pub fn offers_called<'a>(&'a self, digits: &'a str) -> impl Iterator<Item = StatementId> + 'a {
        // The least of all ids that begin so. What is no hexadecimal number begins no id.
        let least = format!("{digits:0<64}").parse().ok();
        let from = least.map(|least: StatementId| self.book.offers_from(Bound::Included(least)));
        let ids = from.into_iter().flatten().map(Verified::id);
        ids.take_while(move |id| id.to_string().starts_with(digits))
    }

    /// How `offer` stands, and who could run it.
    pub fn explain_offer(&self, offer: StatementId) -> Option<OfferExplained> {
        let offer = self.book.offer(offer)?;
        Some(OfferExplained {
            offer: self.offer_status(offer),
            grants: self.grants_of(offer.id(), self.book.home(offer.project).map(|it| it.home)),
            waiting: self.pulls.len(),
            machines: self.ads.explain(&offer.requirements),
        })
    }

    fn grants_of(&self, offer: StatementId, home: Option<PublicKey>) -> Grants {
        match home {
            None => Grants::NowhereKnown,
            Some(home) if home == self.me && self.leases.open(offer).is_some() => Grants::Here,
            Some(home) if home == self.me => Grants::HereOncePublished,
            Some(home) if self.routes.next_hop(home).is_some() => Grants::AtHome,
            Some(_) => Grants::OutOfReach,
        }
    }

    fn ad_status(&self, ad: &Verified<Ad>) -> AdStatus {
        let volunteer = ad.signer();
        let capabilities = &ad.capabilities;
        let shards = capabilities.runtimes.keys().filter_map(|it| shard_of(it, capabilities));
        AdStatus {
            volunteer,
            shards: shards.map(|shard| shard.to_string()).collect(),
            resources: capabilities.resources,
            connected: self.peers.contains_key(&volunteer),
            waiting: self.pulls.of(volunteer).is_some(),
            expires: ad.expires(),
        }
    }

    fn bundle_status(&self, bundle: &Bundle) -> BundleStatus {
        let (kind, task) = describe(bundle);
        let in_hand = self.custody.in_hand(bundle.id());
        BundleStatus {
            statement: bundle.id(),
            kind,
            task,
            origin: bundle.origin(),
            next: in_hand.or_else(|| self.ways().next_hop(bundle)),
            in_hand: in_hand.is_some(),
            blob_bytes: bundle.blobs().iter().map(|(_, bytes)| bytes).sum(),
            expires: bundle.expires(),
        }
    }

    fn broker_status(&self, card: &Verified<BrokerCard>) -> BrokerStatus {
        let broker = card.signer();
        BrokerStatus {
            broker,
            addresses: card.addresses.clone(),
            links: card.links.clone(),
            next_hop: self.routes.next_hop(broker),
        }
    }
}

/// A page of rules, which have come in an order of their own: it is kept.
fn rules<'a>(
    all: impl Iterator<Item = (String, &'a Decision)>,
    after: Option<&str>,
    limit: usize,
) -> Page<RuleStatus> {
    let mut all = all.peekable();
    if let Some(after) = after {
        // The whole list is at most ten thousand long.
        all.by_ref().find(|(subject, _)| subject == after);
    }
    let entry = |(subject, why): (String, &Decision)| {
        let rule =
            RuleStatus { subject: subject.clone(), reason: why.reason.clone(), since: why.at };
        (subject, rule)
    };
    page(all.map(entry), limit)
}

fn beyond<K>(after: Option<K>) -> Bound<K> {
    after.map_or(Bound::Unbounded, Bound::Excluded)
}

/// The first `limit` of `entries`, each with the key by which the next page is asked for.
fn page<K: Display, T>(mut entries: impl Iterator<Item = (K, T)>, limit: usize) -> Page<T> {
    let (mut items, mut last) = (Vec::new(), None);
    for (key, item) in entries.by_ref().take(limit) {
        items.push(item);
        last = Some(key);
    }
    let next = entries.next().and(last).map(|last| last.to_string());
    Page { items, next }
}
