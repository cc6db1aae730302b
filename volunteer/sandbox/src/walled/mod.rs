//! A second wall around a trusted program that keeps its guest in by itself.
//!
//! For our own wasm runner where the sandbox for native jobs is not to be had: what it runs is a stranger's, it is
//! not. So what is here need not stop a program that was made to get out; it has to hold for the case that a guest has
//! broken the engine, and to end, to pause and to limit the process in any case.
//!
//! Each platform has one module with what it has for that, all with the same functions: Seatbelt, resource limits and
//! a process group on macOS; a job object and a token of low integrity on Windows; on Linux, where the sandbox is
//! the wall and this is what is left without it, nothing but the process, which limits itself. The **watch** over
//! time, memory, disk and output is the same everywhere, and is made of what the platform tells.
//!
//! What no machine has run yet says so: that is all of `macos` and `windows`.

mod watch;

#[cfg(any(target_os = "macos", test))]
mod seatbelt;

#[cfg(any(not(target_os = "linux"), test))]
pub(crate) mod attempts;
mod self_test;

#[cfg(target_os = "linux")]
#[path = "linux.rs"]
mod platform;
#[cfg(target_os = "macos")]
#[path = "macos.rs"]
mod platform;
#[cfg(windows)]
#[path = "windows/mod.rs"]
mod platform;

#[cfg(any(windows, test))]
mod job_object;

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::outcome::Outcome;
use crate::run::Observer;
use crate::spec::Limits;

use self::platform::Process;
use self::watch::Watch;

pub use self::self_test::{Wall, wall_self_test};

/// A trusted program to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalledSpec {
    /// The program. On macOS its standard input ends when its parent does, and it has to end then; elsewhere the wall
    /// or the program sees to that otherwise, and there is nothing to read.
    pub program: PathBuf,
    /// Its arguments. It gets no variable of the environment but what the system's own libraries need.
    pub arguments: Vec<String>,
    /// Files beside itself that it reads, as absolute paths.
    pub reads: Vec<PathBuf>,
    /// The directory that it starts in, which alone it may write to and whose size is limited; an absolute path.
    pub work: PathBuf,
    /// Of these, `processes` is not looked at: it may start none where the platform can see to that.
    pub limits: Limits,
    /// The processors that it may use, if any of them is left and the platform can tell them apart; all that the
    /// daemon may if there are none here.
    pub processors: BTreeSet<u32>,
}

impl WalledSpec {
    /// Starts it; `observer` is told what it writes, and dropping what this answers ends it. Blocks for the
    /// milliseconds that starting a process takes.
    ///
    /// # Errors
    /// What the system says, above all if a part of the wall is not to be had: nothing runs without.
    pub fn start(&self, observer: Option<Observer>) -> io::Result<Walled> {
        let (reader, writer) = io::pipe()?;
        let process = Process::spawn(self, writer)?;
        let state = State { process, killed: false, paused_since: None, paused: Duration::ZERO };
        let handle = WalledHandle { state: Arc::new(Mutex::new(state)) };
        Ok(Walled { watch: Watch::new(handle, reader, self, observer) })
    }
}

/// A walled program that runs. Dropping it ends the program.
pub struct Walled {
    watch: Watch,
}

impl Walled {
    /// Something to end or pause it with, from anywhere.
    pub fn handle(&self) -> WalledHandle {
        self.watch.handle()
    }

    /// Watches over it until its end, and answers that. May be called on another thread than the start.
    pub fn wait(self) -> Outcome {
        self.watch.wait()
    }
}

/// Ends, pauses and resumes a walled program. Without effect once that is over.
#[derive(Clone)]
pub struct WalledHandle {
    state: Arc<Mutex<State>>,
}

struct State {
    process: Process,
    killed: bool,
    paused_since: Option<Instant>,
    paused: Duration,
}

/// What a program has used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Usage {
    /// Processor time, as far as it is known yet.
    cpu: Duration,
    /// The most memory that it had so far, in bytes.
    memory_peak: u64,
}

impl WalledHandle {
    /// Ends it.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.killed = true;
        // Reaped by whoever waits.
        state.process.kill();
    }

    /// Stops it where it is. The clock of its wall time stands still meanwhile.
    pub fn pause(&self) {
        let mut state = self.lock();
        if state.paused_since.is_none() && state.process.stop() {
            state.paused_since = Some(Instant::now());
        }
    }

    /// Lets it go on.
    pub fn resume(&self) {
        let mut state = self.lock();
        if let Some(since) = state.paused_since.take() {
            state.paused += since.elapsed();
            state.process.go_on();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves the state whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn paused(&self) -> Duration {
        self.paused + self.paused_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}
