//! Leaving an empty file below a directory that a job can write to, and taking it away.

use std::io;
use std::path::Path;

/// Makes an empty file `name` in `folder` of `directory`, unless something of that name is there. No link is followed,
/// and `folder` may be something else by now.
///
/// # Errors
/// What keeps it from being made; `Unsupported` where nothing keeps a job from putting a link in the way.
pub fn make_mark(directory: &Path, folder: &str, name: &str) -> io::Result<()> {
    imp::make(directory, folder, name)
}

/// Removes `name` from `folder` of `directory`, if it is there and no directory.
///
/// # Errors
/// As of [`make_mark`].
pub fn remove_mark(directory: &Path, folder: &str, name: &str) -> io::Result<()> {
    imp::remove(directory, folder, name)
}

#[cfg(target_os = "linux")]
mod imp {
    use std::os::fd::OwnedFd;

    use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat, unlinkat};
    use rustix::io::Errno;

    use super::{Path, io};
    use crate::beneath::open_at;

    pub fn make(directory: &Path, folder: &str, name: &str) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::CLOEXEC;
        match openat(open(directory, folder)?, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(Errno::EXIST) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    pub fn remove(directory: &Path, folder: &str, name: &str) -> io::Result<()> {
        match unlinkat(open(directory, folder)?, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(failure) => Err(failure.into()),
        }
    }

    fn open(directory: &Path, folder: &str) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, directory, flags, Mode::empty())?;
        open_at(&root, folder, OFlags::DIRECTORY)
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Path, io};

    pub fn make(_: &Path, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn remove(_: &Path, _: &str, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mark_comes_and_goes_and_stays_below() {
        let (work, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let folder = work.path().join("folder");
        std::fs::create_dir(&folder).unwrap();
        for _ in 0..2 {
            make_mark(work.path(), "folder", "mark").unwrap();
        }
        assert!(folder.join("mark").exists());
        for _ in 0..2 {
            remove_mark(work.path(), "folder", "mark").unwrap();
        }
        assert!(!folder.join("mark").exists());

        symlink(outside.path().join("made"), folder.join("mark")).unwrap();
        make_mark(work.path(), "folder", "mark").unwrap();
        std::fs::remove_dir_all(&folder).unwrap();
        symlink(outside.path(), &folder).unwrap();
        make_mark(work.path(), "folder", "mark").unwrap_err();
        assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 0);
    }
}
