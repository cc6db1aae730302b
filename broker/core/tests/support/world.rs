//! Brokers, the links between them, their disks, and everybody who speaks to them.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use broker_core::{
    Action, Broker, BrokerConfig, Direction, Disobeyed, GossipToken, GossipVerdict, Input, News,
    Operation, Order, ReconcileNews, ReconcileQuery, Weight, Whom, mark_restored,
};
use capability::statements::Offer;
use capability::{ProjectKey, PublicKey, StatementId, Timestamp, Verified};
use mesh_core::{
    Answer, Ask, Bundle, CallFailed, CallId, Commit, Gossip, Handover, HandoverAnswer,
    HandoverFailed, Mono, Now, ReconcileAnswer, ReconcileAsk, ReplyId, Write,
};

use super::keys::{Hashed, Key};
use super::project::{Project, publication};

/// Brokers, and everybody else as somebody who is spoken to.
pub struct World {
    pub now: Now,
    nodes: BTreeMap<PublicKey, Node>,
    links: BTreeSet<(PublicKey, PublicKey)>,
    answers: BTreeMap<ReplyId, Answer>,
    handover_answers: BTreeMap<ReplyId, Vec<HandoverAnswer>>,
    /// Which broker waits for which answer, and under which name.
    calls: BTreeMap<ReplyId, (PublicKey, CallId)>,
    handovers: BTreeMap<ReplyId, (PublicKey, Handover)>,
    /// What brokers handed over to volunteers and masters, who take everything.
    pub delivered: Vec<(PublicKey, Bundle)>,
    pub news: Vec<(PublicKey, News)>,
    pub dialled: Vec<String>,
    /// How far the clocks of brokers are ahead.
    pub ahead: BTreeMap<PublicKey, Duration>,
    /// Gossip reaches nobody.
    pub lose_gossip: bool,
    /// Gossip that waits for a broker's judgement.
    gossip: BTreeMap<GossipToken, Gossip>,
    /// What operators want beside the defaults.
    configs: BTreeMap<PublicKey, BrokerConfig>,
    obeyed: BTreeMap<ReplyId, Result<(), Disobeyed>>,
    /// Whom brokers turn away from now on.
    pub shut: Vec<(PublicKey, Whom)>,
    /// Brokers that have left.
    pub drained: BTreeSet<PublicKey>,
    next_reply: u64,
    queue: VecDeque<(PublicKey, Input)>,
    /// How much each broker was told, beside the time.
    told: BTreeMap<PublicKey, usize>,
}

struct Node {
    broker: Broker,
    disk: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Commits that are not durable yet, while a test holds them back.
    held: Option<Vec<Commit>>,
}

impl World {
    pub fn of(brokers: &[Key]) -> Self {
        let now = Now { mono: Mono::default(), wall: Timestamp(1_800_000_000_000) };
        let mut world = Self {
            now,
            nodes: BTreeMap::new(),
            links: BTreeSet::new(),
            answers: BTreeMap::new(),
            handover_answers: BTreeMap::new(),
            calls: BTreeMap::new(),
            handovers: BTreeMap::new(),
            delivered: Vec::new(),
            news: Vec::new(),
            dialled: Vec::new(),
            ahead: BTreeMap::new(),
            lose_gossip: false,
            gossip: BTreeMap::new(),
            configs: BTreeMap::new(),
            obeyed: BTreeMap::new(),
            shut: Vec::new(),
            drained: BTreeSet::new(),
            next_reply: 0,
            queue: VecDeque::new(),
            told: BTreeMap::new(),
        };
        for broker in brokers {
            world.join(*broker);
        }
        world
    }

    /// A line of brokers, each linked to the next, that have told each other everything.
    pub fn line(brokers: &[Key]) -> Self {
        let mut world = Self::of(brokers);
        for pair in brokers.windows(2) {
            world.connect(pair[0].0, pair[1].0);
        }
        world.pass(Duration::from_secs(5));
        world
    }

    pub fn broker(&self, broker: Key) -> &Broker {
        &self.nodes[&broker.0].broker
    }

    /// A single broker, whose operator gives projects these weights.
    pub fn weighing(broker: Key, weights: BTreeMap<ProjectKey, Weight>) -> Self {
        let mut world = Self::of(&[]);
        world.start(broker, BTreeMap::new(), BrokerConfig { weights, ..BrokerConfig::default() });
        world
    }

    /// One more broker, which knows nobody yet.
    pub fn join(&mut self, broker: Key) {
        self.join_with(broker, &[]);
    }

    /// One more broker, as its operator wants it.
    pub fn join_as(&mut self, broker: Key, config: BrokerConfig) {
        self.configs.insert(broker.0, config.clone());
        self.start(broker, BTreeMap::new(), config);
    }

    pub fn broker_mut(&mut self, broker: Key) -> &mut Broker {
        &mut self.nodes.get_mut(&broker.0).expect("a broker").broker
    }

    /// What the operator of `broker` orders, and what comes of it.
    pub fn order(&mut self, broker: Key, order: Order) -> Result<(), Disobeyed> {
        let reply = self.reply_id();
        self.put(broker.0, Input::Order { order, reply });
        self.obeyed.remove(&reply).expect("durable at once")
    }

    /// The same; its operator has named other brokers to it.
    pub fn join_with(&mut self, broker: Key, bootstrap: &[&str]) {
        let bootstrap = bootstrap.iter().map(|address| (*address).to_owned()).collect();
        self.start(broker, BTreeMap::new(), BrokerConfig { bootstrap, ..BrokerConfig::default() });
    }

    fn start(&mut self, broker: Key, disk: BTreeMap<Vec<u8>, Vec<u8>>, mut config: BrokerConfig) {
        config.addresses = vec![format!("/memory/{}", broker.0.as_bytes()[0])];
        let records = disk.clone().into_iter();
        let ahead = self.ahead.get(&broker.0).copied().unwrap_or_default();
        let now = Now { wall: self.now.wall + ahead, ..self.now };
        let restored = Broker::restore(records, config, Arc::new(broker), Arc::new(Hashed), now);
        let node = Node { broker: restored.expect("own records"), disk, held: None };
        self.nodes.insert(broker.0, node);
        self.put(broker.0, Input::Wake);
    }

    /// How often `broker` was told anything but the time, and the bytes on its disk.
    pub fn cost(&self, broker: Key) -> (usize, usize) {
        let disk = self.nodes[&broker.0].disk.iter();
        let bytes = disk.map(|(key, value)| key.len() + value.len()).sum();
        (self.told.get(&broker.0).copied().unwrap_or(0), bytes)
    }

    /// Bytes of the largest value on the broker's disk.
    pub fn largest_record(&self, broker: Key) -> usize {
        let values = self.nodes[&broker.0].disk.values();
        values.map(Vec::len).max().unwrap_or_default()
    }

    /// What is on the broker's disk about `offer`, but for its withdrawal.
    pub fn records_about(&self, broker: Key, offer: StatementId) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut records = self.nodes[&broker.0].disk.clone();
        records.retain(|key, _| key[0] != b'w' && key[1..].starts_with(offer.as_bytes()));
        records
    }

    /// The receipts that the broker keeps.
    pub fn receipts_on_disk(&self, broker: Key) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut records = self.nodes[&broker.0].disk.clone();
        records.retain(|key, _| key[0] == b'r');
        records
    }

    /// As if a process had ended before it deleted those records.
    pub fn undelete(&mut self, broker: Key, records: BTreeMap<Vec<u8>, Vec<u8>>) {
        self.nodes.get_mut(&broker.0).expect("a broker").disk.extend(records);
    }

    /// `kill -9`, and a new process on the same disk. Connections are gone.
    pub fn restart(&mut self, broker: Key) {
        let links: Vec<_> = self.links.iter().copied().collect();
        for (a, b) in links {
            if a == broker.0 || b == broker.0 {
                self.disconnect(a, b);
            }
        }
        let node = self.nodes.remove(&broker.0).expect("it ran");
        let config = self.configs.get(&broker.0).cloned().unwrap_or_default();
        self.start(broker, node.disk, config);
    }

    /// All that is on the broker's disk.
    pub fn back_up(&self, broker: Key) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.nodes[&broker.0].disk.clone()
    }

    /// A new process on what `backup` says, which is marked as restored.
    pub fn restore(&mut self, broker: Key, backup: BTreeMap<Vec<u8>, Vec<u8>>) {
        self.nodes.get_mut(&broker.0).expect("a broker").disk = backup;
        let Write::Put { key, value } = mark_restored(self.now.wall) else {
            panic!("a mark is put");
        };
        self.undelete(broker, [(key, value)].into());
        self.restart(broker);
    }

    /// The same; of the commits that a test has held back so many had become durable.
    pub fn restart_after(&mut self, broker: Key, commits: usize) {
        let node = self.nodes.get_mut(&broker.0).expect("it ran");
        for commit in node.held.take().into_iter().flatten().take(commits) {
            apply(&mut node.disk, commit.writes);
        }
        self.restart(broker);
    }

    /// `from` dials `to`.
    pub fn connect(&mut self, from: PublicKey, to: PublicKey) {
        self.links.insert((from, to));
        self.links.insert((to, from));
        self.put(from, Input::PeerUp { peer: to, direction: Direction::Outbound });
        self.put(to, Input::PeerUp { peer: from, direction: Direction::Inbound });
    }

    pub fn disconnect(&mut self, a: PublicKey, b: PublicKey) {
        self.links.remove(&(a, b));
        self.links.remove(&(b, a));
        self.put(a, Input::PeerDown { peer: b });
        self.put(b, Input::PeerDown { peer: a });
    }

    /// Holds back what `broker` writes, as a slow disk does.
    pub fn hold_disk(&mut self, broker: Key) {
        self.nodes.get_mut(&broker.0).expect("a broker").held = Some(Vec::new());
    }

    pub fn release_disk(&mut self, broker: Key) {
        let held = self.nodes.get_mut(&broker.0).expect("a broker").held.take();
        for commit in held.into_iter().flatten() {
            self.write(broker.0, commit);
        }
        self.run();
    }

    /// Lets time pass, waking every broker when it asked for it.
    pub fn pass(&mut self, time: Duration) {
        let end = self.now.after(time);
        loop {
            let wakes = self.nodes.iter().filter_map(|(key, node)| {
                Some((node.broker.next_wake()?.max(self.now.mono), *key))
            });
            let Some((at, broker)) = wakes.min().filter(|(at, _)| *at < end.mono) else { break };
            self.now = self.now.after(at - self.now.mono);
            self.put(broker, Input::Wake);
        }
        self.now = end;
        for broker in self.nodes.keys().copied().collect::<Vec<_>>() {
            self.put(broker, Input::Wake);
        }
    }

    /// Asks `broker` as `from`; the answer may come later.
    pub fn begin(&mut self, from: PublicKey, broker: Key, ask: Ask) -> ReplyId {
        let reply = self.reply_id();
        self.put(broker.0, Input::Ask { from, ask, reply });
        reply
    }

    /// The answer to a question, if it has come.
    pub fn answer(&mut self, reply: ReplyId) -> Option<Answer> {
        self.answers.remove(&reply)
    }

    pub fn ask(&mut self, from: PublicKey, broker: Key, ask: Ask) -> Answer {
        let reply = self.begin(from, broker, ask);
        self.answer(reply).expect("an answer at once")
    }

    /// A new offer of `project`, whose home `home` is in epoch 1.
    pub fn publish(
        &mut self,
        project: Project,
        tasks: u32,
        replicas: u16,
        home: Key,
    ) -> Verified<Offer> {
        let offer = project.offer(tasks, replicas, self.now);
        let publication = publication(project, &offer, 1, home, self.now);
        assert_eq!(self.ask(project.master.0, home, publication), Answer::Done);
        offer
    }

    pub fn begin_handover(&mut self, from: PublicKey, broker: Key, bundle: Bundle) -> ReplyId {
        let reply = self.reply_id();
        self.put(broker.0, Input::Handover { from, bundles: vec![bundle], reply });
        reply
    }

    pub fn handover_answer(&mut self, reply: ReplyId) -> Option<HandoverAnswer> {
        self.handover_answers.remove(&reply)?.pop()
    }

    pub fn hand_over(&mut self, from: PublicKey, broker: Key, bundle: Bundle) -> HandoverAnswer {
        let reply = self.begin_handover(from, broker, bundle);
        self.handover_answer(reply).expect("an answer at once")
    }

    /// Results and receipts that reached `who`.
    pub fn delivered_to(&self, who: PublicKey) -> Vec<Bundle> {
        let to_them = self.delivered.iter().filter(|(to, _)| *to == who);
        to_them.map(|(_, bundle)| bundle.clone()).collect()
    }

    pub fn put(&mut self, broker: PublicKey, input: Input) {
        self.queue.push_back((broker, input));
        self.run();
    }

    pub fn reply_id(&mut self) -> ReplyId {
        self.next_reply += 1;
        ReplyId(self.next_reply)
    }

    fn run(&mut self) {
        while let Some((broker, input)) = self.queue.pop_front() {
            let Some(node) = self.nodes.get_mut(&broker) else { continue };
            if !matches!(input, Input::Wake) {
                *self.told.entry(broker).or_default() += 1;
            }
            let ahead = self.ahead.get(&broker).copied().unwrap_or_default();
            let now = Now { wall: self.now.wall + ahead, ..self.now };
            node.broker.handle(input, now);
            while let Some(action) =
                self.nodes.get_mut(&broker).and_then(|it| it.broker.poll_action())
            {
                self.act(broker, action);
            }
        }
    }

    fn act(&mut self, me: PublicKey, action: Action) {
        match action {
            Action::Commit(commit) => {
                let node = self.nodes.get_mut(&me).expect("it acts");
                match &mut node.held {
                    Some(held) => held.push(commit),
                    None => self.write(me, commit),
                }
            }
            Action::Judge { token, verdict } => {
                if let Some(gossip) = self.gossip.remove(&token)
                    && verdict == GossipVerdict::Accept
                {
                    self.flood(me, &gossip);
                }
            }
            Action::Publish { gossip, .. } => self.flood(me, &gossip),
            Action::Operate(operation) => match operation {
                Operation::Obeyed { reply, outcome } => drop(self.obeyed.insert(reply, outcome)),
                Operation::Shut(whom) => self.shut.push((me, whom)),
                Operation::Drained => drop(self.drained.insert(me)),
                Operation::Open(_) | Operation::Disconnect(_) | Operation::RemoveBlob(_) => (),
            },
            Action::Reply { reply, answer } => match self.calls.remove(&reply) {
                Some((caller, call)) => {
                    self.queue.push_back((caller, Input::Answered { call, answer: Ok(answer) }));
                }
                None => {
                    let before = self.answers.insert(reply, answer);
                    assert_eq!(before, None, "a question is answered once");
                }
            },
            Action::ReplyHandover { reply, answers } => match self.handovers.remove(&reply) {
                Some((giver, Handover { to, bundles })) => {
                    let taken = answers.into_iter().map(|answer| match answer {
                        HandoverAnswer::Taken => Ok(()),
                        HandoverAnswer::Refused(why) => Err(HandoverFailed::refused(&why)),
                        HandoverAnswer::Missing(_) => panic!("the core does not look at blobs"),
                    });
                    let outcomes = bundles.iter().map(Bundle::id).zip(taken).collect();
                    self.queue.push_back((giver, Input::HandedOver { to, outcomes }));
                }
                None => {
                    self.handover_answers.insert(reply, answers);
                }
            },
            Action::ReplyReconcile { .. } => panic!("taken where the question was put"),
            Action::Ask { to, call, ask } => {
                if !self.reaches(me, to) {
                    let answer = Err(CallFailed("lost".to_owned()));
                    return self.queue.push_back((me, Input::Answered { call, answer }));
                }
                let reply = self.reply_id();
                self.calls.insert(reply, (me, call));
                self.queue.push_back((to, Input::Ask { from: me, ask, reply }));
            }
            Action::HandOver(handover) => {
                let Handover { to, bundles } = handover.clone();
                if self.reaches(me, to) {
                    let reply = self.reply_id();
                    self.handovers.insert(reply, (me, handover));
                    self.queue.push_back((to, Input::Handover { from: me, bundles, reply }));
                    return;
                }
                let taken = if self.links.contains(&(me, to)) {
                    self.delivered.extend(bundles.iter().map(|bundle| (to, bundle.clone())));
                    Ok(())
                } else {
                    Err(HandoverFailed("lost".to_owned()))
                };
                let outcomes = bundles.iter().map(|bundle| (bundle.id(), taken.clone())).collect();
                self.queue.push_back((me, Input::HandedOver { to, outcomes }));
            }
            Action::Reconcile { to, ask } => self.reconcile(me, to, ask),
            Action::Dial { address } => self.dialled.push(address),
            Action::News(news) => self.news.push((me, news)),
        }
    }

    /// Tells all brokers linked to `me`; each forwards what it accepts.
    fn flood(&mut self, me: PublicKey, gossip: &Gossip) {
        let told = if self.lose_gossip { Vec::new() } else { self.linked_brokers(me) };
        for to in told {
            let token = GossipToken(self.reply_id().0);
            self.gossip.insert(token, gossip.clone());
            let gossip = gossip.clone();
            self.queue.push_back((to, Input::Gossip { gossip, from: me, token }));
        }
    }

    fn reconcile(&mut self, me: PublicKey, to: PublicKey, ask: ReconcileAsk) {
        let now = self.now;
        let answer = if !self.reaches(me, to) {
            ReconcileNews::Failed
        } else {
            match ask {
                ReconcileAsk::Give(statements) => {
                    let statements = checked(&statements, now);
                    self.queue.push_back((to, Input::Given { from: me, statements }));
                    ReconcileNews::Thanks
                }
                ReconcileAsk::Compare(branches) => {
                    self.query(me, to, ReconcileQuery::Compare(branches))
                }
                ReconcileAsk::Fetch(ids) => self.query(me, to, ReconcileQuery::Fetch(ids)),
            }
        };
        self.queue.push_back((me, Input::Reconciled { from: to, answer }));
    }

    fn query(&mut self, me: PublicKey, to: PublicKey, ask: ReconcileQuery) -> ReconcileNews {
        let reply = ReplyId(0);
        let now = self.now;
        let node = self.nodes.get_mut(&to).expect("a broker");
        node.broker.handle(Input::Reconcile { from: me, ask, reply }, now);
        let mut news = ReconcileNews::Failed;
        let actions: Vec<_> = std::iter::from_fn(|| node.broker.poll_action()).collect();
        for action in actions {
            match action {
                Action::ReplyReconcile { answer: ReconcileAnswer::Differs(different), .. } => {
                    news = ReconcileNews::Differs(different);
                }
                Action::ReplyReconcile { answer: ReconcileAnswer::Statements(found), .. } => {
                    news = ReconcileNews::Statements(checked(&found, now));
                }
                other => self.act(to, other),
            }
        }
        news
    }

    fn write(&mut self, broker: PublicKey, commit: Commit) {
        let node = self.nodes.get_mut(&broker).expect("it writes");
        apply(&mut node.disk, commit.writes);
        self.queue.push_back((broker, Input::Committed(commit.id)));
    }

    fn reaches(&self, from: PublicKey, to: PublicKey) -> bool {
        self.links.contains(&(from, to)) && self.nodes.contains_key(&to)
    }

    fn linked_brokers(&self, of: PublicKey) -> Vec<PublicKey> {
        let links = self.links.iter().filter(|(a, _)| *a == of).map(|(_, b)| *b);
        links.filter(|peer| self.nodes.contains_key(peer)).collect()
    }
}

fn apply(disk: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: Vec<Write>) {
    for write in writes {
        match write {
            Write::Put { key, value } => disk.insert(key, value),
            Write::Delete { key } => disk.remove(&key),
        };
    }
}

fn checked(statements: &[capability::Envelope], now: Now) -> Vec<Gossip> {
    let sound = statements.iter().filter_map(|it| Gossip::check(it, now.wall, &Hashed).ok());
    sound.collect()
}
