//! What a network is started with.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use libp2p::Multiaddr;

/// What kind of node this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Listens, gossips, serves.
    Broker,
    /// A volunteer or a master: dials out and never runs gossipsub, because each publish to a subscribed client costs
    /// the broker as much as one to a broker (2,000 of them: 32 to 62 ms of processor time a message).
    Client,
}

/// What peers at one address may do together: at one IPv4 address, or under one IPv6 prefix of 64 bits, which is the least
/// that a customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AddressLimits {
    /// Incoming connections at a time. Default: 256: a university behind one address; and 56 such addresses until a
    /// broker is full.
    pub connections: u32,
    /// Those of them that are in their handshake. Default: 32, as many until nobody else can shake hands.
    pub handshakes: u32,
    /// Incoming connections in a minute, after as many at once as it may have. Default: 120: some milliseconds of
    /// processor time a second.
    pub handshakes_a_minute: u32,
}

impl Default for AddressLimits {
    fn default() -> Self {
        Self { connections: 256, handshakes: 32, handshakes_a_minute: 120 }
    }
}

/// Settings of [`start`](crate::start).
#[derive(Clone)]
pub struct Config {
    /// The seed of the node's Ed25519 key; `start` overwrites it with zeros.
    pub secret: [u8; 32],
    /// What kind of node this is.
    pub role: Role,
    /// Where to listen: `/ip4/0.0.0.0/tcp/4077`, `/ip4/0.0.0.0/udp/4077/quic-v1`, `/ip4/0.0.0.0/tcp/4078/ws`. Default:
    /// nowhere. On a system without IPv6, `/ip6/::` is nowhere too.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this node, told to peers by the identify protocol. Default: none. Addresses that
    /// are only listened on are told to nobody.
    pub announce: Vec<Multiaddr>,
    /// The most connections at a time; an eighth is kept for those that this node dials. Default: 16,384. Each costs
    /// about 70 KB and, but for QUIC, a file descriptor.
    pub max_connections: u32,
    /// What one address may take of them.
    pub per_address: AddressLimits,
    /// Addresses that stand for many peers, such as that of a proxy, or loopback where a whole network is on one machine:
    /// they have no limit of their own, and gossip does not mind how many are there. Default: none.
    pub shared_addresses: Vec<IpAddr>,
    /// How long a call may take until its answer has arrived, at either end. Default: 125 s, because pulls are long
    /// polls of up to 100 s; handovers and comparisons have 75 s of it. It is no measure of life, which pings are.
    pub call_timeout: Duration,
    /// How many events wait for the consumer before some are refused (see [`Event`](crate::Event)). Default: 1,024;
    /// at least 16.
    pub event_capacity: usize,
    /// The beat of gossipsub's upkeep. Default: 1 s.
    pub gossip_heartbeat: Duration,
}

impl Config {
    /// The defaults, for the node whose key has the seed `secret`.
    pub fn new(secret: [u8; 32], role: Role) -> Self {
        Self {
            secret,
            role,
            listen: Vec::new(),
            announce: Vec::new(),
            max_connections: 16_384,
            per_address: AddressLimits::default(),
            shared_addresses: Vec::new(),
            call_timeout: Duration::from_secs(125),
            event_capacity: 1024,
            gossip_heartbeat: Duration::from_secs(1),
        }
    }
}

/// Everything but the secret.
impl fmt::Debug for Config {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Config")
            .field("role", &self.role)
            .field("listen", &self.listen)
            .field("announce", &self.announce)
            .field("max_connections", &self.max_connections)
            .field("per_address", &self.per_address)
            .field("shared_addresses", &self.shared_addresses)
            .field("call_timeout", &self.call_timeout)
            .field("event_capacity", &self.event_capacity)
            .field("gossip_heartbeat", &self.gossip_heartbeat)
            .finish_non_exhaustive()
    }
}
