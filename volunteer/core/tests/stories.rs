//! Stories of one volunteer among brokers and masters.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{
    Artifact, Blob, BlobPart, Credit, Ended, Home, Intent, JobResult, Log, MAX_INLINE_LOG_BYTES,
    Private, Renewal, StepReport, Verdict,
};
use capability::{
    BlobHash, BlobKey, DecryptionKey, Ed25519, Facts, HpkeOpener, HpkeSealer, MAX_STATEMENT_BYTES,
    Runtime, RuntimeFacts, Timestamp, Verified, encrypted_size,
};
use mesh_core::{Answer, Ask, Bundle, ChannelRefusal, HandoverAnswer, Offered, Refusal};
use support::{
    ADAPTER, BROKER, Bench, ME, OTHER_BROKER, START, accepted, key, machine, offered, offered_in,
    outcome, peer, pin, receipt, report_in, result_in,
};
use volunteer_core::{Action, DISK_RESERVE, Decline, Idle, Input, News, Pin, Stage};

const SECOND: Duration = Duration::from_secs(1);

fn renewals(bench: &mut Bench) -> Vec<Verified<Renewal>> {
    let mut all = Vec::new();
    while let Some((call, renewal)) = bench.find(|action| match action {
        Action::Ask { call, ask: Ask::Renew { renewal, .. }, .. } => Some((*call, renewal.clone())),
        _ => None,
    }) {
        bench.answer(call, Answer::Renewed { lapsed: Vec::new() });
        all.push(renewal);
    }
    all
}

// Trust.

#[test]
fn an_offer_of_an_unpinned_project_is_declined_once_and_never_claimed() {
    let mut bench = Bench::ready(2);
    bench.handle(Input::Pins(vec![Pin { project: peer(9).into(), ..pin() }]));
    let offer = offered("sweep", 4, 1);
    for _ in 0..3 {
        bench.pass(SECOND);
        let (call, _) = bench.take_pull();
        bench.answer(call, Answer::Offers(vec![offer.clone()]));
    }
    bench.pass(SECOND);

    assert!(!bench.claims());
    let declined = bench.news().into_iter().filter(|news| matches!(news, News::Declined { .. }));
    assert_eq!(declined.count(), 1);
    let (_, wants) = bench.take_pull();
    assert_eq!(wants.except, [offer.offer.id()]);
    assert_eq!(bench.volunteer.declined().next().unwrap().reason, Decline::NotPinned);
}

#[test]
fn ever_new_offers_that_are_declined_do_not_hurry_the_next_pull() {
    let mut bench = Bench::ready(2);
    bench.handle(Input::Pins(vec![Pin { project: peer(9).into(), ..pin() }]));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("fresh", 4, 1)]));
    assert_eq!(bench.find_pull(), None);
    bench.pass(SECOND);
    assert!(bench.find_pull().is_some());
}

#[test]
fn a_new_pin_makes_a_declined_offer_welcome() {
    let mut bench = Bench::ready(2);
    bench.handle(Input::Pins(vec![Pin { project: peer(9).into(), ..pin() }]));
    let offer = offered("sweep", 4, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));

    bench.handle(Input::Pins(vec![pin()]));
    bench.pass(SECOND);

    let (call, wants) = bench.take_pull();
    assert_eq!(wants.except, []);
    bench.answer(call, Answer::Offers(vec![offer]));
    assert_eq!(bench.take_claim().1.count, 2);
}

#[test]
fn every_reason_to_decline_is_found() {
    fn check(change: impl FnOnce(&mut Bench) -> Offered, expected: &str) {
        let mut bench = Bench::ready(2);
        let offer = change(&mut bench);
        let (call, _) = bench.take_pull();
        bench.answer(call, Answer::Offers(vec![offer]));
        assert!(!bench.claims(), "claimed in spite of: {expected}");
        let reason = bench.volunteer.declined().next().unwrap().reason.to_string();
        assert!(reason.contains(expected), "{reason:?} does not say {expected:?}");
    }
    check(|_| offered_in(Runtime::Native, "n", 1, 1), "native runtime, which this project may not");
    check(|_| offered("big", 1, 3), "needs 3 cores, 2 are donated");
    check(
        |bench| {
            let revoked = [peer(ADAPTER)].into();
            bench.handle(Input::Pins(vec![Pin { revoked, ..pin() }]));
            offered("a", 1, 1)
        },
        "revoked",
    );
    check(
        |bench| {
            let mut small = machine(2);
            small.resources.memory = 1 << 20;
            bench.handle(Input::Capabilities(small));
            let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
            bench.answer(call, Answer::Done);
            offered("a", 1, 1)
        },
        "limit on memory",
    );
    check(
        |bench| {
            bench.now = bench.now.after(6 * 60 * SECOND);
            let mut offer = offered("a", 1, 1);
            let mut home = (*offer.home).clone();
            home.expires = START;
            offer.home = Verified::sign(home, &*key(ADAPTER));
            offer
        },
        "home does not hold now",
    );
    check(
        |_| {
            let mut offer = offered("a", 1, 1);
            let delegation = capability::statements::Delegation {
                node: peer(8),
                encryption: support::adapter().public(),
                expires: offer.home.expires,
            };
            let mut home = (*offer.home).clone();
            home.delegation =
                Verified::sign(delegation, &*key(support::PROJECT)).envelope().clone();
            offer.home = Verified::sign(home, &*key(8));
            offer
        },
        "another key",
    );
}

#[test]
fn a_project_that_is_unpinned_is_stopped_at_once() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("sweep", 1, 1)).remove(0);

    bench.handle(Input::Pins(Vec::new()));

    bench.take(|it| (*it == Action::Stop { lease: order.lease }).then_some(()));
    assert_eq!(renewals(&mut bench)[0].intent, Intent::Release);
    bench.ran(order.lease, outcome(Ended::Passed));
    assert_eq!(bench.find_handover(), None);
    assert_eq!(bench.volunteer.idle(), Some(Idle::NoPins));
}

// Work fetch.

#[test]
fn one_pull_is_outstanding_and_never_more_cores_are_leased_than_donated() {
    let mut bench = Bench::ready(4);
    let two_cores = offered("two", 9, 2);
    let (call, wants) = bench.take_pull();
    assert_eq!(wants.free.cores, 4);
    bench.pass(SECOND);
    assert_eq!(bench.find_pull(), None, "a second pull beside the first");

    bench.answer(call, Answer::Offers(vec![two_cores.clone(), offered("one", 9, 1)]));
    let (call, claim) = bench.take_claim();
    assert_eq!(claim.count, 2);
    assert!(!bench.claims(), "the second offer is claimed while the first may take everything");

    // A home that grants more than was asked for gets the rest back.
    bench.grant(call, &claim, 0, 3);
    let released = renewals(&mut bench);
    assert_eq!((released.len(), released[0].intent), (1, Intent::Release));
    assert_eq!(bench.volunteer.jobs().count(), 2);
    assert_eq!(bench.find_pull(), None, "nothing is free");

    bench.fetched(&two_cores.offer);
    let order = bench.take_order();
    bench.ran(order.lease, outcome(Ended::Passed));
    assert_eq!(bench.take_pull().1.free.cores, 2);
}

#[test]
fn several_offers_are_claimed_together_as_far_as_there_is_room() {
    let mut bench = Bench::ready(4);
    let shown =
        [("a", 2), ("b", 1), ("c", 1), ("d", 1)].map(|(name, tasks)| offered(name, tasks, 1));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(shown.to_vec()));
    let (call, claims) = bench.take_claims();
    let claimed: Vec<_> = claims.iter().map(|claim| (claim.offer, claim.count)).collect();
    let [a, b, c, d] = shown.map(|it| it.offer);
    assert_eq!(
        claimed,
        [(a.id(), 2), (b.id(), 1), (c.id(), 1)],
        "no more tasks than it has, nor room"
    );

    let parts = vec![
        Answer::Leases(support::leases(&claims[0], 0, 2)),
        Answer::Refused(Refusal::NoTask),
        Answer::Leases(support::leases(&claims[2], 0, 1)),
    ];
    bench.answer(call, Answer::Each(parts));
    let at_work: Vec<_> = bench.volunteer.jobs().map(|job| job.task.offer).collect();
    assert_eq!(at_work.len(), 3);
    assert!(!at_work.contains(&b.id()) && at_work.contains(&c.id()));
    let (call, claim) = bench.take_claim();
    assert_eq!((claim.offer, claim.count), (d.id(), 1), "for which there is room after all");
    assert_eq!(bench.grant(call, &claim, 0, 1).len(), 1);

    let mut bench = bench.restart();
    bench.connect(BROKER);
    assert_eq!(renewals(&mut bench).iter().flat_map(|it| &it.leases).count(), 4, "all are durable");
}

#[test]
fn no_more_is_claimed_together_than_a_request_holds() {
    let mut bench = Bench::ready(32);
    let mut large = machine(32);
    let mut facts = Facts::new();
    for n in 0..150 {
        let said = "some words that a machine says of itself";
        facts.insert(&format!("label.number-{n}"), said).expect("a fact");
    }
    large.runtimes = [(Runtime::Wasm, RuntimeFacts { strength: String::new(), facts })].into();
    bench.handle(Input::Capabilities(large));
    bench.pass(Duration::from_secs(60));
    let (call, _) = bench.take_ask(|ask| matches!(ask, Ask::Advertise { .. }));
    bench.answer(call, Answer::Done);
    let offers = (0..32).map(|n| offered(&n.to_string(), 1, 1)).collect();
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(offers));
    let mut claimed = 0;
    while claimed < 32 {
        let (call, ask) = bench.take_ask(|ask| matches!(ask, Ask::Claim { .. }));
        let request = mesh_core::seal(&ask, peer(BROKER), 1, START, &*key(ME));
        let bytes = request.envelope().as_bytes();
        assert!(bytes.len() <= MAX_STATEMENT_BYTES, "{} bytes", bytes.len());
        let Ask::Claim { claims, .. } = ask else { unreachable!() };
        assert!(
            claims.len() < 32,
            "the ad is too large for that: {}",
            claims[0].ad.as_bytes().len()
        );
        claimed += claims.len();
        bench.answer(call, Answer::Refused(Refusal::NoTask));
    }
}

#[test]
fn packages_of_offers_that_are_claimed_together_need_room_together() {
    let mut bench = Bench::ready(4);
    let with_package = |name: &str| {
        let offered = offered(name, 1, 1);
        let mut offer = (*offered.offer).clone();
        offer.package.size = 600 << 20;
        Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..offered }
    };
    let task = offered("a", 1, 1).offer.job.limits.disk;
    bench.handle(Input::DiskFree(DISK_RESERVE + (1000 << 20) + 2 * task));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![with_package("a"), with_package("b")]));
    let (_, claims) = bench.take_claims();
    assert_eq!(claims.len(), 1, "two packages are too many");
}

#[test]
fn offers_of_two_homes_are_claimed_one_home_after_the_other() {
    let mut bench = Bench::ready(4);
    let elsewhere = {
        let offered = offered("b", 1, 1);
        let home = Home { home: peer(OTHER_BROKER), ..(*offered.home).clone() };
        Offered { home: Verified::sign(home, &*key(ADAPTER)), ..offered }
    };
    let (call, _) = bench.take_pull();
    let shown = vec![offered("a", 1, 1), elsewhere.clone(), offered("c", 1, 1)];
    bench.answer(call, Answer::Offers(shown));
    let (call, claim) = bench.take_claim();
    bench.grant(call, &claim, 0, 1);
    let (_, ask) = bench.take_ask(|ask| matches!(ask, Ask::Claim { .. }));
    let Ask::Claim { claims, home, .. } = ask else { unreachable!() };
    assert_eq!(
        (claims.len(), claims[0].offer, home),
        (1, elsewhere.offer.id(), peer(OTHER_BROKER))
    );
}

#[test]
fn an_answer_to_other_claims_than_these_grants_nothing() {
    let mut bench = Bench::ready(4);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 1), offered("b", 1, 1)]));
    let (call, claims) = bench.take_claims();
    let leases = || Answer::Leases(support::leases(&claims[0], 0, 1));
    for answer in [leases(), Answer::Each(vec![leases()]), Answer::Done] {
        assert_eq!(answer.clone().parts(2), None, "{answer:?}");
    }
    bench.answer(call, leases());
    assert_eq!(bench.volunteer.jobs().count(), 0);
    assert!(!bench.claims(), "both are left alone for a while");
}

#[test]
fn an_offer_without_open_tasks_is_left_alone_for_a_while() {
    let mut bench = Bench::ready(1);
    let offer = offered("dry", 1, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    let (call, _) = bench.take_claim();
    bench.answer(call, Answer::Refused(Refusal::NoTask));

    assert_eq!(bench.take_pull().1.except, [offer.offer.id()]);

    bench.pass(SECOND);
    let (call, wants) = bench.take_pull();
    assert_eq!(wants.except, [], "the wait is over, and the pull was renewed");
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    let (call, _) = bench.take_claim();
    bench.answer(call, Answer::Refused(Refusal::NoTask));
    assert_eq!(bench.take_pull().1.except, [offer.offer.id()]);
    bench.pass(SECOND);
    assert_eq!(bench.find_pull(), None, "the second wait is longer");
}

#[test]
fn a_claim_whose_answer_was_lost_is_repeated_word_for_word() {
    let mut bench = Bench::ready(1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 1)]));
    let (call, first) = bench.take_claim();
    bench.fail(call);
    bench.pass(SECOND);

    let (call, second) = bench.take_claim();
    assert_eq!(first.id(), second.id());
    bench.grant(call, &second, 0, 1);
    assert_eq!(bench.volunteer.jobs().count(), 1);
}

#[test]
fn a_broker_that_answers_with_nothing_is_not_asked_in_a_loop() {
    let mut bench = Bench::ready(1);
    let mut pulls = 0;
    for _ in 0..100 {
        if let Some((call, _)) = bench.find_pull() {
            pulls += 1;
            bench.answer(call, Answer::Offers(Vec::new()));
        }
        bench.pass(Duration::from_millis(100));
    }
    assert!((9..=11).contains(&pulls), "{pulls} pulls in 10 s");
}

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
    bench.handle(Input::Pause);
    bench.take(|it| (*it == Action::Suspend { lease: order.lease }).then_some(()));
    assert_eq!(bench.volunteer.idle(), Some(Idle::Paused));
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
    bench.handle(Input::Drain);
    assert_eq!(bench.volunteer.idle(), None);
    assert_eq!(bench.volunteer.obstacle(), Some(Idle::Draining));
}

#[test]
fn draining_ends_when_the_last_job_does() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.handle(Input::Drain);
    assert!(!bench.news().contains(&News::Drained));

    bench.ran(order.lease, outcome(Ended::Passed));

    assert!(bench.news().contains(&News::Drained));
    assert_eq!(bench.find_pull(), None);
}

// Leases.

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

// Results.

#[test]
fn a_result_is_durable_before_it_is_handed_over() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.slow_disk = true;
    bench.ran(order.lease, outcome(Ended::Passed));
    bench.pass(5 * SECOND);
    assert_eq!(bench.find_handover(), None);

    bench.finish_commits();

    let (to, bundle) = bench.take_handover();
    assert_eq!(to, peer(BROKER));
    assert_eq!(result_in(&bundle).lease.id(), order.lease);
}

#[test]
fn a_result_is_kept_until_its_receipt_and_sent_again_by_another_broker() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let (to, first) = bench.take_handover();
    bench.handed_over(to, first.id());
    assert_eq!(bench.volunteer.undelivered(), 1);

    // The broker is destroyed with everything that it had taken.
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    assert_eq!(bench.find_handover(), None);
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });

    let (to, second) = bench.take_handover();
    assert_eq!((to, second.id()), (peer(OTHER_BROKER), first.id()));
    assert_eq!((first.via, second.via), (peer(BROKER), peer(OTHER_BROKER)));
    bench.not_handed_over(to, second.id());
    bench.pass(SECOND);
    bench.take_handover();

    // So it is after a crash.
    let mut bench = bench.restart();
    bench.connect(BROKER);
    assert_eq!(bench.take_handover().1.id(), first.id());
}

#[test]
fn a_result_without_a_receipt_is_sent_again_by_another_broker_although_the_first_is_there() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let (to, bundle) = bench.take_handover();
    assert_eq!(to, peer(BROKER));
    bench.handed_over(to, bundle.id());

    // The broker has said that it took the result, and no receipt comes: it may have dropped it.
    bench.pass(20 * SECOND);
    let (to, again) = bench.take_handover();
    assert_eq!((to, again.id(), again.via), (peer(OTHER_BROKER), bundle.id(), peer(OTHER_BROKER)));
    bench.handed_over(to, bundle.id());
    bench.pass(40 * SECOND);
    assert_eq!(bench.take_handover().0, peer(BROKER), "and so in turn");
}

#[test]
fn results_that_are_ready_together_are_one_batch_and_one_handover() {
    let mut bench = Bench::ready(2);
    let leases: Vec<_> =
        bench.run_offer(&offered("a", 2, 1)).into_iter().map(|order| order.lease).collect();
    let ended = leases.iter().map(|lease| (*lease, outcome(Ended::Passed)));
    bench.handle(Input::Ran(ended.collect()));

    let results: Vec<_> = bench.take_handovers().iter().map(result_in).collect();
    assert_eq!(results.iter().map(|it| it.lease.id()).collect::<Vec<_>>(), leases);
    for result in &results {
        Verified::<JobResult>::check(result.envelope(), &Ed25519).expect("each stands alone");
    }
    // A batch's leaf is an array of five, a statement alone of four.
    assert!(results.iter().all(|it| it.envelope().as_bytes()[0] == 0x85));
}

#[test]
fn after_a_crash_a_lease_is_given_back_unless_its_result_is_durable() {
    let mut bench = Bench::ready(2);
    let orders = bench.run_offer(&offered("a", 2, 1));
    bench.ran(orders[0].lease, outcome(Ended::Passed));

    let mut bench = bench.restart();
    bench.connect(BROKER);
    let released = renewals(&mut bench);
    assert_eq!((released.len(), released[0].intent), (1, Intent::Release));
    assert_eq!(released[0].leases, [orders[1].lease]);
    assert_eq!(result_in(&bench.take_handover().1).lease.id(), orders[0].lease);
}

#[test]
fn what_was_judged_before_a_crash_is_not_sent_again_with_the_rest_of_its_record() {
    let mut bench = Bench::ready(2);
    let orders = bench.run_offer(&offered("a", 2, 1));
    let ended = orders.iter().map(|order| (order.lease, outcome(Ended::Passed)));
    bench.handle(Input::Ran(ended.collect()));
    let bundles = bench.take_handovers();
    let reply = bench.receive(accepted(&result_in(&bundles[0])));
    assert_eq!(bench.reply_to(reply), Some(HandoverAnswer::Taken));

    let mut bench = bench.restart();
    bench.connect(BROKER);
    let again: Vec<_> = bench.take_handovers().iter().map(Bundle::id).collect();
    assert_eq!(again, [bundles[1].id()]);
    assert_eq!(bench.volunteer.undelivered(), 1);
}

#[test]
fn a_result_is_discharged_once_and_after_its_receipt_is_durable() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let (to, bundle) = bench.take_handover();
    bench.handed_over(to, bundle.id());
    let result = result_in(&bundle);
    let is_drop = |it: &Action| matches!(it, Action::DropBlobs(_)).then_some(());
    bench.slow_disk = true;

    let reply = bench.receive(accepted(&result));
    let repeated = bench.receive(accepted(&result));
    assert_eq!((bench.reply_to(reply), bench.reply_to(repeated)), (None, None));
    assert_eq!(bench.find(is_drop), None);

    bench.finish_commits();
    assert_eq!(bench.reply_to(reply), Some(HandoverAnswer::Taken));
    assert_eq!(bench.reply_to(repeated), Some(HandoverAnswer::Taken));
    assert_eq!((bench.find(is_drop), bench.find(is_drop)), (Some(()), None));
    assert_eq!(bench.volunteer.undelivered(), 0);

    bench.slow_disk = false;
    let bench = bench.restart();
    assert_eq!(bench.volunteer.undelivered(), 0);
    let (_, total) = bench.volunteer.totals().next().unwrap();
    assert_eq!((total.accepted, total.credit), (1, Credit(7)));
    assert_eq!(bench.volunteer.receipts().count(), 1);
}

#[test]
fn a_receipt_of_another_project_discharges_nothing() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let result = result_in(&bench.take_handover().1);
    let mut forged = (*receipt(&result, Verdict::Rejected("no".into()))).clone();
    forged.project = peer(7).into();
    let delegation = capability::statements::Delegation {
        node: peer(7),
        encryption: support::adapter().public(),
        expires: forged.expires,
    };
    forged.delegation = Verified::sign(delegation, &*key(7)).envelope().clone();

    let reply = bench.receive(Verified::sign(forged, &*key(7)));

    assert_eq!(bench.reply_to(reply), Some(HandoverAnswer::Taken));
    assert_eq!(bench.volunteer.undelivered(), 1);
    assert_eq!(bench.volunteer.receipts().count(), 0);
}

/// The offer, for `volunteer` alone.
fn private(mut offered: Offered, volunteer: u8) -> Offered {
    let mut offer = (*offered.offer).clone();
    offer.package.size = encrypted_size(1000);
    let to = DecryptionKey::from_seed(&[volunteer; 32]).public();
    let (package, sealer) = (BlobKey::from_bytes([3; 32]), HpkeSealer::new([4; 32]));
    let volunteers = [(peer(volunteer), to)];
    let private = Private::new(offer.project, &offer.package, package, 1000, &volunteers, &sealer);
    offer.private = Some(private);
    offered.offer = Verified::sign(offer, &*key(ADAPTER));
    offered
}

#[test]
fn a_private_job_is_run_where_its_package_can_be_read_and_declined_elsewhere() {
    let mut bench = Bench::ready(1);
    let (call, _) = bench.take_pull();
    let foreign = private(offered("foreign", 1, 1), OTHER_BROKER);
    bench.answer(call, Answer::Offers(vec![foreign]));
    let declined = |it: &News| matches!(it, News::Declined { reason: Decline::NotForUs, .. });
    assert!(bench.news().iter().any(declined) && !bench.claims());

    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&private(offered("ours", 1, 1), ME)).remove(0);
    let opener = HpkeOpener::new([DecryptionKey::from_seed(&[ME; 32])]);
    let package = order.private.expect("it is private");
    assert_eq!((package.key(&opener), package.size), (Ok(BlobKey::from_bytes([3; 32])), 1000));
}

#[test]
fn an_outcome_that_cannot_be_said_is_this_machines_fault() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    let mut said = outcome(Ended::Passed);
    said.system = "a\nb".into();
    bench.ran(order.lease, said);
    let result = result_in(&bench.take_handover().1);
    assert!(matches!(report_in(&result).ended, Ended::Machine(_)));
}

/// Runs a job to `said`, whose report is too large; the result must survive a restart.
fn check_too_large(said: volunteer_core::Outcome, blob: Option<BlobHash>) {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, said);

    let result = result_in(&bench.take_handover().1);
    assert!(result.envelope().as_bytes().len() <= MAX_STATEMENT_BYTES);
    let report = report_in(&result);
    assert_eq!(report.ended, Ended::Failed);
    assert_eq!(report.steps[0].ending, "the report is too large");
    assert_eq!((report.steps.len(), report.artifacts.len()), (1, 0));
    let dropped =
        bench.find(|it| if let Action::DropBlobs(it) = it { Some(it.clone()) } else { None });
    assert_eq!(dropped.and_then(|blobs| blobs.first().copied()), blob);

    let mut bench = bench.restart();
    bench.connect(BROKER);
    assert_eq!(result_in(&bench.take_handover().1).id(), result.id());
}

#[test]
fn a_report_of_many_inline_logs_is_not_more_than_a_statement() {
    let step = |n| StepReport {
        name: format!("step-{n}"),
        exit: Some(0),
        ending: String::new(),
        wall_ms: 0,
        cpu_ms: 0,
        memory: 0,
        log: Log::Inline(vec![7; MAX_INLINE_LOG_BYTES]),
    };
    let mut said = outcome(Ended::Passed);
    said.steps = (0..64).map(step).collect();
    check_too_large(said, None);
}

#[test]
fn a_report_of_many_long_paths_is_not_more_than_a_statement() {
    let hash = BlobHash::of(b"artifact");
    let artifact =
        |n| Artifact { path: format!("{n:0>512}"), content: BlobPart { blob: n, size: 8, hash } };
    let mut said = outcome(Ended::Passed);
    said.artifacts = (0..256).map(artifact).collect();
    said.blobs = vec![Blob { hash, size: encrypted_size(8) }; 256];
    check_too_large(said, Some(hash));
}

#[test]
fn a_padded_lease_is_refused() {
    let mut bench = Bench::ready(1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 1, 1)]));
    let (call, claim) = bench.take_claim();
    let lease = (*support::leases(&claim, 0, 1)[0]).clone();
    bench.answer(call, Answer::Leases(vec![support::padded(lease, &key(BROKER), 60_000)]));

    let refused = |it: &News| matches!(it, News::NotGranted { .. });
    assert!(bench.news().iter().any(refused), "a lease of 60 KB was taken");
    assert_eq!(bench.restart().volunteer.jobs().count(), 0);
}

#[test]
fn a_padded_receipt_is_refused() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let result = result_in(&bench.take_handover().1);
    let receipt = (*accepted(&result)).clone();
    let reply = bench.receive(support::padded(receipt, &key(ADAPTER), 60_000));

    assert!(matches!(bench.reply_to(reply), Some(HandoverAnswer::Refused(_))));
    let bench = bench.restart();
    assert_eq!((bench.volunteer.undelivered(), bench.volunteer.receipts().count()), (1, 0));
}

// Brokers.

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

#[test]
fn reasons_are_shown_in_the_order_in_which_the_owner_can_act_on_them() {
    let mut bench = Bench::new();
    assert_eq!(bench.volunteer.idle(), Some(Idle::Probing));
    bench.handle(Input::Capabilities(machine(1)));
    assert_eq!(bench.volunteer.idle(), Some(Idle::NoPins));
    bench.handle(Input::Pins(vec![pin()]));
    assert_eq!(bench.volunteer.idle(), Some(Idle::NoBroker));
    bench.connect(BROKER);
    assert_eq!(bench.volunteer.idle(), Some(Idle::NothingSuits { declined: 0, waiting: 0 }));
}
