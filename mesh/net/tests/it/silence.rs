//! What becomes of a peer that says nothing any more.

use std::time::{Duration, Instant};

use mesh_net::{Event, Protocol, RequestError};

use crate::wire::Wire;
use crate::{Node, story};

/// What DESIGN.md gives a volunteer for having moved.
const PROMISED: Duration = Duration::from_secs(5);

async fn until_gone(node: &mut Node) {
    node.until(|event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
}

async fn until_there(node: &mut Node) {
    node.until(|event| matches!(event, Event::Connected { .. }).then_some(())).await;
}

#[tokio::test]
async fn silence_is_told_in_time_and_so_is_its_end() {
    story(async || {
        let mut broker = Node::broker(1).await;
        let mut client = Node::client(2).await;
        let wire = Wire::to(&broker).await;
        client.net.dial(wire.address(broker.key())).await.expect("a whole wire");
        until_there(&mut client).await;
        until_there(&mut broker).await;

        let (net, peer) = (client.net.clone(), broker.key());
        let asked = tokio::spawn(async move { net.request(Protocol::Call, peer, vec![1]).await });
        let is_request = |event| matches!(event, Event::Request { .. }).then_some(event);
        let _unanswered = broker.until(is_request).await;
        wire.cut();
        let cut = Instant::now();
        until_gone(&mut client).await;
        assert!(cut.elapsed() < PROMISED, "{:?}", cut.elapsed());
        // Whoever waited for an answer is told, and nobody waits any more.
        assert_eq!(asked.await.expect("no panic"), Err(RequestError::ConnectionLost));
        assert!(client.net.peers().await.is_empty());
        let again = client.net.request(Protocol::Call, peer, vec![2]).await;
        assert_eq!(again, Err(RequestError::NotConnected));

        // The connection was kept: it needs no handshake when the wire is whole again.
        wire.mend();
        until_there(&mut client).await;
        assert_eq!(client.net.peers().await.len(), 1);
        let told = std::iter::from_fn(|| broker.events.try_recv().ok());
        let noticed = told.filter(|it| matches!(it, Event::Disconnected { .. })).count();
        assert_eq!(noticed, 0, "to the broker nothing has happened");
    })
    .await;
}

#[tokio::test]
async fn a_silent_peer_can_be_dialled_at_another_address() {
    story(async || {
        let mut broker = Node::broker(1).await;
        let mut client = Node::client(2).await;
        let wire = Wire::to(&broker).await;
        client.net.dial(wire.address(broker.key())).await.expect("a whole wire");
        until_there(&mut client).await;
        wire.cut();
        until_gone(&mut client).await;

        assert_eq!(client.net.dial(broker.address().await).await, Ok(broker.key()));
        until_there(&mut client).await;
        until_there(&mut broker).await;
        let asked = client.net.request(Protocol::Call, broker.key(), vec![1]);
        let answer = async {
            let reply = broker.until(|event| match event {
                Event::Request { reply, .. } => Some(reply),
                _ => None,
            });
            reply.await.send(vec![2]).expect("the network runs");
        };
        assert_eq!(tokio::join!(asked, answer).0, Ok(vec![2]));
    })
    .await;
}
