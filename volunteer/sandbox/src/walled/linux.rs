//! On Linux: a plain process, which limits itself. The wall is the sandbox, and this what is left without it.

use std::collections::BTreeSet;
use std::io::{self, PipeWriter};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::{Usage, WalledSpec};
use crate::affinity::{processors, stay_on};
use crate::outcome::Ending;

/// What is around the program.
pub const LAYERS: &[&str] = &["process"];

/// The program.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `spec`, which writes to `output`. From this very thread, with which it may be made to end.
    pub fn spawn(spec: &WalledSpec, output: PipeWriter) -> io::Result<Self> {
        let mut command = Command::new(&spec.program);
        command
            .args(&spec.arguments)
            .current_dir(&spec.work)
            .env_clear()
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        Ok(Self { child: spawn_on(&mut command, &spec.processors)? })
    }

    /// What it has used; nothing any more after its end.
    pub fn usage(&self) -> Option<Usage> {
        usage(self.child.id())
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<Ending>> {
        Ok(self.child.try_wait()?.map(ending))
    }

    /// Ends it without waiting for that.
    pub fn kill(&mut self) {
        // Fails only if it is over already.
        let _ = self.child.kill();
    }

    /// Ends it, and waits for that.
    pub fn end(&mut self) {
        self.kill();
        let _ = self.child.wait();
    }

    /// Stops it. Answers whether it stands still, or will at once.
    pub fn stop(&mut self) -> bool {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) -> bool {
        // Not waited for: the id is still its own.
        let runs = matches!(self.child.try_wait(), Ok(None));
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        runs && pid.is_some_and(|pid| kill_process(pid, signal).is_ok())
    }
}

/// Starts `command` on `processors`, which it inherits, or where this thread is if there are none.
fn spawn_on(command: &mut Command, own: &BTreeSet<u32>) -> io::Result<Child> {
    if own.is_empty() {
        return command.spawn();
    }
    let before = processors()?;
    stay_on(own)?;
    let child = command.spawn();
    // They were this thread's a moment ago; should they be gone now, it goes on with what it has.
    let _ = stay_on(&before);
    child
}

/// How Linux ends a process that makes a file larger than it may.
const FILE_TOO_LARGE: i32 = Signal::XFSZ.as_raw();

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited { code },
        (None, Some(FILE_TOO_LARGE)) => Ending::DiskExceeded,
        (None, signal) => Ending::Signalled { signal: signal.unwrap_or_default() },
    }
}

/// Processor time and peak memory of a process that has not been waited for.
fn usage(pid: u32) -> Option<Usage> {
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
    Some(Usage { cpu, memory_peak: kib << 10 })
}
