//! Removing what a job has left behind.

use std::io;
use std::path::Path;

/// Removes the directory `path` and everything below it, however deep, and whatever modes the directories have. Links
/// are removed, not followed; other file systems mounted below are an error. Succeeds if there is nothing at `path`.
///
/// Nobody may be changing the tree meanwhile, which holds once its step is over.
pub fn remove_tree(path: &Path) -> io::Result<()> {
    imp::remove_tree(path)
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Path, io};

    pub fn remove_tree(path: &Path) -> io::Result<()> {
        match std::fs::remove_dir_all(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            result => result,
        }
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::VecDeque;
    use std::ffi::{CString, OsStr};
    use std::os::fd::{AsFd, OwnedFd};
    use std::os::unix::ffi::OsStrExt;

    use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
    use rustix::io::Errno;

    use super::{Path, io};

    /// Flattens the tree: a directory is emptied by removing its files and moving its directories up, beside itself,
    /// where they wait for their turn. So depth costs neither descriptors nor stack.
    pub fn remove_tree(path: &Path) -> io::Result<()> {
        let root = match open(CWD, path.as_os_str()) {
            Ok(root) => root,
            Err(Errno::NOENT) => return Ok(()),
            Err(failure) => return Err(failure.into()),
        };
        let mut next_name = 0;
        let mut waiting = VecDeque::new();
        empty(&root, &root, &mut waiting, &mut next_name)?;
        while let Some(name) = waiting.pop_front() {
            let directory = open(&root, OsStr::from_bytes(name.as_bytes()))?;
            empty(&directory, &root, &mut waiting, &mut next_name)?;
            drop(directory);
            rustix::fs::unlinkat(&root, &name, AtFlags::REMOVEDIR)?;
        }
        drop(root);
        Ok(rustix::fs::unlinkat(CWD, path, AtFlags::REMOVEDIR)?)
    }

    fn empty(
        directory: &OwnedFd,
        root: &OwnedFd,
        waiting: &mut VecDeque<CString>,
        next_name: &mut u64,
    ) -> io::Result<()> {
        for entry in Dir::read_from(directory)?.collect::<Result<Vec<_>, _>>()? {
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") {
                continue;
            }
            let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                // Moving a directory changes its entry `..`, which takes the right to write to it.
                drop(open(directory, OsStr::from_bytes(name.to_bytes()))?);
                waiting.push_back(move_up(directory, name, root, next_name)?);
            } else {
                rustix::fs::unlinkat(directory, name, AtFlags::empty())?;
            }
        }
        Ok(())
    }

    /// Gives the directory `name` a new name in `root`, one that is not taken.
    fn move_up(
        directory: &OwnedFd,
        name: &std::ffi::CStr,
        root: &OwnedFd,
        next_name: &mut u64,
    ) -> io::Result<CString> {
        loop {
            let new = CString::new(format!(".remove-{next_name}")).expect("it has no zero byte");
            *next_name += 1;
            match rustix::fs::renameat_with(directory, name, root, &new, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(new),
                Err(Errno::EXIST) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
    }

    /// Opens a directory, after making it accessible to its owner if it is not.
    fn open(parent: impl AsFd, name: &OsStr) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let handle = rustix::fs::openat(&parent, name, flags | OFlags::PATH, Mode::empty())?;
        let mode = rustix::fs::fstat(&handle)?.st_mode;
        if mode & Mode::RWXU.as_raw_mode() != Mode::RWXU.as_raw_mode() {
            // The name cannot have become a link since: nobody else is changing the tree.
            rustix::fs::chmodat(&parent, name, Mode::RWXU, AtFlags::empty())?;
        }
        rustix::fs::openat(&parent, name, flags | OFlags::RDONLY, Mode::empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removing_nothing_succeeds() {
        let parent = tempfile::tempdir().unwrap();

        remove_tree(&parent.path().join("absent")).unwrap();
    }

    #[test]
    fn a_file_is_not_a_tree() {
        let file = tempfile::NamedTempFile::new().unwrap();

        assert!(remove_tree(file.path()).is_err());
        assert!(file.path().exists());
    }
}
