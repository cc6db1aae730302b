//! What goes wrong, and how it is set right in the end.

use std::time::Duration;

use master_core::JUDGED_PREFIX;

use super::{Event, ProcessEvent, World};
use crate::disk::Disk;
use crate::network::NodeId;
use crate::nodes::{Records, Role};

/// After this time without a sign of life a connection is given up.
pub(super) const SILENCE: std::ops::RangeInclusive<Duration> =
    Duration::from_secs(5)..=Duration::from_secs(15);

/// Tasks of the job that each project has after all faults.
const TASKS_AFTERWARDS: u32 = 2;

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// `kill -9`, and a new start.
    Kill {
        /// Whose process.
        node: NodeId,
        /// How long it stays away.
        down: Duration,
    },
    /// The same, after so many more actions of the core: often with actions left that nobody will
    /// carry out.
    KillAfterActions {
        /// Whose process.
        node: NodeId,
        /// How many.
        actions: u64,
        /// How long it stays away.
        down: Duration,
    },
    /// The same, as soon as the node runs a task.
    KillInMidTask {
        /// Which volunteer.
        node: NodeId,
        /// How long it stays away.
        down: Duration,
    },
    /// The machine is gone for good, its disk included.
    Destroy {
        /// Which.
        node: NodeId,
    },
    /// The link from `node` to `from` is cut; once `node` alone has custody of a result, it is
    /// destroyed for good.
    DestroySoleCustodian {
        /// The broker.
        node: NodeId,
        /// The next broker on the way home.
        from: NodeId,
    },
    /// The disk is lost, and the node starts again without memory.
    Rebuild {
        /// Which.
        node: NodeId,
        /// How long it stays away.
        down: Duration,
    },
    /// No frame passes between two nodes for a while.
    Cut {
        /// One end.
        a: NodeId,
        /// The other.
        b: NodeId,
        /// How long.
        lasts: Duration,
    },
    /// From now on every link loses frames.
    Loss {
        /// How many of 1,000.
        permille: u64,
    },
}

/// Deliberate bugs, by which tests show that the oracle sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// Disks report commits before they are durable.
    AcknowledgeBeforeCommit,
    /// A restarted broker has lost the records of its leases.
    ForgetLeases,
    /// A restarted broker has lost what it had in custody.
    ForgetCustody,
    /// A restarted master has lost what it had judged.
    ForgetJudgements,
    /// A restarted master reads only the last record of what it had judged.
    OverlookJudgements,
    /// A restarted volunteer has lost its results.
    ForgetResults,
    /// No volunteer hears of its receipts.
    LoseReceipts,
    /// Volunteers trust a project that their owners do not.
    TrustStrangers,
    /// Some frames arrive with a byte that is not what it was.
    GarbleFrames,
    /// A restarted node finds a record cut short.
    TearRecords,
    /// Questions to brokers are answered twice.
    AnswerTwice,
    /// Cores are woken although they want to rest.
    Insomnia,
}

impl World {
    pub(super) fn strike(&mut self, fault: Fault) {
        self.trace.line(self.queue.now(), format_args!("FAULT {fault:?}"));
        match fault {
            Fault::Kill { node, down } => self.kill(node, down),
            Fault::KillAfterActions { node, actions, down } => {
                self.doomed.insert(node, (actions, down));
            }
            Fault::Destroy { node } => self.destroy(node),
            Fault::Rebuild { node, down } => self.rebuild(node, down),
            Fault::Cut { a, b, lasts } => {
                self.cut(a, b);
                self.queue.after(lasts, Event::Heal(a, b));
            }
            Fault::Loss { permille } => self.network.set_loss(permille),
            Fault::DestroySoleCustodian { node, from } => {
                self.cut(node, from);
                self.armed.push(fault);
            }
            Fault::KillInMidTask { .. } => self.armed.push(fault),
        }
    }

    /// Lets faults strike whose moment has come.
    pub(super) fn spring_traps(&mut self) {
        for fault in std::mem::take(&mut self.armed) {
            match fault {
                Fault::KillInMidTask { node, down } if self.is_running(node) => {
                    self.counts.killed_in_mid_task += 1;
                    self.tell(node, format_args!("is killed in mid-task"));
                    self.kill(node, down);
                }
                Fault::DestroySoleCustodian { node, from } if self.oracle.is_custodian(node) => {
                    self.counts.custodians_destroyed += 1;
                    self.tell(node, format_args!("alone has custody, and is destroyed"));
                    self.destroy(node);
                    self.network.heal(node, from);
                }
                waiting => self.armed.push(waiting),
            }
        }
    }

    /// From now on nothing goes wrong, and projects go on: each has one more small job.
    ///
    /// Without it the results of a project that has no open offer could wait for its next one: a
    /// home that has moved is made known with offers only.
    pub(super) fn calm_down(&mut self) {
        self.trace.line(self.queue.now(), format_args!("CALM"));
        self.armed.clear();
        self.doomed.clear();
        self.network.heal_all();
        self.calm = true;
        for node in (0..self.nodes.len()).map(NodeId) {
            self.start(node);
            let it = &mut self.nodes[node.0];
            if let Some(job) = it.spec.job.as_mut().filter(|_| it.submitted) {
                job.tasks = TASKS_AFTERWARDS;
                it.submitted = false;
                self.queue.after(Duration::ZERO, Event::Submit(node));
            }
        }
    }

    /// The core of `node` has acted once more.
    pub(super) fn count_action(&mut self, node: NodeId) {
        let Some((left, down)) = self.doomed.get_mut(&node) else { return };
        *left = left.saturating_sub(1);
        if *left == 0 {
            let down = *down;
            self.doomed.remove(&node);
            self.counts.killed_between_actions += 1;
            self.tell(node, format_args!("is killed between two actions"));
            self.kill(node, down);
        }
    }

    fn is_running(&self, node: NodeId) -> bool {
        self.process(node).is_some_and(|process| !process.runs.is_empty())
    }

    fn kill(&mut self, node: NodeId, down: Duration) {
        if self.process(node).is_none() {
            return;
        }
        // The operating system tells the peers.
        self.end_process(node, true);
        let struck = &mut self.nodes[node.0];
        struck.disk.cut_off(&mut self.luck.crashes);
        forget(&mut struck.disk, &struck.spec.role, self.sabotage);
        self.touched.insert(node);
        self.queue.after(down, Event::Start(node));
    }

    fn destroy(&mut self, node: NodeId) {
        self.lose_disk(node);
        self.nodes[node.0].destroyed = true;
    }

    fn rebuild(&mut self, node: NodeId, down: Duration) {
        if !self.nodes[node.0].destroyed {
            self.lose_disk(node);
            self.queue.after(down, Event::Start(node));
        }
    }

    fn lose_disk(&mut self, node: NodeId) {
        self.counts.disks_lost += 1;
        self.end_process(node, false);
        self.nodes[node.0].disk.destroy();
        self.oracle.destroyed(node);
    }

    /// Ends the process. Its peers notice at once if they are `told`, otherwise by its silence.
    fn end_process(&mut self, node: NodeId, told: bool) {
        let Some(process) = self.nodes[node.0].process.take() else { return };
        self.counts.kills += 1;
        self.oracle.killed(node);
        for (peer, generation) in process.peers {
            let silence = self.luck.network.duration(SILENCE);
            let word = self.network.carry(node, peer, &mut self.luck.network);
            let delay = word.filter(|_| told).unwrap_or(silence);
            let event = ProcessEvent::Disconnected { peer: node, generation, cut: None };
            self.later(peer, delay, event);
        }
    }

    fn cut(&mut self, a: NodeId, b: NodeId) {
        self.counts.cuts += 1;
        let cut = Some(self.network.cut(a, b));
        for (node, peer) in [(a, b), (b, a)] {
            let connection = self.process(node).and_then(|it| it.peers.get(&peer).copied());
            if let Some(generation) = connection {
                let silence = self.luck.network.duration(SILENCE);
                self.later(node, silence, ProcessEvent::Disconnected { peer, generation, cut });
            }
        }
    }
}

/// The records that a starting process finds.
pub(super) fn found(disk: &Disk, role: &Role, sabotage: Option<Sabotage>) -> Records {
    let mut records = disk.records();
    if let (Some(Sabotage::OverlookJudgements), Role::Master { .. }) = (sabotage, role) {
        let of_judgements = |key: &&Vec<u8>| key.first() == Some(&JUDGED_PREFIX);
        let last = records.keys().rfind(of_judgements).cloned();
        records.retain(|key, _| !of_judgements(&key) || Some(key) == last.as_ref());
    }
    records
}

/// What a sabotaged disk no longer knows after a restart.
fn forget(disk: &mut Disk, role: &Role, sabotage: Option<Sabotage>) {
    let lost: &[u8] = match (sabotage, role) {
        (Some(Sabotage::ForgetLeases), Role::Broker(_)) => b"q",
        (Some(Sabotage::ForgetCustody), Role::Broker(_)) => b"c",
        (Some(Sabotage::ForgetJudgements), Role::Master { .. }) => b"v",
        (Some(Sabotage::ForgetResults), Role::Volunteer { .. }) => b"c",
        _ => b"",
    };
    lost.iter().for_each(|prefix| disk.forget(*prefix));
    if sabotage == Some(Sabotage::TearRecords) {
        disk.tear();
    }
}
