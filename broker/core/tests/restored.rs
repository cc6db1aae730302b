//! A broker that was restored from a back-up grants nothing until it is given a new epoch.

mod support;

use capability::statements::Intent;
use mesh_core::{Answer, Ask, Refusal};
use support::*;

const ALICE: u8 = 50;
const BOB: u8 = 51;

fn asking(volunteer: u8, home: Key, epoch: u64) -> Asking {
    Asking { volunteer: key(volunteer), at: home, home, epoch }
}

/// The same publication by a master that remembers, or does not, that this broker acknowledged it.
fn remembering(publication: &Ask, remembers: bool) -> Ask {
    let mut publication = publication.clone();
    if let Ask::Publish { offers, .. } = &mut publication {
        offers[0].again = remembers;
    }
    publication
}

#[test]
fn what_was_granted_after_the_back_up_is_granted_again_in_a_new_epoch_only() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(3, 1, world.now);
    let first = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, first.clone()), Answer::Done);
    let claim = |world: &mut World, who: u8, epoch: u64, count: u16| {
        let claim = asking(who, home, epoch).claim(offer.id(), count, epoch, world.now);
        world.ask(key(who).0, home, claim)
    };
    let before = leases(claim(&mut world, ALICE, 1, 1));
    let backup = world.back_up(home);
    let after = leases(claim(&mut world, BOB, 1, 1));

    world.restore(home, backup);
    assert_eq!(refusal(claim(&mut world, ALICE, 1, 9)), Refusal::UnknownOffer);
    assert_eq!(world.broker(home).leases().count(), 0);
    let keep = asking(ALICE, home, 1);
    let keep = keep.renewal(offer.id(), vec![before[0].id()], Intent::Keep, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, keep)), Refusal::UnknownOffer);
    for remembers in [true, false] {
        let answer = world.ask(project.master.0, home, remembering(&first, remembers));
        assert_eq!(refusal(answer), Refusal::Forgotten, "remembers: {remembers}");
        world.restart(home);
    }
    assert_eq!(refusal(claim(&mut world, ALICE, 1, 9)), Refusal::UnknownOffer);

    // The master has Bob's result meanwhile, which counts, although its lease is of the past.
    let mut anew = publication(project, &offer, 2, home, world.now);
    if let Ask::Publish { offers, .. } = &mut anew {
        offers[0].settled = vec![(after[0].task.task, after[0].task.task)];
    }
    assert_eq!(world.ask(project.master.0, home, anew), Answer::Done);
    let granted = tasks(&leases(claim(&mut world, ALICE, 2, 9)));
    assert_eq!(granted.len(), 2, "all but what is settled");
    assert!(!granted.contains(&after[0].task));

    world.restart(home);
    assert_eq!(world.broker(home).leases().count(), 2, "a restart is no restoration");
    let again = remembering(&publication(project, &offer, 2, home, world.now), true);
    assert_eq!(world.ask(project.master.0, home, again), Answer::Done);
}

#[test]
fn a_project_that_the_back_up_does_not_know_needs_a_new_epoch_too() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let backup = world.back_up(home);
    let offer = project.offer(1, 1, world.now);
    let first = publication(project, &offer, 7, home, world.now);
    assert_eq!(world.ask(project.master.0, home, first.clone()), Answer::Done);

    world.restore(home, backup);
    // Its acknowledgement may have been lost, so that the master says nothing of it.
    let answer = world.ask(project.master.0, home, first.clone());
    assert_eq!(refusal(answer), Refusal::Forgotten);
    assert_eq!(refusal(world.ask(project.master.0, home, first)), Refusal::Forgotten);
    let anew = publication(project, &offer, 8, home, world.now);
    assert_eq!(world.ask(project.master.0, home, anew), Answer::Done);
}

#[test]
fn records_of_past_epochs_leave_no_trace_in_the_new_one() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(2, 1, world.now);
    let mut first = publication(project, &offer, 1, home, world.now);
    if let Ask::Publish { offers, .. } = &mut first {
        offers[0].settled = vec![(0, 0)];
    }
    assert_eq!(world.ask(project.master.0, home, first), Answer::Done);
    let claim = asking(ALICE, home, 1).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    let backup = world.back_up(home);

    world.restore(home, backup);
    let anew = publication(project, &offer, 2, home, world.now);
    assert_eq!(world.ask(project.master.0, home, anew), Answer::Done);
    world.restart(home);
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.done, counts.returned), (2, 0, 0), "as the master says");
}
