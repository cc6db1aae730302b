//! What has gone wrong with an offer's tasks: who should not have one again at once, and which tasks
//! nobody should have any more.
//!
//! A task goes to other owners' machines after a machine could not run it. One that is taken again and
//! again by machines that are never heard of any more, because it kills them, is stopped. And a
//! volunteer that fails at an offer waits before it gets more of it, longer each time.
//!
//! None of it is durable: after a restart a task has to be tried as often again. The master's
//! judgement, that a task is given up, is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::PublicKey;
use mesh_core::Mono;
use serde::{Deserialize, Serialize};

/// Holders of a replica that may vanish before it is stopped: as many machines as a master lets fail.
pub const MAX_VANISHED: usize = 5;
/// How often holders of a replica may vanish in all, however few they are.
pub const MAX_VANISHED_IN_ALL: u32 = 12;

/// The first wait of a volunteer that has failed at an offer. It doubles with each further failure.
pub const FIRST_WAIT: Duration = Duration::from_secs(10);
/// The longest: a machine that its owner has mended works again soon.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10 * 60);
/// After so long without a failure the next one is the first.
const FORGIVEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Volunteers of one offer whose failures are remembered at most. Who makes new keys waits for nothing
/// anyway.
const MAX_FAILING: usize = 1_024;

/// Machines that a replica is kept from at a time, at most; the one that waits longest is let go.
const MAX_BARRED: usize = 16;

/// Who has a replica: a volunteer, and its owner if it names one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Holder {
    pub(crate) volunteer: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<PublicKey>,
}

impl Holder {
    /// Whether both are machines of one owner, as far as is known.
    pub(crate) fn is_akin_to(self, other: Self) -> bool {
        self.volunteer == other.volunteer || (self.owner.is_some() && self.owner == other.owner)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Troubles {
    barred: BTreeMap<usize, Vec<(Holder, Mono)>>,
    vanished: BTreeMap<usize, Vanished>,
    failing: BTreeMap<PublicKey, Failing>,
}

/// The holders of one replica that were not heard of any more.
#[derive(Debug, Default)]
struct Vanished {
    /// One broken machine is no verdict on the task.
    volunteers: BTreeSet<PublicKey>,
    times: u32,
    last: Mono,
}

#[derive(Debug, Default)]
struct Failing {
    failures: u32,
    last: Mono,
    until: Mono,
}

/// How often a replica was tried in vain before it was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Tries {
    pub(crate) volunteers: u32,
    pub(crate) times: u32,
}

impl Troubles {
    /// Machines akin to `holder` get the replica at `index` again only after `until`.
    pub(crate) fn bar(&mut self, index: usize, holder: Holder, until: Mono) {
        let barred = self.barred.entry(index).or_default();
        barred.retain(|(other, _)| *other != holder);
        if barred.len() >= MAX_BARRED {
            barred.remove(0);
        }
        barred.push((holder, until));
    }

    /// Whether `holder` has to leave the replica at `index` to others.
    pub(crate) fn is_barred(&self, index: usize, holder: Holder, now: Mono) -> bool {
        let barred = self.barred.get(&index).into_iter().flatten();
        barred.into_iter().any(|(other, until)| *until > now && other.is_akin_to(holder))
    }

    /// The holder of the replica at `index` was not heard of any more.
    pub(crate) fn vanished(&mut self, index: usize, volunteer: PublicKey, now: Mono) {
        let vanished = self.vanished.entry(index).or_default();
        if vanished.volunteers.len() < MAX_VANISHED {
            vanished.volunteers.insert(volunteer);
        }
        vanished.times = vanished.times.saturating_add(1);
        vanished.last = now;
    }

    /// Whether nobody should have the replica at `index` any more.
    pub(crate) fn is_stopped(&self, index: usize) -> bool {
        self.vanished.get(&index).is_some_and(Vanished::is_too_much)
    }

    /// Replicas that are stopped, and whose holders can be at work no more if a job takes no longer
    /// than `wall`: until then a result may come.
    pub(crate) fn stopped(
        &self,
        wall: Duration,
        now: Mono,
    ) -> impl Iterator<Item = (usize, Tries)> + '_ {
        let over =
            self.vanished.iter().filter(move |(_, it)| it.is_too_much() && it.last + wall <= now);
        over.map(|(index, it)| {
            let volunteers = u32::try_from(it.volunteers.len()).expect("at most MAX_VANISHED");
            (*index, Tries { volunteers, times: it.times })
        })
    }

    /// The replica at `index` is returned or done: nothing is wrong with it.
    pub(crate) fn settled(&mut self, index: usize) {
        self.barred.remove(&index);
        self.vanished.remove(&index);
    }

    /// A machine of `volunteer` could not run a task, or its result was rejected. Gives the end of its wait.
    pub(crate) fn failed(&mut self, volunteer: PublicKey, now: Mono) -> Mono {
        self.failing.retain(|_, failing| failing.last + FORGIVEN_AFTER > now);
        if self.failing.len() >= MAX_FAILING && !self.failing.contains_key(&volunteer) {
            let next = self.failing.iter().min_by_key(|(_, failing)| failing.until);
            let next = next.map(|(volunteer, _)| *volunteer);
            next.and_then(|next| self.failing.remove(&next));
        }
        let failing = self.failing.entry(volunteer).or_default();
        // 2^16 times the first wait is above the longest.
        let wait = FIRST_WAIT.saturating_mul(1 << failing.failures.min(16)).min(LONGEST_WAIT);
        failing.failures = failing.failures.saturating_add(1);
        (failing.last, failing.until) = (now, now + wait);
        failing.until
    }

    /// A result of `volunteer` was accepted.
    /// Says whether it had failed before.
    pub(crate) fn worked(&mut self, volunteer: PublicKey) -> bool {
        self.failing.remove(&volunteer).is_some()
    }

    /// How long `volunteer` has to wait for more of the offer, and after how many failures.
    pub(crate) fn wait(&self, volunteer: PublicKey, now: Mono) -> Option<(Duration, u32)> {
        let failing = self.failing.get(&volunteer).filter(|failing| failing.until > now)?;
        Some((failing.until - now, failing.failures))
    }
}

impl Vanished {
    fn is_too_much(&self) -> bool {
        self.volunteers.len() >= MAX_VANISHED || self.times >= MAX_VANISHED_IN_ALL
    }
}
