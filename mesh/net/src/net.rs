//! The handle with which the program drives the network, and how it is started.

use std::io;
use std::net::{Ipv6Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use libp2p::multiaddr::Protocol as Part;
use libp2p::{Multiaddr, Stream};
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

use crate::blob::Paces;
use crate::channel::{ChannelError, Places};
use crate::crowd::ip_in;
use crate::driver::{Command, Driver};
use crate::frame::MAX_FRAME_BYTES;
use crate::streams::OpenError;
use crate::turns::Turns;
use crate::{
    BlobError, Config, Event, GossipId, PeerInfo, PeerKey, Protocol, PublishError, SubscribeError,
    Topic, Verdict,
};

/// Commands that wait for the network's task. It takes them at once, so this is only about bursts.
const COMMAND_CAPACITY: usize = 256;

/// The fewest places that the rules of [`Event`] can be kept with.
const MIN_EVENT_CAPACITY: usize = 16;

/// The network. Clones are handles to the same one.
///
/// It runs in a task of its own, which ends when the last handle or the receiver of events is dropped, or on
/// [`shutdown`](Self::shutdown). All methods may be called from anywhere, also while events are not being read.
#[derive(Debug, Clone)]
pub struct Net {
    key: PeerKey,
    commands: mpsc::Sender<Command>,
    turns: Arc<Turns>,
    paces: Paces,
    channels: Places,
}

/// Why the network could not be started.
#[derive(Debug, Error)]
pub enum StartError {
    /// Somebody listens there already.
    #[error(
        "the address {address} is in use: is another broker running? choose another port, or 0 for any"
    )]
    AddressInUse {
        /// The address asked for.
        address: Multiaddr,
    },
    /// It cannot be listened on.
    #[error("could not listen on {address}")]
    Listen {
        /// The address asked for.
        address: Multiaddr,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Not TCP, WebSocket or QUIC; or this program was built without QUIC.
    #[error("{address} names no transport that can be listened on; try /ip4/0.0.0.0/tcp/4077")]
    UnsupportedAddress {
        /// The address asked for.
        address: Multiaddr,
    },
    /// A setting makes no sense to a part of libp2p.
    #[error("could not set up {part}")]
    Setup {
        /// Which part.
        part: &'static str,
        /// The part's reason.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why a peer could not be dialled.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DialError {
    /// The address leads to this node.
    #[error("{address} leads to this node itself")]
    Ourselves {
        /// The address.
        address: Multiaddr,
    },
    /// Somebody else answers there.
    #[error("{address} is not the address of that peer")]
    WrongPeer {
        /// The address.
        address: Multiaddr,
    },
    /// Not TCP, WebSocket or QUIC; or this program was built without QUIC.
    #[error("{address} names no transport that can be dialled")]
    UnsupportedAddress {
        /// The address.
        address: Multiaddr,
    },
    /// Blocked, shunned for wrong bytes, not Ed25519, or too many connections.
    #[error("the connection to {address} is not admitted: {reason}")]
    Denied {
        /// The address.
        address: Multiaddr,
        /// By what.
        reason: String,
    },
    /// Nobody answers, or not in our language.
    #[error("{address} could not be reached: {reason}")]
    Unreachable {
        /// The address.
        address: Multiaddr,
        /// The chain of causes.
        reason: String,
    },
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

/// Why a request has no answer.
///
/// After `TimedOut` and `ConnectionLost` it is not known whether the peer acted on the request.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum RequestError {
    /// There is no connection to the peer.
    #[error("there is no connection to the peer to ask")]
    NotConnected,
    /// No answer within [`Config::call_timeout`].
    #[error("the peer did not answer in time")]
    TimedOut,
    /// The peer ended the stream without an answer: it did not want to, has too much to do, or did not understand.
    #[error("the peer did not take the request")]
    Refused,
    /// The peer does not speak the protocol.
    #[error("the peer does not speak the protocol")]
    Unsupported,
    /// The request, or the answer that was announced, is over [`MAX_FRAME_BYTES`].
    #[error("{bytes} bytes are over the limit of a frame")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// The answer is not a frame.
    #[error("the peer's answer is malformed")]
    Malformed,
    /// The peer has opened so many requests itself that the connection carries no more (128 calls, 32 on each other
    /// protocol, both directions together).
    #[error("too many requests from the peer are under way to send it one")]
    TooMany,
    /// The connection went away, or the peer fell silent, while the answer was awaited.
    #[error("the connection to the peer was lost before it answered")]
    ConnectionLost,
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

/// Starts the network on the running tokio runtime.
///
/// When it returns, the sockets are bound; [`Event::Listening`] follows for each address.
pub async fn start(mut config: Config) -> Result<(Net, mpsc::Receiver<Event>), StartError> {
    let (commands, taken) = mpsc::channel(COMMAND_CAPACITY);
    let (events, received) = mpsc::channel(config.event_capacity.max(MIN_EVENT_CAPACITY));
    config.listen.retain(is_here);
    for address in &config.listen {
        probe(address)?;
    }
    let driver = Driver::new(config, taken, events)?;
    let (key, channels) = (driver.key(), driver.channels());
    let net =
        Net { key, commands, turns: Arc::new(Turns::new()), paces: Paces::default(), channels };
    tokio::spawn(driver.run());
    Ok((net, received))
}

impl Net {
    /// This node's own key.
    pub fn key(&self) -> PeerKey {
        self.key
    }

    /// Connects to `address` and returns who is there.
    ///
    /// With `/p2p/<peer>` at its end only that peer will do, and nothing is dialled if it is connected already.
    pub async fn dial(&self, address: Multiaddr) -> Result<PeerKey, DialError> {
        self.ask(|answer| Command::Dial { address, answer })
            .await
            .unwrap_or(Err(DialError::Stopped))
    }

    /// Closes all connections to `peer`, if there are any. [`Event::Disconnected`] follows.
    pub async fn disconnect(&self, peer: PeerKey) {
        self.tell(Command::Disconnect { peer }).await;
    }

    /// Closes all connections to `peer` and admits none until [`unblock`](Self::unblock).
    pub async fn block(&self, peer: PeerKey) {
        self.tell(Command::Block { peer }).await;
    }

    /// Admits `peer` again.
    pub async fn unblock(&self, peer: PeerKey) {
        self.tell(Command::Unblock { peer }).await;
    }

    /// `peer` has sent a wrong byte of a blob that it brought; of one that was fetched this is known. It is told
    /// less gossip for an hour, and at the third time, each within an hour of the one before, it is disconnected and
    /// not admitted for ten minutes.
    pub async fn blame(&self, peer: PeerKey) {
        self.tell(Command::Blame { peer }).await;
    }

    /// Sends `data` to `peer` and waits for its answer. Nothing is dialled for it.
    ///
    /// At most 64 calls and 16 requests on each other protocol are under way to one peer; more wait for their turn
    /// before they are sent.
    pub async fn request(
        &self,
        protocol: Protocol,
        peer: PeerKey,
        data: Vec<u8>,
    ) -> Result<Vec<u8>, RequestError> {
        if data.len() > MAX_FRAME_BYTES {
            return Err(RequestError::TooLarge { bytes: data.len() });
        }
        let _turn = self.turns.request(peer, protocol).await;
        self.ask(|answer| Command::Request { protocol, peer, data, answer })
            .await
            .unwrap_or(Err(RequestError::Stopped))
    }

    /// Joins `topic`. Joining twice is joining once.
    pub async fn subscribe(&self, topic: Topic) -> Result<(), SubscribeError> {
        self.ask(|answer| Command::Subscribe { topic, answer })
            .await
            .unwrap_or(Err(SubscribeError::Stopped))
    }

    /// Leaves `topic`.
    pub async fn unsubscribe(&self, topic: Topic) {
        self.tell(Command::Unsubscribe { topic }).await;
    }

    /// Sends `data` to the mesh of `topic`, which need not be joined.
    pub async fn publish(&self, topic: Topic, data: Vec<u8>) -> Result<GossipId, PublishError> {
        self.ask(|answer| Command::Publish { topic, data, answer })
            .await
            .unwrap_or(Err(PublishError::Stopped))
    }

    /// Decides what becomes of the message `id` that came `from` a peer (both as in [`Event::Gossip`]).
    pub async fn judge(&self, id: GossipId, from: PeerKey, verdict: Verdict) {
        self.tell(Command::Judge { id, from, verdict }).await;
    }

    /// The peers that are connected now, by key; none after a shutdown.
    pub async fn peers(&self) -> Vec<PeerInfo> {
        self.ask(|answer| Command::Peers { answer }).await.unwrap_or_default()
    }

    /// The addresses on which this node listens now; none after a shutdown.
    pub async fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.ask(|answer| Command::ListenAddresses { answer }).await.unwrap_or_default()
    }

    /// Replaces what [`Config::announce`] said: the addresses of this node that peers are told.
    pub async fn announce(&self, addresses: Vec<Multiaddr>) {
        self.tell(Command::Announce { addresses }).await;
    }

    /// Closes everything; returns when the ports that were listened on are free.
    pub async fn shutdown(&self) {
        let stopped = self.ask(|answer| Command::Shutdown { stopped: answer }).await;
        tracing::debug!(already = stopped.is_none(), "network stopped");
    }

    pub(crate) async fn open_blob_stream(&self, peer: PeerKey) -> Result<Stream, BlobError> {
        let opened = self.ask(|answer| Command::OpenBlobStream { peer, answer }).await;
        match opened {
            Some(opened) => opened.map_err(BlobError::from),
            // The handler that should have answered went with its connection, or everything did.
            None if self.commands.is_closed() => Err(BlobError::Stopped),
            None => Err(OpenError::NotConnected.into()),
        }
    }

    pub(crate) async fn open_channel_stream(&self, peer: PeerKey) -> Result<Stream, ChannelError> {
        let opened = self.ask(|answer| Command::OpenChannelStream { peer, answer }).await;
        match opened {
            Some(opened) => opened.map_err(ChannelError::from),
            None if self.commands.is_closed() => Err(ChannelError::Stopped),
            None => Err(ChannelError::NotConnected),
        }
    }

    pub(crate) fn channel_places(&self) -> &Places {
        &self.channels
    }

    pub(crate) fn paces(&self) -> &Paces {
        &self.paces
    }

    pub(crate) fn turns(&self) -> &Turns {
        &self.turns
    }

    /// `None` if nobody answers.
    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.commands.send(command(answer)).await.ok()?;
        answered.await.ok()
    }

    async fn tell(&self, command: Command) {
        if self.commands.send(command).await.is_err() {
            tracing::trace!("a command came after the network had stopped");
        }
    }
}

/// Whether the system has such addresses: `/ip6/::` is no address at all where there is no IPv6.
fn is_here(address: &Multiaddr) -> bool {
    let all_of_ipv6 = address.iter().next() == Some(Part::Ip6(Ipv6Addr::UNSPECIFIED));
    let here = !all_of_ipv6 || UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).is_ok();
    if !here {
        tracing::info!(%address, "there is no IPv6 here, not listening");
    }
    here
}

/// Finds out whether somebody listens on `address`.
///
/// libp2p lets several sockets of one user share a port, so a second broker would start and get half of the connections.
fn probe(address: &Multiaddr) -> Result<(), StartError> {
    let bound = match socket(address) {
        Some((socket, Part::Tcp(_))) => TcpListener::bind(socket).map(drop),
        Some((socket, _)) => UdpSocket::bind(socket).map(drop),
        None => return Ok(()),
    };
    match bound {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Err(StartError::AddressInUse { address: address.clone() })
        }
        Err(source) => Err(StartError::Listen { address: address.clone(), source }),
    }
}

/// The socket that `address` names and its protocol, if that is a TCP or UDP port other than 0.
fn socket(address: &Multiaddr) -> Option<(SocketAddr, Part<'_>)> {
    let ip = ip_in(address)?;
    match address.iter().nth(1)? {
        part @ (Part::Tcp(port) | Part::Udp(port)) if port != 0 => {
            Some((SocketAddr::new(ip, port), part))
        }
        _ => None,
    }
}
