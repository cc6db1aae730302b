//! How fast blobs may move: each transfer waits for its turn on the thread that it blocks anyway.
//!
//! All transfers of one direction share one schedule: whoever has moved some bytes keeps the line for as
//! long as these take at the rate that is set. The peer is held up by its own flow control. A direction can be held: then
//! nothing moves, and what is under way ends when that lasts.

use std::io::{self, Read, Write};
use std::num::NonZeroU64;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;

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
pub(crate) struct Pace {
    schedule: Mutex<Schedule>,
    held: Mutex<bool>,
    /// Rung when it is held no more.
    moves: Condvar,
}

/// For how long a transfer is held until it is cut: the other end gives up what has not moved for 30 s.
const HOLD: Duration = Duration::from_secs(20);

/// Why a transfer that was held has ended.
#[derive(Debug, Error)]
#[error("held for too long")]
pub(crate) struct IsCut;

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
        *self.schedule.lock().unwrap_or_else(PoisonError::into_inner) =
            Schedule { rate, free_at: None };
    }

    /// Whether nothing is to be read from now on.
    pub(crate) fn hold(&self, hold: bool) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = hold;
        if !hold {
            self.moves.notify_all();
        }
    }

    /// Waits until nothing is held, `patience` at most. Blocks.
    fn go_on(&self, patience: Duration) -> io::Result<()> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.moves.wait_timeout_while(held, patience, |held| *held);
        let (held, _) = waited.unwrap_or_else(PoisonError::into_inner);
        if *held { Err(io::Error::other(IsCut)) } else { Ok(()) }
    }

    /// Takes the line for `bytes` and waits until they may have moved. Blocks.
    fn keep(&self, bytes: usize) {
        let now = Instant::now();
        let mut schedule = self.schedule.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = schedule.plan(bytes as u64, now);
        drop(schedule);
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
        pace.go_on(HOLD)?;
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
        let rate = pace.schedule.lock().expect("nobody panicked").rate;
        assert_eq!(rate.map(NonZeroU64::get), Some(MIN_PACE));
    }

    #[test]
    fn what_is_held_goes_on_afterwards_or_is_cut() {
        let pace = Pace::default();
        let mut from = Paced { inner: &[7; 8][..], pace: Some(&pace) };
        pace.hold(true);
        let error = pace.go_on(Duration::from_millis(1)).expect_err("nobody lets it go on");
        assert!(error.get_ref().is_some_and(|it| it.is::<IsCut>()));
        std::thread::scope(|scope| {
            let reading = scope.spawn(|| from.read(&mut [0; 8]).expect("in memory"));
            pace.hold(false);
            assert_eq!(reading.join().expect("it does not panic"), 8);
        });
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
