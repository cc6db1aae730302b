//! What was found last time, so that a machine that has not changed is not asked again.
//!
//! A file of the cache directory. Whatever is wrong with it, it is as if it were not there.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::exchange::Stamp;
use super::reading::{is_version, plain};

/// Another layout, or another way of asking, needs another number.
const LAYOUT: u32 = 1;

/// Bytes that are read; a full table takes a tenth.
const MAX_FILE: u64 = 1 << 20;

/// Where it is kept, and for which table.
#[derive(Debug)]
pub struct Cache {
    path: PathBuf,
    table: String,
}

/// By fact.
pub type Known = BTreeMap<String, Entry>;

/// What was found, and the file that it was true of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The file.
    pub stamp: Stamp,
    /// What was found.
    pub verdict: Verdict,
}

/// What became of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Its version.
    Version(String),
    /// Why it has none, for people.
    None(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    layout: u32,
    table: String,
    known: Known,
}

impl Cache {
    /// The one in `directory`, for the table with the fingerprint `table`.
    pub fn new(directory: &Path, table: String) -> Self {
        Self { path: directory.join("probes.json"), table }
    }

    /// What is known; nothing if it was found with another table.
    pub fn load(&self) -> Known {
        let Some(file) = self.read() else { return Known::new() };
        if file.layout != LAYOUT || file.table != self.table {
            return Known::new();
        }
        let sound = |entry: &Entry| match &entry.verdict {
            Verdict::Version(version) => is_version(version),
            Verdict::None(reason) => *reason == plain(reason),
        };
        file.known.into_iter().filter(|(_, entry)| sound(entry)).collect()
    }

    /// Keeps `known` and nothing else.
    pub fn save(&self, known: Known) -> std::io::Result<()> {
        let file = File { layout: LAYOUT, table: self.table.clone(), known };
        let directory = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(directory)?;
        let mut written = tempfile::NamedTempFile::new_in(directory)?;
        written.write_all(&serde_json::to_vec(&file)?)?;
        written.persist(&self.path)?;
        Ok(())
    }

    fn read(&self) -> Option<File> {
        let mut text = Vec::new();
        std::fs::File::open(&self.path).ok()?.take(MAX_FILE).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(version: &str) -> Known {
        known_as(Verdict::Version(version.to_owned()))
    }

    fn known_as(verdict: Verdict) -> Known {
        let stamp = Stamp { path: "/usr/bin/make".to_owned(), modified: -1, size: 7 };
        [("tool.make".to_owned(), Entry { stamp, verdict })].into()
    }

    #[test]
    fn what_was_kept_is_known_for_the_same_table_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(&directory.path().join("new"), "a".to_owned());
        assert_eq!(cache.load(), Known::new());
        cache.save(known("4.3")).expect("written");
        assert_eq!(cache.load(), known("4.3"));
        let other = Cache { table: "b".to_owned(), ..cache };
        assert_eq!(other.load(), Known::new());
    }

    #[test]
    fn whatever_is_in_the_file_it_is_a_version_or_nothing() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = Cache::new(directory.path(), "a".to_owned());
        let long = "9".repeat(65);
        for hostile in ["\u{1b}[2J", "4.3\nx", "", "four", &long] {
            cache.save(known(hostile)).expect("written");
            assert_eq!(cache.load(), Known::new(), "{hostile:?}");
        }
        let hostile = known_as(Verdict::None("\u{1b}[2J".to_owned()));
        cache.save(hostile).expect("written");
        assert_eq!(cache.load(), Known::new());
        let whole = serde_json::to_string(&File {
            layout: LAYOUT,
            table: "a".to_owned(),
            known: known("4.3"),
        });
        let whole = whole.expect("a text");
        let deep = "[".repeat(100_000);
        let padded = format!("{}{whole}", " ".repeat(MAX_FILE as usize));
        let layout = whole.replace("\"layout\":1", "\"layout\":2");
        for garbled in [&whole[..whole.len() / 2], "\0\0", &deep, &padded, &layout] {
            std::fs::write(&cache.path, garbled).expect("written");
            assert_eq!(cache.load(), Known::new());
        }
        std::fs::write(&cache.path, &whole).expect("written");
        assert_eq!(cache.load(), known("4.3"));
    }
}
