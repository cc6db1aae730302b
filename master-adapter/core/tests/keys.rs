//! A master whose keys change.

#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]
mod support;

use std::time::Duration;

use master_core::{Input, News};
use mesh_core::{Answer, Ask, CallFailed, HandoverAnswer};
use support::{Bench, Draft, TestKey, home, job, key, revocation, standby};

/// Its own node, and its project.
fn node() -> TestKey {
    key(2)
}

fn project() -> TestKey {
    key(1)
}

/// Every question that was not looked at yet, as words.
fn questions(bench: &mut Bench) -> Vec<&'static str> {
    let asked = std::iter::from_fn(|| bench.asked());
    let word = |ask: &Ask| match ask {
        Ask::Declare { .. } => "declare",
        Ask::Publish { .. } => "publish",
        _ => "other",
    };
    asked.map(|(_, _, ask)| word(&ask)).collect()
}

#[test]
fn every_broker_is_told_before_anything_else_and_until_it_acknowledges() {
    let mut bench = Bench::new();
    bench.submit(job(1)).expect("a sound job");
    bench.give(Input::Declare(vec![revocation(key(9), project())]));
    bench.up(&home());
    bench.up(&standby());
    let mut told = Vec::new();
    while let Some((to, call, ask)) = bench.asked() {
        assert!(matches!(ask, Ask::Declare { .. }), "not before: {ask:?}");
        told.push((to, call));
    }
    assert_eq!(told.len(), 2);
    bench.answer(told[0].1, Ok(Answer::Done));
    assert_eq!(questions(&mut bench), ["publish"]);
    bench.answer(told[1].1, Err(CallFailed("it is gone".into())));
    assert_eq!(questions(&mut bench), ["publish"], "nor is anything held up for it");
    bench.pass(Duration::from_secs(1));
    assert_eq!(questions(&mut bench), ["declare"]);
}

#[test]
fn a_revoked_node_tells_of_it_and_does_nothing_else_any_more() {
    let (mut bench, offer) = Bench::with_job(2);
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    questions(&mut bench);
    bench.give(Input::Declare(vec![revocation(node(), project())]));
    assert!(bench.news().contains(&News::Revoked));
    assert_eq!(questions(&mut bench), ["declare"]);

    let delivered = bench.deliver(&Draft::new(&offer, 1, 1).sign());
    assert!(matches!(delivered, Some(HandoverAnswer::Refused(_))), "{delivered:?}");
    assert_eq!(bench.submit(job(1)), None);
    bench.down(&home());
    bench.up(&home());
    bench.pass(Duration::from_secs(120));
    assert!(!questions(&mut bench).contains(&"publish"));

    bench.give(Input::Declare(Vec::new()));
    assert!(bench.master.is_revoked(), "nothing takes it back");
}

#[test]
fn a_stranger_revokes_no_master() {
    let mut bench = Bench::new();
    bench.give(Input::Declare(vec![revocation(node(), key(9))]));
    assert!(!bench.master.is_revoked() && bench.submit(job(1)).is_some());
}
