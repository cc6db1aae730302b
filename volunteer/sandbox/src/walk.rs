//! A walk over a directory tree that somebody hostile may be changing meanwhile.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

/// The deepest nest that is followed: each level holds a descriptor open. Honest trees have a tenth.
pub const MAX_DEPTH: usize = 1000;

/// A walk in progress, one entry at a time. It follows no link and does not leave the file system it began on.
pub struct Walk {
    root: OwnedFd,
    device: u64,
    max_depth: usize,
    levels: Vec<Dir>,
}

/// What a walk came across.
pub struct Entry {
    /// Its name in [`Walk::directory`].
    pub name: CString,
    /// What it is; a link itself, not what it points to.
    pub stat: Stat,
}

impl Walk {
    /// Begins at the directory `path`, which must not be a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::new(rustix::fs::open(path, DIRECTORY, Mode::empty())?)
    }

    /// Begins at the directory `root`.
    pub fn new(root: OwnedFd) -> io::Result<Self> {
        let device = rustix::fs::fstat(&root)?.st_dev;
        let levels = vec![Dir::read_from(&root)?];
        Ok(Self { root, device, max_depth: MAX_DEPTH, levels })
    }

    /// Follows no deeper nest than `levels`, instead of [`MAX_DEPTH`].
    pub fn no_deeper_than(mut self, levels: usize) -> Self {
        self.max_depth = levels;
        self
    }

    /// Where it began.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The directory that it is in.
    pub fn directory(&self) -> BorrowedFd<'_> {
        let level = self.levels.last().and_then(|level| level.fd().ok());
        level.unwrap_or_else(|| self.root.as_fd())
    }

    /// The next entry, or none when all have been seen. What vanishes meanwhile is passed over.
    pub fn next_entry(&mut self) -> io::Result<Option<Entry>> {
        while let Some(level) = self.levels.last_mut() {
            let Some(entry) = level.read() else {
                self.levels.pop();
                continue;
            };
            let name = match entry {
                Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => continue,
                Ok(entry) => entry.file_name().to_owned(),
                // A directory that was removed while it was read.
                Err(Errno::NOENT) => {
                    self.levels.pop();
                    continue;
                }
                Err(failure) => return Err(failure.into()),
            };
            match rustix::fs::statat(self.directory(), &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => return Ok(Some(Entry { name, stat })),
                Err(Errno::NOENT) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(None)
    }

    /// Goes into the entry just seen, if it is a directory. Fails when that is nested too deeply.
    pub fn enter(&mut self, entry: &Entry) -> Result<(), EnterError> {
        let is_directory = FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory;
        if !is_directory || entry.stat.st_dev != self.device {
            return Ok(());
        }
        if self.levels.len() >= self.max_depth {
            return Err(EnterError::Nested);
        }
        match rustix::fs::openat(self.directory(), &entry.name, DIRECTORY, Mode::empty()) {
            Ok(directory) => self.levels.push(Dir::new(directory).map_err(io::Error::from)?),
            // Gone, or something else by now.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(failure) => return Err(EnterError::Failed(failure.into())),
        }
        Ok(())
    }
}

/// Why a directory could not be entered.
#[derive(Debug, thiserror::Error)]
pub enum EnterError {
    /// It lies deeper than the walk may go.
    #[error("directories are nested too deeply")]
    Nested,
    /// It could not be opened.
    #[error(transparent)]
    Failed(#[from] io::Error),
}

impl From<EnterError> for io::Error {
    fn from(reason: EnterError) -> Self {
        match reason {
            EnterError::Nested => Self::other(reason),
            EnterError::Failed(failure) => failure,
        }
    }
}

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
