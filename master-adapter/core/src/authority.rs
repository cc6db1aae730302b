//! In whose name this master signs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Delegation, Registration};
use capability::{Payload, ProjectKey, PublicKey, Signer, Timestamp, Verified};

/// A project, and the key that the project lets speak for it.
///
/// The project's own secret key is not among it; it may be in a safe.
#[derive(Clone)]
pub struct Authority {
    signer: Arc<dyn Signer>,
    registration: Verified<Registration>,
    delegation: Verified<Delegation>,
}

impl Authority {
    /// Puts together what `signer` needs to speak for a project; `None` if the registration and the
    /// delegation are not by one key, or the delegation is to another key than `signer`'s.
    pub fn new(
        signer: Arc<dyn Signer>,
        registration: Verified<Registration>,
        delegation: Verified<Delegation>,
    ) -> Option<Self> {
        let coherent =
            registration.signer() == delegation.signer() && delegation.node == signer.public();
        coherent.then_some(Self { signer, registration, delegation })
    }

    /// The project.
    pub fn project(&self) -> ProjectKey {
        self.registration.signer().into()
    }

    /// The node key that speaks for it.
    pub fn node(&self) -> PublicKey {
        self.signer.public()
    }

    /// Who the project is.
    pub fn registration(&self) -> &Verified<Registration> {
        &self.registration
    }

    /// What lets the node key speak.
    pub fn delegation(&self) -> &Verified<Delegation> {
        &self.delegation
    }

    pub(crate) fn signer(&self) -> &dyn Signer {
        &*self.signer
    }

    /// When a statement that shall hold for `lifetime` expires: not after the delegation.
    pub(crate) fn expiry(&self, now: Timestamp, lifetime: Duration) -> Timestamp {
        (now + lifetime).min(self.delegation.expires())
    }

    /// Whether the delegation still holds, without the tolerance that others grant.
    pub(crate) fn is_current(&self, now: Timestamp) -> bool {
        self.delegation.expires() > now
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Authority(of {} for {})", self.node().short(), self.project().short())
    }
}
