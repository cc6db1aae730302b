//! Directories for what only the daemon itself may write: native code, and the roots of jobs.

use std::io;
use std::path::Path;

/// Makes `directory` if need be, closed to others. Root may be shown a directory that is a user's, or a
/// link of that user to any other.
///
/// # Errors
/// If it cannot be made, or is somebody else's or a link.
#[cfg(unix)]
pub fn make(directory: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    const ROOT: u32 = 0;
    let own = rustix::process::geteuid().as_raw();
    let parent = directory.parent().unwrap_or(directory);
    for (path, owners) in [(parent, [own, ROOT]), (directory, [own, own])] {
        let found = path.symlink_metadata()?;
        if !found.is_dir() || !owners.contains(&found.uid()) {
            let what = format!("{} is no directory of this user", path.display());
            return Err(io::Error::other(what));
        }
    }
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
}

/// Elsewhere it is as private as the user's other files.
#[cfg(not(unix))]
pub fn make(directory: &Path) -> io::Result<()> {
    std::fs::create_dir_all(directory)
}
