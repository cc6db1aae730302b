//! Who may do what with a file, as systems have it.
//!
//! On Unix a file has a mode. On Windows, untested and written from its documentation, it has none: what is created
//! inherits the access list of its directory, and that of a user's profile names the user, the administrators and the system
//! itself, who are to Windows what root is to others. So there a daemon's state has to be below the profile (see
//! [`state_dir`](crate::config::state_dir)), modes are not heeded, and a key file is not asked for its own.

use std::fs::{DirBuilder, File, Metadata};
use std::io;
use std::path::Path;

/// Creates the file `path`, which must not exist, to be written to; with the access rights `mode`, or fewer.
pub fn create_new(path: &Path, mode: u32) -> io::Result<File> {
    let mut options = File::options();
    imp::with_mode(options.write(true).create_new(true), mode).open(path)
}

/// Creates the directory `path` and its missing parents, each with the access rights `mode`, or fewer. What is there stays.
pub fn create_directories(path: &Path, mode: u32) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    imp::with_directory_mode(builder.recursive(true), mode).create(path)
}

/// Gives `file` the access rights `mode`.
pub fn give(file: &File, mode: u32) -> io::Result<()> {
    imp::give(file, mode)
}

/// The access rights of a file, where it has them in that form.
pub fn of(file: &Metadata) -> Option<u32> {
    imp::of(file)
}

/// Whether somebody may run a file, as far as that is a matter of the file.
pub fn is_executable(file: &Metadata) -> bool {
    of(file).is_some_and(|mode| mode & 0o111 != 0)
}

/// Whether this process has the rights of all users.
pub fn is_root() -> bool {
    imp::is_root()
}

#[cfg(unix)]
mod imp {
    use std::fs::{OpenOptions, Permissions};
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};

    use super::{DirBuilder, File, Metadata, io};

    pub fn with_mode(options: &mut OpenOptions, mode: u32) -> &mut OpenOptions {
        options.mode(mode)
    }

    pub fn with_directory_mode(builder: &mut DirBuilder, mode: u32) -> &mut DirBuilder {
        builder.mode(mode)
    }

    pub fn give(file: &File, mode: u32) -> io::Result<()> {
        file.set_permissions(Permissions::from_mode(mode))
    }

    pub fn of(file: &Metadata) -> Option<u32> {
        Some(file.permissions().mode() & 0o7777)
    }

    pub fn is_root() -> bool {
        rustix::process::geteuid().is_root()
    }
}

#[cfg(not(unix))]
mod imp {
    use std::fs::OpenOptions;

    use super::{DirBuilder, File, Metadata, io};

    pub fn with_mode(options: &mut OpenOptions, _: u32) -> &mut OpenOptions {
        options
    }

    pub fn with_directory_mode(builder: &mut DirBuilder, _: u32) -> &mut DirBuilder {
        builder
    }

    pub fn give(_: &File, _: u32) -> io::Result<()> {
        Ok(())
    }

    pub fn of(_: &Metadata) -> Option<u32> {
        None
    }

    /// The system's own account, behind whose wall nothing runs, has directories of its own as all users have.
    pub fn is_root() -> bool {
        false
    }
}
