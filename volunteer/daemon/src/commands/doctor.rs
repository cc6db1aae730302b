//! `doctor`: what works on this machine, and why the rest does not.

use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, Outcome, outln};

use super::print_json;
use crate::arguments::RunArgs;
use crate::config;
use crate::probing::Memory;
use crate::runtimes;
use crate::status::{self, RuntimeStatus};

/// Tries every runtime as the daemon would.
pub fn run(common: &CommonArgs, json: bool) -> Outcome {
    let settings = config::load(common, RunArgs::default())?;
    settings.doubts().iter().for_each(|doubt| eprintln!("warning: {doubt}"));
    let runtimes = runtimes::known(&settings, Memory::Trusted);
    let probes = runtimes::probe(&runtimes, &settings.own());
    for probe in &probes {
        eprintln!("{:?} {:?} {:?}", probe.runtime, probe.effort, probe.lost);
    }
    let found: Vec<_> = probes.iter().map(status::runtime).collect();
    if json {
        print_json(&found)?;
    } else {
        found.iter().for_each(print);
    }
    if found.iter().any(|runtime| runtime.reason.is_none()) {
        return Ok(());
    }
    if settings.runtimes.is_empty() {
        let advice = status::no_runtimes();
        return Err(Failure::say(Exit::Policy, advice.reason).hint(advice.hint));
    }
    Err(Failure::say(Exit::Policy, "no runtime works here, so no job would be taken")
        .hint("each runtime above says what it lacks"))
}

fn print(found: &RuntimeStatus) {
    match &found.reason {
        Some(reason) => outln!("{}: not offered: {reason}", found.runtime),
        None => {
            let strength = found.strength.as_deref().unwrap_or_default();
            outln!("{}: offered ({strength})", found.runtime);
        }
    }
    for (name, value) in &found.facts {
        outln!("  {name} = {value}");
    }
}
