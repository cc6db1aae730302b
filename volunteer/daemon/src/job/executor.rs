//! Whoever runs the jobs that the core orders.

use capability::StatementId;
use tokio::sync::OwnedRwLockReadGuard;
use volunteer_core::{CheckEnd, CheckOrder, Order, Outcome};

use super::Reins;

/// A job is over.
pub struct Ran {
    /// Its lease.
    pub lease: StatementId,
    /// What became of it.
    pub outcome: Outcome,
    /// Holds off the removal of blobs until the core knows what the job has stored, if it may have
    /// stored something.
    pub storing: Option<OwnedRwLockReadGuard<()>>,
}

/// Runs jobs beside the event loop, and tells their ends on the channel that it was made with.
pub trait Executor: Send {
    /// Runs `order`.
    fn start(&mut self, order: Order);

    /// The reins of a job that runs.
    fn reins(&self, lease: StatementId) -> Option<&Reins>;

    /// A job is over; its slot is free.
    fn ended(&mut self, lease: StatementId);

    /// Runs the check `order`; no other may run. `done` is told its end.
    fn check(&mut self, order: CheckOrder, done: Box<dyn FnOnce(CheckEnd) + Send>);

    /// Ends the check that runs.
    fn stop_check(&self);

    /// Does `remove` unless a job is storing blobs just now.
    fn unless_storing(&self, remove: &mut dyn FnMut());
}
