//! Packages come from strangers: a tar archive is unpacked file by file, and what it may hold is
//! listed here, not what it may not.
//!
//! Regular files and directories with plain relative names, nothing twice, no links. Since nothing
//! else is ever made below the target, no name can lead out of it.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use capability::OpenError;
use mesh_shell::access;
use mesh_store::BlobError;
use tar::EntryType;
use thiserror::Error;

use crate::archive::{self, ArchiveError, ENTRY_BYTES, Entry, plain_path, refused, shown};

/// Files and directories in one package at most; a checkout of Linux has 90,000.
const MAX_ENTRIES: usize = 100_000;

/// A package could not be unpacked.
#[derive(Debug, Error)]
pub enum UnpackError {
    /// The work directory.
    #[error("cannot make the work directory")]
    Prepare(#[source] io::Error),
    /// The blob.
    #[error("cannot read the package")]
    Package(#[source] BlobError),
    /// The blob is encrypted, and the offer's key for it is of no use here.
    #[error("cannot open the key of the private package")]
    Private(#[source] OpenError),
    /// It is no archive that a package may be, or its owner wants it no longer.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// There are more than [`MAX_ENTRIES`].
    #[error("over {MAX_ENTRIES} files in the package")]
    TooMany,
    /// The files are larger than the job may use.
    #[error("the package unpacks to more than the {limit} bytes that the job may use")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// The disk.
    #[error("cannot write {name:?}")]
    Write {
        /// The file.
        name: String,
        /// Why.
        source: io::Error,
    },
}

impl UnpackError {
    /// Whether the machine is at fault, not the package.
    pub fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Prepare(_)
                | Self::Package(_)
                | Self::Private(_)
                | Self::Write { .. }
                | Self::Archive(ArchiveError::Stopped)
        )
    }

    /// Whether the job's own limit was exceeded.
    pub fn is_limit(&self) -> bool {
        matches!(self, Self::TooLarge { .. })
    }
}

/// Unpacks the archive into the empty directory `target`, at most `limit` bytes of files with what
/// the entries themselves take. `goes_on` is asked before each entry and each piece of a file: it may take
/// its time, and ends it if it says no.
pub fn unpack(
    package: impl Read,
    target: &Path,
    limit: u64,
    goes_on: impl Fn() -> bool,
) -> Result<(), UnpackError> {
    let goes_on: &dyn Fn() -> bool = &goes_on;
    let mut unpacking = Unpacking { target, left: limit, limit, entries: 0, goes_on };
    archive::each(package, goes_on, |entry| unpacking.add(entry))
}

struct Unpacking<'a> {
    target: &'a Path,
    left: u64,
    limit: u64,
    entries: usize,
    goes_on: &'a dyn Fn() -> bool,
}

impl Unpacking<'_> {
    fn add(&mut self, entry: Entry<'_>) -> Result<(), UnpackError> {
        let Entry { name, kind, mode, size, content, .. } = entry;
        self.count()?;
        let path = plain_path(&name)?;
        match kind {
            EntryType::Directory => self.directory(&path),
            EntryType::Regular => self.file(&path, mode & 0o100 != 0, size, content),
            EntryType::Symlink | EntryType::Link => Err(refused(&name, "it is a link").into()),
            _ => Err(refused(&name, "it is neither a file nor a directory").into()),
        }
    }

    /// One entry or directory more.
    fn count(&mut self) -> Result<(), UnpackError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(UnpackError::TooMany);
        }
        self.charge(ENTRY_BYTES)
    }

    fn charge(&mut self, bytes: u64) -> Result<(), UnpackError> {
        self.left =
            self.left.checked_sub(bytes).ok_or(UnpackError::TooLarge { limit: self.limit })?;
        Ok(())
    }

    fn directory(&mut self, path: &Path) -> Result<(), UnpackError> {
        // The archive's own root, `./`.
        if path.as_os_str().is_empty() {
            return Ok(());
        }
        // A directory may come after its files.
        self.make_directories(path)
    }

    fn file(
        &mut self,
        path: &Path,
        executable: bool,
        size: u64,
        content: &mut dyn Read,
    ) -> Result<(), UnpackError> {
        let name = path.as_os_str().as_encoded_bytes();
        let parent = path.parent().ok_or_else(|| refused(name, "it has no name"))?;
        self.charge(size)?;
        self.make_directories(parent)?;
        let mode = if executable { 0o755 } else { 0o644 };
        let mut file = match access::create_new(&self.target.join(path), mode) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                return Err(refused(name, "it is there twice").into());
            }
            Err(error) => return Err(unwritable(path)(error)),
        };
        copy(content, &mut file, path, size, self.goes_on)?;
        // The mask of the process may have taken bits away.
        access::give(&file, mode).map_err(unwritable(path))
    }

    /// Makes those that are not there, one by one: each counts.
    fn make_directories(&mut self, path: &Path) -> Result<(), UnpackError> {
        let taken =
            || refused(path.as_os_str().as_encoded_bytes(), "a file has the name of a directory");
        let mut directory = self.target.to_path_buf();
        for component in path.components() {
            directory.push(component);
            match fs::create_dir(&directory) {
                Ok(()) => self.count()?,
                Err(error) if is_taken(&error) => {
                    if !directory.is_dir() {
                        return Err(taken().into());
                    }
                }
                Err(error) => return Err(unwritable(path)(error)),
            }
        }
        Ok(())
    }
}

fn copy(
    content: &mut dyn Read,
    file: &mut File,
    path: &Path,
    size: u64,
    goes_on: &dyn Fn() -> bool,
) -> Result<(), UnpackError> {
    let mut buffer = vec![0; 64 << 10];
    let mut left = size;
    while left > 0 {
        if !goes_on() {
            return Err(ArchiveError::Stopped.into());
        }
        let want = usize::try_from(left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = content.read(&mut buffer[..want]).map_err(ArchiveError::Malformed)?;
        if read == 0 {
            return Err(ArchiveError::Malformed(io::ErrorKind::UnexpectedEof.into()).into());
        }
        io::Write::write_all(file, &buffer[..read]).map_err(unwritable(path))?;
        left -= read as u64;
    }
    Ok(())
}

/// Whether something is in the way that is no directory.
fn is_taken(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory)
}

fn unwritable(path: &Path) -> impl FnOnce(io::Error) -> UnpackError {
    let name = shown(path.as_os_str().as_encoded_bytes());
    move |source| UnpackError::Write { name, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tar::{Builder, Header};

    use super::*;

    /// An archive of entries whose names are written as they are, sound or not.
    #[derive(Default)]
    struct Package(Vec<u8>);

    impl Package {
        fn entry(mut self, name: &[u8], kind: EntryType, content: &[u8]) -> Self {
            let mut header = Header::new_gnu();
            header.as_old_mut().name[..name.len()].copy_from_slice(name);
            header.set_entry_type(kind);
            header.set_mode(0o4755);
            header.set_size(content.len() as u64);
            header.set_cksum();
            self.0.extend(header.as_bytes());
            self.0.extend(content);
            self.0.resize(self.0.len().next_multiple_of(512), 0);
            self
        }

        fn file(self, name: &str, content: &[u8]) -> Self {
            self.entry(name.as_bytes(), EntryType::Regular, content)
        }

        fn unpack(mut self, limit: u64) -> (tempfile::TempDir, Result<(), UnpackError>) {
            self.0.resize(self.0.len() + 1024, 0);
            let target = tempfile::tempdir().expect("a directory");
            let result = unpack(self.0.as_slice(), &target.path().join("."), limit, || true);
            (target, result)
        }
    }

    #[track_caller]
    fn check_refused(package: Package, expected: &str) {
        let (target, result) = package.unpack(1 << 20);
        let error = result.expect_err("a hostile package").to_string();
        assert!(error.contains(expected), "{error}");
        let outside = target.path().parent().expect("a parent").join("escaped");
        assert!(!outside.exists());
    }

    #[test]
    fn files_and_directories_arrive_with_plain_modes() {
        let package = Package::default()
            .entry(b"./", EntryType::Directory, b"")
            .file("a/b/run.sh", b"#!/bin/sh\n")
            .entry(b"a/b/", EntryType::Directory, b"");
        let (target, result) = package.unpack(1 << 20);
        result.expect("a sound package");
        let file = target.path().join("a/b/run.sh");
        assert_eq!(fs::read(&file).expect("unpacked"), b"#!/bin/sh\n");
        let mode = fs::metadata(&file).expect("there").permissions().mode();
        assert_eq!(mode & 0o7777, 0o755, "set-user-id does not survive");
    }

    #[test]
    fn what_leads_out_is_refused() {
        check_refused(Package::default().file("../escaped", b"x"), "leads out");
        check_refused(Package::default().file("a/../../escaped", b"x"), "leads out");
        check_refused(Package::default().file("/tmp/escaped", b"x"), "absolute");
        check_refused(Package::default().entry(b"", EntryType::Regular, b"x"), "name");
    }

    #[test]
    fn links_and_devices_are_refused() {
        for kind in [EntryType::Symlink, EntryType::Link] {
            check_refused(Package::default().entry(b"l", kind, b""), "it is a link");
        }
        for kind in [EntryType::Char, EntryType::Block, EntryType::Fifo, EntryType::GNUSparse] {
            check_refused(Package::default().entry(b"d", kind, b""), "neither a file");
        }
    }

    #[test]
    fn nothing_is_there_twice() {
        check_refused(Package::default().file("a", b"1").file("a", b"2"), "twice");
        check_refused(Package::default().file("a", b"1").file("./a", b"2"), "twice");
        check_refused(Package::default().file("a", b"1").file("a/b", b"2"), "name of a directory");
        check_refused(
            Package::default().entry(b"d", EntryType::Directory, b"").file("d", b"2"),
            "twice",
        );
    }

    #[test]
    fn sizes_are_limited_before_anything_is_written() {
        let (target, result) = Package::default().file("a", &[7; 1000]).unpack(ENTRY_BYTES + 999);
        assert!(result.expect_err("too large").is_limit());
        assert!(!target.path().join("a").exists());
        Package::default().file("a", &[7; 1000]).unpack(ENTRY_BYTES + 1000).1.expect("just enough");
    }

    #[test]
    fn bombs_do_not_go_off() {
        // What gzip makes of a terabyte of zeroes begins so, and is no archive here.
        let target = tempfile::tempdir().expect("a directory");
        let compressed = [&b"\x1f\x8b\x08\0\0\0\0\0\x02\x03"[..], &[0; 2048]].concat();
        let result = unpack(compressed.as_slice(), target.path(), 1 << 40, || true);
        assert!(
            matches!(result, Err(UnpackError::Archive(ArchiveError::Malformed(_)))),
            "{result:?}"
        );

        // 8 GiB announced in a header of half a kibibyte.
        let mut package = Package::default().file("large", b"");
        let mut header = Header::from_byte_slice(&package.0[..512]).clone();
        header.set_size((8 << 30) - 1);
        header.set_cksum();
        package.0[..512].copy_from_slice(header.as_bytes());
        let (target, result) = package.unpack(1 << 30);
        assert!(result.expect_err("too large").is_limit());
        assert_eq!(fs::read_dir(target.path()).expect("there").count(), 0);

        // Empty files by the thousand.
        let many =
            (0..1000).fold(Package::default(), |it, number| it.file(&number.to_string(), b""));
        let (target, result) = many.unpack(100 * ENTRY_BYTES);
        assert!(result.expect_err("too many").is_limit());
        assert_eq!(fs::read_dir(target.path()).expect("there").count(), 100);
    }

    #[test]
    fn directories_that_no_entry_names_count_too() {
        let package = || Package::default().file("a/b/c", b"");
        let error = package().unpack(3 * ENTRY_BYTES - 1).1.expect_err("two and a file");
        assert!(error.is_limit(), "{error}");
        package().unpack(3 * ENTRY_BYTES).1.expect("just enough");
    }

    #[test]
    fn a_stop_is_heard_between_entries_and_pieces_of_a_file() {
        let asked = std::cell::Cell::new(0);
        // Before the first entry, before the one piece of it, and before the second entry.
        let goes_on = || asked.replace(asked.get() + 1) < 2;
        let mut package = Package::default().file("a", b"1").file("b", b"2").0;
        package.resize(package.len() + 1024, 0);
        let target = tempfile::tempdir().expect("a directory");
        let result = unpack(package.as_slice(), target.path(), 1 << 20, goes_on);
        assert!(matches!(result, Err(UnpackError::Archive(ArchiveError::Stopped))), "{result:?}");
        assert!(target.path().join("a").exists() && !target.path().join("b").exists());

        asked.set(0);
        let goes_on = || asked.replace(asked.get() + 1) < 3;
        let package = Package::default().file("a", &[7; 1 << 20]).0;
        let target = tempfile::tempdir().expect("a directory");
        let result = unpack(package.as_slice(), target.path(), 2 << 20, goes_on);
        assert!(matches!(result, Err(UnpackError::Archive(ArchiveError::Stopped))), "{result:?}");
        let written = fs::metadata(target.path().join("a")).expect("begun").len();
        assert_eq!(written, 128 << 10, "two pieces");
    }

    #[test]
    fn an_archive_that_ends_too_early_is_malformed() {
        let mut package = Package::default().file("a", &[7; 2000]);
        package.0.truncate(1024);
        let target = tempfile::tempdir().expect("a directory");
        let result = unpack(package.0.as_slice(), target.path(), 1 << 20, || true);
        assert!(
            matches!(result, Err(UnpackError::Archive(ArchiveError::Malformed(_)))),
            "{result:?}"
        );
        assert!(matches!(
            unpack(&[1; 4096][..], target.path(), 1 << 20, || true),
            Err(UnpackError::Archive(ArchiveError::Malformed(_)))
        ));
    }

    #[test]
    fn long_names_are_read_and_endless_ones_are_not() {
        let long = format!("{}/file", "d".repeat(200));
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_size(1);
        header.set_mode(0o644);
        builder.append_data(&mut header, &long, &b"x"[..]).expect("in memory");
        let archive = builder.into_inner().expect("in memory");
        let target = tempfile::tempdir().expect("a directory");
        unpack(archive.as_slice(), target.path(), 1 << 20, || true).expect("a long name");
        assert!(target.path().join(&long).is_file());

        let endless = vec![b'a'; 1 << 20];
        let package = Package::default().entry(b"x", EntryType::GNULongName, &endless);
        check_refused(package, "too long");
        let package = Package::default().entry(b"x", EntryType::XHeader, &endless);
        check_refused(package, "too long");
    }

    #[test]
    fn the_name_in_an_extended_header_counts() {
        let package = Package::default()
            .entry(b"x", EntryType::XHeader, b"19 path=../escaped\n")
            .file("harmless", b"x");
        check_refused(package, "leads out");
        let package =
            Package::default().entry(b"x", EntryType::XHeader, b"12 size=999\n").file("a", b"x");
        check_refused(package, "changes the size");
    }

    #[test]
    fn a_name_too_deep_is_refused() {
        let package = Package::default()
            .entry(b"x", EntryType::GNULongName, "d/".repeat(100).as_bytes())
            .file("x", b"x");
        check_refused(package, "too deep");
    }
}
