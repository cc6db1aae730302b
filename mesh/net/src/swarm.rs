//! The swarm: transports and behaviours, put together.
//!
//! What one connection may cost at most: 70 KB when idle. Else, for as long as a frame may take (20 s), 12 MiB of half-read
//! requests (4 MiB for each protocol) and what lies unread in 192 streams. Yamux gives a stream 256 KiB at first, so that
//! is 48 MiB, all of which the peer has to send first; a window grows only as fast as we read. (libp2p's Yamux lets the
//! number of streams be lowered, but not the sum of their windows, 1 GiB.)

use std::time::Duration;

use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::gossipsub::IdentTopic;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol as Part;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, NetworkBehaviour};
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, Swarm, Transport, connection_limits, dns, identify, noise,
    ping, tcp, yamux,
};

use crate::codec::{self, Protocol};
use crate::gate::Gate;
use crate::{Config, Role, StartError, blob, channel, gossip, streams};

/// Two, so that brokers that dial each other at the same moment do not close both connections.
const MAX_CONNECTIONS_PER_PEER: u32 = 2;

/// Handshakes under way, each a few kilobytes and a millisecond of processor time.
const MAX_PENDING_INCOMING: u32 = 256;
const MAX_PENDING_OUTGOING: u32 = 128;

/// 128 calls, 32 for custody and 32 for reconciliation do not all come at once; blobs, gossip, ping and identify take
/// fewer than 20, and channels 32 in each direction. Yamux allows 512 by default.
const MAX_STREAMS: usize = 192;

/// Streams of one connection whose protocol is being negotiated; more are reset.
const MAX_NEGOTIATING_STREAMS: usize = 64;

/// Links stand until one end goes away: volunteers are reached only over the connection that they opened.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Often enough for a NAT to remember a connection (30 s and more are usual).
const PING_INTERVAL: Duration = Duration::from_secs(15);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// From the first byte of a connection to a multiplexer, in either direction.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// What identify calls the protocol family and the program. Nothing is decided by either.
const IDENTIFY_PROTOCOL: &str = "/talkoot/1";
const AGENT: &str = concat!("talkoot/", env!("CARGO_PKG_VERSION"));

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // These two first: what they deny costs nothing in the others.
    pub(crate) gate: Gate,
    limits: connection_limits::Behaviour,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    gossip: Toggle<gossip::Behaviour>,
    call: codec::Behaviour,
    custody: codec::Behaviour,
    reconcile: codec::Behaviour,
    pub(crate) blobs: streams::Behaviour,
    pub(crate) channels: streams::Behaviour,
}

impl Behaviour {
    fn new(config: &Config, keypair: &Keypair) -> Result<Self, StartError> {
        let gossip = match config.role {
            Role::Broker => {
                Some(gossip::behaviour(config.gossip_heartbeat).map_err(|reason| {
                    StartError::Setup { part: "gossip", source: reason.into() }
                })?)
            }
            Role::Client => None,
        };
        let ping = ping::Config::new().with_interval(PING_INTERVAL).with_timeout(PING_TIMEOUT);
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.into(), keypair.public())
            .with_agent_version(AGENT.into())
            .with_hide_listen_addrs(true)
            .with_cache_size(0);
        Ok(Self {
            gate: Gate::default(),
            limits: connection_limits::Behaviour::new(limits(config.max_connections)),
            ping: ping::Behaviour::new(ping),
            identify: identify::Behaviour::new(identify),
            gossip: gossip.into(),
            call: codec::behaviour(Protocol::Call, config.call_timeout),
            custody: codec::behaviour(Protocol::Custody, config.call_timeout),
            reconcile: codec::behaviour(Protocol::Reconcile, config.call_timeout),
            blobs: streams::Behaviour::new(StreamProtocol::new(blob::PROTOCOL)),
            channels: streams::Behaviour::new(StreamProtocol::new(channel::PROTOCOL)),
        })
    }

    pub(crate) fn requests(&mut self, protocol: Protocol) -> &mut codec::Behaviour {
        match protocol {
            Protocol::Call => &mut self.call,
            Protocol::Custody => &mut self.custody,
            Protocol::Reconcile => &mut self.reconcile,
        }
    }

    /// `None` on a client.
    pub(crate) fn gossip(&mut self) -> Option<&mut gossip::Behaviour> {
        self.gossip.as_mut()
    }
}

fn limits(max_connections: u32) -> connection_limits::ConnectionLimits {
    let kept_for_dialling = max_connections.div_ceil(8);
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(MAX_PENDING_INCOMING))
        .with_max_pending_outgoing(Some(MAX_PENDING_OUTGOING))
        .with_max_established_incoming(Some(max_connections - kept_for_dialling))
        .with_max_established(Some(max_connections))
        .with_max_established_per_peer(Some(MAX_CONNECTIONS_PER_PEER))
}

/// Builds the swarm and overwrites the secret in `config`.
pub(crate) fn build(config: &mut Config) -> Result<Swarm<Behaviour>, StartError> {
    let keypair = Keypair::ed25519_from_bytes(&mut config.secret)
        .map_err(|error| setup("the node's key", error))?;
    let behaviour = Behaviour::new(config, &keypair)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams(MAX_STREAMS);
    let transport = tcp_and_dns()
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).map_err(|error| setup("noise", error))?)
        .multiplex(yamux)
        .timeout(HANDSHAKE_TIMEOUT)
        .boxed();
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config))
}

/// TCP with names, or without them where the system has no resolver, as in small containers: numeric addresses must
/// still work there.
fn tcp_and_dns() -> Boxed<tcp::tokio::TcpStream> {
    let tcp = || tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    match dns::tokio::Transport::system(tcp()) {
        Ok(transport) => transport.boxed(),
        Err(error) => {
            tracing::warn!(%error, "no system resolver: addresses with names cannot be dialled");
            tcp().boxed()
        }
    }
}

fn setup(
    part: &'static str,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> StartError {
    StartError::Setup { part, source: source.into() }
}

/// The topic as gossipsub takes it.
pub(crate) fn ident(topic: &crate::Topic) -> IdentTopic {
    IdentTopic::new(topic.0.clone())
}

/// Whether there is a transport for `address`. Asked in advance, because the resolver's errors hide the answer.
pub(crate) fn can_dial(address: &Multiaddr) -> bool {
    let mut parts = address.iter().peekable();
    let tcp = match parts.next() {
        Some(Part::Ip4(_) | Part::Ip6(_) | Part::Dns(_) | Part::Dns4(_) | Part::Dns6(_)) => {
            matches!(parts.next(), Some(Part::Tcp(_)))
        }
        // What it stands for is in the DNS.
        Some(Part::Dnsaddr(_)) => true,
        _ => false,
    };
    parts.next_if(|part| matches!(part, Part::P2p(_)));
    tcp && parts.next().is_none()
}

/// The peer that a `/p2p/…` at the end of `address` names.
pub(crate) fn peer_in(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last()? {
        Part::P2p(peer) => Some(peer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tcp_can_be_dialled() {
        let id = PeerId::random();
        let check = |address: &str, expected| {
            let address: Multiaddr = address.parse().expect("an address");
            assert_eq!(can_dial(&address), expected, "{address}");
        };
        check("/ip4/127.0.0.1/tcp/4077", true);
        check(&format!("/dns/broker.example/tcp/4077/p2p/{id}"), true);
        check("/dnsaddr/broker.example", true);
        check("/ip4/127.0.0.1/tcp/4078/ws", false);
        check("/ip6/::1/udp/4077/quic-v1", false);
        check("/ip4/127.0.0.1", false);
        check(&format!("/p2p/{id}"), false);
        check(&format!("/ip4/127.0.0.1/tcp/1/p2p/{id}/p2p-circuit"), false);
    }
}
