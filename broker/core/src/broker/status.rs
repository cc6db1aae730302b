//! What a broker is like at a moment: sums for gauges, and the status for people.

use std::collections::BTreeSet;

use capability::statements::{Home, Offer};
use capability::{Payload, ProjectKey, PublicKey, StatementId, Timestamp, Verified};
use serde::Serialize;

use super::Broker;
use crate::admission::AdmissionMode;
use crate::contract::Direction;
use crate::pool::TaskCounts;

/// Entries of each list in a status at most: a first impression. All are found page by page
/// ([`Broker::peers`], [`Broker::offers`]).
const MAX_SHOWN: usize = 100;

/// How much of everything there is. Cheap: no offer, ad or bundle is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Totals {
    /// Who is connected.
    pub connected: usize,
    /// Linked brokers.
    pub links: usize,
    /// Brokers known of.
    pub brokers: usize,
    /// Brokers that can be reached, directly or by way of others.
    pub reachable: usize,
    /// Own volunteers with an ad.
    pub ads: usize,
    /// Volunteers that wait for an offer.
    pub pulls: usize,
    /// Offers known.
    pub known_offers: usize,
    /// Live leases granted here.
    pub leases: usize,
    /// Results and receipts in custody.
    pub custody: usize,
    /// Statements that are compared with other brokers.
    pub gossip: usize,
    /// Whether nothing new is taken for want of disk space.
    pub disk_is_full: bool,
    /// Whether nothing new is taken because the operator has told the broker to leave.
    pub leaving: bool,
    /// Who was limited within the hour: keys and addresses, a thousand at most.
    pub limited: usize,
    /// How often anybody was limited since the start.
    pub times_limited: u64,
}

/// What a broker knows and does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Status {
    /// The broker's key.
    pub broker: PublicKey,
    /// Whom the broker works for.
    pub admission: AdmissionMode,
    /// Whom people can write to about what it relays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub abuse_contact: Option<String>,
    /// How much there is.
    #[serde(flatten)]
    pub totals: Totals,
    /// The first of those who are connected.
    pub peers: Vec<PeerStatus>,
    /// The first of the offers that are known.
    pub offers: Vec<OfferStatus>,
}

impl std::ops::Deref for Status {
    type Target = Totals;

    fn deref(&self) -> &Totals {
        &self.totals
    }
}

/// Somebody who is connected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct PeerStatus {
    /// Who.
    pub peer: PublicKey,
    /// What it is, as far as is known.
    pub role: PeerRole,
    /// Who dialled.
    pub direction: Direction,
    /// Whether it is a broker that this one is linked to.
    pub linked: bool,
    /// Whether it waits for an offer.
    pub waiting: bool,
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
    /// Why it waits, if no way to its home is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waits: Option<String>,
    /// When it expires.
    pub expires: Timestamp,
}

impl Broker {
    /// What the broker knows and does now.
    pub fn status(&self) -> Status {
        Status {
            broker: self.me,
            admission: self.admitted.mode(),
            abuse_contact: self.abuse_contact.clone(),
            totals: self.totals(),
            peers: self.peers(None, MAX_SHOWN).items,
            offers: self.offers(None, MAX_SHOWN).items,
        }
    }

    /// How much of everything there is.
    pub fn totals(&self) -> Totals {
        Totals {
            connected: self.peers.len(),
            links: self.routes.links().count(),
            brokers: self.routes.cards().len(),
            reachable: self.routes.reachable(),
            ads: self.ads.len(),
            pulls: self.pulls.len(),
            known_offers: self.book.offers().len(),
            leases: self.leases.len(),
            custody: self.custody.len(),
            gossip: self.known.ids().len(),
            disk_is_full: self.disk_is_full(),
            leaving: self.is_leaving(),
            limited: self.meters.limited_now(),
            times_limited: self.meters.times(),
        }
    }

    pub(super) fn offer_status(&self, offer: &Verified<Offer>) -> OfferStatus {
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
            waits: home.and_then(|home| self.waits_for(home)),
            expires: offer.expires(),
        }
    }

    /// What its project's offers wait for, in words. Whether its adapter is there, only a broker to
    /// which it connects can tell.
    fn waits_for(&self, home: &Verified<Home>) -> Option<String> {
        let minutes = self.unseen.missed(home.home)?.as_secs() / 60;
        let unseen = match minutes / 60 {
            0 => format!("{minutes} min"),
            hours => format!("{hours} h"),
        };
        let adapter = match (home.standbys.contains(&self.me), self.peers.get(&home.signer())) {
            (true, None) => ", and the project's adapter is offline",
            (true, Some(_)) => "; the project's adapter is here, and will name another",
            (false, _) => "; the project's adapter can name another",
        };
        Some(format!("home {} has not been seen for {unseen}{adapter}", home.home.short()))
    }

    /// `masters` are the signers of all homes.
    pub(super) fn peer_status(
        &self,
        peer: PublicKey,
        direction: Direction,
        masters: &BTreeSet<PublicKey>,
    ) -> PeerStatus {
        let role = if self.routes.knows(peer) {
            PeerRole::Broker
        } else if self.ads.own(peer).is_some() {
            PeerRole::Volunteer
        } else if masters.contains(&peer) {
            PeerRole::Master
        } else {
            PeerRole::Unknown
        };
        let (linked, waiting) = (self.routes.is_linked(peer), self.pulls.of(peer).is_some());
        PeerStatus { peer, role, direction, linked, waiting }
    }
}
