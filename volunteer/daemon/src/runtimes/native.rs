//! Programs of the machine's own platform, in the sandbox.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use capability::{Fact, Facts, FactsError, Runtime};
use volunteer_sandbox::{DEFAULT_HOST_UID, Spec};

use super::isolation::Isolation;
use super::{JobRuntime, Measured, NO_NETWORK, Slot, Step, StepOrder, cpu};
use crate::live::LiveTail;
use crate::probing::{Probing, Survey};

/// The native runtime.
#[derive(Debug)]
pub struct Native {
    isolation: Arc<Isolation>,
    probing: Arc<Probing>,
    system: OnceLock<String>,
}

impl Native {
    /// Uses `isolation`, and finds out by `probing` what is in there.
    pub fn new(isolation: Arc<Isolation>, probing: Arc<Probing>) -> Self {
        Self { isolation, probing, system: OnceLock::new() }
    }
}

impl JobRuntime for Native {
    fn runtime(&self) -> Runtime {
        Runtime::Native
    }

    fn self_test(&self) -> Result<String, String> {
        self.isolation.strength()
    }

    fn measure(&self) -> Result<Measured, String> {
        let survey = self.probing.survey(&self.isolation)?;
        let layers = self.isolation.layers()?;
        let facts = facts(&survey, &layers).map_err(|error| error.to_string())?;
        // A second probe would find the same system.
        let _ = self.system.set(survey.system().to_owned());
        let Survey { lost, asked, .. } = survey;
        Ok(Measured { facts, lost, asked })
    }

    fn system(&self) -> String {
        self.system.get().cloned().unwrap_or_default()
    }

    fn start(&self, step: &StepOrder<'_>) -> Result<Step, String> {
        let mut spec = Spec::new(step.command.to_vec(), canonical(step.work)?);
        let variables = step.environment.iter();
        spec.env.extend(variables.map(|(name, value)| (name.clone(), value.clone())));
        spec.limits = step.limits;
        spec.processors.clone_from(&step.slot.processors);
        spec.host_uid = job_uid(step.slot);
        self.isolation.start(&spec, step.tail.map(LiveTail::observer))
    }
}

fn facts(survey: &Survey, layers: &[String]) -> Result<Facts, FactsError> {
    let mut facts = survey.facts()?;
    cpu::state(&mut facts)?;
    facts.insert("sandbox.layers", layers.iter().map(String::as_str).collect::<Fact>())?;
    facts.insert("network", NO_NETWORK)?;
    Ok(facts)
}

/// The user that the job in `slot` runs under if the daemon is root's. The one before them all is
/// for probes, of which one runs at a time.
pub fn job_uid(slot: &Slot) -> u32 {
    DEFAULT_HOST_UID + 1 + slot.number
}

/// `path` without links and relative parts, as the sandbox needs it.
pub(super) fn canonical(path: &Path) -> Result<std::path::PathBuf, String> {
    path.canonicalize().map_err(|error| format!("cannot find {}: {error}", path.display()))
}
