//! Processes as `/proc` shows them.

use std::fs;
use std::path::{Path, PathBuf};

/// The directories of the threads of `process`. None if it has ended.
pub fn threads(process: u32) -> Vec<PathBuf> {
    let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { return Vec::new() };
    threads.flatten().map(|thread| thread.path()).collect()
}

/// The status of the process or thread in `directory`, unless it has ended or is about to: it has no memory then.
pub fn living_status(directory: &Path) -> Option<String> {
    let status = fs::read_to_string(directory.join("status")).ok()?;
    status.contains("\nVmRSS:").then_some(status)
}
