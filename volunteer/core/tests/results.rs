//! What becomes of a result, from its report to its receipt.
#![expect(clippy::unwrap_used, reason = "tests")]

mod support;

use std::time::Duration;

use capability::statements::{
    Artifact, Blob, BlobPart, Credit, Ended, Intent, JobResult, Log, MAX_INLINE_LOG_BYTES,
    StepReport, Verdict,
};
use capability::{BlobHash, Ed25519, MAX_STATEMENT_BYTES, Verified, encrypted_size};
use mesh_core::{Bundle, HandoverAnswer};
use support::{
    ADAPTER, BROKER, Bench, OTHER_BROKER, accepted, key, offered, outcome, peer, receipt, renewals,
    report_in, result_in,
};
use volunteer_core::{Action, Input};

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn a_result_is_durable_before_it_is_handed_over() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.slow_disk = true;
    bench.ran(order.lease, outcome(Ended::Passed));
    bench.pass(5 * SECOND);
    assert_eq!(bench.find_handover(), None);

    bench.finish_commits();

    let (to, bundle) = bench.take_handover();
    assert_eq!(to, peer(BROKER));
    assert_eq!(result_in(&bundle).lease.id(), order.lease);
}

#[test]
fn a_result_is_kept_until_its_receipt_and_sent_again_by_another_broker() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let (to, first) = bench.take_handover();
    bench.handed_over(to, first.id());
    assert_eq!(bench.volunteer.undelivered(), 1);

    // The broker is destroyed with everything that it had taken.
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    assert_eq!(bench.find_handover(), None);
    bench.handle(Input::BrokerDown { peer: peer(BROKER) });

    let (to, second) = bench.take_handover();
    assert_eq!((to, second.id()), (peer(OTHER_BROKER), first.id()));
    assert_eq!((first.via, second.via), (peer(BROKER), peer(OTHER_BROKER)));
    bench.not_handed_over(to, second.id());
    bench.pass(SECOND);
    bench.take_handover();

    // So it is after a crash.
    let mut bench = bench.restart();
    bench.connect(BROKER);
    assert_eq!(bench.take_handover().1.id(), first.id());
}

#[test]
fn a_result_without_a_receipt_is_sent_again_by_another_broker_although_the_first_is_there() {
    let mut bench = Bench::ready(1);
    bench.handle(Input::BrokerUp { peer: peer(OTHER_BROKER) });
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let (to, bundle) = bench.take_handover();
    assert_eq!(to, peer(BROKER));
    bench.handed_over(to, bundle.id());

    // The broker has said that it took the result, and no receipt comes: it may have dropped it.
    bench.pass(20 * SECOND);
    let (to, again) = bench.take_handover();
    assert_eq!((to, again.id(), again.via), (peer(OTHER_BROKER), bundle.id(), peer(OTHER_BROKER)));
    bench.handed_over(to, bundle.id());
    bench.pass(40 * SECOND);
    assert_eq!(bench.take_handover().0, peer(BROKER), "and so in turn");
}

#[test]
fn results_that_are_ready_together_are_one_batch_and_one_handover() {
    let mut bench = Bench::ready(2);
    let leases: Vec<_> =
        bench.run_offer(&offered("a", 2, 1)).into_iter().map(|order| order.lease).collect();
    let ended = leases.iter().map(|lease| (*lease, outcome(Ended::Passed)));
    bench.handle(Input::Ran(ended.collect()));

    let results: Vec<_> = bench.take_handovers().iter().map(result_in).collect();
    assert_eq!(results.iter().map(|it| it.lease.id()).collect::<Vec<_>>(), leases);
    for result in &results {
        Verified::<JobResult>::check(result.envelope(), &Ed25519).expect("each stands alone");
    }
    // A batch's leaf is an array of five, a statement alone of four.
    assert!(results.iter().all(|it| it.envelope().as_bytes()[0] == 0x85));
}

#[test]
fn after_a_crash_a_lease_is_given_back_unless_its_result_is_durable() {
    let mut bench = Bench::ready(2);
    let orders = bench.run_offer(&offered("a", 2, 1));
    bench.ran(orders[0].lease, outcome(Ended::Passed));

    let mut bench = bench.restart();
    bench.connect(BROKER);
    let released = renewals(&mut bench);
    assert_eq!((released.len(), released[0].intent), (1, Intent::Release));
    assert_eq!(released[0].leases, [orders[1].lease]);
    assert_eq!(result_in(&bench.take_handover().1).lease.id(), orders[0].lease);
}

#[test]
fn what_was_judged_before_a_crash_is_not_sent_again_with_the_rest_of_its_record() {
    let mut bench = Bench::ready(2);
    let orders = bench.run_offer(&offered("a", 2, 1));
    let ended = orders.iter().map(|order| (order.lease, outcome(Ended::Passed)));
    bench.handle(Input::Ran(ended.collect()));
    let bundles = bench.take_handovers();
    let reply = bench.receive(accepted(&result_in(&bundles[0])));
    assert_eq!(bench.reply_to(reply), Some(HandoverAnswer::Taken));

    let mut bench = bench.restart();
    bench.connect(BROKER);
    let again: Vec<_> = bench.take_handovers().iter().map(Bundle::id).collect();
    assert_eq!(again, [bundles[1].id()]);
    assert_eq!(bench.volunteer.undelivered(), 1);
}

#[test]
fn a_result_is_discharged_once_and_after_its_receipt_is_durable() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let (to, bundle) = bench.take_handover();
    bench.handed_over(to, bundle.id());
    let result = result_in(&bundle);
    let is_drop = |it: &Action| matches!(it, Action::DropBlobs(_)).then_some(());
    bench.slow_disk = true;

    let reply = bench.receive(accepted(&result));
    let repeated = bench.receive(accepted(&result));
    assert_eq!((bench.reply_to(reply), bench.reply_to(repeated)), (None, None));
    assert_eq!(bench.find(is_drop), None);

    bench.finish_commits();
    assert_eq!(bench.reply_to(reply), Some(HandoverAnswer::Taken));
    assert_eq!(bench.reply_to(repeated), Some(HandoverAnswer::Taken));
    assert_eq!((bench.find(is_drop), bench.find(is_drop)), (Some(()), None));
    assert_eq!(bench.volunteer.undelivered(), 0);

    bench.slow_disk = false;
    let bench = bench.restart();
    assert_eq!(bench.volunteer.undelivered(), 0);
    let (_, total) = bench.volunteer.totals().next().unwrap();
    assert_eq!((total.accepted, total.credit), (1, Credit(7)));
    assert_eq!(bench.volunteer.receipts().count(), 1);
}

#[test]
fn a_receipt_of_another_project_discharges_nothing() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let result = result_in(&bench.take_handover().1);
    let mut forged = (*receipt(&result, Verdict::Rejected("no".into()))).clone();
    forged.project = peer(7).into();
    let delegation = capability::statements::Delegation {
        node: peer(7),
        encryption: support::adapter().public(),
        expires: forged.expires,
    };
    forged.delegation = Verified::sign(delegation, &*key(7)).envelope().clone();

    let reply = bench.receive(Verified::sign(forged, &*key(7)));

    assert_eq!(bench.reply_to(reply), Some(HandoverAnswer::Taken));
    assert_eq!(bench.volunteer.undelivered(), 1);
    assert_eq!(bench.volunteer.receipts().count(), 0);
}

#[test]
fn an_outcome_that_cannot_be_said_is_this_machines_fault() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    let mut said = outcome(Ended::Passed);
    said.system = "a\nb".into();
    bench.ran(order.lease, said);
    let result = result_in(&bench.take_handover().1);
    assert!(matches!(report_in(&result).ended, Ended::Machine(_)));
}

/// Runs a job to `said`, whose report is too large; the result must survive a restart.
fn check_too_large(said: volunteer_core::Outcome, blob: Option<BlobHash>) {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, said);

    let result = result_in(&bench.take_handover().1);
    assert!(result.envelope().as_bytes().len() <= MAX_STATEMENT_BYTES);
    let report = report_in(&result);
    assert_eq!(report.ended, Ended::Failed);
    assert_eq!(report.steps[0].ending, "the report is too large");
    assert_eq!((report.steps.len(), report.artifacts.len()), (1, 0));
    let dropped =
        bench.find(|it| if let Action::DropBlobs(it) = it { Some(it.clone()) } else { None });
    assert_eq!(dropped.and_then(|blobs| blobs.first().copied()), blob);

    let mut bench = bench.restart();
    bench.connect(BROKER);
    assert_eq!(result_in(&bench.take_handover().1).id(), result.id());
}

#[test]
fn a_report_of_many_inline_logs_is_not_more_than_a_statement() {
    let step = |n| StepReport {
        name: format!("step-{n}"),
        exit: Some(0),
        ending: String::new(),
        wall_ms: 0,
        cpu_ms: 0,
        memory: 0,
        fuel: None,
        log: Log::Inline(vec![7; MAX_INLINE_LOG_BYTES]),
    };
    let mut said = outcome(Ended::Passed);
    said.steps = (0..64).map(step).collect();
    check_too_large(said, None);
}

#[test]
fn a_report_of_many_long_paths_is_not_more_than_a_statement() {
    let hash = BlobHash::of(b"artifact");
    let artifact =
        |n| Artifact { path: format!("{n:0>512}"), content: BlobPart { blob: n, size: 8, hash } };
    let mut said = outcome(Ended::Passed);
    said.artifacts = (0..256).map(artifact).collect();
    said.blobs = vec![Blob { hash, size: encrypted_size(8) }; 256];
    check_too_large(said, Some(hash));
}

#[test]
fn a_padded_receipt_is_refused() {
    let mut bench = Bench::ready(1);
    let order = bench.run_offer(&offered("a", 1, 1)).remove(0);
    bench.ran(order.lease, outcome(Ended::Passed));
    let result = result_in(&bench.take_handover().1);
    let receipt = (*accepted(&result)).clone();
    let reply = bench.receive(support::padded(receipt, &key(ADAPTER), 60_000));

    assert!(matches!(bench.reply_to(reply), Some(HandoverAnswer::Refused(_))));
    let bench = bench.restart();
    assert_eq!((bench.volunteer.undelivered(), bench.volunteer.receipts().count()), (1, 0));
}
