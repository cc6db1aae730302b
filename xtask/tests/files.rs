//! Work that travels as a file: a machine that never has a broker runs it, and its results count.

mod support;

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use support::{JOB_PATIENCE, empty_network};
use xtask::events::Event;
use xtask::network::Network;

const JOB: &str = r#"
name = "carried"
tasks = 2
[requirements]
runtimes = ["native"]
[[step]]
name = "make"
run = ["sh", "-c", "head -c 5000 /dev/zero; mkdir out; cat input; cat input >out/copy"]
[limits]
wall = "2m"
memory = "64 MiB"
disk = "16 MiB"
[results]
artifacts = ["out/*"]
"#;

/// A master and its broker, and a volunteer that knows neither.
struct Apart {
    network: Network,
    _directory: tempfile::TempDir,
}

impl Apart {
    fn begin() -> Self {
        let (mut network, directory) = empty_network();
        network.broker("broker", &[], &[]).expect("the broker");
        network.master("master", "Carried", &["broker"]).expect("the master");
        let uri = network.uri("master").expect("its URI");
        let key_alone = uri.split('?').next().expect("a key").to_owned();
        network.volunteer("island", &[], &[&key_alone], 1).expect("the volunteer");
        await_runtimes(&network, "island");
        Self { network, _directory: directory }
    }

    fn path(&self, name: &str) -> String {
        self.network.state(name).display().to_string()
    }

    fn run(&self, name: &str, program: &str, arguments: &[&str]) -> Output {
        let mut command: Command = self.network.program_of(name, program);
        command.args(arguments).output().expect("it starts")
    }

    fn master(&self, arguments: &[&str]) -> Output {
        self.run("master", "talkoot-master", arguments)
    }

    fn island(&self, arguments: &[&str]) -> Output {
        self.run("island", "talkoot-volunteer", arguments)
    }

    /// Submits the job; gives the offer's name, once the home has it.
    fn submit(&self) -> String {
        let folder = self.network.state("job");
        std::fs::create_dir(&folder).expect("a folder");
        std::fs::write(folder.join("job.toml"), JOB).expect("written");
        std::fs::write(folder.join("input"), "carried by hand\n").expect("written");
        let job = folder.join("job.toml").display().to_string();
        let offer = printed(&self.master(&["submit", &job])).trim().to_owned();
        let events = self.network.events();
        let published = |it: &Event| it.is("master", "published");
        events.wait(0, "the offer to be published", JOB_PATIENCE, published).expect("published");
        offer
    }
}

/// Until it has tried its runtimes a volunteer cannot say what it would take.
fn await_runtimes(network: &Network, name: &str) {
    let tried = |it: &Event| it.is(name, "runtime");
    network.events().wait(0, "its runtimes to be tried", JOB_PATIENCE, tried).expect("tried");
}

fn printed(output: &Output) -> String {
    let (out, said) = (&output.stdout, String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}");
    String::from_utf8(out.clone()).expect("text")
}

fn json(output: &Output) -> Value {
    serde_json::from_str(&printed(output)).expect("JSON")
}

fn refused(output: &Output, code: i32, why: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(code) && said.contains(why), "{:?} {said}", output.status);
}

#[test]
fn a_job_travels_as_a_file_runs_without_any_broker_and_its_results_count() {
    let apart = Apart::begin();
    let offer = apart.submit();
    let shown = json(&apart.island(&["owner", "show", "--json"]));
    let key = shown["node"].as_str().expect("a key").to_owned();
    let [work, again, results, receipts] =
        ["work", "again", "results", "receipts"].map(|name| apart.path(name));

    // There.
    printed(&apart.master(&["lend", &offer, "--for", &key, "--tasks", "2", "-o", &work]));
    printed(&apart.master(&["lend", &offer, "--for", &key, "--tasks", "2", "-o", &again]));
    assert_eq!(read(&work), read(&again), "the same again is the same file");
    assert!(printed(&apart.island(&["job", "import", &work])).contains("2 tasks are taken"));
    let twice = printed(&apart.island(&["job", "import", &work]));
    assert!(twice.contains("0 tasks are taken; 2 were here before"), "{twice}");
    let events = apart.network.events();
    let finished = |it: &Event| it.is("island", "finished");
    events.wait_for(0, 2, "both tasks to end", JOB_PATIENCE, finished).expect("they end");

    // And back. A file of which the end was lost says so, and what is in it counts all the same.
    refused(&apart.master(&["import", &work]), 3, "talkoot-volunteer job import");
    printed(&apart.island(&["results", "export", &results]));
    std::fs::write(&again, &read(&results)[..read(&results).len() - 3]).expect("written");
    refused(&apart.master(&["import", &again]), 3, "its end is missing");
    let mut handed_in = json(&apart.master(&["import", &results, "-o", &receipts, "--json"]));
    let told = handed_in["results"].as_array_mut().expect("results");
    assert!(told.iter().all(|it| it["fate"] == "accepted"), "{told:#?}");
    assert_eq!(told.len(), 2);
    let known = printed(&apart.master(&["import", &results]));
    assert_eq!(known.matches("nothing has changed").count(), 2, "{known}");

    // The archive has them, whole.
    printed(&apart.master(&["wait", &offer]));
    let log = apart.master(&["logs", &offer, "1"]);
    assert!(String::from_utf8_lossy(&log.stdout).ends_with("carried by hand\n"));
    let saved = apart.path("saved");
    printed(&apart.master(&["artifacts", &offer, "--into", &saved]));
    let copy = std::fs::read_to_string(Path::new(&saved).join("0/out/copy"));
    assert_eq!(copy.expect("an artifact"), "carried by hand\n");

    // The receipts are credit that anybody can check.
    let status = || json(&apart.island(&["results", "--json"]));
    assert_eq!(status()["undelivered"], 2);
    assert!(printed(&apart.island(&["results", "--take", &receipts])).contains("2 taken"));
    assert!(printed(&apart.island(&["results", "--take", &receipts])).contains("2 known before"));
    assert_eq!(status()["undelivered"], 0);
    assert!(printed(&apart.island(&["results", "--verify"])).contains("2 sound, 0 expired"));
    refused(&apart.island(&["results", "export", &results]), 3, "no result waits");
    assert!(printed(&apart.island(&["job", "import", &work])).contains("0 tasks are taken"));
}

fn read(path: &str) -> Vec<u8> {
    std::fs::read(path).expect("a file")
}

#[test]
fn work_that_is_not_for_a_machine_is_refused_with_what_to_do() {
    let mut apart = Apart::begin();
    let offer = apart.submit();
    let work = apart.path("work");
    let lent_to = |apart: &Apart, key: &str| {
        printed(&apart.master(&["lend", &offer, "--for", key, "-o", &work]));
        apart.island(&["job", "import", &work])
    };
    let key_of = |apart: &Apart, name: &str| {
        let shown = json(&apart.run(name, "talkoot-volunteer", &["owner", "show", "--json"]));
        shown["node"].as_str().expect("a key").to_owned()
    };
    let uri = apart.network.uri("master").expect("its URI");
    let key_alone = uri.split('?').next().expect("a key").to_owned();
    apart.network.volunteer("other", &[], &[], 1).expect("another volunteer");
    await_runtimes(&apart.network, "other");

    let others = key_of(&apart, "other");
    refused(&lent_to(&apart, &others), 3, "owner show prints the key of this machine");
    let untrusting = apart.run("other", "talkoot-volunteer", &["job", "import", &work]);
    refused(&untrusting, 6, "project add");
    let mut damaged = read(&work);
    let middle = damaged.len() - 600;
    damaged[middle] ^= 1;
    std::fs::write(&work, &damaged).expect("written");
    apart.network.pin("other", &key_alone).expect("pinned");
    let read_again = |it: &Event| it.is("other", "trusted projects read again");
    apart.network.events().wait(0, "the pin to hold", JOB_PATIENCE, read_again).expect("it holds");
    let spoilt = apart.run("other", "talkoot-volunteer", &["job", "import", &work]);
    refused(&spoilt, 3, "damaged");
    refused(&apart.island(&["job", "import", &apart.path("job/job.toml")]), 3, "no parcel");
    refused(
        &apart.island(&["results", "--take", &apart.path("job/input")]),
        3,
        "1 of 1 receipts were not taken",
    );
}
