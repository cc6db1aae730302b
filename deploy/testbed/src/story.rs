//! What stories on a bed have in common: who is where, what is submitted, what is awaited.

use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use xtask::events::Event;
use xtask::tools;

use crate::bed::Bed;
use crate::jobs::Job;
use crate::oracle::Oracle;

/// Longer than anything takes that happens at all, on a machine with much else to do.
pub const PATIENCE: Duration = Duration::from_secs(180);

impl Bed {
    /// A broker, on a host that is there; it links to the brokers named, which run already.
    pub fn broker(&mut self, name: &str, host: &str, known: &[&str]) -> Result<()> {
        ensure!(
            self.program("broker").exists(),
            "the programs are not built: run `cargo build --workspace`, with --release if this is"
        );
        self.put(name, host)?;
        self.network.broker(name, known, &[]).map(drop)
    }

    /// A project of the same name, and its adapter; the first broker is its home.
    pub fn master(&mut self, name: &str, host: &str, brokers: &[&str]) -> Result<()> {
        self.put(name, host)?;
        self.network.master(name, name, brokers)
    }

    /// A volunteer that trusts the project of `master` and has been heard by its broker.
    pub fn volunteer(
        &mut self,
        name: &str,
        host: &str,
        brokers: &[&str],
        master: &str,
    ) -> Result<()> {
        self.put(name, host)?;
        let uri = self.network.uri(master)?;
        self.network.volunteer(name, brokers, &[&uri], 1)
    }

    /// Submits `job` at `master`, which acknowledges it; gives the offer's id.
    pub fn submit(&self, master: &str, job: &Job<'_>) -> Result<String> {
        let file = job.write(self.directory())?;
        let mut submit = self.network.program_of(master, "talkoot-master");
        let said = tools::output(submit.arg("submit").arg(file))?;
        Ok(said.trim().to_owned())
    }

    /// Waits until `wanted` holds of so many events after `mark`; gives the last of them.
    pub fn await_events(
        &self,
        mark: usize,
        count: usize,
        what: &str,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        self.network.events().wait_for(mark, count, what, PATIENCE, wanted)
    }

    /// Follows an offer until all of its tasks have passed.
    pub fn await_job(&self, master: &str, offer: &str) -> Result<()> {
        let mut wait = self.network.program_of(master, "talkoot-master");
        wait.args(["wait", offer]);
        wait.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let mut wait = wait.spawn().context("cannot start talkoot-master wait")?;
        let code = await_exit(&mut wait, PATIENCE)?;
        if code == Some(0) { Ok(()) } else { bail!("talkoot-master wait ended with {code:?}") }
    }

    /// Waits until all is done, kills every process at once, starts them again, and holds what they
    /// say against what was acknowledged.
    pub fn judge(&mut self, oracle: &Oracle<'_>, acknowledged: &[String]) -> Result<()> {
        oracle.await_rest(&self.network, PATIENCE)?;
        let everybody = [oracle.brokers, &[oracle.master], oracle.volunteers].concat();
        for name in &everybody {
            self.network.kill(name)?;
        }
        for name in &everybody {
            self.network.start_again(name)?;
        }
        oracle.await_rest(&self.network, PATIENCE)?;
        let breaches = oracle.read(&self.network)?.breaches(acknowledged);
        if breaches.is_empty() { Ok(()) } else { bail!("broken:\n{}", breaches.join("\n")) }
    }
}

fn await_exit(child: &mut Child, patience: Duration) -> Result<Option<i32>> {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("waited {patience:?} in vain for the job to end");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
