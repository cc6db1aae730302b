//! Pings: they keep a connection open, and tell when its other end has fallen silent.
//!
//! Who dialled watches closely: a volunteer must move to another broker within 5 s when its own has gone without a word,
//! be it that the host lost power, the cable was cut, or the program hangs. The kernel's keepalive would cost less, but
//! knows nothing of a program that hangs, nor of a broker behind a proxy, and can only end the connection, which on a bad
//! network means to end it every minute. So silence is first told and nothing else: the connection is over when it has
//! lasted. Who was dialled looks seldom: it has thousands of such connections, and nothing to move to.
//!
//! The protocol is libp2p's own: 32 bytes and the same 32 bytes back, on a stream that both ends keep.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{AsyncReadExt, AsyncWriteExt, FutureExt};
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::ReadyUpgrade;
use libp2p::swarm::handler::{ConnectionEvent, FullyNegotiatedInbound, FullyNegotiatedOutbound};
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, StreamUpgradeError, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol};
use tokio::time::{Instant, Sleep};

const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

const PING_BYTES: usize = 32;

/// With [`PATIENCE`], silence is known after 4.5 s, and to turn to another broker takes milliseconds.
const OFTEN: Duration = Duration::from_secs(3);

/// Often enough for a NAT to remember a connection (30 s and more are usual).
pub(crate) const SELDOM: Duration = Duration::from_secs(15);

/// A lost packet is sent again within this time, but on the longest ways.
const PATIENCE: Duration = Duration::from_millis(1500);

/// From the last sign of life until a connection is over.
pub(crate) const GIVE_UP: Duration = Duration::from_secs(25);

/// More pings than anybody needs cost no more than this many a second.
const BETWEEN_ANSWERS: Duration = Duration::from_millis(100);

/// What a connection shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// The peer has answered.
    Beat { round_trip: Duration },
    /// It should have answered by now.
    Silent,
    /// It has not answered for so long that the connection is of no use.
    Dead,
}

/// News of one connection.
#[derive(Debug)]
pub(crate) struct Felt {
    pub(crate) peer: PeerId,
    pub(crate) connection: ConnectionId,
    pub(crate) pulse: Pulse,
}

#[derive(Debug, Default)]
pub(crate) struct Behaviour {
    felt: VecDeque<Felt>,
}

impl NetworkBehaviour for Behaviour {
    type ConnectionHandler = Handler;
    type ToSwarm = Felt;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Rhythm { every: SELDOM, patience: GIVE_UP - SELDOM }))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler::new(Rhythm { every: OFTEN, patience: PATIENCE }))
    }

    fn on_swarm_event(&mut self, _: FromSwarm) {}

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        pulse: THandlerOutEvent<Self>,
    ) {
        self.felt.push_back(Felt { peer, connection, pulse });
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Felt, THandlerInEvent<Self>>> {
        match self.felt.pop_front() {
            Some(felt) => Poll::Ready(ToSwarm::GenerateEvent(felt)),
            None => Poll::Pending,
        }
    }
}

/// How often to ask, and how long to wait for the answer before that is told.
#[derive(Debug, Clone, Copy)]
struct Rhythm {
    every: Duration,
    patience: Duration,
}

/// One connection.
pub(crate) struct Handler {
    rhythm: Rhythm,
    phase: Phase,
    /// When the phase ends.
    timer: Pin<Box<Sleep>>,
    /// Between pings.
    stream: Option<Stream>,
    ping: Option<BoxFuture<'static, io::Result<Stream>>>,
    /// Until the peer's next ping is answered.
    answering: Option<BoxFuture<'static, io::Result<Answered>>>,
}

/// A ping of the peer's that was answered.
struct Answered {
    stream: Stream,
    /// Whether it came no sooner than it may.
    in_time: bool,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    /// Until the next ping is due.
    Resting,
    Waiting {
        since: Instant,
    },
    Silent {
        since: Instant,
    },
    /// The connection is given up, or the peer does not speak the protocol.
    Over,
}

impl Handler {
    /// The first ping is due at once: it tells the round trip.
    fn new(rhythm: Rhythm) -> Self {
        Self {
            rhythm,
            phase: Phase::Resting,
            timer: Box::pin(tokio::time::sleep(Duration::ZERO)),
            stream: None,
            ping: None,
            answering: None,
        }
    }

    fn request() -> ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Pulse> {
        let protocol = SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ());
        ConnectionHandlerEvent::OutboundSubstreamRequest { protocol }
    }

    fn beat(&mut self, stream: Stream) -> Pulse {
        let now = Instant::now();
        let round_trip = match self.phase {
            Phase::Waiting { since } | Phase::Silent { since } => now - since,
            Phase::Resting | Phase::Over => Duration::ZERO,
        };
        self.stream = Some(stream);
        self.phase = Phase::Resting;
        self.timer.as_mut().reset(now + self.rhythm.every);
        Pulse::Beat { round_trip }
    }

    /// The peer has pinged: whoever does that so often need not be asked as well, once the round trip is known. Pings
    /// that wait for their turn may be of a peer that is gone.
    fn heard(&mut self, in_time: bool) {
        if in_time && matches!(self.phase, Phase::Resting) && self.stream.is_some() {
            self.timer.as_mut().reset(Instant::now() + self.rhythm.every);
        }
    }

    /// What follows when a phase has lasted its time.
    fn end_of_phase(
        &mut self,
    ) -> Option<ConnectionHandlerEvent<ReadyUpgrade<StreamProtocol>, (), Pulse>> {
        let now = Instant::now();
        match self.phase {
            Phase::Resting => {
                self.phase = Phase::Waiting { since: now };
                self.timer.as_mut().reset(now + self.rhythm.patience);
                let Some(stream) = self.stream.take() else { return Some(Self::request()) };
                self.ping = Some(ping(stream).boxed());
                None
            }
            Phase::Waiting { since } => {
                self.phase = Phase::Silent { since };
                self.timer.as_mut().reset(since + (GIVE_UP - self.rhythm.every));
                Some(ConnectionHandlerEvent::NotifyBehaviour(Pulse::Silent))
            }
            Phase::Silent { .. } => {
                self.phase = Phase::Over;
                Some(ConnectionHandlerEvent::NotifyBehaviour(Pulse::Dead))
            }
            Phase::Over => None,
        }
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = std::convert::Infallible;
    type ToBehaviour = Pulse;
    type InboundProtocol = ReadyUpgrade<StreamProtocol>;
    type OutboundProtocol = ReadyUpgrade<StreamProtocol>;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = ();

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(ReadyUpgrade::new(PROTOCOL), ())
    }

    fn on_behaviour_event(&mut self, never: Self::FromBehaviour) {
        match never {}
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Self::OutboundProtocol, (), Pulse>> {
        while let Some(answering) = &mut self.answering
            && let Poll::Ready(answered) = answering.poll_unpin(context)
        {
            self.answering = None;
            if let Ok(Answered { stream, in_time }) = answered {
                self.answering = Some(answer(stream, Instant::now() + BETWEEN_ANSWERS).boxed());
                self.heard(in_time);
            }
        }
        loop {
            if let Some(ping) = &mut self.ping
                && let Poll::Ready(answered) = ping.poll_unpin(context)
            {
                self.ping = None;
                // A stream that breaks is no answer; the connection most often goes with it.
                if let Ok(stream) = answered {
                    return Poll::Ready(ConnectionHandlerEvent::NotifyBehaviour(self.beat(stream)));
                }
            }
            if matches!(self.phase, Phase::Over) || self.timer.poll_unpin(context).is_pending() {
                return Poll::Pending;
            }
            if let Some(event) = self.end_of_phase() {
                return Poll::Ready(event);
            }
        }
    }

    fn on_connection_event(
        &mut self,
        event: ConnectionEvent<Self::InboundProtocol, Self::OutboundProtocol>,
    ) {
        match event {
            // A peer that opens another stream is answered on that one.
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: stream,
                ..
            }) => self.answering = Some(answer(stream, Instant::now()).boxed()),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: stream,
                ..
            }) => self.ping = Some(ping(stream).boxed()),
            ConnectionEvent::DialUpgradeError(failure)
                if matches!(failure.error, StreamUpgradeError::NegotiationFailed) =>
            {
                self.phase = Phase::Over;
            }
            _ => {}
        }
    }
}

/// Asks once. What is sent need not be random: the channel is encrypted, and a peer can only betray itself.
async fn ping(mut stream: Stream) -> io::Result<Stream> {
    let sent = [0x5a; PING_BYTES];
    stream.write_all(&sent).await?;
    stream.flush().await?;
    let mut answered = [0; PING_BYTES];
    stream.read_exact(&mut answered).await?;
    if answered == sent { Ok(stream) } else { Err(io::ErrorKind::InvalidData.into()) }
}

/// Answers the next ping, but not as soon as `not_before`. Who keeps to a rhythm is answered without a timer, which would
/// wake the whole connection once more.
async fn answer(mut stream: Stream, not_before: Instant) -> io::Result<Answered> {
    let mut asked = [0; PING_BYTES];
    stream.read_exact(&mut asked).await?;
    let in_time = Instant::now() >= not_before;
    if !in_time {
        tokio::time::sleep_until(not_before).await;
    }
    stream.write_all(&asked).await?;
    stream.flush().await?;
    Ok(Answered { stream, in_time })
}
