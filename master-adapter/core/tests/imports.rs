//! Results that somebody brings as a file: judged as those of a handover, and no way around that.

#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]
mod support;

use capability::statements::{Artifact, BlobPart, Credit, Ended, Verdict};
use capability::{BlobHash, Signer, StatementId};
use master_core::{Action, Arrival, Fate, Input, Inside, News};
use mesh_core::{Bundle, Cargo, HandoverAnswer};
use support::{Bench, Draft, TestKeys, TestVerifier, home, standby, volunteer};

type Result = capability::Verified<capability::statements::JobResult>;

/// Somebody brings `results`, of which these blobs are not here; what is told at once.
fn bring(bench: &mut Bench, results: &[&Result], missing: &[BlobHash]) -> Option<Vec<Fate>> {
    let arrival = |result: &&Result| {
        let bundle = Bundle { cargo: Cargo::Result((*result).clone()), via: home().public() };
        let inside = Inside::of(&bundle, &TestKeys, &TestVerifier);
        Arrival { bundle, inside, missing: missing.to_vec() }
    };
    let (arrivals, reply) = (results.iter().map(arrival).collect(), bench.reply());
    bench.give(Input::Import { arrivals, reply });
    bench.take(|action| match action {
        Action::Imported { reply: to, fates } if *to == reply => Some(fates.clone()),
        _ => None,
    })
}

/// What was judged of the result, and whether it was before.
fn judged(fate: &Fate) -> (&Verdict, bool) {
    match fate {
        Fate::Judged { receipt, known } => (&receipt.verdict, *known),
        other => panic!("not judged: {other:?}"),
    }
}

fn id_of(fate: &Fate) -> StatementId {
    let Fate::Judged { receipt, .. } = fate else { panic!("not judged: {fate:?}") };
    receipt.id()
}

#[test]
fn a_result_counts_as_if_it_were_handed_over_and_the_home_hears_of_it_once() {
    let (mut bench, offer) = Bench::with_job(1);
    let result = Draft::new(&offer, 0, 0).sign();

    let first = bring(&mut bench, &[&result], &[]).expect("told").remove(0);

    assert_eq!(judged(&first), (&Verdict::Accepted(Credit(5)), false));
    assert_eq!(bench.receipt().expect("for the home").id(), id_of(&first));
    let news = bench.news();
    assert!(news.iter().any(|it| matches!(it, News::JobDone { passed: 1, .. })), "{news:?}");

    // Once more, and by a broker too: the same receipt, and nothing else.
    let second = bring(&mut bench, &[&result], &[]).expect("told").remove(0);
    assert_eq!((judged(&second).1, id_of(&second)), (true, id_of(&first)));
    assert!(bench.receipt().is_none() && bench.news().is_empty());
    assert_eq!(bench.deliver(&result), Some(HandoverAnswer::Taken));
    assert_eq!(bench.receipt().expect("as ever").id(), id_of(&first));
}

#[test]
fn nobody_is_told_before_it_is_durable_and_after_a_crash_it_is_as_before() {
    let (mut bench, offer) = Bench::with_job(2);
    let result = Draft::new(&offer, 0, 0).sign();
    bench.slow_disk();
    assert_eq!(bring(&mut bench, &[&result], &[]), None, "told before it is durable");
    bench.restart();
    let fate = bring(&mut bench, &[&result], &[]).expect("told").remove(0);
    assert!(!judged(&fate).1, "the crash came first");
    bench.restart();
    bench.up(&home());
    let again = bring(&mut bench, &[&result], &[]).expect("told").remove(0);
    assert_eq!((judged(&again).1, id_of(&again)), (true, id_of(&fate)));
    assert_eq!(bench.receipt().expect("its custody is durable too").id(), id_of(&fate));
}

#[test]
fn what_a_handover_would_not_let_pass_does_not_come_in_as_a_file() {
    let (mut bench, offer) = Bench::with_job(3);
    let draft = || Draft::new(&offer, 0, 0);
    let foreign = Draft { granter: standby(), ..draft() };
    let older = Draft { epoch: 7, ..draft() };
    let stolen = Draft { sender: volunteer(1), ..draft() };
    let beyond = Draft { task: 3, ..draft() };
    for (draft, why) in [
        (foreign, "not granted by the home"),
        (older, "not granted by the home"),
        (stolen, "another volunteer's"),
        (beyond, "no such task"),
    ] {
        let result = draft.sign();
        let fate = bring(&mut bench, &[&result], &[]).expect("told").remove(0);
        let (verdict, known) = judged(&fate);
        assert!(!known && matches!(verdict, Verdict::Rejected(it) if it.contains(why)), "{fate:?}");
    }
    assert!(!bench.news().iter().any(|it| matches!(it, News::Accepted { .. })));
}

#[test]
fn a_result_waits_for_its_blobs_and_holds_up_no_other() {
    let (mut bench, offer) = Bench::with_job(2);
    let (hash, size) = (BlobHash::of(b"file"), 4);
    let content = BlobPart { blob: 0, size, hash };
    let artifacts = vec![Artifact { path: "out".into(), content }];
    let with_file = Draft { artifacts, ..Draft::new(&offer, 0, 0) }.sign();
    let without = Draft { ended: Ended::Failed, ..Draft::new(&offer, 1, 0) }.sign();
    let missing: Vec<_> = with_file.blobs().map(|(hash, _)| hash).collect();

    let fates = bring(&mut bench, &[&with_file], &missing).expect("told");
    assert_eq!(fates, [Fate::Missing(missing)]);
    let fates = bring(&mut bench, &[&with_file, &without], &[]).expect("told");
    assert_eq!(fates.iter().filter(|fate| !judged(fate).1).count(), 2);
}
