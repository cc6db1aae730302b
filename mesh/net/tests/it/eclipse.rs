//! One origin that would have a broker for itself.

use std::net::Ipv4Addr;
use std::time::Duration;

use mesh_net::{AddressLimits, Event, PeerKey, Protocol};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::wire::{Wire, port_of};
use crate::{Node, Transport, broker, story};

const LIMITS: AddressLimits =
    AddressLimits { connections: 4, handshakes: 2, handshakes_a_minute: 600 };

/// A broker that takes what `LIMITS` say from one address, and answers every call.
async fn limited() -> (Node, PeerKey) {
    let mut config = broker(1);
    config.per_address = LIMITS;
    let node = Node::start(config).await;
    let key = node.key();
    (node, key)
}

fn serve(node: Node) -> tokio::task::JoinHandle<()> {
    let Node { net, mut events } = node;
    tokio::spawn(async move {
        // The network runs as long as there is a handle.
        let _net = net;
        while let Some(event) = events.recv().await {
            if let Event::Request { data, reply, .. } = event {
                drop(reply.send(data));
            }
        }
    })
}

/// Whether the broker answers over the connection: the dialler is done before the listener has said no.
async fn is_in(client: &Node, broker: PeerKey) -> bool {
    client.net.request(Protocol::Call, broker, vec![1]).await.is_ok()
}

#[tokio::test]
async fn one_address_gets_its_share_and_no_more() {
    story(async || {
        let (node, key) = limited().await;
        // A link that the broker has dialled is not pushed out, and does not count.
        let mut friend = Node::broker(2).await;
        friend.address().await;
        node.net.dial(friend.address().await).await.expect("it listens");
        friend.until(|event| matches!(event, Event::Connected { .. }).then_some(())).await;
        let (address, other) =
            (node.address().await, Wire::from([127, 0, 0, 2].into(), &node).await);
        let broker = node.net.clone();
        let served = serve(node);

        let mut inside = Vec::new();
        for seed in 10..18 {
            let client = Node::client(seed).await;
            drop(client.net.dial(address.clone()).await);
            if is_in(&client, key).await {
                inside.push(client);
            }
        }
        assert_eq!(inside.len(), 4);
        let honest = Node::client(20).await;
        honest.net.dial(other.address(key)).await.expect("another origin");
        assert!(is_in(&honest, key).await);
        assert!(broker.peers().await.iter().any(|peer| peer.key == friend.key()));

        // What is given back can be had again.
        inside.pop().expect("four of them").net.shutdown().await;
        let late = Node::client(21).await;
        while !is_in(&late, key).await {
            drop(late.net.dial(address.clone()).await);
        }
        assert!(!served.is_finished());
    })
    .await;
}

#[tokio::test]
async fn connections_that_say_nothing_keep_out_nobody_else() {
    story(async || {
        // QUIC shakes hands before it is a connection.
        if Transport::here() == Transport::Quic {
            return;
        }
        let (node, key) = limited().await;
        let port = port_of(&node.address().await);
        let other = Wire::from([127, 0, 0, 2].into(), &node).await;
        let _served = serve(node);
        let mut ended = JoinSet::new();
        for _ in 0..50 {
            ended.spawn(end_of_a_mute_connection(port));
        }
        // All but those that may shake hands at a time are ended, long before a handshake is given up.
        let given_up = tokio::time::sleep(Duration::from_secs(8));
        let all_but_two = async {
            while ended.len() > 2 {
                ended.join_next().await;
            }
        };
        tokio::select! {
            () = all_but_two => {}
            () = given_up => panic!("not all were ended"),
        }
        assert!(ended.try_join_next().is_none(), "its share");
        let honest = Node::client(20).await;
        honest.net.dial(other.address(key)).await.expect("another origin");
        assert!(is_in(&honest, key).await);
    })
    .await;
}

/// Connects, says nothing, and waits until the other end has enough of it.
async fn end_of_a_mute_connection(port: u16) {
    // It may be reset before it is known to stand.
    let Ok(mut socket) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else { return };
    drop(socket.read(&mut [0]).await);
}
