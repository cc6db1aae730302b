//! Directories: created private and durably, locked against a second process, measured.

use std::fs::{File, TryLockError};
use std::io;
use std::path::Path;

use crate::system;

/// Bytes that an unprivileged process can still write to the file system of `path`.
pub fn disk_free(path: &Path) -> io::Result<u64> {
    Ok(system::disk(path)?.free)
}

/// Bytes of the whole file system of `path`.
pub fn disk_size(path: &Path) -> io::Result<u64> {
    Ok(system::disk(path)?.size)
}

/// What a file system has, in bytes.
pub(crate) struct Disk {
    /// What an unprivileged process can still write.
    pub free: u64,
    /// All of it.
    pub size: u64,
}

/// Creates `dir` and its missing parents, closed to others, such that they survive a power cut.
pub(crate) fn create_private(dir: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = dir.ancestors().take_while(|level| !is_dir_or_here(level)).collect();
    for level in missing.into_iter().rev() {
        match system::create_directory(level) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && level.is_dir() => {}
            result => result?,
        }
        sync_dir(parent(level))?;
    }
    Ok(())
}

/// Makes durable which names `dir` holds.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    system::sync_directory(dir)
}

/// Locks `dir` until the returned file is closed, by the end of the process at the latest.
pub(crate) fn lock(dir: &Path) -> Result<File, TryLockError> {
    let file = system::lock_file(dir).map_err(TryLockError::Error)?;
    file.try_lock()?;
    Ok(file)
}

/// The directory that holds `path`.
pub(crate) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !is_here(parent) => parent,
        _ => Path::new("."),
    }
}

fn is_dir_or_here(path: &Path) -> bool {
    is_here(path) || path.is_dir()
}

/// A relative path ends in an empty ancestor, which stands for the working directory.
fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn created_directories_are_private_at_every_level() {
        let temp = tempfile::tempdir().expect("a temporary directory");
        let dir = temp.path().join("a/b/c");

        create_private(&dir).expect("created");
        create_private(&dir).expect("creating it again is no error");

        for level in [dir, temp.path().join("a/b"), temp.path().join("a")] {
            let mode = level.metadata().expect("it exists").permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{}", level.display());
        }
    }

    #[test]
    fn a_directory_is_locked_once() {
        let temp = tempfile::tempdir().expect("a temporary directory");

        let held = lock(temp.path()).expect("locked");
        assert!(matches!(lock(temp.path()), Err(TryLockError::WouldBlock)));

        drop(held);
        lock(temp.path()).expect("free again");
    }

    #[test]
    fn free_space_is_known_below_an_existing_path_only() {
        let temp = tempfile::tempdir().expect("a temporary directory");

        assert!(disk_free(temp.path()).expect("measured") > 0);
        assert!(disk_free(&temp.path().join("absent")).is_err());
    }
}
