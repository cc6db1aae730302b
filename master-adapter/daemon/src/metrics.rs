//! What is counted.

use std::sync::{Arc, Mutex};

use master_core::News;
use mesh_shell::http::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

/// The counters; clones count together.
#[derive(Debug, Clone, Default)]
pub struct Counters {
    accepted: Counter,
    rejected: Counter,
    again: Counter,
    done: Counter,
    credit: Counter,
    moves: Counter,
}

impl Counters {
    /// New counters, and the registry that shows them.
    pub fn register() -> (Self, Metrics) {
        let counters = Self::default();
        let mut registry = Registry::with_prefix("talkoot_master");
        for (name, help, counter) in [
            ("results_accepted", "Results accepted", &counters.accepted),
            ("results_rejected", "Results rejected", &counters.rejected),
            ("results_again", "Results of machines that could not run a task", &counters.again),
            ("jobs_done", "Jobs of which every task was settled", &counters.done),
            ("credit_milliseconds", "CPU time credited to volunteers", &counters.credit),
            ("home_moves", "Epochs begun", &counters.moves),
        ] {
            registry.register(name, help, counter.clone());
        }
        (counters, Arc::new(Mutex::new(registry)))
    }

    /// Counts what has happened.
    pub fn count(&self, news: &News) {
        match news {
            News::Accepted { credit, .. } => {
                self.accepted.inc();
                self.credit.inc_by(credit.0);
            }
            News::Rejected { .. } => {
                self.rejected.inc();
            }
            News::Again { .. } => {
                self.again.inc();
            }
            News::JobDone { .. } => {
                self.done.inc();
            }
            News::HomeMoved { .. } => {
                self.moves.inc();
            }
            _ => {}
        }
    }
}
