use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use mesh_net::{
    Config, Event, MAX_FRAME_BYTES, PeerKey, Protocol, Reply, ReplyError, RequestError, Role,
};
use std::time::Duration;

use crate::{Node, broker, raw, story};

const ALL: [Protocol; 3] = [Protocol::Call, Protocol::Custody, Protocol::Reconcile];

async fn request(node: &mut Node) -> (Protocol, PeerKey, Vec<u8>, Reply) {
    node.until(|event| match event {
        Event::Request { protocol, peer, data, reply } => Some((protocol, peer, data, reply)),
        _ => None,
    })
    .await
}

/// Answers everything with what was asked, reversed, in a task of its own.
fn serve_mirrored(mut node: Node) {
    tokio::spawn(async move {
        while let Some(event) = node.events.recv().await {
            if let Event::Request { mut data, reply, .. } = event {
                data.reverse();
                reply.send(data).expect("the network runs");
            }
        }
    });
}

#[tokio::test]
async fn both_ends_ask_and_answer_on_every_protocol() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut b = Node::client(2).await;
        b.connect(&mut a).await;
        let ends = [(a.net.clone(), b.key()), (b.net.clone(), a.key())];
        serve_mirrored(a);
        serve_mirrored(b);
        for (net, peer) in &ends {
            for protocol in ALL {
                assert_eq!(net.request(protocol, *peer, vec![1, 2, 3]).await, Ok(vec![3, 2, 1]));
                let largest = vec![9; MAX_FRAME_BYTES];
                assert_eq!(net.request(protocol, *peer, largest.clone()).await, Ok(largest));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn an_answer_may_come_after_a_later_one() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut b = Node::client(2).await;
        b.connect(&mut a).await;
        let (net, peer) = (b.net.clone(), a.key());
        let first = tokio::spawn(async move { net.request(Protocol::Call, peer, vec![1]).await });
        let (protocol, from, data, kept) = request(&mut a).await;
        assert_eq!((protocol, from, data), (Protocol::Call, b.key(), vec![1]));

        let (net, peer) = (b.net.clone(), a.key());
        let second = tokio::spawn(async move { net.request(Protocol::Call, peer, vec![2]).await });
        let (.., reply) = request(&mut a).await;
        reply.send(vec![22]).expect("the network runs");
        assert_eq!(second.await.expect("no panic"), Ok(vec![22]));

        assert!(!first.is_finished());
        kept.send(vec![11]).expect("the network runs");
        assert_eq!(first.await.expect("no panic"), Ok(vec![11]));
    })
    .await;
}

#[tokio::test]
async fn a_request_without_an_answer_is_refused_or_times_out() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut config = Config::new([2; 32], Role::Client);
        config.call_timeout = Duration::from_millis(300);
        let mut b = Node::start(config).await;
        b.connect(&mut a).await;
        let peer = a.key();
        let ask = || {
            let net = b.net.clone();
            tokio::spawn(async move { net.request(Protocol::Call, peer, vec![1]).await })
        };
        let dropped = ask();
        drop(request(&mut a).await);
        assert_eq!(dropped.await.expect("no panic"), Err(RequestError::Refused));

        let forgotten = ask();
        let (.., _kept) = request(&mut a).await;
        assert_eq!(forgotten.await.expect("no panic"), Err(RequestError::TimedOut));

        let cut_off = ask();
        let (.., _kept) = request(&mut a).await;
        a.net.shutdown().await;
        assert_eq!(cut_off.await.expect("no panic"), Err(RequestError::ConnectionLost));
    })
    .await;
}

#[tokio::test]
async fn what_is_over_the_limit_is_not_sent() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut b = Node::client(2).await;
        b.connect(&mut a).await;
        let bytes = MAX_FRAME_BYTES + 1;
        let result = b.net.request(Protocol::Call, a.key(), vec![0; bytes]).await;
        assert_eq!(result, Err(RequestError::TooLarge { bytes }));

        let (net, peer) = (b.net.clone(), a.key());
        let asked = tokio::spawn(async move { net.request(Protocol::Call, peer, vec![1]).await });
        let (.., reply) = request(&mut a).await;
        assert_eq!(reply.send(vec![0; bytes]), Err(ReplyError::TooLarge { bytes }));
        assert_eq!(asked.await.expect("no panic"), Err(RequestError::Refused));
    })
    .await;
}

#[tokio::test]
async fn an_announcement_over_the_limit_ends_the_stream_before_any_body() {
    story(async || {
        let mut a = Node::broker(1).await;
        let mut raw = raw(9).await;
        raw.be_dialled_by(&a.net).await;
        let over = [0x81, 0x80, 0x40];

        // As a request: the node ends the stream, though not one byte of the body has come.
        let mut stream = raw.open(a.key(), Protocol::Custody.name()).await.expect("spoken");
        stream.write_all(&over).await.expect("writable");
        stream.flush().await.expect("writable");
        let mut rest = Vec::new();
        drop(stream.read_to_end(&mut rest).await);
        assert!(rest.is_empty());

        // As an answer: whoever asked learns what was wrong.
        let mut streams = raw.accept(Protocol::Call.name());
        let peer = raw.key;
        a.net.disconnect(peer).await;
        a.until(|event| matches!(event, Event::Disconnected { .. }).then_some(())).await;
        raw.be_dialled_by(&a.net).await;
        let net = a.net.clone();
        let asked = tokio::spawn(async move { net.request(Protocol::Call, peer, vec![1]).await });
        let (_, mut stream) = streams.next().await.expect("a stream");
        stream.write_all(&over).await.expect("writable");
        stream.flush().await.expect("writable");
        let bytes = MAX_FRAME_BYTES + 1;
        assert_eq!(asked.await.expect("no panic"), Err(RequestError::TooLarge { bytes }));
    })
    .await;
}

#[tokio::test]
async fn a_program_that_is_behind_refuses_others_and_is_served_itself() {
    story(async || {
        let mut config = broker(1);
        config.event_capacity = 16;
        let mut slow = Node::start(config).await;
        let mut other = Node::client(2).await;
        other.connect(&mut slow).await;
        let (net, peer) = (other.net.clone(), slow.key());
        serve_mirrored(other);

        // Nobody reads the events of `slow`: some requests wait in its queue, the others are refused.
        let asked: Vec<_> = (0..20)
            .map(|_| {
                let net = net.clone();
                tokio::spawn(async move { net.request(Protocol::Call, peer, vec![1]).await })
            })
            .collect();
        let mut waiting = asked;
        let mut refused = 0;
        while refused < 6 {
            let (finished, unfinished): (Vec<_>, Vec<_>) =
                waiting.into_iter().partition(|task| task.is_finished());
            waiting = unfinished;
            for task in finished {
                assert_eq!(task.await.expect("no panic"), Err(RequestError::Refused));
                refused += 1;
            }
            tokio::task::yield_now().await;
        }
        assert_eq!(slow.net.request(Protocol::Call, net.key(), vec![1, 2]).await, Ok(vec![2, 1]));

        while let Some(task) = waiting.pop() {
            let (.., reply) = request(&mut slow).await;
            reply.send(vec![7]).expect("the network runs");
            drop(task);
        }
    })
    .await;
}
