//! Processes: how they start, what they are given, and what becomes of what they want.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{Artifact, Blob, BlobPart, Ended, Log, StepReport};
use capability::{BlobHash, BlobKey, Signer, StatementId, Timestamp, encrypted_size};
use mesh_core::{Commit, Mono, Now, RequestGuard};
use volunteer_core::{Order, Outcome};

use super::{Event, Process, ProcessEvent, Sabotage, TIDY_EVERY, World, faults};
use crate::crypto::TableKeys;
use crate::engine::SimTime;
use crate::network::{Life, NodeId};
use crate::nodes::{Arrival, Effect, News};
use crate::oracle::Invariant;

/// After this many wakes at one instant a core is held to spin.
const MAX_WAKES_AT_ONCE: u32 = 100;
/// A master that does not take a job is asked again.
const SUBMIT_AGAIN: Duration = Duration::from_secs(5);
/// What a runtime needs to end a run that it is told to stop.
const STOP_TIME: Duration = Duration::from_millis(50);

const COMMIT_TIME: std::ops::RangeInclusive<Duration> =
    Duration::from_millis(1)..=Duration::from_millis(20);
const RUN_TIME: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(15);
/// Runs of 1,000 that the machine is to blame for, and that the job is.
const MACHINE_FAILS_PERMILLE: u64 = 20;
const JOB_FAILS_PERMILLE: u64 = 50;

impl World {
    /// Starts the node, unless it runs or is gone for good.
    pub(super) fn start(&mut self, id: NodeId) {
        let node = &self.nodes[id.0];
        if node.destroyed || node.process.is_some() {
            return;
        }
        let (now, wall) = (self.queue.now(), self.wall(id));
        let at = Now { mono: Mono::default(), wall };
        let records = faults::found(&node.disk, &node.spec.role, self.sabotage);
        let keys = TableKeys::of(&node.spec.name);
        match node.spec.role.start(&node.signer, &keys, &self.verifier, records, at) {
            Ok(core) => {
                let guard = RequestGuard::new(node.signer.public());
                let life = Life(self.fresh());
                self.tell(id, format_args!("starts"));
                self.nodes[id.0].process = Some(Process {
                    life,
                    started: now,
                    core,
                    guard,
                    peers: BTreeMap::new(),
                    questions: BTreeMap::new(),
                    owed: BTreeMap::new(),
                    handed_in: BTreeMap::new(),
                    judging: BTreeMap::new(),
                    seen: BTreeMap::new(),
                    runs: BTreeMap::new(),
                    next_number: 0,
                    wake: None,
                    wakes_now: (now, 0),
                });
                self.later(id, Duration::ZERO, ProcessEvent::Dial);
                self.later(id, TIDY_EVERY, ProcessEvent::Tidy);
                self.drain(id);
            }
            Err(error) => {
                let what = format!("{} {error}", self.name(id));
                self.note(Err((Invariant::OwnRecordsRestore, what)));
            }
        }
    }

    /// Gives the core what has happened, and does what it wants.
    pub(super) fn give(&mut self, node: NodeId, arrival: Arrival) {
        let now = self.now_of(node);
        if let Some(process) = self.process_mut(node) {
            process.core.handle(arrival, now);
            self.drain(node);
        }
    }

    fn drain(&mut self, node: NodeId) {
        self.touched.insert(node);
        while let Some(effect) = self.process_mut(node).and_then(|process| process.core.poll()) {
            let looked = self.oracle.effect(node, &effect, &self.nodes[node.0].disk);
            self.note(looked);
            self.carry_out(node, effect);
            self.count_action(node);
        }
        self.set_alarm(node);
    }

    fn now_of(&self, node: NodeId) -> Now {
        let started = self.process(node).map_or(SimTime::default(), |process| process.started);
        Now { mono: Mono(self.queue.now() - started), wall: self.wall(node) }
    }

    // Waking.

    fn set_alarm(&mut self, node: NodeId) {
        let (now, sleepless) = (self.queue.now(), self.sabotage == Some(Sabotage::Insomnia));
        let Some(process) = self.process_mut(node) else { return };
        let Some(at) = process.core.next_wake() else { return };
        let at = if sleepless { Mono::default() } else { at };
        let at = (process.started + at.0).max(now);
        if process.wake.is_none_or(|wake| at < wake) {
            process.wake = Some(at);
            self.later(node, at - now, ProcessEvent::Wake(at));
        }
    }

    pub(super) fn wake(&mut self, node: NodeId, at: SimTime) {
        let mono = self.now_of(node).mono;
        let sleepless = self.sabotage == Some(Sabotage::Insomnia);
        let Some(process) = self.process_mut(node) else { return };
        if process.wake != Some(at) {
            return;
        }
        process.wake = None;
        // The core may have changed its mind since.
        if sleepless || process.core.next_wake().is_some_and(|wake| wake <= mono) {
            let (since, count) = process.wakes_now;
            process.wakes_now = if since == at { (at, count + 1) } else { (at, 1) };
            if process.wakes_now.1 > MAX_WAKES_AT_ONCE {
                let what = format!("{} wants to be woken again and again", self.name(node));
                return self.note(Err((Invariant::NobodySpins, what)));
            }
            self.give(node, Arrival::Wake);
        } else {
            self.set_alarm(node);
        }
    }

    // What cores want.

    fn carry_out(&mut self, node: NodeId, effect: Effect) {
        match effect {
            Effect::Commit(commit) => self.commit(node, commit),
            Effect::Ask { to, call, ask } => self.ask(node, to, call, &ask),
            Effect::Reply { reply, answer } => {
                self.reply(node, reply, &answer);
                if self.sabotage == Some(Sabotage::AnswerTwice) {
                    self.reply(node, reply, &answer);
                }
            }
            Effect::HandOver(handover) => self.hand_over(node, handover),
            Effect::ReplyHandover { reply, answers } => self.reply_handover(node, reply, answers),
            Effect::Judge { token, accepted } => self.judged(node, token, accepted),
            Effect::Publish { topic, gossip } => self.publish(node, &topic, &gossip),
            Effect::Reconcile { to, ask } => self.reconcile(node, to, &ask),
            Effect::ReplyReconcile { reply, answer } => self.reply_reconcile(node, reply, &answer),
            Effect::Dial { address } => {
                let named = self.nodes.iter().position(|it| address_of(&it.spec.name) == address);
                named.into_iter().for_each(|to| self.dial(node, NodeId(to)));
            }
            Effect::Fetch { from, hash } => self.fetch(node, from, hash),
            Effect::Run(order) => self.run_task(node, order),
            Effect::Stop { lease } => self.later(node, STOP_TIME, ProcessEvent::RunEnds(lease)),
            Effect::Submitted { offer } => {
                self.nodes[node.0].submitted |= offer.is_some();
                self.tell(node, format_args!("submitted {offer:?}"));
            }
            Effect::News(news) => self.tell_news(node, &news),
        }
    }

    fn tell_news(&mut self, node: NodeId, news: &News) {
        match news {
            News::Other(words) => self.tell(node, format_args!("{words}")),
            news => self.tell(node, format_args!("{news:?}")),
        }
    }

    fn commit(&mut self, node: NodeId, commit: Commit) {
        self.counts.commits += 1;
        let (now, id) = (self.queue.now(), commit.id);
        let ready = now + self.luck.disk.duration(COMMIT_TIME);
        let durable = self.nodes[node.0].disk.begin(commit, ready);
        if self.sabotage == Some(Sabotage::AcknowledgeBeforeCommit) {
            self.later(node, Duration::ZERO, ProcessEvent::FalselyDurable(id));
        }
        self.later(node, durable - now, ProcessEvent::Durable);
    }

    pub(super) fn submit(&mut self, node: NodeId) {
        let it = &self.nodes[node.0];
        let Some(job) = it.spec.job.clone().filter(|_| !it.submitted && !it.destroyed) else {
            return;
        };
        self.queue.after(SUBMIT_AGAIN, Event::Submit(node));
        if let Some(reply) = self.process_mut(node).map(Process::number) {
            self.give(node, Arrival::Submit { job, reply });
        }
    }

    // Runs.

    fn run_task(&mut self, node: NodeId, order: Box<Order>) {
        let lease = order.lease;
        let duration = self.luck.runs.duration(RUN_TIME);
        if let Some(process) = self.process_mut(node) {
            process.runs.insert(lease, order);
        }
        self.later(node, duration, ProcessEvent::RunEnds(lease));
    }

    pub(super) fn run_ends(&mut self, node: NodeId, lease: StatementId) {
        let Some(order) = self.process_mut(node).and_then(|it| it.runs.remove(&lease)) else {
            return;
        };
        self.counts.runs += 1;
        let ended = if self.luck.runs.happens(MACHINE_FAILS_PERMILLE) {
            Ended::Machine("the sandbox could not be had".to_owned())
        } else if self.luck.runs.happens(JOB_FAILS_PERMILLE) {
            Ended::Failed
        } else {
            Ended::Passed
        };
        // What a run makes is its own, so that every result has a blob that only it has.
        let artifact = BlobHash::of(lease.as_bytes());
        self.nodes[node.0].disk.put_blob(artifact);
        let outcome = outcome(&order, ended, artifact, self.wall(node));
        self.give(node, Arrival::Ran { lease, outcome });
    }

    pub(super) fn tidy(&mut self, node: NodeId) {
        let wall = self.wall(node);
        let it = &mut self.nodes[node.0];
        if let Some(process) = &mut it.process {
            process.guard.forget(wall);
            it.disk.retain_blobs(|hash| process.core.keeps_blob(hash));
        }
    }

    // Connections.

    /// Tries to reach `to`, if it is not connected already.
    pub(super) fn dial(&mut self, from: NodeId, to: NodeId) {
        let connected = self.process(from).is_some_and(|it| it.peers.contains_key(&to));
        let (Some(ours), Some(theirs)) = (self.life(from), self.life(to)) else { return };
        if connected || from == to {
            return;
        }
        let there = self.network.carry(from, to, &mut self.luck.network);
        let back = self.network.carry(to, from, &mut self.luck.network);
        if let (Some(there), Some(back)) = (there, back) {
            let event = Event::Connected { from: (from, ours), to: (to, theirs) };
            self.queue.after(there + back, event);
        }
    }

    pub(super) fn connected(&mut self, from: (NodeId, Life), to: (NodeId, Life)) {
        let both_live = self.is_alive(from.0, from.1) && self.is_alive(to.0, to.1);
        if !both_live || self.has_peer(from.0, to.0) && self.has_peer(to.0, from.0) {
            return;
        }
        let generation = crate::network::Generation(self.fresh());
        for (node, other, dialled) in [(from.0, to.0, true), (to.0, from.0, false)] {
            let peer = self.key(other);
            let Some(process) = self.process_mut(node) else { continue };
            // Who still takes the former connection for sound sees no change.
            if process.peers.insert(other, generation).is_none() {
                let name = self.name(other);
                self.tell(node, format_args!("is connected to {name}"));
                self.give(node, Arrival::PeerUp { peer, dialled });
            }
        }
    }

    pub(super) fn disconnected(
        &mut self,
        node: NodeId,
        peer: NodeId,
        generation: crate::network::Generation,
    ) {
        let Some(process) = self.process_mut(node) else { return };
        if process.peers.get(&peer) != Some(&generation) {
            return;
        }
        process.peers.remove(&peer);
        let asked = process.questions.iter().filter(|(_, question)| question.to == peer);
        let asked: Vec<_> = asked.map(|(flight, _)| *flight).collect();
        let (name, key) = (self.name(peer), self.key(peer));
        self.tell(node, format_args!("is no longer connected to {name}"));
        self.give(node, Arrival::PeerDown { peer: key });
        asked.into_iter().for_each(|flight| self.give_up(node, flight));
        // The other side will find nobody at this end.
        let silence = self.luck.network.duration(faults::SILENCE);
        let event = ProcessEvent::Disconnected { peer: node, generation, cut: None };
        self.later(peer, silence, event);
    }

    pub(super) fn has_peer(&self, node: NodeId, peer: NodeId) -> bool {
        self.process(node).is_some_and(|process| process.peers.contains_key(&peer))
    }
}

impl Process {
    /// A number that this process has not used yet.
    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }
}

/// Where the broker of that name can be dialled.
pub fn address_of(name: &str) -> String {
    format!("/dns/{name}.example")
}

fn outcome(order: &Order, ended: Ended, artifact: BlobHash, now: Timestamp) -> Outcome {
    let exit = match &ended {
        Ended::Passed => Some(0),
        Ended::Failed => Some(1),
        Ended::Limit(_) | Ended::Machine(_) => None,
    };
    let step = |name: &str| StepReport {
        name: name.to_owned(),
        exit,
        ending: String::new(),
        wall_ms: 1000,
        cpu_ms: 900,
        memory: 1 << 20,
        fuel: None,
        log: Log::Inline(b"done\n".to_vec()),
    };
    Outcome {
        leftover: Vec::new(),
        ended,
        steps: order.job.steps.iter().map(|it| step(&it.name)).collect(),
        artifacts: vec![Artifact {
            path: "out".to_owned(),
            content: BlobPart { blob: 0, size: 1000, hash: artifact },
        }],
        blobs: vec![Blob { hash: artifact, size: encrypted_size(1000) }],
        key: BlobKey::from_bytes([0; 32]),
        system: "simulated".to_owned(),
        started: now,
        finished: now,
        resumed: 0,
        network_down: 0,
        network_up: 0,
    }
}
