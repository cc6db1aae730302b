//! `doctor`: what works on this machine, what does not, and how to get what is missing.

mod checks;
mod fitting;
mod gpu;
mod packager;
mod print;
mod remedy;

use std::collections::BTreeMap;
use std::path::Path;

use capability::{Capabilities, Platform, Runtime};
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, Outcome};
use serde::Serialize;

use self::checks::Tried;
use self::fitting::Fitting;
use self::gpu::Gpu;
use self::packager::Packager;
use self::remedy::{Remedies, Remedy};
use super::{ask, print_json};
use crate::arguments::{DoctorArgs, RunArgs};
use crate::config::{self, Settings};
use crate::pins::{Entry, Pins};
use crate::probing::{Lost, Memory};
use crate::runtimes::{self, Probe};
use crate::sensors::{SensorStatus, Sensors};
use crate::status::{self, DeclinedStatus, RuntimeStatus, Status};

/// All that is found out.
#[derive(Debug, Serialize)]
struct Diagnosis {
    runtimes: Vec<InRuntime>,
    /// The settings that need a sensor, and what they look at.
    sensors: Vec<SensorStatus>,
    /// Seen outside the sandbox, and no fact.
    gpus: Vec<Gpu>,
    projects: Vec<Project>,
    /// Whether a daemon runs here: it alone knows of checks, and of offers that are declined.
    daemon_runs: bool,
    /// How the job file fits, if there is one.
    job: Option<Fitting>,
}

/// One runtime.
#[derive(Debug, Serialize)]
struct InRuntime {
    #[serde(flatten)]
    status: RuntimeStatus,
    /// What is there, and is no fact.
    lost: Vec<Lost>,
    /// Milliseconds of the self-test; what runtimes share counts for the first.
    self_test_ms: f64,
    /// Milliseconds of measuring what jobs would find.
    measuring_ms: f64,
    /// How many programs and files were asked; the cache knew the others.
    asked: usize,
}

/// A trusted project, and what is in its way.
#[derive(Debug, Serialize)]
struct Project {
    key: String,
    /// The owner's own name for it; may be empty.
    name: String,
    /// The runtimes that its jobs may use, and why one does not work here.
    runtimes: BTreeMap<Runtime, Option<String>>,
    /// Its checks, as far as the running daemon has heard of them.
    checks: Vec<Tried>,
    /// Offers that the running daemon declines.
    declined: Vec<Declined>,
}

/// An offer of a trusted project that is declined.
#[derive(Debug, Serialize)]
struct Declined {
    #[serde(flatten)]
    status: DeclinedStatus,
    /// How to get what it lacks here.
    missing: Vec<Remedy>,
}

/// Whether people see how long it took.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Timing {
    Shown,
    Hidden,
}

/// Tries every runtime as the daemon would, and looks what is missing for whom.
pub fn run(common: &CommonArgs, arguments: &DoctorArgs) -> Outcome {
    let settings = config::load(common, RunArgs::default())?;
    settings.doubts().iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    let memory = if arguments.fresh { Memory::Ignored } else { Memory::Trusted };
    let probes = runtimes::probe(&runtimes::known(&settings, memory), &settings.own());
    let diagnosis = diagnose(common, &settings, &probes, arguments.job.as_deref())?;
    if arguments.json {
        print_json(&diagnosis)?;
    } else {
        let timing = if arguments.timing { Timing::Shown } else { Timing::Hidden };
        print::all(&diagnosis, &settings.table, timing);
    }
    conclude(&diagnosis, &settings)
}

fn diagnose(
    common: &CommonArgs,
    settings: &Settings,
    probes: &[Probe],
    job: Option<&Path>,
) -> Outcome<Diagnosis> {
    let lost = probes.iter().flat_map(|probe| probe.lost.iter());
    let mut machine = Capabilities {
        platform: Platform::current(),
        resources: settings.donated,
        runtimes: runtimes::offered(probes),
    };
    let native = machine.runtimes.get(&Runtime::Native);
    let packager = native.map_or(Packager::Unknown, |native| Packager::of(&native.facts));
    let remedies = Remedies::new(&settings.table, lost.cloned().collect(), packager);
    let daemon = ask::running(common);
    checks::state(&mut machine, daemon.as_ref().map_or(&[], |status| &status.projects));
    // A job file with a mistake is to be told before anything is shown.
    let job = job.map(|path| Fitting::of(path, &machine, &remedies)).transpose()?;
    Ok(Diagnosis {
        runtimes: probes.iter().map(in_runtime).collect(),
        sensors: Sensors::new(settings.yields.clone()).report(),
        gpus: gpu::outside(Path::new("/sys/class/drm")),
        daemon_runs: daemon.is_some(),
        projects: projects(settings, probes, daemon, &machine, &remedies)?,
        job,
    })
}

fn in_runtime(probe: &Probe) -> InRuntime {
    let effort = probe.effort;
    InRuntime {
        status: status::runtime(probe),
        lost: probe.lost.clone(),
        self_test_ms: effort.self_test.as_secs_f64() * 1e3,
        measuring_ms: effort.measuring.as_secs_f64() * 1e3,
        asked: effort.asked,
    }
}

fn projects(
    settings: &Settings,
    probes: &[Probe],
    daemon: Option<Status>,
    machine: &Capabilities,
    remedies: &Remedies<'_>,
) -> Outcome<Vec<Project>> {
    let (known, mut declined) =
        daemon.map(|status| (status.projects, status.declined)).unwrap_or_default();
    let pins = Pins::load(&settings.state)?;
    let obstacle = |runtime: &Runtime| match probes.iter().find(|it| it.runtime == *runtime) {
        Some(probe) => probe.found.as_ref().err().cloned(),
        None => Some("it is switched off in `runtimes` of the configuration".to_owned()),
    };
    let project = |entry: &Entry| {
        let key = entry.key.to_string();
        let checks = known.iter().filter(|it| it.project == key).flat_map(|it| it.checks.clone());
        let own = declined.extract_if(.., |it| it.project == key);
        let declined = own
            .map(|status| Declined { missing: remedies.named_in(&status.advice.reason), status });
        Project {
            declined: declined.collect(),
            checks: checks.map(|check| Tried::new(check, machine, remedies)).collect(),
            name: entry.name.clone(),
            runtimes: entry.allowed.runtimes.iter().map(|it| (it.clone(), obstacle(it))).collect(),
            key,
        }
    };
    Ok(pins.projects.iter().map(project).collect())
}

/// The exit code: whether jobs can run at all, and the one of the job file.
fn conclude(diagnosis: &Diagnosis, settings: &Settings) -> Outcome {
    if settings.runtimes.is_empty() {
        let advice = status::no_runtimes();
        return Err(Failure::say(Exit::Policy, advice.reason).hint(advice.hint));
    }
    if diagnosis.runtimes.iter().all(|runtime| runtime.status.reason.is_some()) {
        return Err(Failure::say(Exit::Policy, "no runtime works here, so no job would be taken")
            .hint("each runtime above says what it lacks"));
    }
    match &diagnosis.job {
        Some(job) if job.runtime.is_none() => {
            let message = format!("this machine cannot run {}", job.name);
            Err(Failure::say(Exit::Policy, message).hint("each `no` above says what it lacks"))
        }
        _ => Ok(()),
    }
}
