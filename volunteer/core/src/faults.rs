//! A machine that fails job after job takes nothing new for a while, so that others have a chance.

use std::time::Duration;

use mesh_core::Mono;

use crate::backoff::Backoff;

/// Endings in a row that are this machine's fault, before it takes a rest. Two may be an accident.
const TOLERATED: u32 = 3;

/// The first rest; each further one is twice as long.
const FIRST_REST: Duration = Duration::from_secs(60);
/// The longest: a machine that its owner has mended works again within the hour.
const LONGEST_REST: Duration = Duration::from_secs(60 * 60);

/// The endings in a row that were this machine's fault.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    in_a_row: u32,
    reason: String,
    rest: Backoff,
}

impl Faults {
    /// One more, because of `reason`; gives the length of the rest that begins with it, if one does.
    pub fn failed(&mut self, reason: &str, now: Mono) -> Option<Duration> {
        self.in_a_row = self.in_a_row.saturating_add(1);
        reason.clone_into(&mut self.reason);
        // What ends during a rest had begun before it, and says nothing new.
        if self.in_a_row < TOLERATED || !self.rest.is_over(now) {
            return None;
        }
        self.rest.fail(now, FIRST_REST, LONGEST_REST);
        Some(self.rest.not_before - now)
    }

    /// A job ended otherwise: the machine works.
    pub fn worked(&mut self) {
        *self = Self::default();
    }

    /// How many there are.
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Why the last job failed; empty before the first.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What is left of the rest, if there is one.
    pub fn rest(&self, now: Mono) -> Option<Duration> {
        (!self.rest.is_over(now)).then(|| self.rest.not_before - now)
    }

    /// Whether the next task shows if the machine works again, so that there should be only one.
    pub fn is_on_trial(&self) -> bool {
        self.in_a_row >= TOLERATED
    }

    /// When the rest ends.
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        (!self.rest.is_over(now)).then_some(self.rest.not_before)
    }
}
