//! What the store asks of a Unix for its files and directories.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::OFlags;

use crate::dirs::Disk;

/// Creates one directory, its owner's alone.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Has the file that `options` create be its owner's alone.
pub fn make_private(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Opens `path` for reading, unless it is a symbolic link. A FIFO does not keep its opener waiting.
pub fn open_unfollowed(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
}

/// Makes durable which names `dir` holds.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// What is locked for the directory `dir`, which is the directory itself.
pub fn lock_file(dir: &Path) -> io::Result<File> {
    File::open(dir)
}

/// What the file system of `path` has.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let stat = rustix::fs::statvfs(path)?;
    let bytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize);
    Ok(Disk { free: bytes(stat.f_bavail), size: bytes(stat.f_blocks) })
}
