//! Tasks from their submission to durable receipts, with an executor that does nothing behind the real
//! claims, leases, results and receipts.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::{Args, ValueEnum};

use crate::figures::{Meter, spread};
use crate::processes::{self, Process};
use crate::site::{PATIENCE, Plan, Site};

/// Volunteer processes at one broker.
const VOLUNTEERS: usize = 8;
/// Tasks before those that count, so that nothing is measured for the first time.
const WARM_UP: u32 = 2_000;
/// Clients that submit at the same time.
const SUBMITTERS: u32 = 8;
/// The longest that a whole benchmark may take, on a busy machine.
const LONG: Duration = Duration::from_secs(500);

/// What `bench tasks` takes.
#[derive(Debug, Args)]
pub struct TasksArgs {
    /// Only these; all without.
    #[arg(long, value_enum)]
    only: Vec<Scene>,
    /// Tasks of the one large offer.
    #[arg(long, default_value_t = 100_000)]
    tasks: u32,
    /// Offers of one task each.
    #[arg(long, default_value_t = 10_000)]
    offers: u32,
    /// Tasks that are submitted one at a time.
    #[arg(long, default_value_t = 200)]
    singles: u32,
    /// What the programs log; `warn` shows what the logs cost.
    #[arg(long, default_value = "info")]
    log: String,
    /// Takes the programs as they are, instead of building them.
    #[arg(long)]
    built: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// One offer of many tasks, through one broker.
    One,
    /// Many offers of one task, through one broker.
    Many,
    /// One task at a time, through one broker.
    Single,
    /// One task at a time, whose volunteer is two brokers away from its master.
    Away,
}

/// Builds the programs and runs the benchmarks.
pub fn run(args: &TasksArgs) -> Result<()> {
    let programs = if args.built { xtask::tools::programs()? } else { processes::build()? };
    let wanted = |scene: &Scene| args.only.is_empty() || args.only.contains(scene);
    for scene in Scene::value_variants().iter().filter(|scene| wanted(scene)) {
        match scene {
            Scene::One => one_offer(args, &programs)?,
            Scene::Many => many_offers(args, &programs)?,
            Scene::Single => one_at_a_time(args, &programs)?,
            Scene::Away => two_brokers_away(args, &programs)?,
        }
    }
    Ok(())
}

fn one_offer(args: &TasksArgs, programs: &Path) -> Result<()> {
    with_site(args, programs, (1, VOLUNTEERS), |site| {
        site.submit("warm-up", WARM_UP)?;
        site.await_receipts(WARM_UP.into(), LONG)?;
        let meter = Meter::start(site.processes())?;
        let begun = Instant::now();
        site.submit("one-offer", args.tasks)?;
        site.await_receipts(u64::from(WARM_UP) + u64::from(args.tasks), LONG)?;
        let rate = f64::from(args.tasks) / begun.elapsed().as_secs_f64();
        println!("one offer of {} tasks: {rate:.0} tasks/s", args.tasks);
        meter.print(site.processes(), args.tasks)
    })
}

fn many_offers(args: &TasksArgs, programs: &Path) -> Result<()> {
    with_site(args, programs, (1, VOLUNTEERS), |site| {
        let meter = Meter::start(site.processes())?;
        let begun = Instant::now();
        let each = args.offers / SUBMITTERS;
        std::thread::scope(|scope| {
            let submit = |n| {
                let site = &site;
                move || (0..each).try_for_each(|m| site.submit(&format!("{n}-{m}"), 1).map(drop))
            };
            let submitters: Vec<_> = (0..SUBMITTERS).map(|n| scope.spawn(submit(n))).collect();
            let ended = submitters.into_iter().map(|it| it.join().expect("no submitter panics"));
            ended.collect::<Result<()>>()
        })?;
        let submitted = begun.elapsed().as_secs_f64();
        let offers = each * SUBMITTERS;
        site.await_receipts(offers.into(), LONG)?;
        let rate = f64::from(offers) / begun.elapsed().as_secs_f64();
        println!("{offers} offers of one task: {rate:.0}/s (submitted within {submitted:.1} s)");
        meter.print(site.processes(), offers)
    })
}

fn one_at_a_time(args: &TasksArgs, programs: &Path) -> Result<()> {
    with_site(args, programs, (1, 1), |mut site| {
        let mut samples = Vec::new();
        for n in 0..args.singles {
            let begun = jiff::Timestamp::now();
            let offer = site.submit(&format!("single-{n}"), 1)?;
            let receipt = told(&mut site.volunteers[0], "receipt", &offer)?;
            samples.push(between(begun, receipt));
        }
        println!("one task at a time, to its receipt: {}", spread(samples));
        Ok(())
    })
}

fn two_brokers_away(args: &TasksArgs, programs: &Path) -> Result<()> {
    with_site(args, programs, (2, 1), |mut site| {
        let (mut starts, mut returns) = (Vec::new(), Vec::new());
        for n in 0..args.singles {
            let begun = jiff::Timestamp::now();
            let offer = site.submit(&format!("away-{n}"), 1)?;
            starts.push(between(begun, told(&mut site.volunteers[0], "started", &offer)?));
            let finished = told(&mut site.volunteers[0], "finished", &offer)?;
            returns.push(between(finished, told(&mut site.master, "accepted", &offer)?));
            told(&mut site.volunteers[0], "receipt", &offer)?;
        }
        println!("two brokers away, offer to start: {}", spread(starts));
        println!("two brokers away, result to master: {}", spread(returns));
        Ok(())
    })
}

/// Does `work` on a new site of so many brokers and volunteers.
fn with_site(
    args: &TasksArgs,
    programs: &Path,
    (brokers, volunteers): (usize, usize),
    work: impl FnOnce(Site) -> Result<()>,
) -> Result<()> {
    let directory = tempfile::Builder::new().prefix("talkoot-bench-").tempdir()?;
    let (directory, log) = (directory.path(), args.log.as_str());
    let site = Site::start(&Plan { programs, directory, brokers, volunteers, log })?;
    work(site)
}

/// When `process` logged `event` about `offer`.
fn told(process: &mut Process, event: &str, offer: &str) -> Result<jiff::Timestamp> {
    let named = |text: &str| !text.is_empty() && offer.starts_with(text);
    let told = process.wait(0, PATIENCE, |it| it.name == event && named(&it.field("offer")));
    Ok(told.with_context(|| format!("no {event:?} of offer {offer}"))?.at)
}

fn between(from: jiff::Timestamp, to: jiff::Timestamp) -> Duration {
    Duration::try_from(to.duration_since(from)).unwrap_or_default()
}
