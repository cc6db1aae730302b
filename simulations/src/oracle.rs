//! What must always hold, as named invariants, and what must hold in the end.
//!
//! The oracle sees every question, answer and durable record, but nothing inside the cores: it
//! judges what they promise by what they say and what is on their disks. It looks after every event
//! at the node that the event happened to, which alone can have broken something.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use capability::statements::{Intent, JobResult, Lease, TaskId, Verdict};
use capability::{ProjectKey, PublicKey, StatementId, Timestamp, Verified};
use mesh_core::{Answer, Ask, Bundle, Cargo, HandoverAnswer, Published};

use crate::disk::Disk;
use crate::engine::SimTime;
use crate::network::NodeId;
use crate::nodes::{Effect, News, Number};

/// What must hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// P1: what was acknowledged is durable where it was acknowledged, until it has been passed on
    /// or is over.
    NothingAcknowledgedIsLost,
    /// P1: a volunteer keeps every result until its receipt is durable.
    ResultsAreKeptUntilTheirReceipt,
    /// P2: every replica of a task is accepted at most once.
    AcceptedAtMostOnce,
    /// Replicas of a task are accepted of different volunteers.
    ReplicasCompareMachines,
    /// P2: a home grants no replica again while its former lease in that epoch lives.
    OneLiveLeaseAReplica,
    /// P4: volunteers claim and run tasks of pinned projects only.
    OnlyPinnedProjects,
    /// P7: a node that nobody disturbs rests until the time that it has named.
    NobodySpins,
    /// What honest nodes send is understood.
    HonestMessagesAreUnderstood,
    /// A core starts again from whatever it had made durable.
    OwnRecordsRestore,
    /// Every question that a core took is answered at most once, and no other.
    AnswersHaveQuestions,
    /// Once faults have stopped, every task is settled and every result receipted within a bound.
    EverythingEnds,
}

/// An invariant was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub invariant: Invariant,
    /// When.
    pub at: SimTime,
    /// What was seen.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is broken at {} s: {}", self.invariant, self.at, self.what)
    }
}

/// The outcome of one look.
pub type Look = Result<(), (Invariant, String)>;

/// What has been promised so far.
#[derive(Debug, Default)]
pub struct Oracle {
    pins: BTreeMap<NodeId, BTreeSet<ProjectKey>>,
    /// The project of each offer, and the master that made it.
    projects: BTreeMap<StatementId, ProjectKey>,
    makers: BTreeMap<StatementId, NodeId>,
    /// Questions that were asked and not answered yet, as far as the answers promise something.
    open: BTreeMap<(NodeId, Number), Promise>,
    /// Offers that a node has acknowledged.
    offers: BTreeMap<NodeId, BTreeSet<StatementId>>,
    withdrawn: BTreeSet<StatementId>,
    /// Bundles that a broker has acknowledged and not passed on.
    carried: BTreeMap<NodeId, BTreeSet<StatementId>>,
    /// Durable results of a volunteer whose receipt it has not announced.
    unreceipted: BTreeMap<NodeId, BTreeSet<StatementId>>,
    /// Results that a master has acknowledged.
    judged: BTreeSet<StatementId>,
    /// The receipts of a result.
    receipts: BTreeMap<StatementId, BTreeSet<StatementId>>,
    accepted: BTreeMap<TaskId, (NodeId, StatementId)>,
    /// By receipts that accept: the result, and whose it is.
    settled_by: BTreeMap<TaskId, (StatementId, PublicKey)>,
    leases: BTreeMap<(TaskId, u64), Granted>,
    /// Results that reached their broker.
    pub delivered: u64,
    /// Leases seen.
    pub granted: u64,
}

/// What an answer would promise.
#[derive(Debug)]
enum Promise {
    Publish {
        offers: Vec<StatementId>,
    },
    Grant,
    Renew {
        leases: Vec<(StatementId, u64)>,
        at: Timestamp,
    },
    /// Each with whether it was passed on meanwhile.
    Carry {
        bundles: Vec<(Bundle, bool)>,
    },
}

/// The newest lease of a replica in an epoch.
#[derive(Debug)]
struct Granted {
    lease: StatementId,
    term: Duration,
    until: Timestamp,
    /// Given back, or its result has come.
    ended: bool,
}

impl Oracle {
    /// The owner of volunteer `node` trusts `projects` and no other.
    pub fn pinned(&mut self, node: NodeId, projects: impl IntoIterator<Item = ProjectKey>) {
        self.pins.insert(node, projects.into_iter().collect());
    }

    /// How many tasks have an accepted result.
    pub fn accepted(&self) -> usize {
        self.accepted.len()
    }

    /// Results that `node` has acknowledged, still holds, and no master has judged.
    pub fn is_custodian(&self, node: NodeId) -> bool {
        let carried = self.carried.get(&node).into_iter().flatten();
        let receipts: BTreeSet<_> = self.receipts.values().flatten().collect();
        carried.into_iter().any(|id| !self.is_judged(id) && !receipts.contains(id))
    }

    fn is_judged(&self, result: &StatementId) -> bool {
        self.judged.contains(result) || self.receipts.contains_key(result)
    }

    /// A node takes a question. `is_home` says whether it is itself the home that is asked.
    pub fn asked(&mut self, node: NodeId, reply: Number, ask: &Ask, is_home: bool, at: Timestamp) {
        let promise = match ask {
            Ask::Publish { offers, .. } => {
                Promise::Publish { offers: offers.iter().map(|it| it.offer.id()).collect() }
            }
            Ask::Claim { .. } if is_home => Promise::Grant,
            Ask::Renew { renewal, .. } if is_home => {
                if renewal.intent == Intent::Release {
                    renewal.leases.iter().for_each(|lease| self.ended(*lease, renewal.epoch));
                    return;
                }
                let leases = renewal.leases.iter().map(|lease| (*lease, renewal.epoch)).collect();
                Promise::Renew { leases, at }
            }
            _ => return,
        };
        self.open.insert((node, reply), promise);
    }

    /// A node is handed bundles.
    pub fn handed_in(&mut self, node: NodeId, reply: Number, bundles: Vec<Bundle>) {
        for bundle in &bundles {
            if let Cargo::Result(result) = &bundle.cargo
                && let Some(granted) = self.current_lease(result)
            {
                granted.ended = true;
            }
        }
        let bundles = bundles.into_iter().map(|bundle| (bundle, false)).collect();
        self.open.insert((node, reply), Promise::Carry { bundles });
    }

    /// The next one has taken what `node` handed over.
    pub fn passed_on(&mut self, node: NodeId, id: StatementId) {
        if let Some(carried) = self.carried.get_mut(&node) {
            carried.remove(&id);
        }
        let open = self.open.range_mut((node, 0)..=(node, Number::MAX));
        for (_, promise) in open {
            if let Promise::Carry { bundles } = promise {
                let these = bundles.iter_mut().filter(|(bundle, _)| bundle.id() == id);
                these.for_each(|(_, passed_on)| *passed_on = true);
            }
        }
    }

    /// The process of `node` has ended, and owes no answer any more.
    pub fn killed(&mut self, node: NodeId) {
        self.open.retain(|(owing, _), _| *owing != node);
    }

    /// The disk of `node` is gone: what it had promised is up to others.
    pub fn destroyed(&mut self, node: NodeId) {
        self.offers.remove(&node);
        self.carried.remove(&node);
        self.unreceipted.remove(&node);
    }

    /// Looks at what a core wants done.
    pub fn effect(&mut self, node: NodeId, effect: &Effect, disk: &Disk) -> Look {
        match effect {
            Effect::Ask { ask, .. } => self.asks(node, ask),
            Effect::Run(order) => self.may_run(node, order.project),
            Effect::Reply { reply, answer } => self.replies(node, *reply, answer, disk),
            Effect::ReplyHandover { reply, answers } => {
                self.replies_handover(node, *reply, answers, disk)
            }
            Effect::HandOver(handover) => {
                handover.bundles.iter().try_for_each(|bundle| self.hands_over(bundle))
            }
            Effect::Submitted { offer: Some(offer) } => self.promises(node, *offer, disk),
            Effect::News(news) => self.news(node, news, disk),
            _ => Ok(()),
        }
    }

    /// Looks at the disk of `node` for all that it has promised to keep.
    pub fn look(&self, node: NodeId, disk: &Disk) -> Look {
        let lost = |what: &str, id: &StatementId| {
            let words = format!("{what} {} was acknowledged and is not on the disk", id.short());
            Err((Invariant::NothingAcknowledgedIsLost, words))
        };
        let offers = self.offers.get(&node).into_iter().flatten();
        let mut open = offers.filter(|offer| !self.withdrawn.contains(offer));
        if let Some(offer) = open.find(|offer| !disk.holds(**offer)) {
            return lost("offer", offer);
        }
        let carried = self.carried.get(&node).into_iter().flatten();
        let mut waiting = carried.filter(|id| !self.is_judged(id));
        if let Some(bundle) = waiting.find(|id| !disk.holds(**id)) {
            return lost("bundle", bundle);
        }
        let archived = self.accepted.values().filter(|(master, _)| *master == node);
        if let Some((_, result)) = archived.into_iter().find(|(_, id)| !disk.holds(*id)) {
            return lost("result", result);
        }
        let kept = self.unreceipted.get(&node).into_iter().flatten();
        match kept.into_iter().find(|id| !disk.holds(**id) && !self.has_receipt(**id, disk)) {
            None => Ok(()),
            Some(id) => {
                let words = format!("result {} is gone, and no receipt has come", id.short());
                Err((Invariant::ResultsAreKeptUntilTheirReceipt, words))
            }
        }
    }

    fn asks(&mut self, node: NodeId, ask: &Ask) -> Look {
        match ask {
            Ask::Publish { offers, .. } => {
                for Published { offer, .. } in offers {
                    self.projects.insert(offer.id(), offer.project);
                    self.makers.insert(offer.id(), node);
                }
                Ok(())
            }
            Ask::Withdraw { withdrawals } => {
                self.withdrawn.extend(withdrawals.iter().map(|it| it.statement));
                Ok(())
            }
            Ask::Claim { claims, .. } if self.pins.contains_key(&node) => {
                claims.iter().try_for_each(|claim| match self.projects.get(&claim.offer) {
                    Some(project) => self.may_run(node, *project),
                    None => broken(Invariant::OnlyPinnedProjects, "an offer that nobody made"),
                })
            }
            _ => Ok(()),
        }
    }

    fn may_run(&self, node: NodeId, project: ProjectKey) -> Look {
        let pinned = self.pins.get(&node).is_some_and(|pins| pins.contains(&project));
        if pinned {
            return Ok(());
        }
        let words =
            format!("a task of {} is wanted, whom the owner does not trust", project.short());
        broken(Invariant::OnlyPinnedProjects, words)
    }

    fn replies(&mut self, node: NodeId, reply: Number, answer: &Answer, disk: &Disk) -> Look {
        match (self.open.remove(&(node, reply)), answer) {
            (Some(Promise::Publish { offers }), answer) => {
                let parts = answer.clone().parts(offers.len()).unwrap_or_default();
                let taken = offers.into_iter().zip(parts);
                let mut taken = taken.filter(|(_, part)| *part == Answer::Done);
                taken.try_for_each(|(offer, _)| self.promises(node, offer, disk))
            }
            (Some(Promise::Grant), Answer::Leases(leases)) => {
                leases.iter().try_for_each(|lease| self.grants(lease))
            }
            (Some(Promise::Grant), Answer::Each(parts)) => {
                let leases = parts.iter().filter_map(|part| match part {
                    Answer::Leases(leases) => Some(leases),
                    _ => None,
                });
                leases.flatten().try_for_each(|lease| self.grants(lease))
            }
            (Some(Promise::Renew { leases, at }), Answer::Renewed { lapsed }) => {
                let kept = leases.into_iter().filter(|(lease, _)| !lapsed.contains(lease));
                for (lease, epoch) in kept {
                    self.of_lease(lease, epoch).for_each(|granted| {
                        granted.until = granted.until.max(at + granted.term);
                    });
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn grants(&mut self, lease: &Verified<Lease>) -> Look {
        let replica = (lease.task, lease.epoch);
        let former = self.leases.get(&replica);
        if former.is_some_and(|it| it.lease == lease.id()) {
            return Ok(());
        }
        self.granted += 1;
        if former.is_some_and(|it| !it.ended && it.until > lease.granted) {
            let TaskId { task, replica, .. } = lease.task;
            let words = format!(
                "task {task}, replica {replica} is leased again to {} in epoch {} while the former \
                 lease lives",
                lease.volunteer.short(),
                lease.epoch,
            );
            return broken(Invariant::OneLiveLeaseAReplica, words);
        }
        let term = Duration::from_millis(lease.term_ms);
        let until = lease.granted + term;
        let granted = Granted { lease: lease.id(), term, until, ended: false };
        self.leases.insert(replica, granted);
        Ok(())
    }

    fn replies_handover(
        &mut self,
        node: NodeId,
        reply: Number,
        answers: &[HandoverAnswer],
        disk: &Disk,
    ) -> Look {
        let Some(Promise::Carry { bundles }) = self.open.remove(&(node, reply)) else {
            return Ok(());
        };
        let taken = bundles.into_iter().zip(answers);
        let taken = taken.filter(|(_, answer)| **answer == HandoverAnswer::Taken);
        let taken: Vec<_> = taken.map(|(bundle, _)| bundle).collect();
        // A result that was rejected twice has two receipts, one of which is enough.
        let receipted = taken.iter().filter_map(|(bundle, _)| match &bundle.cargo {
            Cargo::Receipt(receipt) if disk.holds(bundle.id()) => Some(receipt.result),
            _ => None,
        });
        let receipted: BTreeSet<_> = receipted.collect();
        taken
            .iter()
            .try_for_each(|(bundle, passed_on)| self.takes(node, bundle, *passed_on, &receipted))
    }

    fn takes(
        &mut self,
        node: NodeId,
        bundle: &Bundle,
        passed_on: bool,
        receipted: &BTreeSet<StatementId>,
    ) -> Look {
        match &bundle.cargo {
            Cargo::Receipt(receipt) if self.pins.contains_key(&node) => {
                let waits =
                    self.unreceipted.get(&node).is_some_and(|it| it.contains(&receipt.result));
                if waits && !receipted.contains(&receipt.result) {
                    let words = "a volunteer took a receipt that is not on its disk";
                    return broken(Invariant::NothingAcknowledgedIsLost, words);
                }
            }
            Cargo::Result(result) if self.is_master_of(node, result) => {
                self.judged.insert(bundle.id());
            }
            _ if passed_on => (),
            _ => {
                if matches!(bundle.cargo, Cargo::Result(_)) {
                    self.delivered += 1;
                }
                self.carried.entry(node).or_default().insert(bundle.id());
            }
        }
        Ok(())
    }

    /// Whoever has made the offer of a result is its master.
    fn is_master_of(&self, node: NodeId, result: &JobResult) -> bool {
        self.makers.get(&result.task.offer) == Some(&node)
    }

    fn hands_over(&mut self, bundle: &Bundle) -> Look {
        let Cargo::Receipt(receipt) = &bundle.cargo else { return Ok(()) };
        self.receipts.entry(receipt.result).or_default().insert(receipt.id());
        if !matches!(receipt.verdict, Verdict::Accepted(_)) {
            return Ok(());
        }
        let this = (receipt.result, receipt.volunteer);
        let first = *self.settled_by.entry(receipt.task).or_insert(this);
        if first != this {
            let words = format!("task {} has two receipts that accept", receipt.task.task);
            return broken(Invariant::AcceptedAtMostOnce, words);
        }
        let all =
            TaskId { replica: 0, ..receipt.task }..=TaskId { replica: u16::MAX, ..receipt.task };
        let replicas = self.settled_by.range(all).filter(|(_, (_, by))| *by == receipt.volunteer);
        if replicas.count() > 1 {
            let words = format!("two replicas of task {} are of one volunteer", receipt.task.task);
            return broken(Invariant::ReplicasCompareMachines, words);
        }
        Ok(())
    }

    fn news(&mut self, node: NodeId, news: &News, disk: &Disk) -> Look {
        match news {
            News::Finished { result } => {
                self.unreceipted.entry(node).or_default().insert(*result);
                self.look(node, disk)
            }
            News::Receipted { result } | News::Expired { result } => {
                if let Some(unreceipted) = self.unreceipted.get_mut(&node) {
                    unreceipted.remove(result);
                }
                Ok(())
            }
            News::Accepted { task, result } => {
                if self.accepted.insert(*task, (node, *result)).is_some() {
                    let words = format!("task {} was accepted again", task.task);
                    return broken(Invariant::AcceptedAtMostOnce, words);
                }
                Ok(())
            }
            News::Other(_) => Ok(()),
        }
    }

    fn promises(&mut self, node: NodeId, offer: StatementId, disk: &Disk) -> Look {
        self.offers.entry(node).or_default().insert(offer);
        self.look(node, disk)
    }

    fn has_receipt(&self, result: StatementId, disk: &Disk) -> bool {
        let mut receipts = self.receipts.get(&result).into_iter().flatten();
        receipts.any(|receipt| disk.holds(*receipt))
    }

    fn ended(&mut self, lease: StatementId, epoch: u64) {
        self.of_lease(lease, epoch).for_each(|granted| granted.ended = true);
    }

    fn of_lease(&mut self, lease: StatementId, epoch: u64) -> impl Iterator<Item = &mut Granted> {
        let of_epoch = self.leases.iter_mut().filter(move |((_, of), _)| *of == epoch);
        of_epoch.map(|(_, granted)| granted).filter(move |granted| granted.lease == lease)
    }

    /// The lease under which `result` was made, if it is the newest of its replica.
    fn current_lease(&mut self, result: &JobResult) -> Option<&mut Granted> {
        let lease = result.lease.id();
        let of_task = self.leases.iter_mut().filter(|((task, _), _)| *task == result.task);
        of_task.map(|(_, granted)| granted).find(|granted| granted.lease == lease)
    }
}

fn broken(invariant: Invariant, what: impl Into<String>) -> Look {
    Err((invariant, what.into()))
}
