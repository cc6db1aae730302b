//! What a result is worth: the rules, each with the words in which the volunteer hears of it.

use capability::statements::{
    Credit, Ended, JobResult, Lease, Log, Opened, Report, Unreadable, Verdict,
};
use capability::{Limits, OpenError, Opener, PublicKey, Timestamp, Verified, Verifier};
use mesh_core::{Bundle, Cargo};

use crate::authority::Authority;
use crate::homes::Homes;
use crate::jobs::Job;

/// Machines that may fail to run a task before the task itself is held to be at fault.
pub const MAX_AGAIN: usize = 5;

/// Results that a machine could not run a task before it is given up, however few machines there
/// are: homes let the same ones wait for up to 10 minutes each time.
pub(crate) const MAX_AGAIN_IN_ALL: usize = 12;

/// What is inside a result on its way, as its shell found it. For [`Input::Handover`].
///
/// [`Input::Handover`]: crate::Input::Handover
#[derive(Debug, Default)]
pub struct Inside {
    /// The lease, if it is a sound statement.
    pub lease: Option<Verified<Lease>>,
    /// The report, or why it cannot be had. None in a bundle that is no result.
    pub report: Option<Result<Opened, Unreadable>>,
}

impl Inside {
    /// Looks into `bundle`.
    pub fn of(bundle: &Bundle, opener: &dyn Opener, verifier: &dyn Verifier) -> Self {
        match &bundle.cargo {
            Cargo::Result(result) => Self {
                lease: Verified::check(&result.lease, verifier).ok(),
                report: Some(Report::open(result, opener, verifier)),
            },
            Cargo::Receipt(_) => Self::default(),
        }
    }
}

/// What the judge finds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It settles its replica of its task.
    Settles {
        /// Whether the task passed.
        passed: bool,
        /// What the volunteer earns.
        credit: Credit,
    },
    /// It does not count.
    Rejected(&'static str),
    /// The machine could not run it; another one may. Why, for the project's people alone.
    Again(String),
}

impl Finding {
    /// What the receipt says, which all can read: nothing that was sealed.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Settles { credit, .. } => Verdict::Accepted(*credit),
            Self::Rejected(reason) => Verdict::Rejected((*reason).to_owned()),
            Self::Again(_) => Verdict::Again("this machine could not run it".to_owned()),
        }
    }
}

/// Everything that a result is judged by.
pub(crate) struct Court<'a> {
    pub(crate) authority: &'a Authority,
    pub(crate) homes: &'a Homes,
    /// The job of the result's offer, if there is one.
    pub(crate) job: Option<&'a Job>,
    pub(crate) now: Timestamp,
}

impl Court<'_> {
    /// Judges `result`, in which `inside` was found.
    pub(crate) fn judge(&self, result: &Verified<JobResult>, inside: &Inside) -> Finding {
        self.admit(result, inside).map_or_else(Finding::Rejected, |(job, report)| {
            match &report.ended {
                Ended::Machine(why) if !job.is_given_up(result.task.task, result.signer()) => {
                    Finding::Again(why.clone())
                }
                ended => {
                    Finding::Settles { passed: *ended == Ended::Passed, credit: report.credit() }
                }
            }
        })
    }

    /// The job that `result` may settle a task of, and what it reports; or why it may not.
    fn admit<'i>(
        &self,
        result: &Verified<JobResult>,
        inside: &'i Inside,
    ) -> Result<(&Job, &'i Report), &'static str> {
        let job = self.job.ok_or("the offer is none of this project's, or it has expired")?;
        if result.current(self.now).is_err() {
            return Err("the result has expired");
        }
        let lease = inside.lease.as_ref().ok_or("the lease is no sound statement")?;
        self.check_lease(result, lease)?;
        let (task, replica) = (result.task.task, result.task.replica);
        if task >= job.offer().tasks || replica >= job.offer().replicas {
            return Err("the offer has no such task");
        }
        let report = read(inside.report.as_ref())?;
        if report.ended == Ended::Passed && report.steps.iter().any(|step| step.exit != Some(0)) {
            return Err("its report contradicts itself");
        }
        if !fits(report, &job.offer().job.limits) {
            return Err("it brings more than the job may write");
        }
        if job.settled_by(task, replica).is_some() {
            return Err("another result was accepted first");
        }
        // A faulty home may have granted both; the replicas are there to compare machines.
        if job.has_replica_of(task, result.signer()) {
            return Err("another replica of the task was accepted of this volunteer");
        }
        Ok((job, report))
    }

    fn check_lease(
        &self,
        result: &Verified<JobResult>,
        lease: &Verified<Lease>,
    ) -> Result<(), &'static str> {
        let home: Option<PublicKey> = self.homes.broker_of(lease.epoch);
        if lease.project != self.authority.project() {
            Err("the lease is of another project")
        } else if home != Some(lease.signer()) {
            Err("the lease was not granted by the home of its epoch")
        } else if lease.task != result.task {
            Err("the lease is for another task")
        } else if lease.volunteer != result.signer() {
            Err("the lease is another volunteer's")
        } else {
            Ok(())
        }
    }
}

fn read(report: Option<&Result<Opened, Unreadable>>) -> Result<&Report, &'static str> {
    match report {
        Some(Ok(opened)) => Ok(&opened.report),
        Some(Err(Unreadable::Sealed(OpenError::OtherKey))) => {
            Err("its report is sealed to a key that this project has not, or has no more")
        }
        Some(Err(_)) | None => Err("its report is not sound"),
    }
}

/// Whether what comes with `report` can have been written within `limits`.
fn fits(report: &Report, limits: &Limits) -> bool {
    let logs_fit = report.steps.iter().all(|step| match &step.log {
        Log::Inline(_) => true,
        Log::Blob(part) => part.size <= limits.output,
    });
    let sizes = report.artifacts.iter().map(|artifact| artifact.content.size);
    logs_fit && sizes.fold(0, u64::saturating_add) <= limits.disk
}
