//! The sandbox, tried once for all runtimes that use it.

use std::sync::OnceLock;

use volunteer_sandbox::{Ending, Handle, Helper, Observer, Outcome, Running, Sandbox, Spec};

use super::{Control, Step, StepEnd};

/// What keeps a sandboxed job in, as the ad says it.
pub const STRENGTH: &str = "namespaces+landlock+seccomp";

/// The same as words, so that jobs can require one.
pub const LAYERS: [&str; 3] = ["namespaces", "landlock", "seccomp"];

/// The sandbox, if this machine has one.
#[derive(Debug)]
pub struct Isolation {
    tested: OnceLock<Result<Sandbox, String>>,
}

impl Isolation {
    /// Not tried yet.
    pub fn new() -> Self {
        Self { tested: OnceLock::new() }
    }

    /// The sandbox, after its self-test. The first call blocks for up to a minute.
    pub fn sandbox(&self) -> Result<&Sandbox, String> {
        self.tested.get_or_init(test).as_ref().map_err(Clone::clone)
    }

    /// Starts `spec` in it; `observer` is told what it writes.
    pub fn start(&self, spec: &Spec, observer: Option<Observer>) -> Result<Step, String> {
        let sandbox = self.sandbox()?;
        let running = sandbox.start(spec, observer).map_err(|error| mesh_shell::chain(&error))?;
        Ok(Step {
            control: Box::new(Sandboxed(running.handle())),
            wait: Box::new(move || wait(running)),
        })
    }

    /// Runs `spec` to its end; gives that and its output.
    pub fn run(&self, spec: &Spec) -> Result<(Ending, Vec<u8>), String> {
        let Step { wait, .. } = self.start(spec, None)?;
        let StepEnd { ending, output, .. } = wait();
        Ok((ending, output))
    }
}

fn test() -> Result<Sandbox, String> {
    let helper = Helper::installed().map_err(|error| format!("no sandbox: {error}"))?;
    volunteer_sandbox::self_test(&helper).map_err(|unavailable| unavailable.to_string())?;
    Ok(Sandbox::new(helper))
}

fn wait(running: Running) -> StepEnd {
    let Outcome { ending, wall, cpu, memory_peak, output, .. } = running.wait();
    StepEnd { ending, note: String::new(), wall, cpu, memory: memory_peak, output }
}

struct Sandboxed(Handle);

impl Control for Sandboxed {
    fn kill(&self) {
        self.0.kill();
    }

    fn pause(&self) {
        self.0.pause();
    }

    fn resume(&self) {
        self.0.resume();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_and_jobs_are_told_the_same_layers() {
        assert_eq!(STRENGTH, LAYERS.join("+"));
    }
}
