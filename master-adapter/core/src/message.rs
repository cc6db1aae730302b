//! What enters the core and what leaves it.

use std::fmt;

use capability::statements::{Credit, JobResult, Receipt, Report, TaskId};
use capability::{BlobHash, Explanation, PublicKey, StatementId, Verified};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, CallId, Commit, CommitId, Declared, Handover, HandoverAnswer,
    HandoverFailed, KeyChange, ReplyId,
};
use thiserror::Error;

use crate::jobs::{NewJob, SubmitError};
use crate::judge::Inside;

/// A job cannot be cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum CancelError {
    /// Not one of ours, or forgotten after its expiry.
    #[error("there is no such job")]
    Unknown,
    /// Every task is settled, or it was cancelled before.
    #[error("the job is over already")]
    Over,
}

/// A bundle that a peer hands over, and what the shell has found in it.
#[derive(Debug)]
pub struct Arrival {
    /// The bundle.
    pub bundle: Bundle,
    /// What was found inside the result.
    pub inside: Inside,
    /// Blobs of the bundle that are not in the blob store. They are asked for only if the result
    /// counts, so that strangers cannot fill the disk.
    pub missing: Vec<BlobHash>,
}

/// What became of a result that somebody has brought.
#[derive(Debug, Clone, PartialEq)]
pub enum Fate {
    /// It is judged.
    Judged {
        /// What its volunteer is to hear.
        receipt: Verified<Receipt>,
        /// Whether it had been judged before, and nothing has changed.
        known: bool,
    },
    /// These blobs must come first.
    Missing(Vec<BlobHash>),
    /// It was not judged; why, for people.
    Refused(String),
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input {
    /// A connection to this peer is up. Peers that are not configured as brokers are ignored.
    BrokerUp {
        /// The broker.
        peer: PublicKey,
    },
    /// The last connection to this peer is gone.
    BrokerDown {
        /// The broker.
        peer: PublicKey,
    },
    /// Somebody on this side of the adapter wants a job done. The package is in the blob store.
    Submit {
        /// The job.
        job: NewJob,
        /// Answered by [`Action::Submitted`].
        reply: ReplyId,
    },
    /// A job is not wanted any more.
    Cancel {
        /// Its offer.
        offer: StatementId,
        /// Answered by [`Action::Cancelled`].
        reply: ReplyId,
    },
    /// What the brokers are to be told about keys, and nothing else; the shell keeps it. If it says
    /// that the key of this node is void, nothing else is done any more.
    Declare(Vec<KeyChange>),
    /// The answer to an [`Action::Ask`]; every one gets exactly one.
    Answered {
        /// Which question.
        call: CallId,
        /// What came back.
        answer: Result<Answer, CallFailed>,
    },
    /// A peer hands over bundles. What they bring is judged together: one commit, and one signature.
    Handover {
        /// The peer.
        from: PublicKey,
        /// What came.
        arrivals: Vec<Arrival>,
        /// Answered by [`Action::ReplyHandover`].
        reply: ReplyId,
    },
    /// Somebody brings results in a parcel. They are judged as those of a handover, together.
    Import {
        /// What came.
        arrivals: Vec<Arrival>,
        /// Answered by [`Action::Imported`].
        reply: ReplyId,
    },
    /// What became of an [`Action::HandOver`] or of a part of it; every bundle gets exactly one.
    HandedOver {
        /// By the names of the bundles, whether the peer has taken them.
        outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>,
    },
    /// The writes of this commit are durable.
    Committed(CommitId),
    /// Free space on the disk below the state directory, measured now and then.
    DiskFree {
        /// In bytes.
        bytes: u64,
    },
    /// The time that `next_wake` gave has come.
    Wake,
}

/// Something that the shell must now do.
#[derive(Debug)]
pub enum Action {
    /// Make these writes durable, then report [`Input::Committed`].
    Commit(Commit),
    /// Ask a broker, then report [`Input::Answered`]. Before an [`Ask::Publish`] to the offer's home
    /// the shell sees to it that the broker can get the package.
    Ask {
        /// The broker.
        to: PublicKey,
        /// Names the question.
        call: CallId,
        /// The question.
        ask: Ask,
    },
    /// Hand bundles over to a broker, then report [`Input::HandedOver`].
    HandOver(Handover),
    /// Answer a handover.
    ReplyHandover {
        /// Which.
        reply: ReplyId,
        /// The answers, in the order of what came.
        answers: Vec<HandoverAnswer>,
    },
    /// Answer an import; what it says is durable here.
    Imported {
        /// Which.
        reply: ReplyId,
        /// What became of each result, in the order of what came.
        fates: Vec<Fate>,
    },
    /// Answer a submission; with `Ok` the offer is durable here.
    Submitted {
        /// Which.
        reply: ReplyId,
        /// The offer's name, or why there is none.
        result: Result<StatementId, SubmitError>,
    },
    /// Answer a cancellation; with `Ok` it is durable here.
    Cancelled {
        /// Which.
        reply: ReplyId,
        /// Whether it was cancelled.
        result: Result<(), CancelError>,
    },
    /// Tell people and subscribers.
    News(News),
}

impl From<Commit> for Action {
    fn from(commit: Commit) -> Self {
        Self::Commit(commit)
    }
}

impl From<News> for Action {
    fn from(news: News) -> Self {
        Self::News(news)
    }
}

/// What has become of jobs, for people and subscribers. `offer`, also in a task, is the job's id: that
/// of its first offer.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A broker keeps the offer.
    Published {
        /// The offer.
        offer: StatementId,
        /// The broker.
        broker: PublicKey,
        /// In this epoch.
        epoch: u64,
    },
    /// A broker did not take the offer; it is tried again.
    NotPublished {
        /// The offer.
        offer: StatementId,
        /// The broker.
        broker: PublicKey,
        /// Why, for people.
        reason: String,
    },
    /// How many machines could run the offer, of those that its home knows.
    Explained {
        /// The offer.
        offer: StatementId,
        /// Counts, and what keeps out the others.
        explanation: Explanation,
    },
    /// A result counts, durably.
    Accepted {
        /// What it is the result of.
        task: TaskId,
        /// The result.
        result: Verified<JobResult>,
        /// What was sealed in it.
        report: Report,
        /// Whether the task passed.
        passed: bool,
        /// What the volunteer earned.
        credit: Credit,
        /// The owner that vouched for the volunteer, if one did.
        owner: Option<PublicKey>,
        /// The volunteer's broker, by which it came.
        via: PublicKey,
        /// The broker that handed it over; this adapter itself, if it came in a parcel.
        from: PublicKey,
    },
    /// A result does not count.
    Rejected {
        /// What it claims to be the result of.
        task: TaskId,
        /// The result.
        result: StatementId,
        /// Whose it is.
        volunteer: PublicKey,
        /// Why, for people.
        reason: String,
    },
    /// A machine could not run the task; another one may try.
    Again {
        /// The task.
        task: TaskId,
        /// The result.
        result: StatementId,
        /// Whose machine it was.
        volunteer: PublicKey,
        /// What the machine lacked, for people.
        reason: String,
    },
    /// A task is given up, durably: no machine can run it, or it brings them down. It counts as failed
    /// unless a result comes all the same.
    GivenUp {
        /// The task; the replica means nothing.
        task: TaskId,
        /// Why, for people.
        reason: String,
    },
    /// Every task is settled, durably.
    JobDone {
        /// The offer.
        offer: StatementId,
        /// Tasks that passed.
        passed: u32,
        /// Tasks that did not.
        failed: u32,
    },
    /// An open offer was signed again by a new node key, and so has another id on the wire; durably.
    SignedAgain {
        /// The job's id.
        offer: StatementId,
        /// The offer's id from now on.
        now: StatementId,
    },
    /// The home broker knows that the offer is over.
    Withdrawn {
        /// The offer.
        offer: StatementId,
    },
    /// A new epoch has begun, durably.
    HomeMoved {
        /// The epoch.
        epoch: u64,
        /// Its home.
        home: PublicKey,
    },
    /// A broker was told of a revocation or succession.
    Declared(Declared),
    /// Brokers tell that an owner whose machines made results has passed on to another key; or, if it
    /// is the same one, that it has not after all.
    OwnerMoved {
        /// The key that vouched.
        owner: PublicKey,
        /// The key in whose hands it is now.
        heir: PublicKey,
    },
    /// Nothing is offered or judged any more: another adapter has moved the project's home.
    Superseded {
        /// To this epoch.
        epoch: u64,
    },
    /// Nothing is offered or judged any more: the project has revoked this key.
    Revoked(RevokedKey),
}

/// Which key the project has revoked, so that this node cannot speak for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RevokedKey {
    /// This node's. The project can name another one.
    Node,
    /// Its own. That is its end.
    Project,
}

impl fmt::Display for RevokedKey {
    /// What has happened and what to do about it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Node => {
                "the key of this adapter was revoked; make a new one with `talkoot-master rotate`, \
                 and restart the adapter"
            }
            Self::Project => {
                "the project has revoked itself, and has ended; make another one in another --state \
                 with `talkoot-master init`"
            }
        })
    }
}
