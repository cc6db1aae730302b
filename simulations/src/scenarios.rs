//! Worlds to let things happen in.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use broker_core::BrokerConfig;
use capability::statements::{Delegation, Package, Permissions, Registration, USUAL_PRIORITY};
use capability::{
    BlobHash, Capabilities, Clause, Facts, JobSpec, Limits, Platform, ProjectKey, Requirements,
    Resource, Resources, Runtime, RuntimeFacts, Signer, Step, Verified,
};
use master_core::{Authority, NewJob};
use volunteer_core::Pin;

use crate::crypto::{SignatureTable, TableKeys};
use crate::engine::{Rng, SimTime, Trace};
use crate::network::{Link, NodeId};
use crate::nodes::Role;
use crate::oracle::Violation;
use crate::world::{BEGINNING, Counts, Event, Fault, NodeSpec, Sabotage, World, address_of};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Until then things go wrong.
const CALM_AT: Duration = Duration::from_secs(150);
/// After that everything must have ended: three times the longest pause of an originator.
const BOUND: Duration = Duration::from_secs(30 * 60);

/// Three brokers in a line, three volunteers at the far end, a master at the near one, and a stranger
/// whom nobody trusts; killed, cut and destroyed as the seed wants it.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// Everything that is left to chance.
    pub seed: u64,
    /// Tasks of the one job.
    pub tasks: u32,
    /// Results wanted of each task, from different volunteers: 1 to 3.
    pub replicas: u16,
    /// How far clocks are apart at most; honest nodes tolerate five minutes.
    pub skew: Duration,
    /// A deliberate bug, if the oracle is to be tried.
    pub sabotage: Option<Sabotage>,
}

/// What came of a run.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// Hash over everything that happened.
    pub trace: blake3::Hash,
    /// When the run ended.
    pub ended: SimTime,
    /// What happened, in numbers.
    pub counts: Counts,
    /// Results accepted.
    pub accepted: usize,
    /// Leases granted.
    pub granted: u64,
    /// The invariant that was broken, if one was.
    pub violation: Option<Violation>,
}

/// The nodes of the scenario.
struct Cast {
    brokers: [NodeId; 3],
    volunteers: [NodeId; 3],
    master: NodeId,
}

impl Scenario {
    /// Plays the scenario; each line of the trace goes to `shown_to`, if given.
    pub fn play(self, shown_to: Option<Box<dyn io::Write>>) -> Outcome {
        let mut world = World::new(self.seed, Trace::new(shown_to), self.sabotage);
        let mut luck = Rng::new(self.seed).stream("scenario");
        let cast = self.populate(&mut world, &mut luck);
        for (at, fault) in faults(&cast, &mut luck) {
            world.queue.after(at, Event::Fault(fault));
        }
        world.queue.after(CALM_AT, Event::Calm);
        world.queue.after(CALM_AT + BOUND, Event::Deadline);
        let violation = world.run().err();
        Outcome {
            trace: world.trace.hash(),
            ended: world.queue.now(),
            counts: world.counts,
            accepted: world.oracle.accepted(),
            granted: world.oracle.granted,
            violation,
        }
    }

    fn populate(self, world: &mut World, luck: &mut Rng) -> Cast {
        let names = ["broker-0", "broker-1", "broker-2"];
        let brokers = [0, 1, 2].map(|index: usize| {
            let bootstrap = names.get(index + 1).map(|name| address_of(name));
            let config = BrokerConfig {
                addresses: vec![address_of(names[index])],
                bootstrap: bootstrap.into_iter().collect(),
                ..Default::default()
            };
            let spec = self.node(names[index], Role::Broker(config), luck);
            world.add(spec, luck.duration(soon()))
        });
        let [near, middle, far] = brokers;
        let table = world.table().clone();
        let trusted = table.signer("project").public().into();
        let volunteers = ["volunteer-0", "volunteer-1", "volunteer-2"].map(|name| {
            let mut pins = vec![pin(trusted)];
            if self.sabotage == Some(Sabotage::TrustStrangers) {
                pins.push(pin(table.signer("strange project").public().into()));
            }
            let role = Role::Volunteer { machine: machine(), pins };
            let spec = NodeSpec { dials: vec![far, middle], ..self.node(name, role, luck) };
            let id = world.add(NodeSpec { must_end: true, ..spec }, luck.duration(soon()));
            world.oracle.pinned(id, [trusted]);
            id
        });
        let mut master = |name, project, brokers: &[NodeId], tasks, must_end, luck: &mut Rng| {
            let keys = brokers.iter().map(|it| table.signer(names[it.0]).public()).collect();
            let authority = authority(&table, name, project);
            let role = Role::Master { authority, brokers: keys };
            let job = Some(job(tasks, self.replicas));
            let spec =
                NodeSpec { dials: brokers.to_vec(), job, must_end, ..self.node(name, role, luck) };
            world.add(spec, luck.duration(soon()))
        };
        let stranger = master("stranger", "strange project", &[far], 2, false, luck);
        let master = master("master", "project", &[near, middle], self.tasks, true, luck);

        let between_brokers = Duration::from_millis(5)..=Duration::from_millis(60);
        let at_home = Duration::from_millis(10)..=Duration::from_millis(120);
        for (a, b) in [(near, middle), (middle, far)] {
            world.network.join(a, b, Link::new(between_brokers.clone()));
        }
        let mut dialled = vec![(master, near), (master, middle), (stranger, far)];
        dialled.extend(volunteers.iter().flat_map(|it| [(*it, far), (*it, middle)]));
        for (a, b) in dialled {
            world.network.join(a, b, Link::new(at_home.clone()));
        }
        Cast { brokers, volunteers, master }
    }

    fn node(self, name: &str, role: Role, luck: &mut Rng) -> NodeSpec {
        NodeSpec {
            name: name.to_owned(),
            role,
            dials: Vec::new(),
            job: None,
            must_end: false,
            clock_ahead: luck.duration(Duration::ZERO..=self.skew),
        }
    }
}

/// What goes wrong and when, as `luck` wants it.
///
/// The broker in the middle is never destroyed for good: without it there may be no way left.
fn faults(cast: &Cast, luck: &mut Rng) -> Vec<(Duration, Fault)> {
    let [near, middle, far] = cast.brokers;
    let mut faults = Vec::new();
    let permille = luck.pick(&[0, 0, 10, 50, 150]);
    faults.push((Duration::from_secs(1), Fault::Loss { permille }));
    for _ in 0..luck.within(0..=3) {
        let node = luck.pick(&cast.brokers);
        faults.push((moment(luck), Fault::Kill { node, down: downtime(luck) }));
    }
    for _ in 0..luck.within(0..=2) {
        let everybody = [near, middle, far, cast.master, cast.volunteers[0], cast.volunteers[1]];
        let (node, actions) = (luck.pick(&everybody), luck.within(1..=100));
        let fault = Fault::KillAfterActions { node, actions, down: downtime(luck) };
        faults.push((moment(luck), fault));
    }
    for _ in 0..luck.within(0..=2) {
        let node = luck.pick(&cast.volunteers);
        faults.push((moment(luck), Fault::KillInMidTask { node, down: downtime(luck) }));
    }
    for _ in 0..luck.within(0..=2) {
        let ways = [(near, middle), (middle, far), (cast.master, near), (cast.volunteers[0], far)];
        let (a, b) = luck.pick(&ways);
        faults.push((moment(luck), Fault::Cut { a, b, lasts: downtime(luck) }));
    }
    if luck.happens(300) {
        let node = cast.master;
        faults.push((moment(luck), Fault::Kill { node, down: downtime(luck) }));
    }
    if luck.happens(500) {
        faults.push((moment(luck), Fault::DestroySoleCustodian { node: far, from: middle }));
    }
    if luck.happens(200) {
        faults.push((moment(luck), Fault::Destroy { node: near }));
    }
    if luck.happens(250) {
        let node = luck.pick(&cast.brokers);
        faults.push((moment(luck), Fault::Rebuild { node, down: downtime(luck) }));
    }
    faults
}

/// Some time while the job is under way.
fn moment(luck: &mut Rng) -> Duration {
    luck.duration(Duration::from_secs(2)..=Duration::from_secs(70))
}

/// Mostly a restart; sometimes so long that others take over.
fn downtime(luck: &mut Rng) -> Duration {
    let longest = if luck.happens(200) { 75 } else { 15 };
    luck.duration(Duration::from_millis(200)..=Duration::from_secs(longest))
}

fn soon() -> std::ops::RangeInclusive<Duration> {
    Duration::ZERO..=Duration::from_secs(1)
}

fn machine() -> Capabilities {
    let runtime = RuntimeFacts { strength: "simulated".to_owned(), facts: Facts::new() };
    Capabilities {
        platform: Platform::new("linux", "x86_64").expect("two words"),
        resources: Resources { cores: 2, memory: 8 << 30, disk: 32 << 30 },
        runtimes: [(Runtime::Native, runtime)].into(),
    }
}

fn pin(project: ProjectKey) -> Pin {
    Pin { name: "a project".to_owned(), runtimes: [Runtime::Native].into(), ..Pin::of(project) }
}

fn authority(table: &SignatureTable, node: &str, project: &str) -> Authority {
    let (project, signer) = (table.signer(project), Arc::new(table.signer(node)));
    let registration = Registration {
        name: node.to_owned(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions { runtimes: vec![Runtime::Native], network: false },
        checks: Vec::new(),
        expires: BEGINNING + 300 * DAY,
    };
    let encryption = TableKeys::of(node).public();
    let expires = BEGINNING + 90 * DAY;
    let delegation = Delegation { node: signer.public(), encryption, expires };
    let registration = Verified::sign(registration, &project);
    let delegation = Verified::sign(delegation, &project);
    Authority::new(signer, registration, delegation).expect("both are signed by the project")
}

fn job(tasks: u32, replicas: u16) -> NewJob {
    NewJob {
        name: "sweep".to_owned(),
        builder: "sweep".to_owned(),
        tasks,
        replicas,
        package: Package { hash: BlobHash::of(b"package"), size: 10_000 },
        private: None,
        requirements: Requirements {
            runtimes: vec![Runtime::Native],
            clauses: vec![Clause::Donates { resource: Resource::Cores, amount: 1 }],
            rank: Vec::new(),
        },
        job: JobSpec {
            environment: BTreeMap::new(),
            steps: vec![Step { name: "run".to_owned(), run: vec!["true".to_owned()] }],
            limits: Limits::default(),
            artifacts: Vec::new(),
            tap: None,
            network: Vec::new(),
            image: None,
            checkpoint: None,
        },
        lifetime: 7 * DAY,
        offline: Duration::ZERO,
        priority: USUAL_PRIORITY,
    }
}
