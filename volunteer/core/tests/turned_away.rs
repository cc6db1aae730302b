//! What a volunteer does when a broker has no time, or no use, for it.

mod support;

use std::time::Duration;

use capability::statements::Ownership;
use capability::{Signer, Verified};
use mesh_core::{Answer, Ask, Refusal};
use support::*;
use volunteer_core::{Action, Input};

const SECOND: Duration = Duration::from_secs(1);

/// Whether a pull is sent within `time`, at a broker that takes every ad.
fn pulls_within(bench: &mut Bench, time: Duration) -> bool {
    (0..time.as_millis() / 100).any(|_| {
        bench.pass(Duration::from_millis(100));
        if let Some(call) = bench.find(|action| match action {
            Action::Ask { call, ask: Ask::Advertise { .. }, .. } => Some(*call),
            _ => None,
        }) {
            bench.answer(call, Answer::Done);
        }
        bench.find_pull().is_some()
    })
}

#[test]
fn a_broker_that_asks_for_time_gets_it_but_not_for_ever() {
    for (asked, silent, heard) in [(20_000, 19, 3), (u32::MAX, 5 * 60 - 1, 3)] {
        let mut bench = Bench::ready(1);
        let (call, _) = bench.take_pull();
        bench.answer(call, Answer::Refused(Refusal::SlowDown(asked)));
        assert!(!pulls_within(&mut bench, silent * SECOND), "{asked} ms");
        assert!(pulls_within(&mut bench, heard * SECOND), "{asked} ms");
    }
}

#[test]
fn a_volunteer_that_is_sent_elsewhere_turns_to_its_other_broker_and_not_back_and_forth() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    let (call, _) = bench.take_pull();
    let elsewhere = || Answer::Refused(Refusal::Elsewhere(Vec::new()));
    bench.answer(call, elsewhere());
    assert_eq!(bench.volunteer.primary(), Some(peer(OTHER_BROKER)));
    let (call, ask) = bench.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
    assert!(matches!(ask, Ask::Advertise { ad } if ad.broker == peer(OTHER_BROKER)));
    bench.answer(call, elsewhere());
    assert_eq!(bench.volunteer.primary(), Some(peer(OTHER_BROKER)), "the first one is leaving too");
}

#[test]
fn a_volunteer_that_is_not_admitted_shows_its_owner_once() {
    let mut bench = Bench::ready(1);
    let (owner, me) = (key(99), key(ME).public());
    let ownership = Ownership { nodes: vec![me], expires: START + 3600 * SECOND };
    let ownership = Verified::sign(ownership, owner.as_ref());
    bench.handle(Input::Owner(Some(ownership.clone())));
    let refused = || Answer::Refused(Refusal::NotAdmitted("only friends".to_owned()));
    let (call, _) = bench.take_pull();
    bench.answer(call, refused());
    let (call, ask) = bench.take_ask(|ask| matches!(ask, Ask::Vouch { .. }));
    assert_eq!(ask, Ask::Vouch { ownership });
    bench.answer(call, Answer::Done);
    let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
    bench.answer(call, refused());
    let shown =
        bench.find(|it| matches!(it, Action::Ask { ask: Ask::Vouch { .. }, .. }).then_some(()));
    assert_eq!(shown, None, "it did not help");
}
