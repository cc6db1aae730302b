//! Stories of a machine that is seldom online.

mod support;

use std::time::Duration;

use capability::statements::{Blob, BlobPart, Ended, Intent, Lease, Log, Ownership, StepReport};
use capability::{BlobHash, Ed25519, Verified, encrypted_size};
use mesh_core::{Answer, Ask};
use support::{BROKER, Bench, START, accepted, key, offered, outcome, peer, result_in};
use volunteer_core::{Action, Decline, Fate, Input, News, Offline, Outcome};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Claims an offer and is granted one offline lease of three hours.
fn hold_offline(bench: &mut Bench) -> Verified<Lease> {
    let offer = offered("a", 4, 1);
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    let (call, claim) = bench.take_claim();
    let lease = support::leases(&claim, 0, 1).remove(0);
    let lease = Lease { deadline: Some(START + 3 * HOUR), ..(*lease).clone() };
    let lease = Verified::sign(lease, &*key(BROKER));
    bench.answer(call, Answer::Leases(vec![lease.clone()]));
    bench.fetched(&offer.offer);
    bench.take_order();
    lease
}

fn renews(bench: &mut Bench) -> bool {
    let renewal = |it: &Action| matches!(it, Action::Ask { ask: Ask::Renew { .. }, .. });
    bench.find(|it| renewal(it).then_some(())).is_some()
}

fn wants_offline(bench: &mut Bench) -> bool {
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 4, 1)]));
    bench.take_claim().1.offline
}

#[test]
fn an_offline_lease_is_not_renewed_and_its_result_comes_home_when_there_is_a_broker_again() {
    let mut bench = Bench::ready(1);
    let lease = hold_offline(&mut bench);
    bench.pass(60 * SECOND);
    assert!(!renews(&mut bench));

    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    bench.pass(HOUR);
    bench.ran(lease.id(), outcome(Ended::Passed));
    bench.pass(HOUR);
    bench.news();
    bench.connect(BROKER);
    let (to, bundle) = bench.take_handover();
    assert_eq!(to, peer(BROKER));
    let result = result_in(&bundle);
    assert_eq!(result.lease.id(), lease.id());
    bench.handed_over(to, bundle.id());
    bench.receive(accepted(&result));
    assert!(!bench.news().iter().any(|it| matches!(it, News::Lapsed { .. })));
}

#[test]
fn a_result_whose_offer_has_expired_meanwhile_is_let_go_with_its_blobs_and_told_once() {
    let mut bench = Bench::ready(1);
    let lease = hold_offline(&mut bench);
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });
    let blob = Blob { hash: BlobHash::of(b"log"), size: encrypted_size(600) };
    let log = Log::Blob(BlobPart { blob: 0, size: 600, hash: BlobHash::of(b"plain") });
    let (name, ending) = ("a".into(), String::new());
    let (wall_ms, cpu_ms, memory, fuel) = (0, 0, 0, None);
    let step = StepReport { name, exit: Some(0), ending, wall_ms, cpu_ms, memory, fuel, log };
    let (steps, blobs) = (vec![step], vec![blob]);
    bench.ran(lease.id(), Outcome { steps, blobs, ..outcome(Ended::Passed) });
    bench.pass(22 * HOUR);
    assert_eq!(bench.volunteer.undelivered(), 1, "its offer has two hours left");
    bench.news();

    // So it is also if the machine was switched off over the end.
    let mut bench = bench.restart();
    bench.pass(48 * HOUR);
    let told = bench.news().into_iter().filter(|it| matches!(it, News::Expired { .. }));
    assert_eq!(told.count(), 1);
    assert!(!bench.volunteer.needs_blob(&blob.hash));
    let dropped =
        bench.find(|it| if let Action::DropBlobs(it) = it { Some(it.clone()) } else { None });
    assert_eq!(dropped, Some(vec![blob.hash]));
    assert_eq!(bench.volunteer.history(u64::MAX, 1).next().map(|it| it.1), Some(Fate::Unknown));
    bench.connect(BROKER);
    assert_eq!(bench.find_handover(), None);

    let mut bench = bench.restart();
    bench.pass(SECOND);
    assert!(!bench.news().iter().any(|it| matches!(it, News::Expired { .. })));
}

#[test]
fn a_job_outlives_its_offline_lease_and_that_is_told_once() {
    let mut bench = Bench::ready(1);
    let lease = hold_offline(&mut bench);
    bench.pass(2 * HOUR);
    assert!(!bench.news().iter().any(|it| matches!(it, News::Lapsed { .. })));
    bench.pass(2 * HOUR);
    let lapsed = bench.news().into_iter().filter(|it| matches!(it, News::Lapsed { .. }));
    assert_eq!(lapsed.count(), 1);
    let job = bench.volunteer.jobs().next().expect("it goes on").clone();
    assert!(job.lapsed);
    bench.ran(lease.id(), outcome(Ended::Passed));
    bench.take_handover();
}

#[test]
fn an_offline_lease_that_is_given_up_is_released() {
    let mut bench = Bench::ready(1);
    let lease = hold_offline(&mut bench);
    bench.handle(Input::Quit);
    let (_, ask) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    let Ask::Renew { renewal, .. } = ask else { unreachable!() };
    assert_eq!((renewal.intent, renewal.lost), (Intent::Release, false));
    assert_eq!(renewal.leases, [lease.id()]);
}

#[test]
fn what_a_killed_process_held_is_released_as_lost() {
    let mut bench = Bench::ready(1);
    hold_offline(&mut bench);
    let mut bench = bench.restart();
    bench.connect(BROKER);
    let (_, ask) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    let Ask::Renew { renewal, .. } = ask else { unreachable!() };
    assert_eq!((renewal.intent, renewal.lost), (Intent::Release, true));
}

#[test]
fn offline_leases_are_asked_for_always_never_or_after_an_absence() {
    for (offline, before, after) in [
        (Offline::Always, true, true),
        (Offline::Never, false, false),
        (Offline::Auto, false, true),
    ] {
        let ready = || {
            let mut bench = Bench::ready(1);
            bench.handle(Input::Offline(offline));
            bench
        };
        assert_eq!(wants_offline(&mut ready()), before, "{offline:?} at first");
        let mut bench = ready();
        bench.handle(Input::BrokerDown { peer: peer(BROKER) });
        bench.pass(29 * SECOND);
        bench.connect(BROKER);
        assert_eq!(wants_offline(&mut bench), before, "{offline:?} after a hiccup");
        let mut bench = ready();
        bench.handle(Input::BrokerDown { peer: peer(BROKER) });
        bench.pass(30 * SECOND);
        bench.connect(BROKER);
        assert_eq!(bench.volunteer.is_seldom_online(), after);
        assert_eq!(wants_offline(&mut bench), after, "{offline:?} after an absence");
    }
}

#[test]
fn a_machine_that_slept_was_absent_and_after_a_day_that_is_forgotten() {
    let mut bench = Bench::ready(1);
    // While it sleeps, only wall time goes on.
    bench.now.wall = bench.now.wall + HOUR;
    bench.handle(Input::Wake);
    assert!(bench.volunteer.is_seldom_online());
    bench.now = bench.now.after(24 * HOUR);
    bench.handle(Input::Wake);
    assert!(!bench.volunteer.is_seldom_online());
}

#[test]
fn a_claim_says_whose_the_machine_is() {
    let mut bench = Bench::ready(1);
    let ownership = Ownership { nodes: vec![peer(support::ME)], expires: START + 24 * HOUR };
    let owner = Verified::sign(ownership, &*key(9));
    bench.handle(Input::Owner(Some(owner.clone())));
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offered("a", 4, 1)]));
    let (_, claim) = bench.take_claim();
    assert_eq!(claim.ownership.as_ref().map(|it| it.id()), Some(owner.id()));
    assert!(Verified::<capability::statements::Claim>::check(claim.envelope(), &Ed25519).is_ok());
}

#[test]
fn an_offer_whose_home_nobody_sees_is_not_claimed_and_the_reason_is_shown() {
    let mut bench = Bench::ready(1);
    let offer = mesh_core::Offered { home_unseen: Some(3 * 3_600 + 5), ..offered("a", 4, 1) };
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer]));
    assert!(!bench.claims());
    let reason = bench.volunteer.declined().next().expect("declined").reason.clone();
    assert_eq!(reason, Decline::HomeUnseen { minutes: 128 });
    assert!(reason.to_string().contains("not been seen for over 2 h"), "{reason}");
    // When the home is back it is taken at once.
    bench.pass(2 * SECOND);
    let (call, wants) = bench.take_pull();
    assert_eq!(wants.except, []);
    bench.answer(call, Answer::Offers(vec![offered("a", 4, 1)]));
    bench.take_claim();
}
