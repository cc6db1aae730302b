//! When a volunteer takes nothing: a full disk, the wrong hour, its owner, its own failures.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{Ended, Intent};
use mesh_core::{Answer, Refusal};
use support::{BROKER, Bench, offered, outcome, peer, renewals};
use volunteer_core::{Action, DISK_RESERVE, Idle, Input, News, Pause};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn nothing_is_taken_while_the_disk_is_full_or_the_owner_has_paused() {
    let mut bench = Bench::ready(1);
    let (call, _) = bench.take_pull();
    bench.handle(Input::DiskFree(DISK_RESERVE - 1));
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 1)]));
    assert!(!bench.claims());
    assert!(matches!(bench.volunteer.idle(), Some(Idle::DiskLow { .. })));
    bench.handle(Input::DiskFree(u64::MAX));
    bench.pass(SECOND);

    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.handle(Input::Pause(Pause::default()));
    bench.take(|it| (*it == Action::Suspend { lease: order.lease }).then_some(()));
    assert_eq!(bench.volunteer.idle(), Some(Idle::Paused(Pause::default())));
    bench.pass(10 * SECOND);
    assert_eq!(renewals(&mut bench).len(), 1, "a paused lease is kept");
    bench.handle(Input::Resume);
    bench.take(|it| (*it == Action::Proceed { lease: order.lease }).then_some(()));
}

#[test]
fn outside_of_its_hours_a_machine_takes_nothing_new_and_finishes_what_it_has() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.handle(Input::OffDuty);
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::OffDuty));
    assert_eq!(bench.volunteer.idle(), None, "it still works on what it has");
    bench.pass(10 * SECOND);
    assert_eq!(renewals(&mut bench).len(), 1);
    bench.ran(order.lease, outcome(Ended::Passed));
    assert!(bench.find_handover().is_some());
    bench.pass(60 * SECOND);
    assert_eq!((bench.find_pull(), bench.claims()), (None, false));
    assert_eq!(bench.volunteer.idle(), Some(Idle::OffDuty));

    bench.handle(Input::OnDuty);
    bench.run_offer(&offered("b", 1, 1));
}

#[test]
fn an_offer_that_comes_after_the_hours_is_not_claimed() {
    let mut bench = Bench::ready(1);
    let (call, _) = bench.take_pull();
    bench.handle(Input::OffDuty);
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 1)]));
    assert!(!bench.claims());
    bench.handle(Input::OnDuty);
    bench.pass(SECOND);
    bench.run_offer(&offered("a", 1, 1));
}

/// What one task of a job called `name` takes of the disk: its limit, and its package once.
const TASK_DISK: u64 = 1 << 30;
const PACKAGE_DISK: u64 = 1000;

#[test]
fn a_task_is_claimed_once_the_disk_has_room_for_it_beside_the_reserve() {
    let mut bench = Bench::ready(4);
    let offer = offered("a", 9, 1);
    let room = DISK_RESERVE + TASK_DISK + PACKAGE_DISK;
    bench.handle(Input::DiskFree(room - 1));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));

    assert!(!bench.claims());
    let idle = bench.volunteer.idle().unwrap();
    assert_eq!(idle, Idle::DiskShort { free: room - 1, needed: room });
    assert!(idle.to_string().contains("the smallest waiting job needs 1.3 GiB"), "{idle}");
    bench.pass(SECOND);
    let (_, wants) = bench.take_pull();
    assert_eq!(wants.except, [offer.offer.id()], "shown again although nothing has changed");

    bench.handle(Input::DiskFree(room));
    let (call, wants) = bench.take_pull();
    assert_eq!(wants.except, []);
    bench.answer(call, Answer::Offers(vec![offer]));
    assert_eq!(bench.take_claim().1.count, 1, "four cores, and disk space for one task");
}

#[test]
fn what_is_in_hand_may_come_to_take_its_whole_disk_limit() {
    let mut bench = Bench::ready(2);
    let room_for_one = DISK_RESERVE + TASK_DISK + PACKAGE_DISK;
    bench.handle(Input::DiskFree(room_for_one));
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    let second = offered("b", 1, 1);
    bench.handle(Input::DiskFree(room_for_one + TASK_DISK - 1));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![second.clone()]));
    assert!(!bench.claims());

    bench.ran(order.lease, outcome(Ended::Passed));
    bench.pass(SECOND);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![second]));
    assert!(bench.claims());
}

#[test]
fn an_offer_that_the_disk_had_no_room_for_is_looked_at_again_and_forgotten() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::DiskFree(DISK_RESERVE));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 1)]));
    bench.pass(59 * SECOND);
    assert_eq!(bench.take_pull().1.except.len(), 1);
    bench.pass(SECOND);
    assert_eq!(bench.take_pull().1.except, [], "it may be over by now");
    assert!(matches!(bench.volunteer.idle(), Some(Idle::DiskShort { .. })));
    bench.pass(30 * SECOND);
    assert!(matches!(bench.volunteer.idle(), Some(Idle::NothingSuits { .. })));
}

/// Runs a job called `name` to `ended`; gives how many tasks of it were claimed.
fn run_to(bench: &mut Bench, name: &str, ended: &Ended) -> usize {
    let orders = bench.run_offer(&offered(name, 9, 1));
    for order in &orders {
        bench.ran(order.lease, outcome(ended.clone()));
    }
    bench.pass(SECOND);
    orders.len()
}

/// The rests that began since it was asked last, in seconds.
fn rests(bench: &mut Bench) -> Vec<u64> {
    let rests = bench.news().into_iter().filter_map(|news| match news {
        News::BacksOff { rest, .. } => Some(rest.as_secs()),
        _ => None,
    });
    rests.collect()
}

#[test]
fn a_machine_that_fails_job_after_job_takes_longer_and_longer_rests() {
    let mut bench = Bench::ready(2);
    let broken = Ended::Machine("no storage space".into());
    assert_eq!(run_to(&mut bench, "a", &broken), 2);
    assert_eq!(rests(&mut bench), [0; 0]);
    // Two at once, of which one is the third: the fourth had begun before the rest.
    assert_eq!(run_to(&mut bench, "b", &broken), 2);
    assert_eq!(rests(&mut bench), [60]);
    let why = bench.volunteer.idle().unwrap().to_string();
    let expected = "4 jobs in a row have failed because of this machine, so nothing new is taken \
                    for another 59 s: no storage space";
    assert_eq!(why, expected);
    bench.pass(58 * SECOND);
    assert_eq!(bench.find_pull(), None);

    for expected in [120, 240, 480, 960, 1920, 3600, 3600] {
        bench.pass(SECOND);
        assert_eq!(bench.volunteer.obstacle(), None);
        assert_eq!(run_to(&mut bench, &format!("{expected}"), &broken), 1, "one shows enough");
        assert_eq!(rests(&mut bench), [expected]);
        bench.pass((u32::try_from(expected).unwrap() - 2) * SECOND);
        assert_eq!(bench.find_pull(), None);
    }

    bench.pass(SECOND);
    assert_eq!(run_to(&mut bench, "mended", &Ended::Failed), 1);
    assert_eq!(run_to(&mut bench, "c", &broken), 2, "the machine works");
    assert_eq!(rests(&mut bench), [0; 0]);
}

#[test]
fn nothing_is_claimed_beside_the_task_that_shows_whether_the_machine_works_again() {
    let mut bench = Bench::ready(3);
    assert_eq!(run_to(&mut bench, "a", &Ended::Machine("broken".into())), 3);
    bench.pass(60 * SECOND);
    assert_eq!(bench.run_offer(&offered("b", 9, 1)).len(), 1);
    bench.pass(10 * SECOND);
    assert_eq!(bench.find_pull(), None);
}

#[test]
fn what_is_said_of_an_idle_machine_is_true_whatever_the_broker_shows() {
    let mut bench = Bench::ready(1);
    let said = |bench: &Bench| bench.volunteer.idle().unwrap().to_string();
    assert_eq!(said(&bench), "no open task suits this machine");

    let (call, _) = bench.take_pull();
    let (big, dry) = (offered("big", 1, 2), offered("dry", 1, 1));
    bench.answer(call, Answer::Offers(vec![big, dry]));
    let (call, _) = bench.take_claim();
    bench.answer(call, Answer::Refused(Refusal::NoTask));
    let expected = "no open task suits this machine; offers declined: 1; tried in vain just now: 1";
    assert_eq!(said(&bench), expected);
}

#[test]
fn a_machine_that_drains_or_pauses_says_so_beside_its_jobs() {
    let mut bench = Bench::ready(1);
    bench.run_offer(&offered("a", 1, 1));
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (None, None));
    bench.handle(Input::Drain { until: None });
    assert_eq!(bench.volunteer.idle(), None);
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Draining(None)));
}

#[test]
fn a_machine_that_drains_can_be_paused_and_drains_on_afterwards() {
    let mut bench = Bench::ready(1);
    let lease = bench.run_offer(&offered("a", 1, 1)).remove(0).lease;
    bench.handle(Input::Drain { until: None });
    bench.handle(Input::Pause(Pause::default()));
    let suspended = |it: &Action| matches!(it, Action::Suspend { lease: it } if *it == lease);
    assert!(bench.find(|it| suspended(it).then_some(())).is_some(), "the owner wins");
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Paused(Pause::default())));
    bench.handle(Input::Resume);
    let proceeds = |it: &Action| matches!(it, Action::Proceed { lease: it } if *it == lease);
    assert!(bench.find(|it| proceeds(it).then_some(())).is_some());
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Draining(None)));
    bench.ran(lease, outcome(Ended::Passed));
    assert!(bench.news().contains(&News::Drained));
}

#[test]
fn a_pause_ends_at_its_time_and_a_newer_one_takes_its_place() {
    let mut bench = Bench::ready(1);
    let lease = bench.run_offer(&offered("a", 1, 1)).remove(0).lease;
    let until = bench.now.wall + 60 * SECOND;
    bench.handle(Input::Pause(Pause { until: Some(until), note: "a call".into() }));
    let said = bench.volunteer.idle().unwrap().to_string();
    assert_eq!(said, format!("paused by the owner until {until}: a call"));
    bench.pass(59 * SECOND);
    assert!(bench.volunteer.is_paused());
    bench.handle(Input::Pause(Pause { until: Some(until + 60 * SECOND), note: String::new() }));
    bench.pass(60 * SECOND);
    let proceeds = |it: &Action| matches!(it, Action::Proceed { lease: it } if *it == lease);
    assert!(bench.find(|it| proceeds(it).then_some(())).is_none());
    bench.pass(SECOND);
    assert!(bench.find(|it| proceeds(it).then_some(())).is_some() && !bench.volunteer.is_paused());
}

#[test]
fn a_pause_outlasts_the_process_and_its_end_does_too() {
    let mut bench = Bench::ready(1);
    let until = bench.now.wall + 600 * SECOND;
    let pause = Pause { until: Some(until), note: "noise".into() };
    bench.handle(Input::Pause(pause.clone()));
    let mut bench = bench.restart();
    assert_eq!(bench.volunteer.idle(), Some(Idle::Paused(pause)));
    bench.connect(BROKER);
    assert_eq!(bench.find_pull(), None);
    bench.pass(600 * SECOND);
    assert!(!bench.volunteer.is_paused());

    bench.handle(Input::Pause(Pause::default()));
    bench.handle(Input::Resume);
    assert!(!bench.restart().volunteer.is_paused());
}

#[test]
fn a_drain_outlasts_the_process_until_it_is_done_or_taken_back() {
    let until = support::START + 600 * SECOND;
    let drain = || Input::Drain { until: Some(until) };
    let begun = |bench: &mut Bench| {
        bench.run_offer(&offered("a", 1, 1));
        bench.handle(drain());
    };
    let mut bench = Bench::ready(1);
    begun(&mut bench);

    // What ran was lost with the process; the drain goes on, and gives back what is still leased.
    let mut bench = bench.restart();
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Draining(Some(until))));
    assert!(!bench.news().contains(&News::Drained), "a broker is to hear of it first");
    bench.handle(Input::BrokerUp { peer: peer(BROKER) });
    let [release] = &renewals(&mut bench)[..] else { panic!("one release") };
    assert_eq!(release.intent, Intent::Release);
    assert!(bench.news().contains(&News::Drained) && bench.find_pull().is_none());
    let is_draining = |bench: &Bench| matches!(bench.volunteer.obstacle(), Some(Idle::Draining(_)));
    assert!(!is_draining(&bench.restart()), "it is done");

    // Without a broker it ends all the same.
    let mut bench = Bench::ready(1);
    begun(&mut bench);
    let mut bench = bench.restart();
    // Five seconds have passed over the restart.
    bench.pass(24 * SECOND);
    assert!(!bench.news().contains(&News::Drained));
    bench.pass(SECOND);
    assert!(bench.news().contains(&News::Drained));

    // Who takes it back, or has no use for the process at all, means the next one too.
    for end in [Input::Resume, Input::Stop] {
        let mut bench = Bench::ready(1);
        begun(&mut bench);
        bench.handle(end);
        assert!(!is_draining(&bench.restart()));
    }
}

#[test]
fn draining_gives_back_what_has_not_begun_and_waits_for_no_package() {
    let mut bench = Bench::ready(1);
    let (call, claim) = bench.claim_of(&offered("a", 1, 1));
    bench.grant(call, &claim, 0, 1);
    assert_eq!(bench.volunteer.jobs().count(), 1, "whose package is not here");
    bench.handle(Input::Drain { until: None });
    assert_eq!(bench.volunteer.jobs().count(), 0);
    assert!(!bench.news().contains(&News::Drained));
    let [release] = &renewals(&mut bench)[..] else { panic!("one release") };
    assert_eq!(release.intent, Intent::Release);
    assert!(bench.news().contains(&News::Drained), "once the broker knows");
}

#[test]
fn draining_ends_a_pause_and_waits_for_no_broker() {
    let mut bench = Bench::ready(1);
    let lease = bench.run_offer(&offered("a", 1, 1)).remove(0).lease;
    bench.handle(Input::Pause(Pause::default()));
    bench.handle(Input::Drain { until: None });
    let proceeds = |it: &Action| matches!(it, Action::Proceed { lease: it } if *it == lease);
    assert!(bench.find(|it| proceeds(it).then_some(())).is_some(), "or it would never end");
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    bench.ran(lease, outcome(Ended::Passed));
    assert!(bench.news().contains(&News::Drained));
}

#[test]
fn leases_that_come_while_it_drains_are_given_back_before_the_end() {
    let mut bench = Bench::ready(1);
    let (call, claim) = bench.claim_of(&offered("a", 1, 1));
    bench.handle(Input::Drain { until: None });
    assert!(!bench.news().contains(&News::Drained), "leases may come");
    bench.grant(call, &claim, 0, 1);
    let [release] = &renewals(&mut bench)[..] else { panic!("one release") };
    assert_eq!(release.intent, Intent::Release);
    assert!(bench.news().contains(&News::Drained));
}

#[test]
fn draining_ends_when_the_last_job_does() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.handle(Input::Drain { until: None });
    assert!(!bench.news().contains(&News::Drained));

    bench.ran(order.lease, outcome(Ended::Passed));

    assert!(bench.news().contains(&News::Drained));
    assert_eq!(bench.find_pull(), None);
}
