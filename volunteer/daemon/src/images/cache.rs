//! Unpacked images (ADR 0040), kept in the cache directory by the digest that they were asked for by.
//!
//! An image is unpacked beside the others under a name that is none, written to the disk, and then renamed: what has
//! the name of an image is whole. Whoever uses one holds a lock on its directory, which the kernel takes away from the dead;
//! what nobody holds can be removed, the least recently used first. Several processes may have the same directory open.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use capability::ImageDigest;
use mesh_shell::access;
use mesh_store::sync_dir;
use serde::{Deserialize, Serialize};
use tempfile::TempDir;
use volunteer_sandbox::{give_tree, remove_tree};

use super::layout::file_name;
use super::unpacker::ROOT;

/// What is known of an image, beside its root.
const ABOUT: &str = "about.json";

/// How the names begin of what is being unpacked or removed.
const TEMPORARY: &str = ".tmp";

/// Held for the moments in which names change.
const LOCK: &str = ".lock";

/// The cache.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    bound: u64,
}

/// An unpacked image, which stays for as long as somebody has it.
#[derive(Debug)]
pub struct Root {
    /// Where its files are.
    pub path: PathBuf,
    /// What is known of it.
    pub about: About,
    _lock: File,
}

/// What is known of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct About {
    /// Bytes on disk, about.
    pub bytes: u64,
    /// The environment of its configuration.
    pub environment: BTreeMap<String, String>,
    /// What it has and its root has not, for people.
    pub left_out: Vec<String>,
}

/// A place to unpack in. What is not kept is gone with it.
#[derive(Debug)]
pub struct Stage {
    directory: TempDir,
    lock: File,
}

impl Stage {
    /// The directory.
    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Where in it the root of the image is to be.
    pub fn root(&self) -> PathBuf {
        self.path().join(ROOT)
    }

    /// Takes what the user of a job has unpacked. No job's user is to own it from now on.
    pub fn own(&self) -> io::Result<()> {
        const ROOT: u32 = 0;
        if access::is_root() { give_tree(self.path(), ROOT) } else { Ok(()) }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Gone already if it was kept.
        if let Err(error) = remove_tree(self.directory.path()) {
            tracing::warn!(%error, "a half unpacked image is not removed");
        }
    }
}

impl Cache {
    /// The one in `directory`, with images of `bound` bytes together, at most. It is made if need be, closed to others.
    /// What processes that have died were at is removed.
    ///
    /// # Errors
    /// If the directory cannot be made or read, or is somebody else's.
    pub fn open(directory: &Path, bound: u64) -> io::Result<Self> {
        crate::private_directory::make(directory)?;
        let cache = Self { directory: directory.canonicalize()?, bound };
        let mut garbage = Vec::new();
        {
            let _names = cache.lock_names()?;
            for entry in fs::read_dir(&cache.directory)? {
                let entry = entry?;
                if entry.file_name().as_encoded_bytes().starts_with(TEMPORARY.as_bytes()) {
                    garbage.extend(unused(entry.path()));
                }
            }
            garbage.extend(cache.evict()?);
        }
        garbage.iter().for_each(Garbage::remove);
        Ok(cache)
    }

    /// Bytes of all images together, at most.
    pub fn bound(&self) -> u64 {
        self.bound
    }

    /// What is kept of the image `digest`.
    pub fn get(&self, digest: ImageDigest) -> io::Result<Option<Root>> {
        let _names = self.lock_names()?;
        let directory = self.directory.join(file_name(digest));
        match File::open(&directory) {
            Ok(lock) => {
                lock.lock_shared()?;
                root(&directory, lock).map(Some)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A place to unpack an image in.
    pub fn stage(&self) -> io::Result<Stage> {
        let _names = self.lock_names()?;
        let directory = tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.directory)?;
        let lock = File::open(directory.path())?;
        lock.try_lock()?;
        Ok(Stage { directory, lock })
    }

    /// Keeps what was unpacked on `stage`, durably, under `digest`, and removes what is too much then.
    pub fn keep(&self, stage: Stage, digest: ImageDigest, about: &About) -> io::Result<Root> {
        stage.own()?;
        fs::write(stage.path().join(ABOUT), serde_json::to_vec(about)?)?;
        sync_all(&stage.lock)?;
        let directory = self.directory.join(file_name(digest));
        let (kept, garbage) = {
            let _names = self.lock_names()?;
            let lock = match fs::rename(stage.path(), &directory) {
                Ok(()) => stage.lock.try_clone()?,
                // Another process was faster.
                Err(_) if directory.is_dir() => File::open(&directory)?,
                Err(error) => return Err(error),
            };
            lock.lock_shared()?;
            (root(&directory, lock)?, self.evict()?)
        };
        sync_dir(&self.directory)?;
        garbage.iter().for_each(Garbage::remove);
        Ok(kept)
    }

    /// Renames what was not used for longest, until the rest fits, for the caller to remove once others may go on. For
    /// whoever has the lock on names.
    fn evict(&self) -> io::Result<Vec<Garbage>> {
        let mut images = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let is_image = path.file_name().is_some_and(|name| name.len() == 64);
            if is_image && path.is_dir() {
                let used = path.join(ABOUT).metadata().and_then(|found| found.modified());
                // What has no such file is none of ours, or damaged: it goes first, and counts as much as there may be.
                let bytes = read_about(&path).map_or(self.bound, |about| about.bytes);
                images.push((used.unwrap_or(SystemTime::UNIX_EPOCH), bytes, path));
            }
        }
        images.sort();
        let mut total = images.iter().fold(0_u64, |sum, (_, bytes, _)| sum.saturating_add(*bytes));
        let mut garbage = Vec::new();
        for (_, bytes, path) in images {
            if total <= self.bound {
                break;
            }
            let Some(Garbage { lock, path }) = unused(path) else { continue };
            // Others may still be removing what they have renamed, in this process and in others.
            let away =
                tempfile::Builder::new().prefix(TEMPORARY).tempdir_in(&self.directory)?.keep();
            fs::rename(&path, &away)?;
            total = total.saturating_sub(bytes);
            garbage.push(Garbage { path: away, lock });
        }
        Ok(garbage)
    }

    fn lock_names(&self) -> io::Result<File> {
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.directory.join(LOCK))?;
        lock.lock()?;
        Ok(lock)
    }
}

/// A directory that nobody else has any more.
struct Garbage {
    path: PathBuf,
    lock: File,
}

impl Garbage {
    fn remove(&self) {
        if let Err(error) = remove_tree(&self.path) {
            // Tried again by whoever opens the cache next.
            tracing::warn!(path = %self.path.display(), %error, "an image is not removed");
        }
        let _ = self.lock.unlock();
    }
}

/// The directory at `path`, if nobody has it.
fn unused(path: PathBuf) -> Option<Garbage> {
    let lock = File::open(&path).ok()?;
    lock.try_lock().ok()?;
    Some(Garbage { path, lock })
}

/// Waits until all of the file system under `file` is on the disk.
#[cfg(target_os = "linux")]
fn sync_all(file: &File) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// Nothing is unpacked there.
#[cfg(not(target_os = "linux"))]
fn sync_all(_: &File) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

fn root(directory: &Path, lock: File) -> io::Result<Root> {
    let about = read_about(directory)?;
    // For the next eviction; without it this image goes before its turn.
    let _ = File::open(directory.join(ABOUT)).and_then(|it| it.set_modified(SystemTime::now()));
    Ok(Root { path: directory.join(ROOT), about, _lock: lock })
}

fn read_about(directory: &Path) -> io::Result<About> {
    Ok(serde_json::from_slice(&fs::read(directory.join(ABOUT))?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(number: u8) -> ImageDigest {
        ImageDigest::from_bytes([number; 32])
    }

    fn open(directory: &Path) -> Cache {
        Cache::open(directory, 100).expect("a cache")
    }

    /// Unpacks an image of `bytes`, which is one file.
    fn keep(cache: &Cache, number: u8, bytes: u64) -> Root {
        let stage = cache.stage().expect("a place");
        fs::create_dir(stage.path().join(ROOT)).expect("made");
        fs::write(stage.path().join(ROOT).join("file"), [number]).expect("written");
        let about = About { bytes, ..About::default() };
        cache.keep(stage, digest(number), &about).expect("kept")
    }

    fn has(cache: &Cache, number: u8) -> bool {
        let root = cache.get(digest(number)).expect("readable");
        root.is_some_and(|root| fs::read(root.path.join("file")).expect("there") == [number])
    }

    /// Names beside the lock.
    fn names(directory: &Path) -> usize {
        fs::read_dir(directory).expect("there").count() - 1
    }

    #[test]
    fn what_is_kept_is_there_after_a_restart_and_what_was_begun_is_not() {
        let directory = tempfile::tempdir().expect("a directory");
        drop(keep(&open(directory.path()), 1, 10));
        // As a process that was killed leaves it.
        fs::create_dir_all(directory.path().join(".tmpAbc/root/deep")).expect("made");

        let cache = open(directory.path());

        assert!(has(&cache, 1) && !has(&cache, 2));
        assert_eq!(names(directory.path()), 1);
    }

    #[test]
    fn what_another_process_is_at_is_left_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = open(directory.path());
        let stage = cache.stage().expect("a place");

        let other = open(directory.path());
        assert!(stage.path().is_dir());
        drop(keep(&other, 1, 10));
        fs::create_dir(stage.path().join(ROOT)).expect("made");
        fs::write(stage.path().join(ROOT).join("file"), [1]).expect("written");
        drop(cache.keep(stage, digest(1), &About::default()).expect("it is there already"));

        assert!(has(&cache, 1));
        assert_eq!(names(directory.path()), 1, "the second one is gone");
    }

    #[test]
    fn what_was_not_used_for_longest_makes_room_and_what_is_in_use_stays() {
        let directory = tempfile::tempdir().expect("a directory");
        let cache = open(directory.path());
        let age = |number: u8, seconds: u64| {
            let about = directory.path().join(file_name(digest(number))).join(ABOUT);
            let then = SystemTime::now() - std::time::Duration::from_secs(seconds);
            File::open(about).and_then(|file| file.set_modified(then)).expect("there");
        };
        let in_use = keep(&cache, 1, 40);
        age(1, 300);
        drop(keep(&cache, 2, 40));
        age(2, 100);
        drop(keep(&cache, 3, 20));
        age(3, 200);

        drop(keep(&cache, 4, 20));

        assert!(in_use.path.is_dir());
        assert_eq!([1, 2, 3, 4].map(|number| has(&cache, number)), [true, true, false, true]);
        drop(in_use);
        age(1, 300);
        drop(keep(&cache, 5, 40));
        assert_eq!([1, 2, 4, 5].map(|number| has(&cache, number)), [false, true, true, true]);
        assert_eq!(names(directory.path()), 3);
    }
}
