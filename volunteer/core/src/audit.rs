//! Receipts as anybody can check them, far from the volunteer that they are for.
//!
//! A receipt carries what it takes: the delegation by which a project lets its signer speak, and whom
//! it is for. What no receipt tells is whether a key was revoked since.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::Receipt;
use capability::{
    Envelope, MAX_CLOCK_SKEW, ProjectKey, PublicKey, StatementError, StatementId, Timestamp,
    Verified, Verifier,
};
use thiserror::Error;

use crate::ledger::Total;

/// What a list of receipts adds up to.
#[derive(Debug)]
pub struct Audit {
    now: Timestamp,
    /// Whose results were judged by whom.
    judged: BTreeSet<(ProjectKey, StatementId)>,
    totals: BTreeMap<(PublicKey, ProjectKey), Total>,
    expired: usize,
}

/// Why a receipt does not count.
#[derive(Debug, Error)]
pub enum Flaw {
    /// Its shape, its signature, or the authority of its signer.
    #[error("not a receipt that holds")]
    Unsound(#[source] StatementError),
    /// It, or the delegation in it, did not hold when it says that it was made.
    #[error("dated {issued}, when it did not hold")]
    Dated {
        /// When it says that it was made.
        issued: Timestamp,
        /// What was amiss then.
        source: StatementError,
    },
    /// It says that it will have been made.
    #[error("dated {issued}, which is to come")]
    Ahead {
        /// When.
        issued: Timestamp,
    },
    /// There was a receipt of the same project for the same result before.
    #[error("a second receipt for result {result}")]
    Repeated {
        /// The result.
        result: StatementId,
    },
}

impl Audit {
    /// Of no receipt yet, as of `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now, judged: BTreeSet::new(), totals: BTreeMap::new(), expired: 0 }
    }

    /// Checks `envelope` as a receipt, and counts it unless it has expired.
    ///
    /// # Errors
    /// Why it does not count.
    pub fn enter(&mut self, envelope: &Envelope, verifier: &dyn Verifier) -> Result<(), Flaw> {
        let receipt = Verified::<Receipt>::check(envelope, verifier).map_err(Flaw::Unsound)?;
        let (issued, result) = (receipt.issued, receipt.result);
        if issued > self.now + MAX_CLOCK_SKEW {
            return Err(Flaw::Ahead { issued });
        }
        receipt.current(issued).map_err(|source| Flaw::Dated { issued, source })?;
        if !self.judged.insert((receipt.project, result)) {
            return Err(Flaw::Repeated { result });
        }
        // Once a delegation is over, whoever comes by its key may write what date they like.
        if receipt.current(self.now).is_err() {
            self.expired += 1;
        } else {
            let of = (receipt.volunteer, receipt.project);
            self.totals.entry(of).or_default().count(&receipt.verdict);
        }
        Ok(())
    }

    /// The sums by volunteer and project, in the order of their keys.
    pub fn totals(&self) -> impl Iterator<Item = (PublicKey, ProjectKey, &Total)> {
        self.totals.iter().map(|((volunteer, project), total)| (*volunteer, *project, total))
    }

    /// How many were sound once, and hold no more.
    pub fn expired(&self) -> usize {
        self.expired
    }
}
