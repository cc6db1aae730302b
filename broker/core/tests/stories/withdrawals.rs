//! Withdrawals and gossip that comes late, early or twice.

use std::sync::Arc;

use broker_core::{Action, Broker, BrokerConfig, GossipToken, GossipVerdict, Input, News};
use mesh_core::{Answer, Ask, Gossip, Refusal};

use crate::support::*;
use crate::{ALICE, asking, home_with_offer};

#[test]
fn a_withdrawn_offer_stays_away_whoever_brings_it_back() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let theft = project.withdrawal_by(key(ALICE), &offer);
    let answer = world.ask(key(ALICE).0, home, Ask::Withdraw { withdrawals: vec![theft] });
    assert!(matches!(refusal(answer), Refusal::Invalid(_)));

    let withdrawal = project.withdrawal(&offer);
    let withdraw = Ask::Withdraw { withdrawals: vec![withdrawal] };
    assert_eq!(world.ask(project.master.0, home, withdraw.clone()), Answer::Done);
    assert_eq!(world.ask(project.master.0, home, withdraw), Answer::Done, "again");
    world.restart(home);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, claim)), Refusal::UnknownOffer);

    let gossip = Gossip::Offer(offer.clone());
    world.put(home.0, Input::Gossip { gossip, from: key(9).0, token: GossipToken(1) });
    assert_eq!(world.broker(home).status().offers, []);
    let publication = publication(project, &offer, 1, home, world.now);
    assert_eq!(refusal(world.ask(project.master.0, home, publication)), Refusal::UnknownOffer);
}

#[test]
fn withdrawals_that_come_together_are_answered_each_by_itself() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let theft = project.withdrawal_by(key(ALICE), &offer);
    let withdrawals = vec![theft, project.withdrawal(&offer)];
    let answer = world.ask(project.master.0, home, Ask::Withdraw { withdrawals });
    let Answer::Each(parts) = answer else { panic!("{answer:?}") };
    assert!(
        matches!(&parts[..], [Answer::Refused(Refusal::Invalid(_)), Answer::Done]),
        "{parts:?}"
    );
}

#[test]
fn a_withdrawal_that_comes_before_its_offer_is_remembered() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(1, 1, world.now);
    for signer in [key(ALICE), project.master] {
        let gossip = Gossip::Withdrawal(project.withdrawal_by(signer, &offer));
        world.put(home.0, Input::Gossip { gossip, from: key(9).0, token: GossipToken(1) });
    }
    let gossip = Gossip::Offer(offer);
    world.put(home.0, Input::Gossip { gossip, from: key(9).0, token: GossipToken(2) });
    assert_eq!(world.broker(home).status().offers, []);
}

#[test]
fn gossip_that_is_known_or_older_is_not_forwarded() {
    let (home, project) = (key(1), project(0));
    let world = World::of(&[]);
    let now = world.now;
    let mut broker = Broker::new(BrokerConfig::default(), Arc::new(home), Arc::new(Hashed), now);
    let mut verdict = |gossip: Gossip| {
        let token = GossipToken(7);
        broker.handle(Input::Gossip { gossip, from: key(9).0, token }, now);
        let actions: Vec<_> = std::iter::from_fn(|| broker.poll_action()).collect();
        let verdicts = actions.iter().filter_map(|action| match action {
            Action::Judge { verdict, .. } => Some(*verdict),
            _ => None,
        });
        verdicts.collect::<Vec<_>>()
    };
    let second = Gossip::Home(project.home(2, key(2), &[], now));
    assert_eq!(verdict(second.clone()), [GossipVerdict::Accept]);
    assert_eq!(verdict(second), [GossipVerdict::Ignore], "known");
    let first = Gossip::Home(project.home(1, key(1), &[], now));
    assert_eq!(verdict(first), [GossipVerdict::Ignore], "older");
    let rival = Gossip::Home(project.home(2, key(3), &[], now));
    assert_eq!(verdict(rival), [GossipVerdict::Ignore], "a second home of one epoch");
}

#[test]
fn one_project_cannot_take_all_the_room_for_offers() {
    let (home, greedy, modest) = (key(1), project(0), project(1));
    let mut world = World::of(&[home]);
    let from = key(9).0;
    for tasks in 1..=1_001 {
        let gossip = Gossip::Offer(greedy.offer(tasks, 1, world.now));
        world.put(home.0, Input::Gossip { gossip, from, token: GossipToken(0) });
    }
    let gossip = Gossip::Offer(modest.offer(1, 1, world.now));
    world.put(home.0, Input::Gossip { gossip, from, token: GossipToken(0) });
    let known = |project: Project| {
        let offers = world.news.iter().filter(|(_, news)| {
            matches!(news, News::OfferKnown { project: of, .. } if *of == project.name())
        });
        offers.count()
    };
    assert_eq!((known(greedy), known(modest)), (1_000, 1));
}
