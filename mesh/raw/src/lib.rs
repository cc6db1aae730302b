//! A libp2p peer that speaks only what a test writes, byte by byte.
//!
//! [`mesh_net`] keeps the rules by itself; whoever wants to break them, to see that others bear it,
//! needs streams that promise nothing. No program uses this crate.

use std::time::Duration;

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream as stream;
use mesh_net::{Multiaddr, Net, PeerKey};
use tokio::sync::{mpsc, oneshot};

pub use libp2p_stream::{IncomingStreams, OpenStreamError};

/// Longer than any story.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);

/// The peer. It lives until the test's runtime ends.
pub struct Raw {
    /// Its key.
    pub key: PeerKey,
    /// Where it listens.
    pub address: Multiaddr,
    control: stream::Control,
    to_dial: mpsc::UnboundedSender<Multiaddr>,
    connected: mpsc::UnboundedReceiver<PeerId>,
}

impl Raw {
    /// A peer with the key of that seed, which listens at `address` over any transport.
    ///
    /// # Panics
    ///
    /// If that cannot be listened on.
    pub async fn start(seed: u8, address: Multiaddr) -> Self {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).expect("any 32 bytes are a seed");
        let key = keypair.public().try_into_ed25519().expect("ed25519").to_bytes();
        let mut swarm = swarm(keypair).await;
        let control = swarm.behaviour().new_control();
        swarm.listen_on(address).expect("it can be listened on");
        let (told, listens) = oneshot::channel();
        let (to_dial, dials) = mpsc::unbounded_channel();
        let (connects, connected) = mpsc::unbounded_channel();
        tokio::spawn(drive(swarm, dials, told, connects));
        let address = listens.await.expect("it listens");
        Self { key: PeerKey(key), address, control, to_dial, connected }
    }

    /// Dials `address`; both ends know it when this returns.
    ///
    /// # Panics
    ///
    /// If nobody answers there.
    pub async fn dial(&mut self, address: Multiaddr) {
        self.to_dial.send(address).expect("it runs");
        self.connected.recv().await.expect("somebody is there");
    }

    /// Has `net` dial this peer; both know it when this returns.
    ///
    /// # Panics
    ///
    /// If it is not reached.
    pub async fn be_dialled_by(&mut self, net: &Net) {
        net.dial(self.address.clone()).await.expect("it listens");
        self.connected.recv().await.expect("it runs");
    }

    /// Speaks `protocol` as a server.
    ///
    /// # Panics
    ///
    /// If it does so already.
    pub fn accept(&mut self, protocol: &'static str) -> IncomingStreams {
        self.control.accept(StreamProtocol::new(protocol)).expect("accepted once")
    }

    /// Opens a stream to `peer`, which is connected.
    ///
    /// # Errors
    ///
    /// If the peer does not speak `protocol`, or not with us any more.
    ///
    /// # Panics
    ///
    /// If no such peer can exist.
    pub async fn open(
        &mut self,
        peer: PeerKey,
        protocol: &'static str,
    ) -> Result<Stream, OpenStreamError> {
        let id = peer.peer_id_text().expect("a real key");
        let id: PeerId = id.parse().expect("an id");
        self.control.open_stream(id, StreamProtocol::new(protocol)).await
    }
}

async fn swarm(keypair: Keypair) -> Swarm<stream::Behaviour> {
    SwarmBuilder::with_existing_identity(keypair)
        .with_tokio()
        .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
        .expect("a key")
        .with_quic()
        .with_dns()
        .expect("a resolver")
        .with_websocket(noise::Config::new, yamux::Config::default)
        .await
        .expect("a key")
        .with_behaviour(|_| stream::Behaviour::new())
        .expect("it cannot fail")
        .with_swarm_config(|config| config.with_idle_connection_timeout(IDLE_TIMEOUT))
        .build()
}

async fn drive(
    mut swarm: Swarm<stream::Behaviour>,
    mut dials: mpsc::UnboundedReceiver<Multiaddr>,
    told: oneshot::Sender<Multiaddr>,
    connects: mpsc::UnboundedSender<PeerId>,
) {
    let mut told = Some(told);
    loop {
        tokio::select! {
            Some(address) = dials.recv() => swarm.dial(address).expect("it can be dialled"),
            event = swarm.select_next_some() => match event {
                SwarmEvent::NewListenAddr { address, .. } => {
                    if let Some(told) = told.take() {
                        told.send(address).expect("the test waits for it");
                    }
                }
                SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                    connects.send(peer_id).ok();
                }
                SwarmEvent::OutgoingConnectionError { error, .. } => panic!("{error}"),
                _ => {}
            },
        }
    }
}
