//! What a volunteer makes of the checks of the projects that it trusts.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{Check, Permissions, Registration, Revocation};
use capability::{Capabilities, Clause, Fact, ProjectKey, Runtime, SecretKey, Timestamp, Verified};
use mesh_core::{Answer, Ask, CallId, KeyChange};
use support::{
    ADAPTER, BROKER, Bench, OTHER_BROKER, PROJECT, START, accepted, key, machine, offered,
    offered_in, outcome, peer, pin, project, result_in,
};
use volunteer_core::{
    Action, CheckEnd, CheckFinding, CheckOrder, DISK_RESERVE, Decline, GiveWay, Input, News, Pause,
    Pin, Sample, Share,
};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn check(name: &str) -> Check {
    Check {
        name: name.to_owned(),
        runtime: Runtime::Native,
        command: vec!["true".to_owned()],
        depends: vec!["tool.make".parse().unwrap()],
    }
}

fn registration_by(signer: &SecretKey, checks: Vec<Check>, days: u32) -> Verified<Registration> {
    let registration = Registration {
        name: "sweep".into(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions { runtimes: vec![Runtime::Native, Runtime::Wasm], network: false },
        checks,
        expires: START + DAY * days,
    };
    Verified::sign(registration, signer)
}

fn registration(checks: Vec<Check>) -> Verified<Registration> {
    registration_by(&key(PROJECT), checks, 10)
}

fn trusting(runtimes: &[Runtime]) -> Input {
    Input::Pins(vec![Pin { runtimes: runtimes.iter().cloned().collect(), ..pin() }])
}

fn with_make(version: &str, cores: u32) -> Capabilities {
    let mut machine = machine(cores);
    let native = machine.runtimes.get_mut(&Runtime::Native).unwrap();
    native.facts.insert("tool.make", version).unwrap();
    machine
}

/// A volunteer at its broker that has been told of `checks`.
fn told(checks: Vec<Check>, cores: u32) -> Bench {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(with_make("4.3", cores)));
    bench.handle(trusting(&[Runtime::Native, Runtime::Wasm]));
    bench.connect(BROKER);
    let (call, asked) = take_question(&mut bench);
    assert_eq!(asked, [project()]);
    bench.answer(call, Answer::Registrations(vec![registration(checks)]));
    bench
}

fn take_question(bench: &mut Bench) -> (CallId, Vec<ProjectKey>) {
    find_question(bench).expect("a question about registrations")
}

fn find_question(bench: &mut Bench) -> Option<(CallId, Vec<ProjectKey>)> {
    bench.find(|action| match action {
        Action::Ask { call, ask: Ask::Registrations { projects }, .. } => {
            Some((*call, projects.clone()))
        }
        _ => None,
    })
}

fn find_run(bench: &mut Bench) -> Option<CheckOrder> {
    bench.find(|action| match action {
        Action::RunCheck(order) => Some(order.clone()),
        _ => None,
    })
}

fn runs(bench: &mut Bench) -> Option<String> {
    find_run(bench).map(|order| order.check.name)
}

fn is_stopped(bench: &mut Bench) -> bool {
    bench.find(|action| matches!(action, Action::StopCheck).then_some(())).is_some()
}

fn passes(bench: &mut Bench, name: &str, output: &str) {
    assert_eq!(runs(bench).as_deref(), Some(name));
    bench.handle(Input::Checked(CheckEnd::Passed(output.into())));
}

/// What the newest ad says of the check `name`, once the broker has taken it.
fn advertised(bench: &mut Bench, name: &str) -> Option<Fact> {
    bench.pass(SECOND);
    let mut newest = None;
    while let Some((call, ad)) = bench.find(|action| match action {
        Action::Ask { call, ask: Ask::Advertise { ad }, .. } => Some((*call, ad.clone())),
        _ => None,
    }) {
        bench.answer(call, Answer::Done);
        newest = Some(ad);
    }
    let ad = newest.expect("a new ad");
    let facts = &ad.capabilities.runtimes[&Runtime::Native].facts;
    facts.get(check(name).fact(project()).as_str()).cloned()
}

fn advertises(bench: &mut Bench) -> bool {
    bench.pass(SECOND);
    let ad = |it: &Action| matches!(it, Action::Ask { ask: Ask::Advertise { .. }, .. });
    bench.seen.iter().any(ad)
}

fn ran_at(bench: &Bench, name: &str) -> Option<Timestamp> {
    bench.volunteer.checks().find(|it| it.check.name == name).expect("such a check").at
}

fn value(bench: &Bench, name: &str) -> Result<Fact, String> {
    bench.volunteer.checks().find(|it| it.check.name == name).expect("such a check").value
}

// From the pin to the ad.

#[test]
fn what_a_check_says_is_in_the_ad_as_soon_as_it_has_run() {
    let mut bench = told(vec![check("make-works")], 2);
    assert_eq!(value(&bench, "make-works"), Err("it runs".into()));
    let order = find_run(&mut bench).unwrap();
    assert_eq!((order.project, order.check), (project(), check("make-works")));
    let limits = order.limits;
    assert_eq!((limits.wall_ms, limits.memory, limits.output), (10_000, 256 << 20, 64 << 10));

    bench.handle(Input::Checked(CheckEnd::Passed(b"42\n".to_vec())));

    let finding = CheckFinding::Value(Fact::Number(42));
    let news = News::Checked { project: project(), check: "make-works".into(), finding };
    assert!(bench.news().contains(&news));
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Number(42)));
    assert_eq!(value(&bench, "make-works"), Ok(Fact::Number(42)));
    assert_eq!(runs(&mut bench), None);
}

#[test]
fn what_is_found_while_an_ad_is_under_way_is_in_the_next_one() {
    let mut bench = told(vec![check("first"), check("second")], 2);
    passes(&mut bench, "first", "true");
    let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
    passes(&mut bench, "second", "true");
    bench.answer(call, Answer::Done);
    assert_eq!(advertised(&mut bench, "second"), Some(Fact::Flag(true)));
}

#[test]
fn an_offer_that_requires_the_fact_is_taken_with_it_and_declined_without() {
    let fact = check("make-works").fact(project());
    let requiring = || {
        let mut offer = offered_in(Runtime::Native, "checked", 1, 1);
        let mut inner = (*offer.offer).clone();
        inner.requirements.clauses.push(Clause::Equals { fact: fact.clone(), value: true.into() });
        offer.offer = Verified::sign(inner, &*key(ADAPTER));
        offer
    };
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "false");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(false)));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![requiring()]));
    assert!(!bench.claims());
    let declined = bench.volunteer.declined().next().unwrap().reason.clone();
    assert!(matches!(declined, Decline::Unmatched(_)), "{declined}");

    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(true)));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![requiring()]));
    assert!(bench.claims());
}

#[test]
fn a_registration_that_comes_with_an_offer_will_do() {
    let mut bench = told(Vec::new(), 2);
    let (call, _) = bench.take_pull();
    let newer = registration_by(&key(PROJECT), vec![check("make-works")], 11);
    let with = mesh_core::Offered { registration: Some(newer), ..offered("sweep", 1, 1) };
    bench.answer(call, Answer::Offers(vec![with]));
    assert_eq!(runs(&mut bench).as_deref(), Some("make-works"));
}

#[test]
fn only_the_newest_registration_of_a_trusted_project_counts() {
    let mut bench = told(vec![check("new")], 2);
    passes(&mut bench, "new", "true");
    assert_eq!(advertised(&mut bench, "new"), Some(Fact::Flag(true)));
    for (signer, days) in [(PROJECT, 9), (9, 11), (PROJECT, 400)] {
        let other = registration_by(&key(signer), vec![check("other")], days);
        let (call, _) = bench.take_pull();
        let with = mesh_core::Offered { registration: Some(other), ..offered("sweep", 1, 9) };
        bench.answer(call, Answer::Offers(vec![with]));
        assert_eq!(runs(&mut bench), None, "signed by {signer}, for {days} days");
        bench.pass(2 * SECOND);
    }
    assert_eq!(bench.volunteer.checks().count(), 1);
}

#[test]
fn a_check_that_the_project_has_no_longer_is_stated_no_longer() {
    let mut bench = told(vec![check("old")], 2);
    passes(&mut bench, "old", "true");
    assert_eq!(advertised(&mut bench, "old"), Some(Fact::Flag(true)));
    bench.pass(600 * SECOND);
    let (call, _) = take_question(&mut bench);
    let newer = registration_by(&key(PROJECT), vec![check("new")], 11);
    bench.answer(call, Answer::Registrations(vec![newer]));
    passes(&mut bench, "new", "true");
    assert_eq!(advertised(&mut bench, "old"), None);
    assert!(!bench.disk.keys().any(|key| key.ends_with(b"old")), "and not kept");
}

#[test]
fn what_a_registration_has_brought_ends_with_it() {
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(true)));
    bench.now.wall = Timestamp(START.0 + 11 * 24 * 3_600_000);
    assert_eq!(advertised(&mut bench, "make-works"), None);
    assert_eq!(bench.volunteer.checks().count(), 0);
}

// When a check runs.

#[test]
fn when_a_check_ran_is_known_as_long_as_that_counts() {
    let mut bench = told(vec![check("fails"), check("make-works")], 2);
    assert_eq!(ran_at(&bench, "make-works"), None);
    bench.pass(7 * SECOND);
    assert_eq!(runs(&mut bench).as_deref(), Some("fails"));
    bench.handle(Input::Checked(CheckEnd::Failed("exited with 1".into())));
    let first = bench.now.wall;
    bench.pass(SECOND);
    passes(&mut bench, "make-works", "true");
    assert_eq!(ran_at(&bench, "fails"), Some(first));
    assert_eq!(ran_at(&bench, "make-works"), Some(bench.now.wall));

    let mut bench = bench.restart();
    bench.handle(Input::Capabilities(with_make("4.3", 2)));
    bench.handle(trusting(&[Runtime::Native]));
    assert_eq!(ran_at(&bench, "fails"), Some(first), "and over a restart");
    bench.handle(Input::Capabilities(with_make("4.4", 2)));
    assert_eq!(ran_at(&bench, "fails"), None, "it is to run again");
    bench.handle(trusting(&[Runtime::Wasm]));
    assert_eq!(ran_at(&bench, "make-works"), None, "it may not run");
}

#[test]
fn a_check_runs_again_when_a_fact_that_it_depends_on_has_changed() {
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(true)));

    let mut other = with_make("4.3", 2);
    let native = other.runtimes.get_mut(&Runtime::Native).unwrap();
    native.facts.insert("tool.cc", "12").unwrap();
    bench.handle(Input::Capabilities(other));
    assert_eq!(runs(&mut bench), None, "it does not depend on that");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(true)));

    bench.handle(Input::Capabilities(with_make("4.4", 2)));
    assert_eq!(advertised(&mut bench, "make-works"), None, "nobody knows at present");
    passes(&mut bench, "make-works", "false");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(false)));

    bench.handle(Input::Capabilities(machine(2)));
    assert_eq!(runs(&mut bench).as_deref(), Some("make-works"), "the fact is gone");
}

#[test]
fn a_check_that_runs_while_its_facts_change_says_nothing() {
    let mut bench = told(vec![check("make-works")], 2);
    assert!(runs(&mut bench).is_some());
    bench.handle(Input::Capabilities(with_make("4.4", 2)));
    assert!(is_stopped(&mut bench));
    assert_eq!(runs(&mut bench), None, "one at a time");
    bench.handle(Input::Checked(CheckEnd::Passed(b"true".to_vec())));
    assert!(value(&bench, "make-works").is_err());
    passes(&mut bench, "make-works", "false");
    assert_eq!(value(&bench, "make-works"), Ok(Fact::Flag(false)));
}

#[test]
fn a_restart_runs_nothing_again() {
    let mut bench = told(vec![check("make-works"), check("fails")], 2);
    assert_eq!(runs(&mut bench).as_deref(), Some("fails"));
    bench.handle(Input::Checked(CheckEnd::Failed("exited with 1".into())));
    passes(&mut bench, "make-works", "yes");

    let mut bench = bench.restart();
    bench.handle(Input::Capabilities(with_make("4.3", 2)));
    bench.handle(trusting(&[Runtime::Native]));
    assert_eq!(runs(&mut bench), None);
    bench.handle(Input::BrokerUp { peer: peer(BROKER) });
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::from("yes")));
    assert_eq!(value(&bench, "fails"), Err("exited with 1".into()));

    bench.handle(Input::Capabilities(with_make("4.4", 2)));
    assert!(runs(&mut bench).is_some(), "it would have been noticed");
}

#[test]
fn the_fact_goes_with_the_pin_and_a_new_pin_runs_the_check_again() {
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(true)));

    bench.handle(Input::Pins(Vec::new()));
    assert_eq!(advertised(&mut bench, "make-works"), None);
    let checks = |key: &[u8]| key[0] == b'k' || key[0] == b'p';
    assert!(!bench.disk.keys().any(|key| checks(key)), "nothing of it is kept");

    bench.handle(trusting(&[Runtime::Native]));
    let (call, _) = take_question(&mut bench);
    bench.answer(call, Answer::Registrations(vec![registration(vec![check("make-works")])]));
    passes(&mut bench, "make-works", "true");
}

#[test]
fn an_unpinned_project_that_a_former_process_knew_is_forgotten_at_the_start() {
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    let records = bench.disk.clone();
    let restored =
        volunteer_core::Volunteer::restore(support::identity(), records, &capability::Ed25519);
    let mut volunteer = restored.unwrap();
    volunteer.handle(Input::Pins(Vec::new()), bench.now);
    assert_eq!(volunteer.checks().count(), 0);
}

#[test]
fn a_check_runs_only_where_the_pin_lets_it() {
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    assert_eq!(advertised(&mut bench, "make-works"), Some(Fact::Flag(true)));

    bench.handle(trusting(&[Runtime::Wasm]));
    assert_eq!(advertised(&mut bench, "make-works"), None);
    bench.handle(Input::Capabilities(with_make("4.4", 2)));
    assert_eq!(runs(&mut bench), None);
    let reason = value(&bench, "make-works").unwrap_err();
    assert!(reason.contains("may not use its runtime"), "{reason}");

    let wasm = Check { runtime: Runtime::Wasm, ..check("module") };
    let mut bench = told(vec![wasm], 2);
    assert_eq!(runs(&mut bench), None, "there is no module");
    assert!(value(&bench, "module").unwrap_err().contains("native runtime only"));
}

#[test]
fn where_the_runtime_does_not_work_no_check_runs() {
    let mut bench = told(vec![check("make-works")], 2);
    passes(&mut bench, "make-works", "true");
    let mut without = machine(2);
    without.runtimes.remove(&Runtime::Native);
    bench.handle(Input::Capabilities(without));
    assert_eq!(runs(&mut bench), None);
    assert!(value(&bench, "make-works").unwrap_err().contains("does not work here"));
}

#[test]
fn nothing_runs_while_the_owner_has_paused_drains_or_the_disk_is_full() {
    let mut bench = told(vec![check("first"), check("second")], 2);
    assert_eq!(runs(&mut bench).as_deref(), Some("first"));
    bench.handle(Input::Pause(Pause::default()));
    assert!(is_stopped(&mut bench));
    bench.handle(Input::Checked(CheckEnd::NotRun("stopped".into())));
    bench.pass(60 * SECOND);
    assert_eq!(runs(&mut bench), None);

    bench.handle(Input::DiskFree(DISK_RESERVE - 1));
    bench.handle(Input::Resume);
    assert_eq!(runs(&mut bench), None);
    bench.handle(Input::DiskFree(DISK_RESERVE));
    passes(&mut bench, "first", "true");
    assert_eq!(runs(&mut bench).as_deref(), Some("second"));

    bench.handle(Input::Drain { until: None });
    assert!(!is_stopped(&mut bench), "what runs may end");
    assert!(!bench.news().contains(&News::Drained), "and is waited for");
    bench.handle(Input::Checked(CheckEnd::NotRun("no thread".into())));
    bench.pass(60 * SECOND);
    assert_eq!(runs(&mut bench), None);
    assert!(bench.news().contains(&News::Drained));
}

#[test]
fn no_check_begins_outside_of_the_hours_and_what_runs_ends() {
    let mut bench = told(vec![check("first"), check("second")], 2);
    bench.handle(Input::OffDuty);
    assert!(!is_stopped(&mut bench));
    passes(&mut bench, "first", "true");
    bench.pass(60 * SECOND);
    assert_eq!(runs(&mut bench), None);
    bench.handle(Input::OnDuty);
    passes(&mut bench, "second", "true");
}

#[test]
fn quitting_stops_the_check() {
    let mut bench = told(vec![check("make-works")], 2);
    bench.handle(Input::Quit);
    assert!(is_stopped(&mut bench));
}

// Keys.

fn void() -> Vec<KeyChange> {
    let revocation = Revocation { key: peer(PROJECT), reason: String::new(), expires: START + DAY };
    vec![KeyChange::Revocation(Verified::sign(revocation, &*key(PROJECT)))]
}

#[test]
fn nothing_runs_or_is_stated_in_the_name_of_a_void_key() {
    let mut bench = told(vec![check("first"), check("second")], 2);
    passes(&mut bench, "first", "true");
    assert_eq!(advertised(&mut bench, "first"), Some(Fact::Flag(true)));
    assert_eq!(runs(&mut bench).as_deref(), Some("second"));

    bench.said = Some(void());
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    assert!(is_stopped(&mut bench));
    bench.handle(Input::Checked(CheckEnd::NotRun("stopped".into())));
    assert_eq!(advertised(&mut bench, "first"), None);
    bench.pass(60 * SECOND);
    assert_eq!(runs(&mut bench), None);
    assert!(value(&bench, "second").unwrap_err().contains("revoked"));
}

#[test]
fn what_a_void_key_registers_is_not_learnt() {
    let mut bench = told(vec![check("old")], 2);
    passes(&mut bench, "old", "true");
    bench.said = Some(void());
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    bench.pass(600 * SECOND);
    let (call, _) = take_question(&mut bench);
    let newer = registration_by(&key(PROJECT), vec![check("new")], 11);
    bench.answer(call, Answer::Registrations(vec![newer]));
    let names: Vec<_> = bench.volunteer.checks().map(|it| it.check.name.clone()).collect();
    assert_eq!(names, ["old"]);
}

#[test]
fn a_check_waits_until_a_broker_has_told_whether_the_key_holds() {
    let mut bench = Bench::new();
    bench.said = None;
    bench.handle(Input::Capabilities(with_make("4.3", 2)));
    bench.handle(trusting(&[Runtime::Native]));
    bench.connect(BROKER);
    let (call, _) = take_question(&mut bench);
    bench.answer(call, Answer::Registrations(vec![registration(vec![check("make-works")])]));
    assert_eq!(runs(&mut bench), None);
    assert!(value(&bench, "make-works").unwrap_err().contains("no broker has told"));

    let (call, ..) = bench.key_questions().remove(0);
    bench.answer(call, Answer::KeyChanges(Vec::new()));
    passes(&mut bench, "make-works", "true");

    bench.handle(Input::Capabilities(with_make("4.4", 2)));
    assert!(runs(&mut bench).is_some());
    bench.pass(25 * 60 * 60 * SECOND);
    bench.handle(Input::Checked(CheckEnd::NotRun("no sandbox".into())));
    bench.pass(60 * SECOND);
    assert_eq!(runs(&mut bench), None, "the answer is too old");
}

// What comes of it.

#[test]
fn a_check_that_fails_makes_no_fact_and_is_not_tried_again() {
    let mut bench = told(vec![check("make-works"), check("garbage")], 2);
    passes(&mut bench, "garbage", "\u{7}");
    assert!(runs(&mut bench).is_some());
    bench.handle(Input::Checked(CheckEnd::Failed("exited with 2: no make".into())));
    assert!(!advertises(&mut bench), "there is nothing new to say");
    bench.pass(3600 * SECOND);
    assert_eq!(runs(&mut bench), None);
    assert_eq!(value(&bench, "make-works"), Err("exited with 2: no make".into()));
    assert!(value(&bench, "garbage").unwrap_err().contains("control characters"));
}

#[test]
fn a_check_that_could_not_be_run_is_tried_again_after_ever_longer_waits() {
    let mut bench = told(vec![check("make-works")], 2);
    for wait in [5, 10, 20, 40] {
        assert!(runs(&mut bench).is_some(), "before {wait}");
        bench.handle(Input::Checked(CheckEnd::NotRun("no sandbox".into())));
        bench.pass(SECOND * (wait - 1));
        assert_eq!(runs(&mut bench), None, "within {wait}");
        bench.pass(SECOND);
    }
    let reason = value(&bench, "make-works").unwrap_err();
    assert_eq!(reason, "it runs");
    bench.handle(Input::Checked(CheckEnd::NotRun("no sandbox".into())));
    let reason = value(&bench, "make-works").unwrap_err();
    assert_eq!(reason, "it could not be run and is tried again: no sandbox");
}

#[test]
fn what_checks_say_does_not_keep_a_machine_from_advertising() {
    let checks = |n: u8| (0..16).map(|i| check(&format!("{n}-{i}"))).collect::<Vec<_>>();
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(with_make("4.3", 2)));
    let pin = |n| Pin { project: peer(n).into(), runtimes: [Runtime::Native].into(), ..pin() };
    bench.handle(Input::Pins((10..20).map(pin).collect()));
    bench.connect(BROKER);
    let (call, asked) = take_question(&mut bench);
    assert_eq!(asked.len(), 10);
    let all = (10..20).map(|n| registration_by(&key(n), checks(n), 10)).collect();
    bench.answer(call, Answer::Registrations(all));
    while runs(&mut bench).is_some() {
        bench.handle(Input::Checked(CheckEnd::Passed(vec![b'x'; 256])));
    }
    advertised(&mut bench, "");
    let stated = bench.volunteer.checks().filter(|check| check.value.is_ok()).count();
    let told: Vec<_> = bench.volunteer.checks().filter_map(|it| it.value.err()).collect();
    assert_eq!((stated, stated + told.len()), (54, 160), "16 KiB of some 300 bytes each");
    assert!(told.iter().all(|why| why == "the ad has no room for it"), "{told:?}");
}

// Beside jobs.

#[test]
fn a_check_takes_the_next_free_core_before_any_new_job() {
    let mut bench = told(Vec::new(), 1);
    let orders = bench.run_offer(&offered("sweep", 4, 1));
    assert_eq!(orders.len(), 1);
    bench.pass(600 * SECOND);
    let (call, _) = take_question(&mut bench);
    let newer = registration_by(&key(PROJECT), vec![check("make-works")], 11);
    bench.answer(call, Answer::Registrations(vec![newer]));
    assert_eq!(runs(&mut bench), None, "all that is donated is in use");

    let lease = orders[0].lease;
    let ended = capability::statements::Ended::Passed;
    bench.ran(lease, outcome(ended));
    assert!(runs(&mut bench).is_some());
    bench.pass(SECOND);
    assert_eq!(bench.find_pull(), None, "there is no core left for a job");
    bench.handle(Input::Checked(CheckEnd::Failed("exited with 1".into())));
    bench.pass(SECOND);
    assert!(bench.find_pull().is_some());
    let (_, bundle) = bench.take_handover();
    bench.receive(accepted(&result_in(&bundle)));
}

#[test]
fn no_check_takes_the_core_that_a_claim_is_about() {
    let mut bench = told(Vec::new(), 1);
    let newer = registration_by(&key(PROJECT), vec![check("make-works")], 11);
    bench.pass(600 * SECOND);
    let (question, _) = take_question(&mut bench);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("sweep", 9, 1)]));
    let (call, _) = bench.take_claim();
    bench.answer(question, Answer::Registrations(vec![newer]));
    assert_eq!(runs(&mut bench), None);
    bench.answer(call, Answer::Refused(mesh_core::Refusal::NoTask));
    passes(&mut bench, "make-works", "true");
}

#[test]
fn a_check_that_lacks_memory_keeps_no_job_from_the_cores_that_are_free() {
    let mut bench = told(Vec::new(), 2);
    let mut small = with_make("4.3", 2);
    small.resources.memory = capability::Limits::default().memory + (100 << 20);
    bench.handle(Input::Capabilities(small));
    advertised(&mut bench, "");
    bench.run_offer(&offered("sweep", 1, 1));
    bench.pass(600 * SECOND);
    let (call, _) = take_question(&mut bench);
    let newer = registration_by(&key(PROJECT), vec![check("make-works")], 11);
    bench.answer(call, Answer::Registrations(vec![newer]));
    assert_eq!(runs(&mut bench), None);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(Vec::new()));
    bench.pass(2 * SECOND);
    assert!(bench.find_pull().is_some());
}

#[test]
fn a_project_changes_its_checks_every_ten_minutes_at_most() {
    let mut bench = told(Vec::new(), 2);
    for (minute, days) in (11..).enumerate().take(10) {
        let newer = registration_by(&key(PROJECT), vec![check(&format!("at-{minute}"))], days);
        let (call, _) = bench.take_pull();
        let with = mesh_core::Offered { registration: Some(newer), ..offered("sweep", 1, 9) };
        bench.answer(call, Answer::Offers(vec![with]));
        let first = (minute == 0).then_some("at-0");
        assert_eq!(runs(&mut bench).as_deref(), first, "after {minute} min");
        bench.handle(Input::Checked(CheckEnd::Failed("exited with 1".into())));
        bench.pass(60 * SECOND);
    }
    let (call, _) = take_question(&mut bench);
    let newer = registration_by(&key(PROJECT), vec![check("later")], 30);
    bench.answer(call, Answer::Registrations(vec![newer]));
    passes(&mut bench, "later", "true");
}

#[test]
fn a_registration_that_is_soon_over_brings_no_other_sooner() {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(with_make("4.3", 2)));
    bench.handle(trusting(&[Runtime::Native]));
    bench.connect(BROKER);
    let brief = |minutes: u32| {
        let brief = (*registration(vec![check("brief")])).clone();
        let brief = Registration { expires: START + 60 * SECOND * minutes, ..brief };
        Verified::sign(brief, &*key(PROJECT))
    };
    let (call, _) = take_question(&mut bench);
    bench.answer(call, Answer::Registrations(vec![brief(1)]));
    bench.pass(7 * 60 * SECOND);
    let with = mesh_core::Offered { registration: Some(brief(8)), ..offered("sweep", 1, 9) };
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![with]));
    assert!(runs(&mut bench).is_some());
    bench.handle(Input::Checked(CheckEnd::Failed("exited with 1".into())));
    bench.pass(7 * 60 * SECOND);
    assert_eq!(bench.volunteer.checks().count(), 0);
    bench.seen.retain(|action| !matches!(action, Action::RunCheck(_)));
    let next = registration_by(&key(PROJECT), vec![check("next")], 20);
    let with = mesh_core::Offered { registration: Some(next), ..offered("sweep", 1, 9) };
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![with]));
    assert_eq!(runs(&mut bench), None);
}

// Questions.

#[test]
fn a_project_that_the_broker_does_not_know_is_asked_for_soon_and_one_that_it_knows_later() {
    let mut bench = Bench::ready(2);
    for wait in [2, 4, 8, 16, 32, 60, 60] {
        let (call, _) = take_question(&mut bench);
        bench.answer(call, Answer::Registrations(Vec::new()));
        bench.pass(SECOND * (wait - 1));
        assert_eq!(find_question(&mut bench), None, "within {wait} s");
        bench.pass(SECOND);
    }
    let (call, _) = take_question(&mut bench);
    bench.answer(call, Answer::Registrations(vec![registration(Vec::new())]));
    bench.pass(599 * SECOND);
    assert_eq!(find_question(&mut bench), None);
    bench.pass(SECOND);
    let (call, _) = take_question(&mut bench);
    bench.answer(call, Answer::Refused(mesh_core::Refusal::Invalid("what?".into())));
    bench.pass(599 * SECOND);
    assert_eq!(find_question(&mut bench), None, "it will not understand it sooner");
}

#[test]
fn a_new_primary_is_asked_at_once_and_a_new_pin_asks_too() {
    let mut bench = told(Vec::new(), 2);
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    assert_eq!(find_question(&mut bench), None);
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    let (call, _) = take_question(&mut bench);
    bench.answer(call, Answer::Registrations(vec![registration(Vec::new())]));

    let other = Pin { project: peer(9).into(), ..pin() };
    bench.handle(Input::Pins(vec![pin(), other]));
    assert_eq!(take_question(&mut bench).1, [peer(9).into()]);
}

#[test]
fn many_projects_are_asked_about_in_turns() {
    let mut bench = Bench::new();
    let pin = |n| Pin { project: peer(n).into(), ..pin() };
    bench.handle(Input::Pins((10..50).map(pin).collect()));
    bench.handle(Input::BrokerUp { peer: peer(BROKER) });
    let mut asked = Vec::new();
    while let Some((call, projects)) = find_question(&mut bench) {
        asked.push(projects.len());
        bench.answer(call, Answer::Registrations(Vec::new()));
    }
    assert_eq!(asked, [15, 15, 10]);
}

#[test]
fn a_check_stops_for_a_job_where_the_owner_lends_a_core_for_one_of_them() {
    let mut bench = told(vec![check("make")], 3);
    assert!(runs(&mut bench).is_some());
    let lease = bench.run_offer(&offered("a", 1, 1)).remove(0).lease;
    let mut lend = |cores| {
        let meanwhile = Some(Share { cores, memory: u64::MAX });
        bench.handle(Input::GiveWay(GiveWay { meanwhile, ..GiveWay::default() }));
        let program = Some("chess".to_owned());
        bench.handle(Input::Sampled(Sample { program, ..Sample::default() }));
        let suspends = |it: &Action| *it == Action::Suspend { lease };
        (is_stopped(&mut bench), bench.seen.iter().any(suspends))
    };
    assert_eq!(lend(2), (false, false), "enough for both");
    assert_eq!(lend(1), (true, false), "it is tried again, and a job would lose time");
}
