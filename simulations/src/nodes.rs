//! One adapter per role: what happens to a node becomes the input of its core, and the core's
//! actions become effects that the world carries out.
//!
//! The adapters do what is special about a role's shell and nothing else, so that the world need
//! not know the three cores apart.

use std::fmt;
use std::sync::Arc;

use broker_core::{Broker, GossipToken, GossipVerdict, ReconcileNews, ReconcileQuery};
use capability::statements::TaskId;
use capability::{BlobHash, Capabilities, PublicKey, Signer, StatementId, Verifier};
use master_core::{Authority, Inside, JobState, Master, NewJob};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, CallId, Commit, CommitId, Gossip, Handover, HandoverAnswer,
    HandoverFailed, Mono, Now, ReconcileAnswer, ReconcileAsk, ReplyId, Topic,
};
use volunteer_core::{Identity, Order, Outcome, Pin, Volunteer};

use crate::crypto::{TableKeys, TableSigner, TableVerifier};

/// What a node finds durable when it starts, in the order of the keys.
pub type Records = std::collections::BTreeMap<Vec<u8>, Vec<u8>>;

/// Names what a core asked, or what it is asked, within one process.
pub type Number = u64;

/// What happens to a node. Statements in it have been checked.
#[derive(Debug)]
pub enum Arrival {
    /// A connection to a peer is up.
    PeerUp { peer: PublicKey, dialled: bool },
    /// The connection to a peer is gone.
    PeerDown { peer: PublicKey },
    /// A gossip message that is new here.
    Gossip { gossip: Gossip, from: PublicKey, token: Number },
    /// A question.
    Asked { from: PublicKey, ask: Ask, reply: Number },
    /// The answer to a question, or none.
    Answered { call: Number, answer: Result<Answer, CallFailed> },
    /// Bundles, each with its blobs that are not here, which only masters are told of.
    HandedIn { from: PublicKey, bundles: Vec<(Bundle, Vec<BlobHash>)>, reply: Number },
    /// What became of a handover.
    HandedOver { to: PublicKey, outcomes: Vec<(StatementId, Result<(), HandoverFailed>)> },
    /// A question about the set of gossip.
    Compared { from: PublicKey, ask: ReconcileQuery, reply: Number },
    /// Statements that a peer thinks are lacking here.
    Given { from: PublicKey, statements: Vec<Gossip> },
    /// The answer to a question about a peer's set of gossip.
    Reconciled { from: PublicKey, news: ReconcileNews },
    /// A package has come, or could not be had.
    Fetched { hash: BlobHash, here: bool },
    /// A run has ended.
    Ran { lease: StatementId, outcome: Outcome },
    /// Somebody wants a job done.
    Submit { job: NewJob, reply: Number },
    /// A commit is durable.
    Committed(CommitId),
    /// The time that the core gave has come.
    Wake,
}

/// What a core wants done.
#[derive(Debug)]
pub enum Effect {
    /// Make writes durable.
    Commit(Commit),
    /// Ask a peer.
    Ask { to: PublicKey, call: Number, ask: Ask },
    /// Answer a question.
    Reply { reply: Number, answer: Answer },
    /// Hand a bundle over.
    HandOver(Handover),
    /// Answer a handover.
    ReplyHandover { reply: Number, answers: Vec<HandoverAnswer> },
    /// Forward a gossip message, or not.
    Judge { token: Number, accepted: bool },
    /// Gossip.
    Publish { topic: Topic, gossip: Gossip },
    /// Ask about a peer's set of gossip.
    Reconcile { to: PublicKey, ask: ReconcileAsk },
    /// Answer a question about the set of gossip.
    ReplyReconcile { reply: Number, answer: ReconcileAnswer },
    /// Dial a broker.
    Dial { address: String },
    /// Bring a package here.
    Fetch { from: PublicKey, hash: BlobHash },
    /// Run a task.
    Run(Box<Order>),
    /// End a run.
    Stop { lease: StatementId },
    /// A job was taken, durably, or refused.
    Submitted { offer: Option<StatementId> },
    /// Something that the oracle or a reader of the trace wants to know.
    News(News),
}

/// What cores tell, as far as the oracle follows it.
#[derive(Debug)]
pub enum News {
    /// A volunteer has a durable result.
    Finished { result: StatementId },
    /// A volunteer has a durable receipt.
    Receipted { result: StatementId },
    /// A volunteer let a result go that expired.
    Expired { result: StatementId },
    /// A result counts, durably.
    Accepted { task: TaskId, result: StatementId },
    /// Everything else, in the core's own words.
    Other(String),
}

/// A running core behind its adapter.
pub trait Core {
    /// Gives the core what has happened.
    fn handle(&mut self, arrival: Arrival, now: Now);
    /// What it wants done next.
    fn poll(&mut self) -> Option<Effect>;
    /// When it wants to be woken.
    fn next_wake(&self) -> Option<Mono>;
    /// Whom to ask for a blob that is not here.
    fn blob_source(&self, hash: BlobHash, asker: PublicKey) -> Option<PublicKey>;
    /// Whether a blob is still of use.
    fn keeps_blob(&self, hash: BlobHash) -> bool;
    /// What it still has to do before all is done: open jobs and undelivered bundles.
    fn unfinished(&self) -> usize;
}

/// Who a node is and how it is configured: what survives everything.
#[derive(Clone)]
pub enum Role {
    /// A broker.
    Broker(broker_core::BrokerConfig),
    /// A volunteer.
    Volunteer {
        /// What its machine can do.
        machine: Capabilities,
        /// Whom its owner trusts.
        pins: Vec<Pin>,
    },
    /// A project's master.
    Master {
        /// In whose name it signs.
        authority: Authority,
        /// The brokers of its configuration, the preferred home first.
        brokers: Vec<PublicKey>,
    },
}

/// A core refuses the records that it wrote.
#[derive(Debug, thiserror::Error)]
#[error("cannot restore from its own records: {0}")]
pub struct NotRestored(String);

impl Role {
    /// Starts a process that finds `records` on its disk.
    pub fn start(
        &self,
        signer: &TableSigner,
        keys: &TableKeys,
        verifier: &TableVerifier,
        records: Records,
        now: Now,
    ) -> Result<Box<dyn Core>, NotRestored> {
        let shared: Arc<dyn Signer> = Arc::new(signer.clone());
        match self {
            Self::Broker(config) => {
                let vouching: Arc<dyn Verifier> = Arc::new(verifier.clone());
                let broker = Broker::restore(records, config.clone(), shared, vouching, now);
                Ok(Box::new(BrokerNode(broker.map_err(not_restored)?)))
            }
            Self::Volunteer { machine, pins } => {
                let (encryption, sealer) = (keys.public(), Arc::new(keys.clone()));
                let identity = Identity { signer: shared, encryption, sealer };
                let volunteer = Volunteer::restore(identity, records, verifier);
                let mut volunteer = volunteer.map_err(not_restored)?;
                volunteer.handle(volunteer_core::Input::Pins(pins.clone()), now);
                volunteer.handle(volunteer_core::Input::Capabilities(machine.clone()), now);
                Ok(Box::new(VolunteerNode(volunteer)))
            }
            Self::Master { authority, brokers } => {
                let records = records.into_iter();
                let master =
                    Master::restore(authority.clone(), brokers.clone(), records, verifier, now);
                let master = master.map_err(not_restored)?;
                let (keys, verifier) = (keys.clone(), verifier.clone());
                Ok(Box::new(MasterNode { master, keys, verifier }))
            }
        }
    }
}

struct BrokerNode(Broker);

impl Core for BrokerNode {
    fn handle(&mut self, arrival: Arrival, now: Now) {
        use broker_core::{Direction, Input};
        let input = match arrival {
            Arrival::PeerUp { peer, dialled } => {
                let direction = if dialled { Direction::Outbound } else { Direction::Inbound };
                Input::PeerUp { peer, direction }
            }
            Arrival::PeerDown { peer } => Input::PeerDown { peer },
            Arrival::Gossip { gossip, from, token } => {
                Input::Gossip { gossip, from, token: GossipToken(token) }
            }
            Arrival::Asked { from, ask, reply } => Input::Ask { from, ask, reply: ReplyId(reply) },
            Arrival::Answered { call, answer } => Input::Answered { call: CallId(call), answer },
            Arrival::HandedIn { from, bundles, reply } => {
                let bundles = bundles.into_iter().map(|(bundle, _)| bundle).collect();
                Input::Handover { from, bundles, reply: ReplyId(reply) }
            }
            Arrival::HandedOver { to, outcomes } => Input::HandedOver { to, outcomes },
            Arrival::Compared { from, ask, reply } => {
                Input::Reconcile { from, ask, reply: ReplyId(reply) }
            }
            Arrival::Given { from, statements } => Input::Given { from, statements },
            Arrival::Reconciled { from, news } => Input::Reconciled { from, answer: news },
            Arrival::Committed(id) => Input::Committed(id),
            Arrival::Wake => Input::Wake,
            other @ (Arrival::Fetched { .. } | Arrival::Ran { .. } | Arrival::Submit { .. }) => {
                unreachable!("the world gives no broker {other:?}")
            }
        };
        self.0.handle(input, now);
    }

    fn poll(&mut self) -> Option<Effect> {
        use broker_core::Action;
        Some(match self.0.poll_action()? {
            Action::Commit(commit) => Effect::Commit(commit),
            Action::Judge { token, verdict } => {
                Effect::Judge { token: token.0, accepted: verdict == GossipVerdict::Accept }
            }
            Action::Publish { topic, gossip } => Effect::Publish { topic, gossip },
            Action::Reply { reply, answer } => Effect::Reply { reply: reply.0, answer },
            Action::ReplyHandover { reply, answers } => {
                Effect::ReplyHandover { reply: reply.0, answers }
            }
            Action::ReplyReconcile { reply, answer } => {
                Effect::ReplyReconcile { reply: reply.0, answer }
            }
            Action::Ask { to, call, ask } => Effect::Ask { to, call: call.0, ask },
            Action::HandOver(handover) => Effect::HandOver(handover),
            Action::Reconcile { to, ask } => Effect::Reconcile { to, ask },
            Action::Dial { address } => Effect::Dial { address },
            Action::Operate(operation) => unreachable!("nobody operates it: {operation:?}"),
            Action::News(news) => Effect::News(News::Other(format!("{news:?}"))),
        })
    }

    fn next_wake(&self) -> Option<Mono> {
        self.0.next_wake()
    }

    fn blob_source(&self, hash: BlobHash, asker: PublicKey) -> Option<PublicKey> {
        // No size is a lie in this world.
        self.0.blob_sources(hash, asker, u64::MAX).first().map(|(source, _)| *source)
    }

    fn keeps_blob(&self, hash: BlobHash) -> bool {
        self.0.keeps_blob(hash)
    }

    fn unfinished(&self) -> usize {
        // What a broker carries matters as long as its originator or its reader waits for it.
        0
    }
}

struct VolunteerNode(Volunteer);

impl Core for VolunteerNode {
    fn handle(&mut self, arrival: Arrival, now: Now) {
        use volunteer_core::Input;
        let input = match arrival {
            Arrival::PeerUp { peer, .. } => Input::BrokerUp { peer },
            Arrival::PeerDown { peer } => Input::BrokerDown { peer },
            Arrival::Answered { call, answer } => Input::Answered { call: CallId(call), answer },
            Arrival::HandedIn { from, bundles, reply } => {
                let bundles = bundles.into_iter().map(|(bundle, _)| bundle).collect();
                Input::Handover { from, bundles, reply: ReplyId(reply) }
            }
            Arrival::HandedOver { to, outcomes } => Input::HandedOver { to, outcomes },
            Arrival::Fetched { hash, here } => {
                let fetched = if here { Ok(()) } else { Err("no broker has it".to_owned()) };
                Input::Fetched { hash, fetched }
            }
            Arrival::Ran { lease, outcome } => Input::Ran(vec![(lease, outcome)]),
            Arrival::Committed(id) => Input::Committed(id),
            Arrival::Wake => Input::Wake,
            other @ (Arrival::Gossip { .. }
            | Arrival::Asked { .. }
            | Arrival::Compared { .. }
            | Arrival::Given { .. }
            | Arrival::Reconciled { .. }
            | Arrival::Submit { .. }) => {
                unreachable!("the world gives no volunteer {other:?}")
            }
        };
        self.0.handle(input, now);
    }

    fn poll(&mut self) -> Option<Effect> {
        use volunteer_core::Action;
        loop {
            return Some(match self.0.poll_action()? {
                Action::Commit(commit) => Effect::Commit(commit),
                Action::Ask { to, call, ask } => Effect::Ask { to, call: call.0, ask },
                Action::HandOver(handover) => Effect::HandOver(handover),
                Action::ReplyHandover { reply, answers } => {
                    Effect::ReplyHandover { reply: reply.0, answers }
                }
                Action::ReceiptsTaken { .. } | Action::BroughtJudged { .. } => {
                    unreachable!("nobody carries files here")
                }
                Action::Fetch { from, hash, .. } => Effect::Fetch { from, hash },
                Action::Run(order) => Effect::Run(Box::new(order)),
                Action::Stop { lease } | Action::PutBy { lease } => Effect::Stop { lease },
                // No job keeps checkpoints, no owner pauses here, and no project has checks; blobs are dropped by what the core
                // still keeps.
                Action::DropCheckpoint { .. }
                | Action::Suspend { .. }
                | Action::Proceed { .. }
                | Action::RunCheck(_)
                | Action::StopCheck
                | Action::DropBlobs(_) => continue,
                Action::News(news) => Effect::News(volunteer_news(news)),
            });
        }
    }

    fn next_wake(&self) -> Option<Mono> {
        self.0.next_wake()
    }

    fn blob_source(&self, _: BlobHash, _: PublicKey) -> Option<PublicKey> {
        None
    }

    fn keeps_blob(&self, hash: BlobHash) -> bool {
        self.0.needs_blob(&hash)
    }

    fn unfinished(&self) -> usize {
        self.0.undelivered()
    }
}

fn volunteer_news(news: volunteer_core::News) -> News {
    use volunteer_core::News as Told;
    match news {
        Told::Finished { result, .. } => News::Finished { result },
        Told::Receipt { result, .. } => News::Receipted { result },
        Told::Expired { result } => News::Expired { result },
        other => News::Other(format!("{other:?}")),
    }
}

struct MasterNode {
    master: Master,
    keys: TableKeys,
    verifier: TableVerifier,
}

impl Core for MasterNode {
    fn handle(&mut self, arrival: Arrival, now: Now) {
        use master_core::Input;
        let input = match arrival {
            Arrival::PeerUp { peer, .. } => Input::BrokerUp { peer },
            Arrival::PeerDown { peer } => Input::BrokerDown { peer },
            Arrival::Answered { call, answer } => Input::Answered { call: CallId(call), answer },
            Arrival::HandedIn { from, bundles, reply } => {
                let arrival = |(bundle, missing): (Bundle, Vec<BlobHash>)| master_core::Arrival {
                    inside: Inside::of(&bundle, &self.keys, &self.verifier),
                    bundle,
                    missing,
                };
                let arrivals = bundles.into_iter().map(arrival).collect();
                Input::Handover { from, arrivals, reply: ReplyId(reply) }
            }
            Arrival::HandedOver { outcomes, .. } => Input::HandedOver { outcomes },
            Arrival::Submit { job, reply } => Input::Submit { job, reply: ReplyId(reply) },
            Arrival::Committed(id) => Input::Committed(id),
            Arrival::Wake => Input::Wake,
            other @ (Arrival::Gossip { .. }
            | Arrival::Asked { .. }
            | Arrival::Compared { .. }
            | Arrival::Given { .. }
            | Arrival::Reconciled { .. }
            | Arrival::Fetched { .. }
            | Arrival::Ran { .. }) => unreachable!("the world gives no master {other:?}"),
        };
        self.master.handle(input, now);
    }

    fn poll(&mut self) -> Option<Effect> {
        use master_core::{Action, News as Told};
        Some(match self.master.poll_action()? {
            Action::Commit(commit) => Effect::Commit(commit),
            Action::Ask { to, call, ask } => Effect::Ask { to, call: call.0, ask },
            Action::HandOver(handover) => Effect::HandOver(handover),
            Action::ReplyHandover { reply, answers } => {
                Effect::ReplyHandover { reply: reply.0, answers }
            }
            Action::Submitted { result, .. } => Effect::Submitted { offer: result.ok() },
            Action::Imported { .. } => unreachable!("nobody carries files here"),
            Action::Cancelled { .. } => unreachable!("nobody cancels a job here"),
            Action::News(Told::Accepted { task, result, .. }) => {
                Effect::News(News::Accepted { task, result: result.id() })
            }
            Action::News(other) => Effect::News(News::Other(format!("{other:?}"))),
        })
    }

    fn next_wake(&self) -> Option<Mono> {
        self.master.next_wake()
    }

    fn blob_source(&self, _: BlobHash, _: PublicKey) -> Option<PublicKey> {
        None
    }

    /// A master keeps its packages and its archive.
    fn keeps_blob(&self, _: BlobHash) -> bool {
        true
    }

    fn unfinished(&self) -> usize {
        let open = self.master.jobs().filter(|job| {
            !matches!(job.state(), JobState::DoneAndWithdrawn | JobState::CancelledAndWithdrawn)
        });
        open.count() + self.master.receipts_waiting()
    }
}

fn not_restored(error: impl std::error::Error) -> NotRestored {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    NotRestored(words)
}

impl fmt::Debug for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Broker(_) => "Broker",
            Self::Volunteer { .. } => "Volunteer",
            Self::Master { .. } => "Master",
        })
    }
}
