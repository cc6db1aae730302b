//! How often a broker says who could run a job: holding a job against all machines takes so long that
//! a few askers could keep it from all else.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::PublicKey;
use mesh_core::{Mono, Now};

/// Explanations in one `PERIOD`, in all: some tenths of the broker's time at most.
pub const MAX_EXPLANATIONS: u32 = 16;
/// And of one asker, so that one alone leaves something to the others.
pub const MAX_EXPLANATIONS_AN_ASKER: u32 = 8;
const PERIOD: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    /// When the count starts anew.
    until: Mono,
    in_all: u32,
    /// As few askers as there are answers.
    by_asker: BTreeMap<PublicKey, u32>,
}

impl Inquiries {
    /// Whether `asker` gets an answer now.
    pub(crate) fn allow(&mut self, asker: PublicKey, now: Now) -> bool {
        if self.until <= now.mono {
            *self = Self { until: now.mono + PERIOD, ..Self::default() };
        }
        let of_asker = self.by_asker.get(&asker).copied().unwrap_or_default();
        let allowed = self.in_all < MAX_EXPLANATIONS && of_asker < MAX_EXPLANATIONS_AN_ASKER;
        if allowed {
            self.in_all += 1;
            self.by_asker.insert(asker, of_asker + 1);
        }
        allowed
    }
}
