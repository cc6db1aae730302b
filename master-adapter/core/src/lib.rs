//! The master's side of the mesh, without IO: a project's homes, jobs, judgements and receipts.
//!
//! A job is submitted and becomes an offer, which is acknowledged to the submitter once it is
//! durable here. From then on this core is its originator: it publishes the offer to the home broker
//! and the standbys until they have taken it, and again whenever it meets them anew. Results come
//! in by custody; each is judged once, and the acceptance and its receipt become durable in one
//! commit. When every task is settled the offer is withdrawn.
//!
//! [`Master`] is the parent that routes; [`Job`] is one offer and its results. Nothing here opens a
//! socket or reads a clock.

mod agenda;
mod attempts;
mod authority;
mod homes;
mod job_ids;
mod jobs;
mod judge;
mod master;
mod message;
mod owners;
mod records;

pub use authority::Authority;
pub use homes::{MAX_BROKERS, REHOME_AFTER};
pub use job_ids::JobIds;
pub use jobs::{Job, JobState, MAX_JOBS, MAX_TASKS_IN_ALL, NewJob, Settled, SubmitError};
pub use judge::{Inside, MAX_AGAIN};
pub use master::{MIN_FREE_DISK, Master, standing_offers};
pub use message::{Action, Arrival, CancelError, Fate, Input, News, RevokedKey};
pub use records::{
    JOB_ID_PREFIX, JUDGED_PREFIX, OFFER_PREFIX, RestoreError, accepted_in, given_up, name_in,
    offer_key,
};
