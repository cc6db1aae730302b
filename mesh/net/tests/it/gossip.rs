use mesh_net::{Event, GossipId, Net, PublishError, Topic, Verdict};
use tokio::time::{Duration, interval};

use crate::{Node, story};

/// Publishes as soon as somebody has subscribed.
async fn publish(net: &Net, topic: &Topic, data: &[u8]) -> GossipId {
    let mut tick = interval(Duration::from_millis(10));
    loop {
        tick.tick().await;
        match net.publish(topic.clone(), data.to_vec()).await {
            Ok(id) => return id,
            Err(PublishError::NoPeers) => {}
            Err(error) => panic!("{error}"),
        }
    }
}

/// Judges everything by its first byte, in a task of its own.
fn judge_by_first_byte(mut node: Node) {
    tokio::spawn(async move {
        while let Some(event) = node.events.recv().await {
            if let Event::Gossip { id, from, data, .. } = event {
                let verdict = match data.first() {
                    Some(b'+') => Verdict::Accept,
                    Some(b'-') => Verdict::Reject,
                    _ => Verdict::Ignore,
                };
                node.net.judge(id, from, verdict).await;
            }
        }
    });
}

#[tokio::test]
async fn what_the_middle_accepts_reaches_the_end_and_what_it_rejects_does_not() {
    story(async || {
        let mut nodes = (Node::broker(1).await, Node::broker(2).await, Node::broker(3).await);
        let topic = Topic::offers("linux-x86_64");
        for node in [&nodes.0, &nodes.1, &nodes.2] {
            node.net.subscribe(topic.clone()).await.expect("a broker");
        }
        nodes.0.connect(&mut nodes.1).await;
        nodes.1.connect(&mut nodes.2).await;
        let (a, b, mut c) = nodes;
        let middle = b.key();
        judge_by_first_byte(b);

        publish(&a.net, &topic, b"- forged").await;
        publish(&a.net, &topic, b"? stale").await;
        let id = publish(&a.net, &topic, b"+ sound").await;
        let got = c
            .until(|event| match event {
                Event::Gossip { topic, id, from, data } => Some((topic, id, from, data)),
                _ => None,
            })
            .await;
        assert_eq!(got, (topic.clone(), id, middle, b"+ sound".to_vec()));
        assert_eq!(id, GossipId::of(&topic.0, b"+ sound"));

        let again = a.net.publish(topic.clone(), b"+ sound".to_vec()).await;
        assert_eq!(again, Err(PublishError::Duplicate));
        let large = a.net.publish(topic, vec![0; 71 * 1024]).await;
        assert_eq!(large, Err(PublishError::TooLarge));
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_is_left_brings_nothing_more() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut b = Node::broker(2).await;
        a.connect(&mut b).await;
        let topic = Topic::cards();
        b.net.subscribe(topic.clone()).await.expect("a broker");
        publish(&a.net, &topic, b"+ first").await;
        b.until(|event| matches!(event, Event::Gossip { .. }).then_some(())).await;
        b.net.unsubscribe(topic.clone()).await;
        let mut tick = interval(Duration::from_millis(10));
        let mut number = 0_u32;
        let end = loop {
            tick.tick().await;
            number += 1;
            if let Err(error) = a.net.publish(topic.clone(), number.to_le_bytes().to_vec()).await {
                break error;
            }
        };
        assert_eq!(end, PublishError::NoPeers);
    })
    .await;
}
