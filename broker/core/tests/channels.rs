//! Where brokers let channels pass.

mod support;

use std::time::Duration;

use broker_core::{ChannelRoute, Direction, Input, LEASE_TERM};
use capability::statements::{Intent, Lease, Offer, TaskId};
use capability::{PublicKey, Verified};
use mesh_core::{Answer, ChannelOpen, ChannelRefusal, MAX_HOPS};
use support::*;

const ALICE: u8 = 50;

/// A home, a broker beside it, and one behind that; Alice works for the home's project.
struct Story {
    world: World,
    project: Project,
    offer: Verified<Offer>,
    lease: Verified<Lease>,
}

impl Story {
    /// Alice's broker is the one behind.
    fn begin() -> Self {
        let [home, _, behind] = brokers();
        let mut world = World::line(&brokers());
        let project = project(0);
        let offer = world.publish(project, 2, 1, home);
        world.pass(Duration::from_secs(1));
        world.put(behind.0, Input::PeerUp { peer: alice(), direction: Direction::Inbound });
        let claim = asking(behind).claim(offer.id(), 1, 0, world.now);
        let lease = leases(world.ask(alice(), behind, claim)).remove(0);
        Self { world, project, offer, lease }
    }

    fn route(
        &self,
        at: Key,
        from: PublicKey,
        open: ChannelOpen,
    ) -> Result<ChannelRoute, ChannelRefusal> {
        self.world.broker(at).channel_route(from, open, self.world.now)
    }

    fn task(&self) -> ChannelOpen {
        ChannelOpen::Task(self.lease.task)
    }

    fn lease(&self, hops: u8) -> ChannelOpen {
        ChannelOpen::Lease { lease: self.lease.clone(), hops }
    }

    fn keep(&mut self, at: Key) {
        let renewal = asking(at).renewal(
            self.offer.id(),
            vec![self.lease.id()],
            Intent::Keep,
            self.world.now,
        );
        let answer = self.world.ask(alice(), at, renewal);
        assert_eq!(answer, Answer::Renewed { lapsed: vec![] });
    }
}

fn brokers() -> [Key; 3] {
    [key(1), key(2), key(3)]
}

fn alice() -> PublicKey {
    key(ALICE).0
}

fn asking(at: Key) -> Asking {
    Asking { volunteer: key(ALICE), at, home: key(1), epoch: 1 }
}

#[test]
fn a_channel_goes_back_the_way_that_the_claim_came() {
    let story = Story::begin();
    let [home, middle, behind] = brokers();
    let expected = |to, hops| Ok(ChannelRoute { to, lease: story.lease.clone(), hops });
    let master = story.project.master.0;
    assert_eq!(story.route(home, master, story.task()), expected(middle.0, MAX_HOPS - 1));
    let on = story.route(middle, home.0, story.lease(MAX_HOPS - 1));
    assert_eq!(on, expected(behind.0, MAX_HOPS - 2));
    let on = story.route(behind, middle.0, story.lease(MAX_HOPS - 2));
    assert_eq!(on, expected(alice(), MAX_HOPS - 3));
    let astray = story.route(behind, middle.0, story.lease(0));
    assert_eq!(astray, Err(ChannelRefusal::NoRoute));
}

#[test]
fn it_follows_a_volunteer_that_has_moved_to_another_broker() {
    let mut story = Story::begin();
    let [home, middle, behind] = brokers();
    story.world.put(behind.0, Input::PeerDown { peer: alice() });
    let lost = story.route(behind, middle.0, story.lease(MAX_HOPS));
    assert_eq!(lost, Err(ChannelRefusal::NoRoute));

    story.world.put(middle.0, Input::PeerUp { peer: alice(), direction: Direction::Inbound });
    story.world.pass(Duration::from_secs(5));
    story.keep(middle);
    let to = |route: Result<ChannelRoute, _>| route.map(|route| route.to);
    assert_eq!(to(story.route(home, story.project.master.0, story.task())), Ok(middle.0));
    assert_eq!(to(story.route(middle, home.0, story.lease(MAX_HOPS))), Ok(alice()));
}

#[test]
fn only_the_offers_signer_opens_one_and_only_to_a_live_lease() {
    let mut story = Story::begin();
    let [home, middle, _] = brokers();
    let master = story.project.master.0;
    for stranger in [alice(), middle.0, project(1).master.0] {
        let refused = story.route(home, stranger, story.task());
        assert_eq!(refused, Err(ChannelRefusal::NotYours), "{stranger}");
    }
    let elsewhere = story.route(middle, master, story.task());
    assert_eq!(elsewhere, Err(ChannelRefusal::NotYours), "that broker is not its home");
    for task in [1, 7] {
        let other = TaskId { task, ..story.lease.task };
        let refused = story.route(home, master, ChannelOpen::Task(other));
        assert_eq!(refused, Err(ChannelRefusal::Nobody), "task {task} is not leased");
    }
    assert!(story.world.broker(home).keeps_channel(&story.lease, story.world.now));
    story.world.pass(LEASE_TERM);
    assert_eq!(story.route(home, master, story.task()), Err(ChannelRefusal::Nobody));
    assert!(!story.world.broker(home).keeps_channel(&story.lease, story.world.now));
}

#[test]
fn a_broker_is_asked_by_its_links_about_leases_of_the_home_alone() {
    let story = Story::begin();
    let [home, middle, behind] = brokers();
    let stranger = story.route(middle, story.project.master.0, story.lease(MAX_HOPS));
    assert_eq!(stranger, Err(ChannelRefusal::Invalid), "no broker asks");

    let made_up = Verified::sign((*story.lease).clone(), &behind);
    let made_up = ChannelOpen::Lease { lease: made_up, hops: MAX_HOPS };
    assert_eq!(story.route(middle, home.0, made_up), Err(ChannelRefusal::Invalid));

    let former = Lease { epoch: 0, ..(*story.lease).clone() };
    let former = ChannelOpen::Lease { lease: Verified::sign(former, &home), hops: MAX_HOPS };
    assert_eq!(story.route(middle, home.0, former), Err(ChannelRefusal::Invalid));
}

#[test]
fn no_way_leads_through_whoever_is_no_broker() {
    let mut story = Story::begin();
    let [home, middle, _] = brokers();
    let thief = key(66).0;
    story.world.put(middle.0, Input::PeerUp { peer: thief, direction: Direction::Inbound });
    story.world.pass(Duration::from_secs(5));
    let renewal = asking(middle).renewal(
        story.offer.id(),
        vec![story.lease.id()],
        Intent::Keep,
        story.world.now,
    );
    // A renewal of Alice's that somebody else brings.
    story.world.ask(thief, middle, renewal);
    let route = story.route(middle, home.0, story.lease(MAX_HOPS)).map(|route| route.to);
    assert_ne!(route, Ok(thief));
}
