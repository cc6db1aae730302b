//! Whether the job stands still by its control group. Init, which stands still with it, cannot tell.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;

/// Bytes of the file; it has two short lines.
const MOST: usize = 256;

/// The events of a control group. They are polled for [`PollFlags::PRI`](rustix::event::PollFlags::PRI), which comes
/// whenever they have changed since they were read last.
#[derive(Debug)]
pub struct Freezer(File);

impl Freezer {
    /// Those of the group at `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        File::open(path.join("cgroup.events")).map(Self)
    }

    /// Whether all of the group stand still.
    pub fn is_frozen(&self) -> io::Result<bool> {
        let mut text = [0; MOST];
        let length = rustix::io::pread(&self.0, &mut text, 0)?;
        Ok(text[..length].split(|byte| *byte == b'\n').any(|line| line == b"frozen 1"))
    }
}

impl AsFd for Freezer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
