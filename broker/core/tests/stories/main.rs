//! What a broker promises, told as stories.

mod cost;
mod custody;
mod leases;
mod lending;
mod mesh;
mod offline;
mod publication;
mod pulls;
mod retries;
#[path = "../support/mod.rs"]
mod support;
mod withdrawals;

use capability::Verified;
use capability::statements::Offer;
use mesh_core::Answer;
use support::*;

const ALICE: u8 = 50;
const BOB: u8 = 51;

/// A home broker with an offer of `tasks` tasks in epoch 1.
fn home_with_offer(tasks: u32, replicas: u16) -> (World, Key, Project, Verified<Offer>) {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(tasks, replicas, world.now);
    let publication = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    (world, home, project, offer)
}

fn asking(volunteer: u8, home: Key) -> Asking {
    Asking { volunteer: key(volunteer), at: home, home, epoch: 1 }
}

/// A line of three brokers: Alice at one end, the home and its master at the other.
fn line_with_offer() -> (World, [Key; 3], Project, Verified<Offer>) {
    let (brokers, project) = ([key(1), key(2), key(3)], project(0));
    let mut world = World::line(&brokers);
    world.connect(key(ALICE).0, brokers[0].0);
    world.connect(project.master.0, brokers[2].0);
    let offer = project.offer(1, 1, world.now);
    let publication = publication(project, &offer, 1, brokers[2], world.now);
    assert_eq!(world.ask(project.master.0, brokers[2], publication), Answer::Done);
    (world, brokers, project, offer)
}
