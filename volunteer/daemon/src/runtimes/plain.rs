//! A trusted program that keeps its guest in by itself, as a plain process with limits.
//!
//! For the wasm runner where there is no sandbox. What neither the kernel nor the runner limits is
//! watched.

use std::collections::BTreeSet;
use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use volunteer_sandbox::{Ending, Limits, Observer, stay_on, takes_more_than};

use super::{Control, Step, StepEnd};

/// Between two looks at the process.
const INTERVAL: Duration = Duration::from_millis(20);

/// Between two looks at the disk, at least.
const DISK_INTERVAL: Duration = Duration::from_millis(500);

/// How Linux ends a process that makes a file larger than it may.
const FILE_TOO_LARGE: i32 = Signal::XFSZ.as_raw();

/// What to run.
#[derive(Debug)]
pub struct PlainSpec {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// Of these, time, disk and output are limited here; memory is the program's own affair.
    pub limits: Limits,
    /// Those that it may use; all that the daemon may if there are none.
    pub processors: BTreeSet<u32>,
    /// The directory that it starts in, whose size is limited.
    pub work: PathBuf,
}

struct Process {
    child: Child,
    killed: bool,
    paused_since: Option<Instant>,
    paused: Duration,
}

/// Starts `spec`; `observer` is told what it writes. Dropping the step ends it.
pub fn start(spec: &PlainSpec, observer: Option<Observer>) -> Result<Step, String> {
    let (reader, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    let second = writer.try_clone().map_err(|error| format!("no pipe: {error}"))?;
    let mut command = Command::new(&spec.program);
    command
        .args(&spec.arguments)
        .current_dir(&spec.work)
        .env_clear()
        .stdin(Stdio::null())
        .stdout(writer)
        .stderr(second);
    let child = spawn(&mut command, &spec.processors)
        .map_err(|error| format!("cannot start {}: {error}", spec.program.display()))?;
    let process = Process { child, killed: false, paused_since: None, paused: Duration::ZERO };
    let process = Arc::new(Mutex::new(process));
    let limit = spec.limits.output;
    let output = std::thread::spawn(move || read_output(reader, limit, observer));
    let watched = Watched {
        process: Arc::clone(&process),
        output: Some(output),
        wall: spec.limits.wall,
        work: spec.work.clone(),
        disk: spec.limits.disk,
    };
    Ok(Step { control: Box::new(Plain(process)), wait: Box::new(move || watched.wait()) })
}

/// Starts `command` on `processors`, which it inherits, or where this thread is if there are none. From this very thread, with which it may be made to end.
fn spawn(command: &mut Command, processors: &BTreeSet<u32>) -> std::io::Result<Child> {
    if processors.is_empty() {
        return command.spawn();
    }
    let own = volunteer_sandbox::processors()?;
    stay_on(processors)?;
    let child = command.spawn();
    // They were this thread's a moment ago; should they be gone now, it goes on with what it has.
    let _ = stay_on(&own);
    child
}

/// Reads to the end, and keeps what the limit allows; says whether there was more.
fn read_output(
    mut reader: impl Read,
    limit: u64,
    mut observer: Option<Observer>,
) -> (Vec<u8>, bool) {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut output, mut more) = (Vec::new(), false);
    let mut piece = [0; 64 << 10];
    loop {
        let length = match reader.read(&mut piece) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            // A guest that ends a pipe early has said what it had to say.
            Ok(0) | Err(_) => return (output, more),
            Ok(length) => length,
        };
        let kept = &piece[..length.min(limit - output.len())];
        output.extend_from_slice(kept);
        more |= kept.len() < length;
        if let Some(observer) = observer.as_mut().filter(|_| !kept.is_empty()) {
            observer(kept);
        }
    }
}

struct Watched {
    process: Arc<Mutex<Process>>,
    /// Taken when it is joined.
    output: Option<JoinHandle<(Vec<u8>, bool)>>,
    wall: Duration,
    work: PathBuf,
    disk: u64,
}

impl Watched {
    fn wait(mut self) -> StepEnd {
        let began = Instant::now();
        let mut look_at_disk = began;
        let (mut cpu, mut memory) = (Duration::ZERO, 0);
        let ending = loop {
            let mut process = lock(&self.process);
            if let Some(usage) = usage(process.child.id()) {
                cpu = usage.0.max(cpu);
                memory = usage.1.max(memory);
            }
            match process.child.try_wait() {
                Ok(Some(_)) if process.killed => break Ending::Killed,
                Ok(Some(status)) => break ending(status),
                Ok(None) => {}
                Err(error) => break Ending::SandboxFailed { reason: error.to_string() },
            }
            if began.elapsed().saturating_sub(process.paused()) > self.wall {
                process.end();
                break Ending::TimedOut;
            }
            drop(process);
            if Instant::now() >= look_at_disk {
                let looked = Instant::now();
                if let Some(ending) = self.look_at_disk() {
                    lock(&self.process).end();
                    break ending;
                }
                // A large tree must not keep a core busy.
                look_at_disk = Instant::now() + DISK_INTERVAL.max(looked.elapsed() * 10);
            }
            std::thread::sleep(INTERVAL);
        };
        let wall = began.elapsed().saturating_sub(lock(&self.process).paused());
        let (output, truncated) =
            self.output.take().and_then(|output| output.join().ok()).unwrap_or_default();
        let exceeded = truncated && matches!(ending, Ending::Exited { .. });
        let ending = if exceeded { Ending::OutputExceeded } else { ending };
        let note = String::new();
        StepEnd { ending, note, wall, cpu, memory, fuel: None, output, network: None }
    }

    /// How the step ends if it takes too much of the disk, or nobody can tell.
    fn look_at_disk(&self) -> Option<Ending> {
        match takes_more_than(self.disk, &self.work) {
            Ok(false) => None,
            Ok(true) => Some(Ending::DiskExceeded),
            Err(error) => {
                let reason = format!("cannot measure the work directory: {error}");
                Some(Ending::SandboxFailed { reason })
            }
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        lock(&self.process).end();
    }
}

fn ending(status: std::process::ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited { code },
        (None, Some(FILE_TOO_LARGE)) => Ending::DiskExceeded,
        (None, signal) => Ending::Signalled { signal: signal.unwrap_or_default() },
    }
}

/// Processor time and peak memory in bytes of a process that has not been waited for.
fn usage(pid: u32) -> Option<(Duration, u64)> {
    /// Linux counts in hundredths of a second, whatever its own clock.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Behind the name, which can hold anything, `utime` and `stime` are numbers 12 and 13.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    let cpu = TICK.saturating_mul(ticks()?.saturating_add(ticks()?));
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak?.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?;
    Some((cpu, kib << 10))
}

struct Plain(Arc<Mutex<Process>>);

impl Process {
    fn end(&mut self) {
        // Both fail only if it is over already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // Not waited for yet, or the lock would not be free: the id is still its own.
        let _ = pid.map(|pid| kill_process(pid, signal));
    }

    fn paused(&self) -> Duration {
        self.paused + self.paused_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Control for Plain {
    fn kill(&self) {
        let mut process = lock(&self.0);
        process.killed = true;
        // Reaped by whoever waits.
        let _ = process.child.kill();
    }

    fn pause(&self) {
        let mut process = lock(&self.0);
        if process.paused_since.is_none() && matches!(process.child.try_wait(), Ok(None)) {
            process.signal(Signal::STOP);
            process.paused_since = Some(Instant::now());
        }
    }

    fn resume(&self) {
        let mut process = lock(&self.0);
        if let Some(since) = process.paused_since.take() {
            process.paused += since.elapsed();
            if matches!(process.child.try_wait(), Ok(None)) {
                process.signal(Signal::CONT);
            }
        }
    }
}

fn lock(process: &Mutex<Process>) -> MutexGuard<'_, Process> {
    // Each holder leaves the process whole at every step.
    process.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limits: Limits) -> Step {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let work = concat!(env!("CARGO_MANIFEST_DIR"), "/src").into();
        let spec = PlainSpec {
            program: "/bin/sh".into(),
            arguments,
            limits,
            processors: BTreeSet::new(),
            work,
        };
        start(&spec, None).expect("a shell")
    }

    #[test]
    fn output_and_exit_code_come_back() {
        let end = (shell("echo out; echo err >&2; exit 3", Limits::default()).wait)();
        assert_eq!(end.ending, Ending::Exited { code: 3 });
        assert_eq!(end.output, b"out\nerr\n");
    }

    #[test]
    fn output_is_observed_while_it_comes_and_no_more_than_is_kept() {
        let (told, heard) = std::sync::mpsc::channel();
        let observer: Observer = Box::new(move |piece| told.send(piece.to_vec()).expect("heard"));
        let spec = PlainSpec {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), "echo first; exec sleep 60".to_owned()],
            processors: BTreeSet::new(),
            limits: Limits { output: 4, ..Limits::default() },
            work: concat!(env!("CARGO_MANIFEST_DIR"), "/src").into(),
        };
        let step = start(&spec, Some(observer)).expect("a shell");
        assert_eq!(heard.recv().expect("it runs still"), b"firs");
        step.control.kill();
        assert_eq!((step.wait)().output, b"firs");
    }

    #[test]
    fn time_and_output_are_limited() {
        let limits = Limits { wall: Duration::from_millis(100), ..Limits::default() };
        assert_eq!((shell("exec sleep 60", limits).wait)().ending, Ending::TimedOut);

        let limits = Limits { output: 10, ..Limits::default() };
        let end = (shell("echo 0123456789012345", limits).wait)();
        assert_eq!((end.ending, end.output.len()), (Ending::OutputExceeded, 10));
    }

    #[test]
    fn a_work_directory_that_grows_too_large_ends_the_step() {
        let script = "head -c 1000000 /dev/zero >a; exec sleep 10";
        let work = tempfile::tempdir().expect("a directory");
        let limits = Limits { disk: 500_000, ..Limits::default() };
        let spec = PlainSpec {
            program: "/bin/sh".into(),
            arguments: vec!["-c".to_owned(), script.to_owned()],
            processors: BTreeSet::new(),
            limits,
            work: work.path().to_path_buf(),
        };
        let end = (start(&spec, None).expect("a shell").wait)();
        assert_eq!(end.ending, Ending::DiskExceeded);
    }

    #[test]
    fn a_step_can_be_killed() {
        let step = shell("exec sleep 60", Limits::default());
        step.control.pause();
        step.control.resume();
        step.control.kill();
        assert_eq!((step.wait)().ending, Ending::Killed);
    }
}
