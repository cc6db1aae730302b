//! One task at a time, whose volunteer and whose master are at brokers with others between them.

use anyhow::Result;
use clap::Args;

use crate::brokers::Shape;
use crate::figures::{between, machine, spread};
use crate::programs::{Common, Programs};
use crate::site::Site;

/// Tasks before those that count.
const WARM_UP: u32 = 20;

/// What `bench away` takes.
#[derive(Debug, Args)]
pub struct AwayArgs {
    #[command(flatten)]
    common: Common,
    /// Tasks for each length of the way.
    #[arg(long, default_value_t = 300)]
    tasks: u32,
    /// How many brokers away the volunteer's broker is from the master's.
    #[arg(long, default_values_t = [0, 1, 2])]
    hops: Vec<usize>,
}

/// Measures from the submission to the start of the job, and from its end to the master's acceptance.
pub fn run(args: &AwayArgs) -> Result<()> {
    let programs = Programs::make(&args.common)?;
    for hops in &args.hops {
        let programs = programs.afresh()?;
        let mut site = Site::start(&programs, Shape::Line(hops + 1), 1)?;
        let (mut starts, mut returns) = (Vec::new(), Vec::new());
        for n in 0..WARM_UP + args.tasks {
            let begun = jiff::Timestamp::now();
            let offer = site.master.submit(&format!("away-{n}"), 1)?;
            let started = site.volunteers[0].told("started", &offer)?;
            let finished = site.volunteers[0].told("finished", &offer)?;
            let accepted = site.master.process.told("accepted", &offer)?;
            // The next one finds all at rest.
            site.volunteers[0].told("receipt", &offer)?;
            if n >= WARM_UP {
                starts.push(between(begun, started));
                returns.push(between(finished, accepted));
            }
        }
        println!("volunteer {hops} brokers away, on {}", machine());
        println!("  offer to start:   {}", spread(starts));
        println!("  result to master: {}", spread(returns));
    }
    Ok(())
}
