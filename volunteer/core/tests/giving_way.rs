//! When jobs give way to the owner of the machine, and when the network is left alone.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::StatementId;
use capability::statements::{Ended, Intent};
use mesh_core::Answer;
use support::{BROKER, Bench, offered, outcome, renewals};
use volunteer_core::{
    Action, Cause, Decline, GiveWay, Idle, Input, News, Pause, Quiet, Sample, Share, WhyNot,
};

const SECOND: Duration = Duration::from_secs(1);

/// What happens to jobs, in order.
fn moves(bench: &mut Bench) -> Vec<(StatementId, &'static str)> {
    let mut moves = Vec::new();
    while let Some(next) = bench.find(|action| match action {
        Action::Suspend { lease } => Some((*lease, "suspend")),
        Action::Proceed { lease } => Some((*lease, "proceed")),
        _ => None,
    }) {
        moves.push(next);
    }
    moves
}

/// Sees `sample` every two seconds for `time`; gives how often jobs were held and let go.
fn see(bench: &mut Bench, sample: &Sample, time: Duration) -> usize {
    let mut count = 0;
    for _ in 0..time.as_secs() / 2 {
        bench.pass(2 * SECOND);
        bench.handle(Input::Sampled(sample.clone()));
        count += moves(bench).len();
    }
    count
}

fn busy(load: u8) -> Sample {
    Sample { load: Some(load), ..Sample::default() }
}

/// One job that runs on a machine that gives way as `preferences` say.
fn working(preferences: GiveWay) -> (Bench, StatementId) {
    let mut bench = Bench::ready(1);
    bench.handle(Input::GiveWay(preferences));
    let lease = bench.run_offer(&offered("a", 9, 1)).remove(0).lease;
    (bench, lease)
}

#[test]
fn jobs_stand_still_from_the_first_key_stroke_until_somebody_is_away_again() {
    let away_after = Some(60 * SECOND);
    let (mut bench, lease) = working(GiveWay { away_after, ..GiveWay::default() });
    let touched = |seconds| Sample { untouched: Some(seconds * SECOND), ..Sample::default() };

    bench.handle(Input::Sampled(touched(60)));
    assert_eq!(moves(&mut bench), []);
    bench.handle(Input::Sampled(touched(0)));
    assert_eq!(moves(&mut bench), [(lease, "suspend")]);
    let idle = bench.volunteer.idle().unwrap();
    assert_eq!(idle, Idle::GivesWay(vec![Cause::Input]));
    assert_eq!(idle.to_string(), "the machine gives way to its owner: somebody uses it");
    assert!(bench.volunteer.jobs().all(|job| job.still));

    assert_eq!(see(&mut bench, &touched(58), 10 * SECOND), 0);
    assert!(!renewals(&mut bench).is_empty(), "the lease is kept");
    bench.handle(Input::Sampled(touched(60)));
    assert_eq!(moves(&mut bench), [(lease, "proceed")]);
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (None, None));
}

#[test]
fn a_load_that_comes_and_goes_does_not_make_jobs_flap() {
    let (mut bench, _) = working(GiveWay { load: Some(40), ..GiveWay::default() });
    for _ in 0..20 {
        assert_eq!(see(&mut bench, &busy(90), 8 * SECOND), 0, "shorter than counts");
        assert_eq!(see(&mut bench, &busy(0), 4 * SECOND), 0);
    }
    assert_eq!(see(&mut bench, &busy(41), 14 * SECOND), 1, "held, once");
    for _ in 0..20 {
        assert_eq!(see(&mut bench, &busy(10), 50 * SECOND), 0, "calm for too short a time");
        assert_eq!(see(&mut bench, &busy(35), 20 * SECOND), 0, "neither busy nor calm");
    }
    assert_eq!(bench.volunteer.gives_way_to().collect::<Vec<_>>(), [&Cause::Load(41)]);
    assert_eq!(see(&mut bench, &busy(30), 64 * SECOND), 1, "let go, once");
}

#[test]
fn a_hot_machine_cools_down_before_it_goes_on() {
    let (mut bench, _) = working(GiveWay { ceiling: Some(80), ..GiveWay::default() });
    let heat = |degrees| Sample { heat: Some(degrees), ..Sample::default() };
    assert_eq!(see(&mut bench, &heat(79), 600 * SECOND), 0);
    assert_eq!(see(&mut bench, &heat(80), 2 * SECOND), 1);
    assert_eq!(see(&mut bench, &heat(71), 600 * SECOND), 0);
    assert_eq!(see(&mut bench, &heat(70), 64 * SECOND), 1);
    // A sensor that is gone holds nothing up.
    assert_eq!(see(&mut bench, &heat(80), 2 * SECOND), 1);
    assert_eq!(see(&mut bench, &Sample::default(), 64 * SECOND), 1);
}

#[test]
fn while_the_owner_needs_the_machine_nothing_new_is_taken_and_nothing_begins() {
    let (mut bench, _) = working(GiveWay::default());
    let battery = Sample { on_battery: Some(true), ..Sample::default() };
    bench.handle(Input::Sampled(battery));
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::GivesWay(vec![Cause::Battery])));
    let lease = moves(&mut bench).remove(0).0;
    bench.ran(lease, outcome(Ended::Passed));
    assert!(bench.find_handover().is_some(), "what is done goes home");
    bench.pass(60 * SECOND);
    assert_eq!((bench.find_pull(), bench.claims()), (None, false));
    // The owner has the battery count no more, and nothing is sampled from now on.
    bench.handle(Input::GiveWay(GiveWay::default()));
    bench.run_offer(&offered("b", 1, 1));
}

#[test]
fn with_a_share_for_that_time_as_many_jobs_go_on_as_it_carries() {
    let meanwhile = Some(Share { cores: 2, memory: u64::MAX });
    let mut bench = Bench::ready(4);
    bench.handle(Input::GiveWay(GiveWay { meanwhile, ..GiveWay::default() }));
    let all: Vec<_> = bench.run_offer(&offered("a", 4, 1)).iter().map(|it| it.lease).collect();
    let game = |runs: bool| {
        let program = runs.then(|| "chess".to_owned());
        Input::Sampled(Sample { program, ..Sample::default() })
    };

    bench.handle(game(true));
    let held = moves(&mut bench);
    assert_eq!(held.len(), 2);
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (None, None));
    let moving = all.iter().find(|lease| held.iter().all(|(it, _)| it != *lease)).unwrap();
    bench.ran(*moving, outcome(Ended::Passed));
    assert_eq!(moves(&mut bench), [(held[0].0, "proceed")], "there is a core for it now");

    assert_eq!(see(&mut bench, &Sample::default(), 32 * SECOND), 1, "the last one");
    bench.handle(Input::Sampled(Sample { heat: Some(90), ..Sample::default() }));
    assert_eq!(moves(&mut bench), [], "nobody asked for a ceiling");
}

#[test]
fn in_use_a_machine_takes_new_work_within_its_share() {
    let meanwhile = Some(Share { cores: 1, memory: u64::MAX });
    let mut bench = Bench::ready(4);
    bench.handle(Input::GiveWay(GiveWay { meanwhile, ..GiveWay::default() }));
    let program = Some("chess".to_owned());
    bench.handle(Input::Sampled(Sample { program, ..Sample::default() }));
    let (call, wants) = bench.take_pull();
    assert_eq!(wants.free.cores, 1);
    bench.answer(call, Answer::Offers(vec![offered("a", 9, 1)]));
    assert_eq!(bench.take_claim().1.count, 1);
}

/// A program of the owner runs, beside which jobs may use so many cores.
fn lend(bench: &mut Bench, cores: u32) {
    let meanwhile = Some(Share { cores, memory: u64::MAX });
    bench.handle(Input::GiveWay(GiveWay { meanwhile, ..GiveWay::default() }));
    let program = Some("chess".to_owned());
    bench.handle(Input::Sampled(Sample { program, ..Sample::default() }));
}

fn gives_way() -> Option<Idle> {
    Some(Idle::GivesWay(vec![Cause::Program("chess".into())]))
}

#[test]
fn where_no_job_moves_within_the_share_the_machine_says_that_it_gives_way() {
    for cores in [2, 4] {
        let mut bench = Bench::ready(cores);
        bench.run_offer(&offered("a", 1, 2));
        lend(&mut bench, 1);
        assert!(bench.volunteer.jobs().all(|job| job.still));
        assert_eq!(bench.volunteer.idle(), gives_way(), "{cores}");
        assert_eq!(bench.volunteer.obstacle(), gives_way(), "{cores}");
    }
}

#[test]
fn a_share_that_jobs_in_hand_have_is_what_keeps_more_from_being_taken() {
    let mut bench = Bench::ready(4);
    bench.run_offer(&offered("a", 2, 1));
    assert_eq!(bench.volunteer.obstacle(), None);
    lend(&mut bench, 2);
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (None, gives_way()));
    let why = bench.volunteer.why_not(support::project());
    assert_eq!(why, [WhyNot::Obstacle(gives_way().unwrap()), WhyNot::Full { jobs: 2 }]);
}

#[test]
fn an_offer_that_only_the_share_is_too_small_for_is_no_offer_that_does_not_suit() {
    let mut bench = Bench::ready(4);
    lend(&mut bench, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 2)]));
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (gives_way(), None));
    bench.handle(Input::GiveWay(GiveWay::default()));
    assert!(matches!(bench.volunteer.idle(), Some(Idle::NothingSuits { .. })));
}

#[test]
fn a_job_that_stood_still_and_is_given_up_makes_nothing_of_an_idle_machine() {
    let (mut bench, lease) = working(GiveWay::default());
    bench.handle(Input::Pause(Pause::default()));
    bench.handle(Input::Pins(Vec::new()));
    bench.take(|it| (*it == Action::Stop { lease }).then_some(()));
    bench.handle(Input::Resume);
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (None, Some(Idle::NoPins)));
}

#[test]
fn a_machine_is_not_idle_while_a_package_is_on_its_way_within_the_share() {
    let mut bench = Bench::ready(4);
    lend(&mut bench, 2);
    let (call, claim) = bench.claim_of(&offered("a", 1, 1));
    bench.grant(call, &claim, 0, 1);
    assert_eq!((bench.volunteer.idle(), bench.volunteer.obstacle()), (None, None));
}

/// The leases that are given back, once their jobs were told to stop.
fn given_up(bench: &mut Bench) -> Vec<StatementId> {
    let released = renewals(bench).into_iter().filter(|it| it.intent == Intent::Release);
    let released: Vec<_> = released.flat_map(|it| it.leases.clone()).collect();
    for lease in &released {
        bench.take(|it| (*it == Action::Stop { lease: *lease }).then_some(()));
    }
    released
}

#[test]
fn a_drain_gives_back_what_stands_still_since_it_would_never_end() {
    let battery = || Input::Sampled(Sample { on_battery: Some(true), ..Sample::default() });
    let drain = || Input::Drain { until: None };
    for [first, second] in [[drain(), battery()], [battery(), drain()]] {
        let (mut bench, lease) = working(GiveWay::default());
        bench.handle(first);
        assert_eq!(given_up(&mut bench), []);
        bench.handle(second);
        assert_eq!(given_up(&mut bench), [lease]);
        bench.ran(lease, outcome(Ended::Machine("stopped".into())));
        let news = bench.news();
        let tells =
            |it: &News| matches!(it, News::Released { reason, .. } if reason.contains("gives way"));
        assert!(news.iter().any(tells) && news.contains(&News::Drained), "{news:?}");
    }
}

#[test]
fn a_drain_waits_for_the_jobs_that_move_within_the_share() {
    let mut bench = Bench::ready(2);
    let all: Vec<_> = bench.run_offer(&offered("a", 2, 1)).iter().map(|it| it.lease).collect();
    lend(&mut bench, 1);
    let held = moves(&mut bench).remove(0).0;
    bench.handle(Input::Drain { until: None });
    assert_eq!(given_up(&mut bench), [held]);
    let moving = *all.iter().find(|lease| **lease != held).unwrap();
    bench.ran(held, outcome(Ended::Machine("stopped".into())));
    assert!(!bench.news().contains(&News::Drained));
    bench.ran(moving, outcome(Ended::Passed));
    assert!(bench.news().contains(&News::Drained));
}

#[test]
fn who_pauses_a_drain_keeps_the_jobs_for_as_long() {
    let (mut bench, lease) = working(GiveWay::default());
    bench.handle(Input::Drain { until: None });
    bench.handle(Input::Pause(Pause::default()));
    bench.handle(Input::Sampled(Sample { on_battery: Some(true), ..Sample::default() }));
    assert_eq!(given_up(&mut bench), []);
    bench.handle(Input::Resume);
    assert_eq!(given_up(&mut bench), [lease]);
}

#[test]
fn a_pause_of_the_owner_is_not_ended_by_a_calm_machine() {
    let (mut bench, lease) = working(GiveWay { load: Some(40), ..GiveWay::default() });
    bench.handle(Input::Pause(Pause::default()));
    assert_eq!(moves(&mut bench), [(lease, "suspend")]);
    assert_eq!(see(&mut bench, &busy(90), 20 * SECOND), 0);
    assert_eq!(see(&mut bench, &busy(0), 80 * SECOND), 0);
    bench.handle(Input::Resume);
    assert_eq!(moves(&mut bench), [(lease, "proceed")]);
}

#[test]
fn outside_of_the_hours_for_the_network_leases_are_kept_and_results_wait() {
    let mut bench = Bench::ready(2);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    let (call, _) = bench.take_pull();
    bench.handle(Input::Quiet(Some(Quiet::Hours)));
    bench.answer(call, Answer::Offers(vec![offered("b", 1, 1)]));
    assert!(!bench.claims());
    assert_eq!(bench.volunteer.idle(), None, "it works on");
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Quiet(Quiet::Hours)));

    bench.ran(order.lease, outcome(Ended::Passed));
    bench.pass(10 * SECOND);
    let [renewal] = &renewals(&mut bench)[..] else { panic!("one renewal") };
    assert_eq!(renewal.leases, [order.lease], "or its task would be done again");
    assert_eq!((bench.find_handover(), bench.find_pull()), (None, None));

    bench.handle(Input::Quiet(None));
    assert!(bench.find_handover().is_some() && bench.find_pull().is_some());
}

#[test]
fn a_package_waits_for_the_hours_of_the_network() {
    let mut bench = Bench::ready(1);
    let offer = offered("a", 1, 1);
    let (call, claim) = bench.claim_of(&offer);
    bench.handle(Input::Quiet(Some(Quiet::Hours)));
    bench.grant(call, &claim, 0, 1);
    let fetches = |it: &Action| matches!(it, Action::Fetch { .. }).then_some(());
    assert_eq!(bench.find(fetches), None);
    bench.handle(Input::Quiet(None));
    assert_eq!(bench.find(fetches), Some(()));
}

#[test]
fn a_fetch_that_a_pause_cuts_goes_on_afterwards_however_often_that_happens() {
    let mut bench = Bench::ready(1);
    let offer = offered("a", 1, 1);
    let (call, claim) = bench.claim_of(&offer);
    bench.grant(call, &claim, 0, 1);
    let hash = offer.offer.package.hash;
    let fetches = |it: &Action| matches!(it, Action::Fetch { .. }).then_some(());
    for _ in 0..5 {
        assert_eq!(bench.find(fetches), Some(()));
        assert!(!bench.volunteer.lets_no_package_come());
        bench.handle(Input::Pause(Pause::default()));
        assert!(bench.volunteer.lets_no_package_come());
        bench.handle(Input::FetchCut { hash });
        assert_eq!(bench.find(fetches), None);
        bench.handle(Input::Resume);
    }
    assert_eq!(bench.find(fetches), Some(()));
}

#[test]
fn a_drain_that_lasts_too_long_gives_back_what_still_runs() {
    let mut bench = Bench::ready(1);
    let lease = bench.run_offer(&offered("a", 1, 1)).remove(0).lease;
    let until = bench.now.wall + 60 * SECOND;
    bench.handle(Input::Drain { until: Some(until) });
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Draining(Some(until))));
    bench.pass(59 * SECOND);
    let stops =
        |it: &Action| matches!(it, Action::Stop { lease: it } if *it == lease).then_some(());
    assert_eq!(bench.find(stops), None);
    bench.pass(SECOND);
    assert_eq!(bench.find(stops), Some(()));
    assert!(bench.news().contains(&News::DrainOver));
    bench.ran(lease, outcome(Ended::Machine("stopped".into())));
    renewals(&mut bench);
    assert!(bench.news().contains(&News::Drained));
}

#[test]
fn the_end_of_a_drain_comes_also_during_a_pause_and_not_after_it_was_taken_back() {
    let mut bench = Bench::ready(1);
    let lease = bench.run_offer(&offered("a", 1, 1)).remove(0).lease;
    let until = bench.now.wall + 60 * SECOND;
    let stops =
        |it: &Action| matches!(it, Action::Stop { lease: it } if *it == lease).then_some(());
    bench.handle(Input::Drain { until: Some(until) });
    bench.handle(Input::Resume);
    bench.pass(120 * SECOND);
    assert_eq!(bench.find(stops), None);
    let until = bench.now.wall + 60 * SECOND;
    bench.handle(Input::Drain { until: Some(until) });
    bench.handle(Input::Pause(Pause::default()));
    bench.pass(60 * SECOND);
    assert_eq!(bench.find(stops), Some(()));
}

#[test]
fn a_broker_that_comes_back_while_the_network_is_left_alone_gets_no_result() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.handle(Input::Quiet(Some(Quiet::Hours)));
    bench.ran(order.lease, outcome(Ended::Passed));
    bench.handle(Input::BrokerDown { peer: support::peer(BROKER) });
    bench.connect(BROKER);
    bench.pass(60 * SECOND);
    assert_eq!(bench.find_handover(), None);
}

/// The package of every offer here.
const PACKAGE: u64 = 1000;

#[test]
fn a_quota_is_kept_over_a_restart_and_begins_anew_with_the_month() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::Quota(Some(PACKAGE)));
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    assert_eq!(bench.volunteer.traffic().down, PACKAGE);
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::QuotaUsed(PACKAGE)));
    bench.ran(order.lease, outcome(Ended::Passed));
    assert!(bench.find_handover().is_some(), "what is done goes home");

    let mut bench = bench.restart();
    bench.handle(Input::Quota(Some(PACKAGE)));
    bench.connect(BROKER);
    bench.pass(SECOND);
    assert_eq!(bench.volunteer.idle(), Some(Idle::QuotaUsed(PACKAGE)));
    assert_eq!(bench.find_pull(), None);
    bench.handle(Input::Quota(Some(2 * PACKAGE)));
    assert!(bench.find_pull().is_some(), "the owner is generous");
    bench.handle(Input::Quota(Some(PACKAGE)));
    bench.pass(31 * 24 * 3600 * SECOND);
    assert_eq!(bench.volunteer.traffic().total(), 0);
    assert_ne!(bench.volunteer.idle(), Some(Idle::QuotaUsed(PACKAGE)));
}

#[test]
fn a_package_for_which_the_quota_has_no_room_is_declined_and_one_that_is_here_is_not() {
    let mut bench = Bench::ready(2);
    bench.handle(Input::Quota(Some(2 * PACKAGE - 1)));
    bench.run_offer(&offered("a", 1, 1));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("b", 1, 1)]));
    assert!(!bench.claims());
    let reason = bench.volunteer.declined().next().unwrap().reason.clone();
    assert_eq!(reason, Decline::Quota { package: PACKAGE, left: PACKAGE - 1 });
    let expected =
        "its package has 1000 bytes, of this month's quota for the network 999 bytes are left";
    assert_eq!(reason.to_string(), expected);
    assert_eq!((bench.volunteer.traffic().down, bench.volunteer.traffic().up), (PACKAGE, 0));

    bench.pass(SECOND);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 9, 1)]));
    assert!(bench.claims(), "the same package");
}

#[test]
fn what_is_claimed_together_or_on_its_way_is_not_counted_on_twice() {
    let mut bench = Bench::ready(4);
    bench.handle(Input::Quota(Some(3 * PACKAGE - 1)));
    let offers = ["a", "b", "c", "d"].map(|name| offered(name, 1, 1));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(offers.to_vec()));
    let (call, claims) = bench.take_claims();
    let claimed: Vec<_> = claims.iter().map(|it| it.offer).collect();
    assert_eq!(claimed, [offers[0].offer.id(), offers[1].offer.id()]);

    let leases = claims.iter().map(|it| Answer::Leases(support::leases(it, 0, 1)));
    bench.answer(call, Answer::Each(leases.collect()));
    assert!(!bench.claims(), "both packages are on their way");
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offers[2].clone()]));
    assert!(!bench.claims());
    let reason = bench.volunteer.declined().next().unwrap().reason.clone();
    assert_eq!(reason, Decline::Quota { package: PACKAGE, left: PACKAGE - 1 });
}
