//! The swarm: behaviours over the transports.

use std::time::Duration;

use libp2p::gossipsub::IdentTopic;
use libp2p::identity::Keypair;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{self, NetworkBehaviour};
use libp2p::{StreamProtocol, Swarm, connection_limits, identify};

use crate::codec::{self, Protocol};
use crate::crowd::Crowd;
use crate::gate::Gate;
use crate::{Config, Role, StartError, blob, channel, gossip, pulse, streams, transport};

/// Two, so that brokers that dial each other at the same moment do not close both connections.
const MAX_CONNECTIONS_PER_PEER: u32 = 2;

/// Handshakes under way, each a few kilobytes and a millisecond of processor time.
const MAX_PENDING_INCOMING: u32 = 1024;
const MAX_PENDING_OUTGOING: u32 = 128;

/// Handovers and comparisons are no long polls.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(75);

/// Streams of one connection whose protocol is being negotiated; more are reset.
const MAX_NEGOTIATING_STREAMS: usize = 64;

/// Links stand until one end goes away: volunteers are reached only over the connection that they opened.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// What identify calls the protocol family and the program. Nothing is decided by either.
const IDENTIFY_PROTOCOL: &str = "/talkoot/1";
const AGENT: &str = concat!("talkoot/", env!("CARGO_PKG_VERSION"));

#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    // These two first: what they deny costs nothing in the others.
    pub(crate) gate: Gate,
    limits: connection_limits::Behaviour,
    pulse: pulse::Behaviour,
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
                Some(gossip::behaviour(config.gossip_heartbeat, &config.shared_addresses).map_err(
                    |reason| StartError::Setup { part: "gossip", source: reason.into() },
                )?)
            }
            Role::Client => None,
        };
        let identify = identify::Config::new(IDENTIFY_PROTOCOL.into(), keypair.public())
            .with_agent_version(AGENT.into())
            .with_hide_listen_addrs(true)
            .with_cache_size(0);
        Ok(Self {
            gate: Gate::new(Crowd::new(config.per_address, &config.shared_addresses)),
            limits: connection_limits::Behaviour::new(limits(config.max_connections)),
            pulse: pulse::Behaviour::default(),
            identify: identify::Behaviour::new(identify),
            gossip: gossip.into(),
            call: codec::behaviour(Protocol::Call, config.call_timeout),
            custody: codec::behaviour(Protocol::Custody, config.call_timeout.min(EXCHANGE_TIMEOUT)),
            reconcile: codec::behaviour(
                Protocol::Reconcile,
                config.call_timeout.min(EXCHANGE_TIMEOUT),
            ),
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
    let transport = transport::build(&keypair)?;
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(IDLE_TIMEOUT)
        .with_max_negotiating_inbound_streams(MAX_NEGOTIATING_STREAMS);
    Ok(Swarm::new(transport, behaviour, keypair.public().to_peer_id(), config))
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
