//! Peers that keep no rule, against a broker as it ships: honest ones go on, and its memory is bounded.

mod support;

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use capability::statements::{Ad, BrokerCard};
use capability::{
    Capabilities, DecryptionKey, Ed25519, Fact, Facts, Platform, PublicKey, Resources, Runtime,
    RuntimeFacts, SecretKey, Signer, Timestamp, Verified,
};
use futures::{AsyncReadExt, AsyncWrite, AsyncWriteExt};
use mesh_core::{Answer, Ask, Refusal, seal};
use mesh_net::{Config, Event, Multiaddr, Net, PeerKey, Protocol, PublishError, Role, Topic};
use mesh_raw::Raw;
use mesh_shell::{Clock, public_key};
use support::{Process, directory};
use tempfile::TempDir;
use tokio::io::copy;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long an attack goes on that has no end of its own.
const ATTACK: Duration = Duration::from_secs(4);

/// What an honest peer may have to wait for an answer meanwhile, on the busiest of machines.
const BEARABLE: Duration = Duration::from_secs(15);

/// What the broker may grow by for each connection of an attacker (see `mesh/net/src/transport.rs`): 48 MiB
/// that lie unread in streams, 12 MiB of half-read requests and 4 MiB of unread answers.
const MAX_GROWTH_A_CONNECTION: u64 = 64 << 20;

/// After so long what is written counts as not read.
const UNREAD: Duration = Duration::from_secs(2);

/// Half-read frames are held for 20 s; then the stream is over.
const HELD: Duration = Duration::from_secs(40);

/// A broker, as it ships but for its ports.
struct Scene {
    broker: Process,
    address: Multiaddr,
    key: PublicKey,
    _place: TempDir,
}

impl Scene {
    async fn start() -> Self {
        let place = directory();
        let mut broker = Process::start(place.path(), &[]);
        let address: Multiaddr = broker.address().parse().expect("an address");
        let first = Peer::start(1, Role::Client).await;
        let key = public_key(first.net.dial(address.clone()).await.expect("it listens"));
        Self { broker, address, key, _place: place }
    }

    fn peer_key(&self) -> PeerKey {
        PeerKey(*self.key.as_bytes())
    }

    /// Somebody who keeps the rules of libp2p, and is connected.
    async fn peer(&self, seed: u8, role: Role) -> Peer {
        let peer = Peer::start(seed, role).await;
        peer.net.dial(self.address.clone()).await.expect("it listens");
        peer
    }

    /// Somebody who keeps none, and is connected.
    async fn raw(&self, seed: u8) -> Raw {
        let mut raw = Raw::start(seed, "/ip4/127.0.0.1/tcp/0".parse().expect("loopback")).await;
        raw.dial(self.address.clone()).await;
        raw
    }

    /// Lets `attack` go on over so many connections while somebody else asks. It gives how many blows it was.
    async fn bears(&self, connections: u64, attack: impl Future<Output = u64> + Send + 'static) {
        let honest = self.peer(3, Role::Client).await;
        honest.ask(self.key, honest.question(self.key, u64::MAX)).await;
        let before = self.broker.resident();
        let attack = tokio::spawn(attack);
        let (mut answered, mut longest, mut most) = (0, Duration::ZERO, before);
        while !attack.is_finished() {
            let asked = Instant::now();
            let answer = honest.ask(self.key, honest.question(self.key, answered)).await;
            assert_eq!(answer, Answer::Ads(Vec::new()));
            (answered, longest) = (answered + 1, longest.max(asked.elapsed()));
            most = most.max(self.broker.resident());
        }
        let (blows, growth) = (attack.await.expect("no panic"), most - before);
        eprintln!(
            "{blows} blows; {answered} honest questions answered, the slowest after {longest:?}; \
             {} KiB more memory",
            growth >> 10
        );
        assert!(blows > 0 && answered > 2, "{blows} blows, {answered} answers");
        assert!(longest < BEARABLE, "{longest:?}");
        assert!(growth < connections * MAX_GROWTH_A_CONNECTION, "{growth} bytes");
    }
}

/// Somebody who can say anything, as libp2p has it said.
struct Peer {
    net: Net,
    key: SecretKey,
    clock: Clock,
    events: mpsc::Receiver<Event>,
}

impl Peer {
    async fn start(seed: u8, role: Role) -> Self {
        let config = Config::new([seed; 32], role);
        let (net, events) = mesh_net::start(config).await.expect("started");
        Self { net, key: SecretKey::from_seed(&[seed; 32]), clock: Clock::new(), events }
    }

    /// The frame of a harmless question.
    fn question(&self, broker: PublicKey, nonce: u64) -> Vec<u8> {
        question(&self.key, &self.clock, broker, nonce)
    }

    async fn ask(&self, broker: PublicKey, frame: Vec<u8>) -> Answer {
        let broker = PeerKey(*broker.as_bytes());
        let answer = self.net.request(Protocol::Call, broker, frame).await.expect("an answer");
        Answer::decode(&answer, &Ed25519).expect("it can be read")
    }
}

/// The frame that asks for the ad of whoever signs it.
fn question(key: &SecretKey, clock: &Clock, broker: PublicKey, nonce: u64) -> Vec<u8> {
    sealed(&Ask::Ad { volunteer: key.public() }, key, clock, broker, nonce)
}

fn sealed(ask: &Ask, key: &SecretKey, clock: &Clock, broker: PublicKey, nonce: u64) -> Vec<u8> {
    seal(ask, broker, nonce, clock.now().wall, key).envelope().as_bytes().to_vec()
}

/// The same bytes with another signature.
fn forged(mut statement: Vec<u8>) -> Vec<u8> {
    let last = statement.last_mut().expect("a signature is at the end");
    *last ^= 1;
    statement
}

/// A length as it stands before a frame: LEB128.
fn announced(length: usize) -> Vec<u8> {
    let (mut left, mut bytes) = (length, Vec::new());
    while left >= 0x80 {
        bytes.push((left & 0x7f) as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_questions_at_full_rate_hold_up_nobody() {
    let scene = Scene::start().await;
    let (peer, broker) = (Arc::new(scene.peer(9, Role::Client).await), scene.key);
    let attack = async move {
        let (blows, end) = (Arc::new(AtomicU64::new(0)), Instant::now() + ATTACK);
        let mut attackers = JoinSet::new();
        for _ in 0..32 {
            let (peer, blows) = (Arc::clone(&peer), Arc::clone(&blows));
            attackers.spawn(async move {
                while Instant::now() < end {
                    let nonce = blows.fetch_add(1, Ordering::Relaxed);
                    let answer = peer.ask(broker, forged(peer.question(broker, nonce))).await;
                    let Answer::Refused(refusal) = answer else { panic!("{answer:?}") };
                    let refused = matches!(refusal, Refusal::Invalid(_) | Refusal::SlowDown(_));
                    assert!(refused, "{refusal:?}");
                }
            });
        }
        attackers.join_all().await;
        blows.load(Ordering::Relaxed)
    };
    scene.bears(1, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_gossip_at_full_rate_holds_up_nobody() {
    let scene = Scene::start().await;
    let mut peer = scene.peer(9, Role::Broker).await;
    let attack = async move {
        let (mut blows, end) = (0, Instant::now() + ATTACK);
        while Instant::now() < end {
            // Each is another statement: neither gossip nor the broker knows it already.
            let expires = peer.clock.now().wall + Duration::from_secs(60);
            let card = BrokerCard { seq: blows, addresses: Vec::new(), links: Vec::new(), expires };
            let card = forged(Verified::sign(card, &peer.key).envelope().as_bytes().to_vec());
            match peer.net.publish(Topic::cards(), card).await {
                Ok(_) => blows += 1,
                // Not met yet, not spoken with any more, or not read as fast as it comes.
                Err(PublishError::NoPeers | PublishError::QueuesFull { .. }) => {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
                Err(error) => panic!("{error}"),
            }
            while peer.events.try_recv().is_ok() {}
        }
        blows
    };
    scene.bears(1, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_of_100_mb_are_cut_off_before_they_are_held() {
    let scene = Scene::start().await;
    let (mut raw, broker) = (scene.raw(9).await, scene.peer_key());
    let attack = async move {
        let (mut blows, end) = (0, Instant::now() + ATTACK);
        while Instant::now() < end {
            for length in [100 << 20, 1 << 20] {
                let stream = raw.open(broker, Protocol::Call.name()).await.expect("spoken");
                let poured = pour(stream, &announced(length)).await;
                assert!(poured < 100, "{poured} MB were taken");
                blows += 1;
            }
        }
        blows
    };
    scene.bears(1, attack).await;
}

/// Says that a frame comes, and writes 100 MB of it if it is let. Gives how many MB it was let.
async fn pour(mut stream: impl AsyncWrite + Unpin, announced: &[u8]) -> usize {
    let chunk = vec![0x5a; 1 << 20];
    let mut poured = 0;
    drop(stream.write_all(announced).await);
    // Whoever reads nothing lets in nothing.
    while poured < 100 && matches!(timeout(UNREAD, stream.write_all(&chunk)).await, Ok(Ok(()))) {
        poured += 1;
    }
    poured
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_that_are_left_half_open_are_ended_and_hold_up_nobody() {
    let scene = Scene::start().await;
    let (mut raw, broker) = (scene.raw(9).await, scene.peer_key());
    let attack = async move {
        let mut streams = JoinSet::new();
        for protocol in [Protocol::Call, Protocol::Custody, Protocol::Reconcile] {
            // One fewer than there may be at a time, for the negotiation of the next.
            for _ in 0..31 {
                let mut stream = raw.open(broker, protocol.name()).await.expect("spoken");
                let mut half = announced(1 << 20);
                half.resize(200 << 10, 0x5a);
                stream.write_all(&half).await.expect("its window is larger");
                stream.flush().await.expect("writable");
                streams.spawn(async move {
                    drop(stream.read_to_end(&mut Vec::new()).await);
                });
            }
        }
        let count = streams.len() as u64;
        timeout(HELD, streams.join_all()).await.expect("each is ended");
        raw.open(broker, Protocol::Call.name()).await.expect("there is room again");
        count
    };
    scene.bears(1, attack).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_and_reads_nothing_holds_up_nobody() {
    let scene = Scene::start().await;
    let (broker, peer_key) = (scene.key, scene.peer_key());
    let (teller, clock) = (scene.peer(9, Role::Client).await, Clock::new());
    let ask = Ask::Advertise { ad: long_ad(&teller, broker) };
    let told = sealed(&ask, &teller.key, &teller.clock, broker, 1);
    assert_eq!(teller.ask(broker, told).await, Answer::Done);
    let volunteer = teller.key.public();
    drop(teller);
    let (address, deaf) = wire(&scene.address).await;
    let mut raw = Raw::start(10, "/ip4/127.0.0.1/tcp/0".parse().expect("loopback")).await;
    raw.dial(address).await;
    let key = SecretKey::from_seed(&[10; 32]);
    let attack = async move {
        let mut streams = Vec::new();
        for _ in 0..127 {
            streams.push(raw.open(peer_key, Protocol::Call.name()).await.expect("spoken"));
        }
        // From now on nothing is read, also of what the connection itself says.
        deaf.notify_one();
        for (nonce, stream) in (0..).zip(&mut streams) {
            let frame = sealed(&Ask::Ad { volunteer }, &key, &clock, broker, nonce);
            stream.write_all(&announced(frame.len())).await.expect("writable");
            stream.write_all(&frame).await.expect("writable");
            stream.flush().await.expect("writable");
        }
        let blows = streams.len() as u64;
        tokio::time::sleep(ATTACK).await;
        blows
    };
    scene.bears(1, attack).await;
}

/// A way to the broker at `to`, by which nothing comes back any more once it is told to be deaf.
async fn wire(to: &Multiaddr) -> (Multiaddr, Arc<Notify>) {
    let to = to.to_string();
    let port = to.split('/').nth(4).and_then(|port| port.parse().ok()).expect("a port");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let near = listener.local_addr().expect("bound").port();
    let deaf = Arc::new(Notify::new());
    let told = Arc::clone(&deaf);
    tokio::spawn(async move {
        let (near, _) = listener.accept().await.expect("somebody dials");
        let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.expect("it listens");
        let ((mut near_in, mut near_out), (mut far_in, mut far_out)) =
            (near.into_split(), far.into_split());
        tokio::spawn(async move { copy(&mut near_in, &mut far_out).await });
        tokio::select! {
            _ = copy(&mut far_in, &mut near_out) => {}
            // The sockets stay open.
            () = told.notified() => std::future::pending().await,
        }
    });
    (format!("/ip4/127.0.0.1/tcp/{near}").parse().expect("an address"), deaf)
}

/// An ad of nearly 64 KiB.
fn long_ad(volunteer: &Peer, broker: PublicKey) -> Verified<Ad> {
    let mut facts = Facts::new();
    for n in 0..250 {
        let text = Fact::Text("x".repeat(200).into());
        facts.insert(&format!("label.n{n}"), text).expect("a sound fact");
    }
    let capabilities = Capabilities {
        platform: Platform::current(),
        resources: Resources { cores: 2, memory: 1 << 30, disk: 1 << 30 },
        runtimes: [(Runtime::Wasm, RuntimeFacts { strength: "wasm".to_owned(), facts })].into(),
    };
    let (encryption, wall) =
        (DecryptionKey::from_seed(&[9; 32]).public(), volunteer.clock.now().wall);
    let expires = wall + Duration::from_secs(3600);
    let ad = Ad { seq: wall.0, broker, capabilities, encryption, expires };
    Verified::sign(ad, &volunteer.key)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_is_replayed_is_refused_also_by_another_peer_and_another_broker() {
    let (scene, elsewhere) = (Scene::start().await, Scene::start().await);
    let peer = scene.peer(3, Role::Client).await;
    peer.net.dial(elsewhere.address.clone()).await.expect("it listens");
    let thief = scene.peer(4, Role::Client).await;
    let question = peer.question(scene.key, 1);
    assert_eq!(peer.ask(scene.key, question.clone()).await, Answer::Ads(Vec::new()));
    let stale = seal(&Ask::Ad { volunteer: scene.key }, scene.key, 3, Timestamp(1), &peer.key);
    for answer in [
        peer.ask(scene.key, question.clone()).await,
        peer.ask(elsewhere.key, question).await,
        thief.ask(scene.key, peer.question(scene.key, 2)).await,
        peer.ask(scene.key, stale.envelope().as_bytes().to_vec()).await,
    ] {
        assert!(matches!(answer, Answer::Refused(Refusal::Invalid(_))), "{answer:?}");
    }
}
