//! Stories of a network of real processes: brokers, a master, volunteers, jobs.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses its part")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use xtask::events::{Event, Events};
use xtask::network::{Network, PATIENCE};
use xtask::tools;

/// Long enough for a job of 40 short tasks with a fault in its middle, on a loaded machine.
pub const JOB_PATIENCE: Duration = Duration::from_secs(180);

/// Three brokers, a master at the first, and volunteers at the other two.
pub struct Story {
    pub network: Network,
    _directory: TempDir,
    pub sweep: PathBuf,
}

impl Story {
    pub fn begin(volunteers: usize) -> Self {
        let mut story = Self::empty();
        story.start(volunteers);
        story
    }

    /// Without any process yet.
    pub fn empty() -> Self {
        let (network, directory) = empty_network();
        let sweep = assemble_sweep(directory.path());
        Self { network, _directory: directory, sweep }
    }

    fn start(&mut self, volunteers: usize) {
        let network = &mut self.network;
        network.broker("broker-a", &[], &[]).expect("broker-a");
        network.broker("broker-b", &["broker-a"], &[]).expect("broker-b");
        network.broker("broker-c", &["broker-a"], &[]).expect("broker-c");
        network.master("master", "Story", &["broker-a"]).expect("the master");
        let uri = network.uri("master").expect("its URI");
        for number in 1..=volunteers {
            let name = format!("volunteer-{number}");
            network
                .volunteer(&name, &["broker-b", "broker-c"], &[&uri], 1)
                .expect("a volunteer starts");
        }
    }

    pub fn submit(&self, job: &Path) -> Child {
        submit(&self.network, job)
    }

    /// Writes a job of one task that sleeps for so long; gives its file.
    pub fn write_sleepy_job(&self, name: &str, seconds: u64) -> PathBuf {
        self.write_sleepy_job_with(name, seconds, "2m", "")
    }

    /// The same, which may take so long, with more lines at the head of its file.
    pub fn write_sleepy_job_with(
        &self,
        name: &str,
        seconds: u64,
        wall: &str,
        head: &str,
    ) -> PathBuf {
        write_sleepy_job(&self.network.state(name), name, seconds, wall, head)
    }

    /// Runs a command of `talkoot-master` on the state of process `name`; gives what it prints.
    pub fn master(&self, name: &str, arguments: &[&str]) -> String {
        let mut command = self.network.program("talkoot-master");
        command.args(arguments).arg("--state").arg(self.network.state(name));
        tools::output(&mut command).unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Waits until `count` events satisfy `wanted`.
    pub fn wait_for(&self, count: usize, what: &str, wanted: impl Fn(&Event) -> bool) -> Event {
        let event = self.network.events().wait_for(0, count, what, JOB_PATIENCE, wanted);
        event.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Every task of the job was accepted once, and `submit --wait` says that it passed.
    pub fn expect_each_accepted_once(&self, mut submit: Child, tasks: usize) {
        let status = await_exit(&mut submit);
        assert_eq!(status, Some(0), "{}", self.last_events());
        let mut accepted: BTreeMap<String, u32> = BTreeMap::new();
        for event in self.network.events().all().iter().filter(|it| it.name == "accepted") {
            *accepted.entry(event.field("task")).or_default() += 1;
        }
        assert_eq!(accepted.len(), tasks, "every task has a result");
        assert!(
            accepted.values().all(|count| *count == 1),
            "accepted more than once: {accepted:?}"
        );
    }

    pub fn last_events(&self) -> String {
        let all = self.network.events().all();
        let last = all.iter().rev().take(60).rev();
        let line = |it: &Event| format!("{:7.2} {} {}", it.at.as_secs_f64(), it.who, it.name);
        last.map(line).collect::<Vec<_>>().join("\n")
    }
}

/// A network without any process yet, and the directory with all that its processes will write.
pub fn empty_network() -> (Network, TempDir) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let programs = tools::programs().expect("the programs' folder");
    assert!(
        programs.join("talkoot-broker").exists(),
        "the programs are not built: run `cargo build --release`, or `cargo xtask check`"
    );
    (Network::new(directory.path(), &programs, Events::new(|_| ())), directory)
}

/// Submits a job to the master called "master", and waits for its end in a process of its own.
pub fn submit(network: &Network, job: &Path) -> Child {
    let mut submit = network.submit("master", job);
    submit.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    submit.spawn().expect("talkoot-master submit starts")
}

/// Writes, into the new `folder`, a job whose step sleeps for so long and may take `wall`, with more lines
/// at the head of its file; gives the file.
pub fn write_sleepy_job(
    folder: &Path,
    name: &str,
    seconds: u64,
    wall: &str,
    head: &str,
) -> PathBuf {
    std::fs::create_dir(folder).expect("a folder");
    let module = wat::parse_str(sleeper(seconds)).expect("the sleeper assembles");
    std::fs::write(folder.join("sleeper.wasm"), module).expect("written");
    let job = format!(
        "name = \"{name}\"\n{head}\n[requirements]\nruntimes = [\"wasm\"]\n[[step]]\nname = \"sleep\"\n\
         run = [\"sleeper.wasm\"]\n[limits]\nwall = \"{wall}\"\nmemory = \"64 MiB\"\ndisk = \"16 MiB\"\n"
    );
    std::fs::write(folder.join("job.toml"), job).expect("written");
    folder.join("job.toml")
}

fn assemble_sweep(directory: &Path) -> PathBuf {
    let (source, folder) = (tools::root().join("examples/sweep"), directory.join("sweep-package"));
    std::fs::create_dir(&folder).expect("a folder");
    let module = wat::parse_file(source.join("sweep.wat")).expect("the example assembles");
    std::fs::write(folder.join("sweep.wasm"), module).expect("written");
    std::fs::copy(source.join("job.toml"), folder.join("job.toml")).expect("copied");
    folder.join("job.toml")
}

/// A module that sleeps for so long.
fn sleeper(seconds: u64) -> String {
    let nanoseconds = seconds * 1_000_000_000;
    format!(
        r#"
        (module
          (import "wasi_snapshot_preview1" "poll_oneoff"
            (func $poll_oneoff (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (func (export "_start")
            ;; one subscription at 0: the monotonic clock, in nanoseconds from now
            (i32.store (i32.const 16) (i32.const 1))
            (i64.store (i32.const 24) (i64.const {nanoseconds}))
            (drop (call $poll_oneoff
              (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))))
        "#
    )
}

/// The exit code of a child that ends in time; one that does not is killed.
pub fn await_exit(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + JOB_PATIENCE + PATIENCE;
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().expect("our child") {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().expect("our child");
    child.wait().expect("our child");
    None
}
