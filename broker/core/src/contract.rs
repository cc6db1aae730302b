//! What enters the broker's core and what leaves it.

use std::time::Duration;

use capability::statements::TaskId;
use capability::{BlobHash, ProjectKey, PublicKey, StatementId};
use mesh_core::{
    Answer, Ask, Branch, Bundle, CallFailed, CallId, Commit, CommitId, Difference, Gossip,
    Handover, HandoverAnswer, HandoverFailed, Listing, ReconcileAnswer, ReconcileAsk, ReplyId,
    Topic,
};
use serde::{Serialize, Serializer};
use thiserror::Error;

use crate::rules::{Content, MAX_RULES, Whom};

/// Names a gossip message that waits for its judgement; the shell chooses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GossipToken(pub u64);

/// How a peer came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// It dialled: a volunteer, a master or a broker.
    Inbound,
    /// We did, so it is a broker: brokers dial nobody else.
    Outbound,
    /// Through the door, where it collects what it is handed and cannot be asked: a volunteer or a
    /// master, whatever card its key has.
    Door,
}

/// Something that happened outside. Every statement in it has been checked by the shell.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// The first connection to `peer` is up, or it has come through the door.
    PeerUp {
        /// Who.
        peer: PublicKey,
        /// How it came.
        direction: Direction,
    },
    /// The last connection to `peer` is gone, and at the door it is silent.
    PeerDown {
        /// Who.
        peer: PublicKey,
    },
    /// An [`Action::Dial`] has led to `peer`, who may be ourselves.
    Found {
        /// The address that was dialled.
        address: String,
        /// Whose it is.
        peer: PublicKey,
    },
    /// The addresses at which other brokers can dial this one have changed.
    Addresses(Vec<String>),
    /// What is known of the broker's network, anew.
    Network(Listing),
    /// A gossip message, checked by [`Gossip::check`].
    Gossip {
        /// What it says.
        gossip: Gossip,
        /// The broker that forwarded it.
        from: PublicKey,
        /// To be named in [`Action::Judge`].
        token: GossipToken,
    },
    /// A peer asks. Of a publication the shell has the package's blob, or refuses it by itself.
    Ask {
        /// Who asks.
        from: PublicKey,
        /// What.
        ask: Ask,
        /// To be named in [`Action::Reply`].
        reply: ReplyId,
    },
    /// The outcome of an [`Action::Ask`]; every one has exactly one, after a while at the latest.
    Answered {
        /// Of which.
        call: CallId,
        /// The answer.
        answer: Result<Answer, CallFailed>,
    },
    /// A peer hands bundles over, and the shell has all their blobs.
    Handover {
        /// Who.
        from: PublicKey,
        /// What.
        bundles: Vec<Bundle>,
        /// To be named in [`Action::ReplyHandover`].
        reply: ReplyId,
    },
    /// The outcome of an [`Action::HandOver`], or of a part of it; every bundle has exactly one.
    HandedOver {
        /// To whom.
        to: PublicKey,
        /// By the names of the bundles, whether the peer has taken them.
        outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>,
    },
    /// A peer compares its set of gossip with ours, or fetches from it.
    Reconcile {
        /// Who.
        from: PublicKey,
        /// What it asks.
        ask: ReconcileQuery,
        /// To be named in [`Action::ReplyReconcile`].
        reply: ReplyId,
    },
    /// A peer gives statements that we may lack. The shell has thanked for them.
    Given {
        /// Who.
        from: PublicKey,
        /// What; those that failed [`Gossip::check`] are left out.
        statements: Vec<Gossip>,
    },
    /// The outcome of an [`Action::Reconcile`]; every one has exactly one.
    Reconciled {
        /// Who answers.
        from: PublicKey,
        /// What.
        answer: ReconcileNews,
    },
    /// The writes of a commit, and of all before it, are durable.
    Committed(CommitId),
    /// Free space on the disk that holds the state.
    DiskFree {
        /// In bytes.
        bytes: u64,
    },
    /// The operator decides something.
    Order {
        /// What.
        order: Order,
        /// To be named in [`Operation::Obeyed`].
        reply: ReplyId,
    },
    /// The time given by [`crate::Broker::next_wake`] has come.
    Wake,
}

/// What an operator decides while the broker runs. It survives a restart, but for the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// Turn somebody away.
    Block {
        /// Whom.
        whom: Whom,
        /// Why, at most [`MAX_REASON`](crate::MAX_REASON) bytes.
        reason: String,
    },
    /// Turn them away no more.
    Unblock {
        /// Whom.
        whom: Whom,
    },
    /// Neither keep, nor serve, nor tell on.
    TakeDown {
        /// What.
        content: Content,
        /// Why, at most [`MAX_REASON`](crate::MAX_REASON) bytes.
        reason: String,
    },
    /// Take it again if it comes.
    PutBack {
        /// What.
        content: Content,
    },
    /// Take no new work, hand over what there is, and say [`Operation::Drained`] after that time at the
    /// latest.
    Drain {
        /// The longest that it may take.
        within: Duration,
    },
}

/// Why an order was not obeyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Disobeyed {
    /// There are as many rules as there can be.
    #[error("there are {MAX_RULES} rules of that kind already: take some back")]
    TooMany,
    /// There is no such rule.
    #[error("there is no such rule")]
    NoSuchRule,
}

/// What a peer asks of our set of gossip.
#[derive(Debug, Clone, PartialEq)]
pub enum ReconcileQuery {
    /// Which of these branches differ.
    Compare(Vec<Branch>),
    /// These statements.
    Fetch(Vec<StatementId>),
}

/// What came of a question about another's set of gossip.
#[derive(Debug, Clone, PartialEq)]
pub enum ReconcileNews {
    /// Where its set differs from ours.
    Differs(Vec<Difference>),
    /// The statements asked for, as far as they were sound.
    Statements(Vec<Gossip>),
    /// It has taken what was given.
    Thanks,
    /// No answer, or none that makes sense.
    Failed,
}

/// Something that the shell must now do.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Make the writes durable, then report [`Input::Committed`].
    Commit(Commit),
    /// Forward a gossip message, or not.
    Judge {
        /// Which.
        token: GossipToken,
        /// The judgement.
        verdict: GossipVerdict,
    },
    /// Tell all brokers that listen to `topic`.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        gossip: Gossip,
    },
    /// Answer a question.
    Reply {
        /// Which.
        reply: ReplyId,
        /// The answer.
        answer: Answer,
    },
    /// Answer a handover.
    ReplyHandover {
        /// Which.
        reply: ReplyId,
        /// The answers, in the order of the bundles.
        answers: Vec<HandoverAnswer>,
    },
    /// Answer a question about our set of gossip.
    ReplyReconcile {
        /// Which.
        reply: ReplyId,
        /// The answer.
        answer: ReconcileAnswer,
    },
    /// Ask a connected peer, and report [`Input::Answered`].
    Ask {
        /// Whom.
        to: PublicKey,
        /// To be named in the report.
        call: CallId,
        /// What.
        ask: Ask,
    },
    /// Hand bundles over with their blobs, and report [`Input::HandedOver`].
    HandOver(Handover),
    /// Ask about another's set of gossip, and report [`Input::Reconciled`].
    Reconcile {
        /// Whom.
        to: PublicKey,
        /// What.
        ask: ReconcileAsk,
    },
    /// Connect to the broker at `address`; if it can be reached, report [`Input::Found`].
    Dial {
        /// As its card or the configuration has it.
        address: String,
    },
    /// Carry out what follows from an order of the operator.
    Operate(Operation),
    /// Something that people and logs may want to know.
    News(News),
}

/// What follows from an order of the operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// The operator's order is carried out, and durable where it has to be.
    Obeyed {
        /// Which.
        reply: ReplyId,
        /// Whether it could be.
        outcome: Result<(), Disobeyed>,
    },
    /// From now on admit no connection of these, and close those that there are.
    Shut(Whom),
    /// Admit their connections again.
    Open(Whom),
    /// Close the connections to a peer, which may come again.
    Disconnect(PublicKey),
    /// A blob was taken down: it must not be here any more.
    RemoveBlob(BlobHash),
    /// There is nothing left to do: the broker can end.
    Drained,
}

impl From<Operation> for Action {
    fn from(operation: Operation) -> Self {
        Self::Operate(operation)
    }
}

impl From<Commit> for Action {
    fn from(commit: Commit) -> Self {
        Self::Commit(commit)
    }
}

/// What becomes of a gossip message.
///
/// There is no rejection: what a forwarding broker could be blamed for, the shell's checks find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GossipVerdict {
    /// It is news: forward it.
    Accept,
    /// It is known, older than what is known, or over a bound.
    Ignore,
}

/// Something happened that people may want to follow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "event")]
pub enum News {
    /// Another broker is linked.
    LinkUp {
        /// Which.
        peer: PublicKey,
    },
    /// The link to another broker is gone.
    LinkDown {
        /// Which.
        peer: PublicKey,
    },
    /// The operator turns somebody away.
    Blocked {
        /// Whom.
        whom: Whom,
    },
    /// The operator has taken something down.
    TakenDown {
        /// What.
        #[serde(serialize_with = "in_words")]
        content: Content,
    },
    /// The operator has told the broker to leave.
    Leaving,
    /// A volunteer has left its ad.
    AdTaken {
        /// The volunteer.
        peer: PublicKey,
    },
    /// A master has published an offer here.
    OfferTaken {
        /// The offer.
        offer: StatementId,
        /// What the job is called.
        name: String,
        /// Whose it is, by the name in the registration.
        project: String,
        /// How many tasks it has.
        tasks: u32,
        /// Whether this broker grants its tasks, and in which epoch.
        epoch: Option<u64>,
    },
    /// Another broker has told of an offer.
    OfferKnown {
        /// The offer.
        offer: StatementId,
        /// Whose.
        project: ProjectKey,
    },
    /// An offer is over: withdrawn, revoked or expired.
    OfferOver {
        /// The offer.
        offer: StatementId,
    },
    /// A project has a home in a new epoch.
    HomeKnown {
        /// The project.
        project: ProjectKey,
        /// The epoch.
        epoch: u64,
        /// The home broker.
        peer: PublicKey,
    },
    /// A key is void, everywhere if it says so itself, else in what the signer answers for.
    Revoked {
        /// The key.
        key: PublicKey,
        /// Who says so.
        signer: PublicKey,
    },
    /// Tasks were granted.
    Claimed {
        /// Of which offer.
        offer: StatementId,
        /// To whom.
        volunteer: PublicKey,
        /// How many.
        count: usize,
    },
    /// A lease ran out, and the task is open again.
    Lapsed {
        /// The task.
        task: TaskId,
        /// Who held the lease.
        volunteer: PublicKey,
    },
    /// A volunteer gave a task back.
    Released {
        /// The offer.
        offer: StatementId,
        /// Who.
        volunteer: PublicKey,
        /// How many tasks.
        count: usize,
    },
    /// A result is in custody here.
    ResultTaken {
        /// The result.
        result: StatementId,
        /// For which task.
        task: TaskId,
        /// Who handed it over.
        from: PublicKey,
    },
    /// A receipt is in custody here.
    ReceiptTaken {
        /// The receipt.
        receipt: StatementId,
        /// For which result.
        result: StatementId,
        /// For which task.
        task: TaskId,
        /// Who handed it over.
        from: PublicKey,
        /// Accepted, rejected or again.
        verdict: &'static str,
    },
    /// The next one has taken a result or a receipt over.
    HandedOver {
        /// What it was: `result` or `receipt`.
        cargo: &'static str,
        /// For which task.
        task: TaskId,
        /// To whom.
        peer: PublicKey,
    },
    /// A handover failed, and is tried again.
    NotHandedOver {
        /// What it was: `result` or `receipt`.
        cargo: &'static str,
        /// For which task.
        task: TaskId,
        /// To whom.
        peer: PublicKey,
        /// Why.
        reason: String,
    },
}

fn in_words<S: Serializer>(content: &Content, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(content)
}
