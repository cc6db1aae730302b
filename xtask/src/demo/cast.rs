//! Who is who: names for keys, and for offers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result};
use capability::{SecretKey, Signer};
use data_encoding::HEXLOWER;

/// Names by the short form of a key or offer.
#[derive(Debug, Default)]
pub struct Cast(Mutex<BTreeMap<String, String>>);

impl Cast {
    /// Learns the key of the process `name`, whose state directory is `state`.
    pub fn introduce(&self, name: &str, state: &Path) -> Result<()> {
        let file = state.join("node.key");
        let text = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let seed = text.split_whitespace().last().unwrap_or_default();
        let seed = HEXLOWER.decode(seed.as_bytes()).ok().and_then(|seed| seed.try_into().ok());
        let seed = seed.with_context(|| format!("{} is no key file", file.display()))?;
        self.name(&SecretKey::from_seed(&seed).public().short(), name);
        Ok(())
    }

    /// From now on `short` is called `name`.
    pub fn name(&self, short: &str, name: &str) {
        let mut names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.insert(short.to_owned(), name.to_owned());
    }

    /// The name, or what was asked for.
    pub fn of(&self, short: &str) -> String {
        let names = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.get(short).cloned().unwrap_or_else(|| short.to_owned())
    }
}
