//! Who may watch a job live.

use capability::{PublicKey, StatementId};
use mesh_core::ChannelRefusal;

use crate::volunteer::Volunteer;
use crate::work::Stage;

impl Volunteer {
    /// The node key of the only one who may open a channel about `lease`, for which broker `from` asks: whoever signed
    /// the offer (rule C45).
    ///
    /// # Errors
    /// The lease is not this volunteer's any more or not worked on, or `from` is none of its brokers.
    pub fn watcher(
        &self,
        from: PublicKey,
        lease: StatementId,
    ) -> Result<PublicKey, ChannelRefusal> {
        let job = self.work.job(lease).filter(|_| self.brokers.contains(&from));
        let live = job.filter(|job| !job.lapsed && job.stage == Stage::Running);
        live.map(|job| job.offer.signer()).ok_or(ChannelRefusal::Nobody)
    }
}
