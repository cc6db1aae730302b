//! Running tasks that are watched: real processes, the real sandbox, brokers in between.
//!
//! A job says something and then waits for a file, which the test makes once it has seen what the job said. So what was
//! seen was seen while the task ran, however slow the machine is.

mod support;

use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use support::empty_network;
use tempfile::TempDir;
use xtask::network::Network;
use xtask::tools;

const PATIENCE: Duration = Duration::from_secs(120);

/// A job of so many tasks, each of which says its name and number, and ends once there is a file `go`.
fn job(name: &str, tasks: u32) -> String {
    let script = format!(
        "echo first of {name} $TALKOOT_TASK_INDEX; while [ ! -e go ]; do sleep 0.05; done; \
         echo second of {name} $TALKOOT_TASK_INDEX"
    );
    format!(
        "name = \"{name}\"\ntasks = {tasks}\nrequirements.runtimes = [\"native\"]\n\
         [[step]]\nname = \"greet\"\nrun = [\"echo\", \"hello\"]\n\
         [[step]]\nname = \"work\"\nrun = [\"sh\", \"-c\", \"{script}\"]\n\
         [limits]\nwall = \"5m\"\nmemory = \"64 MiB\"\ndisk = \"16 MiB\"\n"
    )
}

struct Story {
    network: Network,
    directory: TempDir,
}

impl Story {
    fn begin() -> Self {
        let (network, directory) = empty_network();
        Self { network, directory }
    }

    fn broker(&mut self, name: &str, known: &[&str]) {
        self.network.broker(name, known, &[]).expect("a broker starts");
    }

    fn volunteer(&mut self, name: &str, brokers: &[&str], masters: &[&str], cores: u32) {
        let uris: Vec<_> =
            masters.iter().map(|it| self.network.uri(it).expect("its URI")).collect();
        let uris: Vec<_> = uris.iter().map(String::as_str).collect();
        self.network.volunteer(name, brokers, &uris, cores).expect("a volunteer starts");
    }

    fn submit(&self, master: &str, text: &str) -> String {
        let folder = tempfile::tempdir_in(self.directory.path()).expect("a folder").keep();
        std::fs::write(folder.join("job.toml"), text).expect("written");
        let mut submit = self.network.program_of(master, "talkoot-master");
        let offer = tools::output(submit.arg("submit").arg(folder.join("job.toml")));
        offer.expect("submitted").trim().to_owned()
    }

    fn follow(&self, master: &str, offer: &str, task: u32) -> Reader {
        let mut follow = self.network.program_of(master, "talkoot-master");
        follow.args(["logs", offer, &task.to_string(), "--follow"]);
        Reader::of(follow.stdin(Stdio::null()))
    }

    /// Waits until `volunteer` logs `name` for the `count`th time.
    fn wait(&self, who: &str, name: &str, count: usize) {
        let mut mark = 0;
        for _ in 0..count {
            let wanted = |event: &xtask::events::Event| event.is(who, name);
            let what = format!("{who}: {name}");
            self.network.events().wait(mark, &what, PATIENCE, wanted).expect("it happens");
            let all = self.network.events().all();
            mark += all[mark..].iter().position(wanted).expect("it was just seen") + 1;
        }
    }

    /// Lets every task of `volunteer` go on that runs now.
    fn go(&self, volunteer: &str) {
        for work in self.work_folders(volunteer) {
            std::fs::write(work.join("go"), "").expect("a running task's folder");
        }
    }

    fn work_folders(&self, volunteer: &str) -> Vec<PathBuf> {
        let jobs = std::fs::read_dir(self.network.state(volunteer).join("jobs")).expect("jobs");
        jobs.map(|job| job.expect("a job").path().join("work")).collect()
    }

    fn expect_passed(&self, master: &str, offer: &str) {
        let mut wait = self.network.program_of(master, "talkoot-master");
        tools::output(wait.args(["wait", offer])).expect("the job passes");
    }
}

/// A process whose words are waited for.
struct Reader {
    child: Child,
    said: [Arc<Said>; 2],
}

/// What was said on one stream.
#[derive(Default)]
struct Said {
    text: Mutex<String>,
    more: Condvar,
}

impl Said {
    fn listen(from: impl Read + Send + 'static) -> Arc<Self> {
        let this = Arc::<Self>::default();
        let said = Arc::clone(&this);
        std::thread::spawn(move || {
            let mut from = BufReader::new(from);
            let mut line = String::new();
            while from.read_line(&mut line).is_ok_and(|length| length > 0) {
                said.text.lock().expect("no panic").push_str(&line);
                said.more.notify_all();
                line.clear();
            }
        });
        this
    }

    fn wait(&self, what: &str) -> bool {
        let text = self.text.lock().expect("no panic");
        let waited = self.more.wait_timeout_while(text, PATIENCE, |text| !text.contains(what));
        !waited.expect("no panic").1.timed_out()
    }
}

impl Reader {
    fn of(command: &mut std::process::Command) -> Self {
        let spawned = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut child = spawned.expect("it starts");
        let said = [
            Said::listen(child.stdout.take().expect("piped")),
            Said::listen(child.stderr.take().expect("piped")),
        ];
        Self { child, said }
    }

    /// Waits until it has printed `what`.
    fn expect(&self, what: &str) {
        assert!(self.said[0].wait(what), "{what:?} is not in {}", self.all());
    }

    /// Waits until it has remarked `what`.
    fn expect_remark(&self, what: &str) {
        assert!(self.said[1].wait(what), "{what:?} is not in {}", self.all());
    }

    /// What it printed to its end, and its exit code.
    fn end(mut self) -> (Option<i32>, String) {
        let deadline = std::time::Instant::now() + PATIENCE;
        while std::time::Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().expect("our child") {
                // What it said is on the way through a pipe.
                let output = self.said[0].text.lock().expect("no panic").clone();
                return (status.code(), output);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        let _ = self.child.kill();
        panic!("it does not end: {}", self.all());
    }

    fn all(&self) -> String {
        let text = |said: &Said| said.text.lock().expect("no panic").clone();
        format!("\n--- printed:\n{}\n--- remarked:\n{}", text(&self.said[0]), text(&self.said[1]))
    }
}

#[test]
fn output_is_seen_before_the_task_ends_two_brokers_away() {
    let mut story = Story::begin();
    story.broker("broker-a", &[]);
    story.broker("broker-b", &["broker-a"]);
    story.network.master("master", "Watched", &["broker-a"]).expect("the master");
    story.volunteer("volunteer", &["broker-b"], &["master"], 1);
    let offer = story.submit("master", &job("watched", 1));
    story.wait("volunteer", "started", 1);

    let reader = story.follow("master", &offer, 0);
    reader.expect("first of watched 0\n");
    story.go("volunteer");
    reader.expect("second of watched 0\n");
    reader.expect_remark("==> greet <==");
    reader.expect_remark("the task has ended");
    let expected = "hello\nfirst of watched 0\nsecond of watched 0\n";
    assert_eq!(reader.end(), (Some(0), expected.to_owned()));
    story.expect_passed("master", &offer);

    let settled = story.follow("master", &offer, 0);
    settled.expect("second of watched 0\n");
    assert_eq!(settled.end().0, Some(0), "of a task that is over its log is shown");
}

#[test]
fn whoever_cannot_watch_is_told_why() {
    let mut story = Story::begin();
    story.broker("broker-a", &[]);
    story.network.configure("broker-b", "live = false\n").expect("written");
    story.broker("broker-b", &["broker-a"]);
    story.network.master("master", "Unwatched", &["broker-a"]).expect("the master");
    let offer = story.submit("master", &job("unwatched", 2));
    story.wait("master", "published", 1);
    let nobody = story.follow("master", &offer, 0);
    nobody.expect_remark("nobody works on that task now");
    assert_eq!(nobody.end().0, Some(3));

    story.network.configure("private", "live = false\n").expect("written");
    story.volunteer("private", &["broker-a"], &["master"], 1);
    story.wait("private", "started", 1);
    let declined = story.follow("master", &offer, 0);
    declined.expect_remark("the volunteer's owner does not allow live channels");
    assert_eq!(declined.end().0, Some(3));

    // It would find the broker that does.
    story.network.configure("behind", "discover = false\n").expect("written");
    story.volunteer("behind", &["broker-b"], &["master"], 1);
    story.wait("behind", "started", 1);
    let not_relayed = story.follow("master", &offer, 1);
    not_relayed.expect_remark("a broker on the way does not relay channels");
    assert_eq!(not_relayed.end().0, Some(3));
    story.go("private");
    story.go("behind");
    story.expect_passed("master", &offer);
}

#[test]
fn a_channel_whose_broker_dies_is_opened_again_by_the_other_way() {
    let mut story = Story::begin();
    story.broker("broker-a", &[]);
    story.broker("broker-b", &["broker-a"]);
    story.broker("broker-c", &["broker-a"]);
    // So that the volunteer begins with the one that will die.
    story.network.kill("broker-c").expect("killed");
    story.network.master("master", "Moved", &["broker-a"]).expect("the master");
    story.volunteer("volunteer", &["broker-b", "broker-c"], &["master"], 1);
    let offer = story.submit("master", &job("moved", 1));
    story.wait("volunteer", "started", 1);
    story.network.start_again("broker-c").expect("started");

    let reader = story.follow("master", &offer, 0);
    reader.expect("first of moved 0\n");
    story.network.kill("broker-b").expect("killed");
    reader.expect_remark("opening the channel again");
    // The channel is open again before the task says more.
    story.wait("volunteer", "watched live", 2);
    story.go("volunteer");
    reader.expect("second of moved 0\n");
    reader.expect_remark("the task has ended");
    let expected = "hello\nfirst of moved 0\nsecond of moved 0\n";
    assert_eq!(reader.end(), (Some(0), expected.to_owned()), "nothing is told twice");
    story.expect_passed("master", &offer);
}

#[test]
fn two_masters_and_many_readers_see_each_their_own() {
    let mut story = Story::begin();
    story.broker("broker-a", &[]);
    story.broker("broker-b", &["broker-a"]);
    story.network.master("red", "Red", &["broker-a"]).expect("a master");
    story.network.master("blue", "Blue", &["broker-b"]).expect("a master");
    story.volunteer("volunteer", &["broker-b"], &["red", "blue"], 4);
    let offers = ["red", "blue"].map(|name| (name, story.submit(name, &job(name, 2))));
    story.wait("volunteer", "started", 4);

    let mut readers = Vec::new();
    for (name, offer) in &offers {
        for task in [0, 0, 1, 1] {
            readers.push((*name, task, story.follow(name, offer, task)));
        }
    }
    for (name, task, reader) in &readers {
        reader.expect(&format!("first of {name} {task}\n"));
    }
    story.go("volunteer");
    for (name, task, reader) in readers {
        let own = format!("second of {name} {task}\n");
        reader.expect(&own);
        let expected = format!("hello\nfirst of {name} {task}\n{own}");
        assert_eq!(reader.end(), (Some(0), expected));
    }
    // A project cannot watch another's tasks.
    let stranger = story.follow("red", &offers[1].1, 0);
    stranger.expect_remark("there is no such job");
    assert_ne!(stranger.end().0, Some(0));
}

#[test]
fn a_reader_that_reads_nothing_holds_up_no_task_and_is_told_what_it_missed() {
    let mut story = Story::begin();
    story.broker("broker-a", &[]);
    story.network.master("master", "Talkative", &["broker-a"]).expect("the master");
    story.volunteer("volunteer", &["broker-a"], &["master"], 1);
    let script = "echo first; while [ ! -e go ]; do sleep 0.05; done; \
                  head -c 12000000 /dev/zero | tr '\\\\0' x | fold -w 99; echo; \
                  while [ ! -e done ]; do sleep 0.05; done; echo last";
    let job = format!(
        "name = \"talkative\"\nrequirements.runtimes = [\"native\"]\n\
         [[step]]\nname = \"talk\"\nrun = [\"sh\", \"-c\", \"{script}\"]\n\
         [limits]\nwall = \"5m\"\nmemory = \"64 MiB\"\ndisk = \"16 MiB\"\noutput = \"16 MiB\"\n"
    );
    let offer = story.submit("master", &job);
    story.wait("volunteer", "started", 1);

    // A reader that stops after the first line, and one that reads on.
    let mut follow = story.network.program_of("master", "talkoot-master");
    follow.args(["logs", &offer, "0", "--follow"]).stdin(Stdio::null());
    let mut lazy = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    let mut output = BufReader::with_capacity(16, lazy.stdout.take().expect("piped"));
    let mut line = String::new();
    output.read_line(&mut line).expect("read");
    assert_eq!(line, "first\n");
    let remarks = Said::listen(lazy.stderr.take().expect("piped"));

    let keen = story.follow("master", &offer, 0);
    keen.expect("first\n");
    story.go("volunteer");
    // The step ends although nobody takes its 12 MB: it says its last word.
    for work in story.work_folders("volunteer") {
        std::fs::write(work.join("done"), "").expect("a running task's folder");
    }
    keen.expect("\nlast\n");
    story.wait("volunteer", "finished", 1);

    let mut rest = Vec::new();
    output.read_to_end(&mut rest).expect("read");
    assert!(remarks.wait("left out here; the result will have them"), "it was told");
    assert!(rest.len() < 4_000_000, "{} bytes piled up on the way", rest.len());
    assert_eq!(lazy.wait().expect("it ends").code(), Some(0));
    story.expect_passed("master", &offer);
}
