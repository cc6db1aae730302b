//! Measures blobs over one connection on loopback: verified and durable on the disk of the temporary
//! directory, and as bare bytes on the same kind of stream.
//!
//! `cargo run --release -p mesh-net --example blobs -- [MiB]`

use std::fs::File;
use std::io::Write;
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::SwarmEvent;
use libp2p::{Swarm, Transport, noise, swarm, tcp, yamux};
use libp2p_stream as stream;
use mesh_net::{Config, Event, IncomingBlob, Net, PeerKey, Role};

const MIB: usize = 1 << 20;
const BARE: libp2p::StreamProtocol = libp2p::StreamProtocol::new("/example/bare");

/// So often each is measured, in turns: what else the machine does falls on all alike.
const ROUNDS: usize = 7;

#[tokio::main]
async fn main() {
    let size = std::env::args().nth(1).map_or(256, |mib| mib.parse().expect("a number of MiB"));
    let size = size * MIB;
    let content: Vec<u8> = (0..size).map(|index| (index / 5 % 251) as u8).collect();
    let hash = blake3::hash(&content);
    let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
    file.write_all(&content).expect("room on the disk");
    let open = || File::open(file.path()).expect("it is there");

    let (net, peer) = nodes(open(), size as u64).await;
    let (mut gets, mut puts, mut bares) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let into = tempfile::tempfile().expect("a temporary file");
        let kept = into.try_clone().expect("a second handle");
        let start = Instant::now();
        net.fetch_blob(peer, hash, u64::MAX, into).await.expect("it is right");
        kept.sync_data().expect("the disk works");
        gets.push(start.elapsed());

        let start = Instant::now();
        net.send_blob(peer, hash, open(), size as u64).await.expect("it is stored");
        puts.push(start.elapsed());

        bares.push(bare(content.clone()).await);
    }
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{} MiB, {ROUNDS} times each, load {}", size / MIB, load.trim_end());
    let bare = report("bare stream, memory to nowhere", size, bares, None);
    report("GET, verified, on the disk", size, gets, Some(bare));
    report("PUT, verified, on the disk", size, puts, Some(bare));
}

/// A client connected to a broker that has the blob and takes any.
async fn nodes(blob: File, size: u64) -> (Net, PeerKey) {
    let mut config = Config::new([1; 32], Role::Broker);
    config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
    let (broker, mut events) = mesh_net::start(config).await.expect("loopback can be listened on");
    let Some(Event::Listening { address }) = events.recv().await else {
        panic!("the first news is where it listens")
    };
    tokio::spawn(async move {
        let _running = broker;
        while let Some(event) = events.recv().await {
            match event {
                Event::Blob(IncomingBlob::Get(get)) => {
                    let blob = blob.try_clone().expect("a second handle");
                    get.serve(blob, size).await.expect("it is taken");
                }
                Event::Blob(IncomingBlob::Put(put)) => {
                    let into = tempfile::tempfile().expect("a temporary file");
                    let kept = into.try_clone().expect("a second handle");
                    let received = put.receive_into(into).await.expect("it is right");
                    kept.sync_data().expect("the disk works");
                    received.stored().await.expect("the sender waits");
                }
                _ => {}
            }
        }
    });
    let (net, mut events) =
        mesh_net::start(Config::new([2; 32], Role::Client)).await.expect("a client needs nothing");
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let peer = net.dial(address).await.expect("it listens");
    (net, peer)
}

async fn bare(content: Vec<u8>) -> Duration {
    let (mut from, mut to) = (bare_swarm(), bare_swarm());
    let mut streams = to.behaviour().new_control().accept(BARE).expect("accepted once");
    let (id, mut control) = (*to.local_peer_id(), from.behaviour().new_control());
    to.listen_on("/ip4/127.0.0.1/tcp/0".parse().expect("an address")).expect("loopback");
    let address = loop {
        if let SwarmEvent::NewListenAddr { address, .. } = to.select_next_some().await {
            break address;
        }
    };
    from.dial(address).expect("an address");
    tokio::spawn(async move { to.collect::<Vec<_>>().await });
    while !from.is_connected(&id) {
        from.select_next_some().await;
    }
    tokio::spawn(async move { from.collect::<Vec<_>>().await });

    let mut out = control.open_stream(id, BARE).await.expect("spoken");
    let start = Instant::now();
    let sending = tokio::spawn(async move {
        out.write_all(&content).await.expect("taken");
        out.close().await.expect("taken");
    });
    let (_, mut stream) = streams.next().await.expect("a stream");
    let mut buffer = vec![0; 256 * 1024];
    while stream.read(&mut buffer).await.expect("open") > 0 {}
    sending.await.expect("no panic");
    start.elapsed()
}

fn bare_swarm() -> Swarm<stream::Behaviour> {
    let keypair = Keypair::generate_ed25519();
    let transport = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair).expect("a key"))
        .multiplex(yamux::Config::default())
        .boxed();
    let config =
        swarm::Config::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(60));
    Swarm::new(transport, stream::Behaviour::new(), keypair.public().to_peer_id(), config)
}

/// Prints the median rate and the worst, and the median as a part of `bare`; gives the median.
fn report(what: &str, size: usize, mut took: Vec<Duration>, bare: Option<f64>) -> f64 {
    took.sort_unstable();
    let rate = |took: Duration| size as f64 / MIB as f64 / took.as_secs_f64();
    let (median, worst) = (rate(took[took.len() / 2]), rate(took[took.len() - 1]));
    let part =
        bare.map_or(String::new(), |bare| format!(", {:.0} % of bare", median / bare * 100.0));
    println!("{what:32} median {median:5.0} MiB/s, worst {worst:5.0}{part}");
    median
}
