//! The one place where everything that happens becomes an input of the core, and its actions effects.
//!
//! Nothing here waits for the network or for a disk flush: errands run in tasks of their own, and
//! their outcomes come back as inputs.

use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::time::Duration;

use capability::statements::{JobResult, TaskId};
use capability::{HpkeOpener, PublicKey, StatementId, Verified};
use master_core::{
    Action, Arrival, CancelError, Fate, Input, Inside, JobState, Master, News, SubmitError,
};
use mesh_core::{Answer, Ask, Bundle, CallFailed, Cargo, HandoverAnswer, ReplyId};
use mesh_net::{Event, Multiaddr, Protocol, Reply};
use mesh_shell::{
    Clock, Durable, Exit, Failure, Incoming, KeyChanges, Link, Outcome, Termination, Watch, chain,
    disk_failure, log_declared, public_key, spans,
};
use tokio::sync::{mpsc, oneshot};

use crate::archive::describe;
use crate::brokers::Brokers;
use crate::metrics::Counters;
use crate::rest::{Board, Command, NoAnswer, NotReached, NotWatched, SharedBoard, Watched};

/// How often free disk space is measured.
const DISK_PERIOD: Duration = Duration::from_secs(10);

/// How often the state directory is looked at for what brokers are to be told about keys.
const LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Everything that the loop works with.
pub struct EventLoop {
    master: Master,
    opener: HpkeOpener,
    board: SharedBoard,
    key_changes: KeyChanges,
    link: Link,
    clock: Clock,
    brokers: Brokers,
    waiting: BTreeMap<ReplyId, Waiting>,
    next_reply: u64,
    counters: Counters,
    errands: mpsc::UnboundedSender<Input>,
    durable: mpsc::UnboundedSender<Durable>,
}

/// Who waits for an answer of the core.
enum Waiting {
    Handover(Reply, Incoming),
    Submission(oneshot::Sender<Result<StatementId, SubmitError>>),
    Cancellation(StatementId, oneshot::Sender<Result<(), CancelError>>),
    Import(oneshot::Sender<Vec<Fate>>),
}

/// What the loop listens to.
pub struct Sources {
    /// The network.
    pub events: mpsc::Receiver<Event>,
    /// The REST interface.
    pub commands: mpsc::Receiver<Command>,
    /// The operator.
    pub termination: Termination,
}

/// What the loop is made of.
pub struct Parts {
    /// The core.
    pub master: Master,
    /// Opens reports.
    pub opener: HpkeOpener,
    /// What the REST interface shows.
    pub board: SharedBoard,
    /// What brokers are told about keys.
    pub key_changes: KeyChanges,
    /// The network.
    pub link: Link,
    /// The time.
    pub clock: Clock,
    /// The brokers, which it keeps connected.
    pub brokers: Brokers,
    /// What is counted.
    pub counters: Counters,
}

impl EventLoop {
    /// Puts the parts together; nothing happens yet.
    pub fn new(parts: Parts) -> (Self, Finished) {
        let Parts { master, opener, board, key_changes, link, clock, brokers, counters } = parts;
        let (errands, finished) = mpsc::unbounded_channel();
        let (durable, commits) = mpsc::unbounded_channel();
        let this = Self {
            master,
            opener,
            board,
            key_changes,
            link,
            clock,
            brokers,
            waiting: BTreeMap::new(),
            next_reply: 0,
            counters,
            errands,
            durable,
        };
        (this, Finished { errands: finished, commits })
    }

    /// Runs until the operator asks for the end, or the disk fails.
    pub async fn run(mut self, mut sources: Sources, mut finished: Finished) -> Outcome {
        let mut disk = tokio::time::interval(DISK_PERIOD);
        let mut look = tokio::time::interval(LOOK_PERIOD);
        let mut seen = Watch::new(self.key_changes.path().to_path_buf());
        let mut again = mesh_shell::key_change_readings();
        self.act();
        self.take_key_changes();
        loop {
            let wake = self.master.next_wake();
            tokio::select! {
                () = sources.termination.asked() => return Ok(()),
                Some(durable) = finished.commits.recv() => {
                    let id = durable.map_err(disk_failure)?;
                    self.give(Input::Committed(id));
                }
                Some(input) = finished.errands.recv() => self.give(input),
                event = sources.events.recv() => match event {
                    Some(event) => self.on_event(event),
                    None => {
                        return Err(Failure::say(Exit::Network, "the network has stopped"));
                    }
                },
                Some(command) = sources.commands.recv() => self.on_command(command),
                _ = disk.tick() => {
                    let bytes = self.link.storage().free();
                    self.give(Input::DiskFree { bytes });
                }
                _ = look.tick() => if seen.has_changed() { self.take_key_changes() },
                _ = again.tick() => self.take_key_changes(),
                () = self.clock.sleep_until(wake) => self.give(Input::Wake),
            }
        }
    }

    // From outside to the core.

    fn give(&mut self, input: Input) {
        self.master.handle(input, self.clock.now());
        self.act();
    }

    fn take_key_changes(&mut self) {
        match self.key_changes.load(self.clock.now().wall) {
            Ok(changes) => self.give(Input::Declare(changes)),
            Err(failure) => tracing::warn!(reason = %failure, "key changes not read"),
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Connected { peer, address, .. } => {
                self.on_connection(public_key(peer), Some(address));
            }
            Event::Disconnected { peer } => self.on_connection(public_key(peer), None),
            Event::Request { protocol: Protocol::Custody, peer, data, reply } => {
                self.on_handover(public_key(peer), &data, reply);
            }
            Event::Blob(incoming) => {
                let link = self.link.clone();
                tokio::spawn(async move { link.serve_blob(incoming, None).await });
            }
            // A master is asked nothing else, and dropping the reply says so.
            Event::Request { .. }
            | Event::Channel(_)
            | Event::Gossip { .. }
            | Event::Listening { .. } => {}
        }
    }

    /// `peer` is connected, `at` some address, or no longer.
    fn on_connection(&mut self, peer: PublicKey, at: Option<Multiaddr>) {
        if !self.brokers.has(peer) {
            return;
        }
        let up = at.is_some();
        match at {
            Some(address) => self.brokers.up(peer, address),
            None => self.brokers.down(peer),
        }
        let what = if up { "link up" } else { "link down" };
        tracing::info!(peer = peer.short(), "{what}");
        self.give(if up { Input::BrokerUp { peer } } else { Input::BrokerDown { peer } });
        self.show(|board| {
            let brokers = board.project.brokers.iter_mut();
            for broker in brokers.filter(|broker| broker.peer == peer) {
                broker.connected = up;
            }
        });
    }

    fn on_handover(&mut self, from: PublicKey, data: &[u8], reply: Reply) {
        let checked = match self.link.read_handover(data) {
            Ok(checked) => checked,
            Err(error) => {
                let error = chain(&error);
                tracing::debug!(peer = from.short(), error, "handover refused");
                // A peer that has gone hears nothing.
                let _ = reply.send(HandoverAnswer::Refused(error).encode());
                return;
            }
        };
        // The core says which blobs it wants, once it has judged.
        let (incoming, bundles) = Incoming::new(checked, |_| Vec::new());
        let _span = spans::of_bundles(&bundles, from).entered();
        let arrivals = bundles.into_iter().map(|bundle| self.arrival(bundle)).collect();
        let reply = self.wait(Waiting::Handover(reply, incoming));
        self.give(Input::Handover { from, arrivals, reply });
    }

    fn arrival(&self, bundle: Bundle) -> Arrival {
        let missing = self.link.missing(&bundle);
        let inside = Inside::of(&bundle, &self.opener, &**self.link.verifier());
        if let Some(Err(error)) = &inside.report {
            let statement = bundle.id().short();
            tracing::debug!(statement, error = %chain(error), "report not opened");
        }
        Arrival { bundle, inside, missing }
    }

    fn on_command(&mut self, command: Command) {
        let input = match command {
            Command::Submit { job, reply } => {
                Input::Submit { job, reply: self.wait(Waiting::Submission(reply)) }
            }
            Command::Cancel { offer, reply } => {
                let reply = self.wait(Waiting::Cancellation(offer, reply));
                Input::Cancel { offer, reply }
            }
            Command::Import { results, reply } => {
                let arrivals = results.into_iter().map(|result| self.arrival(unsent(result)));
                let arrivals = arrivals.collect();
                Input::Import { arrivals, reply: self.wait(Waiting::Import(reply)) }
            }
            Command::Standing { job, reply } => {
                let job = self.master.job(job).filter(|job| job.state() == JobState::Open);
                let offer = job.map(|job| job.offer().clone());
                // A client that has hung up needs no answer.
                return drop(reply.send(offer.zip(self.master.home().cloned())));
            }
            Command::AskHome { ask, reply } => return self.ask_home(ask, reply),
            Command::Watch { task, reply } => return self.watch(task, reply),
        };
        self.give(input);
    }

    /// The home, if it can be asked something now.
    fn reached_home(&self) -> Result<PublicKey, NotReached> {
        let home = self.master.home().map(|home| home.home).ok_or(NotReached::NoHome)?;
        if self.master.is_up(home) { Ok(home) } else { Err(NotReached::Away(home)) }
    }

    /// Asks the home a question of which the core need not know.
    fn ask_home(&self, ask: Ask, reply: oneshot::Sender<Result<(PublicKey, Answer), NoAnswer>>) {
        let (home, link) = (self.reached_home(), self.link.clone());
        let answer = async move {
            let home = home?;
            let answer = link.ask(home, &ask).await;
            let failed = |error| NoAnswer::Failed { home, why: chain(&error) };
            Ok((home, answer.map_err(failed)?))
        };
        // A client that has hung up needs no answer.
        tokio::spawn(async move { drop(reply.send(answer.await)) });
    }

    /// Has the home open a channel to whoever works on `task`; the core need not know.
    fn watch(&self, task: TaskId, reply: oneshot::Sender<Result<Watched, NotWatched>>) {
        let (home, link) = (self.reached_home(), self.link.clone());
        let watched = async move {
            let watched = link.open_channel(home?, task).await;
            watched.map_err(NotWatched::Failed)
        };
        // A client that has hung up watches nothing.
        tokio::spawn(async move { drop(reply.send(watched.await)) });
    }

    fn wait(&mut self, waiting: Waiting) -> ReplyId {
        let id = ReplyId(self.next_reply);
        self.next_reply += 1;
        self.waiting.insert(id, waiting);
        id
    }

    // From the core to outside.

    fn act(&mut self) {
        while let Some(action) = self.master.poll_action() {
            match action {
                Action::Commit(commit) => self.link.storage().commit(commit, &self.durable),
                Action::Ask { to, call, ask } => {
                    self.errand(move |link| async move {
                        let answer = link.ask(to, &ask).await;
                        let answer = answer.map_err(|error| CallFailed(chain(&error)));
                        Input::Answered { call, answer }
                    });
                }
                Action::HandOver(handover) => self.errand(move |link| async move {
                    Input::HandedOver { outcomes: link.hand_over(handover).await }
                }),
                Action::ReplyHandover { reply, answers } => {
                    let waiting = self.waiting.remove(&reply);
                    if let Some(Waiting::Handover(reply, incoming)) = waiting
                        && let Err(error) = reply.send(incoming.answer(answers))
                    {
                        tracing::debug!(%error, "the answer to a handover was not sent");
                    }
                }
                Action::Imported { reply, fates } => {
                    if let Some(Waiting::Import(reply)) = self.waiting.remove(&reply) {
                        // Whoever has brought them may have gone, and can bring them again.
                        let _ = reply.send(fates);
                    }
                }
                Action::Submitted { reply, result } => self.submitted(reply, result),
                Action::Cancelled { reply, result } => self.cancelled(reply, result),
                Action::News(news) => self.tell(&news),
            }
        }
    }

    fn errand<F>(&self, errand: impl FnOnce(Link) -> F)
    where
        F: Future<Output = Input> + Send + 'static,
    {
        let (errand, finished) = (errand(self.link.clone()), self.errands.clone());
        // Nobody listens any more once the loop has ended.
        tokio::spawn(async move { drop(finished.send(errand.await)) });
    }

    fn submitted(&mut self, reply: ReplyId, result: Result<StatementId, SubmitError>) {
        if let Ok(offer) = &result
            && let Some(job) = self.master.job(*offer)
        {
            let (offer, name) = (offer.to_string(), job.offer().name.clone());
            tracing::info!(offer = &offer[..8], name, tasks = job.offer().tasks, "submitted");
            let (job, statement) = (job.id(), job.offer().clone());
            self.show(|board| board.archive.add(job, statement));
        }
        if let Some(Waiting::Submission(reply)) = self.waiting.remove(&reply) {
            // A client that has hung up can see the job in the list.
            let _ = reply.send(result);
        }
    }

    fn cancelled(&mut self, reply: ReplyId, result: Result<(), CancelError>) {
        if let Some(Waiting::Cancellation(offer, reply)) = self.waiting.remove(&reply) {
            if result.is_ok() {
                self.show(|board| board.archive.cancel(offer));
            }
            let _ = reply.send(result);
        }
    }

    fn tell(&mut self, news: &News) {
        // Reading the TAP of a large log takes a moment; other threads go on meanwhile.
        tokio::task::block_in_place(|| {
            let blobs = self.link.storage().blobs().clone();
            self.show(|board| board.archive.apply(news, &blobs));
        });
        self.counters.count(news);
        match news {
            News::HomeMoved { epoch, home } => self.show(|board| {
                board.project.epoch = Some(*epoch);
                board.project.home = Some(*home);
            }),
            News::Revoked(_) => self.show(|board| board.project.revoked = true),
            News::Superseded { epoch } => {
                self.show(|board| board.project.superseded = Some(*epoch));
            }
            _ => {}
        }
        let name = |offer: &StatementId| {
            let board = self.board.read().unwrap_or_else(PoisonError::into_inner);
            board.archive.name_of(*offer).unwrap_or_default().to_owned()
        };
        log(news, name);
    }

    fn show(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.board.write().unwrap_or_else(PoisonError::into_inner));
    }
}

/// A result that no broker has handed over. Its receipt goes to the home of its lease.
fn unsent(result: Verified<JobResult>) -> Bundle {
    let via = result.lease.signer();
    Bundle { cargo: Cargo::Result(result), via }
}

/// Where errands and commits report.
pub struct Finished {
    errands: mpsc::UnboundedReceiver<Input>,
    commits: mpsc::UnboundedReceiver<Durable>,
}

/// The events that people and programs follow; their names and fields are documented in
/// `docs/operating`.
fn log(news: &News, name: impl Fn(&StatementId) -> String) {
    match news {
        News::Published { offer, broker, epoch } => {
            let name = name(offer);
            tracing::info!(offer = offer.short(), name, peer = broker.short(), epoch, "published");
        }
        News::NotPublished { offer, broker, reason } => {
            let (offer, peer) = (offer.short(), broker.short());
            tracing::warn!(offer, peer, reason, "not published");
        }
        News::Explained { offer, explanation } => {
            let (matching, known) = (explanation.matching, explanation.known);
            tracing::info!(offer = offer.short(), matching, known, "candidates");
        }
        News::Accepted { task, result, report, via, .. } => {
            tracing::info!(
                statement = result.id().short(),
                offer = task.offer.short(),
                task = task.task,
                volunteer = result.signer().short(),
                ended = describe(&report.ended),
                via = via.short(),
                "accepted"
            );
        }
        News::Rejected { task, result, volunteer, reason }
        | News::Again { task, result, volunteer, reason } => {
            let again = matches!(news, News::Again { .. });
            tracing::info!(
                statement = result.short(),
                offer = task.offer.short(),
                task = task.task,
                volunteer = volunteer.short(),
                reason,
                again,
                "rejected"
            );
        }
        News::GivenUp { task, reason } => {
            let (offer, task) = (task.offer.short(), task.task);
            tracing::warn!(offer, task, reason, "task given up");
        }
        News::JobDone { offer, passed, failed } => {
            tracing::info!(offer = offer.short(), name = name(offer), passed, failed, "job done");
        }
        News::SignedAgain { offer, now } => {
            let (offer, now) = (offer.short(), now.short());
            tracing::info!(offer, now, "offer signed again");
        }
        News::Withdrawn { offer } => tracing::info!(offer = offer.short(), "withdrawn"),
        News::HomeMoved { epoch, home } => {
            tracing::info!(epoch, peer = home.short(), "home moved");
        }
        News::Declared(declared) => log_declared(declared),
        News::OwnerMoved { owner, heir } => {
            tracing::info!(owner = owner.short(), heir = heir.short(), "owner moved");
        }
        News::Superseded { epoch } => tracing::error!(
            epoch,
            "another adapter with this node key has moved the home; this one stands still"
        ),
        News::Revoked(key) => tracing::error!("{key}"),
    }
}
