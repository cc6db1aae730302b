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

    /// No machine renames so much that an honest file is missed so often.
    const TRIES: u32 = 32;

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
        let open = || openat2(root, path.as_ref(), flags, Mode::empty(), resolve);
        let again =
            |opened: &rustix::io::Result<_>| matches!(opened, Err(Errno::AGAIN | Errno::INTR));
        // A rename somewhere on the machine, and the kernel asks to try again. Or a job that holds a lease on its
        // file (fcntl, F_SETLEASE), for as long as it likes.
        let mut opened = open();
        for _ in 1..TRIES {
            if !again(&opened) {
                break;
            }
            opened = open();
        }
        opened
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

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    #[expect(
        unsafe_code,
        reason = "fcntl of a file that lives on, with numbers; no handler is installed"
    )]
    fn who_holds_a_lease_on_its_file_keeps_nobody_waiting() {
        let directory = tempfile::tempdir().unwrap();
        let file = File::create(directory.path().join("its")).unwrap();
        // Whose lease is to be broken is told by a signal that kills.
        unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
        let taken = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        assert_eq!(taken, 0, "{}", io::Error::last_os_error());

        let opened = open_beneath(directory.path(), Path::new("its"));

        assert_eq!(opened.unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
