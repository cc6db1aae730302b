//! What a network is started with.

use std::fmt;
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

/// Settings of [`start`](crate::start).
#[derive(Clone)]
pub struct Config {
    /// The seed of the node's Ed25519 key; `start` overwrites it with zeros.
    pub secret: [u8; 32],
    /// What kind of node this is.
    pub role: Role,
    /// Where to listen, such as `/ip4/0.0.0.0/tcp/4077`. Default: nowhere. TCP for now; other transports become more
    /// addresses here.
    pub listen: Vec<Multiaddr>,
    /// Addresses at which others reach this node, told to peers by the identify protocol. Default: none. Addresses that
    /// are only listened on are told to nobody.
    pub announce: Vec<Multiaddr>,
    /// The most connections at a time; an eighth is kept for those that this node dials. Default: 4,096. Each costs
    /// about 70 KB and a file descriptor.
    pub max_connections: u32,
    /// How long a request may take until its answer has arrived, at either end. Default: 75 s, because pulls are long
    /// polls of up to 30 s and may pass through two brokers.
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
            max_connections: 4096,
            call_timeout: Duration::from_secs(75),
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
            .field("call_timeout", &self.call_timeout)
            .field("event_capacity", &self.event_capacity)
            .field("gossip_heartbeat", &self.gossip_heartbeat)
            .finish_non_exhaustive()
    }
}
