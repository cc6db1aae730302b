//! What the network tells the program, and the bounded queue on which it does.

use std::collections::VecDeque;
use std::time::Duration;

use libp2p::Multiaddr;
use thiserror::Error;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use crate::frame::MAX_FRAME_BYTES;
use crate::{GossipId, IncomingBlob, IncomingChannel, PeerKey, Protocol, Topic};

/// News from the network.
///
/// Events wait in a queue of [`Config::event_capacity`](crate::Config::event_capacity) places. A program that falls
/// behind never stops the network: while less than half of the places are free, gossip is ignored (reconciliation
/// brings it again); while less than an eighth is free, or unanswered requests hold 64 MiB, requests, blobs and
/// channels are refused; who is connected is never lost. A connection that came and went while the queue was full is not told at all.
#[derive(Debug)]
pub enum Event {
    /// The node accepts connections here.
    Listening {
        /// With the real port where port 0 was configured.
        address: Multiaddr,
    },
    /// The first connection to `peer` stands, or the peer is heard again.
    Connected {
        /// Who.
        peer: PeerKey,
        /// The peer's end. For an incoming connection its port is of no use for dialling.
        address: Multiaddr,
        /// Who dialled.
        direction: Direction,
    },
    /// The last connection to `peer` is gone, or the peer does not answer.
    Disconnected {
        /// Who.
        peer: PeerKey,
    },
    /// A message that must be judged with [`Net::judge`](crate::Net::judge) within 15 s, or it is not forwarded.
    Gossip {
        /// The topic.
        topic: Topic,
        /// Names the message.
        id: GossipId,
        /// Who sent it to us, seldom who made it.
        from: PeerKey,
        /// What was published; at most 70 KiB.
        data: Vec<u8>,
    },
    /// A peer asks.
    Request {
        /// On which protocol.
        protocol: Protocol,
        /// Who asks.
        peer: PeerKey,
        /// The question; at most [`MAX_FRAME_BYTES`].
        data: Vec<u8>,
        /// Where the answer goes.
        reply: Reply,
    },
    /// A peer wants a blob, or brings one.
    Blob(IncomingBlob),
    /// A peer wants a channel.
    Channel(IncomingChannel),
}

/// Who dialled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// The peer did.
    Inbound,
    /// This node did.
    Outbound,
}

/// A connected peer.
#[derive(Debug, Clone)]
pub struct PeerInfo {
    /// Who.
    pub key: PeerKey,
    /// The peer's end of each connection (one or two), oldest first.
    pub addresses: Vec<Multiaddr>,
    /// Who dialled the oldest connection.
    pub direction: Direction,
    /// The time of our latest ping's way there and back, which a peer that pings us itself may make the only one;
    /// `None` in the first moments.
    pub round_trip: Option<Duration>,
}

/// The duty to answer a request. Dropping it refuses the request, which the peer learns at once.
///
/// The answer may come later, up to the peer's timeout ([`Config::call_timeout`](crate::Config::call_timeout)).
#[derive(Debug)]
pub struct Reply {
    answer: oneshot::Sender<Vec<u8>>,
    /// The request's share of what unanswered requests may hold.
    _held: OwnedSemaphorePermit,
}

/// Why an answer was not taken.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ReplyError {
    /// Over the limit of a frame; the peer sees a refusal.
    #[error("an answer of {bytes} bytes is over the limit of a frame")]
    TooLarge {
        /// The size of the answer.
        bytes: usize,
    },
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

impl Reply {
    pub(crate) fn new(held: OwnedSemaphorePermit) -> (Self, oneshot::Receiver<Vec<u8>>) {
        let (answer, answered) = oneshot::channel();
        (Self { answer, _held: held }, answered)
    }

    /// Sends `data` as the answer. Success does not mean that it arrives: the peer may be gone or have given up.
    pub fn send(self, data: Vec<u8>) -> Result<(), ReplyError> {
        if data.len() > MAX_FRAME_BYTES {
            return Err(ReplyError::TooLarge { bytes: data.len() });
        }
        self.answer.send(data).map_err(|_| ReplyError::Stopped)
    }
}

/// The sending half of the queue of events.
pub(crate) struct Outbox {
    sender: mpsc::Sender<Event>,
    /// News of connections that found the queue full. At most two for each peer that the program knows as connected,
    /// and one for each that is connected now.
    waiting: VecDeque<Event>,
}

impl Outbox {
    pub(crate) fn new(sender: mpsc::Sender<Event>) -> Self {
        Self { sender, waiting: VecDeque::new() }
    }

    /// Whether gossip has room: half of the queue is kept for what is more important.
    pub(crate) fn has_room_for_gossip(&self) -> bool {
        self.has_room(2)
    }

    /// Whether requests have room: an eighth is kept for news of connections.
    pub(crate) fn has_room_for_requests(&self) -> bool {
        self.has_room(8)
    }

    /// Queues `event` unless the queue is full; gives it back then.
    pub(crate) fn offer(&self, event: Event) -> Result<(), Box<Event>> {
        self.sender.try_send(event).map_err(|error| match error {
            TrySendError::Full(event) | TrySendError::Closed(event) => Box::new(event),
        })
    }

    /// Queues `event` for certain.
    pub(crate) fn push(&mut self, event: Event) {
        if self.waiting.is_empty() {
            if let Err(event) = self.offer(event) {
                self.waiting.push_back(*event);
            }
        } else if !self.cancels(&event) {
            self.waiting.push_back(event);
        }
    }

    pub(crate) fn is_behind(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Moves one waiting event into the queue when there is room. May be dropped at any time.
    pub(crate) async fn advance(&mut self) {
        if let Ok(permit) = self.sender.reserve().await
            && let Some(event) = self.waiting.pop_front()
        {
            permit.send(event);
        }
    }

    fn has_room(&self, part: usize) -> bool {
        self.waiting.is_empty() && self.sender.capacity() > self.sender.max_capacity() / part
    }

    /// A peer that leaves before its coming was told has never been here.
    fn cancels(&mut self, event: &Event) -> bool {
        let Event::Disconnected { peer: gone } = event else { return false };
        let came = self
            .waiting
            .iter()
            .position(|event| matches!(event, Event::Connected { peer, .. } if peer == gone));
        came.and_then(|index| self.waiting.remove(index)).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connected(peer: u8) -> Event {
        Event::Connected {
            peer: PeerKey([peer; 32]),
            address: Multiaddr::empty(),
            direction: Direction::Inbound,
        }
    }

    fn disconnected(peer: u8) -> Event {
        Event::Disconnected { peer: PeerKey([peer; 32]) }
    }

    #[test]
    fn a_full_queue_loses_no_news_of_connections_and_keeps_their_order() {
        let (sender, mut events) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(connected(1));
        outbox.push(disconnected(1));
        outbox.push(connected(1));
        assert!(outbox.is_behind());

        let mut told = Vec::new();
        while let Ok(event) = events.try_recv() {
            told.push(matches!(event, Event::Connected { .. }));
            futures::executor::block_on(outbox.advance());
        }
        assert_eq!(told, [true, false, true]);
    }

    #[test]
    fn a_flapping_peer_does_not_fill_the_memory() {
        let (sender, _events) = mpsc::channel(1);
        let mut outbox = Outbox::new(sender);
        outbox.push(connected(1));
        for _ in 0..1000 {
            outbox.push(disconnected(1));
            outbox.push(connected(1));
        }
        assert_eq!(outbox.waiting.len(), 2);
    }

    #[test]
    fn gossip_gives_way_before_requests_do() {
        let (sender, _events) = mpsc::channel(16);
        let outbox = Outbox::new(sender);
        for peer in 0..8 {
            outbox.offer(connected(peer)).expect("room");
        }
        assert!(!outbox.has_room_for_gossip());
        assert!(outbox.has_room_for_requests());
        for peer in 8..14 {
            outbox.offer(connected(peer)).expect("room");
        }
        assert!(!outbox.has_room_for_requests());
    }
}
