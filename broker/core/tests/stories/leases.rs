//! Leases: one holder a replica, terms, epochs.

use std::time::Duration;

use broker_core::{GossipToken, Input, LEASE_TERM, News};
use capability::statements::Intent;
use capability::{Runtime, Verified};
use mesh_core::{Answer, Ask, Gossip, Now, Published, Refusal};

use crate::support::*;
use crate::{ALICE, BOB, asking, home_with_offer};

#[test]
fn two_volunteers_never_hold_the_same_task() {
    let (mut world, home, _, offer) = home_with_offer(3, 1);
    let mut granted = Vec::new();
    for (nonce, volunteer) in [ALICE, BOB].into_iter().enumerate() {
        let claim = asking(volunteer, home).claim(offer.id(), 2, nonce as u64, world.now);
        granted.extend(tasks(&leases(world.ask(key(volunteer).0, home, claim))));
    }
    granted.sort();
    assert_eq!(granted.iter().map(|task| task.task).collect::<Vec<_>>(), [0, 1, 2]);
    let claim = asking(BOB, home).claim(offer.id(), 1, 9, world.now);
    assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NoTask);
}

#[test]
fn replicas_of_a_task_go_to_different_volunteers() {
    let (mut world, home, _, offer) = home_with_offer(1, 2);
    let claim = asking(ALICE, home).claim(offer.id(), 2, 0, world.now);
    let first = leases(world.ask(key(ALICE).0, home, claim));
    assert_eq!(tasks(&first).iter().map(|task| task.replica).collect::<Vec<_>>(), [0]);

    // Returned or not, she has had her say about this task.
    let result = result(key(ALICE), &first[0], world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    let claim = asking(ALICE, home).claim(offer.id(), 2, 1, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, claim)), Refusal::NoTask);
    let claim = asking(BOB, home).claim(offer.id(), 2, 0, world.now);
    let second = leases(world.ask(key(BOB).0, home, claim));
    assert_eq!(tasks(&second).iter().map(|task| task.replica).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_repeated_claim_finds_its_leases_again_and_no_others() {
    let (mut world, home, _, offer) = home_with_offer(3, 1);
    let volunteer = asking(ALICE, home);
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let first = leases(world.ask(key(ALICE).0, home, claim.clone()));
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim.clone())), first);

    let ids = first.iter().map(Verified::id).collect();
    let release = volunteer.renewal(offer.id(), ids, Intent::Release, world.now);
    world.ask(key(ALICE).0, home, release);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, claim)), Refusal::NoTask);
}

#[test]
fn a_lease_is_granted_only_once_it_is_durable() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    world.hold_disk(home);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let first = world.begin(key(ALICE).0, home, claim.clone());
    let again = world.begin(key(ALICE).0, home, claim);
    assert_eq!(world.answer(first), None);
    assert_eq!(world.answer(again), None, "the repetition rests on the same write");
    world.release_disk(home);
    assert_eq!(world.answer(first), world.answer(again));
}

#[test]
fn a_renewed_lease_holds_and_one_that_is_not_opens_its_task_again() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let volunteer = asking(ALICE, home);
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted: Vec<_> =
        leases(world.ask(key(ALICE).0, home, claim)).iter().map(Verified::id).collect();
    let renewed = |lapsed| Answer::Renewed { lapsed };

    world.pass(LEASE_TERM * 2 / 3);
    let keep = volunteer.renewal(offer.id(), granted.clone(), Intent::Keep, world.now);
    assert_eq!(world.ask(key(ALICE).0, home, keep.clone()), renewed(vec![]));
    world.pass(LEASE_TERM * 2 / 3);
    assert_eq!(world.broker(home).leases().count(), 1, "the renewal has carried it on");

    // The same renewal, replayed by somebody on the way, adds nothing.
    assert_eq!(world.ask(key(ALICE).0, home, keep), renewed(vec![]));
    world.pass(LEASE_TERM * 2 / 3);
    assert_eq!(world.broker(home).leases().count(), 0);
    assert!(world.news.iter().any(|(_, news)| matches!(news, News::Lapsed { .. })));

    let late = volunteer.renewal(offer.id(), granted.clone(), Intent::Keep, world.now);
    assert_eq!(world.ask(key(ALICE).0, home, late), renewed(granted));
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(BOB).0, home, claim)).len(), 1);
}

#[test]
fn a_volunteer_whose_clock_is_behind_the_homes_can_renew() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let volunteer = asking(ALICE, home);
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted: Vec<_> =
        leases(world.ask(key(ALICE).0, home, claim)).iter().map(Verified::id).collect();

    world.pass(LEASE_TERM * 2 / 3);
    let behind = Now { wall: world.now.wall.before(Duration::from_secs(60)), ..world.now };
    let keep = volunteer.renewal(offer.id(), granted, Intent::Keep, behind);
    assert_eq!(world.ask(key(ALICE).0, home, keep), Answer::Renewed { lapsed: vec![] });
    world.pass(LEASE_TERM * 2 / 3);
    assert_eq!(world.broker(home).leases().count(), 1, "what was answered was done");
}

#[test]
fn nobody_renews_or_releases_anothers_lease() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let granted: Vec<_> =
        leases(world.ask(key(ALICE).0, home, claim)).iter().map(Verified::id).collect();
    let theft = asking(BOB, home).renewal(offer.id(), granted.clone(), Intent::Release, world.now);
    assert_eq!(world.ask(key(BOB).0, home, theft), Answer::Renewed { lapsed: granted });
    assert_eq!(world.broker(home).leases().count(), 1);
}

#[test]
fn a_restarted_home_gives_every_lease_one_more_term() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    world.ask(key(ALICE).0, home, claim);
    world.pass(LEASE_TERM - Duration::from_secs(1));
    world.restart(home);

    world.pass(LEASE_TERM - Duration::from_secs(1));
    assert_eq!(world.broker(home).leases().count(), 1);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NoTask);
    world.pass(Duration::from_secs(1));
    assert_eq!(world.broker(home).leases().count(), 0);
}

#[test]
fn only_the_home_of_the_epoch_grants() {
    let (home, standby, project) = (key(1), key(2), project(0));
    let mut world = World::of(&[home, standby]);
    let offer = project.offer(1, 1, world.now);
    let publication = Ask::Publish {
        registration: project.registration(world.now),
        home: project.home(1, home, &[standby], world.now),
        offers: vec![Published { offer: offer.clone(), again: false, settled: Vec::new() }],
    };
    assert_eq!(world.ask(project.master.0, home, publication.clone()), Answer::Done);
    assert_eq!(world.ask(project.master.0, standby, publication), Answer::Done);

    let at_standby = Asking { home: standby, ..asking(ALICE, standby) };
    let claim = at_standby.claim(offer.id(), 1, 0, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, standby, claim)), Refusal::NotHome);
    let of_the_future = Asking { epoch: 2, ..asking(ALICE, home) };
    let claim = of_the_future.claim(offer.id(), 1, 0, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, claim)), Refusal::NotHome);
}

#[test]
fn a_higher_epoch_ends_the_rights_of_the_former_home_for_good() {
    let (mut world, home, project, offer) = home_with_offer(2, 1);
    let elsewhere = key(2);
    let volunteer = asking(ALICE, home);
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);

    let moved = Gossip::Home(project.home(2, elsewhere, &[], world.now));
    let token = GossipToken(1);
    world.put(home.0, Input::Gossip { gossip: moved, from: elsewhere.0, token });
    assert_eq!(world.broker(home).leases().count(), 0);
    world.restart(home);
    for epoch in [1, 2] {
        let claim = Asking { epoch, ..asking(BOB, home) }.claim(offer.id(), 1, epoch, world.now);
        assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NotHome);
    }
    let publication = publication(project, &offer, 1, home, world.now);
    assert!(matches!(
        refusal(world.ask(project.master.0, home, publication)),
        Refusal::Superseded { .. }
    ));
}

#[test]
fn claims_of_several_offers_are_answered_each_by_itself() {
    let (mut world, home, project, first) = home_with_offer(2, 1);
    world.pass(Duration::from_millis(1));
    let second = project.offer(1, 1, world.now);
    let publication = publication(project, &second, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    let claims = |volunteer: u8, nonce: u64, world: &World| {
        let of = |offer| match asking(volunteer, home).claim(offer, 1, nonce, world.now) {
            Ask::Claim { mut claims, .. } => claims.remove(0),
            other => unreachable!("{other:?}"),
        };
        let claims = [first.id(), second.id()].map(of).to_vec();
        Ask::Claim { claims, home: home.0, hops: 1 }
    };
    let bobs = claims(BOB, 1, &world);
    let Answer::Each(parts) = world.ask(key(BOB).0, home, bobs.clone()) else { panic!("each") };
    let granted = parts.iter().map(|part| leases(part.clone())[0].task.offer).collect::<Vec<_>>();
    assert_eq!(granted, [first.id(), second.id()]);
    assert_eq!(world.ask(key(BOB).0, home, bobs), Answer::Each(parts), "the same again");

    let alices = claims(ALICE, 2, &world);
    let Answer::Each(parts) = world.ask(key(ALICE).0, home, alices) else { panic!("each") };
    assert_eq!(leases(parts[0].clone())[0].task.offer, first.id());
    assert_eq!(parts[1], Answer::Refused(Refusal::NoTask), "Bob has it");
    world.restart(home);
    assert_eq!(world.broker(home).leases().count(), 3, "what was granted is durable");
}

#[test]
fn a_claim_needs_an_ad_of_the_claimer_that_satisfies_the_offer() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let claim = |ad: &Verified<capability::statements::Ad>, runtime: Runtime| {
        let claim = capability::statements::Claim {
            offer: offer.id(),
            epoch: 1,
            count: 1,
            runtime,
            ad: ad.envelope().clone(),
            ownership: None,
            offline: false,
            nonce: 0,
            expires: offer.issued + Duration::from_secs(60),
        };
        Ask::Claim { claims: vec![Verified::sign(claim, &key(ALICE))], home: home.0, hops: 1 }
    };
    let weak = ad(key(ALICE), home, 1, world.now);
    let answer = world.ask(key(ALICE).0, home, claim(&weak, Runtime::Wasm));
    let reason = "needs 2 cores, 1 is donated".to_owned();
    assert_eq!(refusal(answer), Refusal::Unmatched(reason));

    let bobs = ad(key(BOB), home, 4, world.now);
    let answer = world.ask(key(ALICE).0, home, claim(&bobs, Runtime::Wasm));
    assert!(matches!(refusal(answer), Refusal::Invalid(_)));
    let good = ad(key(ALICE), home, 4, world.now);
    let answer = world.ask(key(ALICE).0, home, claim(&good, Runtime::Native));
    assert!(matches!(refusal(answer), Refusal::Unmatched(_)));
}
