//! `exec`: a job file in the very sandbox that a leased job gets, without a daemon, a key or a network.
//!
//! Nothing here knows how to run a job: the package is packed as a master packs it, and then run, limited
//! and collected by what runs leased jobs. So what works here works there.

mod fitting;
mod results;
mod site;
mod slot;

use std::sync::Arc;

use capability::statements::Ended;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, OrExit, Termination};
use mesh_shell::{Outcome as Done, escape_line};
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use volunteer_core::{Outcome, Tail};

use self::fitting::fitting;
use self::results::Results;
use self::site::Site;
use self::slot::Slot;
use super::{job_log, print_json, read_job};
use crate::Equipment;
use crate::arguments::{ExecArgs, RunArgs};
use crate::config;
use crate::job::{self, Reins};
use crate::log_events::{Extent, Following, LogEvent};

/// Runs the job file to its end.
pub fn run(common: &CommonArgs, arguments: &ExecArgs, equipment: Equipment) -> Done {
    let file = read_job(&arguments.file)?;
    if arguments.task >= file.tasks {
        let message = format!("there is no task {} in {}", arguments.task, file.name);
        return Err(Failure::say(Exit::Usage, message)
            .hint(format!("its tasks are 0 to {}", file.tasks - 1)));
    }
    let results = arguments.output.as_deref().map(Results::prepare).transpose()?;
    let settings = config::load(common, RunArgs::default())?;
    let runtime = fitting(&file, &settings, arguments, equipment)?;
    let site = Site::pack(&arguments.file, &file)?;
    let slot = Slot::take()?;
    let order = site.order(&file, arguments.task, runtime.runtime());
    eprintln!("{} task {} of {}, in {}", file.name, arguments.task, file.tasks, order.runtime);
    let threads = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .or_exit(Exit::State)?;
    let reins = Arc::new(Reins::default());
    let tail = reins.tail().read().expect("nobody else reads it");
    let place = site.place().clone();
    let job = move |reins: &Reins| {
        let slot = slot.with(order.cores);
        job::run(&order, runtime.as_ref(), &slot, reins, &place, || ()).0
    };
    let outcome = threads.block_on(watched(job, &reins, tail, arguments.json))?;
    let outcome = results::read(&outcome, &site, results.as_ref())?;
    if arguments.json {
        print_json(&outcome)?;
    } else {
        outcome.say();
    }
    conclude(&outcome)
}

/// Runs `job` beside whoever reads what it writes; ends it when the process is asked to end.
async fn watched(
    job: impl FnOnce(&Reins) -> Outcome + Send + 'static,
    reins: &Arc<Reins>,
    tail: watch::Receiver<Tail>,
    json: bool,
) -> Done<Outcome> {
    let mut termination = Termination::listen()?;
    let printing = tokio::spawn(show(tail, json));
    let held = Arc::clone(reins);
    let mut running = spawn_blocking(move || job(&held));
    let outcome = loop {
        tokio::select! {
            outcome = &mut running => break outcome.or_exit(Exit::Bug)?,
            () = termination.asked() => reins.stop(),
        }
    };
    printing.await.or_exit(Exit::Bug)??;
    Ok(outcome)
}

/// Prints what the job writes. Beside JSON on standard output it goes to standard error.
async fn show(tail: watch::Receiver<Tail>, json: bool) -> Done {
    let mut following = Following::new(tail, Extent::ToTheEnd);
    while let Some(event) = following.next().await {
        match event {
            LogEvent::LeftOut { bytes } => {
                let bytes = capability::format_bytes(bytes);
                eprintln!("({bytes} left out here; the log with --output has them)");
            }
            LogEvent::Output { text } if json => eprint!("{}", mesh_shell::escape(text.as_bytes())),
            event => job_log::show(event)?,
        }
    }
    Ok(())
}

fn conclude(outcome: &results::Outcome) -> Done {
    let why = match &outcome.ended {
        Ended::Passed => return Ok(()),
        Ended::Failed => return Err(Failure::say(Exit::JobFailed, outcome.failure())),
        Ended::Limit(what) => format!("the job reached its limit on {what}"),
        Ended::Machine(why) => {
            let why = format!("the job could not be run to its end: {}", escape_line(why));
            return Err(Failure::say(Exit::State, why));
        }
    };
    Err(Failure::say(Exit::JobFailed, why))
}
