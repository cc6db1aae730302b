//! One volunteer as people run it: what it takes while there is nothing to do, and what it adds to jobs that are short.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;

use crate::brokers::Shape;
use crate::figures::{Meter, machine};
use crate::programs::{Common, Programs};
use crate::site::Site;

/// Cores that it donates: as many tasks run at a time.
const CORES: u32 = 2;
/// Until it has tried its runtimes and left its ad, and nothing is left of its start.
const SETTLING: Duration = Duration::from_secs(30);
/// Tasks before those that count.
const WARM_UP: u32 = 20;
/// The longest that all tasks may take, on a busy machine.
const LONG: Duration = Duration::from_secs(500);

/// What `bench daemon` takes.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// How long there is nothing to do, such as 10m.
    #[arg(long, default_value = "10m", value_parser = humantime::parse_duration)]
    idle: Duration,
    /// Tasks that do nothing, each in a sandbox of its own.
    #[arg(long, default_value_t = 1_000)]
    tasks: u32,
    #[command(flatten)]
    common: Common,
}

/// Builds the programs, and measures one volunteer with a broker and a master on the same machine.
pub fn run(args: &DaemonArgs) -> Result<()> {
    ensure!(args.tasks > 0 && !args.idle.is_zero(), "no tasks or no time, no figures");
    let programs = Programs::make(&args.common)?;
    let site = Site::with_one_volunteer(&programs, Shape::Line(1), CORES)?;
    idle(args, &site)?;
    tasks(args, &site)
}

fn idle(args: &DaemonArgs, site: &Site) -> Result<()> {
    std::thread::sleep(SETTLING);
    let volunteer = &site.volunteers[0];
    let (usage, wakeups) = (volunteer.usage()?, volunteer.wakeups()?);
    std::thread::sleep(args.idle);
    let seconds = args.idle.as_secs_f64();
    let after = volunteer.usage()?;
    let cpu = (after.cpu - usage.cpu) / seconds * 100.0;
    let woken = (volunteer.wakeups()?.saturating_sub(wakeups)) as f64 / seconds;
    println!("nothing to do for {}, on {}", humantime::format_duration(args.idle), machine());
    println!(
        "  {:.1} MiB resident, {cpu:.3} % of a core, its threads woken {woken:.1} times a second",
        after.resident as f64 / f64::from(1 << 20)
    );
    Ok(())
}

fn tasks(args: &DaemonArgs, site: &Site) -> Result<()> {
    site.master.submit_native("warm-up", WARM_UP)?;
    site.await_receipts(WARM_UP.into(), LONG)?;
    let meter = Meter::start(site.processes())?;
    let begun = Instant::now();
    site.master.submit_native("short", args.tasks)?;
    site.await_receipts(u64::from(WARM_UP) + u64::from(args.tasks), LONG)?;
    let each = begun.elapsed().as_secs_f64() * f64::from(CORES) / f64::from(args.tasks);
    println!("{} tasks of `true`, {CORES} at a time, to their durable receipts", args.tasks);
    println!("  {:.1} ms of a core each, the job's own included", each * 1e3);
    meter.print(site.processes(), args.tasks)
}
