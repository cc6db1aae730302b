//! How a job file fits this machine.

use std::path::Path;

use capability::{Capabilities, Comparison, Runtime, compare, satisfies};
use mesh_shell::Outcome;
use serde::Serialize;

use super::super::read_job;
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
        let job = read_job(path)?;
        let comparison = compare(machine, &job.requirements);
        let runtime = satisfies(machine, &job.requirements).cloned();
        let missing = if runtime.is_some() { Vec::new() } else { remedies.of(&comparison) };
        Ok(Self { name: job.name, runtime, comparison, missing })
    }
}
