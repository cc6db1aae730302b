//! What becomes of a lease, from its grant to its end.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::Timestamp;
use capability::statements::{Ended, Intent};
use mesh_core::{Answer, Ask, ChannelRefusal};
use support::{BROKER, Bench, OTHER_BROKER, offered, outcome, peer, renewals};
use volunteer_core::{Action, Input, News, Stage};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn leases_of_one_offer_are_renewed_together_every_ten_seconds() {
    let mut bench = Bench::ready(2);
    bench.run_offer(&offered("a", 2, 1));
    bench.pass(10 * SECOND - Duration::from_millis(1));
    assert_eq!(renewals(&mut bench).len(), 0);

    bench.pass(Duration::from_millis(1));
    let first = renewals(&mut bench);
    assert_eq!((first.len(), first[0].leases.len(), first[0].intent), (1, 2, Intent::Keep));

    bench.pass(10 * SECOND);
    assert_eq!(renewals(&mut bench).len(), 1);
}

#[test]
fn each_renewal_is_newer_than_the_last_although_the_clock_was_set_back() {
    let mut bench = Bench::ready(1);
    bench.run_offer(&offered("a", 1, 1));
    bench.pass(10 * SECOND);
    let first = renewals(&mut bench).remove(0);
    bench.now.wall = Timestamp(bench.now.wall.0 - 3_600_000);
    bench.pass(10 * SECOND);
    let second = renewals(&mut bench).remove(0);
    assert!(second.issued > first.issued);
    assert!(second.expires < first.expires, "it is as fresh as the clock says");
}

#[test]
fn a_renewal_that_was_lost_is_repeated_within_the_term() {
    let mut bench = Bench::ready(1);
    bench.run_offer(&offered("a", 1, 1));
    bench.pass(10 * SECOND);
    let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    bench.fail(call);
    bench.pass(3 * SECOND);
    assert_eq!(renewals(&mut bench).len(), 1);
}

#[test]
fn the_job_of_a_lapsed_lease_goes_on_and_its_result_is_sent() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.pass(10 * SECOND);
    let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    bench.answer(call, Answer::Renewed { lapsed: vec![order.lease] });

    let lapsed = |news: &News| matches!(news, News::Lapsed { .. });
    assert!(bench.news().iter().any(lapsed));
    let job = bench.volunteer.jobs().next().unwrap();
    assert_eq!((job.stage, job.lapsed), (Stage::Running, true));
    bench.pass(60 * SECOND);
    assert_eq!(renewals(&mut bench).len(), 0);

    bench.ran(order.lease, outcome(Ended::Passed));
    bench.take_handover();
}

#[test]
fn a_job_is_watched_by_its_offers_signer_while_its_lease_lives() {
    let mut bench = Bench::ready(1);
    let offer = offered("a", 1, 1);
    let order = bench.run_offer(&offer).remove(0);
    let watcher = |bench: &Bench, broker| bench.volunteer.watcher(peer(broker), order.lease);
    assert_eq!(watcher(&bench, BROKER), Ok(offer.offer.signer()));
    assert_eq!(watcher(&bench, 9), Err(ChannelRefusal::Nobody), "no broker of ours asks");
    let other = bench.volunteer.watcher(peer(BROKER), offer.offer.id());
    assert_eq!(other, Err(ChannelRefusal::Nobody), "that is no lease of ours");

    bench.pass(10 * SECOND);
    let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    bench.answer(call, Answer::Renewed { lapsed: vec![order.lease] });
    assert_eq!(watcher(&bench, BROKER), Err(ChannelRefusal::Nobody), "the lease has lapsed");
}

#[test]
fn a_task_begins_once_its_lease_is_durable() {
    let mut bench = Bench::ready(1);
    let offer = offered("a", 1, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    let (call, claim) = bench.take_claim();
    bench.slow_disk = true;
    bench.grant(call, &claim, 0, 1);
    bench.fetched(&offer.offer);
    assert!(bench.find(|it| matches!(it, Action::Run(_)).then_some(())).is_none());

    bench.finish_commits();
    bench.take_order();
}

#[test]
fn a_lease_without_a_package_is_released_after_three_tries() {
    let mut bench = Bench::ready(1);
    let offer = offered("a", 1, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    let (call, claim) = bench.take_claim();
    bench.grant(call, &claim, 0, 1);
    for _ in 0..3 {
        assert_eq!(renewals(&mut bench).len(), 0, "released too early");
        bench.take(|it| matches!(it, Action::Fetch { .. }).then_some(()));
        let (hash, fetched) = (offer.offer.package.hash, Err("absent".to_owned()));
        bench.handle(Input::Fetched { hash, fetched });
        bench.pass(4 * SECOND);
    }

    assert_eq!(renewals(&mut bench)[0].intent, Intent::Release);
    assert_eq!(bench.volunteer.jobs().count(), 0);
}

#[test]
fn a_fetch_is_tried_again_in_time_beside_a_job_that_runs_for_long() {
    let mut bench = Bench::ready(2);
    let long = offered("long", 1, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![long.clone()]));
    let (call, claim) = bench.take_claim();
    bench.grant(call, &claim, 0, 1);
    bench.fetched(&long.offer);
    for _ in 0..70 {
        bench.pass(10 * SECOND);
        renewals(&mut bench);
    }
    let (hash, fetched) = (offered("b", 1, 1).offer.package.hash, Err("absent".to_owned()));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("b", 1, 1)]));
    let (call, claim) = bench.take_claim();
    bench.grant(call, &claim, 0, 1);
    bench.take(|it| matches!(it, Action::Fetch { .. }).then_some(()));
    bench.handle(Input::Fetched { hash, fetched });

    let wake = bench.volunteer.next_wake().unwrap();
    assert!(wake - bench.now.mono <= SECOND, "sleeps through the retry");
}

#[test]
fn a_new_process_releases_the_leases_of_the_one_that_was_killed() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);

    let mut bench = bench.restart();
    bench.connect(BROKER);

    let released = renewals(&mut bench);
    assert_eq!((released.len(), released[0].intent), (1, Intent::Release));
    assert_eq!(released[0].leases, [order.lease]);
    bench.pass(60 * SECOND);
    assert_eq!(renewals(&mut bench).len(), 0, "released once");
    let (_, wants) = bench.take_pull();
    assert_eq!(wants.free.cores, 2, "nothing is held any more");
}

#[test]
fn another_broker_takes_over_at_once_with_a_new_ad() {
    let mut bench = Bench::ready(1);
    let first_seq = bench.news().into_iter().find_map(|news| match news {
        News::AdSent { seq, .. } => Some(seq),
        _ => None,
    });
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    assert_eq!(bench.volunteer.primary(), Some(peer(BROKER)), "the first remains");

    bench.handle(Input::BrokerDown { peer: peer(BROKER) });

    let (call, ask) = bench.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
    let Ask::Advertise { ad } = ask else { unreachable!() };
    assert_eq!(ad.broker, peer(OTHER_BROKER));
    assert!(Some(ad.seq) > first_seq);
    bench.find_pull();
    bench.answer(call, Answer::Done);
    assert!(bench.find_pull().is_some());
}

#[test]
fn leases_are_kept_by_way_of_the_new_primary() {
    let mut bench = Bench::ready(1);
    bench.run_offer(&offered("a", 1, 1));
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    let to = bench.take(|action| match action {
        Action::Ask { to, ask: Ask::Renew { .. }, .. } => Some(*to),
        _ => None,
    });
    assert_eq!(to, peer(OTHER_BROKER));
}
