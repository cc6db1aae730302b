//! A check of a project: one step of a job that has no package and leaves nothing but what it says.

use std::path::Path;

use capability::statements::Ended;
use mesh_shell::chain;
use volunteer_core::{CheckEnd, CheckOrder};
use volunteer_sandbox::{Ending, remove_tree};

use super::{Place, Reins, describe, judge, limits, short};
use crate::runtimes::{JobRuntime, Step, StepEnd, StepOrder};

/// Runs `order` in an empty folder. Blocks until it has ended.
pub fn run(
    order: &CheckOrder,
    runtime: &dyn JobRuntime,
    slot: u32,
    reins: &Reins,
    place: &Place,
) -> CheckEnd {
    let home = place.directory.join("check");
    let work = home.join("work");
    // What a former check may have left, because it could not be removed then.
    let made = remove_tree(&home).and_then(|()| std::fs::create_dir_all(&work));
    let end = match made {
        Ok(()) => run_in(&work, order, runtime, slot, reins),
        Err(error) => {
            CheckEnd::NotRun(short(&format!("cannot make a work directory: {}", chain(&error))))
        }
    };
    if let Err(error) = remove_tree(&home) {
        tracing::warn!(path = %home.display(), %error, "work directory not removed");
    }
    end
}

fn run_in(
    work: &Path,
    order: &CheckOrder,
    runtime: &dyn JobRuntime,
    slot: u32,
    reins: &Reins,
) -> CheckEnd {
    let step = StepOrder {
        command: &order.check.command,
        environment: &[].into(),
        work,
        limits: limits(&order.limits, order.limits.wall()),
        slot,
    };
    match runtime.start(&step) {
        Ok(Step { control, wait }) => {
            reins.take(control);
            end(wait())
        }
        Err(reason) => CheckEnd::NotRun(short(&reason)),
    }
}

fn end(end: StepEnd) -> CheckEnd {
    let why = match (judge(&end), &end.ending) {
        (None, _) => return CheckEnd::Passed(end.output),
        (Some(Ended::Machine(why)), _) => return CheckEnd::NotRun(why),
        (Some(Ended::Limit(what)), _) => format!("it reached its limit on {what}"),
        (Some(_), Ending::Exited { code }) => format!("it exited with {code}"),
        (Some(_), _) => describe(&end),
    };
    let output = String::from_utf8_lossy(&end.output);
    let said = output.lines().map(str::trim).find(|line| !line.is_empty());
    let said = said.map(|said| format!(": {said}")).unwrap_or_default();
    CheckEnd::Failed(short(&format!("{why}{said}")))
}
