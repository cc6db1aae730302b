//! When a daemon is asked to end.

use tokio::signal::unix::{SignalKind, signal};

use crate::exit::{Exit, OrExit, Outcome};

/// Waits for SIGTERM or SIGINT.
pub struct Termination {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Termination {
    /// Takes both signals over from their defaults.
    pub fn listen() -> Outcome<Self> {
        let terminate = signal(SignalKind::terminate()).or_exit(Exit::Bug)?;
        let interrupt = signal(SignalKind::interrupt()).or_exit(Exit::Bug)?;
        Ok(Self { terminate, interrupt })
    }

    /// Ends when one of them comes. Can be dropped and called again.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
