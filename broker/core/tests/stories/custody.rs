//! Results and receipts on their way.

use std::time::Duration;

use broker_core::{GossipToken, Input, LEASE_TERM};
use capability::statements::{Intent, JobResult, Verdict};
use capability::{MAX_CLOCK_SKEW, ProjectKey, Verified};
use mesh_core::{Answer, Ask, Gossip, HandoverAnswer, Refusal};

use crate::support::*;
use crate::{ALICE, BOB, asking, home_with_offer, line_with_offer};

#[test]
fn a_volunteer_learns_at_the_other_end_of_a_line_who_a_project_is() {
    let (mut world, [near, ..], known, _) = line_with_offer();
    let projects = vec![project(7).name(), known.name()];
    let answer = world.ask(key(ALICE).0, near, Ask::Registrations { projects });
    let Answer::Registrations(registrations) = answer else { panic!("{answer:?}") };
    let signers: Vec<ProjectKey> = registrations.iter().map(|it| it.signer().into()).collect();
    assert_eq!(signers, [known.name()], "it need not know them all");
}

#[test]
fn a_job_crosses_a_line_of_brokers_and_its_receipt_comes_back() {
    let (mut world, [near, _, home], project, offer) = line_with_offer();
    let ad = ad(key(ALICE), near, 4, world.now);
    world.ask(key(ALICE).0, near, Ask::Advertise { ad });
    let shown = offered(world.ask(key(ALICE).0, near, Ask::Pull { wants: wants() }));
    assert_eq!(shown[0].home.home, home.0);

    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    assert_eq!(granted[0].signer(), home.0);
    let keep = volunteer.renewal(offer.id(), vec![granted[0].id()], Intent::Keep, world.now);
    assert_eq!(world.ask(key(ALICE).0, near, keep), Answer::Renewed { lapsed: vec![] });

    let result = result(key(ALICE), &granted[0], world.now);
    let answer = world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    assert_eq!(answer, HandoverAnswer::Taken);
    let arrived = world.delivered_to(project.master.0);
    assert_eq!(arrived, [result_bundle(&result, near)]);
    assert_eq!(world.broker(home).leases().count(), 0, "returned");

    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, near.0));
    assert_eq!(world.delivered_to(key(ALICE).0), [receipt_bundle(&receipt, near.0)]);
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.returned, counts.done), (0, 0, 1));
    for broker in [near, key(2), home] {
        assert_eq!(world.broker(broker).status().custody, 0, "{broker:?}", broker = broker.0);
    }
}

#[test]
fn a_result_waits_where_the_way_is_cut_and_survives_a_restart_there() {
    let (mut world, [near, middle, home], project, offer) = line_with_offer();
    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    world.disconnect(middle.0, home.0);
    let result = result(key(ALICE), &granted[0], world.now);
    world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    world.pass(Duration::from_secs(60));
    let holder =
        |world: &World| [near, middle, home].map(|broker| world.broker(broker).holds(result.id()));
    assert_eq!(holder(&world).iter().filter(|holds| **holds).count(), 1);

    let holding = if holder(&world)[0] { near } else { middle };
    world.restart(holding);
    assert!(world.broker(holding).holds(result.id()));
    world.connect(near.0, middle.0);
    world.connect(middle.0, home.0);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.delivered_to(project.master.0).len(), 1);
}

#[test]
fn custody_is_acknowledged_only_once_the_bundle_is_durable() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    world.connect(project.master.0, home.0);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);

    world.hold_disk(home);
    let first = world.begin_handover(key(ALICE).0, home, result_bundle(&result, home));
    let again = world.begin_handover(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.handover_answer(first), None);
    assert_eq!(world.handover_answer(again), None, "it rests on the same write");
    assert_eq!(world.delivered, [], "nor is it handed on before");
    world.release_disk(home);
    assert_eq!(world.handover_answer(first), Some(HandoverAnswer::Taken));
    assert_eq!(world.handover_answer(again), Some(HandoverAnswer::Taken));
    assert_eq!(world.delivered_to(project.master.0).len(), 1);
}

#[test]
fn every_record_fits_into_the_store_however_large_the_statement() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let with_log = |bytes: usize, now| {
        let mut large: JobResult = (*result(key(ALICE), &lease, now)).clone();
        large.report.body = vec![0; bytes];
        Verified::sign(large, &key(ALICE))
    };
    for bytes in (56_000..66_000).step_by(20) {
        let result = with_log(bytes, world.now);
        if result.envelope().as_bytes().len() > capability::MAX_STATEMENT_BYTES {
            break;
        }
        let answer = world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
        assert_eq!(answer, HandoverAnswer::Taken);
    }
    assert!(world.largest_record(home) > 65_000, "close to the largest statement");
    // The store's bound of a value: a statement, and 4 KiB for the record around it.
    assert!(world.largest_record(home) <= 68 << 10);
}

#[test]
fn a_result_that_is_receipted_already_gets_its_receipt_again() {
    let (mut world, [near, _, home], project, offer) = line_with_offer();
    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    let result = result(key(ALICE), &granted[0], world.now);
    world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, near.0));

    // The receipt was lost with her old broker; the master is away; the home has been restarted.
    world.delivered.clear();
    world.restart(home);
    world.connect(key(ALICE).0, home.0);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.delivered_to(key(ALICE).0), [receipt_bundle(&receipt, home.0)]);
    assert_eq!(world.delivered_to(project.master.0), []);
}

#[test]
fn another_project_has_no_say_about_a_task() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let other = crate::support::project(1);
    let theirs = other.offer(1, 1, world.now);
    let publication = publication(other, &theirs, 1, home, world.now);
    world.ask(other.master.0, home, publication);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);

    let meddling = other.receipt(&result, accepted(), world.now);
    world.hand_over(other.master.0, home, receipt_bundle(&meddling, home.0));
    assert_eq!(world.broker(home).leases().count(), 1, "the lease holds");
    world.connect(project.master.0, home.0);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.delivered_to(project.master.0).len(), 1, "and the result goes to its master");
}

/// Of a task whose result was returned: whether it is open after that judgement.
fn open_after(verdict: Verdict) -> usize {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    world.pass(LEASE_TERM * 2);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NoTask, "it is being judged");
    let receipt = project.receipt(&result, verdict, world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    world.restart(home);
    world.broker(home).status().offers[0].counts.expect("granted here").open
}

#[test]
fn a_judgement_settles_a_task_or_opens_it_again() {
    assert_eq!(open_after(accepted()), 0);
    assert_eq!(open_after(Verdict::Again("the machine's disk was full".to_owned())), 1);
    assert_eq!(open_after(Verdict::Rejected("not what was leased".to_owned())), 1);
}

#[test]
fn a_late_result_counts_while_its_task_is_open_and_a_forged_one_never() {
    let (mut world, home, _, offer) = home_with_offer(2, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    world.pass(LEASE_TERM * 2);
    let returned =
        |world: &World| world.broker(home).status().offers[0].counts.map(|it| it.returned);

    let forged_lease = Verified::sign((*lease).clone(), &key(BOB));
    let forged = result(key(ALICE), &forged_lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&forged, home));
    assert_eq!(returned(&world), Some(0));
    let late: Verified<JobResult> = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&late, home));
    assert_eq!(returned(&world), Some(1));
}

#[test]
fn a_result_that_expires_before_its_offer_does_not_close_its_task() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let expires = world.now.wall + Duration::from_secs(60);
    let result = JobResult { expires, ..(*result(key(ALICE), &lease, world.now)).clone() };
    let result = Verified::sign(result, &key(ALICE));
    world.connect(project.master.0, home.0);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.delivered_to(project.master.0).len(), 1, "it passes through");
    world.pass(LEASE_TERM);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(BOB).0, home, claim)).len(), 1);
}

#[test]
fn custody_is_not_taken_of_what_lasts_too_long_or_comes_from_the_future() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let sound = result(key(ALICE), &lease, world.now);
    let lasting = JobResult { expires: world.now.wall + 31 * DAY, ..(*sound).clone() };
    let lasting = Verified::sign(lasting, &key(ALICE));
    let answer = world.hand_over(key(ALICE).0, home, result_bundle(&lasting, home));
    assert!(matches!(answer, HandoverAnswer::Refused(_)), "{answer:?}");

    let ahead = world.now.after(MAX_CLOCK_SKEW + Duration::from_millis(1));
    let receipt = project.receipt(&sound, accepted(), ahead);
    let answer = world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    assert!(matches!(answer, HandoverAnswer::Refused(_)), "{answer:?}");
    world.pass(Duration::from_millis(1));
    let answer = world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    assert_eq!(answer, HandoverAnswer::Taken, "clocks differ by so much");
}

#[test]
fn custody_of_a_result_is_taken_only_where_the_home_of_its_project_is_known() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let near = key(2);
    world.join(near);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    let answer = world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    assert!(matches!(&answer, HandoverAnswer::Refused(why) if why.contains("no home")));

    let gossip = Gossip::Home(project.home(1, home, &[], world.now));
    world.put(near.0, Input::Gossip { gossip, from: key(9).0, token: GossipToken(1) });
    let answer = world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    assert_eq!(answer, HandoverAnswer::Taken);
}
