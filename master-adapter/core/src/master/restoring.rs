//! A master takes up again what a former process had made durable.

use std::collections::BTreeMap;

use capability::statements::{Delegation, Offer, Verdict};
use capability::{Timestamp, Verified, Verifier, decode_cbor};
use mesh_core::{CUSTODY_PREFIX, Now};

use super::Master;
use crate::jobs::Job;
use crate::records::{
    AcceptedRecord, DELEGATION_PREFIX, GIVEN_UP_PREFIX, HOME_PREFIX, JOB_ID_PREFIX, JUDGED_PREFIX,
    JudgedRecord, MAX_RECORD_BYTES, OFFER_PREFIX, RestoreError, STATE_PREFIX, StateRecord,
    given_up, name_in,
};

/// The offers among `records` that brokers may still show at `now`, of whatever project: those of open
/// jobs, and of jobs that are over of which the home has not taken the withdrawal yet.
///
/// # Errors
/// If a record is not one of this core's.
pub fn standing_offers(
    records: &[(Vec<u8>, Vec<u8>)],
    verifier: &dyn Verifier,
    now: Timestamp,
) -> Result<Vec<Verified<Offer>>, RestoreError> {
    let mut standing = BTreeMap::new();
    for (key, value) in records {
        match key.first().copied() {
            Some(OFFER_PREFIX) => {
                let offer = Verified::<Offer>::parse(value, verifier)?;
                if offer.expires > now {
                    standing.insert(name_in(key)?, offer);
                }
            }
            Some(STATE_PREFIX) => {
                let record: StateRecord = decode_cbor(value, MAX_RECORD_BYTES)?;
                if record.state.is_withdrawn() {
                    standing.remove(&name_in(key)?);
                }
            }
            _ => {}
        }
    }
    Ok(standing.into_values().collect())
}

impl Master {
    pub(super) fn restore_record(
        &mut self,
        key: &[u8],
        value: &[u8],
        verifier: &dyn Verifier,
        now: Now,
    ) -> Result<(), RestoreError> {
        match key.first().copied() {
            Some(CUSTODY_PREFIX) => self.custody.restore(key, value, verifier)?,
            Some(JOB_ID_PREFIX) => self.jobs.ids_mut().restore(key, value)?,
            Some(DELEGATION_PREFIX) => self.restore_delegation(value, verifier)?,
            Some(HOME_PREFIX) => self.homes.restore(value, &self.authority, verifier)?,
            Some(OFFER_PREFIX) => {
                let offer = Verified::<Offer>::parse(value, verifier)?;
                // Of what has expired, and of a project that has passed on, only the archive knows.
                let is_ours = offer.project == self.authority.project();
                if is_ours && (offer.current(now.wall).is_ok() || offer.expires > now.wall) {
                    self.jobs.insert(Job::with_id(name_in(key)?, offer));
                }
            }
            Some(STATE_PREFIX) => {
                let record: StateRecord = decode_cbor(value, MAX_RECORD_BYTES)?;
                if let Some(job) = self.jobs.get_mut(name_in(key)?) {
                    job.restore(record);
                }
            }
            Some(JUDGED_PREFIX) => {
                for judged in self.judged.restore::<JudgedRecord>(key, value)?.1 {
                    self.restore_judged(judged);
                }
            }
            Some(GIVEN_UP_PREFIX) => {
                if let Some((job, task, reason)) = given_up(key, value)?
                    && let Some(job) = self.jobs.get_mut(job)
                {
                    job.give_up(task, reason);
                }
            }
            // The archive, and whatever else the shell keeps, is not this core's.
            _ => {}
        }
        Ok(())
    }

    fn restore_delegation(
        &mut self,
        value: &[u8],
        verifier: &dyn Verifier,
    ) -> Result<(), RestoreError> {
        let delegation = Verified::<Delegation>::parse(value, verifier)?;
        if delegation.node == self.authority.node() {
            self.delegations.insert(delegation.id(), delegation.envelope().clone());
        }
        Ok(())
    }

    fn restore_judged(&mut self, record: JudgedRecord) {
        let JudgedRecord { result, judgement, accepted } = record;
        if let Some(AcceptedRecord { task, settled, .. }) = accepted
            && let Some(job) = self.jobs.get_mut(task.offer)
        {
            job.settle(task.task, task.replica, settled.into());
        }
        if let Some(job) = self.jobs.get_mut(judgement.offer) {
            if matches!(judgement.verdict, Verdict::Again(_)) {
                job.count_unfit_machine(judgement.task, judgement.volunteer);
            }
            self.judgements.insert(result, judgement);
        }
    }
}
