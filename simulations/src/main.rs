//! `simulations run --seed 7 --trace` plays one seed; `simulations sweep --seeds 0..1000` plays many
//! and stops at the first that breaks an invariant.

use std::io;
use std::ops::Range;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use simulations::{Outcome, Scenario};

/// Plays Talkoot's cores in a simulated network with faults; the same seed, the same story.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Play one seed.
    Run {
        /// What everything is left to.
        #[arg(long)]
        seed: u64,
        #[command(flatten)]
        size: Size,
        /// Show everything that happens, one line each.
        #[arg(long)]
        trace: bool,
    },
    /// Play many seeds, until one breaks an invariant.
    Sweep {
        /// The first seed and the one after the last, as in `0..1000`.
        #[arg(long, value_parser = seeds)]
        seeds: Range<u64>,
        #[command(flatten)]
        size: Size,
    },
}

#[derive(Debug, Clone, Copy, Args)]
struct Size {
    /// Tasks of the job.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    tasks: u32,
    /// Results wanted of each task.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=3))]
    replicas: u16,
    /// Seconds that clocks are apart at most.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(0..=300))]
    skew: u64,
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run { seed, size, trace } => run(seed, size, trace),
        Command::Sweep { seeds, size } => sweep(seeds, size),
    }
}

fn run(seed: u64, size: Size, trace: bool) -> ExitCode {
    let shown_to = trace.then(|| Box::new(io::BufWriter::new(io::stdout())) as Box<dyn io::Write>);
    let outcome = scenario(seed, size).play(shown_to);
    println!("{}", line(seed, &outcome));
    verdict(seed, size, &outcome)
}

fn sweep(seeds: Range<u64>, size: Size) -> ExitCode {
    for seed in seeds {
        let outcome = scenario(seed, size).play(None);
        println!("{}", line(seed, &outcome));
        if outcome.violation.is_some() {
            return verdict(seed, size, &outcome);
        }
    }
    ExitCode::SUCCESS
}

fn scenario(seed: u64, size: Size) -> Scenario {
    let Size { tasks, replicas, skew } = size;
    Scenario { seed, tasks, replicas, skew: Duration::from_secs(skew), sabotage: None }
}

fn line(seed: u64, outcome: &Outcome) -> String {
    let Outcome { trace, ended, counts, accepted, granted, .. } = outcome;
    let trace = &trace.to_hex()[..16];
    format!(
        "seed {seed}: {accepted} accepted of {granted} leases after {:.1} s; {} events, {} frames, \
         {} commits; {} kills ({} between actions, {} in mid-task), {} disks lost ({} of sole custodians), {} cuts; \
         trace {trace}",
        ended.0.as_secs_f64(),
        counts.events,
        counts.frames,
        counts.commits,
        counts.kills,
        counts.killed_between_actions,
        counts.killed_in_mid_task,
        counts.disks_lost,
        counts.custodians_destroyed,
        counts.cuts,
    )
}

fn verdict(seed: u64, size: Size, outcome: &Outcome) -> ExitCode {
    let Some(violation) = &outcome.violation else { return ExitCode::SUCCESS };
    eprintln!("{violation}");
    eprintln!(
        "replay: cargo run -p simulations -- run --seed {seed} --tasks {} --replicas {} --skew {} --trace",
        size.tasks, size.replicas, size.skew
    );
    ExitCode::FAILURE
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("expected FIRST..END, as in 0..1000")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("`{text}`: {error}"));
    let seeds = number(first)?..number(end)?;
    if seeds.is_empty() { Err("no seed in that range".to_owned()) } else { Ok(seeds) }
}
