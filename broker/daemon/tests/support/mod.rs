//! Brokers as processes of their own, and what they log.

// Each test file uses a part of it.
#![allow(dead_code, reason = "shared by several test crates")]

pub mod visitor;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// What takes milliseconds on an idle machine; CI's machines are not idle.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running broker. Dropping it kills the process.
pub struct Process {
    child: Child,
    log: mpsc::Receiver<Value>,
    seen: Vec<Value>,
    pub state: PathBuf,
}

/// The program, without arguments.
pub fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_talkoot-broker"));
    command.stdin(Stdio::null()).env_remove("TALKOOT_LOG").env_remove("TALKOOT_CONFIG");
    command
}

/// `run` on loopback with free ports.
pub fn run(state: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.arg("run").arg("--state").arg(state).args(["--log-format", "json"]);
    let loopback = [
        ("--listen", "/ip4/127.0.0.1/tcp/0"),
        ("--door", "127.0.0.1:0"),
        ("--http", "127.0.0.1:0"),
    ];
    for (flag, usual) in loopback {
        if !more.contains(&flag) {
            command.args([flag, usual]);
        }
    }
    command.args(more);
    command
}

impl Process {
    pub fn start(state: &Path, more: &[&str]) -> Self {
        Self::spawn(run(state, more), state)
    }

    /// A broker whose state is on a disk of its own of that size, as `mount` takes it. Needs root.
    pub fn start_on_small_disk(state: &Path, size: &str) -> Self {
        let broker = run(state, &[]);
        let script = format!("mount -t tmpfs -o size={size} tmpfs \"$0\" && exec \"$@\"");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).arg(state).arg(broker.get_program());
        command.args(broker.get_args()).stdin(Stdio::null());
        Self::spawn(command, state)
    }

    fn spawn(mut command: Command, state: &Path) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stderr.take().expect("piped")).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let event = serde_json::from_str(&line).unwrap_or(Value::String(line));
                if sender.send(event).is_err() {
                    break;
                }
            }
        });
        Self { child, log, seen: Vec::new(), state: state.to_path_buf() }
    }

    /// Bytes of memory that it has.
    pub fn resident(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("Linux says it");
        let kib = line.split_whitespace().nth(1).and_then(|it| it.parse::<u64>().ok());
        1024 * kib.expect("a number of KiB")
    }

    /// The first event called `name`, from now on or before.
    pub fn event(&mut self, name: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.seen.iter().position(|event| event["message"] == name);
            if let Some(found) = found {
                return self.seen.remove(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            match self.log.recv_timeout(left) {
                Ok(event) => self.seen.push(event),
                Err(_) => panic!("no event `{name}` in {PATIENCE:?}; there were {:#?}", self.seen),
            }
        }
    }

    /// Where it can be dialled.
    pub fn address(&mut self) -> String {
        text(&self.event("listening")["address"])
    }

    /// Where its door is.
    pub fn door(&mut self) -> String {
        format!("http://{}", text(&self.event("door")["address"]))
    }

    /// What `status --json` says, once that satisfies `wanted`.
    pub fn status(&mut self, http: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.status_within(PATIENCE, http, wanted)
    }

    /// The same, for what takes its time.
    pub fn status_within(
        &mut self,
        patience: Duration,
        http: &str,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        let deadline = Instant::now() + patience;
        loop {
            let mut status = program();
            let output =
                status.args(["status", "--json", "--http", http]).output().expect("it runs");
            let printed = String::from_utf8(output.stdout).expect("text");
            let status: Value = serde_json::from_str(&printed).unwrap_or_default();
            if wanted(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "not what was waited for: {status:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the process ends by itself; gives the exit code.
    pub fn ended(mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("our child").is_none() {
            assert!(Instant::now() < deadline, "it goes on");
            std::thread::sleep(Duration::from_millis(10));
        }
        self.child.wait().expect("our child").code()
    }

    /// `kill -9`.
    pub fn kill(mut self) {
        self.child.kill().expect("our child");
        self.child.wait().expect("our child");
    }

    /// SIGTERM; gives the exit code.
    pub fn terminate(mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("our child");
        self.child.wait().expect("our child").code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs a command that should end by itself.
pub fn end_of(command: &mut Command) -> Output {
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().expect("our child").is_none() {
        if Instant::now() > deadline {
            child.kill().expect("our child");
            panic!("{command:?} goes on in spite of the mistake");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("our child")
}

pub fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

pub fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
