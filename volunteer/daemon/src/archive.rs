//! Tar archives of strangers, read entry by entry, with nothing in memory whose length they choose.

use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use tar::{Archive, EntryType, PaxExtensions};
use thiserror::Error;

use crate::file_names;

/// Length of a name in bytes, as Linux has it.
pub const MAX_NAME: u64 = 4096;

/// Bytes of the extended header of one file: a name, and some times and ids that nobody reads.
const MAX_EXTENSION: u64 = 64 << 10;

/// Directories in one another.
const MAX_DEPTH: usize = 64;

/// Bytes of disk space that an entry and a directory take beside their content, about.
pub const ENTRY_BYTES: u64 = 4096;

/// An archive is not what it should be.
#[derive(Debug, Error)]
pub enum ArchiveError {
    /// No tar archive, or one that ends too early.
    #[error("it is not a sound tar archive")]
    Malformed(#[source] io::Error),
    /// An entry has something that it must not have.
    #[error("{name:?} is refused: {reason}")]
    Refused {
        /// The entry, shortened.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Whoever reads it was told to stop.
    #[error("stopped by the owner of the machine")]
    Stopped,
}

/// Something in an archive.
pub struct Entry<'a> {
    /// As it was written.
    pub name: Vec<u8>,
    /// What a link leads to, as it was written; may be empty.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: EntryType,
    /// Its mode.
    pub mode: u32,
    /// Seconds since 1970.
    pub modified: u64,
    /// Bytes of its content.
    pub size: u64,
    /// Its content, and nothing behind it.
    pub content: &'a mut dyn Read,
}

/// Gives each entry of `archive` to `visit`, in order. `goes_on` is asked before each: it may take its time,
/// and ends it if it says no.
///
/// # Errors
/// What `visit` says, or what is wrong with the archive.
pub fn each<E: From<ArchiveError>>(
    archive: impl Read,
    goes_on: &dyn Fn() -> bool,
    mut visit: impl FnMut(Entry<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let mut archive = Archive::new(archive);
    // Raw: the reader would gather names of any length in memory.
    let entries = archive.entries().map_err(ArchiveError::Malformed)?.raw(true);
    let (mut long_name, mut long_link) = (None, None);
    for entry in entries {
        if !goes_on() {
            return Err(ArchiveError::Stopped.into());
        }
        let mut entry = entry.map_err(ArchiveError::Malformed)?;
        match entry.header().entry_type() {
            EntryType::GNULongName => long_name = Some(read_name(&mut entry)?),
            EntryType::GNULongLink => long_link = Some(read_name(&mut entry)?),
            EntryType::XHeader => {
                let Names { path, link } = names_in(&read_all(&mut entry, MAX_EXTENSION)?)?;
                long_name = path.or(long_name);
                long_link = link.or(long_link);
            }
            // Comments of `git archive`.
            EntryType::XGlobalHeader => drop(read_all(&mut entry, MAX_EXTENSION)?),
            kind => {
                let header = entry.header();
                let short_link = || header.link_name_bytes().map(|link| link.into_owned());
                let visited = Entry {
                    name: long_name.take().unwrap_or_else(|| header.path_bytes().into_owned()),
                    link: long_link.take().or_else(short_link).unwrap_or_default(),
                    kind,
                    mode: header.mode().map_err(ArchiveError::Malformed)?,
                    modified: header.mtime().unwrap_or(0),
                    size: header.entry_size().map_err(ArchiveError::Malformed)?,
                    content: &mut entry,
                };
                visit(visited)?;
            }
        }
    }
    Ok(())
}

/// The path that `name` spells, if it stays where it is put.
///
/// # Errors
/// If it is absolute, leads out, or is too long or deep.
pub fn plain_path(name: &[u8]) -> Result<PathBuf, ArchiveError> {
    if name.is_empty() || name.len() as u64 > MAX_NAME || name.contains(&0) {
        return Err(refused(name, "its name is empty, too long or has a NUL"));
    }
    let spelt = file_names::from_bytes(name)
        .ok_or_else(|| refused(name, "files on this system cannot have its name"))?;
    let mut plain = PathBuf::new();
    for component in Path::new(spelt).components() {
        match component {
            Component::Normal(part) => plain.push(part),
            Component::CurDir => {}
            Component::ParentDir => return Err(refused(name, "its name leads out by \"..\"")),
            Component::RootDir | Component::Prefix(_) => {
                return Err(refused(name, "its name is absolute"));
            }
        }
    }
    if plain.components().count() > MAX_DEPTH {
        return Err(refused(name, "it is too deep"));
    }
    Ok(plain)
}

/// That the entry `name` must not be there.
pub fn refused(name: &[u8], reason: &'static str) -> ArchiveError {
    ArchiveError::Refused { name: shown(name), reason }
}

/// `name`, shortened for people.
pub fn shown(name: &[u8]) -> String {
    String::from_utf8_lossy(name).chars().take(80).collect()
}

/// What an extended header says of names.
#[derive(Default)]
struct Names {
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
}

fn names_in(extension: &[u8]) -> Result<Names, ArchiveError> {
    let mut names = Names::default();
    for pair in PaxExtensions::new(extension) {
        let pair = pair.map_err(ArchiveError::Malformed)?;
        match pair.key_bytes() {
            b"path" => names.path = Some(pair.value_bytes().to_vec()),
            b"linkpath" => names.link = Some(pair.value_bytes().to_vec()),
            // Sizes above 8 GiB and holes are nobody's here.
            b"size" => return Err(refused(b"an extended header", "it changes the size of a file")),
            key if key.starts_with(b"GNU.sparse") => {
                return Err(refused(b"an extended header", "it makes a file sparse"));
            }
            _ => {}
        }
    }
    Ok(names)
}

fn read_name(entry: &mut impl Read) -> Result<Vec<u8>, ArchiveError> {
    let mut name = read_all(entry, MAX_NAME + 1)?;
    while name.last() == Some(&0) {
        name.pop();
    }
    Ok(name)
}

fn read_all(entry: &mut impl Read, limit: u64) -> Result<Vec<u8>, ArchiveError> {
    let mut bytes = Vec::new();
    entry.take(limit + 1).read_to_end(&mut bytes).map_err(ArchiveError::Malformed)?;
    if bytes.len() as u64 > limit {
        return Err(refused(b"a header", "it is too long"));
    }
    Ok(bytes)
}
