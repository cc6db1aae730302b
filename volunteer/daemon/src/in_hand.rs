//! The tasks in hand, as `jobs` and the status show them.

use capability::statements::Offer;
use capability::{ProjectKey, Resources, Runtime, StatementId};
use serde::{Deserialize, Serialize};
use volunteer_core::{JobView, Stage, Volunteer, needs};

use crate::job::{Executor, Progress, Said};

/// One task in hand.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct JobStatus {
    /// Its lease, by which it is named.
    pub lease: StatementId,
    /// Whose it is, by the owner's own name for the project, or the beginning of its key.
    pub project: String,
    /// The project's key.
    pub project_key: ProjectKey,
    /// The job's name.
    pub name: String,
    /// Its offer.
    pub offer: StatementId,
    /// The task's number, from 0.
    pub task: u32,
    /// How many tasks the offer has.
    pub tasks: u32,
    /// In which runtime.
    pub runtime: Runtime,
    /// `waiting`, `running`, `paused` or `stopping`.
    pub stage: String,
    /// Since when, as RFC 3339; a pause does not count.
    pub since: String,
    /// Whether it waits for its package.
    pub lacks_package: bool,
    /// When the lease was granted.
    pub granted: String,
    /// Until when it is held without a sign of life, if it is held offline.
    pub offline_until: Option<String>,
    /// Seconds that an online lease holds without a sign of life.
    pub term_s: u64,
    /// When the offer is over, and the task with it.
    pub expires: String,
    /// Whether the lease has lapsed meanwhile.
    pub lapsed: bool,
    /// Whether it would go on from a checkpoint if the daemon ended now.
    #[serde(default)]
    pub goes_on: bool,
    /// What ends it before its time.
    pub limits: LimitsStatus,
    /// What it reaches of the network.
    pub network: String,
    /// How far it is and what it has used, once it has begun.
    pub progress: Option<ProgressStatus>,
}

/// The limits of a job.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LimitsStatus {
    /// Cores that it requires.
    pub cores: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes of disk space.
    pub disk: u64,
    /// Seconds for all steps, pauses not counted.
    pub wall_s: u64,
    /// Processes and threads.
    pub processes: u32,
    /// Bytes of output of one step.
    pub output: u64,
    /// Fuel for all steps, if it is metered.
    #[serde(default)]
    pub fuel: Option<u64>,
}

/// How far a job is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProgressStatus {
    /// The number of the step, from 1.
    pub step: usize,
    /// How many there are.
    pub steps: usize,
    /// Its name.
    pub name: String,
    /// Processor time of the steps that have ended, in milliseconds.
    pub cpu_ms: u64,
    /// The most memory in bytes that one of these took.
    pub memory: u64,
    /// Fuel that the steps that have ended took, if it is metered.
    #[serde(default)]
    pub fuel: Option<u64>,
    /// How far the job says that it is, from 0 to 1.
    #[serde(default)]
    pub fraction: Option<f64>,
    /// What it says that it is doing; may be empty.
    #[serde(default)]
    pub message: String,
    /// How often it went on from a checkpoint.
    #[serde(default)]
    pub resumed: u32,
    /// Seconds since the last checkpoint of this process was taken.
    #[serde(default)]
    pub checkpoint_age_s: Option<u64>,
    /// Why the last one was refused, if it was.
    #[serde(default)]
    pub checkpoint_refused: Option<String>,
}

/// `job`, which `executor` may run.
pub fn status(core: &Volunteer, job: &JobView<'_>, executor: &dyn Executor) -> JobStatus {
    let stage = match job.stage {
        Stage::Waiting => "waiting",
        Stage::Running if job.still => "paused",
        Stage::Running => "running",
        Stage::Stopping => "stopping",
    };
    let pin = core.trust().pin(&job.project).map(|pin| pin.name.clone());
    let progress = executor.reins(job.lease).map(|reins| reins.progress());
    JobStatus {
        lease: job.lease,
        project: pin.filter(|name| !name.is_empty()).unwrap_or_else(|| job.project.short()),
        project_key: job.project,
        name: job.name.to_owned(),
        offer: job.task.offer,
        task: job.task.task,
        tasks: job.offer.tasks,
        runtime: job.runtime.clone(),
        stage: stage.to_owned(),
        since: job.since.to_string(),
        lacks_package: job.lacks_package,
        granted: job.granted.to_string(),
        offline_until: job.deadline.map(|until| until.to_string()),
        term_s: job.term.as_secs(),
        expires: job.expires.to_string(),
        lapsed: job.lapsed,
        goes_on: core.would_go_on(job.lease),
        limits: limits(job.offer),
        network: network(job.offer),
        progress: progress.filter(|it| it.begun > 0).map(|it| self::progress(it, job.offer)),
    }
}

fn network(offer: &Offer) -> String {
    let listed: Vec<_> = offer.job.network.iter().map(ToString::to_string).collect();
    if listed.is_empty() { "none".to_owned() } else { listed.join(", ") }
}

fn limits(offer: &Offer) -> LimitsStatus {
    let Resources { cores, memory, disk } = needs(offer);
    let limits = &offer.job.limits;
    LimitsStatus {
        cores,
        memory,
        disk,
        wall_s: limits.wall().as_secs(),
        processes: limits.processes,
        output: limits.output,
        fuel: limits.fuel,
    }
}

fn progress(progress: Progress, offer: &Offer) -> ProgressStatus {
    let Progress { begun, step, cpu, memory, fuel, said, resumed, kept, refused } = progress;
    let Said { fraction, message } = said.unwrap_or_default();
    ProgressStatus {
        step: begun,
        steps: offer.job.steps.len(),
        name: step,
        cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
        memory,
        fuel,
        fraction,
        message,
        resumed,
        checkpoint_age_s: kept.map(|at| at.elapsed().as_secs()),
        checkpoint_refused: refused,
    }
}
