//! Keeps connections to brokers: one task an address, which dials, waits for the end, dials again.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use mesh_net::{Multiaddr, Net, PeerKey};
use mesh_shell::chain;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use crate::config::undialable;

/// Wait after the first failure; doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// How long the event of a connection may be behind the end of its dialling.
const EVENT_LAG: Duration = Duration::from_secs(5);

/// Dials the brokers that are wanted.
pub struct Dialer {
    net: Net,
    connected: watch::Sender<BTreeSet<PeerKey>>,
    tasks: BTreeMap<String, AbortHandle>,
    /// Addresses of which it was said that they cannot be dialled.
    useless: BTreeSet<String>,
}

impl Dialer {
    /// Dials nobody yet.
    pub fn new(net: Net) -> Self {
        let connected = watch::Sender::new(BTreeSet::new());
        Self { net, connected, tasks: BTreeMap::new(), useless: BTreeSet::new() }
    }

    /// From now on these addresses are dialled, and no others; nor those that cannot be dialled.
    pub fn want(&mut self, addresses: impl IntoIterator<Item = Multiaddr>) {
        let mut wanted: BTreeMap<_, _> =
            addresses.into_iter().map(|address| (address.to_string(), address)).collect();
        let useless = wanted.extract_if(.., |_, address| undialable(address).is_some());
        let useless: BTreeMap<_, _> = useless.collect();
        for (name, address) in &useless {
            if let Some(reason) = undialable(address).filter(|_| !self.useless.contains(name)) {
                tracing::warn!(reason, "broker address of no use");
            }
        }
        self.useless = useless.into_keys().collect();
        self.tasks.retain(|address, task| {
            let keep = wanted.contains_key(address);
            if !keep {
                task.abort();
            }
            keep
        });
        for (name, address) in wanted {
            let (net, connected) = (self.net.clone(), self.connected.subscribe());
            let spawn = || tokio::spawn(keep_connected(net, address, connected)).abort_handle();
            self.tasks.entry(name).or_insert_with(spawn);
        }
    }

    /// `peer` is connected.
    pub fn up(&self, peer: PeerKey) {
        self.connected.send_modify(|connected| {
            connected.insert(peer);
        });
    }

    /// `peer` is no longer connected.
    pub fn down(&self, peer: PeerKey) {
        self.connected.send_modify(|connected| {
            connected.remove(&peer);
        });
    }

    /// How many addresses are dialled.
    pub fn addresses(&self) -> usize {
        self.tasks.len()
    }
}

async fn keep_connected(
    net: Net,
    address: Multiaddr,
    mut connected: watch::Receiver<BTreeSet<PeerKey>>,
) {
    let mut failures = 0;
    loop {
        match net.dial(address.clone()).await {
            Ok(peer) => {
                failures = 0;
                let up = connected.wait_for(|connected| connected.contains(&peer));
                if tokio::time::timeout(EVENT_LAG, up).await.is_ok()
                    && connected.wait_for(|connected| !connected.contains(&peer)).await.is_err()
                {
                    return;
                }
            }
            Err(error) if failures == 0 => {
                tracing::warn!(%address, reason = chain(&error), "broker not reached, trying on");
            }
            Err(error) => {
                tracing::debug!(%address, reason = chain(&error), "broker not reached");
            }
        }
        tokio::time::sleep(wait(failures)).await;
        failures += 1;
    }
}

/// The time to wait after `failures` failures, shortened at random by up to a half, so that the
/// volunteers of a restarted broker do not come back all at once.
fn wait(failures: u32) -> Duration {
    let longest = FIRST_WAIT.saturating_mul(1 << failures.min(16)).min(LONGEST_WAIT);
    // Each of these states is seeded from the system's randomness.
    let random = RandomState::new().build_hasher().finish() % 512;
    longest - longest.mul_f64(f64::from(u16::try_from(random).unwrap_or(0)) / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_within_their_bounds() {
        for failures in [0, 1, 5, 6, 40, u32::MAX] {
            let waited = wait(failures);
            assert!((FIRST_WAIT / 2..=LONGEST_WAIT).contains(&waited), "{failures}: {waited:?}");
        }
        assert!(wait(10) >= LONGEST_WAIT / 2);
    }
}
