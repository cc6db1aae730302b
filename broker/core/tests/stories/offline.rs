//! Offline leases: they hold by themselves until their deadlines.

use std::time::Duration;

use broker_core::{LEASE_TERM, MAX_OFFLINE_A_VOLUNTEER};
use capability::Verified;
use capability::statements::{Intent, Lease, Offer};
use mesh_core::{Answer, Refusal};

use crate::support::*;
use crate::{ALICE, BOB, asking};

const HOUR: Duration = Duration::from_secs(60 * 60);

/// A home with an offer whose leases may be held offline for 3 h beyond the 10 min of its job.
fn home_with_offline_offer(tasks: u32) -> (World, Key, Project, Verified<Offer>) {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let mut offer = (*project.offer(tasks, 1, world.now)).clone();
    offer.offline_ms = 3 * 60 * 60 * 1_000;
    let offer = Verified::sign(offer, &project.master);
    let publication = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    (world, home, project, offer)
}

fn claim_offline(
    world: &mut World,
    home: Key,
    volunteer: u8,
    offer: &Verified<Offer>,
    count: u16,
) -> Vec<Verified<Lease>> {
    world.pass(Duration::from_millis(1));
    let nonce = world.now.wall.0;
    let claim = asking(volunteer, home).claim_offline(offer.id(), count, nonce, world.now);
    leases(world.ask(key(volunteer).0, home, claim))
}

fn live(world: &World, home: Key) -> usize {
    world.broker(home).leases().count()
}

#[test]
fn an_offline_lease_holds_in_silence_until_its_deadline_and_a_late_result_still_counts() {
    let (mut world, home, _, offer) = home_with_offline_offer(2);
    let lease = claim_offline(&mut world, home, ALICE, &offer, 1).remove(0);
    let length = offer.job.limits.wall() + 3 * HOUR;
    assert_eq!(lease.deadline, Some(lease.granted + length));
    world.pass(length - LEASE_TERM);
    assert_eq!(live(&world, home), 1);
    // A renewal is no harm, and makes it no longer.
    let ask = asking(ALICE, home).renewal(offer.id(), vec![lease.id()], Intent::Keep, world.now);
    let kept = Answer::Renewed { lapsed: Vec::new() };
    assert_eq!(world.ask(key(ALICE).0, home, ask), kept);
    world.pass(LEASE_TERM);
    assert_eq!(live(&world, home), 0);

    let result = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.returned), (1, 1));
}

#[test]
fn a_result_within_the_deadline_counts() {
    let (mut world, home, _, offer) = home_with_offline_offer(1);
    let lease = claim_offline(&mut world, home, ALICE, &offer, 1).remove(0);
    world.pass(2 * HOUR);
    world.restart(home);
    world.pass(HOUR);
    let claim = asking(BOB, home).claim(offer.id(), 1, 5, world.now);
    assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NoTask, "it is Alice's");
    let result = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.leased, counts.returned), (0, 1));
}

#[test]
fn an_offline_lease_survives_a_restart_and_ends_when_it_said() {
    let (mut world, home, _, offer) = home_with_offline_offer(2);
    let lease = claim_offline(&mut world, home, ALICE, &offer, 1).remove(0);
    world.pass(HOUR);
    world.restart(home);
    let rest = lease.deadline.expect("offline").since(world.now.wall);
    world.pass(rest - Duration::from_secs(1));
    assert_eq!(live(&world, home), 1);
    world.pass(Duration::from_secs(1));
    assert_eq!(live(&world, home), 0);
}

#[test]
fn who_does_not_ask_for_it_or_whose_offer_has_none_gets_a_lease_for_a_term() {
    let (mut world, home, _, offer) = home_with_offline_offer(2);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(BOB).0, home, claim)).remove(0);
    assert_eq!(lease.deadline, None);
    let (mut world, home, _, offer) = crate::home_with_offer(2, 1);
    let lease = claim_offline(&mut world, home, ALICE, &offer, 1).remove(0);
    assert_eq!(lease.deadline, None);
    world.pass(LEASE_TERM);
    assert_eq!(live(&world, home), 0);
}

#[test]
fn half_of_an_offer_is_held_offline_at_most_and_no_more_by_one_volunteer_than_a_claim() {
    let (mut world, home, _, offer) = home_with_offline_offer(5);
    let granted = claim_offline(&mut world, home, ALICE, &offer, 5);
    let offline =
        |leases: &[Verified<Lease>]| leases.iter().filter(|it| it.deadline.is_some()).count();
    assert_eq!((granted.len(), offline(&granted)), (5, 3));
    let back = granted.iter().map(Verified::id).collect();
    let ask = asking(ALICE, home).release(offer.id(), back, false, world.now);
    assert_eq!(world.ask(key(ALICE).0, home, ask), Answer::Renewed { lapsed: Vec::new() });
    assert_eq!(offline(&claim_offline(&mut world, home, BOB, &offer, 5)), 3);

    let (mut world, home, _, offer) = home_with_offline_offer(2_000);
    let claims = (0..3).map(|_| claim_offline(&mut world, home, ALICE, &offer, 200));
    let granted: Vec<_> = claims.collect::<Vec<_>>().concat();
    assert_eq!((granted.len(), offline(&granted)), (600, MAX_OFFLINE_A_VOLUNTEER));
    assert_eq!(offline(&claim_offline(&mut world, home, BOB, &offer, 200)), 200);
}

#[test]
fn no_lease_is_longer_than_its_offer() {
    let (mut world, home, _, offer) = home_with_offline_offer(4);
    world.pass(22 * HOUR);
    let lease = claim_offline(&mut world, home, ALICE, &offer, 1).remove(0);
    assert_eq!(lease.deadline, Some(offer.expires));
}

#[test]
fn a_new_epoch_ends_offline_leases_too() {
    let (mut world, home, project, offer) = home_with_offline_offer(2);
    claim_offline(&mut world, home, ALICE, &offer, 1);
    let publication = publication(project, &offer, 2, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    assert_eq!(live(&world, home), 0);
}
