//! Small files of the state directory: written in one step, and looked at now and then.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use anyhow::Context;
use capability::format_bytes;
use mesh_store::sync_dir;
use tempfile::NamedTempFile;

use crate::access;
use crate::exit::{Exit, Failure, OrExit, Outcome};

/// Reads the text in `path`, which is `what` to people. No more than `limit` bytes are looked at, also of
/// what tells no size, such as a device.
pub fn read_text(path: &Path, what: &str, limit: usize) -> Outcome<String> {
    let shown = path.display();
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("cannot read {what} {shown}"))
        .or_exit(Exit::Input)?;
    if bytes.len() > limit {
        let hint = format!("at most {} are read", format_bytes(limit as u64));
        return Err(Failure::say(Exit::Input, format!("{what} {shown} is too long")).hint(hint));
    }
    String::from_utf8(bytes)
        .with_context(|| format!("{what} {shown} is no text"))
        .or_exit(Exit::Input)
}

/// Writes `bytes` to `path`, with the access rights `mode`, so that whoever reads finds the old
/// contents or the new, and never half of them. Makes the directory if there is none.
pub fn write_whole(path: &Path, bytes: &[u8], mode: u32) -> Outcome {
    let write = |file: &mut File| file.write_all(bytes).with_context(|| cannot_write(path));
    write_by(path, mode, |file| write(file).or_exit(Exit::State))
}

/// The same of what `write` writes. If that fails nothing has changed.
///
/// # Errors
/// What `write` says, or that the disk does not take it.
pub fn write_by<T>(
    path: &Path,
    mode: u32,
    write: impl FnOnce(&mut File) -> Outcome<T>,
) -> Outcome<T> {
    let failed = |error: io::Error| {
        Failure::new(Exit::State, anyhow::Error::new(error).context(cannot_write(path)))
    };
    let mut file = begin(directory_of(path)).map_err(failed)?;
    let written = write(file.as_file_mut())?;
    persist(file, path, mode).map_err(failed)?;
    Ok(written)
}

fn begin(directory: &Path) -> io::Result<NamedTempFile> {
    std::fs::create_dir_all(directory)?;
    NamedTempFile::new_in(directory)
}

fn persist(file: NamedTempFile, path: &Path, mode: u32) -> io::Result<()> {
    access::give(file.as_file(), mode)?;
    file.as_file().sync_all()?;
    file.persist(path).map_err(|error| error.error)?;
    sync_dir(directory_of(path))
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write {}", path.display())
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

    /// Has not seen `path` yet, if there is anything.
    pub fn unseen(path: PathBuf) -> Self {
        Self { path, seen: None }
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
    use std::os::unix::fs::PermissionsExt;

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

    #[test]
    fn a_text_is_read_as_far_as_its_limit_and_a_device_without_an_end_is_too_long() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("file");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).expect("written");
            read_text(&path, "the note", 4).map_err(|failure| format!("{failure:?}"))
        };
        assert_eq!(read(b"four"), Ok("four".to_owned()));
        assert!(read(b"fives").expect_err("a byte more").contains("is too long"));
        assert!(read(b"\xff").expect_err("no UTF-8").contains("is no text"));
        // Its metadata say that it is empty.
        read_text(Path::new("/dev/zero"), "the note", 4).expect_err("it has no end");
        read_text(&directory.path().join("none"), "the note", 4).expect_err("not there");
    }
}
