//! Hosts, cables, and the network of real programs on them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::TempDir;
use xtask::events::Events;
use xtask::network::{Network, Place};
use xtask::tools;

use crate::cable::Cable;
use crate::host::Host;
use crate::pipe::Shape;
use crate::{netem, rights};

/// The directories of beds begin so; the id of their process follows.
const PREFIX: &str = "talkoot-testbed-";

/// By how much the clock of a host is wrong.
#[derive(Debug, Clone, Copy)]
pub enum Skew {
    /// It is fast.
    Ahead(Duration),
    /// It is slow.
    Behind(Duration),
}

/// A network on hosts of its own. Dropping it ends the programs and removes everything.
pub struct Bed {
    /// The programs; each has to be put on a host before it is started.
    pub network: Network,
    cables: BTreeMap<[String; 2], Cable>,
    hosts: BTreeMap<String, Host>,
    skews: BTreeMap<String, Skew>,
    seed: u64,
    directory: TempDir,
}

impl Bed {
    /// An empty bed for `story`, with the programs that were built with this one. None where no
    /// hosts can be made, which is said aloud; in CI that is a panic.
    pub fn new(story: &str) -> Option<Self> {
        if !rights::suffice_for(story) {
            return None;
        }
        let programs = tools::programs().expect("the programs' folder");
        Some(Self::with(&programs, Events::new(|_| ())).expect("a test bed"))
    }

    /// An empty bed with the programs in that folder.
    ///
    /// # Errors
    /// If no directory can be made.
    pub fn with(programs: &Path, events: Arc<Events>) -> Result<Self> {
        sweep(&std::env::temp_dir());
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let directory = tempfile::Builder::new().prefix(&prefix).tempdir();
        let directory = directory.context("cannot make a directory")?;
        Ok(Self {
            network: Network::new(directory.path(), programs, events),
            cables: BTreeMap::new(),
            hosts: BTreeMap::new(),
            skews: BTreeMap::new(),
            seed: seed(),
            directory,
        })
    }

    /// What chance decides in this bed comes from this number: `TALKOOT_SEED`, or another each time.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The directory of everything that the programs write.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where the program of a role is.
    pub fn program(&self, role: &str) -> PathBuf {
        PathBuf::from(self.network.program(&format!("talkoot-{role}")).get_program())
    }

    /// One more host, without cables.
    pub fn add_host(&mut self, name: &str) -> Result<()> {
        let number = u8::try_from(self.hosts.len() + 1).context("too many hosts")?;
        let host = Host::new(name, Ipv4Addr::new(10, 77, 0, number))?;
        self.hosts.insert(name.to_owned(), host);
        Ok(())
    }

    /// A host by its name.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn host(&self, name: &str) -> Result<&Host> {
        self.hosts.get(name).with_context(|| format!("there is no host {name}"))
    }

    /// All hosts.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        self.hosts.values()
    }

    /// Joins two hosts.
    pub fn join(&mut self, a: &str, b: &str, shape: Shape) -> Result<()> {
        let seed = self.seed.wrapping_add(self.cables.len() as u64);
        let cable = Cable::new(self.host(a)?, self.host(b)?, Shape::WIRE, seed)?;
        self.cables.insert(ends(a, b), cable);
        self.shape(a, b, shape)
    }

    /// Changes what a cable does to packets.
    pub fn shape(&self, a: &str, b: &str, shape: Shape) -> Result<()> {
        if !netem::is_wanted() {
            self.cable(a, b)?.shape(shape);
            return Ok(());
        }
        for (at, to) in [(a, b), (b, a)] {
            let mut tc = self.host(at)?.command("tc");
            tools::output(tc.args(netem::words(&format!("to-{to}"), shape).split(' ')))?;
        }
        Ok(())
    }

    /// Nothing passes between two hosts any more; neither is told.
    pub fn cut(&self, a: &str, b: &str) -> Result<()> {
        self.cable(a, b).map(Cable::cut)
    }

    /// Ends a cut.
    pub fn heal(&self, a: &str, b: &str) -> Result<()> {
        self.cable(a, b).map(Cable::heal)
    }

    /// The clock of `host` is wrong for the programs that are put there from now on.
    pub fn skew(&mut self, host: &str, skew: Skew) {
        self.skews.insert(host.to_owned(), skew);
    }

    /// Process `process` of the network runs at `host` whenever it is started from now on.
    pub fn put(&mut self, process: &str, host: &str) -> Result<()> {
        let skew = self.skews.get(host).copied();
        let host = self.host(host)?;
        let mut enter = host.enter();
        enter.extend(skew.map(clock).transpose()?.into_iter().flatten());
        let place = Place { enter, address: host.address().into() };
        self.network.put(process, place);
        Ok(())
    }

    /// Gives process `process`, which is at `host` and not started yet, a disk of so many bytes.
    pub fn small_disk(&self, process: &str, host: &str, bytes: u64) -> Result<()> {
        let state = self.network.state(process);
        std::fs::create_dir(&state).with_context(|| format!("cannot make {}", state.display()))?;
        self.host(host)?.small_disk(&state, bytes)
    }

    fn cable(&self, a: &str, b: &str) -> Result<&Cable> {
        self.cables.get(&ends(a, b)).with_context(|| format!("no cable joins {a} and {b}"))
    }
}

/// A cable's key: its ends in alphabetical order.
fn ends(a: &str, b: &str) -> [String; 2] {
    let mut ends = [a.to_owned(), b.to_owned()];
    ends.sort();
    ends
}

/// The words before a program that sees a wrong wall clock. Its monotonic clock and the times of its
/// files stay right.
fn clock(skew: Skew) -> Result<Vec<String>> {
    let offset = match skew {
        Skew::Ahead(by) => format!("FAKETIME=+{}s", by.as_secs()),
        Skew::Behind(by) => format!("FAKETIME=-{}s", by.as_secs()),
    };
    let preload = format!("LD_PRELOAD={}", libfaketime()?.display());
    let others = ["FAKETIME_DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"];
    let words = ["env", &preload, &offset].into_iter().chain(others);
    Ok(words.map(str::to_owned).collect())
}

/// Where Debian has the library, whatever the architecture.
fn libfaketime() -> Result<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").context("cannot read /usr/lib")?;
    let places = folders.flatten().map(|it| it.path().join("faketime/libfaketimeMT.so.1"));
    let found = places.into_iter().find(|path| path.exists());
    found.context("libfaketime is not installed (Debian: faketime)")
}

/// Removes the directories of beds whose process was killed; nothing else is left of those.
fn sweep(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().into_string().unwrap_or_default();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        let dead = owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists());
        if dead {
            // Another bed may be sweeping too.
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

fn seed() -> u64 {
    let given = std::env::var("TALKOOT_SEED").ok();
    let given = given.map(|seed| seed.parse().expect("TALKOOT_SEED is a number"));
    given.unwrap_or_else(|| fastrand::u64(..))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directory_of_a_killed_bed_is_swept_and_that_of_a_living_one_is_kept() {
        let folder = tempfile::tempdir().expect("a directory");
        let dead = folder.path().join(format!("{PREFIX}999999999-abc"));
        let living = folder.path().join(format!("{PREFIX}{}-abc", std::process::id()));
        let other = folder.path().join("talkoot-demo-abc");
        for directory in [&dead, &living, &other] {
            std::fs::create_dir(directory).expect("a directory");
        }
        sweep(folder.path());
        assert_eq!([&dead, &living, &other].map(|it| it.exists()), [false, true, true]);
    }
}
