//! Whose machine this is: `ownership.statement` in the state directory, as an owner key signed it.
//!
//! The file has the form in which owners carry statements about, so that one may also copy it there.

use std::path::{Path, PathBuf};

use anyhow::Context;
use capability::statements::Ownership;
use capability::{Ed25519, Verified};
use mesh_shell::{Exit, OrExit, Outcome, read_statement, statement_text, write_whole};

/// The file.
#[derive(Debug)]
pub struct Ownerships {
    path: PathBuf,
}

impl Ownerships {
    /// The one in the state directory `state`; it need not be there.
    pub fn in_state(state: &Path) -> Self {
        Self { path: state.join("ownership.statement") }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it says, if anything. Whether that holds, and is about this machine, is not asked here.
    pub fn load(&self) -> Outcome<Option<Verified<Ownership>>> {
        let there = self.path.try_exists();
        let shown = || format!("cannot use {}", self.path.display());
        if !there.with_context(shown).or_exit(Exit::State)? {
            return Ok(None);
        }
        let envelope = read_statement(&self.path)?;
        Verified::check(&envelope, &Ed25519).with_context(shown).or_exit(Exit::Input).map(Some)
    }

    /// Replaces it.
    pub fn save(&self, ownership: &Verified<Ownership>) -> Outcome {
        let text = statement_text(&describe(ownership), ownership.envelope());
        write_whole(&self.path, text.as_bytes(), 0o644)
    }
}

/// What `ownership` says, in a line for people.
pub fn describe(ownership: &Verified<Ownership>) -> String {
    let nodes: Vec<_> = ownership.nodes.iter().map(ToString::to_string).collect();
    let (owner, expires) = (ownership.signer(), ownership.expires);
    format!("{owner} owns {}; until {expires}", nodes.join(", "))
}
