//! `lend`: work for a machine without a network, as a file.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use capability::statements::{Offer, Package};
use capability::{Ed25519, Envelope, Kind, PublicKey, Runtime, Verified};
use mesh_shell::{Clock, Exit, OrExit, Outcome, copy_parcel, write_by};

use crate::client::Client;
use crate::model::LendRequest;
use crate::show;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What is lent, and to whom.
pub struct Lent<'a> {
    /// The job.
    pub offer: &'a str,
    /// The machine.
    pub volunteer: PublicKey,
    /// In which runtime; the job's first by default.
    pub runtime: Option<Runtime>,
    /// How many tasks in all.
    pub tasks: u16,
    /// For how many days.
    pub days: u8,
}

/// Has the home lend, and writes what it takes to `path`.
pub fn lend(client: &Client, lent: Lent<'_>, path: &Path) -> Outcome {
    let Lent { offer, volunteer, runtime, tasks, days } = lent;
    let until = Clock::new().now().wall + DAY * u32::from(days);
    let from = client.lend(offer, &LendRequest { volunteer, runtime, tasks, until })?;
    let leases = write_by(path, 0o644, |file| save(from, file))?;
    eprintln!(
        "{} lent to {}, in {}\nThere: talkoot-volunteer job import FILE; results come back by \
         talkoot-volunteer results export FILE, and are handed in here with talkoot-master import FILE",
        show::plural(leases, "task"),
        volunteer.short(),
        path.display(),
    );
    Ok(())
}

/// Copies the parcel, looking at it on its way; gives how many leases are in it.
fn save(from: impl Read, to: &mut File) -> Outcome<u64> {
    let mut leases = 0;
    let named = |statement: &Envelope| {
        leases += u64::from(statement.kind() == Some(Kind::Lease));
        let offer = Verified::<Offer>::check(statement, &Ed25519).ok();
        offer
            .map(|offer| offer.package)
            .into_iter()
            .map(|Package { hash, size }| (hash, size))
            .collect()
    };
    copy_parcel(from, to, named)
        .context("the adapter's answer has broken off")
        .or_exit(Exit::Network)?;
    Ok(leases)
}
