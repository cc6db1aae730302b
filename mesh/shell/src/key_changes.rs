//! Revocations and successions in the state directory, for brokers to know: a file each.
//!
//! The files are what is durable. Whoever runs the daemon may add one by hand, or take one back as
//! long as no broker has heard of it.

use std::cmp::Reverse;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use capability::statements::Revocation;
use capability::{Ed25519, Payload, StatementError, Timestamp, Verified};
use mesh_core::{Declared, KeyChange, MAX_KEY_CHANGE_BYTES};
use tokio::time::{Instant, Interval};

use crate::exit::{Exit, Failure, OrExit, Outcome};
use crate::files::write_whole;
use crate::link::chain;
use crate::statement_file::{read_statement, statement_text};

/// How long a key change is signed for: the longest life, less a day. Who signs may have a clock that is
/// ahead, and whoever has a right one takes nothing that lives longer than the longest.
pub const KEY_CHANGE_LIFETIME: Duration =
    Revocation::MAX_LIFETIME.saturating_sub(Duration::from_secs(24 * 60 * 60));

/// How often the files are read again, though none has changed: time alone makes some hold.
const READ_AGAIN: Duration = Duration::from_secs(60 * 60);

/// Statements that are told at most. Brokers keep 64 revocations and two successions of one signer.
const MAX_TOLD: usize = 256;

/// Logs what a broker has made of a key change that it was told of.
pub fn log_declared(declared: &Declared) {
    let (statement, peer) = (declared.change.short(), declared.broker.short());
    match &declared.kept {
        Ok(()) => tracing::info!(statement, peer, "key change declared"),
        Err(reason) => tracing::warn!(statement, peer, reason, "key change not declared"),
    }
}

/// The folder.
#[derive(Debug, Clone)]
pub struct KeyChanges {
    folder: PathBuf,
}

impl KeyChanges {
    /// The folder in the state directory `state`; it need not be there.
    pub fn in_state(state: &Path) -> Self {
        Self { folder: state.join("key-changes") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    /// Adds `change`; gives its file.
    ///
    /// # Errors
    /// If brokers would not keep it, or the disk does not take it.
    pub fn add(&self, change: &KeyChange) -> Outcome<PathBuf> {
        let size = change.envelope().as_bytes().len();
        if size > MAX_KEY_CHANGE_BYTES {
            let message = format!("the statement has {size} bytes");
            return Err(Failure::say(Exit::Input, message)
                .hint(format!("brokers keep {MAX_KEY_CHANGE_BYTES} at most; give fewer reasons")));
        }
        let path = self.folder.join(format!("{}.statement", change.id().short()));
        let text = statement_text(&describe_key_change(change), change.envelope());
        write_whole(&path, text.as_bytes(), 0o644)?;
        Ok(path)
    }

    /// Those that hold at `now`, the longest first. What cannot be used is warned of and passed over: a
    /// stray file must not keep a revocation from being told.
    pub fn load(&self, now: Timestamp) -> Outcome<Vec<KeyChange>> {
        let files = self
            .files()
            .with_context(|| format!("cannot look into {}", self.folder.display()))
            .or_exit(Exit::State)?;
        let mut changes = Vec::new();
        for path in files {
            let shown = path.display();
            match read(&path).map(|change| (change.current(now), change)) {
                Ok((Ok(()), change)) => changes.push(change),
                Ok((Err(StatementError::Expired { .. }), _)) => {
                    tracing::debug!(path = %shown, "key change is over");
                }
                Ok((Err(error), _)) => {
                    tracing::warn!(path = %shown, reason = %chain(&error), "key change not told yet");
                }
                Err(failure) => {
                    tracing::warn!(path = %shown, reason = %failure, "key change not read");
                }
            }
        }
        changes.sort_by_key(|change| Reverse(change.expires()));
        if changes.len() > MAX_TOLD {
            let left_out = changes.len() - MAX_TOLD;
            tracing::warn!(
                left_out,
                "there are too many key changes, those that end first are not told"
            );
            changes.truncate(MAX_TOLD);
        }
        Ok(changes)
    }

    /// Their paths, in the order of the names.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut files = Vec::new();
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|it| it == "statement") {
                files.push(path);
            }
        }
        files.sort();
        Ok(files)
    }
}

fn read(path: &Path) -> Outcome<KeyChange> {
    let envelope = read_statement(path)?;
    KeyChange::check(&envelope, &Ed25519).map_err(|error| Failure::say(Exit::Input, chain(&error)))
}

/// When the files are read again, though none has changed; not at once.
pub fn key_change_readings() -> Interval {
    tokio::time::interval_at(Instant::now() + READ_AGAIN, READ_AGAIN)
}

/// What `change` says, in a line for people.
pub fn describe_key_change(change: &KeyChange) -> String {
    let (signer, expires) = (change.signer(), change.expires());
    match change {
        KeyChange::Revocation(it) => {
            format!("{} is void, says {}; until {expires}", it.key, by(it))
        }
        KeyChange::Succession(it) => {
            format!("{signer} is followed by {}; until {expires}", it.successor)
        }
    }
}

fn by(revocation: &Verified<Revocation>) -> String {
    if revocation.key == revocation.signer() {
        "the key itself".to_owned()
    } else {
        revocation.signer().to_string()
    }
}

#[cfg(test)]
mod tests {
    use capability::{SecretKey, Signer};

    use super::*;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn revocation(seed: u8, seconds: u64) -> KeyChange {
        let key = SecretKey::from_seed(&[seed; 32]);
        let expires = NOW + Duration::from_secs(seconds);
        let payload = Revocation { key: key.public(), reason: String::new(), expires };
        KeyChange::Revocation(Verified::sign(payload, &key))
    }

    #[test]
    fn key_changes_are_kept_until_they_expire_and_stray_files_do_no_harm() {
        let state = tempfile::tempdir().expect("a directory");
        let folder = KeyChanges::in_state(state.path());
        assert_eq!(folder.load(NOW).expect("nothing there"), []);
        folder.add(&revocation(1, 3600)).expect("written");
        folder.add(&revocation(1, 3600)).expect("written");
        folder.add(&revocation(2, 60)).expect("written");
        std::fs::write(folder.path().join("stray.statement"), "garbage").expect("written");
        std::fs::write(folder.path().join("notes.txt"), "garbage").expect("written");

        assert_eq!(folder.load(NOW).expect("read").len(), 2);
        let later = NOW + Duration::from_secs(1800);
        assert_eq!(folder.load(later).expect("read"), [revocation(1, 3600)]);
    }

    #[test]
    fn dead_files_take_no_room_from_what_holds_and_of_that_the_longest_is_told() {
        let state = tempfile::tempdir().expect("a directory");
        let folder = KeyChanges::in_state(state.path());
        let lives = 3600..3600 + MAX_TOLD as u64;
        let live: Vec<_> = lives.rev().map(|seconds| revocation(1, seconds)).collect();
        let dead = (0..100).map(|seconds| revocation(2, seconds));
        for change in dead.chain(live.iter().cloned()) {
            folder.add(&change).expect("written");
        }
        let now = NOW + Duration::from_secs(1800);
        assert_eq!(folder.load(now).expect("read"), live);

        let (longest, shortest) = (revocation(3, 100_000), revocation(3, 3599));
        folder.add(&longest).expect("written");
        folder.add(&shortest).expect("written");
        let told = folder.load(now).expect("read");
        assert_eq!((told.len(), &told[0]), (MAX_TOLD, &longest));
        assert!(!told.contains(&shortest) && !told.contains(&live[MAX_TOLD - 1]));
    }

    #[test]
    fn a_change_from_a_clock_that_is_ahead_is_told_once_it_holds() {
        let state = tempfile::tempdir().expect("a directory");
        let folder = KeyChanges::in_state(state.path());
        let day = Duration::from_secs(24 * 60 * 60);
        let of_tomorrow = revocation(1, (Revocation::MAX_LIFETIME + day).as_secs());
        folder.add(&of_tomorrow).expect("written");
        assert_eq!(folder.load(NOW).expect("read"), []);
        assert_eq!(folder.load(NOW + day).expect("read"), [of_tomorrow]);
    }
}
