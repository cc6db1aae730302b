//! The parent's side: starting a step, listening to it, and ending it.
//!
//! Each step has a thread of its own from which its helper is started and which outlives it: the helper dies with the
//! thread that started it, so that must not be one of a pool.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::outcome::{Ending, Outcome};
use crate::spec::{Spec, SpecError};

/// The program that becomes the helper: it must call [`helper::main`](crate::helper::main) before anything else, and
/// must be executable by the job's user for [`self_test`](crate::self_test()).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Helper {
    /// Path of the program.
    pub exe: PathBuf,
}

impl Helper {
    /// The helper's file name.
    pub const NAME: &str = "talkoot-sandbox-helper";

    /// The one that is installed beside this program.
    ///
    /// # Errors
    /// Where it ought to be, if it is not there.
    pub fn installed() -> io::Result<Self> {
        let exe = std::env::current_exe()?.with_file_name(Self::NAME);
        if exe.is_file() {
            return Ok(Self { exe });
        }
        let missing =
            format!("{} is not there; it is installed beside this program", exe.display());
        Err(io::Error::new(io::ErrorKind::NotFound, missing))
    }
}

/// Receives output while the step runs: pieces of any length, in order, from the step's thread. Together they are what
/// [`Outcome::output`] holds in the end.
pub type Observer = Box<dyn FnMut(&[u8]) + Send>;

/// Starts steps.
#[derive(Debug, Clone)]
pub struct Sandbox {
    helper: Helper,
}

/// Why a step could not even be attempted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The specification is not sound.
    #[error("unsound specification of a step")]
    Spec(#[from] SpecError),
    /// The specification holds a path that is not UTF-8, or is too long.
    #[error("specification that cannot be handed over: {reason}")]
    Encode {
        /// What is wrong with it.
        reason: String,
    },
    /// No thread or process could be started.
    #[error("cannot start {}", program.display())]
    Spawn {
        /// The helper's path.
        program: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// This system has no sandbox.
    #[error("there is no sandbox on this system")]
    Unavailable,
}

impl Sandbox {
    /// A sandbox whose steps run under `helper`.
    pub fn new(helper: Helper) -> Self {
        Self { helper }
    }

    /// Starts `spec`, and answers once its helper has been started. Live output goes to `observer`.
    ///
    /// Blocks for the milliseconds that starting a process takes. Safe to call from any thread.
    pub fn start(&self, spec: &Spec, observer: Option<Observer>) -> Result<Running, StartError> {
        spec.validate()?;
        imp::start(&self.helper, spec, observer)
    }

    /// Starts `spec` and waits for its end.
    pub fn run(&self, spec: &Spec) -> Result<Outcome, StartError> {
        Ok(self.start(spec, None)?.wait())
    }
}

/// A step in progress. Dropping it ends the step.
#[derive(Debug)]
pub struct Running {
    handle: Handle,
    thread: Option<JoinHandle<Outcome>>,
}

impl Running {
    /// Something to end or pause it with, from anywhere.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Waits for the end. Every process of the step is gone when this returns.
    pub fn wait(mut self) -> Outcome {
        let thread = self.thread.take().expect("the thread is taken here or when dropped");
        thread.join().unwrap_or_else(|_| Outcome {
            ending: Ending::SandboxFailed { reason: "the observer of the output panicked".into() },
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            memory_peak: 0,
            output: Vec::new(),
            output_truncated: true,
            network: None,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.thread.is_some() {
            self.handle.kill();
        }
    }
}

/// Ends, pauses and resumes a step. Without effect once the step is over.
#[derive(Debug, Clone)]
pub struct Handle {
    state: Arc<Mutex<State>>,
}

/// What the step's thread and its handles share.
#[derive(Debug)]
struct State {
    /// What init listens to. Closing it ends the step.
    control: Option<std::process::ChildStdin>,
    paused_since: Option<Instant>,
    paused: Duration,
    killed: bool,
}

impl Handle {
    /// Ends the step, with everything it has started.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.killed = true;
        state.control = None;
    }

    /// Stops all its processes where they are. The clock of its wall time stands still meanwhile.
    pub fn pause(&self) {
        let mut state = self.lock();
        if state.paused_since.is_none() && state.ask(imp::PAUSE) {
            state.paused_since = Some(Instant::now());
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let mut state = self.lock();
        if let Some(since) = state.paused_since.take() {
            state.paused += since.elapsed();
            state.ask(imp::RESUME);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves the state whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Answers whether init will hear.
    fn ask(&mut self, request: u8) -> bool {
        use io::Write;
        self.control.as_mut().is_some_and(|control| control.write_all(&[request]).is_ok())
    }

    fn paused(&self) -> Duration {
        self.paused + self.paused_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(target_os = "linux")]
#[path = "run_linux.rs"]
mod imp;

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Helper, Observer, Running, Spec, StartError};

    pub const PAUSE: u8 = b'p';
    pub const RESUME: u8 = b'r';

    pub fn start(_: &Helper, _: &Spec, _: Option<Observer>) -> Result<Running, StartError> {
        Err(StartError::Unavailable)
    }
}
