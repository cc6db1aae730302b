//! The one `select!`: what happens becomes an input of the core, what the core wants an errand.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use capability::{BlobHash, Capabilities, Platform, PublicKey, Resources, Runtime};
use mesh_core::{CallFailed, CommitId, HandoverAnswer, ReplyId};
use mesh_net::{Event, IncomingBlob, Protocol, Reply};
use mesh_shell::{
    Clock, Dialer, Durable, Incoming, KeyChanges, Learning, Link, NetworkList, Outcome,
    Termination, Watch, chain, disk_failure, public_key, spans,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};
use volunteer_core::{Action, Input, News, Quiet, Volunteer};

use crate::Equipment;
use crate::config::Settings;
use crate::face::Question;
use crate::history;
use crate::hours::Hours;
use crate::job::{Executor, Place, Ran};
use crate::live;
use crate::metrics::Metrics;
use crate::news;
use crate::ownership::Ownerships;
use crate::pins::Pins;
use crate::probing::Lost;
use crate::reload::Source;
use crate::runtimes::{self, JobRuntime, Probe};
use crate::sensors::Sensors;
use crate::status::{self, Status, blob_name};
use crate::why;

// A task is not taken where the sandbox would not start it.
const _: () = assert!(volunteer_core::DISK_RESERVE == volunteer_sandbox::DISK_RESERVE);

/// Ended jobs that become one input: no more are worked on.
const MAX_ENDS: usize = volunteer_core::MAX_JOBS;

/// Between two looks at the pins, the owner, the configuration, the disk, the hours and the sensors.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

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
    runtimes: Vec<Arc<dyn JobRuntime>>,
    probes: Vec<Probe>,
    pins: Pins,
    owner: Ownerships,
    key_changes: KeyChanges,
    seen: Seen,
    sensors: Sensors,
    /// Whether the hours for work, and those for the network, held when the core was told last.
    hold: Option<(bool, bool)>,
    disk_free: u64,
    /// The commit that the disk was given last, unless it is durable.
    landing: Option<CommitId>,
    /// Whoever is to be told that a wish is durable, by the commit that it became part of.
    wishing: VecDeque<(CommitId, oneshot::Sender<()>)>,
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
            events,
            asked,
            termination,
            metrics,
        } = parts;
        let runtimes = (equipment.runtimes)(&settings);
        let (done, ran) = mpsc::unbounded_channel();
        let owner = Ownerships::in_state(&settings.state);
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
            pins,
            landing: None,
            wishing: VecDeque::new(),
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
                    self.quit();
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
        self.handle(Input::Pins(self.pins.for_core()));
        self.state_preferences();
        self.watch_owner();
        self.handle(Input::DiskFree(self.disk_free));
        self.take_owner();
        self.take_key_changes();
        self.probe();
    }

    fn handle(&mut self, input: Input) {
        self.core.handle(input, self.clock.now());
        while let Some(action) = self.core.poll_action() {
            self.act(action);
        }
        self.metrics.measure(&self.core);
        self.remove_unneeded();
    }

    // What happens.

    fn event(&mut self, event: Event) {
        match event {
            // Only brokers are dialled, and nobody dials us.
            Event::Connected { peer, address, .. } => {
                let peer = public_key(peer);
                self.dialer.up(peer, address);
                self.handle(Input::BrokerUp { peer });
            }
            Event::Disconnected { peer } => {
                let peer = public_key(peer);
                self.dialer.down(peer);
                self.handle(Input::BrokerDown { peer });
            }
            Event::Request { protocol: Protocol::Custody, peer, data, reply } => {
                self.handover(public_key(peer), &data, reply);
            }
            Event::Channel(incoming) => {
                let (watching, executor) = (self.settings.watching, self.executor.as_ref());
                live::take(incoming, watching, &self.core, executor, &self.link);
            }
            // Dropping the question refuses it: a volunteer answers nothing else, serves no blobs to
            // whoever asks, and takes none.
            Event::Request { .. } | Event::Blob(IncomingBlob::Get(_) | IncomingBlob::Put(_)) => {}
            Event::Gossip { .. } | Event::Listening { .. } => {}
        }
    }

    fn handover(&mut self, from: PublicKey, data: &[u8], reply: Reply) {
        match self.link.read_handover(data) {
            Ok(checked) => {
                let (incoming, bundles) = Incoming::new(checked, |_| Vec::new());
                let _span = spans::of_bundles(&bundles, from).entered();
                let id = ReplyId(self.next_reply);
                self.next_reply += 1;
                self.handovers.insert(id, (reply, incoming));
                self.handle(Input::Handover { from, bundles, reply: id });
            }
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(peer = from.short(), error, "handover refused");
                // A peer that has gone hears nothing.
                let _ = reply.send(HandoverAnswer::Refused(error).encode());
            }
        }
    }

    /// All jobs that have ended by now: what is ready is signed together.
    fn jobs_ended(&mut self, first: Ran) {
        let (mut runs, mut storing) = (Vec::new(), Vec::new());
        let mut next = Some(first);
        while let Some(ran) = next {
            self.executor.ended(ran.lease);
            runs.push((ran.lease, ran.outcome));
            storing.extend(ran.storing);
            next = if runs.len() < MAX_ENDS { self.ran.try_recv().ok() } else { None };
        }
        self.core.handle(Input::Ran(runs), self.clock.now());
        // The core knows now which blobs the jobs have left.
        drop(storing);
        self.handle(Input::Wake);
    }

    fn take_probes(&mut self, probes: Vec<Probe>) {
        for Probe { runtime, found, lost, effort } in &probes {
            match found {
                Ok(found) => {
                    let (facts, strength) = (found.facts.len(), &found.strength);
                    let (asked, took) = (effort.asked, effort.measuring.as_millis());
                    tracing::info!(%runtime, strength, facts, asked, took, "runtime");
                }
                Err(reason) => tracing::warn!(%runtime, reason, "runtime not offered"),
            }
            for Lost { fact, reason } in lost {
                tracing::info!(%runtime, fact, reason, "no fact");
            }
        }
        let capabilities = Capabilities {
            platform: Platform::current(),
            resources: self.settings.donated,
            runtimes: runtimes::offered(&probes),
        };
        self.probes = probes;
        self.handle(Input::Capabilities(capabilities));
    }

    fn answer(&mut self, question: Question) {
        match question {
            // Whoever asked may have gone.
            Question::Status(answer) => drop(answer.send(self.status())),
            Question::Receipts(answer) => {
                drop(answer.send(self.core.receipts().cloned().collect()));
            }
            Question::History(asked, answer) => {
                drop(answer.send(history::page(&self.core, asked)));
            }
            Question::WhyNot(project, answer) => {
                let reasons = self.core.why_not(project);
                drop(answer.send(
                    reasons.iter().map(|it| why::advice(it, project, &self.settings)).collect(),
                ));
            }
            Question::WhyJob(lease, answer) => {
                let job = self.core.jobs().find(|job| job.lease == lease);
                drop(
                    answer.send(
                        job.map(|job| why::grounds(&self.core, &job, self.executor.as_ref())),
                    ),
                );
            }
            Question::Log(lease, answer) => {
                let reins = self.executor.reins(lease);
                drop(answer.send(reins.map(|reins| reins.tail().read())));
            }
            Question::Wish(Input::Quit, told) => {
                self.quit();
                // The process ends, and what is durable of that is that it does.
                let _ = told.send(());
            }
            Question::Pause(asked, told) => {
                tracing::info!("the owner's wish: a pause");
                self.handle(Input::Pause(asked.from(self.clock.now().wall)));
                self.tell_when_durable(told);
            }
            Question::Drain(asked, told) => {
                tracing::info!("the owner's wish: a drain");
                self.handle(Input::Drain { until: asked.until(self.clock.now().wall) });
                self.tell_when_durable(told);
            }
            Question::Wish(wish, told) => {
                tracing::info!(?wish, "the owner's wish");
                self.handle(wish);
                self.tell_when_durable(told);
            }
        }
    }

    fn tell_when_durable(&mut self, told: oneshot::Sender<()>) {
        match self.landing {
            Some(commit) => self.wishing.push_back((commit, told)),
            None => drop(told.send(())),
        }
    }

    fn committed(&mut self, commit: CommitId) {
        self.landing = self.landing.filter(|last| *last > commit);
        while let Some((_, told)) = self.wishing.pop_front_if(|(wanted, _)| *wanted <= commit) {
            let _ = told.send(());
        }
        self.handle(Input::Committed(commit));
    }

    fn quit(&mut self) {
        if self.quit_at.is_none() {
            tracing::info!("asked to end; stopping jobs and releasing leases");
            self.quit_at = Some(Instant::now() + QUIT_TIME);
            self.handle(Input::Quit);
        }
    }

    fn look(&mut self) {
        if self.seen.pins.has_changed() {
            self.take_pins();
        }
        if self.seen.owner.has_changed() {
            self.take_owner();
        }
        if self.seen.key_changes.has_changed() {
            self.take_key_changes();
        }
        if let Some(settings) = self.source.changed(&self.settings) {
            self.take_settings(settings);
        }
        self.disk_free = self.link.storage().free();
        self.handle(Input::DiskFree(self.disk_free));
        self.keep_hours();
        self.sample();
    }

    fn sample(&mut self) {
        if self.sensors.are_wanted() {
            let sample = self.sensors.sample(self.clock.now());
            self.handle(Input::Sampled(sample));
        }
    }

    /// Looks from now on at what the configuration says, and at once, so that nothing moves in between.
    fn watch_owner(&mut self) {
        self.sensors = Sensors::new(self.settings.yields.clone());
        for sensor in self.sensors.report().iter().filter(|it| it.sees.is_none()) {
            tracing::warn!(doubt = sensor.line(), "doubtful setting");
        }
        self.handle(Input::GiveWay(self.settings.yields.preferences.clone()));
        self.sample();
    }

    /// Tells the core what the owner prefers, as the configuration has it.
    fn state_preferences(&mut self) {
        self.handle(Input::Policy(self.settings.policy.clone()));
        self.handle(Input::Offline(self.settings.offline));
        let Settings { network_down, network_up, .. } = self.settings;
        self.link.net().set_pace(network_down, network_up);
        self.handle(Input::Quota(self.settings.network_quota));
        self.keep_hours();
    }

    fn take_settings(&mut self, settings: Settings) {
        let former = std::mem::replace(&mut self.settings, settings);
        self.settings.doubts().iter().for_each(|doubt| tracing::warn!(doubt, "doubtful setting"));
        if former.brokers != self.settings.brokers {
            self.dial();
        }
        if former.donated != self.settings.donated {
            let Resources { cores, memory, disk } = self.settings.donated;
            tracing::info!(cores, memory, disk, "donates other amounts; jobs in hand may finish");
        }
        // What is donated and stated is in the facts that the probes find.
        if former.own() != self.settings.own() {
            self.probe();
        }
        self.state_preferences();
        if former.yields != self.settings.yields {
            self.watch_owner();
        }
    }

    fn keep_hours(&mut self) {
        let hold = |hours: &Option<Hours>| hours.as_ref().is_none_or(Hours::hold_now);
        let (works, uses) = (hold(&self.settings.hours), hold(&self.settings.network_hours));
        if self.hold.replace((works, uses)) == Some((works, uses)) {
            return;
        }
        self.handle(if works { Input::OnDuty } else { Input::OffDuty });
        self.handle(Input::Quiet((!uses).then_some(Quiet::Hours)));
    }

    fn take_pins(&mut self) {
        match Pins::load(&self.settings.state) {
            Ok(pins) => {
                tracing::info!(projects = pins.projects.len(), "trusted projects read again");
                self.pins = pins;
                self.dial();
                self.handle(Input::Pins(self.pins.for_core()));
            }
            Err(failure) => {
                tracing::warn!(reason = %failure, "trusted projects not read, the former ones hold");
            }
        }
    }

    /// No job depends on it, so that a damaged file is told of and stops nothing.
    fn take_owner(&mut self) {
        match self.owner.load() {
            Ok(Some(ownership)) => {
                news::owned(&ownership, self.clock.now().wall);
                self.handle(Input::Owner(Some(ownership)));
            }
            Ok(None) => self.handle(Input::Owner(None)),
            Err(failure) => {
                tracing::warn!(reason = %failure, "owner not read, the former one holds");
            }
        }
    }

    fn take_key_changes(&mut self) {
        match self.key_changes.load(self.clock.now().wall) {
            Ok(changes) => self.handle(Input::Declare(changes)),
            Err(failure) => tracing::warn!(reason = %failure, "key changes not read"),
        }
    }

    // What the core wants.

    fn act(&mut self, action: Action) {
        match action {
            Action::Commit(commit) => {
                self.landing = Some(commit.id);
                self.link.storage().commit(commit, &self.durable.sender);
            }
            Action::Ask { to, call, ask } => self.errand(move |link| async move {
                let answer = link.ask(to, &ask).await;
                Input::Answered { call, answer: answer.map_err(|it| CallFailed(chain(&it))) }
            }),
            Action::HandOver(handover) => self.errand(move |link| async move {
                let to = handover.to;
                Input::HandedOver { to, outcomes: link.hand_over(handover).await }
            }),
            Action::ReplyHandover { reply, answers } => {
                if let Some((reply, incoming)) = self.handovers.remove(&reply) {
                    // The peer may have gone; it will offer them again.
                    let _ = reply.send(incoming.answer(answers));
                }
            }
            Action::Fetch { from, hash, size } => self.errand(move |link| async move {
                let fetched = link.fetch(from, hash, size).await;
                if let Err(error) = &fetched {
                    tracing::warn!(
                        peer = from.short(),
                        error = chain(error),
                        "package not fetched"
                    );
                }
                Input::Fetched { hash, fetched: fetched.map_err(|error| chain(&error)) }
            }),
            Action::Run(order) => self.executor.start(order),
            Action::Stop { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.stop());
            }
            Action::Suspend { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.pause());
            }
            Action::Proceed { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.resume());
            }
            Action::RunCheck(order) => {
                let home = self.errands.sender.clone();
                // The loop may be over by then.
                self.executor
                    .check(order, Box::new(move |end| drop(home.send(Input::Checked(end)))));
            }
            Action::StopCheck => self.executor.stop_check(),
            Action::DropBlobs(blobs) => self.unneeded.extend(blobs),
            Action::News(news) => {
                news::log(&news);
                self.metrics.count(&news);
                self.drained |= news == News::Drained;
                if news == News::DrainOver {
                    self.quit_at = Some(Instant::now() + QUIT_TIME);
                }
            }
        }
    }

    /// Does something over the network beside the loop; what comes of it is an input.
    fn errand<F>(&self, errand: impl FnOnce(Link) -> F)
    where
        F: Future<Output = Input> + Send + 'static,
    {
        let (errand, home) = (errand(self.link.clone()), self.errands.sender.clone());
        // The loop may be over when the errand comes home.
        tokio::spawn(async move { drop(home.send(errand.await)) });
    }

    fn dial(&mut self) {
        let own = &self.settings.brokers;
        self.dialer.want(if own.is_empty() { self.pins.brokers() } else { own.clone() });
    }

    /// Tries the runtimes beside the loop.
    fn probe(&self) {
        let (runtimes, own) = (self.runtimes.clone(), self.settings.own());
        let home = self.probed.sender.clone();
        tokio::task::spawn_blocking(move || {
            // The loop may be over by then.
            let _ = home.send(runtimes::probe(&runtimes, &own));
        });
    }

    /// Removes blobs that nothing needs, unless a job may just be storing the same ones.
    fn remove_unneeded(&mut self) {
        if self.unneeded.is_empty() {
            return;
        }
        let (core, unneeded) = (&self.core, &mut self.unneeded);
        let blobs = self.link.storage().blobs();
        self.executor.unless_storing(&mut || {
            for hash in std::mem::take(unneeded) {
                if !core.needs_blob(&hash)
                    && let Err(error) = blobs.remove(&blob_name(&hash))
                {
                    tracing::warn!(%hash, error = chain(&error), "blob not removed");
                }
            }
        });
    }

    fn status(&self) -> Status {
        let mut probes = self.probes.clone();
        if probes.is_empty() {
            let pending = |runtime: &Runtime| {
                Probe::refused(runtime.clone(), "it is still being tried".to_owned())
            };
            probes = self.settings.runtimes.iter().map(pending).collect();
        }
        let key = self.key.to_string();
        let addresses = self.dialer.addresses();
        let sensors = self.sensors.report();
        let executor = self.executor.as_ref();
        let (core, settings) = (&self.core, &self.settings);
        let status =
            status::status(core, &key, settings, &probes, self.disk_free, addresses, executor);
        let (complaint, waiting) = (self.source.complaint.clone(), &self.source.waiting);
        let waiting = waiting.iter().map(|setting| (*setting).to_owned()).collect();
        Status { sensors, config_complaint: complaint, waits_for_restart: waiting, ..status }
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
