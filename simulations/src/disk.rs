//! What a node has made durable, and what is on its way there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use capability::{BlobHash, Envelope, StatementId, Verifier, decode_cbor};
use mesh_core::{Bundle, CUSTODY_PREFIX, Commit, CommitId, Duty, MAX_FRAME_BYTES, Write};
use serde::Deserialize;

use crate::engine::{Rng, SimTime};

/// The records and blobs of one node.
///
/// Commits reach it one after the other. A process that is killed loses those that had not; it
/// never hears of one that had, if its report was still to come.
#[derive(Debug, Default)]
pub struct Disk {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The statement in each record that holds one.
    statements: BTreeMap<Vec<u8>, StatementId>,
    holders: BTreeMap<StatementId, usize>,
    blobs: BTreeSet<BlobHash>,
    pending: VecDeque<Commit>,
    /// When the last of `pending` will be durable.
    busy_until: SimTime,
}

/// A record of custody, as far as it tells what is kept.
#[derive(Deserialize)]
struct CustodyRecord {
    #[serde(rename = "order")]
    _order: u64,
    #[serde(rename = "duty")]
    _duty: Duty,
    #[serde(with = "serde_bytes")]
    bundle: Vec<u8>,
}

impl Disk {
    /// Accepts a commit that takes until `ready` at least; says when it will be durable.
    pub fn begin(&mut self, commit: Commit, ready: SimTime) -> SimTime {
        self.busy_until = self.busy_until.max(ready);
        self.pending.push_back(commit);
        self.busy_until
    }

    /// The oldest commit is durable now.
    pub fn finish(&mut self, verifier: &dyn Verifier) -> Option<CommitId> {
        let commit = self.pending.pop_front()?;
        for write in commit.writes {
            match write {
                Write::Put { key, value } => self.put(key, value, verifier),
                Write::Delete { key } => self.delete(&key),
            }
        }
        Some(commit.id)
    }

    /// The process was killed: some of what was on its way has arrived, in order, the rest is lost.
    pub fn cut_off(&mut self, rng: &mut Rng, verifier: &dyn Verifier) {
        let arrived = rng.within(0..=self.pending.len() as u64);
        for _ in 0..arrived {
            self.finish(verifier);
        }
        self.pending.clear();
    }

    /// Everything is gone.
    pub fn destroy(&mut self) {
        *self = Self { busy_until: self.busy_until, ..Self::default() };
    }

    /// The durable records, in the order of their keys.
    pub fn records(&self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.records.clone()
    }

    /// Whether a durable record holds that statement.
    pub fn holds(&self, statement: StatementId) -> bool {
        self.holders.contains_key(&statement)
    }

    /// Loses the records whose keys start with `prefix`: a fault that no disk should have.
    pub fn forget(&mut self, prefix: u8) {
        let keys: Vec<_> = self.records.range(vec![prefix]..vec![prefix + 1]).collect();
        let keys: Vec<_> = keys.into_iter().map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.delete(key));
    }

    /// Cuts the last record short: another such fault.
    pub fn tear(&mut self) {
        if let Some(mut last) = self.records.last_entry() {
            last.get_mut().pop();
        }
    }

    /// Whether the blob is here.
    pub fn has_blob(&self, hash: BlobHash) -> bool {
        self.blobs.contains(&hash)
    }

    /// Keeps a blob, durably.
    pub fn put_blob(&mut self, hash: BlobHash) {
        self.blobs.insert(hash);
    }

    /// Drops the blobs that are not worth keeping.
    pub fn retain_blobs(&mut self, keep: impl Fn(BlobHash) -> bool) {
        self.blobs.retain(|hash| keep(*hash));
    }

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>, verifier: &dyn Verifier) {
        self.delete(&key);
        if let Some(statement) = statement_in(&key, &value, verifier) {
            *self.holders.entry(statement).or_default() += 1;
            self.statements.insert(key.clone(), statement);
        }
        self.records.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.records.remove(key);
        let Some(statement) = self.statements.remove(key) else { return };
        if let Some(holders) = self.holders.get_mut(&statement) {
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&statement);
            }
        }
    }
}

/// The statement that a record consists of: a bundle in custody, an envelope, or an envelope's bytes
/// as one CBOR item.
fn statement_in(key: &[u8], value: &[u8], verifier: &dyn Verifier) -> Option<StatementId> {
    if key.first() == Some(&CUSTODY_PREFIX) {
        let record: CustodyRecord = decode_cbor(value, MAX_FRAME_BYTES).ok()?;
        return Bundle::decode(&record.bundle, verifier).ok().map(|bundle| bundle.id());
    }
    // Envelopes are arrays of four or five items, byte strings begin with 0x40 to 0x5f.
    match value.first()? {
        0x84 | 0x85 => Envelope::parse(value).ok().map(|envelope| envelope.id()),
        0x40..=0x5f => {
            decode_cbor::<Envelope>(value, MAX_FRAME_BYTES).ok().map(|envelope| envelope.id())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use capability::statements::Withdrawal;
    use capability::{Timestamp, Verified};

    use super::*;
    use crate::crypto::SignatureTable;

    fn put(id: u64, key: u8) -> Commit {
        Commit { id: CommitId(id), writes: vec![Write::put(vec![key], vec![key])] }
    }

    #[test]
    fn what_is_killed_on_its_way_arrives_in_order_or_not_at_all() {
        let verifier = SignatureTable::default().verifier();
        let mut outcomes = BTreeSet::new();
        for seed in 0..50 {
            let mut disk = Disk::default();
            for (id, key) in (0..3).zip(b'a'..) {
                disk.begin(put(id, key), SimTime(Duration::from_millis(5)));
            }
            assert_eq!(disk.finish(&verifier), Some(CommitId(0)));
            disk.cut_off(&mut Rng::new(seed), &verifier);
            let records = disk.records();
            let keys: Vec<_> = records.keys().map(|key| key[0]).collect();
            assert!(b"abc".starts_with(keys.as_slice()), "{keys:?}");
            outcomes.insert(keys.len());
        }
        assert_eq!(outcomes, [1, 2, 3].into());
    }

    #[test]
    fn commits_are_durable_in_the_order_in_which_they_were_begun() {
        let mut disk = Disk::default();
        let later = disk.begin(put(0, b'a'), SimTime(Duration::from_millis(9)));
        assert_eq!(disk.begin(put(1, b'b'), SimTime(Duration::from_millis(2))), later);
    }

    #[test]
    fn a_statement_is_held_as_long_as_one_record_has_it() {
        let table = SignatureTable::default();
        let withdrawal = Withdrawal {
            statement: StatementId::from_bytes([1; 32]),
            reason: String::new(),
            expires: Timestamp(1),
        };
        let statement = Verified::sign(withdrawal, &table.signer("master"));
        let bytes = statement.envelope().as_bytes();
        let mut disk = Disk::default();
        let writes = [b"w1", b"w2"].map(|key| Write::put(*key, bytes)).to_vec();
        disk.begin(Commit { id: CommitId(0), writes }, SimTime::default());
        disk.finish(&table.verifier());

        disk.delete(b"w1");
        assert!(disk.holds(statement.id()));
        disk.delete(b"w2");
        assert!(!disk.holds(statement.id()));
    }
}
