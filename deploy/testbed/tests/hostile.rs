//! Hostile peers with real keys and real connections, against the real programs.

mod intruder;

use capability::statements::{Ended, JobResult, Lease, Log, Report, StepReport, TaskId};
use capability::{
    BlobKey, HpkeSealer, Platform, ProjectUri, PublicKey, Runtime, SecretKey, Signer, Timestamp,
    Verified,
};
use mesh_core::{Answer, Ask, Bundle, Cargo, HandoverAnswer, Refusal, seal};
use mesh_shell::key_file;
use serde_json::Value;
use testbed::{Bed, Job, Oracle, Shape};
use xtask::events::Event;
use xtask::tools;

use intruder::Intruder;

const ORACLE: Oracle<'_> =
    Oracle { master: "master", volunteers: &["volunteer"], brokers: &["broker"] };

/// The master and its broker at home, and a host from which somebody intrudes.
fn home(story: &str) -> Option<Bed> {
    let mut bed = Bed::new(story)?;
    for host in ["home", "away", "elsewhere"] {
        bed.add_host(host).expect("a host");
    }
    for (one, other) in [("home", "away"), ("home", "elsewhere"), ("away", "elsewhere")] {
        bed.join(one, other, Shape::WIRE).expect("a cable");
    }
    bed.broker("broker", "home", &[]).expect("the broker");
    bed.master("master", "home", &["broker"]).expect("the master");
    Some(bed)
}

#[test]
fn a_replayed_request_is_refused_whoever_sends_it() {
    let Some(bed) = home("a replayed request") else { return };
    let asker = Intruder::start(&bed, "elsewhere", [1; 32], None);
    let thief = Intruder::start(&bed, "elsewhere", [2; 32], None);
    let broker = asker.dial(&bed.network.address("broker"));
    thief.dial(&bed.network.address("broker"));

    let ask = Ask::KeyChanges { of: vec![asker.key()] };
    let request = seal(&ask, broker, 7, now(), &asker.secret());
    let request = request.envelope().as_bytes();
    let refusal = |answer: Answer| match answer {
        Answer::Refused(Refusal::Invalid(reason)) => reason,
        answer => panic!("not refused: {answer:?}"),
    };
    assert_eq!(asker.ask(broker, request), Answer::KeyChanges(Vec::new()));
    assert!(refusal(asker.ask(broker, request)).contains("seen before"));
    assert!(refusal(thief.ask(broker, request)).contains("not by the peer that sent it"));
}

#[test]
fn a_result_under_a_lease_of_a_broker_that_is_not_home_is_rejected() {
    let Some(mut bed) = home("a lease of a broker that is not home") else { return };
    let offer = bed.submit("master", &Job::idle("made-up", 1)).expect("acknowledged");
    published(&bed);
    let intruder = Intruder::start(&bed, "elsewhere", [3; 32], None);
    let broker = intruder.dial(&bed.network.address("broker"));
    // It plays the broker that grants as well as the volunteer that has run the task.
    let result = result_under(&bed, &offer, &intruder.secret(), &intruder.secret());
    assert_eq!(intruder.hand_over(broker, result), HandoverAnswer::Taken);
    let rejected = |it: &Event| it.is("master", "rejected");
    let rejected = bed.await_events(0, 1, "the result to be rejected", rejected).expect("judged");
    assert_eq!(rejected.field("reason"), "the lease was not granted by the home of its epoch");

    // The task is as open as before.
    bed.volunteer("volunteer", "away", &["broker"], "master").expect("the volunteer");
    bed.await_job("master", &offer).expect("all tasks pass");
    let accepted = |it: &Event| it.name == "accepted";
    let accepted = bed.await_events(0, 1, "a result to be accepted", accepted).expect("accepted");
    assert_ne!(accepted.field("volunteer"), intruder.key().short());
}

#[test]
fn a_task_that_its_home_grants_twice_is_accepted_once() {
    let Some(mut bed) = home("a home that grants twice") else { return };
    let job = Job { milliseconds: 3000, ..Job::idle("twice", 1) };
    let offer = bed.submit("master", &job).expect("acknowledged");
    bed.volunteer("volunteer", "away", &["broker"], "master").expect("the volunteer");
    bed.await_events(0, 1, "the task to start", |it| it.name == "started").expect("started");

    // The home grants the same task to somebody else, who is faster; the first does not hear of it.
    bed.cut("away", "home").expect("cut");
    let home = key_file::load(&bed.network.state("broker").join("node.key")).expect("its key");
    let intruder = Intruder::start(&bed, "elsewhere", [4; 32], None);
    let broker = intruder.dial(&bed.network.address("broker"));
    let result = result_under(&bed, &offer, &home, &intruder.secret());
    assert_eq!(intruder.hand_over(broker, result), HandoverAnswer::Taken);
    let accepted = |it: &Event| it.is("master", "accepted");
    let first = bed.await_events(0, 1, "a result to be accepted", accepted).expect("accepted");
    assert_eq!(first.field("volunteer"), intruder.key().short());

    let finished = |it: &Event| it.is("volunteer", "finished");
    bed.await_events(0, 1, "the first to finish", finished).expect("finished");
    bed.heal("away", "home").expect("healed");
    let rejected = |it: &Event| it.is("volunteer", "receipt");
    let receipt = bed.await_events(0, 1, "the other receipt", rejected).expect("a receipt");
    assert_eq!(receipt.field("verdict"), "rejected", "{}", receipt.field("reason"));
    bed.await_job("master", &offer).expect("the task has passed");
    let all = bed.network.events().all();
    assert_eq!(all.iter().filter(|it| accepted(it)).count(), 1);
}

#[test]
fn a_result_that_a_broker_takes_and_drops_comes_home_another_way() {
    let Some(mut bed) = home("a broker that takes and drops") else { return };
    let dropper = Intruder::start(&bed, "elsewhere", [5; 32], Some(4077));
    bed.cut("away", "elsewhere").expect("cut");
    let brokers = [bed.network.address("broker"), dropper.address()];
    bed.network.configure("volunteer", &format!("brokers = {brokers:?}\n")).expect("configured");
    bed.volunteer("volunteer", "away", &[], "master").expect("the volunteer");
    let job = Job { milliseconds: 6000, ..Job::idle("dropped", 1) };
    let offer = bed.submit("master", &job).expect("acknowledged");
    bed.await_events(0, 1, "the task to start", |it| it.name == "started").expect("started");

    // While it runs the volunteer loses its broker, and the one that it still has drops everything.
    bed.heal("away", "elsewhere").expect("healed");
    bed.network.kill("broker").expect("killed");
    dropper.await_custody();
    bed.network.start_again("broker").expect("started again");

    bed.await_job("master", &offer).expect("all tasks pass");
    assert!(dropper.is_connected(), "it was there all the time");
    drop(dropper);
    bed.judge(&ORACLE, &[offer]).unwrap_or_else(|error| panic!("{error:#}"));
}

/// Waits until the offer is known at its home.
fn published(bed: &Bed) {
    let published = |it: &Event| it.is("master", "published");
    bed.await_events(0, 1, "the offer to be published", published).expect("published");
}

/// The result of task 0 of `offer`, run by `volunteer` under a lease that `granter` has signed.
fn result_under(bed: &Bed, offer: &str, granter: &SecretKey, volunteer: &SecretKey) -> Bundle {
    let mut status = bed.network.program_of("master", "talkoot-master");
    let status = tools::output(status.args(["status", "--json"])).expect("the master answers");
    let status: Value = serde_json::from_str(&status).expect("JSON");
    let uri: ProjectUri = bed.network.uri("master").expect("a URI").parse().expect("sound");
    let offer = offer.parse().expect("an id");
    let lease = Lease {
        project: uri.project,
        task: TaskId { offer, task: 0, replica: 0 },
        epoch: status["project"]["epoch"].as_u64().expect("an epoch"),
        volunteer: volunteer.public(),
        runtime: Runtime::Wasm,
        granted: now(),
        term_ms: 30_000,
        deadline: None,
        expires: Timestamp(status["jobs"][0]["expires"].as_u64().expect("an expiry")),
    };
    let lease = Verified::sign(lease, granter);
    let encryption = bed.network.state("master").join("encryption.key");
    let master = key_file::load_encryption(&encryption).expect("its key").public();
    let sealer = HpkeSealer::new(*volunteer.seed());
    let result = JobResult::new(&lease, Vec::new(), &passed(), master, &sealer);
    let home = status["project"]["home"].as_str().expect("a home");
    let via: PublicKey = home.parse().expect("a key");
    Bundle { cargo: Cargo::Result(Verified::sign(result, volunteer)), via }
}

/// A report that all went well.
fn passed() -> Report {
    let step = StepReport {
        name: "task".to_owned(),
        exit: Some(0),
        ending: String::new(),
        wall_ms: 1,
        cpu_ms: 1,
        memory: 1 << 20,
        fuel: None,
        log: Log::Inline(Vec::new()),
    };
    Report {
        ended: Ended::Passed,
        steps: vec![step],
        artifacts: Vec::new(),
        key: BlobKey::from_bytes([1; 32]),
        platform: Platform::current(),
        system: String::new(),
        runtime: Runtime::Wasm,
        ownership: None,
        started: now(),
        finished: now(),
        resumed: 0,
    }
}

fn now() -> Timestamp {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    Timestamp(u64::try_from(since.as_millis()).expect("not that late"))
}
