//! Taking a job's results out of a work directory that may be a trap.

#[cfg(target_os = "linux")]
#[path = "collect/place_linux.rs"]
mod place;
#[cfg(not(target_os = "linux"))]
#[path = "collect/place_elsewhere.rs"]
mod place;

#[cfg(all(test, target_os = "linux"))]
#[path = "collect/place_elsewhere.rs"]
mod place_elsewhere;

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
    search::collect(work, patterns, caps)
}

/// An entry of a directory.
struct Listed {
    /// Its name, as far as it is text.
    name: String,
    is_text: bool,
    is_directory: bool,
}

/// A regular file.
struct Opened {
    file: File,
    /// Its size in bytes.
    size: u64,
    has_one_name: bool,
}

mod search {
    use std::collections::BTreeSet;

    use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

    use super::place::Place;
    use super::{
        CollectCaps, CollectError, Collected, Collection, Listed, Opened, Path, Refused, io,
    };

    pub fn collect(
        work: &Path,
        patterns: &[String],
        caps: CollectCaps,
    ) -> Result<Collection, CollectError> {
        let wanted = compile(patterns)?;
        let place = Place::new(work).map_err(|failure| unreadable(".", failure))?;
        let mut search = Search::new(&place, &wanted);
        search.run(caps)?;
        let Search { found, refused, matched, .. } = search;
        let indexed = patterns.iter().enumerate();
        let unmatched = indexed.filter(|(index, _)| !matched.contains(index));
        let unmatched = unmatched.map(|(_, pattern)| pattern.clone()).collect();
        let mut collection = Collection { files: Vec::new(), refused, unmatched };
        let mut total = 0;
        for path in found {
            match open(&place, path, caps, &mut total)? {
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
        place: &'a Place,
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
        fn new(place: &'a Place, wanted: &'a GlobSet) -> Self {
            let (found, refused, matched) = (BTreeSet::new(), Vec::new(), BTreeSet::new());
            Self { place, wanted, entries: 0, found, refused, matched }
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
            if directory.split('/').count() > MAX_DEPTH {
                return Err(too_many("levels of directories", MAX_DEPTH as u64));
            }
            let listing = self.place.list(directory);
            let Some(listing) = listing.map_err(|failure| unreadable(directory, failure))? else {
                return Ok(());
            };
            for entry in listing {
                let Listed { name, is_text, is_directory } =
                    entry.map_err(|failure| unreadable(directory, failure))?;
                self.entries += 1;
                if self.entries > MAX_ENTRIES {
                    return Err(too_many("entries", MAX_ENTRIES));
                }
                let path = join(directory, &name);
                if !is_directory && self.wanted.is_match(&path) {
                    self.matched.extend(self.wanted.matches(&path));
                    match name_fault(&name, is_text) {
                        None => drop(self.found.insert(path)),
                        Some(reason) => self.refused.push(Refused { path, reason }),
                    }
                    if self.found.len() + self.refused.len() > caps.files {
                        return Err(too_many("files", caps.files as u64));
                    }
                } else if is_directory && is_text {
                    pending.push(path);
                }
            }
            Ok(())
        }
    }

    fn open(
        place: &Place,
        path: String,
        caps: CollectCaps,
        total: &mut u64,
    ) -> Result<Result<Collected, Refused>, CollectError> {
        let opened = place.open(&path).map_err(|failure| unreadable(&path, failure))?;
        let Opened { file, size, .. } = match opened {
            Ok(opened) if opened.has_one_name && opened.size <= caps.bytes_each => opened,
            Ok(opened) if opened.has_one_name => {
                return Ok(Err(Refused { path, reason: "it is too large" }));
            }
            Ok(_) => return Ok(Err(Refused { path, reason: "it has several names" })),
            Err(reason) => return Ok(Err(Refused { path, reason })),
        };
        *total += size;
        if *total > caps.bytes_total {
            return Err(too_many("bytes", caps.bytes_total));
        }
        Ok(Ok(Collected { path, file, size }))
    }

    fn name_fault(name: &str, is_text: bool) -> Option<&'static str> {
        match is_text {
            true if !name.contains(char::is_control) => None,
            true => Some("its name holds control characters"),
            false => Some("its name is not UTF-8"),
        }
    }

    fn join(directory: &str, name: &str) -> String {
        if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
    }

    fn too_many(what: &'static str, limit: u64) -> CollectError {
        CollectError::TooMany { what, limit }
    }

    fn unreadable(path: &str, failure: io::Error) -> CollectError {
        CollectError::Read { path: path.to_owned(), source: failure }
    }
}
