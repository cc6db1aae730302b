//! A machine that is to lose its connection fetches work ahead, and does it alone: release binaries, default limits,
//! loopback.

mod support;

use std::path::Path;

use support::{JOB_PATIENCE, empty_network};
use xtask::events::Event;
use xtask::network::Network;
use xtask::tools;

/// A home lends half of them.
const TASKS: usize = 12;
const LENT: usize = TASKS / 2;

const JOB: &str = r#"
name = "ahead"
tasks = 12
offline = "2h"
[requirements]
runtimes = ["native"]
[[step]]
name = "work"
run = ["sh", "-c", "sleep 1; cat input"]
[limits]
wall = "5m"
memory = "64 MiB"
disk = "16 MiB"
"#;

fn submit(network: &Network) -> String {
    let folder = network.state("job");
    std::fs::create_dir(&folder).expect("a folder");
    write(&folder.join("job.toml"), JOB);
    write(&folder.join("input"), "for later\n");
    let mut submit = network.program_of("master", "talkoot-master");
    let said = tools::output(submit.arg("submit").arg(folder.join("job.toml")));
    said.expect("acknowledged").trim().to_owned()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("written");
}

fn ask(network: &Network, arguments: &[&str]) -> serde_json::Value {
    let mut ask = network.program_of("laptop", "talkoot-volunteer");
    let said = tools::output(ask.args(arguments).arg("--json")).expect("an answer");
    serde_json::from_str(&said).expect("JSON")
}

#[test]
fn what_was_fetched_ahead_is_done_without_any_broker_and_over_a_kill_and_all_results_come_home() {
    let (mut network, _directory) = empty_network();
    network.broker("broker", &[], &[]).expect("the broker");
    network.master("master", "Ahead", &["broker"]).expect("the master");
    let uri = network.uri("master").expect("its URI");
    network.configure("laptop", "work-buffer = \"30m\"\n").expect("a configuration");
    network.volunteer("laptop", &["broker"], &[&uri], 1).expect("the laptop");
    let offer = submit(&network);

    let events = std::sync::Arc::clone(network.events());
    let ahead = |it: &Event| it.is("laptop", "fetched ahead");
    events.wait(0, "work to be fetched ahead", JOB_PATIENCE, ahead).expect("fetched");
    let buffer = &ask(&network, &["status"])["work_buffer"];
    assert_eq!(buffer["wanted_seconds"], 1800, "{buffer}");
    let package = |it: &Event| it.is("laptop", "started");
    events.wait(0, "the first task to begin", JOB_PATIENCE, package).expect("begun");
    network.kill("broker").expect("killed");

    let finished = |it: &Event| it.is("laptop", "finished");
    events.wait_for(0, 2, "two tasks", JOB_PATIENCE, finished).expect("done alone");
    network.kill("laptop").expect("killed");
    network.start_again("laptop").expect("started again");
    events.wait_for(0, LENT, "all that were lent", JOB_PATIENCE, finished).expect("done alone");
    assert_eq!(ask(&network, &["status"])["brokers"], serde_json::json!([]));

    network.start_again("broker").expect("started again");
    let accepted = |it: &Event| it.is("master", "accepted");
    events.wait_for(0, TASKS, "all results", JOB_PATIENCE, accepted).expect("accepted");
    let mut wait = network.program_of("master", "talkoot-master");
    tools::output(wait.args(["wait", &offer])).expect("all tasks have passed");
    let begun = |it: &Event| it.is("laptop", "started");
    let begun = events.all().iter().filter(|it| begun(it)).count();
    // What ran when the laptop was killed has begun twice.
    assert!((TASKS..=TASKS + 1).contains(&begun), "{begun} runs of {TASKS} tasks");
    network.end().expect("all end by themselves");
}
