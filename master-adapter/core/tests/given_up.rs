//! Tasks that nobody gets any more, and adapters that somebody else has overtaken.
#![expect(clippy::unwrap_used, reason = "tests")]

#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]
mod support;

use std::time::Duration;

use capability::StatementId;
use capability::statements::{Ended, Verdict};
use master_core::{Input, JobState, NewJob, News, SubmitError};
use mesh_core::{Answer, Ask, CallFailed, HandoverAnswer, Refusal, StoppedTask};
use support::{Bench, Draft, home, job, publication, standby};

fn stopped(offer: StatementId, task: u32) -> Answer {
    Answer::Stopped(vec![StoppedTask { offer, task, volunteers: 5, times: 7 }])
}

/// The home names `task` as stopped.
fn stop(bench: &mut Bench, offer: StatementId, task: u32) {
    bench.pass(Duration::from_secs(15));
    let call = bench.asked_of_stopped().expect("asked every 15 s");
    bench.answer(call, Ok(stopped(offer, task)));
}

#[test]
fn a_task_that_its_home_has_stopped_is_given_up_and_ends_the_job() {
    let (mut bench, offer) = Bench::with_job(2);
    bench.verdict_of(&Draft::new(&offer, 1, 1).sign());
    bench.news();
    stop(&mut bench, offer.id(), 0);
    let news = bench.news();
    let given_up = |it: &News| {
        matches!(it, News::GivenUp { task, reason }
        if task.task == 0 && reason.contains("7 leases to 5 machines"))
    };
    assert!(news.iter().any(given_up), "{news:?}");
    assert!(news.contains(&News::JobDone { offer: offer.id(), passed: 1, failed: 1 }), "{news:?}");
    for _ in 0..2 {
        let job = bench.master.job(offer.id()).unwrap();
        assert_eq!((job.state(), job.tally()), (JobState::Done, (1, 1)));
        assert_eq!(job.given_up().map(|(task, _)| task).collect::<Vec<_>>(), [0]);
        bench.restart();
        bench.up(&home());
    }
}

#[test]
fn what_is_given_up_is_named_as_settled_and_nothing_else_ends() {
    let (mut bench, offer) = Bench::with_job(3);
    while bench.asked().is_some() {}
    stop(&mut bench, offer.id(), 1);
    let published = std::iter::from_fn(|| bench.asked());
    let (_, again) =
        published.into_iter().find_map(|(_, _, ask)| publication(ask)).expect("published again");
    assert_eq!((again.again, again.settled), (true, vec![(1, 1)]));
    assert_eq!(bench.master.job(offer.id()).unwrap().state(), JobState::Open);
}

#[test]
fn a_late_result_of_a_task_that_is_given_up_counts() {
    let (mut bench, offer) = Bench::with_job(1);
    stop(&mut bench, offer.id(), 0);
    assert!(matches!(bench.verdict_of(&Draft::new(&offer, 0, 1).sign()), Verdict::Accepted(_)));
    for _ in 0..2 {
        let job = bench.master.job(offer.id()).unwrap();
        assert_eq!((job.tally(), job.given_up().count()), ((1, 0), 0));
        bench.restart();
    }
}

#[test]
fn a_task_of_several_replicas_is_given_up_as_a_whole() {
    let mut bench = Bench::new();
    let offer = bench.submit(NewJob { replicas: 2, ..job(1) }).unwrap();
    bench.up(&home());
    let (_, call, ask) = bench.asked().unwrap();
    let (_, published) = publication(ask).expect("a publication");
    bench.answer(call, Ok(Answer::Done));
    bench.verdict_of(&Draft::new(&published.offer, 0, 1).sign());
    stop(&mut bench, offer, 0);
    let job = bench.master.job(offer).unwrap();
    assert_eq!((job.state(), job.tally()), (JobState::Done, (0, 1)));
}

#[test]
fn a_home_cannot_give_up_what_is_settled_or_is_no_task() {
    let (mut bench, offer) = Bench::with_job(2);
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    stop(&mut bench, offer.id(), 0);
    stop(&mut bench, offer.id(), 2);
    stop(&mut bench, StatementId::from_bytes([9; 32]), 0);
    let job = bench.master.job(offer.id()).unwrap();
    assert_eq!((job.state(), job.given_up().count()), (JobState::Open, 0));
}

#[test]
fn the_home_is_asked_again_after_a_failure_and_not_without_open_jobs() {
    let (mut bench, offer) = Bench::with_job(1);
    let call = bench.asked_of_stopped().expect("at once");
    bench.answer(call, Err(CallFailed("timed out".into())));
    bench.pass(Duration::from_secs(15));
    let call = bench.asked_of_stopped().expect("again");
    bench.answer(call, Ok(Answer::Refused(Refusal::NotHome)));
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    bench.pass(Duration::from_secs(60));
    assert_eq!(bench.asked_of_stopped(), None);
}

#[test]
fn a_task_that_no_machine_can_run_says_so() {
    let (mut bench, offer) = Bench::with_job(1);
    for by in 0..=5 {
        let ended = Ended::Machine("no compiler".into());
        bench.verdict_of(&Draft { ended, ..Draft::new(&offer, 0, by) }.sign());
    }
    let job = bench.master.job(offer.id()).unwrap();
    let given_up: Vec<_> = job.given_up().collect();
    assert_eq!(given_up, [(0, "no machine can run it, the last of 6 for: no compiler")]);
    assert_eq!((job.state(), job.tally()), (JobState::Done, (0, 1)));
}

/// The home refuses the publication that is due next, as it knows a home of `epoch`.
fn refuse(bench: &mut Bench, epoch: u64) {
    let asked = std::iter::from_fn(|| bench.asked());
    let call = asked.into_iter().find_map(|(_, call, ask)| match ask {
        Ask::Publish { .. } => Some(call),
        _ => None,
    });
    let call = call.expect("a publication");
    bench.answer(call, Ok(Answer::Refused(Refusal::Superseded { epoch })));
}

#[test]
fn an_adapter_that_is_behind_at_its_start_begins_an_epoch_above() {
    let mut bench = Bench::new();
    bench.submit(job(1)).unwrap();
    bench.up(&home());
    refuse(&mut bench, 7);
    assert_eq!(bench.home().epoch, 8);
    assert_eq!(bench.master.superseded_by(), None);
    let (_, call, ask) = bench.asked().expect("at once");
    let (home, published) = publication(ask).expect("a publication");
    assert_eq!((home.epoch, published.again), (8, false));
    bench.answer(call, Ok(Answer::Done));
}

#[test]
fn an_adapter_that_is_overtaken_stands_still_and_says_so() {
    let (mut bench, offer) = Bench::with_job(1);
    bench.up(&standby());
    bench.news();
    refuse(&mut bench, 2);
    assert!(bench.news().contains(&News::Superseded { epoch: 2 }));
    assert_eq!(bench.home().epoch, 1, "two do not overbid each other");
    let answer = bench.deliver(&Draft::new(&offer, 0, 1).sign());
    assert!(
        matches!(answer, Some(HandoverAnswer::Refused(why)) if why.contains("another adapter"))
    );
    let reply = bench.reply();
    bench.give(Input::Submit { job: job(1), reply });
    assert_eq!(bench.submitted(reply), None);
    bench.pass(Duration::from_secs(600));
    assert!(bench.asked().is_none());
    assert!(SubmitError::Superseded(2).to_string().contains("stop one of them"));
}

#[test]
fn an_adapter_overbids_once_and_not_again() {
    let mut bench = Bench::new();
    bench.submit(job(1)).unwrap();
    bench.up(&home());
    refuse(&mut bench, 7);
    refuse(&mut bench, 9);
    assert_eq!((bench.home().epoch, bench.master.superseded_by()), (8, Some(9)));
}

#[test]
fn what_a_former_epoch_was_refused_means_nothing() {
    let (mut bench, _) = Bench::with_job(1);
    bench.up(&standby());
    let (_, call, _) = bench.asked().expect("a publication at the standby");
    bench.down(&home());
    bench.pass(master_core::REHOME_AFTER);
    assert_eq!(bench.home().epoch, 2);
    bench.answer(call, Ok(Answer::Refused(Refusal::Superseded { epoch: 2 })));
    assert_eq!(bench.master.superseded_by(), None);
}

#[test]
fn an_operator_says_how_long_the_home_may_be_away() {
    let (mut bench, _) = Bench::with_job(1);
    bench.master.rehome_after(Duration::from_secs(600));
    bench.up(&standby());
    bench.down(&home());
    bench.pass(Duration::from_secs(599));
    assert_eq!(bench.home().epoch, 1);
    bench.pass(Duration::from_secs(1));
    assert_eq!(bench.home().epoch, 2);
}
