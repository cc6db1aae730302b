//! How the slots of pools are durable: what a turn changes of one pool is one record.
//!
//! The lease table says of each slot that changes what it is from then on, as if each had a record
//! of its own. Here these writes are put together, in records that are numbered in their order and
//! read again in that order. When the records of a pool have become much longer than what they
//! say, they are replaced by what they say.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::TaskId;
use capability::{CborError, StatementId, decode_cbor, encode_cbor};
use mesh_core::{MAX_FRAME_BYTES, Write};
use serde::{Deserialize, Serialize};

use crate::record;

/// Bytes of changes in one record, unless one alone is larger: below the store's bound on values.
const RECORD_BYTES: usize = 48 << 10;
/// Records of a pool are not replaced before they have so many bytes,
const SHORT: usize = 512 << 10;
/// nor before they have so many times the bytes of those that replaced the former ones: so to
/// replace them costs a part of what it cost to write them.
const GROWTH: usize = 4;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct SlotLog {
    logs: BTreeMap<StatementId, Log>,
}

/// The records of one pool.
#[derive(Debug, Default)]
struct Log {
    first: u32,
    next: u32,
    bytes: usize,
    /// Bytes when they were replaced last.
    replaced: usize,
}

/// What a slot is from now on; the fields in the order of the encoding.
#[derive(Debug, Serialize, Deserialize)]
struct Change {
    /// Its record; empty if it is open.
    #[serde(with = "serde_bytes")]
    slot: Vec<u8>,
    task: u32,
    replica: u16,
}

impl SlotLog {
    /// Puts those of `writes` that are about slots together, and deletes what a pool that ends with
    /// them has left. `slots` gives what the slots of a pool are that are not open.
    pub(crate) fn pack(
        &mut self,
        writes: Vec<Write>,
        slots: impl Fn(StatementId) -> Vec<(TaskId, Vec<u8>)>,
    ) -> Vec<Write> {
        let mut packed = Vec::with_capacity(writes.len());
        let mut changes: BTreeMap<StatementId, BTreeMap<TaskId, Vec<u8>>> = BTreeMap::new();
        let mut ended = BTreeSet::new();
        for write in writes {
            let (key, value) = match &write {
                Write::Put { key, value } => (key, value.as_slice()),
                Write::Delete { key } => (key, [].as_slice()),
            };
            match (key.first(), record::task_in(key)) {
                (Some(&record::SLOT), Some(task)) => {
                    changes.entry(task.offer).or_default().insert(task, value.to_vec());
                }
                (Some(&record::POOL), _) if matches!(write, Write::Delete { .. }) => {
                    ended.extend(record::offer_in(key));
                    packed.push(write);
                }
                _ => packed.push(write),
            }
        }
        for offer in &ended {
            packed.extend(self.end(*offer));
        }
        changes.retain(|offer, _| !ended.contains(offer));
        for (offer, changes) in changes {
            let log = self.logs.entry(offer).or_default();
            packed.extend(log.append(offer, changes));
            if log.is_long() {
                packed.extend(log.replace(offer, slots(offer)));
            }
        }
        packed
    }

    /// Ends what belongs to no pool; gives the deletions.
    pub(crate) fn retain(&mut self, has_pool: impl Fn(StatementId) -> bool) -> Vec<Write> {
        let stray: Vec<_> = self.logs.keys().copied().filter(|offer| !has_pool(*offer)).collect();
        stray.into_iter().flat_map(|offer| self.end(offer)).collect()
    }

    fn end(&mut self, offer: StatementId) -> Vec<Write> {
        let log = self.logs.remove(&offer).unwrap_or_default();
        (log.first..log.next).map(|number| Write::delete(record::slots(offer, number))).collect()
    }

    /// Takes up again a record that a former process had made durable, of which the number comes
    /// after those of the ones before. Gives the slots, each as a record of its own or as deleted.
    pub(crate) fn restore(
        &mut self,
        offer: StatementId,
        number: u32,
        value: &[u8],
    ) -> Result<Vec<Write>, CborError> {
        let changes: Vec<Change> = decode_cbor(value, MAX_FRAME_BYTES)?;
        let log = self.logs.entry(offer).or_insert(Log { first: number, ..Log::default() });
        log.next = number + 1;
        log.bytes += value.len();
        let slot = |Change { task, replica, slot }| {
            let key = record::slot(TaskId { offer, task, replica });
            if slot.is_empty() { Write::delete(key) } else { Write::put(key, slot) }
        };
        Ok(changes.into_iter().map(slot).collect())
    }
}

impl Log {
    fn is_long(&self) -> bool {
        self.bytes > SHORT.max(GROWTH * self.replaced)
    }

    fn append(
        &mut self,
        offer: StatementId,
        changes: impl IntoIterator<Item = (TaskId, Vec<u8>)>,
    ) -> Vec<Write> {
        let (mut writes, mut record, mut bytes) = (Vec::new(), Vec::new(), 0);
        for (TaskId { task, replica, .. }, slot) in changes {
            if !record.is_empty() && bytes + slot.len() > RECORD_BYTES {
                writes.push(self.close(offer, &std::mem::take(&mut record)));
                bytes = 0;
            }
            // The names of the fields, the numbers and the head of the slot.
            bytes += slot.len() + 32;
            record.push(Change { task, replica, slot });
        }
        if !record.is_empty() {
            writes.push(self.close(offer, &record));
        }
        writes
    }

    fn close(&mut self, offer: StatementId, record: &[Change]) -> Write {
        let value = encode_cbor(record);
        self.bytes += value.len();
        let number = self.next;
        self.next += 1;
        Write::put(record::slots(offer, number), value)
    }

    /// Should only the first of these writes become durable, nothing else is said than before.
    fn replace(&mut self, offer: StatementId, slots: Vec<(TaskId, Vec<u8>)>) -> Vec<Write> {
        let (first, next) = (self.first, self.next);
        self.bytes = 0;
        let mut writes = self.append(offer, slots);
        writes.extend((first..next).map(|number| Write::delete(record::slots(offer, number))));
        self.first = next;
        self.replaced = self.bytes;
        writes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: StatementId = StatementId::from_bytes([7; 32]);

    fn task(task: u32) -> TaskId {
        TaskId { offer: OFFER, task, replica: 0 }
    }

    /// A store, and what the slots are.
    #[derive(Default)]
    struct Bench {
        log: SlotLog,
        disk: BTreeMap<Vec<u8>, Vec<u8>>,
        slots: BTreeMap<TaskId, Vec<u8>>,
    }

    impl Bench {
        fn turn(&mut self, changes: &[(u32, &[u8])]) {
            let mut writes = Vec::new();
            for (number, slot) in changes {
                let key = record::slot(task(*number));
                if slot.is_empty() {
                    self.slots.remove(&task(*number));
                    writes.push(Write::delete(key));
                } else {
                    self.slots.insert(task(*number), slot.to_vec());
                    writes.push(Write::put(key, *slot));
                }
            }
            let slots = self.slots.clone();
            let packed = self.log.pack(writes, |_| slots.clone().into_iter().collect());
            self.apply(packed);
        }

        fn apply(&mut self, writes: Vec<Write>) {
            for write in writes {
                match write {
                    Write::Put { key, value } => drop(self.disk.insert(key, value)),
                    Write::Delete { key } => drop(self.disk.remove(&key)),
                }
            }
        }

        /// What a new process finds, which goes on from there.
        fn restart(&mut self) -> BTreeMap<TaskId, Vec<u8>> {
            let mut found = BTreeMap::new();
            self.log = SlotLog::default();
            for (key, value) in &self.disk {
                let number = record::number_in(key).expect("a numbered record");
                for write in self.log.restore(OFFER, number, value).expect("our own record") {
                    match write {
                        Write::Put { key, value } => {
                            drop(found.insert(record::task_in(&key).expect("a slot"), value));
                        }
                        Write::Delete { key } => {
                            drop(found.remove(&record::task_in(&key).expect("a slot")));
                        }
                    }
                }
            }
            found
        }
    }

    #[test]
    fn what_a_turn_changes_is_one_record_and_the_last_word_counts() {
        let mut bench = Bench::default();
        bench.turn(&[(0, b"leased"), (1, b"leased"), (2, b"leased")]);
        bench.turn(&[(0, b"returned"), (1, b"")]);
        assert_eq!(bench.disk.len(), 2);
        assert_eq!(bench.restart(), bench.slots);
        bench.turn(&[(0, b"done"), (1, b"leased")]);
        assert_eq!(bench.restart(), bench.slots, "a restarted log goes on where it was");
    }

    #[test]
    fn a_long_log_is_replaced_by_what_it_says() {
        let mut bench = Bench::default();
        let slot = [7; 1024];
        for turn in 0..2_000 {
            bench.turn(&[(turn % 10, &slot), ((turn + 5) % 10, b"")]);
        }
        let bytes: usize = bench.disk.values().map(Vec::len).sum();
        assert!(bytes < 2 * SHORT, "{bytes} bytes for ten slots");
        assert_eq!(bench.restart(), bench.slots);
    }

    #[test]
    fn a_replacement_that_is_cut_off_says_the_same() {
        let mut bench = Bench::default();
        let slot = vec![7; 30 << 10];
        let changes: Vec<_> = (0..17).map(|n| (n, slot.as_slice())).collect();
        bench.turn(&changes);
        let log = bench.log.logs.get_mut(&OFFER).expect("there is one");
        let writes = log.replace(OFFER, bench.slots.clone().into_iter().collect());
        for write in writes {
            bench.apply(vec![write]);
            assert_eq!(bench.restart(), bench.slots);
        }
    }

    #[test]
    fn the_end_of_a_pool_leaves_nothing() {
        let mut bench = Bench::default();
        bench.turn(&[(0, b"leased")]);
        bench.turn(&[(0, b"done")]);
        bench.restart();
        let last = [Write::delete(record::slot(task(0))), Write::delete(record::pool(OFFER))];
        let writes = bench.log.pack(last.into(), |_| Vec::new());
        bench.apply(writes);
        assert!(bench.disk.is_empty());
    }
}
