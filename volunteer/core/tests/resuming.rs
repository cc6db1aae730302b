//! Stories of jobs that go on from a checkpoint in the next process.

mod support;

use std::time::Duration;

use capability::statements::{Ended, Intent, Lease, Renewal};
use capability::{Checkpoint, StatementId, Verified};
use mesh_core::{Answer, Ask, Offered};
use support::{ADAPTER, BROKER, Bench, START, key, offered, outcome, peer, report_in};
use volunteer_core::{Action, Input, News};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// An offer whose job keeps checkpoints.
fn keeping() -> Offered {
    let offered = offered("long", 1, 1);
    let mut offer = (*offered.offer).clone();
    offer.job.checkpoint = Some(Checkpoint { every_ms: 60_000, size: 1 << 20 });
    Offered { offer: Verified::sign(offer, &*key(ADAPTER)), ..offered }
}

/// Runs a task of such an offer under a lease that holds by itself until `deadline`, if there is one.
fn run_keeping(bench: &mut Bench, deadline: Option<Duration>) -> Verified<Lease> {
    let offer = keeping();
    let (call, _) = bench.take_pull();
    bench.answer(call, Answer::Offers(vec![offer.clone()]));
    let (call, claim) = bench.take_claim();
    let lease = support::leases(&claim, 0, 1).remove(0);
    let lease = Lease { deadline: deadline.map(|it| START + it), ..(*lease).clone() };
    let lease = Verified::sign(lease, &*key(BROKER));
    bench.answer(call, Answer::Leases(vec![lease.clone()]));
    bench.fetched(&offer.offer);
    bench.take_order();
    lease
}

/// A new process, whose shell still has what it kept.
fn restarted(bench: Bench) -> Bench {
    let mut bench = bench.restart();
    let kept = bench.volunteer.resumable().map(|(lease, _)| lease).collect();
    bench.handle(Input::TakeUp(kept));
    bench
}

fn runs(bench: &mut Bench) -> Vec<StatementId> {
    let order = |it: &Action| if let Action::Run(order) = it { Some(order.lease) } else { None };
    std::iter::from_fn(|| bench.find(order)).collect()
}

fn renewal(bench: &mut Bench) -> (mesh_core::CallId, Verified<Renewal>) {
    let (call, ask) = bench.take_ask(|ask| matches!(ask, Ask::Renew { .. }));
    let Ask::Renew { renewal, .. } = ask else { unreachable!() };
    (call, renewal)
}

fn drops(bench: &mut Bench) -> Option<StatementId> {
    bench.find(|it| if let Action::DropCheckpoint { lease } = it { Some(*lease) } else { None })
}

#[test]
fn under_a_lease_with_a_deadline_a_job_goes_on_without_a_broker() {
    let mut bench = Bench::ready(1);
    let lease = run_keeping(&mut bench, Some(3 * HOUR));
    bench.handle(Input::Checkpointed { lease: lease.id() });

    let mut bench = restarted(bench);

    assert_eq!(runs(&mut bench), [lease.id()]);
    assert!(bench.volunteer.needs_blob(&keeping().offer.package.hash));
    let mut ended = outcome(Ended::Passed);
    ended.resumed = 1;
    bench.ran(lease.id(), ended);
    assert_eq!(drops(&mut bench), Some(lease.id()));
    bench.connect(BROKER);
    let (_, bundle) = bench.take_handover();
    assert_eq!(report_in(&support::result_in(&bundle)).resumed, 1);

    let mut bench = restarted(bench);
    assert_eq!((bench.volunteer.resumable().count(), runs(&mut bench)), (0, vec![]));
}

#[test]
fn a_lease_without_a_deadline_is_renewed_before_its_job_goes_on() {
    let mut bench = Bench::ready(1);
    let lease = run_keeping(&mut bench, None);
    bench.handle(Input::Checkpointed { lease: lease.id() });

    let mut bench = restarted(bench);
    bench.connect(BROKER);

    let (call, kept) = renewal(&mut bench);
    assert_eq!((kept.intent, kept.leases.as_slice()), (Intent::Keep, [lease.id()].as_slice()));
    assert_eq!(runs(&mut bench), []);
    bench.answer(call, Answer::Renewed { lapsed: vec![] });
    assert_eq!(runs(&mut bench), [lease.id()]);
}

#[test]
fn a_job_whose_lease_has_lapsed_meanwhile_is_let_go_with_what_was_kept() {
    let mut bench = Bench::ready(1);
    let lease = run_keeping(&mut bench, None);
    bench.handle(Input::Checkpointed { lease: lease.id() });

    let mut bench = restarted(bench);
    bench.connect(BROKER);
    let (call, _) = renewal(&mut bench);
    bench.answer(call, Answer::Renewed { lapsed: vec![lease.id()] });

    assert_eq!((runs(&mut bench), bench.volunteer.jobs().count()), (vec![], 0));
    assert_eq!(drops(&mut bench), Some(lease.id()));
    assert_eq!(restarted(bench).volunteer.resumable().count(), 0);
}

#[test]
fn without_a_checkpoint_or_trust_or_once_the_deadline_is_over_the_lease_is_given_back() {
    let released = |mut bench: Bench, lease: &Verified<Lease>| {
        assert_eq!(runs(&mut bench), []);
        bench.connect(BROKER);
        let (_, back) = renewal(&mut bench);
        assert_eq!((back.intent, back.lost), (Intent::Release, true));
        assert_eq!(back.leases, [lease.id()]);
        assert_eq!(drops(&mut bench), Some(lease.id()));
    };
    let kept = |deadline| {
        let mut bench = Bench::ready(1);
        let lease = run_keeping(&mut bench, Some(deadline));
        bench.handle(Input::Checkpointed { lease: lease.id() });
        (bench, lease)
    };

    let (bench, lease) = kept(3 * HOUR);
    let mut bench = bench.restart();
    bench.handle(Input::TakeUp(Vec::new()));
    released(bench, &lease);

    let (bench, lease) = kept(3 * HOUR);
    let mut bench = bench.restart_as(2, Vec::new());
    bench.handle(Input::TakeUp(vec![lease.id()]));
    released(bench, &lease);

    let (mut bench, lease) = kept(HOUR);
    bench.pass(2 * HOUR);
    released(restarted(bench), &lease);
}

#[test]
fn who_leaves_asks_for_a_last_checkpoint_and_keeps_the_lease_if_one_comes() {
    for comes in [true, false] {
        let mut bench = Bench::ready(1);
        let lease = run_keeping(&mut bench, None);
        bench.handle(Input::Quit);
        bench.take(|it| (*it == Action::PutBy { lease: lease.id() }).then_some(()));
        assert!(bench.find(|it| matches!(it, Action::Stop { .. }).then_some(())).is_none());

        if comes {
            bench.handle(Input::Checkpointed { lease: lease.id() });
        }
        bench.ran(lease.id(), outcome(Ended::Machine("stopped".into())));
        if !comes {
            let (call, back) = renewal(&mut bench);
            assert_eq!((back.intent, back.lost), (Intent::Release, false));
            bench.answer(call, Answer::Renewed { lapsed: vec![] });
        }
        assert!(bench.news().contains(&News::Drained), "{comes}");
        assert_eq!(restarted(bench).volunteer.jobs().count(), usize::from(comes));
    }
}

#[test]
fn a_job_that_ends_while_it_is_put_by_has_a_result() {
    let mut bench = Bench::ready(1);
    let lease = run_keeping(&mut bench, None);
    bench.handle(Input::Checkpointed { lease: lease.id() });
    bench.handle(Input::Quit);
    bench.ran(lease.id(), outcome(Ended::Passed));
    bench.take_handover();
    assert_eq!(restarted(bench).volunteer.resumable().count(), 0);
    assert_eq!(peer(BROKER), lease.signer());
}

#[test]
fn what_was_taken_up_and_has_not_begun_again_outlasts_another_restart_and_a_drain() {
    let mut bench = Bench::ready(1);
    let lease = run_keeping(&mut bench, None);
    bench.handle(Input::Checkpointed { lease: lease.id() });

    let mut bench = restarted(bench);
    bench.handle(Input::Drain { until: None });
    assert_eq!(bench.volunteer.jobs().count(), 1);
    bench.handle(Input::Quit);
    assert_eq!((bench.volunteer.jobs().count(), drops(&mut bench)), (0, None));
    let mut bench = restarted(bench);
    bench.pass(SECOND);
    assert_eq!(bench.volunteer.jobs().count(), 1);
}
