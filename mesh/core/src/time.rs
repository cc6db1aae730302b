//! Time, as cores see it: always passed in, never read.

use std::ops::{Add, Sub};
use std::time::Duration;

use capability::Timestamp;

/// One reading of both clocks, taken by the shell for each event.
///
/// Intervals that matter only while the process lives use `mono`; what must survive a restart
/// (expiries, lease deadlines) uses `wall`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now {
    /// Time since the process started; never goes backwards.
    pub mono: Mono,
    /// Wall time; may jump when a clock is set.
    pub wall: Timestamp,
}

impl Now {
    /// The reading `by` later on both clocks.
    pub fn after(self, by: Duration) -> Self {
        Self { mono: self.mono + by, wall: self.wall + by }
    }

    /// The monotonic time at which wall time will have reached `at`, if nobody sets the clock.
    pub fn mono_at(self, at: Timestamp) -> Mono {
        self.mono + at.since(self.wall)
    }
}

/// Time since the process started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub Duration);

impl Add<Duration> for Mono {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub for Mono {
    type Output = Duration;

    /// How long after `earlier` this is; zero if it is not.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}
