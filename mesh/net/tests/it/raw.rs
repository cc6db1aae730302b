//! A libp2p peer that speaks only what a test writes, byte by byte.

use futures::StreamExt;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Swarm, SwarmBuilder, noise, tcp, yamux};
use libp2p_stream as stream;
use mesh_net::{Net, PeerKey};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

use crate::Transport;

pub struct Raw {
    pub key: PeerKey,
    pub address: Multiaddr,
    control: stream::Control,
    connected: mpsc::UnboundedReceiver<PeerId>,
}

impl Raw {
    pub async fn start(seed: u8) -> Self {
        let keypair = Keypair::ed25519_from_bytes([seed; 32]).expect("any 32 bytes are a seed");
        let key = keypair.public().try_into_ed25519().expect("ed25519").to_bytes();
        let behaviour = stream::Behaviour::new();
        let control = behaviour.new_control();
        let transport = Transport::here();
        let builder = SwarmBuilder::with_existing_identity(keypair)
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .expect("a key");
        #[cfg(feature = "quic")]
        let builder = builder.with_quic();
        let mut swarm = builder
            .with_dns()
            .expect("a resolver")
            .with_websocket(noise::Config::new, yamux::Config::default)
            .await
            .expect("a key")
            .with_behaviour(|_| behaviour)
            .expect("it cannot fail")
            .with_swarm_config(|config| {
                config.with_idle_connection_timeout(Duration::from_secs(60))
            })
            .build();
        swarm.listen_on(transport.loopback(0)).expect("loopback can be listened on");
        let (told, address) = oneshot::channel();
        let (connect, connected) = mpsc::unbounded_channel();
        tokio::spawn(drive(swarm, told, connect));
        let address = address.await.expect("it listens");
        Self { key: PeerKey(key), address, control, connected }
    }

    /// Has `net` dial this peer; both know it when this returns.
    pub async fn be_dialled_by(&mut self, net: &Net) {
        net.dial(self.address.clone()).await.expect("it listens");
        self.connected.recv().await.expect("it runs");
    }

    /// Speaks `protocol` as a server.
    pub fn accept(&mut self, protocol: &'static str) -> stream::IncomingStreams {
        self.control.accept(StreamProtocol::new(protocol)).expect("accepted once")
    }

    /// Opens a stream to `peer`, which is connected.
    pub async fn open(
        &mut self,
        peer: PeerKey,
        protocol: &'static str,
    ) -> Result<Stream, stream::OpenStreamError> {
        let id = peer.peer_id_text().expect("a real key");
        let id: PeerId = id.parse().expect("an id");
        self.control.open_stream(id, StreamProtocol::new(protocol)).await
    }
}

async fn drive(
    mut swarm: Swarm<stream::Behaviour>,
    told: oneshot::Sender<Multiaddr>,
    connected: mpsc::UnboundedSender<PeerId>,
) {
    let mut told = Some(told);
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::NewListenAddr { address, .. } => {
                if let Some(told) = told.take() {
                    told.send(address).expect("the test waits for it");
                }
            }
            SwarmEvent::ConnectionEstablished { peer_id, .. } => {
                connected.send(peer_id).ok();
            }
            _ => {}
        }
    }
}
