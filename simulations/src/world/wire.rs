//! Questions and answers as bytes: encoded, carried, checked and understood as real shells do it.

use std::collections::BTreeSet;
use std::time::Duration;

use broker_core::{ReconcileNews, ReconcileQuery};
use capability::{BlobHash, Envelope, PublicKey, StatementError};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, Gossip, Handover, HandoverAnswer, HandoverFailed,
    ReconcileAnswer, ReconcileAsk, Topic, decode_answers, decode_bundles, encode_answers,
    encode_bundles, seal,
};

use super::{Event, Process, ProcessEvent, Purpose, Question, Sabotage, World};
use crate::network::{Flight, Frame, FrameKind, NodeId};
use crate::nodes::{Arrival, Number, Role};
use crate::oracle::Invariant;

/// What a node is told when there is no sound answer.
const NO_ANSWER: &str = "no sound answer";

/// How long a question waits for its answer. Brokers hold pulls for 25 s.
const ASK_TIMEOUT: Duration = Duration::from_secs(40);
const HANDOVER_TIMEOUT: Duration = Duration::from_secs(30);
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(20);
const FETCH_TIMEOUT: Duration = Duration::from_secs(60);

/// A gossip message is not looked at again within this time.
const DUPLICATE_WINDOW: Duration = Duration::from_secs(600);
/// Frames of 1,000 that a sabotaged network garbles.
const GARBLED_PERMILLE: u64 = 20;
/// What carrying blobs adds to a frame's way.
const BLOB_TIME: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(10)..=Duration::from_millis(500);

impl World {
    // What this node asks of others.

    pub(super) fn ask(&mut self, node: NodeId, to: PublicKey, call: Number, ask: &Ask) {
        let nonce = self.fresh();
        let sealed = seal(ask, to, nonce, self.wall(node), &self.nodes[node.0].signer);
        let bytes = sealed.envelope().as_bytes().to_vec();
        self.question(node, to, Purpose::Ask { call }, FrameKind::Ask, bytes, ASK_TIMEOUT);
    }

    pub(super) fn hand_over(&mut self, node: NodeId, handover: Handover) {
        let Handover { to, bundles } = handover;
        let bytes = encode_bundles(&bundles);
        let purpose = Purpose::HandOver { bundles, outcomes: Vec::new() };
        self.question(node, to, purpose, FrameKind::Handover, bytes, HANDOVER_TIMEOUT);
    }

    pub(super) fn reconcile(&mut self, node: NodeId, to: PublicKey, ask: &ReconcileAsk) {
        let (purpose, bytes) = (Purpose::Reconcile, ask.encode());
        self.question(node, to, purpose, FrameKind::Reconcile, bytes, RECONCILE_TIMEOUT);
    }

    pub(super) fn fetch(&mut self, node: NodeId, from: PublicKey, hash: BlobHash) {
        let kind = FrameKind::BlobWanted(hash);
        self.question(node, from, Purpose::Fetch { hash }, kind, Vec::new(), FETCH_TIMEOUT);
    }

    /// Asks, and sees to it that the question ends once.
    fn question(
        &mut self,
        node: NodeId,
        to: PublicKey,
        purpose: Purpose,
        kind: FrameKind,
        bytes: Vec<u8>,
        patience: Duration,
    ) {
        let Some(to) = self.by_key.get(&to).copied() else {
            let what = format!("{} asks {to:?}, who does not exist", self.name(node));
            return self.note(Err((Invariant::HonestMessagesAreUnderstood, what)));
        };
        let flight = Flight(self.fresh());
        let Some(process) = self.process_mut(node) else { return };
        process.questions.insert(flight, Question { to, purpose });
        if self.has_peer(node, to) {
            self.send(node, to, Frame { kind, flight: Some(flight), bytes }, Duration::ZERO);
            self.later(node, patience, ProcessEvent::GaveUp(flight));
        } else {
            self.later(node, Duration::ZERO, ProcessEvent::GaveUp(flight));
        }
    }

    /// The question will not be answered any more, if it has not been.
    pub(super) fn give_up(&mut self, node: NodeId, flight: Flight) {
        let Some(question) = self.process_mut(node).and_then(|it| it.questions.remove(&flight))
        else {
            return;
        };
        let peer = self.key(question.to);
        match question.purpose {
            Purpose::Ask { call } => {
                let answer = Err(CallFailed(NO_ANSWER.to_owned()));
                self.give(node, Arrival::Answered { call, answer });
            }
            Purpose::HandOver { bundles, mut outcomes } => {
                let failed = || Err(HandoverFailed(NO_ANSWER.to_owned()));
                outcomes.extend(bundles.iter().map(|bundle| (bundle.id(), failed())));
                self.give(node, Arrival::HandedOver { to: peer, outcomes });
            }
            Purpose::Reconcile => {
                self.give(node, Arrival::Reconciled { from: peer, news: ReconcileNews::Failed });
            }
            Purpose::Fetch { hash } => self.give(node, Arrival::Fetched { hash, here: false }),
            Purpose::PullThrough { asker, flight } => {
                self.answer_frame(node, asker, flight, FrameKind::NoBlob, Vec::new());
            }
        }
    }

    // What this node answers.

    pub(super) fn reply(&mut self, node: NodeId, reply: Number, answer: &Answer) {
        self.answer(node, reply, FrameKind::Answer, answer.encode());
    }

    pub(super) fn reply_handover(
        &mut self,
        node: NodeId,
        reply: Number,
        of_core: Vec<HandoverAnswer>,
    ) {
        let known = self.process_mut(node).and_then(|process| process.handed_in.remove(&reply));
        let mut of_core = of_core.into_iter();
        let answers = known.unwrap_or_default().into_iter().map(|known| {
            known.or_else(|| of_core.next()).expect("the core answers each of its bundles")
        });
        let bytes = encode_answers(&answers.collect::<Vec<_>>());
        self.answer(node, reply, FrameKind::HandoverAnswer, bytes);
    }

    pub(super) fn reply_reconcile(
        &mut self,
        node: NodeId,
        reply: Number,
        answer: &ReconcileAnswer,
    ) {
        self.answer(node, reply, FrameKind::ReconcileAnswer, answer.encode());
    }

    fn answer(&mut self, node: NodeId, reply: Number, kind: FrameKind, bytes: Vec<u8>) {
        match self.process_mut(node).and_then(|process| process.owed.remove(&reply)) {
            Some((to, flight)) => self.answer_frame(node, to, flight, kind, bytes),
            None => {
                let what = format!("{} answers what nobody waits for", self.name(node));
                self.note(Err((Invariant::AnswersHaveQuestions, what)));
            }
        }
    }

    fn answer_frame(
        &mut self,
        node: NodeId,
        to: NodeId,
        flight: Flight,
        kind: FrameKind,
        bytes: Vec<u8>,
    ) {
        let extra = match kind {
            FrameKind::Blob(_) => self.luck.network.duration(BLOB_TIME),
            _ => Duration::ZERO,
        };
        self.send(node, to, Frame { kind, flight: Some(flight), bytes }, extra);
    }

    fn send(&mut self, from: NodeId, to: NodeId, mut frame: Frame, extra: Duration) {
        if self.sabotage == Some(Sabotage::GarbleFrames)
            && self.luck.network.happens(GARBLED_PERMILLE)
            && let Some(last) = frame.bytes.last_mut()
        {
            *last ^= 1;
        }
        let Some(generation) = self.process(from).and_then(|it| it.peers.get(&to).copied()) else {
            return;
        };
        if let Some(latency) = self.network.carry(from, to, &mut self.luck.network) {
            let event = Event::Deliver { from, to, generation, frame };
            self.queue.after(latency + extra, event);
        }
    }

    // Gossip.

    pub(super) fn publish(&mut self, node: NodeId, topic: &Topic, gossip: &Gossip) {
        let fits = gossip.envelope().kind().is_some_and(|kind| topic.carries(kind));
        if !fits {
            let what = format!("{} publishes {gossip:?} on {topic}", self.name(node));
            return self.note(Err((Invariant::HonestMessagesAreUnderstood, what)));
        }
        let now = self.queue.now();
        let Some(process) = self.process_mut(node) else { return };
        // One statement on several topics travels once here: all brokers listen to all topics.
        let seen = process.seen.insert(gossip.id(), now);
        if seen.is_none_or(|seen| now - seen >= DUPLICATE_WINDOW) {
            self.flood(node, None, gossip.envelope().as_bytes());
        }
    }

    pub(super) fn judged(&mut self, node: NodeId, token: Number, accepted: bool) {
        let waiting = self.process_mut(node).and_then(|process| process.judging.remove(&token));
        let Some((from, bytes)) = waiting else {
            let what = format!("{} judges gossip that it was not shown", self.name(node));
            return self.note(Err((Invariant::AnswersHaveQuestions, what)));
        };
        if accepted {
            self.flood(node, Some(from), &bytes);
        }
    }

    fn flood(&mut self, node: NodeId, except: Option<NodeId>, bytes: &[u8]) {
        let Some(process) = self.process(node) else { return };
        let peers: Vec<_> = process.peers.keys().copied().collect();
        for peer in peers {
            let listens = matches!(self.nodes[peer.0].spec.role, Role::Broker(_));
            if listens && Some(peer) != except {
                let frame = Frame { kind: FrameKind::Gossip, flight: None, bytes: bytes.to_vec() };
                self.send(node, peer, frame, Duration::ZERO);
            }
        }
    }

    // What arrives.

    pub(super) fn deliver(&mut self, from: NodeId, to: NodeId, frame: &Frame) {
        let (sender, size) = (self.name(from), frame.bytes.len());
        self.tell(to, format_args!("{} of {size} bytes from {sender}", frame.kind));
        self.trace.bytes(&frame.bytes);
        let understood = match (frame.kind, frame.flight) {
            (FrameKind::Gossip, _) => self.hear(from, to, &frame.bytes),
            (_, None) => Err("a frame of no question".to_owned()),
            (FrameKind::Ask, Some(flight)) => self.hear_ask(from, to, flight, &frame.bytes),
            (FrameKind::Answer, Some(flight)) => self.hear_answer(to, flight, &frame.bytes),
            (kind @ (FrameKind::Handover | FrameKind::HandoverWithBlobs), Some(flight)) => {
                let with_blobs = kind == FrameKind::HandoverWithBlobs;
                self.hear_handover(from, to, flight, with_blobs, &frame.bytes)
            }
            (FrameKind::HandoverAnswer, Some(flight)) => {
                self.hear_handover_answer(from, to, flight, &frame.bytes)
            }
            (FrameKind::Reconcile, Some(flight)) => {
                self.hear_reconcile(from, to, flight, &frame.bytes)
            }
            (FrameKind::ReconcileAnswer, Some(flight)) => {
                self.hear_reconcile_answer(from, to, flight, &frame.bytes)
            }
            (FrameKind::BlobWanted(hash), Some(flight)) => {
                self.blob_wanted(from, to, flight, hash);
                Ok(())
            }
            (FrameKind::Blob(hash), Some(flight)) => {
                self.blob_came(to, flight, hash);
                Ok(())
            }
            (FrameKind::NoBlob, Some(flight)) => {
                self.give_up(to, flight);
                Ok(())
            }
        };
        if let Err(why) = understood {
            let what = format!("{} did not understand {sender}: {why}", self.name(to));
            self.note(Err((Invariant::HonestMessagesAreUnderstood, what)));
        }
    }

    fn hear(&mut self, from: NodeId, to: NodeId, bytes: &[u8]) -> Result<(), String> {
        let (now, wall, peer) = (self.queue.now(), self.wall(to), self.key(from));
        let envelope = Envelope::parse(bytes).map_err(words)?;
        let Some(process) = self.process_mut(to) else { return Ok(()) };
        let seen = process.seen.insert(envelope.id(), now);
        if seen.is_some_and(|seen| now - seen < DUPLICATE_WINDOW) {
            return Ok(());
        }
        let token = process.number();
        process.judging.insert(token, (from, bytes.to_vec()));
        match Gossip::check(&envelope, wall, &self.verifier) {
            Ok(gossip) => self.give(to, Arrival::Gossip { gossip, from: peer, token }),
            Err(StatementError::Expired { .. }) => {}
            Err(error) => return Err(words(error)),
        }
        Ok(())
    }

    fn hear_ask(
        &mut self,
        from: NodeId,
        to: NodeId,
        flight: Flight,
        bytes: &[u8],
    ) -> Result<(), String> {
        let (wall, peer, me) = (self.wall(to), self.key(from), self.key(to));
        let verifier = self.verifier.clone();
        let Some(process) = self.process_mut(to) else { return Ok(()) };
        let ask = process.guard.admit(bytes, peer, wall, &verifier).map_err(words)?;
        let reply = process.owe(from, flight);
        let asked_here = match &ask {
            Ask::Publish { home, offers, .. } => {
                // The packages go ahead of the publication at the home.
                for package in offers.iter().map(|it| it.offer.package.hash) {
                    if home.home == me && self.nodes[from.0].disk.has_blob(package) {
                        self.nodes[to.0].disk.put_blob(package);
                    }
                }
                true
            }
            Ask::Claim { home, .. } | Ask::Renew { home, .. } => *home == me,
            _ => true,
        };
        self.oracle.asked(to, reply, &ask, asked_here, wall);
        self.give(to, Arrival::Asked { from: peer, ask, reply });
        Ok(())
    }

    fn hear_answer(&mut self, to: NodeId, flight: Flight, bytes: &[u8]) -> Result<(), String> {
        let answer = Answer::decode(bytes, &self.verifier).map_err(words)?;
        if let Some(Purpose::Ask { call }) = self.ended(to, flight) {
            self.give(to, Arrival::Answered { call, answer: Ok(answer) });
        }
        Ok(())
    }

    fn hear_handover(
        &mut self,
        from: NodeId,
        to: NodeId,
        flight: Flight,
        with_blobs: bool,
        bytes: &[u8],
    ) -> Result<(), String> {
        let checked = decode_bundles(bytes, &self.verifier).map_err(words)?;
        let bundles = checked.into_iter().collect::<Result<Vec<_>, _>>().map_err(words)?;
        let deaf = self.sabotage == Some(Sabotage::LoseReceipts)
            && matches!(self.nodes[to.0].spec.role, Role::Volunteer { .. });
        if deaf {
            return Ok(());
        }
        // A master looks at the result before it wants its blobs.
        let judges = matches!(self.nodes[to.0].spec.role, Role::Master { .. });
        let (mut answers, mut arrived) = (Vec::new(), Vec::new());
        for bundle in bundles {
            let missing = self.missing(to, &bundle, with_blobs);
            if missing.is_empty() || judges {
                arrived.push((bundle, missing));
                answers.push(None);
            } else {
                answers.push(Some(HandoverAnswer::Missing(missing)));
            }
        }
        let peer = self.key(from);
        let Some(process) = self.process_mut(to) else { return Ok(()) };
        let reply = process.owe(from, flight);
        process.handed_in.insert(reply, answers);
        let bundles = arrived.iter().map(|(bundle, _)| bundle.clone()).collect();
        self.oracle.handed_in(to, reply, bundles);
        self.give(to, Arrival::HandedIn { from: peer, bundles: arrived, reply });
        Ok(())
    }

    /// The blobs of `bundle` that are not at `node`, which keeps those that come with it.
    fn missing(&mut self, node: NodeId, bundle: &Bundle, with_blobs: bool) -> Vec<BlobHash> {
        let disk = &mut self.nodes[node.0].disk;
        if with_blobs {
            bundle.blobs().into_iter().for_each(|(hash, _)| disk.put_blob(hash));
        }
        let blobs: BTreeSet<_> = bundle.blobs().into_iter().map(|(hash, _)| hash).collect();
        blobs.into_iter().filter(|hash| !disk.has_blob(*hash)).collect()
    }

    fn hear_handover_answer(
        &mut self,
        from: NodeId,
        to: NodeId,
        flight: Flight,
        bytes: &[u8],
    ) -> Result<(), String> {
        let question = self.process_mut(to).and_then(|process| process.questions.get_mut(&flight));
        let Some(Purpose::HandOver { bundles, outcomes }) =
            question.map(|question| &mut question.purpose)
        else {
            return Ok(());
        };
        let answers = decode_answers(bytes, bundles.len()).map_err(words)?;
        let (mut again, mut wanted, mut taken) = (Vec::new(), Vec::new(), Vec::new());
        for (bundle, answer) in std::mem::take(bundles).into_iter().zip(answers) {
            match answer {
                HandoverAnswer::Taken => {
                    taken.push(bundle.id());
                    outcomes.push((bundle.id(), Ok(())));
                }
                HandoverAnswer::Refused(why) => {
                    outcomes.push((bundle.id(), Err(HandoverFailed::refused(&why))));
                }
                HandoverAnswer::Missing(blobs) => {
                    wanted.extend(blobs);
                    again.push(bundle);
                }
            }
        }
        bundles.clone_from(&again);
        taken.into_iter().for_each(|id| self.oracle.passed_on(to, id));
        if again.is_empty() {
            if let Some(Purpose::HandOver { outcomes, .. }) = self.ended(to, flight) {
                let peer = self.key(from);
                self.give(to, Arrival::HandedOver { to: peer, outcomes });
            }
            return Ok(());
        }
        let disk = &self.nodes[to.0].disk;
        if !wanted.iter().all(|hash| disk.has_blob(*hash)) {
            // A receipt has come meanwhile, and the blobs are gone.
            self.give_up(to, flight);
            return Ok(());
        }
        let (kind, bytes) = (FrameKind::HandoverWithBlobs, encode_bundles(&again));
        let extra = self.luck.network.duration(BLOB_TIME);
        self.send(to, from, Frame { kind, flight: Some(flight), bytes }, extra);
        Ok(())
    }

    fn hear_reconcile(
        &mut self,
        from: NodeId,
        to: NodeId,
        flight: Flight,
        bytes: &[u8],
    ) -> Result<(), String> {
        let peer = self.key(from);
        let ask = match ReconcileAsk::decode(bytes).map_err(words)? {
            ReconcileAsk::Compare(branches) => ReconcileQuery::Compare(branches),
            ReconcileAsk::Fetch(ids) => ReconcileQuery::Fetch(ids),
            ReconcileAsk::Give(envelopes) => {
                let statements = self.checked(to, &envelopes)?;
                let thanks = ReconcileAnswer::Thanks.encode();
                self.answer_frame(to, from, flight, FrameKind::ReconcileAnswer, thanks);
                self.give(to, Arrival::Given { from: peer, statements });
                return Ok(());
            }
        };
        let Some(process) = self.process_mut(to) else { return Ok(()) };
        let reply = process.owe(from, flight);
        self.give(to, Arrival::Compared { from: peer, ask, reply });
        Ok(())
    }

    fn hear_reconcile_answer(
        &mut self,
        from: NodeId,
        to: NodeId,
        flight: Flight,
        bytes: &[u8],
    ) -> Result<(), String> {
        let news = match ReconcileAnswer::decode(bytes).map_err(words)? {
            ReconcileAnswer::Differs(differences) => ReconcileNews::Differs(differences),
            ReconcileAnswer::Statements(envelopes) => {
                ReconcileNews::Statements(self.checked(to, &envelopes)?)
            }
            ReconcileAnswer::Thanks => ReconcileNews::Thanks,
        };
        if self.ended(to, flight).is_some() {
            self.give(to, Arrival::Reconciled { from: self.key(from), news });
        }
        Ok(())
    }

    /// Those statements that hold now; an honest peer gives no unsound ones.
    fn checked(&self, node: NodeId, envelopes: &[Envelope]) -> Result<Vec<Gossip>, String> {
        let wall = self.wall(node);
        let mut statements = Vec::new();
        for envelope in envelopes {
            match Gossip::check(envelope, wall, &self.verifier) {
                Ok(gossip) => statements.push(gossip),
                Err(StatementError::Expired { .. }) => {}
                Err(error) => return Err(words(error)),
            }
        }
        Ok(statements)
    }

    // Blobs.

    fn blob_wanted(&mut self, from: NodeId, to: NodeId, flight: Flight, hash: BlobHash) {
        if self.nodes[to.0].disk.has_blob(hash) {
            return self.answer_frame(to, from, flight, FrameKind::Blob(hash), Vec::new());
        }
        let asker = self.key(from);
        match self.process(to).and_then(|process| process.core.blob_source(hash, asker)) {
            Some(source) => {
                let purpose = Purpose::PullThrough { asker: from, flight };
                let kind = FrameKind::BlobWanted(hash);
                self.question(to, source, purpose, kind, Vec::new(), FETCH_TIMEOUT);
            }
            None => self.answer_frame(to, from, flight, FrameKind::NoBlob, Vec::new()),
        }
    }

    fn blob_came(&mut self, to: NodeId, flight: Flight, hash: BlobHash) {
        let Some(purpose) = self.ended(to, flight) else { return };
        self.nodes[to.0].disk.put_blob(hash);
        match purpose {
            Purpose::PullThrough { asker, flight } => {
                self.answer_frame(to, asker, flight, FrameKind::Blob(hash), Vec::new());
            }
            _ => self.give(to, Arrival::Fetched { hash, here: true }),
        }
    }

    /// The question has its answer.
    fn ended(&mut self, node: NodeId, flight: Flight) -> Option<Purpose> {
        let question = self.process_mut(node)?.questions.remove(&flight)?;
        Some(question.purpose)
    }
}

impl Process {
    fn owe(&mut self, to: NodeId, flight: Flight) -> Number {
        let reply = self.number();
        self.owed.insert(reply, (to, flight));
        reply
    }
}

fn words(error: impl std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        words = format!("{words}: {cause}");
        source = cause.source();
    }
    words
}
