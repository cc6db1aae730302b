//! Taking a job's results out of a work directory that may be a trap.

use std::fs::File;
use std::io;
use std::path::Path;

/// What may be collected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CollectCaps {
    /// Number of files.
    pub files: usize,
    /// Bytes of one file.
    pub bytes_each: u64,
    /// Bytes of all files.
    pub bytes_total: u64,
}

/// A result: a regular file, open for reading.
#[derive(Debug)]
pub struct Collected {
    /// Its path below the work directory, with `/` between names.
    pub path: String,
    /// The file, at its beginning. Read `size` bytes of it and no more.
    pub file: File,
    /// Its size in bytes when it was opened.
    pub size: u64,
}

/// Something that matches a pattern and is not an honest file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its path below the work directory, as far as it is text. Not to be printed as it is.
    pub path: String,
    /// What is wrong with it.
    pub reason: &'static str,
}

/// What the patterns have found.
#[derive(Debug, Default)]
pub struct Collection {
    /// The results, in the order of their paths.
    pub files: Vec<Collected>,
    /// What matches and cannot be a result.
    pub refused: Vec<Refused>,
    /// The patterns that match nothing, in their order.
    pub unmatched: Vec<String>,
}

/// Why results could not be collected.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CollectError {
    /// A pattern is malformed.
    #[error("malformed pattern {pattern:?}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// The cause.
        source: globset::Error,
    },
    /// There are more results than may be collected, or more entries or levels of directories than are looked at.
    #[error("more than {limit} {what} among the results")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many are permitted.
        limit: u64,
    },
    /// A file or directory could not be read.
    #[error("cannot read {path:?} below the work directory")]
    Read {
        /// The path below the work directory.
        path: String,
        /// The cause.
        source: io::Error,
    },
    /// This system lacks what safe collecting takes.
    #[error("results of native jobs cannot be collected on this system")]
    Unavailable,
}

/// Opens the files below `work` that match one of `patterns`, in the order of their paths.
///
/// `*` matches within one name, `**` across directories; a pattern that starts with a directory, or is nothing but
/// names, is what the job's author would expect of a shell. Links are neither followed nor collected, and a match that
/// is not a regular file with one name and a name in UTF-8 is refused, as it cannot be what the author meant.
///
/// The step must be over; should somebody change the tree all the same, nothing outside it is opened.
pub fn collect(
    work: &Path,
    patterns: &[String],
    caps: CollectCaps,
) -> Result<Collection, CollectError> {
    imp::collect(work, patterns, caps)
}

#[cfg(not(target_os = "linux"))]
mod imp {
    use super::{CollectCaps, CollectError, Collection, Path};

    pub fn collect(_: &Path, _: &[String], _: CollectCaps) -> Result<Collection, CollectError> {
        Err(CollectError::Unavailable)
    }
}

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::BTreeSet;
    use std::os::fd::OwnedFd;

    use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
    use rustix::fs::{CWD, Dir, FileType, Mode, OFlags};
    use rustix::io::Errno;

    use crate::beneath::open_at;

    use super::{CollectCaps, CollectError, Collected, Collection, File, Path, Refused, io};

    pub fn collect(
        work: &Path,
        patterns: &[String],
        caps: CollectCaps,
    ) -> Result<Collection, CollectError> {
        let wanted = compile(patterns)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(CWD, work, flags, Mode::empty())
            .map_err(|failure| unreadable(".", failure))?;
        let mut search = Search::new(&root, &wanted);
        search.run(caps)?;
        let Search { found, refused, matched, .. } = search;
        let indexed = patterns.iter().enumerate();
        let unmatched = indexed.filter(|(index, _)| !matched.contains(index));
        let unmatched = unmatched.map(|(_, pattern)| pattern.clone()).collect();
        let mut collection = Collection { files: Vec::new(), refused, unmatched };
        let mut total = 0;
        for path in found {
            match open(&root, path, caps, &mut total)? {
                Ok(file) => collection.files.push(file),
                Err(refused) => collection.refused.push(refused),
            }
        }
        Ok(collection)
    }

    fn compile(patterns: &[String]) -> Result<GlobSet, CollectError> {
        let malformed = |pattern: &str| {
            let pattern = pattern.to_owned();
            |source| CollectError::Pattern { pattern, source }
        };
        let mut set = GlobSetBuilder::new();
        for pattern in patterns {
            let plain = pattern.strip_prefix("./").unwrap_or(pattern);
            let glob = GlobBuilder::new(plain).literal_separator(true).build();
            set.add(glob.map_err(malformed(pattern))?);
        }
        set.build().map_err(malformed(""))
    }

    struct Search<'a> {
        root: &'a OwnedFd,
        wanted: &'a GlobSet,
        entries: u64,
        found: BTreeSet<String>,
        refused: Vec<Refused>,
        /// The indices of the patterns that match something.
        matched: BTreeSet<usize>,
    }

    /// Far more than honest results have; looking at them takes a second.
    const MAX_ENTRIES: u64 = 1_000_000;

    /// Names are opened by their whole path, which the kernel limits to 4096 bytes anyway.
    const MAX_DEPTH: usize = 64;

    impl<'a> Search<'a> {
        fn new(root: &'a OwnedFd, wanted: &'a GlobSet) -> Self {
            let (found, refused, matched) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
            Self { root, wanted, entries: 0, found, refused, matched }
        }

        /// Finds the paths that match.
        fn run(&mut self, caps: CollectCaps) -> Result<(), CollectError> {
            let mut pending = vec![String::new()];
            while let Some(directory) = pending.pop() {
                self.look_into(&directory, caps, &mut pending)?;
            }
            Ok(())
        }

        fn look_into(
            &mut self,
            directory: &str,
            caps: CollectCaps,
            pending: &mut Vec<String>,
        ) -> Result<(), CollectError> {
            let Some(listing) = self.open_directory(directory)? else { return Ok(()) };
            for entry in listing {
                let entry = entry.map_err(|failure| unreadable(directory, failure))?;
                let name = entry.file_name();
                if matches!(name.to_bytes(), b"." | b"..") {
                    continue;
                }
                self.entries += 1;
                if self.entries > MAX_ENTRIES {
                    return Err(too_many("entries", MAX_ENTRIES));
                }
                let path = join(directory, &name.to_string_lossy());
                let is_directory = entry.file_type() == FileType::Directory;
                if !is_directory && self.wanted.is_match(&path) {
                    self.matched.extend(self.wanted.matches(&path));
                    match name_fault(name.to_bytes()) {
                        None => drop(self.found.insert(path)),
                        Some(reason) => self.refused.push(Refused { path, reason }),
                    }
                    if self.found.len() + self.refused.len() > caps.files {
                        return Err(too_many("files", caps.files as u64));
                    }
                } else if is_directory && name.to_str().is_ok() {
                    pending.push(path);
                }
            }
            Ok(())
        }

        /// A directory's content; nothing for one that the job has closed, or that is something else by now.
        fn open_directory(&self, directory: &str) -> Result<Option<Dir>, CollectError> {
            if directory.split('/').count() > MAX_DEPTH {
                return Err(too_many("levels of directories", MAX_DEPTH as u64));
            }
            let path = if directory.is_empty() { "." } else { directory };
            match open_at(self.root, path, OFlags::DIRECTORY) {
                Ok(opened) => {
                    Dir::new(opened).map(Some).map_err(|failure| unreadable(directory, failure))
                }
                Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => {
                    Ok(None)
                }
                Err(failure) => Err(unreadable(directory, failure)),
            }
        }
    }

    fn open(
        root: &OwnedFd,
        path: String,
        caps: CollectCaps,
        total: &mut u64,
    ) -> Result<Result<Collected, Refused>, CollectError> {
        let refused = |reason| Ok(Err(Refused { path: path.clone(), reason }));
        // Opening a FIFO must not wait for its writer.
        let file = match open_at(root, &path, OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => file,
            Err(Errno::LOOP) => return refused("it is a link"),
            Err(Errno::NXIO) => return refused("it is not a regular file"),
            Err(failure) => return Err(unreadable(&path, failure)),
        };
        let stat = rustix::fs::fstat(&file).map_err(|failure| unreadable(&path, failure))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return refused("it is not a regular file");
        }
        if stat.st_nlink != 1 {
            return refused("it has several names");
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if size > caps.bytes_each {
            return refused("it is too large");
        }
        *total += size;
        if *total > caps.bytes_total {
            return Err(too_many("bytes", caps.bytes_total));
        }
        Ok(Ok(Collected { path, file: File::from(file), size }))
    }

    fn name_fault(name: &[u8]) -> Option<&'static str> {
        match std::str::from_utf8(name) {
            Ok(name) if !name.contains(char::is_control) => None,
            Ok(_) => Some("its name holds control characters"),
            Err(_) => Some("its name is not UTF-8"),
        }
    }

    fn join(directory: &str, name: &str) -> String {
        if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
    }

    fn too_many(what: &'static str, limit: u64) -> CollectError {
        CollectError::TooMany { what, limit }
    }

    fn unreadable(path: &str, failure: impl Into<io::Error>) -> CollectError {
        CollectError::Read { path: path.to_owned(), source: failure.into() }
    }
}
