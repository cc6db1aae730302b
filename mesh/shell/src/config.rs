//! Configuration: a TOML file, then `TALKOOT_…` variables, then flags; the later wins.
//!
//! Variables and flags are clap's; a daemon's arguments are `Option`s that it lays over what
//! [`load`] read.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::de::DeserializeOwned;

use crate::dirs;
use crate::exit::{Exit, Failure, OrExit, Outcome};

/// A longer configuration is a mistake, such as the name of a log file.
const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Reads the configuration of `role` from `path`, or from its usual place if there is a file.
///
/// A path that was given must exist; the usual place may be empty, and then all is default.
pub fn load<T: DeserializeOwned + Default>(role: &str, path: Option<&Path>) -> Outcome<T> {
    let usual = dirs::default_config(role)?;
    let (path, required) = match path {
        Some(path) => (path.to_path_buf(), true),
        None => (usual, false),
    };
    if !required && !path.exists() {
        return Ok(T::default());
    }
    read(&path)
}

fn read<T: DeserializeOwned>(path: &Path) -> Outcome<T> {
    let shown = path.display();
    let size = std::fs::metadata(path)
        .with_context(|| format!("cannot read the configuration {shown}"))
        .or_exit(Exit::Input)?
        .len();
    if size > MAX_CONFIG_BYTES {
        let message = format!("the configuration {shown} has {size} bytes");
        return Err(Failure::say(Exit::Input, message).hint("at most 1 MiB is read"));
    }
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the configuration {shown}"))
        .or_exit(Exit::Input)?;
    toml::from_str(&text).map_err(|error| {
        let place = error.span().map(|span| line_of(&text, span.start));
        let place = place.map_or_else(String::new, |line| format!(":{line}"));
        let message = format!("{shown}{place}: {}", error.message().replace('\n', " "));
        Failure::say(Exit::Input, message).hint("fields and units are documented in docs/operating")
    })
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// The state directory: `given`, or the role's usual one.
pub fn state_dir(role: &str, given: Option<&Path>) -> Outcome<PathBuf> {
    given.map_or_else(|| dirs::default_state(role), |given| Ok(given.to_path_buf()))
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Example {
        cores: u32,
    }

    fn load_text(text: &str) -> Outcome<Example> {
        let file = tempfile::NamedTempFile::new().expect("a temporary file");
        std::fs::write(file.path(), text).expect("written");
        load("broker", Some(file.path()))
    }

    #[test]
    fn an_unknown_field_is_named_with_its_line() {
        let failure = load_text("cores = 1\ncroes = 2\n").expect_err("unknown field");
        assert_eq!(failure.exit(), Exit::Input);
        assert!(failure.to_string().contains(":2: unknown field `croes`"), "{failure}");
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let missing = load::<Example>("broker", Some(Path::new("/nonexistent/broker.toml")));
        assert_eq!(missing.expect_err("no such file").exit(), Exit::Input);
        assert_eq!(load_text("cores = 3").expect("sound"), Example { cores: 3 });
    }
}
