//! Programs of the machine's own platform, in the sandbox.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use capability::{Facts, Runtime};
use volunteer_sandbox::{DEFAULT_HOST_UID, Limits, Spec};

use super::cpu;
use super::isolation::{Isolation, STRENGTH};
use super::tools::{self, System};
use super::{JobRuntime, Step, StepOrder};

/// Tools answer for their version within a second; a Java on a slow disk takes longer.
const PROBE_LIMITS: Limits = Limits {
    wall: Duration::from_secs(60),
    memory: 1 << 30,
    disk: 16 << 20,
    output: 256 << 10,
    processes: 256,
};

/// The native runtime.
#[derive(Debug)]
pub struct Native {
    isolation: Arc<Isolation>,
    system: OnceLock<System>,
}

impl Native {
    /// Uses `isolation`.
    pub fn new(isolation: Arc<Isolation>) -> Self {
        Self { isolation, system: OnceLock::new() }
    }
}

impl JobRuntime for Native {
    fn runtime(&self) -> Runtime {
        Runtime::Native
    }

    fn self_test(&self) -> Result<String, String> {
        self.isolation.sandbox().map(|_| STRENGTH.to_owned())
    }

    fn facts(&self) -> Result<Facts, String> {
        let work =
            tempfile::tempdir().map_err(|error| format!("no directory to probe in: {error}"))?;
        let command = ["/bin/sh", "-c", &tools::script()].map(str::to_owned).to_vec();
        let mut spec = Spec::new(command, canonical(work.path())?);
        spec.limits = PROBE_LIMITS;
        let system = System::parse(&self.isolation.ask(&spec)?);
        let mut facts = system.facts().map_err(|error| error.to_string())?;
        cpu::state(&mut facts).map_err(|error| error.to_string())?;
        // A second probe would find the same system.
        let _ = self.system.set(system);
        Ok(facts)
    }

    fn system(&self) -> String {
        self.system.get().map(|system| system.pretty_name().to_owned()).unwrap_or_default()
    }

    fn start(&self, step: &StepOrder<'_>) -> Result<Step, String> {
        let mut spec = Spec::new(step.command.to_vec(), canonical(step.work)?);
        let variables = step.environment.iter();
        spec.env.extend(variables.map(|(name, value)| (name.clone(), value.clone())));
        spec.limits = step.limits;
        spec.host_uid = job_uid(step.slot);
        self.isolation.start(&spec)
    }
}

/// The user that the job in `slot` runs under if the daemon is root's. The one before them all is
/// for probes, of which one runs at a time.
pub(super) fn job_uid(slot: u32) -> u32 {
    DEFAULT_HOST_UID + 1 + slot
}

/// `path` without links and relative parts, as the sandbox needs it.
pub(super) fn canonical(path: &Path) -> Result<std::path::PathBuf, String> {
    path.canonicalize().map_err(|error| format!("cannot find {}: {error}", path.display()))
}
