//! The root of an image while its layers are laid over each other.
//!
//! Layers may have links in the way to a file, which honest ones rely on (`/lib` that leads to `/usr/lib`). The kernel
//! resolves each path as it would with this directory as the root of the system, so that none leads out of it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, linkat, mkdirat, openat, openat2,
    statat, symlinkat, unlinkat,
};
use rustix::io::Errno;
use volunteer_sandbox::remove_tree;

/// See the module.
pub struct Tree {
    root: OwnedFd,
}

/// What is to be in a file.
pub struct Content<'a> {
    /// Whether it is a program.
    pub executable: bool,
    /// Seconds since 1970.
    pub modified: u64,
    /// How many bytes it has.
    pub size: u64,
    /// Gives them.
    pub bytes: &'a mut dyn Read,
}

/// What files and directories may be: whoever a job is may read all of it, and nobody writes to it.
const FILE: Mode = Mode::from_raw_mode(0o644);
const PROGRAM: Mode = Mode::from_raw_mode(0o755);
const DIRECTORY: Mode = Mode::from_raw_mode(0o755);

const DIRECTORY_ONLY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

impl Tree {
    /// The one in the directory `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { root: openat(CWD, path, DIRECTORY_ONLY, Mode::empty())? })
    }

    /// Makes the directory at `path`, in place of whatever else is there, and those above it.
    pub fn directory(&self, path: &Path) -> io::Result<()> {
        let Some((parent, name)) = self.place(path)? else { return Ok(()) };
        match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(there) if FileType::from_raw_mode(there.st_mode) == FileType::Directory => Ok(()),
            Ok(_) => {
                unlinkat(&parent, name, AtFlags::empty())?;
                Ok(mkdirat(&parent, name, DIRECTORY)?)
            }
            Err(Errno::NOENT) => Ok(mkdirat(&parent, name, DIRECTORY)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes `content` to a file at `path`, in place of whatever is there.
    pub fn file(&self, path: &Path, content: Content<'_>) -> io::Result<()> {
        let Content { executable, modified, size, bytes } = content;
        let Some((parent, name)) = self.free_place(path)? else { return Err(no_name()) };
        let mode = if executable { PROGRAM } else { FILE };
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(openat(&parent, name, flags, mode)?);
        if io::copy(bytes, &mut file)? != size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // The mask of the process may have taken bits away.
        rustix::fs::fchmod(&file, mode)?;
        // Python, for one, compares what it has compiled with the times of sources. Years that no system has are no loss.
        match SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(modified)) {
            Some(modified) if modified <= SystemTime::now() => file.set_modified(modified),
            _ => Ok(()),
        }
    }

    /// Makes a link that holds `target`, whatever that is.
    pub fn symlink(&self, path: &Path, target: &OsStr) -> io::Result<()> {
        let Some((parent, name)) = self.free_place(path)? else { return Err(no_name()) };
        Ok(symlinkat(target, &parent, name)?)
    }

    /// Gives the file at `existing` another name.
    pub fn hard_link(&self, path: &Path, existing: &Path) -> io::Result<()> {
        let Some((from, file)) = self.place(existing)? else { return Err(no_name()) };
        let kind = FileType::from_raw_mode(statat(&from, file, AtFlags::SYMLINK_NOFOLLOW)?.st_mode);
        if !matches!(kind, FileType::RegularFile | FileType::Symlink) {
            return Err(Errno::ISDIR.into());
        }
        if path == existing {
            return Ok(());
        }
        let Some((parent, name)) = self.free_place(path)? else { return Err(no_name()) };
        Ok(linkat(&from, file, &parent, name, AtFlags::empty())?)
    }

    /// Removes what is at `path`, if anything is.
    pub fn remove(&self, path: &Path) -> io::Result<()> {
        match self.parent(path, Missing::Left) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            parent => match path.file_name() {
                Some(name) => remove(&parent?, name),
                None => Ok(()),
            },
        }
    }

    /// Removes all that is in the directory at `path`, if there is one.
    pub fn empty(&self, path: &Path) -> io::Result<()> {
        let directory = match self.resolve(path) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for entry in Dir::read_from(&self.readable(&directory)?)?.collect::<Result<Vec<_>, _>>()? {
            let name = OsStr::new(entry.file_name().to_str().map_err(io::Error::other)?).to_owned();
            if name != "." && name != ".." {
                remove(&directory, &name)?;
            }
        }
        Ok(())
    }

    /// The beginning of the file at `path`; nothing if there is none.
    pub fn read(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let mut bytes = Vec::new();
        match self.open_in_root(path, flags) {
            Ok(file) => File::from(file).take(limit).read_to_end(&mut bytes)?,
            Err(Errno::NOENT) => return Ok(bytes),
            Err(error) => return Err(error.into()),
        };
        Ok(bytes)
    }

    /// The directory in which `path` is, made if need be, and its name there; `None` of the root itself.
    fn place<'p>(&self, path: &'p Path) -> io::Result<Option<(OwnedFd, &'p OsStr)>> {
        let Some(name) = path.file_name() else { return Ok(None) };
        Ok(Some((self.parent(path, Missing::Made)?, name)))
    }

    /// The same, with nothing at that name any more.
    fn free_place<'p>(&self, path: &'p Path) -> io::Result<Option<(OwnedFd, &'p OsStr)>> {
        let Some((parent, name)) = self.place(path)? else { return Ok(None) };
        remove(&parent, name)?;
        Ok(Some((parent, name)))
    }

    fn parent(&self, path: &Path, missing: Missing) -> io::Result<OwnedFd> {
        let parent = path.parent().unwrap_or(Path::new(""));
        match (self.resolve(parent), missing) {
            (Err(Errno::NOENT), Missing::Made) => self.make(parent),
            (resolved, _) => Ok(resolved?),
        }
    }

    /// Makes those parts of `path` that are not there.
    fn make(&self, path: &Path) -> io::Result<OwnedFd> {
        let mut so_far = PathBuf::new();
        let mut directory = self.resolve(&so_far)?;
        for part in path {
            so_far.push(part);
            directory = match self.resolve(&so_far) {
                Err(Errno::NOENT) => {
                    mkdirat(&directory, part, DIRECTORY)?;
                    self.resolve(&so_far)?
                }
                resolved => resolved?,
            };
        }
        Ok(directory)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        self.open_in_root(path, DIRECTORY_ONLY)
    }

    fn open_in_root(&self, path: &Path, flags: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        loop {
            match openat2(&self.root, path, flags, Mode::empty(), resolve) {
                // A rename somewhere on the machine; the kernel asks to try again.
                Err(Errno::AGAIN | Errno::INTR) => {}
                result => return result,
            }
        }
    }

    fn readable(&self, directory: &OwnedFd) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(openat(directory, ".", flags, Mode::empty())?)
    }
}

/// What becomes of directories on the way that are not there.
#[derive(Clone, Copy)]
enum Missing {
    Made,
    Left,
}

fn remove(parent: impl AsFd, name: &OsStr) -> io::Result<()> {
    match unlinkat(&parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR) => {
            let mut path = OsString::from(format!("/proc/self/fd/{}/", parent.as_fd().as_raw_fd()));
            path.push(name);
            remove_tree(Path::new(&path))
        }
        Err(error) => Err(error.into()),
    }
}

fn no_name() -> io::Error {
    Errno::ISDIR.into()
}
