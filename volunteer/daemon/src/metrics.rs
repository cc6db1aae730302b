//! What is counted for `/metrics`.

use std::sync::PoisonError;
use std::sync::atomic::AtomicI64;

use mesh_shell::http;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use volunteer_core::{News, Volunteer};

use crate::news::ending;
use crate::status::verdict;

/// The daemon's counts.
#[derive(Default)]
pub struct Metrics {
    runs: Family<Ending, Counter>,
    receipts: Family<Judgement, Counter>,
    credit: Counter,
    declined: Counter,
    lapsed: Counter,
    jobs: Gauge<i64, AtomicI64>,
    undelivered: Gauge<i64, AtomicI64>,
    brokers: Gauge<i64, AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Ending {
    ended: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Judgement {
    verdict: &'static str,
}

impl Metrics {
    /// Everything at zero, shown by `registry`.
    pub fn new(registry: &http::Metrics) -> Self {
        let metrics = Self::default();
        let mut registry = registry.lock().unwrap_or_else(PoisonError::into_inner);
        let registry = registry.sub_registry_with_prefix("talkoot_volunteer");
        registry.register("runs", "Tasks run, by how they ended", metrics.runs.clone());
        registry.register("receipts", "Receipts, by verdict", metrics.receipts.clone());
        registry.register("credit_core_milliseconds", "Credit received", metrics.credit.clone());
        registry.register("offers_declined", "Offers declined", metrics.declined.clone());
        registry.register("leases_lapsed", "Leases that lapsed", metrics.lapsed.clone());
        registry.register("jobs", "Tasks in hand", metrics.jobs.clone());
        registry.register(
            "results_undelivered",
            "Results that wait for their receipts",
            metrics.undelivered.clone(),
        );
        registry.register("brokers", "Brokers connected", metrics.brokers.clone());
        metrics
    }

    /// Counts `news`.
    pub fn count(&self, news: &News) {
        match news {
            News::Finished { ended, .. } => {
                self.runs.get_or_create(&Ending { ended: ending(ended).0 }).inc();
            }
            News::Receipt { verdict: judged, .. } => {
                let (verdict, _, credit) = verdict(judged);
                self.receipts.get_or_create(&Judgement { verdict }).inc();
                self.credit.inc_by(credit);
            }
            News::Declined { .. } => {
                self.declined.inc();
            }
            News::Lapsed { .. } => {
                self.lapsed.inc();
            }
            _ => {}
        }
    }

    /// Measures `core`.
    pub fn measure(&self, core: &Volunteer) {
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.jobs.set(count(core.jobs().count()));
        self.undelivered.set(count(core.undelivered()));
        self.brokers.set(count(core.brokers().len()));
    }
}
