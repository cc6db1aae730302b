//! What is measured and counted.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex};

use broker_core::{News, Totals};
use mesh_shell::http::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

type Measure = Gauge<u64, AtomicU64>;

/// The measures and counters; clones share them.
#[derive(Debug, Clone, Default)]
pub struct Gauges {
    peers: Measure,
    links: Measure,
    ads: Measure,
    pulls: Measure,
    offers: Measure,
    leases: Measure,
    custody: Measure,
    gossip: Measure,
    visitors: Measure,
    disk: Measure,
    granted: Counter,
    lapsed: Counter,
    results: Counter,
    receipts: Counter,
    handovers: Counter,
    handovers_failed: Counter,
    times_limited: Counter,
    limited: Measure,
}

impl Gauges {
    /// All at zero, and the registry that shows them.
    pub fn register() -> (Self, Metrics) {
        let gauges = Self::default();
        let mut registry = Registry::with_prefix("talkoot_broker");
        for (name, help, gauge) in [
            ("peers", "Connected peers", &gauges.peers),
            ("links", "Linked brokers", &gauges.links),
            ("ads", "Own volunteers with an ad", &gauges.ads),
            ("pulls", "Volunteers that wait for an offer", &gauges.pulls),
            ("offers", "Offers known", &gauges.offers),
            ("leases", "Live leases granted here", &gauges.leases),
            ("custody", "Results and receipts in custody", &gauges.custody),
            ("gossip", "Statements compared with other brokers", &gauges.gossip),
            ("visitors", "Peers at the HTTP door", &gauges.visitors),
            (
                "limited",
                "Keys and addresses that were over a limit within the hour",
                &gauges.limited,
            ),
            ("disk_free_bytes", "Free space below the state directory", &gauges.disk),
        ] {
            registry.register(name, help, gauge.clone());
        }
        for (name, help, counter) in [
            ("tasks_granted", "Tasks leased to volunteers", &gauges.granted),
            ("leases_lapsed", "Leases that were not renewed", &gauges.lapsed),
            ("results_taken", "Results taken into custody", &gauges.results),
            ("receipts_taken", "Receipts taken into custody", &gauges.receipts),
            ("handovers", "Bundles that the next one has taken", &gauges.handovers),
            ("handovers_failed", "Handovers to be tried again", &gauges.handovers_failed),
            (
                "refused_over_limit",
                "Questions, bundles and blobs refused as over a limit",
                &gauges.times_limited,
            ),
        ] {
            registry.register(name, help, counter.clone());
        }
        (gauges, Arc::new(Mutex::new(registry)))
    }

    /// Takes the measure of what the broker is like now.
    pub fn show(&self, totals: &Totals, visitors: usize, disk_free: u64) {
        for (gauge, value) in [
            (&self.peers, totals.connected),
            (&self.links, totals.links),
            (&self.ads, totals.ads),
            (&self.pulls, totals.pulls),
            (&self.offers, totals.known_offers),
            (&self.leases, totals.leases),
            (&self.custody, totals.custody),
            (&self.gossip, totals.gossip),
            (&self.visitors, visitors),
            (&self.limited, totals.limited),
        ] {
            gauge.set(u64::try_from(value).unwrap_or(u64::MAX));
        }
        self.disk.set(disk_free);
    }

    /// Counts that somebody was over a limit.
    pub fn limited(&self) {
        self.times_limited.inc();
    }

    /// Counts what has happened.
    pub fn count(&self, news: &News) {
        let counter = match news {
            News::Claimed { count, .. } => {
                self.granted.inc_by(u64::try_from(*count).unwrap_or(u64::MAX));
                return;
            }
            News::Lapsed { .. } => &self.lapsed,
            News::ResultTaken { .. } => &self.results,
            News::ReceiptTaken { .. } => &self.receipts,
            News::HandedOver { .. } => &self.handovers,
            News::NotHandedOver { .. } => &self.handovers_failed,
            _ => return,
        };
        counter.inc();
    }
}
