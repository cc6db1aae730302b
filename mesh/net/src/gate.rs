//! Refuses connections to peers that are blocked, or whose key is not Ed25519.

use std::collections::HashSet;
use std::convert::Infallible;
use std::task::{Context, Poll};

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

/// The peers that are refused. Bounded by who blocks: only our own program does.
#[derive(Default)]
pub(crate) struct Gate {
    blocked: HashSet<PeerId>,
}

#[derive(Debug, Error)]
pub(crate) enum Denied {
    #[error("the peer is blocked")]
    Blocked,
    #[error("the peer's key is not ed25519")]
    KeyType,
}

impl Gate {
    pub(crate) fn block(&mut self, peer: PeerId) {
        self.blocked.insert(peer);
    }

    pub(crate) fn unblock(&mut self, peer: &PeerId) {
        self.blocked.remove(peer);
    }

    fn admit(&self, peer: &PeerId) -> Result<ConnectionHandler, ConnectionDenied> {
        if self.blocked.contains(peer) {
            return Err(ConnectionDenied::new(Denied::Blocked));
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

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
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

    fn on_swarm_event(&mut self, _: FromSwarm) {}

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
