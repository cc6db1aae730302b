//! Random claims, renewals, lapses, results, judgements and publications against a model that is too simple to be
//! wrong: at most one live lease of each replica, and exactly those that the model has.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use broker_core::{LEASE_TERM, RETRY_PAUSE};
use capability::statements::{Intent, Lease, Offer, Verdict};
use capability::{StatementId, Verified};
use mesh_core::{Answer, Ask, Mono, Refusal};
use proptest::prelude::*;
use support::*;

const TASKS: u32 = 4;
const REPLICAS: u16 = 2;
const VOLUNTEERS: u8 = 3;

#[derive(Debug, Clone)]
enum Step {
    Claim {
        volunteer: u8,
        count: u16,
    },
    RepeatClaim {
        volunteer: u8,
    },
    Renew {
        volunteer: u8,
    },
    Release {
        volunteer: u8,
    },
    Return {
        lease: usize,
    },
    Judge {
        result: usize,
        verdict: u8,
    },
    Pass {
        seconds: u64,
    },
    Restart,
    /// The same offer once more, perhaps in the next epoch, with those tasks settled.
    PublishAgain {
        next_epoch: bool,
        settled: u8,
    },
    /// Another offer takes its place.
    Withdraw,
}

fn step() -> impl Strategy<Value = Step> {
    let volunteer = 0..VOLUNTEERS;
    prop_oneof![
        4 => (volunteer.clone(), 1_u16..4).prop_map(|(volunteer, count)| Step::Claim { volunteer, count }),
        1 => volunteer.clone().prop_map(|volunteer| Step::RepeatClaim { volunteer }),
        2 => volunteer.clone().prop_map(|volunteer| Step::Renew { volunteer }),
        1 => volunteer.prop_map(|volunteer| Step::Release { volunteer }),
        3 => any::<usize>().prop_map(|lease| Step::Return { lease }),
        3 => (any::<usize>(), 0_u8..3).prop_map(|(result, verdict)| Step::Judge { result, verdict }),
        3 => (1_u64..25).prop_map(|seconds| Step::Pass { seconds }),
        2 => Just(Step::Restart),
        1 => (any::<bool>(), 0_u8..1 << TASKS)
            .prop_map(|(next_epoch, settled)| Step::PublishAgain { next_epoch, settled }),
        1 => Just(Step::Withdraw),
    ]
}

type Replica = (u32, u16);

/// What a replica is, by the rules of PROTOCOL alone. Absent: open.
#[derive(Debug, Clone, PartialEq)]
enum Model {
    Leased { lease: StatementId, volunteer: u8, until: Mono },
    Returned { result: StatementId },
    Done,
}

struct Run {
    world: World,
    home: Key,
    project: Project,
    offer: Verified<Offer>,
    epoch: u64,
    model: BTreeMap<Replica, Model>,
    granted: Vec<(u8, Verified<Lease>)>,
    results: Vec<Verified<capability::statements::JobResult>>,
    last_claim: BTreeMap<u8, (Ask, Vec<StatementId>)>,
    /// Who does not get which replica until when, for it went wrong there.
    barred: BTreeMap<(Replica, u8), Mono>,
    /// Volunteers of which a result did not count.
    failed: BTreeSet<u8>,
    nonce: u64,
}

impl Run {
    fn new() -> Self {
        let (home, project) = (key(1), project(0));
        let mut world = World::of(&[home]);
        let offer = project.offer(TASKS, REPLICAS, world.now);
        let publication = publication(project, &offer, 1, home, world.now);
        assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
        Self {
            world,
            home,
            project,
            offer,
            epoch: 1,
            model: BTreeMap::new(),
            granted: Vec::new(),
            results: Vec::new(),
            last_claim: BTreeMap::new(),
            barred: BTreeMap::new(),
            failed: BTreeSet::new(),
            nonce: 0,
        }
    }

    fn asking(&self, volunteer: u8) -> Asking {
        Asking { volunteer: key(50 + volunteer), at: self.home, home: self.home, epoch: self.epoch }
    }

    fn take(&mut self, step: Step) {
        // No two statements of one moment: a lease is named by what it says, its time included.
        self.world.pass(Duration::from_millis(1));
        match step {
            Step::Claim { volunteer, count } => self.claim(volunteer, count),
            Step::RepeatClaim { volunteer } => self.repeat_claim(volunteer),
            Step::Renew { volunteer } => self.renew(volunteer, Intent::Keep),
            Step::Release { volunteer } => self.renew(volunteer, Intent::Release),
            Step::Return { lease } => self.give_result(lease),
            Step::Judge { result, verdict } => self.judge(result, verdict),
            Step::Pass { seconds } => self.world.pass(Duration::from_secs(seconds)),
            Step::PublishAgain { next_epoch, settled } => self.publish_again(next_epoch, settled),
            Step::Withdraw => self.withdraw(),
            Step::Restart => {
                self.world.restart(self.home);
                self.last_claim.clear();
                self.forgive();
                let until = self.world.now.mono + LEASE_TERM;
                for model in self.model.values_mut() {
                    if let Model::Leased { until: end, .. } = model {
                        *end = until;
                    }
                }
            }
        }
        let now = self.world.now.mono;
        self.model
            .retain(|_, model| !matches!(model, Model::Leased { until, .. } if *until <= now));
        self.check();
    }

    fn claim(&mut self, volunteer: u8, count: u16) {
        self.nonce += 1;
        let ask = self.asking(volunteer).claim(self.offer.id(), count, self.nonce, self.world.now);
        match self.world.ask(key(50 + volunteer).0, self.home, ask.clone()) {
            Answer::Leases(leases) => {
                assert!(leases.len() <= usize::from(count));
                let ids = leases.iter().map(Verified::id).collect();
                self.last_claim.insert(volunteer, (ask, ids));
                let until = self.world.now.mono + LEASE_TERM;
                for lease in leases {
                    let replica = (lease.task.task, lease.task.replica);
                    let granted = Model::Leased { lease: lease.id(), volunteer, until };
                    let before = self.model.insert(replica, granted);
                    assert_eq!(before, None, "{replica:?} was not open");
                    self.granted.push((volunteer, lease));
                }
            }
            Answer::Refused(Refusal::Full(why)) => {
                assert!(self.failed.contains(&volunteer), "{why}");
            }
            Answer::Refused(_) => {
                let all = usize::try_from(TASKS).expect("few") * usize::from(REPLICAS);
                let alone = (0..TASKS).any(|task| {
                    let now = self.world.now.mono;
                    let taken = |replica| {
                        let barred = self.barred.get(&((task, replica), volunteer));
                        self.model.contains_key(&(task, replica))
                            || barred.is_some_and(|until| *until > now)
                    };
                    (0..REPLICAS).all(|replica| !taken(replica))
                });
                assert!(!alone, "a task that nobody had was refused");
                assert!(self.model.len() <= all);
            }
            other => panic!("{other:?}"),
        }
    }

    fn repeat_claim(&mut self, volunteer: u8) {
        let Some((ask, first)) = self.last_claim.get(&volunteer).cloned() else { return };
        let answer = self.world.ask(key(50 + volunteer).0, self.home, ask);
        if let Answer::Leases(again) = answer {
            assert!(again.iter().all(|lease| first.contains(&lease.id())), "nothing new");
        }
    }

    fn renew(&mut self, volunteer: u8, intent: Intent) {
        let own = self.granted.iter().filter(|(holder, _)| *holder == volunteer);
        let named: Vec<_> = own.map(|(_, lease)| lease.id()).rev().take(256).collect();
        if named.is_empty() {
            return;
        }
        let offer = self.offer.id();
        let ask = self.asking(volunteer).renewal(offer, named.clone(), intent, self.world.now);
        let Answer::Renewed { lapsed } = self.world.ask(key(50 + volunteer).0, self.home, ask)
        else {
            panic!("a renewal is answered");
        };
        let until_now = self.world.now.mono + LEASE_TERM;
        let live =
            |model: &Model| matches!(model, Model::Leased { lease, .. } if named.contains(lease));
        let expected = self.model.values().filter(|model| live(model)).count();
        let distinct: BTreeSet<_> = named.iter().collect();
        let gone: BTreeSet<_> = lapsed.iter().collect();
        assert_eq!(distinct.len() - gone.len(), expected);
        match intent {
            Intent::Keep => self.model.values_mut().filter(|model| live(model)).for_each(|model| {
                if let Model::Leased { until, .. } = model {
                    *until = until_now;
                }
            }),
            Intent::Release => self.model.retain(|_, model| !live(model)),
        }
    }

    fn give_result(&mut self, lease: usize) {
        if self.granted.is_empty() {
            return;
        }
        let (volunteer, lease) = self.granted[lease % self.granted.len()].clone();
        let result = result(key(50 + volunteer), &lease, self.world.now);
        let bundle = result_bundle(&result, self.home);
        self.world.hand_over(key(50 + volunteer).0, self.home, bundle);
        let replica = (lease.task.task, lease.task.replica);
        let judged = self.results.iter().any(|it| it.id() == result.id());
        let ends = match self.model.get(&replica) {
            None => true,
            Some(Model::Leased { lease: current, .. }) => *current == lease.id(),
            Some(_) => false,
        };
        if ends && !judged {
            self.model.insert(replica, Model::Returned { result: result.id() });
        }
        if !judged {
            self.results.push(result);
        }
    }

    fn judge(&mut self, result: usize, verdict: u8) {
        if self.results.is_empty() {
            return;
        }
        let result = self.results[result % self.results.len()].clone();
        let verdict = match verdict {
            0 => accepted(),
            1 => Verdict::Rejected("no".to_owned()),
            _ => Verdict::Again("once more".to_owned()),
        };
        let receipt = self.project.receipt(&result, verdict.clone(), self.world.now);
        let bundle = receipt_bundle(&receipt, self.home.0);
        self.world.hand_over(self.project.master.0, self.home, bundle);
        let replica = (result.task.task, result.task.replica);
        match verdict {
            Verdict::Accepted(_) => {
                self.model.insert(replica, Model::Done);
            }
            _ => {
                if self.model.get(&replica) == Some(&Model::Returned { result: result.id() }) {
                    self.model.remove(&replica);
                    let volunteer = result.signer().as_bytes()[0] - 50;
                    let until = self.world.now.mono + RETRY_PAUSE;
                    self.barred.insert((replica, volunteer), until);
                    self.failed.insert(volunteer);
                }
            }
        }
    }

    fn publish_again(&mut self, next_epoch: bool, settled: u8) {
        self.epoch += u64::from(next_epoch);
        let tasks = (0..TASKS).filter(|task| settled & 1 << task != 0);
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for task in tasks {
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == task => *last = task,
                _ => ranges.push((task, task)),
            }
            for replica in 0..REPLICAS {
                self.model.insert((task, replica), Model::Done);
            }
        }
        if next_epoch {
            self.model.retain(|_, model| !matches!(model, Model::Leased { .. }));
            self.last_claim.clear();
            self.forgive();
        }
        self.publish(ranges);
    }

    /// Nothing of what went wrong is durable, or outlives an epoch.
    fn forgive(&mut self) {
        self.barred.clear();
        self.failed.clear();
    }

    fn publish(&mut self, ranges: Vec<(u32, u32)>) {
        let Self { project, home, epoch, .. } = *self;
        let mut publication = publication(project, &self.offer, epoch, home, self.world.now);
        if let Ask::Publish { offers, .. } = &mut publication {
            offers[0].settled = ranges;
        }
        assert_eq!(self.world.ask(project.master.0, home, publication), Answer::Done);
    }

    fn withdraw(&mut self) {
        let withdrawal = self.project.withdrawal(&self.offer);
        let ask = Ask::Withdraw { withdrawals: vec![withdrawal] };
        assert_eq!(self.world.ask(self.project.master.0, self.home, ask), Answer::Done);
        assert_eq!(self.world.records_about(self.home, self.offer.id()).len(), 0);
        self.model.clear();
        self.granted.clear();
        self.results.clear();
        self.last_claim.clear();
        self.forgive();
        self.offer = self.project.offer(TASKS, REPLICAS, self.world.now);
        self.publish(Vec::new());
    }

    /// The invariant, and that the model agrees.
    fn check(&self) {
        let status = self.world.broker(self.home).status();
        let counts = status.offers[0].counts.expect("granted here");
        let count = |like: fn(&Model) -> bool| self.model.values().filter(|it| like(it)).count();
        assert_eq!(counts.returned, count(|it| matches!(it, Model::Returned { .. })));
        assert_eq!(counts.done, count(|it| *it == Model::Done));
        let mut live = BTreeMap::new();
        for lease in self.world.broker(self.home).leases() {
            let replica = (lease.task.task, lease.task.replica);
            assert_eq!(live.insert(replica, lease.id()), None, "two live leases of {replica:?}");
        }
        let expected = self.model.iter().filter_map(|(replica, model)| match model {
            Model::Leased { lease, .. } => Some((*replica, *lease)),
            _ => None,
        });
        assert_eq!(status.leases, live.len());
        assert_eq!(live, expected.collect());
        for task in 0..TASKS {
            let holders =
                (0..REPLICAS).filter_map(|replica| match self.model.get(&(task, replica)) {
                    Some(Model::Leased { volunteer, .. }) => Some(volunteer),
                    _ => None,
                });
            let holders: Vec<_> = holders.collect();
            let distinct: BTreeSet<_> = holders.iter().collect();
            assert_eq!(holders.len(), distinct.len(), "one volunteer holds both replicas");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn there_is_at_most_one_live_lease_of_a_replica(steps in proptest::collection::vec(step(), 1..60)) {
        let mut run = Run::new();
        for step in steps {
            run.take(step);
        }
    }
}
