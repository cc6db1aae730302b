//! What projects get of one machine: shares by weight, whatever their jobs are like.
//!
//! The broker here shows four offers at a time, of the projects in an order that is not the owner's.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::statements::{Claim, Credit, Ended, Lease, Verdict};
use capability::{ProjectKey, Runtime, StatementId, Verified};
use mesh_core::{Answer, Ask, CallId, Mono, Offered, Refusal, Wants};
use proptest::prelude::*;
use support::{ADAPTER, BROKER, Bench, START, key, machine, offered_by, outcome, peer};
use volunteer_core::{Action, GiveWay, Input, Pause, Pin, Rung, Sample, Share, Standing};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Offers in an answer of the broker, as of a real one for a machine with a single core free.
const SHOWN: usize = 4;

/// A project and what its jobs are like.
#[derive(Debug, Clone)]
struct Project {
    key: u8,
    weight: u16,
    rung: Rung,
    takes: Duration,
    may_take: Duration,
    cores: u64,
    /// How many offers it has: more than are shown hide those of others.
    offers: usize,
    has_work: bool,
}

fn project(key: u8, minutes: u32) -> Project {
    let takes = MINUTE * minutes;
    let (weight, rung) = (100, Rung::default());
    Project { key, weight, rung, takes, may_take: takes, cores: 1, offers: 1, has_work: true }
}

impl Project {
    fn key(&self) -> ProjectKey {
        peer(self.key).into()
    }

    fn pin(&self) -> Pin {
        let weight = self.weight.try_into().expect("a weight");
        let standing = Standing { rung: self.rung, weight };
        Pin { runtimes: [Runtime::Wasm].into(), standing, ..Pin::of(self.key()) }
    }

    fn offers(&self) -> Vec<Offered> {
        let offer = |n: usize| {
            let name = format!("{} {n}", self.key);
            let mut offered = offered_by(self.key, Runtime::Wasm, &name, 1000, self.cores);
            let mut offer = (*offered.offer).clone();
            offer.job.limits.wall_ms = self.may_take.as_millis().try_into().expect("short");
            offer.expires = START + DAY * 29;
            let mut home = (*offered.home).clone();
            home.expires = START + DAY * 29;
            offered.home = Verified::sign(home, &*key(ADAPTER));
            offered.offer = Verified::sign(offer, &*key(ADAPTER));
            offered
        };
        (0..self.offers).map(offer).collect()
    }
}

/// A machine, its broker, and projects that have work to no end.
struct Farm {
    bench: Option<Bench>,
    cores: u32,
    projects: Vec<Project>,
    offers: BTreeMap<u8, Vec<Offered>>,
    pull: Option<(CallId, Wants)>,
    running: BTreeSet<(Mono, StatementId, u8)>,
    used: BTreeMap<u8, Duration>,
    tasks: u32,
    pulls: usize,
}

impl Farm {
    fn of(cores: u32, projects: &[Project]) -> Self {
        let mut bench = Bench::new();
        bench.handle(Input::Capabilities(machine(cores)));
        bench.handle(Input::Pins(projects.iter().map(Project::pin).collect()));
        bench.connect(BROKER);
        let offers = projects.iter().map(|it| (it.key, it.offers())).collect();
        Self {
            bench: Some(bench),
            cores,
            projects: projects.to_vec(),
            offers,
            pull: None,
            running: BTreeSet::new(),
            used: BTreeMap::new(),
            tasks: 0,
            pulls: 0,
        }
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().expect("it is there")
    }

    fn project(&mut self, key: u8) -> &mut Project {
        self.projects.iter_mut().find(|it| it.key == key).expect("one of them")
    }

    fn with_work(&mut self, key: u8, has_work: bool) {
        self.project(key).has_work = has_work;
    }

    /// What is of `wants`, the offers of the last project first: an order that is nobody's need.
    fn shown(&self, wants: &Wants) -> Vec<Offered> {
        let wanted =
            |it: &&Project| wants.projects.is_empty() || wants.projects.contains(&it.key());
        let projects = self.projects.iter().rev().filter(|it| it.has_work).filter(wanted);
        let offers = projects.flat_map(|it| &self.offers[&it.key]);
        let fresh = offers.filter(|it| !wants.except.contains(&it.offer.id()));
        fresh.take(SHOWN).cloned().collect()
    }

    /// The broker answers whatever it was asked, until nothing is left.
    fn serve(&mut self) {
        while let Some(action) = self.bench().seen.pop_front() {
            match action {
                Action::Ask { call, ask: Ask::Pull { wants }, .. } => {
                    self.pulls += 1;
                    self.pull = Some((call, wants));
                    self.answer_pull();
                }
                Action::Ask { call, ask: Ask::Claim { claims, .. }, .. } => {
                    self.grant(call, &claims);
                }
                Action::Ask { call, ask: Ask::Advertise { .. }, .. } => {
                    self.bench().answer(call, Answer::Done);
                }
                Action::Fetch { hash, .. } => {
                    self.bench().handle(Input::Fetched { hash, fetched: Ok(()) });
                }
                Action::Run(order) => {
                    let takes = self.whose(order.project).takes;
                    let key = self.whose(order.project).key;
                    let end = self.bench().now.mono + takes;
                    self.running.insert((end, order.lease, key));
                }
                Action::HandOver(handover) => {
                    for bundle in handover.bundles {
                        self.bench().handed_over(handover.to, bundle.id());
                        let result = support::result_in(&bundle);
                        let (by, accepted) = (self.whose(result.project).key, Credit(1));
                        let verdict = Verdict::Accepted(accepted);
                        self.bench().receive(support::receipt_by(by, &result, verdict));
                    }
                }
                _ => {}
            }
        }
    }

    fn whose(&self, project: ProjectKey) -> &Project {
        self.projects.iter().find(|it| it.key() == project).expect("one of them")
    }

    fn answer_pull(&mut self) {
        let Some((call, wants)) = self.pull.take() else { return };
        let offers = self.shown(&wants);
        if offers.is_empty() && wants.wait_ms != Some(0) {
            self.pull = Some((call, wants));
        } else {
            self.bench().answer(call, Answer::Offers(offers));
        }
    }

    fn grant(&mut self, call: CallId, claims: &[Verified<Claim>]) {
        let mut parts = Vec::new();
        for claim in claims {
            let offers = self.offers.iter();
            let is_of =
                |(_, of): &(_, &Vec<Offered>)| of.iter().any(|it| it.offer.id() == claim.offer);
            let (key, _) = offers.clone().find(is_of).expect("it was shown");
            let key = *key;
            let leases = support::leases_of(key, claim, self.tasks % 1000, claim.count);
            self.tasks += u32::from(claim.count);
            // What holds by itself need not be renewed all the time.
            let alone = |lease: &Verified<Lease>| {
                let (deadline, expires) = (Some(START + DAY * 29), START + DAY * 29);
                Verified::sign(
                    Lease { deadline, expires, ..(**lease).clone() },
                    &*support::key(BROKER),
                )
            };
            parts.push(Answer::Leases(leases.iter().map(alone).collect()));
        }
        let answer = if parts.len() == 1 { parts.remove(0) } else { Answer::Each(parts) };
        self.bench().answer(call, answer);
    }

    /// Lets the machine work for so long.
    fn work(&mut self, time: Duration) {
        let end = self.bench().now.mono + time;
        self.answer_pull();
        self.serve();
        while self.bench().now.mono < end {
            let now = self.bench().now.mono;
            // A machine without a job asks again in a while.
            let look = if self.running.is_empty() { end.min(now + MINUTE) } else { end };
            let next = self.running.first().copied().filter(|(at, ..)| *at <= end);
            let until = next.map_or(look, |(at, ..)| at);
            self.bench().pass(until - now);
            let Some(ended @ (_, lease, key)) = next else {
                self.serve();
                continue;
            };
            self.running.remove(&ended);
            let project = self.project(key).clone();
            let cores = u32::try_from(project.cores).expect("few");
            *self.used.entry(key).or_default() += project.takes * cores;
            self.bench().ran(lease, outcome(Ended::Passed));
            self.serve();
        }
        self.serve();
    }

    /// The owner is there, and lends so many cores meanwhile; or is not.
    fn lend(&mut self, cores: Option<u32>) {
        let meanwhile = cores.map(|cores| Share { cores, memory: u64::MAX });
        self.bench().handle(Input::GiveWay(GiveWay { meanwhile, ..GiveWay::default() }));
        let program = cores.map(|_| "chess".to_owned());
        self.bench().handle(Input::Sampled(Sample { program, ..Sample::default() }));
    }

    /// `kill -9`, and a new process: what ran is lost.
    fn restart(&mut self) {
        let bench = self.bench.take().expect("it is there");
        let pins = self.projects.iter().map(Project::pin).collect();
        let mut bench = bench.restart_as(self.cores, pins);
        bench.connect(BROKER);
        self.running.clear();
        self.pull = None;
        self.bench = Some(bench);
    }

    /// Hours of a core that it had.
    fn had(&self, key: u8) -> f64 {
        self.used.get(&key).copied().unwrap_or_default().as_secs_f64() / 3600.0
    }
}

fn any_project() -> impl Strategy<Value = Project> {
    (30_u32..480, 1_u32..4, 20_u16..500, 1_u64..=2, 1_usize..6).prop_map(
        |(minutes, slack, weight, cores, offers)| {
            let usual = project(0, minutes);
            Project { may_take: usual.takes * slack, weight, cores, offers, ..usual }
        },
    )
}

fn numbered(mut projects: Vec<Project>) -> Vec<Project> {
    for (key, project) in (10..).zip(&mut projects) {
        project.key = key;
    }
    projects
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, failure_persistence: None, ..ProptestConfig::default() })]

    /// Two that always have work are, by weight, no further apart than their longest jobs on all cores, and
    /// what was thought too much of a first one.
    #[test]
    fn projects_with_work_get_shares_by_weight_whatever_their_jobs_are_like(
        all in proptest::collection::vec(any_project(), 2..5),
        cores in 2_u32..5,
    ) {
        // All as wide as each other: no core is left over that only some of them can use.
        let all = numbered(all.into_iter().map(|it| Project { cores: 1, ..it }).collect());
        let mut farm = Farm::of(cores, &all);
        farm.work(DAY * 8);
        let share = |it: &Project| farm.had(it.key) * 100.0 / f64::from(it.weight);
        let longest = all.iter().map(|it| it.may_take).max().expect("some");
        let job = |it: &Project| {
            longest.as_secs_f64() / 3600.0 * f64::from(cores) * 100.0 / f64::from(it.weight)
        };
        for (a, b) in all.iter().flat_map(|a| all.iter().map(move |b| (a, b))) {
            let apart = (share(a) - share(b)).abs();
            prop_assert!(apart <= job(a) + job(b), "{} and {} of {all:?}", share(a), share(b));
        }
    }

    /// Where some jobs are wider than others cores are left over at times, which whoever can use them gets
    /// beyond its share. It costs nobody more than half of its own.
    #[test]
    fn nobody_starves_however_wide_the_jobs_of_others_are(
        all in proptest::collection::vec(any_project(), 2..5),
        cores in 2_u32..5,
    ) {
        let all = numbered(all);
        let mut farm = Farm::of(cores, &all);
        farm.work(DAY * 8);
        let weights: f64 = all.iter().map(|it| f64::from(it.weight)).sum();
        for it in &all {
            let share = 8.0 * 24.0 * f64::from(cores) * f64::from(it.weight) / weights;
            prop_assert!(farm.had(it.key) >= share / 2.0, "{} of {share}: {it:?} of {all:?}", farm.had(it.key));
        }
    }
}

#[test]
fn a_project_whose_offers_others_hide_gets_its_share_all_the_same() {
    let crowd = Project { offers: 40, ..project(11, 30) };
    let mut farm = Farm::of(1, &[project(10, 30), crowd]);
    farm.work(DAY);
    assert!((farm.had(10) - farm.had(11)).abs() <= 1.0, "{} {}", farm.had(10), farm.had(11));
}

#[test]
fn who_is_hidden_behind_offers_that_need_more_than_is_free_is_not_taken_for_idle() {
    let long = Project { weight: 27, may_take: HOUR * 16, offers: 3, ..project(13, 315) };
    let wide = Project { weight: 209, cores: 2, offers: 5, ..project(11, 35) };
    let wider = Project { weight: 158, cores: 2, offers: 5, ..project(12, 191) };
    let mut farm = Farm::of(4, &[Project { weight: 127, ..project(10, 30) }, wide, wider, long]);
    farm.work(DAY * 8);
    let share = 8.0 * 24.0 * 4.0 * 127.0 / 521.0;
    assert!(farm.had(10) >= share * 0.8, "{} of {share}", farm.had(10));
}

#[test]
fn a_long_job_is_paid_back_in_full_to_who_waited() {
    let mut farm = Farm::of(1, &[project(10, 60), project(11, 20 * 60)]);
    farm.work(DAY * 6);
    assert!((farm.had(10) - farm.had(11)).abs() <= 21.0, "{} {}", farm.had(10), farm.had(11));
}

#[test]
fn who_was_silent_for_weeks_is_owed_six_hours_and_no_more() {
    let mut farm = Farm::of(2, &[project(10, 30), project(11, 30)]);
    farm.with_work(10, false);
    farm.work(DAY * 14);
    assert!(farm.had(11) > 14.0 * 47.5, "nobody stalls the machine: {}", farm.had(11));
    farm.with_work(10, true);
    let before = farm.had(11);
    farm.work(HOUR * 5);
    assert!(farm.had(10) >= 9.0, "it comes first: {}", farm.had(10));
    farm.work(HOUR * 19);
    let (since, other) = (farm.had(10), farm.had(11) - before);
    // Twelve hours of a core are owed: six of the machine. Then both get the same.
    assert!((since - other - 12.0).abs() <= 1.0, "{since} {other}");
}

#[test]
fn a_new_project_is_served_at_once_and_gets_no_more_than_its_share() {
    let mut farm = Farm::of(1, &[project(11, 20)]);
    farm.work(DAY * 2);
    let (old, new) = (project(11, 20), project(10, 20));
    farm.offers.insert(10, new.offers());
    farm.projects = vec![new, old];
    let pins = farm.projects.iter().map(Project::pin).collect();
    farm.bench().handle(Input::Pins(pins));
    let before = farm.had(11);
    farm.work(MINUTE * 45);
    assert!(farm.had(10) > 0.1, "{}", farm.had(10));
    farm.work(HOUR * 24);
    let since = farm.had(11) - before;
    assert!((farm.had(10) - since).abs() <= 1.0, "{} {since}", farm.had(10));
}

#[test]
fn a_backup_or_a_later_tier_gets_what_no_other_has_work_for() {
    let backup = Rung { backup: true, tier: 0 };
    for rung in [backup, Rung { backup: false, tier: 3 }] {
        let last = Project { rung, weight: 10_000, offers: 9, ..project(11, 10) };
        let mut farm = Farm::of(2, &[project(10, 10), last]);
        farm.work(DAY);
        assert_eq!(farm.had(11), 0.0, "{rung:?}");
        farm.with_work(10, false);
        farm.work(HOUR * 2);
        assert!(farm.had(11) > 3.0, "{rung:?}: {}", farm.had(11));
        farm.with_work(10, true);
        let before = farm.had(11);
        farm.work(HOUR * 12);
        // It is asked for within a minute, and what runs is not interrupted.
        assert!(farm.had(11) - before <= 1.0, "{rung:?}: {}", farm.had(11) - before);
    }
}

#[test]
fn accounts_outlast_the_process_and_so_does_the_time_of_jobs_that_died_with_it() {
    let mut farm = Farm::of(1, &[project(10, 60), project(11, 23 * 60)]);
    // The long jobs never end: the machine is switched off each evening.
    for _ in 0..10 {
        farm.work(HOUR * 8);
        farm.restart();
    }
    assert_eq!(farm.had(11), 0.0);
    assert!((30.0..50.0).contains(&farm.had(10)), "half of 80 hours: {}", farm.had(10));
}

#[test]
fn time_in_which_jobs_stand_still_is_nobodys() {
    let mut farm = Farm::of(1, &[project(10, 60), project(11, 60)]);
    farm.work(MINUTE * 90);
    let begun = farm.had(10);
    farm.bench().handle(Input::Pause(Pause::default()));
    farm.bench().pass(DAY * 3);
    farm.bench().handle(Input::Resume);
    // The shell's jobs stood still too.
    let shifted = std::mem::take(&mut farm.running);
    farm.running = shifted.into_iter().map(|(at, lease, key)| (at + DAY * 3, lease, key)).collect();
    farm.work(HOUR * 40);
    assert!(
        (farm.had(10) - farm.had(11)).abs() <= 2.0,
        "{begun}: {} {}",
        farm.had(10),
        farm.had(11)
    );
}

#[test]
fn time_in_which_a_job_stands_still_is_nobodys_although_a_smaller_one_could_move() {
    let wide = |key| Project { cores: 2, ..project(key, 60) };
    let mut farm = Farm::of(2, &[wide(10), wide(11)]);
    farm.work(MINUTE * 90);
    farm.lend(Some(1));
    farm.bench().pass(DAY * 3);
    farm.lend(None);
    let shifted = std::mem::take(&mut farm.running);
    farm.running = shifted.into_iter().map(|(at, lease, key)| (at + DAY * 3, lease, key)).collect();
    farm.work(HOUR * 40);
    assert!((farm.had(10) - farm.had(11)).abs() <= 4.0, "{} {}", farm.had(10), farm.had(11));
}

#[test]
fn no_room_is_made_for_a_job_that_is_too_large_for_what_the_owner_lends_just_now() {
    let wide = Project { cores: 4, ..project(10, 30) };
    let mut farm = Farm::of(8, &[wide, project(11, 30)]);
    farm.lend(Some(1));
    farm.work(HOUR * 10);
    assert_eq!(farm.had(10), 0.0);
    assert!(farm.had(11) >= 9.5, "the machine is never idle: {}", farm.had(11));
    farm.lend(None);
    farm.work(HOUR * 5);
    assert!(farm.had(10) >= 16.0, "its turn comes when it fits: {}", farm.had(10));
}

#[test]
fn who_takes_all_of_the_memory_pays_for_all_of_the_machine() {
    let large = |memory: u64| {
        let mut farm = Farm::of(4, &[project(10, 120), project(11, 120)]);
        for offered in farm.offers.get_mut(&11).expect("it has one") {
            let mut offer = (*offered.offer).clone();
            offer.job.limits.memory = memory;
            offered.offer = Verified::sign(offer, &*key(ADAPTER));
        }
        farm.work(DAY * 5);
        farm.had(10) / farm.had(11)
    };
    // Tasks of one core each; with all of the memory one takes what four others would.
    let (small, all) = (large(1 << 30), large(8 << 30));
    assert!((0.9..1.1).contains(&small), "{small}");
    assert!((3.3..4.7).contains(&all), "{all}");
}

#[test]
fn an_idle_machine_and_one_with_a_single_project_ask_no_more_than_without_shares() {
    let mut alone = Farm::of(1, &[project(10, 60)]);
    alone.work(DAY);
    assert!(alone.pulls <= 26, "{} pulls for 24 tasks", alone.pulls);

    let mut idle = Farm::of(1, &[project(10, 60), project(11, 60), project(12, 60)]);
    (10..=12).for_each(|key| idle.with_work(key, false));
    idle.work(HOUR);
    assert!(idle.pulls <= 2, "{} pulls; the broker lets them wait", idle.pulls);

    // One of three has work: the others are asked for once a minute at most, and once a task here.
    idle.with_work(11, true);
    idle.work(DAY);
    assert!(idle.pulls <= 2 + 2 * 26, "{} pulls for 24 tasks", idle.pulls);
}

#[test]
fn a_claim_refused_leaves_the_turn_to_the_next_and_does_not_stall() {
    let mut bench = Bench::new();
    let projects = [project(10, 10), project(11, 10)];
    bench.handle(Input::Capabilities(machine(1)));
    bench.handle(Input::Pins(projects.iter().map(Project::pin).collect()));
    bench.connect(BROKER);
    let (call, _) = bench.take_pull();
    let offers: Vec<_> = projects.iter().flat_map(Project::offers).collect();
    bench.answer(call, Answer::Offers(offers.clone()));
    let (call, claim) = bench.take_claim();
    assert_eq!(claim.offer, offers[0].offer.id());
    bench.answer(call, Answer::Refused(Refusal::NoTask));
    assert_eq!(bench.take_claim().1.offer, offers[1].offer.id());
}
