//! Whether this machine may be out of reach while it works, so that it asks for offline leases.

use std::time::Duration;

use capability::Timestamp;
use mesh_core::Now;

/// A lease that is not renewed for so long lapses.
const ABSENCE: Duration = Duration::from_secs(30);
/// An absence is remembered for so long: a laptop has its habits from day to day.
const REMEMBERED: Duration = Duration::from_secs(24 * 60 * 60);

/// Whether offline leases are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Offline {
    /// Never: the machine is always online, or its tasks are better had by others when it is not.
    Never,
    /// Always.
    Always,
    /// If it was asleep or without a broker within the last day, for longer than a lease holds.
    #[default]
    Auto,
}

/// When this machine was out of reach last.
#[derive(Debug, Default)]
pub(crate) struct Presence {
    pub(crate) offline: Offline,
    before: Option<Now>,
    alone_since: Option<Timestamp>,
    back: Option<Timestamp>,
}

impl Presence {
    /// Something happens at `now`. While a machine sleeps, only wall time goes on.
    pub(crate) fn at(&mut self, now: Now) {
        if let Some(before) = self.before.replace(now) {
            let slept = now.wall.since(before.wall).saturating_sub(now.mono - before.mono);
            if slept >= ABSENCE {
                self.back = Some(now.wall);
            }
        }
    }

    /// The last broker is gone.
    pub(crate) fn went(&mut self, now: Now) {
        self.alone_since = Some(now.wall);
    }

    /// There is a broker again.
    pub(crate) fn came(&mut self, now: Now) {
        let alone = self.alone_since.take().map(|since| now.wall.since(since));
        if alone.is_some_and(|alone| alone >= ABSENCE) {
            self.back = Some(now.wall);
        }
    }

    /// Whether offline leases are wanted.
    pub(crate) fn is_uncertain(&self, now: Timestamp) -> bool {
        match self.offline {
            Offline::Never => false,
            Offline::Always => true,
            Offline::Auto => self.back.is_some_and(|back| now.since(back) < REMEMBERED),
        }
    }
}
