//! The whole volunteer in Python (`examples/python-client`), beside a real broker and a real master:
//! what it knows it has from `docs/spec`, so a job that it runs shows that nothing is missing there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use xtask::events::Events;
use xtask::network::Network;
use xtask::tools::{self, output, run};

use crate::python::Environment;

const PATIENCE: Duration = Duration::from_secs(30);

/// More than one, so that leases and receipts are told apart.
const TASKS: usize = 3;

/// A log that does not fit into a result, an artifact, and a word of the environment.
const JOB: &str = r#"
name = "by-hand"
tasks = 3
[requirements]
runtimes = ["native"]
os = "linux"
[environment]
GREETING = "hyvää talkoota"
[[step]]
name = "say"
run = ["sh", "-c", "echo $GREETING $TALKOOT_TASK_INDEX; seq 1000"]
[[step]]
name = "make"
run = ["sh", "-c", "mkdir out; cat words > out/copy.txt"]
[limits]
wall = "1m"
memory = "64 MiB"
disk = "16 MiB"
[results]
artifacts = ["out/*.txt"]
"#;

/// A master offers a job, the volunteer in Python runs it through the door, and everything arrives.
pub fn check(python: &Environment) -> Result<()> {
    let directory = tempfile::tempdir().context("no temporary directory")?;
    let events = Events::new(|_| ());
    let mut network = Network::new(directory.path(), &tools::programs()?, events);
    network.broker("broker", &[], &[])?;
    let door = network.events().wait(0, "a door", PATIENCE, |event| event.is("broker", "door"))?;
    network.master("master", "Python", &["broker"])?;
    let uri = network.uri("master")?;

    let job = write_job(directory.path())?;
    let mut submit = network.submit("master", &job);
    let mut submitted = submit.stdout(Stdio::null()).spawn().context("cannot submit")?;
    let worked = run(python
        .module("talkoot")
        .args(["volunteer", "--door", &format!("http://{}", door.field("address"))])
        .args(["--i-trust-this-project", &uri, "--tasks", &TASKS.to_string()])
        .arg("--state")
        .arg(directory.path().join("volunteer")));
    if worked.is_err() {
        submitted.kill().context("cannot end what waits for the job")?;
    }
    let ended = submitted.wait().context("cannot wait for what waits for the job")?;
    worked?;
    ensure!(ended.success(), "`submit --wait` says that the job failed: {ended}");
    all_has_come(&network, directory.path())?;
    network.end()
}

fn write_job(directory: &Path) -> Result<PathBuf> {
    let folder = directory.join("job");
    fs::create_dir(&folder).context("no folder for the job")?;
    fs::write(folder.join("words"), "neighbours gather\n").context("cannot write a file")?;
    let job = folder.join("job.toml");
    fs::write(&job, JOB).context("cannot write the job file")?;
    Ok(job)
}

/// The master has what the volunteer made, and waits for nothing any more.
fn all_has_come(network: &Network, directory: &Path) -> Result<()> {
    let accepted =
        network.events().all().into_iter().filter(|event| event.is("master", "accepted"));
    let offers: Vec<_> = accepted.map(|event| event.field("offer")).collect();
    ensure!(offers.len() == TASKS, "{} tasks of {TASKS} were accepted", offers.len());
    let offer = &offers[0];
    let master =
        |arguments: &[&str]| output(network.program_of("master", "talkoot-master").args(arguments));
    master(&["wait", offer])?;
    for task in 0..TASKS {
        let log = master(&["logs", offer, &task.to_string()])?;
        let whole = log.contains(&format!("hyvää talkoota {task}")) && log.contains("\n1000\n");
        ensure!(whole, "the log of task {task} is not what it said: {log}");
    }
    let into = directory.join("artifacts");
    master(&["artifacts", offer, "--into", into.to_str().context("a path that is no text")?])?;
    let copy = fs::read_to_string(into.join("2/out/copy.txt")).context("no artifact of task 2")?;
    ensure!(copy == "neighbours gather\n", "the artifact is {copy:?}");
    Ok(())
}
