//! A snapshot for the status page.

use capability::{Payload, ProjectKey, PublicKey, StatementId, Timestamp};
use serde::Serialize;

use super::Broker;
use crate::pool::TaskCounts;

/// Offers in a snapshot at most: a page of a thousand is long enough.
const MAX_SHOWN: usize = 1_000;

/// What a broker knows and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The broker's key.
    pub broker: PublicKey,
    /// Who is connected.
    pub peers: Vec<PeerStatus>,
    /// Brokers known of.
    pub brokers: usize,
    /// Brokers that can be reached, directly or by way of others.
    pub reachable: usize,
    /// Own volunteers with an ad.
    pub ads: usize,
    /// Volunteers that wait for an offer.
    pub pulls: usize,
    /// Live leases granted here.
    pub leases: usize,
    /// Results and receipts in custody.
    pub custody: usize,
    /// Whether nothing new is taken for want of disk space.
    pub disk_is_full: bool,
    /// Statements that are compared with other brokers.
    pub gossip: usize,
    /// Offers known, at most a thousand of them.
    pub offers: Vec<OfferStatus>,
}

/// Somebody who is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerStatus {
    /// Who.
    pub peer: PublicKey,
    /// What it is, as far as is known.
    pub role: PeerRole,
}

/// What a peer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerRole {
    /// A broker whose card is known.
    Broker,
    /// A volunteer whose ad is known.
    Volunteer,
    /// A master's adapter: it signed a home that is known.
    Master,
    /// It has not said.
    Unknown,
}

/// One offer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct OfferStatus {
    /// The offer.
    pub offer: StatementId,
    /// Whose.
    pub project: ProjectKey,
    /// The project's name, if its registration is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub project_name: Option<String>,
    /// The job's name.
    pub name: String,
    /// The builder.
    pub builder: String,
    /// How many tasks it has.
    pub tasks: u32,
    /// Its home broker, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub home: Option<PublicKey>,
    /// The home's epoch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// How its tasks stand, if they are granted here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counts: Option<TaskCounts>,
    /// When it expires.
    pub expires: Timestamp,
}

impl Broker {
    /// What the broker knows and does now.
    pub fn status(&self) -> Status {
        let brokers: Vec<_> = self.routes.cards().map(|card| card.signer()).collect();
        let others = brokers.iter().filter(|broker| **broker != self.me);
        let reachable = others.filter(|broker| self.routes.next_hop(**broker).is_some()).count();
        let offers = self.book.offers().take(MAX_SHOWN).map(|offer| {
            let home = self.book.home(offer.project);
            let registration = self.book.registration(offer.project);
            OfferStatus {
                offer: offer.id(),
                project: offer.project,
                project_name: registration.map(|it| it.name.clone()),
                name: offer.name.clone(),
                builder: offer.builder.clone(),
                tasks: offer.tasks,
                home: home.map(|home| home.home),
                epoch: home.map(|home| home.epoch),
                counts: self.leases.counts(offer.id()),
                expires: offer.expires(),
            }
        });
        Status {
            broker: self.me,
            peers: self.peers.keys().map(|peer| self.peer_status(*peer)).collect(),
            brokers: brokers.len(),
            reachable,
            ads: self.ads.len(),
            pulls: self.pulls.len(),
            leases: self.leases.len(),
            custody: self.custody.len(),
            disk_is_full: self.disk_is_full(),
            gossip: self.known.ids().len(),
            offers: offers.collect(),
        }
    }

    fn peer_status(&self, peer: PublicKey) -> PeerStatus {
        let role = if self.routes.knows(peer) {
            PeerRole::Broker
        } else if self.ads.own(peer).is_some() {
            PeerRole::Volunteer
        } else if self.book.homes().any(|home| home.signer() == peer) {
            PeerRole::Master
        } else {
            PeerRole::Unknown
        };
        PeerStatus { peer, role }
    }
}
