//! What becomes of keys that are void or have passed on, and of offers that were withdrawn.

mod support;

use std::time::Duration;

use broker_core::GossipToken;
use capability::statements::{
    BrokerCard, Intent, JobResult, Lease, Offer, Receipt, Revocation, Succession,
};
use capability::{MAX_CLOCK_SKEW, StatementId, Verified};
use mesh_core::{
    Answer, Ask, Bundle, Gossip, HandoverAnswer, KeyChange, MAX_KEY_CHANGE_BYTES,
    MAX_REVOCATIONS_A_SIGNER, MAX_SUCCESSIONS_A_SIGNER, Now, Refusal,
};
use support::*;

const ALICE: u8 = 50;
const BOB: u8 = 51;
const STRANGER: u8 = 60;

/// A home broker, with an offer of two tasks in epoch 1.
fn home_with_offer() -> (World, Key, Project, Verified<Offer>) {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = world.publish(project, 2, 1, home);
    (world, home, project, offer)
}

fn asking(volunteer: u8, home: Key) -> Asking {
    Asking { volunteer: key(volunteer), at: home, home, epoch: 1 }
}

fn revocation_for(of: Key, by: Key, life: Duration, now: Now) -> KeyChange {
    let expires = now.wall + life;
    let payload = Revocation { key: of.0, reason: "stolen".to_owned(), expires };
    KeyChange::Revocation(Verified::sign(payload, &by))
}

fn revocation(of: Key, by: Key, now: Now) -> KeyChange {
    revocation_for(of, by, 300 * DAY, now)
}

fn succession(from: Key, to: Key, now: Now) -> KeyChange {
    let payload = Succession { successor: to.0, expires: now.wall + 300 * DAY };
    KeyChange::Succession(Verified::sign(payload, &from))
}

fn declare(world: &mut World, at: Key, change: KeyChange) -> Answer {
    world.ask(key(STRANGER).0, at, Ask::Declare { change })
}

fn said_by(world: &mut World, at: Key, signers: &[Key]) -> Vec<StatementId> {
    let of = signers.iter().map(|signer| signer.0).collect();
    match world.ask(key(ALICE).0, at, Ask::KeyChanges { of }) {
        Answer::KeyChanges(changes) => changes.iter().map(KeyChange::id).collect(),
        other => panic!("no key changes: {other:?}"),
    }
}

fn leased(world: &mut World, home: Key, offer: &Verified<Offer>) -> Verified<Lease> {
    let claim = asking(ALICE, home).claim(offer.id(), 1, 0, world.now);
    leases(world.ask(key(ALICE).0, home, claim)).remove(0)
}

fn renew(world: &mut World, home: Key, lease: &Verified<Lease>) -> Answer {
    let renewal = asking(ALICE, home);
    let renewal = renewal.renewal(lease.task.offer, vec![lease.id()], Intent::Keep, world.now);
    world.ask(key(ALICE).0, home, renewal)
}

#[test]
fn a_revoked_delegate_speaks_for_nobody_even_after_a_restart() {
    let (mut world, home, project, offer) = home_with_offer();
    let lease = leased(&mut world, home, &offer);
    let theft = revocation(project.master, key(STRANGER), world.now);
    assert_eq!(declare(&mut world, home, theft), Answer::Done);
    assert_eq!(world.broker(home).status().offers.len(), 1, "a stranger has no say");

    let change = revocation(project.master, project.project, world.now);
    assert_eq!(declare(&mut world, home, change.clone()), Answer::Done);
    assert_eq!(declare(&mut world, home, change), Answer::Done, "again");
    assert_eq!(world.broker(home).status().offers, []);
    for restarted in [false, true] {
        if restarted {
            world.restart(home);
        }
        let claim = asking(BOB, home).claim(offer.id(), 1, 0, world.now);
        assert_eq!(refusal(world.ask(key(BOB).0, home, claim)), Refusal::UnknownOffer);
        let publication = publication(project, &offer, 7, home, world.now);
        let answer = world.ask(project.master.0, home, publication);
        let why = "the key that signed it was revoked".to_owned();
        assert_eq!(refusal(answer), Refusal::Invalid(why));
        let result = result(key(ALICE), &lease, world.now);
        let receipt = project.receipt(&result, accepted(), world.now);
        let receipt = receipt_bundle(&receipt, home.0);
        let answer = world.hand_over(project.master.0, home, receipt);
        assert!(matches!(answer, HandoverAnswer::Refused(why) if why.contains("revoked")));
    }
}

#[test]
fn a_declaration_is_acknowledged_only_once_it_is_durable() {
    let (mut world, home, project, _) = home_with_offer();
    world.hold_disk(home);
    let change = revocation(project.master, project.project, world.now);
    let reply = world.begin(key(STRANGER).0, home, Ask::Declare { change });
    assert_eq!(world.answer(reply), None);
    world.release_disk(home);
    assert_eq!(world.answer(reply), Some(Answer::Done));
}

#[test]
fn a_project_that_revoked_itself_has_no_delegates() {
    let (mut world, home, project, offer) = home_with_offer();
    let change = revocation(project.project, project.project, world.now);
    assert_eq!(declare(&mut world, home, change), Answer::Done);
    assert_eq!(world.broker(home).status().offers, []);
    let publication = publication(project, &offer, 2, home, world.now);
    assert!(matches!(refusal(world.ask(project.master.0, home, publication)), Refusal::Invalid(_)));
}

#[test]
fn a_broker_that_revoked_itself_is_nobodys_home_and_no_way_leads_over_it() {
    let (near, thief, project) = (key(1), key(2), project(0));
    let mut world = World::of(&[near]);
    let change = revocation(thief, thief, world.now);
    assert_eq!(declare(&mut world, near, change), Answer::Done);
    let card = BrokerCard {
        seq: 1,
        addresses: Vec::new(),
        links: Vec::new(),
        expires: world.now.wall + Duration::from_secs(60),
    };
    let card = Gossip::Card(Verified::sign(card, &thief));
    let home = Gossip::Home(project.home(1, thief, &[], world.now));
    for gossip in [card, home] {
        let id = gossip.id();
        world.put(
            near.0,
            broker_core::Input::Gossip { gossip, from: key(9).0, token: GossipToken(1) },
        );
        assert!(!world.broker(near).knows(id));
    }
}

#[test]
fn a_volunteer_that_revoked_itself_gets_no_task_and_keeps_none() {
    let (mut world, home, _, offer) = home_with_offer();
    let lease = leased(&mut world, home, &offer);
    let change = revocation(key(ALICE), key(ALICE), world.now);
    assert_eq!(declare(&mut world, home, change), Answer::Done);

    let why = || Refusal::Invalid("this volunteer's key was revoked".to_owned());
    let claim = asking(ALICE, home).claim(offer.id(), 1, 1, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, claim)), why());
    assert_eq!(refusal(renew(&mut world, home, &lease)), why());
    let ad = ad(key(ALICE), home, 4, world.now);
    assert_eq!(refusal(world.ask(key(ALICE).0, home, Ask::Advertise { ad })), why());
    let result = result_bundle(&result(key(ALICE), &lease, world.now), home);
    let answer = world.hand_over(key(ALICE).0, home, result);
    assert!(matches!(answer, HandoverAnswer::Refused(why) if why.contains("revoked")));

    world.pass(broker_core::LEASE_TERM * 2);
    let claim = asking(BOB, home).claim(offer.id(), 2, 0, world.now);
    assert_eq!(leases(world.ask(key(BOB).0, home, claim)).len(), 2, "hers is open again");
}

#[test]
fn what_a_key_has_said_reaches_every_broker_and_is_told_to_whoever_asks() {
    let (first, second, project) = (key(1), key(2), project(0));
    let mut world = World::line(&[first, second]);
    world.lose_gossip = true;
    let now = world.now;
    let said = [
        revocation(project.master, project.project, now),
        revocation(project.project, project.project, now),
        succession(project.project, key(70), now),
    ];
    for change in &said {
        assert_eq!(declare(&mut world, first, change.clone()), Answer::Done);
    }
    let of_others = revocation(project.project, key(STRANGER), now);
    assert_eq!(declare(&mut world, first, of_others), Answer::Done);
    world.pass(Duration::from_secs(130));

    let mut expected: Vec<_> = said.iter().map(KeyChange::id).collect();
    expected.sort();
    for at in [first, second] {
        let mut told = said_by(&mut world, at, &[project.project, key(99), project.project]);
        told.sort();
        assert_eq!(told, expected);
    }
    world.restart(second);
    assert_eq!(said_by(&mut world, second, &[project.project]).len(), 3);
}

#[test]
fn a_signer_fills_its_own_share_and_no_more() {
    let mut world = World::of(&[key(1)]);
    let (home, greedy, modest, now) = (key(1), key(60), key(61), world.now);
    for n in 0..=MAX_REVOCATIONS_A_SIGNER {
        let of = key(u8::try_from(n).expect("some dozens") + 100);
        let answer = declare(&mut world, home, revocation(of, greedy, now));
        assert_eq!(answer == Answer::Done, n < MAX_REVOCATIONS_A_SIGNER, "{n}: {answer:?}");
    }
    for n in 0..=MAX_SUCCESSIONS_A_SIGNER {
        let to = key(u8::try_from(n).expect("two") + 100);
        let answer = declare(&mut world, home, succession(greedy, to, now));
        assert_eq!(answer == Answer::Done, n < MAX_SUCCESSIONS_A_SIGNER, "{n}: {answer:?}");
    }
    assert_eq!(declare(&mut world, home, revocation(greedy, modest, now)), Answer::Done);
    let all = MAX_REVOCATIONS_A_SIGNER + MAX_SUCCESSIONS_A_SIGNER;
    assert_eq!(said_by(&mut world, home, &[greedy]).len(), all);
}

#[test]
fn a_key_change_that_would_crowd_an_answer_is_not_kept() {
    use serde::{Deserialize, Serialize};
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Padded {
        #[serde(flatten)]
        revocation: Revocation,
        padding: String,
    }
    impl capability::Payload for Padded {
        const KIND: capability::Kind = capability::Kind::Revocation;
        const MAX_LIFETIME: Duration = Revocation::MAX_LIFETIME;

        fn expires(&self) -> capability::Timestamp {
            self.revocation.expires
        }

        fn validate(&self) -> Result<(), capability::Invalid> {
            Ok(())
        }
    }
    let mut world = World::of(&[key(1)]);
    let (home, expires) = (key(1), world.now.wall + DAY);
    let revocation = Revocation { key: key(2).0, reason: String::new(), expires };
    let padding = "x".repeat(MAX_KEY_CHANGE_BYTES);
    let padded = Verified::sign(Padded { revocation, padding }, &key(2));
    let change = KeyChange::check(padded.envelope(), &Hashed).expect("unknown keys are no error");
    let answer = declare(&mut world, home, change.clone());
    assert!(matches!(refusal(answer), Refusal::Invalid(why) if why.contains("1024 bytes")));
    let gossip = Gossip::from(change);
    let token = GossipToken(1);
    world.put(home.0, broker_core::Input::Gossip { gossip, from: key(9).0, token });
    assert_eq!(said_by(&mut world, home, &[key(2)]), []);
}

#[test]
fn a_revocation_stands_until_the_latest_of_its_expiries() {
    let mut world = World::of(&[key(1)]);
    let (home, hour, now) = (key(1), Duration::from_secs(3600), world.now);
    let long = revocation_for(key(2), key(2), hour, now);
    let short = revocation_for(key(2), key(2), hour / 2, now);
    for change in [short.clone(), long.clone(), short] {
        assert_eq!(declare(&mut world, home, change), Answer::Done);
    }
    assert_eq!(said_by(&mut world, home, &[key(2)]), [long.id()]);
    let ad = |now| ad(key(2), home, 4, now);
    world.pass(hour);
    let early = Ask::Advertise { ad: ad(world.now) };
    assert!(matches!(refusal(world.ask(key(2).0, home, early)), Refusal::Invalid(_)));

    world.pass(MAX_CLOCK_SKEW + Duration::from_secs(20));
    assert_eq!(said_by(&mut world, home, &[key(2)]), []);
    let late = Ask::Advertise { ad: ad(world.now) };
    assert_eq!(world.ask(key(2).0, home, late), Answer::Done);
}

#[test]
fn a_renewal_of_a_withdrawn_offer_is_answered_with_its_signers_withdrawal() {
    let (home, project) = (key(1), project(0));
    let mut world = World::of(&[home]);
    let offer = project.offer(2, 1, world.now);
    let by = |signer| Gossip::Withdrawal(project.withdrawal_by(signer, &offer));
    let from = key(9).0;
    // Two who know the offer's name before the home does, one on each side in the order of keys.
    for liar in [key(2), key(250)] {
        let (gossip, token) = (by(liar), GossipToken(1));
        world.put(home.0, broker_core::Input::Gossip { gossip, from, token });
    }
    let publication = publication(project, &offer, 1, home, world.now);
    assert_eq!(world.ask(project.master.0, home, publication), Answer::Done);
    let lease = leased(&mut world, home, &offer);
    assert_eq!(renew(&mut world, home, &lease), Answer::Renewed { lapsed: Vec::new() });

    let withdrawal = project.withdrawal(&offer);
    let withdraw = Ask::Withdraw { withdrawals: vec![withdrawal.clone()] };
    assert_eq!(world.ask(project.master.0, home, withdraw), Answer::Done);
    assert_eq!(renew(&mut world, home, &lease), Answer::Withdrawn(withdrawal.clone()));

    let late = Ask::Withdraw { withdrawals: vec![project.withdrawal_by(key(3), &offer)] };
    assert!(matches!(refusal(world.ask(key(3).0, home, late)), Refusal::Invalid(_)));
    world.restart(home);
    assert_eq!(renew(&mut world, home, &lease), Answer::Withdrawn(withdrawal));
}

/// A result of Alice's and its receipt, both of which the home has taken; its master is connected.
fn judged(
    world: &mut World,
    home: Key,
    project: Project,
) -> (Verified<JobResult>, Verified<Receipt>) {
    let offer = world.publish(project, 2, 1, home);
    world.connect(project.master.0, home.0);
    let lease = leased(world, home, &offer);
    let result = result(key(ALICE), &lease, world.now);
    give(world, key(ALICE), home, result_bundle(&result, home));
    let receipt = project.receipt(&result, accepted(), world.now);
    give(world, project.master, home, receipt_bundle(&receipt, home.0));
    (result, receipt)
}

fn give(world: &mut World, from: Key, home: Key, bundle: Bundle) {
    assert_eq!(world.hand_over(from.0, home, bundle), HandoverAnswer::Taken);
}

fn delivered_to(world: &World, who: Key) -> Vec<StatementId> {
    world.delivered_to(who.0).iter().map(Bundle::id).collect()
}

#[test]
fn a_result_with_a_void_receipt_goes_to_the_master_again_who_judges_anew() {
    for restored in [false, true] {
        let (home, project) = (key(1), project(0));
        let mut world = World::of(&[home]);
        world.connect(key(ALICE).0, home.0);
        let (result, void) = judged(&mut world, home, project);
        assert_eq!(delivered_to(&world, key(ALICE)), [void.id()]);
        let kept = world.receipts_on_disk(home);
        let change = revocation(project.master, project.project, world.now);
        assert_eq!(declare(&mut world, home, change), Answer::Done);
        assert_eq!(world.receipts_on_disk(home).len(), 0);
        if restored {
            // So it was left by a broker that did not drop them.
            world.undelete(home, kept);
            world.restart(home);
            assert_eq!(world.receipts_on_disk(home).len(), 0);
            world.connect(key(ALICE).0, home.0);
        }

        let heir = Project { master: key(210), ..project };
        let publication = publication(heir, &heir.offer(1, 1, world.now), 2, home, world.now);
        assert_eq!(world.ask(heir.master.0, home, publication), Answer::Done);
        world.connect(heir.master.0, home.0);
        give(&mut world, key(ALICE), home, result_bundle(&result, home));
        assert_eq!(delivered_to(&world, heir.master), [result.id()]);

        // What is signed again was judged when it was judged.
        let judged_at = Now { wall: void.issued, ..world.now };
        let anew = heir.receipt(&result, accepted(), judged_at);
        give(&mut world, heir.master, home, receipt_bundle(&anew, home.0));
        give(&mut world, key(ALICE), home, result_bundle(&result, home));
        assert_eq!(delivered_to(&world, key(ALICE)), [void.id(), anew.id(), anew.id()]);
        assert_eq!(delivered_to(&world, heir.master), [result.id()], "once is enough");
    }
}

#[test]
fn a_void_receipt_on_its_way_is_carried_no_further() {
    let (home, robbed) = (key(1), project(0));
    let mut world = World::of(&[home]);
    judged(&mut world, home, robbed);
    let (_, sound) = judged(&mut world, home, project(1));
    assert_eq!(world.broker(home).status().custody, 2);
    let change = revocation(robbed.master, robbed.project, world.now);
    assert_eq!(declare(&mut world, home, change), Answer::Done);
    assert_eq!(world.broker(home).status().custody, 1);
    world.restart(home);
    world.connect(key(ALICE).0, home.0);
    assert_eq!(delivered_to(&world, key(ALICE)), [sound.id()]);
}
