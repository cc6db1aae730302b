//! Keys that end and keys that follow: of this adapter, and of the project.
//!
//! The statements are files in the state directory, of which a running adapter tells its brokers. So
//! they can be made where the project key is, with the adapter running or not. Whatever is done here in
//! several steps can be done again if it was cut off.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use capability::statements::{Revocation, Succession};
use capability::{Ed25519, KeyBook, ProjectKey, PublicKey, SecretKey, Signer, Timestamp, Verified};
use master_core::standing_offers;
use mesh_core::KeyChange;
use mesh_shell::{
    Exit, Failure, KEY_CHANGE_LIFETIME, OrExit, Outcome, Storage, escape_line, key_file,
};

use crate::identity::{Identity, project_key};

/// Names of jobs that are told at most.
const MAX_NAMES: usize = 3;

/// What a new node key comes to.
pub struct Rotated {
    /// The key that is void.
    pub former: PublicKey,
    /// The key that takes its place.
    pub node: PublicKey,
    /// Until when it may speak for the project.
    pub expires: Timestamp,
}

/// What a new project key comes to.
pub struct Heir {
    /// The key that has passed on.
    pub former: ProjectKey,
    /// The key that follows.
    pub project: ProjectKey,
    /// Where the former secret key is now.
    pub kept: PathBuf,
}

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
        let key = key.map_or_else(|| self.delegate_key(), Ok)?;
        self.revoke_by(&signer, key, reason, now)
    }

    fn revoke_by(
        &self,
        signer: &SecretKey,
        key: PublicKey,
        reason: String,
        now: Timestamp,
    ) -> Outcome<KeyChange> {
        let payload = Revocation { key, reason, expires: now + KEY_CHANGE_LIFETIME };
        let revocation = Verified::try_sign(payload, signer).or_exit(Exit::Usage)?;
        let change = KeyChange::Revocation(revocation);
        self.key_changes().add(&change)?;
        Ok(change)
    }

    /// Makes a new node key, with a delegation to it, and revokes the former one. The registration keeps
    /// its checks: where the keys are the configuration may not be.
    pub fn rotate(&self, reason: String, now: Timestamp) -> Outcome<Rotated> {
        let registration = self.registration()?;
        let project = self.key_of(&registration)?;
        let book = self.key_book(now)?;
        refuse_ended(&book, project.public())?;
        let former = self.delegate_key()?;
        let fresh = self.state().join("node-new.key");
        let node = key_file::load_or_create(&fresh)?.public();
        // Before the key is replaced: it could not be named afterwards.
        if !book.is_void_for(former, project.public()) {
            self.revoke_by(&project, former, reason, now)?;
        }
        rename(&fresh, &self.node_key_file())?;
        self.retire_encryption_key()?;
        let expires = self.delegate_by(&project, &registration, now)?;
        Ok(Rotated { former, node, expires })
    }

    /// Makes a new project key that follows the present one, and signs registration and delegation
    /// with it. The registration keeps its checks.
    pub fn pass_on(&self, now: Timestamp) -> Outcome<Heir> {
        let former = project_key(&self.project_key_file())?;
        let kept = self.state().join(format!("project-{}.key", former.public().short()));
        let fresh = self.state().join("project-new.key");
        // Unless only the last step is left, of a former try.
        let is_signed =
            fresh.exists() && key_file::load(&fresh)?.public() == self.registration()?.signer();
        if !is_signed {
            self.sign_heir(&fresh, &kept, now)?;
        }
        rename(&fresh, &self.project_key_file())?;
        Ok(Heir { former: former.public().into(), project: self.project()?, kept })
    }

    /// All of it but that the key in `fresh` takes the place of the former one.
    fn sign_heir(&self, fresh: &Path, kept: &Path, now: Timestamp) -> Outcome {
        let registration = self.registration()?;
        let former = self.key_of(&registration)?;
        self.refuse_revoked(now)?;
        self.refuse_standing_offers(now)?;
        let heir = key_file::load_or_create(fresh)?;
        let expires = now + KEY_CHANGE_LIFETIME;
        let succession = Succession { successor: heir.public(), expires };
        let succession = KeyChange::Succession(Verified::sign(succession, &former));
        self.key_changes().add(&succession)?;
        key_file::copy(&self.project_key_file(), kept)?;
        self.delegate_by(&heir, &registration, now).map(drop)
    }

    /// Fails if the store has jobs that are not over, or of whose end the home does not know. They are
    /// the former project's: nobody could judge their results or withdraw them any more.
    fn refuse_standing_offers(&self, now: Timestamp) -> Outcome {
        if !self.state().join("store").exists() {
            return Ok(());
        }
        let storage = Storage::open(self.state(), u64::MAX)
            .map_err(|failure| failure.hint("stop the adapter first, if it runs"))?;
        let found = storage.records().map(|records| standing_offers(&records, &Ed25519, now));
        storage.close();
        let found = found?.context("cannot read the records of jobs").or_exit(Exit::State)?;
        if found.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = found.iter().take(MAX_NAMES).map(|it| escape_line(&it.name)).collect();
        let more = if found.len() > MAX_NAMES { ", …" } else { "" };
        let (number, names) = (found.len(), names.join(", "));
        let message = format!(
            "jobs are open, or their home does not know yet that they are over, {number} in all: \
             {names}{more}"
        );
        Err(Failure::say(Exit::Input, message).hint(
            "start the adapter, wait until they are done or `talkoot-master cancel` them, and stop it \
             once its log says of each that it is `withdrawn`",
        ))
    }

    /// What revocations in the state directory add up to.
    fn key_book(&self, now: Timestamp) -> Outcome<KeyBook> {
        let mut book = KeyBook::default();
        for change in self.key_changes().load(now)? {
            if let KeyChange::Revocation(it) = change {
                book.revoke(&it);
            }
        }
        Ok(book)
    }

    /// Whether `change` is about this adapter's key.
    pub fn is_own_node(&self, change: &KeyChange) -> bool {
        let node = self.delegate_key();
        matches!((change, node), (KeyChange::Revocation(it), Ok(node)) if it.key == node)
    }

    /// The key that may sign, also when its file was lost.
    fn delegate_key(&self) -> Outcome<PublicKey> {
        Ok(self.delegation()?.node)
    }

    /// Fails if the project has revoked this adapter's key or itself: a delegation would be worth
    /// nothing.
    pub fn refuse_revoked(&self, now: Timestamp) -> Outcome {
        let (project, book) = (self.project()?, self.key_book(now)?);
        refuse_ended(&book, project.into())?;
        // Where there is no key one will be made.
        let is_void =
            self.node_key_file().exists() && book.is_void_for(self.node_key()?.public(), project);
        if is_void {
            return Err(Failure::say(Exit::Input, "the key of this adapter was revoked")
                .hint("make a new one with `talkoot-master rotate`"));
        }
        Ok(())
    }
}

/// Fails if `project` has revoked itself: no key that it names would count.
fn refuse_ended(book: &KeyBook, project: PublicKey) -> Outcome {
    if book.is_void(project) {
        let message = "the project has revoked itself, and has ended";
        return Err(Failure::say(Exit::Input, message)
            .hint("make another one in another --state with `talkoot-master init`"));
    }
    Ok(())
}

fn rename(from: &Path, to: &Path) -> Outcome {
    fs::rename(from, to)
        .with_context(|| format!("cannot rename {} to {}", from.display(), to.display()))
        .or_exit(Exit::State)
}
