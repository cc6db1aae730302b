//! What brokers come to know of a job, as real processes: nothing of what became of it, and nothing of
//! a private package.
//!
//! They log all that peers send them and all that they send, once the encryption of the hop is off
//! (`mesh_net::traffic`). So what they relay is looked through beside what they keep.
//!
//! It needs the programs, as `stories.rs` does, and the sandbox.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use support::{await_exit, empty_network, submit};
use tempfile::TempDir;
use xtask::events::Event;
use xtask::network::{Network, PATIENCE};
use xtask::tools;

/// Bytes of a marker's piece that must not be found: whoever can read a part can read.
const PIECE: usize = 16;

const BROKERS: [&str; 2] = ["home", "near"];

/// Two brokers in a line between a master and a volunteer. The package has a marker in it, of which the
/// steps make another that is nowhere before they run.
struct Story {
    network: Network,
    directory: TempDir,
    in_package: String,
    in_result: String,
}

impl Story {
    fn begin() -> Self {
        let (mut network, directory) = empty_network();
        let all = ["--log", "info,talkoot_broker=debug,mesh_net::traffic=trace"];
        network.broker("home", &[], &all).expect("the home");
        network.broker("near", &["home"], &all).expect("the volunteers' broker");
        network.master("master", "Secret", &["home"]).expect("the master");
        let in_package = sha256(&directory.path().display().to_string());
        let in_result = sha256(&in_package);
        Self { network, directory, in_package, in_result }
    }

    /// Starts a volunteer, and waits until its broker has its ad; gives its key.
    fn volunteer(&mut self, name: &str) -> String {
        let uri = self.network.uri("master").expect("its URI");
        self.network.volunteer(name, &["near"], &[&uri], 1).expect("a volunteer");
        let mut status = self.network.program_of(name, "talkoot-volunteer");
        let status = tools::output(status.args(["status", "--json"])).expect("its status");
        let status: serde_json::Value = serde_json::from_str(&status).expect("JSON");
        let key = status["key"].as_str().expect("a key").to_owned();
        self.wait("its ad", |it| it.is("near", "ad taken") && key.starts_with(&it.field("peer")));
        key
    }

    /// The marker of the result is in a short log, in a long one, in an artifact and in its name.
    fn job(&self, head: &str) -> PathBuf {
        let folder = self.directory.path().join("job");
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("secret"), &self.in_package).expect("written");
        let job = format!(
            "name = \"secret\"\n{head}\nresults.artifacts = [\"out/*\"]\n\
             limits.memory = \"64 MiB\"\nlimits.disk = \"16 MiB\"\n\
             [requirements]\nruntimes = [\"native\"]\n\
             [[step]]\nname = \"wait\"\nrun = [\"sleep\", \"5\"]\n\
             [[step]]\nname = \"short\"\nshell = true\nrun = \"\"\"\n\
             printf %s $(cat secret) | sha256sum | cut -c1-64 | tee marker\"\"\"\n\
             [[step]]\nname = \"long\"\nshell = true\nrun = \"\"\"\n\
             mkdir out; for n in $(seq 200); do cat marker; done | tee out/$(cat marker)\"\"\"\n"
        );
        fs::write(folder.join("job.toml"), job).expect("written");
        folder.join("job.toml")
    }

    /// Runs the job until its result is at the home, whose master is gone.
    fn run_to_custody(&mut self, job: &Path) -> Child {
        let submission = submit(&self.network, job);
        self.wait("the task to run, in the sandbox", |event| {
            assert!(
                !(event.name == "runtime not offered" && event.field("runtime") == "native"),
                "this test needs the sandbox: {}",
                event.field("reason")
            );
            event.name == "started"
        });
        self.network.kill("master").expect("killed");
        self.wait("the home to have the result", |event| {
            event.is("home", "custody taken") && event.field("kind") == "result"
        });
        submission
    }

    /// Lets the master have the result, in which all is as the steps made it.
    fn expect_result(&mut self, mut submission: Child) {
        self.network.start_again("master").expect("started again");
        assert_eq!(await_exit(&mut submission), Some(0));
        let accepted = self.wait("the result to be accepted", |it| it.is("master", "accepted"));
        let (offer, marker) = (accepted.field("offer"), self.in_result.as_str());
        for (step, lines) in [("short", 1), ("long", 200)] {
            let log = self.master(&["logs", &offer, "0", "--step", step]);
            assert_eq!(log.lines().filter(|line| *line == marker).count(), lines, "{step}");
        }
        let into = self.directory.path().join("artifacts");
        self.master(&["artifacts", &offer, "--into", &into.display().to_string()]);
        let is_named = |path: &PathBuf| path.file_name().is_some_and(|it| *it == *marker);
        let artifact = files_below(&into).into_iter().find(is_named).expect("the artifact");
        assert_eq!(fs::read_to_string(artifact).expect("read").lines().count(), 200);
        // With the receipt all that crosses has crossed.
        self.wait("the receipt", |event| event.is("volunteer", "receipt"));
    }

    /// Where at the brokers something of `marker` is: in which files, and in which bytes that crossed.
    fn found(&self, marker: &str) -> Vec<String> {
        let raw = data_encoding::HEXLOWER.decode(marker.as_bytes()).expect("digits");
        let pieces = marker.as_bytes().chunks(PIECE).chain(raw.chunks(PIECE));
        let pieces: BTreeSet<_> = pieces.collect();
        let has = |bytes: &[u8]| bytes.windows(PIECE).any(|window| pieces.contains(window));
        let mut found = Vec::new();
        for broker in BROKERS {
            let files = files_below(&self.network.state(broker)).into_iter();
            // One may have been removed meanwhile.
            let files = files.filter(|path| has(&fs::read(path).unwrap_or_default()));
            found.extend(files.map(|path| path.display().to_string()));
        }
        for event in self.network.events().all() {
            let bytes = data_encoding::HEXLOWER.decode(event.field("bytes").as_bytes());
            if BROKERS.contains(&event.who.as_str()) && has(&bytes.unwrap_or_default()) {
                found.push(format!("what {} at {}", event.name, event.who));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let event = self.network.events().wait(0, what, PATIENCE, wanted);
        event.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn master(&self, arguments: &[&str]) -> String {
        let mut command = self.network.program_of("master", "talkoot-master");
        tools::output(command.args(arguments)).unwrap_or_else(|error| panic!("{error:#}"))
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path());
    let below = entries.map(|it| if it.is_dir() { files_below(&it) } else { vec![it] });
    below.flatten().collect()
}

/// As the steps make it, with the tools of the machine.
fn sha256(text: &str) -> String {
    let command = format!("printf %s '{text}' | sha256sum | cut -c1-64");
    let hash = tools::output(Command::new("sh").args(["-c", &command])).expect("a hash");
    assert_eq!(hash.trim().len(), 64, "{hash}");
    hash.trim().to_owned()
}

#[test]
fn brokers_with_custody_of_a_result_can_read_nothing_of_it_and_relay_nothing_that_they_can_read() {
    let mut story = Story::begin();
    story.volunteer("volunteer");
    let submission = story.run_to_custody(&story.job(""));
    assert_eq!(story.found(&story.in_result), [""; 0]);
    story.expect_result(submission);
    assert_eq!(story.found(&story.in_result), [""; 0]);

    // This package is not private: so it is found wherever there is something to find.
    let found = story.found(&story.in_package);
    for broker in BROKERS {
        let state = story.network.state(broker).display().to_string();
        assert!(found.iter().any(|it| it.starts_with(&state)), "{found:?}");
        for crossed in ["came", "went"] {
            assert!(found.contains(&format!("what {crossed} at {broker}")), "{found:?}");
        }
    }
    story.network.end().expect("every process ends when asked");
}

#[test]
fn a_private_package_is_for_the_volunteers_that_its_job_names() {
    let mut story = Story::begin();
    story.volunteer("other");
    let key = story.volunteer("volunteer");
    let job = story.job(&format!("private = true\nvolunteers = [\"{key}\"]"));
    let submission = story.run_to_custody(&job);
    story.expect_result(submission);
    for marker in [&story.in_package, &story.in_result] {
        assert_eq!(story.found(marker), [""; 0]);
    }
    let events = story.network.events().all();
    assert!(!events.iter().any(|it| it.is("other", "leased")), "it is not among them");
    story.network.end().expect("every process ends when asked");
}
