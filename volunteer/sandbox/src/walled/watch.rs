//! The watch over a walled program: what neither the system nor the program itself limits.

use std::io::{self, PipeReader, Read};
use std::path::PathBuf;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{Usage, WalledHandle, WalledSpec};
use crate::disk_use::takes_more_than;
use crate::outcome::{Ending, Outcome};
use crate::run::Observer;
use crate::spec::Limits;

/// Between two looks at the process.
const INTERVAL: Duration = Duration::from_millis(20);

/// Between two looks at the disk, at least.
const DISK_INTERVAL: Duration = Duration::from_millis(500);

/// Watches over one program.
pub struct Watch {
    handle: WalledHandle,
    /// Taken when it is joined.
    output: Option<JoinHandle<(Vec<u8>, bool)>>,
    limits: Limits,
    work: PathBuf,
    began: Instant,
    look_at_disk: Instant,
    usage: Usage,
}

impl Watch {
    /// Begins, with what the program writes on `reader`.
    pub fn new(
        handle: WalledHandle,
        reader: PipeReader,
        spec: &WalledSpec,
        observer: Option<Observer>,
    ) -> Self {
        let most = usize::try_from(spec.limits.output).unwrap_or(usize::MAX);
        let output = thread::spawn(move || read_output(reader, most, observer));
        let (limits, work, now) = (spec.limits, spec.work.clone(), Instant::now());
        let (began, look_at_disk, usage) = (now, now, Usage::default());
        Self { handle, output: Some(output), limits, work, began, look_at_disk, usage }
    }

    pub fn handle(&self) -> WalledHandle {
        self.handle.clone()
    }

    /// Watches until the end.
    pub fn wait(mut self) -> Outcome {
        let ending = loop {
            if let Some(ending) = self.look() {
                break ending;
            }
            thread::sleep(INTERVAL);
        };
        let wall = self.wall();
        self.handle.lock().process.end();
        self.take_usage();
        let (output, output_truncated) =
            self.output.take().and_then(|output| output.join().ok()).unwrap_or_default();
        let ending = match ending {
            Ending::Exited { .. } if output_truncated => Ending::OutputExceeded,
            ending => ending,
        };
        let Usage { cpu, memory_peak } = self.usage;
        Outcome { ending, wall, cpu, memory_peak, output, output_truncated, network: None }
    }

    /// How it ends, if it does now.
    fn look(&mut self) -> Option<Ending> {
        // Before it is asked whether it has ended: some systems forget then.
        self.take_usage();
        let ended = {
            let mut state = self.handle.lock();
            let killed = state.killed;
            match state.process.ended() {
                Ok(Some(_)) if killed => return Some(Ending::Killed),
                Ok(ending) => ending,
                Err(error) => return Some(Ending::SandboxFailed { reason: error.to_string() }),
            }
        };
        // One that has no memory left ends in ways of its own.
        if self.usage.memory_peak > self.limits.memory {
            return Some(Ending::MemoryExceeded);
        }
        ended.or_else(|| self.overdue()).or_else(|| self.look_at_disk())
    }

    fn overdue(&self) -> Option<Ending> {
        (self.wall() > self.limits.wall).then_some(Ending::TimedOut)
    }

    fn wall(&self) -> Duration {
        self.began.elapsed().saturating_sub(self.handle.lock().paused())
    }

    fn take_usage(&mut self) {
        if let Some(Usage { cpu, memory_peak }) = self.handle.lock().process.usage() {
            self.usage.cpu = self.usage.cpu.max(cpu);
            self.usage.memory_peak = self.usage.memory_peak.max(memory_peak);
        }
    }

    /// How it ends if it takes too much of the disk, or nobody can tell.
    fn look_at_disk(&mut self) -> Option<Ending> {
        let looked = Instant::now();
        if looked < self.look_at_disk {
            return None;
        }
        let ending = match takes_more_than(self.limits.disk, &self.work) {
            Ok(false) => None,
            Ok(true) => Some(Ending::DiskExceeded),
            Err(error) => {
                let reason = format!("cannot measure the work directory: {error}");
                Some(Ending::SandboxFailed { reason })
            }
        };
        // A large tree must not keep a core busy.
        self.look_at_disk = Instant::now() + DISK_INTERVAL.max(looked.elapsed() * 10);
        ending
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.lock().process.end();
    }
}

/// Reads to the end, and keeps as much as it may; says whether there was more.
fn read_output(
    mut reader: impl Read,
    most: usize,
    mut observer: Option<Observer>,
) -> (Vec<u8>, bool) {
    let (mut output, mut more) = (Vec::new(), false);
    let mut piece = [0; 64 << 10];
    loop {
        let length = match reader.read(&mut piece) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A guest that ends a pipe early has said what it had to say.
            Ok(0) | Err(_) => return (output, more),
            Ok(length) => length,
        };
        let kept = &piece[..length.min(most - output.len())];
        output.extend_from_slice(kept);
        more |= kept.len() < length;
        if let Some(observer) = observer.as_mut().filter(|_| !kept.is_empty()) {
            observer(kept);
        }
    }
}
