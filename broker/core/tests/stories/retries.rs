//! Tasks that go wrong: who has them next, who waits, and when nobody has them any more.

use std::time::Duration;

use broker_core::{
    FIRST_WAIT, LEASE_TERM, LONGEST_WAIT, MAX_VANISHED, MAX_VANISHED_IN_ALL, RETRY_PAUSE,
};
use capability::Verified;
use capability::statements::{Lease, Offer, Verdict};
use mesh_core::{Answer, Ask, Refusal, StoppedTask};

use crate::support::*;
use crate::{ALICE, BOB, asking, home_with_offer};

const OWNER: u8 = 90;
const ANOTHER: u8 = 91;

/// Claims and results of volunteers of one home, with nonces that never come twice.
struct Court {
    world: World,
    home: Key,
    project: Project,
    offer: Verified<Offer>,
    nonce: u64,
}

impl Court {
    fn of(tasks: u32, replicas: u16) -> Self {
        let (world, home, project, offer) = home_with_offer(tasks, replicas);
        Self { world, home, project, offer, nonce: 0 }
    }

    fn claim_as(&mut self, volunteer: u8, owner: Option<u8>, count: u16) -> Answer {
        self.nonce += 1;
        // A lease is named by what it says, its time included.
        self.world.pass(Duration::from_millis(1));
        let asking = asking(volunteer, self.home);
        let owner = owner.map(|owner| ownership(key(owner), &[key(volunteer)], self.world.now));
        let claim = asking.claim_of(owner, self.offer.id(), count, self.nonce, self.world.now);
        self.world.ask(key(volunteer).0, self.home, claim)
    }

    fn claim(&mut self, volunteer: u8) -> Answer {
        self.claim_as(volunteer, None, 1)
    }

    /// `volunteer` brings a result of `lease`, and the master judges it so.
    fn judge(&mut self, volunteer: u8, lease: &Verified<Lease>, verdict: Verdict) {
        let result = result(key(volunteer), lease, self.world.now);
        self.world.hand_over(key(volunteer).0, self.home, result_bundle(&result, self.home));
        let receipt = self.project.receipt(&result, verdict, self.world.now);
        let bundle = receipt_bundle(&receipt, self.home.0);
        self.world.hand_over(self.project.master.0, self.home, bundle);
    }

    fn stopped(&mut self) -> Vec<StoppedTask> {
        let ask = Ask::Stopped { project: self.project.name() };
        match self.world.ask(self.project.master.0, self.home, ask) {
            Answer::Stopped(stopped) => stopped,
            other => panic!("{other:?}"),
        }
    }

    fn lapse(&mut self) {
        self.world.pass(LEASE_TERM);
    }
}

fn again() -> Verdict {
    Verdict::Again("no room".to_owned())
}

#[test]
fn replicas_of_a_task_go_to_different_owners() {
    let mut court = Court::of(1, 3);
    assert_eq!(leases(court.claim_as(ALICE, Some(OWNER), 3)).len(), 1);
    assert_eq!(refusal(court.claim_as(BOB, Some(OWNER), 3)), Refusal::NoTask);
    assert_eq!(leases(court.claim_as(BOB, Some(ANOTHER), 3)).len(), 1);
    // Who stands for itself, is no owner's, and the same volunteer is the same under any.
    assert_eq!(refusal(court.claim_as(ALICE, None, 1)), Refusal::NoTask);
    assert_eq!(leases(court.claim(52)).len(), 1);
    court.world.restart(court.home);
    assert_eq!(refusal(court.claim_as(53, Some(OWNER), 1)), Refusal::NoTask);
}

#[test]
fn an_ownership_that_does_not_hold_makes_nobody_akin() {
    let mut court = Court::of(1, 2);
    leases(court.claim_as(ALICE, Some(OWNER), 1));
    let now = court.world.now;
    let mut over = (*ownership(key(OWNER), &[key(BOB)], now)).clone();
    over.expires = now.wall.before(Duration::from_secs(301));
    let over = Some(Verified::sign(over, &key(OWNER)));
    let claim = asking(BOB, court.home).claim_of(over, court.offer.id(), 1, 77, now);
    assert_eq!(leases(court.world.ask(key(BOB).0, court.home, claim)).len(), 1);
}

#[test]
fn a_task_that_a_machine_could_not_run_goes_to_another_owner_first() {
    let mut court = Court::of(1, 1);
    let lease = leases(court.claim_as(ALICE, Some(OWNER), 1)).remove(0);
    court.judge(ALICE, &lease, again());
    court.world.pass(FIRST_WAIT);
    assert_eq!(refusal(court.claim_as(52, Some(OWNER), 1)), Refusal::NoTask, "Alice's other one");
    let lease = leases(court.claim_as(BOB, Some(ANOTHER), 1)).remove(0);
    court.judge(BOB, &lease, again());
    // If there is nobody else they have it again after a while.
    court.world.pass(RETRY_PAUSE);
    assert_eq!(leases(court.claim_as(52, Some(OWNER), 1)).len(), 1);
}

#[test]
fn a_volunteer_that_fails_at_an_offer_waits_longer_each_time_and_not_at_other_offers() {
    let mut court = Court::of(40, 1);
    let mut wait = FIRST_WAIT;
    for failures in 1..9 {
        let lease = leases(court.claim(ALICE)).remove(0);
        let verdict = if failures % 2 == 0 { again() } else { Verdict::Rejected("no".to_owned()) };
        court.judge(ALICE, &lease, verdict);
        court.world.pass(wait - Duration::from_secs(1));
        let refused = refusal(court.claim(ALICE)).to_string();
        assert!(refused.contains(&format!("failed at this offer {failures} times")), "{refused}");
        assert_eq!(leases(court.claim(BOB)).len(), 1, "others do not wait");
        court.world.pass(Duration::from_secs(1));
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    let other = court.project.offer(1, 1, court.world.now);
    let publication = publication(court.project, &other, 1, court.home, court.world.now);
    court.world.ask(court.project.master.0, court.home, publication);
    let lease = leases(court.claim(ALICE)).remove(0);
    court.judge(ALICE, &lease, again());
    court.offer = other;
    assert_eq!(leases(court.claim(ALICE)).len(), 1);
}

#[test]
fn failures_are_forgotten_after_a_success_and_in_time() {
    for forgiven in [Forgiven::BySuccess, Forgiven::InTime] {
        let mut court = Court::of(9, 1);
        for _ in 0..3 {
            let lease = leases(court.claim(ALICE)).remove(0);
            court.judge(ALICE, &lease, again());
            court.world.pass(LONGEST_WAIT);
        }
        match forgiven {
            Forgiven::BySuccess => {
                let lease = leases(court.claim(ALICE)).remove(0);
                court.judge(ALICE, &lease, accepted());
            }
            Forgiven::InTime => court.world.pass(Duration::from_secs(3_600)),
        }
        let lease = leases(court.claim(ALICE)).remove(0);
        court.judge(ALICE, &lease, again());
        court.world.pass(FIRST_WAIT);
        assert_eq!(leases(court.claim(ALICE)).len(), 1, "it was the first failure");
    }
}

#[derive(Clone, Copy)]
enum Forgiven {
    BySuccess,
    InTime,
}

#[test]
fn a_rejection_of_a_late_result_costs_nobody_a_wait() {
    let mut court = Court::of(2, 1);
    let lease = leases(court.claim(ALICE)).remove(0);
    court.lapse();
    let second = leases(court.claim(BOB)).remove(0);
    assert_eq!(second.task, lease.task);
    court.judge(BOB, &second, accepted());
    court.judge(ALICE, &lease, Verdict::Rejected("another result was accepted first".to_owned()));
    assert_eq!(leases(court.claim(ALICE)).len(), 1);
}

#[test]
fn a_task_after_which_machine_after_machine_is_silent_is_stopped_and_its_master_told() {
    let mut court = Court::of(1, 1);
    let mut last = None;
    for n in 0..u8::try_from(MAX_VANISHED).expect("few") {
        assert_eq!(court.stopped(), []);
        last = Some(leases(court.claim(50 + n)).remove(0));
        court.lapse();
    }
    assert_eq!(refusal(court.claim(60)), Refusal::NoTask);
    let counts = court.world.broker(court.home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.open, counts.stopped, counts.done), (0, 1, 0));
    // One of them may still be at it.
    assert_eq!(court.stopped(), []);
    court.world.pass(court.offer.job.limits.wall());
    let told = StoppedTask { offer: court.offer.id(), task: 0, volunteers: 5, times: 5 };
    assert_eq!(court.stopped(), [told]);
    let stranger = Ask::Stopped { project: court.project.name() };
    assert_eq!(refusal(court.world.ask(key(ALICE).0, court.home, stranger)), Refusal::NotHome);

    // A result that comes all the same counts.
    let lease = last.expect("there were some");
    court.judge(50 + u8::try_from(MAX_VANISHED - 1).expect("few"), &lease, accepted());
    let counts = court.world.broker(court.home).status().offers[0].counts.expect("granted here");
    assert_eq!((counts.stopped, counts.done), (0, 1));
    assert_eq!(court.stopped(), []);
}

#[test]
fn one_machine_that_falls_silent_stops_a_task_only_after_many_times() {
    let mut court = Court::of(1, 1);
    for _ in 0..MAX_VANISHED_IN_ALL {
        assert_eq!(leases(court.claim(ALICE)).len(), 1);
        court.lapse();
    }
    assert_eq!(refusal(court.claim(ALICE)), Refusal::NoTask);
}

#[test]
fn work_that_is_lost_with_its_process_counts_as_silence_and_what_is_given_up_does_not() {
    for lost in [true, false] {
        let mut court = Court::of(1, 1);
        for n in 0..u8::try_from(MAX_VANISHED).expect("few") {
            let lease = leases(court.claim(50 + n)).remove(0);
            let (offer, now) = (court.offer.id(), court.world.now);
            let asking = asking(50 + n, court.home);
            let renewal = asking.release(offer, vec![lease.id()], lost, now);
            court.world.ask(key(50 + n).0, court.home, renewal);
        }
        let granted = matches!(court.claim(60), Answer::Leases(_));
        assert_eq!(granted, !lost);
    }
}

#[test]
fn a_stopped_task_is_granted_again_in_the_next_epoch() {
    let mut court = Court::of(1, 1);
    for n in 0..u8::try_from(MAX_VANISHED).expect("few") {
        leases(court.claim(50 + n));
        court.lapse();
    }
    let publication = publication(court.project, &court.offer, 2, court.home, court.world.now);
    assert_eq!(court.world.ask(court.project.master.0, court.home, publication), Answer::Done);
    let asking = Asking { epoch: 2, ..asking(ALICE, court.home) };
    let claim = asking.claim(court.offer.id(), 1, 99, court.world.now);
    assert_eq!(leases(court.world.ask(key(ALICE).0, court.home, claim)).len(), 1);
}

#[test]
fn a_volunteer_that_has_to_wait_is_not_shown_the_offer() {
    let mut court = Court::of(2, 1);
    let ad = ad(key(ALICE), court.home, 4, court.world.now);
    court.world.ask(key(ALICE).0, court.home, Ask::Advertise { ad });
    let lease = leases(court.claim(ALICE)).remove(0);
    court.judge(ALICE, &lease, again());
    let pull = court.world.begin(key(ALICE).0, court.home, Ask::Pull { wants: wants() });
    court.world.pass(FIRST_WAIT - Duration::from_millis(1));
    assert_eq!(court.world.answer(pull), None);
    // The pull that waits is answered.
    court.world.pass(Duration::from_millis(1));
    assert_eq!(offered(court.world.answer(pull).expect("at once")).len(), 1);
}

#[test]
fn a_home_that_two_speak_for_refuses_the_one_that_is_behind() {
    let mut court = Court::of(1, 1);
    let (project, now) = (court.project, court.world.now);
    let rival = publication(project, &court.offer, 3, court.home, now);
    assert_eq!(court.world.ask(project.master.0, court.home, rival), Answer::Done);
    let behind = publication(project, &court.offer, 2, court.home, now);
    let refused = refusal(court.world.ask(project.master.0, court.home, behind));
    assert_eq!(refused, Refusal::Superseded { epoch: 3 });
}
