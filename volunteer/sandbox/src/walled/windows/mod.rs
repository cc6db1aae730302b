//! On Windows: a job object and a token of low integrity.
//!
//! The process is born into its job object, which is closed when its last handle is, the daemon's; then the system ends
//! all that is in it. Its token has no right to write to what is not labelled low, as its work directory is. **It
//! can read what its user can, and use the network**: from that the engine alone keeps its guest.
//!
//! Written from Microsoft's documentation of job objects, tokens, mandatory integrity and process creation. **No machine
//! has run it yet.**

mod birth;
mod job;
mod label;
mod threads;
mod token;

use std::io::{self, PipeWriter};
use std::os::windows::io::{AsRawHandle, OwnedHandle};

use windows_sys::Win32::Foundation::{WAIT_FAILED, WAIT_OBJECT_0};
use windows_sys::Win32::System::Threading::{GetExitCodeProcess, INFINITE, WaitForSingleObject};

use self::job::Job;
use self::threads::Stopped;
use super::job_object::{JobLimits, ending};
use super::{Usage, WalledSpec};
use crate::outcome::Ending;

/// What is around the program.
pub const LAYERS: &[&str] = &["job-object", "low-integrity", "process"];

/// The program, alone in its job object.
pub struct Process {
    job: Job,
    process: OwnedHandle,
    id: u32,
    stopped: Option<Stopped>,
}

impl Process {
    /// Starts `spec`, which writes to `output`.
    pub fn spawn(spec: &WalledSpec, output: PipeWriter) -> io::Result<Self> {
        let job = Job::new(JobLimits::of(&spec.limits)).map_err(cannot("make a job object"))?;
        let token = token::of_low_integrity().map_err(cannot("make a token of low integrity"))?;
        label::as_low(&spec.work).map_err(cannot("label the work directory as low"))?;
        let born = birth::start(spec, &token, &job, output.into())
            .map_err(cannot("start a process in its job object"))?;
        Ok(Self { job, process: born.process, id: born.id, stopped: None })
    }

    /// What it has used.
    pub fn usage(&self) -> Option<Usage> {
        self.job.usage().ok()
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<Ending>> {
        if !self.wait(0)? {
            return Ok(None);
        }
        let mut code = 0;
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the handle is open, and the number outlives the call.
        let answer = unsafe { GetExitCodeProcess(self.process.as_raw_handle(), &raw mut code) };
        succeeded(answer)?;
        Ok(Some(ending(code)))
    }

    /// Ends it without waiting for that.
    pub fn kill(&mut self) {
        self.job.terminate();
    }

    /// Ends it, and waits for that.
    pub fn end(&mut self) {
        self.kill();
        // Fails only if it is over.
        let _ = self.wait(INFINITE);
    }

    /// Stops it. Answers whether it stands still.
    pub fn stop(&mut self) -> bool {
        self.stopped = Stopped::all_of(self.id).ok();
        self.stopped.is_some()
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.stopped = None;
    }

    /// Whether it has ended within `milliseconds`.
    fn wait(&self, milliseconds: u32) -> io::Result<bool> {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: the handle is open.
        let answer = unsafe { WaitForSingleObject(self.process.as_raw_handle(), milliseconds) };
        match answer {
            WAIT_FAILED => Err(io::Error::last_os_error()),
            answer => Ok(answer == WAIT_OBJECT_0),
        }
    }
}

fn cannot(what: &str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {what}: {error}"))
}

/// What a function of the system means that answers zero when it fails.
fn succeeded(answer: i32) -> io::Result<()> {
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
