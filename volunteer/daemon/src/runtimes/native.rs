//! Programs of the machine's own platform, in the sandbox.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use capability::{Fact, Facts, FactsError, Runtime};
use volunteer_sandbox::{DEFAULT_HOST_UID, Spec};

use super::isolation::Isolation;
use super::network::{self, JobNetwork, NO_NETWORK};
use super::{JobRuntime, Measured, Slot, Step, StepOrder, cpu};
use crate::live::LiveTail;
use crate::probing::{Lost, Probing, Survey};

/// The native runtime.
#[derive(Debug)]
pub struct Native {
    isolation: Arc<Isolation>,
    probing: Arc<Probing>,
    network: JobNetwork,
    system: OnceLock<String>,
}

impl Native {
    /// Uses `isolation`, finds out by `probing` what is in there, and lets jobs reach `network`.
    pub fn new(isolation: Arc<Isolation>, probing: Arc<Probing>, network: JobNetwork) -> Self {
        Self { isolation, probing, network, system: OnceLock::new() }
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
        let mut facts = facts(&survey, &layers).map_err(|error| error.to_string())?;
        let mut lost = self.state_network(&mut facts)?;
        // A second probe would find the same system.
        let _ = self.system.set(survey.system().to_owned());
        let asked = survey.asked;
        lost.extend(survey.lost);
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
        if let Some(network) = self.network.for_step(step.network)? {
            spec.permit(network);
        }
        let Step { control, wait } =
            self.isolation.start(&spec, step.tail.map(LiveTail::observer))?;
        let tail = step.tail.cloned();
        let wait = move || {
            let mut end = wait();
            if let Some(used) = &end.network {
                network::tell(used, &mut end.output, tail.as_ref());
            }
            end
        };
        Ok(Step { control, wait: Box::new(wait) })
    }
}

impl Native {
    /// Adds to `facts` that jobs may be connected, if the owner wants that and the proxy keeps to its rules; gives what
    /// stands against it.
    fn state_network(&self, facts: &mut Facts) -> Result<Vec<Lost>, String> {
        if !self.network.allowed {
            return Ok(Vec::new());
        }
        match self.isolation.proxy() {
            Ok(()) => {
                facts.insert(network::PROXY, true).map_err(|error| error.to_string())?;
                Ok(Vec::new())
            }
            Err(reason) => Ok(vec![Lost { fact: network::PROXY.to_owned(), reason }]),
        }
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
