//! Programs as processes whose logs, CPU time and memory can be read.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value};
use xtask::tools;

use crate::site::PATIENCE;

/// Clock ticks in a second, as `/proc` counts CPU time: the same on all Linux.
const TICKS: f64 = 100.0;

/// Between two looks at a log or a counter.
const LOOK: Duration = Duration::from_millis(2);

/// The programs that networks are made of, what they run, and the volunteer without jobs.
const PACKAGES: [&str; 6] = [
    "talkoot-broker",
    "talkoot-master",
    "talkoot-volunteer",
    "talkoot-wasm-runner",
    "volunteer-sandbox",
    "bench",
];

/// Builds the programs in release, and gives the folder that they are in: this one's.
pub fn build() -> Result<PathBuf> {
    let mut build = tools::cargo();
    build.args(["build", "--release", "--locked"]);
    for package in PACKAGES {
        build.args(["--package", package]);
    }
    tools::run(&mut build)?;
    tools::programs()
}

/// A running program, and what it has logged. Dropping it ends it.
pub struct Process {
    /// What figures are shown under.
    pub name: String,
    child: Child,
    log: PathBuf,
    read: u64,
    /// The beginning of a line that was not whole yet.
    rest: String,
    events: Vec<Event>,
}

/// One line of a log in JSON.
#[derive(Debug, Clone)]
pub struct Event {
    /// What has happened.
    pub name: String,
    /// When, by the wall clock.
    pub at: jiff::Timestamp,
    fields: Map<String, Value>,
}

/// What a process has taken so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// CPU time in seconds, of all threads, in the kernel too.
    pub cpu: f64,
    /// The most that was resident, in bytes.
    pub peak: u64,
    /// What is resident, in bytes.
    pub resident: u64,
}

impl Process {
    /// Starts `command` with its log in `directory`.
    pub fn start(name: &str, mut command: Command, directory: &Path) -> Result<Self> {
        let log = directory.join(name).with_extension("log");
        let file = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.args(["--log-format", "json"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(file);
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        let (name, read, rest, events) = (name.to_owned(), 0, String::new(), Vec::new());
        Ok(Self { name, child, log, read, rest, events })
    }

    /// Waits up to `patience` for an event that is `wanted`, from the `from`th on.
    pub fn wait(
        &mut self,
        from: usize,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let deadline = Instant::now() + patience;
        loop {
            self.look()?;
            if let Some(event) = self.events.iter().skip(from).find(|event| wanted(event)) {
                return Ok(event.clone());
            }
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                bail!(
                    "{} did not say what was expected; its log ends:\n{}",
                    self.name,
                    self.tail()
                );
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits up to `patience` for `count` events that are `wanted`.
    pub fn gather(
        &mut self,
        count: usize,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Vec<Event>> {
        let deadline = Instant::now() + patience;
        let (mut found, mut seen) = (Vec::new(), 0);
        loop {
            self.look()?;
            found.extend(self.events.iter().skip(seen).filter(|event| wanted(event)).cloned());
            seen = self.events.len();
            if found.len() >= count {
                return Ok(found);
            }
            if Instant::now() > deadline || self.child.try_wait()?.is_some() {
                let (name, found) = (&self.name, found.len());
                bail!("{name} said {found} of {count}; its log ends:\n{}", self.tail());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits for an event called `name` about `offer`; gives when it was.
    pub fn told(&mut self, name: &str, offer: &str) -> Result<jiff::Timestamp> {
        let named = |text: &str| !text.is_empty() && offer.starts_with(text);
        let told = self.wait(0, PATIENCE, |it| it.name == name && named(&it.field("offer")));
        Ok(told.with_context(|| format!("no {name:?} of offer {offer}"))?.at)
    }

    /// What it has taken so far.
    pub fn usage(&self) -> Result<Usage> {
        usage(self.child.id())
    }

    /// How often its threads have given up a processor to wait for something, so far.
    pub fn wakeups(&self) -> Result<u64> {
        let threads = fs::read_dir(format!("/proc/{}/task", self.child.id()))?;
        let of_thread = |thread: std::io::Result<fs::DirEntry>| -> Result<u64> {
            let status = fs::read_to_string(thread?.path().join("status"))?;
            let counted = status.lines().find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"));
            Ok(counted.map_or(Ok(0), |count| count.trim().parse())?)
        };
        threads.map(of_thread).sum()
    }

    /// Ends it at once, and returns when it is gone.
    pub fn kill(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn look(&mut self) -> Result<()> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.read))?;
        let mut bytes = Vec::new();
        self.read += file.read_to_end(&mut bytes)? as u64;
        self.rest.push_str(&String::from_utf8_lossy(&bytes));
        while let Some(end) = self.rest.find('\n') {
            let line: String = self.rest.drain(..=end).collect();
            self.events.extend(Event::parse(&line));
        }
        Ok(())
    }

    fn tail(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(20).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

/// What the process `id` has taken so far.
pub fn usage(id: u32) -> Result<Usage> {
    let folder = PathBuf::from(format!("/proc/{id}"));
    let stat = fs::read_to_string(folder.join("stat")).context("cannot read CPU time")?;
    // After the name, which ends at the last parenthesis: user and system time are 12 and 13.
    let fields = stat.rsplit(')').next().unwrap_or_default();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    let status = fs::read_to_string(folder.join("status")).context("cannot read memory")?;
    let bytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or_default() << 10
    };
    Ok(Usage { cpu: ticks / TICKS, peak: bytes("VmHWM:"), resident: bytes("VmRSS:") })
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

impl Event {
    fn parse(line: &str) -> Option<Self> {
        let fields: Map<String, Value> = serde_json::from_str(line).ok()?;
        let name = fields.get("message")?.as_str()?.to_owned();
        let at = fields.get("timestamp")?.as_str()?.parse().ok()?;
        Some(Self { name, at, fields })
    }

    /// A field as text; empty if there is none.
    pub fn field(&self, name: &str) -> String {
        match self.fields.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => String::new(),
        }
    }
}
