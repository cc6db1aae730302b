//! How a job file fits this machine.

use std::path::Path;

use anyhow::Context;
use capability::{Capabilities, Comparison, JobFile, MAX_JOB_FILE, Runtime, compare, satisfies};
use mesh_shell::{Exit, Failure, OrExit, Outcome};
use serde::Serialize;

use super::remedy::{Remedies, Remedy};

/// A job, and what this machine has of what it needs.
#[derive(Debug, Serialize)]
pub struct Fitting {
    /// The job's name.
    pub name: String,
    /// Where it would run, if it can.
    pub runtime: Option<Runtime>,
    /// Every requirement with the fact beside it.
    pub comparison: Comparison,
    /// How to get what is missing.
    pub missing: Vec<Remedy>,
}

impl Fitting {
    /// The job file at `path` on `machine`.
    pub fn of(path: &Path, machine: &Capabilities, remedies: &Remedies<'_>) -> Outcome<Self> {
        let job = read(path)?;
        let comparison = compare(machine, &job.requirements);
        let runtime = satisfies(machine, &job.requirements).cloned();
        let missing = if runtime.is_some() { Vec::new() } else { remedies.of(&comparison) };
        Ok(Self { name: job.name, runtime, comparison, missing })
    }
}

fn read(path: &Path) -> Outcome<JobFile> {
    let shown = path.display();
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read the job file {shown}"))
        .or_exit(Exit::Input)?
        .len();
    if size > MAX_JOB_FILE as u64 {
        let message = format!("the job file {shown} has {size} bytes");
        return Err(Failure::say(Exit::Input, message).hint("at most 256 KiB are read"));
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the job file {shown}"))
        .or_exit(Exit::Input)?;
    JobFile::parse(&text).map_err(|error| Failure::say(Exit::Input, format!("{shown}:{error}")))
}
