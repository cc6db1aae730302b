//! A list that somebody signs and replaces: found in files, and perhaps told by others, kept in the state
//! directory.
//!
//! Where a list comes from does not matter, since it is signed. So a file may be fetched by whatever
//! the machine's owner likes; it is read again when it changes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use capability::statements::{List, Network};
use capability::{Ed25519, PublicKey, Timestamp, Verified};
use mesh_core::{Listing, NotTaken, Replaced};

use crate::files::{Watch, write_whole};
use crate::link::chain;
use crate::statement_file::{read_statement, statement_text};

/// Lists that are remembered as refused, so that each is named once.
const MAX_REFUSED: usize = 256;

/// A list that can be followed.
pub trait Followed: Replaced + Clone {
    /// What it is, in logs.
    const WHAT: &'static str;

    /// What the curator or founder calls it.
    fn name(&self) -> &str;

    /// What `list` is, in one line for people.
    fn describe(list: &Verified<Self>) -> String;
}

impl Followed for Network {
    const WHAT: &'static str = "network list";

    fn name(&self) -> &str {
        &self.name
    }

    fn describe(list: &Verified<Self>) -> String {
        let (brokers, expires) = (list.brokers.len(), list.expires);
        format!("network {} of {}: {brokers} brokers, until {expires}", list.name, list.signer())
    }
}

impl Followed for List {
    const WHAT: &'static str = "project list";

    fn name(&self) -> &str {
        &self.name
    }

    fn describe(list: &Verified<Self>) -> String {
        let (projects, expires) = (list.projects.len(), list.expires);
        format!("list {} of {}: {projects} projects, until {expires}", list.name, list.signer())
    }
}

/// The newest list that was found, and the search for a newer one.
#[derive(Debug)]
pub struct SignedList<P> {
    listing: Listing<P>,
    files: Vec<(Watch, PathBuf)>,
    kept: PathBuf,
    /// What was refused and said, by where it came from.
    refused: BTreeSet<String>,
}

impl<P: Followed> SignedList<P> {
    /// The list of `signer`: what an earlier run has left in the file `kept`, and what is in `files` now.
    pub fn follow(signer: PublicKey, files: Vec<PathBuf>, kept: PathBuf, now: Timestamp) -> Self {
        let mut listing = Listing::new(signer);
        if kept.exists() {
            match read_list(&kept) {
                Ok(list) => listing.remember(list),
                Err(reason) => {
                    tracing::warn!(file = %kept.display(), reason, "{} not read", P::WHAT);
                }
            }
        }
        let files = files.into_iter().map(|file| (Watch::unseen(file.clone()), file)).collect();
        let mut this = Self { listing, files, kept, refused: BTreeSet::new() };
        this.look(now);
        this
    }

    /// What is known.
    pub fn listing(&self) -> &Listing<P> {
        &self.listing
    }

    /// Reads the files that have changed; says whether there was news in them.
    pub fn look(&mut self, now: Timestamp) -> bool {
        let files = self.files.iter_mut();
        let changed = files.filter_map(|(watch, file)| watch.has_changed().then(|| file.clone()));
        let mut is_news = false;
        for file in changed.collect::<Vec<_>>() {
            let from = file.display().to_string();
            match read_list(&file) {
                Ok(list) => is_news |= self.take(list, &from, now),
                Err(reason) => self.refuse(&from, &reason),
            }
        }
        is_news
    }

    /// Takes what somebody names, and keeps it.
    ///
    /// # Errors
    /// Why it is not taken: it is another's, or does not hold, or a later one is known.
    pub fn take_named(&mut self, list: Verified<P>, now: Timestamp) -> Result<(), NotTaken> {
        if self.listing.take(list.clone(), now)? {
            self.keep(&list);
        }
        Ok(())
    }

    /// Takes what came `from` somewhere; says whether it is news.
    pub(crate) fn take(&mut self, list: Verified<P>, from: &str, now: Timestamp) -> bool {
        let (name, seq, text) = (list.name().to_owned(), list.seq(), P::describe(&list));
        match self.listing.take(list.clone(), now) {
            Ok(false) => false,
            Ok(true) => {
                tracing::info!(name, seq, list = text, from, "{} taken", P::WHAT);
                self.keep(&list);
                true
            }
            Err(error) => {
                self.refuse(from, &chain(&error));
                false
            }
        }
    }

    /// Says so, once.
    fn refuse(&mut self, from: &str, reason: &str) {
        if self.refused.len() >= MAX_REFUSED {
            self.refused.clear();
        }
        if self.refused.insert(format!("{from}: {reason}")) {
            tracing::warn!(from, reason, "{} refused", P::WHAT);
        }
    }

    fn keep(&self, list: &Verified<P>) {
        let text = statement_text(&P::describe(list), list.envelope());
        if let Err(failure) = write_whole(&self.kept, text.as_bytes(), 0o644) {
            tracing::warn!(reason = %failure, "{} not kept", P::WHAT);
        }
    }
}

/// The list in `file`, if it is sound; for people why it is not.
pub fn read_list<P: Followed>(file: &Path) -> Result<Verified<P>, String> {
    let envelope = read_statement(file).map_err(|failure| failure.to_string())?;
    Verified::check(&envelope, &Ed25519).map_err(|error| chain(&error))
}
