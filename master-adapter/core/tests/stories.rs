//! The life of jobs, told from the master's side.

#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use capability::statements::{Artifact, BlobPart, Ended, Package, Verdict};
use capability::{BlobHash, EncryptionKey, Explanation, PublicKey, Signer, StatementId, Verified};
use master_core::{Action, Input, JobState, MAX_AGAIN, NewJob, News, REHOME_AFTER};
use mesh_core::{Answer, Ask, CallFailed, CallId, HandoverAnswer, JobNeeds, Published, Refusal};
use support::{Bench, Draft, home, job, key, publication, standby};

#[test]
fn a_submission_is_acknowledged_only_once_it_is_durable() {
    let mut bench = Bench::new();
    bench.up(&home());
    bench.slow_disk();
    let reply = bench.reply();
    bench.give(Input::Submit { job: job(1), reply });
    assert_eq!(bench.submitted(reply), None, "not durable yet");
    assert!(bench.asked().is_none(), "and nobody else hears of it");

    bench.finish_commits();
    let offer = bench.submitted(reply).expect("durable now");
    assert!(matches!(bench.asked(), Some((_, _, Ask::Publish { .. }))));

    bench.restart();
    assert!(bench.master.job(offer).is_some(), "what was acknowledged survives");
}

#[test]
fn a_job_that_breaks_a_rule_is_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.submit(job(0)), None);
    bench.give(Input::DiskFree { bytes: 0 });
    assert_eq!(bench.submit(job(1)), None, "no room on the disk");
    bench.give(Input::DiskFree { bytes: u64::MAX });
    assert!(bench.submit(job(1)).is_some());
}

#[test]
fn the_same_job_twice_is_two_jobs() {
    let mut bench = Bench::new();
    let (one, other) = (bench.submit(job(1)), bench.submit(job(1)));
    assert!(one.is_some() && other.is_some());
    assert_ne!(one, other);
}

#[test]
fn a_full_broker_is_given_offers_as_others_end() {
    let mut bench = Bench::new();
    let offers: Vec<_> = (0..40).map(|_| bench.submit(job(1)).expect("a sound job")).collect();
    bench.up(&home());
    let asked = |bench: &mut Bench| -> Vec<_> { std::iter::from_fn(|| bench.asked()).collect() };
    let publications = |asked: &[(PublicKey, CallId, Ask)]| -> Vec<(CallId, usize)> {
        let count = |(_, call, ask): &(_, _, _)| match ask {
            Ask::Publish { offers, .. } => Some((*call, offers.len())),
            _ => None,
        };
        asked.iter().filter_map(count).collect()
    };
    let full = || Answer::Refused(Refusal::Full("of offers".into()));
    let first = asked(&mut bench);
    let [(one, 32), (other, 8)] = publications(&first)[..] else { panic!("{first:?}") };
    let Ask::Publish { offers: published, .. } = &first[0].2 else { panic!("{first:?}") };
    let published: Vec<_> = published.iter().map(|it| it.offer.id()).collect();
    assert_eq!(published, offers[..32], "the oldest first");
    let taken = |n: usize, of: usize| {
        Answer::to_parts((0..of).map(|it| if it < n { Answer::Done } else { full() }).collect())
    };
    bench.answer(one, Ok(taken(2, 32)));
    bench.answer(other, Ok(taken(0, 8)));
    let acknowledged = |it: &News| matches!(it, News::Published { .. });
    assert_eq!(bench.news().iter().filter(|it| acknowledged(it)).count(), 2);

    // One is over: there is room for one.
    bench.pass(Duration::from_millis(1100));
    assert_eq!(publications(&asked(&mut bench)), []);
    let reply = bench.reply();
    bench.give(Input::Cancel { offer: published[0], reply });
    let withdrawn = asked(&mut bench);
    let [(_, call, Ask::Withdraw { .. })] = &withdrawn[..] else { panic!("{withdrawn:?}") };
    bench.answer(*call, Ok(Answer::Done));
    let [(call, 1)] = publications(&asked(&mut bench))[..] else {
        panic!("one for the one that is over")
    };
    bench.answer(call, Ok(Answer::Done));
    assert_eq!(publications(&asked(&mut bench)), []);

    // Others have made room, as one on trial shows.
    bench.pass(Duration::from_secs(60));
    let [(call, 1)] = publications(&asked(&mut bench))[..] else { panic!("a trial of one") };
    bench.answer(call, Ok(Answer::Done));
    assert_eq!(publications(&asked(&mut bench)).iter().map(|it| it.1).sum::<usize>(), 36);
}

#[test]
fn what_failed_or_takes_long_is_published_alone() {
    let mut bench = Bench::new();
    let small: Vec<_> = (0..3).map(|_| bench.submit(job(1)).expect("a sound job")).collect();
    let package = Package { hash: BlobHash::of(b"large"), size: 2 << 20 };
    let large = bench.submit(NewJob { package, ..job(1) }).expect("a sound job");
    bench.up(&home());
    let asked = |bench: &mut Bench| -> Vec<(CallId, Vec<StatementId>)> {
        let asked = std::iter::from_fn(|| bench.asked()).filter_map(|(_, call, ask)| match ask {
            Ask::Publish { offers, .. } => {
                Some((call, offers.iter().map(|it| it.offer.id()).collect()))
            }
            _ => None,
        });
        asked.collect()
    };
    let first = asked(&mut bench);
    let [(together, of_together), (alone, of_alone)] = &first[..] else { panic!("{first:?}") };
    assert_eq!((of_alone, of_together), (&vec![large], &small));

    bench.answer(*alone, Ok(Answer::Done));
    bench.answer(*together, Err(CallFailed("its package is gone".into())));
    bench.pass(Duration::from_secs(2));
    let again = asked(&mut bench);
    assert_eq!(again.iter().map(|(_, of)| of.len()).collect::<Vec<_>>(), [1, 1, 1]);
    let full = || Answer::Refused(Refusal::Full("of offers".into()));
    for (call, of) in again {
        let answer = if of == small[..1] { full() } else { Answer::Done };
        bench.answer(call, Ok(answer));
    }
    bench.pass(Duration::from_secs(60));
    let last = asked(&mut bench);
    assert_eq!(last.iter().map(|(_, of)| of).collect::<Vec<_>>(), [&small[..1]]);
    // An answer to as many offers as were not asked about is none.
    bench.answer(last[0].0, Ok(Answer::Each(vec![Answer::Done; 2])));
    assert_eq!(bench.master.job(small[0]).expect("it stands").acknowledged(), None);
}

#[test]
fn of_offers_that_are_published_together_each_has_its_own_answer() {
    let published = |bench: &mut Bench| {
        let asked = std::iter::from_fn(|| bench.asked()).filter_map(|(_, call, ask)| match ask {
            Ask::Publish { home, offers, .. } => Some((call, home.epoch, offers)),
            _ => None,
        });
        asked.collect::<Vec<_>>()
    };
    for forgotten in [0, 2] {
        let mut bench = Bench::new();
        let jobs: Vec<_> = (0..3).map(|_| bench.submit(job(1)).expect("a sound job")).collect();
        bench.up(&home());
        let [(call, 1, offers)] = &published(&mut bench)[..] else { panic!("not together") };
        assert_eq!(offers.len(), 3);
        let mut parts = vec![Answer::Done; 3];
        parts[forgotten] = Answer::Refused(Refusal::Forgotten);
        // Sooner than this a home that forgets gets no new epoch.
        bench.pass(Duration::from_secs(60));
        bench.answer(*call, Ok(Answer::Each(parts)));
        bench.pass(Duration::from_secs(5));

        assert_eq!(bench.home().epoch, 2);
        let mut told = BTreeSet::new();
        for (call, under, offers) in published(&mut bench) {
            assert_eq!(under, 2);
            told.extend(offers.iter().map(|it| it.offer.id()));
            let parts = vec![Answer::Done; offers.len()];
            bench
                .answer(call, Ok(if parts.len() > 1 { Answer::Each(parts) } else { Answer::Done }));
        }
        assert_eq!(told, jobs.iter().copied().collect());
        for job in jobs {
            let acknowledged = bench.master.job(job).expect("it stands").acknowledged();
            assert_eq!(acknowledged, Some(2));
        }
    }
}

#[test]
fn a_publication_is_repeated_until_it_is_acknowledged() {
    let mut bench = Bench::new();
    bench.submit(job(1)).expect("a sound job");
    bench.up(&home());
    for wait in [1, 2, 4] {
        let (_, call, _) = bench.asked().expect("an attempt");
        bench.answer(call, Ok(Answer::Refused(Refusal::NoRoute)));
        bench.pass(Duration::from_millis(wait * 1000 - 1));
        assert!(bench.asked().is_none(), "not before its time");
        bench.pass(Duration::from_millis(1));
    }
    let (_, call, _) = bench.asked().expect("an attempt");
    bench.answer(call, Ok(Answer::Done));
    let news = bench.news();
    assert!(matches!(news.last(), Some(News::Published { epoch: 1, .. })), "{news:?}");
    bench.pass(Duration::from_secs(1));
    assert!(!matches!(bench.asked(), Some((_, _, Ask::Publish { .. }))), "and then no more");
}

#[test]
fn standbys_keep_the_offer_too_and_a_home_met_anew_is_told_again() {
    let (mut bench, offer) = Bench::with_job(3);
    bench.up(&standby());
    let told = loop {
        let (to, call, ask) = bench.asked().expect("a publication to the standby");
        if to == standby().public() {
            break (call, ask);
        }
    };
    let (call, ask) = told;
    let (named, published) = publication(ask).expect("a publication");
    assert!(!published.again && named.standbys == [standby().public()]);
    bench.answer(call, Ok(Answer::Done));

    assert_eq!(bench.verdict_of(&Draft::new(&offer, 1, 1).sign()), accepted(5));
    bench.down(&home());
    bench.up(&home());
    let again = std::iter::from_fn(|| bench.asked()).find_map(|(_, _, ask)| publication(ask));
    let again = again.map(|(_, published)| (published.again, published.settled));
    assert_eq!(again, Some((true, vec![(1, 1)])), "with what needs no lease any more");
}

#[test]
fn what_the_home_acknowledged_is_remembered_over_a_restart() {
    let (mut bench, _) = Bench::with_job(1);
    bench.restart();
    bench.up(&home());
    let (_, _, ask) = bench.asked().expect("a publication");
    assert!(publication(ask).is_some_and(|(_, published)| published.again));
}

#[test]
fn a_home_that_has_forgotten_grants_again_in_a_new_epoch_only() {
    let (mut bench, offer) = Bench::with_job(4);
    for task in [0, 1, 3] {
        bench.verdict_of(&Draft::new(&offer, task, 1).sign());
    }
    bench.pass(Duration::from_secs(30));
    bench.down(&home());
    bench.up(&home());
    let call = std::iter::from_fn(|| bench.asked())
        .find_map(|(_, call, ask)| matches!(ask, Ask::Publish { .. }).then_some(call))
        .expect("told again");

    bench.slow_disk();
    bench.answer(call, Ok(Answer::Refused(Refusal::Forgotten)));
    assert!(bench.master.home().is_none() && bench.asked().is_none(), "not durable, not told");
    bench.finish_commits();
    let (_, call, ask) = bench.asked().expect("the new epoch is published");
    let (named, Published { again, settled, .. }) = publication(ask).expect("published");
    assert_eq!((named.epoch, named.home, again), (2, home().public(), false));
    assert_eq!(settled, [(0, 1), (3, 3)]);
    bench.answer(call, Ok(Answer::Done));

    // A lease of the former epoch still leads to a result that counts.
    assert_eq!(bench.verdict_of(&Draft::new(&offer, 2, 2).sign()), accepted(5));
    bench.restart();
    assert_eq!(bench.home().epoch, 2);
}

#[test]
fn a_standby_takes_over_when_the_home_is_away_for_long() {
    let (mut bench, _) = Bench::with_job(1);
    while bench.asked().is_some() {}
    bench.down(&home());
    bench.pass(REHOME_AFTER);
    assert_eq!(bench.home().epoch, 1, "nobody could take over");
    bench.up(&standby());
    assert_eq!((bench.home().epoch, bench.home().home), (2, standby().public()));
    assert_eq!(bench.home().standbys, [home().public()]);
    let (to, _, ask) = bench.asked().expect("a publication");
    assert_eq!(to, standby().public());
    assert!(publication(ask).is_some_and(|(_, published)| !published.again));
}

#[test]
fn a_home_that_is_leaving_is_left_at_once_and_a_leaving_standby_is_not_chosen() {
    for standby_stays in [false, true] {
        let (mut bench, _) = Bench::with_job(1);
        bench.up(&standby());
        let elsewhere = || Answer::Refused(Refusal::Elsewhere(Vec::new()));
        bench.down(&home());
        bench.up(&home());
        while let Some((to, call, _)) = bench.asked() {
            let stays = standby_stays && to == standby().public();
            bench.answer(call, Ok(if stays { Answer::Done } else { elsewhere() }));
            if bench.home().epoch > 1 {
                break;
            }
        }
        let expected = if standby_stays { standby() } else { home() };
        assert_eq!(bench.home().home, expected.public(), "the standby stays: {standby_stays}");
    }
}

#[test]
fn a_short_absence_of_the_home_moves_nothing() {
    let (mut bench, _) = Bench::with_job(1);
    bench.up(&standby());
    bench.down(&home());
    bench.pass(REHOME_AFTER.saturating_sub(Duration::from_millis(1)));
    bench.up(&home());
    bench.pass(REHOME_AFTER);
    assert_eq!(bench.home().epoch, 1);
}

#[test]
fn a_result_is_accepted_once_and_its_receipt_can_be_had_again() {
    let (mut bench, offer) = Bench::with_job(2);
    let result = Draft::new(&offer, 0, 1).sign();
    assert_eq!(bench.deliver(&result), Some(HandoverAnswer::Taken));
    let receipt = bench.receipt().expect("a receipt");
    assert_eq!((receipt.result, &receipt.verdict), (result.id(), &accepted(5)));

    bench.pass(Duration::from_secs(3));
    assert_eq!(bench.deliver(&result), Some(HandoverAnswer::Taken));
    assert_eq!(bench.receipt().as_ref(), Some(&receipt), "to the byte");
    bench.restart();
    bench.up(&home());
    assert_eq!(bench.deliver(&result), Some(HandoverAnswer::Taken));
    assert_eq!(bench.receipt().as_ref(), Some(&receipt), "after a restart too");

    let another = Draft { cpu_ms: 6, ..Draft::new(&offer, 0, 1) }.sign();
    assert_eq!(bench.verdict_of(&another), rejected("another result was accepted first"));
}

#[test]
fn results_of_one_handover_are_judged_like_one_after_the_other() {
    let (mut bench, offer) = Bench::with_job(3);
    let first = Draft::new(&offer, 0, 1).sign();
    let another = Draft::new(&offer, 0, 2).sign();
    let other = Draft::new(&offer, 1, 1).sign();
    let results = [&first, &another, &first, &other];
    let reply = bench.deliver_together(&results);
    assert_eq!(bench.answers(reply), Some(vec![HandoverAnswer::Taken; 4]));

    let receipts: Vec<_> = std::iter::from_fn(|| bench.receipt()).collect();
    let judged: Vec<_> = receipts.iter().map(|it| (it.result, it.verdict.clone())).collect();
    let late = rejected("another result was accepted first");
    let expected = [(&first, accepted(5)), (&another, late), (&other, accepted(5))];
    assert_eq!(judged, expected.map(|(result, verdict)| (result.id(), verdict)), "one each");
    bench.restart();
    let job = bench.master.job(offer.id()).expect("the job");
    assert_eq!(job.settled().count(), 2);
}

#[test]
fn acceptance_and_receipt_are_one_commit_before_the_answer() {
    let (mut bench, offer) = Bench::with_job(1);
    bench.slow_disk();
    let result = Draft::new(&offer, 0, 1).sign();
    let reply = bench.deliver_slowly(&result);
    assert_eq!(bench.delivered(reply), None);
    assert!(bench.receipt().is_none(), "a receipt that is not durable is not sent");

    bench.restart();
    let job = bench.master.job(offer.id()).expect("the job");
    assert!(job.settled().next().is_none(), "neither half of it happened");

    bench.up(&home());
    bench.slow_disk();
    let reply = bench.deliver_slowly(&result);
    bench.finish_commits();
    assert_eq!(bench.delivered(reply), Some(HandoverAnswer::Taken));
    bench.restart();
    let job = bench.master.job(offer.id()).expect("the job");
    assert_eq!(job.settled().count(), 1);
    assert_eq!(bench.master.receipts_waiting(), 1, "the receipt waits for the home");
    bench.up(&home());
    assert!(bench.receipt().is_some());
    assert_eq!(bench.master.receipts_waiting(), 0);
}

#[test]
fn results_with_a_lease_that_does_not_fit_are_rejected() {
    let (mut bench, offer) = Bench::with_job(2);
    let draft = || Draft::new(&offer, 0, 1);
    let forged = Draft { granter: key(66), ..draft() };
    let never = Draft { epoch: 2, ..draft() };
    let stolen = Draft { sender: key(67), ..draft() };
    let beyond = Draft { task: 2, ..draft() };
    let replica = Draft { replica: 1, ..draft() };
    for (draft, reason) in [
        (forged, "the lease was not granted by the home of its epoch"),
        (never, "the lease was not granted by the home of its epoch"),
        (stolen, "the lease is another volunteer's"),
        (beyond, "the offer has no such task"),
        (replica, "the offer has no such task"),
    ] {
        assert_eq!(bench.verdict_of(&draft.sign()), rejected(reason));
    }
    let (_, elsewhere) = Bench::with_job(3);
    let foreign = Draft::new(&elsewhere, 0, 1).sign();
    let reason = "the offer is none of this project's, or it has expired";
    assert_eq!(bench.verdict_of(&foreign), rejected(reason));

    assert_eq!(bench.verdict_of(&draft().sign()), accepted(5), "none of them used the task up");
}

#[test]
fn a_result_whose_lease_is_no_lease_is_rejected() {
    let (mut bench, offer) = Bench::with_job(1);
    let mut payload = (*Draft::new(&offer, 0, 1).sign()).clone();
    payload.lease = offer.envelope().clone();
    let result = Verified::sign(payload, &support::volunteer(1));
    assert_eq!(bench.verdict_of(&result), rejected("the lease is no sound statement"));
}

#[test]
fn a_result_that_contradicts_itself_is_rejected() {
    let (mut bench, offer) = Bench::with_job(1);
    let result = Draft { exit: Some(1), ..Draft::new(&offer, 0, 1) }.sign();
    assert_eq!(bench.verdict_of(&result), rejected("its report contradicts itself"));
}

#[test]
fn a_result_is_rejected_whose_report_is_not_for_this_master_or_is_another_results() {
    let (mut bench, offer) = Bench::with_job(2);
    let to = EncryptionKey::from_bytes([6; 32]).expect("a sound key");
    let elsewhere = Draft { to, ..Draft::new(&offer, 0, 1) }.sign();
    let reason = "its report is sealed to a key that this project has not, or has no more";
    assert_eq!(bench.verdict_of(&elsewhere), rejected(reason));

    // Whoever copies what others have found out has no use of it.
    let theirs = Draft::new(&offer, 0, 1).sign();
    let mut payload = (*Draft::new(&offer, 1, 2).sign()).clone();
    payload.report = theirs.report.clone();
    let copied = Verified::sign(payload, &support::volunteer(2));
    assert_eq!(bench.verdict_of(&copied), rejected("its report is not sound"));
    assert_eq!(bench.verdict_of(&theirs), accepted(5), "none of them used the task up");
}

#[test]
fn a_receipt_tells_the_brokers_on_its_way_nothing_that_was_sealed() {
    let (mut bench, offer) = Bench::with_job(2);
    let said = |ended, task| Draft { ended, ..Draft::new(&offer, task, 1) }.sign();
    let failed = bench.verdict_of(&said(Ended::Failed, 0));
    assert_eq!(failed, accepted(5), "as if it had passed");
    let unfit = bench.verdict_of(&said(Ended::Machine("secret".into()), 1));
    assert_eq!(unfit, Verdict::Again("this machine could not run it".into()));
    let news = bench.news();
    let told = |it: &News| matches!(it, News::Again { reason, .. } if reason == "secret");
    assert!(news.iter().any(told), "its people are told: {news:?}");
}

#[test]
fn another_projects_result_is_not_taken() {
    let (mut bench, offer) = Bench::with_job(1);
    let mut payload = (*Draft::new(&offer, 0, 1).sign()).clone();
    payload.project = key(9).public().into();
    let result = Verified::sign(payload, &support::volunteer(1));
    assert!(matches!(bench.deliver(&result), Some(HandoverAnswer::Refused(_))));
}

#[test]
fn a_task_that_no_machine_can_run_is_given_up_after_a_few() {
    let (mut bench, offer) = Bench::with_job(1);
    let unfit = |by: usize| {
        let by = u8::try_from(by).expect("few");
        let ended = Ended::Machine("no compiler".into());
        Draft { ended, ..Draft::new(&offer, 0, by) }.sign()
    };
    for by in 0..MAX_AGAIN {
        assert!(matches!(bench.verdict_of(&unfit(by)), Verdict::Again(_)));
        // The same one again is not counted again, not even after a restart.
        assert!(matches!(bench.verdict_of(&unfit(by)), Verdict::Again(_)));
        bench.restart();
        bench.up(&home());
    }
    assert_eq!(bench.verdict_of(&unfit(MAX_AGAIN)), accepted(5));
    let job = bench.master.job(offer.id()).expect("the job");
    assert_eq!((job.state(), job.tally()), (JobState::Done, (0, 1)));
}

#[test]
fn one_broken_machine_does_not_settle_a_task_that_others_can_run() {
    let (mut bench, offer) = Bench::with_job(1);
    for n in 0..2 * MAX_AGAIN {
        let ended = Ended::Machine(format!("disk failure {n}"));
        let result = Draft { ended, ..Draft::new(&offer, 0, 1) }.sign();
        assert!(matches!(bench.verdict_of(&result), Verdict::Again(_)));
    }
    assert!(matches!(bench.verdict_of(&Draft::new(&offer, 0, 2).sign()), Verdict::Accepted(_)));
}

#[test]
fn a_job_is_withdrawn_when_all_of_it_is_settled() {
    let (mut bench, offer) = Bench::with_job(2);
    bench.verdict_of(&Draft::new(&offer, 1, 1).sign());
    let failed = Draft { ended: Ended::Failed, ..Draft::new(&offer, 0, 2) };
    bench.news();
    bench.verdict_of(&failed.sign());
    let news = bench.news();
    let done = News::JobDone { offer: offer.id(), passed: 1, failed: 1 };
    assert!(news.contains(&done), "{news:?}");

    bench.restart();
    bench.up(&home());
    let (_, call, ask) = bench.asked().expect("the home is told, also after a restart");
    let Ask::Withdraw { withdrawals } = ask else { panic!("{ask:?}") };
    let [withdrawal] = &withdrawals[..] else { panic!("{withdrawals:?}") };
    assert_eq!((withdrawal.statement, withdrawal.expires), (offer.id(), offer.expires));
    bench.answer(call, Ok(Answer::Done));
    let job = bench.master.job(offer.id()).expect("kept until it expires");
    assert_eq!(job.state(), JobState::DoneAndWithdrawn);
    bench.restart();
    bench.up(&home());
    assert!(bench.asked().is_none(), "nothing is left to say");
}

#[test]
fn a_cancelled_job_is_withdrawn_and_late_results_still_earn_credit() {
    let (mut bench, offer) = Bench::with_job(2);
    let reply = bench.reply();
    bench.give(Input::Cancel { offer: offer.id(), reply });
    let asked: Vec<_> = std::iter::from_fn(|| bench.asked()).collect();
    assert!(asked.iter().any(|(_, _, ask)| matches!(ask, Ask::Withdraw { .. })), "{asked:?}");
    assert_eq!(bench.verdict_of(&Draft::new(&offer, 0, 1).sign()), accepted(5));
}

#[test]
fn replicas_are_of_different_volunteers() {
    let mut bench = Bench::new();
    let submitted = bench.submit(NewJob { replicas: 2, ..job(1) });
    let offer = bench.master.job(submitted.expect("sound")).expect("kept").offer().clone();
    bench.up(&home());
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    let second = |by| Draft { replica: 1, ..Draft::new(&offer, 0, by) }.sign();
    assert!(matches!(bench.verdict_of(&second(1)), Verdict::Rejected(_)));
    assert_eq!(bench.master.job(offer.id()).map(|job| job.tally()), Some((0, 0)));
    assert_eq!(bench.verdict_of(&second(2)), accepted(5));
    assert_eq!(bench.master.job(offer.id()).map(|job| job.tally()), Some((1, 0)));
}

#[test]
fn who_could_run_it_is_asked_until_a_result_comes() {
    let (mut bench, offer) = Bench::with_job(2);
    let (_, call, ask) = bench.asked().expect("a question");
    assert_eq!(ask, Ask::Explain(JobNeeds::Offer(offer.id())));
    let explanation = Explanation { matching: 3, known: 4, obstacles: Vec::new() };
    bench.answer(call, Ok(Answer::Explanation(explanation.clone())));
    let job = bench.master.job(offer.id()).expect("the job");
    assert_eq!(job.explanation(), Some(&explanation));

    bench.pass(Duration::from_secs(5));
    let (_, call, ask) = bench.asked().expect("and again");
    assert_eq!(ask, Ask::Explain(JobNeeds::Offer(offer.id())));
    bench.answer(call, Err(CallFailed("lost".into())));
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    bench.pass(Duration::from_secs(60));
    assert!(bench.asked().is_none());
}

#[test]
fn offers_and_what_belongs_to_them_are_forgotten_after_their_expiry() {
    let (mut bench, offer) = Bench::with_job(1);
    let result = Draft::new(&offer, 0, 1).sign();
    bench.verdict_of(&result);
    bench.pass(8 * support::DAY);
    assert!(bench.master.job(offer.id()).is_none());
    assert!(matches!(bench.verdict_of(&result), Verdict::Rejected(_)));
    bench.restart();
    assert!(bench.master.job(offer.id()).is_none());
}

#[test]
fn nothing_is_taken_while_the_disk_is_full() {
    let (mut bench, offer) = Bench::with_job(1);
    bench.give(Input::DiskFree { bytes: 1 });
    let result = Draft::new(&offer, 0, 1).sign();
    assert!(matches!(bench.deliver(&result), Some(HandoverAnswer::Refused(_))));
    bench.give(Input::DiskFree { bytes: u64::MAX });
    assert_eq!(bench.deliver(&result), Some(HandoverAnswer::Taken));
}

#[test]
fn blobs_are_asked_for_only_if_the_result_counts() {
    let (mut bench, offer) = Bench::with_job(1);
    let hash = BlobHash::of(b"artifact");
    let bringing = |size| Draft {
        artifacts: vec![Artifact { path: "a".into(), content: BlobPart { blob: 0, size, hash } }],
        ..Draft::new(&offer, 0, 1)
    };
    let deliver = |bench: &mut Bench, draft: Draft| {
        let reply = bench.deliver_without(&draft.sign(), vec![hash]);
        bench.delivered(reply)
    };
    let fits = offer.job.limits.disk;
    let junk = Draft { granter: key(99), ..bringing(fits) };
    for (worthless, reason) in [
        (junk, "the lease was not granted by the home of its epoch"),
        (bringing(fits + 1), "it brings more than the job may write"),
    ] {
        assert_eq!(deliver(&mut bench, worthless), Some(HandoverAnswer::Taken));
        assert_eq!(bench.receipt().expect("a receipt").verdict, rejected(reason));
    }
    assert_eq!(deliver(&mut bench, bringing(fits)), Some(HandoverAnswer::Missing(vec![hash])));
    assert!(bench.receipt().is_none());
    assert_eq!(bench.verdict_of(&bringing(fits).sign()), accepted(5));
    // It is settled, whatever has become of the blobs.
    assert_eq!(deliver(&mut bench, bringing(fits)), Some(HandoverAnswer::Taken));
}

#[test]
fn strangers_are_not_taken_for_brokers() {
    let mut bench = Bench::new();
    bench.submit(job(1)).expect("sound");
    bench.give(Input::BrokerUp { peer: key(77).public() });
    assert!(bench.asked().is_none());
    assert!(!matches!(bench.master.poll_action(), Some(Action::HandOver(_))));
}

fn accepted(cpu_ms: u64) -> Verdict {
    Verdict::Accepted(capability::statements::Credit(cpu_ms))
}

fn rejected(reason: &str) -> Verdict {
    Verdict::Rejected(reason.to_owned())
}
