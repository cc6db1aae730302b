//! A master whose keys change.

#[allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]
mod support;

use std::time::Duration;

use capability::statements::{Credit, Offer, Ownership, Succession, Verdict};
use capability::{Payload, PublicKey, Signer, Verified};
use master_core::{Input, JobState, News, REHOME_AFTER, RevokedKey, standing_offers};
use mesh_core::{Answer, Ask, CallFailed, CallId, HandoverAnswer, KeyChange, Published};
use support::{
    Bench, DAY, Draft, TestKey, TestVerifier, home, job, key, publication, revocation, standby,
    volunteer,
};

/// Its own node, and its project.
fn node() -> TestKey {
    key(2)
}

fn project() -> TestKey {
    key(1)
}

/// Every question that was not looked at yet, as words.
fn questions(bench: &mut Bench) -> Vec<&'static str> {
    let asked = std::iter::from_fn(|| bench.asked());
    let word = |ask: &Ask| match ask {
        Ask::Declare { .. } => "declare",
        Ask::Publish { .. } => "publish",
        _ => "other",
    };
    asked.map(|(_, _, ask)| word(&ask)).collect()
}

#[test]
fn every_broker_is_told_before_anything_else_and_until_it_acknowledges() {
    let mut bench = Bench::new();
    bench.submit(job(1)).expect("a sound job");
    bench.give(Input::Declare(vec![revocation(key(9), project())]));
    bench.up(&home());
    bench.up(&standby());
    let mut told = Vec::new();
    while let Some((to, call, ask)) = bench.asked() {
        assert!(matches!(ask, Ask::Declare { .. }), "not before: {ask:?}");
        told.push((to, call));
    }
    assert_eq!(told.len(), 2);
    bench.answer(told[0].1, Ok(Answer::Done));
    assert_eq!(questions(&mut bench), ["publish"]);
    bench.answer(told[1].1, Err(CallFailed("it is gone".into())));
    assert_eq!(questions(&mut bench), ["publish"], "nor is anything held up for it");
    bench.pass(Duration::from_secs(1));
    assert_eq!(questions(&mut bench), ["declare"]);
}

#[test]
fn a_revoked_node_tells_of_it_and_does_nothing_else_any_more() {
    let (mut bench, offer) = Bench::with_job(2);
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    questions(&mut bench);
    bench.give(Input::Declare(vec![revocation(node(), project())]));
    assert!(bench.news().contains(&News::Revoked(RevokedKey::Node)));
    let (_, call, ask) = bench.asked().expect("it tells of it");
    assert!(matches!(ask, Ask::Declare { .. }), "{ask:?}");
    bench.answer(call, Ok(Answer::Done));

    let delivered = bench.deliver(&Draft::new(&offer, 1, 1).sign());
    assert!(matches!(delivered, Some(HandoverAnswer::Refused(_))), "{delivered:?}");
    assert_eq!(bench.submit(job(1)), None);
    bench.down(&home());
    bench.up(&home());
    let (_, call, _) = bench.asked().expect("it tells of it again");
    bench.answer(call, Ok(Answer::Done));
    bench.pass(Duration::from_secs(120));
    assert!(questions(&mut bench).is_empty());

    bench.give(Input::Declare(Vec::new()));
    assert!(bench.master.is_revoked(), "nothing takes it back");
}

#[test]
fn that_the_project_has_ended_is_told_apart_from_the_end_of_a_key_and_after_it() {
    let mut bench = Bench::new();
    let of_the_node = revocation(node(), project());
    bench.give(Input::Declare(vec![of_the_node.clone()]));
    bench.give(Input::Declare(vec![of_the_node.clone()]));
    bench.give(Input::Declare(vec![of_the_node.clone(), revocation(project(), project())]));
    bench.give(Input::Declare(vec![of_the_node]));
    let told = bench.news().into_iter().filter_map(|news| match news {
        News::Revoked(key) => Some(key),
        _ => None,
    });
    assert_eq!(told.collect::<Vec<_>>(), [RevokedKey::Node, RevokedKey::Project]);
}

#[test]
fn a_stranger_revokes_no_master() {
    let mut bench = Bench::new();
    bench.give(Input::Declare(vec![revocation(node(), key(9))]));
    assert!(!bench.master.is_revoked() && bench.submit(job(1)).is_some());
}

// A new node key.

fn new_node() -> TestKey {
    key(3)
}

/// The adapter has a new key, and starts again.
fn rotate(bench: &mut Bench, lifetime: Duration) {
    bench.delegate(new_node(), lifetime);
    bench.restart();
    bench.give(Input::Declare(vec![revocation(node(), project())]));
}

/// What is published at the home once it knows of the revocation; it takes it.
fn published(bench: &mut Bench) -> Verified<Offer> {
    let (_, call, ask) = bench.asked().expect("a declaration");
    assert!(matches!(ask, Ask::Declare { .. }), "{ask:?}");
    bench.answer(call, Ok(Answer::Done));
    let (_, call, ask) = bench.asked().expect("a publication");
    let (named, Published { offer, again, .. }) = publication(ask).expect("a publication");
    assert_eq!((named.signer(), named.epoch, again), (new_node().public(), 2, false));
    bench.answer(call, Ok(Answer::Done));
    offer
}

#[test]
fn standing_offers_are_signed_again_and_the_job_keeps_its_id_and_its_results() {
    let (mut bench, former) = Bench::with_job(3);
    let id = former.id();
    bench.verdict_of(&Draft::new(&former, 1, 1).sign());
    rotate(&mut bench, 5 * DAY);
    bench.up(&home());
    let offer = published(&mut bench);
    assert_ne!(offer.id(), id);
    assert_eq!(offer.signer(), new_node().public());
    assert_eq!(offer.expires, bench.master.authority().delegation().expires);
    assert!(offer.authorize(offer.signer(), &TestVerifier).is_ok());

    // Twice, as the records have to bear it.
    for restarted in [false, true] {
        if restarted {
            bench.restart();
            bench.up(&home());
        }
        for name in [id, offer.id()] {
            let job = bench.master.job(name).expect("by either id");
            assert_eq!((job.id(), job.offer().id()), (id, offer.id()));
            assert_eq!(
                job.settled().map(|(task, _)| (task.offer, task.task)).collect::<Vec<_>>(),
                [(id, 1)]
            );
        }
        assert_eq!(bench.master.jobs().count(), 1);
    }
    let draft = |task| Draft { epoch: 2, ..Draft::new(&offer, task, 2) };
    assert_eq!(bench.verdict_of(&draft(0).sign()), Verdict::Accepted(Credit(5)));
    bench.news();
    bench.verdict_of(&draft(2).sign());
    let done = News::JobDone { offer: id, passed: 3, failed: 0 };
    assert!(bench.news().contains(&done));
}

#[test]
fn an_offer_that_is_not_signed_again_durably_is_not_published() {
    let (mut bench, former) = Bench::with_job(1);
    bench.delegate(new_node(), 60 * DAY);
    bench.restart_with_slow_disk();
    bench.up(&home());
    assert!(bench.asked().is_none());
    bench.restart();
    bench.up(&home());
    let (_, _, ask) = bench.asked().expect("a publication");
    let (_, Published { offer, .. }) = publication(ask).expect("a publication");
    assert_eq!(bench.master.job(offer.id()).map(|job| job.id()), Some(former.id()));
}

#[test]
fn work_that_was_done_under_the_former_key_still_counts_once() {
    let (mut bench, former) = Bench::with_job(3);
    let judged = Draft::new(&former, 0, 1).sign();
    assert_eq!(bench.verdict_of(&judged), Verdict::Accepted(Credit(5)));
    rotate(&mut bench, 30 * DAY);
    bench.up(&home());
    published(&mut bench);
    let late = Draft::new(&former, 1, 1).sign();
    assert_eq!(bench.verdict_of(&late), Verdict::Accepted(Credit(5)));
    let told = std::iter::from_fn(|| bench.asked()).find_map(|(_, _, ask)| publication(ask));
    let told = told.map(|(_, published)| published.settled);
    assert_eq!(told, Some(vec![(0, 1)]), "the home would lease it again");

    // Nor is what was judged before judged anew; its receipt is by the new key.
    assert_eq!(bench.deliver(&judged), Some(HandoverAnswer::Taken));
    let receipt = bench.receipt().expect("its receipt");
    assert_eq!((receipt.signer(), receipt.result), (new_node().public(), judged.id()));
    assert!(receipt.authorize(receipt.signer(), &TestVerifier).is_ok());
}

#[test]
fn receipts_that_are_owed_are_signed_again_and_end_with_the_delegation() {
    let (mut bench, offer) = Bench::with_job(1);
    let result = Draft::new(&offer, 0, 1).sign();
    bench.down(&home());
    bench.deliver(&result);
    assert_eq!(bench.master.receipts_waiting(), 1);
    rotate(&mut bench, 30 * DAY);
    assert_eq!(bench.master.receipts_waiting(), 1);
    bench.restart();
    bench.up(&home());
    let receipt = bench.receipt().expect("the receipt");
    assert_eq!((receipt.signer(), receipt.result), (new_node().public(), result.id()));
    assert_eq!(receipt.verdict, Verdict::Accepted(Credit(5)));
    assert_eq!(receipt.expires, bench.master.authority().delegation().expires);
    assert!(receipt.authorize(receipt.signer(), &TestVerifier).is_ok());
}

#[test]
fn what_was_over_under_the_former_key_stays_over() {
    let (mut bench, offer) = Bench::with_job(1);
    bench.down(&home());
    bench.deliver(&Draft::new(&offer, 0, 1).sign());
    rotate(&mut bench, 30 * DAY);
    let state = |bench: &Bench| bench.master.job(offer.id()).map(|job| job.state());
    assert_eq!(state(&bench), Some(JobState::DoneAndWithdrawn));
    bench.up(&home());
    bench.pass(REHOME_AFTER);
    assert!(!questions(&mut bench).contains(&"publish"));
    bench.restart();
    assert_eq!(state(&bench), Some(JobState::DoneAndWithdrawn));
}

#[test]
fn jobs_whose_offers_may_stand_are_told_from_the_records_alone() {
    let (mut bench, offer) = Bench::with_job(1);
    let standing = |bench: &Bench| {
        let found = standing_offers(&bench.records(), &TestVerifier, bench.now.wall);
        found.expect("its own records").iter().map(|offer| offer.id()).collect::<Vec<_>>()
    };
    assert_eq!(standing(&bench), [offer.id()]);
    questions(&mut bench);
    bench.verdict_of(&Draft::new(&offer, 0, 1).sign());
    assert_eq!(standing(&bench), [offer.id()], "the home would give its tasks out for days");
    let (_, call, ask) = bench.asked().expect("the home is told");
    assert!(matches!(ask, Ask::Withdraw { .. }), "{ask:?}");
    bench.answer(call, Ok(Answer::Done));
    assert_eq!(standing(&bench), []);
    bench.submit(job(1)).expect("a sound job");
    bench.pass(8 * DAY);
    assert_eq!(standing(&bench), [], "it has expired");
}

// Owners.

#[test]
fn whose_a_machine_is_is_kept_with_its_result_while_the_ownership_holds() {
    let (mut bench, offer) = Bench::with_job(3);
    let owned = |node: u8, until: Duration| {
        let expires = offer.issued + until;
        let payload = Ownership { nodes: vec![volunteer(node).public()], expires };
        Some(Verified::sign(payload, &key(50)))
    };
    let over = Duration::ZERO;
    bench.pass(Duration::from_secs(600));
    for (task, ownership) in [(0, owned(1, DAY)), (1, owned(1, over)), (2, None)] {
        let draft = Draft { ownership, ..Draft::new(&offer, task, 1) };
        assert_eq!(bench.verdict_of(&draft.sign()), Verdict::Accepted(Credit(5)));
    }
    bench.restart();
    let job = bench.master.job(offer.id()).expect("the job");
    let owners: Vec<_> = job.settled().map(|(_, settled)| settled.owner).collect();
    assert_eq!(owners, [Some(key(50).public()), None, None]);
}

/// The question about owners that is under way.
fn asked_of_owners(bench: &mut Bench) -> Option<(CallId, Vec<PublicKey>)> {
    std::iter::from_fn(|| bench.asked()).find_map(|(_, call, ask)| match ask {
        Ask::KeyChanges { of } => Some((call, of)),
        _ => None,
    })
}

#[test]
fn the_home_is_asked_about_owners_who_may_have_moved_or_have_ended() {
    let (mut bench, offer) = Bench::with_job(3);
    let (owner, heir, last) = (key(50), key(51), key(52));
    let payload = Ownership { nodes: vec![volunteer(1).public()], expires: offer.expires };
    let ownership = Verified::sign(payload, &owner);
    let result = |task| {
        let ownership = Some(ownership.clone());
        Draft { ownership, ..Draft::new(&offer, task, 1) }.sign()
    };
    let moved = |from: TestKey, to: TestKey| {
        let payload = Succession { successor: to.public(), expires: offer.expires };
        KeyChange::Succession(Verified::sign(payload, &from))
    };
    bench.verdict_of(&result(0));
    let (call, of) = asked_of_owners(&mut bench).expect("asked at once");
    assert_eq!(of, [owner.public()]);
    bench.answer(call, Err(CallFailed("it is gone".into())));
    bench.pass(Duration::from_secs(60));
    let (call, _) = asked_of_owners(&mut bench).expect("asked again");

    // What nobody asked about would lead in a circle later.
    let told = vec![moved(owner, heir), moved(last, owner)];
    bench.news();
    bench.answer(call, Ok(Answer::KeyChanges(told)));
    let news = News::OwnerMoved { owner: owner.public(), heir: heir.public() };
    assert_eq!(bench.news(), [news]);
    let (call, of) = asked_of_owners(&mut bench).expect("the heir may have moved too");
    assert_eq!(of, [heir.public()]);
    bench.answer(call, Ok(Answer::KeyChanges(vec![moved(heir, last)])));
    let news: Vec<_> = [owner, heir]
        .map(|it| it.public())
        .into_iter()
        .map(|owner| News::OwnerMoved { owner, heir: last.public() })
        .collect();
    assert_eq!(bench.news(), news);
    let (call, _) = asked_of_owners(&mut bench).expect("and the last");
    bench.answer(call, Ok(Answer::KeyChanges(Vec::new())));

    // Asked anew after a start; a node that was revoked is nobody's from then on.
    bench.restart();
    bench.up(&home());
    let (call, of) = asked_of_owners(&mut bench).expect("asked after the start");
    assert_eq!(of, [owner.public()]);
    bench.answer(call, Ok(Answer::KeyChanges(vec![revocation(volunteer(1), owner)])));
    bench.verdict_of(&result(1));
    let job = bench.master.job(offer.id()).expect("the job");
    let owners: Vec<_> = job.settled().map(|(_, settled)| settled.owner).collect();
    assert_eq!(owners, [Some(owner.public()), None]);

    bench.pass(Duration::from_secs(60 * 60));
    assert!(asked_of_owners(&mut bench).is_some(), "each hour");
}
