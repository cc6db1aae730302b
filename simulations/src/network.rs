//! Who can reach whom, how fast and how surely; and what travels: frames as bytes.
//!
//! A frame that is lost stays lost: a question then goes unanswered until its caller gives up. That
//! is harsher than a transport that sends again, and hits the case that matters most: done, but the
//! answer lost.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use capability::BlobHash;

use crate::engine::Rng;

/// A node's place in the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct NodeId(pub usize);

/// One process of a node: a restart makes another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Life(pub u64);

/// One connection of a link: a new one makes what the old one carried void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// Names a question while it is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flight(pub u64);

/// What travels over a connection.
#[derive(Debug, Clone)]
pub struct Frame {
    /// What kind of frame.
    pub kind: FrameKind,
    /// The question that it asks or answers; gossip has none.
    pub flight: Option<Flight>,
    /// As they are on the wire.
    pub bytes: Vec<u8>,
}

/// The kinds of frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// A signed request.
    Ask,
    /// The answer to it.
    Answer,
    /// A statement to be forwarded to all brokers.
    Gossip,
    /// A bundle.
    Handover,
    /// A bundle after its blobs.
    HandoverWithBlobs,
    /// The answer to a bundle.
    HandoverAnswer,
    /// A question about the set of gossip.
    Reconcile,
    /// The answer to it.
    ReconcileAnswer,
    /// The hash of a blob that is wanted.
    BlobWanted(BlobHash),
    /// A blob, whose bytes are left out.
    Blob(BlobHash),
    /// The blob is not to be had.
    NoBlob,
}

impl fmt::Display for FrameKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ask => "ask",
            Self::Answer => "answer",
            Self::Gossip => "gossip",
            Self::Handover => "handover",
            Self::HandoverWithBlobs => "handover with blobs",
            Self::HandoverAnswer => "handover answer",
            Self::Reconcile => "reconcile",
            Self::ReconcileAnswer => "reconcile answer",
            Self::BlobWanted(_) => "blob wanted",
            Self::Blob(_) => "blob",
            Self::NoBlob => "no blob",
        })
    }
}

/// How well two nodes can reach each other.
#[derive(Debug, Clone)]
pub struct Link {
    /// One way.
    pub latency: RangeInclusive<Duration>,
    /// Frames lost of 1,000.
    pub loss_permille: u64,
    /// Cuts that are in force; frames pass if there is none.
    cuts: u32,
    /// Counts cuts and heals, so that one can tell whether a cut is still the same.
    changes: u64,
}

impl Link {
    /// A sound link.
    pub fn new(latency: RangeInclusive<Duration>) -> Self {
        Self { latency, loss_permille: 0, cuts: 0, changes: 0 }
    }

    /// Whether frames can pass.
    pub fn is_open(&self) -> bool {
        self.cuts == 0
    }
}

/// The links between nodes. Without one, two nodes cannot reach each other directly.
#[derive(Debug, Default)]
pub struct Network {
    links: BTreeMap<(NodeId, NodeId), Link>,
}

impl Network {
    /// Lets two nodes reach each other.
    pub fn join(&mut self, a: NodeId, b: NodeId, link: Link) {
        self.links.insert(ends(a, b), link);
    }

    /// The link between two nodes, if there is one.
    pub fn link(&self, a: NodeId, b: NodeId) -> Option<&Link> {
        self.links.get(&ends(a, b))
    }

    /// Cuts the link; returns what [`Network::is_same_cut`] wants to know.
    pub fn cut(&mut self, a: NodeId, b: NodeId) -> u64 {
        self.change(a, b, |link| link.cuts += 1)
    }

    /// Ends one cut of the link.
    pub fn heal(&mut self, a: NodeId, b: NodeId) {
        self.change(a, b, |link| link.cuts = link.cuts.saturating_sub(1));
    }

    /// Whether the link has been cut all the time since `cut` was made.
    pub fn is_same_cut(&self, a: NodeId, b: NodeId, cut: u64) -> bool {
        self.link(a, b).is_some_and(|link| !link.is_open() && link.changes == cut)
    }

    /// Lets every link lose so many frames of 1,000.
    pub fn set_loss(&mut self, permille: u64) {
        self.links.values_mut().for_each(|link| link.loss_permille = permille);
    }

    /// Ends all cuts and losses.
    pub fn heal_all(&mut self) {
        for link in self.links.values_mut() {
            link.changes += 1;
            link.cuts = 0;
            link.loss_permille = 0;
        }
    }

    /// How long a frame takes that is sent now, or `None` if it is lost.
    pub fn carry(&self, from: NodeId, to: NodeId, rng: &mut Rng) -> Option<Duration> {
        let link = self.link(from, to)?;
        let latency = rng.duration(link.latency.clone());
        let lost = rng.happens(link.loss_permille);
        (link.is_open() && !lost).then_some(latency)
    }

    fn change(&mut self, a: NodeId, b: NodeId, change: impl FnOnce(&mut Link)) -> u64 {
        let Some(link) = self.links.get_mut(&ends(a, b)) else { return 0 };
        change(link);
        link.changes += 1;
        link.changes
    }
}

fn ends(a: NodeId, b: NodeId) -> (NodeId, NodeId) {
    (a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: NodeId = NodeId(0);
    const B: NodeId = NodeId(1);

    fn joined() -> Network {
        let mut network = Network::default();
        network.join(A, B, Link::new(Duration::from_millis(1)..=Duration::from_millis(2)));
        network
    }

    #[test]
    fn frames_pass_in_both_directions_where_there_is_a_link() {
        let (network, mut rng) = (joined(), Rng::new(1));
        assert!(network.carry(A, B, &mut rng).is_some());
        assert!(network.carry(B, A, &mut rng).is_some());
        assert_eq!(network.carry(A, NodeId(2), &mut rng), None);
    }

    #[test]
    fn two_cuts_of_a_link_need_two_heals() {
        let (mut network, mut rng) = (joined(), Rng::new(1));
        let first = network.cut(A, B);
        network.cut(B, A);
        network.heal(A, B);
        assert_eq!(network.carry(A, B, &mut rng), None);
        assert!(!network.is_same_cut(A, B, first));
        network.heal(A, B);
        assert!(network.carry(A, B, &mut rng).is_some());
    }

    #[test]
    fn loss_loses_about_what_it_says() {
        let (mut network, mut rng) = (joined(), Rng::new(1));
        network.set_loss(100);
        let lost = (0..10_000).filter(|_| network.carry(A, B, &mut rng).is_none()).count();
        assert!((900..1100).contains(&lost), "{lost} of 10,000 lost");
        network.heal_all();
        assert!((0..1000).all(|_| network.carry(A, B, &mut rng).is_some()));
    }
}
