//! What the owner is told about one project, or one job.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::{Policy, ProjectKey, Signer};
use mesh_core::{Answer, Refusal};
use support::{BROKER, Bench, key, machine, offered, pin, project};
use volunteer_core::{Input, Pause, Stage};

/// Every reason, in words.
fn why_not(bench: &Bench, project: ProjectKey) -> Vec<String> {
    bench.volunteer.why_not(project).iter().map(ToString::to_string).collect()
}

fn show(bench: &mut Bench, offer: mesh_core::Offered) {
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer]));
}

const NOTHING: &str = "no broker shows an open offer of it that this machine could run";

#[test]
fn a_project_that_nothing_speaks_against_has_no_open_offer() {
    assert_eq!(why_not(&Bench::ready(1), project()), [NOTHING]);
}

#[test]
fn what_concerns_all_projects_comes_before_what_concerns_one() {
    let mut bench = Bench::new();
    bench.said = None;
    bench.handle(Input::Capabilities(machine(1)));
    let mut pin = pin();
    pin.runtimes = ["docker".parse().unwrap()].into();
    bench.handle(Input::Pins(vec![pin]));
    let unconfirmed = "no broker has told within a day whether its key still holds";
    let runtime = "it may use docker, and this machine offers none of that";
    assert_eq!(why_not(&bench, project()), ["no broker is connected", unconfirmed, runtime]);

    bench.handle(Input::Pause(Pause::default()));
    let stranger = key(9).public().into();
    let expected = ["paused by the owner", "it is not trusted on this machine"];
    assert_eq!(why_not(&bench, stranger), expected);
}

#[test]
fn a_declined_offer_is_told_to_its_own_project_alone() {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(machine(2)));
    let policy = "[policy]\nduration = { at-most = \"1m\" }";
    bench.handle(Input::Policy(Policy::read(policy).unwrap()));
    bench.handle(Input::Pins(vec![pin()]));
    bench.connect(BROKER);
    show(&mut bench, offered("nightly", 1, 1));

    let expected = "nightly is declined: your policy says no: needs duration of at most 1m, \
                    this offer has 10m";
    assert_eq!(why_not(&bench, project()), [expected]);
    assert_eq!(why_not(&bench, key(9).public().into()), ["it is not trusted on this machine"]);
}

#[test]
fn a_claim_in_vain_says_when_it_is_tried_again_and_why() {
    let mut bench = Bench::ready(1);
    show(&mut bench, offered("nightly", 1, 1));
    let (call, _) = bench.take_claim();
    bench.answer(call, Answer::Refused(Refusal::NotHome));
    let [reason] = &why_not(&bench, project())[..] else { panic!("one reason") };
    let expected = format!("nightly was tried, and is tried again in 1 s: {}", Refusal::NotHome);
    assert_eq!(*reason, expected);
    bench.pass(Duration::from_secs(2));
    assert_eq!(why_not(&bench, project()), [NOTHING]);
}

#[test]
fn a_job_in_hand_says_why_it_was_taken_although_the_policy_is_another_now() {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(machine(2)));
    let policy = |text: &str| Policy::read(&format!("[policy]\n{text}")).unwrap();
    bench.handle(Input::Policy(policy("duration = { at-most = \"1h\" }")));
    bench.handle(Input::Pins(vec![pin()]));
    bench.connect(BROKER);
    let offer = offered("nightly", 1, 1);
    let (call, claim) = bench.claim_of(&offer);
    bench.answer(call, Answer::Leases(support::leases(&claim, 0, 1)));
    let leased = bench.now.wall;
    bench.handle(Input::Policy(policy("duration = { at-most = \"1m\" }")));
    bench.pass(Duration::from_secs(5));

    let job = bench.volunteer.jobs().next().unwrap();
    assert_eq!((job.stage, job.since, job.lacks_package), (Stage::Waiting, leased, true));
    assert_eq!(job.offer.name, "nightly");
    let grounds = job.grounds;
    assert_eq!(grounds.permitted, pin().runtimes);
    let [clause] = &grounds.policy[..] else { panic!("{grounds:?}") };
    assert!(clause.holds && clause.has() == "10m", "{clause}");
    let compared = grounds.requirements.as_ref().unwrap();
    let inside = compared.inside.as_ref().unwrap();
    assert_eq!(inside.to_string(), "could run it\n  yes  1 core  2");
    let full = "tasks in hand have all that you donate just now: 1";
    assert!(!why_not(&bench, project()).contains(&full.to_owned()), "a core is free");
}
