//! Why nothing more of one project runs here.

use std::time::Duration;

use capability::{ProjectKey, PublicKey, Runtime, StatementId, format_bytes};
use thiserror::Error;

use crate::action::{Idle, in_words};
use crate::giving_way::is_full;
use crate::rhythm::Rest;
use crate::trust::Decline;
use crate::volunteer::Volunteer;

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WhyNot {
    /// The owner has not pinned it.
    #[error("it is not trusted on this machine")]
    NotPinned,
    /// Nothing of anybody is taken.
    #[error("{0}")]
    Obstacle(Idle),
    /// Nothing that the key signs is acted upon.
    #[error("its key was revoked{}", heir(*.0))]
    Revoked(Option<PublicKey>),
    /// No broker has told lately whether its key still holds.
    #[error("no broker has told within a day whether its key still holds")]
    Unconfirmed,
    /// The list by which it is trusted is a ground for nothing new.
    #[error("{0}")]
    ListFails(Decline),
    /// None of those that it may use works.
    #[error("it may use {}, and this machine offers none of that", names(.0))]
    NoRuntime(Vec<Runtime>),
    /// Other tasks have everything.
    #[error("tasks in hand have all that you donate just now: {jobs}")]
    Full {
        /// How many.
        jobs: usize,
    },
    /// The owner lets it have other hours.
    #[error("outside of the hours that you let it have: nothing new of it is taken")]
    OffHours,
    /// A builder of it has had a task, and the period in which one may begin lasts.
    #[error(
        "builder {builder} had a task {} ago; the next may begin in {}",
        in_words(*ago),
        in_words(*left)
    )]
    Rests {
        /// Which.
        builder: String,
        /// How long ago the task began, or was leased.
        ago: Duration,
        /// Until the next may begin.
        left: Duration,
    },
    /// An offer of it is not wanted.
    #[error("{name} is declined: {reason}")]
    Declined {
        /// The offer.
        offer: StatementId,
        /// The job's name.
        name: String,
        /// Why.
        reason: Decline,
    },
    /// An offer of it was tried, and is tried again.
    #[error("{name} was tried, and is tried again in {}: {reason}", in_words(*left))]
    InVain {
        /// The offer.
        offer: StatementId,
        /// The job's name.
        name: String,
        /// Until it is tried again.
        left: Duration,
        /// Why nothing came of it.
        reason: String,
    },
    /// Too little is free for a task of an offer.
    #[error("{name} needs more than tasks in hand leave of what you donate just now")]
    TooLarge {
        /// The offer.
        offer: StatementId,
        /// The job's name.
        name: String,
    },
    /// The disk has no room for a task of an offer.
    #[error(
        "{name} needs {} of the disk, and {} are left for tasks",
        format_bytes(*needed),
        format_bytes(*left)
    )]
    DiskShort {
        /// The offer.
        offer: StatementId,
        /// The job's name.
        name: String,
        /// Bytes that a task takes, and its package if it is not here.
        needed: u64,
        /// Bytes that there are for tasks.
        left: u64,
    },
    /// Nothing else stands in the way.
    #[error("no broker shows an open offer of it that this machine could run")]
    NothingSeen,
}

fn heir(heir: Option<PublicKey>) -> String {
    heir.map(|heir| format!(", and names {heir} as its successor")).unwrap_or_default()
}

fn names(runtimes: &[Runtime]) -> String {
    let names: Vec<_> = runtimes.iter().map(Runtime::name).collect();
    if names.is_empty() { "no runtime".to_owned() } else { names.join(" and ") }
}

impl Volunteer {
    /// Why nothing more of `project` runs: first what concerns all projects, then the project, then
    /// its offers in the order of their ids. Never empty.
    pub fn why_not(&self, project: ProjectKey) -> Vec<WhyNot> {
        let mut reasons = Vec::new();
        reasons.extend(self.obstacle().filter(|it| *it != Idle::NoPins).map(WhyNot::Obstacle));
        match self.trust.pin(&project) {
            None => reasons.push(WhyNot::NotPinned),
            Some(pin) => {
                reasons.extend(self.doubt(project));
                reasons.extend(self.judge_voucher(pin).err().map(WhyNot::ListFails));
                let mut offered = self.machine.iter().flat_map(|it| it.runtimes.keys());
                // Before the probes have ended nobody can tell.
                if self.machine.is_some() && !offered.any(|it| pin.runtimes.contains(it)) {
                    reasons.push(WhyNot::NoRuntime(pin.runtimes.iter().cloned().collect()));
                }
                reasons.extend(self.off_time(project));
                reasons.extend(self.fullness());
            }
        }
        reasons.extend(self.unwanted(project));
        if reasons.is_empty() {
            reasons.push(WhyNot::NothingSeen);
        }
        reasons
    }

    fn doubt(&self, project: ProjectKey) -> Option<WhyNot> {
        let key = project.into();
        if self.keys.book().is_void(key) {
            return Some(WhyNot::Revoked(self.keys.book().heir(key)));
        }
        (!self.keys.is_confirmed(key, self.now)).then_some(WhyNot::Unconfirmed)
    }

    /// What its owner's hours and periods say against any more of it now.
    fn off_time(&self, project: ProjectKey) -> Vec<WhyNot> {
        let off_hours = self.off_hours.contains(&project).then_some(WhyNot::OffHours);
        let wall = self.now.wall;
        let every = self.every(project);
        let resting = every.map(|every| self.rhythm.resting(project, every, wall));
        let rests = resting.into_iter().flatten().map(|Rest { builder, since, next }| {
            WhyNot::Rests { builder, ago: wall.since(since), left: next.since(wall) }
        });
        off_hours.into_iter().chain(rests).collect()
    }

    fn fullness(&self) -> Option<WhyNot> {
        let full = is_full(self.lent_left()?) || self.work.places() == 0;
        let jobs = self.work.jobs().count();
        (full && jobs > 0).then_some(WhyNot::Full { jobs })
    }

    /// The offers of `project` that were shown, and why each is not claimed.
    fn unwanted(&self, project: ProjectKey) -> impl Iterator<Item = WhyNot> {
        let (now, left) = (self.now.mono, self.disk_left());
        // What is about no offer by itself is told once for all.
        let is_told = |reason: &Decline| {
            matches!(
                reason,
                Decline::OffHours
                    | Decline::TooSoon { .. }
                    | Decline::ListOver { .. }
                    | Decline::CuratorVoid { .. }
            )
        };
        let declined = self.offers.declined().filter(move |it| it.project == project);
        let declined = declined.filter(move |it| !is_told(&it.reason));
        let declined = declined.map(|it| WhyNot::Declined {
            offer: it.offer,
            name: it.name.clone(),
            reason: it.reason.clone(),
        });
        let vain = self.offers.left_alone(now).filter(move |(_, it)| it.named.project == project);
        let vain = vain.map(move |(offer, it)| WhyNot::InVain {
            offer: *offer,
            name: it.named.name.clone(),
            left: it.tries.not_before - now,
            reason: it.reason.clone(),
        });
        let large = self.offers.too_large().filter(move |(_, it)| it.project == project);
        let large =
            large.map(|(offer, it)| WhyNot::TooLarge { offer: *offer, name: it.name.clone() });
        let short = self.offers.disk_short(left);
        let short = short.filter(move |(_, it)| it.named.project == project);
        let short = short.map(move |(offer, it)| WhyNot::DiskShort {
            offer: *offer,
            name: it.named.name.clone(),
            needed: it.needed,
            left,
        });
        declined.chain(vain).chain(large).chain(short)
    }
}
