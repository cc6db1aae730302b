//! Opening what lies below a directory that a job could write to, and nothing else.

use std::fs::File;
use std::io;
use std::path::Path;

/// Opens the regular file at `path` below `directory` for reading; a link anywhere on the way is not followed.
///
/// # Errors
/// Whatever keeps it from being opened; `InvalidInput` if there is something that is no regular file.
pub fn open_beneath(directory: &Path, path: &Path) -> io::Result<File> {
    let file = imp::open(directory, path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

#[cfg(target_os = "linux")]
pub use self::imp::open_at;

#[cfg(target_os = "linux")]
mod imp {
    use std::os::fd::OwnedFd;

    use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, openat, openat2};
    use rustix::io::Errno;

    use super::{File, Path, io};

    pub fn open(directory: &Path, path: &Path) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = openat(CWD, directory, flags, Mode::empty())?;
        // Opening a FIFO must not wait for its writer.
        Ok(open_at(&root, path, OFlags::NONBLOCK | OFlags::NOCTTY)?.into())
    }

    /// Opens what is at `path` below `root` for reading, whatever it is.
    pub fn open_at(
        root: &OwnedFd,
        path: impl AsRef<Path>,
        flags: OFlags,
    ) -> rustix::io::Result<OwnedFd> {
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH
            | ResolveFlags::NO_SYMLINKS
            | ResolveFlags::NO_MAGICLINKS
            | ResolveFlags::NO_XDEV;
        loop {
            match openat2(root, path.as_ref(), flags, Mode::empty(), resolve) {
                // A rename somewhere on the machine; the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use std::path::Component;

    use super::{File, Path, io};

    /// Looks before it opens: nobody may change the directory meanwhile.
    pub fn open(directory: &Path, path: &Path) -> io::Result<File> {
        let mut at = directory.canonicalize()?;
        for component in path.components() {
            let Component::Normal(name) = component else {
                return Err(io::ErrorKind::InvalidInput.into());
            };
            at.push(name);
            let kind = at.symlink_metadata()?.file_type();
            // A FIFO would have the opener wait for its writer.
            if !kind.is_file() && !kind.is_dir() {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
        File::open(at)
    }
}
