//! What tells a file from the one that took its place, and its content from what it was before.

use std::fs::Metadata;

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// Which file it is.
    file: u64,
    /// Its bytes.
    pub size: u64,
    /// When it was written to last, in parts of what the system counts in.
    modified: (i64, i64),
}

impl Version {
    /// That of the file which `found` tells of.
    #[cfg(unix)]
    pub fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        let modified = (found.mtime(), found.mtime_nsec());
        Self { file: found.ino(), size: found.size(), modified }
    }

    /// By the moment in which it was made: its number is not told.
    #[cfg(windows)]
    pub fn of(found: &Metadata) -> Self {
        use std::os::windows::fs::MetadataExt;
        let modified = (found.last_write_time().cast_signed(), 0);
        Self { file: found.creation_time(), size: found.file_size(), modified }
    }
}

/// Whether a file has one name, so that nobody else's is meant by it.
#[cfg(unix)]
pub fn has_one_name(found: &Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(found) == 1
}

/// It is not told; and the engine lets a guest give names to files of its own alone.
#[cfg(windows)]
pub fn has_one_name(_: &Metadata) -> bool {
    true
}
