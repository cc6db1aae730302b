//! The payloads of all kinds, one file per idea.

mod check;
mod key_change;
mod lease;
mod list;
mod machine;
mod network;
mod of_kind;
mod offer;
mod private;
mod project;
mod report;
mod request;
mod result;
mod strictly;

pub use check::{
    Check, MAX_CHECK_ARGUMENTS, MAX_CHECK_COMMAND, MAX_CHECK_COMMANDS, MAX_CHECK_DEPENDS,
    MAX_CHECKS,
};
pub(crate) use check::{FAMILY as CHECK_FAMILY, PROJECT_CHARACTERS};
pub use key_change::{MAX_NODES, Ownership, Revocation, Succession};
pub use lease::{Claim, Intent, Lease, MAX_TASKS_A_CLAIM, Renewal};
pub use list::{List, ListedProject, MAX_LISTED};
pub use machine::{Ad, BrokerCard, Class, ClassCount, Summary};
pub use network::{ListedBroker, Network};
pub use of_kind::OfKind;
pub use offer::{
    MAX_OFFLINE, MAX_PACKAGE_BYTES, MAX_PRIORITY, MAX_TASKS, Offer, Package, TaskId,
    USUAL_PRIORITY, Withdrawal,
};
pub use private::{MAX_RECIPIENTS, Private, Recipient, SealedPackage};
pub use project::{Delegation, Home, Permissions, Registration};
pub use report::{
    Artifact, BlobPart, Ended, Log, MAX_INLINE_LOG_BYTES, Opened, Report, StepReport, Unreadable,
};
pub use request::Request;
pub use result::{Blob, Credit, JobResult, MAX_BLOBS, Receipt, Verdict};

use std::time::Duration;

use crate::invalid::Invalid;
use crate::key::{Carried, ProjectKey, PublicKey, Verifier};
use crate::statement::{Kind, StatementError, Verified};
use crate::time::Timestamp;
use crate::{Envelope, Payload};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// A statement that a node key signs for a project, and the delegation that lets it.
struct ForProject<'a> {
    kind: Kind,
    project: ProjectKey,
    expires: Timestamp,
    delegation: &'a Envelope,
}

impl ForProject<'_> {
    /// S7: the project key delegated to `signer`, and nothing outlives the delegation.
    fn authorize(&self, signer: PublicKey, verifier: &dyn Verifier) -> Result<(), StatementError> {
        let refused = |reason| Err(StatementError::Unauthorized { kind: self.kind, reason });
        let delegation = Verified::<Delegation>::check(self.delegation, &Carried(verifier))?;
        if ProjectKey::from(delegation.signer()) != self.project {
            refused("the delegation is another project's")
        } else if delegation.node != signer {
            refused("the delegation is to another key")
        } else if delegation.expires() < self.expires {
            refused("it outlives its delegation")
        } else {
            Ok(())
        }
    }
}

/// An ownership that goes with a claim or a report has at most so many bytes: it names a hundred
/// nodes.
pub const MAX_OWNERSHIP_BYTES: usize = 4096;

/// S75, S92: the owner and the `volunteer` name each other, this one by signing a `kind` with the
/// `ownership` in it. Gives that, checked.
fn owned(
    kind: Kind,
    rule: &'static str,
    ownership: Option<&Envelope>,
    volunteer: PublicKey,
    verifier: &dyn Verifier,
) -> Result<Option<Verified<Ownership>>, StatementError> {
    let Some(ownership) = ownership else { return Ok(None) };
    let invalid = |source| StatementError::Invalid { kind, source };
    let small = ownership.as_bytes().len() <= MAX_OWNERSHIP_BYTES;
    Invalid::unless(small, rule, "an ownership of over 4,096 bytes").map_err(invalid)?;
    let ownership = Verified::<Ownership>::check(ownership, &Carried(verifier))?;
    let named = ownership.nodes.contains(&volunteer);
    Invalid::unless(named, rule, "an ownership that does not name the volunteer")
        .map_err(invalid)?;
    Ok(Some(ownership))
}

/// S10: text for people is bounded, and cannot move a terminal's cursor.
fn check_text(field: &'static str, text: &str, max_bytes: usize) -> Result<(), Invalid> {
    let bounded = text.len() <= max_bytes && !text.chars().any(char::is_control);
    let complaint = || format!("{field} has control characters or over {max_bytes} bytes");
    if bounded { Ok(()) } else { Err(Invalid::new("S10", complaint())) }
}
