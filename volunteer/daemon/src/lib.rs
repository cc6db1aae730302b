//! `talkoot-volunteer`: runs jobs of the projects that its owner trusts.
//!
//! The daemon is a thin shell around [`volunteer_core::Volunteer`]: `event_loop` turns what happens
//! into inputs of the core, and what the core wants into errands. `runtimes` know how to run one
//! step, `job` how to run all steps of one task and to bring back what they leave.
//!
//! It is a library for one reason: benchmarks measure everything around a job, and run the whole
//! program with other [`Equipment`]. Nothing that the shipped program reads can change its own.
#![deny(clippy::print_stdout, reason = "`println!` panics when nobody reads")]

mod amounts;
mod archive;
mod arguments;
mod brought;
mod carried;
mod commands;
mod config;
mod daemon;
mod event_loop;
mod face;
mod file_names;
mod hand_in;
mod history;
mod hours;
mod images;
mod in_hand;
mod job;
mod lists;
mod live;
mod log_events;
mod metrics;
mod news;
mod ownership;
mod page;
mod pins;
mod private_directory;
mod probing;
mod reach;
mod receipts;
mod reload;
mod resting;
mod runtimes;
mod sensors;
mod settings_text;
mod status;
mod why;

use std::process::ExitCode;
use std::sync::Arc;

use clap::Parser;
use tokio::sync::mpsc;

use crate::arguments::Arguments;
use crate::probing::Memory;

pub use crate::config::Settings;
pub use crate::images::{Images, Root};
pub use crate::job::{Executor, Place, Ran, Reins};
pub use crate::live::LiveTail;
pub use crate::runtimes::{
    Control, JobNetwork, JobRuntime, Measured, Slot, Step, StepEnd, StepNetwork, StepOrder,
};

/// Makes an [`Executor`] that works in a place, in some runtimes, and tells what it [`Ran`].
pub type MakeExecutor =
    fn(Place, &[Arc<dyn JobRuntime>], mpsc::UnboundedSender<Ran>) -> Box<dyn Executor>;

/// With what a daemon runs jobs.
#[derive(Clone, Copy)]
pub struct Equipment {
    /// The runtimes that it tries and offers.
    pub runtimes: fn(&Settings) -> Vec<Arc<dyn JobRuntime>>,
    /// Makes who runs jobs in these runtimes, and tells their ends.
    pub executor: MakeExecutor,
}

impl Equipment {
    /// What the shipped program has: sandboxes, and a thread for each job.
    pub const SHIPPED: Self = Self {
        runtimes: |settings| runtimes::known(settings, Memory::Trusted),
        executor: |place, runtimes, done| Box::new(job::Crew::new(place, runtimes, done)),
    };
}

/// The program, with the command line that it was started with.
pub fn main(equipment: Equipment) -> ExitCode {
    let first = std::env::args_os().nth(1);
    if first.as_ref().is_some_and(|argument| argument == probing::PROBER) {
        return probing::prober();
    }
    if first.is_some_and(|argument| argument == images::UNPACKER) {
        return images::unpacker(std::env::args().skip(2));
    }
    mesh_shell::finish(commands::run(Arguments::parse(), equipment))
}
