//! Brokers that are linked as a benchmark wants it, and not to whom they choose.

use std::time::Duration;

use anyhow::Result;

use crate::processes::Process;
use crate::programs::Programs;
use crate::site::PATIENCE;

/// Gossip finds its own ways within some beats of a second each.
const WAYS_FORM: Duration = Duration::from_secs(5);

/// Who is linked to whom.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// So many, each to the one before.
    Line(usize),
    /// So many in a ring, with a chord through the middle from every second one.
    Chords(usize),
}

impl Shape {
    fn count(self) -> usize {
        match self {
            Self::Line(count) | Self::Chords(count) => count,
        }
    }

    /// Those before number `n` that it dials.
    fn dialled(self, n: usize) -> Vec<usize> {
        let mut dialled: Vec<_> = n.checked_sub(1).into_iter().collect();
        if let Self::Chords(count) = self {
            dialled.extend((n == count - 1).then_some(0));
            dialled.extend(n.checked_sub(count / 2).filter(|_| n.is_multiple_of(2)));
        }
        dialled
    }
}

/// A running broker.
pub struct Broker {
    pub process: Process,
    /// Where others dial it.
    pub address: String,
}

impl Broker {
    /// Starts one that dials `known` and nobody else.
    pub fn start(programs: &Programs, name: &str, known: &[&str]) -> Result<Self> {
        let mut args = vec!["--listen", "/ip4/127.0.0.1/tcp/0", "--door", "127.0.0.1:0"];
        args.extend(["--discover", "false"]);
        known.iter().for_each(|known| args.extend(["--bootstrap", known]));
        let mut process = programs.start("talkoot-broker", name, &args)?;
        let listening = process.wait(0, PATIENCE, |event| event.name == "listening")?;
        Ok(Self { process, address: listening.field("address") })
    }
}

/// Starts the brokers of `shape`, and waits until all links are there and gossip has found its ways.
pub fn start(programs: &Programs, shape: Shape) -> Result<Vec<Broker>> {
    let mut brokers: Vec<Broker> = Vec::new();
    let mut links = vec![0; shape.count()];
    for n in 0..shape.count() {
        let dialled = shape.dialled(n);
        links[n] += dialled.len();
        dialled.iter().for_each(|other| links[*other] += 1);
        let known: Vec<_> = dialled.iter().map(|other| brokers[*other].address.clone()).collect();
        let known: Vec<_> = known.iter().map(String::as_str).collect();
        brokers.push(Broker::start(programs, &format!("broker-{n}"), &known)?);
    }
    for (broker, links) in brokers.iter_mut().zip(links) {
        broker.process.gather(links, PATIENCE, |event| event.name == "link up")?;
    }
    if shape.count() > 1 {
        std::thread::sleep(WAYS_FORM);
    }
    Ok(brokers)
}
