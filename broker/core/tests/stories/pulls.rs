//! Pulls and explanations: what a volunteer and a master are told.

use std::time::Duration;

use broker_core::{LONGEST_PULL_WAIT, PULL_WAIT};
use capability::statements::Ad;
use capability::{Resources, Runtime, Verified};
use mesh_core::{Answer, Ask, JobNeeds, Refusal};

use crate::support::*;
use crate::{ALICE, BOB, asking, home_with_offer};

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
fn a_private_offer_is_shown_and_granted_to_its_recipients_alone() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let mut pulls = Vec::new();
    for volunteer in [ALICE, BOB] {
        let ad = ad(key(volunteer), home, 4, world.now);
        assert_eq!(world.ask(key(volunteer).0, home, Ask::Advertise { ad }), Answer::Done);
        pulls.push(world.begin(key(volunteer).0, home, Ask::Pull { wants: wants() }));
    }
    let offer = project.private_offer(key(ALICE), world.now);
    let publication = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    world.pass(Duration::from_secs(3));
    assert_eq!(offered(world.answer(pulls[0]).expect("an offer"))[0].offer, offer);
    assert_eq!(world.answer(pulls[1]), None, "it is not for him");

    let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
    let refused = refusal(world.ask(key(BOB).0, home, claim));
    assert!(matches!(refused, Refusal::Unmatched(_)), "{refused:?}");
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    assert_eq!(leases(world.ask(key(ALICE).0, home, claim)).len(), 1);
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
fn a_pull_waits_as_long_as_it_says_but_not_for_ever() {
    let home = key(1);
    let mut world = World::of(&[home]);
    let ad = ad(key(ALICE), home, 4, world.now);
    world.ask(key(ALICE).0, home, Ask::Advertise { ad });
    for (said, waits) in [
        (Duration::from_secs(60), Duration::from_secs(60)),
        (Duration::from_millis(1), Duration::from_millis(1)),
        (Duration::MAX, LONGEST_PULL_WAIT),
    ] {
        let wait_ms = Some(u64::try_from(said.as_millis()).unwrap_or(u64::MAX));
        let wants = mesh_core::Wants { wait_ms, ..wants() };
        let pull = world.begin(key(ALICE).0, home, Ask::Pull { wants });
        world.pass(waits.saturating_sub(Duration::from_millis(1)));
        assert_eq!(world.answer(pull), None, "{said:?}");
        world.pass(Duration::from_millis(1));
        assert_eq!(world.answer(pull), Some(Answer::Offers(vec![])), "{said:?}");
    }
    let at_once = Ask::Pull { wants: mesh_core::Wants { wait_ms: Some(0), ..wants() } };
    assert_eq!(world.ask(key(ALICE).0, home, at_once), Answer::Offers(vec![]));
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
        mesh_core::Wants { free: Resources { memory: 1, ..wants().free }, ..wants() },
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
    for volunteer in [ALICE, BOB] {
        let ad = ad(key(volunteer), home, 4, world.now);
        world.ask(key(volunteer).0, home, Ask::Advertise { ad });
    }
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
fn a_volunteer_is_shown_some_offers_and_more_as_far_as_it_has_room() {
    let (mut world, home, project, first) = home_with_offer(1, 1);
    for _ in 1..40 {
        world.pass(Duration::from_millis(1));
        let offer = project.offer(1, 1, world.now);
        let publication = publication(project, &offer, 1, home, world.now);
        assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    }
    let (cores, memory) = (first.requirements.cores(), first.job.limits.memory);
    let shown = |world: &mut World, has: u32, free: Resources| {
        // What the others have left alone by then is free.
        world.pass(Duration::from_secs(2));
        let ad = ad(key(ALICE), home, has, world.now);
        assert_eq!(world.ask(key(ALICE).0, home, Ask::Advertise { ad }), Answer::Done);
        let wants = mesh_core::Wants { free, ..wants() };
        offered(world.ask(key(ALICE).0, home, Ask::Pull { wants })).len()
    };
    let much = Resources { cores: 1024, memory: u64::MAX, disk: u64::MAX };
    let few = Resources { cores, ..much };
    assert_eq!(shown(&mut world, 1024, few), 4, "a choice");
    assert_eq!(shown(&mut world, 1024, Resources { cores: 9 * cores, ..much }), 9);
    assert_eq!(shown(&mut world, 1024, Resources { memory: 7 * memory, ..much }), 7);
    assert_eq!(shown(&mut world, 6 * cores, much), 6, "whatever it says, it has no more");
}

#[test]
fn those_who_pull_one_after_another_are_shown_other_offers() {
    let (mut world, home, project, first) = home_with_offer(1, 1);
    for _ in 1..8 {
        world.pass(Duration::from_millis(1));
        let offer = project.offer(1, 1, world.now);
        let publication = publication(project, &offer, 1, home, world.now);
        assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    }
    let volunteers = [ALICE, BOB, 40];
    for volunteer in volunteers {
        let ad = ad(key(volunteer), home, 4, world.now);
        world.ask(key(volunteer).0, home, Ask::Advertise { ad });
    }
    world.pass(Duration::from_secs(2));
    let shown = |world: &mut World, volunteer| -> Vec<_> {
        let shown = offered(world.ask(key(volunteer).0, home, Ask::Pull { wants: wants() }));
        shown.into_iter().map(|shown| shown.offer.id()).collect()
    };
    let [alices, bobs, others] = volunteers.map(|volunteer| shown(&mut world, volunteer));
    assert_eq!(alices[0], first.id());
    assert!(bobs.iter().all(|offer| !alices.contains(offer)), "{alices:?} {bobs:?}");
    assert_eq!(others, alices, "there is nothing else");

    // Whoever has not claimed by then does not mean to.
    world.pass(Duration::from_secs(1));
    assert_eq!(shown(&mut world, BOB), alices);
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

#[test]
fn the_ad_of_a_volunteer_of_a_linked_broker_is_found_before_there_is_an_offer() {
    let [far, near, home] = [key(1), key(2), key(3)];
    let mut world = World::line(&[far, near, home]);
    for (volunteer, broker) in [(ALICE, near), (BOB, far)] {
        let ad = ad(key(volunteer), broker, 4, world.now);
        assert_eq!(world.ask(key(volunteer).0, broker, Ask::Advertise { ad }), Answer::Done);
    }
    let master = project(0).master.0;
    let mut signers = |volunteer| {
        let reply = world.begin(master, home, Ask::Ad { volunteer: key(volunteer).0 });
        let Some(Answer::Ads(ads)) = world.answer(reply) else { panic!("no ads") };
        ads.iter().map(Verified::signer).collect::<Vec<_>>()
    };
    assert_eq!(signers(ALICE), [key(ALICE).0]);
    assert_eq!(signers(BOB), [], "a broker that is asked by another asks nobody");
}

#[test]
fn who_seeks_an_ad_gets_the_newest_that_linked_brokers_have() {
    let [former, home, present] = [key(1), key(2), key(3)];
    let mut world = World::line(&[former, home, present]);
    for (broker, seq) in [(former, 1), (present, 2)] {
        let ad = Ad { seq, ..Ad::clone(&ad(key(ALICE), broker, 4, world.now)) };
        let ad = Verified::sign(ad, &key(ALICE));
        assert_eq!(world.ask(key(ALICE).0, broker, Ask::Advertise { ad }), Answer::Done);
    }
    let reply = world.begin(project(0).master.0, home, Ask::Ad { volunteer: key(ALICE).0 });
    let Some(Answer::Ads(ads)) = world.answer(reply) else { panic!("no ads") };
    assert_eq!(ads.iter().map(|ad| ad.seq).collect::<Vec<_>>(), [2]);
}
