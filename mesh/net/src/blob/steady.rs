//! A stream that fails when it stands still.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncWrite};
use tokio::time::{Sleep, sleep};

use crate::traffic;

/// What must move within the time that is given: a byte now and then would otherwise hold a place for ever.
const STEP_BYTES: usize = 16 * 1024;

/// Fails with [`io::ErrorKind::TimedOut`] when less than 16 KiB move, either way, within the patience set. The time
/// starts when something has to be waited for.
#[derive(Debug)]
pub(crate) struct Steady<S> {
    inner: S,
    patience: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    moved: usize,
}

impl<S> Steady<S> {
    pub(crate) fn new(inner: S, patience: Duration) -> Self {
        Self { inner, patience, timer: None, moved: 0 }
    }

    /// Starts the time anew, from now on `patience` long.
    pub(crate) fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
        self.timer = None;
        self.moved = 0;
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
        bytes: impl Fn(&T) -> usize,
    ) -> Poll<io::Result<T>> {
        match &polled {
            Poll::Ready(Ok(value)) => self.advance(bytes(value)),
            Poll::Ready(Err(_)) => {}
            Poll::Pending => {
                let patience = self.patience;
                let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(patience)));
                if timer.as_mut().poll(context).is_ready() {
                    return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
                }
            }
        }
        polled
    }

    fn advance(&mut self, bytes: usize) {
        self.moved += bytes;
        if self.moved >= STEP_BYTES {
            self.moved = 0;
            self.timer = None;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Steady<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_read(context, buffer);
        if let Poll::Ready(Ok(read)) = polled {
            traffic::came(&buffer[..read]);
        }
        self.watch(context, polled, |read| *read)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Steady<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, buffer);
        if let Poll::Ready(Ok(written)) = polled {
            traffic::went(&buffer[..written]);
        }
        self.watch(context, polled, |written| *written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_flush(context);
        self.watch(context, polled, |()| 0)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let polled = Pin::new(&mut self.inner).poll_close(context);
        self.watch(context, polled, |()| 0)
    }
}

#[cfg(test)]
mod tests {
    use futures::AsyncReadExt;
    use tokio::io::AsyncWriteExt;
    use tokio::time::{Instant, timeout};
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn a_byte_now_and_then_does_not_hold_a_stream() {
        let (mut peer, ours) = tokio::io::duplex(1024);
        let dribble = tokio::spawn(async move {
            while peer.write_all(&[0]).await.is_ok() {
                sleep(Duration::from_secs(1)).await;
            }
        });
        let start = Instant::now();
        let mut stream = Steady::new(ours.compat(), PATIENCE);
        let mut sink = Vec::new();
        let read = timeout(2 * PATIENCE, stream.read_to_end(&mut sink));
        let error = read.await.expect("it fails in time").expect_err("it never ends");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < PATIENCE + Duration::from_secs(2));
        dribble.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_stream_that_moves_may_take_for_ever() {
        let (mut peer, ours) = tokio::io::duplex(2 * STEP_BYTES);
        tokio::spawn(async move {
            for _ in 0..10 {
                peer.write_all(&[0; STEP_BYTES]).await.expect("the reader is there");
                sleep(PATIENCE - Duration::from_secs(1)).await;
            }
        });
        let mut stream = Steady::new(ours.compat(), PATIENCE);
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.expect("it moves");
        assert_eq!(sink.len(), 10 * STEP_BYTES);
    }
}
