//! What an operator decides, told as stories.

mod support;

use std::time::Duration;

use broker_core::{
    AddressClass, AdmissionMode, AdmissionRules, BrokerConfig, Content, Disobeyed, Order, Quotas,
    Toll, Whom,
};
use capability::statements::Ownership;
use capability::{PublicKey, Verified};
use mesh_core::{Answer, Ask, HandoverAnswer, Refusal};
use support::*;

const ALICE: u8 = 50;
const BOB: u8 = 51;

fn asking(volunteer: u8, home: Key) -> Asking {
    Asking { volunteer: key(volunteer), at: home, home, epoch: 1 }
}

fn pull() -> Ask {
    Ask::Pull { wants: wants() }
}

fn closed(mode: AdmissionMode, named: &[PublicKey]) -> BrokerConfig {
    let admission = AdmissionRules { mode, named: named.iter().copied().collect() };
    BrokerConfig { admission, ..BrokerConfig::default() }
}

fn advertise(world: &mut World, volunteer: u8, broker: Key) -> Answer {
    let ad = ad(key(volunteer), broker, 4, world.now);
    world.ask(key(volunteer).0, broker, Ask::Advertise { ad })
}

fn not_admitted(answer: Answer) -> String {
    match refusal(answer) {
        Refusal::NotAdmitted(why) => why,
        other => panic!("{other:?}"),
    }
}

// Admission

#[test]
fn a_listed_broker_works_for_those_that_it_lists_and_tells_the_others_whom_to_write_to() {
    let (home, project, stranger) = (key(1), project(0), project(1));
    let named = [project.name().into(), key(ALICE).0];
    let mut world = World::of(&[]);
    let abuse_contact = Some("ops@example.org".to_owned());
    let config = BrokerConfig { abuse_contact, ..closed(AdmissionMode::Listed, &named) };
    world.join_as(home, config);

    let offer = project.offer(1, 1, world.now);
    let publish = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publish), Answer::Done);
    let explain = Ask::Ad { volunteer: key(ALICE).0 };
    let answer = world.ask(project.master.0, home, explain.clone());
    assert!(matches!(answer, Answer::Ads(_)), "its adapter is admitted with it: {answer:?}");
    world.restart(home);
    let answer = world.ask(project.master.0, home, explain.clone());
    assert!(matches!(answer, Answer::Ads(_)), "also after a restart: {answer:?}");
    let strange = stranger.offer(1, 1, world.now);
    let publish = publication(stranger, &strange, 1, home, world.now);
    let why = not_admitted(world.ask(stranger.master.0, home, publish));
    assert!(why.contains("ops@example.org"), "{why}");
    not_admitted(world.ask(stranger.master.0, home, explain));

    assert_eq!(advertise(&mut world, ALICE, home), Answer::Done);
    not_admitted(advertise(&mut world, BOB, home));
    not_admitted(world.ask(key(BOB).0, home, pull()));
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    not_admitted(world.ask(key(BOB).0, home, claim));
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);
}

#[test]
fn an_owner_that_is_listed_vouches_for_its_machines_where_that_counts() {
    let (owner, other) = (key(60), key(61));
    for (mode, by, counts) in [
        (AdmissionMode::Vouched, owner, true),
        (AdmissionMode::Vouched, other, false),
        (AdmissionMode::Listed, owner, false),
    ] {
        let (home, mut world) = (key(1), World::of(&[]));
        world.join_as(home, closed(mode, &[owner.0]));
        not_admitted(advertise(&mut world, ALICE, home));
        let expires = world.now.wall + DAY;
        let ownership = Ownership { nodes: vec![key(ALICE).0], expires };
        let ownership = Verified::sign(ownership, &by);
        let vouched = world.ask(key(ALICE).0, home, Ask::Vouch { ownership });
        assert_eq!(vouched == Answer::Done, counts, "{mode:?} {vouched:?}");
        let advertised = advertise(&mut world, ALICE, home);
        assert_eq!(advertised == Answer::Done, counts, "{mode:?} {advertised:?}");
        not_admitted(advertise(&mut world, BOB, home));
        world.pass(2 * DAY);
        not_admitted(world.ask(key(ALICE).0, home, pull()));
    }
}

#[test]
fn a_broker_that_is_not_admitted_is_no_link_and_is_not_listened_to() {
    let (closed_one, friend, stranger) = (key(1), key(2), key(3));
    let mut world = World::of(&[friend, stranger]);
    world.join_as(closed_one, closed(AdmissionMode::Listed, &[friend.0]));
    let project = project(0);
    world.publish(project, 1, 1, stranger);
    for other in [friend, stranger] {
        world.connect(other.0, closed_one.0);
    }
    world.pass(Duration::from_secs(100));
    assert_eq!(world.broker(closed_one).status().links, 1);
    assert_eq!(world.broker(closed_one).status().known_offers, 0);
}

// Blocking

#[test]
fn a_blocked_project_ends_here_comes_back_neither_by_gossip_nor_by_a_restart_and_may_return() {
    let (home, other, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[home, other]);
    let offer = project.offer(1, 1, world.now);
    let publish = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publish.clone()), Answer::Done);
    world.pass(Duration::from_secs(5));
    assert_eq!(world.broker(other).status().known_offers, 1);

    let whom = Whom::Key(project.name().into());
    let block = Order::Block { whom: whom.clone(), reason: "mining".to_owned() };
    assert_eq!(world.order(home, block), Ok(()));
    assert!(world.shut.contains(&(home.0, whom.clone())));
    for restarted in [false, true] {
        world.pass(Duration::from_secs(100));
        assert_eq!(world.broker(home).status().known_offers, 0, "restarted: {restarted}");
        let why = not_admitted(world.ask(project.master.0, home, publish.clone()));
        assert!(why.contains("mining"), "{why}");
        world.restart(home);
        world.connect(other.0, home.0);
    }
    assert_eq!(world.records_about(home, offer.id()).len(), 0);

    assert_eq!(world.order(home, Order::Unblock { whom: whom.clone() }), Ok(()));
    assert_eq!(world.order(home, Order::Unblock { whom }), Err(Disobeyed::NoSuchRule));
    world.pass(Duration::from_secs(100));
    assert_eq!(world.broker(home).status().known_offers, 1, "its neighbour tells of it");
}

#[test]
fn a_blocked_volunteer_gets_nothing_also_by_way_of_another_broker() {
    let (home, near, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[home, near]);
    let offer = world.publish(project, 2, 1, home);
    world.pass(Duration::from_secs(5));
    let claim = |world: &mut World, nonce| {
        let claim = Asking { at: near, ..asking(ALICE, home) };
        let claim = claim.claim(offer.id(), 1, nonce, world.now);
        world.ask(key(ALICE).0, near, claim)
    };
    let lease = leases(claim(&mut world, 0)).remove(0);
    let whom = Whom::Key(key(ALICE).0);
    world.order(home, Order::Block { whom, reason: "faults".to_owned() }).expect("obeyed");
    not_admitted(claim(&mut world, 1));
    let result = result(key(ALICE), &lease, world.now);
    let answer = world.hand_over(near.0, home, result_bundle(&result, near));
    assert!(matches!(answer, HandoverAnswer::Refused(why) if why.contains("faults")));
}

// Taking down

#[test]
fn what_was_taken_down_is_refused_with_the_reason_and_does_not_come_back() {
    let (home, other, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[home, other]);
    let offer = project.offer(1, 1, world.now);
    let publish = publication(project, &offer, 1, home, world.now);
    for content in [Content::from(offer.id()), Content::from(offer.package.hash)] {
        assert_eq!(world.ask(project.master.0, home, publish.clone()), Answer::Done);
        world.pass(Duration::from_secs(5));
        let take_down = Order::TakeDown { content, reason: "malware".to_owned() };
        assert_eq!(world.order(home, take_down), Ok(()));
        world.restart(home);
        world.connect(other.0, home.0);
        world.pass(Duration::from_secs(100));
        assert_eq!(world.broker(home).status().known_offers, 0);
        assert_eq!(world.broker(other).status().known_offers, 1, "others decide for themselves");
        let refused = refusal(world.ask(project.master.0, home, publish.clone()));
        assert_eq!(refused, Refusal::TakenDown("malware".to_owned()));
        assert_eq!(world.broker(home).taken_down(content).as_deref(), Some("malware"));
        assert_eq!(world.order(home, Order::PutBack { content }), Ok(()));
    }
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let content = offer.id().into();
    world.order(home, Order::TakeDown { content, reason: String::new() }).expect("obeyed");
    let refused = refusal(world.ask(key(ALICE).0, home, claim));
    assert!(matches!(refused, Refusal::TakenDown(_)), "{refused:?}");
}

#[test]
fn a_result_in_custody_that_is_taken_down_goes_nowhere() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = world.publish(project, 1, 1, home);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    let bundle = result_bundle(&result, home);
    assert_eq!(world.hand_over(key(ALICE).0, home, bundle.clone()), HandoverAnswer::Taken);
    let content = result.id().into();
    world.order(home, Order::TakeDown { content, reason: "a name".to_owned() }).expect("obeyed");
    assert!(!world.broker(home).holds(result.id()));
    let answer = world.hand_over(key(ALICE).0, home, bundle);
    assert!(matches!(answer, HandoverAnswer::Refused(why) if why.contains("a name")));
}

// Limits

#[test]
fn limits_are_charged_by_key_and_by_address_and_shown() {
    let home = key(1);
    let mut world = World::of(&[home]);
    let (now, here) = (world.now, Some(AddressClass(1)));
    let broker = world.broker_mut(home);
    let quotas = Quotas::default();
    let taken =
        (0..).take_while(|_| broker.take_toll(key(ALICE).0, here, Toll::Call(1), now).is_ok());
    assert_eq!(u64::try_from(taken.count()), Ok(quotas.key.calls.burst));
    assert_eq!(broker.take_toll(key(BOB).0, here, Toll::Call(1), now), Ok(()), "others go on");
    assert_eq!(broker.status().limited, 1);
    assert_eq!(broker.limited().len(), 1);
}

#[test]
fn a_project_over_its_share_of_packages_waits_and_keeps_what_was_acknowledged() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[]);
    let offers: Vec<_> = (0..2).map(|n| project.offer(1 + n, 1, world.now)).collect();
    let quotas = Quotas { offers_a_project: 1, ..Quotas::default() };
    world.join_as(home, BrokerConfig { quotas, ..BrokerConfig::default() });
    let publish = |offer| publication(project, offer, 1, home, world.now);
    let (first, second) = (publish(&offers[0]), publish(&offers[1]));
    assert_eq!(world.ask(project.master.0, home, first.clone()), Answer::Done);
    assert!(matches!(refusal(world.ask(project.master.0, home, second)), Refusal::Full(_)));
    assert_eq!(world.ask(project.master.0, home, first), Answer::Done, "the same again is no more");
    assert_eq!(world.broker(home).status().known_offers, 1);
}

// Leaving

#[test]
fn a_broker_that_leaves_sends_new_work_elsewhere_and_ends_when_nothing_is_left() {
    let (home, other, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[home, other]);
    let offer = project.offer(2, 1, world.now);
    let publish = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publish.clone()), Answer::Done);
    assert_eq!(advertise(&mut world, ALICE, home), Answer::Done);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    assert_eq!(advertise(&mut world, BOB, home), Answer::Done);
    let waiting = world.begin(key(BOB).0, home, pull());
    // Bob is shown the offer; of the next pull he has nothing to wait for.
    let waiting = match world.answer(waiting) {
        Some(_) => {
            let mut wants = wants();
            wants.except = vec![offer.id()];
            world.begin(key(BOB).0, home, Ask::Pull { wants })
        }
        None => waiting,
    };

    let within = Duration::from_secs(600);
    assert_eq!(world.order(home, Order::Drain { within }), Ok(()));
    let elsewhere = Refusal::Elsewhere(vec!["/memory/2".to_owned()]);
    assert_eq!(world.answer(waiting).map(refusal), Some(elsewhere.clone()));
    for (from, ask) in [
        (project.master.0, publish),
        (key(BOB).0, pull()),
        (key(BOB).0, asking(BOB, home).claim(offer.id(), 1, 1, world.now)),
    ] {
        assert_eq!(refusal(world.ask(from, home, ask)), elsewhere);
    }
    let keep = asking(ALICE, home);
    let keep =
        keep.renewal(offer.id(), vec![lease.id()], capability::statements::Intent::Keep, world.now);
    assert_eq!(world.ask(key(ALICE).0, home, keep), Answer::Renewed { lapsed: Vec::new() });
    assert!(!world.drained.contains(&home.0), "a lease is live");

    // The master moves; the new home ends the leases here.
    let moved = publication(project, &offer, 2, other, world.now);
    assert_eq!(world.ask(project.master.0, other, moved), Answer::Done);
    world.pass(Duration::from_secs(5));
    assert!(world.drained.contains(&home.0));
}

#[test]
fn a_broker_that_leaves_waits_a_while_for_its_masters_to_hear_where_to_go() {
    for moves in [true, false] {
        let (home, other, project) = (key(1), key(2), project(0));
        let mut world = World::line(&[home, other]);
        world.connect(project.master.0, home.0);
        let offer = world.publish(project, 1, 1, home);
        world.order(home, Order::Drain { within: Duration::from_secs(600) }).expect("obeyed");
        world.pass(Duration::from_secs(20));
        assert!(!world.drained.contains(&home.0), "its master may be on the way back");
        if moves {
            let moved = publication(project, &offer, 2, other, world.now);
            assert_eq!(world.ask(project.master.0, other, moved), Answer::Done);
            world.pass(Duration::from_secs(5));
        } else {
            world.pass(Duration::from_secs(11));
        }
        assert!(world.drained.contains(&home.0));
    }
}

#[test]
fn a_broker_that_knows_no_other_one_has_nothing_to_wait_for() {
    let (home, project) = (key(1), project(0));
    let mut world = World::line(&[home]);
    world.connect(project.master.0, home.0);
    world.publish(project, 1, 1, home);
    world.order(home, Order::Drain { within: Duration::from_secs(600) }).expect("obeyed");
    world.pass(Duration::from_secs(1));
    assert!(world.drained.contains(&home.0));
}

#[test]
fn a_broker_that_leaves_hands_its_custody_to_a_neighbour_although_the_way_is_cut() {
    let (home, other, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[home, other]);
    let offer = world.publish(project, 1, 1, home);
    world.pass(Duration::from_secs(5));
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    let answer = world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(answer, HandoverAnswer::Taken);
    world.pass(Duration::from_secs(5));
    assert!(world.broker(home).holds(result.id()), "its master is away");

    world.order(home, Order::Drain { within: Duration::from_secs(600) }).expect("obeyed");
    world.pass(Duration::from_secs(5));
    assert!(!world.broker(home).holds(result.id()) && world.broker(other).holds(result.id()));
    assert!(world.drained.contains(&home.0));
}

#[test]
fn a_broker_that_cannot_get_rid_of_everything_leaves_in_time() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = world.publish(project, 1, 1, home);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    world.order(home, Order::Drain { within: Duration::from_secs(60) }).expect("obeyed");
    world.pass(Duration::from_secs(59));
    assert!(!world.drained.contains(&home.0));
    world.pass(Duration::from_secs(2));
    assert!(world.drained.contains(&home.0) && world.broker(home).holds(result.id()));
}
