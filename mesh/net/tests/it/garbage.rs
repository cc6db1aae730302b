use futures::{AsyncReadExt, AsyncWriteExt};
use mesh_net::{BlobError, Event, IncomingBlob, MAX_FRAME_BYTES, Protocol};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket};
use tokio::sync::mpsc;

use crate::wire::port_of;
use crate::{Node, Transport, raw, story};

const PROTOCOLS: [&str; 7] = [
    "/talkoot/1/call",
    "/talkoot/1/custody",
    "/talkoot/1/reconcile",
    "/talkoot/1/blob",
    "/meshsub/1.1.0",
    "/ipfs/ping/1.0.0",
    "/ipfs/id/push/1.0.0",
];

/// Bytes that look random and are the same in each run (xorshift).
fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(step).collect()
}

/// What a peer may do wrong at the start of a stream.
fn openings() -> Vec<Vec<u8>> {
    let mut openings = vec![
        Vec::new(),                   // nothing at all
        vec![0x80],                   // half a length
        vec![0xff; 20],               // a length without an end
        vec![0x80, 0x80, 0x40],       // 1 MiB that never comes
        vec![0x00],                   // an empty frame
        vec![0x05, 0x9b, 0xff, 0xff], // an array of 2^64 − 1 values, cut off
    ];
    openings.extend((1..6).map(|seed| noise(seed, 40_000)));
    openings
}

/// Answers requests with what was asked and knows no blob.
async fn serve(mut node: Node) {
    while let Some(event) = node.events.recv().await {
        match event {
            Event::Request { data, reply, .. } => {
                reply.send(data).expect("the network runs");
            }
            Event::Blob(IncomingBlob::Get(get)) => {
                tokio::spawn(get.not_found());
            }
            _ => {}
        }
    }
}

/// Sockets that send what is not even a handshake, or nothing.
async fn strangers(port: u16) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for seed in 0..10 {
        if Transport::here() == Transport::Quic {
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
            socket.send_to(&noise(seed, 1200), ("127.0.0.1", port)).await.expect("sent");
            continue;
        }
        let connecting = TcpStream::connect(("127.0.0.1", port)).await;
        let mut socket = connecting.expect("it listens");
        if seed % 2 == 0 {
            drop(socket.write_all(&noise(seed, 10_000)).await);
        }
        sockets.push(socket);
    }
    sockets
}

#[tokio::test]
async fn a_peer_that_keeps_no_rule_changes_nothing_for_the_others() {
    story(async || {
        let mut broker = Node::broker(1).await;
        let mut client = Node::client(2).await;
        client.connect(&mut broker).await;
        let (key, address) = (broker.key(), broker.address().await);
        let (net, served) = (broker.net.clone(), tokio::spawn(serve(broker)));

        // Bytes that are not even a handshake, and connections on which nothing is said.
        let _sockets = strangers(port_of(&address)).await;

        // A proper handshake, then nonsense on everything; the streams stay open.
        let mut raw = raw(9).await;
        // A broker speaks gossip with those who speak it.
        let _gossip = raw.accept("/meshsub/1.1.0");
        raw.be_dialled_by(&net).await;
        let mut streams = Vec::new();
        for protocol in PROTOCOLS {
            let before = streams.len();
            for opening in openings() {
                // Gossip is not spoken any more with a peer that opened five streams for it.
                let Ok(mut stream) = raw.open(key, protocol).await else { break };
                drop(stream.write_all(&opening).await);
                drop(stream.flush().await);
                streams.push(stream);
            }
            assert!(streams.len() > before + 3, "{protocol} is spoken");
        }

        for protocol in [Protocol::Call, Protocol::Custody, Protocol::Reconcile] {
            assert_eq!(client.net.request(protocol, key, vec![1, 2]).await, Ok(vec![1, 2]));
        }
        let into = tempfile::tempfile().expect("a temporary file");
        let fetched = client.net.fetch_blob(key, blake3::hash(b"x"), 10, into).await;
        assert!(matches!(fetched, Err(BlobError::NotFound)), "{fetched:?}");
        assert!(!served.is_finished(), "the broker runs");
    })
    .await;
}

#[tokio::test]
async fn who_asks_and_does_not_read_gets_few_answers_and_holds_up_nobody() {
    story(async || {
        let mut broker = Node::broker(1).await;
        let mut client = Node::client(2).await;
        client.connect(&mut broker).await;
        let key = broker.key();
        let mut slow = raw(9).await;
        slow.be_dialled_by(&broker.net).await;
        let (seen, mut asked) = mpsc::unbounded_channel();
        let Node { net, mut events } = broker;
        let served = tokio::spawn(async move {
            let _net = net;
            while let Some(event) = events.recv().await {
                if let Event::Request { data, reply, .. } = event {
                    reply.send(vec![7; data.len().max(MAX_FRAME_BYTES)]).expect("a frame");
                    seen.send(()).expect("the story goes on");
                }
            }
        });

        // Streams first: with QUIC none can be opened any more once the answers fill the peer's window.
        let mut streams = Vec::new();
        for _ in 0..32 {
            streams.push(slow.open(key, Protocol::Call.name()).await.expect("spoken"));
        }
        for stream in &mut streams {
            stream.write_all(&[1, 0]).await.expect("writable");
            stream.flush().await.expect("writable");
            asked.recv().await.expect("it was asked");
        }
        // In the meantime others are answered at full length.
        let answer = client.net.request(Protocol::Call, key, vec![0]).await.expect("an answer");
        assert_eq!(answer.len(), MAX_FRAME_BYTES);
        let mut whole = 0;
        for mut stream in streams {
            let mut answer = Vec::new();
            drop(stream.read_to_end(&mut answer).await);
            whole += usize::from(answer.len() > MAX_FRAME_BYTES);
        }
        // What the peer's own windows take is out: with Yamux a quarter of such an answer, with QUIC 15 MB.
        let most = if Transport::here() == Transport::Quic { 24 } else { 4 };
        assert!((1..=most).contains(&whole), "{whole} answers of 1 MiB were kept");
        assert!(!served.is_finished());
    })
    .await;
}

#[tokio::test]
async fn a_malformed_blob_request_is_answered_with_the_rule_it_broke() {
    story(async || {
        let broker = Node::broker(1).await;
        let mut raw = raw(9).await;
        raw.be_dialled_by(&broker.net).await;
        let mut stream = raw.open(broker.key(), "/talkoot/1/blob").await.expect("spoken");
        stream.write_all(&[2, 0x81, 0x02]).await.expect("writable");
        stream.flush().await.expect("writable");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer");
        assert_eq!(answer[1..4], [0x84, 0x01, 0x04]);
        let reason = String::from_utf8_lossy(&answer[7..]);
        assert_eq!(reason, "version 2 of the blob protocol is not spoken here");
    })
    .await;
}
