//! What the masters have said about this machine's results: receipts, and their sums.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{Credit, Receipt, Verdict};
use capability::{
    CborError, Envelope, ProjectKey, StatementError, StatementId, Timestamp, Verified, Verifier,
    decode_cbor, encode_cbor,
};
use mesh_core::{Chunks, Write};
use serde::{Deserialize, Serialize};

use crate::working::MAX_RECORD;

/// Receipts kept at most; what older ones said remains in the totals.
pub const MAX_RECEIPTS: usize = 4096;

/// First byte of the keys of receipts.
pub(crate) const RECEIPT_PREFIX: u8 = b'r';
/// First byte of the keys of totals.
pub(crate) const TOTAL_PREFIX: u8 = b't';

/// All that one project has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Total {
    /// Results accepted.
    pub accepted: u64,
    /// Results that did not count.
    pub rejected: u64,
    /// Core-milliseconds of those accepted.
    pub credit: Credit,
    /// Tasks that were given up because the project had withdrawn their job.
    #[serde(default)]
    pub withdrawn: u64,
}

impl Total {
    /// Adds one verdict.
    pub(crate) fn count(&mut self, verdict: &Verdict) {
        match verdict {
            Verdict::Accepted(Credit(credit)) => {
                self.accepted += 1;
                self.credit.0 = self.credit.0.saturating_add(*credit);
            }
            Verdict::Rejected(_) | Verdict::Again(_) => self.rejected += 1,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Ledger {
    /// By time of judgement and result.
    receipts: BTreeMap<Place, Entry>,
    /// By result, when it was judged.
    judged: BTreeMap<StatementId, Timestamp>,
    totals: BTreeMap<ProjectKey, Total>,
    /// Receipts that became durable together share a record.
    chunks: Chunks,
    unwritten: BTreeSet<Place>,
    changed: BTreeSet<ProjectKey>,
}

type Place = (Timestamp, StatementId);

#[derive(Debug)]
struct Entry {
    receipt: Verified<Receipt>,
    /// The record that holds it, once there is one.
    chunk: Option<u64>,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            receipts: BTreeMap::new(),
            judged: BTreeMap::new(),
            totals: BTreeMap::new(),
            chunks: Chunks::new(RECEIPT_PREFIX),
            unwritten: BTreeSet::new(),
            changed: BTreeSet::new(),
        }
    }
}

/// A record of the ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Not the encoding of one.
    #[error("malformed record of the ledger")]
    Cbor(#[from] CborError),
    /// The receipt in it.
    #[error("a receipt in the ledger")]
    Statement(#[from] StatementError),
}

impl Ledger {
    /// Takes up again what a former process had made durable.
    pub fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<(), LedgerError> {
        if key.first() == Some(&TOTAL_PREFIX) {
            let (project, total) = decode_cbor::<(ProjectKey, Total)>(value, MAX_RECORD)?;
            self.totals.insert(project, total);
        } else {
            let (chunk, envelopes) = self.chunks.restore::<Envelope>(key, value)?;
            for envelope in envelopes {
                self.insert(Verified::check(&envelope, verifier)?, Some(chunk));
            }
        }
        Ok(())
    }

    /// Whether `result` has been judged, as far as is remembered.
    pub fn knows(&self, result: StatementId) -> bool {
        self.judged.contains_key(&result)
    }

    /// The receipt of `result`, if it is kept.
    pub fn receipt_of(&self, result: StatementId) -> Option<&Verified<Receipt>> {
        let issued = *self.judged.get(&result)?;
        self.receipts.get(&(issued, result)).map(|entry| &entry.receipt)
    }

    /// Enters `receipt`; [`Ledger::writes`] says what must become durable.
    pub fn enter(&mut self, receipt: Verified<Receipt>) {
        let project = receipt.project;
        self.totals.entry(project).or_default().count(&receipt.verdict);
        self.changed.insert(project);
        self.insert(receipt, None);
    }

    /// What must become durable of all that was entered since the last call.
    pub fn writes(&mut self) -> Vec<Write> {
        let total = |project| Write::put(total_key(project), self.sum(project));
        let totals: Vec<_> = self.changed.iter().map(|project| total(*project)).collect();
        self.changed.clear();
        let places: Vec<_> = std::mem::take(&mut self.unwritten).into_iter().collect();
        let envelopes = places.iter().map(|place| {
            let envelope = self.receipts[place].receipt.envelope();
            (envelope.as_bytes().len(), envelope)
        });
        let (mut writes, chunks) = self.chunks.put(envelopes);
        for (place, chunk) in places.iter().zip(chunks) {
            self.receipts.entry(*place).and_modify(|entry| entry.chunk = Some(chunk));
        }
        writes.extend(totals);
        writes.extend(self.chunks.deletions());
        writes
    }

    /// Enters that `count` tasks of `project` were given up because it had withdrawn their job.
    pub fn count_withdrawn(&mut self, project: ProjectKey, count: u64) -> Write {
        let total = self.totals.entry(project).or_default();
        total.withdrawn = total.withdrawn.saturating_add(count);
        Write::put(total_key(project), self.sum(project))
    }

    /// The receipts kept, the oldest judgement first.
    pub fn receipts(&self) -> impl DoubleEndedIterator<Item = &Verified<Receipt>> {
        self.receipts.values().map(|entry| &entry.receipt)
    }

    /// The sums, in the order of the projects' keys.
    pub fn totals(&self) -> impl Iterator<Item = (&ProjectKey, &Total)> {
        self.totals.iter()
    }

    fn sum(&self, project: ProjectKey) -> Vec<u8> {
        encode_cbor(&(project, self.totals.get(&project).copied().unwrap_or_default()))
    }

    /// Keeps `receipt`; the oldest gives way if there are too many.
    fn insert(&mut self, receipt: Verified<Receipt>, chunk: Option<u64>) {
        let place = (receipt.issued, receipt.result);
        self.judged.insert(receipt.result, receipt.issued);
        if chunk.is_none() {
            self.unwritten.insert(place);
        }
        self.receipts.insert(place, Entry { receipt, chunk });
        if self.receipts.len() > MAX_RECEIPTS
            && let Some((oldest, entry)) = self.receipts.pop_first()
        {
            self.judged.remove(&entry.receipt.result);
            self.unwritten.remove(&oldest);
            entry.chunk.into_iter().for_each(|chunk| self.chunks.leave(chunk));
        }
    }
}

fn total_key(project: ProjectKey) -> Vec<u8> {
    [&[TOTAL_PREFIX], project.as_bytes().as_slice()].concat()
}
