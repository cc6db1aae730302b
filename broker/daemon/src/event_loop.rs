//! The one place where everything that happens becomes an input of the core, and its actions effects.
//!
//! Nothing here waits for the network, or for a disk flush while the queue of commits has room
//! ([`Storage::commit`](mesh_shell::Storage::commit)): when the disk is that far behind, the whole
//! broker waits for it. Errands run in tasks of their own, and their outcomes come back as inputs.

mod operating;
mod tolls;
mod visiting;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker_core::{
    Action, Broker, Direction, Disobeyed, GossipToken, GossipVerdict, Input, ReconcileNews,
    ReconcileQuery,
};
use capability::{BlobHash, Envelope, PublicKey, StatementError, Timestamp};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, Gossip, Handover, HandoverAnswer, MAX_STATEMENTS_A_FRAME,
    Published, ReconcileAnswer, ReconcileAsk, Refusal, ReplyId, Topic,
};
use mesh_net::{Event, GossipId, IncomingBlob, Multiaddr, PeerKey, Protocol, Verdict};
use mesh_shell::http::Readiness;
use mesh_shell::{
    Clock, Durable, Incoming, Link, NetworkList, Outcome, Termination, chain, disk_failure,
    peer_key, public_key, spans,
};
use tokio::sync::{mpsc, oneshot};
use tracing::Instrument;

use crate::channels::{Channels, Relaying};
use crate::config::with_peer;
use crate::desk::Look;
use crate::door::{Knock, Lobby};
use crate::garbage::{Garbage, Stored};
use crate::metrics::Gauges;
use crate::network::Following;
use crate::presence::Presence;
use crate::reply::Reply;
use crate::report;

pub use operating::Ordered;
use tolls::{Comer, Origins};

/// How often free disk space is measured, and nonces that nobody can repeat are forgotten.
const DISK_PERIOD: Duration = Duration::from_secs(10);
/// How often channels whose leases are over are looked for.
const CHANNEL_PERIOD: Duration = Duration::from_secs(5);
/// How often blobs that nothing refers to are looked for; they go when found twice in a row.
const GARBAGE_PERIOD: Duration = Duration::from_secs(10 * 60);

/// Everything that the loop works with.
pub struct EventLoop {
    broker: Broker,
    lobby: Lobby,
    presence: Presence,
    link: Link,
    clock: Clock,
    shown: Shown,
    garbage: Garbage,
    channels: Channels,
    topics: BTreeMap<String, Topic>,
    /// Addresses that the operator named for this broker; then those that it listens on do not count.
    external: Vec<Multiaddr>,
    listening: Vec<Multiaddr>,
    /// Who waits for an answer of the core. The network bounds what unanswered requests hold.
    waiting: BTreeMap<ReplyId, Reply>,
    /// Who hands over, and waits for the core likewise.
    handovers: BTreeMap<ReplyId, (Reply, Incoming)>,
    /// Gossip that waits for the core's judgement, which comes at once.
    judged: BTreeMap<GossipToken, (GossipId, PeerKey)>,
    next_id: u64,
    /// Where peers come from.
    origins: Origins,
    /// Orders that the core is carrying out.
    orders: BTreeMap<ReplyId, oneshot::Sender<Result<(), Disobeyed>>>,
    /// The broker has left, as it was told to.
    is_drained: bool,
    /// Brokers that the operator named, and whether it was said that one is not reached.
    named: BTreeMap<String, bool>,
    disk_is_full: bool,
    /// Follows the network's list.
    network: Option<Following>,
    /// Outcomes of errands, of which the core has a bounded number under way.
    errands: mpsc::UnboundedSender<Input>,
    durable: mpsc::UnboundedSender<Durable>,
    stored: mpsc::UnboundedSender<Stored>,
}

/// Where the loop shows how it is.
pub struct Shown {
    /// What is measured and counted.
    pub gauges: Gauges,
    /// Whether it does its work.
    pub readiness: Readiness,
}

/// What the loop listens to.
pub struct Sources {
    /// The network.
    pub events: mpsc::Receiver<Event>,
    /// Visitors at the door.
    pub knocks: mpsc::Receiver<Knock>,
    /// Readers of the HTTP face.
    pub looks: mpsc::Receiver<Look>,
    /// The operator's orders.
    pub orders: mpsc::Receiver<Ordered>,
    /// The operator.
    pub termination: Termination,
}

/// Where errands, commits and walks through the blobs report.
pub struct Finished {
    errands: mpsc::UnboundedReceiver<Input>,
    commits: mpsc::UnboundedReceiver<Durable>,
    walks: mpsc::UnboundedReceiver<Stored>,
}

impl EventLoop {
    /// A loop around `broker`, which others reach at `external`, or where it listens; the operator
    /// `named` other brokers.
    pub fn new(
        broker: Broker,
        link: Link,
        clock: Clock,
        shown: Shown,
        lobby: Lobby,
        external: Vec<Multiaddr>,
        named: &[Multiaddr],
    ) -> (Self, Finished) {
        let (errands, finished) = mpsc::unbounded_channel();
        let (durable, commits) = mpsc::unbounded_channel();
        let (stored, walks) = mpsc::unbounded_channel();
        let topics = Topic::all().into_iter().map(|topic| (topic.to_string(), topic));
        let this = Self {
            broker,
            lobby,
            presence: Presence::default(),
            channels: Channels::new(Relaying::On, link.clone(), clock),
            link,
            clock,
            shown,
            garbage: Garbage::default(),
            topics: topics.collect(),
            external,
            listening: Vec::new(),
            waiting: BTreeMap::new(),
            handovers: BTreeMap::new(),
            judged: BTreeMap::new(),
            next_id: 0,
            origins: Origins::default(),
            orders: BTreeMap::new(),
            is_drained: false,
            named: named.iter().map(|address| (address.to_string(), false)).collect(),
            disk_is_full: false,
            errands,
            durable,
            stored,
            network: None,
        };
        (this, Finished { errands: finished, commits, walks })
    }

    /// The same, that follows the list of its network, if there is one.
    pub fn following(mut self, list: Option<NetworkList>) -> Self {
        self.network = list.map(|list| {
            Following::start(list, self.link.clone(), self.clock, self.errands.clone())
        });
        self
    }

    /// The same, that relays channels, which it does unless told otherwise, or does not.
    pub fn relaying(self, relaying: Relaying) -> Self {
        let channels = Channels::new(relaying, self.link.clone(), self.clock);
        Self { channels, ..self }
    }

    /// Runs until the operator asks for the end, or the disk fails.
    pub async fn run(mut self, mut sources: Sources, mut finished: Finished) -> Outcome {
        let mut disk = tokio::time::interval(DISK_PERIOD);
        let mut garbage = tokio::time::interval(GARBAGE_PERIOD);
        let mut channels = tokio::time::interval(CHANNEL_PERIOD);
        // Before anything can be taken it is known whether there is room.
        self.measure_disk().await;
        self.turn_away_as_before().await;
        while !self.is_drained {
            let wake = self.broker.next_wake();
            tokio::select! {
                () = sources.termination.asked() => return Ok(()),
                Some(durable) = finished.commits.recv() => {
                    let id = durable.map_err(disk_failure)?;
                    self.give(Input::Committed(id)).await;
                }
                Some(input) = finished.errands.recv() => {
                    if let Input::Found { address, .. } = &input
                        && let Some(said) = self.named.get_mut(address)
                    {
                        *said = false;
                    }
                    self.give(input).await;
                }
                event = sources.events.recv() => match event {
                    Some(event) => self.on_event(event).await,
                    None => return Ok(()),
                },
                Some(knock) = sources.knocks.recv() => self.on_knock(knock).await,
                Some(look) = sources.looks.recv() => look(&self.broker),
                Some(ordered) = sources.orders.recv() => self.order(ordered).await,
                _ = disk.tick() => {
                    self.see_off().await;
                    self.measure_disk().await;
                }
                _ = garbage.tick() => self.list_stored(),
                _ = channels.tick() => self.channels.look(&self.broker, self.clock.now()),
                // What is kept may have changed during the walk: it is looked up only now.
                Some(stored) = finished.walks.recv() => {
                    self.garbage.collect(&stored, &self.broker, self.link.storage());
                }
                () = self.clock.sleep_until(wake) => self.give(Input::Wake).await,
            }
        }
        tracing::info!("drained");
        Ok(())
    }

    // From outside to the core.

    async fn give(&mut self, input: Input) {
        self.broker.handle(input, self.clock.now());
        while let Some(action) = self.broker.poll_action() {
            self.act(action).await;
        }
    }

    async fn measure_disk(&mut self) {
        let bytes = self.link.storage().free();
        self.give(Input::DiskFree { bytes }).await;
        let is_full = self.broker.disk_is_full();
        if std::mem::replace(&mut self.disk_is_full, is_full) != is_full {
            let what = if is_full {
                "disk nearly full, nothing new is taken"
            } else {
                "disk has room again"
            };
            tracing::warn!(bytes, "{what}");
        }
        self.lobby.guard.forget(self.clock.now().wall);
        self.shown.gauges.show(&self.broker.totals(), self.presence.visitors(), bytes);
        self.show_readiness();
    }

    fn show_readiness(&self) {
        let obstacles = [
            (self.listening.is_empty(), "it does not listen yet"),
            (self.disk_is_full, "the disk is nearly full"),
            (self.broker.is_leaving(), "it is leaving"),
        ];
        let hold = obstacles.into_iter().filter(|(holds, _)| *holds).map(|(_, what)| what);
        self.shown.readiness.set(hold.collect());
    }

    /// Walks through the blobs beside the loop.
    fn list_stored(&self) {
        let (storage, stored) = (self.link.storage().clone(), self.stored.clone());
        tokio::task::spawn_blocking(move || match Stored::list(&storage) {
            // Nobody listens any more once the broker is on its way out.
            Ok(found) => drop(stored.send(found)),
            Err(error) => tracing::warn!(%error, "the blobs cannot be listed"),
        });
    }

    async fn on_event(&mut self, event: Event) {
        match event {
            Event::Listening { address } => self.on_listening(address).await,
            Event::Connected { peer, direction, address } => {
                if self.origins.up(public_key(peer), &address) == Comer::Blocked {
                    return self.link.net().disconnect(peer).await;
                }
                let direction = match direction {
                    mesh_net::Direction::Inbound => Direction::Inbound,
                    mesh_net::Direction::Outbound => Direction::Outbound,
                };
                tracing::debug!(peer = public_key(peer).short(), ?direction, "peer up");
                if let (Direction::Outbound, Some(network)) = (direction, &self.network) {
                    network.met(public_key(peer));
                }
                let came = self.presence.connected(public_key(peer), direction);
                self.give(came).await;
            }
            Event::Disconnected { peer } => {
                tracing::debug!(peer = public_key(peer).short(), "peer down");
                self.origins.down(public_key(peer));
                for input in self.presence.disconnected(public_key(peer)) {
                    self.give(input).await;
                }
            }
            Event::Gossip { topic, id, from, data } => {
                self.on_gossip(&topic.0, id, from, &data).await;
            }
            Event::Request { protocol, peer, data, reply } => {
                let (from, reply) = (public_key(peer), Reply::from(reply));
                let Some(reply) = self.past_toll(from, protocol, data.len(), reply) else { return };
                match protocol {
                    Protocol::Call => self.on_call(from, &data, reply).await,
                    Protocol::Custody => self.on_handover(from, &data, reply).await,
                    Protocol::Reconcile => self.on_reconcile(from, &data, reply).await,
                }
            }
            Event::Blob(incoming) => self.on_blob(incoming),
            Event::Channel(incoming) => {
                self.channels.take(incoming, &self.broker, self.clock.now());
            }
        }
    }

    async fn on_listening(&mut self, address: Multiaddr) {
        let Ok(address) = with_peer(&address, peer_key(self.link.key())) else { return };
        tracing::info!(%address, "listening");
        self.listening.push(address);
        self.show_readiness();
        if self.external.is_empty() {
            let addresses = worth_telling(&self.listening);
            self.give(Input::Addresses(addresses)).await;
        }
    }

    async fn on_gossip(&mut self, topic: &str, id: GossipId, from: PeerKey, data: &[u8]) {
        match self.read_gossip(topic, data) {
            Ok(gossip) => {
                let token = GossipToken(self.next_id());
                self.judged.insert(token, (id, from));
                self.give(Input::Gossip { gossip, from: public_key(from), token }).await;
            }
            Err(verdict) => self.link.net().judge(id, from, verdict).await,
        }
    }

    fn read_gossip(&self, topic: &str, data: &[u8]) -> Result<Gossip, Verdict> {
        let envelope = Envelope::parse(data).map_err(|_| Verdict::Reject)?;
        if self.broker.knows(envelope.id()) {
            return Err(Verdict::Ignore);
        }
        let topic = self.topics.get(topic).ok_or(Verdict::Ignore)?;
        // A kind that this version does not know is a newer one's.
        let kind = envelope.kind().ok_or(Verdict::Ignore)?;
        if !topic.carries(kind) {
            return Err(Verdict::Reject);
        }
        let (now, verifier) = (self.clock.now().wall, self.link.verifier());
        Gossip::check(&envelope, now, &**verifier).map_err(|error| match error {
            // Clocks differ, and others may be of a newer version: nobody's fault.
            StatementError::Expired { .. }
            | StatementError::TooLong { .. }
            | StatementError::Version { .. } => Verdict::Ignore,
            _ => Verdict::Reject,
        })
    }

    async fn on_call(&mut self, from: PublicKey, data: &[u8], reply: Reply) {
        match self.lobby.guard.admit(data, from, self.clock.now().wall) {
            Ok(ask) => self.asked(from, ask, reply).await,
            Err(error) => {
                let why = chain(&error);
                tracing::debug!(peer = from.short(), error = why, "request not admitted");
                reply.send(Answer::Refused(Refusal::Invalid(why)).encode());
            }
        }
    }

    /// Somebody asks what has been admitted.
    async fn asked(&mut self, from: PublicKey, ask: Ask, reply: Reply) {
        match self.with_packages(ask) {
            Ok(ask) => {
                let (id, span) = (self.await_core(reply), spans::of_ask(&ask, from));
                self.give(Input::Ask { from, ask, reply: id }).instrument(span).await;
            }
            Err(refusal) => reply.send(Answer::Refused(refusal).encode()),
        }
    }

    /// Of a publication the packages must be here, or volunteers would be sent for nothing.
    fn with_packages(&self, ask: Ask) -> Result<Ask, Refusal> {
        let offers = if let Ask::Publish { offers, .. } = &ask { &offers[..] } else { &[] };
        let package = |it: &Published| (it.offer.package.hash, it.offer.package.size);
        let packages: BTreeSet<_> = offers.iter().map(package).collect();
        let is_here = |(hash, size): &(BlobHash, u64)| {
            let found = self.link.storage().blobs().has(&blob_name(*hash));
            matches!(found, Ok(Some(found)) if found == *size)
        };
        if packages.iter().all(is_here) {
            Ok(ask)
        } else {
            let why = "the offer's package must be sent before the offer";
            Err(Refusal::Invalid(why.to_owned()))
        }
    }

    async fn on_handover(&mut self, from: PublicKey, data: &[u8], reply: Reply) {
        match self.link.read_handover(data) {
            Ok(checked) => {
                let missing = |bundle: &Bundle| self.link.missing(bundle);
                let (incoming, bundles) = Incoming::new(checked, missing);
                let id = ReplyId(self.next_id());
                self.handovers.insert(id, (reply, incoming));
                let span = spans::of_bundles(&bundles, from);
                self.give(Input::Handover { from, bundles, reply: id }).instrument(span).await;
            }
            Err(error) => {
                tracing::debug!(peer = from.short(), error = %chain(&error), "handover refused");
                reply.send(HandoverAnswer::Refused(chain(&error)).encode());
            }
        }
    }

    async fn on_reconcile(&mut self, from: PublicKey, data: &[u8], reply: Reply) {
        let ask = match ReconcileAsk::decode(data) {
            Ok(ReconcileAsk::Compare(branches)) => ReconcileQuery::Compare(branches),
            Ok(ReconcileAsk::Fetch(ids)) => ReconcileQuery::Fetch(ids),
            Ok(ReconcileAsk::Give(given)) => {
                let statements = sound(&given, &self.link, self.clock.now().wall);
                reply.send(ReconcileAnswer::Thanks.encode());
                return self.give(Input::Given { from, statements }).await;
            }
            Err(error) => {
                // Dropping the reply refuses the request.
                return tracing::debug!(peer = from.short(), %error, "reconciliation refused");
            }
        };
        let id = self.await_core(reply);
        self.give(Input::Reconcile { from, ask, reply: id }).await;
    }

    fn on_blob(&mut self, incoming: IncomingBlob) {
        let (against, sources) = match &incoming {
            IncomingBlob::Get(get) => {
                let (hash, from) = (blob_hash(&get.hash), public_key(get.peer));
                let against = self.broker.against_serving(from, hash);
                (against, Some(self.broker.blob_sources(hash, from, get.max_size)))
            }
            IncomingBlob::Put(put) => (self.against_upload(public_key(put.peer), put), None),
        };
        if let Some(why) = against {
            tokio::spawn(refuse_blob(incoming, why));
            return;
        }
        let link = self.link.clone();
        tokio::spawn(async move { link.serve_blob(incoming, sources).await });
    }

    // From the core to outside.

    async fn act(&mut self, action: Action) {
        match action {
            Action::Commit(commit) => self.link.storage().commit(commit, &self.durable),
            Action::Judge { token, verdict } => self.judge(token, verdict).await,
            Action::Publish { topic, gossip } => self.publish(&topic, &gossip).await,
            Action::Reply { reply, answer } => self.answer(reply, answer.encode()),
            Action::ReplyHandover { reply, answers } => {
                if let Some((reply, incoming)) = self.handovers.remove(&reply) {
                    reply.send(incoming.answer(answers));
                }
            }
            Action::ReplyReconcile { reply, answer } => self.answer(reply, answer.encode()),
            Action::Ask { to, call, ask } => self.errand(|link| async move {
                let answer = link.ask(to, &ask).await.map_err(|error| {
                    tracing::debug!(peer = to.short(), error = %chain(&error), "call failed");
                    CallFailed(chain(&error))
                });
                Some(Input::Answered { call, answer })
            }),
            Action::HandOver(handover) if self.presence.is_connected(handover.to) => {
                self.errand(|link| async move {
                    let to = handover.to;
                    Some(Input::HandedOver { to, outcomes: link.hand_over(handover).await })
                });
            }
            Action::HandOver(Handover { to, bundles }) => {
                for bundle in bundles {
                    let mailboxes = self.lobby.mailboxes.clone();
                    self.errand(|_| async move {
                        let taken = mailboxes.hand_over(to, &bundle).await;
                        Some(Input::HandedOver { to, outcomes: vec![(bundle.id(), taken)] })
                    });
                }
            }
            Action::Reconcile { to, ask } => {
                let clock = self.clock;
                self.errand(move |link| async move {
                    let answer = reconcile(&link, to, &ask, clock).await;
                    Some(Input::Reconciled { from: to, answer })
                });
            }
            Action::Dial { address } => {
                let silent =
                    self.named.get_mut(&address).is_none_or(|said| std::mem::replace(said, true));
                self.errand(move |link| dial(link, address, silent));
            }
            Action::Operate(operation) => self.operate(operation).await,
            Action::News(news) => {
                self.shown.gauges.count(&news);
                report::log(&news);
            }
        }
    }

    async fn judge(&mut self, token: GossipToken, verdict: GossipVerdict) {
        let Some((id, from)) = self.judged.remove(&token) else { return };
        let verdict = match verdict {
            GossipVerdict::Accept => Verdict::Accept,
            GossipVerdict::Ignore => Verdict::Ignore,
        };
        self.link.net().judge(id, from, verdict).await;
    }

    async fn publish(&self, topic: &Topic, gossip: &Gossip) {
        let data = gossip.envelope().as_bytes().to_vec();
        let published = self.link.net().publish(mesh_net::Topic(topic.to_string()), data).await;
        if let Err(error) = published {
            // Reconciliation makes up for it.
            tracing::trace!(%topic, %error, "not published");
        }
    }

    fn answer(&mut self, id: ReplyId, frame: Vec<u8>) {
        if let Some(reply) = self.waiting.remove(&id) {
            reply.send(frame);
        }
    }

    /// Runs `work` in a task of its own; what it gives becomes an input.
    fn errand<F>(&self, work: impl FnOnce(Link) -> F)
    where
        F: Future<Output = Option<Input>> + Send + 'static,
    {
        let (work, errands) = (work(self.link.clone()), self.errands.clone());
        tokio::spawn(async move {
            if let Some(input) = work.await {
                // Nobody listens any more once the broker is on its way out.
                drop(errands.send(input));
            }
        });
    }

    fn await_core(&mut self, reply: Reply) -> ReplyId {
        let id = ReplyId(self.next_id());
        self.waiting.insert(id, reply);
        id
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

async fn reconcile(link: &Link, to: PublicKey, ask: &ReconcileAsk, clock: Clock) -> ReconcileNews {
    match link.reconcile(to, ask).await {
        Ok(ReconcileAnswer::Differs(different)) => ReconcileNews::Differs(different),
        Ok(ReconcileAnswer::Statements(found)) => {
            ReconcileNews::Statements(sound(&found, link, clock.now().wall))
        }
        Ok(ReconcileAnswer::Thanks) => ReconcileNews::Thanks,
        Err(error) => {
            tracing::debug!(peer = to.short(), error = %chain(&error), "reconciliation failed");
            ReconcileNews::Failed
        }
    }
}

/// A failure is told to the operator unless `silent`.
async fn dial(link: Link, address: String, silent: bool) -> Option<Input> {
    let parsed: Multiaddr = match address.parse() {
        Ok(parsed) => parsed,
        Err(error) => {
            // From another broker's card; our own configuration has been checked.
            tracing::debug!(address, %error, "not an address");
            return None;
        }
    };
    match link.net().dial(parsed).await {
        Ok(peer) => Some(Input::Found { address, peer: public_key(peer) }),
        Err(mesh_net::DialError::Ourselves { .. }) => {
            Some(Input::Found { address, peer: link.key() })
        }
        Err(error) => {
            let reason = chain(&error);
            if silent {
                tracing::debug!(address, reason, "broker not reached");
            } else {
                tracing::warn!(address, reason, "broker not reached, trying on");
            }
            None
        }
    }
}

/// Those of `statements` that are what they should be: a frame's worth at most.
fn sound(statements: &[Envelope], link: &Link, now: Timestamp) -> Vec<Gossip> {
    let frame = statements.iter().take(MAX_STATEMENTS_A_FRAME);
    frame.filter_map(|envelope| Gossip::check(envelope, now, &**link.verifier()).ok()).collect()
}

/// Loopback addresses are told only by a broker that has no others: one of a network on one machine.
fn worth_telling(listening: &[Multiaddr]) -> Vec<String> {
    let all = listening.iter().map(ToString::to_string);
    let (loopback, other): (Vec<_>, Vec<_>) =
        all.partition(|it| it.starts_with("/ip4/127.") || it.starts_with("/ip6/::1/"));
    if other.is_empty() { loopback } else { other }
}

async fn refuse_blob(incoming: IncomingBlob, why: String) {
    let refused = match incoming {
        IncomingBlob::Get(get) => get.refuse(why).await,
        IncomingBlob::Put(put) => put.refuse(why).await,
    };
    if let Err(error) = refused {
        tracing::debug!(error = %chain(&error), "a blob was not refused");
    }
}

fn blob_hash(name: &blake3::Hash) -> BlobHash {
    BlobHash::from_bytes(*name.as_bytes())
}

fn blob_name(hash: BlobHash) -> blake3::Hash {
    blake3::Hash::from_bytes(*hash.as_bytes())
}
