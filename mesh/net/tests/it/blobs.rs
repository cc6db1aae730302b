use std::fs::File;
use std::io::{Read, Seek, Write};
use std::time::{Duration, Instant};

use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use mesh_net::{BlobError, BlobGet, BlobPut, DialError, Event, IncomingBlob, Sent};

use crate::{Node, raw, story};

const SIZE: usize = 5 * 1024 * 1024 + 4321;

fn content() -> Vec<u8> {
    (0..SIZE).map(|index| (index / 3 % 253) as u8).collect()
}

fn file_of(content: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(content).expect("room on the disk");
    file
}

/// An empty file, and a second handle to read it by.
fn empty() -> (File, File) {
    let file = tempfile::tempfile().expect("a temporary file");
    let second = file.try_clone().expect("a second handle");
    (file, second)
}

fn read(mut file: File) -> Vec<u8> {
    let mut content = Vec::new();
    file.rewind().expect("a file");
    file.read_to_end(&mut content).expect("readable");
    content
}

async fn pair() -> (Node, Node) {
    let mut broker = Node::broker(1).await;
    let mut client = Node::client(2).await;
    client.connect(&mut broker).await;
    (broker, client)
}

async fn incoming(node: &mut Node) -> IncomingBlob {
    node.until(|event| match event {
        Event::Blob(incoming) => Some(incoming),
        _ => None,
    })
    .await
}

async fn get(node: &mut Node) -> BlobGet {
    match incoming(node).await {
        IncomingBlob::Get(get) => get,
        IncomingBlob::Put(_) => panic!("a GET was sent"),
    }
}

async fn put(node: &mut Node) -> BlobPut {
    match incoming(node).await {
        IncomingBlob::Put(put) => put,
        IncomingBlob::Get(_) => panic!("a PUT was sent"),
    }
}

#[tokio::test]
async fn a_blob_is_fetched_and_both_ends_know() {
    story(async || {
        let (mut broker, client) = pair().await;
        let content = content();
        let hash = blake3::hash(&content);
        let (into, copy) = empty();
        let fetch = client.net.fetch_blob(broker.key(), hash, SIZE as u64, into);
        let serve = async {
            let get = get(&mut broker).await;
            assert_eq!((get.peer, get.hash, get.max_size), (client.key(), hash, SIZE as u64));
            get.serve(file_of(&content), SIZE as u64).await
        };
        let (fetched, served) = tokio::join!(fetch, serve);
        assert_eq!(fetched.expect("it is right"), SIZE as u64);
        served.expect("it was acknowledged");
        assert!(read(copy) == content);
    })
    .await;
}

#[tokio::test]
async fn a_blob_comes_no_faster_than_its_pace() {
    story(async || {
        let (mut broker, client) = pair().await;
        let content = content();
        let hash = blake3::hash(&content);
        let (into, copy) = empty();
        client.net.set_pace(Some(8 << 20), None);
        let begun = Instant::now();
        let fetch = client.net.fetch_blob(broker.key(), hash, SIZE as u64, into);
        let serve = async { get(&mut broker).await.serve(file_of(&content), SIZE as u64).await };
        let (fetched, served) = tokio::join!(fetch, serve);
        assert_eq!((fetched.expect("it is right"), served.is_ok()), (SIZE as u64, true));
        // 5 MiB, and a quarter of a second that the line may lag behind.
        assert!(begun.elapsed() > Duration::from_millis(5 * 125 - 250), "{:?}", begun.elapsed());
        assert!(read(copy) == content);
    })
    .await;
}

#[tokio::test]
async fn a_blob_is_handed_over_and_acknowledged_when_it_is_stored() {
    story(async || {
        let (broker, mut client) = pair().await;
        let content = content();
        let hash = blake3::hash(&content);
        let (into, copy) = empty();
        let (net, peer, file) = (broker.net.clone(), client.key(), file_of(&content));
        let sending =
            tokio::spawn(async move { net.send_blob(peer, hash, file, SIZE as u64).await });

        let put = put(&mut client).await;
        assert_eq!((put.peer, put.hash, put.size), (broker.key(), hash, SIZE as u64));
        let received = put.receive_into(into).await.expect("it is right");
        assert!(!sending.is_finished(), "nothing has been acknowledged");
        received.stored().await.expect("the sender is there");
        assert_eq!(sending.await.expect("no panic").expect("stored"), Sent::Accepted);
        assert!(read(copy) == content);
    })
    .await;
}

#[tokio::test]
async fn every_refusal_of_a_fetch_has_its_name() {
    story(async || {
        let (mut broker, client) = pair().await;
        let hash = blake3::hash(b"content");
        let peer = broker.key();
        let fetch = || {
            let net = client.net.clone();
            tokio::spawn(async move { net.fetch_blob(peer, hash, 100, empty().0).await })
        };

        let fetching = fetch();
        get(&mut broker).await.not_found().await.expect("sent");
        assert!(matches!(fetching.await.expect("no panic"), Err(BlobError::NotFound)));

        let fetching = fetch();
        get(&mut broker).await.refuse("not for you").await.expect("sent");
        let refused = fetching.await.expect("no panic");
        assert!(matches!(refused, Err(BlobError::Refused { reason }) if reason == "not for you"));

        let fetching = fetch();
        let large = get(&mut broker).await.serve(file_of(&[0; 101]), 101).await;
        for result in [large, fetching.await.expect("no panic").map(drop)] {
            assert!(matches!(result, Err(BlobError::TooLarge { size: 101, limit: 100 })));
        }

        let fetching = fetch();
        let damaged = get(&mut broker).await.serve(file_of(b"CONTENT"), 7).await;
        assert!(matches!(damaged, Err(BlobError::Damaged)));
        assert!(matches!(fetching.await.expect("no panic"), Err(BlobError::Failed { .. })));

        let fetching = fetch();
        drop(get(&mut broker).await);
        assert!(matches!(fetching.await.expect("no panic"), Err(BlobError::Lost)));

        let stranger = mesh_net::PeerKey([7; 32]);
        let result = client.net.fetch_blob(stranger, hash, 100, empty().0).await;
        assert!(matches!(result, Err(BlobError::NotConnected)));
    })
    .await;
}

#[tokio::test]
async fn every_refusal_of_a_handover_has_its_name() {
    story(async || {
        let (mut broker, client) = pair().await;
        let hash = blake3::hash(b"content");
        let peer = broker.key();
        let send = || {
            let net = client.net.clone();
            let file = file_of(b"content");
            tokio::spawn(async move { net.send_blob(peer, hash, file, 7).await })
        };

        let sending = send();
        put(&mut broker).await.have().await.expect("sent");
        assert_eq!(sending.await.expect("no panic").expect("there"), Sent::AlreadyThere);

        let sending = send();
        put(&mut broker).await.refuse("over your quota").await.expect("sent");
        let refused = sending.await.expect("no panic");
        assert!(
            matches!(refused, Err(BlobError::Refused { reason }) if reason == "over your quota")
        );

        let sending = send();
        let received = put(&mut broker).await.receive_into(empty().0).await.expect("it is right");
        received.failed("the disk is full").await.expect("sent");
        let failed = sending.await.expect("no panic");
        assert!(
            matches!(failed, Err(BlobError::Failed { reason }) if reason == "the disk is full")
        );

        let damaged = client.net.send_blob(broker.key(), hash, file_of(b"contend"), 7).await;
        assert!(matches!(damaged, Err(BlobError::Damaged)));
    })
    .await;
}

#[tokio::test]
async fn a_receiver_that_cannot_write_tells_the_sender() {
    story(async || {
        let (mut broker, client) = pair().await;
        let content = content();
        let hash = blake3::hash(&content);
        let send = client.net.send_blob(broker.key(), hash, file_of(&content), SIZE as u64);
        let receive = async {
            let named = tempfile::NamedTempFile::new().expect("a temporary file");
            let read_only = File::open(named.path()).expect("it is there");
            put(&mut broker).await.receive_into(read_only).await.map(drop)
        };
        let (sent, received) = tokio::join!(send, receive);
        assert!(matches!(received, Err(BlobError::File(_))), "{received:?}");
        assert!(matches!(sent, Err(BlobError::Failed { .. })), "{sent:?}");
    })
    .await;
}

/// The other end is written here from the specification, byte by byte.
#[tokio::test]
async fn a_peer_that_changes_one_byte_is_found_out_at_its_group() {
    story(async || {
        let mut client = Node::client(2).await;
        let mut raw = raw(9).await;
        let mut streams = raw.accept("/talkoot/1/blob");
        raw.be_dialled_by(&client.net).await;
        let content = vec![0x5a; 32 * 1024];
        let hash = blake3::hash(&content);
        let (left, right) = content.split_at(16 * 1024);

        // At the third wrong byte it is shunned.
        let wrong = (Some(20_000), Err(16_384));
        for (wrong_byte, expected) in [(None, Ok(32_768)), wrong, wrong, wrong] {
            let (into, copy) = empty();
            let fetch = client.net.fetch_blob(raw.key, hash, 1 << 20, into);
            let serve = async {
                let (_, mut stream) = streams.next().await.expect("a stream");
                let mut request = [0; 45];
                stream.read_exact(&mut request).await.expect("a request");
                assert_eq!(request[..7], [44, 0x86, 0x01, 0x00, 0x00, 0x58, 0x20]);
                assert_eq!(request[7..39], *hash.as_bytes());
                assert_eq!(request[39..], [0x1a, 0x00, 0x10, 0x00, 0x00, 0x80]);
                // ok, 32,768 bytes.
                let mut wire = vec![7, 0x84, 0x01, 0x00, 0x19, 0x80, 0x00, 0x60];
                wire.extend(chaining_value(left, 0));
                wire.extend(chaining_value(right, 16));
                let start = wire.len();
                wire.extend(&content);
                if let Some(index) = wrong_byte {
                    wire[start + index] ^= 1;
                }
                stream.write_all(&wire).await.expect("taken");
                stream.flush().await.expect("taken");
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await.expect("a last answer");
                answer
            };
            let (fetched, answer) = tokio::join!(fetch, serve);
            match expected {
                Ok(size) => {
                    assert_eq!(fetched.expect("it is right"), size);
                    assert_eq!(answer[1..], [0x84, 0x01, 0x00]);
                }
                Err(wrong) => {
                    assert!(matches!(fetched, Err(BlobError::WrongByte { at }) if at == wrong));
                    assert_eq!(answer[1..], [0x84, 0x01, 0x05]);
                    assert_eq!(read(copy), left, "only what is right was written");
                }
            }
        }
        let gone =
            |event| matches!(event, Event::Disconnected { peer } if peer == raw.key).then_some(());
        client.until(gone).await;
        let refused = client.net.dial(raw.address.clone()).await.expect_err("not for ten minutes");
        assert!(matches!(refused, DialError::Denied { .. }), "{refused:?}");
    })
    .await;
}

/// The chaining value of a group that starts at chunk `first`, by BLAKE3's own means.
fn chaining_value(group: &[u8], first: u64) -> [u8; 32] {
    use blake3::hazmat::HasherExt;
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(first * 1024).update(group);
    hasher.finalize_non_root()
}

#[tokio::test]
async fn many_transfers_wait_for_their_turn_and_all_pass() {
    story(async || {
        let (mut broker, client) = pair().await;
        let content = vec![3; 100_000];
        let hash = blake3::hash(&content);
        let peer = broker.key();
        tokio::spawn(async move {
            loop {
                let get = get(&mut broker).await;
                let file = file_of(&[3; 100_000]);
                tokio::spawn(async move { get.serve(file, 100_000).await });
            }
        });
        let fetches: Vec<_> = (0..30)
            .map(|_| {
                let net = client.net.clone();
                tokio::spawn(async move { net.fetch_blob(peer, hash, 1 << 20, empty().0).await })
            })
            .collect();
        for fetch in fetches {
            assert_eq!(fetch.await.expect("no panic").expect("it passes"), 100_000);
        }
    })
    .await;
}
