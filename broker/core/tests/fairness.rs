//! What projects get of what volunteers give: shares by weight, whatever their jobs are like.

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use broker_core::Weight;
use capability::statements::{Lease, Offer};
use capability::{ProjectKey, Verified};
use mesh_core::{Answer, Ask, Mono, Wants};
use proptest::prelude::*;
use support::*;

const SECOND: Duration = Duration::from_secs(1);
const MACHINES: u8 = 3;

/// What a project's jobs are like.
#[derive(Debug, Clone, Copy)]
struct Jobs {
    /// How long one takes.
    takes: Duration,
    /// How long it may.
    may_take: Duration,
    weight: u16,
    priority: u8,
}

fn jobs(seconds: u64) -> Jobs {
    let takes = SECOND * u32::try_from(seconds).expect("small");
    Jobs { takes, may_take: takes, weight: 100, priority: 5 }
}

/// A broker with machines that run whatever comes first.
struct Farm {
    world: World,
    home: Key,
    jobs: BTreeMap<ProjectKey, Jobs>,
    running: BTreeMap<u8, (Mono, Verified<Lease>)>,
    used: BTreeMap<ProjectKey, Duration>,
    nonce: u64,
    /// What the machines ask for by name; if nothing, they take whatever comes.
    named: Vec<ProjectKey>,
}

impl Farm {
    fn of(jobs: &[Jobs]) -> Self {
        let home = key(1);
        let number = |n: usize| project(u8::try_from(n).expect("few"));
        let weights = jobs
            .iter()
            .enumerate()
            .map(|(n, jobs)| (number(n).name(), Weight::try_from(jobs.weight).expect("a weight")));
        let mut world = World::weighing(home, weights.collect());
        for machine in 0..MACHINES {
            let ad = ad(key(50 + machine), home, 2, world.now);
            world.ask(key(50 + machine).0, home, Ask::Advertise { ad });
        }
        let jobs = jobs.iter().enumerate().map(|(n, jobs)| (number(n).name(), *jobs)).collect();
        let (running, used) = (BTreeMap::new(), BTreeMap::new());
        Self { world, home, jobs, running, used, nonce: 0, named: Vec::new() }
    }

    fn publish(&mut self, project: Project) -> Verified<Offer> {
        let Jobs { may_take, priority, .. } = self.jobs[&project.name()];
        self.world.connect(project.master.0, self.home.0);
        let mut offer = (*project.offer(5_000, 1, self.world.now)).clone();
        offer.job.limits.wall_ms = u64::try_from(may_take.as_millis()).expect("short");
        offer.priority = priority;
        let offer = Verified::sign(offer, &project.master);
        let publication = publication(project, &offer, 1, self.home, self.world.now);
        assert_eq!(self.world.ask(project.master.0, self.home, publication), Answer::Done);
        offer
    }

    fn withdraw(&mut self, project: Project, offer: &Verified<Offer>) {
        let withdrawal = project.withdrawal(offer);
        self.world.ask(
            project.master.0,
            self.home,
            Ask::Withdraw { withdrawals: vec![withdrawal] },
        );
    }

    /// Lets the machines work for so long.
    fn work(&mut self, time: Duration) {
        let end = self.world.now.mono + time;
        while self.world.now.mono < end {
            for machine in 0..MACHINES {
                self.step(machine);
            }
            self.world.pass(SECOND);
        }
    }

    fn step(&mut self, machine: u8) {
        let (volunteer, now) = (key(50 + machine), self.world.now);
        if let Some((until, lease)) = self.running.get(&machine).cloned() {
            if until > now.mono {
                return;
            }
            self.running.remove(&machine);
            *self.used.entry(lease.project).or_default() += self.jobs[&lease.project].takes;
            let bundle = result_bundle(&result(volunteer, &lease, now), self.home);
            self.world.hand_over(volunteer.0, self.home, bundle);
        }
        let wants = Wants { projects: self.named.clone(), ..wants() };
        let reply = self.world.begin(volunteer.0, self.home, Ask::Pull { wants });
        let Some(answer) = self.world.answer(reply) else { return };
        let Some(first) = offered(answer).into_iter().next() else { return };
        self.nonce += 1;
        let asking = Asking { volunteer, at: self.home, home: self.home, epoch: 1 };
        let claim = asking.claim(first.offer.id(), 1, self.nonce, now);
        let lease = leases(self.world.ask(volunteer.0, self.home, claim)).remove(0);
        self.running.insert(machine, (now.mono + self.jobs[&lease.project].takes, lease));
    }

    /// Seconds by weight.
    fn share(&self, project: Project) -> f64 {
        let used = self.used.get(&project.name()).copied().unwrap_or_default();
        used.as_secs_f64() * 100.0 / f64::from(self.jobs[&project.name()].weight)
    }

    fn begun(&self) -> Vec<ProjectKey> {
        self.running.values().map(|(_, lease)| lease.project).collect()
    }
}

fn any_jobs() -> impl Strategy<Value = Jobs> {
    (1_u64..20, 1_u32..4, 50_u16..400, 0_u8..=9).prop_map(|(seconds, slack, weight, priority)| {
        let Jobs { takes, .. } = jobs(seconds);
        Jobs { takes, may_take: takes * slack, weight, priority }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Start-time fair queueing keeps two that always have work within a job of each apart, on one
    /// machine. Here each machine can have one more in hand, and first estimates may be too high.
    #[test]
    fn projects_with_work_get_shares_by_weight_whatever_their_jobs_are_like(
        all in proptest::collection::vec(any_jobs(), 2..5)
    ) {
        let mut farm = Farm::of(&all);
        let projects: Vec<_> = (0..u8::try_from(all.len()).expect("few")).map(project).collect();
        for project in &projects {
            farm.publish(*project);
        }
        farm.work(SECOND * 1_000);
        let allowed = |jobs: &Jobs| {
            f64::from(MACHINES) * jobs.may_take.as_secs_f64() * 100.0 / f64::from(jobs.weight)
        };
        for (a, of_a) in projects.iter().zip(&all) {
            for (b, of_b) in projects.iter().zip(&all) {
                let apart = (farm.share(*a) - farm.share(*b)).abs();
                prop_assert!(
                    apart <= allowed(of_a) + allowed(of_b),
                    "{} and {} of {all:?}", farm.share(*a), farm.share(*b)
                );
            }
        }
    }
}

#[test]
fn a_newcomer_is_served_at_once_and_gets_no_more_than_its_share() {
    let mut farm = Farm::of(&[jobs(10), jobs(10)]);
    let (old, new) = (project(0), project(1));
    farm.publish(old);
    farm.work(SECOND * 1_000);
    farm.publish(new);
    let before = farm.share(old);
    farm.work(SECOND * 11);
    assert!(farm.begun().contains(&new.name()), "one machine of three ended within 10 s");
    farm.work(SECOND * 400);
    let since = farm.share(old) - before;
    assert!((farm.share(new) - since).abs() <= 60.0, "{} and {since}", farm.share(new));
}

/// From now on both get the same, whatever `seldom` has not got before.
fn check_that_nothing_is_owed(mut farm: Farm, steady: Project, seldom: Project) {
    let before = [steady, seldom].map(|it| farm.share(it));
    farm.publish(seldom);
    farm.work(SECOND * 400);
    let since: Vec<_> =
        [steady, seldom].iter().zip(before).map(|(it, was)| farm.share(*it) - was).collect();
    assert!((since[0] - since[1]).abs() <= 60.0, "{since:?}");
}

#[test]
fn who_was_away_is_owed_nothing() {
    let mut farm = Farm::of(&[jobs(10), jobs(10)]);
    let (steady, seldom) = (project(0), project(1));
    farm.publish(steady);
    let offer = farm.publish(seldom);
    farm.work(SECOND * 100);
    farm.withdraw(seldom, &offer);
    farm.work(SECOND * 1_000);
    check_that_nothing_is_owed(farm, steady, seldom);
}

#[test]
fn who_kept_an_offer_without_open_tasks_is_owed_nothing() {
    let mut farm = Farm::of(&[jobs(10), jobs(10)]);
    let (steady, seldom) = (project(0), project(1));
    farm.publish(steady);
    let offer = project(1).offer(1, 1, farm.world.now);
    let publication = publication(seldom, &offer, 1, farm.home, farm.world.now);
    farm.world.ask(seldom.master.0, farm.home, publication);
    farm.work(SECOND * 1_000);
    check_that_nothing_is_owed(farm, steady, seldom);
}

#[test]
fn who_is_not_asked_for_by_name_is_owed_what_others_were_given() {
    let mut farm = Farm::of(&[jobs(10), jobs(10)]);
    let (named, other) = (project(0), project(1));
    farm.publish(named);
    farm.publish(other);
    farm.work(SECOND * 100);
    farm.named = vec![named.name()];
    farm.work(SECOND * 200);
    farm.named.clear();
    farm.work(SECOND * 400);
    let (a, b) = (farm.share(named), farm.share(other));
    assert!((a - b).abs() <= 60.0, "{a} and {b}");
}

#[test]
fn what_a_job_may_take_is_corrected_to_what_it_took() {
    let modest = jobs(10);
    let careless = Jobs { may_take: SECOND * 10_000, ..modest };
    let mut farm = Farm::of(&[careless, modest]);
    farm.publish(project(0));
    farm.publish(project(1));
    farm.work(SECOND * 1_000);
    let (a, b) = (farm.share(project(0)), farm.share(project(1)));
    assert!((a - b).abs() <= 100.0, "{a} and {b}");
}

#[test]
fn a_priority_orders_a_projects_own_offers_and_helps_against_no_other() {
    let mut farm = Farm::of(&[Jobs { priority: 9, ..jobs(10) }, Jobs { priority: 0, ..jobs(10) }]);
    let low = farm.publish(project(1));
    farm.publish(project(0));
    farm.work(SECOND * 500);
    let (a, b) = (farm.share(project(0)), farm.share(project(1)));
    assert!((a - b).abs() <= 60.0, "{a} and {b}");

    farm.jobs.get_mut(&project(1).name()).expect("there").priority = 1;
    let high = farm.publish(project(1));
    farm.work(SECOND * 100);
    let of_second =
        farm.running.values().map(|(_, lease)| lease).filter(|it| it.project == project(1).name());
    let offers: Vec<_> = of_second.map(|lease| lease.task.offer).collect();
    assert!(!offers.contains(&low.id()), "the older one waits");
    assert!(offers.contains(&high.id()));
}
