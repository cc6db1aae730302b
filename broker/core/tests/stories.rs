//! What a broker promises, told as stories.

mod support;

use std::sync::Arc;
use std::time::Duration;

use broker_core::{
    Action, Broker, BrokerConfig, Direction, GossipToken, GossipVerdict, Input, LEASE_TERM, News,
    PULL_WAIT,
};
use capability::statements::{BrokerCard, Intent, JobResult, Log, Offer, StepReport, Verdict};
use capability::{BlobHash, MAX_CLOCK_SKEW, ProjectKey, Runtime, Verified};
use mesh_core::{Answer, Ask, CallId, Cargo, Gossip, HandoverAnswer, JobNeeds, Now, Refusal};
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

// Publication

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
    if let Ask::Publish { again, .. } = &mut again {
        *again = true;
    }
    assert_eq!(world.ask(project.master.0, home, again), Answer::Done);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);
}

#[test]
fn a_rebuilt_home_has_forgotten_and_grants_in_a_new_epoch_what_is_not_settled() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(3, 1, world.now);
    let mut again = publication(project, &offer, 1, home, world.now);
    if let Ask::Publish { again, .. } = &mut again {
        *again = true;
    }
    let answer = world.ask(project.master.0, home, again);
    assert_eq!(refusal(answer), Refusal::Forgotten);
    assert_eq!(world.broker(home).status().offers, [], "nothing is stored");

    let mut anew = publication(project, &offer, 2, home, world.now);
    if let Ask::Publish { settled, .. } = &mut anew {
        *settled = vec![(0, 1)];
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
        if let Ask::Publish { settled, .. } = &mut again {
            *settled = ranges.to_vec();
        }
        assert_eq!(world.ask(project.master.0, home, again), Answer::Done);
    }
    world.restart(home);
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.leased, counts.done), (1, 0, 9), "only task 4 is left");

    let withdrawal = project.withdrawal(&offer);
    world.ask(project.master.0, home, Ask::Withdraw { withdrawal });
    assert_eq!(world.records_about(home, offer.id()).len(), 0);
}

#[test]
fn a_task_that_was_settled_while_it_was_leased_is_not_leased_after_a_restart() {
    let (mut world, home, project, offer) = home_with_offer(2, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);
    let before = world.records_about(home, offer.id());
    let mut again = publication(project, &offer, 1, home, world.now);
    if let Ask::Publish { settled, .. } = &mut again {
        *settled = vec![(0, 0)];
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
    world.ask(project.master.0, home, Ask::Withdraw { withdrawal });
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

// Leases

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
        offer: offer.clone(),
        again: false,
        settled: Vec::new(),
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
    assert!(matches!(refusal(world.ask(project.master.0, home, publication)), Refusal::Invalid(_)));
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
            nonce: 0,
            expires: offer.issued + Duration::from_secs(60),
        };
        Ask::Claim { claim: Verified::sign(claim, &key(ALICE)), home: home.0, hops: 1 }
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

// Withdrawals

#[test]
fn a_withdrawn_offer_stays_away_whoever_brings_it_back() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let theft = project.withdrawal_by(key(ALICE), &offer);
    let answer = world.ask(key(ALICE).0, home, Ask::Withdraw { withdrawal: theft });
    assert!(matches!(refusal(answer), Refusal::Invalid(_)));

    let withdrawal = project.withdrawal(&offer);
    let withdraw = Ask::Withdraw { withdrawal };
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

// Pulls

#[test]
fn a_waiting_volunteer_hears_of_a_new_offer_and_an_unfit_one_does_not() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    for (volunteer, cores) in [(ALICE, 4), (BOB, 1)] {
        let ad = ad(key(volunteer), home, cores, world.now);
        assert_eq!(world.ask(key(volunteer).0, home, Ask::Advertise { ad }), Answer::Done);
    }
    let alice = world.begin(key(ALICE).0, home, Ask::Pull { wants: wants() });
    let bob = world.begin(key(BOB).0, home, Ask::Pull { wants: wants() });
    assert_eq!(world.answer(alice), None);

    let offer = project.offer(1, 1, world.now);
    let publication = publication(project, &offer, 1, home, world.now);
    world.ask(project.master.0, home, publication);
    let shown = offered(world.answer(alice).expect("an offer"));
    assert_eq!(shown[0].offer, offer);
    assert!(shown[0].registration.is_some());
    assert_eq!(world.answer(bob), None, "one core is not enough");

    // Bob donates more, and hears of it at once.
    world.pass(Duration::from_secs(1));
    let ad = ad(key(BOB), home, 4, world.now);
    world.ask(key(BOB).0, home, Ask::Advertise { ad });
    assert_eq!(offered(world.answer(bob).expect("an offer")).len(), 1);
}

#[test]
fn a_pull_in_vain_ends_after_a_while_and_a_newer_one_ends_the_older() {
    let home = key(1);
    let mut world = World::of(&[home]);
    let early = world.ask(key(ALICE).0, home, Ask::Pull { wants: wants() });
    assert!(matches!(refusal(early), Refusal::Invalid(_)), "without an ad");
    let ad = ad(key(ALICE), home, 4, world.now);
    world.ask(key(ALICE).0, home, Ask::Advertise { ad });

    let older = world.begin(key(ALICE).0, home, Ask::Pull { wants: wants() });
    let newer = world.begin(key(ALICE).0, home, Ask::Pull { wants: wants() });
    assert_eq!(world.answer(older), Some(Answer::Offers(vec![])));
    world.pass(PULL_WAIT - Duration::from_millis(1));
    assert_eq!(world.answer(newer), None);
    world.pass(Duration::from_millis(1));
    assert_eq!(world.answer(newer), Some(Answer::Offers(vec![])));
}

#[test]
fn what_a_volunteer_declines_cannot_fit_or_has_no_open_task_is_not_shown() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let ad = ad(key(ALICE), home, 4, world.now);
    world.ask(key(ALICE).0, home, Ask::Advertise { ad });
    let declined = [
        mesh_core::Wants { except: vec![offer.id()], ..wants() },
        mesh_core::Wants { runtimes: vec![Runtime::Native], ..wants() },
        mesh_core::Wants { projects: vec![key(ALICE).0.into()], ..wants() },
        mesh_core::Wants { free: capability::Resources { memory: 1, ..wants().free }, ..wants() },
    ];
    for wants in declined {
        let pull = world.begin(key(ALICE).0, home, Ask::Pull { wants: wants.clone() });
        assert_eq!(world.answer(pull), None, "{wants:?}");
    }
    let pull = Ask::Pull { wants: mesh_core::Wants { projects: vec![project.name()], ..wants() } };
    assert_eq!(offered(world.ask(key(ALICE).0, home, pull)).len(), 1);

    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    world.ask(key(BOB).0, home, claim);
    let pull = world.begin(key(ALICE).0, home, Ask::Pull { wants: wants() });
    assert_eq!(world.answer(pull), None, "Bob has the only task");
    world.pass(Duration::from_secs(20));
    let pull = world.begin(key(ALICE).0, home, Ask::Pull { wants: wants() });
    world.pass(Duration::from_secs(10));
    assert_eq!(offered(world.answer(pull).expect("Bob's lease has lapsed")).len(), 1);
}

#[test]
fn the_project_that_had_least_comes_first() {
    let (mut world, home, first, offer) = home_with_offer(2, 1);
    let second = project(1);
    world.pass(Duration::from_secs(1));
    let younger = second.offer(1, 1, world.now);
    let publication = publication(second, &younger, 1, home, world.now);
    world.ask(second.master.0, home, publication);
    let ad = ad(key(ALICE), home, 4, world.now);
    world.ask(key(ALICE).0, home, Ask::Advertise { ad });
    let order = |world: &mut World| {
        let shown = offered(world.ask(key(ALICE).0, home, Ask::Pull { wants: wants() }));
        shown.iter().map(|shown| shown.offer.project).collect::<Vec<_>>()
    };
    assert_eq!(order(&mut world), [first.name(), second.name()]);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    world.ask(key(BOB).0, home, claim);
    assert_eq!(order(&mut world), [second.name(), first.name()]);
}

#[test]
fn a_volunteer_is_told_how_many_others_could_run_an_offer() {
    let (mut world, home, ..) = home_with_offer(1, 1);
    for (volunteer, cores) in [(ALICE, 4), (BOB, 2), (40, 1)] {
        let ad = ad(key(volunteer), home, cores, world.now);
        world.ask(key(volunteer).0, home, Ask::Advertise { ad });
    }
    let others = |world: &mut World| {
        let shown = offered(world.ask(key(ALICE).0, home, Ask::Pull { wants: wants() }));
        shown[0].others
    };
    assert_eq!(others(&mut world), Some(1), "Bob could; one core is not enough");

    let ad = ad(key(41), home, 2, world.now);
    world.ask(key(41).0, home, Ask::Advertise { ad });
    assert_eq!(others(&mut world), Some(2));
    world.disconnect(key(41).0, home.0);
    world.pass(Duration::from_secs(180));
    assert_eq!(others(&mut world), Some(1), "it stayed away");
}

#[test]
fn an_explanation_says_how_many_could_run_a_job_and_what_keeps_out_the_others() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    for (volunteer, cores) in [(ALICE, 4), (BOB, 1)] {
        let ad = ad(key(volunteer), home, cores, world.now);
        world.ask(key(volunteer).0, home, Ask::Advertise { ad });
    }
    let of_offer = Ask::Explain(JobNeeds::Offer(offer.id()));
    let explanation = explained(world.ask(key(ALICE).0, home, of_offer));
    assert_eq!(
        explanation.to_string(),
        "1 of 2 machines could run it\n\
         needs 2 cores: excludes 1, alone 1; with 1 core it would be 1 more\n\
         most would be gained with 1 core: 1 machine"
    );
    // The same without an offer.
    let needs = JobNeeds::Requirements(offer.requirements.clone());
    assert_eq!(explained(world.ask(key(ALICE).0, home, Ask::Explain(needs))), explanation);

    let other = project(1).offer(1, 1, world.now);
    let unknown = Ask::Explain(JobNeeds::Offer(other.id()));
    assert_eq!(refusal(world.ask(key(ALICE).0, home, unknown)), Refusal::UnknownOffer);
}

#[test]
fn whoever_knows_a_volunteer_can_have_its_ad() {
    let (mut world, home, project, _) = home_with_offer(1, 1);
    let ad = ad(key(ALICE), home, 4, world.now);
    world.ask(key(ALICE).0, home, Ask::Advertise { ad: ad.clone() });
    let mut asked = |volunteer| {
        let ask = Ask::Ad { volunteer: key(volunteer).0 };
        world.ask(project.master.0, home, ask)
    };
    assert_eq!(asked(ALICE), Answer::Ads(vec![ad]));
    assert_eq!(asked(BOB), Answer::Ads(Vec::new()));
}

// Results and receipts

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

#[test]
fn a_volunteer_learns_at_the_other_end_of_a_line_who_a_project_is() {
    let (mut world, [near, ..], known, _) = line_with_offer();
    let projects = vec![project(7).name(), known.name()];
    let answer = world.ask(key(ALICE).0, near, Ask::Registrations { projects });
    let Answer::Registrations(registrations) = answer else { panic!("{answer:?}") };
    let signers: Vec<ProjectKey> = registrations.iter().map(|it| it.signer().into()).collect();
    assert_eq!(signers, [known.name()], "it need not know them all");
}

#[test]
fn a_job_crosses_a_line_of_brokers_and_its_receipt_comes_back() {
    let (mut world, [near, _, home], project, offer) = line_with_offer();
    let ad = ad(key(ALICE), near, 4, world.now);
    world.ask(key(ALICE).0, near, Ask::Advertise { ad });
    let shown = offered(world.ask(key(ALICE).0, near, Ask::Pull { wants: wants() }));
    assert_eq!(shown[0].home.home, home.0);

    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    assert_eq!(granted[0].signer(), home.0);
    let keep = volunteer.renewal(offer.id(), vec![granted[0].id()], Intent::Keep, world.now);
    assert_eq!(world.ask(key(ALICE).0, near, keep), Answer::Renewed { lapsed: vec![] });

    let result = result(key(ALICE), &granted[0], world.now);
    let answer = world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    assert_eq!(answer, HandoverAnswer::Taken);
    let arrived = world.delivered_to(project.master.0);
    assert_eq!(arrived, [result_bundle(&result, near)]);
    assert_eq!(world.broker(home).leases().count(), 0, "returned");

    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, near.0));
    assert_eq!(world.delivered_to(key(ALICE).0), [receipt_bundle(&receipt, near.0)]);
    let counts = world.broker(home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.returned, counts.done), (0, 0, 1));
    for broker in [near, key(2), home] {
        assert_eq!(world.broker(broker).status().custody, 0, "{broker:?}", broker = broker.0);
    }
}

#[test]
fn a_result_waits_where_the_way_is_cut_and_survives_a_restart_there() {
    let (mut world, [near, middle, home], project, offer) = line_with_offer();
    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    world.disconnect(middle.0, home.0);
    let result = result(key(ALICE), &granted[0], world.now);
    world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    world.pass(Duration::from_secs(60));
    let holder =
        |world: &World| [near, middle, home].map(|broker| world.broker(broker).holds(result.id()));
    assert_eq!(holder(&world).iter().filter(|holds| **holds).count(), 1);

    let holding = if holder(&world)[0] { near } else { middle };
    world.restart(holding);
    assert!(world.broker(holding).holds(result.id()));
    world.connect(near.0, middle.0);
    world.connect(middle.0, home.0);
    world.pass(Duration::from_secs(60));
    assert_eq!(world.delivered_to(project.master.0).len(), 1);
}

#[test]
fn custody_is_acknowledged_only_once_the_bundle_is_durable() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    world.connect(project.master.0, home.0);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);

    world.hold_disk(home);
    let first = world.begin_handover(key(ALICE).0, home, result_bundle(&result, home));
    let again = world.begin_handover(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.handover_answer(first), None);
    assert_eq!(world.handover_answer(again), None, "it rests on the same write");
    assert_eq!(world.delivered, [], "nor is it handed on before");
    world.release_disk(home);
    assert_eq!(world.handover_answer(first), Some(HandoverAnswer::Taken));
    assert_eq!(world.handover_answer(again), Some(HandoverAnswer::Taken));
    assert_eq!(world.delivered_to(project.master.0).len(), 1);
}

#[test]
fn every_record_fits_into_the_store_however_large_the_statement() {
    let (mut world, home, _, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let with_log = |bytes: usize, now| {
        let mut large: JobResult = (*result(key(ALICE), &lease, now)).clone();
        large.steps = (0..)
            .map_while(|step: usize| {
                let left = bytes.checked_sub(step * 2_000).filter(|left| *left > 0)?;
                Some(StepReport {
                    name: "run".to_owned(),
                    exit: None,
                    ending: String::new(),
                    wall_ms: 0,
                    cpu_ms: 0,
                    memory: 0,
                    log: Log::Inline(vec![0; left.min(2_000)]),
                })
            })
            .collect();
        Verified::sign(large, &key(ALICE))
    };
    for bytes in (56_000..63_000).step_by(20) {
        let result = with_log(bytes, world.now);
        if result.envelope().as_bytes().len() > capability::MAX_STATEMENT_BYTES {
            break;
        }
        let answer = world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
        assert_eq!(answer, HandoverAnswer::Taken);
    }
    assert!(world.largest_record(home) > 65_000, "close to the largest statement");
    // The store's bound of a value: a statement, and 4 KiB for the record around it.
    assert!(world.largest_record(home) <= 68 << 10);
}

#[test]
fn a_result_that_is_receipted_already_gets_its_receipt_again() {
    let (mut world, [near, _, home], project, offer) = line_with_offer();
    let volunteer = Asking { volunteer: key(ALICE), at: near, home, epoch: 1 };
    let claim = volunteer.claim(offer.id(), 1, 0, world.now);
    let granted = leases(world.ask(key(ALICE).0, near, claim));
    let result = result(key(ALICE), &granted[0], world.now);
    world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    let receipt = project.receipt(&result, accepted(), world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, near.0));

    // The receipt was lost with her old broker; the master is away; the home has been restarted.
    world.delivered.clear();
    world.restart(home);
    world.connect(key(ALICE).0, home.0);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.delivered_to(key(ALICE).0), [receipt_bundle(&receipt, home.0)]);
    assert_eq!(world.delivered_to(project.master.0), []);
}

#[test]
fn another_project_has_no_say_about_a_task() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let other = support::project(1);
    let theirs = other.offer(1, 1, world.now);
    let publication = publication(other, &theirs, 1, home, world.now);
    world.ask(other.master.0, home, publication);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);

    let meddling = other.receipt(&result, accepted(), world.now);
    world.hand_over(other.master.0, home, receipt_bundle(&meddling, home.0));
    assert_eq!(world.broker(home).leases().count(), 1, "the lease holds");
    world.connect(project.master.0, home.0);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.delivered_to(project.master.0).len(), 1, "and the result goes to its master");
}

/// Of a task whose result was returned: whether it is open after that judgement.
fn open_after(verdict: Verdict) -> usize {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    world.pass(LEASE_TERM * 2);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::NoTask, "it is being judged");
    let receipt = project.receipt(&result, verdict, world.now);
    world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    world.restart(home);
    world.broker(home).status().offers[0].counts.expect("granted here").open
}

#[test]
fn a_judgement_settles_a_task_or_opens_it_again() {
    assert_eq!(open_after(accepted()), 0);
    assert_eq!(open_after(Verdict::Again("the machine's disk was full".to_owned())), 1);
    assert_eq!(open_after(Verdict::Rejected("not what was leased".to_owned())), 1);
}

#[test]
fn a_late_result_counts_while_its_task_is_open_and_a_forged_one_never() {
    let (mut world, home, _, offer) = home_with_offer(2, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    world.pass(LEASE_TERM * 2);
    let returned =
        |world: &World| world.broker(home).status().offers[0].counts.map(|it| it.returned);

    let forged_lease = Verified::sign((*lease).clone(), &key(BOB));
    let forged = result(key(ALICE), &forged_lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&forged, home));
    assert_eq!(returned(&world), Some(0));
    let late: Verified<JobResult> = result(key(ALICE), &lease, world.now);
    world.hand_over(key(ALICE).0, home, result_bundle(&late, home));
    assert_eq!(returned(&world), Some(1));
}

#[test]
fn a_result_that_expires_before_its_offer_does_not_close_its_task() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let expires = world.now.wall + Duration::from_secs(60);
    let result = JobResult { expires, ..(*result(key(ALICE), &lease, world.now)).clone() };
    let result = Verified::sign(result, &key(ALICE));
    world.connect(project.master.0, home.0);
    world.hand_over(key(ALICE).0, home, result_bundle(&result, home));
    assert_eq!(world.delivered_to(project.master.0).len(), 1, "it passes through");
    world.pass(LEASE_TERM);
    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(BOB).0, home, claim)).len(), 1);
}

#[test]
fn custody_is_not_taken_of_what_lasts_too_long_or_comes_from_the_future() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let sound = result(key(ALICE), &lease, world.now);
    let lasting = JobResult { expires: world.now.wall + 31 * DAY, ..(*sound).clone() };
    let lasting = Verified::sign(lasting, &key(ALICE));
    let answer = world.hand_over(key(ALICE).0, home, result_bundle(&lasting, home));
    assert!(matches!(answer, HandoverAnswer::Refused(_)), "{answer:?}");

    let ahead = world.now.after(MAX_CLOCK_SKEW + Duration::from_millis(1));
    let receipt = project.receipt(&sound, accepted(), ahead);
    let answer = world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    assert!(matches!(answer, HandoverAnswer::Refused(_)), "{answer:?}");
    world.pass(Duration::from_millis(1));
    let answer = world.hand_over(project.master.0, home, receipt_bundle(&receipt, home.0));
    assert_eq!(answer, HandoverAnswer::Taken, "clocks differ by so much");
}

#[test]
fn custody_of_a_result_is_taken_only_where_the_home_of_its_project_is_known() {
    let (mut world, home, project, offer) = home_with_offer(1, 1);
    let near = key(2);
    world.join(near);
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    let lease = leases(world.ask(key(ALICE).0, home, claim)).remove(0);
    let result = result(key(ALICE), &lease, world.now);
    let answer = world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    assert!(matches!(&answer, HandoverAnswer::Refused(why) if why.contains("no home")));

    let gossip = Gossip::Home(project.home(1, home, &[], world.now));
    world.put(near.0, Input::Gossip { gossip, from: key(9).0, token: GossipToken(1) });
    let answer = world.hand_over(key(ALICE).0, near, result_bundle(&result, near));
    assert_eq!(answer, HandoverAnswer::Taken);
}

// The mesh

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
    let offers = [first, second].map(|project| {
        let offer = project.offer(2, 1, world.now);
        let publication = publication(project, &offer, 1, home, world.now);
        assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
        offer
    });
    let ad = ad(key(ALICE), near, 4, world.now);
    world.ask(key(ALICE).0, near, Ask::Advertise { ad });
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
    world.ask(project.master.0, home, Ask::Withdraw { withdrawal });
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
