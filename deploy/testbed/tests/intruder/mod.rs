//! A peer with a sound key and intentions of its own.

use std::sync::mpsc::{Receiver, Sender, channel};

use capability::{Ed25519, PublicKey, SecretKey, Signer};
use mesh_core::{
    Answer, Bundle, HandoverAnswer, Refusal, decode_bundles, encode_answers, encode_bundles,
};
use mesh_net::{Config, Event, Net, Protocol, Role};
use mesh_shell::{peer_key, public_key};
use testbed::{Bed, PATIENCE};
use tokio::runtime::Runtime;

/// A node at a host. If it listens it takes whatever it is given and drops it.
pub struct Intruder {
    seed: [u8; 32],
    net: Net,
    address: String,
    /// One for each bundle that it has dropped.
    dropped: Receiver<()>,
    runtime: Runtime,
}

impl Intruder {
    /// Starts a node with the key of `seed`, which listens at `port` of `host` if there is one.
    pub fn start(bed: &Bed, host: &str, seed: [u8; 32], port: Option<u16>) -> Self {
        let host = bed.host(host).expect("it was made");
        let listen = port.map(|port| format!("/ip4/{}/tcp/{port}", host.address()));
        let role = if listen.is_some() { Role::Broker } else { Role::Client };
        let mut config = Config::new(seed, role);
        config.listen = listen.iter().map(|it| it.parse().expect("an address")).collect();
        // The threads of the runtime are in the host because the one that starts them is.
        let started = host.inside(|| {
            let runtime = Runtime::new().expect("a runtime");
            let (net, events) = runtime.block_on(mesh_net::start(config)).expect("a node");
            (runtime, net, events)
        });
        let (runtime, net, mut events) = started.expect("inside");
        let (note, dropped) = channel();
        runtime.spawn(async move {
            while let Some(event) = events.recv().await {
                if let Event::Request { protocol, data, reply, .. } = event {
                    // The asker may be gone.
                    let _ = reply.send(answer(protocol, &data, &note));
                }
            }
        });
        let peer = net.key().peer_id_text().expect("a key");
        let address = listen.map(|it| format!("{it}/p2p/{peer}")).unwrap_or_default();
        Self { seed, net, address, dropped, runtime }
    }

    /// Where it can be dialled.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Its key.
    pub fn secret(&self) -> SecretKey {
        SecretKey::from_seed(&self.seed)
    }

    /// Its name.
    pub fn key(&self) -> PublicKey {
        self.secret().public()
    }

    /// Connects to a broker; gives its key.
    pub fn dial(&self, address: &str) -> PublicKey {
        let address = address.parse().expect("an address");
        let peer = self.runtime.block_on(self.net.dial(address)).expect("a connection");
        public_key(peer)
    }

    /// Sends `request` as it is.
    pub fn ask(&self, broker: PublicKey, request: &[u8]) -> Answer {
        let answer = self.net.request(Protocol::Call, peer_key(broker), request.to_vec());
        let answer = self.runtime.block_on(answer).expect("an answer");
        Answer::decode(&answer, &Ed25519).expect("a sound answer")
    }

    /// Hands over `bundle`.
    pub fn hand_over(&self, broker: PublicKey, bundle: Bundle) -> HandoverAnswer {
        let answer =
            self.net.request(Protocol::Custody, peer_key(broker), encode_bundles(&[bundle]));
        let answer = self.runtime.block_on(answer).expect("an answer");
        HandoverAnswer::decode(&answer).expect("a sound answer")
    }

    /// Waits until it has dropped a bundle.
    pub fn await_custody(&self) {
        self.dropped.recv_timeout(PATIENCE).expect("a bundle");
    }

    /// Whether anybody is connected.
    pub fn is_connected(&self) -> bool {
        !self.runtime.block_on(self.net.peers()).is_empty()
    }
}

/// Takes whatever is handed over, notes that, and keeps nothing; refuses whatever is asked.
fn answer(protocol: Protocol, data: &[u8], note: &Sender<()>) -> Vec<u8> {
    if protocol != Protocol::Custody {
        return Answer::Refused(Refusal::NoTask).encode();
    }
    let bundles = decode_bundles(data, &Ed25519).expect("a handover");
    for _ in &bundles {
        // Nobody may be waiting for it.
        let _ = note.send(());
    }
    encode_answers(&vec![HandoverAnswer::Taken; bundles.len()])
}
