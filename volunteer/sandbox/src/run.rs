//! The parent's side: starting a step, listening to it, and ending it.
//!
//! Each step has a thread of its own from which its helper is started and which outlives it: the helper dies with the
//! thread that started it, so that must not be one of a pool.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::cgroups::{Cgroups, Group};
use crate::network::Passed;
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
    /// The helper's file name, without what programs' names end with on some systems.
    pub const NAME: &str = "talkoot-sandbox-helper";

    /// The one that is installed beside this program.
    ///
    /// # Errors
    /// Where it ought to be, if it is not there.
    pub fn installed() -> io::Result<Self> {
        let name = format!("{}{}", Self::NAME, std::env::consts::EXE_SUFFIX);
        let exe = std::env::current_exe()?.with_file_name(name);
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
    groups: Option<Cgroups>,
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
    /// No control group could be made for it.
    #[error("cannot make a control group")]
    Group(#[source] io::Error),
    /// This system has no sandbox.
    #[error("there is no sandbox on this system")]
    Unavailable,
}

impl Sandbox {
    /// A sandbox whose steps run under `helper`, and are paused by signals.
    pub fn new(helper: Helper) -> Self {
        Self { helper, groups: None }
    }

    /// The same, with a control group for each step, by which it is paused.
    pub fn in_groups(self, groups: Cgroups) -> Self {
        Self { groups: Some(groups), ..self }
    }

    /// What its helper is.
    pub fn helper(&self) -> &Helper {
        &self.helper
    }

    /// Below what each step has a control group, if it has.
    pub fn groups(&self) -> Option<&Cgroups> {
        self.groups.as_ref()
    }

    /// Starts `spec`, and answers once its helper has been started. Live output goes to `observer`.
    ///
    /// Blocks for the milliseconds that starting a process takes. Safe to call from any thread.
    pub fn start(&self, spec: &Spec, observer: Option<Observer>) -> Result<Running, StartError> {
        spec.validate()?;
        imp::start(self, spec, observer)
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
    /// Init and the job are in it, if there are control groups.
    group: Option<Group>,
    /// Whether it stands still by its group.
    frozen: bool,
    paused_since: Option<Instant>,
    paused: Duration,
    killed: bool,
    /// What its proxy has told last.
    passed: Passed,
}

impl Handle {
    /// Ends the step, with everything it has started.
    pub fn kill(&self) {
        let mut state = self.lock();
        state.killed = true;
        state.end();
    }

    /// Stops all its processes where they are. The clock of its wall time stands still meanwhile.
    pub fn pause(&self) {
        let mut state = self.lock();
        if state.paused_since.is_none() && (state.freeze() || state.ask(&[imp::PAUSE])) {
            state.paused_since = Some(Instant::now());
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let mut state = self.lock();
        if let Some(since) = state.paused_since.take() {
            let stood_still = since.elapsed();
            state.paused += stood_still;
            if state.frozen {
                state.thaw(stood_still);
            } else {
                state.ask(&[imp::RESUME]);
            }
        }
    }

    /// What it has used of the network by now, as far as that was told: every two seconds.
    pub fn passed(&self) -> Passed {
        self.lock().passed
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each holder leaves the state whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Answers whether init will hear.
    fn ask(&mut self, request: &[u8]) -> bool {
        use io::Write;
        self.control.as_mut().is_some_and(|control| control.write_all(request).is_ok())
    }

    /// Answers whether init and the job stand still, or will in some milliseconds. Nobody in there knows.
    fn freeze(&mut self) -> bool {
        let group = self.group.as_ref().filter(|_| self.control.is_some());
        self.frozen = group.is_some_and(|group| group.freeze().is_ok());
        self.frozen
    }

    /// Init, which did not see the time go by, must hear of it before it looks at the clock again.
    fn thaw(&mut self, stood_still: Duration) {
        let milliseconds = u64::try_from(stood_still.as_millis()).unwrap_or(u64::MAX);
        let told = [&[imp::FROZEN][..], &milliseconds.to_be_bytes()].concat();
        self.ask(&told);
        self.let_go();
    }

    fn let_go(&mut self) {
        if std::mem::take(&mut self.frozen)
            && let Some(group) = &self.group
        {
            // Fails only if there is no such group any more. Should it not, the end kills those who still stand.
            let _ = group.thaw();
        }
    }

    /// Has init end the step, which it cannot while it is frozen.
    fn end(&mut self) {
        self.control = None;
        self.let_go();
    }

    #[cfg(target_os = "linux")]
    fn paused(&self) -> Duration {
        self.paused + self.paused_since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

#[cfg(target_os = "linux")]
#[path = "run_linux.rs"]
mod imp;

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Observer, Running, Sandbox, Spec, StartError};

    pub const FROZEN: u8 = b'f';
    pub const PAUSE: u8 = b'p';
    pub const RESUME: u8 = b'r';

    pub fn start(_: &Sandbox, _: &Spec, _: Option<Observer>) -> Result<Running, StartError> {
        Err(StartError::Unavailable)
    }
}
