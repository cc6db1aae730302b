//! The state of a daemon that does not run, to be looked at.

use std::path::Path;
use std::sync::Arc;

use capability::{Ed25519, Signer};
use mesh_shell::{Exit, Failure, Outcome, Storage, key_file, store_in};
use volunteer_core::{Identity, Volunteer};

use crate::daemon::{encryption_key, key_path, sealer};

/// See the module. No daemon starts meanwhile, and nothing is changed.
pub struct Resting {
    /// What the next daemon will know.
    pub core: Volunteer,
    /// Where it is.
    pub storage: Storage,
}

impl Resting {
    /// What is in the state directory `state`, if there is anything.
    ///
    /// # Errors
    /// If a daemon has it, although it may not answer, or it cannot be read.
    pub fn find(state: &Path) -> Outcome<Option<Self>> {
        if !store_in(state).is_dir() {
            return Ok(None);
        }
        need_same_user(state)?;
        // Nothing is added to the blobs.
        let storage = Storage::open(state, 0).map_err(|error| {
            Failure::say(
                Exit::State,
                format!("no daemon answers, and what it has kept cannot be read: {error}"),
            )
        })?;
        let signer: Arc<dyn Signer> = Arc::new(key_file::load(&key_path(state))?);
        let encryption = encryption_key(state)?.public();
        let identity = Identity { signer, encryption, sealer: Arc::new(sealer()?) };
        let core = Volunteer::restore(identity, storage.records()?, &Ed25519)
            .map_err(|error| Failure::new(Exit::State, error))?;
        Ok(Some(Self { core, storage }))
    }
}

impl Drop for Resting {
    fn drop(&mut self) {
        self.storage.close();
    }
}

/// Whoever opens a store may leave files of his own in it, which the daemon could not write to then.
#[cfg(unix)]
fn need_same_user(state: &Path) -> Outcome {
    use std::os::unix::fs::MetadataExt;
    let is_other = |found: std::fs::Metadata| found.uid() != rustix::process::geteuid().as_raw();
    if std::fs::metadata(state).is_ok_and(is_other) {
        let message = format!("no daemon answers, and {} is another user's", state.display());
        return Err(Failure::say(Exit::State, message)
            .hint("say it as that user, or start the daemon: talkoot-volunteer run"));
    }
    Ok(())
}

#[cfg(not(unix))]
fn need_same_user(_state: &Path) -> Outcome {
    Ok(())
}
