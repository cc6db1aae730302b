//! `talkoot-volunteer`: runs jobs of the projects that its owner trusts.
//!
//! The daemon is a thin shell around [`volunteer_core::Volunteer`]: `event_loop` turns what happens
//! into inputs of the core, and what the core wants into errands. `runtimes` know how to run one
//! step, `job` how to run all steps of one task and to bring back what they leave.
#![deny(clippy::print_stdout, reason = "`println!` panics when nobody reads")]

mod arguments;
mod commands;
mod config;
mod daemon;
mod event_loop;
mod face;
mod job;
mod live;
mod metrics;
mod news;
mod ownership;
mod pins;
mod probing;
mod runtimes;
mod status;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;

/// The argument that makes this program the helper of the sandbox and, inside the sandbox, the
/// hostile program of its self-test.
const SANDBOX: &str = "__sandbox";

fn main() -> ExitCode {
    // First of all: the helper becomes somebody's sandbox, and must have no thread and no open file.
    let first = std::env::args_os().nth(1);
    if first.as_ref().is_some_and(|argument| argument == SANDBOX) {
        return volunteer_sandbox::helper::main();
    }
    if first.is_some_and(|argument| argument == probing::PROBER) {
        return probing::prober();
    }
    mesh_shell::finish(commands::run(Arguments::parse()))
}
