//! What a job is called, whoever has signed its offer last.
//!
//! A job's id is that of the first offer that was made of it. When the adapter gets a new node key,
//! open offers are signed again, and so get other ids; results name the offer that they are of.

use std::collections::BTreeMap;

use capability::StatementId;
use mesh_core::Write;

use crate::records::{RestoreError, job_id_key, name_in};

/// The job of each offer that has not its job's id.
#[derive(Debug, Default)]
pub struct JobIds {
    jobs: BTreeMap<StatementId, StatementId>,
}

impl JobIds {
    /// Takes up a record of [`JOB_ID_PREFIX`](crate::JOB_ID_PREFIX).
    ///
    /// # Errors
    /// If it is none.
    pub fn restore(&mut self, key: &[u8], value: &[u8]) -> Result<(), RestoreError> {
        let job = value.try_into().map_err(|_| RestoreError::Key)?;
        self.jobs.insert(name_in(key)?, StatementId::from_bytes(job));
        Ok(())
    }

    /// The id of the job that was offered as `offer`.
    pub fn of(&self, offer: StatementId) -> StatementId {
        self.jobs.get(&offer).copied().unwrap_or(offer)
    }

    /// `job` is offered as `offer` now.
    pub(crate) fn add(&mut self, offer: StatementId, job: StatementId) -> Write {
        self.jobs.insert(offer, job);
        Write::put(job_id_key(offer), *job.as_bytes())
    }
}
