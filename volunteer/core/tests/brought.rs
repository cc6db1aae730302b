//! Work and receipts that somebody brings as files, at a machine that never has a broker.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{
    Ended, Lease, Permissions, Registration, Revocation, Succession, TaskId, Verdict,
};
use capability::{
    Checkpoint, Policy, PublicKey, Runtime, SecretKey, StatementId, Timestamp, Verified,
};
use mesh_core::{KeyChange, Offered, ReplyId};
use support::{
    ADAPTER, BROKER, Bench, ME, OTHER_BROKER, PROJECT, START, accepted, key, machine, offered,
    outcome, peer, pin, receipt,
};
use volunteer_core::{
    Action, Brought, Decline, Input, News, NotTaken, Pin, ReceiptFate, TakenWork, Unconfirmed,
};

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A machine of one core that trusts the project, without any broker.
fn alone(cores: u32) -> Bench {
    let mut bench = Bench::new();
    bench.handle(Input::Capabilities(machine(cores)));
    bench.handle(Input::Pins(vec![pin()]));
    bench
}

fn registration() -> Verified<Registration> {
    let registration = Registration {
        name: "sweep".into(),
        homepage: String::new(),
        keywords: Vec::new(),
        permissions: Permissions::default(),
        checks: Vec::new(),
        expires: START + 30 * DAY,
    };
    Verified::sign(registration, &*key(PROJECT))
}

fn lease(offered: &Offered, task: u32) -> Lease {
    Lease {
        project: offered.offer.project,
        task: TaskId { offer: offered.offer.id(), task, replica: 0 },
        epoch: 1,
        volunteer: peer(ME),
        runtime: Runtime::Wasm,
        granted: START,
        term_ms: 30_000,
        deadline: Some(START + 12 * HOUR),
        expires: offered.offer.expires,
    }
}

/// Leases of the first tasks of `offered`, each changed by `change`, as `signer` grants them.
fn work_by(
    signer: &SecretKey,
    offered: &Offered,
    tasks: u32,
    change: impl Fn(&mut Lease),
) -> Brought {
    let leases = (0..tasks).map(|task| {
        let mut lease = lease(offered, task);
        change(&mut lease);
        lease
    });
    Brought {
        registration: registration(),
        home: offered.home.clone(),
        offer: offered.offer.clone(),
        leases: Verified::sign_batch(leases.collect(), signer),
        key_changes: Vec::new(),
        unconfirmed: Unconfirmed::Refuse,
    }
}

fn work(offered: &Offered, tasks: u32) -> Brought {
    work_by(&key(BROKER), offered, tasks, |_| ())
}

fn bring(bench: &mut Bench, work: &Brought) -> Result<TakenWork, NotTaken> {
    let (work, reply) = (Box::new(work.clone()), ReplyId(77));
    bench.handle(Input::Brought { work, reply });
    bench.take(|action| match action {
        Action::BroughtJudged { reply: to, result } if *to == reply => Some(result.clone()),
        _ => None,
    })
}

fn begun(bench: &mut Bench) -> Vec<StatementId> {
    let mut begun = Vec::new();
    while let Some(lease) = bench.find(|action| match action {
        Action::Run(order) => Some(order.lease),
        _ => None,
    }) {
        begun.push(lease);
    }
    begun
}

fn take_receipts(
    bench: &mut Bench,
    receipts: Vec<Verified<capability::statements::Receipt>>,
) -> Vec<ReceiptFate> {
    let reply = ReplyId(78);
    bench.handle(Input::Receipts { receipts, reply });
    bench.take(|action| match action {
        Action::ReceiptsTaken { reply: to, fates } if *to == reply => Some(fates.clone()),
        _ => None,
    })
}

fn results(bench: &Bench) -> Vec<Verified<capability::statements::JobResult>> {
    bench.volunteer.results(None).cloned().collect()
}

#[test]
fn brought_work_runs_as_there_is_room_and_its_results_go_and_are_settled_as_files() {
    let (mut bench, offered) = (alone(1), offered("a", 3, 1));
    let work = work(&offered, 2);

    assert_eq!(bring(&mut bench, &work), Ok(TakenWork { new: 2, known: 0 }));
    let first = begun(&mut bench);
    assert_eq!((first.len(), bench.volunteer.brought_waiting()), (1, 1), "there is one core");
    bench.ran(first[0], outcome(Ended::Passed));
    let second = begun(&mut bench);
    bench.ran(second[0], outcome(Ended::Failed));

    let results = results(&bench);
    assert_eq!(results.len(), 2);
    let receipts: Vec<_> = results.iter().map(accepted).collect();
    assert_eq!(take_receipts(&mut bench, receipts.clone()), [ReceiptFate::Taken; 2]);
    assert_eq!(bench.volunteer.undelivered(), 0);
    let kept: Vec<_> = bench.volunteer.receipts().map(Verified::id).collect();
    assert!(receipts.iter().all(|receipt| kept.contains(&receipt.id())));

    // The same files once more change nothing, and say so.
    assert_eq!(take_receipts(&mut bench, receipts), [ReceiptFate::Known; 2]);
    assert_eq!(bring(&mut bench, &work), Ok(TakenWork { new: 0, known: 2 }));
    assert_eq!(begun(&mut bench), []);
}

#[test]
fn the_same_file_twice_is_taken_once_however_far_it_is() {
    let (mut bench, offered) = (alone(1), offered("a", 3, 1));
    let work = work(&offered, 2);
    assert_eq!(bring(&mut bench, &work), Ok(TakenWork { new: 2, known: 0 }));
    assert_eq!(bring(&mut bench, &work), Ok(TakenWork { new: 0, known: 2 }));
    let first = begun(&mut bench);
    bench.ran(first[0], outcome(Ended::Passed));
    assert_eq!(bring(&mut bench, &work), Ok(TakenWork { new: 0, known: 2 }), "one has a result");
    let more = work_by(&key(BROKER), &offered, 3, |_| ());
    assert_eq!(bring(&mut bench, &more), Ok(TakenWork { new: 1, known: 2 }));
}

#[test]
fn work_for_another_or_that_does_not_belong_together_is_refused() {
    let offered = offered("a", 2, 1);
    let refused = |work: &Brought| bring(&mut alone(1), work).expect_err("refused");
    let unsound = |work: &Brought| matches!(refused(work), NotTaken::Lease(_));
    let by_home = key(BROKER);

    let foreign = work_by(&by_home, &offered, 1, |lease| lease.volunteer = peer(OTHER_BROKER));
    assert_eq!(refused(&foreign), NotTaken::ForAnother(peer(OTHER_BROKER)));
    assert!(unsound(&work_by(&key(OTHER_BROKER), &offered, 1, |_| ())), "by no home");
    assert!(unsound(&work_by(&by_home, &offered, 1, |lease| lease.epoch = 0)), "older epoch");
    assert!(unsound(&work_by(&by_home, &offered, 1, |lease| lease.deadline = None)), "no deadline");
    assert!(unsound(&work_by(&by_home, &offered, 1, |lease| lease.task.task = 2)), "no such task");
    let other_project = PublicKey::from_bytes([9; 32]).into();
    assert!(unsound(&work_by(&by_home, &offered, 1, |lease| lease.project = other_project)));
    let ahead = work_by(&by_home, &offered, 1, |lease| {
        (lease.granted, lease.deadline) = (START + HOUR, Some(START + 2 * HOUR));
    });
    assert!(unsound(&ahead), "granted in the future");
    let other_home = Brought {
        home: support::offered_by(6, Runtime::Wasm, "a", 2, 1).home,
        ..work(&offered, 1)
    };
    assert!(matches!(refused(&other_home), NotTaken::Declined(Decline::WrongHome)));

    let lapsed = work_by(&by_home, &offered, 1, |lease| lease.deadline = Some(START));
    assert_eq!(refused(&lapsed), NotTaken::Lapsed(START));
}

#[test]
fn the_owner_and_the_machine_judge_it_as_any_offer() {
    let native = support::offered_in(Runtime::Native, "a", 1, 1);
    let as_native = |lease: &mut Lease| lease.runtime = Runtime::Native;
    let not_permitted = bring(&mut alone(1), &work_by(&key(BROKER), &native, 1, as_native));
    let not_permitted = not_permitted.expect_err("the pin permits wasm");
    assert_eq!(not_permitted, NotTaken::Declined(Decline::NotPermitted(Runtime::Native)));

    let work = work(&offered("a", 1, 1), 1);
    let mut bench = alone(1);
    bench.handle(Input::Pins(Vec::new()));
    assert_eq!(bring(&mut bench, &work), Err(NotTaken::Declined(Decline::NotPinned)));

    let large = offered("large", 1, 8);
    let unmatched = bring(&mut alone(1), &self::work(&large, 1)).expect_err("eight cores");
    assert!(matches!(unmatched, NotTaken::Declined(Decline::Unmatched(_))), "{unmatched}");

    let mut bench = alone(1);
    bench.handle(Input::Policy(never()));
    let refused = bring(&mut bench, &work).expect_err("against the policy");
    assert!(matches!(refused, NotTaken::Declined(Decline::Policy(_))), "{refused}");

    let mut bench = Bench::new();
    bench.handle(Input::Pins(vec![pin()]));
    assert_eq!(bring(&mut bench, &work), Err(NotTaken::Probing));
}

/// A policy that no offer here meets.
fn never() -> Policy {
    Policy::read("[policy]\nkeywords = [\"never\"]").unwrap()
}

#[test]
fn keys_are_asked_of_nobody_so_the_file_must_be_fresh_or_the_owner_says_so() {
    let (offered, mut bench) = (offered("a", 1, 1), alone(1));
    let long = |lease: &mut Lease| lease.deadline = Some(lease.expires);
    let fresh = work_by(&key(BROKER), &offered, 1, long);
    bench.pass(DAY - HOUR);
    assert!(bench.volunteer.judge_brought(&fresh).is_ok());
    // Its offer lives for a day; so a lease that was granted before it is the older one.
    let old = work_by(&key(BROKER), &offered, 1, |lease| {
        long(lease);
        lease.granted = Timestamp(START.0 - 2 * HOUR.as_millis() as u64);
    });
    assert_eq!(bring(&mut bench, &old), Err(NotTaken::Unconfirmed));
    let anyway = Brought { unconfirmed: Unconfirmed::Accept, ..old };
    assert_eq!(bring(&mut bench, &anyway), Ok(TakenWork { new: 1, known: 0 }));
}

#[test]
fn a_key_that_the_file_tells_is_void_brings_nothing() {
    let offered = offered("a", 1, 1);
    let revocation = |of: u8, by: u8| {
        let expires = START + 30 * DAY;
        let payload = Revocation { key: peer(of), reason: String::new(), expires };
        KeyChange::Revocation(Verified::sign(payload, &*key(by)))
    };
    for (of, by) in [(ADAPTER, PROJECT), (ADAPTER, ADAPTER), (PROJECT, PROJECT)] {
        let work = Brought { key_changes: vec![revocation(of, by)], ..work(&offered, 1) };
        let void = Decline::Revoked(peer(ADAPTER));
        assert_eq!(bring(&mut alone(1), &work), Err(NotTaken::Declined(void)));
    }
    // What strangers say of it means nothing, and a successor is the owner's to trust.
    let expires = START + 30 * DAY;
    let passed_on = Succession { successor: peer(OTHER_BROKER), expires };
    let passed_on = KeyChange::Succession(Verified::sign(passed_on, &*key(PROJECT)));
    let changes = vec![revocation(ADAPTER, OTHER_BROKER), passed_on];
    let work = Brought { key_changes: changes, ..work(&offered, 1) };
    assert_eq!(bring(&mut alone(1), &work), Ok(TakenWork { new: 1, known: 0 }));
}

#[test]
fn a_killed_process_loses_no_more_than_the_run() {
    let (mut bench, offered) = (alone(2), offered("a", 3, 1));
    assert!(bring(&mut bench, &work(&offered, 3)).is_ok());
    let running = begun(&mut bench);
    assert_eq!(running.len(), 2);
    bench.ran(running[0], outcome(Ended::Passed));
    let third = begun(&mut bench);
    let mut bench = bench.restart();
    assert_eq!(results(&bench).len(), 1);
    let mut again = begun(&mut bench);
    again.sort();
    let mut expected = vec![running[1], third[0]];
    expected.sort();
    assert_eq!(again, expected, "those without a result, and no other");
    again.into_iter().for_each(|lease| bench.ran(lease, outcome(Ended::Passed)));
    assert_eq!((results(&bench).len(), bench.volunteer.brought_waiting()), (3, 0));
    assert!(!bench.disk.keys().any(|key| key[0] == b'i'), "nothing of it is left on the disk");
}

#[test]
fn nothing_begins_before_it_is_durable() {
    let mut bench = alone(1);
    bench.slow_disk = true;
    let (work, reply) = (Box::new(work(&offered("a", 1, 1), 1)), ReplyId(1));
    bench.handle(Input::Brought { work, reply });
    bench.pass(HOUR);
    let told = |it: &Action| matches!(it, Action::BroughtJudged { .. }).then_some(());
    assert!(bench.find(told).is_none() && begun(&mut bench).is_empty());
    bench.finish_commits();
    assert!(bench.find(told).is_some());
    assert_eq!(begun(&mut bench).len(), 1);
}

#[test]
fn of_a_builder_that_is_followed_now_and_then_one_brought_task_begins_at_a_time() {
    let mut bench = alone(4);
    bench.handle(Input::Pins(vec![Pin { every: Some(4 * HOUR), ..pin() }]));
    assert!(bring(&mut bench, &work(&offered("a", 2, 1), 2)).is_ok());
    assert_eq!(begun(&mut bench).len(), 1);
    bench.pass(4 * HOUR);
    assert_eq!(begun(&mut bench).len(), 1);
}

#[test]
fn brought_work_waits_for_a_runtime_that_is_missing_this_time() {
    let mut bench = alone(1);
    assert!(bring(&mut bench, &work(&offered("a", 2, 1), 2)).is_ok());
    let first = begun(&mut bench);
    let mut without = machine(1);
    without.runtimes.retain(|it, _| *it != Runtime::Wasm);
    bench.handle(Input::Capabilities(without));
    bench.ran(first[0], outcome(Ended::Passed));
    assert_eq!(begun(&mut bench), []);
    bench.handle(Input::Capabilities(machine(1)));
    assert_eq!(begun(&mut bench).len(), 1);
}

#[test]
fn a_brought_job_that_is_put_by_without_a_checkpoint_begins_anew() {
    let mut bench = alone(1);
    let offered = offered("a", 1, 1);
    let mut offer = (*offered.offer).clone();
    offer.job.checkpoint = Some(Checkpoint { every_ms: 60_000, size: 1 << 20 });
    let offered = Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..offered };
    assert!(bring(&mut bench, &work(&offered, 1)).is_ok());
    let running = begun(&mut bench);
    bench.handle(Input::Quit);
    bench.take(|it| (*it == Action::PutBy { lease: running[0] }).then_some(()));
    bench.ran(running[0], outcome(Ended::Machine("stopped".into())));
    let mut bench = bench.restart();
    bench.handle(Input::TakeUp(Vec::new()));
    assert_eq!(begun(&mut bench), running);
}

#[test]
fn who_stops_the_daemon_gives_nothing_back_that_nobody_else_could_have() {
    let mut bench = alone(1);
    assert!(bring(&mut bench, &work(&offered("a", 1, 1), 1)).is_ok());
    let running = begun(&mut bench);
    bench.handle(Input::Quit);
    bench.take(|it| matches!(it, Action::Stop { lease } if *lease == running[0]).then_some(()));
    bench.ran(running[0], outcome(Ended::Failed));
    assert!(results(&bench).is_empty() && begun(&mut bench).is_empty());
    let mut bench = bench.restart();
    assert_eq!(begun(&mut bench), running);
}

#[test]
fn what_waits_is_let_go_at_its_deadline_and_when_its_project_is_not_trusted_any_more() {
    let mut bench = alone(1);
    assert!(bring(&mut bench, &work(&offered("a", 3, 1), 3)).is_ok());
    assert_eq!(begun(&mut bench).len(), 1);
    bench.pass(12 * HOUR);
    assert_eq!(bench.volunteer.brought_waiting(), 0, "two never began");
    let released =
        bench.news().into_iter().any(|it| matches!(it, News::Released { leases: 2, .. }));
    assert!(released);

    let mut bench = alone(1);
    assert!(bring(&mut bench, &work(&offered("a", 3, 1), 3)).is_ok());
    let running = begun(&mut bench);
    bench.handle(Input::Pins(Vec::new()));
    bench.take(|it| matches!(it, Action::Stop { lease } if *lease == running[0]).then_some(()));
    bench.ran(running[0], outcome(Ended::Failed));
    assert_eq!((results(&bench).len(), bench.volunteer.brought_waiting()), (0, 0));
    assert!(!bench.disk.keys().any(|key| key[0] == b'i'), "nothing of it is left on the disk");
}

#[test]
fn a_paused_machine_takes_brought_work_and_waits() {
    let mut bench = alone(1);
    bench.handle(Input::Pause(volunteer_core::Pause::default()));
    assert!(bring(&mut bench, &work(&offered("a", 1, 1), 1)).is_ok());
    assert_eq!(begun(&mut bench), []);
    bench.handle(Input::Resume);
    assert_eq!(begun(&mut bench).len(), 1);
}

#[test]
fn receipts_that_do_not_hold_or_are_for_others_settle_nothing() {
    let mut bench = alone(1);
    assert!(bring(&mut bench, &work(&offered("a", 1, 1), 1)).is_ok());
    let running = begun(&mut bench);
    bench.ran(running[0], outcome(Ended::Passed));
    let result = results(&bench).remove(0);
    let good = accepted(&result);
    let change = |change: &dyn Fn(&mut capability::statements::Receipt)| {
        let mut receipt = (*good).clone();
        change(&mut receipt);
        Verified::sign(receipt, &*key(ADAPTER))
    };
    let other = change(&|it| it.volunteer = peer(OTHER_BROKER));
    let unknown = change(&|it| it.result = StatementId::from_bytes([1; 32]));
    let other_task = change(&|it| it.task.task = 1);
    let fates = take_receipts(&mut bench, vec![other, unknown, other_task]);
    let [ReceiptFate::Refused(_), ReceiptFate::NotAwaited, ReceiptFate::Refused(_)] = fates[..]
    else {
        panic!("{fates:?}")
    };
    assert_eq!(bench.volunteer.undelivered(), 1);
    // A rejection is an answer too.
    let rejected = receipt(&result, Verdict::Rejected("late".into()));
    assert_eq!(take_receipts(&mut bench, vec![rejected]), [ReceiptFate::Taken]);
    assert_eq!(bench.volunteer.undelivered(), 0);
}

#[test]
fn a_result_is_written_to_no_file_before_it_is_durable() {
    let mut bench = alone(1);
    assert!(bring(&mut bench, &work(&offered("a", 1, 1), 1)).is_ok());
    let running = begun(&mut bench);
    bench.slow_disk = true;
    bench.ran(running[0], outcome(Ended::Passed));
    assert!(results(&bench).is_empty());
    bench.finish_commits();
    let one = results(&bench).remove(0);
    assert_eq!(bench.volunteer.results(Some(one.id())).count(), 0, "none comes after it");
}
