//! Channels over a broker that sees everything and may do anything with it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use capability::statements::{Lease, TaskId};
use capability::{PublicKey, Runtime, SecretKey, Signer, StatementId, Verified};
use mesh_core::{
    ChannelAnswer, ChannelKey, ChannelKeyError, ChannelMessage, ChannelOpen, ChannelRefusal,
};
use mesh_net::{ChannelError, Config, Event, IncomingChannel, OpenedChannel, PeerKey, Pipe, Role};
use mesh_shell::{Clock, Link, Session, SessionError, Storage, peer_key, public_key};
use tempfile::TempDir;
use tokio::sync::mpsc;

const BROKER: u8 = 1;
const ADAPTER: u8 = 2;
const VOLUNTEER: u8 = 3;

/// Something that nobody but the ends may read.
const MARKER: &str = "attack at dawn";

struct Node {
    link: Link,
    channels: mpsc::UnboundedReceiver<IncomingChannel>,
    listening: mpsc::UnboundedReceiver<String>,
    connected: mpsc::UnboundedReceiver<PeerKey>,
    _directory: TempDir,
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_seed(&[seed; 32])
}

impl Node {
    async fn start(seed: u8, role: Role) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let storage = Storage::open(directory.path(), 1 << 20).expect("opened");
        let mut config = Config::new([seed; 32], role);
        if role == Role::Broker {
            config.listen = vec!["/ip4/127.0.0.1/tcp/0".parse().expect("an address")];
        }
        let (net, mut events) = mesh_net::start(config).await.expect("started");
        let link = Link::new(net, storage, Arc::new(key(seed)), Clock::new());
        let (found, listening) = mpsc::unbounded_channel();
        let (wanted, channels) = mpsc::unbounded_channel();
        let (came, connected) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                match event {
                    Event::Listening { address } => drop(found.send(address.to_string())),
                    Event::Connected { peer, .. } => drop(came.send(peer)),
                    Event::Channel(incoming) => drop(wanted.send(incoming)),
                    _ => (),
                }
            }
        });
        Self { link, channels, listening, connected, _directory: directory }
    }

    async fn dial(&self, address: &str) {
        self.link.net().dial(address.parse().expect("an address")).await.expect("reached");
    }
}

/// What the broker does with the frames that the volunteer sends: gives those that go on in place of one. It may
/// keep some back.
type Meddling = fn(number: usize, frame: Vec<u8>, kept: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>>;

fn honest(_: usize, frame: Vec<u8>, _: &mut Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    vec![frame]
}

/// An adapter and a volunteer with a broker between them, and a lease.
struct Story {
    adapter: Node,
    broker: Node,
    volunteer: Node,
    lease: Verified<Lease>,
    /// Every frame that the broker has seen.
    seen: Arc<Mutex<Vec<Vec<u8>>>>,
}

fn task() -> TaskId {
    TaskId { offer: StatementId::from_bytes([9; 32]), task: 4, replica: 0 }
}

fn lease_of(volunteer: u8, granter: u8, task: TaskId) -> Verified<Lease> {
    let now = Clock::new().now().wall;
    let lease = Lease {
        project: key(ADAPTER).public().into(),
        task,
        epoch: 1,
        volunteer: key(volunteer).public(),
        runtime: Runtime::Native,
        granted: now,
        term_ms: 30_000,
        deadline: None,
        expires: now + Duration::from_secs(3600),
    };
    Verified::sign(lease, &key(granter))
}

impl Story {
    async fn begin() -> Self {
        let mut broker = Node::start(BROKER, Role::Broker).await;
        let address = broker.listening.recv().await.expect("it listens");
        let adapter = Node::start(ADAPTER, Role::Client).await;
        let volunteer = Node::start(VOLUNTEER, Role::Client).await;
        adapter.dial(&address).await;
        volunteer.dial(&address).await;
        for _ in 0..2 {
            broker.connected.recv().await.expect("both are there");
        }
        let lease = lease_of(VOLUNTEER, BROKER, task());
        Self { adapter, broker, volunteer, lease, seen: Arc::default() }
    }

    /// Opens a channel that the broker relays, meddling with what the volunteer sends.
    async fn open(&mut self, meddling: Meddling) -> [Result<Session, SessionError>; 2] {
        self.open_as(meddling, self.lease.clone(), key(ADAPTER).public()).await
    }

    /// The same, for a volunteer that takes the channel to be about `lease` and from `master`.
    async fn open_as(
        &mut self,
        meddling: Meddling,
        lease: Verified<Lease>,
        master: PublicKey,
    ) -> [Result<Session, SessionError>; 2] {
        let home = self.broker.link.key();
        let open = self.adapter.link.open_channel(home, task());
        let accept = async {
            let incoming = self.volunteer.channels.recv().await.expect("one is wanted");
            self.volunteer.link.accept_channel(incoming, &lease, master).await
        };
        let relay = async {
            let incoming = self.broker.channels.recv().await.expect("one is wanted");
            let header = ChannelOpen::Lease { lease: self.lease.clone(), hops: 3 }.encode();
            let volunteer = peer_key(self.volunteer.link.key());
            let opened = self.broker.link.net().open_channel(volunteer, &header).await;
            let OpenedChannel { answer, pipe } = opened.expect("the volunteer answers");
            let theirs = incoming.accept(&answer).await.expect("the adapter waits");
            tokio::spawn(relay(theirs, pipe, meddling, Arc::clone(&self.seen)));
        };
        let (opened, accepted, ()) = tokio::join!(open, accept, relay);
        [opened.map(|(session, _)| session), accepted]
    }
}

async fn relay(adapter: Pipe, volunteer: Pipe, meddling: Meddling, seen: Arc<Mutex<Vec<Vec<u8>>>>) {
    let Pipe { reader: mut from_adapter, writer: mut to_adapter } = adapter;
    let Pipe { reader: mut from_volunteer, writer: mut to_volunteer } = volunteer;
    let note = |frame: &[u8]| seen.lock().expect("no panic").push(frame.to_vec());
    let there = async {
        while let Ok(Some(frame)) = from_adapter.next().await {
            note(&frame);
            if to_volunteer.write(&frame).await.is_err() {
                return;
            }
        }
    };
    let back = async {
        let (mut number, mut kept) = (0, Vec::new());
        while let Ok(Some(frame)) = from_volunteer.next().await {
            note(&frame);
            for frame in meddling(number, frame, &mut kept) {
                if to_adapter.write(&frame).await.is_err() {
                    return;
                }
            }
            number += 1;
        }
        // Whatever was kept back, the end looks like one.
        let _ = to_adapter.close().await;
    };
    tokio::select! {
        () = there => {}
        () = back => {}
    }
}

fn opened([adapter, volunteer]: [Result<Session, SessionError>; 2]) -> [Session; 2] {
    [adapter.expect("the adapter's end"), volunteer.expect("the volunteer's end")]
}

fn word(number: u8) -> ChannelMessage {
    let flow = mesh_core::FlowId(number.into());
    ChannelMessage::Data { flow, bytes: format!("{MARKER} {number}").into_bytes() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_end_says_the_other_hears_and_no_broker_reads() {
    let mut story = Story::begin().await;
    let [mut adapter, mut volunteer] = opened(story.open(honest).await);
    for number in 0..20 {
        volunteer.send(&word(number)).await.expect("sent");
        assert_eq!(adapter.receive().await.expect("received"), word(number));
        adapter.send(&word(number)).await.expect("sent");
        assert_eq!(volunteer.receive().await.expect("received"), word(number));
    }
    let (said, heard) = tokio::join!(volunteer.bye(MARKER), async {
        let bye = adapter.receive().await;
        drop(adapter);
        bye
    });
    said.expect("sent");
    assert_eq!(heard.expect("received"), ChannelMessage::Bye(MARKER.to_owned()));

    let seen = story.seen.lock().expect("no panic").clone();
    assert!(seen.len() > 40, "all of it has passed the broker: {} frames", seen.len());
    let holds =
        |frame: &Vec<u8>| frame.windows(MARKER.len()).any(|window| window == MARKER.as_bytes());
    assert!(word(0).encode().windows(MARKER.len()).any(|it| it == MARKER.as_bytes()));
    assert!(!seen.iter().any(holds), "the broker can read it");
}

/// The volunteer's first frame is of the handshake; then come words.
const FIRST_WORD: usize = 1;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_changes_repeats_reorders_drops_or_invents_frames_is_noticed() {
    let meddlings: [(&str, Meddling); 5] = [
        ("changes", |number, mut frame, _| {
            if number == FIRST_WORD + 1 {
                frame[5] ^= 1;
            }
            vec![frame]
        }),
        ("repeats", |number, frame, _| {
            let times = if number == FIRST_WORD { 2 } else { 1 };
            vec![frame; times]
        }),
        ("reorders", |number, frame, kept| match number {
            n if n == FIRST_WORD + 1 => {
                kept.push(frame);
                vec![]
            }
            n if n == FIRST_WORD + 2 => vec![frame, kept.remove(0)],
            _ => vec![frame],
        }),
        ("drops", |number, frame, _| if number == FIRST_WORD + 1 { vec![] } else { vec![frame] }),
        (
            "invents",
            |number, frame, _| {
                if number == FIRST_WORD + 1 { vec![vec![7; 40], frame] } else { vec![frame] }
            },
        ),
    ];
    let mut story = Story::begin().await;
    for (what, meddling) in meddlings {
        let [mut adapter, mut volunteer] = opened(story.open(meddling).await);
        for number in 0..4 {
            volunteer.send(&word(number)).await.expect("sent");
        }
        assert_eq!(adapter.receive().await.expect("untouched"), word(0), "{what}");
        let next = adapter.receive().await;
        assert!(matches!(next, Err(SessionError::Tampered)), "a broker that {what}: {next:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_changes_the_handshake_is_noticed() {
    let mut story = Story::begin().await;
    let [adapter, volunteer] = story
        .open(|_, mut frame, _| {
            frame[40] ^= 1;
            vec![frame]
        })
        .await;
    assert!(matches!(adapter, Err(SessionError::Tampered)), "{adapter:?}");
    volunteer.expect_err("the adapter is not there");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_a_broker_makes_up_is_none() {
    let mut story = Story::begin().await;
    let [mut adapter, mut volunteer] = opened(
        story
            .open(|number, frame, _| if number <= FIRST_WORD { vec![frame] } else { vec![] })
            .await,
    );
    volunteer.send(&word(0)).await.expect("sent");
    let (_, heard) = tokio::join!(volunteer.bye("done"), async {
        assert_eq!(adapter.receive().await.expect("it was let through"), word(0));
        let end = adapter.receive().await;
        drop(adapter);
        end
    });
    assert!(matches!(heard, Err(SessionError::Network(ChannelError::Lost))), "{heard:?}");
}

/// Shakes hands as an adapter would that does not care who the other end is; the broker lets everything pass.
async fn intrude(story: &mut Story) -> Result<Session, SessionError> {
    let (lease, master) = (story.lease.clone(), key(7).public());
    let accept = async {
        let incoming = story.volunteer.channels.recv().await.expect("one is wanted");
        story.volunteer.link.accept_channel(incoming, &lease, master).await
    };
    let header = ChannelOpen::Lease { lease: lease.clone(), hops: 3 }.encode();
    let begin = async {
        let volunteer = peer_key(story.volunteer.link.key());
        let opened = story.broker.link.net().open_channel(volunteer, &header).await;
        let mut pipe = opened.expect("the volunteer answers").pipe;
        let builder =
            || snow::Builder::new("Noise_XX_25519_ChaChaPoly_SHA256".parse().expect("it"));
        let pair = builder().generate_keypair().expect("a pair");
        let prologue = [b"talkoot/1/channel".as_slice(), lease.id().as_bytes()].concat();
        let noise = builder().local_private_key(&pair.private).expect("a key");
        let mut noise = noise.prologue(&prologue).expect("once").build_initiator().expect("built");
        let mut message = [0; 4096];
        let length = noise.write_message(&[], &mut message).expect("written");
        pipe.writer.write(&message[..length]).await.expect("sent");
        let answer = pipe.reader.next().await.expect("received").expect("an answer");
        noise.read_message(&answer, &mut message).expect("the volunteer's");
        let own = ChannelKey { lease: lease.id(), key: pair.public.try_into().expect("32 bytes") };
        let now = Clock::new().now().wall;
        let proof = own.prove(story.volunteer.link.key(), 1, now, &key(ADAPTER));
        let length = noise.write_message(proof.envelope().as_bytes(), &mut message);
        pipe.writer.write(&message[..length.expect("written")]).await.expect("sent");
        pipe
    };
    let (accepted, _pipe) = tokio::join!(accept, begin);
    accepted
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_end_talks_to_anybody_but_whom_lease_and_offer_name() {
    let mut story = Story::begin().await;
    match intrude(&mut story).await {
        Err(SessionError::Proof(ChannelKeyError::Stranger(found))) => {
            assert_eq!(found, story.adapter.link.key());
        }
        other => panic!("the volunteer must not talk to this adapter: {other:?}"),
    }

    // The home says that somebody else works, and leads to the volunteer nevertheless.
    story.lease = lease_of(7, BROKER, task());
    let [adapter, _] = story.open(honest).await;
    match adapter {
        Err(SessionError::Proof(ChannelKeyError::Stranger(found))) => {
            assert_eq!(found, story.volunteer.link.key());
        }
        other => panic!("the adapter must not talk to this volunteer: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ends_that_mean_different_leases_find_no_common_key() {
    let mut story = Story::begin().await;
    let other = lease_of(VOLUNTEER, BROKER, TaskId { task: 5, ..task() });
    let home = story.broker.link.key();
    let open = story.adapter.link.open_channel(home, task());
    let accept = async {
        let incoming = story.volunteer.channels.recv().await.expect("one is wanted");
        let master = story.adapter.link.key();
        story.volunteer.link.accept_channel(incoming, &other, master).await
    };
    let relay = async {
        let incoming = story.broker.channels.recv().await.expect("one is wanted");
        let header = ChannelOpen::Lease { lease: other.clone(), hops: 3 }.encode();
        let volunteer = peer_key(story.volunteer.link.key());
        let opened = story.broker.link.net().open_channel(volunteer, &header).await;
        let pipe = opened.expect("the volunteer answers").pipe;
        // The broker puts another answer in place of the volunteer's.
        let answer = ChannelAnswer::Open(story.lease.clone()).encode();
        let theirs = incoming.accept(&answer).await.expect("the adapter waits");
        tokio::spawn(relay(theirs, pipe, honest, Arc::default()));
    };
    let (opened, accepted, ()) = tokio::join!(open, accept, relay);
    assert!(matches!(opened, Err(SessionError::Tampered)), "{opened:?}");
    accepted.expect_err("nor the other end");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_adapter_takes_no_lease_of_another_task_or_home() {
    let mut story = Story::begin().await;
    let home = story.broker.link.key();
    for lease in [
        lease_of(VOLUNTEER, BROKER, TaskId { task: 5, ..task() }),
        lease_of(VOLUNTEER, VOLUNTEER, task()),
    ] {
        let open = story.adapter.link.open_channel(home, task());
        let answer = async {
            let incoming = story.broker.channels.recv().await.expect("one is wanted");
            let answer = ChannelAnswer::Open(lease).encode();
            incoming.accept(&answer).await.expect("the adapter waits")
        };
        let (opened, _pipe) = tokio::join!(open, answer);
        assert!(matches!(opened, Err(SessionError::Lease)), "{opened:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_told_in_its_own_words() {
    let mut story = Story::begin().await;
    let home = story.broker.link.key();
    let open = story.adapter.link.open_channel(home, task());
    let refuse = async {
        let incoming = story.broker.channels.recv().await.expect("one is wanted");
        assert_eq!(public_key(incoming.peer), story.adapter.link.key());
        let answer = ChannelAnswer::Refused(ChannelRefusal::Declined).encode();
        incoming.refuse(&answer).await.expect("the adapter waits");
    };
    let (opened, ()) = tokio::join!(open, refuse);
    let refused = opened.expect_err("refused");
    assert!(matches!(refused, SessionError::Refused(ChannelRefusal::Declined)), "{refused:?}");
}
