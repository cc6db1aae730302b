//! Giving a work directory to the user that a job runs under.

use std::io;
use std::path::Path;

/// Makes `uid`, and the group of the same number, own `directory` and everything below it: links themselves and not
/// what they point to. For root.
///
/// A file that has other names keeps its owner, since those may lie outside.
///
/// # Errors
///
/// What the system says, above all where the caller may not give files away; directories nested more than 1000 deep.
pub fn give_tree(directory: &Path, uid: u32) -> io::Result<()> {
    imp::give_tree(directory, uid)
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{Path, io};

    pub fn give_tree(_: &Path, _: u32) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use rustix::fs::{AtFlags, FileType, Gid, Stat, Uid};

    use super::{Path, io};
    use crate::walk::Walk;

    pub fn give_tree(directory: &Path, uid: u32) -> io::Result<()> {
        let (user, group) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(uid)));
        let mut walk = Walk::open(directory)?;
        rustix::fs::fchown(walk.root(), user, group)?;
        while let Some(entry) = walk.next_entry()? {
            let is_given = entry.stat.st_uid == uid && entry.stat.st_gid == uid;
            if !is_given && !is_shared_file(&entry.stat) {
                let (directory, flags) = (walk.directory(), AtFlags::SYMLINK_NOFOLLOW);
                rustix::fs::chownat(directory, &entry.name, user, group, flags)?;
            }
            walk.enter(&entry)?;
        }
        Ok(())
    }

    fn is_shared_file(stat: &Stat) -> bool {
        FileType::from_raw_mode(stat.st_mode) != FileType::Directory && stat.st_nlink > 1
    }
}
