//! What a directory tree, and whoever writes to it, uses of a disk.

use std::io;
use std::path::Path;

/// Whether what is in `directory` takes more than `limit` bytes. Directories nested more than 128 deep do.
///
/// # Errors
///
/// What the system says where something cannot be looked at. What vanishes meanwhile is passed over.
pub fn takes_more_than(limit: u64, directory: &Path) -> io::Result<bool> {
    imp::takes_more_than(limit, directory)
}

/// Directories in each other, of which the outermost is the one that is asked about.
const MAX_DEPTH: usize = 128;

/// What a file costs beyond its blocks: an inode and its names, generously, so that empty files run out as well,
/// and names before it takes long to count them.
const ENTRY_BYTES: u64 = 1024;

/// Where nobody sees what has no name any more; that is not counted.
#[cfg(any(not(target_os = "linux"), test))]
mod by_names {
    use std::fs::{self, Metadata, ReadDir};

    use super::{ENTRY_BYTES, MAX_DEPTH, Path, io};

    pub fn takes_more_than(limit: u64, directory: &Path) -> io::Result<bool> {
        let mut bytes = 0_u64;
        let mut levels: Vec<ReadDir> = vec![fs::read_dir(directory)?];
        while let Some(level) = levels.last_mut() {
            let Some(entry) = level.next() else {
                levels.pop();
                continue;
            };
            let path = entry?.path();
            // Not as it stands in its directory, where it can be of before.
            let Some(metadata) = unless_gone(path.symlink_metadata())? else { continue };
            bytes = bytes.saturating_add(ENTRY_BYTES).saturating_add(taken(&metadata));
            if bytes > limit || (metadata.is_dir() && levels.len() >= MAX_DEPTH) {
                return Ok(true);
            }
            if metadata.is_dir() {
                levels.extend(unless_gone(fs::read_dir(&path))?);
            }
        }
        Ok(false)
    }

    fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
        match result {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            result => result.map(Some),
        }
    }

    #[cfg(unix)]
    fn taken(metadata: &Metadata) -> u64 {
        use std::os::unix::fs::MetadataExt;
        metadata.blocks().saturating_mul(512)
    }

    #[cfg(not(unix))]
    fn taken(metadata: &Metadata) -> u64 {
        metadata.len()
    }
}

#[cfg(not(target_os = "linux"))]
use by_names as imp;

#[cfg(target_os = "linux")]
pub use imp::Count;

#[cfg(target_os = "linux")]
mod imp {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::PathBuf;

    use rustix::fs::{AtFlags, CWD, FileType, Stat};
    use rustix::io::Errno;

    use super::{ENTRY_BYTES, MAX_DEPTH, Path, io};
    use crate::processes;
    use crate::walk::{EnterError, Walk};

    pub fn takes_more_than(limit: u64, directory: &Path) -> io::Result<bool> {
        // For the descriptors of the caller, who has others to care for.
        let walk = Walk::open(directory)?.no_deeper_than(MAX_DEPTH);
        let mut count = Count::begin(walk, Box::new(|| Ok(Vec::new())))?;
        while count.bytes() <= limit && count.step()? {}
        Ok(count.bytes() > limit)
    }

    /// Counting in progress: first what has a name, then what only an open descriptor holds.
    pub struct Count {
        walk: Walk,
        device: u64,
        holders: Holders,
        unlinked: Option<Vec<PathBuf>>,
        bytes: u64,
        /// Files with several names or descriptors, which use their blocks once.
        seen: BTreeSet<u64>,
    }

    /// Lists the processes that may hold files open, once the names are counted.
    type Holders = Box<dyn Fn() -> io::Result<Vec<u32>>>;

    impl Count {
        /// Begins to count what `walk` will see, and what `holders` have open.
        pub fn begin(walk: Walk, holders: Holders) -> io::Result<Self> {
            let device = rustix::fs::fstat(walk.root())?.st_dev;
            Ok(Self { walk, device, holders, unlinked: None, bytes: 0, seen: BTreeSet::new() })
        }

        /// What has been counted so far.
        pub fn bytes(&self) -> u64 {
            self.bytes
        }

        /// Counts one thing. Answers whether there was one.
        pub fn step(&mut self) -> io::Result<bool> {
            if let Some(threads) = &mut self.unlinked {
                let Some(thread) = threads.pop() else { return Ok(false) };
                self.add_unlinked(&thread)?;
                return Ok(true);
            }
            let Some(entry) = self.walk.next_entry()? else {
                let holders = (self.holders)()?;
                self.unlinked = Some(holders.into_iter().flat_map(processes::threads).collect());
                return Ok(true);
            };
            self.add_bytes(ENTRY_BYTES);
            self.add_blocks(&entry.stat);
            match self.walk.enter(&entry) {
                Ok(()) => {}
                // What cannot be counted is not permitted.
                Err(EnterError::Nested) => self.bytes = u64::MAX,
                Err(EnterError::Failed(failure)) => return Err(failure),
            }
            Ok(true)
        }

        /// Adds the files that `thread` holds open but that have no name any more.
        fn add_unlinked(&mut self, thread: &Path) -> io::Result<()> {
            let descriptors = match fs::read_dir(thread.join("fd")) {
                Ok(descriptors) => descriptors,
                // The files of a thread that ends are nobody's, and then nobody may look at them.
                Err(_) if processes::living_status(thread).is_none() => return Ok(()),
                Err(failure) => return Err(failure),
            };
            for descriptor in descriptors.flatten() {
                let stat = match rustix::fs::statat(CWD, descriptor.path(), AtFlags::empty()) {
                    Ok(stat) => stat,
                    Err(Errno::NOENT) => continue,
                    Err(_) if processes::living_status(thread).is_none() => return Ok(()),
                    Err(failure) => return Err(failure.into()),
                };
                let is_unlinked = stat.st_dev == self.device && stat.st_nlink == 0;
                if is_unlinked && self.seen.insert(stat.st_ino) {
                    self.add_bytes(ENTRY_BYTES + blocks(&stat));
                }
            }
            Ok(())
        }

        fn add_blocks(&mut self, stat: &Stat) {
            let directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            if directory || stat.st_nlink == 1 || self.seen.insert(stat.st_ino) {
                self.add_bytes(blocks(stat));
            }
        }

        fn add_bytes(&mut self, bytes: u64) {
            self.bytes = self.bytes.saturating_add(bytes);
        }
    }

    fn blocks(stat: &Stat) -> u64 {
        u64::try_from(stat.st_blocks).unwrap_or(0).saturating_mul(512)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_name_adds_up() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["a", "b"] {
            std::fs::write(directory.path().join(name), [1; 100_000]).unwrap();
        }
        for way in [takes_more_than, by_names::takes_more_than] {
            let exceeds = |limit| way(limit, directory.path()).unwrap();
            assert!(exceeds(190_000) && !exceeds(300_000));
        }
    }

    #[test]
    fn a_nest_too_deep_for_the_caller_is_too_much() {
        let directory = tempfile::tempdir().unwrap();
        let nest = |levels| directory.path().join(vec!["d"; levels].join("/"));
        let both = [takes_more_than, by_names::takes_more_than];
        std::fs::create_dir_all(nest(127)).unwrap();
        assert_eq!(both.map(|way| way(1 << 30, directory.path()).unwrap()), [false; 2]);

        std::fs::create_dir_all(nest(128)).unwrap();
        assert_eq!(both.map(|way| way(1 << 30, directory.path()).unwrap()), [true; 2]);
    }
}
