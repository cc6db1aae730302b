//! Keys that end: what a project says of a node key that leaked, or of its own.
//!
//! The statements are files in the state directory, of which a running adapter tells its brokers. So
//! it can be done where the project key is, with the adapter running or not.

use std::path::PathBuf;

use capability::statements::Revocation;
use capability::{KeyBook, Payload, PublicKey, Signer, Timestamp, Verified};
use mesh_core::KeyChange;
use mesh_shell::{Exit, Failure, OrExit, Outcome};

use crate::identity::{Identity, project_key};

impl Identity {
    /// Revokes `key`, by default this adapter's, with the project key in `key_file`, by default the
    /// one in the state directory.
    pub fn revoke(
        &self,
        key: Option<PublicKey>,
        reason: String,
        key_file: Option<PathBuf>,
        now: Timestamp,
    ) -> Outcome<KeyChange> {
        self.project()?;
        let signer = project_key(&key_file.unwrap_or_else(|| self.project_key_file()))?;
        let key = key.map_or_else(|| self.node_key().map(|node| node.public()), Ok)?;
        // The longest life is not before the end of any delegation there may be (S71).
        let payload = Revocation { key, reason, expires: now + Revocation::MAX_LIFETIME };
        let revocation = Verified::try_sign(payload, &signer).or_exit(Exit::Usage)?;
        let change = KeyChange::Revocation(revocation);
        self.key_changes().add(&change)?;
        Ok(change)
    }

    /// Whether `change` is about this adapter's key.
    pub fn is_own_node(&self, change: &KeyChange) -> bool {
        let node = self.node_key().map(|node| node.public());
        matches!((change, node), (KeyChange::Revocation(it), Ok(node)) if it.key == node)
    }

    /// Fails if the project has revoked this adapter's key or itself: a delegation would be worth
    /// nothing.
    pub fn refuse_revoked(&self, now: Timestamp) -> Outcome {
        let (project, node) = (self.project()?, self.node_key()?.public());
        let mut book = KeyBook::default();
        for change in self.key_changes().load(now)? {
            if let KeyChange::Revocation(it) = change {
                book.revoke(&it);
            }
        }
        if book.is_void(project.into()) {
            let message = "the project has revoked itself, and has ended";
            return Err(Failure::say(Exit::Input, message)
                .hint("make another one in another --state with `talkoot-master init`"));
        }
        if book.is_void_for(node, project) {
            return Err(Failure::say(Exit::Input, "the key of this adapter was revoked")
                .hint("make a new one with `talkoot-master rotate`"));
        }
        Ok(())
    }
}
