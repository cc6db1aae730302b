//! Programs of the machine's own platform with the files of an image as their root, in the sandbox.
//!
//! It is the sandbox of the native runtime, with every layer of it; only what is mounted differs. No other program
//! that runs containers is needed, nor a registry: the image comes with the package. Where the owner has named one, such
//! a program is a source of images, and runs nothing.

use std::path::Path;
use std::sync::Arc;

use capability::{Fact, Facts, FactsError, Runtime};
use volunteer_sandbox::{Spec, self_test_in};

use super::isolation::Isolation;
use super::native::{canonical, job_uid};
use super::network::NO_NETWORK;
use super::{JobRuntime, Measured, Step, StepOrder, cpu};
use crate::images::{Engine, Images};
use crate::live::LiveTail;
use crate::probing::Lost;

/// What jobs find in every image, whatever its configuration says.
const OWN_VARIABLES: [&str; 3] = ["HOME", "TMPDIR", "USER"];

/// The fact that an engine is there (S116).
const ENGINE: &str = "image.engine";

/// The container runtime.
#[derive(Debug)]
pub struct Container {
    isolation: Arc<Isolation>,
    images: Images,
}

impl Container {
    /// Uses `isolation`, keeps `bound` bytes of unpacked images below `cache`, at most, and has images that are in no
    /// package from `engine`.
    pub fn new(
        isolation: Arc<Isolation>,
        cache: &Path,
        bound: u64,
        engine: Option<Engine>,
    ) -> Self {
        let images = Images::new(Arc::clone(&isolation), cache, bound, engine);
        Self { isolation, images }
    }
}

impl JobRuntime for Container {
    fn runtime(&self) -> Runtime {
        Runtime::Container
    }

    /// Lets the hostile program loose once more, in an image that was unpacked as jobs' images are.
    fn self_test(&self) -> Result<String, String> {
        let sandbox = self.isolation.sandbox()?;
        self.images.try_one(|root| {
            self_test_in(sandbox, root).map(|_| ()).map_err(|unavailable| unavailable.to_string())
        })?;
        self.isolation.strength()
    }

    fn measure(&self) -> Result<Measured, String> {
        let layers = self.isolation.layers()?;
        let mut facts = facts(&layers).map_err(|error| error.to_string())?;
        let mut lost = Vec::new();
        if let Some(engine) = self.images.engine() {
            match engine.version() {
                Ok(version) => {
                    state_engine(engine, &version, &mut facts)
                        .map_err(|error| error.to_string())?;
                }
                Err(reason) => lost.push(Lost { fact: ENGINE.to_owned(), reason }),
            }
        }
        Ok(Measured { facts, lost, ..Measured::default() })
    }

    fn system(&self) -> String {
        "an image of the job's own".to_owned()
    }

    fn images(&self) -> Option<&Images> {
        Some(&self.images)
    }

    fn start(&self, step: &StepOrder<'_>) -> Result<Step, String> {
        let root = step.root.ok_or("the job names no image")?;
        let mut spec = Spec::new(step.command.to_vec(), canonical(step.work)?);
        let image = root.about.environment.iter();
        let theirs = image.filter(|(name, _)| !OWN_VARIABLES.contains(&name.as_str()));
        let variables = theirs.chain(step.environment.iter());
        spec.env.extend(variables.map(|(name, value)| (name.clone(), value.clone())));
        spec.root = Some(root.path.clone());
        spec.limits = step.limits;
        spec.processors.clone_from(&step.slot.processors);
        spec.host_uid = job_uid(step.slot);
        self.isolation.start(&spec, step.tail.map(LiveTail::observer))
    }
}

/// What is the same in every image. Tools and libraries are the image's own, which the job knows.
fn facts(layers: &[String]) -> Result<Facts, FactsError> {
    let mut facts = Facts::new();
    facts.insert("os", std::env::consts::OS)?;
    facts.insert("os.family", std::env::consts::FAMILY)?;
    facts.insert("arch", std::env::consts::ARCH)?;
    if let Ok(kernel) = sysinfo::System::kernel_version() {
        // One that is no text of a fact is not stated.
        let _ = facts.insert("kernel", kernel.as_str());
    }
    cpu::state(&mut facts)?;
    facts.insert("sandbox.layers", layers.iter().map(String::as_str).collect::<Fact>())?;
    facts.insert("network", NO_NETWORK)?;
    Ok(facts)
}

/// What jobs can have images from that are in no package.
fn state_engine(engine: Engine, version: &str, facts: &mut Facts) -> Result<(), FactsError> {
    facts.insert(ENGINE, engine.program.name())?;
    facts.insert("image.pull", engine.pulls)?;
    // A version that is no text of a fact is not stated.
    let _ = facts.insert("image.engine.version", version);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::images::Program;

    #[test]
    fn what_is_stated_can_be_required_and_is_nothing_of_the_hosts_own_files() {
        let mut facts = facts(&["landlock".to_owned()]).expect("within all limits");
        let engine = Engine { program: Program::Podman, pulls: true };
        state_engine(engine, "5.4.2", &mut facts).expect("within all limits");
        for (name, _) in facts.iter() {
            assert!(capability::fact_kind(name.as_str()).is_some(), "{name}");
            assert!(!name.as_str().starts_with("tool.") && name.as_str() != "distribution");
        }
    }
}
