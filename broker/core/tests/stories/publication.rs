//! Publication: what a home acknowledges, and takes up again.

use broker_core::Input;
use mesh_core::{Answer, Ask, HandoverAnswer, Published, Refusal};

use crate::support::*;
use crate::{ALICE, asking, home_with_offer};

#[test]
fn an_offer_is_acknowledged_only_once_it_is_durable() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    world.hold_disk(home);
    let offer = project.offer(1, 1, world.now);
    let publication = publication(project, &offer, 1, home, world.now);

    let first = world.begin(project.master.0, home, publication.clone());
    assert_eq!(world.answer(first), None, "the disk has not answered");
    let second = world.begin(project.master.0, home, publication);
    assert_eq!(world.answer(second), None, "nor for the same once more");

    world.release_disk(home);
    assert_eq!(world.answer(first), Some(Answer::Done));
    assert_eq!(world.answer(second), Some(Answer::Done));
}

#[test]
fn a_published_offer_survives_a_restart_and_is_granted_again_without_a_new_epoch() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    world.restart(home);
    let mut again = publication(project, &offer, 1, home, world.now);
    if let Ask::Publish { offers, .. } = &mut again {
        offers[0].again = true;
    }
    assert_eq!(world.ask(project.master.0, home, again), Answer::Done);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);
}

#[test]
fn offers_that_are_published_together_are_answered_each_by_itself() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offers: Vec<_> = (1..4).map(|tasks| project.offer(tasks, 1, world.now)).collect();
    let withdrawal = project.withdrawal(&offers[1]);
    world.ask(project.master.0, home, Ask::Withdraw { withdrawals: vec![withdrawal] });
    let mut together = publication(project, &offers[0], 1, home, world.now);
    let Ask::Publish { offers: published, .. } = &mut together else { panic!("a publication") };
    let first = published[0].clone();
    published.extend(offers[1..].iter().map(|it| Published { offer: it.clone(), ..first.clone() }));

    world.hold_disk(home);
    let reply = world.begin(project.master.0, home, together);
    assert_eq!(world.answer(reply), None, "none is acknowledged before it is durable");
    world.release_disk(home);
    let parts = [Answer::Done, Answer::Refused(Refusal::UnknownOffer), Answer::Done];
    assert_eq!(world.answer(reply), Some(Answer::Each(parts.into())));

    world.restart(home);
    for (offer, tasks) in [(&offers[0], 1), (&offers[2], 3)] {
        let claim = asking(ALICE, home).claim(offer.id(), 9, 0, world.now);
        assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), tasks);
    }
}

#[test]
fn a_rebuilt_home_has_forgotten_and_grants_in_a_new_epoch_what_is_not_settled() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(3, 1, world.now);
    let mut again = publication(project, &offer, 1, home, world.now);
    if let Ask::Publish { offers, .. } = &mut again {
        offers[0].again = true;
    }
    let answer = world.ask(project.master.0, home, again);
    assert_eq!(refusal(answer), Refusal::Forgotten);
    assert_eq!(world.broker(home).status().offers, [], "nothing is stored");

    let mut anew = publication(project, &offer, 2, home, world.now);
    if let Ask::Publish { offers, .. } = &mut anew {
        offers[0].settled = vec![(0, 1)];
    }
    assert_eq!(world.ask(project.master.0, home, anew), Answer::Done);
    let volunteer = Asking { epoch: 2, ..asking(ALICE, home) };
    let claim = volunteer.claim(offer.id(), 9, 0, world.now);
    let granted = tasks(&leases(world.ask(key(ALICE).0, home, claim)));
    assert_eq!(granted.iter().map(|task| task.task).collect::<Vec<_>>(), [2]);

    world.restart(home);
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.done, counts.leased, counts.open), (2, 1, 0));
}

#[test]
fn what_was_settled_in_several_publications_stays_settled() {
    let (mut world, home, project, offer) = home_with_offer(10, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    assert_eq!(lease.task.task, 0);
    for ranges in [[(0, 0), (5, 9)], [(0, 3), (5, 9)]] {
        let mut again = publication(project, &offer, 1, home, world.now);
        if let Ask::Publish { offers, .. } = &mut again {
            offers[0].settled = ranges.to_vec();
        }
        assert_eq!(world.ask(project.master.0, home, again), Answer::Done);
    }
    world.restart(home);
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.leased, counts.done), (1, 0, 9), "only task 4 is left");

    let withdrawal = project.withdrawal(&offer);
    world.ask(project.master.0, home, Ask::Withdraw { withdrawals: vec![withdrawal] });
    assert_eq!(world.records_about(home, offer.id()).len(), 0);
}

#[test]
fn a_task_that_was_settled_while_it_was_leased_is_not_leased_after_a_restart() {
    let (mut world, home, project, offer) = home_with_offer(2, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);
    let before = world.records_about(home, offer.id());
    let mut again = publication(project, &offer, 1, home, world.now);
    if let Ask::Publish { offers, .. } = &mut again {
        offers[0].settled = vec![(0, 0)];
    }
    assert_eq!(world.ask(project.master.0, home, again), Answer::Done);

    for cut_off in [false, true] {
        if cut_off {
            // It ended between the commit that settles and the one that deletes the lease.
            world.undelete(home, before.clone());
        }
        world.restart(home);
        let counts = world.broker(home).status().offers[0].counts.expect("granted here");
        assert_eq!((counts.open, counts.leased, counts.done), (1, 0, 1));
    }
    let withdrawal = project.withdrawal(&offer);
    world.ask(project.master.0, home, Ask::Withdraw { withdrawals: vec![withdrawal] });
    assert_eq!(world.records_about(home, offer.id()).len(), 0, "the cut-off record too");
}

#[test]
fn only_the_homes_signer_publishes_and_only_at_the_home_or_its_standbys() {
    let (home, stranger, project) = (key(1), key(2), project(0));
    let mut world = World::of(&[home, stranger]);
    let offer = project.offer(1, 1, world.now);
    let publication = publication(project, &offer, 1, home, world.now);
    let by_another = world.ask(key(ALICE).0, home, publication.clone());
    assert!(matches!(refusal(by_another), Refusal::Invalid(_)));
    let elsewhere = world.ask(project.master.0, stranger, publication);
    assert_eq!(refusal(elsewhere), Refusal::NotHome);
}

#[test]
fn a_full_disk_refuses_offers_and_custody_and_keeps_what_there_is() {
    let (mut world, home, project, offer) = home_with_offer(2, 1);
    let volunteer = asking(ALICE, home);
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);

    world.put(home.0, Input::DiskFree { bytes: (64 << 20) - 1 });
    let another = project.offer(5, 1, world.now);
    let publication = publication(project, &another, 1, home, world.now);
    let answer = world.ask(project.master.0, home, publication);
    assert!(matches!(refusal(answer), Refusal::Full(_)));
    let result = result(key(ALICE), &lease, world.now);
    let answer = world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert!(matches!(answer, HandoverAnswer::Refused(why) if why.contains("full")));

    world.put(home.0, Input::DiskFree { bytes: 64 << 20 });
    let answer = world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(answer, HandoverAnswer::Taken);
}
