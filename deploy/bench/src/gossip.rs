//! Offers on their way to all of many brokers, of which each is linked to few.

use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;

use crate::brokers::{self, Broker, Shape};
use crate::figures::{Meter, between, machine, spread};
use crate::master::Master;
use crate::processes::Event;
use crate::programs::{Common, Programs};
use crate::site::PATIENCE;

/// Offers before those that count.
const WARM_UP: u32 = 10;
/// Clients that submit the burst.
const SUBMITTERS: u32 = 8;

/// What `bench gossip` takes.
#[derive(Debug, Args)]
pub struct GossipArgs {
    #[command(flatten)]
    common: Common,
    /// Brokers, in a ring with chords.
    #[arg(long, default_value_t = 16)]
    brokers: usize,
    /// Offers that come one at a time.
    #[arg(long, default_value_t = 200)]
    singles: u32,
    /// Offers that come at once.
    #[arg(long, default_value_t = 500)]
    burst: u32,
}

/// Measures from the submission of offers until the last broker knows them.
pub fn run(args: &GossipArgs) -> Result<()> {
    let programs = Programs::make(&args.common)?;
    let mut brokers = brokers::start(&programs, Shape::Chords(args.brokers))?;
    let master = Master::start(&programs, "master", &brokers[0].address)?;
    one_at_a_time(&master, &mut brokers, "warm-up", WARM_UP)?;

    let meter = Meter::start(brokers.iter().map(|broker| &broker.process))?;
    let samples = one_at_a_time(&master, &mut brokers, "single", args.singles)?;
    println!("{} brokers in a ring with chords, on {}", args.brokers, machine());
    println!("  an offer at all brokers: {}", spread(samples));
    meter.print(brokers.iter().map(|broker| &broker.process), args.singles)?;

    let meter = Meter::start(brokers.iter().map(|broker| &broker.process))?;
    let known_before = WARM_UP + args.singles;
    let begun = Timestamp::now();
    master.submit_many("burst", args.burst, SUBMITTERS)?;
    let submitted = between(begun, Timestamp::now());
    let mut last = Vec::new();
    for broker in &mut brokers {
        let count = (known_before + args.burst) as usize;
        let known = broker.process.gather(count, PATIENCE, is_known)?;
        let at = known.iter().map(|event| event.at).max().context("a burst of nothing")?;
        last.push(between(begun, at));
    }
    println!("  a burst of {}, submitted within {submitted:.2?}:", args.burst);
    println!("  all of it at its home after {:.2?}", last[0]);
    println!("  all of it at each broker: {}", spread(last));
    meter.print(brokers.iter().map(|broker| &broker.process), args.burst)
}

/// For each of `count` offers, how long it took until all `brokers` knew it.
fn one_at_a_time(
    master: &Master,
    brokers: &mut [Broker],
    prefix: &str,
    count: u32,
) -> Result<Vec<Duration>> {
    let mut samples = Vec::new();
    for n in 0..count {
        let begun = Timestamp::now();
        let offer = master.submit(&format!("{prefix}-{n}"), 1)?;
        let mut last = begun;
        for broker in brokers.iter_mut() {
            last = last.max(broker.knows(&offer)?);
        }
        samples.push(between(begun, last));
    }
    Ok(samples)
}

/// Whether a broker says that it has an offer.
fn is_known(event: &Event) -> bool {
    event.name == "offer known" || event.name == "offer taken"
}

impl Broker {
    /// Waits until it knows `offer`; gives since when.
    fn knows(&mut self, offer: &str) -> Result<Timestamp> {
        let wanted = |it: &Event| is_known(it) && offer.starts_with(&it.field("offer"));
        let known = self.process.wait(0, PATIENCE, wanted);
        Ok(known.with_context(|| format!("offer {offer} has not come"))?.at)
    }
}
