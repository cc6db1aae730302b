//! Brokers that meet, tell each other and dial.

use std::sync::Arc;
use std::time::Duration;

use broker_core::{Action, Broker, BrokerConfig, Direction, Input, News};
use capability::statements::BrokerCard;
use capability::{BlobHash, Verified};
use mesh_core::{Answer, Ask, CallId, Cargo, Gossip, JobNeeds, Published, Refusal};

use crate::support::*;
use crate::{ALICE, BOB, asking, home_with_offer, line_with_offer};

#[test]
fn brokers_that_dial_us_take_no_more_room_than_our_card_has() {
    let now = World::of(&[]).now;
    let config = BrokerConfig::default();
    let mut broker = Broker::new(config, Arc::new(key(1)), Arc::new(Hashed), now);
    let stranger = |n: u16| {
        let mut bytes = [9; capability::KEY_BYTES];
        bytes[..2].copy_from_slice(&n.to_be_bytes());
        Key(capability::PublicKey::from_bytes(bytes))
    };
    let mut meet = |peer: Key, direction: Direction| {
        let card = BrokerCard {
            seq: 1,
            addresses: Vec::new(),
            links: vec![key(1).0],
            expires: now.wall + DAY,
        };
        let card = Gossip::Card(Verified::sign(card, &peer));
        broker.handle(Input::PeerUp { peer: peer.0, direction }, now);
        broker.handle(Input::Given { from: peer.0, statements: vec![card] }, now);
        broker.status().reachable
    };
    for n in 0..256 {
        assert_eq!(meet(stranger(n), Direction::Inbound), usize::from(n) + 1);
    }
    assert_eq!(meet(stranger(256), Direction::Inbound), 256);
    let (chosen, left_out) = (stranger(u16::MAX), stranger(256));
    assert_eq!(meet(chosen, Direction::Outbound), 257);

    let later = now.after(Duration::from_secs(1));
    broker.handle(Input::Wake, later);
    let cards = std::iter::from_fn(|| broker.poll_action()).filter_map(|action| match action {
        Action::Publish { gossip: Gossip::Card(card), .. } if card.signer() == key(1).0 => {
            Some(card.links.clone())
        }
        _ => None,
    });
    let stated = cards.last().expect("a card of our own");
    assert!(stated.contains(&chosen.0), "whom we dialled comes first");

    for n in 0..2 {
        broker.handle(Input::PeerDown { peer: stranger(n).0 }, later);
    }
    let linked =
        |action| matches!(action, Action::News(News::LinkUp { peer }) if peer == left_out.0);
    assert!(std::iter::from_fn(|| broker.poll_action()).any(linked), "there is room again");
}

#[test]
fn leases_that_another_broker_made_up_do_not_count_as_tasks_handed_out() {
    let (near, home) = (key(1), key(2));
    let (first, second) = (project(0), project(1));
    let mut world = World::line(&[near, home]);
    let offers = [first, second].map(|project| world.publish(project, 2, 1, home));
    for volunteer in [ALICE, BOB] {
        let ad = ad(key(volunteer), near, 4, world.now);
        world.ask(key(volunteer).0, near, Ask::Advertise { ad });
    }
    let order = |world: &mut World| {
        let shown = offered(world.ask(key(ALICE).0, near, Ask::Pull { wants: wants() }));
        shown.iter().map(|shown| shown.offer.project).collect::<Vec<_>>()
    };
    assert_eq!(order(&mut world), [first.name(), second.name()]);
    let claim = asking(BOB, home).claim(offers[0].id(), 1, 0, world.now);
    let lease = leases(world.ask(key(BOB).0, home, claim)).remove(0);
    let forged = Verified::sign((*lease).clone(), &key(9));

    // The answer to the claim comes from another than its home.
    for (lease, expected) in [(forged, [first, second]), (lease, [second, first])] {
        world.hold_disk(home);
        let nonce = lease.id().as_bytes()[0].into();
        let volunteer = Asking { volunteer: key(BOB), at: near, home, epoch: 1 };
        world.begin(key(BOB).0, near, volunteer.claim(offers[1].id(), 1, nonce, world.now));
        for call in (0..9).map(CallId) {
            let answer = Ok(Answer::Leases(vec![lease.clone()]));
            world.put(near.0, Input::Answered { call, answer });
        }
        assert_eq!(order(&mut world), expected.map(Project::name));
    }
}

#[test]
fn a_broker_that_joins_late_is_told_what_matters_and_tells_what_it_knows() {
    let (old, new) = (key(1), key(2));
    let (mut world, ..) = home_with_offer(1, 1);
    world.pass(Duration::from_secs(100));
    world.join(new);
    let other = project(1);
    let theirs = other.offer(1, 1, world.now);
    let publication = publication(other, &theirs, 1, new, world.now);
    world.ask(other.master.0, new, publication);
    world.connect(new.0, old.0);
    world.pass(Duration::from_secs(1));
    for broker in [old, new] {
        assert_eq!(world.broker(broker).status().offers.len(), 2);
    }
    assert!(world.news.contains(&(old.0, News::LinkUp { peer: new.0 })));
    assert!(world.news.contains(&(new.0, News::LinkUp { peer: old.0 })));
}

#[test]
fn what_gossip_has_lost_is_found_by_comparing() {
    let (first, second, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[first, second]);
    world.pass(Duration::from_secs(120));
    world.lose_gossip = true;
    let offer = project.offer(1, 1, world.now);
    let publication = publication(project, &offer, 1, first, world.now);
    world.ask(project.master.0, first, publication);
    assert_eq!(world.broker(second).status().offers, []);
    world.pass(broker_core::RECONCILE_EVERY);
    let offers = world.broker(second).status().offers;
    assert_eq!(offers.iter().map(|offer| offer.home).collect::<Vec<_>>(), [Some(first.0)]);
}

#[test]
fn what_has_no_room_in_a_frame_comes_with_the_next() {
    let (old, new) = (key(1), key(2));
    let mut world = World::of(&[old]);
    world.join(new);
    // Each broker has lacked 40 offers, of which a frame holds 20.
    for (n, broker) in [(0, old), (1, new)] {
        let project = project(n);
        for tasks in 1..=40 {
            let mut offer = (*project.offer(tasks, 1, world.now)).clone();
            let text = |n| (format!("TEXT_{n}"), "x".repeat(4 << 10));
            offer.job.environment.extend((0..12).map(text));
            let offer = Verified::sign(offer, &project.master);
            let publication = publication(project, &offer, 1, broker, world.now);
            assert_eq!(world.ask(project.master.0, broker, publication), Answer::Done);
        }
    }
    world.connect(new.0, old.0);
    world.pass(Duration::from_secs(1));
    for broker in [old, new] {
        assert_eq!(world.broker(broker).status().offers.len(), 80);
    }
}

#[test]
fn a_claim_without_a_way_says_so() {
    let (near, home, project) = (key(1), key(2), project(0));
    let mut world = World::of(&[near]);
    let offer = project.offer(1, 1, world.now);
    let claim = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 }.claim(
        offer.id(),
        1,
        0,
        world.now,
    );
    assert_eq!(refusal(world.ask(key(ALICE).0, near, claim)), Refusal::NoRoute);
}

#[test]
fn a_home_pulls_the_ads_behind_the_summary_of_a_linked_broker() {
    let (mut world, [near, middle, home], project, offer) = line_with_offer();
    let second = project.offer(2, 1, world.now);
    let moved = publication(project, &second, 1, home, world.now);
    world.ask(project.master.0, home, moved);
    let ad_near = ad(key(ALICE), middle, 4, world.now);
    world.connect(key(ALICE).0, middle.0);
    world.ask(key(ALICE).0, middle, Ask::Advertise { ad: ad_near });
    world.pass(Duration::from_secs(5));
    let ask = Ask::Explain(JobNeeds::Offer(offer.id()));
    let explanation = explained(world.ask(project.master.0, home, ask));
    assert_eq!(explanation.matching, 1, "Alice is two hops from {near:?}", near = near.0);
    let ask = Ask::Ad { volunteer: key(ALICE).0 };
    let Answer::Ads(ads) = world.ask(project.master.0, home, ask) else { panic!("no ads") };
    assert_eq!(ads.len(), 1, "what was pulled is given too");
}

#[test]
fn brokers_dial_those_that_cards_tell_of_but_never_themselves() {
    let brokers = [key(1), key(2), key(3)];
    let mut world = World::line(&brokers);
    world.pass(Duration::from_secs(60));
    world.dialled.sort();
    world.dialled.dedup();
    assert_eq!(world.dialled, ["/memory/1", "/memory/3"], "the ends of the line, each other");
}

#[test]
fn a_named_broker_is_dialled_until_it_is_found_and_again_when_it_is_lost() {
    let (broker, named) = (key(1), key(2));
    let mut world = World::of(&[]);
    world.join_with(broker, &["/memory/2"]);
    let minute = Duration::from_secs(60);
    world.pass(minute);
    let tries = world.dialled.len();
    assert!(tries >= 2, "{tries} tries");

    world.join(named);
    world.put(broker.0, Input::Found { address: "/memory/2".to_owned(), peer: named.0 });
    world.connect(broker.0, named.0);
    world.dialled.clear();
    world.pass(minute);
    assert_eq!(world.dialled, [""; 0], "it is connected");

    world.disconnect(broker.0, named.0);
    world.pass(minute);
    assert!(world.dialled.contains(&"/memory/2".to_owned()));
}

#[test]
fn packages_are_asked_for_on_the_way_to_the_home_and_kept_while_they_are_offered() {
    let (mut world, [near, middle, home], project, offer) = line_with_offer();
    let hash = offer.package.hash;
    let source = |at: Key| world.broker(at).blob_sources(hash, at.0, 7).first().copied();
    assert_eq!(source(near), Some((middle.0, 7)));
    assert_eq!(source(middle), Some((home.0, 7)));
    assert_eq!(source(home), Some((project.master.0, 7)));
    assert!(world.broker(near).keeps_blob(hash));
    assert!(!world.broker(near).keeps_blob(BlobHash::of(b"something else")));

    let withdrawal = project.withdrawal(&offer);
    world.ask(project.master.0, home, Ask::Withdraw { withdrawals: vec![withdrawal] });
    assert!(!world.broker(near).keeps_blob(hash), "the withdrawal has been gossiped");
    assert_eq!(world.broker(near).kept_blobs().len(), 0);
}

#[test]
fn a_receipt_for_somebody_who_is_away_waits_at_her_broker() {
    let (mut world, [near, _, home], project, offer) = line_with_offer();
    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    let result = result(key(ALICE), &granted[0], world.now);
    world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    world.disconnect(key(ALICE).0, near.0);
    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, near.0));
    world.pass(Duration::from_secs(600));
    assert!(world.broker(near).holds(receipt.id()));
    world.connect(key(ALICE).0, near.0);
    world.pass(Duration::from_secs(31));
    let arrived = world.delivered_to(key(ALICE).0);
    assert!(matches!(&arrived[..], [bundle] if matches!(bundle.cargo, Cargo::Receipt(_))));
}

#[test]
fn a_receipt_for_a_broker_that_is_gone_is_let_go_and_given_again_by_another() {
    let (mut world, [near, middle, home], project, offer) = line_with_offer();
    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    let result = result(key(ALICE), &granted[0], world.now);
    world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    world.disconnect(near.0, middle.0);
    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, near.0));
    let holds = |world: &World| {
        world.broker(home).holds(receipt.id()) || world.broker(middle).holds(receipt.id())
    };
    world.pass(Duration::from_secs(14 * 60));
    assert!(holds(&world), "what Alice sends again may wait beyond the cut");
    world.pass(Duration::from_secs(2 * 60));
    assert!(!holds(&world), "it would wait for as long as the result lives");

    world.connect(key(ALICE).0, middle.0);
    world.hand_over(key(ALICE).0, middle, result_bundle(&result, middle));
    assert_eq!(world.delivered_to(key(ALICE).0), [receipt_bundle(&receipt, middle.0)]);
}

#[test]
fn offers_whose_home_nobody_sees_wait_and_say_so() {
    let ([near, home], project) = ([key(1), key(2)], project(0));
    let mut world = World::line(&[near, home]);
    world.connect(project.master.0, near.0);
    let offer = project.offer(1, 1, world.now);
    for at in [near, home] {
        let ask = Ask::Publish {
            registration: project.registration(world.now),
            home: project.home(1, home, &[near], world.now),
            offers: vec![Published { offer: offer.clone(), again: false, settled: Vec::new() }],
        };
        assert_eq!(world.ask(project.master.0, at, ask), Answer::Done);
    }
    let unseen = |world: &mut World| {
        let ad = ad(key(ALICE), near, 4, world.now);
        world.ask(key(ALICE).0, near, Ask::Advertise { ad });
        let shown = offered(world.ask(key(ALICE).0, near, Ask::Pull { wants: wants() }));
        (shown[0].home_unseen, world.broker(near).status().offers[0].waits.clone())
    };
    world.pass(Duration::from_secs(30));
    assert_eq!(unseen(&mut world), (None, None));

    world.disconnect(near.0, home.0);
    world.pass(Duration::from_secs(50));
    assert_eq!(unseen(&mut world), (None, None), "as after a restart");
    world.pass(Duration::from_secs(3 * 3_600));
    let (seconds, waits) = unseen(&mut world);
    assert!(seconds.is_some_and(|it| (10_800..10_860).contains(&it)), "{seconds:?}");
    let waits = waits.expect("a reason");
    assert!(waits.contains("has not been seen for 3 h; the project's adapter is here"), "{waits}");
    world.disconnect(project.master.0, near.0);
    let (_, waits) = unseen(&mut world);
    assert!(waits.is_some_and(|it| it.ends_with(", and the project's adapter is offline")));

    world.connect(near.0, home.0);
    world.pass(Duration::from_secs(30));
    assert_eq!(unseen(&mut world), (None, None));
}
