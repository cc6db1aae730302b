//! Waiting longer after each failure.

use std::time::Duration;

use mesh_core::Mono;

/// When something that failed may be tried again.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Backoff {
    /// Failures since the last success.
    pub failures: u32,
    /// Not to be tried before.
    pub not_before: Mono,
}

impl Backoff {
    /// It failed: wait `first`, or twice as long as the last time, at most `most`.
    pub fn fail(&mut self, now: Mono, first: Duration, most: Duration) {
        // 2^16 × any sensible first wait is above any sensible longest one.
        let wait = first.saturating_mul(1 << self.failures.min(16)).min(most);
        self.failures = self.failures.saturating_add(1);
        self.not_before = now + wait;
    }

    /// Whether it may be tried.
    pub fn is_over(&self, now: Mono) -> bool {
        self.not_before <= now
    }
}
