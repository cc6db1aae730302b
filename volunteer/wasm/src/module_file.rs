//! Reading the module, and refusing what need not be compiled to be refused.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::{Component, Path};

use crate::ending::Ending;

/// Bytes of a module, at most. Compiling takes time and memory in proportion: an honest module of
/// 30 MB takes 18 s and 670 MB.
pub const MODULE_LIMIT: u64 = 32 << 20;

/// What a file says that it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A core module.
    Module,
    /// A component.
    Component,
}

/// Reads the module at `path` from `folder`, and nothing outside: an earlier step of the job may have
/// put links in its place, or a pipe.
///
/// # Errors
///
/// [`Ending::Refused`] if it is not there, too large, or neither a module nor a component in binary
/// format: the job named and packed it. [`Ending::Failed`] if this machine cannot read it.
pub fn read(folder: &Path, path: &Path) -> Result<(Format, Vec<u8>), Ending> {
    let reason = |error| format!("cannot read the module {}: {error}", path.display());
    let names = names(path).ok_or_else(|| {
        Ending::refused(format_args!("the module {} is not inside the folder", path.display()))
    })?;
    let folder = beneath::open_folder(folder).map_err(|error| {
        Ending::failed(format_args!("cannot open the folder {}: {error}", folder.display()))
    })?;
    let bytes = beneath::open_file(folder, &names).and_then(read_bounded).map_err(|error| {
        match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::InvalidFilename
            | ErrorKind::InvalidInput => Ending::refused(reason(error)),
            _ => Ending::failed(reason(error)),
        }
    })?;
    if bytes.len() as u64 > MODULE_LIMIT {
        return Err(Ending::refused(format_args!(
            "the module is larger than {MODULE_LIMIT} bytes"
        )));
    }
    match bytes.first_chunk() {
        Some(b"\0asm\x01\0\0\0") => Ok((Format::Module, bytes)),
        Some(b"\0asm\x0d\0\x01\0") => Ok((Format::Component, bytes)),
        _ => Err(Ending::refused("not a WebAssembly module in binary format")),
    }
}

/// The names on the way to `path`, if it leads nowhere but down.
fn names(path: &Path) -> Option<Vec<&OsStr>> {
    let name = |part| match part {
        Component::Normal(name) => Some(name),
        _ => None,
    };
    path.components().map(name).collect()
}

/// One byte more than the limit tells a module that is too large from one that just fits.
fn read_bounded(file: File) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(MODULE_LIMIT + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// What is opened is an ordinary file, or it is an error of the kind `InvalidInput`, which tells
/// nothing about where a link leads.
fn not_a_file() -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, "not a file, or behind a link")
}

#[cfg(unix)]
mod beneath {
    use std::os::fd::OwnedFd;

    use rustix::fs::{FileType, Mode, OFlags, fstat, open, openat};
    use rustix::io::Errno;

    use super::{File, OsStr, Path, io, not_a_file};

    const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

    pub fn open_folder(path: &Path) -> io::Result<OwnedFd> {
        Ok(open(path, FOLDER, Mode::empty())?)
    }

    /// Opens name by name: of a whole path, the kernel keeps only the last part from being a link.
    pub fn open_file(folder: OwnedFd, names: &[&OsStr]) -> io::Result<File> {
        let (last, folders) = names.split_last().ok_or_else(not_a_file)?;
        let step = |folder: OwnedFd, name: &&OsStr| enter(&folder, name, FOLDER);
        let folder = folders.iter().try_fold(folder, step)?;
        // A pipe without a writer would have the runner wait for one.
        let file = enter(&folder, last, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC)?;
        if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(not_a_file());
        }
        Ok(file.into())
    }

    fn enter(folder: &OwnedFd, name: &OsStr, flags: OFlags) -> io::Result<OwnedFd> {
        match openat(folder, name, flags | OFlags::NOFOLLOW, Mode::empty()) {
            Ok(entered) => Ok(entered),
            // How systems say that it is a link, or no folder, or a socket.
            Err(Errno::LOOP | Errno::MLINK | Errno::NOTDIR | Errno::NXIO) => Err(not_a_file()),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(not(unix))]
mod beneath {
    use std::path::PathBuf;

    use super::{File, OsStr, Path, io, not_a_file};

    pub fn open_folder(path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }

    pub fn open_file(mut folder: PathBuf, names: &[&OsStr]) -> io::Result<File> {
        folder.extend(names);
        // Without links on the way, a path is its own canonical form.
        if folder.canonicalize()? != folder || !folder.is_file() {
            return Err(not_a_file());
        }
        File::open(folder)
    }
}
