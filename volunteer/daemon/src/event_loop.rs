//! The one `select!`: what happens becomes an input of the core, what the core wants an errand.
//!
//! What is done with each source is in a file of its own below.

mod answers;
mod errands;
mod happenings;
mod looks;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use capability::{BlobHash, ProjectKey, PublicKey, StatementId};
use mesh_core::{CommitId, ReplyId};
use mesh_net::{Event, Reply};
use mesh_shell::{
    Clock, Dialer, Durable, Incoming, KeyChanges, Learning, Link, NetworkList, Outcome,
    Termination, Watch, disk_failure,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use volunteer_core::{Input, NotTaken, ReceiptFate, TakenWork, Volunteer};

use crate::Equipment;
use crate::config::Settings;
use crate::face::Question;
use crate::job::{Checkpoints, Executor, Place, Ran};
use crate::lists::Lists;
use crate::metrics::Metrics;
use crate::ownership::Ownerships;
use crate::pins::Pins;
use crate::reload::Source;
use crate::runtimes::{JobRuntime, Probe};
use crate::sensors::Sensors;

// A task is not taken where the sandbox would not start it.
const _: () = assert!(volunteer_core::DISK_RESERVE == volunteer_sandbox::DISK_RESERVE);

/// Between two looks at the pins, the owner, the configuration, the disk, the hours and the sensors.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Between two counts of what jobs that run pass over the network: as much of it a `kill -9` may cost.
const COUNT_INTERVAL: Duration = Duration::from_secs(180);

/// Brokers that it is connected to: when the first dies, the second takes its place at once.
const WARM_BROKERS: usize = 2;

/// How long jobs may take to end, and leases to be released, once the process is asked to end.
const QUIT_TIME: Duration = Duration::from_secs(2);

/// What the loop is made of.
pub struct Parts {
    /// Where its settings come from.
    pub source: Source,
    /// What it goes by.
    pub settings: Settings,
    /// With what it runs jobs.
    pub equipment: Equipment,
    /// The trusted projects at the start.
    pub pins: Pins,
    /// The core.
    pub core: Volunteer,
    /// The network.
    pub link: Link,
    /// Where jobs live.
    pub place: Place,
    /// What is kept for jobs to go on from.
    pub checkpoints: Checkpoints,
    /// The leases of a former process whose jobs can go on.
    pub resumed: Vec<StatementId>,
    /// Packages that it has left of what it had fetched ahead.
    pub stored: BTreeSet<BlobHash>,
    /// What the network tells.
    pub events: mpsc::Receiver<Event>,
    /// What the page and the command line ask.
    pub asked: mpsc::Receiver<Question>,
    /// Signals.
    pub termination: Termination,
    /// What is counted.
    pub metrics: Metrics,
}

/// The daemon at work.
pub struct EventLoop {
    source: Source,
    settings: Settings,
    key: PublicKey,
    core: Volunteer,
    link: Link,
    clock: Clock,
    dialer: Dialer,
    executor: Box<dyn Executor>,
    checkpoints: Checkpoints,
    /// Leases of a former process, until the core has taken them up.
    resumed: Vec<StatementId>,
    /// Packages of what it had fetched ahead, until then.
    stored: BTreeSet<BlobHash>,
    runtimes: Vec<Arc<dyn JobRuntime>>,
    probes: Vec<Probe>,
    pins: Pins,
    lists: Lists,
    owner: Ownerships,
    key_changes: KeyChanges,
    seen: Seen,
    sensors: Sensors,
    /// Whether the hours for work, and those for the network, held when the core was told last, and which
    /// projects were outside of theirs.
    hold: Option<(bool, bool, BTreeSet<ProjectKey>)>,
    disk_free: u64,
    /// When it was counted last what jobs pass.
    counted: Instant,
    /// The commit that the disk was given last, unless it is durable.
    landing: Option<CommitId>,
    /// Whoever is to be told that a wish is durable, by the commit that it became part of.
    wishing: VecDeque<(CommitId, oneshot::Sender<()>)>,
    /// Whoever has brought something.
    bringing: BTreeMap<ReplyId, Bringing>,
    /// Handovers that the core has not answered.
    handovers: BTreeMap<ReplyId, (Reply, Incoming)>,
    next_reply: u64,
    /// Blobs that the core needed once.
    unneeded: BTreeSet<BlobHash>,
    /// Set once nothing is left to do.
    drained: bool,
    /// When it ends at the latest, once it was asked to.
    quit_at: Option<Instant>,
    events: mpsc::Receiver<Event>,
    asked: mpsc::Receiver<Question>,
    termination: Termination,
    metrics: Metrics,
    errands: Channel<Input>,
    ran: mpsc::UnboundedReceiver<Ran>,
    probed: Channel<Vec<Probe>>,
    durable: Channel<Durable>,
}

/// Who has brought something, and waits for what becomes of it.
enum Bringing {
    Receipts(oneshot::Sender<Vec<ReceiptFate>>),
    Work(oneshot::Sender<Result<TakenWork, NotTaken>>),
}

/// What the command line changes in the state directory.
struct Seen {
    pins: Watch,
    owner: Watch,
    key_changes: Watch,
}

/// Both ends of a channel on which errands come home. Bounded by the errands under way.
struct Channel<T> {
    sender: mpsc::UnboundedSender<T>,
    receiver: mpsc::UnboundedReceiver<T>,
}

impl<T> Channel<T> {
    fn new() -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        Self { sender, receiver }
    }

    /// What comes next. Never ends, since one sender stays here.
    async fn next(&mut self) -> T {
        match self.receiver.recv().await {
            Some(next) => next,
            None => std::future::pending().await,
        }
    }
}

impl EventLoop {
    /// Puts the parts together; nothing happens yet.
    pub fn new(parts: Parts) -> Self {
        let Parts {
            source,
            settings,
            equipment,
            pins,
            core,
            link,
            place,
            checkpoints,
            resumed,
            stored,
            events,
            asked,
            termination,
            metrics,
        } = parts;
        let runtimes = (equipment.runtimes)(&settings);
        let (done, ran) = mpsc::unbounded_channel();
        let owner = Ownerships::in_state(&settings.state);
        let (settings_state, clock) = (settings.state.clone(), place.clock);
        let key_changes = KeyChanges::in_state(&settings.state);
        Self {
            key: link.key(),
            clock: place.clock,
            dialer: Dialer::new(
                link.clone(),
                place.clock,
                WARM_BROKERS,
                learning(&settings),
                settings.network.clone().map(|network| {
                    NetworkList::open(network, &settings.state, place.clock.now().wall)
                }),
            ),
            executor: (equipment.executor)(place, &runtimes, done),
            checkpoints,
            resumed,
            stored,
            seen: Seen {
                pins: Watch::new(Pins::path(&settings.state)),
                owner: Watch::new(owner.path().to_path_buf()),
                key_changes: Watch::new(key_changes.path().to_path_buf()),
            },
            sensors: Sensors::new(settings.yields.clone()),
            hold: None,
            owner,
            key_changes,
            disk_free: link.storage().free(),
            source,
            settings,
            core,
            link,
            runtimes,
            probes: Vec::new(),
            lists: Lists::follow(&pins, &settings_state, clock.now().wall),
            pins,
            counted: Instant::now(),
            landing: None,
            wishing: VecDeque::new(),
            bringing: BTreeMap::new(),
            handovers: BTreeMap::new(),
            next_reply: 0,
            unneeded: BTreeSet::new(),
            drained: false,
            quit_at: None,
            events,
            asked,
            termination,
            metrics,
            errands: Channel::new(),
            ran,
            probed: Channel::new(),
            durable: Channel::new(),
        }
    }

    /// Runs until it is asked to end, has drained, or the disk fails.
    pub async fn run(mut self) -> Outcome {
        self.begin();
        let mut look = tokio::time::interval(LOOK_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut key_changes = mesh_shell::key_change_readings();
        while !self.drained {
            let wake = self.core.next_wake();
            tokio::select! {
                Some(event) = self.events.recv() => self.event(event),
                input = self.errands.next() => self.handle(input),
                Some(ran) = self.ran.recv() => self.jobs_ended(ran),
                probes = self.probed.next() => self.take_probes(probes),
                durable = self.durable.next() => {
                    self.committed(durable.map_err(disk_failure)?);
                }
                Some(question) = self.asked.recv() => self.answer(question),
                () = self.clock.sleep_until(wake) => self.handle(Input::Wake),
                _ = look.tick() => self.look(),
                _ = key_changes.tick() => self.take_key_changes(),
                () = self.termination.asked() => {
                    if self.quit_at.is_some() {
                        break;
                    }
                    self.quit(Input::Quit);
                }
                () = until(self.quit_at) => break,
            }
        }
        self.link.net().shutdown().await;
        Ok(())
    }

    fn begin(&mut self) {
        tracing::info!(
            volunteer = self.key.short(),
            cores = self.settings.donated.cores,
            projects = self.pins.projects.len(),
            "volunteer started"
        );
        self.dial();
        self.state_preferences();
        self.tell_pins();
        let resumed = std::mem::take(&mut self.resumed);
        self.handle(Input::TakeUp(resumed));
        let stored = std::mem::take(&mut self.stored);
        self.handle(Input::Stored(stored));
        self.watch_owner();
        self.handle(Input::DiskFree(self.disk_free));
        self.take_owner();
        self.take_key_changes();
        self.probe();
    }

    fn next_reply(&mut self) -> ReplyId {
        self.next_reply += 1;
        ReplyId(self.next_reply)
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.clock.now());
        // Before what it may want to be fetched.
        self.link.net().hold_fetches(self.core.lets_no_package_come());
        while let Some(action) = self.core.poll_action() {
            self.act(action);
        }
        self.metrics.measure(&self.core);
        self.remove_unneeded();
    }
}

/// Any broker will do, and is remembered, unless the owner wants those that are named and no others.
fn learning(settings: &Settings) -> Learning {
    if settings.discover {
        Learning::Any { file: settings.state.join("brokers") }
    } else {
        Learning::Nothing
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
