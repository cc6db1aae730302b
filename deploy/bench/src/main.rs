//! `cargo run --release -p bench -- …`: what a network of the real programs does, and what it takes.
//!
//! Each benchmark starts release builds of the programs on loopback, with their default limits and
//! their state on the disk of the temporary directory (`TMPDIR`). Every figure is printed with the
//! load of the machine, and the CPU time of each process: a busy machine stretches wall time, CPU
//! time hardly.
//!
//! One file each: a benchmark is a subcommand; `processes` starts programs and measures them,
//! `site` puts a project with its volunteers together, `figures` sums up.

mod figures;
mod processes;
mod site;
mod tasks;

use anyhow::Result;
use clap::Parser;

/// Benchmarks of whole networks of the real programs, on this machine.
#[derive(Debug, Parser)]
enum Arguments {
    /// Tasks from their submission to durable receipts, with jobs that do nothing.
    Tasks(tasks::TasksArgs),
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Tasks(args) => tasks::run(&args),
    }
}
