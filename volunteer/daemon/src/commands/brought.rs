//! `job import`: work that came by other means than a network.

use std::fs::File;
use std::path::Path;

use anyhow::Context;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape_line, outln};

use super::{ask, print_json};
use crate::arguments::Shown;
use crate::brought::BroughtAnswer;

/// Gives the work in the parcel at `path` to the daemon.
pub fn import(common: &CommonArgs, shown: &Shown, path: &Path, unconfirmed: bool) -> Outcome {
    let open = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(open).or_exit(Exit::Input)?;
    let place = format!("jobs/brought?unconfirmed={unconfirmed}");
    let answer = ask::bring(common, &shown.whom, &place, file)?;
    let answer: BroughtAnswer = serde_json::from_reader(answer)
        .context("the daemon's answer makes no sense; is it of another version?")
        .or_exit(Exit::Network)?;
    if shown.json {
        print_json(&answer)?;
    }
    match answer {
        BroughtAnswer::Taken { .. } if shown.json => Ok(()),
        BroughtAnswer::Taken { name, new, known } => {
            let known = match known {
                0 => String::new(),
                known => format!("; {known} were here before, or are done: nothing has changed"),
            };
            outln!("{}", escape_line(&format!("{name}: {new} tasks are taken{known}")));
            Ok(())
        }
        BroughtAnswer::Declined { reason, hint } => Err(failure(Exit::Policy, &reason, &hint)),
        BroughtAnswer::Unfit { reason, hint } => Err(failure(Exit::Input, &reason, &hint)),
    }
}

fn failure(exit: Exit, reason: &str, hint: &str) -> Failure {
    let failure = Failure::say(exit, format!("not taken: {}", escape_line(reason)));
    if hint.is_empty() { failure } else { failure.hint(escape_line(hint)) }
}
