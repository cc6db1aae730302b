//! The task that owns the swarm: commands in, events out.
//!
//! It never waits for the program. What the program has no room for is dropped, refused or kept, as [`Event`] says, so
//! that a program which awaits an answer from the network while its queue of events is full gets its answer.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::TransportError;
use libp2p::request_response as rr;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{ConnectionId, DialError as SwarmDialError, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Swarm, gossipsub};
use tokio::sync::{Semaphore, mpsc, oneshot};

use crate::blob;
use crate::channel::{self, Places};
use crate::event::Outbox;
use crate::frame::FrameError;
use crate::pulse::{Felt, Pulse};
use crate::slots::Slots;
use crate::streams::{Incoming, OpenError, Opened};
use crate::swarm::{self, Behaviour, BehaviourEvent, ident};
use crate::traffic;
use crate::transport::{can_dial, peer_in};
use crate::unread::Unread;
use crate::{
    Config, DialError, Direction, Event, GossipId, PeerInfo, PeerKey, Protocol, PublishError,
    Reply, RequestError, StartError, SubscribeError, Topic, Verdict, gossip,
};

/// What unanswered requests may hold: 64 of the longest.
const MAX_REQUEST_BYTES: usize = 64 << 20;

/// Unanswered requests: a long poll from each of 16,384 volunteers, twice over.
const MAX_UNANSWERED: usize = 32_768;

/// Something that a handle asks for. Whoever asked may have gone when the answer comes.
#[derive(Debug)]
pub(crate) enum Command {
    Dial { address: Multiaddr, answer: Answer<Result<PeerKey, DialError>> },
    Disconnect { peer: PeerKey },
    Block { peer: PeerKey },
    Unblock { peer: PeerKey },
    Blame { peer: PeerKey },
    Request { protocol: Protocol, peer: PeerKey, data: Vec<u8>, answer: Answer<Response> },
    Subscribe { topic: Topic, answer: Answer<Result<(), SubscribeError>> },
    Unsubscribe { topic: Topic },
    Publish { topic: Topic, data: Vec<u8>, answer: Answer<Result<GossipId, PublishError>> },
    Judge { id: GossipId, from: PeerKey, verdict: Verdict },
    OpenBlobStream { peer: PeerKey, answer: Opened },
    OpenChannelStream { peer: PeerKey, answer: Opened },
    Peers { answer: Answer<Vec<PeerInfo>> },
    ListenAddresses { answer: Answer<Vec<Multiaddr>> },
    Announce { addresses: Vec<Multiaddr> },
    Shutdown { stopped: Answer<()> },
}

type Answer<T> = oneshot::Sender<T>;

type Response = Result<Vec<u8>, RequestError>;

/// An answer that the program has given, or `None` if it refused.
struct Answered {
    protocol: Protocol,
    peer: PeerKey,
    request: rr::InboundRequestId,
    channel: rr::ResponseChannel<Vec<u8>>,
    answer: Option<Vec<u8>>,
}

pub(crate) struct Driver {
    key: PeerKey,
    swarm: Swarm<Behaviour>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    outbox: Outbox,
    peers: BTreeMap<PeerKey, Links>,
    dials: HashMap<ConnectionId, (Multiaddr, Answer<Result<PeerKey, DialError>>)>,
    requests: HashMap<(Protocol, rr::OutboundRequestId), (PeerKey, Answer<Response>)>,
    unanswered: FuturesUnordered<BoxFuture<'static, Answered>>,
    request_bytes: Arc<Semaphore>,
    unread: Unread<(Protocol, rr::InboundRequestId)>,
    blob_slots: Slots,
    channels: Places,
}

/// The connections to one peer, oldest first.
#[derive(Debug, Default)]
struct Links {
    links: Vec<Link>,
    round_trip: Option<std::time::Duration>,
    /// Whether the program was told that the peer is there.
    told: bool,
}

#[derive(Debug)]
struct Link {
    id: ConnectionId,
    address: Multiaddr,
    direction: Direction,
    silent: bool,
}

impl Driver {
    pub(crate) fn new(
        mut config: Config,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
    ) -> Result<Self, StartError> {
        let mut swarm = swarm::build(&mut config)?;
        for address in config.listen {
            listen(&mut swarm, address)?;
        }
        for address in config.announce {
            swarm.add_external_address(address);
        }
        let key = PeerKey::from_peer_id(swarm.local_peer_id()).expect("our key is ed25519");
        Ok(Self {
            key,
            swarm,
            commands,
            outbox: Outbox::new(events.clone()),
            events,
            peers: BTreeMap::new(),
            dials: HashMap::new(),
            requests: HashMap::new(),
            unanswered: FuturesUnordered::new(),
            request_bytes: Arc::new(Semaphore::new(MAX_REQUEST_BYTES)),
            unread: Unread::default(),
            blob_slots: blob::slots(),
            channels: Places::default(),
        })
    }

    pub(crate) fn key(&self) -> PeerKey {
        self.key
    }

    pub(crate) fn channels(&self) -> Places {
        self.channels.clone()
    }

    /// Runs until all handles or the receiver of events are gone, or one says so.
    pub(crate) async fn run(mut self) {
        let stopped = loop {
            tokio::select! {
                event = self.swarm.select_next_some() => self.on_swarm(event),
                command = self.commands.recv() => match command {
                    None => break None,
                    Some(Command::Shutdown { stopped }) => break Some(stopped),
                    Some(command) => self.on_command(command),
                },
                Some(answered) = self.unanswered.next() => self.on_answered(answered),
                () = self.outbox.advance(), if self.outbox.is_behind() => {}
                () = self.events.closed() => break None,
            }
        };
        // Sockets first, then the word that they are free.
        drop(self);
        if let Some(stopped) = stopped {
            give(stopped, ());
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { address, answer } => self.dial(address, answer),
            Command::Disconnect { peer } => self.disconnect(peer),
            Command::Block { peer } => self.block(peer),
            Command::Unblock { peer } => self.unblock(peer),
            Command::Blame { peer } => self.blame(peer),
            Command::Request { protocol, peer, data, answer } => {
                self.request(protocol, peer, data, answer);
            }
            Command::Subscribe { topic, answer } => give(answer, self.subscribe(&topic)),
            Command::Unsubscribe { topic } => self.unsubscribe(&topic),
            Command::Publish { topic, data, answer } => give(answer, self.publish(&topic, data)),
            Command::Judge { id, from, verdict } => self.judge(id, from, verdict),
            Command::OpenBlobStream { peer, answer } => self.open_blob_stream(peer, answer),
            Command::OpenChannelStream { peer, answer } => self.open_channel_stream(peer, answer),
            Command::Peers { answer } => give(answer, self.peer_infos()),
            Command::ListenAddresses { answer } => {
                give(answer, self.swarm.listeners().cloned().collect());
            }
            Command::Announce { addresses } => self.announce(addresses),
            Command::Shutdown { .. } => unreachable!("the loop takes this one"),
        }
    }

    fn on_swarm(&mut self, event: SwarmEvent<BehaviourEvent>) {
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::NewListenAddr { address, .. } => {
                self.outbox.push(Event::Listening { address });
            }
            SwarmEvent::ConnectionEstablished { peer_id, connection_id, endpoint, .. } => {
                self.on_connected(peer_id, connection_id, &endpoint);
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, cause, .. } => {
                tracing::debug!(peer = %peer_id, ?cause, "connection closed");
                self.on_closed(peer_id, connection_id);
            }
            SwarmEvent::OutgoingConnectionError { connection_id, error, .. } => {
                self.on_dial_failed(connection_id, error);
            }
            SwarmEvent::IncomingConnectionError { error, .. } => {
                tracing::trace!(%error, "an incoming connection failed");
            }
            SwarmEvent::ListenerError { error, .. } => {
                tracing::debug!(%error, "a listener had to skip a connection");
            }
            SwarmEvent::ListenerClosed { addresses, reason, .. } => {
                tracing::error!(?addresses, ?reason, "a listener closed");
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Call(event) => self.on_requests(Protocol::Call, event),
            BehaviourEvent::Custody(event) => self.on_requests(Protocol::Custody, event),
            BehaviourEvent::Reconcile(event) => self.on_requests(Protocol::Reconcile, event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Blobs(incoming) => self.on_blob_stream(incoming),
            BehaviourEvent::Channels(incoming) => self.on_channel_stream(incoming),
            BehaviourEvent::Pulse(felt) => self.on_pulse(&felt),
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Gate(never) | BehaviourEvent::Limits(never) => match never {},
        }
    }
}

/// Connections.
impl Driver {
    fn dial(&mut self, address: Multiaddr, answer: Answer<Result<PeerKey, DialError>>) {
        if !can_dial(&address) {
            return give(answer, Err(DialError::UnsupportedAddress { address }));
        }
        let peer = peer_in(&address);
        if let Some(key) = peer.as_ref().and_then(PeerKey::from_peer_id)
            && self.is_there(key)
        {
            return give(answer, Ok(key));
        }
        // Brokers are dialled and clients dial out: no hole is punched, so a listener's port need not be shared.
        let options = match peer {
            Some(peer) => DialOpts::peer_id(peer)
                .addresses(vec![address.clone()])
                // One that has fallen silent may be back at the same address, and know nothing of the old connection.
                .condition(PeerCondition::Always)
                .allocate_new_port()
                .build(),
            None => {
                DialOpts::unknown_peer_id().address(address.clone()).allocate_new_port().build()
            }
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => drop(self.dials.insert(id, (address, answer))),
            Err(error) => give(answer, Err(from_dial(address, error))),
        }
    }

    fn on_dial_failed(&mut self, id: ConnectionId, error: SwarmDialError) {
        if let Some((address, answer)) = self.dials.remove(&id) {
            give(answer, Err(from_dial(address, error)));
        }
    }

    fn on_connected(&mut self, peer: PeerId, id: ConnectionId, endpoint: &ConnectedPoint) {
        let peer = named(&peer);
        let direction = if endpoint.is_dialer() { Direction::Outbound } else { Direction::Inbound };
        let address = endpoint.get_remote_address().clone();
        let links = self.peers.entry(peer).or_default();
        for dead in links.links.iter().filter(|link| link.silent) {
            self.swarm.close_connection(dead.id);
        }
        links.links.push(Link { id, address, direction, silent: false });
        self.tell_of(peer);
        if let Some((_, answer)) = self.dials.remove(&id) {
            give(answer, Ok(peer));
        }
    }

    fn on_closed(&mut self, peer: PeerId, id: ConnectionId) {
        let peer = named(&peer);
        let Some(links) = self.peers.get_mut(&peer) else { return };
        links.links.retain(|link| link.id != id);
        self.tell_of(peer);
        if self.peers.get(&peer).is_some_and(|links| links.links.is_empty()) {
            self.peers.remove(&peer);
        }
    }

    /// Whether the peer is connected and not silent.
    fn is_there(&self, peer: PeerKey) -> bool {
        self.peers.get(&peer).is_some_and(|links| links.told)
    }

    /// Tells the program if `peer` has come or gone: it is there if a connection is not silent.
    fn tell_of(&mut self, peer: PeerKey) {
        let Some(links) = self.peers.get_mut(&peer) else { return };
        let speaking = links.links.iter().find(|link| !link.silent);
        if speaking.is_some() == links.told {
            return;
        }
        links.told = speaking.is_some();
        match speaking {
            Some(Link { address, direction, .. }) => {
                let (address, direction) = (address.clone(), *direction);
                self.outbox.push(Event::Connected { peer, address, direction });
            }
            None => {
                self.outbox.push(Event::Disconnected { peer });
                self.lose_requests(peer);
            }
        }
    }

    /// Who has fallen silent answers nothing any more that anybody would wait for.
    fn lose_requests(&mut self, peer: PeerKey) {
        for (_, (_, answer)) in self.requests.extract_if(|_, (asked, _)| *asked == peer) {
            give(answer, Err(RequestError::ConnectionLost));
        }
    }

    /// `peer` has asked something: whatever its pings say, it is there.
    fn heard(&mut self, peer: PeerKey) {
        if let Some(links) = self.peers.get_mut(&peer).filter(|links| !links.told) {
            links.links.iter_mut().for_each(|link| link.silent = false);
            self.tell_of(peer);
        }
    }

    fn disconnect(&mut self, peer: PeerKey) {
        if let Some(id) = peer.peer_id() {
            // The error says that there is no connection, which is what was wanted.
            let _: Result<(), ()> = self.swarm.disconnect_peer_id(id);
        }
    }

    fn block(&mut self, peer: PeerKey) {
        if let Some(id) = peer.peer_id() {
            self.swarm.behaviour_mut().gate.block(id);
        }
        self.disconnect(peer);
    }

    fn unblock(&mut self, peer: PeerKey) {
        if let Some(id) = peer.peer_id() {
            self.swarm.behaviour_mut().gate.unblock(&id);
        }
    }

    fn blame(&mut self, peer: PeerKey) {
        tracing::warn!(%peer, "the peer has sent a wrong byte of a blob");
        let Some(id) = peer.peer_id() else { return };
        let (score, goes) = self.swarm.behaviour_mut().gate.blame(id);
        if let Some(gossip) = self.swarm.behaviour_mut().gossip() {
            gossip.set_application_score(&id, score);
        }
        if goes {
            self.disconnect(peer);
        }
    }

    fn on_pulse(&mut self, felt: &Felt) {
        if self.swarm.behaviour_mut().gate.forgives(&felt.peer)
            && let Some(gossip) = self.swarm.behaviour_mut().gossip()
        {
            gossip.set_application_score(&felt.peer, 0.0);
        }
        let peer = named(&felt.peer);
        let Some(links) = self.peers.get_mut(&peer) else { return };
        let link = links.links.iter_mut().find(|link| link.id == felt.connection);
        let Some(link) = link else { return };
        match felt.pulse {
            Pulse::Beat { round_trip } => {
                link.silent = false;
                links.round_trip = Some(round_trip);
            }
            Pulse::Silent => link.silent = true,
            Pulse::Dead => {
                self.swarm.close_connection(felt.connection);
            }
        }
        if felt.pulse == Pulse::Silent {
            tracing::debug!(%peer, "the peer does not answer");
        }
        self.tell_of(peer);
    }

    fn peer_infos(&self) -> Vec<PeerInfo> {
        let there = self.peers.iter().filter(|(_, links)| links.told);
        there.filter_map(|(key, links)| links.info(*key)).collect()
    }

    fn announce(&mut self, addresses: Vec<Multiaddr>) {
        let old: Vec<_> = self.swarm.external_addresses().cloned().collect();
        for address in old.iter().filter(|address| !addresses.contains(address)) {
            self.swarm.remove_external_address(address);
        }
        for address in addresses {
            self.swarm.add_external_address(address);
        }
    }
}

impl Links {
    /// `None` if there is none.
    fn info(&self, key: PeerKey) -> Option<PeerInfo> {
        let direction = self.links.first()?.direction;
        let addresses = self.links.iter().map(|link| link.address.clone()).collect();
        Some(PeerInfo { key, addresses, direction, round_trip: self.round_trip })
    }
}

/// Requests.
impl Driver {
    fn request(
        &mut self,
        protocol: Protocol,
        peer: PeerKey,
        data: Vec<u8>,
        answer: Answer<Response>,
    ) {
        let there = peer.peer_id().filter(|_| self.is_there(peer));
        let Some(id) = there else { return give(answer, Err(RequestError::NotConnected)) };
        let request = self.swarm.behaviour_mut().requests(protocol).send_request(&id, data);
        self.requests.insert((protocol, request), (peer, answer));
    }

    fn on_requests(&mut self, protocol: Protocol, event: rr::Event<Vec<u8>, Vec<u8>>) {
        match event {
            rr::Event::Message { peer, message, .. } => match message {
                rr::Message::Request { request_id, request, channel } => {
                    self.on_request(protocol, named(&peer), request_id, request, channel);
                }
                rr::Message::Response { request_id, response } => {
                    self.resolve(protocol, request_id, Ok(response));
                }
            },
            rr::Event::OutboundFailure { request_id, error, .. } => {
                self.resolve(protocol, request_id, Err(from_outbound(&error)));
            }
            rr::Event::InboundFailure { peer, request_id, error, .. } => {
                self.unread.over(&(protocol, request_id));
                tracing::trace!(%peer, %error, "an incoming request failed");
            }
            rr::Event::ResponseSent { request_id, .. } => self.unread.over(&(protocol, request_id)),
        }
    }

    fn resolve(&mut self, protocol: Protocol, id: rr::OutboundRequestId, result: Response) {
        if let Some((_, answer)) = self.requests.remove(&(protocol, id)) {
            give(answer, result);
        }
    }

    /// Hands a request to the program. Dropping the channel refuses it.
    fn on_request(
        &mut self,
        protocol: Protocol,
        peer: PeerKey,
        request: rr::InboundRequestId,
        data: Vec<u8>,
        channel: rr::ResponseChannel<Vec<u8>>,
    ) {
        self.heard(peer);
        let bytes = u32::try_from(data.len()).expect("a frame has at most 1 MiB");
        let held = Arc::clone(&self.request_bytes).try_acquire_many_owned(bytes);
        let full = !self.outbox.has_room_for_requests() || self.unanswered.len() >= MAX_UNANSWERED;
        let (Ok(held), false) = (held, full) else {
            tracing::debug!(%peer, ?protocol, "no room for a request");
            return;
        };
        let (reply, answered) = Reply::new(held);
        if self.outbox.offer(Event::Request { protocol, peer, data, reply }).is_ok() {
            self.unanswered.push(Box::pin(async move {
                let answer = answered.await.ok();
                Answered { protocol, peer, request, channel, answer }
            }));
        }
    }

    fn on_answered(&mut self, answered: Answered) {
        let Answered { protocol, peer, request, channel, answer } = answered;
        let Some(answer) = answer else { return };
        if !self.unread.begin((protocol, request), peer, answer.len()) {
            // Dropping the channel refuses the request.
            return tracing::debug!(%peer, ?protocol, "the peer reads its answers too slowly");
        }
        if self.swarm.behaviour_mut().requests(protocol).send_response(channel, answer).is_err() {
            self.unread.over(&(protocol, request));
            tracing::trace!(?protocol, "an answer came too late");
        }
    }
}

/// Gossip.
impl Driver {
    fn subscribe(&mut self, topic: &Topic) -> Result<(), SubscribeError> {
        let gossip = self.swarm.behaviour_mut().gossip().ok_or(SubscribeError::NotABroker)?;
        let topic = ident(topic);
        gossip
            .set_topic_params(topic.clone(), gossip::topic_score())
            .expect("scoring is on and its parameters are sound");
        let joined = gossip.subscribe(&topic);
        tracing::debug!(%topic, ?joined, "subscribe");
        Ok(())
    }

    fn unsubscribe(&mut self, topic: &Topic) {
        if let Some(gossip) = self.swarm.behaviour_mut().gossip() {
            gossip.unsubscribe(&ident(topic));
        }
    }

    fn publish(&mut self, topic: &Topic, data: Vec<u8>) -> Result<GossipId, PublishError> {
        let gossip = self.swarm.behaviour_mut().gossip().ok_or(PublishError::NotABroker)?;
        let id = GossipId::of(&topic.0, &data);
        traffic::went(&data);
        gossip.publish(ident(topic), data)?;
        Ok(id)
    }

    fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message { propagation_source, message_id, message } => {
                let from = named(&propagation_source);
                let Some(id) = GossipId::from_message_id(&message_id) else { return };
                let topic = Topic(message.topic.into_string());
                traffic::came(&message.data);
                let event = Event::Gossip { topic, id, from, data: message.data };
                let room = self.outbox.has_room_for_gossip();
                if !room || self.outbox.offer(event).is_err() {
                    tracing::debug!(peer = %from, "no room for gossip");
                    self.judge(id, from, Verdict::Ignore);
                }
            }
            gossipsub::Event::SlowPeer { peer_id, failed_messages } => {
                tracing::debug!(peer = %peer_id, ?failed_messages, "gossip to a slow peer was dropped");
            }
            gossipsub::Event::Subscribed { .. }
            | gossipsub::Event::Unsubscribed { .. }
            | gossipsub::Event::GossipsubNotSupported { .. } => {}
        }
    }

    fn judge(&mut self, id: GossipId, from: PeerKey, verdict: Verdict) {
        let Some(peer) = from.peer_id() else { return };
        if let Some(gossip) = self.swarm.behaviour_mut().gossip() {
            let in_time = gossip.report_message_validation_result(
                &id.message_id(),
                &peer,
                verdict.acceptance(),
            );
            tracing::trace!(peer = %from, ?verdict, in_time, "gossip judged");
        }
    }
}

/// Blobs.
impl Driver {
    fn open_blob_stream(&mut self, peer: PeerKey, answer: Opened) {
        match peer.peer_id() {
            Some(id) => self.swarm.behaviour_mut().blobs.open(id, answer),
            None => give(answer, Err(OpenError::NotConnected)),
        }
    }

    fn on_blob_stream(&mut self, Incoming { peer, stream }: Incoming) {
        let peer = named(&peer);
        self.heard(peer);
        match self.blob_slots.take(peer) {
            Some(slot) => {
                tokio::spawn(blob::greet(peer, stream, slot, self.events.clone()));
            }
            None => tracing::debug!(%peer, "too many blob streams, closing one"),
        }
    }
}

/// Channels.
impl Driver {
    fn open_channel_stream(&mut self, peer: PeerKey, answer: Opened) {
        match peer.peer_id() {
            Some(id) => self.swarm.behaviour_mut().channels.open(id, answer),
            None => give(answer, Err(OpenError::NotConnected)),
        }
    }

    fn on_channel_stream(&mut self, Incoming { peer, stream }: Incoming) {
        let peer = named(&peer);
        self.heard(peer);
        match self.channels.incoming.take(peer) {
            Some(slot) => {
                tokio::spawn(channel::greet(peer, stream, slot, self.events.clone()));
            }
            None => tracing::debug!(%peer, "too many channels, closing one"),
        }
    }
}

fn listen(swarm: &mut Swarm<Behaviour>, address: Multiaddr) -> Result<(), StartError> {
    match swarm.listen_on(address.clone()) {
        Ok(_) => Ok(()),
        Err(TransportError::MultiaddrNotSupported(address)) => {
            Err(StartError::UnsupportedAddress { address })
        }
        Err(TransportError::Other(source)) => Err(StartError::Listen { address, source }),
    }
}

/// Whoever waited may have gone, which is their right.
fn give<T>(answer: Answer<T>, value: T) {
    drop(answer.send(value));
}

fn named(peer: &PeerId) -> PeerKey {
    PeerKey::from_peer_id(peer).expect("the gate admits ed25519 keys only")
}

fn from_dial(address: Multiaddr, error: SwarmDialError) -> DialError {
    match error {
        // The swarm strikes out addresses that it listens on, and only one was given.
        SwarmDialError::LocalPeerId { .. } | SwarmDialError::NoAddresses => {
            DialError::Ourselves { address }
        }
        SwarmDialError::WrongPeerId { .. } => DialError::WrongPeer { address },
        SwarmDialError::Denied { cause } => DialError::Denied { address, reason: chain(&cause) },
        SwarmDialError::Transport(errors) => {
            let reasons: Vec<_> = errors.iter().map(|(_, error)| transport_chain(error)).collect();
            DialError::Unreachable { address, reason: reasons.join("; ") }
        }
        error @ (SwarmDialError::DialPeerConditionFalse(_) | SwarmDialError::Aborted) => {
            DialError::Unreachable { address, reason: chain(&error) }
        }
    }
}

/// An error with its causes on one line, where libp2p's types end.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    let text = causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"));
    let words: Vec<_> = text.split_whitespace().collect();
    words.join(" ")
}

fn transport_chain(error: &TransportError<std::io::Error>) -> String {
    match error {
        TransportError::MultiaddrNotSupported(_) => "no transport for it".into(),
        TransportError::Other(error) => chain(error),
    }
}

fn from_outbound(error: &rr::OutboundFailure) -> RequestError {
    match error {
        rr::OutboundFailure::DialFailure => RequestError::NotConnected,
        rr::OutboundFailure::Timeout => RequestError::TimedOut,
        rr::OutboundFailure::ConnectionClosed => RequestError::ConnectionLost,
        rr::OutboundFailure::UnsupportedProtocols => RequestError::Unsupported,
        rr::OutboundFailure::Io(error) => from_stream(error),
    }
}

fn from_stream(error: &std::io::Error) -> RequestError {
    if error.kind() == std::io::ErrorKind::TimedOut {
        return RequestError::TimedOut;
    }
    match error.get_ref().and_then(|inner| inner.downcast_ref::<FrameError>()) {
        Some(FrameError::TooLarge { announced, .. }) => {
            RequestError::TooLarge { bytes: *announced }
        }
        Some(FrameError::Length | FrameError::Truncated) => RequestError::Malformed,
        // QUIC's streams tell before the connection does.
        Some(FrameError::Io(error)) if error.kind() == std::io::ErrorKind::NotConnected => {
            RequestError::ConnectionLost
        }
        // A stream that is reset, or ends before the answer begins.
        Some(FrameError::Ended | FrameError::Io(_)) => RequestError::Refused,
        // The one error that the behaviour makes up itself: its bound on streams is reached.
        None if error.kind() == std::io::ErrorKind::Other => RequestError::TooMany,
        None => RequestError::Refused,
    }
}
