//! Receipts as a list that anybody can check: `results --receipts` writes it, `--verify` reads it.
//!
//! `docs/spec/statements.md`, section 9, has the form of the file.

use std::io::Read;

use capability::statements::Receipt;
use capability::{Ed25519, ProjectKey, PublicKey, Timestamp, Verified};
use mesh_shell::{Outcome, StatementList, chain, statement_text};
use serde::Serialize;
use volunteer_core::Audit;

use crate::status::verdict;

/// What a list of receipts says.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Audited {
    /// Statements in it.
    pub listed: usize,
    /// Those that were sound once and hold no more, and so count nothing.
    pub expired: usize,
    /// Those that are not sound, in the order of the list.
    pub bad: Vec<Bad>,
    /// What the others add up to, by volunteer and project.
    pub totals: Vec<Sum>,
}

/// A statement that does not count.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Bad {
    /// The line at which it begins.
    pub line: usize,
    /// Why.
    pub reason: String,
}

/// What one project says of one volunteer.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// The volunteer.
    pub volunteer: PublicKey,
    /// The project.
    pub project: ProjectKey,
    /// Results accepted.
    pub accepted: u64,
    /// Results that did not count.
    pub rejected: u64,
    /// Core-milliseconds of those accepted.
    pub credit: u64,
}

/// `receipts` of `volunteer` as a list.
pub fn list<'r>(
    volunteer: PublicKey,
    receipts: impl IntoIterator<Item = &'r Verified<Receipt>>,
) -> String {
    let mut text = format!("# receipts of volunteer {volunteer}\n");
    for receipt in receipts {
        text.push_str(&statement_text(&about(receipt), receipt.envelope()));
    }
    text
}

/// A receipt in a line for people; it proves nothing.
fn about(receipt: &Receipt) -> String {
    let (verdict, _, credit) = verdict(&receipt.verdict);
    let (issued, project, offer) = (receipt.issued, receipt.project, receipt.task.offer);
    let task = receipt.task.task;
    format!("{issued} {project} {verdict} task {task} of {}: {credit} core-ms", offer.short())
}

/// Checks the list in `reader` as of `now`.
///
/// # Errors
/// If it cannot be read, or is beyond the bounds of a list.
pub fn audit(reader: impl Read, now: Timestamp) -> Outcome<Audited> {
    let (mut audit, mut listed, mut bad) = (Audit::new(now), 0, Vec::new());
    for statement in StatementList::new(reader) {
        let statement = statement?;
        listed += 1;
        let entered = match &statement.statement {
            Ok(envelope) => audit.enter(envelope, &Ed25519).map_err(|flaw| chain(&flaw)),
            Err(why) => Err(format!("not a statement: {why}")),
        };
        bad.extend(entered.err().map(|reason| Bad { line: statement.line, reason }));
    }
    let totals = audit.totals().map(|(volunteer, project, total)| Sum {
        volunteer,
        project,
        accepted: total.accepted,
        rejected: total.rejected,
        credit: total.credit.0,
    });
    Ok(Audited { listed, expired: audit.expired(), bad, totals: totals.collect() })
}

#[cfg(test)]
mod tests;
