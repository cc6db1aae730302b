//! What the masters have said about this machine's results: receipts, and their sums.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{Credit, Receipt, Verdict};
use capability::{
    CborError, Envelope, ProjectKey, StatementError, StatementId, Timestamp, Verified, Verifier,
    decode_cbor, encode_cbor,
};
use mesh_core::Write;
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

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// By time of judgement and result.
    receipts: BTreeMap<(Timestamp, StatementId), Verified<Receipt>>,
    judged: BTreeSet<StatementId>,
    totals: BTreeMap<ProjectKey, Total>,
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
            let envelope: Envelope = decode_cbor(value, MAX_RECORD)?;
            self.insert(Verified::check(&envelope, verifier)?);
        }
        Ok(())
    }

    /// Whether `result` has been judged, as far as is remembered.
    pub fn knows(&self, result: StatementId) -> bool {
        self.judged.contains(&result)
    }

    /// Enters `receipt`.
    pub fn enter(&mut self, receipt: Verified<Receipt>) -> Vec<Write> {
        let project = receipt.project;
        let total = self.totals.entry(project).or_default();
        match receipt.verdict {
            Verdict::Accepted(Credit(credit)) => {
                total.accepted += 1;
                total.credit.0 = total.credit.0.saturating_add(credit);
            }
            Verdict::Rejected(_) | Verdict::Again(_) => total.rejected += 1,
        }
        let mut writes = vec![
            Write::put(total_key(project), encode_cbor(&(project, *total))),
            Write::put(receipt_key(place(&receipt)), encode_cbor(receipt.envelope())),
        ];
        self.insert(receipt);
        if self.receipts.len() > MAX_RECEIPTS
            && let Some((oldest, receipt)) = self.receipts.pop_first()
        {
            self.judged.remove(&receipt.result);
            writes.push(Write::delete(receipt_key(oldest)));
        }
        writes
    }

    /// Enters that `count` tasks of `project` were given up because it had withdrawn their job.
    pub fn count_withdrawn(&mut self, project: ProjectKey, count: u64) -> Write {
        let total = self.totals.entry(project).or_default();
        total.withdrawn = total.withdrawn.saturating_add(count);
        Write::put(total_key(project), encode_cbor(&(project, *total)))
    }

    /// The receipts kept, the oldest judgement first.
    pub fn receipts(&self) -> impl DoubleEndedIterator<Item = &Verified<Receipt>> {
        self.receipts.values()
    }

    /// The sums, in the order of the projects' keys.
    pub fn totals(&self) -> impl Iterator<Item = (&ProjectKey, &Total)> {
        self.totals.iter()
    }

    fn insert(&mut self, receipt: Verified<Receipt>) {
        self.judged.insert(receipt.result);
        self.receipts.insert(place(&receipt), receipt);
    }
}

fn place(receipt: &Receipt) -> (Timestamp, StatementId) {
    (receipt.issued, receipt.result)
}

fn receipt_key((issued, result): (Timestamp, StatementId)) -> Vec<u8> {
    [&[RECEIPT_PREFIX], issued.0.to_be_bytes().as_slice(), result.as_bytes()].concat()
}

fn total_key(project: ProjectKey) -> Vec<u8> {
    [&[TOTAL_PREFIX], project.as_bytes().as_slice()].concat()
}
