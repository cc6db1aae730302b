//! Checkpoints that were taken out of jobs, and what the next process must know of them: a directory for each
//! lease, closed to jobs.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use capability::{StatementId, Timestamp};
use mesh_shell::access;
use mesh_store::sync_dir;
use serde::{Deserialize, Serialize};
use volunteer_sandbox::remove_tree;

/// How often a job goes on from one checkpoint: what brings the machine down each time must not do so for ever.
const MAX_TRIES: u32 = 3;

/// The state itself, as the job wrote it.
const STATE: &str = "state";
/// What [`Attempts`] says, in JSON.
const ATTEMPTS: &str = "attempts.json";
/// Bytes of that file; it has a hundredth.
const MAX_ATTEMPTS: u64 = 4096;

/// All that are kept.
#[derive(Debug, Clone)]
pub struct Checkpoints {
    directory: PathBuf,
}

/// What is kept of one lease.
#[derive(Debug, Clone)]
pub struct Kept {
    directory: PathBuf,
}

/// What has been tried under a lease so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempts {
    /// When the first one began.
    pub started: Timestamp,
    /// Time that all of them took together, pauses not counted, in milliseconds.
    #[serde(default)]
    pub spent_ms: u64,
    /// Fuel that the steps of all of them took, as far as these have ended: of one that is interrupted nobody knows.
    #[serde(default)]
    pub fuel: u64,
    /// How many went on from a checkpoint.
    #[serde(default)]
    pub resumed: u32,
    /// How many of these from the checkpoint that is kept now.
    #[serde(default)]
    pub tries: u32,
}

impl Checkpoints {
    /// Those in `directory`, which is made if need be.
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn open(directory: PathBuf) -> io::Result<Self> {
        access::create_directories(&directory, 0o700)?;
        Ok(Self { directory })
    }

    /// What is kept of `lease`.
    pub fn of(&self, lease: StatementId) -> Kept {
        Kept { directory: self.directory.join(lease.to_string()) }
    }

    /// Removes what is kept of leases other than `wanted`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn keep(&self, wanted: &[StatementId]) -> io::Result<()> {
        let wanted: Vec<_> = wanted.iter().map(|lease| self.of(*lease).directory).collect();
        for entry in std::fs::read_dir(&self.directory)? {
            let path = entry?.path();
            if !wanted.contains(&path) {
                remove_tree(&path)?;
            }
        }
        Ok(())
    }
}

impl Kept {
    /// Whether there is a checkpoint to go on from.
    pub fn is_of_use(&self) -> bool {
        let tried = self.attempts().is_some_and(|attempts| attempts.tries >= MAX_TRIES);
        self.is_there() && !tried
    }

    fn is_there(&self) -> bool {
        self.directory.join(STATE).is_file()
    }

    /// Begins another attempt at `now`, and makes that durable if there is a checkpoint to go on from.
    ///
    /// # Errors
    /// What the file system says.
    pub fn begin(&self, now: Timestamp) -> io::Result<Attempts> {
        let fresh = Attempts::first(now);
        if !self.is_of_use() {
            self.remove()?;
            return Ok(fresh);
        }
        let former = self.attempts().unwrap_or(fresh);
        let (resumed, tries) = (former.resumed.saturating_add(1), former.tries.saturating_add(1));
        let attempts = Attempts { resumed, tries, ..former };
        self.note(&attempts)?;
        Ok(attempts)
    }

    /// Makes `attempts` durable, if there is a checkpoint to go on from.
    ///
    /// # Errors
    /// What the file system says.
    pub fn note(&self, attempts: &Attempts) -> io::Result<()> {
        if !self.is_there() {
            return Ok(());
        }
        let text = serde_json::to_vec(attempts).expect("numbers only");
        self.replace(ATTEMPTS, text.as_slice(), text.len() as u64)
    }

    /// Keeps the first `size` bytes of `state` in place of what was kept before, durably: the one or the other is there
    /// at any moment.
    ///
    /// # Errors
    /// What the file system says; `UnexpectedEof` if there are fewer.
    pub fn store(&self, state: impl Read, size: u64) -> io::Result<()> {
        access::create_directories(&self.directory, 0o700)?;
        if let Some(parent) = self.directory.parent() {
            sync_dir(parent)?;
        }
        self.replace(STATE, state, size)
    }

    /// Puts what is kept into the new file `to`.
    ///
    /// # Errors
    /// What the file system says.
    pub fn restore(&self, to: &Path) -> io::Result<()> {
        let mut state = File::open(self.directory.join(STATE))?;
        io::copy(&mut state, &mut File::create_new(to)?).map(drop)
    }

    /// Removes all of it.
    ///
    /// # Errors
    /// What the file system says.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.directory)
    }

    fn attempts(&self) -> Option<Attempts> {
        let mut text = Vec::new();
        let file = File::open(self.directory.join(ATTEMPTS)).ok()?;
        file.take(MAX_ATTEMPTS).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    fn replace(&self, name: &str, content: impl Read, size: u64) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.directory)?;
        if io::copy(&mut content.take(size), &mut file)? < size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.flush()?;
        file.as_file().sync_all()?;
        file.persist(self.directory.join(name)).map_err(|error| error.error)?;
        sync_dir(&self.directory)
    }
}

impl Attempts {
    /// The first one, which begins at `now`.
    pub fn first(now: Timestamp) -> Self {
        Self { started: now, spent_ms: 0, fuel: 0, resumed: 0, tries: 0 }
    }

    /// What is left of `all`.
    pub fn left(&self, all: Duration) -> Duration {
        all.saturating_sub(Duration::from_millis(self.spent_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: StatementId = StatementId::from_bytes([7; 32]);

    fn opened() -> (tempfile::TempDir, Checkpoints) {
        let directory = tempfile::tempdir().expect("a directory");
        let checkpoints = Checkpoints::open(directory.path().join("checkpoints")).expect("made");
        (directory, checkpoints)
    }

    #[test]
    fn what_is_kept_is_the_last_whole_one() {
        let (directory, checkpoints) = opened();
        let kept = checkpoints.of(LEASE);
        assert!(!kept.is_of_use());
        kept.store(&b"first"[..], 5).expect("stored");
        kept.store(&b"second"[..], 6).expect("stored");
        kept.store(&b"torn"[..], 100).expect_err("there is less");

        let to = directory.path().join("state");
        kept.restore(&to).expect("kept");
        assert_eq!(std::fs::read(&to).expect("there"), b"second");
        kept.restore(&to).expect_err("nothing is overwritten");
        checkpoints.keep(&[LEASE]).expect("looked");
        assert!(kept.is_of_use());
        checkpoints.keep(&[]).expect("removed");
        assert!(!kept.is_of_use());
    }

    #[test]
    fn attempts_add_up_and_one_checkpoint_is_tried_three_times() {
        let (_directory, checkpoints) = opened();
        let kept = checkpoints.of(LEASE);
        let first = kept.begin(Timestamp(5)).expect("nothing is kept");
        assert_eq!((first.started, first.resumed), (Timestamp(5), 0));
        kept.store(&b"state"[..], 5).expect("stored");
        kept.note(&Attempts { spent_ms: 1_500, fuel: 70, ..first }).expect("noted");

        let second = kept.begin(Timestamp(9)).expect("kept");
        assert_eq!((second.started, second.resumed), (Timestamp(5), 1));
        assert_eq!(second.left(Duration::from_secs(2)), Duration::from_millis(500));
        assert_eq!(second.fuel, 70);
        for _ in 0..2 {
            assert!(kept.is_of_use());
            kept.begin(Timestamp(9)).expect("kept");
        }
        assert!(!kept.is_of_use());
        let anew = kept.begin(Timestamp(9)).expect("removed");
        assert_eq!(anew, Attempts::first(Timestamp(9)));
    }
}
