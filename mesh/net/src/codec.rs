//! Calls, custody and reconciliation: one request and one answer to a substream, each a frame.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;
use libp2p::request_response as rr;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::frame::{FrameError, MAX_FRAME_BYTES, read_body, read_length, write_frame};

/// The protocols that ask and answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    /// Signed requests: `/talkoot/1/call`.
    Call,
    /// Handing over what must not be lost: `/talkoot/1/custody`.
    Custody,
    /// Anti-entropy between brokers: `/talkoot/1/reconcile`.
    Reconcile,
}

impl Protocol {
    /// The name under which libp2p negotiates it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Call => "/talkoot/1/call",
            Self::Custody => "/talkoot/1/custody",
            Self::Reconcile => "/talkoot/1/reconcile",
        }
    }

    /// The most substreams at a time on one connection, both directions together. Brokers route many volunteers'
    /// calls over the one connection between them; custody and reconciliation go in batches.
    pub(crate) fn max_streams(self) -> usize {
        match self {
            Self::Call => 128,
            Self::Custody | Self::Reconcile => 32,
        }
    }
}

/// What frames that are being read on one connection and protocol may hold: four of the longest. More wait, which
/// slows down nobody but the peer that sends them.
const READ_BUDGET_BYTES: usize = 4 * MAX_FRAME_BYTES;

/// How long a frame may take to arrive once it has started (and a request, to start). 1 MiB in 20 s is 50 KiB/s.
const FRAME_TIMEOUT: Duration = Duration::from_secs(20);

pub(crate) type Behaviour = rr::Behaviour<Codec>;

/// The behaviour for `protocol`, at both ends.
pub(crate) fn behaviour(protocol: Protocol, timeout: Duration) -> Behaviour {
    let config = rr::Config::default()
        .with_request_timeout(timeout)
        .with_max_concurrent_streams(protocol.max_streams());
    let name = StreamProtocol::new(protocol.name());
    rr::Behaviour::with_codec(Codec::Template, [(name, rr::ProtocolSupport::Full)], config)
}

/// Reads and writes frames.
///
/// The behaviour owns the template and clones it once for each connection, which then clones its own for each
/// substream: so a clone of the template gets a budget, and clones of that share it.
pub(crate) enum Codec {
    Template,
    Connection(Arc<Semaphore>),
}

impl Clone for Codec {
    fn clone(&self) -> Self {
        match self {
            Self::Template => Self::Connection(Arc::new(Semaphore::new(READ_BUDGET_BYTES))),
            Self::Connection(budget) => Self::Connection(Arc::clone(budget)),
        }
    }
}

impl Codec {
    async fn read_after_length(
        &self,
        io: &mut (impl AsyncRead + Unpin),
        length: usize,
    ) -> Result<Vec<u8>, FrameError> {
        let _held = match self {
            Self::Template => None,
            Self::Connection(budget) => {
                let bytes = u32::try_from(length).expect("a frame's length is at most 1 MiB");
                Some(budget.acquire_many(bytes).await.expect("the budget is never closed"))
            }
        };
        read_body(io, length).await
    }

    async fn read_request_frame(
        &self,
        io: &mut (impl AsyncRead + Unpin),
    ) -> Result<Vec<u8>, FrameError> {
        let length = read_length(io, MAX_FRAME_BYTES).await?;
        self.read_after_length(io, length).await
    }
}

impl rr::Codec for Codec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Vec<u8>;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        within(self.read_request_frame(io)).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        // The answer may be long in coming; the behaviour's own timeout bounds that.
        let length = read_length(io, MAX_FRAME_BYTES).await.map_err(io::Error::other)?;
        within(self.read_after_length(io, length)).await
    }

    async fn write_request<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        request: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        write_frame(io, &request, MAX_FRAME_BYTES).await.map_err(io::Error::other)
    }

    async fn write_response<T>(
        &mut self,
        _: &StreamProtocol,
        io: &mut T,
        response: Vec<u8>,
    ) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        // Whoever asks and does not read holds the answer no longer than this.
        within(write_frame(io, &response, MAX_FRAME_BYTES)).await
    }
}

async fn within<T>(read: impl Future<Output = Result<T, FrameError>>) -> io::Result<T> {
    match timeout(FRAME_TIMEOUT, read).await {
        Ok(result) => result.map_err(io::Error::other),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_a_budget_and_its_streams_share_it() {
        let [one, other] = [(); 2].map(|()| Codec::Template.clone());
        assert!(!std::ptr::eq(budget(&one), budget(&other)));
        assert!(std::ptr::eq(budget(&one), budget(&one.clone())));
    }

    fn budget(codec: &Codec) -> &Semaphore {
        match codec {
            Codec::Template => panic!("a clone is never the template"),
            Codec::Connection(budget) => budget,
        }
    }
}
