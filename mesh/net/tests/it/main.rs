//! Networks of two or three nodes over real sockets on loopback, and a peer that keeps no rule: each story over each
//! transport.

mod blobs;
mod channels;
mod connections;
mod eclipse;
mod garbage;
mod gossip;
mod requests;
mod silence;
mod wire;

use std::time::Duration;

use mesh_net::{Config, Event, Multiaddr, Net, PeerKey, Role};
use mesh_raw::Raw;
use tokio::sync::mpsc;

tokio::task_local! {
    /// What brokers listen on.
    static TRANSPORT: Transport;
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Transport {
    Tcp,
    WebSocket,
    Quic,
}

impl Transport {
    /// Those of this build.
    fn all() -> impl Iterator<Item = Self> {
        [Self::Tcp, Self::WebSocket].into_iter().chain(mesh_net::HAS_QUIC.then_some(Self::Quic))
    }

    /// The one of the story that runs.
    fn here() -> Self {
        TRANSPORT.get()
    }

    /// A port of the system's choice on loopback, or that one.
    fn loopback(self, port: u16) -> Multiaddr {
        let address = match self {
            Self::Tcp => format!("/ip4/127.0.0.1/tcp/{port}"),
            Self::WebSocket => format!("/ip4/127.0.0.1/tcp/{port}/ws"),
            Self::Quic => format!("/ip4/127.0.0.1/udp/{port}/quic-v1"),
        };
        address.parse().expect("an address")
    }
}

/// Runs `story` over each transport, for which it is given half a minute on the busiest of machines.
async fn story(story: impl AsyncFn()) {
    for transport in Transport::all() {
        let story = TRANSPORT.scope(transport, story());
        tokio::time::timeout(Duration::from_secs(30), story)
            .await
            .unwrap_or_else(|_| panic!("the story takes too long over {transport:?}"));
    }
}

/// A peer that keeps no rule.
async fn raw(seed: u8) -> Raw {
    Raw::start(seed, Transport::here().loopback(0)).await
}

/// A node with what it has been told and nobody has asked for.
struct Node {
    net: Net,
    events: mpsc::Receiver<Event>,
}

impl Node {
    async fn start(config: Config) -> Self {
        let (net, events) = mesh_net::start(config).await.expect("loopback can be listened on");
        Self { net, events }
    }

    async fn broker(seed: u8) -> Self {
        Self::start(broker(seed)).await
    }

    async fn client(seed: u8) -> Self {
        Self::start(Config::new([seed; 32], Role::Client)).await
    }

    fn key(&self) -> PeerKey {
        self.net.key()
    }

    async fn next(&mut self) -> Event {
        self.events.recv().await.expect("the network runs")
    }

    /// Skips events until `wanted` finds something in one.
    async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.next().await) {
                return found;
            }
        }
    }

    /// Where this node listens, with its key.
    async fn address(&self) -> Multiaddr {
        loop {
            if let Some(address) = self.net.listen_addresses().await.first() {
                let id = self.key().peer_id_text().expect("a real key");
                return format!("{address}/p2p/{id}").parse().expect("an address");
            }
            tokio::task::yield_now().await;
        }
    }

    /// Connects to `other`; both know it when this returns.
    async fn connect(&mut self, other: &mut Node) {
        let address = other.address().await;
        assert_eq!(self.net.dial(address).await, Ok(other.key()));
        let keys = (self.key(), other.key());
        for (node, wanted) in [(self, keys.1), (other, keys.0)] {
            node.until(|event| match event {
                Event::Connected { peer, .. } => (peer == wanted).then_some(()),
                _ => None,
            })
            .await;
        }
    }
}

/// A broker on a port of the system's choice, with a quick heartbeat.
fn broker(seed: u8) -> Config {
    let mut config = Config::new([seed; 32], Role::Broker);
    config.listen = vec![Transport::here().loopback(0)];
    config.gossip_heartbeat = Duration::from_millis(100);
    config
}
