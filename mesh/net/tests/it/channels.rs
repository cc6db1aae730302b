use mesh_net::{
    ChannelError, Event, IncomingChannel, MAX_CHANNEL_FRAME_BYTES, MAX_CHANNEL_HEADER_BYTES, Pipe,
};

use crate::{Node, story};

async fn pair() -> (Node, Node) {
    let mut broker = Node::broker(1).await;
    let mut client = Node::client(2).await;
    client.connect(&mut broker).await;
    (broker, client)
}

async fn incoming(node: &mut Node) -> IncomingChannel {
    node.until(|event| match event {
        Event::Channel(incoming) => Some(incoming),
        _ => None,
    })
    .await
}

/// Both ends of a channel that `from` opens to `to`.
async fn channel(from: &Node, to: &mut Node) -> [Pipe; 2] {
    let key = to.key();
    let accept = async {
        let incoming = incoming(to).await;
        assert_eq!((incoming.peer, incoming.header.as_slice()), (from.key(), &b"please"[..]));
        incoming.accept(b"yes").await.expect("the opener waits")
    };
    let (opened, accepted) = tokio::join!(from.net.open_channel(key, b"please"), accept);
    let opened = opened.expect("it is answered");
    assert_eq!(opened.answer, b"yes");
    [opened.pipe, accepted]
}

#[tokio::test]
async fn frames_pass_both_ways_until_one_end_closes() {
    story(async || {
        let (mut broker, client) = pair().await;
        // A broker opens channels over the connection that its client has dialled, too.
        let mut client = client;
        for from_client in [true, false] {
            let [mut here, mut there] = if from_client {
                channel(&client, &mut broker).await
            } else {
                channel(&broker, &mut client).await
            };
            let frames = [vec![], vec![1], vec![2; MAX_CHANNEL_FRAME_BYTES]];
            for frame in &frames {
                here.writer.write(frame).await.expect("sent");
                there.writer.write(frame).await.expect("sent");
            }
            for frame in &frames {
                assert_eq!(there.reader.next().await.as_ref(), Ok(&Some(frame.clone())));
                assert_eq!(here.reader.next().await.as_ref(), Ok(&Some(frame.clone())));
            }
            here.writer.close().await.expect("closed");
            assert_eq!(there.reader.next().await, Ok(None));
        }
    })
    .await;
}

/// Whether an end looks so whose other end has gone: closed, or broken off.
fn is_over(next: Result<Option<Vec<u8>>, ChannelError>) -> bool {
    matches!(next, Ok(None) | Err(ChannelError::Lost))
}

#[tokio::test]
async fn an_end_that_goes_without_a_word_is_noticed() {
    story(async || {
        let (mut broker, client) = pair().await;
        let [mut here, there] = channel(&client, &mut broker).await;
        drop(there);
        assert!(is_over(here.reader.next().await));
        let [mut here, _there] = channel(&client, &mut broker).await;
        broker.net.shutdown().await;
        assert!(is_over(here.reader.next().await));
        let gone = client.net.open_channel(broker.key(), b"please").await;
        assert!(gone.is_err(), "{gone:?}");
    })
    .await;
}

#[tokio::test]
async fn a_refusal_is_an_answer_and_nobody_answers_nothing() {
    story(async || {
        let (mut broker, client) = pair().await;
        let key = broker.key();
        let refuse = async { incoming(&mut broker).await.refuse(b"no").await };
        let (opened, refused) = tokio::join!(client.net.open_channel(key, b"please"), refuse);
        refused.expect("the opener waits");
        let mut opened = opened.expect("a no is an answer");
        assert_eq!(opened.answer, b"no");
        assert_eq!(opened.pipe.reader.next().await, Ok(None));

        let ignore = async { drop(incoming(&mut broker).await) };
        let (opened, ()) = tokio::join!(client.net.open_channel(key, b"please"), ignore);
        assert!(matches!(opened, Err(ChannelError::Lost)), "{opened:?}");
    })
    .await;
}

#[tokio::test]
async fn what_is_too_long_is_not_sent() {
    story(async || {
        let (mut broker, client) = pair().await;
        let long = vec![0; MAX_CHANNEL_HEADER_BYTES + 1];
        let opened = client.net.open_channel(broker.key(), &long).await;
        assert!(matches!(opened, Err(ChannelError::TooLarge { .. })), "{opened:?}");
        let [mut here, _there] = channel(&client, &mut broker).await;
        let long = vec![0; MAX_CHANNEL_FRAME_BYTES + 1];
        let bytes = long.len();
        assert_eq!(here.writer.write(&long).await, Err(ChannelError::TooLarge { bytes }));
    })
    .await;
}

#[tokio::test]
async fn channels_with_one_peer_are_bounded_and_their_places_come_back() {
    story(async || {
        let (mut broker, client) = pair().await;
        let mut open = Vec::new();
        for _ in 0..32 {
            open.push(channel(&client, &mut broker).await);
        }
        let busy = client.net.open_channel(broker.key(), b"please").await;
        assert!(matches!(busy, Err(ChannelError::Busy)), "{busy:?}");
        open.pop();
        channel(&client, &mut broker).await;
    })
    .await;
}
