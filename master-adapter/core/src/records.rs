//! The durable records of this core: one kind a first byte, in an order that restores in one pass.
//!
//! | key | value |
//! |---|---|
//! | `a` offer | the id of its job, where that is another |
//! | `d` delegation | the envelope under which receipts were signed |
//! | `h` epoch | the envelope of that epoch's home |
//! | `j` job | its offer's envelope |
//! | `s` job | [`StateRecord`] |
//! | `u` job, task | [`GivenUpRecord`]: why it is given up |
//! | `v` number | a chunk of [`JudgedRecord`]s: what was judged together, with the accepted results |
//!
//! A job's id is that of its first offer ([`crate::JobIds`]). Custody adds its own (`c`).

use capability::statements::{TaskId, Verdict};
use capability::{
    CborError, Envelope, PublicKey, StatementError, StatementId, Timestamp, decode_cbor,
};
use mesh_core::{BundleError, MAX_FRAME_BYTES};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::jobs::JobState;

/// Records of the jobs of offers that were signed again.
pub const JOB_ID_PREFIX: u8 = b'a';
/// Records of offers, by their jobs.
pub const OFFER_PREFIX: u8 = b'j';
/// Records of what was judged; the accepted results in them make the archive.
pub const JUDGED_PREFIX: u8 = b'v';

pub(crate) const DELEGATION_PREFIX: u8 = b'd';
pub(crate) const HOME_PREFIX: u8 = b'h';
pub(crate) const STATE_PREFIX: u8 = b's';
pub(crate) const GIVEN_UP_PREFIX: u8 = b'u';

/// Bytes of a judgement and of what is known of an accepted result, at most.
const JUDGEMENT_BYTES: usize = 1024;

/// A record of ours is smaller than this; envelopes have their own bound.
pub(crate) const MAX_RECORD_BYTES: usize = 4096;

/// What became of an offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StateRecord {
    pub(crate) state: JobState,
    /// The newest epoch whose home has acknowledged the offer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acknowledged: Option<u64>,
}

/// The result that settled one replica of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SettledRecord {
    pub(crate) via: PublicKey,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) owner: Option<PublicKey>,
    pub(crate) passed: bool,
    pub(crate) result: StatementId,
    pub(crate) volunteer: PublicKey,
}

/// The job, the task and the reason, if this is the record of a task that is given up.
///
/// # Errors
/// If it is malformed.
pub fn given_up(
    key: &[u8],
    value: &[u8],
) -> Result<Option<(StatementId, u32, String)>, RestoreError> {
    if key.first() != Some(&GIVEN_UP_PREFIX) {
        return Ok(None);
    }
    let (job, task) = given_up_in(key)?;
    let GivenUpRecord { reason } = decode_cbor(value, MAX_RECORD_BYTES)?;
    Ok(Some((job, task, reason)))
}

/// Why a task is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GivenUpRecord {
    pub(crate) reason: String,
}

/// One result that was judged, and may not be judged anew.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct JudgedRecord {
    pub(crate) result: StatementId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) accepted: Option<AcceptedRecord>,
    pub(crate) judgement: Judgement,
}

/// A result that settled a replica of a task.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct AcceptedRecord {
    /// Of the job, whatever offer it had been leased from.
    pub(crate) task: TaskId,
    pub(crate) settled: SettledRecord,
    pub(crate) envelope: Envelope,
}

impl JudgedRecord {
    /// Bytes in a record, about.
    pub(crate) fn size(&self) -> usize {
        let accepted = self.accepted.as_ref();
        JUDGEMENT_BYTES + accepted.map_or(0, |accepted| accepted.envelope.as_bytes().len())
    }
}

/// The accepted results in a record of [`JUDGED_PREFIX`], unchecked.
///
/// # Errors
/// If it is no such record.
pub fn accepted_in(value: &[u8]) -> Result<Vec<Envelope>, RestoreError> {
    let judged: Vec<JudgedRecord> = decode_cbor(value, MAX_FRAME_BYTES)?;
    Ok(judged.into_iter().filter_map(|it| Some(it.accepted?.envelope)).collect())
}

/// What a receipt says beyond what is known anyway. Signatures are deterministic, so that the same
/// receipt can be made again from it. The fields stand as they are encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Judgement {
    pub(crate) task: u32,
    pub(crate) offer: StatementId,
    pub(crate) issued: Timestamp,
    pub(crate) expires: Timestamp,
    pub(crate) replica: u16,
    pub(crate) verdict: Verdict,
    pub(crate) volunteer: PublicKey,
    pub(crate) delegation: StatementId,
}

impl Judgement {
    /// What was judged.
    pub(crate) fn task(&self) -> TaskId {
        TaskId { offer: self.offer, task: self.task, replica: self.replica }
    }
}

/// The key of the record of a job's offer.
pub fn offer_key(job: StatementId) -> Vec<u8> {
    named(OFFER_PREFIX, job)
}

pub(crate) fn job_id_key(offer: StatementId) -> Vec<u8> {
    named(JOB_ID_PREFIX, offer)
}

pub(crate) fn delegation_key(delegation: StatementId) -> Vec<u8> {
    named(DELEGATION_PREFIX, delegation)
}

pub(crate) fn state_key(job: StatementId) -> Vec<u8> {
    named(STATE_PREFIX, job)
}

pub(crate) fn home_key(epoch: u64) -> Vec<u8> {
    let mut key = vec![HOME_PREFIX];
    key.extend(epoch.to_be_bytes());
    key
}

pub(crate) fn given_up_key(job: StatementId, task: u32) -> Vec<u8> {
    let mut key = named(GIVEN_UP_PREFIX, job);
    key.extend(task.to_be_bytes());
    key
}

/// The job and task of a [`GivenUpRecord`].
fn given_up_in(key: &[u8]) -> Result<(StatementId, u32), RestoreError> {
    let (name, number) = key.split_at_checked(33).ok_or(RestoreError::Key)?;
    let number: [u8; 4] = number.try_into().map_err(|_| RestoreError::Key)?;
    Ok((name_in(name)?, u32::from_be_bytes(number)))
}

/// The name behind the first byte of `key`.
///
/// # Errors
/// If the key has another shape.
pub fn name_in(key: &[u8]) -> Result<StatementId, RestoreError> {
    let name = key.get(1..).and_then(|name| name.try_into().ok());
    name.map(StatementId::from_bytes).ok_or(RestoreError::Key)
}

fn named(prefix: u8, name: StatementId) -> Vec<u8> {
    let mut key = vec![prefix];
    key.extend(name.as_bytes());
    key
}

/// What is on disk cannot have been written by this program.
#[derive(Debug, Error)]
pub enum RestoreError {
    /// A key of another shape.
    #[error("a record with a key of another shape")]
    Key,
    /// A record is malformed.
    #[error("a malformed record")]
    Record(#[from] CborError),
    /// A statement that was sound when it was written is not any more.
    #[error("a stored statement")]
    Statement(#[from] StatementError),
    /// A bundle in custody.
    #[error("a stored bundle")]
    Bundle(#[from] BundleError),
}
