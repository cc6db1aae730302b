//! Offers, what each broker knows of them, and which of their tasks are settled.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{MAX_TASKS, Offer, Package, Private, TaskId};
use capability::{
    Explanation, Invalid, JobFile, JobSpec, MAX_STATEMENT_BYTES, Payload, PublicKey, Requirements,
    StatementId, Timestamp, Verified,
};
use mesh_core::{Mono, Now};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::attempts::{Attempts, Inquiry};
use crate::authority::Authority;
use crate::job_ids::JobIds;
use crate::judge::{MAX_AGAIN, MAX_AGAIN_IN_ALL};
use crate::message::RevokedKey;
use crate::records::{SettledRecord, StateRecord};

/// Offers in memory at most, those that are over but not expired included.
pub const MAX_JOBS: usize = 10_000;

/// Replicas of tasks of all offers in memory at most. A settled one takes some 300 bytes here, and an
/// adapter keeps its result of a few kilobytes at hand.
pub const MAX_TASKS_IN_ALL: u64 = 250_000;

/// Ranges of settled tasks in one publication: every second of 100,000 tasks, which brokers allow.
const MAX_SETTLED_RANGES: usize = 50_000;

/// A job to be offered; its package is in the blob store already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    /// What people call it; at most 64 bytes.
    pub name: String,
    /// Its column in the matrix; at most 64 bytes.
    pub builder: String,
    /// How many tasks; 1 to 100,000.
    pub tasks: u32,
    /// Results wanted of each task, from different volunteers; 1 to 16.
    pub replicas: u16,
    /// Sources and modules.
    pub package: Package,
    /// Who can read the package, if it is encrypted.
    pub private: Option<Private>,
    /// What a machine must have.
    pub requirements: Requirements,
    /// What is run there.
    pub job: JobSpec,
    /// How long it is offered; at most 30 days, and not beyond the delegation.
    pub lifetime: Duration,
    /// How much longer than the job may take offline leases hold; zero: there are none.
    pub offline: Duration,
    /// Which of the project's offers come first: those of the highest number, 0 to 9.
    pub priority: u8,
}

impl NewJob {
    /// The job that `file` describes, with `package`.
    pub fn from_file(file: JobFile, package: Package) -> Self {
        Self {
            name: file.name,
            builder: file.builder,
            tasks: file.tasks,
            replicas: 1,
            package,
            private: None,
            requirements: file.requirements,
            job: file.job,
            lifetime: file.expires.min(Offer::MAX_LIFETIME),
            offline: file.offline,
            priority: file.priority,
        }
    }
}

/// A job was not taken.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum SubmitError {
    /// It breaks a rule of offers.
    #[error("the job cannot be offered")]
    Invalid(#[source] Invalid),
    /// Its offer would be larger than a statement may be.
    #[error("the offer would have {size} bytes, at most {MAX_STATEMENT_BYTES} are allowed")]
    TooLarge {
        /// Bytes.
        size: usize,
    },
    /// Nothing can be signed for the project any more.
    #[error(
        "the delegation of the project key has expired at {0}; renew it with `talkoot-master delegate`"
    )]
    DelegationExpired(Timestamp),
    /// The project takes back what it let this node's key do.
    #[error("{0}")]
    Revoked(RevokedKey),
    /// Another adapter speaks for the project, with the same node key.
    #[error(
        "another adapter with this project's node key has moved its home, to epoch {0}; stop one of \
         them, and restart the one that is to go on"
    )]
    Superseded(u64),
    /// [`MAX_JOBS`] or [`MAX_TASKS_IN_ALL`].
    #[error("too many jobs or tasks are kept; wait until some have expired")]
    TooMany,
    /// The disk below the state directory is nearly full.
    #[error("the disk is nearly full")]
    DiskFull,
}

/// Where an offer is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JobState {
    /// It is offered.
    Open,
    /// Every task is settled; the brokers are being told.
    Done,
    /// Its master wants it no more; the brokers are being told.
    Cancelled,
    /// Every task is settled, and its home knows that it is over.
    DoneAndWithdrawn,
    /// It was cancelled, and its home knows.
    CancelledAndWithdrawn,
}

impl JobState {
    /// Whether it is over and its home knows.
    pub(crate) fn is_withdrawn(self) -> bool {
        matches!(self, Self::DoneAndWithdrawn | Self::CancelledAndWithdrawn)
    }

    /// The same, after the home has taken the withdrawal.
    pub(crate) fn withdrawn(self) -> Self {
        match self {
            Self::Done => Self::DoneAndWithdrawn,
            Self::Cancelled => Self::CancelledAndWithdrawn,
            other => other,
        }
    }
}

/// The result that settled one replica of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settled {
    /// The result.
    pub result: StatementId,
    /// Whose it is.
    pub volunteer: PublicKey,
    /// Who vouched for the volunteer, if anybody did.
    pub owner: Option<PublicKey>,
    /// Whether the task passed.
    pub passed: bool,
    /// The volunteer's broker.
    pub via: PublicKey,
}

impl From<SettledRecord> for Settled {
    fn from(record: SettledRecord) -> Self {
        let SettledRecord { result, volunteer, owner, passed, via } = record;
        Self { result, volunteer, owner, passed, via }
    }
}

impl From<Settled> for SettledRecord {
    fn from(settled: Settled) -> Self {
        let Settled { result, volunteer, owner, passed, via } = settled;
        Self { result, volunteer, owner, passed, via }
    }
}

/// One offer, and what has become of it.
#[derive(Debug)]
pub struct Job {
    id: StatementId,
    offer: Verified<Offer>,
    state: JobState,
    acknowledged: Option<u64>,
    durable: bool,
    settled: BTreeMap<(u32, u16), Settled>,
    /// Tasks that are given up, and why: also those that a result has settled as failed for it.
    given_up: BTreeMap<u32, String>,
    /// By task, who said that a machine could not run it.
    unfit: BTreeMap<u32, Unfit>,
    explanation: Option<Explanation>,
    pub(crate) publications: BTreeMap<PublicKey, Attempts>,
    pub(crate) withdrawal: Attempts,
    pub(crate) inquiry: Inquiry,
}

/// Results that said that their machine could not run a task.
#[derive(Debug, Default)]
struct Unfit {
    /// One broken machine is no verdict on the task.
    volunteers: BTreeSet<PublicKey>,
    results: usize,
}

impl Job {
    /// Makes the offer of `job`, under a name that `is_taken` does not know yet.
    pub(crate) fn make(
        job: NewJob,
        authority: &Authority,
        now: Now,
        is_taken: impl Fn(StatementId) -> bool,
    ) -> Result<Self, SubmitError> {
        if !authority.is_current(now.wall) {
            return Err(SubmitError::DelegationExpired(authority.delegation().expires()));
        }
        let mut offer = Offer {
            project: authority.project(),
            name: job.name,
            builder: job.builder,
            tasks: job.tasks,
            replicas: job.replicas,
            package: job.package,
            private: job.private,
            requirements: job.requirements,
            job: job.job,
            offline_ms: u64::try_from(job.offline.as_millis()).unwrap_or(u64::MAX),
            priority: job.priority,
            issued: now.wall,
            delegation: authority.delegation().envelope().clone(),
            expires: authority.expiry(now.wall, job.lifetime.min(Offer::MAX_LIFETIME)),
        };
        offer.validate().map_err(SubmitError::Invalid)?;
        loop {
            let signed = Verified::sign(offer.clone(), authority.signer());
            let size = signed.envelope().as_bytes().len();
            if size > MAX_STATEMENT_BYTES {
                return Err(SubmitError::TooLarge { size });
            }
            if !is_taken(signed.id()) {
                return Ok(Self::new(signed));
            }
            // The same job twice within a millisecond is two jobs.
            offer.issued = offer.issued + Duration::from_millis(1);
        }
    }

    pub(crate) fn new(offer: Verified<Offer>) -> Self {
        Self::with_id(offer.id(), offer)
    }

    /// The job `id`, which is offered as `offer` now.
    pub(crate) fn with_id(id: StatementId, offer: Verified<Offer>) -> Self {
        Self {
            id,
            offer,
            state: JobState::Open,
            acknowledged: None,
            durable: false,
            settled: BTreeMap::new(),
            given_up: BTreeMap::new(),
            unfit: BTreeMap::new(),
            explanation: None,
            publications: BTreeMap::new(),
            withdrawal: Attempts::default(),
            inquiry: Inquiry::default(),
        }
    }

    /// What it is called: the id of the first offer that was made of it.
    pub fn id(&self) -> StatementId {
        self.id
    }

    /// The offer, as it was signed last.
    pub fn offer(&self) -> &Verified<Offer> {
        &self.offer
    }

    /// Where it is in its life.
    pub fn state(&self) -> JobState {
        self.state
    }

    /// The newest epoch whose home has acknowledged the offer.
    pub fn acknowledged(&self) -> Option<u64> {
        self.acknowledged
    }

    /// What the home said last about who could run it.
    pub fn explanation(&self) -> Option<&Explanation> {
        self.explanation.as_ref()
    }

    /// Accepted results by task and replica, with the job's id for the offer's.
    pub fn settled(&self) -> impl Iterator<Item = (TaskId, &Settled)> {
        let offer = self.id;
        self.settled.iter().map(move |((task, replica), settled)| {
            (TaskId { offer, task: *task, replica: *replica }, settled)
        })
    }

    /// The accepted result of one replica.
    pub fn settled_by(&self, task: u32, replica: u16) -> Option<&Settled> {
        self.settled.get(&(task, replica))
    }

    /// Tasks of which every replica is settled: how many passed, and how many did not. A task
    /// passes if all of its replicas do.
    pub fn tally(&self) -> (u32, u32) {
        let (mut passed, mut failed) = (0, 0);
        for (_, all_passed) in self.whole_tasks() {
            *(if all_passed { &mut passed } else { &mut failed }) += 1;
        }
        (passed, failed + u32::try_from(self.given_up_in_vain().count()).unwrap_or(u32::MAX))
    }

    /// Tasks that are given up, with the reasons.
    pub fn given_up(&self) -> impl Iterator<Item = (u32, &str)> {
        self.given_up.iter().map(|(task, reason)| (*task, reason.as_str()))
    }

    /// Those of which not even every replica has a result.
    fn given_up_in_vain(&self) -> impl Iterator<Item = u32> {
        self.given_up.keys().copied().filter(|task| !self.is_whole(*task))
    }

    fn is_whole(&self, task: u32) -> bool {
        self.replicas_of(task) == usize::from(self.offer.replicas)
    }

    fn replicas_of(&self, task: u32) -> usize {
        self.settled.range((task, 0)..=(task, u16::MAX)).count()
    }

    /// Whether nothing more is expected of `task`.
    pub(crate) fn is_over(&self, task: u32) -> bool {
        self.given_up.contains_key(&task) || self.is_whole(task)
    }

    /// Whether nothing more is expected of any task.
    pub(crate) fn is_complete(&self) -> bool {
        let lacking = |task| usize::from(self.offer.replicas) - self.replicas_of(task);
        let given_up: usize = self.given_up_in_vain().map(lacking).sum();
        (self.settled.len() + given_up) as u64 == self.replicas_in_all()
    }

    /// Whether `task` was given up; it is not any more.
    pub(crate) fn take_up(&mut self, task: u32) -> bool {
        self.given_up.remove(&task).is_some()
    }

    pub(crate) fn give_up(&mut self, task: u32, reason: String) {
        self.given_up.insert(task, reason);
    }

    pub(crate) fn replicas_in_all(&self) -> u64 {
        u64::from(self.offer.tasks) * u64::from(self.offer.replicas)
    }

    /// Tasks that need no lease any more, as inclusive ranges.
    pub(crate) fn settled_ranges(&self) -> Vec<(u32, u32)> {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        let whole = self.whole_tasks().map(|(task, _)| task);
        let mut over: Vec<u32> = whole.chain(self.given_up_in_vain()).collect();
        over.sort_unstable();
        for task in over {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == task => *last = task,
                _ => ranges.push((task, task)),
            }
        }
        // What does not fit is leased once more, and its result is rejected.
        ranges.truncate(MAX_SETTLED_RANGES);
        ranges
    }

    /// Tasks with all their replicas settled, and whether all of these passed.
    fn whole_tasks(&self) -> impl Iterator<Item = (u32, bool)> {
        let replicas = usize::from(self.offer.replicas);
        let mut rest = self.settled.iter().peekable();
        std::iter::from_fn(move || {
            loop {
                let (&(task, _), first) = rest.next()?;
                let (mut count, mut passed) = (1, first.passed);
                while let Some((_, next)) = rest.next_if(|((next, _), _)| *next == task) {
                    count += 1;
                    passed &= next.passed;
                }
                if count == replicas {
                    return Some((task, passed));
                }
            }
        })
    }

    /// Whether `volunteer` settled another replica of `task`.
    pub(crate) fn has_replica_of(&self, task: u32, volunteer: PublicKey) -> bool {
        self.settled
            .range((task, 0)..=(task, u16::MAX))
            .any(|(_, settled)| settled.volunteer == volunteer)
    }

    /// Whether so many machines could not run the task that one more of `volunteer` settles it.
    pub(crate) fn is_given_up(&self, task: u32, volunteer: PublicKey) -> bool {
        self.unfit.get(&task).is_some_and(|unfit| {
            let others = unfit.volunteers.iter().filter(|it| **it != volunteer).count();
            others >= MAX_AGAIN || unfit.results >= MAX_AGAIN_IN_ALL
        })
    }

    /// How many machines could not run `task`.
    pub(crate) fn unfit_machines(&self, task: u32) -> usize {
        self.unfit.get(&task).map_or(0, |unfit| unfit.volunteers.len())
    }

    pub(crate) fn count_unfit_machine(&mut self, task: u32, volunteer: PublicKey) {
        let unfit = self.unfit.entry(task).or_default();
        unfit.volunteers.insert(volunteer);
        unfit.results += 1;
    }

    pub(crate) fn settle(&mut self, task: u32, replica: u16, settled: Settled) {
        self.settled.insert((task, replica), settled);
    }

    pub(crate) fn set_state(&mut self, state: JobState) {
        self.state = state;
    }

    pub(crate) fn acknowledge(&mut self, epoch: u64) {
        self.acknowledged = self.acknowledged.max(Some(epoch));
    }

    pub(crate) fn set_explanation(&mut self, explanation: Explanation) {
        self.explanation = Some(explanation);
    }

    pub(crate) fn record(&self) -> StateRecord {
        StateRecord { state: self.state, acknowledged: self.acknowledged }
    }

    pub(crate) fn restore(&mut self, record: StateRecord) {
        self.state = record.state;
        self.acknowledged = record.acknowledged;
        self.durable = true;
    }

    /// Offers it in the name of another node key, once that is durable. It ends no later than the
    /// delegation.
    pub(crate) fn sign_again(&mut self, authority: &Authority) -> Verified<Offer> {
        let delegation = authority.delegation();
        let payload = Offer {
            delegation: delegation.envelope().clone(),
            expires: self.offer.expires.min(delegation.expires),
            ..(*self.offer).clone()
        };
        self.offer = Verified::sign(payload, authority.signer());
        self.durable = false;
        self.offer.clone()
    }

    pub(crate) fn made_durable(&mut self) {
        self.durable = true;
    }

    /// Whether brokers should keep it: its master answers for it durably, and it is not over.
    pub(crate) fn is_offered(&self, now: Timestamp) -> bool {
        self.durable && self.state == JobState::Open && self.offer.expires > now
    }

    /// Whether the home has still to hear that it is over.
    pub(crate) fn needs_withdrawal(&self, now: Timestamp) -> bool {
        matches!(self.state, JobState::Done | JobState::Cancelled) && self.offer.expires > now
    }

    /// Whether it is worth asking who could run it: no result has come yet.
    pub(crate) fn wants_explanation(&self, epoch: u64, now: Timestamp) -> bool {
        self.is_offered(now) && self.acknowledged == Some(epoch) && self.settled.is_empty()
    }

    /// When `broker` is to be given the offer, if it is only time that is lacking.
    pub(crate) fn next_publication(&self, broker: PublicKey, now: Timestamp) -> Option<Mono> {
        let attempts = self.publications.get(&broker);
        let next = attempts.map_or(Some(Mono::default()), Attempts::next_wake);
        next.filter(|_| self.is_offered(now))
    }

    /// When the home is to be told that it is over.
    pub(crate) fn next_withdrawal(&self, now: Timestamp) -> Option<Mono> {
        self.withdrawal.next_wake().filter(|_| self.needs_withdrawal(now))
    }

    /// When the home of `epoch` is to be asked who could run it.
    pub(crate) fn next_inquiry(&self, epoch: u64, now: Timestamp) -> Option<Mono> {
        self.inquiry.next_wake().filter(|_| self.wants_explanation(epoch, now))
    }

    /// Everything must be published anew: the epoch is another one.
    pub(crate) fn publish_anew(&mut self) {
        for attempts in self.publications.values_mut() {
            attempts.start_over();
        }
    }
}

/// Every offer that has not expired.
#[derive(Debug, Default)]
pub(crate) struct Jobs {
    /// Those about which brokers are still to be told or asked something, by their ids.
    under_way: BTreeMap<StatementId, Job>,
    /// Those that are over, as their home knows.
    withdrawn: BTreeMap<StatementId, Job>,
    /// Those that may have changed since somebody looked.
    touched: BTreeSet<StatementId>,
    ids: JobIds,
    replicas: u64,
}

impl Jobs {
    /// The job that has the id `offer`, or was offered as that.
    pub(crate) fn get(&self, offer: StatementId) -> Option<&Job> {
        let id = self.ids.of(offer);
        self.under_way.get(&id).or_else(|| self.withdrawn.get(&id))
    }

    pub(crate) fn get_mut(&mut self, offer: StatementId) -> Option<&mut Job> {
        let id = self.ids.of(offer);
        let job = self.under_way.get_mut(&id).or_else(|| self.withdrawn.get_mut(&id))?;
        self.touched.insert(id);
        Some(job)
    }

    pub(crate) fn ids_mut(&mut self) -> &mut JobIds {
        &mut self.ids
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Job> {
        self.under_way.values().chain(self.withdrawn.values())
    }

    /// Those about which brokers are still to be told or asked something.
    pub(crate) fn under_way(&self) -> impl Iterator<Item = &Job> {
        self.under_way.values()
    }

    pub(crate) fn under_way_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.touch_all();
        self.under_way.values_mut()
    }

    /// Whatever depends on them must be looked at again.
    pub(crate) fn touch_all(&mut self) {
        self.touched.extend(self.under_way.keys());
    }

    /// Those that may have changed or gone since the last time; lays aside those that were withdrawn.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<StatementId> {
        let touched = std::mem::take(&mut self.touched);
        for id in &touched {
            if self.under_way.get(id).is_some_and(|job| job.state.is_withdrawn()) {
                self.withdrawn.extend(self.under_way.remove_entry(id));
            }
        }
        touched
    }

    /// Whether one more job of `tasks` × `replicas` may be kept.
    pub(crate) fn has_room(&self, tasks: u32, replicas: u16) -> bool {
        let more = u64::from(tasks.min(MAX_TASKS)) * u64::from(replicas);
        self.under_way.len() + self.withdrawn.len() < MAX_JOBS
            && self.replicas + more <= MAX_TASKS_IN_ALL
    }

    pub(crate) fn insert(&mut self, job: Job) {
        self.replicas += job.replicas_in_all();
        self.touched.insert(job.id);
        self.under_way.insert(job.id, job);
    }

    /// Forgets offers to which no sound result can come any more.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<StatementId> {
        let over = |job: &Job| job.offer.current(now).is_err() && job.offer.expires < now;
        let mut ended = Vec::new();
        for jobs in [&mut self.under_way, &mut self.withdrawn] {
            for (id, job) in jobs.extract_if(.., |_, job| over(job)) {
                self.replicas -= job.replicas_in_all();
                ended.push(id);
            }
        }
        self.touched.extend(&ended);
        ended
    }
}
