//! What a volunteer declines and what it claims.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{Ended, Home, Intent, Private};
use capability::{
    BlobKey, DecryptionKey, Facts, HpkeOpener, HpkeSealer, MAX_STATEMENT_BYTES, Runtime,
    RuntimeFacts, Verified, encrypted_size,
};
use mesh_core::{Answer, Ask, Offered, Refusal};
use support::{
    ADAPTER, BROKER, Bench, ME, OTHER_BROKER, START, key, machine, offered, offered_in, outcome,
    peer, pin, renewals,
};
use volunteer_core::{Action, DISK_RESERVE, Decline, Idle, Input, News, Pin};

const SECOND: Duration = Duration::from_secs(1);

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
    assert_eq!(order.cores, 2);
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
