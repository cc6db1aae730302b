//! A connection whose other end must take what it is sent, and can read it before the end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What must be taken within [`PATIENCE`]: a byte now and then would hold a connection for ever.
const STEP_BYTES: usize = 16 * 1024;

const PATIENCE: Duration = Duration::from_secs(30);

/// What is still read, and for how long, once all is said.
const LINGER_BYTES: usize = 1 << 20;
const LINGER: Duration = Duration::from_secs(2);

/// Fails when less than 16 KiB are taken in 30 s while there is something to send. What is read is
/// not timed here: a visitor says nothing while it waits for an answer.
///
/// A visitor that is refused may still be sending. To close on it would reset the connection, and
/// the refusal would be lost; so what comes is read for a moment, and thrown away.
#[derive(Debug)]
pub(super) struct Steady {
    inner: TcpStream,
    timer: Option<Pin<Box<Sleep>>>,
    taken: usize,
    /// Once all is said: what may still come.
    lingering: Option<(Pin<Box<Sleep>>, usize)>,
}

impl Steady {
    pub(super) fn new(inner: TcpStream) -> Self {
        Self { inner, timer: None, taken: 0, lingering: None }
    }

    fn watch(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        match &polled {
            Poll::Ready(Ok(taken)) => {
                self.taken += taken;
                if self.taken >= STEP_BYTES {
                    self.rest();
                }
            }
            Poll::Ready(Err(_)) => (),
            Poll::Pending => {
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(PATIENCE)));
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        polled
    }

    /// Reads until the other end closes too, or has had its time.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let begin = || (Box::pin(sleep(LINGER)), LINGER_BYTES);
        let (end, room) = self.lingering.get_or_insert_with(begin);
        let mut waste = [0; 4096];
        loop {
            let mut buffer = ReadBuf::new(&mut waste);
            let read = Pin::new(&mut self.inner).poll_read(context, &mut buffer);
            let length = buffer.filled().len();
            match read {
                Poll::Pending => return end.as_mut().poll(context).map(Ok),
                Poll::Ready(Ok(())) if length > 0 && length <= *room => *room -= length,
                Poll::Ready(_) => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Nothing is owed any more.
    fn rest(&mut self) {
        self.timer = None;
        self.taken = 0;
    }
}

impl AsyncRead for Steady {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(context, buffer)
    }
}

impl AsyncWrite for Steady {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.watch(context, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write_vectored(context, bytes);
        self.watch(context, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    /// Called when all that was to be written has been.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(context);
        if flushed.is_ready() {
            self.rest();
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.lingering.is_none() {
            ready!(Pin::new(&mut this.inner).poll_shutdown(context))?;
        }
        this.poll_linger(context)
    }
}
