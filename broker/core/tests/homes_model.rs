//! Promise P2: at most one live lease of a replica and epoch, whatever fails. Two brokers that a
//! master names home in turn, online and offline leases, clocks that are minutes apart, slow disks,
//! and processes that are killed between any two commits.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker_core::LEASE_TERM;
use capability::statements::{Intent, Lease, Offer, Verdict};
use capability::{MAX_CLOCK_SKEW, Verified};
use mesh_core::{Answer, Mono};
use proptest::prelude::*;
use support::*;

const TASKS: u32 = 3;
const REPLICAS: u16 = 2;
const VOLUNTEERS: u8 = 4;

#[derive(Debug, Clone)]
enum Step {
    /// `back` homes before the current one is asked, by a volunteer that has not heard of the move.
    Claim {
        volunteer: u8,
        count: u16,
        offline: bool,
        back: usize,
    },
    Renew {
        lease: usize,
    },
    Release {
        lease: usize,
        lost: bool,
    },
    Return {
        lease: usize,
        verdict: u8,
    },
    Pass {
        seconds: u64,
    },
    /// The disk of the current home is slow from now on.
    Hold,
    /// The current home is killed; so many of the commits under way were durable.
    Crash {
        commits: usize,
        ahead: u64,
    },
    /// The next epoch, at that broker; the other one may not hear of it.
    Move {
        to: u8,
        silently: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let claim = (0..VOLUNTEERS, 1_u16..5, any::<bool>(), 0_usize..2).prop_map(
        |(volunteer, count, offline, back)| Step::Claim { volunteer, count, offline, back },
    );
    prop_oneof![
        5 => claim,
        3 => any::<usize>().prop_map(|lease| Step::Renew { lease }),
        1 => (any::<usize>(), any::<bool>()).prop_map(|(lease, lost)| Step::Release { lease, lost }),
        2 => (any::<usize>(), 0_u8..3).prop_map(|(lease, verdict)| Step::Return { lease, verdict }),
        3 => (1_u64..40).prop_map(|seconds| Step::Pass { seconds }),
        1 => (1_u64..5).prop_map(|hours| Step::Pass { seconds: hours * 3_600 }),
        1 => Just(Step::Hold),
        2 => (0_usize..4, 0_u64..4).prop_map(|(commits, ahead)| Step::Crash { commits, ahead }),
        1 => (1_u8..3, any::<bool>()).prop_map(|(to, silently)| Step::Move { to, silently }),
    ]
}

/// A lease as its holder sees it.
#[derive(Debug, Clone)]
struct Seen {
    lease: Verified<Lease>,
    volunteer: u8,
    home: Key,
    until: Mono,
    /// Another's result of this replica was accepted, which nobody told the holder.
    overtaken: bool,
}

struct Run {
    world: World,
    project: Project,
    offer: Verified<Offer>,
    /// By epoch, from 1.
    homes: Vec<Key>,
    seen: Vec<Seen>,
    nonce: u64,
    slow: bool,
}

impl Run {
    fn new() -> Self {
        let (first, second, project) = (key(1), key(2), project(0));
        let mut world = World::of(&[first, second]);
        world.connect(first.0, second.0);
        let mut offer = (*project.offer(TASKS, REPLICAS, world.now)).clone();
        offer.offline_ms = 3 * 3_600 * 1_000;
        let offer = Verified::sign(offer, &project.master);
        let (homes, seen) = (vec![first], Vec::new());
        let mut run = Self { world, project, offer, homes, seen, nonce: 0, slow: false };
        run.publish();
        run
    }

    fn home(&self) -> Key {
        *self.homes.last().expect("there is one")
    }

    fn publish(&mut self) {
        let epoch = self.homes.len() as u64;
        let publication =
            publication(self.project, &self.offer, epoch, self.home(), self.world.now);
        self.world.ask(self.project.master.0, self.home(), publication);
    }

    fn take(&mut self, step: Step) {
        // No two statements of one moment.
        self.world.pass(Duration::from_millis(1));
        match step {
            Step::Claim { volunteer, count, offline, back } => {
                self.claim(volunteer, count, offline, back);
            }
            Step::Renew { lease } => self.renew(lease),
            Step::Release { lease, lost } => self.release(lease, lost),
            Step::Return { lease, verdict } => self.give_result(lease, verdict),
            Step::Pass { seconds } => self.world.pass(Duration::from_secs(seconds)),
            Step::Hold => {
                if !std::mem::replace(&mut self.slow, true) {
                    self.world.hold_disk(self.home());
                }
            }
            Step::Crash { commits, ahead } => {
                self.world.ahead.insert(self.home().0, Duration::from_secs(60 * ahead));
                self.world.restart_after(self.home(), commits);
                self.slow = false;
                self.world.connect(key(1).0, key(2).0);
            }
            Step::Move { to, silently } => {
                self.world.release_disk(self.home());
                self.slow = false;
                self.world.lose_gossip = silently;
                self.homes.push(key(to));
                self.publish();
                self.world.lose_gossip = false;
            }
        }
        self.check();
    }

    fn claim(&mut self, volunteer: u8, count: u16, offline: bool, back: usize) {
        self.nonce += 1;
        let epoch = self.homes.len().saturating_sub(back).max(1);
        let home = self.homes[epoch - 1];
        let holder = key(50 + volunteer);
        let asking = Asking { volunteer: holder, at: home, home, epoch: epoch as u64 };
        let (offer, now) = (self.offer.id(), self.world.now);
        let claim = if offline {
            asking.claim_offline(offer, count, self.nonce, now)
        } else {
            asking.claim(offer, count, self.nonce, now)
        };
        let reply = self.world.begin(holder.0, home, claim);
        let Some(Answer::Leases(leases)) = self.world.answer(reply) else { return };
        for lease in leases {
            let same = |it: &&Seen| it.lease.task == lease.task && it.lease.epoch == lease.epoch;
            let live = self.seen.iter().filter(same).find(|it| it.until > now.mono);
            assert!(live.is_none(), "{live:?} holds what {lease:?} grants");
            let until = match lease.deadline {
                Some(deadline) => {
                    now.mono + deadline.since(lease.granted).saturating_sub(MAX_CLOCK_SKEW)
                }
                None => now.mono + LEASE_TERM,
            };
            self.seen.push(Seen { lease, volunteer, home, until, overtaken: false });
        }
    }

    fn pick(&self, lease: usize) -> Option<usize> {
        (!self.seen.is_empty()).then(|| lease % self.seen.len())
    }

    fn asking(&self, seen: &Seen) -> Asking {
        let (volunteer, home) = (key(50 + seen.volunteer), seen.home);
        Asking { volunteer, at: home, home, epoch: seen.lease.epoch }
    }

    fn renew(&mut self, lease: usize) {
        let Some(index) = self.pick(lease) else { return };
        let seen = self.seen[index].clone();
        let named = vec![seen.lease.id()];
        let ask = self.asking(&seen).renewal(
            seen.lease.task.offer,
            named.clone(),
            Intent::Keep,
            self.world.now,
        );
        let reply = self.world.begin(key(50 + seen.volunteer).0, seen.home, ask);
        let Some(Answer::Renewed { lapsed }) = self.world.answer(reply) else { return };
        if lapsed == named {
            // Not always news: a holder may have believed in it until now.
            self.seen[index].until = self.world.now.mono.min(seen.until);
        } else if seen.lease.deadline.is_none() {
            self.seen[index].until = self.world.now.mono + LEASE_TERM;
        }
    }

    fn release(&mut self, lease: usize, lost: bool) {
        let Some(index) = self.pick(lease) else { return };
        let seen = self.seen[index].clone();
        let (offer, named) = (seen.lease.task.offer, vec![seen.lease.id()]);
        let ask = self.asking(&seen).release(offer, named, lost, self.world.now);
        self.world.begin(key(50 + seen.volunteer).0, seen.home, ask);
        self.seen[index].until = self.world.now.mono.min(seen.until);
    }

    fn give_result(&mut self, lease: usize, verdict: u8) {
        let Some(index) = self.pick(lease) else { return };
        let seen = self.seen[index].clone();
        let holder = key(50 + seen.volunteer);
        self.seen[index].until = self.world.now.mono.min(seen.until);
        let result = result(holder, &seen.lease, self.world.now);
        self.world.begin_handover(holder.0, self.home(), result_bundle(&result, self.home()));
        if verdict == 0 {
            let same = |it: &&mut Seen| it.lease.task == seen.lease.task;
            self.seen.iter_mut().filter(same).for_each(|it| it.overtaken = true);
        }
        let verdict = match verdict {
            0 => accepted(),
            1 => Verdict::Rejected("no".to_owned()),
            _ => Verdict::Again("once more".to_owned()),
        };
        let receipt = self.project.receipt(&result, verdict, self.world.now);
        let bundle = receipt_bundle(&receipt, self.home().0);
        self.world.begin_handover(self.project.master.0, self.home(), bundle);
    }

    /// What the brokers themselves hold for live.
    fn check(&self) {
        let (mut live, mut holders) = (BTreeMap::new(), BTreeSet::new());
        for broker in [key(1), key(2)] {
            for lease in self.world.broker(broker).leases() {
                let task = (lease.task, lease.epoch);
                let other = live.insert(task, lease.id());
                assert_eq!(other, None, "two live leases of {task:?}");
                let fresh = holders.insert((lease.task.task, lease.epoch, lease.volunteer));
                assert!(fresh, "{:?} is leased two replicas of {:?}", lease.volunteer, lease.task);
            }
        }
        let holders = |volunteer: u8| {
            let now = self.world.now.mono;
            let of = self.seen.iter().filter(move |it| it.volunteer == volunteer);
            let of = of.filter(move |it| it.until > now && !it.overtaken);
            of.map(|it| (it.lease.task.task, it.lease.epoch)).collect::<Vec<_>>()
        };
        for volunteer in 0..VOLUNTEERS {
            let held = holders(volunteer);
            let distinct: BTreeSet<_> = held.iter().collect();
            assert_eq!(held.len(), distinct.len(), "one volunteer holds two replicas of a task");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 32, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_is_at_most_one_live_lease_of_a_replica_and_epoch_whatever_fails(
        steps in proptest::collection::vec(step(), 1..60)
    ) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
    }
}

#[test]
fn a_crash_between_grant_and_answer_leaves_the_lease_or_nothing() {
    for commits in 0..2 {
        let mut run = Run::new();
        run.take(Step::Hold);
        run.take(Step::Claim { volunteer: 0, count: 1, offline: true, back: 0 });
        assert!(run.seen.is_empty(), "nothing is granted before it is durable");
        run.take(Step::Crash { commits, ahead: 0 });
        assert_eq!(run.world.broker(key(1)).leases().count(), commits);
    }
}

#[test]
fn a_moved_home_grants_nothing_more_in_the_old_epoch_once_it_knows() {
    let mut run = Run::new();
    run.take(Step::Move { to: 2, silently: true });
    run.take(Step::Claim { volunteer: 0, count: 1, offline: false, back: 1 });
    assert_eq!(run.seen.len(), 1, "it has not heard of it");
    run.take(Step::Move { to: 2, silently: false });
    run.take(Step::Claim { volunteer: 1, count: 1, offline: false, back: 2 });
    assert_eq!(run.seen.len(), 1);
    assert_eq!(run.world.broker(key(1)).leases().count(), 0);
    run.take(Step::Claim { volunteer: 1, count: 1, offline: false, back: 0 });
    assert_eq!(run.seen.len(), 2);
}
