//! What brokers come to know of a job, as real processes: nothing of what became of it.
//!
//! It needs the programs, as `stories.rs` does, and the sandbox.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use xtask::events::{Event, Events};
use xtask::network::{Network, PATIENCE};
use xtask::tools;

/// Pieces of the marker that must not be found: whoever can read a part can read.
const PIECE: usize = 16;

/// Two brokers in a line between a master and a volunteer, and a job whose steps make a marker that is
/// nowhere before they run.
struct Story {
    network: Network,
    directory: TempDir,
    /// What the marker is made from. Everybody may know it.
    seed: String,
    marker: String,
}

impl Story {
    fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let programs = tools::programs().expect("the programs' folder");
        assert!(
            programs.join("talkoot-broker").exists(),
            "the programs are not built: run `cargo build --release`, or `cargo xtask check`"
        );
        let mut network = Network::new(directory.path(), &programs, Events::new(|_| ()));
        network.broker("home", &[], &[]).expect("the home");
        network.broker("near", &["home"], &[]).expect("the volunteer's broker");
        network.master("master", "Secret", &["home"]).expect("the master");
        let uri = network.uri("master").expect("its URI");
        network.volunteer("volunteer", &["near"], &[&uri], 1).expect("the volunteer");
        let seed = directory.path().display().to_string().replace('/', "-");
        let marker = format!("printf %s {seed} | sha256sum | cut -c1-64");
        let marker = tools::output(Command::new("sh").args(["-c", &marker])).expect("a hash");
        let marker = marker.trim().to_owned();
        assert_eq!(marker.len(), 64, "{marker}");
        Self { network, directory, seed, marker }
    }

    /// The marker is in a short log, in a long one, in an artifact and in its name.
    fn job(&self) -> PathBuf {
        let folder = self.directory.path().join("job");
        fs::create_dir(&folder).expect("made");
        let seed = &self.seed;
        let job = format!(
            "name = \"secret\"\nresults.artifacts = [\"out/*\"]\n\
             limits.memory = \"64 MiB\"\nlimits.disk = \"16 MiB\"\n\
             [requirements]\nruntimes = [\"native\"]\n\
             [[step]]\nname = \"wait\"\nrun = [\"sleep\", \"5\"]\n\
             [[step]]\nname = \"short\"\nshell = true\nrun = '''\n\
             printf %s {seed} | sha256sum | cut -c1-64 | tee marker'''\n\
             [[step]]\nname = \"long\"\nshell = true\nrun = '''\n\
             mkdir out; for n in $(seq 200); do cat marker; done | tee out/$(cat marker)'''\n"
        );
        fs::write(folder.join("job.toml"), job).expect("written");
        folder.join("job.toml")
    }

    fn submit(&self, job: &Path) -> Child {
        let mut submit = self.network.submit("master", job);
        submit.stdin(Stdio::null()).stdout(Stdio::null());
        submit.spawn().expect("talkoot-master submit starts")
    }

    fn wait(&self, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let event = self.network.events().wait(0, what, PATIENCE, wanted);
        event.unwrap_or_else(|error| panic!("{error:#}"))
    }

    fn master(&self, arguments: &[&str]) -> String {
        let mut command = self.network.program_of("master", "talkoot-master");
        tools::output(command.args(arguments)).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The files of a broker in which one of `needles` is.
    fn files_with(&self, broker: &str, needles: &[&[u8]]) -> Vec<PathBuf> {
        let files = files_below(&self.network.state(broker));
        let has = |path: &PathBuf| {
            // It may have been removed meanwhile.
            let bytes = fs::read(path).unwrap_or_default();
            needles.iter().any(|needle| bytes.windows(needle.len()).any(|it| it == *needle))
        };
        files.into_iter().filter(has).collect()
    }
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path());
    let below = entries.map(|it| if it.is_dir() { files_below(&it) } else { vec![it] });
    below.flatten().collect()
}

#[test]
fn brokers_with_custody_of_a_result_can_read_nothing_of_it() {
    let mut story = Story::begin();
    let mut submission = story.submit(&story.job());
    story.wait("the task to run, in the sandbox", |event| {
        assert!(
            !(event.name == "runtime not offered" && event.field("runtime") == "native"),
            "this test needs the sandbox: {}",
            event.field("reason")
        );
        event.name == "started"
    });
    // So the result and all that goes with it waits at the home.
    story.network.kill("master").expect("killed");
    let in_custody = |event: &Event, broker| {
        event.is(broker, "custody taken") && event.field("kind") == "result"
    };
    story.wait("the home to have the result", |event| in_custody(event, "home"));

    let raw = data_encoding::HEXLOWER.decode(story.marker.as_bytes()).expect("digits");
    let mut needles: Vec<&[u8]> = story.marker.as_bytes().chunks(PIECE).collect();
    needles.extend(raw.chunks(PIECE));
    for broker in ["home", "near"] {
        let found = story.files_with(broker, &[story.seed.as_bytes()]);
        assert!(!found.is_empty(), "{broker} has the offer, which is in clear");
        let found = story.files_with(broker, &needles);
        assert!(found.is_empty(), "the marker is at {broker}, in {found:?}");
    }

    story.network.start_again("master").expect("started again");
    assert_eq!(submission.wait().expect("our child").code(), Some(0));
    let accepted = story.wait("the result to be accepted", |it| it.is("master", "accepted"));
    let offer = accepted.field("offer");
    for (step, lines) in [("short", 1), ("long", 200)] {
        let log = story.master(&["logs", &offer, "0", "--step", step]);
        assert_eq!(log.lines().filter(|line| *line == story.marker).count(), lines, "{step}");
    }
    let into = story.directory.path().join("artifacts");
    story.master(&["artifacts", &offer, "--into", &into.display().to_string()]);
    let name = |path: &PathBuf| path.file_name().is_some_and(|it| *it == *story.marker);
    let artifact = files_below(&into).into_iter().find(name).expect("it is named by the marker");
    assert_eq!(fs::read_to_string(artifact).expect("read").lines().count(), 200);
    story.network.end().expect("every process ends when asked");
}
