//! The story in many variations; that it is the same each time; and that the oracle sees.

use std::time::Duration;

use simulations::{Invariant, Outcome, Sabotage, Scenario};

/// Below the five minutes that verifiers allow.
const SKEW: Duration = Duration::from_secs(60);

fn play(seed: u64, sabotage: Option<Sabotage>) -> Outcome {
    Scenario { seed, tasks: 12, replicas: 1, skew: SKEW, sabotage }.play(None)
}

#[test]
fn whatever_goes_wrong_every_task_is_settled_once_and_nothing_is_lost() {
    let (mut kills, mut in_mid_task, mut custodians, mut disks, mut cuts) = (0, 0, 0, 0, 0);
    for seed in 0..60 {
        let outcome = play(seed, None);
        assert_eq!(outcome.violation, None, "replay with `run --seed {seed} --tasks 12 --trace`");
        kills += outcome.counts.kills;
        in_mid_task += outcome.counts.killed_in_mid_task;
        custodians += outcome.counts.custodians_destroyed;
        disks += outcome.counts.disks_lost;
        cuts += outcome.counts.cuts;
    }
    // A set of seeds in which nothing happens would show nothing.
    let least = [kills, in_mid_task, custodians, disks, cuts];
    assert!(kills > 60 && least.iter().all(|count| *count > 5), "too quiet: {least:?}");
}

#[test]
fn replicas_are_settled_by_different_volunteers() {
    for seed in 100..120 {
        let replicated = Scenario { seed, tasks: 6, replicas: 2, skew: SKEW, sabotage: None };
        let outcome = replicated.play(None);
        let replay = format!("run --seed {seed} --tasks 6 --replicas 2 --trace");
        assert_eq!(outcome.violation, None, "replay with `{replay}`");
    }
}

#[test]
fn the_same_seed_tells_the_same_story_and_another_seed_another() {
    let trace = |seed| play(seed, None).trace;
    assert_eq!(trace(7), trace(7));
    assert_ne!(trace(7), trace(8));
}

/// Plays seeds until `sabotage` is found by the invariant `by`. It may break others on the way.
fn is_found(sabotage: Sabotage, by: Invariant) {
    for seed in 0..200 {
        let violation = play(seed, Some(sabotage)).violation;
        if violation.is_some_and(|violation| violation.invariant == by) {
            return;
        }
    }
    panic!("{by:?} did not find {sabotage:?} within 200 seeds");
}

#[test]
fn acknowledging_before_the_commit_is_found() {
    is_found(Sabotage::AcknowledgeBeforeCommit, Invariant::NothingAcknowledgedIsLost);
}

#[test]
fn losing_what_was_taken_into_custody_is_found() {
    is_found(Sabotage::ForgetCustody, Invariant::NothingAcknowledgedIsLost);
}

#[test]
fn granting_again_what_was_leased_before_a_restart_is_found() {
    is_found(Sabotage::ForgetLeases, Invariant::OneLiveLeaseAReplica);
}

#[test]
fn accepting_a_task_twice_is_found() {
    is_found(Sabotage::OverlookJudgements, Invariant::AcceptedAtMostOnce);
}

#[test]
fn losing_what_was_judged_is_found() {
    // A judgement and its result are one record, so both are lost.
    is_found(Sabotage::ForgetJudgements, Invariant::NothingAcknowledgedIsLost);
}

#[test]
fn losing_a_result_at_its_volunteer_is_found() {
    is_found(Sabotage::ForgetResults, Invariant::ResultsAreKeptUntilTheirReceipt);
}

#[test]
fn results_that_never_get_their_receipts_are_found() {
    is_found(Sabotage::LoseReceipts, Invariant::EverythingEnds);
}

#[test]
fn work_for_a_project_that_the_owner_does_not_trust_is_found() {
    is_found(Sabotage::TrustStrangers, Invariant::OnlyPinnedProjects);
}

#[test]
fn messages_that_are_not_understood_are_found() {
    is_found(Sabotage::GarbleFrames, Invariant::HonestMessagesAreUnderstood);
}

#[test]
fn records_that_cannot_be_restored_are_found() {
    is_found(Sabotage::TearRecords, Invariant::OwnRecordsRestore);
}

#[test]
fn answers_that_nobody_waits_for_are_found() {
    is_found(Sabotage::AnswerTwice, Invariant::AnswersHaveQuestions);
}

#[test]
fn a_core_that_does_not_rest_is_found() {
    is_found(Sabotage::Insomnia, Invariant::NobodySpins);
}
