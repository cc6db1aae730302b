//! What enters the core and what leaves it.

use std::collections::BTreeSet;
use std::time::Duration;

use capability::statements::{
    Artifact, Blob, Check, Ended, Ownership, Package, Receipt, SealedPackage, StepReport, TaskId,
    Verdict,
};
use capability::{
    BlobHash, BlobKey, Capabilities, JobSpec, Limits, Policy, ProjectKey, PublicKey, Runtime,
    StatementId, Timestamp, Verified, format_bytes,
};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, CallId, Commit, CommitId, Declared, Handover, HandoverAnswer,
    HandoverFailed, KeyChange, ReplyId,
};
use thiserror::Error;

use crate::brought::{Brought, NotTaken, TakenWork};
use crate::check_finding::CheckFinding;
use crate::giving_way::{Cause, GiveWay, Sample};
use crate::owner::{Pause, Quiet};
use crate::presence::Offline;
use crate::returning::ReceiptFate;
use crate::trust::{Decline, Pin};
use crate::volunteer::DISK_RESERVE;

/// Something that happened outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// A configured broker is connected.
    BrokerUp {
        /// Which.
        peer: PublicKey,
    },
    /// The connection to a broker is gone.
    BrokerDown {
        /// Which.
        peer: PublicKey,
    },
    /// An [`Action::Ask`] has been answered, or never will be.
    Answered {
        /// Which.
        call: CallId,
        /// The checked answer.
        answer: Result<Answer, CallFailed>,
    },
    /// A peer wants us to take something over: receipts of results.
    Handover {
        /// Who offers them.
        from: PublicKey,
        /// What, checked.
        bundles: Vec<Bundle>,
        /// To be named in [`Action::ReplyHandover`].
        reply: ReplyId,
    },
    /// Somebody has brought receipts as a file; they are sound.
    Receipts {
        /// At most as many as a handover has.
        receipts: Vec<Verified<Receipt>>,
        /// To be named in [`Action::ReceiptsTaken`].
        reply: ReplyId,
    },
    /// Somebody has brought work as a file, the package of which is among the blobs.
    Brought {
        /// What.
        work: Box<Brought>,
        /// To be named in [`Action::BroughtJudged`].
        reply: ReplyId,
    },
    /// An [`Action::HandOver`] has ended, or has for some of its bundles.
    HandedOver {
        /// Who was to take them.
        to: PublicKey,
        /// By the names of the bundles, whether the peer has taken them, their blobs included.
        outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>,
    },
    /// The projects that the owner trusts, all of them.
    Pins(Vec<Pin>),
    /// What the owner wants of offers, all of it. Without one every offer of a trusted project will do.
    Policy(Policy),
    /// Whose this machine is, as its owner's key says, or that nobody vouches for it.
    Owner(Option<Verified<Ownership>>),
    /// Whether leases are wanted that hold while the machine is out of reach. Without it, if it was
    /// of late.
    Offline(Offline),
    /// How much work is to be fetched ahead, as time of the whole machine; none is zero, and the most
    /// [`crate::MAX_WORK_BUFFER`].
    WorkBuffer(Duration),
    /// Of the packages that [`crate::Volunteer::packages_ahead`] names after a restart, those that are here. Comes once,
    /// with [`Input::TakeUp`]; others are fetched anew.
    Stored(BTreeSet<BlobHash>),
    /// What the brokers are to be told about keys, and nothing else; the shell keeps it.
    Declare(Vec<KeyChange>),
    /// What the machine can do and how much of it is donated.
    Capabilities(Capabilities),
    /// An [`Action::Fetch`] has ended.
    Fetched {
        /// The package.
        hash: BlobHash,
        /// Whether it is here, or why not, for people.
        fetched: Result<(), String>,
    },
    /// An [`Action::Fetch`] was cut, because [`crate::Volunteer::lets_no_package_come`] for longer than a broker waits:
    /// nothing is wrong with it.
    FetchCut {
        /// The package.
        hash: BlobHash,
    },
    /// Of those that [`crate::Volunteer::resumable`] names, the leases whose checkpoints and packages are here.
    /// Comes once, after the first pins.
    TakeUp(Vec<StatementId>),
    /// A checkpoint of a job that runs is durable here.
    Checkpointed {
        /// Under which lease it runs.
        lease: StatementId,
    },
    /// What the connections of a job that runs have passed by now, since it began in this process.
    Passing {
        /// Under which lease it runs.
        lease: StatementId,
        /// Bytes that came.
        down: u64,
        /// Bytes that went.
        up: u64,
    },
    /// Some [`Action::Run`]s have ended, by themselves or by [`Action::Stop`]: under which lease each,
    /// and what happened. Their results are signed together.
    Ran(Vec<(StatementId, Outcome)>),
    /// An [`Action::RunCheck`] has ended, by itself or by [`Action::StopCheck`].
    Checked(CheckEnd),
    /// The writes of a commit are durable.
    Committed(CommitId),
    /// So many bytes are free where jobs and blobs are kept.
    DiskFree(u64),
    /// The owner wants the machine back for now: jobs stand still, nothing new is taken. It outlasts the
    /// process; a newer one takes its place.
    Pause(Pause),
    /// The owner lends it again.
    Resume,
    /// The hours in which the machine works have begun. Without hours it always works.
    OnDuty,
    /// They are over: nothing new is taken; what is in hand goes on.
    OffDuty,
    /// The projects that are outside of the hours which the owner lets them have, all of them: nothing new of
    /// them is taken.
    OffHours(BTreeSet<ProjectKey>),
    /// Nothing is fetched and nothing handed over, for that reason, or all of it again. Leases are kept
    /// meanwhile, and results wait.
    Quiet(Option<Quiet>),
    /// Bytes of packages and results that may pass in a month; any, if absent.
    Quota(Option<u64>),
    /// When jobs are to give way to the owner. What was sampled before does not count any more.
    GiveWay(GiveWay),
    /// What the sensors tell of the machine, every few seconds if anything of it counts.
    Sampled(Sample),
    /// Nothing new is taken; what runs may end, what has not begun is given back. [`News::Drained`] tells when. A
    /// process that takes the place of this one before drains on.
    Drain {
        /// When what still runs is stopped and given back.
        until: Option<Timestamp>,
    },
    /// The process is to end soon: jobs are stopped and their leases released, but those that keep checkpoints are
    /// put by.
    Quit,
    /// The same at the owner's wish, which ends a drain, too.
    Stop,
    /// The time given by [`crate::Volunteer::next_wake`] has come.
    Wake,
}

/// What became of a job, as its runtime tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How it ended.
    pub ended: Ended,
    /// The steps that ran; large logs are blobs already.
    pub steps: Vec<StepReport>,
    /// Files brought back; they are blobs already.
    pub artifacts: Vec<Artifact>,
    /// Those blobs, encrypted, in the order in which steps and artifacts count them.
    pub blobs: Vec<Blob>,
    /// With what they are encrypted.
    pub key: BlobKey,
    /// Blobs that were stored for the result and are not named by it after all.
    pub leftover: Vec<BlobHash>,
    /// The operating system as the job saw it, for people.
    pub system: String,
    /// When the first step started.
    pub started: Timestamp,
    /// When the last one ended.
    pub finished: Timestamp,
    /// How often it went on from a checkpoint.
    pub resumed: u32,
    /// Bytes that its own connections brought.
    pub network_down: u64,
    /// Bytes that went over them.
    pub network_up: u64,
}

/// How a check ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CheckEnd {
    /// With exit code 0. Its output; what it says is for the core to read.
    Passed(Vec<u8>),
    /// In any other way of its own making; says which.
    Failed(String),
    /// It did not run, or not to its end, for no fault of its own; says why.
    NotRun(String),
}

/// What to run in an empty folder, without a package and without network.
#[derive(Debug, Clone, PartialEq)]
pub struct CheckOrder {
    /// Whose check it is.
    pub project: ProjectKey,
    /// What to run, in which runtime.
    pub check: Check,
    /// What ends it before its time.
    pub limits: Limits,
}

/// What to run.
#[derive(Debug, Clone, PartialEq)]
pub struct Order {
    /// The lease, which names the run from now on.
    pub lease: StatementId,
    /// Whose job it is.
    pub project: ProjectKey,
    /// The job's name, for people.
    pub name: String,
    /// Which task of which offer.
    pub task: TaskId,
    /// How many tasks the offer has.
    pub tasks: u32,
    /// In which runtime.
    pub runtime: Runtime,
    /// The package, which is among the blobs.
    pub package: Package,
    /// What it takes to read it, if it is private.
    pub private: Option<SealedPackage>,
    /// Steps and limits.
    pub job: JobSpec,
    /// How many cores of the machine it has, at least one.
    pub cores: u32,
    /// Bytes that its own connections may carry: what is left of the month's quota.
    pub network_bytes: u64,
}

/// Something the shell must now do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make these writes durable, then tell [`Input::Committed`].
    Commit(Commit),
    /// Ask a broker, and tell [`Input::Answered`].
    Ask {
        /// The broker.
        to: PublicKey,
        /// Names the question.
        call: CallId,
        /// The question.
        ask: Ask,
    },
    /// Hand bundles and their blobs over, and tell [`Input::HandedOver`].
    HandOver(Handover),
    /// Answer an [`Input::Handover`].
    ReplyHandover {
        /// Which.
        reply: ReplyId,
        /// The answers, in the order of the bundles.
        answers: Vec<HandoverAnswer>,
    },
    /// Answer an [`Input::Receipts`]; what it says is durable.
    ReceiptsTaken {
        /// Which.
        reply: ReplyId,
        /// What became of each, in their order.
        fates: Vec<ReceiptFate>,
    },
    /// Answer an [`Input::Brought`]; what is taken is durable.
    BroughtJudged {
        /// Which.
        reply: ReplyId,
        /// How much of it is taken, or why nothing is.
        result: Result<TakenWork, NotTaken>,
    },
    /// Bring a package here, unless it is here already, and tell [`Input::Fetched`].
    Fetch {
        /// From this broker.
        from: PublicKey,
        /// Its hash.
        hash: BlobHash,
        /// Its size in bytes.
        size: u64,
    },
    /// Run a job, and tell [`Input::Ran`].
    Run(Order),
    /// End a run now; [`Input::Ran`] still comes.
    Stop {
        /// Which.
        lease: StatementId,
    },
    /// End a run after a moment for a last checkpoint; [`Input::Ran`] still comes, and what was kept of it is
    /// for the next process.
    PutBy {
        /// Which.
        lease: StatementId,
    },
    /// Nothing needs a run's checkpoint any more.
    DropCheckpoint {
        /// Which.
        lease: StatementId,
    },
    /// Make a run stand still.
    Suspend {
        /// Which.
        lease: StatementId,
    },
    /// Let a run go on.
    Proceed {
        /// Which.
        lease: StatementId,
    },
    /// Run a check, and tell [`Input::Checked`]. There is one at a time.
    RunCheck(CheckOrder),
    /// End the check that runs; [`Input::Checked`] still comes.
    StopCheck,
    /// These blobs are not needed any more, unless [`crate::Volunteer::needs_blob`] says so by then.
    DropBlobs(Vec<BlobHash>),
    /// For people and logs.
    News(News),
}

impl From<Commit> for Action {
    fn from(commit: Commit) -> Self {
        Self::Commit(commit)
    }
}

/// What people want to know as it happens.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// Another broker is the primary now, or none is.
    PrimaryChanged {
        /// The new one.
        to: Option<PublicKey>,
    },
    /// The ad is on its way to the primary.
    AdSent {
        /// The primary.
        broker: PublicKey,
        /// The ad's number.
        seq: u64,
    },
    /// An offer is declined; said once until pins, policy, capabilities or the reason change.
    Declined {
        /// The offer.
        offer: StatementId,
        /// Its project.
        project: ProjectKey,
        /// The job's name.
        name: String,
        /// Why.
        reason: Decline,
    },
    /// A task is leased, and the lease durable.
    Leased {
        /// The lease.
        lease: StatementId,
        /// The task.
        task: TaskId,
    },
    /// Tasks are leased for later, durably.
    FetchedAhead {
        /// Their offer.
        offer: StatementId,
        /// How many.
        leases: usize,
    },
    /// Work that somebody has brought is taken, durably.
    Brought {
        /// The offer.
        offer: StatementId,
        /// How many tasks of it are new.
        leases: usize,
    },
    /// A claim brought nothing; the offer is left alone for a while.
    NotGranted {
        /// The offer.
        offer: StatementId,
        /// Why.
        reason: String,
    },
    /// A job of a former process is taken up, to go on from its checkpoint.
    TakenUp {
        /// The lease.
        lease: StatementId,
        /// The task.
        task: TaskId,
    },
    /// A run begins.
    Started {
        /// The lease.
        lease: StatementId,
        /// The task.
        task: TaskId,
        /// The runtime.
        runtime: Runtime,
    },
    /// A run has ended and its result is durable.
    Finished {
        /// The task.
        task: TaskId,
        /// The result.
        result: StatementId,
        /// How it ended.
        ended: Ended,
    },
    /// A broker has taken a result.
    Delivered {
        /// The result.
        result: StatementId,
        /// The task.
        task: TaskId,
        /// Which broker.
        to: PublicKey,
    },
    /// The master has judged a result; the result is discharged.
    Receipt {
        /// The result.
        result: StatementId,
        /// The task.
        task: TaskId,
        /// The judgement.
        verdict: Verdict,
    },
    /// A lease is no longer ours; its job goes on, late results may count.
    Lapsed {
        /// The lease.
        lease: StatementId,
        /// The task.
        task: TaskId,
    },
    /// A broker was told of a revocation or succession.
    Declared(Declared),
    /// Leases are given back, their jobs did not run to the end.
    Released {
        /// Of this offer.
        offer: StatementId,
        /// How many.
        leases: usize,
        /// Why.
        reason: &'static str,
    },
    /// A key that this volunteer goes by is void.
    Revoked {
        /// The key.
        key: PublicKey,
        /// Who says so.
        signer: PublicKey,
    },
    /// A key that this volunteer goes by has named another one.
    PassedOn {
        /// The key.
        key: PublicKey,
        /// The one that it named.
        successor: PublicKey,
    },
    /// A result was let go without a receipt: nobody waits for it any more.
    Expired {
        /// The result.
        result: StatementId,
    },
    /// A check has run to its end.
    Checked {
        /// Whose.
        project: ProjectKey,
        /// Its name.
        check: String,
        /// What has come of it.
        finding: CheckFinding,
    },
    /// Job after job failed because of this machine; nothing new is taken for a while.
    BacksOff {
        /// How many.
        in_a_row: u32,
        /// For how long.
        rest: Duration,
        /// Why the last one failed.
        reason: String,
    },
    /// Why nothing runs, or that something does again (`None`).
    Idle {
        /// The reason.
        reason: Option<Idle>,
    },
    /// A drain has lasted as long as it may: what still runs is stopped, and the process is to end soon.
    DrainOver,
    /// After [`Input::Drain`], [`Input::Stop`] or [`Input::Quit`]: nothing runs and nothing is leased.
    Drained,
}

/// Why nothing runs, or nothing new is taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Idle {
    /// The owner has paused.
    #[error("{0}")]
    Paused(Pause),
    /// The owner wants the process to end.
    #[error("draining{}: nothing new is taken", until(*.0))]
    Draining(Option<Timestamp>),
    /// The owner needs the machine.
    #[error("the machine gives way to its owner: {}", all(.0))]
    GivesWay(Vec<Cause>),
    /// As much has passed over the network this month as the owner allows.
    #[error(
        "the network's quota of {} is used up; nothing new is taken before the month ends, in the time \
         of Greenwich",
        format_bytes(*.0)
    )]
    QuotaUsed(u64),
    /// The network is not to be used at present.
    #[error("{0}")]
    Quiet(Quiet),
    /// The owner lends the machine at other hours.
    #[error("outside of the hours in which this machine works: nothing new is taken")]
    OffDuty,
    /// The probes of the machine have not ended yet.
    #[error("the machine is still being probed")]
    Probing,
    /// No runtime has passed its self-test.
    #[error("no runtime works on this machine")]
    NoRuntime,
    /// The owner trusts no project.
    #[error("no project is trusted yet")]
    NoPins,
    /// No broker is connected.
    #[error("no broker is connected")]
    NoBroker,
    /// The disk is nearly full.
    #[error(
        "the disk has {} left; below {} nothing is taken",
        format_bytes(*free),
        format_bytes(DISK_RESERVE)
    )]
    DiskLow {
        /// Bytes left.
        free: u64,
    },
    /// Too many results wait for their masters.
    #[error("{results} results wait for their receipts; nothing new is taken before some are gone")]
    Backlog {
        /// How many.
        results: usize,
    },
    /// The disk has no room for any of the tasks that wait.
    #[error(
        "the disk has {} left, the smallest waiting job needs {} with what must stay free",
        format_bytes(*free),
        format_bytes(*needed)
    )]
    DiskShort {
        /// Bytes left.
        free: u64,
        /// Bytes that must be left, the reserve among them.
        needed: u64,
    },
    /// Job after job has failed because of this machine.
    #[error(
        "{in_a_row} jobs in a row have failed because of this machine, so nothing new is taken for \
         another {}: {reason}",
        in_words(*left)
    )]
    BacksOff {
        /// How many.
        in_a_row: u32,
        /// For how long.
        left: Duration,
        /// Why the last one failed.
        reason: String,
    },
    /// What runs is to end, so that a job fits for which too little is free.
    #[error(
        "it is the turn of {project}, which has a job for which too little is free; room is being made"
    )]
    MakesRoom {
        /// What the owner calls the project, or its key.
        project: String,
    },
    /// The primary has not answered the ad.
    #[error("the broker has not taken this machine's ad yet")]
    NotAdvertised,
    /// The primary has refused the ad; why, in its words.
    #[error("the broker refuses this machine's ad: {0}")]
    AdRefused(String),
    /// Nothing suits. What the machine cannot run the broker does not even show.
    #[error("no open task suits this machine{}", seen(*declined, *waiting))]
    NothingSuits {
        /// Offers declined.
        declined: usize,
        /// Offers that are asked again later.
        waiting: usize,
    },
}

fn until(end: Option<Timestamp>) -> String {
    end.map_or_else(String::new, |end| format!(" until {end} at the latest"))
}

fn all(causes: &[Cause]) -> String {
    causes.iter().map(Cause::to_string).collect::<Vec<_>>().join(", ")
}

/// What was seen of offers all the same, if anything was.
fn seen(declined: usize, waiting: usize) -> String {
    let declined = (declined > 0).then(|| format!("; offers declined: {declined}"));
    let waiting = (waiting > 0).then(|| format!("; tried in vain just now: {waiting}"));
    declined.into_iter().chain(waiting).collect()
}

/// `time` in its largest unit, rounded up.
pub(crate) fn in_words(time: Duration) -> String {
    let seconds = time.as_millis().div_ceil(1000);
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => format!("{} min", seconds.div_ceil(60)),
        7200..172_800 => format!("{} h", seconds.div_ceil(3600)),
        _ => format!("{} d", seconds.div_ceil(86_400)),
    }
}
