//! A broker that was away while offers came.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use jiff::Timestamp;
use tokio::runtime::Runtime;

use crate::brokers::Broker;
use crate::figures::{Meter, between, machine};
use crate::master::Master;
use crate::processes::{Event, Process};
use crate::programs::{Common, Programs};
use crate::site::PATIENCE;
use crate::wire::Wire;

const MIB: f64 = 1024.0 * 1024.0;

/// Projects that offer: as many as fill a broker, of whose offers each may have a tenth.
const PROJECTS: u32 = 10;
/// Clients of each project that submit at a time.
const SUBMITTERS: u32 = 4;
/// The longest that a return may take.
const LONG: Duration = Duration::from_secs(300);

/// What `bench comeback` takes.
#[derive(Debug, Args)]
pub struct ComebackArgs {
    #[command(flatten)]
    common: Common,
    /// Offers that come in all: what a broker keeps at most.
    #[arg(long, default_value_t = 10_000)]
    offers: u32,
}

/// A broker at home with its projects, and one that goes and comes back over a wire that counts.
struct Story {
    home: Broker,
    masters: Vec<Master>,
    wire: Wire,
    away: Broker,
    /// How often they were linked.
    links: usize,
    offers: u32,
}

/// Measures how long a broker takes that comes back, and what it is sent.
pub fn run(args: &ComebackArgs) -> Result<()> {
    let programs = Programs::make(&args.common)?;
    let runtime = Runtime::new()?;
    let mut story = Story::start(&programs, &runtime)?;
    println!("a broker comes back, on {}", machine());
    let tenth = args.offers / 10;
    for missed in [tenth, tenth / 10, args.offers - tenth - tenth / 10] {
        story.miss(missed)?;
    }
    story.restart(&programs)
}

impl Story {
    fn start(programs: &Programs, runtime: &Runtime) -> Result<Self> {
        let home = Broker::start(programs, "home", &[])?;
        let names = (0..PROJECTS).map(|n| format!("master-{n}"));
        let masters = names.map(|name| Master::start(programs, &name, &home.address));
        let masters = masters.collect::<Result<Vec<_>>>()?;
        let wire = runtime.block_on(Wire::lay(&home.address, Ipv4Addr::new(127, 0, 9, 1)))?;
        let away = Broker::start(programs, "away", &[&wire.address])?;
        let mut story = Self { home, masters, wire, away, links: 1, offers: 0 };
        story.await_link()?;
        Ok(story)
    }

    /// The link is cut while offers come.
    fn miss(&mut self, offers: u32) -> Result<()> {
        self.wire.cut();
        self.links += 1;
        self.away.process.gather(self.links - 1, PATIENCE, |event| event.name == "link down")?;
        for (n, master) in self.masters.iter().enumerate() {
            let prefix = format!("{}-{n}", self.offers);
            master.submit_many(&prefix, offers / PROJECTS, SUBMITTERS)?;
        }
        let missed = offers / PROJECTS * PROJECTS;
        self.offers += missed;
        // A master has submitted jobs before its broker has their offers.
        let taken = |event: &Event| event.name == "offer taken";
        self.home.process.gather(self.offers as usize, LONG, taken)?;
        let meter = Meter::start(self.brokers())?;
        let sent = self.wire.bytes();
        self.wire.mend();
        let back = self.await_link()?;
        self.tell("its link was cut", missed, back, sent)?;
        meter.print(self.brokers(), missed)
    }

    /// The broker itself is gone, and what it knew of others' offers with it.
    fn restart(&mut self, programs: &Programs) -> Result<()> {
        self.away.process.kill();
        let (sent, back) = (self.wire.bytes(), Timestamp::now());
        self.away = Broker::start(programs, "away", &[&self.wire.address])?;
        self.tell("it was restarted", self.offers, back, sent)
    }

    /// Waits until the broker has all offers again; prints what it took since it was `back`, when so
    /// many bytes had been `sent`.
    fn tell(&mut self, why: &str, missed: u32, back: Timestamp, sent: u64) -> Result<()> {
        let offers = self.offers;
        let known = |event: &Event| event.name == "offer known";
        let known = self.away.process.gather(offers as usize, LONG, known)?;
        let last = known.iter().map(|event| event.at).max().context("nothing was missed")?;
        let (took, sent) = (between(back, last), self.wire.bytes() - sent);
        let each = sent as f64 / f64::from(missed);
        println!("{why}, {missed} of {offers} offers missed: complete after {took:.2?}");
        println!("  {:.1} MiB, {each:.0} bytes for each that was missed", sent as f64 / MIB);
        Ok(())
    }

    /// Waits until the brokers are linked once more; gives since when.
    fn await_link(&mut self) -> Result<Timestamp> {
        let links = self.away.process.gather(self.links, PATIENCE, |it| it.name == "link up")?;
        Ok(links.last().context("there is a link")?.at)
    }

    fn brokers(&self) -> impl Iterator<Item = &Process> {
        [&self.home.process, &self.away.process].into_iter()
    }
}
