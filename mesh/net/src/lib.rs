//! The mesh on libp2p: connections, gossip, requests, blobs and channels, as bytes between peers that are named by their keys.
//!
//! This is the only crate that names libp2p. It knows no statement: what the bytes mean, whether they are signed, and
//! what to answer is for the program, which starts the network with [`start`], reads [`Event`]s and drives it through
//! [`Net`].
//!
//! - A **connection** is QUIC, or TCP or a WebSocket with Noise and Yamux. It stands until one end goes away, or has
//!   been silent for 25 s. Who dialled learns of silence after 4 s: the peer counts as disconnected until it is heard
//!   again. Brokers listen and dial, [clients](Role::Client) only dial. Once connected, both ends may ask: so a broker
//!   hands a volunteer its receipts.
//! - **Requests** ([`Net::request`], [`Event::Request`]) run on three [protocols](Protocol), one question and one
//!   answer, each a frame of at most 1 MiB.
//! - **Gossip** ([`Net::publish`], [`Event::Gossip`]) is for brokers. It may be lost; nothing may depend on it.
//! - **Blobs** ([`Net::fetch_blob`], [`Net::send_blob`], [`IncomingBlob`]) stream and are verified on the way; [`blob`]
//!   specifies the wire.
//! - **Channels** ([`Net::open_channel`], [`IncomingChannel`]) are frames both ways for as long as both ends are there.
//!
//! Everything that a peer can make this node hold has a bound: frames before they are allocated, streams, handshakes
//! and connections by count, half-read requests and unanswered requests by bytes, and the queue of events, whose rules
//! are in the documentation of [`Event`].

mod blame;
pub mod blob;
mod channel;
mod codec;
mod config;
mod crowd;
mod driver;
mod event;
mod frame;
mod gate;
mod gossip;
mod key;
mod net;
mod pulse;
mod slots;
mod streams;
mod swarm;
mod traffic;
mod transport;
mod turns;
mod unread;

pub use blob::{BlobError, BlobGet, BlobPut, IncomingBlob, MIN_PACE, Received, Sent};
pub use channel::{
    ChannelError, IncomingChannel, MAX_CHANNEL_FRAME_BYTES, MAX_CHANNEL_HEADER_BYTES,
    OpenedChannel, Pipe, PipeReader, PipeWriter,
};
pub use codec::Protocol;
pub use config::{AddressLimits, Config, Role};
pub use crowd::ip_in;
pub use event::{Direction, Event, PeerInfo, Reply, ReplyError};
pub use frame::MAX_FRAME_BYTES;
pub use gossip::{GossipId, PublishError, SubscribeError, Topic, Verdict};
pub use key::PeerKey;
pub use libp2p::Multiaddr;
pub use net::{DialError, Net, RequestError, StartError, start};
pub use transport::{HAS_QUIC, can_dial};
