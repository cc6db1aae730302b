//! `cargo run -p testbed -- up line`: a network on hosts of its own, to look at and to break.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, Parser, Subcommand, ValueEnum};
use testbed::{Bed, Shape};
use xtask::events::Events;
use xtask::tools;

/// Several hosts on this machine, with the real programs on them.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a network, and takes commands until its input ends.
    Up(Up),
}

#[derive(Debug, Args)]
struct Up {
    /// How the hosts are joined.
    topology: Topology,
    /// Of each cable, from one end to the other.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    delay: Duration,
    /// Longer by up to this.
    #[arg(long, default_value = "0s", value_parser = humantime::parse_duration)]
    jitter: Duration,
    /// Packets of each cable that are lost, in per cent.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    loss: u8,
    /// Bytes a second of each cable.
    #[arg(long)]
    rate: Option<u64>,
    /// Runs the programs in this folder instead of building them.
    #[arg(long)]
    programs: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Topology {
    /// a - b - c
    Line,
    /// a - b - c - a
    Ring,
}

const COMMANDS: &str = "commands: cut A B, heal A B, kill NAME, start NAME, destroy NAME, quit";

fn main() -> ExitCode {
    let Command::Up(up) = Cli::parse().command;
    match run(&up) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(up: &Up) -> Result<()> {
    let programs = match &up.programs {
        Some(folder) => std::path::absolute(folder).context("no such folder")?,
        None => tools::build_programs()?,
    };
    let mut bed = Bed::with(&programs, Events::new(|_| ()))?;
    build(&mut bed, up)?;
    introduce(&bed)?;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split_whitespace().collect();
        if words == ["quit"] {
            break;
        }
        if let Err(error) = obey(&mut bed, &words) {
            println!("{error:#}");
        }
        prompt()?;
    }
    bed.network.end()
}

/// Three brokers on a host each; the master is at the first, a volunteer at the last.
fn build(bed: &mut Bed, up: &Up) -> Result<()> {
    let Up { delay, jitter, rate, .. } = *up;
    let shape = Shape { delay, jitter, rate, ..Shape::WIRE.lossy(f64::from(up.loss) / 100.0) };
    for host in ["a", "b", "c"] {
        bed.add_host(host)?;
    }
    bed.join("a", "b", shape)?;
    bed.join("b", "c", shape)?;
    if matches!(up.topology, Topology::Ring) {
        bed.join("a", "c", shape)?;
    }
    bed.broker("broker-a", "a", &[])?;
    bed.broker("broker-b", "b", &["broker-a"])?;
    bed.broker("broker-c", "c", &["broker-b"])?;
    bed.master("master", "a", &["broker-a", "broker-b"])?;
    bed.volunteer("volunteer", "c", &["broker-c", "broker-b"], "master")
}

fn introduce(bed: &Bed) -> Result<()> {
    println!("\nEverything runs. Each host is a network of its own; enter one from another shell:");
    for host in bed.hosts() {
        println!("  {} at {}: {} bash", host.name(), host.address(), host.entrance());
    }
    println!("and look at the programs from within their hosts, at a and at c for instance:");
    let (broker, http) = (bed.program("broker"), bed.network.http("broker-a"));
    println!("  {} status --http {http}", broker.display());
    for (name, role) in [("master", "master"), ("volunteer", "volunteer")] {
        let (program, state) = (bed.program(role), bed.network.state(name));
        println!("  {} status --state {}", program.display(), state.display());
    }
    println!("{COMMANDS}");
    prompt()
}

fn prompt() -> Result<()> {
    print!("> ");
    std::io::stdout().flush().context("cannot write")
}

fn obey(bed: &mut Bed, words: &[&str]) -> Result<()> {
    match words {
        [] => Ok(()),
        ["cut", a, b] => bed.cut(a, b),
        ["heal", a, b] => bed.heal(a, b),
        ["kill", name] => bed.network.kill(name),
        ["destroy", name] => bed.network.destroy(name),
        ["start", name] => bed.network.start_again(name),
        _ => bail!("{COMMANDS}"),
    }
}
