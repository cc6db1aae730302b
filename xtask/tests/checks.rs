//! A project's own check, from the project's configuration to its jobs, in a network of real processes.
//!
//! It needs the programs, as `stories.rs` does, and the sandbox.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;
use xtask::events::{Event, Events};
use xtask::network::{Network, PATIENCE};
use xtask::tools;

const CHECK: &str = r#"
    [[check]]
    name = "answer"
    command = ["sh", "-c", "echo 42"]
"#;

struct Story {
    network: Network,
    directory: tempfile::TempDir,
}

impl Story {
    /// A broker, a master whose project has the check, and a volunteer that trusts it.
    fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let programs = tools::programs().expect("the programs' folder");
        assert!(
            programs.join("talkoot-broker").exists(),
            "the programs are not built: run `cargo build --release`, or `cargo xtask check`"
        );
        let mut network = Network::new(directory.path(), &programs, Events::new(|_| ()));
        network.broker("broker", &[], &[]).expect("the broker");
        network.configure("master", CHECK).expect("written");
        network.master("master", "Checked", &["broker"]).expect("the master");
        let uri = network.uri("master").expect("its URI");
        network.volunteer("volunteer", &["broker"], &[&uri], 1).expect("the volunteer");
        Self { network, directory }
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let event = self.network.events().wait(0, what, PATIENCE, wanted);
        event.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn count(&self, name: &str) -> usize {
        self.network.events().all().iter().filter(|event| event.name == name).count()
    }

    /// A job of one step that requires `answer` of the check.
    fn job(&self, name: &str, answer: &str) -> PathBuf {
        let folder = self.directory.path().join(name);
        std::fs::create_dir(&folder).expect("made");
        let job = format!(
            "name = \"{name}\"\nlimits.memory = \"64 MiB\"\nlimits.disk = \"16 MiB\"\n\
             [requirements]\nruntimes = [\"native\"]\nfacts.\"check.answer\" = {answer}\n\
             [[step]]\nname = \"all\"\nrun = [\"true\"]\n"
        );
        std::fs::write(folder.join("job.toml"), job).expect("written");
        folder.join("job.toml")
    }

    fn submit(&self, job: &Path) -> std::process::Child {
        let mut submit = self.network.submit("master", job);
        submit.stdin(Stdio::null()).stdout(Stdio::null());
        submit.spawn().expect("talkoot-master submit starts")
    }

    fn jobs(&self) -> Value {
        let mut status = self.network.program_of("master", "talkoot-master");
        let status = tools::output(status.args(["status", "--json"])).expect("it answers");
        serde_json::from_str::<Value>(&status).expect("JSON")["jobs"].take()
    }
}

#[test]
fn a_check_of_the_project_decides_who_runs_its_jobs() {
    let mut story = Story::begin();
    // With its first offer a project becomes known to brokers, and so to who trusts it.
    let mut wrong = story.submit(&story.job("wrong", "{ at-least = 43 }"));
    let tried = story.wait("the check to be done, in the sandbox", |event| {
        assert!(
            !(event.name == "runtime not offered" && event.field("runtime") == "native"),
            "this test needs the sandbox: {}",
            event.field("reason")
        );
        event.name == "check done"
    });
    assert_eq!((tried.field("check"), tried.field("value")), ("answer".into(), "42".into()));

    let mut right = story.submit(&story.job("right", "{ at-least = 42 }"));
    assert_eq!(right.wait().expect("our child").code(), Some(0));
    assert_eq!(story.wait("the task to start", |it| it.name == "started").who, "volunteer");

    story.wait("the machine not to fit", |event| {
        event.name == "candidates"
            && (event.field("known"), event.field("matching")) == ("1".into(), "0".into())
    });
    let jobs = story.jobs();
    let waiting = jobs.as_array().expect("a list").iter().find(|job| job["name"] == "wrong");
    let explanation = waiting.expect("it waits")["explanation"].to_string();
    assert!(explanation.contains("check.") && explanation.contains(".answer"), "{explanation}");
    assert_eq!(story.count("started"), 1, "the wrong job does not run");
    wrong.kill().expect("our child");
    wrong.wait().expect("our child");

    story.network.kill("volunteer").expect("killed");
    story.network.start_again("volunteer").expect("started again");
    let mut again = story.submit(&story.job("again", "{ at-least = 42 }"));
    assert_eq!(again.wait().expect("our child").code(), Some(0));
    assert_eq!(story.count("check done"), 1, "what was found is kept");
    story.network.end().expect("every process ends when asked");
}
