//! Keeping leases, and giving them back.
//!
//! One renewal names all leases of one offer and epoch. They are renewed three times a term, so that
//! one lost message ends none. A lease stays in here until its result is on its way, since its task
//! would otherwise open again while the result waits for a broker.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Intent, Lease, MAX_TASKS_A_CLAIM};
use capability::{PublicKey, StatementId};
use mesh_core::Mono;

use crate::backoff::Backoff;

/// A third of the usual term of a lease, which is 30 s.
pub(crate) const RENEWAL_INTERVAL: Duration = Duration::from_secs(10);
/// Wait after a renewal that went unanswered: two more fit into a term.
const RETRY_INTERVAL: Duration = Duration::from_secs(3);

/// Between two looks whether somebody still waits for what is held without renewals.
const LOOK_INTERVAL: Duration = Duration::from_secs(5 * 60);

/// Attempts at releasing; after a term the leases lapse by themselves.
const RELEASE_TRIES: u32 = 5;
const FIRST_RELEASE_WAIT: Duration = Duration::from_secs(1);
const LONGEST_RELEASE_WAIT: Duration = Duration::from_secs(10);

/// Releases that wait, at most: the leases that a killed process may have held, with a margin.
const MAX_RELEASES: usize = 1024;

/// Leases that share their renewals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct GroupKey {
    pub offer: StatementId,
    pub epoch: u64,
    pub home: PublicKey,
}

impl GroupKey {
    /// The group of `lease`, which `home` has granted.
    pub fn of(lease: &Lease, home: PublicKey) -> Self {
        Self { offer: lease.task.offer, epoch: lease.epoch, home }
    }
}

/// A renewal to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Due {
    pub group: GroupKey,
    pub leases: Vec<StatementId>,
    pub purpose: Purpose,
}

/// What a renewal says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Keep,
    /// Offline leases hold by themselves; the answer tells which are of no use any more.
    Look,
    Release(Leaving),
}

/// Why leases are released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Leaving {
    /// Something else comes before their tasks.
    GivenUp,
    /// A former process was killed while it had them.
    Lost,
}

impl Purpose {
    pub fn intent(self) -> Intent {
        match self {
            Self::Keep | Self::Look => Intent::Keep,
            Self::Release(_) => Intent::Release,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Leases {
    groups: BTreeMap<GroupKey, Group>,
    looks: BTreeMap<GroupKey, Look>,
    releases: BTreeMap<(GroupKey, Leaving), Release>,
}

#[derive(Debug)]
struct Group {
    running: BTreeSet<StatementId>,
    /// Their results are durable here and nowhere else.
    ended: BTreeSet<StatementId>,
    due: Mono,
    under_way: bool,
}

#[derive(Debug)]
struct Look {
    leases: BTreeSet<StatementId>,
    due: Mono,
    under_way: bool,
}

#[derive(Debug, Default)]
struct Release {
    leases: BTreeSet<StatementId>,
    backoff: Backoff,
    under_way: bool,
}

impl Leases {
    /// From now on `lease` is to be kept.
    pub fn hold(&mut self, lease: StatementId, group: GroupKey, now: Mono) {
        let group = self.groups.entry(group).or_insert_with(|| Group {
            running: BTreeSet::new(),
            ended: BTreeSet::new(),
            due: now + RENEWAL_INTERVAL,
            under_way: false,
        });
        group.running.insert(lease);
    }

    /// `lease` holds without renewals; whether somebody still waits for its task is asked now and then.
    pub fn look_after(&mut self, lease: StatementId, group: GroupKey, now: Mono) {
        let look = self.looks.entry(group).or_insert_with(|| Look {
            leases: BTreeSet::new(),
            due: now + LOOK_INTERVAL,
            under_way: false,
        });
        look.leases.insert(lease);
    }

    /// The result of `lease` is durable here; the lease is kept until it is handed over.
    pub fn ended(&mut self, lease: StatementId) {
        for group in self.groups.values_mut() {
            if group.running.remove(&lease) {
                group.ended.insert(lease);
            }
        }
    }

    /// `lease` needs no renewal any more.
    pub fn forget(&mut self, lease: StatementId) {
        self.groups.retain(|_, group| {
            group.running.remove(&lease);
            group.ended.remove(&lease);
            !(group.running.is_empty() && group.ended.is_empty())
        });
        self.looks.retain(|_, look| {
            look.leases.remove(&lease);
            !look.leases.is_empty()
        });
    }

    /// `lease` is given up: somebody else may have its task at once.
    pub fn release(&mut self, lease: StatementId) {
        let group = self.groups.iter().find(|(_, group)| group.running.contains(&lease));
        if let Some(key) = group.map(|(key, _)| *key) {
            self.release_of(lease, key, Leaving::GivenUp);
        }
        self.forget(lease);
    }

    /// Releases a lease that is not renewed here.
    pub fn release_of(&mut self, lease: StatementId, group: GroupKey, leaving: Leaving) {
        if self.releases.len() < MAX_RELEASES {
            self.releases.entry((group, leaving)).or_default().leases.insert(lease);
        }
    }

    /// Renewals to send now; each is under way until [`Leases::answered`].
    pub fn due(&mut self, now: Mono) -> Vec<Due> {
        let limit = usize::from(MAX_TASKS_A_CLAIM);
        let mut due = Vec::new();
        for (key, group) in &mut self.groups {
            if group.due <= now && !group.under_way {
                group.under_way = true;
                group.due = now + RENEWAL_INTERVAL;
                let leases = group.running.iter().chain(&group.ended).copied().take(limit);
                due.push(Due { group: *key, leases: leases.collect(), purpose: Purpose::Keep });
            }
        }
        for (key, look) in &mut self.looks {
            if look.due <= now && !look.under_way {
                (look.under_way, look.due) = (true, now + LOOK_INTERVAL);
                let leases = look.leases.iter().copied().take(limit).collect();
                due.push(Due { group: *key, leases, purpose: Purpose::Look });
            }
        }
        for ((key, leaving), release) in &mut self.releases {
            if release.backoff.is_over(now) && !release.under_way {
                release.under_way = true;
                let leases = release.leases.iter().copied().take(limit);
                due.push(Due {
                    group: *key,
                    leases: leases.collect(),
                    purpose: Purpose::Release(*leaving),
                });
            }
        }
        due
    }

    /// A renewal was answered; gives those of `lapsed` that were to be kept.
    pub fn answered(&mut self, due: &Due, lapsed: &[StatementId]) -> Vec<StatementId> {
        if let Purpose::Release(leaving) = due.purpose {
            self.released(due, leaving);
            return Vec::new();
        }
        if due.purpose == Purpose::Look {
            let Some(look) = self.looks.get_mut(&due.group) else { return Vec::new() };
            look.under_way = false;
            let held = |lease: &&StatementId| look.leases.contains(lease);
            let lapsed: Vec<_> = lapsed.iter().filter(held).copied().collect();
            lapsed.iter().for_each(|lease| self.forget(*lease));
            return lapsed;
        }
        let Some(group) = self.groups.get_mut(&due.group) else { return Vec::new() };
        group.under_way = false;
        let held = |lease: &&StatementId| {
            due.leases.contains(lease)
                && (group.running.contains(lease) || group.ended.contains(lease))
        };
        let lapsed: Vec<_> = lapsed.iter().filter(held).copied().collect();
        lapsed.iter().for_each(|lease| self.forget(*lease));
        lapsed
    }

    /// A renewal was not answered, or the way to the home is cut: it is tried again.
    pub fn unanswered(&mut self, due: &Due, now: Mono) {
        match due.purpose {
            Purpose::Keep => {
                if let Some(group) = self.groups.get_mut(&due.group) {
                    group.under_way = false;
                    group.due = now + RETRY_INTERVAL;
                }
            }
            // Its home may be out of reach for long.
            Purpose::Look => {
                let look = self.looks.get_mut(&due.group);
                look.into_iter().for_each(|look| look.under_way = false);
            }
            Purpose::Release(leaving) => {
                let key = (due.group, leaving);
                let Some(release) = self.releases.get_mut(&key) else { return };
                release.under_way = false;
                release.backoff.fail(now, FIRST_RELEASE_WAIT, LONGEST_RELEASE_WAIT);
                if release.backoff.failures >= RELEASE_TRIES {
                    self.releases.remove(&key);
                }
            }
        }
    }

    /// Everything that failed is due at once: the way has changed.
    pub fn hurry(&mut self, now: Mono) {
        for group in self.groups.values_mut() {
            group.due = group.due.min(now);
        }
        for release in self.releases.values_mut() {
            release.backoff.not_before = release.backoff.not_before.min(now);
        }
    }

    /// Whether releases are still to be told.
    pub fn is_releasing(&self) -> bool {
        !self.releases.is_empty()
    }

    /// When, after `now`, the next renewal or release is due.
    pub fn next_wake(&self, now: Mono) -> Option<Mono> {
        let groups = self.groups.values().filter(|it| !it.under_way).map(|it| it.due);
        let looks = self.looks.values().filter(|it| !it.under_way).map(|it| it.due);
        let releases = self.releases.values().filter(|it| !it.under_way);
        let all = groups.chain(looks).chain(releases.map(|it| it.backoff.not_before));
        all.filter(|at| *at > now).min()
    }

    fn released(&mut self, due: &Due, leaving: Leaving) {
        let key = (due.group, leaving);
        let Some(release) = self.releases.get_mut(&key) else { return };
        release.under_way = false;
        release.backoff = Backoff::default();
        release.leases.retain(|lease| !due.leases.contains(lease));
        if release.leases.is_empty() {
            self.releases.remove(&key);
        }
    }
}
