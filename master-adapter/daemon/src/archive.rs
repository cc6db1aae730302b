//! Jobs and accepted results, as people look at them.
//!
//! A job is known here by its id, that of its first offer, whoever has signed that last.
//!
//! What is durable is the core's records; this holds them in memory, made anew at every start and kept
//! up to date by the core's news. The core bounds how many results can come. Logs above two kilobytes
//! and artifacts are blobs, which are read when they are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::sync::Arc;

use capability::statements::{BlobPart, Ended, JobResult, Log, Offer, Opened, Report, StepReport};
use capability::tap::{self, TapReport};
use capability::{
    BlobHash, DecryptingReader, Ed25519, Explanation, MAX_OUTPUT, Opener, PublicKey, Remembering,
    StatementId, Timestamp, Verified,
};
use master_core::{
    JOB_ID_PREFIX, JUDGED_PREFIX, JobIds, JobState, Master, News, OFFER_PREFIX, RestoreError,
    accepted_in, given_up, name_in,
};
use mesh_shell::chain;
use mesh_store::{BlobError, BlobStore};

use crate::model::{
    ArtifactView, GivenUpView, JobView, MatrixCell, MatrixRow, MatrixView, StepView, TaskDetail,
    TaskView,
};

/// Tasks that are given up and named in one view at most.
const MAX_GIVEN_UP_SHOWN: usize = 20;

/// Jobs and results by name.
#[derive(Debug, Default)]
pub struct Archive {
    jobs: BTreeMap<StatementId, Entry>,
    heirs: Heirs,
}

/// By owner that has passed on, the key in whose hands it is.
type Heirs = BTreeMap<PublicKey, PublicKey>;

#[derive(Debug)]
struct Entry {
    id: StatementId,
    offer: Verified<Offer>,
    state: JobState,
    published: BTreeSet<PublicKey>,
    trouble: Option<String>,
    explanation: Option<Explanation>,
    /// Tasks that are given up, and why.
    given_up: BTreeMap<u32, String>,
    tasks: BTreeMap<(u32, u16), Accepted>,
}

#[derive(Debug)]
struct Accepted {
    view: TaskView,
    content: Arc<Content>,
}

/// A result with what was sealed in it.
#[derive(Debug)]
pub struct Content {
    /// The result.
    pub result: Verified<JobResult>,
    /// Its report.
    pub report: Report,
}

impl Content {
    /// What is in a blob of the result, decrypted.
    pub fn read(
        &self,
        part: BlobPart,
        blobs: &BlobStore,
    ) -> Result<DecryptingReader<File>, BlobError> {
        let index = usize::try_from(part.blob).unwrap_or(usize::MAX);
        let blob = self.result.blobs.get(index).expect("a report names only blobs of its result");
        let encrypted = blobs.read(&blob_name(blob.hash))?;
        let BlobPart { blob, size, hash } = part;
        Ok(DecryptingReader::new(encrypted, self.report.key, blob, size).expecting(hash))
    }
}

/// What only the core knows of an accepted result.
#[derive(Debug, Clone, Copy)]
struct Judged {
    passed: bool,
    owner: Option<PublicKey>,
    via: PublicKey,
}

impl Archive {
    /// Indexes what the records hold. Offers come before results, as their keys do.
    ///
    /// A result whose report `opener` cannot open any more, for want of a former key, is left out.
    pub fn restore(
        records: &[(Vec<u8>, Vec<u8>)],
        opener: &dyn Opener,
        blobs: &BlobStore,
    ) -> Result<Self, RestoreError> {
        let (mut archive, mut ids) = (Self::default(), JobIds::default());
        let verifier = Remembering::new(Ed25519);
        for (key, value) in records {
            match key.first().copied() {
                Some(JOB_ID_PREFIX) => ids.restore(key, value)?,
                Some(OFFER_PREFIX) => {
                    archive.add(name_in(key)?, Verified::parse(value, &Ed25519)?);
                }
                Some(JUDGED_PREFIX) => {
                    for envelope in accepted_in(value)? {
                        let result: Verified<JobResult> = Verified::check(&envelope, &verifier)?;
                        match Report::open(&result, opener, &Ed25519) {
                            Ok(Opened { report, .. }) => {
                                let job = ids.of(result.task.offer);
                                archive.accept(job, Content { result, report }, None, blobs);
                            }
                            Err(error) => {
                                let (statement, error) = (result.id().short(), chain(&error));
                                tracing::warn!(statement, error, "report not opened");
                            }
                        }
                    }
                }
                _ => {
                    if let Some((job, task, reason)) = given_up(key, value)? {
                        archive.give_up(job, task, reason);
                    }
                }
            }
        }
        Ok(archive)
    }

    /// Takes over what only the core knows of jobs that have not expired.
    pub fn take_over(&mut self, master: &Master) {
        for entry in self.jobs.values_mut().filter(|entry| entry.is_complete()) {
            entry.state = JobState::DoneAndWithdrawn;
        }
        for job in master.jobs() {
            let Some(entry) = self.jobs.get_mut(&job.id()) else { continue };
            entry.offer = job.offer().clone();
            entry.state = job.state();
            entry.given_up = job.given_up().map(|(task, why)| (task, why.to_owned())).collect();
            for (task, settled) in job.settled() {
                if let Some(accepted) = entry.tasks.get_mut(&(task.task, task.replica)) {
                    accepted.view.passed = settled.passed;
                    accepted.view.via = Some(settled.via);
                    accepted.view.owner = settled.owner;
                }
            }
        }
    }

    /// A job was submitted.
    pub fn add(&mut self, id: StatementId, offer: Verified<Offer>) {
        let entry = Entry {
            id,
            offer,
            state: JobState::Open,
            published: BTreeSet::new(),
            trouble: None,
            explanation: None,
            given_up: BTreeMap::new(),
            tasks: BTreeMap::new(),
        };
        self.jobs.insert(id, entry);
    }

    fn give_up(&mut self, job: StatementId, task: u32, reason: String) {
        if let Some(entry) = self.jobs.get_mut(&job) {
            entry.given_up.insert(task, reason);
        }
    }

    /// A job was cancelled.
    pub fn cancel(&mut self, offer: StatementId) {
        self.set_state(offer, JobState::Cancelled);
    }

    /// Applies what the core has to tell. Reads the log of an accepted result that has TAP.
    pub fn apply(&mut self, news: &News, blobs: &BlobStore) {
        match news {
            News::Published { offer, broker, .. } => {
                if let Some(entry) = self.jobs.get_mut(offer) {
                    entry.published.insert(*broker);
                    entry.trouble = None;
                }
            }
            News::NotPublished { offer, reason, .. } => {
                if let Some(entry) = self.jobs.get_mut(offer) {
                    entry.trouble = Some(reason.clone());
                }
            }
            News::Explained { offer, explanation } => {
                if let Some(entry) = self.jobs.get_mut(offer) {
                    entry.explanation = Some(explanation.clone());
                }
            }
            News::Accepted { task, result, report, passed, owner, via, .. } => {
                let judged = Judged { passed: *passed, owner: *owner, via: *via };
                if !matches!(report.ended, Ended::Machine(_))
                    && let Some(entry) = self.jobs.get_mut(&task.offer)
                {
                    entry.given_up.remove(&task.task);
                }
                let content = Content { result: result.clone(), report: report.clone() };
                self.accept(task.offer, content, Some(judged), blobs);
            }
            News::GivenUp { task, reason } => {
                self.give_up(task.offer, task.task, reason.clone());
            }
            News::JobDone { offer, .. } => self.set_state(*offer, JobState::Done),
            News::Withdrawn { offer } => {
                if let Some(entry) = self.jobs.get_mut(offer) {
                    entry.state = match entry.state {
                        JobState::Cancelled => JobState::CancelledAndWithdrawn,
                        _ => JobState::DoneAndWithdrawn,
                    };
                }
            }
            News::HomeMoved { .. } => {
                for entry in self.jobs.values_mut() {
                    entry.published.clear();
                }
            }
            News::Rejected { .. }
            | News::Again { .. }
            | News::SignedAgain { .. }
            | News::Declared(_)
            | News::Superseded { .. }
            | News::Revoked(_) => {}
            News::OwnerMoved { owner, heir } => {
                self.heirs.insert(*owner, *heir);
            }
        }
    }

    /// The job's name, for logs.
    pub fn name_of(&self, offer: StatementId) -> Option<&str> {
        self.jobs.get(&offer).map(|entry| entry.offer.name.as_str())
    }

    /// A job's offer.
    pub fn offer(&self, offer: StatementId) -> Option<&Verified<Offer>> {
        self.jobs.get(&offer).map(|entry| &entry.offer)
    }

    /// Everybody of whom a result was accepted, those of the newest results first.
    pub fn volunteers(&self) -> Vec<PublicKey> {
        let mut last = BTreeMap::new();
        for Accepted { view, .. } in self.jobs.values().flat_map(|entry| entry.tasks.values()) {
            let finished: &mut Timestamp = last.entry(view.volunteer).or_insert(view.finished);
            *finished = view.finished.max(*finished);
        }
        let mut volunteers: Vec<_> = last.into_iter().collect();
        volunteers.sort_by_key(|(_, finished)| std::cmp::Reverse(*finished));
        volunteers.into_iter().map(|(volunteer, _)| volunteer).collect()
    }

    /// The one job whose name begins with `prefix`.
    pub fn find(&self, prefix: &str) -> Option<StatementId> {
        let mut found = self.jobs.keys().filter(|id| id.to_string().starts_with(prefix));
        found.next().copied().filter(|_| found.next().is_none())
    }

    /// Every job, the newest first.
    pub fn jobs(&self) -> Vec<JobView> {
        let mut jobs: Vec<_> = self.jobs.values().map(|entry| entry.view(&self.heirs)).collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.issued, job.offer)));
        jobs
    }

    /// One job.
    pub fn job(&self, offer: StatementId) -> Option<JobView> {
        self.jobs.get(&offer).map(|entry| entry.view(&self.heirs))
    }

    /// Accepted results of a job from task `from` on: `limit` of them, and what is left of the last
    /// one's task.
    pub fn tasks(&self, offer: StatementId, from: u32, limit: usize) -> Option<Vec<TaskView>> {
        let mut tasks: Vec<TaskView> = Vec::new();
        for ((task, _), accepted) in self.jobs.get(&offer)?.tasks.range((from, 0)..) {
            if tasks.len() >= limit && tasks.last().is_none_or(|last| last.task != *task) {
                break;
            }
            tasks.push(self.task(accepted));
        }
        Some(tasks)
    }

    /// One accepted result.
    pub fn result(&self, offer: StatementId, task: u32, replica: u16) -> Option<Arc<Content>> {
        Some(Arc::clone(&self.jobs.get(&offer)?.tasks.get(&(task, replica))?.content))
    }

    /// Everything about one accepted result.
    pub fn detail(&self, offer: StatementId, task: u32, replica: u16) -> Option<TaskDetail> {
        let accepted = self.jobs.get(&offer)?.tasks.get(&(task, replica))?;
        Some(TaskDetail { summary: self.task(accepted), ..accepted.detail() })
    }

    /// With the owner in whose hands the machine is now.
    fn task(&self, accepted: &Accepted) -> TaskView {
        let owner = accepted.view.owner.map(|owner| heir(owner, &self.heirs));
        TaskView { owner, ..accepted.view.clone() }
    }

    /// Results by kind of machine and builder.
    pub fn matrix(&self) -> MatrixView {
        let mut builders = BTreeSet::new();
        let mut rows = BTreeMap::<_, BTreeMap<String, MatrixCell>>::new();
        for entry in self.jobs.values() {
            let builder = &entry.offer.builder;
            for Accepted { view, .. } in entry.tasks.values() {
                builders.insert(builder.clone());
                let row = (view.platform.clone(), view.system.clone(), view.runtime.clone());
                let cell = rows.entry(row).or_default().entry(builder.clone()).or_default();
                count(cell, view);
            }
        }
        let rows = rows.into_iter().map(|((platform, system, runtime), cells)| MatrixRow {
            platform,
            system,
            runtime,
            cells,
        });
        MatrixView { builders: builders.into_iter().collect(), rows: rows.collect() }
    }

    /// Blobs that must be kept: packages of open jobs, logs and artifacts of accepted results.
    pub fn blobs(&self, now: Timestamp) -> BTreeSet<BlobHash> {
        let open = self.jobs.values().filter(|entry| entry.needs_package(now));
        let packages = open.map(|entry| entry.offer.package.hash);
        let results = self.jobs.values().flat_map(|entry| entry.tasks.values());
        let of_results = results.flat_map(|it| it.content.result.blobs().map(|(hash, _)| hash));
        packages.chain(of_results).collect()
    }

    fn set_state(&mut self, offer: StatementId, state: JobState) {
        if let Some(entry) = self.jobs.get_mut(&offer) {
            entry.state = state;
        }
    }

    fn accept(
        &mut self,
        job: StatementId,
        content: Content,
        judged: Option<Judged>,
        blobs: &BlobStore,
    ) {
        let Some(entry) = self.jobs.get_mut(&job) else { return };
        let tap_step = entry.offer.job.tap.as_deref();
        let Content { result, report } = &content;
        let step = report.steps.iter().find(|step| Some(step.name.as_str()) == tap_step);
        let view = TaskView {
            task: result.task.task,
            replica: result.task.replica,
            result: result.id(),
            passed: judged.map_or(report.ended == Ended::Passed, |it| it.passed),
            ended: describe(&report.ended),
            platform: report.platform.clone(),
            system: report.system.clone(),
            runtime: report.runtime.clone(),
            volunteer: result.signer(),
            owner: judged.and_then(|it| it.owner),
            via: judged.map(|it| it.via),
            wall_ms: report.steps.iter().map(|step| step.wall_ms).fold(0, u64::saturating_add),
            cpu_ms: report.credit().0,
            resumed: report.resumed,
            finished: report.finished,
            tap: step.and_then(|step| read_tap(step, &content, blobs)),
        };
        let place = (result.task.task, result.task.replica);
        entry.tasks.insert(place, Accepted { view, content: Arc::new(content) });
    }
}

impl Entry {
    fn view(&self, heirs: &Heirs) -> JobView {
        let (passed, failed) = self.tally();
        let offer = &self.offer;
        JobView {
            offer: self.id,
            name: offer.name.clone(),
            builder: offer.builder.clone(),
            tasks: offer.tasks,
            replicas: offer.replicas,
            state: self.state,
            issued: offer.issued,
            expires: offer.expires,
            published: self.published.iter().copied().collect(),
            trouble: self.trouble.clone(),
            explanation: self.explanation.clone(),
            passed,
            failed,
            given_up: self.given_up.len(),
            given_up_for: self.given_up_for(),
            one_owner: self.of_one_owner(heirs),
        }
    }

    /// Tasks with all of their replicas in, which are all of one owner's machines.
    fn of_one_owner(&self, heirs: &Heirs) -> u32 {
        if self.offer.replicas < 2 {
            return 0;
        }
        let mut tasks = BTreeMap::<u32, (u16, BTreeSet<PublicKey>)>::new();
        for Accepted { view, .. } in self.tasks.values() {
            let (replicas, owners) = tasks.entry(view.task).or_default();
            *replicas += 1;
            // Whoever has no owner stands for itself.
            owners.insert(view.owner.map_or(view.volunteer, |owner| heir(owner, heirs)));
        }
        let alone = |(replicas, owners): &(u16, BTreeSet<PublicKey>)| {
            *replicas == self.offer.replicas && owners.len() == 1
        };
        u32::try_from(tasks.into_values().filter(alone).count()).unwrap_or(u32::MAX)
    }

    /// The first of the tasks that are given up, with the reasons.
    fn given_up_for(&self) -> Vec<GivenUpView> {
        let first = self.given_up.iter().take(MAX_GIVEN_UP_SHOWN);
        first.map(|(task, why)| GivenUpView { task: *task, reason: why.clone() }).collect()
    }

    /// Tasks with all of their replicas in: how many passed, and how many did not. One that is given
    /// up has not.
    fn tally(&self) -> (u32, u32) {
        let mut tasks = BTreeMap::<u32, (u16, bool)>::new();
        for Accepted { view, .. } in self.tasks.values() {
            let (replicas, passed) = tasks.entry(view.task).or_insert((0, true));
            *replicas += 1;
            *passed &= view.passed;
        }
        let mut whole = tasks;
        whole.retain(|_, (replicas, _)| *replicas == self.offer.replicas);
        for task in self.given_up.keys() {
            whole.entry(*task).or_insert((0, false));
        }
        let whole = whole.values();
        whole.fold(
            (0, 0),
            |(passed, failed), (_, all_passed)| {
                if *all_passed { (passed + 1, failed) } else { (passed, failed + 1) }
            },
        )
    }

    fn is_complete(&self) -> bool {
        let (passed, failed) = self.tally();
        passed + failed == self.offer.tasks
    }

    fn needs_package(&self, now: Timestamp) -> bool {
        self.state == JobState::Open && self.offer.expires > now
    }
}

impl Accepted {
    fn detail(&self) -> TaskDetail {
        let report = &self.content.report;
        let steps = report.steps.iter().map(|step| StepView {
            name: step.name.clone(),
            exit: step.exit,
            ending: step.ending.clone(),
            wall_ms: step.wall_ms,
            cpu_ms: step.cpu_ms,
            memory: step.memory,
            fuel: step.fuel,
            log_bytes: match &step.log {
                Log::Inline(bytes) => bytes.len() as u64,
                Log::Blob(part) => part.size,
            },
        });
        let artifacts = report.artifacts.iter().map(|artifact| ArtifactView {
            path: artifact.path.clone(),
            hash: artifact.content.hash,
            size: artifact.content.size,
        });
        let summary = self.view.clone();
        TaskDetail { summary, steps: steps.collect(), artifacts: artifacts.collect() }
    }
}

fn heir(owner: PublicKey, heirs: &Heirs) -> PublicKey {
    heirs.get(&owner).copied().unwrap_or(owner)
}

/// The store's name for a blob.
pub fn blob_name(hash: BlobHash) -> blake3::Hash {
    blake3::Hash::from_bytes(*hash.as_bytes())
}

/// How a task ended, in a line.
pub fn describe(ended: &Ended) -> String {
    match ended {
        Ended::Passed => "passed".to_owned(),
        Ended::Failed => "failed".to_owned(),
        Ended::Limit(which) => format!("limit: {which}"),
        Ended::Machine(why) => format!("machine: {why}"),
    }
}

/// The report in a step's log; none if it cannot be read, which the log's own page will say.
fn read_tap(step: &StepReport, content: &Content, blobs: &BlobStore) -> Option<TapReport> {
    match &step.log {
        Log::Inline(bytes) => tap::parse(bytes),
        Log::Blob(part) => {
            let mut bytes = Vec::new();
            let log = content.read(*part, blobs).ok()?;
            log.take(MAX_OUTPUT).read_to_end(&mut bytes).ok()?;
            tap::parse(&bytes)
        }
    }
}

fn count(cell: &mut MatrixCell, view: &TaskView) {
    if view.passed {
        cell.passed += 1;
    } else {
        cell.failed += 1;
    }
    if let Some(tap) = &view.tap {
        cell.tests_passed += u64::from(tap.passed);
        cell.tests_failed += u64::from(tap.failed);
        cell.tests_skipped += u64::from(tap.skipped);
    }
}
