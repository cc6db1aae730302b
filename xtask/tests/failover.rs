//! A volunteer has two brokers, and goes on with the other when one dies: release binaries, default
//! limits, loopback.

use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xtask::events::Events;
use xtask::network::{Network, PATIENCE};
use xtask::tools;

/// What is promised: from a broker's death until the volunteer has another.
const PROMISED: Duration = Duration::from_secs(5);

const JOB_PATIENCE: Duration = Duration::from_secs(120);

/// A master at a home of its own, and a volunteer with two brokers between.
struct Story {
    network: Network,
    directory: TempDir,
}

impl Story {
    fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let programs = tools::programs().expect("the programs' folder");
        let mut network = Network::new(directory.path(), &programs, Events::new(|_| ()));
        network.broker("home", &[], &[]).expect("the home");
        network.broker("left", &["home"], &[]).expect("one broker");
        network.broker("right", &["home", "left"], &[]).expect("another");
        network.master("master", "Failover", &["home"]).expect("the master");
        let uri = network.uri("master").expect("its URI");
        network.volunteer("volunteer", &["left", "right"], &[&uri], 1).expect("the volunteer");
        let mut story = Self { network, directory };
        story.wait_for_both();
        story
    }

    /// Waits until the volunteer has two brokers, or more: it keeps those that it turned to meanwhile.
    fn wait_for_both(&mut self) {
        self.wait_for_both_of("volunteer");
    }

    fn wait_for_both_of(&mut self, volunteer: &str) {
        let deadline = Instant::now() + PATIENCE;
        while self.connected(volunteer) < 2 {
            assert!(Instant::now() < deadline, "two brokers are not met");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn connected(&self, volunteer: &str) -> usize {
        let mut status = self.network.program_of(volunteer, "talkoot-volunteer");
        let status = tools::output(status.args(["status", "--json"])).expect("its status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        status["brokers"].as_array().map_or(0, Vec::len)
    }

    /// Submits a job of one task that takes 12 s.
    fn submit(&self) -> Child {
        let job = write_job(self.directory.path());
        let mut submit = self.network.submit("master", &job);
        submit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        submit.spawn().expect("talkoot-master submit starts")
    }

    /// Which broker the volunteer said last that it has turned to.
    fn primary(&self) -> &'static str {
        let all = self.network.events().all();
        let turned = all.iter().rev().find(|it| it.is("volunteer", "primary broker"));
        let peer = turned.expect("it has a primary").field("peer");
        let of = |name: &&str| self.key(name).starts_with(&peer);
        ["left", "right"].into_iter().find(of).expect("one of two")
    }

    fn key(&self, broker: &str) -> String {
        let mut key = self.network.program_of(broker, "talkoot-broker");
        tools::output(key.arg("key")).expect("its key").trim().to_owned()
    }

    /// Waits until the volunteer has turned to another broker, since `mark`.
    fn wait_for_turn(&self, mark: usize) {
        let turned = |event: &xtask::events::Event| event.is("volunteer", "primary broker");
        self.network
            .events()
            .wait(mark, "the volunteer to turn", PATIENCE, turned)
            .unwrap_or_else(|error| panic!("{error:#}"));
    }

    fn count(&self, who: &str, name: &str) -> usize {
        self.network.events().all().iter().filter(|it| it.is(who, name)).count()
    }
}

#[test]
fn a_volunteer_that_knew_one_broker_is_not_stranded_when_that_is_gone() {
    let mut story = Story::begin();
    let uri = story.network.uri("master").expect("its URI");
    // It is told of `left` alone, and has two all the same.
    story.network.volunteer("newcomer", &["left"], &[&uri], 1).expect("another volunteer");
    story.wait_for_both_of("newcomer");
    let mark = story.network.events().mark();
    story.network.kill("left").expect("it runs");
    // Nor does it forget: it starts again while the only broker that it was told of is dead.
    story.network.kill("newcomer").expect("it runs");
    story.network.start_again("newcomer").expect("it starts");
    let met = |event: &xtask::events::Event| event.is("newcomer", "primary broker");
    story.network.events().wait(mark, "a learned broker", PATIENCE, met).expect("a learned broker");
}

fn write_job(directory: &Path) -> PathBuf {
    let folder = directory.join("job");
    std::fs::create_dir(&folder).expect("a folder");
    let module = wat::parse_str(SLEEPER).expect("the sleeper assembles");
    std::fs::write(folder.join("sleeper.wasm"), module).expect("written");
    let job = "name = \"failover\"\n[requirements]\nruntimes = [\"wasm\"]\n[[step]]\nname = \"sleep\"\n\
               run = [\"sleeper.wasm\"]\n[limits]\nwall = \"2m\"\nmemory = \"64 MiB\"\ndisk = \"16 MiB\"\n";
    std::fs::write(folder.join("job.toml"), job).expect("written");
    folder.join("job.toml")
}

/// Polls a clock for 12 s.
const SLEEPER: &str = r#"(module
  (import "wasi_snapshot_preview1" "poll_oneoff"
    (func $poll (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start")
    (i32.store8 (i32.const 8) (i32.const 0))
    (i32.store (i32.const 16) (i32.const 1))
    (i64.store (i32.const 24) (i64.const 12000000000))
    (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))"#;

#[test]
fn a_volunteer_turns_to_its_other_broker_in_time_and_keeps_its_work() {
    let mut story = Story::begin();
    let mut submit = story.submit();
    let leased = |event: &xtask::events::Event| event.is("volunteer", "leased");
    story.network.events().wait(0, "a lease", JOB_PATIENCE, leased).expect("a lease");

    // Silence: nothing is closed, nothing is refused, nobody answers.
    let (silent, mark) = (story.primary(), story.network.events().mark());
    let since = Instant::now();
    story.network.freeze(silent).expect("it runs");
    story.wait_for_turn(mark);
    let by_silence = since.elapsed();
    assert_ne!(story.primary(), silent);

    // The silent one comes back, beside the one that was learned instead of it.
    story.network.thaw(silent).expect("it runs");
    story.wait_for_both();

    // Death: the kernel closes its connections.
    let (killed, mark) = (story.primary(), story.network.events().mark());
    assert_ne!(killed, silent);
    let since = Instant::now();
    story.network.kill(killed).expect("it runs");
    story.wait_for_turn(mark);
    let by_death = since.elapsed();

    eprintln!("turned after {by_silence:?} of silence, and {by_death:?} after a kill");
    assert!(by_silence < PROMISED, "{by_silence:?}");
    assert!(by_death < PROMISED, "{by_death:?}");

    let deadline = Instant::now() + JOB_PATIENCE;
    let status = loop {
        if let Some(status) = submit.try_wait().expect("it runs") {
            break status;
        }
        assert!(Instant::now() < deadline, "the job does not end");
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{status}");
    assert_eq!(story.count("volunteer", "leased"), 1, "the lease was kept");
    assert_eq!(story.count("master", "accepted"), 1);
}
