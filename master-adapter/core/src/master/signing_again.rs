//! The adapter has a new node key: what its former one signed and still matters is signed again.
//!
//! It happens at the start, offer by offer, so that a crash in between leaves some for the next one.
//! What results a job has stays as it is. The home gets a new epoch (`Homes::successor`).

use capability::statements::Receipt;
use capability::{PublicKey, StatementId, Verified};
use mesh_core::{Bundle, Cargo, Duty, Now, Write};

use super::{Master, Pending};
use crate::jobs::JobState;
use crate::message::News;
use crate::records::{offer_key, state_key};

/// Receipts that are replaced in one commit.
const RECEIPTS_A_COMMIT: usize = 256;

impl Master {
    pub(super) fn sign_again(&mut self, now: Now) {
        let node = self.authority.node();
        // Under an expired delegation it would be worth nothing; a later start has another.
        if self.authority.is_current(now.wall) {
            self.sign_offers_again(node);
            self.sign_receipts_again(node);
        }
    }

    fn sign_offers_again(&mut self, node: PublicKey) {
        let foreign = self.jobs.iter().filter(|job| job.offer().signer() != node);
        let foreign: Vec<_> = foreign.map(|job| (job.id(), job.state())).collect();
        for (id, state) in foreign {
            match state {
                JobState::Open => self.sign_offer_again(id),
                // Nobody but the former key could withdraw it, and brokers drop what that signed.
                JobState::Done | JobState::Cancelled => self.take_for_withdrawn(id),
                JobState::DoneAndWithdrawn | JobState::CancelledAndWithdrawn => {}
            }
        }
    }

    fn sign_offer_again(&mut self, id: StatementId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        let offer = job.sign_again(&self.authority);
        let writes = vec![
            Write::put(offer_key(id), offer.envelope().as_bytes()),
            self.jobs.ids_mut().add(offer.id(), id),
        ];
        let news = News::SignedAgain { offer: id, now: offer.id() };
        self.commit(writes, vec![news.into()], vec![Pending::Job(id)]);
    }

    fn take_for_withdrawn(&mut self, id: StatementId) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.set_state(job.state().withdrawn());
        let write = Write::put(state_key(id), capability::encode_cbor(&job.record()));
        self.commit(vec![write], Vec::new(), Vec::new());
    }

    /// The receipts that the home has not taken yet.
    fn sign_receipts_again(&mut self, node: PublicKey) {
        let owed = self.custody.bundles().filter_map(|bundle| match &bundle.cargo {
            Cargo::Receipt(receipt) if receipt.signer() != node => {
                Some((receipt.clone(), bundle.via))
            }
            _ => None,
        });
        let owed: Vec<_> = owed.filter(|(it, _)| it.project == self.authority.project()).collect();
        for some in owed.chunks(RECEIPTS_A_COMMIT) {
            let writes: Vec<_> = self.remember_delegation().into_iter().collect();
            for (receipt, via) in some {
                self.custody.discharge(receipt.id());
                let receipt = self.receipt_again(receipt);
                let bundle = Bundle { cargo: Cargo::Receipt(receipt), via: *via };
                let taken = self.custody.take(bundle, Duty::Carrier);
                taken.expect("the one that it replaces has made room");
            }
            self.commit(writes, Vec::new(), Vec::new());
        }
    }

    fn receipt_again(&self, receipt: &Verified<Receipt>) -> Verified<Receipt> {
        let delegation = self.authority.delegation();
        let payload = Receipt {
            delegation: delegation.envelope().clone(),
            expires: receipt.expires.min(delegation.expires),
            ..(**receipt).clone()
        };
        Verified::sign(payload, self.authority.signer())
    }
}
