//! How fast blobs may move: each transfer waits for its turn on the thread that it blocks anyway.
//!
//! All transfers of one direction share one schedule: whoever has moved some bytes keeps the line for as
//! long as these take at the rate that is set. The peer is held up by its own flow control.

use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Bytes that are moved at a time.
const PIECE_BYTES: usize = 16 * 1024;

/// Bytes a second at least: a slower transfer would count as stalled at the other end, which wants 16 KiB
/// in 30 s of each of several that share the line.
pub const MIN_PACE: u64 = 16 * 1024;

/// How far the schedule may lag behind: after a while without transfers the first bytes need not wait.
const SLACK: Duration = Duration::from_millis(250);

/// The paces of both directions.
#[derive(Debug, Clone, Default)]
pub(crate) struct Paces {
    pub(crate) down: Arc<Pace>,
    pub(crate) up: Arc<Pace>,
}

/// The pace of one direction. Unlimited at first.
#[derive(Debug, Default)]
pub(crate) struct Pace(Mutex<Schedule>);

#[derive(Debug, Default)]
struct Schedule {
    /// Bytes a second.
    rate: Option<NonZeroU64>,
    /// When the line is free.
    free_at: Option<Instant>,
}

impl Pace {
    /// At most so many bytes a second from now on, [`MIN_PACE`] at least; any number without it.
    pub(crate) fn set(&self, rate: Option<u64>) {
        let rate = rate.and_then(|rate| NonZeroU64::new(rate.max(MIN_PACE)));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Schedule { rate, free_at: None };
    }

    /// Takes the line for `bytes` and waits until they may have moved. Blocks.
    fn keep(&self, bytes: usize) {
        let now = Instant::now();
        let wait = self.0.lock().unwrap_or_else(PoisonError::into_inner).plan(bytes as u64, now);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }
}

impl Schedule {
    /// How long whoever has moved `bytes` at `now` is to wait.
    fn plan(&mut self, bytes: u64, now: Instant) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let takes = Duration::from_secs_f64(bytes as f64 / rate.get() as f64);
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let free_at = self.free_at.map_or(earliest, |at| at.max(earliest)) + takes;
        self.free_at = Some(free_at);
        free_at.saturating_duration_since(now)
    }
}

/// A stream at a pace.
pub(crate) struct Paced<'a, S> {
    pub(crate) inner: S,
    pub(crate) pace: Option<&'a Pace>,
}

impl<S: Read> Read for Paced<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(pace) = self.pace else { return self.inner.read(buffer) };
        let most = buffer.len().min(PIECE_BYTES);
        let read = self.inner.read(&mut buffer[..most])?;
        pace.keep(read);
        Ok(read)
    }
}

impl<S: Write> Write for Paced<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pace) = self.pace else { return self.inner.write(bytes) };
        let written = self.inner.write(&bytes[..bytes.len().min(PIECE_BYTES)])?;
        pace.keep(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How long `pieces` of `bytes` take if each is moved as soon as the former may have.
    fn takes(schedule: &mut Schedule, pieces: usize, bytes: u64, begun: Instant) -> Duration {
        let mut now = begun;
        for _ in 0..pieces {
            now += schedule.plan(bytes, now);
        }
        now - begun
    }

    #[test]
    fn what_moves_in_a_while_is_what_the_rate_allows() {
        let begun = Instant::now() + Duration::from_secs(60);
        let mut schedule = Schedule { rate: NonZeroU64::new(1 << 20), free_at: None };
        let first = takes(&mut schedule, 64 * 4, 16 << 10, begun);
        assert_eq!(first, Duration::from_secs(4) - SLACK, "4 MiB at 1 MiB/s");
        let idle = begun + Duration::from_secs(3600);
        let later = takes(&mut schedule, 64, 16 << 10, idle);
        assert_eq!(later, Duration::from_secs(1) - SLACK, "nothing is saved up");
    }

    #[test]
    fn two_transfers_share_the_line() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut schedule = Schedule { rate: NonZeroU64::new(1 << 20), free_at: None };
        let one = schedule.plan(1 << 20, now);
        let other = schedule.plan(1 << 20, now);
        assert_eq!(other - one, Duration::from_secs(1));
    }

    #[test]
    fn without_a_rate_nobody_waits_and_no_rate_is_too_low() {
        assert_eq!(Schedule::default().plan(u64::MAX, Instant::now()), Duration::ZERO);
        let pace = Pace::default();
        pace.set(Some(0));
        let rate = pace.0.lock().expect("nobody panicked").rate;
        assert_eq!(rate.map(NonZeroU64::get), Some(MIN_PACE));
    }

    #[test]
    fn a_paced_stream_carries_the_same_bytes() {
        let pace = Pace::default();
        pace.set(Some(100 << 20));
        let sent = vec![7; 3 * PIECE_BYTES + 1];
        let mut received = Vec::new();
        let mut from = Paced { inner: sent.as_slice(), pace: Some(&pace) };
        let mut to = Paced { inner: &mut received, pace: Some(&pace) };
        io::copy(&mut from, &mut to).expect("in memory");
        assert_eq!(received, sent);
    }
}
