//! The thread of a step.

use std::borrow::Cow;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cgroups::Group;
pub(super) use crate::helper::{FROZEN, PAUSE, RESUME};
use crate::network::{NetworkUse, Passed};
use crate::outcome::{Ending, Outcome, Report};
use crate::spec::{MAX_SPEC_BYTES, Order, Spec};

use super::{Handle, Helper, Observer, Running, Sandbox, StartError, State};

/// Starts the step on a thread of its own.
pub fn start(
    sandbox: &Sandbox,
    spec: &Spec,
    observer: Option<Observer>,
) -> Result<Running, StartError> {
    let group = sandbox.groups.as_ref().map(|groups| groups.begin(&spec.limits));
    let group = group.transpose().map_err(StartError::Group)?;
    let message = encode(spec, group.as_ref())?;
    let helper = &sandbox.helper;
    let cannot = |source| StartError::Spawn { program: helper.exe.clone(), source };
    let (started, starts) = mpsc::channel();
    let (own_helper, limits) = (helper.clone(), spec.limits);
    let body = move || {
        let mut child = match spawn(&own_helper) {
            Ok(child) => child,
            Err(failure) => {
                let _ = started.send(Err(failure));
                return failed("the helper could not be started".to_owned());
            }
        };
        let control = child.stdin.take();
        let state = State {
            control,
            group,
            frozen: false,
            paused_since: None,
            paused: Duration::ZERO,
            killed: false,
            passed: Passed::default(),
        };
        let handle = Handle { state: Arc::new(Mutex::new(state)) };
        hand_over(&handle, &message);
        // The caller waits for this.
        let _ = started.send(Ok(handle.clone()));
        Listener::new(child, handle, limits, observer).listen()
    };
    let thread = thread::Builder::new().name("sandbox".to_owned()).spawn(body).map_err(cannot)?;
    let handle =
        starts.recv().unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into())).map_err(cannot)?;
    Ok(Running { handle, thread: Some(thread) })
}

fn encode(spec: &Spec, group: Option<&Group>) -> Result<Vec<u8>, StartError> {
    let refused = |reason: String| StartError::Encode { reason };
    let group = group.map(|group| group.path().to_owned());
    let order = Order { spec: Cow::Borrowed(spec), group };
    let json = serde_json::to_vec(&order).map_err(|error| refused(error.to_string()))?;
    if json.len() > MAX_SPEC_BYTES {
        return Err(refused(format!("{} bytes long", json.len())));
    }
    let length = u32::try_from(json.len()).expect("its maximum fits into 32 bits");
    Ok([&length.to_be_bytes()[..], &json].concat())
}

fn spawn(helper: &Helper) -> io::Result<Child> {
    Command::new(&helper.exe)
        .env_clear()
        // For the proxy: a name stands for itself alone, and the C library's resolver gives up within seconds.
        .envs([("LOCALDOMAIN", "."), ("RES_OPTIONS", "timeout:3 attempts:2")])
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
}

/// Sends the specification. A helper that does not take it has died, which its report tells better than this could.
fn hand_over(handle: &Handle, message: &[u8]) {
    let mut state = handle.lock();
    let sent = state.control.as_mut().map(|control| control.write_all(message));
    if !matches!(sent, Some(Ok(()))) {
        state.control = None;
    }
}

/// Collects what a helper and its job say until both are silent.
struct Listener {
    child: Child,
    handle: Handle,
    observer: Option<Observer>,
    began: Instant,
    wall: Duration,
    /// When the step was told to end, if it was.
    ended: Option<Instant>,
    most_memory: u64,
    most_output: usize,
    output: Vec<u8>,
    truncated: bool,
    report: Vec<u8>,
}

/// Init answers within milliseconds. One that does not within this time is killed itself, and all else with it.
const GRACE: Duration = Duration::from_secs(2);

/// A report is a line; a panic's message a few.
const MAX_REPORT_BYTES: usize = 64 * 1024;

/// Between two looks at the clock and at what the handles want.
const INTERVAL: Duration = Duration::from_millis(100);

impl Listener {
    fn new(
        child: Child,
        handle: Handle,
        limits: crate::Limits,
        observer: Option<Observer>,
    ) -> Self {
        Self {
            child,
            handle,
            observer,
            began: Instant::now(),
            wall: limits.wall,
            ended: None,
            most_memory: limits.memory,
            most_output: usize::try_from(limits.output).unwrap_or(usize::MAX),
            output: Vec::new(),
            truncated: false,
            report: Vec::new(),
        }
    }

    fn listen(mut self) -> Outcome {
        let mut stdout = self.child.stdout.take();
        let mut stderr = self.child.stderr.take();
        while stdout.is_some() || stderr.is_some() {
            let [hear_stdout, hear_stderr] = wait_for(stdout.as_ref(), stderr.as_ref());
            if hear_stdout && !hear(stdout.as_mut(), |piece| self.take_output(piece)) {
                stdout = None;
            }
            if hear_stderr && !hear(stderr.as_mut(), |piece| self.take_report(piece)) {
                stderr = None;
            }
            self.enforce();
        }
        self.finish()
    }

    fn take_output(&mut self, piece: &[u8]) {
        let room = self.most_output - self.output.len();
        let kept = &piece[..piece.len().min(room)];
        self.output.extend_from_slice(kept);
        if let Some(observer) = self.observer.as_mut().filter(|_| !kept.is_empty()) {
            observer(kept);
        }
        if kept.len() < piece.len() && !self.truncated {
            self.truncated = true;
            self.handle.lock().end();
        }
    }

    fn take_report(&mut self, piece: &[u8]) {
        let room = MAX_REPORT_BYTES - self.report.len();
        self.report.extend_from_slice(&piece[..piece.len().min(room)]);
        self.take_passed();
    }

    /// Takes out what the proxy tells while it works: of days it would be more than a report may have.
    fn take_passed(&mut self) {
        while let Some(end) = self.report.iter().position(|byte| *byte == b'\n')
            && let Ok(passed) = serde_json::from_slice(&self.report[..end])
        {
            self.handle.lock().passed = passed;
            self.report.drain(..=end);
        }
    }

    /// Kills the helper itself when init fails to end the step in time.
    fn enforce(&mut self) {
        let (told_to_end, paused) = {
            let state = self.handle.lock();
            (state.control.is_none(), state.paused())
        };
        if told_to_end {
            self.ended.get_or_insert_with(Instant::now);
        }
        let ignored = self.ended.is_some_and(|ended| ended.elapsed() > GRACE);
        let overdue = self.began.elapsed().saturating_sub(paused) > self.wall + GRACE;
        if ignored || overdue {
            // Fails only if it has ended already.
            let _ = self.child.kill();
        }
    }

    fn finish(mut self) -> Outcome {
        // Both its streams are closed: it is ending, if it has not ended.
        let _ = self.child.wait();
        let (killed, paused, group, passed) = {
            let mut state = self.handle.lock();
            state.control = None;
            (state.killed, state.paused(), state.group.take(), state.passed)
        };
        let wall = self.began.elapsed().saturating_sub(paused);
        let mut report = self.parse_report(wall, killed);
        if let Some(group) = group.filter(Group::ran_out_of_memory) {
            // The kernel has killed all of it, init with its report.
            report.ending = Ending::MemoryExceeded;
            report.wall = report.wall.max(wall);
            report.cpu = report.cpu.max(group.cpu());
            report.memory_peak = report.memory_peak.max(self.most_memory);
        }
        let network = self.lines().find_map(|line| serde_json::from_slice::<NetworkUse>(line).ok());
        // A proxy that was killed says nothing at its end.
        let Passed { down_so_far: down, up_so_far: up } = passed;
        let so_far = || NetworkUse { down, up, ..NetworkUse::default() };
        let network = network.or_else(|| (passed != Passed::default()).then(so_far));
        let ending = match report.ending {
            failure @ Ending::SandboxFailed { .. } => failure,
            _ if self.truncated => Ending::OutputExceeded,
            ending => ending,
        };
        Outcome {
            ending,
            wall: report.wall,
            cpu: report.cpu,
            memory_peak: report.memory_peak,
            output: self.output,
            output_truncated: self.truncated,
            network,
        }
    }

    /// What was said on standard error: a report of init or the helper, one of the proxy, words of who failed.
    fn lines(&self) -> impl Iterator<Item = &[u8]> {
        self.report.split(|byte| *byte == b'\n')
    }

    /// What init said; or, if it said nothing, what must have happened to it.
    fn parse_report(&self, wall: Duration, killed: bool) -> Report {
        if let Some(report) = self.lines().find_map(|line| serde_json::from_slice(line).ok()) {
            return report;
        }
        let ending = if killed {
            Ending::Killed
        } else if wall > self.wall {
            Ending::TimedOut
        } else {
            let words = String::from_utf8_lossy(&self.report);
            Ending::SandboxFailed { reason: format!("the helper died: {}", words.trim()) }
        };
        Report { ending, wall, cpu: Duration::ZERO, memory_peak: 0 }
    }
}

/// Waits until one of the streams can be read, or a look at the clock is due.
fn wait_for(stdout: Option<&impl AsFd>, stderr: Option<&impl AsFd>) -> [bool; 2] {
    let streams = [stdout.map(AsFd::as_fd), stderr.map(AsFd::as_fd)];
    let mut watched: Vec<_> =
        streams.iter().flatten().map(|stream| PollFd::new(stream, PollFlags::IN)).collect();
    let timeout = Timespec::try_from(INTERVAL).expect("a tenth of a second fits");
    // Interrupted by a signal: nothing is ready, and the next round follows.
    if poll(&mut watched, Some(&timeout)).is_err() {
        return [false; 2];
    }
    let mut ready = watched.iter().map(|one| !one.revents().is_empty());
    streams.map(|stream| stream.is_some() && ready.next() == Some(true))
}

/// Passes what can be read to `take`. Answers whether there may be more.
fn hear(stream: Option<&mut impl Read>, take: impl FnOnce(&[u8])) -> bool {
    let mut piece = [0; 64 * 1024];
    match stream.map(|stream| stream.read(&mut piece)) {
        Some(Ok(length)) if length > 0 => {
            take(&piece[..length]);
            true
        }
        Some(Err(error)) => error.kind() == io::ErrorKind::Interrupted,
        _ => false,
    }
}

fn failed(reason: String) -> Outcome {
    Outcome {
        ending: Ending::SandboxFailed { reason },
        wall: Duration::ZERO,
        cpu: Duration::ZERO,
        memory_peak: 0,
        output: Vec::new(),
        output_truncated: false,
        network: None,
    }
}
