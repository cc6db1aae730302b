//! Tasks that a master carries to a machine without a network (C15).

use capability::statements::Lease;
use capability::{PublicKey, Verified};
use mesh_core::{Loan, Now, Refusal};

use super::Broker;
use super::asking::invalid;
use crate::contract::{Action, News};

impl Broker {
    /// Leases of the tasks that `from` wants to lend, who answers for the match: there is no ad.
    pub(super) fn lend(
        &mut self,
        from: PublicKey,
        loan: &Loan,
        now: Now,
    ) -> Result<Vec<Verified<Lease>>, Refusal> {
        let offer = self.granted_offer(loan.offer, loan.epoch, now)?.clone();
        if offer.signer() != from {
            return Err(invalid("tasks are lent by whoever has signed their offer"));
        }
        if self.book.is_void_offer(&offer) {
            return Err(invalid("the key that signed it was revoked"));
        }
        self.may_work(loan.volunteer)?;
        if !offer.admits(loan.volunteer) {
            return Err(Refusal::Unmatched("its package is for other volunteers".to_owned()));
        }
        if !offer.requirements.runtimes.contains(&loan.runtime) {
            let why = format!("it does not run in the {} runtime", loan.runtime);
            return Err(Refusal::Unmatched(why));
        }
        if loan.until <= now.wall || loan.until > offer.expires {
            return Err(invalid(
                "tasks are lent until a time ahead, at most until the offer expires",
            ));
        }
        let (leases, writes) = self.leases.lend(loan, &offer, &*self.signer, now)?;
        if !writes.is_empty() {
            let (offer, volunteer, count) = (loan.offer, loan.volunteer, leases.len());
            let claimed = News::Claimed { offer, volunteer, count };
            self.turn.acknowledgements.push(Action::News(claimed));
        }
        self.turn.writes.extend(writes);
        Ok(leases)
    }
}
