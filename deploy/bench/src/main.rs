//! `cargo run --release -p bench -- …`: what a network of the real programs does, and what it takes.
//!
//! Each benchmark starts release builds of the programs on loopback, with their default limits and
//! their state on the disk of the temporary directory (`TMPDIR`). Every figure is printed with the
//! load of the machine, and the CPU time of each process: a busy machine stretches wall time, CPU
//! time hardly.
//!
//! One file each: a benchmark is a subcommand; `programs` are what is measured, as `processes`;
//! `brokers` and `master` start those, `site` puts a project with its volunteers together, `wire` is
//! laid between two, and `figures` sums up.

mod away;
mod brokers;
mod comeback;
mod crowd;
mod daemon;
mod figures;
mod gossip;
mod idle;
mod kernels;
mod master;
mod processes;
mod programs;
mod sandbox;
mod site;
mod swarms;
mod tasks;
mod wasm;
mod wire;

use anyhow::Result;
use clap::Parser;

/// Benchmarks of whole networks of the real programs, on this machine.
#[derive(Debug, Parser)]
enum Arguments {
    /// Tasks from their submission to durable receipts, with jobs that do nothing.
    Tasks(tasks::TasksArgs),
    /// From an offer to the start of its job, and from its result to the master, over some brokers.
    Away(away::AwayArgs),
    /// Offers on their way to all of 16 brokers in a ring with chords: one at a time, and a burst.
    Gossip(gossip::GossipArgs),
    /// A broker that was away while offers came.
    Comeback(comeback::ComebackArgs),
    /// 100 swarms in one process, which gossip and check 20 offers a second.
    Swarms(swarms::SwarmsArgs),
    /// 10,000 volunteers at one broker, and nothing to do.
    Idle(idle::IdleArgs),
    /// One volunteer as it is: with nothing to do, then with a thousand short tasks in its sandbox.
    Daemon(daemon::DaemonArgs),
    /// A WebAssembly module that does nothing, from start to exit, compiled before and not.
    Wasm(wasm::WasmArgs),
    /// C for WebAssembly beside C for this processor, both by clang.
    Kernels(kernels::KernelsArgs),
    /// The start of a native job's sandbox, beside bubblewrap.
    Sandbox(sandbox::SandboxArgs),
    /// Some of those volunteers: what `idle` starts.
    #[command(hide = true)]
    Crowd(crowd::CrowdArgs),
}

fn main() -> Result<()> {
    match Arguments::parse() {
        Arguments::Tasks(args) => tasks::run(&args),
        Arguments::Away(args) => away::run(&args),
        Arguments::Gossip(args) => gossip::run(&args),
        Arguments::Comeback(args) => comeback::run(&args),
        Arguments::Idle(args) => idle::run(&args),
        Arguments::Daemon(args) => daemon::run(&args),
        Arguments::Sandbox(args) => sandbox::run(&args),
        Arguments::Swarms(args) => swarms::run(&args),
        Arguments::Wasm(args) => wasm::run(&args),
        Arguments::Kernels(args) => kernels::run(&args),
        Arguments::Crowd(args) => crowd::run(&args),
    }
}
