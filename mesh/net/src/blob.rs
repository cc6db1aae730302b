//! Blobs: content named by its BLAKE3 hash, checked while it streams.
//!
//! # The wire
//!
//! Protocol `/talkoot/1/blob`; one blob to a substream, which the opener starts with a *request*. Headers are frames
//! (unsigned varint length in shortest form, then one CBOR item of RFC 8949 §4.2 deterministic encoding) of at most
//! 1,024 bytes:
//!
//! ```cddl
//! request = [version: 1, operation, flags: 0, hash: bstr .size 32, size: uint, ranges: []]
//! operation = 0 / 1                ; 0 GET: size is the most that is taken; 1 PUT: size is the blob's
//! answer  = [version: 1, status, size: uint, reason: tstr .size (0..256)]
//! status  = 0                      ; ok: of a GET, size is the blob's; else the blob's, again
//!         / 1                      ; not found (GET)
//!         / 2                      ; too large (GET): size is the blob's
//!         / 3                      ; have it already (PUT)
//!         / 4                      ; refused: reason says why
//!         / 5                      ; failed after it was begun: reason says why
//!         / 6                      ; busy: ask again later
//! ```
//!
//! `size` is 0 where nothing is said of it, `reason` empty. Flags and ranges are for resuming; who does not know them
//! refuses. So does who does not speak the version, which comes first whatever follows.
//!
//! 1. The opener sends the request, the other an answer. Unless its status is 0, the talk is over.
//! 2. Content flows, from the other on GET, from the opener on PUT: the pre-order bao encoding of the whole blob, with
//!    chunk groups of 16 KiB (2⁴ chunks), without the size in front of it. For each node of the tree over the groups,
//!    root first: 64 bytes, the chaining values of its left and right child, then the left part, then the right. For each
//!    leaf: its bytes. A blob of one group (or none: the empty blob) is its bytes alone.
//! 3. The receiver checks each node and each leaf when it has come. At the first that is wrong (or when it can take no
//!    more) it sends answer 5 and resets the stream.
//! 4. Otherwise the receiver sends a last answer, 0 or 5. On PUT it says 0 only when the blob is durable: that is the
//!    acknowledgement on which the opener may delete its copy. Then both close.
//!
//! Time: 10 s for the request; 120 s for answers, in which the other may hash or sync a large file; and 30 s for each
//! 16 KiB while content flows.

pub(crate) mod bao;
mod pace;
pub(crate) mod steady;
pub(crate) mod wire;

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite, AsyncWriteExt};
use libp2p::Stream;
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::timeout;

pub use self::pace::MIN_PACE;
pub(crate) use self::pace::{Pace, Paces};
use self::steady::Steady;
use self::wire::{Answer, HeaderError, MAX_HEADER_BYTES, Operation, Request};
use crate::frame::{FrameError, read_frame, write_frame};
use crate::slots::{Slot, Slots};
use crate::streams::OpenError;
use crate::{Event, Net, PeerKey};

pub(crate) const PROTOCOL: &str = "/talkoot/1/blob";

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// At 100 MB/s a disk hashes or syncs 12 GB in this time.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);

const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the reason is waited for when the other end has stopped taking content.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(5);

/// Incoming streams in all. Each that moves occupies a blocking thread, of which tokio has 512.
const MAX_INCOMING: usize = 128;

/// From one peer: twice what our own side opens, because the ends of a transfer do not notice its end together.
const MAX_INCOMING_A_PEER: usize = 8;

/// The places of incoming streams.
pub(crate) fn slots() -> Slots {
    Slots::new(MAX_INCOMING, MAX_INCOMING_A_PEER)
}

/// Why a blob did not pass.
#[derive(Debug, Error)]
pub enum BlobError {
    /// There is no connection to the peer.
    #[error("there is no connection to the peer for a blob")]
    NotConnected,
    /// The peer has no blob protocol.
    #[error("the peer does not speak the blob protocol")]
    Unsupported,
    /// The peer has no such blob.
    #[error("the peer does not have the blob")]
    NotFound,
    /// The blob is larger than the asker takes.
    #[error("the blob has {size} bytes, more than the {limit} that are taken")]
    TooLarge {
        /// The blob's.
        size: u64,
        /// The asker's.
        limit: u64,
    },
    /// The peer does not want to; its words, at most 256 bytes without control characters.
    #[error("the peer refused the blob: {reason}")]
    Refused {
        /// The peer's.
        reason: String,
    },
    /// The peer gave up after the transfer had begun; its words.
    #[error("the peer gave the blob up: {reason}")]
    Failed {
        /// The peer's.
        reason: String,
    },
    /// The peer has too much to do: ask again later.
    #[error("the peer is too busy for a blob")]
    Busy,
    /// What came does not belong to the hash. Everything before `at` is right, and the peer is faulty or lies.
    #[error("the blob is wrong within the 16 KiB from byte {at}, or its tree is")]
    WrongByte {
        /// Where the first chunk group begins that could not be verified.
        at: u64,
    },
    /// The file to be sent does not have the hash or the size that it should have.
    #[error("the local copy of the blob is damaged")]
    Damaged,
    /// The local file failed.
    #[error("the local file of the blob could not be read or written")]
    File(#[source] io::Error),
    /// Too little moved for too long.
    #[error("the blob's transfer has stalled")]
    Stalled,
    /// This end has held it for too long (see [`Net::hold_fetches`]).
    #[error("the blob's transfer was held for too long")]
    Cut,
    /// The stream or its connection ended early. Peers end a stream so when too many are open.
    #[error("the blob's stream ended early")]
    Lost,
    /// The peer broke the rules.
    #[error("the peer broke the blob protocol: {rule}")]
    Protocol {
        /// What was wrong.
        rule: String,
    },
    /// The network has been shut down.
    #[error("the network has stopped")]
    Stopped,
}

/// How a blob came to be at the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The peer took it and has made it durable.
    Accepted,
    /// The peer had it.
    AlreadyThere,
}

impl Net {
    /// Fetches the blob named `hash` from `peer` into `into`, from its current position on, and returns the blob's size.
    ///
    /// What is written is verified, 16 KiB at a time; a blob of more than `max_size` bytes is not begun. The file is not
    /// synced. On an error it holds some correct beginning.
    pub async fn fetch_blob(
        &self,
        peer: PeerKey,
        hash: blake3::Hash,
        max_size: u64,
        into: File,
    ) -> Result<u64, BlobError> {
        let _turn = self.turns().blob(peer).await;
        let mut stream = self.open_talk(peer).await?;
        let request = Request { operation: Operation::Get, hash, size: max_size };
        send_header(&mut stream, &request.encode()).await?;
        let size = match read_answer(&mut stream).await? {
            Answer::Ok { size } if size <= max_size => size,
            Answer::Ok { size } | Answer::TooLarge { size } => {
                return Err(BlobError::TooLarge { size, limit: max_size });
            }
            answer => return Err(refusal(answer)),
        };
        let pace = Some(Arc::clone(&self.paces().down));
        let received = receive_content(stream, hash, size, into, pace).await;
        if let Err(BlobError::WrongByte { .. }) = received {
            self.blame(peer).await;
        }
        let stream = received?;
        // The blob is here whether or not the peer learns of it.
        if let Err(error) = conclude(stream, &Answer::Ok { size }).await {
            tracing::debug!(%peer, %hash, %error, "a fetched blob could not be acknowledged");
        }
        Ok(size)
    }

    /// Hands `file`, whose `size` bytes hash to `hash`, over to `peer`.
    ///
    /// On success the peer has made it durable, or had it before.
    pub async fn send_blob(
        &self,
        peer: PeerKey,
        hash: blake3::Hash,
        file: File,
        size: u64,
    ) -> Result<Sent, BlobError> {
        let _turn = self.turns().blob(peer).await;
        let content = bao::Content::prepare(file, hash, size).await?;
        let mut stream = self.open_talk(peer).await?;
        let request = Request { operation: Operation::Put, hash, size };
        send_header(&mut stream, &request.encode()).await?;
        match read_answer(&mut stream).await? {
            Answer::Ok { .. } => {}
            Answer::Have => return Ok(Sent::AlreadyThere),
            answer => return Err(refusal(answer)),
        }
        send_content(stream, content, Some(Arc::clone(&self.paces().up))).await?;
        Ok(Sent::Accepted)
    }

    /// Bounds the bytes a second, of all blobs together, that this end fetches (`down`) and sends (`up`) of its
    /// own accord, from the next one on; each at least [`MIN_PACE`]. What peers ask for is not held up.
    pub fn set_pace(&self, down: Option<u64>, up: Option<u64>) {
        self.paces().down.set(down);
        self.paces().up.set(up);
    }

    /// From now on nothing is read of what is fetched, until it is said that there is nothing to `hold`. A fetch that is held
    /// for 20 s ends with [`BlobError::Cut`].
    pub fn hold_fetches(&self, hold: bool) {
        self.paces().down.hold(hold);
    }

    async fn open_talk(&self, peer: PeerKey) -> Result<Steady<Stream>, BlobError> {
        let stream = self.open_blob_stream(peer).await?;
        Ok(Steady::new(stream, STALL_TIMEOUT))
    }
}

/// A peer wants a blob, or brings one.
#[derive(Debug)]
pub enum IncomingBlob {
    /// Wants one.
    Get(BlobGet),
    /// Brings one.
    Put(BlobPut),
}

/// A peer's wish for a blob. Dropping it ends the stream without a word.
#[derive(Debug)]
pub struct BlobGet {
    /// Who wants it.
    pub peer: PeerKey,
    /// What is wanted.
    pub hash: blake3::Hash,
    /// The most that the peer takes.
    pub max_size: u64,
    talk: Talk,
}

/// A peer's blob on offer. Dropping it ends the stream without a word.
#[derive(Debug)]
pub struct BlobPut {
    /// Who brings it.
    pub peer: PeerKey,
    /// What it says it brings.
    pub hash: blake3::Hash,
    /// How large it says that is. The peer cannot send more, nor less.
    pub size: u64,
    talk: Talk,
}

/// A blob that has come and is right, but is not yet acknowledged. Dropping it ends the stream without a word, and the
/// peer will send it again some time.
#[derive(Debug)]
pub struct Received {
    /// Who brought it.
    pub peer: PeerKey,
    /// What it is.
    pub hash: blake3::Hash,
    /// Its size in bytes.
    pub size: u64,
    talk: Talk,
}

/// The rest of a talk that a peer has opened.
#[derive(Debug)]
struct Talk {
    stream: Steady<Stream>,
    /// Held while the stream is open.
    _slot: Slot,
}

impl BlobGet {
    /// Sends `file`, of `size` bytes; returns when the peer has confirmed that it has all of it.
    ///
    /// The peer is told "too large" here if `size` is over [`max_size`](Self::max_size).
    pub async fn serve(mut self, file: File, size: u64) -> Result<(), BlobError> {
        if size > self.max_size {
            conclude(self.talk.stream, &Answer::TooLarge { size }).await?;
            return Err(BlobError::TooLarge { size, limit: self.max_size });
        }
        let content = match bao::Content::prepare(file, self.hash, size).await {
            Ok(content) => content,
            Err(error) => {
                let reason = "its copy here is damaged".into();
                conclude(self.talk.stream, &Answer::Failed { reason }).await?;
                return Err(error);
            }
        };
        send_header(&mut self.talk.stream, &Answer::Ok { size }.encode()).await?;
        send_content(self.talk.stream, content, None).await
    }

    /// There is no such blob here.
    pub async fn not_found(self) -> Result<(), BlobError> {
        conclude(self.talk.stream, &Answer::NotFound).await
    }

    /// Not for this peer; of `reason` at most 256 bytes are sent.
    pub async fn refuse(self, reason: impl Into<String>) -> Result<(), BlobError> {
        conclude(self.talk.stream, &Answer::Refused { reason: reason.into() }).await
    }
}

impl BlobPut {
    /// Lets the peer send and writes what is verified to `into`, from its current position on. The file is not synced.
    ///
    /// On success it must be made durable and then [acknowledged](Received::stored). On an error the peer has been told.
    pub async fn receive_into(self, into: File) -> Result<Received, BlobError> {
        let Self { peer, hash, size, mut talk } = self;
        send_header(&mut talk.stream, &Answer::Ok { size }.encode()).await?;
        talk.stream = receive_content(talk.stream, hash, size, into, None).await?;
        Ok(Received { peer, hash, size, talk })
    }

    /// It is here already.
    pub async fn have(self) -> Result<(), BlobError> {
        conclude(self.talk.stream, &Answer::Have).await
    }

    /// Not from this peer, or not now; of `reason` at most 256 bytes are sent.
    pub async fn refuse(self, reason: impl Into<String>) -> Result<(), BlobError> {
        conclude(self.talk.stream, &Answer::Refused { reason: reason.into() }).await
    }
}

impl Received {
    /// Acknowledges: the blob is durable here, and the peer may forget it. An error means that the peer may not have
    /// heard it and will offer the blob again.
    pub async fn stored(self) -> Result<(), BlobError> {
        conclude(self.talk.stream, &Answer::Ok { size: self.size }).await
    }

    /// It could not be kept; of `reason` at most 256 bytes are sent.
    pub async fn failed(self, reason: impl Into<String>) -> Result<(), BlobError> {
        conclude(self.talk.stream, &Answer::Failed { reason: reason.into() }).await
    }
}

/// Reads the request of a stream that `peer` has opened, and hands it to the program.
pub(crate) async fn greet(peer: PeerKey, stream: Stream, slot: Slot, events: mpsc::Sender<Event>) {
    let mut stream = Steady::new(stream, STALL_TIMEOUT);
    let request = match timeout(REQUEST_TIMEOUT, read_request(&mut stream)).await {
        Ok(Ok(request)) => request,
        Ok(Err(BlobError::Protocol { rule })) => {
            tracing::debug!(%peer, rule, "a blob request broke the protocol");
            return end(stream, &Answer::Refused { reason: rule }).await;
        }
        Ok(Err(_)) | Err(_) => return,
    };
    // An eighth is kept for news of connections, as with requests.
    let room = events.capacity() > events.max_capacity() / 8;
    match events.try_reserve() {
        Ok(permit) if room => {
            permit.send(Event::Blob(request.incoming(peer, Talk { stream, _slot: slot })));
        }
        _ => end(stream, &Answer::Busy).await,
    }
}

impl Request {
    fn incoming(self, peer: PeerKey, talk: Talk) -> IncomingBlob {
        let Self { operation, hash, size } = self;
        match operation {
            Operation::Get => IncomingBlob::Get(BlobGet { peer, hash, max_size: size, talk }),
            Operation::Put => IncomingBlob::Put(BlobPut { peer, hash, size, talk }),
        }
    }
}

async fn end(stream: Steady<Stream>, answer: &Answer) {
    if let Err(error) = conclude(stream, answer).await {
        tracing::trace!(%error, "a blob request could not be turned down");
    }
}

/// Sends `content` and waits until the other end confirms it.
async fn send_content<S>(
    stream: Steady<S>,
    content: bao::Content,
    pace: Option<Arc<Pace>>,
) -> Result<(), BlobError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut stream, sent) = content.send(stream, STALL_TIMEOUT, pace).await?;
    match sent {
        Ok(()) => match read_answer(&mut stream).await? {
            Answer::Ok { .. } => Ok(()),
            answer => Err(refusal(answer)),
        },
        // Whoever stops taking content has said why, if it was well-mannered.
        Err(error @ (BlobError::Lost | BlobError::Stalled)) => {
            match timeout(LAST_WORD_TIMEOUT, read_answer(&mut stream)).await {
                Ok(Ok(answer)) => Err(refusal(answer)),
                Ok(Err(_)) | Err(_) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Receives a blob into `file`; tells the other end if that goes wrong.
async fn receive_content<S>(
    stream: Steady<S>,
    hash: blake3::Hash,
    size: u64,
    file: File,
    pace: Option<Arc<Pace>>,
) -> Result<Steady<S>, BlobError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (stream, received) = bao::receive(stream, STALL_TIMEOUT, hash, size, file, pace).await?;
    let Err(error) = received else { return Ok(stream) };
    let reason = match &error {
        BlobError::File(_) => "it could not be written".into(),
        error => error.to_string(),
    };
    break_off(stream, &Answer::Failed { reason }).await;
    Err(error)
}

/// Says `answer` while the other end may still be sending, and resets the stream.
///
/// Closing it would leave the other end waiting for room to send: Yamux gives it none for a stream that is closed here,
/// and does not tell it. A stream dropped open is reset.
async fn break_off<S>(mut stream: Steady<S>, answer: &Answer)
where
    S: AsyncWrite + Unpin,
{
    if let Err(error) = send_header(&mut stream, &answer.encode()).await {
        tracing::trace!(%error, "a blob's failure could not be told");
    }
}

async fn send_header<S>(stream: &mut Steady<S>, header: &[u8]) -> Result<(), BlobError>
where
    S: AsyncWrite + Unpin,
{
    stream.set_patience(STALL_TIMEOUT);
    write_frame(stream, header, MAX_HEADER_BYTES).await.map_err(from_frame)
}

/// Says `answer` as the last word.
async fn conclude<S>(mut stream: Steady<S>, answer: &Answer) -> Result<(), BlobError>
where
    S: AsyncWrite + Unpin,
{
    send_header(&mut stream, &answer.encode()).await?;
    stream.close().await.map_err(from_stream)
}

async fn read_request<S>(stream: &mut Steady<S>) -> Result<Request, BlobError>
where
    S: AsyncRead + Unpin,
{
    let header = read_frame(stream, MAX_HEADER_BYTES).await.map_err(from_frame)?;
    Request::decode(&header).map_err(from_header)
}

async fn read_answer<S>(stream: &mut Steady<S>) -> Result<Answer, BlobError>
where
    S: AsyncRead + Unpin,
{
    stream.set_patience(ANSWER_TIMEOUT);
    let header = read_frame(stream, MAX_HEADER_BYTES).await.map_err(from_frame)?;
    Answer::decode(&header).map_err(from_header)
}

/// The error that is an answer other than "ok".
fn refusal(answer: Answer) -> BlobError {
    match answer {
        Answer::NotFound => BlobError::NotFound,
        Answer::Refused { reason } => BlobError::Refused { reason },
        Answer::Failed { reason } => BlobError::Failed { reason },
        Answer::Busy => BlobError::Busy,
        Answer::Ok { .. } | Answer::TooLarge { .. } | Answer::Have => {
            BlobError::Protocol { rule: "the answer does not fit the request".into() }
        }
    }
}

fn from_header(error: HeaderError) -> BlobError {
    BlobError::Protocol { rule: error.to_string() }
}

fn from_frame(error: FrameError) -> BlobError {
    match error {
        FrameError::Ended | FrameError::Truncated => BlobError::Lost,
        FrameError::Io(error) => from_stream(error),
        FrameError::TooLarge { .. } | FrameError::Length => {
            BlobError::Protocol { rule: error.to_string() }
        }
    }
}

/// What a failure of the stream means.
pub(crate) fn from_stream(error: io::Error) -> BlobError {
    match error.kind() {
        io::ErrorKind::TimedOut => BlobError::Stalled,
        _ => BlobError::Lost,
    }
}

impl From<OpenError> for BlobError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::NotConnected => Self::NotConnected,
            OpenError::Unsupported => Self::Unsupported,
            OpenError::Io(error) => from_stream(error),
        }
    }
}
