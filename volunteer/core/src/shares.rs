//! Whose turn it is among the projects of one machine: by weight, over weeks, whatever their jobs are like.
//!
//! Each project has an account of what this machine gave it, divided by its weight; of those in one
//! **rung** that have work, the one that had least comes first. What is counted is time of the whole
//! machine: how long a job ran, times the largest part that it takes of the cores, the memory or the disk
//! that are donated. A job that takes one core of eight and all of the memory leaves nothing to others, and
//! is counted so. Time in which a job stands still is nobody's.
//!
//! A job counts for the order from its lease on, with what jobs of its project usually take; the
//! account itself grows by what was given. It is durable when a job ends, and every ten minutes while
//! one runs: else a machine that is switched off each evening would give all its days to whoever has
//! jobs of two.
//!
//! Who has work and was passed over for a long job of somebody else gets all of that back. Who has none when
//! its turn comes is owed six hours at most, so that a project that was silent for a month gets them and not
//! the month. A new one begins with the least that any in its rung had, and is served at once.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::Offer;
use capability::{CborError, ProjectKey, Resources, StatementId, decode_cbor, encode_cbor};
use mesh_core::{Mono, Write};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::work::needs;

/// First byte of the keys of accounts.
pub(crate) const SHARE_PREFIX: u8 = b's';

/// Bytes of the record of an account at most.
const MAX_SHARE_RECORD: usize = 1024;

/// What a project without work is owed at most, as time of the whole machine: an evening that a
/// volunteer hardly notices, and enough for a project that has jobs every few hours to lose nothing.
pub const MOST_OWED: Duration = Duration::from_secs(6 * 60 * 60);

/// Preferences choose among projects that are no further apart, at the usual weight: they may put off
/// a turn, and not change a share.
pub const LEEWAY: Duration = Duration::from_secs(60 * 60);

/// Between two records of what runs: what a crash can take from an account.
const CHECKPOINT: Duration = Duration::from_secs(10 * 60);

/// The part of their time limit that jobs usually take falls by this part of the difference. It rises at once:
/// who plans by it is to finish in time.
const SMOOTHING: u32 = 8;
pub(crate) const WHOLE: u32 = 1000;

/// How much of the machine a project gets beside the others of its rung: in hundredths of what one has
/// of which the owner says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

/// A weight is 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("a weight is 1 to {}, and {} is usual", Weight::MOST.0, Weight::default().0)]
pub struct NoWeight;

impl Weight {
    /// A hundred times the usual.
    pub const MOST: Self = Self(10_000);
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<u16> for Weight {
    type Error = NoWeight;

    fn try_from(hundredths: u16) -> Result<Self, NoWeight> {
        if (1..=Self::MOST.0).contains(&hundredths) { Ok(Self(hundredths)) } else { Err(NoWeight) }
    }
}

impl From<Weight> for u16 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

/// Which projects come before which, whatever either had: those that are no backup before those that
/// are, and of these the lower tier. It gets what those before have no work for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct Rung {
    /// Gets work only if no other project has any that suits.
    pub backup: bool,
    /// The lower, the sooner.
    pub tier: u8,
}

/// What the owner gives a project beside others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Standing {
    /// Who comes first.
    pub rung: Rung,
    /// How much it gets beside others of its rung.
    pub weight: Weight,
}

/// Thousandths of a millisecond of the whole machine, by weight: of a project of the usual weight,
/// microseconds.
type Used = u64;

/// Place of a project in the order: the smallest is the neediest.
pub(crate) type Need = (Rung, Used);

/// For when a turn is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// What was fetched ahead has given its project nothing yet.
    Now,
    /// It will have.
    Later,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    /// In which rung it was; an account says nothing in another.
    rung: Rung,
    used: Used,
    /// Which part of their time limit its jobs take, in thousandths.
    pace: u32,
}

#[derive(Debug)]
struct Charge {
    project: ProjectKey,
    /// Thousandths of the machine that it takes.
    part: u32,
    limit: Duration,
    /// How much of its running time is on the account already.
    charged: Duration,
    /// For how long it has moved before it stood still last.
    moved: Duration,
    /// Since when it moves, if it does.
    moves_since: Option<Mono>,
    /// Whether it was fetched ahead, and has no room yet.
    is_queued: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    standings: BTreeMap<ProjectKey, Standing>,
    accounts: BTreeMap<ProjectKey, Account>,
    charges: BTreeMap<StatementId, Charge>,
    now: Mono,
    checked: Mono,
    /// Accounts that are not durable as they are, and those that are no more.
    changed: BTreeSet<ProjectKey>,
}

impl Shares {
    /// Takes up again what a former process had made durable.
    pub fn restore(&mut self, value: &[u8]) -> Result<(), CborError> {
        let (project, account) = decode_cbor::<(ProjectKey, Account)>(value, MAX_SHARE_RECORD)?;
        self.accounts.insert(project, account);
        Ok(())
    }

    /// It is `now`.
    pub fn at(&mut self, now: Mono) {
        self.now = now;
    }

    /// These projects are trusted, and no others.
    pub fn trust(&mut self, standings: impl Iterator<Item = (ProjectKey, Standing)>) {
        self.standings = standings.collect();
        let standings = &self.standings;
        let gone = self.accounts.extract_if(.., |project, _| !standings.contains_key(project));
        self.changed.extend(gone.map(|(project, _)| project));
        let begins = |(project, it): (&ProjectKey, &Standing)| {
            (!self.is_in(project, it.rung)).then(|| (*project, it.rung, self.least(it.rung)))
        };
        let beginners: Vec<_> = standings.iter().filter_map(begins).collect();
        for (project, rung, used) in beginners {
            let pace = self.pace(project);
            self.accounts.insert(project, Account { rung, used, pace });
            self.changed.insert(project);
        }
    }

    /// A task of `offer` is in hand, on a machine that donates so much.
    pub fn take(&mut self, lease: StatementId, offer: &Offer, donated: Resources) {
        self.charge(lease, offer, donated, false);
    }

    /// A task of `offer` was fetched ahead.
    pub fn take_ahead(&mut self, lease: StatementId, offer: &Offer, donated: Resources) {
        self.charge(lease, offer, donated, true);
    }

    fn charge(&mut self, lease: StatementId, offer: &Offer, donated: Resources, is_queued: bool) {
        let (project, limit) = (offer.project, offer.job.limits.wall());
        let part = part(needs(offer), donated);
        let (charged, moved, moves_since) = (Duration::ZERO, Duration::ZERO, None);
        let charge = Charge { project, part, limit, charged, moved, moves_since, is_queued };
        self.charges.insert(lease, charge);
    }

    /// It begins, or goes on.
    pub fn moves(&mut self, lease: StatementId) {
        if self.next_wake().is_none() {
            self.checked = self.now;
        }
        if let Some(charge) = self.charges.get_mut(&lease) {
            charge.moves_since.get_or_insert(self.now);
        }
    }

    /// It stands still from now on.
    pub fn stands_still(&mut self, lease: StatementId) {
        if let Some(charge) = self.charges.get_mut(&lease) {
            charge.moved = charge.ran(self.now);
            charge.moves_since = None;
        }
    }

    /// It is in hand no more.
    pub fn end(&mut self, lease: StatementId, end: End) {
        let Some(mut charge) = self.charges.remove(&lease) else { return };
        let ran = self.settle(&mut charge);
        if end == End::ByItself
            && let Some(account) = self.accounts.get_mut(&charge.project)
        {
            account.pace = paced(account.pace, ran, charge.limit);
        }
    }

    /// Puts on the accounts what jobs have had that run for a while; says whether it was time to.
    pub fn checkpoint(&mut self) -> bool {
        let is_due = self.next_wake().is_some_and(|at| at <= self.now);
        if is_due {
            self.checked = self.now;
            let mut charges = std::mem::take(&mut self.charges);
            for charge in charges.values_mut() {
                self.settle(charge);
            }
            self.charges = charges;
        }
        is_due
    }

    /// When the next checkpoint is due, if anything moves.
    pub fn next_wake(&self) -> Option<Mono> {
        let moves = self.charges.values().any(|charge| charge.moves_since.is_some());
        moves.then(|| self.checked + CHECKPOINT)
    }

    /// What must become durable of all that has changed since the last call.
    pub fn writes(&mut self) -> Vec<Write> {
        let write = |project| match self.accounts.get(&project) {
            Some(account) => Write::put(key(project), encode_cbor(&(project, account))),
            None => Write::delete(key(project)),
        };
        std::mem::take(&mut self.changed).into_iter().map(write).collect()
    }

    /// How needy `project` is; `None` for one that is not trusted.
    pub fn need(&self, project: ProjectKey, turn: For) -> Option<Need> {
        let (rung, account) = (self.standings.get(&project)?.rung, self.accounts.get(&project)?);
        Some((rung, account.used.saturating_add(self.under_way(project, turn))))
    }

    /// The projects that come before one of that need, in the order of their keys.
    pub fn needier(&self, than: Need, turn: For) -> impl Iterator<Item = ProjectKey> {
        let is_needier = move |project| self.need(project, turn).is_some_and(|need| need < than);
        self.standings.keys().copied().filter(move |project| is_needier(*project))
    }

    /// How many tasks of `offer` its project has before it is the turn of `other`, which has work too.
    pub fn turn(&self, offer: &Offer, other: ProjectKey, donated: Resources, turn: For) -> u16 {
        let needs_of = (self.need(offer.project, turn), self.need(other, turn));
        let (Some(own), Some(other)) = needs_of else { return u16::MAX };
        if own.0 < other.0 {
            return u16::MAX;
        }
        let task =
            cost(self.usual_of(offer), part(needs(offer), donated), self.weight(offer.project));
        let tasks = other.1.saturating_sub(own.1) / task.max(1) + 1;
        u16::try_from(tasks).unwrap_or(u16::MAX)
    }

    /// Whether preferences may put a project of that `need` before the neediest.
    pub fn is_near(&self, need: Need, neediest: Need) -> bool {
        need.0 == neediest.0
            && need.1 <= neediest.1.saturating_add(cost(LEEWAY, WHOLE, Weight::default()))
    }

    /// Whether `project`, whose work needs more than is free, is owed so much that `other` waits for what
    /// runs to end: as much as that takes. So a wide job has its turn although narrow ones always fit, and
    /// at worst as much of the machine is idle for it as others had in its place.
    pub fn is_worth_waiting_for(&self, project: ProjectKey, other: ProjectKey) -> bool {
        let needs_of = (self.need(project, For::Now), self.need(other, For::Now));
        let (Some(own), Some(other)) = needs_of else { return false };
        let owed = match own.0.cmp(&other.0) {
            Ordering::Less => cost(MOST_OWED, WHOLE, Weight::default()),
            Ordering::Equal => other.1.saturating_sub(own.1),
            Ordering::Greater => 0,
        };
        owed > 0 && owed >= cost(self.longest_left(), WHOLE, self.weight(project))
    }

    /// How long a task of `offer` takes usually, once it moves.
    pub fn usual_of(&self, offer: &Offer) -> Duration {
        offer.job.limits.wall() * self.pace(offer.project) / WHOLE
    }

    /// The same as time of the whole machine, if so much is donated.
    pub fn takes_of(&self, offer: &Offer, donated: Resources) -> Duration {
        self.usual_of(offer) * part(needs(offer), donated) / WHOLE
    }

    /// Whether a task is on the account of its project.
    pub fn has(&self, lease: StatementId) -> bool {
        self.charges.contains_key(&lease)
    }

    /// Which part of the machine, in thousandths, `own` projects have beside `others`: none, if one of these comes
    /// before all of them.
    pub fn part_beside(&self, own: &BTreeSet<ProjectKey>, others: &BTreeSet<ProjectKey>) -> u32 {
        let rung = |projects: &BTreeSet<ProjectKey>| {
            projects.iter().filter_map(|it| Some(self.standings.get(it)?.rung)).min()
        };
        let (Some(first), beside) = (rung(own), rung(others)) else { return 0 };
        match beside {
            Some(beside) if beside < first => 0,
            Some(beside) if beside == first => {
                let weight = |projects: &BTreeSet<ProjectKey>| {
                    let of_rung = projects.iter().filter_map(|it| self.standings.get(it));
                    let of_rung = of_rung.filter(|it| it.rung == first);
                    of_rung.map(|it| u64::from(it.weight.0)).sum::<u64>()
                };
                let (own, others) = (weight(own), weight(others));
                u32::try_from(own * u64::from(WHOLE) / (own + others).max(1)).unwrap_or(WHOLE)
            }
            _ => WHOLE,
        }
    }

    /// How long a task in hand takes yet.
    pub fn left_of(&self, lease: StatementId) -> Duration {
        self.charges.get(&lease).map_or(Duration::ZERO, |charge| self.left(charge))
    }

    /// How much time of the whole machine all tasks in hand take yet.
    pub fn left_in_hand(&self) -> Duration {
        self.charges.values().map(|charge| self.left(charge) * charge.part / WHOLE).sum()
    }

    /// How long what is in hand takes yet, at the longest.
    fn longest_left(&self) -> Duration {
        let moving = self.charges.values().filter(|charge| !charge.is_queued);
        moving.map(|charge| self.left(charge)).max().unwrap_or_default()
    }

    /// How long a task takes yet, usually, or else may take.
    fn left(&self, charge: &Charge) -> Duration {
        let (ran, usual) = (charge.ran(self.now), self.usual(charge));
        if ran < usual { usual - ran } else { charge.limit.saturating_sub(ran) }
    }

    fn usual(&self, charge: &Charge) -> Duration {
        charge.limit * self.pace(charge.project) / WHOLE
    }

    /// It was `project`'s turn, and it had no work for this machine; `other` has some.
    pub fn had_nothing(&mut self, project: ProjectKey, other: ProjectKey) {
        let Some(level) = self.accounts.get(&other).copied() else { return };
        let standing = self.standings.get(&project).filter(|it| it.rung == level.rung);
        let Some(standing) = standing else { return };
        let owed = cost(MOST_OWED, WHOLE, standing.weight);
        // What is under way is an estimate, and counts for the order only: others do not pay for it.
        let under_way = self.under_way(project, For::Now);
        let least = level.used.saturating_sub(owed).saturating_sub(under_way);
        if let Some(account) = self.accounts.get_mut(&project).filter(|it| it.used < least) {
            account.used = least;
            // It is durable with what is given next, of which it is a consequence.
            self.changed.insert(project);
        }
    }

    /// What is in hand, and not on the account yet.
    fn under_way(&self, project: ProjectKey, turn: For) -> Used {
        let counts = |charge: &&Charge| {
            charge.project == project && (turn == For::Later || !charge.is_queued)
        };
        let of_project = self.charges.values().filter(counts);
        let cost = |charge: &Charge| {
            let takes = self.usual(charge).max(charge.ran(self.now));
            let takes = takes.saturating_sub(charge.charged);
            cost(takes, charge.part, self.weight(project))
        };
        of_project.map(cost).fold(0, Used::saturating_add)
    }

    /// Puts on the account what is not yet; gives for how long it has run in all.
    fn settle(&mut self, charge: &mut Charge) -> Duration {
        let ran = charge.ran(self.now);
        let cost = cost(ran - charge.charged, charge.part, self.weight(charge.project));
        charge.charged = ran;
        if let Some(account) = self.accounts.get_mut(&charge.project) {
            account.used = account.used.saturating_add(cost);
            self.changed.insert(charge.project);
        }
        ran
    }

    fn pace(&self, project: ProjectKey) -> u32 {
        self.accounts.get(&project).map_or(WHOLE, |account| account.pace)
    }

    fn weight(&self, project: ProjectKey) -> Weight {
        self.standings.get(&project).map(|it| it.weight).unwrap_or_default()
    }

    fn is_in(&self, project: &ProjectKey, rung: Rung) -> bool {
        self.accounts.get(project).is_some_and(|account| account.rung == rung)
    }

    fn least(&self, rung: Rung) -> Used {
        let of_rung = self.accounts.values().filter(|account| account.rung == rung);
        of_rung.map(|account| account.used).min().unwrap_or_default()
    }
}

/// How a job came to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    ByItself,
    Stopped,
}

impl Charge {
    fn ran(&self, now: Mono) -> Duration {
        self.moved + self.moves_since.map_or(Duration::ZERO, |since| now - since)
    }
}

/// The largest part of the machine that a task takes, in thousandths.
fn part(needs: Resources, donated: Resources) -> u32 {
    let of = |needed: u64, donated: u64| {
        let parts = u128::from(needed) * u128::from(WHOLE) / u128::from(donated.max(1));
        u32::try_from(parts).unwrap_or(WHOLE).min(WHOLE)
    };
    let cores = of(needs.cores.into(), donated.cores.into());
    let memory = of(needs.memory, donated.memory);
    // A task takes something, however small it is.
    cores.max(memory).max(of(needs.disk, donated.disk)).max(1)
}

fn cost(time: Duration, part: u32, weight: Weight) -> Used {
    // A run costs something, however short it is; 64 bits of microseconds are half a million years.
    let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    millis.saturating_mul(part.into()).saturating_mul(u64::from(Weight::default().0))
        / u64::from(weight.0)
}

fn paced(pace: u32, ran: Duration, limit: Duration) -> u32 {
    let ran = ran.as_millis() * u128::from(WHOLE) / limit.as_millis().max(1);
    let ran = u32::try_from(ran).unwrap_or(WHOLE).min(WHOLE);
    if ran >= pace { ran } else { (pace * (SMOOTHING - 1) + ran) / SMOOTHING }
}

fn key(project: ProjectKey) -> Vec<u8> {
    [&[SHARE_PREFIX], project.as_bytes().as_slice()].concat()
}
