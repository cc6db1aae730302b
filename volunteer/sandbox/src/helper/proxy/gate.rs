//! What makes all connections of a proxy stand still, and what keeps them to a pace.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Closed while the job is paused.
#[derive(Debug, Default)]
pub struct Gate {
    closed: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    /// Whoever comes waits from now on.
    pub fn close(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = true;
    }

    /// All go on.
    pub fn open(&self) {
        *self.closed.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.opened.notify_all();
    }

    /// Waits until it is open; answers whether it was not.
    pub fn pass(&self) -> bool {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = *closed;
        drop(self.opened.wait_while(closed, |closed| *closed));
        waited
    }
}

/// Bytes a second, of all connections together.
#[derive(Debug)]
pub struct Pace {
    rate: Option<u64>,
    /// Bytes that may pass now, and when that was worked out.
    purse: Mutex<(u64, Instant)>,
}

/// How much of a second can be saved up.
const SAVED: u64 = 4;

impl Pace {
    /// Any, or `rate`.
    pub fn new(rate: Option<u64>, now: Instant) -> Self {
        Self { rate, purse: Mutex::new((0, now)) }
    }

    /// How many of `wanted` bytes may pass at `now`. They are taken for passed.
    pub fn take(&self, wanted: usize, now: Instant) -> usize {
        let Some(rate) = self.rate else { return wanted };
        let mut purse = self.purse.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(purse.1).min(Duration::from_secs(1));
        let earned = u128::from(rate) * passed.as_micros() / 1_000_000;
        let earned = u64::try_from(earned).unwrap_or(u64::MAX);
        if earned > 0 {
            // At least a byte, or a slow pace would never earn one.
            *purse = ((purse.0 + earned).min((rate / SAVED).max(1)), now);
        }
        let taken = wanted.min(usize::try_from(purse.0).unwrap_or(usize::MAX));
        purse.0 -= taken as u64;
        taken
    }

    /// Of `taken` bytes so many were not needed.
    pub fn give_back(&self, left: usize) {
        if self.rate.is_some() {
            self.purse.lock().unwrap_or_else(PoisonError::into_inner).0 += left as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_passes_in_a_second_than_the_pace_allows() {
        let began = Instant::now();
        let pace = Pace::new(Some(1000), began);

        let each_ms = |ms| pace.take(4096, began + Duration::from_millis(ms));
        let passed: usize = (1..=2000).map(each_ms).sum();

        assert!((1900..=2000).contains(&passed), "{passed}");
        assert_eq!(Pace::new(None, began).take(4096, began), 4096);
    }

    #[test]
    fn a_rest_saves_up_a_quarter_of_a_second_at_most() {
        let began = Instant::now();
        let pace = Pace::new(Some(1000), began);

        assert_eq!(pace.take(4096, began + Duration::from_secs(3600)), 250);
        pace.give_back(50);
        assert_eq!(pace.take(4096, began + Duration::from_secs(3600)), 50);
    }
}
