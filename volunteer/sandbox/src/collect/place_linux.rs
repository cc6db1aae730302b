//! The work directory of a step, as the kernel keeps one in it.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Listed, Opened};
use crate::beneath::open_at;

/// The directory.
pub struct Place(OwnedFd);

impl Place {
    pub fn new(work: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self(rustix::fs::openat(CWD, work, flags, Mode::empty())?))
    }

    /// A directory's content; nothing for one that the job has closed, or that is something else by now.
    pub fn list(
        &self,
        directory: &str,
    ) -> io::Result<Option<impl Iterator<Item = io::Result<Listed>> + use<>>> {
        let path = if directory.is_empty() { "." } else { directory };
        match open_at(&self.0, path, OFlags::DIRECTORY) {
            Ok(opened) => Ok(Some(Dir::new(opened)?.filter_map(listed))),
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                Ok(None)
            }
            Err(failure) => Err(failure.into()),
        }
    }

    /// The file at `path`, or what is wrong with what is there.
    pub fn open(&self, path: &str) -> io::Result<Result<Opened, &'static str>> {
        // Opening a FIFO must not wait for its writer.
        let file = match open_at(&self.0, path, OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(Errno::LOOP) => return Ok(Err("it is a link")),
            Err(Errno::NXIO) => return Ok(Err("it is not a regular file")),
            Err(failure) => return Err(failure.into()),
        };
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(Err("it is not a regular file"));
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        Ok(Ok(Opened { file: File::from(file), size, has_one_name: stat.st_nlink == 1 }))
    }
}

fn listed(entry: rustix::io::Result<rustix::fs::DirEntry>) -> Option<io::Result<Listed>> {
    let entry = match entry {
        Ok(entry) if matches!(entry.file_name().to_bytes(), b"." | b"..") => return None,
        Ok(entry) => entry,
        Err(failure) => return Some(Err(failure.into())),
    };
    let name = entry.file_name();
    Some(Ok(Listed {
        name: name.to_string_lossy().into_owned(),
        is_text: name.to_str().is_ok(),
        is_directory: entry.file_type() == FileType::Directory,
    }))
}
