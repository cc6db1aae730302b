//! Very many volunteers at one broker, for which there is nothing to do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;

use crate::brokers::Broker;
use crate::figures::machine;
use crate::master::Master;
use crate::processes::Process;
use crate::programs::{Common, Programs};
use crate::site::PATIENCE;

/// Volunteers in one process, each of which takes three file descriptors there; many systems give a
/// process 20,000.
const PER_CROWD: u32 = 5_000;
/// How long it may take until all are there.
const LONG: Duration = Duration::from_secs(900);
/// So often each volunteer is to renew its ad.
const RENEWED_EVERY: Duration = Duration::from_secs(15 * 60);

/// What `bench idle` takes.
#[derive(Debug, Args)]
pub struct IdleArgs {
    #[command(flatten)]
    common: Common,
    /// How many volunteers.
    #[arg(long, default_value_t = 10_000)]
    volunteers: u32,
    /// Seconds in which nothing happens.
    #[arg(long, default_value_t = 180)]
    idle: u64,
    /// Seconds in which each of them renews its ad once.
    #[arg(long, default_value_t = 120)]
    refresh: u64,
}

/// Measures what they cost their broker: while they connect, while nothing happens, and while all of
/// them renew their ads.
pub fn run(args: &IdleArgs) -> Result<()> {
    let programs = Programs::make(&args.common)?;
    let mut broker = Broker::start(&programs, "broker", &[])?;
    let master = Master::start(&programs, "master", &broker.address)?;
    let volunteers = f64::from(args.volunteers);
    println!("{volunteers} volunteers, on {}", machine());

    let alone = Look::at(&broker.process)?;
    let mut crowds = crowds(&programs, args, &broker.address, &master.uri)?;
    await_all(&mut crowds, "settled")?;
    let settled = Look::at(&broker.process)?;
    let (wall, cpu) = settled.since(&alone);
    println!("  all connected after {wall:.0} s, {:.2} ms CPU each", cpu * 1e3 / volunteers);

    await_all(&mut crowds, "refreshing")?;
    let rested = Look::at(&broker.process)?;
    let (wall, cpu) = rested.since(&settled);
    let idle = cpu / wall;
    let memory = rested.resident.saturating_sub(alone.resident) as f64 / volunteers / 1024.0;
    println!("  {memory:.1} KiB resident each ({} MiB in all)", rested.resident >> 20);
    println!("  at rest for {wall:.0} s: {:.1} % of a core", idle * 100.0);

    await_all(&mut crowds, "refreshed")?;
    let refreshed = Look::at(&broker.process)?;
    let (wall, cpu) = refreshed.since(&rested);
    let each = (cpu - idle * wall).max(0.0) / volunteers;
    let renewing = each * volunteers / RENEWED_EVERY.as_secs_f64();
    println!("  a new ad each within {wall:.0} s: {:.0} us CPU each", each * 1e6);
    println!(
        "  with new ads every 15 minutes: {:.1} % of a core; load {}",
        (idle + renewing) * 100.0,
        crate::figures::load()
    );
    for counter in ["peers", "ads", "pulls", "refused_over_limit_total"] {
        println!("  {counter}: {}", broker.counter(counter)?);
    }
    Ok(())
}

fn crowds(
    programs: &Programs,
    args: &IdleArgs,
    broker: &str,
    project: &str,
) -> Result<Vec<Process>> {
    let count = args.volunteers.div_ceil(PER_CROWD);
    let start = |n: u32| {
        let mut command = programs.own("bench");
        let size = PER_CROWD.min(args.volunteers - n * PER_CROWD);
        command.args(["crowd", "--broker", broker, "--project", project]);
        for (name, value) in [
            ("--volunteers", u64::from(size)),
            ("--number", u64::from(n) + 1),
            ("--idle", args.idle),
            ("--refresh", args.refresh),
        ] {
            command.arg(name).arg(value.to_string());
        }
        Process::start(&format!("crowd-{n}"), command, programs.directory())
    };
    (0..count).map(start).collect()
}

fn await_all(crowds: &mut [Process], name: &str) -> Result<()> {
    crowds.iter_mut().try_for_each(|crowd| crowd.wait(0, LONG, |it| it.name == name).map(drop))
}

/// What a process had taken at a time.
struct Look {
    at: Instant,
    cpu: f64,
    resident: u64,
}

impl Look {
    fn at(process: &Process) -> Result<Self> {
        let usage = process.usage()?;
        Ok(Self { at: Instant::now(), cpu: usage.cpu, resident: usage.resident })
    }

    /// Seconds, and seconds of CPU time, since `before`.
    fn since(&self, before: &Self) -> (f64, f64) {
        ((self.at - before.at).as_secs_f64(), self.cpu - before.cpu)
    }
}

impl Broker {
    /// One of the figures that it shows.
    fn counter(&mut self, name: &str) -> Result<String> {
        let http = self.process.wait(0, PATIENCE, |event| event.name == "http")?.field("address");
        let page = ureq::get(format!("http://{http}/metrics")).call()?;
        let page = page.into_body().read_to_string()?;
        let prefix = format!("talkoot_broker_{name} ");
        let value = page.lines().find_map(|line| line.strip_prefix(&prefix));
        Ok(value.with_context(|| format!("the broker shows no {name}"))?.to_owned())
    }
}
