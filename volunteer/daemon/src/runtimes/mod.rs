//! The ways in which this machine runs steps, behind one trait.

mod cpu;
mod isolation;
mod native;
mod plain;
mod tools;
mod wasm;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use capability::{Fact, Facts, Runtime, RuntimeFacts};
use volunteer_sandbox::{Ending, Limits};

use self::isolation::Isolation;
use self::native::Native;
use self::wasm::Wasm;

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
    fn facts(&self) -> Result<Facts, String>;

    /// The operating system as a job sees it, for people.
    fn system(&self) -> String;

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
    /// What ends it before its time.
    pub limits: Limits,
    /// Tells apart what runs at the same time.
    pub slot: u32,
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
    /// Standard output and error.
    pub output: Vec<u8>,
}

/// What was found out about one runtime.
#[derive(Debug, Clone)]
pub struct Probe {
    /// Which one.
    pub runtime: Runtime,
    /// What is advertised, or why nothing is.
    pub found: Result<RuntimeFacts, String>,
}

/// The runtimes among `wanted` that this program knows.
pub fn known(wanted: &[Runtime]) -> Vec<Arc<dyn JobRuntime>> {
    let isolation = Arc::new(Isolation::new());
    let runtime = |runtime: &Runtime| -> Option<Arc<dyn JobRuntime>> {
        match runtime {
            Runtime::Native => Some(Arc::new(Native::new(Arc::clone(&isolation)))),
            Runtime::Wasm => Some(Arc::new(Wasm::new(Arc::clone(&isolation)))),
            Runtime::Other(_) => None,
        }
    };
    wanted.iter().filter_map(runtime).collect()
}

/// Tries each of `runtimes`, and measures what jobs would find in those that work. Blocks.
pub fn probe(runtimes: &[Arc<dyn JobRuntime>], label: &str) -> Vec<Probe> {
    let probe = |runtime: &Arc<dyn JobRuntime>| Probe {
        runtime: runtime.runtime(),
        found: probe_one(runtime.as_ref(), label),
    };
    runtimes.iter().map(probe).collect()
}

fn probe_one(runtime: &dyn JobRuntime, label: &str) -> Result<RuntimeFacts, String> {
    let strength = runtime.self_test()?;
    let mut facts = runtime.facts()?;
    if !label.is_empty() {
        facts.insert("label", Fact::from(label)).map_err(|error| error.to_string())?;
    }
    Ok(RuntimeFacts { strength, facts })
}

/// A shell without a sandbox, for tests of what is around a step.
#[cfg(test)]
pub fn plain_shell(script: &str, limits: Limits) -> Result<Step, String> {
    let arguments = vec!["-c".to_owned(), script.to_owned()];
    let work = concat!(env!("CARGO_MANIFEST_DIR"), "/src").into();
    plain::start(&plain::PlainSpec { program: "/bin/sh".into(), arguments, limits, work })
}
