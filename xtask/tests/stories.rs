//! Stories of a network of real processes: release binaries, default limits, loopback.
//!
//! They need the programs: `cargo xtask check` builds them first, and so does
//! `cargo build --release` at the root.

mod support;

use support::{JOB_PATIENCE, Story};
use xtask::events::Event;

#[test]
fn the_home_broker_is_killed_in_the_middle_and_started_again() {
    killed_and_started_again("broker-a");
}

#[test]
fn the_volunteers_broker_is_killed_in_the_middle_and_started_again() {
    killed_and_started_again("broker-b");
}

#[test]
fn the_other_broker_is_killed_in_the_middle_and_started_again() {
    killed_and_started_again("broker-c");
}

fn killed_and_started_again(broker: &str) {
    let mut story = Story::begin(3);
    let submit = story.submit(&story.sweep.clone());
    story.wait_for(5, "results to be accepted", |event| event.name == "accepted");

    story.network.kill(broker).expect("killed");
    story.network.start_again(broker).expect("started again");

    story.expect_each_accepted_once(submit, 40);
    story.network.end().expect("every process ends when asked");
}

#[test]
fn the_only_broker_with_custody_of_results_is_destroyed_with_its_disk() {
    let mut story = Story::begin(2);
    let submit = story.submit(&story.sweep.clone());
    story.wait_for(5, "results to be accepted", |event| event.name == "accepted");

    // Without the home, results pile up at the volunteers' broker, which has acknowledged them.
    story.network.kill("broker-a").expect("killed");
    let mark = story.network.events().mark();
    let taken =
        |event: &Event| event.is("broker-b", "custody taken") && event.field("kind") == "result";
    let waited =
        story.network.events().wait(mark, "custody at broker-b alone", JOB_PATIENCE, taken);
    waited.unwrap_or_else(|error| panic!("{error:#}"));

    story.network.destroy("broker-b").expect("destroyed");
    story.network.start_again("broker-a").expect("started again");

    story.expect_each_accepted_once(submit, 40);
}

#[test]
fn a_volunteer_is_killed_in_the_middle_of_a_task_and_another_runs_it() {
    let mut story = Story::begin(2);
    let job = story.write_sleepy_job("slow", 5);
    let submit = story.submit(&job);
    let started = story.wait_for(1, "the task to start", |event| event.name == "started");

    story.network.kill(&started.who).expect("killed");

    let lapsed = story.wait_for(1, "the lease to lapse", |event| event.name == "lease lapsed");
    assert_eq!(lapsed.who, "broker-a", "only the home takes a task back");
    story.expect_each_accepted_once(submit, 1);
    let ran_by: Vec<_> = story.network.events().all();
    let ran_by = ran_by.iter().filter(|event| event.name == "finished").map(|event| &event.who);
    assert!(ran_by.clone().all(|who| *who != started.who) && ran_by.count() == 1);
}

#[test]
fn a_node_key_that_leaked_is_revoked_while_a_job_runs_and_a_new_one_goes_on() {
    let mut story = Story::begin(1);
    let stolen = [
        "node.key",
        "encryption.key",
        "registration.statement",
        "delegation.statement",
        "api-token",
    ];
    let thief = story.network.state("thief");
    std::fs::create_dir(&thief).expect("a folder");
    for file in stolen {
        std::fs::copy(story.network.state("master").join(file), thief.join(file)).expect("copied");
    }
    let submit = |story: &Story, name: &str, seconds: u64| {
        let job = story.write_sleepy_job(name, seconds);
        story.master("master", &["submit", &job.display().to_string()]).trim().to_owned()
    };
    let slow = submit(&story, "slow", 60);
    story.wait_for(1, "the task to start", |event| event.name == "started");
    let quick = submit(&story, "quick", 0);
    story.wait_for(2, "both offers to be published", |event| event.name == "published");

    // Every broker hears of it. The volunteer would at its next renewal, within 10 s; here it meets
    // one of its brokers anew before that, and asks what is new.
    story.master("master", &["revoke", "--reason", "leaked"]);
    let revoked = story.network.events().mark();
    for broker in ["broker-a", "broker-b", "broker-c"] {
        story.wait_for(1, "the brokers to hear of it", |event| event.is(broker, "key revoked"));
    }
    story.network.stop("broker-c").expect("stopped");
    story.network.start_again("broker-c").expect("started again");
    let met =
        story.wait_for(2, "the broker to be met again", |event| event.is("broker-c", "listening"));
    let reason = "the key that offered it was revoked";
    let stopped = story.wait_for(1, "the task to be given up", |event| {
        event.is("volunteer-1", "leases released") && event.field("reason") == reason
    });
    let (declared, given_up) = (story.network.events().all()[revoked..].to_vec(), stopped.at);
    let declared = declared.iter().find(|event| event.name == "key change declared");
    let declared = declared.expect("the home has acknowledged it").at;
    println!(
        "given up {:.1} s after the home knew, {:.1} s after the other broker was back",
        given_up.saturating_sub(declared).as_secs_f64(),
        given_up.saturating_sub(met.at).as_secs_f64()
    );

    // Whoever has the key publishes nothing with it.
    story.network.adapter("thief", &["broker-a"]).expect("the thief's adapter");
    let bait = story.write_sleepy_job("bait", 0);
    story.master("thief", &["submit", &bait.display().to_string()]);
    let refused =
        story.wait_for(1, "the thief to be refused", |event| event.is("thief", "not published"));
    println!("the thief's broker: {}", refused.field("reason"));
    assert!(refused.field("reason").contains("the key that signed it was revoked"));
    story.network.kill("thief").expect("killed");

    // With a new key the jobs go on under the ids that they had.
    story.master("master", &["cancel", &slow]);
    story.master("master", &["rotate"]);
    story.network.kill("master").expect("killed");
    story.network.start_again("master").expect("started again");
    story.master("master", &["wait", &quick]);
    let all = story.network.events().all();
    let accepted: Vec<_> = all.iter().filter(|event| event.name == "accepted").collect();
    assert_eq!(accepted.len(), 1, "{}", story.last_events());
    assert_eq!(accepted[0].field("offer"), quick[..8]);
    let stolen_work = all[revoked..].iter().filter(|it| it.is("volunteer-1", "leased")).count();
    assert_eq!(stolen_work, 1, "{}", story.last_events());
    story.network.end().expect("every process ends when asked");
}

#[test]
fn a_peer_that_sends_garbage_on_every_protocol_changes_nothing() {
    let story = Story::begin(1);
    let address = story.network.address("broker-a");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(garbage::on_every_protocol(&address));
    garbage::before_any_handshake(&address);

    story.expect_each_accepted_once(story.submit(&story.sweep.clone()), 40);
}

mod garbage {
    use std::io::Write;
    use std::net::TcpStream;

    use mesh_net::{Config, Multiaddr, Protocol, Role};

    /// Bytes that look random and are the same each time.
    fn noise(seed: u64, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// A peer with a sound key and unsound manners.
    pub async fn on_every_protocol(address: &str) {
        let address: Multiaddr = address.parse().expect("the broker's address");
        let (net, _events) =
            mesh_net::start(Config::new([66; 32], Role::Client)).await.expect("a client");
        let broker = net.dial(address).await.expect("a connection");
        for protocol in [Protocol::Call, Protocol::Custody, Protocol::Reconcile] {
            for (seed, length) in (1..).zip([0, 1, 7, 100, 5_000, 300_000]) {
                // Whether it is refused or answered with an error is the broker's choice.
                let _ = net.request(protocol, broker, noise(seed, length)).await;
            }
        }
        let blob = tempfile::tempfile().expect("a file");
        let absent = net.fetch_blob(broker, blake3::hash(b"nothing"), 1 << 20, blob).await;
        assert!(absent.is_err(), "a blob that nobody has");
        net.shutdown().await;
    }

    /// Connections that never speak the protocol.
    pub fn before_any_handshake(address: &str) {
        let mut parts = address.split('/').skip(2);
        let host = parts.next().expect("an address");
        let port: u16 = parts.nth(1).and_then(|port| port.parse().ok()).expect("a port");
        for seed in 0..20 {
            let mut stream = TcpStream::connect((host, port)).expect("a connection");
            // The broker may hang up at any byte.
            let _ = stream.write_all(&noise(seed, 10_000));
        }
    }
}
