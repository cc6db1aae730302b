//! The ways in which this machine runs steps, behind one trait.

mod container;
mod cpu;
mod isolation;
mod native;
mod network;
mod own;
mod slot;
mod wasm;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use capability::{Facts, Runtime, RuntimeFacts, Runtimes};
use volunteer_sandbox::{Ending, Limits, NetworkUse, Passed};

use self::container::Container;
use self::native::Native;
use self::wasm::Wasm;
use crate::config::Settings;
use crate::images::{Images, Root};
use crate::live::LiveTail;
use crate::probing::{Lost, Memory, Probing};

pub use self::isolation::Isolation;
pub use self::native::job_uid;
pub use self::network::{JobNetwork, StepNetwork};
pub use self::own::{Label, MAX_LABELS, Own};
pub use self::slot::Slot;

/// A way to run steps.
pub trait JobRuntime: Send + Sync {
    /// Which one.
    fn runtime(&self) -> Runtime;

    /// Tries the whole way that a job will go; gives what keeps jobs in. Blocks for up to a minute.
    ///
    /// # Errors
    /// Why jobs cannot run this way here, and what could be done about it, for people.
    fn self_test(&self) -> Result<String, String>;

    /// Measures, inside, what a job would find. Blocks.
    ///
    /// # Errors
    /// Why it could not be measured, for people.
    fn measure(&self) -> Result<Measured, String>;

    /// The operating system as a job sees it, for people.
    fn system(&self) -> String;

    /// What provides the images of jobs, if they bring their root.
    fn images(&self) -> Option<&Images> {
        None
    }

    /// Starts a step. Blocks for some milliseconds.
    ///
    /// # Errors
    /// Why it could not be started; no fault of the job.
    fn start(&self, step: &StepOrder<'_>) -> Result<Step, String>;
}

/// A step to run.
#[derive(Debug)]
pub struct StepOrder<'a> {
    /// Program and arguments.
    pub command: &'a [String],
    /// Variables beside the runtime's own.
    pub environment: &'a BTreeMap<String, String>,
    /// Directory that keeps its content between the steps of a job.
    pub work: &'a Path,
    /// What it has as its root, if jobs bring that.
    pub root: Option<&'a Root>,
    /// What ends it before its time.
    pub limits: Limits,
    /// Units of fuel that it may use, where that is metered.
    pub fuel: Option<u64>,
    /// What it has for itself among what runs at the same time.
    pub slot: &'a Slot,
    /// Where its output goes while it runs, beside its end.
    pub tail: Option<&'a LiveTail>,
    /// What of the network it may reach.
    pub network: StepNetwork<'a>,
}

/// A step that runs.
pub struct Step {
    /// To end or to pause it.
    pub control: Box<dyn Control>,
    /// Waits for its end; may be called on another thread.
    pub wait: Box<dyn FnOnce() -> StepEnd + Send>,
}

/// Ends and pauses a step. Without effect once it is over.
pub trait Control: Send + Sync {
    /// Ends it with all that it has started.
    fn kill(&self);
    /// Makes it stand still.
    fn pause(&self);
    /// Lets it go on.
    fn resume(&self);
    /// What it has used of the network by now, where that is permitted and told.
    fn passed(&self) -> Passed {
        Passed::default()
    }
}

/// How a step ended.
#[derive(Debug)]
pub struct StepEnd {
    /// How.
    pub ending: Ending,
    /// More about it, for people; may be empty.
    pub note: String,
    /// Time from start to end.
    pub wall: Duration,
    /// Processor time.
    pub cpu: Duration,
    /// Peak memory in bytes.
    pub memory: u64,
    /// Fuel, if it was metered.
    pub fuel: Option<Fuel>,
    /// Standard output and error.
    pub output: Vec<u8>,
    /// What it used of the network, if it was permitted some.
    pub network: Option<NetworkUse>,
}

/// What a metered step has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fuel {
    /// Units.
    pub used: u64,
    /// Whether it ended because it had no more.
    pub ran_out: bool,
}

/// What a job would find.
#[derive(Debug, Default)]
pub struct Measured {
    /// As facts.
    pub facts: Facts,
    /// What is there, and is no fact.
    pub lost: Vec<Lost>,
    /// How many programs and files were asked.
    pub asked: usize,
}

/// What was found out about one runtime.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Which one.
    pub runtime: Runtime,
    /// What is advertised, or why nothing is.
    pub found: Result<RuntimeFacts, String>,
    /// What is there, and is no fact.
    pub lost: Vec<Lost>,
    /// What it took.
    pub effort: Effort,
}

/// What it took to find out about a runtime.
#[derive(Debug, Clone, Copy, Default)]
pub struct Effort {
    /// Time to try the way that jobs will go; what runtimes share counts for the first.
    pub self_test: Duration,
    /// Time to measure what jobs would find.
    pub measuring: Duration,
    /// How many programs and files were asked; others were known.
    pub asked: usize,
}

impl Probe {
    /// A runtime that is not offered.
    pub fn refused(runtime: Runtime, reason: String) -> Self {
        Self { runtime, found: Err(reason), lost: Vec::new(), effort: Effort::default() }
    }
}

/// The runtimes of `settings` that this program knows.
pub fn known(settings: &Settings, memory: Memory) -> Vec<Arc<dyn JobRuntime>> {
    let isolation = Arc::new(Isolation::new());
    let probing = Arc::new(Probing::new(settings.table.clone(), &settings.cache, memory));
    let runtime = |runtime: &Runtime| -> Option<Arc<dyn JobRuntime>> {
        match runtime {
            Runtime::Native => {
                let (isolation, probing) = (Arc::clone(&isolation), Arc::clone(&probing));
                Some(Arc::new(Native::new(isolation, probing, settings.job_network)))
            }
            Runtime::Wasm => Some(Arc::new(Wasm::new(Arc::clone(&isolation), &settings.cache))),
            Runtime::Container => Some(Arc::new(Container::new(
                Arc::clone(&isolation),
                &settings.cache,
                settings.image_cache,
                settings.image_engine,
            ))),
            Runtime::Other(_) => None,
        }
    };
    settings.runtimes.iter().filter_map(runtime).collect()
}

/// Tries each of `runtimes`, and measures what jobs would find in those that work. Blocks.
pub fn probe(runtimes: &[Arc<dyn JobRuntime>], own: &Own) -> Vec<Probe> {
    runtimes.iter().map(|runtime| probe_one(runtime.as_ref(), own)).collect()
}

/// What is advertised of `probes`.
pub fn offered(probes: &[Probe]) -> Runtimes {
    let offered = probes.iter().filter_map(|probe| {
        let found = probe.found.as_ref().ok()?;
        Some((probe.runtime.clone(), found.clone()))
    });
    offered.collect()
}

fn probe_one(runtime: &dyn JobRuntime, own: &Own) -> Probe {
    let begun = Instant::now();
    let strength = match runtime.self_test() {
        Ok(strength) => strength,
        Err(reason) => return Probe::refused(runtime.runtime(), reason),
    };
    let tested = Instant::now();
    let measured = runtime.measure().and_then(|mut measured| {
        own.state(&mut measured.facts).map_err(|error| error.to_string())?;
        Ok(measured)
    });
    let Measured { facts, lost, asked } = match measured {
        Ok(measured) => measured,
        Err(reason) => return Probe::refused(runtime.runtime(), reason),
    };
    let effort = Effort { self_test: tested - begun, measuring: tested.elapsed(), asked };
    Probe { runtime: runtime.runtime(), found: Ok(RuntimeFacts { strength, facts }), lost, effort }
}

/// A shell without a sandbox, for tests of what is around a step.
#[cfg(test)]
pub fn plain_shell(script: &str, work: &Path, limits: Limits) -> Result<Step, String> {
    let spec = volunteer_sandbox::WalledSpec {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        reads: Vec::new(),
        work: work.to_owned(),
        limits,
        processors: std::collections::BTreeSet::new(),
    };
    Isolation::new().start_walled(&spec, None)
}
