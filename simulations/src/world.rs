//! The world: nodes with their disks and processes, the network between them, and the loop that lets
//! one event after the other happen.
//!
//! The world plays everybody's shell. It encodes what cores say with the codecs of the real wire and
//! checks what arrives with the same functions; it keeps connections, reports each question's end
//! exactly once, and carries blobs as hashes: a blob is there as long as its originator or a node
//! that took it lives.

mod faults;
mod processes;
mod wire;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::{BlobHash, PublicKey, Signer, StatementId, Timestamp};
use mesh_core::{Bundle, CommitId, HandoverAnswer, HandoverFailed, RequestGuard};
use volunteer_core::Order;

use crate::crypto::{SignatureTable, TableSigner, TableVerifier};
use crate::disk::Disk;
use crate::engine::{Queue, Rng, SimTime, Trace};
use crate::network::{Flight, Frame, Generation, Life, Network, NodeId};
use crate::nodes::{Arrival, Core, Number, Role};
use crate::oracle::{Invariant, Look, Oracle, Violation};

pub use faults::{Fault, Sabotage};
pub use processes::address_of;

/// Wall time at the beginning of every run: in January 2027.
pub const BEGINNING: Timestamp = Timestamp(1_800_000_000_000);

/// How often those who dial look whether their brokers are connected.
const DIAL_EVERY: Duration = Duration::from_secs(3);
/// Shells look this often for blobs that nobody needs and nonces that are over.
const TIDY_EVERY: Duration = Duration::from_secs(60);
/// A job is submitted this long after its master has started, and again as long as it is not taken.
const SUBMIT_AFTER: Duration = Duration::from_secs(3);

/// What happens in the world.
#[derive(Debug)]
pub enum Event {
    /// A node that is down starts.
    Start(NodeId),
    /// Something happens to one process; void if it has ended by then.
    Process {
        /// Whose process.
        node: NodeId,
        /// Which of its processes.
        life: Life,
        /// What.
        event: ProcessEvent,
    },
    /// A dialled connection is there, if both processes still are.
    Connected {
        /// Who dialled.
        from: (NodeId, Life),
        /// Whom.
        to: (NodeId, Life),
    },
    /// A frame arrives.
    Deliver {
        /// Who sent it.
        from: NodeId,
        /// Whom it was sent to.
        to: NodeId,
        /// Over which connection.
        generation: Generation,
        /// The frame.
        frame: Frame,
    },
    /// Somebody submits a job to a master, until it is taken.
    Submit(NodeId),
    /// Something goes wrong.
    Fault(Fault),
    /// A cut between two nodes ends.
    Heal(NodeId, NodeId),
    /// Faults stop, and whatever was not destroyed starts.
    Calm,
    /// Everything must have ended.
    Deadline,
}

/// What happens to one process.
#[derive(Debug)]
pub enum ProcessEvent {
    /// The shell of a volunteer or master looks after its connections.
    Dial,
    /// The end of a connection is noticed.
    Disconnected {
        /// To whom.
        peer: NodeId,
        /// Which connection.
        generation: Generation,
        /// The cut that it was lost by, if it was: no news if the cut has ended since.
        cut: Option<u64>,
    },
    /// A question has had no answer.
    GaveUp(Flight),
    /// The oldest commit becomes durable.
    Durable,
    /// The disk says that a commit is durable although it is not.
    FalselyDurable(CommitId),
    /// The core wants to be woken at this time.
    Wake(SimTime),
    /// A run ends.
    RunEnds(StatementId),
    /// The shell cleans up.
    Tidy,
}

/// Counts of what happened, for the report.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events.
    pub events: u64,
    /// Frames that arrived.
    pub frames: u64,
    /// Commits.
    pub commits: u64,
    /// Processes killed, by whatever fault.
    pub kills: u64,
    /// Disks lost, with or without a new beginning.
    pub disks_lost: u64,
    /// Destructions of a broker that alone had custody.
    pub custodians_destroyed: u64,
    /// Processes killed between two actions of one input.
    pub killed_between_actions: u64,
    /// Volunteers killed in mid-task.
    pub killed_in_mid_task: u64,
    /// Runs that ended.
    pub runs: u64,
    /// Cuts.
    pub cuts: u64,
}

/// What a node is, besides what it has on disk and in memory.
pub struct NodeSpec {
    /// For people, and for its key.
    pub name: String,
    /// Its role and configuration.
    pub role: Role,
    /// Brokers that its shell keeps connected; brokers dial by themselves.
    pub dials: Vec<NodeId>,
    /// What is submitted to it.
    pub job: Option<master_core::NewJob>,
    /// Whether the run is over only when this node has nothing left to do.
    pub must_end: bool,
    /// How far its wall clock is ahead of the others'.
    pub clock_ahead: Duration,
}

struct Node {
    spec: NodeSpec,
    signer: TableSigner,
    disk: Disk,
    process: Option<Process>,
    /// For good.
    destroyed: bool,
    submitted: bool,
}

/// What dies with a `kill -9`.
struct Process {
    life: Life,
    started: SimTime,
    core: Box<dyn Core>,
    guard: RequestGuard,
    peers: BTreeMap<NodeId, Generation>,
    questions: BTreeMap<Flight, Question>,
    /// Whom the core's answers go to.
    owed: BTreeMap<Number, (NodeId, Flight)>,
    /// Of handovers that are not answered: what is known without the core.
    handed_in: BTreeMap<Number, Vec<Option<HandoverAnswer>>>,
    /// Gossip that waits for the core's judgement, and who sent it.
    judging: BTreeMap<Number, (NodeId, Vec<u8>)>,
    seen: BTreeMap<StatementId, SimTime>,
    runs: BTreeMap<StatementId, Box<Order>>,
    next_number: Number,
    wake: Option<SimTime>,
    wakes_now: (SimTime, u32),
}

/// What a process has asked.
struct Question {
    to: NodeId,
    purpose: Purpose,
}

enum Purpose {
    Ask {
        call: Number,
    },
    HandOver {
        bundles: Vec<Bundle>,
        /// What became of others of the same handover.
        outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>,
    },
    Reconcile,
    Fetch {
        hash: BlobHash,
    },
    /// A broker gets a blob for somebody who asked it.
    PullThrough {
        asker: NodeId,
        flight: Flight,
    },
}

/// Independent streams of randomness.
struct Luck {
    network: Rng,
    disk: Rng,
    runs: Rng,
    crashes: Rng,
}

/// See the module.
pub struct World {
    /// What will happen.
    pub queue: Queue<Event>,
    /// What has happened.
    pub trace: Trace,
    /// Who can reach whom.
    pub network: Network,
    /// What must hold.
    pub oracle: Oracle,
    /// What happened, in numbers.
    pub counts: Counts,
    nodes: Vec<Node>,
    by_key: BTreeMap<PublicKey, NodeId>,
    table: SignatureTable,
    verifier: TableVerifier,
    luck: Luck,
    sabotage: Option<Sabotage>,
    /// Faults that wait for their moment.
    armed: Vec<Fault>,
    /// Processes that are killed after so many more actions, and for how long.
    doomed: BTreeMap<NodeId, (u64, Duration)>,
    calm: bool,
    next_name: u64,
    /// Nodes that the present event has happened to.
    touched: BTreeSet<NodeId>,
    violation: Option<Violation>,
}

impl World {
    /// Nothing but luck.
    pub fn new(seed: u64, trace: Trace, sabotage: Option<Sabotage>) -> Self {
        let (rng, table) = (Rng::new(seed), SignatureTable::default());
        let luck = Luck {
            network: rng.stream("network"),
            disk: rng.stream("disk"),
            runs: rng.stream("runs"),
            crashes: rng.stream("crashes"),
        };
        Self {
            queue: Queue::default(),
            trace,
            network: Network::default(),
            oracle: Oracle::default(),
            counts: Counts::default(),
            nodes: Vec::new(),
            by_key: BTreeMap::new(),
            verifier: table.verifier(),
            table,
            luck,
            sabotage,
            armed: Vec::new(),
            doomed: BTreeMap::new(),
            calm: false,
            next_name: 0,
            touched: BTreeSet::new(),
            violation: None,
        }
    }

    /// The signatures of this world.
    pub fn table(&self) -> &SignatureTable {
        &self.table
    }

    /// Adds a node, which starts after `delay`.
    pub fn add(&mut self, spec: NodeSpec, delay: Duration) -> NodeId {
        let id = NodeId(self.nodes.len());
        let signer = self.table.signer(&spec.name);
        self.by_key.insert(signer.public(), id);
        let mut disk = Disk::default();
        self.queue.after(delay, Event::Start(id));
        if let Some(job) = &spec.job {
            disk.put_blob(job.package.hash);
            self.queue.after(delay + SUBMIT_AFTER, Event::Submit(id));
        }
        self.nodes.push(Node::new(spec, signer, disk));
        id
    }

    /// Lets events happen until everything has ended or an invariant is broken.
    pub fn run(&mut self) -> Result<(), Violation> {
        while let Some(event) = self.queue.pop() {
            self.counts.events += 1;
            self.happens(event);
            for node in std::mem::take(&mut self.touched) {
                let looked = self.oracle.look(node, &self.nodes[node.0].disk);
                self.note(looked);
            }
            self.spring_traps();
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if self.calm && self.unfinished().next().is_none() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Start(node) => self.start(node),
            Event::Process { node, life, event } => {
                if self.is_alive(node, life) {
                    self.happens_to(node, event);
                }
            }
            Event::Connected { from, to } => self.connected(from, to),
            Event::Deliver { from, to, generation, frame } => {
                let current = self.process(to).and_then(|it| it.peers.get(&from).copied());
                if current == Some(generation) {
                    self.counts.frames += 1;
                    self.deliver(from, to, &frame);
                }
            }
            Event::Submit(node) => self.submit(node),
            Event::Fault(fault) => self.strike(fault),
            Event::Heal(a, b) => {
                self.tell(a, format_args!("can reach {} again", self.name(b)));
                self.network.heal(a, b);
            }
            Event::Calm => self.calm_down(),
            Event::Deadline => {
                let left: Vec<_> = self.unfinished().collect();
                let what = format!("not done within the bound: {}", left.join(", "));
                self.note(Err((Invariant::EverythingEnds, what)));
            }
        }
    }

    fn happens_to(&mut self, node: NodeId, event: ProcessEvent) {
        match event {
            ProcessEvent::Dial => {
                let brokers = self.nodes[node.0].spec.dials.clone();
                brokers.into_iter().for_each(|broker| self.dial(node, broker));
                self.later(node, DIAL_EVERY, ProcessEvent::Dial);
            }
            ProcessEvent::Disconnected { peer, generation, cut } => {
                if cut.is_none_or(|cut| self.network.is_same_cut(node, peer, cut)) {
                    self.disconnected(node, peer, generation);
                }
            }
            ProcessEvent::GaveUp(flight) => self.give_up(node, flight),
            ProcessEvent::Durable => {
                self.touched.insert(node);
                let commit = self.nodes[node.0].disk.finish();
                let told = self.sabotage == Some(Sabotage::AcknowledgeBeforeCommit);
                if let Some(commit) = commit.filter(|_| !told) {
                    self.give(node, Arrival::Committed(commit));
                }
            }
            ProcessEvent::FalselyDurable(commit) => self.give(node, Arrival::Committed(commit)),
            ProcessEvent::Wake(at) => self.wake(node, at),
            ProcessEvent::RunEnds(lease) => self.run_ends(node, lease),
            ProcessEvent::Tidy => {
                self.tidy(node);
                self.later(node, TIDY_EVERY, ProcessEvent::Tidy);
            }
        }
    }

    /// What is left to do, in words; nothing if everything has ended.
    fn unfinished(&self) -> impl Iterator<Item = String> + '_ {
        let concerned = self.nodes.iter().filter(|node| node.spec.must_end && !node.destroyed);
        let left = concerned.map(|node| {
            let owed = usize::from(node.spec.job.is_some() && !node.submitted);
            let left = node.process.as_ref().map_or(1, |process| process.core.unfinished());
            (node, left + owed)
        });
        let left = left.filter(|(_, left)| *left > 0);
        left.map(|(node, left)| format!("{} has {left} things left to do", node.spec.name))
    }

    fn note(&mut self, look: Look) {
        if let Err((invariant, what)) = look {
            let at = self.queue.now();
            self.trace.line(at, format_args!("VIOLATION {invariant:?}: {what}"));
            self.violation.get_or_insert(Violation { invariant, at, what });
        }
    }

    // Small things that everybody needs.

    fn tell(&mut self, node: NodeId, words: std::fmt::Arguments<'_>) {
        let name = &self.nodes[node.0].spec.name;
        self.trace.line(self.queue.now(), format_args!("{name}: {words}"));
    }

    fn name(&self, node: NodeId) -> String {
        self.nodes[node.0].spec.name.clone()
    }

    fn process(&self, node: NodeId) -> Option<&Process> {
        self.nodes[node.0].process.as_ref()
    }

    fn process_mut(&mut self, node: NodeId) -> Option<&mut Process> {
        self.nodes[node.0].process.as_mut()
    }

    fn life(&self, node: NodeId) -> Option<Life> {
        self.process(node).map(|process| process.life)
    }

    fn is_alive(&self, node: NodeId, life: Life) -> bool {
        self.life(node) == Some(life)
    }

    fn key(&self, node: NodeId) -> PublicKey {
        self.nodes[node.0].signer.public()
    }

    fn wall(&self, node: NodeId) -> Timestamp {
        BEGINNING + self.queue.now().0 + self.nodes[node.0].spec.clock_ahead
    }

    /// Lets something happen to the process that `node` has now.
    fn later(&mut self, node: NodeId, delay: Duration, event: ProcessEvent) {
        if let Some(life) = self.life(node) {
            self.queue.after(delay, Event::Process { node, life, event });
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next_name += 1;
        self.next_name
    }
}

impl Node {
    fn new(spec: NodeSpec, signer: TableSigner, disk: Disk) -> Self {
        Self { spec, signer, disk, process: None, destroyed: false, submitted: false }
    }
}
