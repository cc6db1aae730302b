//! The receipts that have crossed this home broker, by the result that they judge: whoever sends
//! such a result again is answered from here, though the master may be away.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::Receipt;
use capability::{Envelope, ProjectKey, StatementId, Timestamp, Verified, encode_cbor};
use mesh_core::Write;
use serde::{Deserialize, Serialize};

use crate::record;

/// Receipts kept at most. The one that ends soonest gives way; its master still has the judgement.
pub const MAX_RECEIPTS: usize = 100_000;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Receipts {
    by_result: BTreeMap<Judged, Kept>,
    by_end: BTreeSet<(Timestamp, Judged)>,
}

/// A project and the result that it judged: another project's judgement of the result is nothing.
type Judged = (ProjectKey, StatementId);

#[derive(Debug)]
struct Kept {
    receipt: Verified<Receipt>,
    until: Timestamp,
}

/// How a receipt is durable.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct ReceiptRecord {
    pub(crate) receipt: Envelope,
    /// The result's expiry: nobody sends it after that.
    pub(crate) until: Timestamp,
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
    pub(crate) fn keep(&mut self, receipt: Verified<Receipt>, until: Timestamp) -> Vec<Write> {
        let judged = (receipt.project, receipt.result);
        let known = self.by_result.get(&judged);
        if known.is_some_and(|known| known.receipt.issued >= receipt.issued) {
            return Vec::new();
        }
        let envelope = receipt.envelope().clone();
        self.restore(receipt, until);
        let value = encode_cbor(&ReceiptRecord { receipt: envelope, until });
        let mut writes = vec![Write::put(key(judged), value)];
        if self.by_result.len() > MAX_RECEIPTS
            && let Some((_, first)) = self.by_end.first().copied()
        {
            writes.extend(self.forget(first));
        }
        writes
    }

    /// Takes up again what a former process had made durable.
    pub(crate) fn restore(&mut self, receipt: Verified<Receipt>, until: Timestamp) {
        let judged = (receipt.project, receipt.result);
        self.forget(judged);
        self.by_end.insert((until, judged));
        self.by_result.insert(judged, Kept { receipt, until });
    }

    /// Forgets the receipts of results that have expired.
    pub(crate) fn expire(&mut self, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        while let Some((_, judged)) = self.by_end.first().copied().filter(|(at, _)| *at <= now) {
            writes.extend(self.forget(judged));
        }
        writes
    }

    /// Forgets those that are void: their results are to be judged anew.
    pub(crate) fn forget_if(
        &mut self,
        is_unwanted: impl Fn(&Verified<Receipt>) -> bool,
    ) -> Vec<Write> {
        let unwanted = self.by_result.iter().filter(|(_, kept)| is_unwanted(&kept.receipt));
        let unwanted: Vec<Judged> = unwanted.map(|(judged, _)| *judged).collect();
        unwanted.into_iter().filter_map(|judged| self.forget(judged)).collect()
    }

    fn forget(&mut self, judged: Judged) -> Option<Write> {
        let kept = self.by_result.remove(&judged)?;
        self.by_end.remove(&(kept.until, judged));
        Some(Write::delete(key(judged)))
    }
}

fn key((project, result): Judged) -> Vec<u8> {
    record::receipt(project, result)
}
