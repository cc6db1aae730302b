//! What a node has made durable, and what is on its way there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use capability::{BlobHash, Envelope, StatementId};
use ciborium::Value;
use mesh_core::{Commit, CommitId, Write};

use crate::engine::{Rng, SimTime};

/// The records and blobs of one node.
///
/// Commits reach it one after the other. A process that is killed loses those that had not; it
/// never hears of one that had, if its report was still to come.
#[derive(Debug, Default)]
pub struct Disk {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The statements in each record that holds some.
    statements: BTreeMap<Vec<u8>, Vec<StatementId>>,
    holders: BTreeMap<StatementId, usize>,
    blobs: BTreeSet<BlobHash>,
    pending: VecDeque<Commit>,
    /// When the last of `pending` will be durable.
    busy_until: SimTime,
}

impl Disk {
    /// Accepts a commit that takes until `ready` at least; says when it will be durable.
    pub fn begin(&mut self, commit: Commit, ready: SimTime) -> SimTime {
        self.busy_until = self.busy_until.max(ready);
        self.pending.push_back(commit);
        self.busy_until
    }

    /// The oldest commit is durable now.
    pub fn finish(&mut self) -> Option<CommitId> {
        let commit = self.pending.pop_front()?;
        for write in commit.writes {
            match write {
                Write::Put { key, value } => self.put(key, value),
                Write::Delete { key } => self.delete(&key),
            }
        }
        Some(commit.id)
    }

    /// The process was killed: some of what was on its way has arrived, in order, the rest is lost.
    pub fn cut_off(&mut self, rng: &mut Rng) {
        let arrived = rng.within(0..=self.pending.len() as u64);
        for _ in 0..arrived {
            self.finish();
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

    fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.delete(&key);
        let statements = statements_in(&value);
        for statement in &statements {
            *self.holders.entry(*statement).or_default() += 1;
        }
        self.statements.insert(key.clone(), statements);
        self.records.insert(key, value);
    }

    fn delete(&mut self, key: &[u8]) {
        self.records.remove(key);
        for statement in self.statements.remove(key).into_iter().flatten() {
            let Some(holders) = self.holders.get_mut(&statement) else { continue };
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(&statement);
            }
        }
    }
}

/// The statements that a record consists of: one, or several anywhere in a chunk.
fn statements_in(value: &[u8]) -> Vec<StatementId> {
    if let Ok(envelope) = Envelope::parse(value) {
        return vec![envelope.id()];
    }
    let mut statements = Vec::new();
    if let Ok(value) = ciborium::from_reader::<Value, _>(value) {
        collect(&value, &mut statements);
    }
    statements
}

fn collect(value: &Value, statements: &mut Vec<StatementId>) {
    match value {
        Value::Bytes(bytes) => {
            statements.extend(Envelope::parse(bytes).ok().map(|envelope| envelope.id()));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, statements)),
        Value::Map(entries) => entries.iter().for_each(|(_, value)| collect(value, statements)),
        _ => {}
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
        let mut outcomes = BTreeSet::new();
        for seed in 0..50 {
            let mut disk = Disk::default();
            for (id, key) in (0..3).zip(b'a'..) {
                disk.begin(put(id, key), SimTime(Duration::from_millis(5)));
            }
            assert_eq!(disk.finish(), Some(CommitId(0)));
            disk.cut_off(&mut Rng::new(seed));
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
        disk.finish();

        disk.delete(b"w1");
        assert!(disk.holds(statement.id()));
        disk.delete(b"w2");
        assert!(!disk.holds(statement.id()));
    }
}
