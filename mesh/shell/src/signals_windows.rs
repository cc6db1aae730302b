//! When a daemon is asked to end, on Windows. Written from its documentation.

use tokio::signal::windows::{self, CtrlBreak, CtrlC, CtrlClose, CtrlShutdown};

use crate::exit::{Exit, OrExit, Outcome};

/// Waits for Ctrl-C, Ctrl-Break, the end of the console's window, or that of the system.
pub struct Termination {
    interrupt: CtrlC,
    terminate: CtrlBreak,
    close: CtrlClose,
    shutdown: CtrlShutdown,
}

impl Termination {
    /// Takes all of them over from their defaults. After the last two Windows waits some seconds and no longer.
    pub fn listen() -> Outcome<Self> {
        Ok(Self {
            interrupt: windows::ctrl_c().or_exit(Exit::Bug)?,
            terminate: windows::ctrl_break().or_exit(Exit::Bug)?,
            close: windows::ctrl_close().or_exit(Exit::Bug)?,
            shutdown: windows::ctrl_shutdown().or_exit(Exit::Bug)?,
        })
    }

    /// Ends when one of them comes. Can be dropped and called again.
    pub async fn asked(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.close.recv() => {}
            _ = self.shutdown.recv() => {}
        }
    }
}
