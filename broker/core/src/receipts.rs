//! The receipts that have crossed this home broker, by the result that they judge: whoever sends
//! such a result again is answered from here, though the master may be away.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::Receipt;
use capability::{Envelope, ProjectKey, StatementId, Timestamp, Verified, Verifier};
use mesh_core::{BundleError, Chunks, Write};
use serde::{Deserialize, Serialize};

use crate::record;

/// Receipts kept at most. The one that ends soonest gives way; its master still has the judgement.
pub const MAX_RECEIPTS: usize = 100_000;

/// See the module.
#[derive(Debug)]
pub(crate) struct Receipts {
    by_result: BTreeMap<Judged, Kept>,
    by_end: BTreeSet<(Timestamp, Judged)>,
    /// Receipts that became durable together share a record.
    chunks: Chunks,
    unwritten: BTreeSet<Judged>,
}

/// A project and the result that it judged: another project's judgement of the result is nothing.
type Judged = (ProjectKey, StatementId);

#[derive(Debug)]
struct Kept {
    receipt: Verified<Receipt>,
    until: Timestamp,
    /// The record that holds it, once there is one.
    chunk: Option<u64>,
}

/// How a receipt is durable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct ReceiptRecord {
    /// The result's expiry: nobody sends it after that.
    until: Timestamp,
    receipt: Envelope,
}

impl Default for Receipts {
    fn default() -> Self {
        Self {
            by_result: BTreeMap::new(),
            by_end: BTreeSet::new(),
            chunks: Chunks::new(record::RECEIPT),
            unwritten: BTreeSet::new(),
        }
    }
}

impl Receipts {
    /// The judgement of `project` on `result`.
    pub(crate) fn of(
        &self,
        project: ProjectKey,
        result: StatementId,
    ) -> Option<&Verified<Receipt>> {
        self.by_result.get(&(project, result)).map(|kept| &kept.receipt)
    }

    /// Keeps `receipt` until its result has expired; a later judgement replaces an earlier one.
    pub(crate) fn keep(&mut self, receipt: Verified<Receipt>, until: Timestamp) {
        self.insert(receipt, until, None);
        if self.by_result.len() > MAX_RECEIPTS
            && let Some((_, first)) = self.by_end.first().copied()
        {
            self.forget(first);
        }
    }

    /// What must become durable of the changes since the last call.
    pub(crate) fn writes(&mut self) -> Vec<Write> {
        let unwritten: Vec<_> = std::mem::take(&mut self.unwritten).into_iter().collect();
        let records = unwritten.iter().map(|judged| {
            let Kept { receipt, until, .. } = &self.by_result[judged];
            let receipt = receipt.envelope().clone();
            (receipt.as_bytes().len(), ReceiptRecord { receipt, until: *until })
        });
        let (mut writes, chunks) = self.chunks.put(records);
        for (judged, chunk) in unwritten.into_iter().zip(chunks) {
            self.by_result.entry(judged).and_modify(|kept| kept.chunk = Some(chunk));
        }
        writes.extend(self.chunks.deletions());
        writes
    }

    /// Takes up again what a former process had made durable. What had gone of it comes back, and
    /// what it says is still so.
    pub(crate) fn restore(
        &mut self,
        key: &[u8],
        value: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<(), BundleError> {
        let (chunk, records) = self.chunks.restore::<ReceiptRecord>(key, value)?;
        for ReceiptRecord { receipt, until } in records {
            self.insert(Verified::check(&receipt, verifier)?, until, Some(chunk));
        }
        Ok(())
    }

    /// Forgets the receipts of results that have expired.
    pub(crate) fn expire(&mut self, now: Timestamp) {
        while let Some((_, judged)) = self.by_end.first().copied().filter(|(at, _)| *at <= now) {
            self.forget(judged);
        }
    }

    /// Forgets those that are void: their results are to be judged anew.
    pub(crate) fn forget_if(&mut self, is_unwanted: impl Fn(&Verified<Receipt>) -> bool) {
        let unwanted = self.by_result.iter().filter(|(_, kept)| is_unwanted(&kept.receipt));
        let unwanted: Vec<Judged> = unwanted.map(|(judged, _)| *judged).collect();
        unwanted.into_iter().for_each(|judged| self.forget(judged));
    }

    fn insert(&mut self, receipt: Verified<Receipt>, until: Timestamp, chunk: Option<u64>) {
        let judged = (receipt.project, receipt.result);
        let known = self.by_result.get(&judged);
        if known.is_some_and(|known| known.receipt.issued >= receipt.issued) {
            return chunk.into_iter().for_each(|chunk| self.chunks.leave(chunk));
        }
        self.forget(judged);
        if chunk.is_none() {
            self.unwritten.insert(judged);
        }
        self.by_end.insert((until, judged));
        self.by_result.insert(judged, Kept { receipt, until, chunk });
    }

    fn forget(&mut self, judged: Judged) {
        let Some(kept) = self.by_result.remove(&judged) else { return };
        self.by_end.remove(&(kept.until, judged));
        self.unwritten.remove(&judged);
        kept.chunk.into_iter().for_each(|chunk| self.chunks.leave(chunk));
    }
}
