//! Channels: frames that pass both ways for as long as both ends are there. Nothing of them is kept.
//!
//! Protocol `/talkoot/1/channel`; one channel to a substream. Whoever opens it sends a header, the other end answers
//! with one, and after a yes frames pass both ways. What headers and frames say is the program's affair
//! (`docs/spec/channels.md`). A [`Pipe`] holds one frame in each direction at most: a reader that is slow slows down
//! the writer at the other end, and nothing piles up in between.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::frame::{FrameError, read_frame, take_frame, write_frame};
use crate::slots::{Slot, Slots};
use crate::streams::OpenError;
use crate::{Event, Net, PeerKey};

pub(crate) const PROTOCOL: &str = "/talkoot/1/channel";

/// The longest frame. A channel's end encrypts what it says in pieces of that size, and a broker holds one of them in
/// each direction.
pub const MAX_CHANNEL_FRAME_BYTES: usize = 16 << 10;

/// The longest header: a lease, one of a batch of thousands, and some words.
pub const MAX_CHANNEL_HEADER_BYTES: usize = 4 << 10;

/// Channels that peers have opened to us, and we to peers; each direction has so many.
const MAX_CHANNELS: usize = 512;

/// Of them with one peer: a connection has streams for these beside all else.
const MAX_CHANNELS_A_PEER: usize = 32;

/// From the stream to its header.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// From the header to its answer, which may come from several brokers away.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a frame may wait for room at the other end. Whoever grants bytes has room for them, so that an end that
/// takes nothing for so long has gone, or means ill.
const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes read from the stream at a time.
const PIECE: usize = 8 << 10;

/// A channel could not be opened, or broke.
#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum ChannelError {
    /// There is no connection to the peer.
    #[error("there is no connection to the peer for a channel")]
    NotConnected,
    /// The peer is of a version without channels.
    #[error("the peer does not speak of channels")]
    Unsupported,
    /// As many as there may be with the peer, or in all, are open.
    #[error("too many channels are open")]
    Busy,
    /// Nothing came, or nothing was taken, for too long.
    #[error("the channel stands still")]
    Stalled,
    /// The stream or its connection ended.
    #[error("the channel broke off")]
    Lost,
    /// What came is no frame.
    #[error("the peer broke the rules of channels")]
    Malformed,
    /// What is to be sent is over the limit of a frame.
    #[error("{bytes} bytes are over the limit of a channel's frame")]
    TooLarge {
        /// How many.
        bytes: usize,
    },
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

/// How many channels are open, in each direction.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    pub(crate) incoming: Slots,
    outgoing: Slots,
}

impl Default for Places {
    fn default() -> Self {
        let slots = || Slots::new(MAX_CHANNELS, MAX_CHANNELS_A_PEER);
        Self { incoming: slots(), outgoing: slots() }
    }
}

/// A channel that a peer wants. Dropping it ends the stream without a word.
#[derive(Debug)]
pub struct IncomingChannel {
    /// Who wants it.
    pub peer: PeerKey,
    /// What for; at most [`MAX_CHANNEL_HEADER_BYTES`].
    pub header: Vec<u8>,
    stream: Stream,
    slot: Slot,
}

/// A channel that the peer has answered. Whether with a yes, the program can read.
#[derive(Debug)]
pub struct OpenedChannel {
    /// The peer's header; at most [`MAX_CHANNEL_HEADER_BYTES`].
    pub answer: Vec<u8>,
    /// Frames, after a yes.
    pub pipe: Pipe,
}

/// One end of an open channel. Dropping both halves ends it at both ends.
#[derive(Debug)]
pub struct Pipe {
    /// What comes.
    pub reader: PipeReader,
    /// What goes.
    pub writer: PipeWriter,
}

/// Where frames come.
#[derive(Debug)]
pub struct PipeReader {
    stream: ReadHalf<Stream>,
    /// What has come of frames that have not been given: less than one frame and one piece.
    come: Vec<u8>,
    _slot: Arc<Slot>,
}

/// Where frames go.
#[derive(Debug)]
pub struct PipeWriter {
    stream: WriteHalf<Stream>,
    _slot: Arc<Slot>,
}

impl Net {
    /// Opens a channel to `peer`, who is told what for by `header`, and waits for the answer. Nothing is dialled.
    pub async fn open_channel(
        &self,
        peer: PeerKey,
        header: &[u8],
    ) -> Result<OpenedChannel, ChannelError> {
        let slot = self.channel_places().outgoing.take(peer).ok_or(ChannelError::Busy)?;
        let mut stream = self.open_channel_stream(peer).await?;
        write(&mut stream, header, MAX_CHANNEL_HEADER_BYTES).await?;
        let answer = read_frame(&mut stream, MAX_CHANNEL_HEADER_BYTES);
        let answer = timeout(ANSWER_TIMEOUT, answer).await.map_err(|_| ChannelError::Stalled)??;
        Ok(OpenedChannel { answer, pipe: Pipe::new(stream, slot) })
    }
}

impl IncomingChannel {
    /// Says `answer`, which is a yes, and lets frames pass.
    pub async fn accept(mut self, answer: &[u8]) -> Result<Pipe, ChannelError> {
        write(&mut self.stream, answer, MAX_CHANNEL_HEADER_BYTES).await?;
        Ok(Pipe::new(self.stream, self.slot))
    }

    /// Says `answer`, which is a no, and closes the stream.
    pub async fn refuse(mut self, answer: &[u8]) -> Result<(), ChannelError> {
        write(&mut self.stream, answer, MAX_CHANNEL_HEADER_BYTES).await?;
        let closed = timeout(STALL_TIMEOUT, self.stream.close()).await;
        closed.map_err(|_| ChannelError::Stalled)?.map_err(from_io)
    }
}

impl Pipe {
    fn new(stream: Stream, slot: Slot) -> Self {
        let (reader, writer) = stream.split();
        let slot = Arc::new(slot);
        let reader = PipeReader { stream: reader, come: Vec::new(), _slot: Arc::clone(&slot) };
        Self { reader, writer: PipeWriter { stream: writer, _slot: slot } }
    }
}

impl PipeReader {
    /// The next frame; `None` once the other end has closed the channel, or has gone: nobody can tell the one from the
    /// other here, so the ends of a channel say when it is over. May be dropped at any time: nothing is lost.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, ChannelError> {
        loop {
            if let Some(frame) = take_frame(&mut self.come, MAX_CHANNEL_FRAME_BYTES)? {
                return Ok(Some(frame));
            }
            let mut piece = [0; PIECE];
            match self.stream.read(&mut piece).await.map_err(from_io)? {
                0 if self.come.is_empty() => return Ok(None),
                0 => return Err(ChannelError::Lost),
                length => self.come.extend_from_slice(&piece[..length]),
            }
        }
    }
}

impl PipeWriter {
    /// Sends `frame`; returns when the stream has taken it. A write that is dropped leaves a channel that is broken.
    pub async fn write(&mut self, frame: &[u8]) -> Result<(), ChannelError> {
        write(&mut self.stream, frame, MAX_CHANNEL_FRAME_BYTES).await
    }

    /// Says that nothing follows.
    pub async fn close(mut self) -> Result<(), ChannelError> {
        let closed = timeout(STALL_TIMEOUT, self.stream.close()).await;
        closed.map_err(|_| ChannelError::Stalled)?.map_err(from_io)
    }
}

/// Reads the header of a stream that `peer` has opened, and hands it to the program.
pub(crate) async fn greet(
    peer: PeerKey,
    mut stream: Stream,
    slot: Slot,
    events: mpsc::Sender<Event>,
) {
    let header = read_frame(&mut stream, MAX_CHANNEL_HEADER_BYTES);
    let header = match timeout(HEADER_TIMEOUT, header).await {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => return tracing::debug!(%peer, %error, "a channel without a header"),
        Err(_) => return,
    };
    // An eighth is kept for news of connections, as with requests.
    let room = events.capacity() > events.max_capacity() / 8;
    if let (Ok(permit), true) = (events.try_reserve(), room) {
        permit.send(Event::Channel(IncomingChannel { peer, header, stream, slot }));
    }
}

async fn write<S>(stream: &mut S, frame: &[u8], limit: usize) -> Result<(), ChannelError>
where
    S: futures::AsyncWrite + Unpin,
{
    let written = timeout(STALL_TIMEOUT, write_frame(stream, frame, limit)).await;
    Ok(written.map_err(|_| ChannelError::Stalled)??)
}

fn from_io(error: io::Error) -> ChannelError {
    match error.kind() {
        io::ErrorKind::TimedOut => ChannelError::Stalled,
        _ => ChannelError::Lost,
    }
}

impl From<FrameError> for ChannelError {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Ended | FrameError::Truncated => Self::Lost,
            FrameError::Io(error) => from_io(error),
            FrameError::TooLarge { announced: bytes, .. } => Self::TooLarge { bytes },
            FrameError::Length => Self::Malformed,
        }
    }
}

impl From<OpenError> for ChannelError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotConnected => Self::NotConnected,
            OpenError::Unsupported => Self::Unsupported,
            OpenError::Io(error) => from_io(error),
        }
    }
}
