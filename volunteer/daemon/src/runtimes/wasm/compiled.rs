//! Modules that were compiled before, kept in the cache directory.
//!
//! What is kept is native code, so it matters who can write it. A module is compiled by a runner of
//! its own, in the sandbox, which gets the module and nothing else of any job; its output becomes the
//! entry of that module and of no other, since the key is a hash that the daemon itself has made of
//! the module's bytes. So whoever breaks the compiler with a module has that very module run
//! something else, in the same sandbox, and nothing more. Steps see the entry that they run, read
//! only, and nothing of the directory.
//!
//! An entry's name says what it is made of and what is in it, both as hashes. What a power cut, a bad
//! disk or somebody else has altered is not what its name says, and is compiled again.

use std::collections::BTreeMap;
use std::fs::{DirEntry, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use blake3::{Hash, Hasher};
use mesh_shell::access;
use mesh_store::sync_dir;

use crate::private_directory;

/// Bytes that all entries take together, at most: some hundred modules of the size that compilers
/// make. Those in use count, but stay.
pub const BOUND: u64 = 256 << 20;

/// Separates these hashes from all others, and from those of another layout.
const DOMAIN: &str = "talkoot volunteer 2026 compiled wasm";

/// How the names of files begin that are being written.
const TEMPORARY: &str = ".tmp";

/// The cache. Several processes may have the same directory open; each removes what it finds too much.
#[derive(Debug)]
pub struct CompiledModules {
    directory: PathBuf,
    bound: u64,
    entries: Mutex<Entries>,
}

/// A module and what it is compiled with, as a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key([u8; 32]);

/// A compiled module. It stays where it is for as long as somebody has it.
#[derive(Debug)]
pub struct Entry {
    /// Where it is; an absolute path if that of the directory is.
    pub path: PathBuf,
    content: Hash,
    size: u64,
}

#[derive(Debug, Default)]
struct Entries {
    all: BTreeMap<Key, Used>,
    /// Counts uses; there is no clock that never stands still.
    uses: u64,
}

#[derive(Debug)]
struct Used {
    entry: Arc<Entry>,
    last: u64,
}

impl Key {
    /// For `module`, compiled by what `compiler` describes.
    pub fn new(compiler: &[&str], module: &[u8]) -> Self {
        let mut hasher = Hasher::new_derive_key(DOMAIN);
        for word in compiler {
            hasher.update(&(word.len() as u64).to_le_bytes()).update(word.as_bytes());
        }
        Self(hasher.update(module).finalize().into())
    }
}

impl CompiledModules {
    /// Those in `directory`, which is made if need be, closed to others.
    ///
    /// # Errors
    /// If the directory cannot be made or listed, or is somebody else's.
    pub fn open(directory: &Path, bound: u64) -> io::Result<Self> {
        private_directory::make(directory)?;
        let mut found = Vec::new();
        for file in std::fs::read_dir(directory)? {
            let file = file?;
            match Entry::named(&file.path()) {
                Some((key, entry, used)) => found.push((used, key, entry)),
                None if is_left_over(&file) => drop(std::fs::remove_file(file.path())),
                None => {}
            }
        }
        found.sort_by_key(|(used, ..)| *used);
        let mut entries = Entries::default();
        for (_, key, entry) in found {
            entries.take(key, Arc::new(entry));
        }
        entries.evict(bound);
        Ok(Self { directory: directory.to_owned(), bound, entries: Mutex::new(entries) })
    }

    /// What is kept under `key`, if it still is what was stored.
    pub fn get(&self, key: Key) -> Option<Arc<Entry>> {
        let entry = Arc::clone(&self.lock().all.get(&key)?.entry);
        // Not under the lock: this reads all of it.
        if !entry.is_whole() {
            self.lock().all.remove(&key);
            let _ = std::fs::remove_file(&entry.path);
            return None;
        }
        self.lock().take(key, Arc::clone(&entry));
        // For the next process; without it this entry goes before its turn.
        let _ = File::open(&entry.path).and_then(|file| file.set_modified(SystemTime::now()));
        Some(entry)
    }

    /// Keeps what `compiled` holds under `key`: durably, and whole or not at all. Each piece is written
    /// only after `go_on`, which may wait, has said yes.
    ///
    /// # Errors
    /// If it cannot be written, is larger than all entries may be together, or was told to stop.
    pub fn store(
        &self,
        key: Key,
        compiled: File,
        mut go_on: impl FnMut() -> bool,
    ) -> io::Result<Arc<Entry>> {
        let mut file = tempfile::Builder::new().prefix(TEMPORARY).tempfile_in(&self.directory)?;
        let mut source = compiled.take(self.bound + 1);
        let mut hasher = Hasher::new();
        let mut size = 0;
        let mut piece = vec![0; 64 << 10];
        loop {
            if !go_on() {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = source.read(&mut piece)?;
            if length == 0 {
                break;
            }
            hasher.update(&piece[..length]);
            io::Write::write_all(&mut file, &piece[..length])?;
            size += length as u64;
        }
        if size > self.bound {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let content = hasher.finalize();
        let path = self.directory.join(name(key, content));
        // Jobs have users of their own; the directory keeps others out.
        access::give(file.as_file(), 0o444)?;
        file.as_file().sync_all()?;
        let entry = Arc::new(Entry { path, content, size });
        // What another process has stored stays, if it is whole: a step of that one may just be about to mount it.
        if let Err(taken) = file.persist_noclobber(&entry.path)
            && !entry.is_whole()
        {
            taken.file.persist(&entry.path).map_err(|error| error.error)?;
        }
        sync_dir(&self.directory)?;
        let mut entries = self.lock();
        entries.take(key, Arc::clone(&entry));
        entries.evict(self.bound);
        Ok(entry)
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        // Each holder leaves the entries whole at every step.
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Keeps `entry` under `key`, as the one used last.
    fn take(&mut self, key: Key, entry: Arc<Entry>) {
        self.uses += 1;
        self.all.insert(key, Used { entry, last: self.uses });
    }

    /// Removes what was not used for longest, until the rest fits.
    fn evict(&mut self, bound: u64) {
        let mut total: u64 = self.all.values().map(|used| used.entry.size).sum();
        while total > bound {
            let idle = self.all.iter().filter(|(_, used)| Arc::strong_count(&used.entry) == 1);
            let Some(oldest) = idle.min_by_key(|(_, used)| used.last).map(|(key, _)| *key) else {
                return;
            };
            let Used { entry, .. } = self.all.remove(&oldest).expect("it was just found");
            total -= entry.size;
            // Another process may have removed it.
            let _ = std::fs::remove_file(&entry.path);
        }
    }
}

impl Entry {
    /// The file at `path`, if it has the name of an entry, with its key and when it was used last.
    fn named(path: &Path) -> Option<(Key, Self, SystemTime)> {
        let (key, content) = path.file_name()?.to_str()?.split_once('-')?;
        let key = Key(Hash::from_hex(key).ok()?.into());
        let content = Hash::from_hex(content).ok()?;
        let found = path.symlink_metadata().ok().filter(std::fs::Metadata::is_file)?;
        let entry = Self { path: path.to_owned(), content, size: found.len() };
        Some((key, entry, found.modified().unwrap_or(SystemTime::UNIX_EPOCH)))
    }

    fn is_whole(&self) -> bool {
        let mut hasher = Hasher::new();
        let read = File::open(&self.path).and_then(|file| {
            // One byte more shows that it has grown.
            hasher.update_reader(file.take(self.size + 1)).map(|read| read.finalize())
        });
        read.is_ok_and(|content| content == self.content)
    }
}

fn name(key: Key, content: Hash) -> String {
    format!("{}-{}", Hash::from_bytes(key.0), content)
}

/// Whether a process that has ended was writing `file`: nobody takes so long.
fn is_left_over(file: &DirEntry) -> bool {
    const LONGEST_WRITE: Duration = Duration::from_secs(60 * 60);
    let temporary = file.file_name().to_str().is_some_and(|name| name.starts_with(TEMPORARY));
    let modified = file.metadata().and_then(|found| found.modified()).ok();
    let age = modified.and_then(|modified| modified.elapsed().ok());
    temporary && age.is_some_and(|age| age > LONGEST_WRITE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(module: &[u8]) -> Key {
        Key::new(&["engine"], module)
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        io::Write::write_all(&mut file, bytes).expect("written");
        File::open(file.path()).expect("there")
    }

    fn open(directory: &Path) -> CompiledModules {
        CompiledModules::open(directory, 100).expect("a directory")
    }

    #[test]
    fn a_key_tells_modules_and_compilers_apart() {
        assert_ne!(key(b"a"), key(b"b"));
        assert_ne!(Key::new(&["ab", "c"], b""), Key::new(&["a", "bc"], b""));
        assert_ne!(Key::new(&["a"], b"b"), Key::new(&["a", "b"], b""));
    }

    #[test]
    fn what_was_stored_is_there_after_a_restart() {
        let directory = tempfile::tempdir().expect("a directory");
        open(directory.path()).store(key(b"m"), file_of(b"code"), || true).expect("stored");
        let torn = File::create(directory.path().join(".tmpABC")).expect("written");
        torn.set_modified(SystemTime::now() - Duration::from_secs(86_400)).expect("aged");
        // Another process may just be writing this one, and that one is no business of ours.
        for name in [".tmpDEF", "notes"] {
            std::fs::write(directory.path().join(name), "whole").expect("written");
        }

        let entry = open(directory.path()).get(key(b"m")).expect("kept");

        assert_eq!(std::fs::read(&entry.path).expect("there"), b"code");
        assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 3);
        assert!(open(directory.path()).get(key(b"other")).is_none());
    }

    #[cfg(unix)]
    #[test]
    fn what_another_process_has_stored_and_may_be_about_to_run_is_not_replaced() {
        use std::os::unix::fs::MetadataExt;
        let directory = tempfile::tempdir().expect("a directory");
        let (daemon, doctor) = (open(directory.path()), open(directory.path()));
        let used = daemon.store(key(b"m"), file_of(b"code"), || true).expect("stored");
        let file = || used.path.metadata().expect("there").ino();
        let first = file();

        doctor.store(key(b"m"), file_of(b"code"), || true).expect("it is there already");
        assert_eq!(file(), first);

        std::fs::remove_file(&used.path).expect("there");
        std::fs::write(&used.path, "torn").expect("written");
        doctor.store(key(b"m"), file_of(b"code"), || true).expect("stored again");
        assert!(daemon.get(key(b"m")).is_some());
    }

    #[test]
    fn what_was_altered_is_gone() {
        let directory = tempfile::tempdir().expect("a directory");
        for altered in [&b"CODE"[..], b"cod", b"code and more", b""] {
            let cache = open(directory.path());
            let entry = cache.store(key(b"m"), file_of(b"code"), || true).expect("stored");
            std::fs::remove_file(&entry.path).expect("there");
            std::fs::write(&entry.path, altered).expect("written");

            assert!(cache.get(key(b"m")).is_none(), "{altered:?}");
            assert!(!entry.path.exists());
        }
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = open(directory.path());
        for module in [b"a", b"b"] {
            cache.store(key(module), file_of(&[b'x'; 40]), || true).expect("stored");
        }
        drop(cache.get(key(b"a")));

        cache.store(key(b"c"), file_of(&[b'y'; 40]), || true).expect("stored");

        let kept = [b"a", b"b", b"c"].map(|module| cache.get(key(module)).is_some());
        assert_eq!(kept, [true, false, true]);
        assert!(cache.store(key(b"d"), file_of(&[0; 101]), || true).is_err());
    }

    #[test]
    fn what_is_in_use_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = open(directory.path());
        let used = cache.store(key(b"a"), file_of(&[b'x'; 80]), || true).expect("stored");

        cache.store(key(b"b"), file_of(&[b'y'; 80]), || true).expect("stored");

        assert!(used.path.exists());
        assert!(cache.get(key(b"a")).is_some());
    }

    #[test]
    fn nothing_is_kept_of_what_was_told_to_stop() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = open(directory.path());
        assert!(cache.store(key(b"m"), file_of(b"code"), || false).is_err());
        assert_eq!(std::fs::read_dir(directory.path()).expect("there").count(), 0);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_another_directory_is_not_followed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (link, precious) = (directory.path().join("wasm"), directory.path().join("precious"));
        std::fs::create_dir(&precious).expect("made");
        std::os::unix::fs::symlink(&precious, &link).expect("linked");
        assert!(CompiledModules::open(&link, 100).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn the_directory_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let parent = tempfile::tempdir().expect("a directory");
        let directory = parent.path().join("wasm");
        drop(open(&directory));
        let mode = std::fs::metadata(&directory).expect("there").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
    }
}
