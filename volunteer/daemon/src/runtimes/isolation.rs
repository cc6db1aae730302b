//! The sandbox, tried once for all runtimes that use it.

use std::sync::OnceLock;

use volunteer_sandbox::{
    Cgroups, Ending, Handle, Helper, Observer, Outcome, Passed, Sandbox, Spec, Wall, WalledHandle,
    WalledSpec, network_self_test, self_test, wall_self_test,
};

use super::{Control, Step, StepEnd};

/// What keeps a job in wherever there is a sandbox, as words that jobs can require.
const LAYERS: [&str; 3] = ["namespaces", "landlock", "seccomp"];

/// The sandbox, if this machine has one.
#[derive(Debug)]
pub struct Isolation {
    tested: OnceLock<Result<Sandbox, String>>,
    proxy: OnceLock<Result<(), String>>,
    wall: OnceLock<Result<Wall, String>>,
}

impl Isolation {
    /// Not tried yet.
    pub fn new() -> Self {
        Self { tested: OnceLock::new(), proxy: OnceLock::new(), wall: OnceLock::new() }
    }

    /// The sandbox, after its self-test. The first call blocks for up to a minute.
    pub fn sandbox(&self) -> Result<&Sandbox, String> {
        self.tested.get_or_init(test).as_ref().map_err(Clone::clone)
    }

    /// What keeps a job in, if there is a sandbox: the fact `sandbox.layers`.
    pub fn layers(&self) -> Result<Vec<String>, String> {
        let groups = self.sandbox()?.groups().map(Cgroups::layers);
        Ok(LAYERS.map(str::to_owned).into_iter().chain(groups.into_iter().flatten()).collect())
    }

    /// The same as the ad says it.
    pub fn strength(&self) -> Result<String, String> {
        Ok(self.layers()?.join("+"))
    }

    /// Whether the proxy of a permitted network passes its self-test. The first call blocks as that of
    /// [`sandbox`](Self::sandbox) does.
    pub fn proxy(&self) -> Result<(), String> {
        let sandbox = self.sandbox()?;
        let test = || network_self_test(sandbox).map_err(|unavailable| unavailable.reason);
        self.proxy.get_or_init(test).clone()
    }

    /// What is around a trusted program where there is no sandbox, after its self-test. The first call blocks as that of
    /// [`sandbox`](Self::sandbox) does.
    ///
    /// # Errors
    /// Why it does not hold what it promises on this platform, for people.
    pub fn wall(&self) -> Result<&Wall, String> {
        let test = || wall_self_test(Helper::installed()).map_err(|it| it.reason);
        self.wall.get_or_init(test).as_ref().map_err(Clone::clone)
    }

    /// Starts the trusted program of `spec` within that; `observer` is told what it writes.
    pub fn start_walled(
        &self,
        spec: &WalledSpec,
        observer: Option<Observer>,
    ) -> Result<Step, String> {
        self.wall()?;
        let walled = spec
            .start(observer)
            .map_err(|error| format!("cannot start {}: {error}", spec.program.display()))?;
        Ok(Step {
            control: Box::new(Reined(walled.handle())),
            wait: Box::new(move || end(walled.wait())),
        })
    }

    /// Starts `spec` in it; `observer` is told what it writes.
    pub fn start(&self, spec: &Spec, observer: Option<Observer>) -> Result<Step, String> {
        let sandbox = self.sandbox()?;
        let running = sandbox.start(spec, observer).map_err(|error| mesh_shell::chain(&error))?;
        Ok(Step {
            control: Box::new(Sandboxed(running.handle())),
            wait: Box::new(move || end(running.wait())),
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
    let sandbox = Sandbox::new(helper);
    match Cgroups::find() {
        Ok(groups) => {
            let grouped = sandbox.clone().in_groups(groups);
            match self_test(&grouped) {
                Ok(_) => return Ok(grouped),
                Err(reason) => tracing::warn!(%reason, "control groups are of no use here"),
            }
        }
        Err(reason) => tracing::debug!(%reason, "jobs have no control groups"),
    }
    self_test(&sandbox).map_err(|unavailable| unavailable.to_string())?;
    Ok(sandbox)
}

fn end(outcome: Outcome) -> StepEnd {
    let Outcome { ending, wall, cpu, memory_peak, output, network, .. } = outcome;
    let (note, memory) = (String::new(), memory_peak);
    StepEnd { ending, note, wall, cpu, memory, fuel: None, output, network }
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

    fn passed(&self) -> Passed {
        self.0.passed()
    }
}

struct Reined(WalledHandle);

impl Control for Reined {
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
