//! Refuses connections: to peers that are blocked, shunned, or whose key is not Ed25519, and from addresses that have
//! their share.

use std::collections::HashSet;
use std::convert::Infallible;
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::dummy::ConnectionHandler;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};
use thiserror::Error;

use crate::PeerKey;
use crate::blame::Blame;
use crate::crowd::{Crowd, Crowded};

/// Who is refused.
pub(crate) struct Gate {
    /// Bounded by who blocks: only our own program does.
    blocked: HashSet<PeerId>,
    blame: Blame,
    crowd: Crowd,
}

#[derive(Debug, Error)]
pub(crate) enum Denied {
    #[error("the peer is blocked")]
    Blocked,
    #[error("the peer has sent wrong bytes of blobs")]
    Shunned,
    #[error("the peer's key is not ed25519")]
    KeyType,
    #[error(transparent)]
    Crowded(#[from] Crowded),
}

impl Gate {
    pub(crate) fn new(crowd: Crowd) -> Self {
        Self { blocked: HashSet::new(), blame: Blame::default(), crowd }
    }

    pub(crate) fn block(&mut self, peer: PeerId) {
        self.blocked.insert(peer);
    }

    pub(crate) fn unblock(&mut self, peer: &PeerId) {
        self.blocked.remove(peer);
    }

    /// `peer` has sent a wrong byte of a blob. Gives its part of the peer's score, and whether the peer is to go.
    pub(crate) fn blame(&mut self, peer: PeerId) -> (f64, bool) {
        let now = Instant::now();
        (self.blame.add(peer, now), self.blame.shuns(&peer, now))
    }

    /// Whether what `peer` was blamed for is forgotten now.
    pub(crate) fn forgives(&mut self, peer: &PeerId) -> bool {
        self.blame.forgives(peer, Instant::now())
    }

    fn admit(&self, peer: &PeerId) -> Result<ConnectionHandler, ConnectionDenied> {
        if self.blocked.contains(peer) {
            return Err(ConnectionDenied::new(Denied::Blocked));
        }
        if self.blame.shuns(peer, Instant::now()) {
            return Err(ConnectionDenied::new(Denied::Shunned));
        }
        if PeerKey::from_peer_id(peer).is_none() {
            return Err(ConnectionDenied::new(Denied::KeyType));
        }
        Ok(ConnectionHandler)
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        id: ConnectionId,
        _: &Multiaddr,
        address: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        let entered = self.crowd.enter(id, address, Instant::now());
        entered.map_err(|crowded| ConnectionDenied::new(Denied::from(crowded)))
    }

    fn handle_established_inbound_connection(
        &mut self,
        id: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.crowd.shaken_hands(id);
        self.admit(&peer)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.admit(&peer)
    }

    fn on_swarm_event(&mut self, event: FromSwarm) {
        match event {
            FromSwarm::ConnectionClosed(closed) => self.crowd.leave(closed.connection_id),
            FromSwarm::ListenFailure(failure) => self.crowd.leave(failure.connection_id),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}
