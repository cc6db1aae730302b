//! Brings results that somebody carries as a file to a broker, for a machine that reaches none.
//!
//! Results are signed and sealed: whoever hands them in needs no key of his own and no project, and learns nothing. A key
//! is made for the way and forgotten. The broker goes with what it takes as with every handover, and its receipts come back by
//! way of it. The file is read list by list, so that no more of it is on the disk at a time than the blobs of one list.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context;
use capability::statements::JobResult;
use capability::{Ed25519, KEY_BYTES, PublicKey, SecretKey, StatementId, Verified};
use mesh_core::{Bundle, Cargo, Handover, MAX_BUNDLES_A_FRAME};
use mesh_net::{Multiaddr, Role};
use mesh_shell::{
    Clock, Exit, Failure, Link, OrExit, Outcome, ParcelFailed, ParcelFile, Storage, Unpacked,
    chain, public_key,
};
use serde::Serialize;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::status::blob_name;

/// Bytes of the statements of one handover, but for the last: with it they fit into a frame.
const HANDOVER_BYTES: usize = 512 << 10;

/// What may be on the disk at a time: as much as there is room for.
const ANY_SIZE: u64 = i64::MAX.unsigned_abs();

/// What became of a file.
#[derive(Debug, Serialize)]
pub struct HandedIn {
    /// The broker that was reached.
    pub broker: PublicKey,
    /// The results that it has taken, durably.
    pub taken: Vec<StatementId>,
    /// What it has not.
    pub refused: Vec<Refused>,
    /// Why the rest of the file was not read.
    pub complaint: Option<String>,
}

/// A statement of the file that was not taken.
#[derive(Debug, Serialize)]
pub struct Refused {
    /// Which result, if it is one.
    pub result: Option<StatementId>,
    /// Why.
    pub reason: String,
}

/// A way to a broker.
pub struct Porter {
    runtime: Runtime,
    link: Link,
    broker: PublicKey,
    /// Where blobs are until they are handed over; gone with this.
    _scratch: TempDir,
}

impl Porter {
    /// Reaches the first of `brokers` that answers.
    ///
    /// # Errors
    /// If none does, or there is no disk for what goes with results.
    pub fn reach(brokers: &[Multiaddr]) -> Outcome<Self> {
        let scratch = tempfile::tempdir()
            .context("cannot make a temporary directory")
            .or_exit(Exit::State)
            .map_err(|failure| failure.hint("name one with room in TMPDIR"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .or_exit(Exit::State)?;
        let storage = Storage::open(scratch.path(), ANY_SIZE)?;
        let (link, broker) = runtime.block_on(connect(storage, brokers))?;
        Ok(Self { runtime, link, broker, _scratch: scratch })
    }

    /// Hands in the results in `parcel`, as far as it can be read.
    pub fn hand_in(&self, parcel: impl Read) -> HandedIn {
        let (broker, taken, refused) = (self.broker, Vec::new(), Vec::new());
        let mut handed = HandedIn { broker, taken, refused, complaint: None };
        let read = self.read(ParcelFile::new(parcel), &mut handed);
        handed.complaint = read.err().map(|error| chain(&error));
        handed
    }

    fn read(
        &self,
        mut parcel: ParcelFile<impl Read>,
        handed: &mut HandedIn,
    ) -> Result<(), ParcelFailed> {
        let mut list = Vec::new();
        loop {
            match parcel.unpack_next()? {
                Some(Unpacked::Blob { size, .. }) => {
                    parcel.take_blob(size, self.link.storage().blobs())?;
                }
                Some(Unpacked::Statements(statements)) => {
                    self.hand_over(std::mem::take(&mut list), handed);
                    for statement in &statements {
                        match Verified::<JobResult>::check(statement, &Ed25519) {
                            Ok(result) => list.push(result),
                            Err(error) => handed.refused.push(Refused {
                                result: None,
                                reason: format!("no sound result: {}", chain(&error)),
                            }),
                        }
                    }
                    let blobs = list.iter().flat_map(|result| result.blobs());
                    blobs.for_each(|(hash, size)| parcel.expect(hash, size));
                }
                None => {
                    self.hand_over(list, handed);
                    return Ok(());
                }
            }
        }
    }

    /// Hands over `results`, whose blobs are here as far as they were in the file.
    fn hand_over(&self, results: Vec<Verified<JobResult>>, handed: &mut HandedIn) {
        let hashes: Vec<_> = results.iter().flat_map(|it| it.blobs()).map(|it| it.0).collect();
        for bundles in handovers(results, self.broker) {
            let handover = Handover { to: self.broker, bundles };
            for (id, taken) in self.runtime.block_on(self.link.hand_over(handover)) {
                match taken {
                    Ok(()) => handed.taken.push(id),
                    Err(why) => {
                        let reason = why.to_string();
                        handed.refused.push(Refused { result: Some(id), reason });
                    }
                }
            }
        }
        for hash in hashes {
            // What stays is gone with the directory.
            let _ = self.link.storage().blobs().remove(&blob_name(&hash));
        }
    }
}

/// A link of its own, with a key that nobody knows, to the first of `brokers` that answers.
async fn connect(storage: Storage, brokers: &[Multiaddr]) -> Outcome<(Link, PublicKey)> {
    let mut seed = [0; KEY_BYTES];
    getrandom::fill(&mut seed).context("cannot get randomness").or_exit(Exit::State)?;
    let key = Arc::new(SecretKey::from_seed(&seed));
    let network = mesh_net::Config::new(seed, Role::Client);
    let (net, mut events) = mesh_net::start(network).await.or_exit(Exit::Network)?;
    // Nobody has anything to ask here.
    tokio::spawn(async move { while events.recv().await.is_some() {} });
    let link = Link::new(net, storage, key, Clock::new());
    let mut reasons = Vec::new();
    for address in brokers {
        match link.net().dial(address.clone()).await {
            Ok(peer) => return Ok((link, public_key(peer))),
            Err(error) => reasons.push(chain(&error)),
        }
    }
    Err(Failure::say(Exit::Network, format!("no broker answers: {}", reasons.join("; ")))
        .hint("is this machine online? name another broker with --broker"))
}

/// `results` as handovers, whose receipts come back by way of `via`.
fn handovers(results: Vec<Verified<JobResult>>, via: PublicKey) -> Vec<Vec<Bundle>> {
    let (mut handovers, mut bytes) = (Vec::<Vec<_>>::new(), 0);
    for result in results {
        let size = result.envelope().as_bytes().len();
        let bundle = Bundle { cargo: Cargo::Result(result), via };
        match handovers.last_mut() {
            Some(last) if last.len() < MAX_BUNDLES_A_FRAME && bytes < HANDOVER_BYTES => {
                last.push(bundle);
                bytes += size;
            }
            _ => {
                handovers.push(vec![bundle]);
                bytes = size;
            }
        }
    }
    handovers
}
