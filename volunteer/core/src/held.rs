//! The leases of this volunteer as they are durable: a record for all that one claim brought.
//!
//! They are there for one case: the process has died and its work with it, so that the next one
//! gives the leases back at once instead of letting them lapse. So what is here without need does no
//! harm, and a record stays until the last of its leases has ended.

use std::collections::BTreeMap;

use capability::statements::Lease;
use capability::{CborError, PublicKey, StatementId, Verified};
use mesh_core::{Chunks, Write};
use serde::{Deserialize, Serialize};

use crate::leases::GroupKey;

/// First byte of the keys of leases.
pub(crate) const LEASE_PREFIX: u8 = b'l';

/// Bytes of one lease in a record.
const RECORD_BYTES: usize = 128;

/// See the module.
#[derive(Debug)]
pub(crate) struct Held {
    chunks: Chunks,
    by_lease: BTreeMap<StatementId, u64>,
    /// What a former process held.
    orphans: Vec<(u64, Record)>,
}

/// What must be known of a lease to release it after a restart.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    lease: StatementId,
    offer: StatementId,
    epoch: u64,
    home: PublicKey,
}

impl Default for Held {
    fn default() -> Self {
        let chunks = Chunks::new(LEASE_PREFIX);
        Self { chunks, by_lease: BTreeMap::new(), orphans: Vec::new() }
    }
}

impl Held {
    /// Takes up what a former process had made durable.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), CborError> {
        let (chunk, records) = self.chunks.restore(key, value)?;
        self.orphans.extend(records.into_iter().map(|record| (chunk, record)));
        Ok(())
    }

    /// The leases that a former process held, and the deletions of their records.
    pub fn orphans(&mut self) -> (Vec<(StatementId, GroupKey)>, Vec<Write>) {
        let mut leases = Vec::new();
        for (chunk, Record { lease, offer, epoch, home }) in std::mem::take(&mut self.orphans) {
            self.chunks.leave(chunk);
            leases.push((lease, GroupKey { offer, epoch, home }));
        }
        (leases, self.chunks.deletions())
    }

    /// `leases` are held from now on, granted by `home`.
    pub fn hold(&mut self, leases: &[Verified<Lease>], home: PublicKey) -> Vec<Write> {
        let record = |lease: &Verified<Lease>| {
            let (id, offer, epoch) = (lease.id(), lease.task.offer, lease.epoch);
            (RECORD_BYTES, Record { lease: id, offer, epoch, home })
        };
        let (writes, chunks) = self.chunks.put(leases.iter().map(record));
        self.by_lease.extend(leases.iter().map(Verified::id).zip(chunks));
        writes
    }

    /// `lease` is held no more.
    pub fn end(&mut self, lease: StatementId) -> Vec<Write> {
        if let Some(chunk) = self.by_lease.remove(&lease) {
            self.chunks.leave(chunk);
        }
        self.chunks.deletions()
    }
}
