//! Tasks from their submission to durable receipts, with an executor that does nothing behind the real
//! claims, leases, results and receipts.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, ValueEnum};

use crate::brokers::Shape;
use crate::figures::{Meter, between, spread};
use crate::programs::{Common, Programs};
use crate::site::Site;

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
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Scene {
    /// One offer of many tasks, through one broker.
    One,
    /// Many offers of one task, through one broker.
    Many,
    /// One task at a time, through one broker.
    Single,
}

/// Builds the programs and runs the benchmarks.
pub fn run(args: &TasksArgs) -> Result<()> {
    let programs = Programs::make(&args.common)?;
    let wanted = |scene: &Scene| args.only.is_empty() || args.only.contains(scene);
    for scene in Scene::value_variants().iter().filter(|scene| wanted(scene)) {
        match scene {
            Scene::One => one_offer(args, &programs)?,
            Scene::Many => many_offers(args, &programs)?,
            Scene::Single => one_at_a_time(args, &programs)?,
        }
    }
    Ok(())
}

fn one_offer(args: &TasksArgs, programs: &Programs) -> Result<()> {
    let programs = programs.afresh()?;
    let site = Site::start(&programs, Shape::Line(1), VOLUNTEERS)?;
    site.master.submit("warm-up", WARM_UP)?;
    site.await_receipts(WARM_UP.into(), LONG)?;
    let meter = Meter::start(site.processes())?;
    let begun = Instant::now();
    site.master.submit("one-offer", args.tasks)?;
    site.await_receipts(u64::from(WARM_UP) + u64::from(args.tasks), LONG)?;
    let rate = f64::from(args.tasks) / begun.elapsed().as_secs_f64();
    println!("one offer of {} tasks: {rate:.0} tasks/s", args.tasks);
    meter.print(site.processes(), args.tasks)
}

fn many_offers(args: &TasksArgs, programs: &Programs) -> Result<()> {
    let programs = programs.afresh()?;
    let site = Site::start(&programs, Shape::Line(1), VOLUNTEERS)?;
    let meter = Meter::start(site.processes())?;
    let begun = Instant::now();
    let offers = args.offers;
    site.master.submit_many("many", offers, SUBMITTERS)?;
    let submitted = begun.elapsed().as_secs_f64();
    site.await_receipts(offers.into(), LONG)?;
    let rate = f64::from(offers) / begun.elapsed().as_secs_f64();
    println!("{offers} offers of one task: {rate:.0}/s (submitted within {submitted:.1} s)");
    meter.print(site.processes(), offers)
}

fn one_at_a_time(args: &TasksArgs, programs: &Programs) -> Result<()> {
    let programs = programs.afresh()?;
    let mut site = Site::start(&programs, Shape::Line(1), 1)?;
    let mut samples = Vec::new();
    for n in 0..args.singles {
        let begun = jiff::Timestamp::now();
        let offer = site.master.submit(&format!("single-{n}"), 1)?;
        let receipt = site.volunteers[0].told("receipt", &offer)?;
        samples.push(between(begun, receipt));
    }
    println!("one task at a time, to its receipt: {}", spread(samples));
    Ok(())
}
