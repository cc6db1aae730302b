//! What is tried or asked at a broker until it succeeds, or again and again, and when next.

use std::time::Duration;

use mesh_core::{CallId, Mono, Now};

/// Wait after the first failed publication; doubles up to [`MAX_RETRY`].
const FIRST_RETRY: Duration = Duration::from_secs(1);
const MAX_RETRY: Duration = Duration::from_secs(60);

/// How often the home is asked who could run an offer that has no result yet.
const EXPLANATION_PERIOD: Duration = Duration::from_secs(5);
/// After this many questions nobody is watching any more, and it is asked at [`EXPLANATION_SLOW`].
const EXPLANATIONS_FAST: u32 = 60;
const EXPLANATION_SLOW: Duration = Duration::from_secs(60);

/// How often the home is asked which tasks nobody gets any more: it takes minutes to find that out.
const STOPPED_PERIOD: Duration = Duration::from_secs(15);

/// Repeated attempts at one thing at one broker, with backoff.
#[derive(Debug, Default)]
pub(crate) struct Attempts {
    under_way: bool,
    succeeded: bool,
    failures: u32,
    not_before: Mono,
}

impl Attempts {
    /// When to try next, if it is only time that is lacking.
    pub(crate) fn next_wake(&self) -> Option<Mono> {
        (!self.under_way && !self.succeeded).then_some(self.not_before)
    }

    pub(crate) fn start(&mut self) {
        self.under_way = true;
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    pub(crate) fn succeed(&mut self) {
        *self = Self { succeeded: true, ..Self::default() };
    }

    pub(crate) fn fail(&mut self, now: Now) {
        self.under_way = false;
        let wait = FIRST_RETRY.saturating_mul(1 << self.failures.min(16)).min(MAX_RETRY);
        self.not_before = now.mono + wait;
        self.failures += 1;
    }

    /// Not before that time is over, as the broker wishes, but for no longer than after failures.
    pub(crate) fn wait(&mut self, pause: Duration, now: Now) {
        self.not_before = self.not_before.max(now.mono + pause.min(MAX_RETRY));
    }

    /// Whatever came of it before, it is due at once; an attempt under way is awaited first.
    pub(crate) fn start_over(&mut self) {
        self.succeeded = false;
        self.failures = 0;
        self.not_before = Mono::default();
    }
}

/// A question to the home, asked each [`STOPPED_PERIOD`].
#[derive(Debug, Default)]
pub(crate) struct StoppedInquiry {
    under_way: Option<CallId>,
    not_before: Mono,
}

impl StoppedInquiry {
    pub(crate) fn is_due(&self, now: Now) -> bool {
        self.under_way.is_none() && self.not_before <= now.mono
    }

    pub(crate) fn next_wake(&self) -> Option<Mono> {
        self.under_way.is_none().then_some(self.not_before)
    }

    pub(crate) fn start(&mut self, call: CallId) {
        self.under_way = Some(call);
    }

    /// Whether `call` is the one under way.
    pub(crate) fn is(&self, call: CallId) -> bool {
        self.under_way == Some(call)
    }

    pub(crate) fn finish(&mut self, now: Now) {
        *self = Self { under_way: None, not_before: now.mono + STOPPED_PERIOD };
    }
}

/// The question who could run an offer, asked now and then.
#[derive(Debug, Default)]
pub(crate) struct Inquiry {
    under_way: bool,
    asked: u32,
    not_before: Mono,
}

impl Inquiry {
    pub(crate) fn next_wake(&self) -> Option<Mono> {
        (!self.under_way).then_some(self.not_before)
    }

    pub(crate) fn start(&mut self) {
        self.under_way = true;
        self.asked += 1;
    }

    pub(crate) fn finish(&mut self, now: Now) {
        self.under_way = false;
        let fast = self.asked < EXPLANATIONS_FAST;
        self.not_before = now.mono + if fast { EXPLANATION_PERIOD } else { EXPLANATION_SLOW };
    }
}
