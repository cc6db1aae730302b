//! What brokers pay for work that is not theirs.

use std::time::Duration;

use mesh_core::{Answer, HandoverAnswer};

use crate::support::*;
use crate::{ALICE, asking};

#[test]
fn a_broker_beside_the_home_pays_for_an_offer_and_not_for_its_tasks() {
    let (few, many) = (cost_beside_the_home(30), cost_beside_the_home(240));
    assert!(few.0 > 0, "it was told of the offer");
    assert_eq!(few, many);
}

/// What a neighbour of the home has been told and has on its disk, once all tasks of an offer are done.
fn cost_beside_the_home(tasks: u32) -> (usize, usize) {
    let (beside, home, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[beside, home]);
    world.connect(key(ALICE).0, home.0);
    world.connect(project.master.0, home.0);
    let offer = project.offer(tasks, 1, world.now);
    let publication = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);

    for nonce in 0..u64::from(tasks) {
        let claim = asking(ALICE, home).claim(offer.id(), 1, nonce, world.now);
        let granted = leases(world.ask(key(ALICE).0, home, claim));
        let result = result(key(ALICE), &granted[0], world.now);
        let taken = world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
        assert_eq!(taken, HandoverAnswer::Taken);
        let receipt = project.receipt(&result, accepted(), world.now);
        world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    }
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!(u32::try_from(counts.done), Ok(tasks));
    world.pass(Duration::from_secs(60));
    world.cost(beside)
}
