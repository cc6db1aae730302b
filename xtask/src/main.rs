//! The repository's own commands: `cargo xtask demo` and `cargo xtask check`.

mod check;
mod demo;
mod python;
mod python_volunteer;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The repository's own commands.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a whole network on this machine: three brokers, three volunteers, two masters, real jobs.
    Demo(demo::DemoArgs),
    /// Runs every check: what is green here is green in CI.
    Check(check::CheckArgs),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Check(args) => check::run_all(&args),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
