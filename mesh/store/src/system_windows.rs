//! What the store asks of Windows for its files and directories. Written from its documentation.
//!
//! Nothing there has a mode. What is created inherits the access list of the directory that it is in, and that of a user's
//! profile names the user, the administrators and the system itself, who are to Windows what root is to others. So what is
//! below the profile is private without a word, and daemons keep their state nowhere else.
//!
//! That a name is durable is documented of none but the whole volume, which takes an administrator. NTFS and ReFS keep a log
//! of names, in order, and the log is written with what is flushed: here the directory, where the file system does that.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::null_mut;

use windows_sys::Win32::Storage::FileSystem::{
    FILE_ATTRIBUTE_REPARSE_POINT, FILE_FLAG_BACKUP_SEMANTICS, FILE_FLAG_OPEN_REPARSE_POINT,
    GetDiskFreeSpaceExW,
};

use crate::dirs::Disk;

/// Creates one directory, as private as the one that it is in.
pub fn create_directory(path: &Path) -> io::Result<()> {
    std::fs::create_dir(path)
}

/// The file that `options` create is as private as the directory that it is in.
pub fn make_private(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

/// Opens `path` for reading, unless it is a link or anything else that stands for something elsewhere.
pub fn open_unfollowed(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).custom_flags(FILE_FLAG_OPEN_REPARSE_POINT).open(path)?;
    if file.metadata()?.file_attributes() & FILE_ATTRIBUTE_REPARSE_POINT != 0 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is a link"));
    }
    Ok(file)
}

/// Makes durable which names `dir` holds, where the file system can.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    // Only what may be written to may be flushed, and only so is a directory opened at all.
    let opened = OpenOptions::new().write(true).custom_flags(FILE_FLAG_BACKUP_SEMANTICS).open(dir);
    match opened.and_then(|directory| directory.sync_all()) {
        Err(error) if cannot_be_flushed(&error) => Ok(()),
        result => result,
    }
}

/// What file systems say to whom they do not flush directories.
fn cannot_be_flushed(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported)
}

/// What is locked for the directory `dir`: a file beside it, since directories cannot be locked, and one that has an open
/// file cannot be renamed.
pub fn lock_file(dir: &Path) -> io::Result<File> {
    let mut path = dir.as_os_str().to_owned();
    path.push(".lock");
    OpenOptions::new().create(true).truncate(false).write(true).open(path)
}

/// What the file system of the directory `path` has for this user.
pub fn disk(path: &Path) -> io::Result<Disk> {
    let mut wide: Vec<u16> = path.as_os_str().encode_wide().collect();
    if wide.contains(&0) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    wide.push(0);
    let mut disk = Disk { free: 0, size: 0 };
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the name ends with a zero; it and the numbers outlive the call, which takes none for what nobody asks.
    let answer = unsafe {
        GetDiskFreeSpaceExW(wide.as_ptr(), &raw mut disk.free, &raw mut disk.size, null_mut())
    };
    if answer == 0 { Err(io::Error::last_os_error()) } else { Ok(disk) }
}
