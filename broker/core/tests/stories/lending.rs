//! Tasks that a master carries to a machine without a network (C15).

use std::time::Duration;

use broker_core::{LEASE_TERM, MAX_OFFLINE_A_VOLUNTEER};
use capability::statements::{Lease, Offer};
use capability::{Runtime, Timestamp, Verified};
use mesh_core::{Answer, Ask, Loan, Refusal};

use crate::support::*;
use crate::{ALICE, BOB, asking, home_with_offer};

const HOUR: Duration = Duration::from_secs(60 * 60);

fn loan(world: &World, offer: &Verified<Offer>, count: u16) -> Loan {
    Loan {
        offer: offer.id(),
        epoch: 1,
        volunteer: key(ALICE).0,
        runtime: Runtime::Wasm,
        count,
        until: world.now.wall + 3 * HOUR,
    }
}

fn lend(world: &mut World, project: Project, home: Key, loan: Loan) -> Vec<Verified<Lease>> {
    leases(world.ask(project.master.0, home, Ask::Lend(loan)))
}

fn counts(world: &World, home: Key) -> (usize, usize, usize) {
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    (counts.open, counts.leased, counts.done)
}

#[test]
fn what_is_lent_is_nobody_elses_until_its_receipt_or_its_deadline() {
    let (mut world, home, project, offer) = home_with_offer(2, 1);
    let ask = loan(&world, &offer, 2);
    let until = ask.until;
    let lent = lend(&mut world, project, home, ask);
    assert!(lent.iter().all(|it| it.deadline == Some(until) && it.volunteer == key(ALICE).0));
    world.pass(HOUR);
    world.restart(home);
    let claim = asking(BOB, home).claim(offer.id(), 1, 5, world.now);
    assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NoTask, "it is lent");

    // The result goes to the master without any broker; what the home sees is the receipt.
    let result = result(key(ALICE), &lent[0], world.now);
    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    assert_eq!(counts(&world, home), (0, 1, 1));
    world.pass(2 * HOUR + LEASE_TERM);
    assert_eq!(counts(&world, home), (1, 0, 1), "the other task is for everybody again");
}

#[test]
fn the_same_again_brings_the_same_leases_and_no_more() {
    let (mut world, home, project, offer) = home_with_offer(5, 1);
    let ask = loan(&world, &offer, 2);
    let first = lend(&mut world, project, home, ask.clone());
    world.pass(Duration::from_secs(60));
    assert_eq!(lend(&mut world, project, home, ask.clone()), first);
    world.restart(home);
    let ids = |leases: &[Verified<Lease>]| leases.iter().map(Verified::id).collect::<Vec<_>>();
    let more = lend(&mut world, project, home, Loan { count: 3, ..ask });
    assert_eq!((&ids(&more)[..2], more.len()), (&ids(&first)[..], 3));
    assert_eq!(counts(&world, home), (2, 3, 0));
}

#[test]
fn only_whoever_signed_the_offer_lends_of_it_and_only_what_could_be_run() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let good = loan(&world, &offer, 1);
    let mut refused = |from: Key, loan: Loan| refusal(world.ask(from.0, home, Ask::Lend(loan)));
    let invalid = |refusal: Refusal| matches!(refusal, Refusal::Invalid(_));
    let master = project.master;
    assert!(invalid(refused(key(ALICE), good.clone())), "not even who would have it");
    assert!(invalid(refused(crate::support::project(1).master, good.clone())));
    assert!(invalid(refused(master, Loan { until: Timestamp(1), ..good.clone() })));
    let beyond = offer.expires + Duration::from_millis(1);
    assert!(invalid(refused(master, Loan { until: beyond, ..good.clone() })));
    assert_eq!(refused(master, Loan { epoch: 2, ..good.clone() }), Refusal::NotHome);
    let native = refused(master, Loan { runtime: Runtime::Native, ..good });
    assert!(matches!(native, Refusal::Unmatched(_)), "{native:?}");
    assert_eq!(counts(&world, home), (1, 0, 0));

    let private = project.private_offer(key(BOB), world.now);
    let publication = publication(project, &private, 1, home, world.now);
    assert_eq!(world.ask(master.0, home, publication), Answer::Done);
    let loan = Loan { offer: private.id(), ..good };
    let unreadable = refusal(world.ask(master.0, home, Ask::Lend(loan.clone())));
    assert!(matches!(unreadable, Refusal::Unmatched(_)), "{unreadable:?}");
    let readable = Loan { volunteer: key(BOB).0, ..loan };
    assert_eq!(lend(&mut world, project, home, readable).len(), 1);
}

#[test]
fn one_volunteer_is_lent_no_more_than_it_may_hold_offline() {
    let (mut world, home, project, offer) = home_with_offer(2_000, 1);
    let ask = Loan { count: 256, ..loan(&world, &offer, 1) };
    assert_eq!(lend(&mut world, project, home, ask.clone()).len(), MAX_OFFLINE_A_VOLUNTEER);
    let wasm_again = lend(&mut world, project, home, ask.clone());
    assert_eq!(wasm_again.len(), MAX_OFFLINE_A_VOLUNTEER);
    let other = project.offer(1, 1, world.now.after(HOUR));
    let publication = publication(project, &other, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    let more = Ask::Lend(Loan { offer: other.id(), count: 1, ..ask });
    let full = refusal(world.ask(project.master.0, home, more));
    assert!(matches!(full, Refusal::Full(_)), "{full:?}");
}

#[test]
fn a_new_epoch_ends_what_was_lent_and_two_replicas_are_never_lent_to_one() {
    let (mut world, home, project, offer) = home_with_offer(1, 2);
    let ask = loan(&world, &offer, 2);
    assert_eq!(lend(&mut world, project, home, ask.clone()).len(), 1, "of one task one replica");
    let publication = publication(project, &offer, 2, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    assert_eq!(counts(&world, home), (2, 0, 0));
    assert_eq!(refusal(world.ask(project.master.0, home, Ask::Lend(ask))), Refusal::NotHome);
}
