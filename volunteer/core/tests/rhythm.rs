//! How often a project's builders have tasks here, and in which hours, as the owner bounds it.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{Claim, Ended, Lease};
use capability::{Runtime, StatementId, Timestamp, Verified};
use mesh_core::{Answer, Ask, CallId, Offered, Wants};
use proptest::prelude::*;
use support::{ADAPTER, BROKER, Bench, START, key, machine, offered, outcome, pin, project};
use volunteer_core::{Action, Input, Pin};

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn followed(every: Duration) -> Pin {
    Pin { every: Some(every), ..pin() }
}

/// An offer of one builder that holds for long.
fn offer_of(builder: &str, name: &str, tasks: u32) -> Offered {
    let mut offered = offered(name, tasks, 1);
    let mut offer = (*offered.offer).clone();
    builder.clone_into(&mut offer.builder);
    offer.expires = START + DAY * 29;
    let mut home = (*offered.home).clone();
    home.expires = START + DAY * 29;
    offered.offer = Verified::sign(offer, &*key(ADAPTER));
    offered.home = Verified::sign(home, &*key(ADAPTER));
    offered
}

/// A machine, a broker with offers of some builders, and what has begun when.
struct Farm {
    bench: Option<Bench>,
    cores: u32,
    pin: Pin,
    offers: Vec<Offered>,
    pull: Option<(CallId, Wants)>,
    /// Whether packages can be had.
    packages: bool,
    running: Vec<StatementId>,
    begun: BTreeMap<String, Vec<Timestamp>>,
    tasks: u32,
}

impl Farm {
    fn of(cores: u32, pin: Pin, offers: Vec<Offered>) -> Self {
        let mut bench = Bench::new();
        bench.handle(Input::Capabilities(machine(cores)));
        bench.handle(Input::Pins(vec![pin.clone()]));
        bench.connect(BROKER);
        let (bench, pull, running, begun) = (Some(bench), None, Vec::new(), BTreeMap::new());
        let packages = true;
        let mut farm = Self { bench, cores, pin, offers, pull, packages, running, begun, tasks: 0 };
        farm.serve();
        farm
    }

    fn bench(&mut self) -> &mut Bench {
        self.bench.as_mut().expect("it is there")
    }

    /// The broker and the runtimes do whatever they were asked, until nothing is left.
    fn serve(&mut self) {
        while let Some(action) = self.bench().seen.pop_front() {
            match action {
                Action::Ask { call, ask: Ask::Pull { wants }, .. } => {
                    self.pull = Some((call, wants));
                    self.answer_pull();
                }
                Action::Ask { call, ask: Ask::Claim { claims, .. }, .. } => {
                    self.grant(call, &claims);
                }
                Action::Ask { call, ask: Ask::Advertise { .. }, .. } => {
                    self.bench().answer(call, Answer::Done);
                }
                Action::Ask { call, ask: Ask::Renew { .. }, .. } => {
                    self.bench().answer(call, Answer::Renewed { lapsed: Vec::new() });
                }
                Action::Fetch { hash, .. } => {
                    let fetched = if self.packages { Ok(()) } else { Err("gone".to_owned()) };
                    self.bench().handle(Input::Fetched { hash, fetched });
                }
                Action::Run(order) => {
                    let now = self.bench().now.wall;
                    let offer = self.offers.iter().find(|it| it.offer.id() == order.task.offer);
                    let builder = offer.unwrap().offer.builder.clone();
                    self.begun.entry(builder).or_default().push(now);
                    self.running.push(order.lease);
                }
                Action::HandOver(handover) => {
                    for bundle in handover.bundles {
                        self.bench().handed_over(handover.to, bundle.id());
                    }
                }
                _ => {}
            }
        }
    }

    fn answer_pull(&mut self) {
        let Some((call, wants)) = self.pull.take() else { return };
        let fresh = self.offers.iter().filter(|it| !wants.except.contains(&it.offer.id()));
        let offers: Vec<_> = fresh.take(4).cloned().collect();
        if offers.is_empty() {
            self.pull = Some((call, wants));
        } else {
            self.bench().answer(call, Answer::Offers(offers));
        }
    }

    fn grant(&mut self, call: CallId, claims: &[Verified<Claim>]) {
        let mut parts = Vec::new();
        for claim in claims {
            let leases = support::leases(claim, self.tasks, claim.count);
            self.tasks += u32::from(claim.count);
            // What holds by itself need not be renewed all the time.
            let alone = |lease: &Verified<Lease>| {
                let (deadline, expires) = (Some(START + DAY * 29), START + DAY * 29);
                let lease = Lease { deadline, expires, ..(**lease).clone() };
                Verified::sign(lease, &*key(BROKER))
            };
            parts.push(Answer::Leases(leases.iter().map(alone).collect()));
        }
        let answer = if parts.len() == 1 { parts.remove(0) } else { Answer::Each(parts) };
        self.bench().answer(call, answer);
    }

    /// Time passes; whatever the core wakes up for is served at once.
    fn pass(&mut self, time: Duration) {
        let end = self.bench().now.mono + time;
        loop {
            let now = self.bench().now.mono;
            let wake = self.bench().volunteer.next_wake().filter(|at| *at < end);
            let until = wake.unwrap_or(end);
            self.bench().pass(until - now);
            self.serve();
            if wake.is_none() {
                return;
            }
        }
    }

    fn end_jobs(&mut self) {
        for lease in std::mem::take(&mut self.running) {
            self.bench().ran(lease, outcome(Ended::Passed));
            self.serve();
        }
    }

    /// `kill -9`, and a new process: what ran is lost.
    fn restart(&mut self) {
        let bench = self.bench.take().expect("it is there");
        let mut bench = bench.restart_as(self.cores, vec![self.pin.clone()]);
        bench.connect(BROKER);
        self.running.clear();
        self.pull = None;
        self.bench = Some(bench);
        self.serve();
    }

    fn begun(&self, builder: &str) -> usize {
        self.begun.get(builder).map_or(0, Vec::len)
    }

    fn why_not(&mut self) -> Vec<String> {
        let reasons = self.bench().volunteer.why_not(project());
        reasons.iter().map(ToString::to_string).collect()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(Duration),
    EndJobs,
    Restart,
    NoPackages(Duration),
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (1_u32..900).prop_map(|minutes| Step::Pass(MINUTE * minutes)),
        2 => Just(Step::EndJobs),
        1 => Just(Step::Restart),
        1 => (1_u32..60).prop_map(|seconds| Step::NoPackages(Duration::from_secs(seconds.into()))),
    ]
}

const BUILDERS: [&str; 3] = ["nightly", "each revision", "release"];

/// Two offers of each builder, of several tasks each.
fn offers() -> Vec<Offered> {
    let of = |builder: &&str| [1, 2].map(|n| offer_of(builder, &format!("{builder} {n}"), 9000));
    BUILDERS.iter().flat_map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens meanwhile no builder has two tasks begin in a period; and once nothing stands in the
    /// way each has one in the next.
    #[test]
    fn a_builder_has_one_task_in_a_period_and_never_two(
        steps in proptest::collection::vec(any_step(), 1..40),
        hours in 1_u32..30,
        cores in 1_u32..8,
    ) {
        let every = HOUR * hours;
        let mut farm = Farm::of(cores, followed(every), offers());
        for step in &steps {
            match step {
                Step::Pass(time) => farm.pass(*time),
                Step::EndJobs => farm.end_jobs(),
                Step::Restart => farm.restart(),
                Step::NoPackages(time) => {
                    farm.packages = false;
                    farm.pass(*time);
                    farm.packages = true;
                }
            }
        }
        for (builder, begun) in &farm.begun {
            for pair in begun.windows(2) {
                prop_assert!(pair[1].since(pair[0]) >= every, "{builder}: {begun:?}");
            }
        }
        let had = BUILDERS.map(|builder| farm.begun(builder));
        farm.end_jobs();
        farm.pass(every + MINUTE);
        // On few cores one follows the other.
        for _ in BUILDERS {
            farm.end_jobs();
            farm.pass(MINUTE);
        }
        for (builder, had) in BUILDERS.iter().zip(had) {
            prop_assert!(farm.begun(builder) > had, "{builder}: {:?}", farm.why_not());
        }
    }
}

#[test]
fn the_next_task_of_a_builder_begins_the_moment_its_period_ends_also_after_a_restart() {
    let nightly = offer_of("nightly", "tonight", 100);
    let mut farm = Farm::of(4, followed(DAY), vec![nightly]);
    assert_eq!(farm.begun("nightly"), 1, "of four cores and a hundred tasks");
    farm.pass(HOUR * 3);
    farm.end_jobs();
    let expected = ["builder nightly had a task 3 h ago; the next may begin in 21 h"];
    assert_eq!(farm.why_not(), expected);

    farm.restart();
    farm.pass(HOUR * 21 - Duration::from_secs(6));
    assert_eq!(farm.begun("nightly"), 1, "the restart took 5 s");
    farm.pass(Duration::from_secs(1));
    assert_eq!(farm.begun("nightly"), 2);
}

#[test]
fn a_task_that_is_given_back_before_it_begins_does_not_count() {
    let mut farm = Farm::of(1, followed(DAY), Vec::new());
    farm.packages = false;
    farm.offers = vec![offer_of("nightly", "tonight", 100)];
    farm.answer_pull();
    farm.serve();
    farm.pass(MINUTE);
    assert_eq!(farm.begun("nightly"), 0, "its package cannot be had");
    farm.packages = true;
    farm.pass(MINUTE);
    assert_eq!(farm.begun("nightly"), 1);
}

#[test]
fn a_clock_that_is_set_back_keeps_a_builder_for_one_period_and_no_longer() {
    let mut farm = Farm::of(1, followed(HOUR * 3), vec![offer_of("nightly", "tonight", 100)]);
    farm.end_jobs();
    let now = &mut farm.bench().now;
    now.wall = now.wall.before(HOUR * 5);
    farm.pass(HOUR * 3 - MINUTE);
    assert_eq!(farm.begun("nightly"), 1);
    farm.pass(MINUTE * 2);
    assert_eq!(farm.begun("nightly"), 2);
}

#[test]
fn an_owner_who_changes_the_period_has_it_at_once() {
    let mut farm = Farm::of(1, followed(DAY), vec![offer_of("nightly", "tonight", 100)]);
    farm.end_jobs();
    farm.pass(HOUR);
    assert_eq!(farm.begun("nightly"), 1);
    farm.bench().handle(Input::Pins(vec![followed(HOUR)]));
    farm.serve();
    assert_eq!(farm.begun("nightly"), 2);
    farm.bench().handle(Input::Pins(vec![pin()]));
    farm.end_jobs();
    assert_eq!(farm.begun("nightly"), 3, "as many as there are");
    let records = farm.bench().disk.keys().filter(|key| key.first() == Some(&b'b')).count();
    assert_eq!(records, 0, "what is not bounded is not remembered");
}

#[test]
fn outside_of_its_hours_nothing_new_of_a_project_is_taken_and_what_is_in_hand_goes_on() {
    let mut farm = Farm::of(1, pin(), vec![offer_of("nightly", "tonight", 100)]);
    assert_eq!(farm.begun("nightly"), 1);
    farm.bench().handle(Input::OffHours([project()].into()));
    assert_eq!(farm.running.len(), 1);
    farm.end_jobs();
    farm.pass(DAY);
    assert_eq!(farm.begun("nightly"), 1);
    let expected = ["outside of the hours that you let it have: nothing new of it is taken"];
    assert_eq!(farm.why_not(), expected);

    farm.bench().handle(Input::OffHours([].into()));
    farm.serve();
    assert_eq!(farm.begun("nightly"), 2);
}

#[test]
fn a_period_bounds_one_project_and_no_other() {
    let mut offers = vec![offer_of("nightly", "tonight", 1)];
    offers.push(support::offered_by(9, Runtime::Wasm, "other", 100, 1));
    let mut bench = Bench::new();
    let free = Pin { project: support::peer(9).into(), ..pin() };
    bench.handle(Input::Capabilities(machine(4)));
    bench.handle(Input::Pins(vec![followed(DAY), free]));
    bench.connect(BROKER);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(offers));
    let (_, claims) = bench.take_claims();
    let counts: Vec<_> = claims.iter().map(|claim| claim.count).collect();
    assert_eq!(counts, [1, 3]);
}
