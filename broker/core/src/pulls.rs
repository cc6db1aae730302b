//! Volunteers that wait for offers: long polls, one of each volunteer.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::PublicKey;
use mesh_core::{Mono, Now, ReplyId, Wants};

/// How long a pull waits that does not say: below the half minute after which proxies give up.
pub const PULL_WAIT: Duration = Duration::from_secs(25);

/// How long one waits at most. Over a connection that stands by itself nothing is won by asking more often.
pub const LONGEST_PULL_WAIT: Duration = Duration::from_secs(100);

/// See the module. Bounded by the ads: only who has left one can wait.
#[derive(Debug, Default)]
pub(crate) struct Pulls {
    waiting: BTreeMap<PublicKey, Pull>,
    ends: BTreeSet<(Mono, PublicKey)>,
}

/// A volunteer waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pull {
    pub(crate) reply: ReplyId,
    pub(crate) wants: Wants,
    until: Mono,
}

impl Pulls {
    /// `volunteer` waits; gives the pull that this one replaces.
    pub(crate) fn wait(
        &mut self,
        volunteer: PublicKey,
        reply: ReplyId,
        wants: Wants,
        now: Now,
    ) -> Option<Pull> {
        let older = self.end(volunteer);
        let wait = wants.wait_ms.map_or(PULL_WAIT, Duration::from_millis);
        let until = now.mono + wait.min(LONGEST_PULL_WAIT);
        self.ends.insert((until, volunteer));
        self.waiting.insert(volunteer, Pull { reply, wants, until });
        older
    }

    /// The volunteer's pull is answered, or in vain.
    pub(crate) fn end(&mut self, volunteer: PublicKey) -> Option<Pull> {
        let pull = self.waiting.remove(&volunteer)?;
        self.ends.remove(&(pull.until, volunteer));
        Some(pull)
    }

    /// What `volunteer` waits for.
    pub(crate) fn of(&self, volunteer: PublicKey) -> Option<&Pull> {
        self.waiting.get(&volunteer)
    }

    /// Who waits.
    pub(crate) fn volunteers(&self) -> Vec<PublicKey> {
        self.waiting.keys().copied().collect()
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// A pull that has waited long enough.
    pub(crate) fn expire(&mut self, now: Now) -> Option<Pull> {
        let (_, volunteer) = self.ends.first().copied().filter(|(end, _)| *end <= now.mono)?;
        self.end(volunteer)
    }

    /// When the next pull has waited long enough.
    pub(crate) fn next_end(&self) -> Option<Mono> {
        self.ends.first().map(|(end, _)| *end)
    }
}
