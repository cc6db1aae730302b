use mesh_net::{Config, DialError, Direction, Event, PeerKey, Protocol, RequestError, Role};
use mesh_net::{PublishError, StartError, SubscribeError, Topic};

use crate::{Node, broker, story};

#[tokio::test]
async fn both_ends_learn_who_connected_and_that_it_left() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut b = Node::client(2).await;
        let dialled = b.net.dial(a.address().await).await;
        assert_eq!(dialled, Ok(a.key()));
        let direction = a
            .until(|event| match event {
                Event::Connected { peer, direction, .. } => (peer == b.key()).then_some(direction),
                _ => None,
            })
            .await;
        assert_eq!(direction, Direction::Inbound);
        let peers = b.net.peers().await;
        assert_eq!(peers.len(), 1);
        assert_eq!((peers[0].key, peers[0].direction), (a.key(), Direction::Outbound));

        b.net.disconnect(a.key()).await;
        for (node, gone) in [(&mut a, b.net.key()), (&mut b, dialled.expect("connected"))] {
            node.until(|event| match event {
                Event::Disconnected { peer } => (peer == gone).then_some(()),
                _ => None,
            })
            .await;
        }
        assert!(a.net.peers().await.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_second_dial_to_a_connected_peer_opens_nothing() {
    story(async || {
        let a = Node::broker(1).await;
        let b = Node::client(2).await;
        for _ in 0..3 {
            assert_eq!(b.net.dial(a.address().await).await, Ok(a.key()));
        }
        assert_eq!(b.net.peers().await[0].addresses.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn an_address_that_leads_elsewhere_is_named_as_such() {
    story(async || {
        let a = Node::broker(1).await;
        let b = Node::broker(2).await;
        a.address().await;
        let bare = a.net.listen_addresses().await[0].clone();
        let id = b.key().peer_id_text().expect("a real key");
        let wrong = format!("{bare}/p2p/{id}").parse().expect("an address");
        let other = Node::client(3).await;
        assert!(matches!(other.net.dial(wrong).await, Err(DialError::WrongPeer { .. })));
        let result = a.net.dial(bare).await;
        assert!(matches!(result, Err(DialError::Ourselves { .. })), "{result:?}");
        let udp = "/ip4/127.0.0.1/udp/1".parse().expect("an address");
        let result = other.net.dial(udp).await;
        assert!(matches!(result, Err(DialError::UnsupportedAddress { .. })), "{result:?}");

        let gone = a.address().await;
        a.net.shutdown().await;
        let result = other.net.dial(gone).await;
        assert!(matches!(result, Err(DialError::Unreachable { .. })), "{result:?}");
    })
    .await;
}

#[tokio::test]
async fn a_blocked_peer_is_cut_off_until_it_is_unblocked() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut b = Node::broker(2).await;
        b.connect(&mut a).await;
        a.net.block(b.key()).await;
        let gone = a.key();
        b.until(|event| match event {
            Event::Disconnected { peer } => (peer == gone).then_some(()),
            _ => None,
        })
        .await;
        let denied = a.net.request(Protocol::Call, b.key(), vec![1]).await;
        assert_eq!(denied, Err(RequestError::NotConnected));
        let denied = a.net.dial(b.address().await).await;
        assert!(matches!(denied, Err(DialError::Denied { .. })), "{denied:?}");

        a.net.unblock(b.key()).await;
        b.connect(&mut a).await;
    })
    .await;
}

#[tokio::test]
async fn nobody_is_asked_who_is_not_connected() {
    story(async || {
        let a = Node::broker(1).await;
        for stranger in [PeerKey([7; 32]), PeerKey([0xff; 32]), a.key()] {
            let result = a.net.request(Protocol::Call, stranger, vec![1]).await;
            assert_eq!(result, Err(RequestError::NotConnected), "{stranger}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    story(async || {
        let a = Node::broker(1).await;
        a.address().await;
        let mut config = broker(2);
        config.listen = vec![a.net.listen_addresses().await[0].clone()];
        let error = mesh_net::start(config.clone()).await.map(drop).expect_err("it is taken");
        assert!(matches!(error, StartError::AddressInUse { .. }), "{error:?}");

        a.net.shutdown().await;
        mesh_net::start(config).await.map(drop).expect("it is free again");
    })
    .await;
}

#[tokio::test]
async fn a_transport_that_is_not_there_is_named() {
    let mut config = Config::new([1; 32], Role::Broker);
    config.listen = vec!["/ip4/127.0.0.1/udp/0".parse().expect("an address")];
    let error = mesh_net::start(config).await.map(drop).expect_err("that is no transport");
    assert!(matches!(error, StartError::UnsupportedAddress { .. }), "{error:?}");
}

#[tokio::test]
async fn a_name_is_dialled_over_every_transport() {
    story(async || {
        let a = Node::broker(1).await;
        let b = Node::client(2).await;
        let numeric = a.address().await.to_string();
        let named = numeric.replace("/ip4/127.0.0.1/", "/dns4/localhost/");
        let dialled = b.net.dial(named.parse().expect("an address")).await;
        assert_eq!(dialled, Ok(a.key()));
    })
    .await;
}

#[tokio::test]
async fn a_client_does_not_gossip() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut client = Node::client(2).await;
        client.connect(&mut a).await;
        let topic = Topic::cards();
        assert_eq!(client.net.subscribe(topic.clone()).await, Err(SubscribeError::NotABroker));
        let published = client.net.publish(topic.clone(), vec![1]).await;
        assert_eq!(published, Err(PublishError::NotABroker));
        a.net.subscribe(topic.clone()).await.expect("a broker");
        assert_eq!(a.net.publish(topic, vec![1]).await, Err(PublishError::NoPeers));
    })
    .await;
}

#[tokio::test]
async fn everything_ends_when_the_handles_are_dropped() {
    story(async || {
        let Node { net, mut events } = Node::start(Config::new([1; 32], Role::Client)).await;
        drop(net);
        assert!(events.recv().await.is_none());

        let Node { net, events } = Node::start(Config::new([1; 32], Role::Client)).await;
        drop(events);
        while net.dial("/memory/1".parse().expect("an address")).await != Err(DialError::Stopped) {}
    })
    .await;
}
