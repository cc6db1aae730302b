//! Why nothing of a project runs, and why a job does: what the core says, with what to do about it.

use capability::{Finding, InRuntime, OfOffer, ProjectKey, Runtime};
use serde::{Deserialize, Serialize};
use volunteer_core::{Grounds, JobView, Volunteer, WhyNot};

use crate::config::Settings;
use crate::in_hand::{self, JobStatus};
use crate::job::Executor;
use crate::status::{self, Advice};

/// Why a job was taken, as things were then.
#[derive(Debug, Serialize, Deserialize)]
pub struct JobGrounds {
    /// The job.
    pub job: JobStatus,
    /// The owner's own words about its project.
    pub note: String,
    /// The list by which the project is trusted, if it is by one.
    #[serde(default)]
    pub list: Option<String>,
    /// Runtimes that the project could use then.
    pub permitted: Vec<Runtime>,
    /// Its requirements in its runtime, each with the fact beside it.
    pub requirements: Option<InRuntime>,
    /// The clauses of the owner's policy, each with the offer's side.
    pub policy: Vec<ClauseStatus>,
    /// How welcome the offer was by the owner's preferences.
    pub rank: u64,
}

/// A clause of the policy beside an offer.
#[derive(Debug, Serialize, Deserialize)]
pub struct ClauseStatus {
    /// What the owner wants.
    pub clause: String,
    /// What the offer has.
    pub has: String,
}

/// Why `job` was taken.
pub fn grounds(core: &Volunteer, job: &JobView<'_>, executor: &dyn Executor) -> JobGrounds {
    let Grounds { permitted, requirements, policy, rank } = job.grounds.clone();
    let clause =
        |it: &Finding| ClauseStatus { clause: OfOffer(&it.clause).to_string(), has: it.has() };
    JobGrounds {
        job: in_hand::status(core, job, executor),
        note: core.trust().pin(&job.project).map(|pin| pin.note.clone()).unwrap_or_default(),
        list: core
            .trust()
            .pin(&job.project)
            .and_then(|pin| Some(pin.voucher.as_ref()?.list.clone())),
        permitted: permitted.into_iter().collect(),
        requirements,
        policy: policy.iter().map(clause).collect(),
        rank,
    }
}

/// `reason`, for which nothing of `project` runs, and what to do about it.
pub fn advice(reason: &WhyNot, project: ProjectKey, settings: &Settings) -> Advice {
    if let WhyNot::Obstacle(idle) = reason {
        return status::advice(idle, settings);
    }
    Advice { reason: reason.to_string(), hint: hint(reason, project) }
}

fn hint(reason: &WhyNot, project: ProjectKey) -> String {
    let hint = match reason {
        WhyNot::Obstacle(_) => "",
        WhyNot::NotPinned => {
            return format!("if you trust it: talkoot-volunteer project add talkoot:{project}");
        }
        WhyNot::Revoked(Some(_)) => {
            "ask the project whether that is right; then remove it and add the successor"
        }
        WhyNot::Revoked(None) => "ask the project for its new URI, and remove this one",
        WhyNot::Unconfirmed => {
            "wait; if it stays so, your brokers may be too old to tell: name others"
        }
        WhyNot::NoRuntime(_) => {
            "talkoot-volunteer doctor says what is missing; project set --allow lets it use others"
        }
        WhyNot::Full { .. } => "wait, or donate more; talkoot-volunteer jobs shows what is in hand",
        WhyNot::Declined { reason, .. } | WhyNot::ListFails(reason) => {
            return status::decline_hint(reason, project);
        }
        WhyNot::InVain { .. } => "wait",
        WhyNot::OffHours => "wait, or give it others: talkoot-volunteer project set --hours",
        WhyNot::Rests { .. } => "wait, or let it have more: talkoot-volunteer project set --every",
        WhyNot::TooLarge { .. } => "wait until a task in hand has ended, or donate more",
        WhyNot::DiskShort { .. } => "make room on the disk of the state directory",
        WhyNot::NothingSeen => {
            "nothing: it may have no work, or none for this machine; a master's `results` shows \
             what a job lacks"
        }
    };
    hint.to_owned()
}
