//! The one place where clocks are read.

use std::time::{Duration, Instant, SystemTime};

use capability::Timestamp;
use mesh_core::{Mono, Now};

/// The machine's clocks.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    started: Instant,
}

impl Clock {
    /// Starts the monotonic clock at zero.
    #[expect(clippy::new_without_default, reason = "a default that reads a clock would surprise")]
    pub fn new() -> Self {
        Self { started: Instant::now() }
    }

    /// Both clocks, read once.
    pub fn now(&self) -> Now {
        Now { mono: Mono(self.started.elapsed()), wall: Timestamp::from(SystemTime::now()) }
    }

    /// Sleeps until `wake`; for ever if there is nothing to wake for.
    pub async fn sleep_until(&self, wake: Option<Mono>) {
        match wake {
            Some(wake) => {
                // A millisecond at least: a core that asks for the past must not spin.
                let wait = (wake - self.now().mono).max(Duration::from_millis(1));
                tokio::time::sleep(wait).await;
            }
            None => std::future::pending().await,
        }
    }
}
