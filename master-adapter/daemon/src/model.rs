//! What the REST interface says, for both of its ends.

mod explained;
mod imported;
mod live;

use std::collections::BTreeMap;

use capability::statements::Package;
use capability::tap::TapReport;
use capability::{
    BlobHash, Explanation, Platform, ProjectKey, PublicKey, Runtime, StatementId, Timestamp,
};
use master_core::JobState;
use serde::{Deserialize, Serialize};

pub use explained::{
    Advice, CompareRequest, ComparisonView, ExplainRequest, ExplanationView, JobInQuestion,
    NeedView,
};
pub use imported::{FateView, ImportView, ImportedView, LendRequest};
pub use live::LiveEvent;

/// `GET /api/v1/project`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProjectView {
    /// The project's key.
    pub project: ProjectKey,
    /// Its name.
    pub name: String,
    /// What volunteers pin.
    pub uri: String,
    /// The adapter's node key.
    pub node: PublicKey,
    /// Whether the project has revoked it, or itself.
    #[serde(default)]
    pub revoked: bool,
    /// The epoch to which another adapter with the same node key has moved the home, if one has: this
    /// one stands still.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub superseded: Option<u64>,
    /// Until when the node key may speak for the project.
    pub delegation_expires: Timestamp,
    /// The current epoch; absent before the first is durable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// Its home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<PublicKey>,
    /// The configured brokers.
    pub brokers: Vec<BrokerView>,
}

/// A configured broker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct BrokerView {
    /// Its key.
    pub peer: PublicKey,
    /// Where it is.
    pub address: String,
    /// Whether it is connected.
    pub connected: bool,
}

/// `POST /api/v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewJobRequest {
    /// The text of the job file.
    pub job_file: String,
    /// The package, as `POST /api/v1/packages` named it.
    pub package: Package,
    /// Results wanted of each task, from different volunteers.
    #[serde(default = "one")]
    pub replicas: u16,
}

fn one() -> u16 {
    1
}

/// The answer to `POST /api/v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// The offer's name.
    pub offer: StatementId,
}

/// An answer that is no success.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Complaint {
    /// What is wrong.
    pub error: String,
}

/// One element of `GET /api/v1/jobs`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JobView {
    /// The job's id: that of its first offer. A new node key signs open offers again, with new ids.
    pub offer: StatementId,
    /// The job's name.
    pub name: String,
    /// Its column in the matrix.
    pub builder: String,
    /// Tasks.
    pub tasks: u32,
    /// Results wanted of each.
    pub replicas: u16,
    /// Where it is in its life.
    pub state: JobState,
    /// When it was submitted, in milliseconds since 1970.
    pub issued: Timestamp,
    /// Until when it is offered.
    pub expires: Timestamp,
    /// Brokers that keep the offer.
    pub published: Vec<PublicKey>,
    /// Why a broker did not take it, if that was the last that was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// How many machines could run it, of those that its home knows; asked until a result comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// Tasks that passed.
    pub passed: u32,
    /// Tasks that did not, those that are given up included.
    pub failed: u32,
    /// Tasks that are given up: no machine can run them, or they bring machines down.
    #[serde(default)]
    pub given_up: usize,
    /// The first of them, with the reasons.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub given_up_for: Vec<GivenUpView>,
    /// Tasks whose replicas are in, and all of one owner: they do not confirm one another.
    #[serde(default)]
    pub one_owner: u32,
}

/// A task that is given up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GivenUpView {
    /// Its number.
    pub task: u32,
    /// Why.
    pub reason: String,
}

impl JobView {
    /// Whether nothing more is expected.
    pub fn is_over(&self) -> bool {
        self.state != JobState::Open
    }
}

/// One element of `GET /api/v1/jobs/{offer}/tasks`: an accepted result.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskView {
    /// The task's number.
    pub task: u32,
    /// The replica's.
    pub replica: u16,
    /// The result's name.
    pub result: StatementId,
    /// Whether the task passed.
    pub passed: bool,
    /// How it ended, for people.
    pub ended: String,
    /// The machine.
    pub platform: Platform,
    /// Its operating system, for people.
    pub system: String,
    /// The runtime.
    pub runtime: Runtime,
    /// Whose machine.
    pub volunteer: PublicKey,
    /// The owner that vouched for the volunteer, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<PublicKey>,
    /// The volunteer's broker; the result came from there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub via: Option<PublicKey>,
    /// Wall time of all steps in milliseconds.
    pub wall_ms: u64,
    /// CPU time of all steps in milliseconds.
    pub cpu_ms: u64,
    /// How often it went on from a checkpoint.
    #[serde(default)]
    pub resumed: u32,
    /// When the last step ended, by the volunteer's clock.
    pub finished: Timestamp,
    /// What the step with TAP said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<TapReport>,
}

/// `GET /api/v1/jobs/{offer}/tasks/{task}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TaskDetail {
    /// What the list says.
    pub summary: TaskView,
    /// The steps that ran.
    pub steps: Vec<StepView>,
    /// Files that came back.
    pub artifacts: Vec<ArtifactView>,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its name.
    pub name: String,
    /// Its exit code, if it exited by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<i32>,
    /// How it ended, where the code does not tell.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ending: String,
    /// Wall time in milliseconds.
    pub wall_ms: u64,
    /// CPU time in milliseconds.
    pub cpu_ms: u64,
    /// Peak memory in bytes.
    pub memory: u64,
    /// Units of fuel that it took, if it was metered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
    /// Bytes of its log.
    pub log_bytes: u64,
}

/// One file that came back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArtifactView {
    /// Its path in the work directory.
    pub path: String,
    /// Its contents.
    pub hash: BlobHash,
    /// Its size in bytes.
    pub size: u64,
}

/// `GET /api/v1/matrix`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct MatrixView {
    /// The columns.
    pub builders: Vec<String>,
    /// The rows.
    pub rows: Vec<MatrixRow>,
}

/// All results from machines of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MatrixRow {
    /// Operating system and architecture.
    pub platform: Platform,
    /// The operating system as the runtime shows it.
    pub system: String,
    /// The runtime.
    pub runtime: Runtime,
    /// By builder.
    pub cells: BTreeMap<String, MatrixCell>,
}

/// Results of one builder on one kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct MatrixCell {
    /// Results that passed.
    pub passed: u64,
    /// Results that did not.
    pub failed: u64,
    /// Tests that passed, where there was TAP.
    pub tests_passed: u64,
    /// Tests that failed.
    pub tests_failed: u64,
    /// Tests that were skipped.
    pub tests_skipped: u64,
}
