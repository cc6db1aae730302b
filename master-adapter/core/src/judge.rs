//! What a result is worth: the rules, each with the words in which the volunteer hears of it.

use capability::statements::{Credit, Ended, JobResult, Lease, Log, Ownership, Verdict};
use capability::{Limits, PublicKey, Timestamp, Verified, Verifier};
use mesh_core::{Bundle, Cargo};

use crate::authority::Authority;
use crate::homes::Homes;
use crate::jobs::Job;

/// Machines that may fail to run a task before the task itself is held to be at fault.
pub const MAX_AGAIN: usize = 5;

/// Results that a machine could not run a task before it is given up, however few machines there
/// are: homes let the same ones wait for up to 10 minutes each time.
pub(crate) const MAX_AGAIN_IN_ALL: usize = 12;

/// The lease inside a result on its way, if it is a sound statement. For [`Input::Handover`].
///
/// [`Input::Handover`]: crate::Input::Handover
pub fn lease_of(bundle: &Bundle, verifier: &dyn Verifier) -> Option<Verified<Lease>> {
    match &bundle.cargo {
        Cargo::Result(result) => Verified::check(&result.lease, verifier).ok(),
        Cargo::Receipt(_) => None,
    }
}

/// The ownership inside a result on its way, if it is a sound statement. For [`Input::Handover`].
///
/// [`Input::Handover`]: crate::Input::Handover
pub fn ownership_of(bundle: &Bundle, verifier: &dyn Verifier) -> Option<Verified<Ownership>> {
    match &bundle.cargo {
        Cargo::Result(result) => Verified::check(result.ownership.as_ref()?, verifier).ok(),
        Cargo::Receipt(_) => None,
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
    /// The machine could not run it; another one may.
    Again(String),
}

impl Finding {
    /// What the receipt says.
    pub(crate) fn verdict(&self) -> Verdict {
        match self {
            Self::Settles { credit, .. } => Verdict::Accepted(*credit),
            Self::Rejected(reason) => Verdict::Rejected((*reason).to_owned()),
            Self::Again(reason) => Verdict::Again(reason.clone()),
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
    /// Judges `result`, which holds `lease`.
    pub(crate) fn judge(
        &self,
        result: &Verified<JobResult>,
        lease: Option<&Verified<Lease>>,
    ) -> Finding {
        self.admit(result, lease).map_or_else(Finding::Rejected, |job| match &result.ended {
            Ended::Machine(why) if !job.is_given_up(result.task.task, result.signer()) => {
                Finding::Again(why.clone())
            }
            ended => Finding::Settles { passed: *ended == Ended::Passed, credit: result.credit() },
        })
    }

    /// The job that `result` may settle a task of, or why it may not.
    fn admit(
        &self,
        result: &Verified<JobResult>,
        lease: Option<&Verified<Lease>>,
    ) -> Result<&Job, &'static str> {
        let job = self.job.ok_or("the offer is none of this project's, or it has expired")?;
        if result.current(self.now).is_err() {
            return Err("the result has expired");
        }
        let lease = lease.ok_or("the lease is no sound statement")?;
        self.check_lease(result, lease)?;
        let (task, replica) = (result.task.task, result.task.replica);
        if task >= job.offer().tasks || replica >= job.offer().replicas {
            return Err("the offer has no such task");
        }
        if result.ended == Ended::Passed && result.steps.iter().any(|step| step.exit != Some(0)) {
            return Err("it says that it passed, and a step of it did not");
        }
        if !fits(result, &job.offer().job.limits) {
            return Err("it brings more than the job may write");
        }
        if job.settled_by(task, replica).is_some() {
            return Err("another result was accepted first");
        }
        // A faulty home may have granted both; the replicas are there to compare machines.
        if job.has_replica_of(task, result.signer()) {
            return Err("another replica of the task was accepted of this volunteer");
        }
        Ok(job)
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

/// Whether what comes with `result` can have been written within `limits`.
fn fits(result: &JobResult, limits: &Limits) -> bool {
    let logs_fit = result.steps.iter().all(|step| match &step.log {
        Log::Inline(_) => true,
        Log::Blob { size, .. } => *size <= limits.output,
    });
    let sizes = result.artifacts.iter().map(|artifact| artifact.size);
    logs_fit && sizes.fold(0, u64::saturating_add) <= limits.disk
}
