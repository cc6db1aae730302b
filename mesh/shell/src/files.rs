//! Small files of the state directory: written in one step, and looked at now and then.

use std::fs::{File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;

use crate::exit::{Exit, OrExit, Outcome};

/// Writes `bytes` to `path`, with the access rights `mode`, so that whoever reads finds the old
/// contents or the new, and never half of them. Makes the directory if there is none.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Outcome {
    write(path, bytes, mode)
        .with_context(|| format!("cannot write {}", path.display()))
        .or_exit(Exit::State)
}

fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = directory_of(path);
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().set_permissions(Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    File::open(directory)?.sync_all()
}

/// The directory that `path` is in; of a bare name it is the current one.
pub(crate) fn directory_of(path: &Path) -> &Path {
    path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Notices when a file, or what is in a directory, has changed.
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    seen: Option<SystemTime>,
}

impl Watch {
    /// Has seen `path` as it is now.
    pub fn new(path: PathBuf) -> Self {
        let seen = modified(&path);
        Self { path, seen }
    }

    /// Whether it has changed since it was seen last; it counts as seen then.
    pub fn has_changed(&mut self) -> bool {
        let modified = modified(&self.path);
        std::mem::replace(&mut self.seen, modified) != modified
    }
}

fn modified(path: &Path) -> Option<SystemTime> {
    std::fs::metadata(path).and_then(|found| found.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_the_change_is_noticed_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("deep/file");
        let mut watch = Watch::new(path.clone());
        assert!(!watch.has_changed());
        write_whole(&path, b"one", 0o600).expect("written");
        assert!(watch.has_changed() && !watch.has_changed());
        write_whole(&path, b"other", 0o644).expect("written");
        assert_eq!(std::fs::read(&path).expect("there"), b"other");
        let mode = std::fs::metadata(&path).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o644);
        let left = std::fs::read_dir(directory.path().join("deep")).expect("there").count();
        assert_eq!(left, 1, "nothing temporary is left");
    }
}
