//! The runtime in which a job is run here: the first of its own that works and has what it requires.

use std::sync::Arc;

use capability::{
    Capabilities, ImageSource, JobFile, Platform, Resource, Runtime, evaluate, format_bytes,
};
use mesh_shell::{Exit, Failure, Outcome};
use volunteer_core::{Decline, needs_of_file};

use crate::Equipment;
use crate::arguments::ExecArgs;
use crate::config::Settings;
use crate::runtimes::{self, JobRuntime};

/// The runtime for `job`, tried as the daemon tries it.
///
/// # Errors
/// Why there is none: a job that needs a sandbox does not run without one.
pub fn fitting(
    job: &JobFile,
    settings: &Settings,
    arguments: &ExecArgs,
    equipment: Equipment,
) -> Outcome<Arc<dyn JobRuntime>> {
    let known = (equipment.runtimes)(settings);
    let mut reasons = Vec::new();
    for wanted in wanted(job, arguments.runtime.as_ref())? {
        let Some(runtime) = known.iter().find(|it| it.runtime() == wanted) else {
            let why = "is switched off in the configuration, or unknown to this program";
            reasons.push(format!("{wanted} {why}"));
            continue;
        };
        let probes = runtimes::probe(std::slice::from_ref(runtime), &settings.own());
        if let Some(Err(reason)) = probes.first().map(|probe| &probe.found) {
            reasons.push(format!("{wanted} does not work here: {reason}"));
            continue;
        }
        let machine = Capabilities {
            platform: Platform::current(),
            resources: settings.donated,
            runtimes: runtimes::offered(&probes),
        };
        let mut unmet = unmet(job, &machine);
        unmet.extend(unlisted(job, settings));
        if unmet.is_empty() {
            return Ok(Arc::clone(runtime));
        }
        if arguments.anyway {
            unmet.iter().for_each(|why| eprintln!("warning: {why}"));
            return Ok(Arc::clone(runtime));
        }
        reasons.extend(unmet);
    }
    Err(refused(job, &reasons))
}

fn refused(job: &JobFile, reasons: &[String]) -> Failure {
    let message = format!("{} cannot run here: {}", job.name, reasons.join("; "));
    Failure::say(Exit::Policy, message).hint(
        "talkoot-volunteer doctor --job shows all of it; --anyway runs it in spite of what it \
         requires, and never without a sandbox",
    )
}

fn wanted(job: &JobFile, chosen: Option<&Runtime>) -> Outcome<Vec<Runtime>> {
    let own = &job.requirements.runtimes;
    match chosen {
        None => Ok(own.clone()),
        Some(chosen) if own.contains(chosen) => Ok(vec![chosen.clone()]),
        Some(chosen) => {
            let own: Vec<_> = own.iter().map(Runtime::name).collect();
            let message = format!("the job does not run in {chosen}");
            Err(Failure::say(Exit::Usage, message)
                .hint(format!("its runtimes are: {}", own.join(", "))))
        }
    }
}

/// That the owner lets nobody have images of the repository of the job's own.
fn unlisted(job: &JobFile, settings: &Settings) -> Option<String> {
    let ImageSource::Repository(repository) = &job.job.image.as_ref()?.source else { return None };
    let listed = settings.image_repositories.iter().any(|it| it.cover(repository));
    (!listed).then(|| Decline::Repository(repository.clone()).to_string())
}

/// What the job requires, or may use, and this machine has not.
fn unmet(job: &JobFile, machine: &Capabilities) -> Vec<String> {
    let mut unmet: Vec<_> = match evaluate(machine, &job.requirements) {
        Ok(_) => Vec::new(),
        Err(no) => no.reasons.iter().map(ToString::to_string).collect(),
    };
    let (needs, donated) = (needs_of_file(job), machine.resources);
    for resource in [Resource::Memory, Resource::Disk] {
        let (needed, donated) = (needs.amount(resource), donated.amount(resource));
        if needed > donated {
            let (needed, donated) = (format_bytes(needed), format_bytes(donated));
            unmet.push(format!("its limit on {resource} is {needed}, {donated} are donated"));
        }
    }
    unmet
}
