//! Who could run a job, as real processes tell it: a broker, an adapter, and volunteers' own ads.
//!
//! It needs the programs, as the stories do.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::Value;
use xtask::events::Events;
use xtask::network::{Network, PATIENCE};
use xtask::tools;

/// In whatever runtime a machine has, with more cores than each of them donates.
const JOB: &str = "name = \"needy\"\nrequirements.runtimes = [\"wasm\", \"native\"]\n\
                   requirements.cores = 2\n[[step]]\nname = \"run\"\nrun = [\"main.wasm\"]\n";

/// Between questions: a broker answers eight a second of one adapter.
const PAUSE: Duration = Duration::from_millis(250);

#[test]
fn a_master_learns_before_it_submits_what_would_let_machines_in() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let programs = tools::programs().expect("the programs' folder");
    assert!(
        programs.join("talkoot-broker").exists(),
        "the programs are not built: run `cargo build --release`, or `cargo xtask check`"
    );
    let mut network = Network::new(directory.path(), &programs, Events::new(|_| ()));
    network.broker("broker", &[], &[]).expect("the broker");
    network.master("master", "Explained", &["broker"]).expect("the master");
    let uri = network.uri("master").expect("its URI");
    for name in ["volunteer-1", "volunteer-2"] {
        network.volunteer(name, &["broker"], &[&uri], 1).expect("a volunteer starts");
    }
    network.events().wait(0, "the home", PATIENCE, |it| it.is("master", "home moved")).expect("it");
    let job = directory.path().join("job.toml");
    std::fs::write(&job, JOB).expect("written");

    let told = await_machines(&network, &job, 2);
    assert_eq!((&told["known"], &told["matching"]), (&2.into(), &0.into()), "{told:#}");
    let cores = told["needs"].as_array().expect("needs").iter();
    let cores = cores.clone().find(|need| need["line"] == "requirements.cores = 2").expect("it");
    assert_eq!((&cores["excludes"], &cores["alone"]), (&2.into(), &2.into()), "{told:#}");
    let advice = &told["advice"];
    assert_eq!(advice["write"], "requirements.cores = 1", "{told:#}");
    assert_eq!(advice["gains"], 2, "{told:#}");

    let mut status = network.program("talkoot-volunteer");
    status.args(["status", "--json", "--http", &network.http("volunteer-1")]);
    let status = json(status.arg("--state").arg(network.state("volunteer-1")));
    let key = status["key"].as_str().expect("its key");
    let told = json(explain(&network, &job).args(["--json", "--volunteer", key]));
    assert_eq!(told["label"], "volunteer-1", "{told:#}");
    assert_eq!(told["runtime"], Value::Null, "{told:#}");
    let text = tools::output(explain(&network, &job).args(["--volunteer", key])).expect("told");
    assert!(text.contains("no   2 cores"), "{text}");
}

/// What is told once the ads of so many machines have come.
fn await_machines(network: &Network, job: &Path, count: u64) -> Value {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let told = json(explain(network, job).arg("--json"));
        if told["known"] == count || Instant::now() > deadline {
            return told;
        }
        std::thread::sleep(PAUSE);
    }
}

fn explain(network: &Network, job: &Path) -> Command {
    let mut explain = network.program("talkoot-master");
    explain.arg("explain").arg(job).arg("--state").arg(network.state("master"));
    explain
}

fn json(command: &mut Command) -> Value {
    let text = tools::output(command).expect("it ends well");
    serde_json::from_str(&text).expect("JSON")
}
