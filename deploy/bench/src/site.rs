//! A project, its brokers and its volunteers, running.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use ureq::Agent;
use xtask::tools;

use crate::brokers::{self, Broker, Shape};
use crate::master::Master;
use crate::processes::Process;
use crate::programs::Programs;

/// Whatever is waited for takes a second at most on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Leases that one volunteer works on at a time: a claim's worth.
const CORES: u32 = 256;

/// A running network of one project: the master is at the first broker, the volunteers at the last.
pub struct Site {
    pub brokers: Vec<Broker>,
    pub master: Master,
    pub volunteers: Vec<Process>,
    /// Where the volunteers show what they count.
    pages: Vec<String>,
    agent: Agent,
}

impl Site {
    /// Starts it, and waits until every volunteer has left its ad. Their jobs do nothing.
    pub fn start(programs: &Programs, shape: Shape, volunteers: usize) -> Result<Self> {
        Self::with(programs, shape, "bench-volunteer", volunteers, CORES)
    }

    /// The same with one volunteer, which runs as many tasks as it has `cores`.
    pub fn with_one_volunteer(programs: &Programs, shape: Shape, cores: u32) -> Result<Self> {
        Self::with(programs, shape, "talkoot-volunteer", 1, cores)
    }

    fn with(
        programs: &Programs,
        shape: Shape,
        program: &str,
        volunteers: usize,
        cores: u32,
    ) -> Result<Self> {
        let brokers = brokers::start(programs, shape)?;
        let (first, last) = (&brokers[0].address, &brokers[brokers.len() - 1].address);
        let master = Master::start(programs, "master", first)?;
        let pin = |name: &str| pin(programs, name, &master.uri);
        let cores = cores.to_string();
        let started = (0..volunteers).map(|n| {
            let name = format!("volunteer-{n}");
            pin(&name)?;
            let donated = ["--cores", &cores, "--memory", "1 GiB", "--disk", "1 GiB"];
            let args = [&["--broker", last, "--name", &name][..], &donated].concat();
            programs.start(program, &name, &args)
        });
        let mut volunteers = started.collect::<Result<Vec<_>>>()?;
        let mut pages = Vec::new();
        for volunteer in &mut volunteers {
            let http = volunteer.wait(0, PATIENCE, |event| event.name == "http")?.field("address");
            pages.push(format!("http://{http}/metrics"));
            volunteer.wait(0, PATIENCE, |event| event.name == "ad sent")?;
        }
        let agent = Agent::config_builder().proxy(None).build().into();
        Ok(Self { brokers, master, volunteers, pages, agent })
    }

    /// Every process.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let brokers = self.brokers.iter().map(|broker| &broker.process);
        brokers.chain([&self.master.process]).chain(&self.volunteers)
    }

    /// Waits until the volunteers together hold `count` durable receipts that accept.
    pub fn await_receipts(&self, count: u64, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            let receipts = self.receipts()?;
            if receipts >= count {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("{receipts} of {count} receipts after {patience:?}");
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Durable receipts that accept, at all volunteers.
    pub fn receipts(&self) -> Result<u64> {
        let mut receipts = 0;
        for page in &self.pages {
            let page = self.agent.get(page).call()?;
            let page = page.into_body().read_to_string()?;
            let counter = "talkoot_volunteer_receipts_total{verdict=\"accepted\"} ";
            let line = page.lines().find_map(|line| line.strip_prefix(counter));
            receipts += line.map_or(Ok(0), str::parse::<u64>)?;
        }
        Ok(receipts)
    }
}

fn pin(programs: &Programs, name: &str, uri: &str) -> Result<()> {
    let mut pin = programs.command("talkoot-volunteer", name);
    tools::output(pin.args(["project", "add", uri, "--allow", "native"])).map(drop)
}
