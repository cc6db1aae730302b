//! Configuration: a TOML file, then `TALKOOT_…` variables, then flags; the later wins.
//!
//! Variables and flags are clap's; a daemon's arguments are `Option`s that it lays over what
//! [`load`] read.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use capability::{QuantityError, format_bytes, parse_bytes, parse_duration};
use clap::Args;
use serde::de::{self, DeserializeOwned};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::dirs;
use crate::exit::{Exit, Failure, Outcome};
use crate::files::read_text;
use crate::logs::LogArgs;

/// A longer configuration is a mistake, such as the name of a log file.
const MAX_CONFIG_BYTES: usize = 1 << 20;

/// The flags that every command of every program has.
#[derive(Debug, Clone, Args)]
pub struct CommonArgs {
    /// Configuration file. Default: broker.toml, master.toml or volunteer.toml in /etc/talkoot for
    /// root, else in $XDG_CONFIG_HOME/talkoot.
    #[arg(long, env = "TALKOOT_CONFIG", global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// State directory: keys and everything that must outlive the program. Default: broker, master
    /// or volunteer in /var/lib/talkoot for root, else in $XDG_STATE_HOME/talkoot.
    #[arg(long, env = "TALKOOT_STATE", global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Logs.
    #[command(flatten)]
    pub logs: LogArgs,
}

/// A number of bytes as people write it: `"2 GiB"`, or a bare number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_bytes(text).map(Self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected an amount of bytes, such as \"2 GiB\"")]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(Self(bytes)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

/// In words where these are exact.
impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words = format_bytes(self.0);
        match parse_bytes(&words) {
            Ok(bytes) if bytes == self.0 => serializer.serialize_str(&words),
            _ => serializer.serialize_u64(self.0),
        }
    }
}

/// A span of time, as in `"90s"` or `"2m"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span(pub Duration);

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        parse_duration(text).map(Self)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(self.0))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_duration(&text).map(Self).map_err(de::Error::custom)
    }
}

/// Reads the configuration of `role` from `path`, or from its usual place if there is a file.
///
/// A path that was given must exist; the usual place may be empty, and then all is default.
pub fn load<T: DeserializeOwned + Default>(role: &str, path: Option<&Path>) -> Outcome<T> {
    File::find(role, path)?.map_or_else(|| Ok(T::default()), |file| file.parse())
}

/// A configuration file as it was read.
#[derive(Debug)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// What it says.
    pub text: String,
}

impl File {
    /// Reads the configuration of `role` as [`load`] does, without looking into it. `None` if there
    /// is none where there need not be one.
    pub fn find(role: &str, path: Option<&Path>) -> Outcome<Option<Self>> {
        let usual = dirs::default_config(role)?;
        match path {
            Some(path) => Self::read(path.to_path_buf()).map(Some),
            None if usual.exists() => Self::read(usual).map(Some),
            None => Ok(None),
        }
    }

    fn read(path: PathBuf) -> Outcome<Self> {
        let text = read_text(&path, "the configuration", MAX_CONFIG_BYTES)?;
        Ok(Self { path, text })
    }

    /// The settings in it.
    pub fn parse<T: DeserializeOwned>(&self) -> Outcome<T> {
        let (text, shown) = (&self.text, self.path.display());
        toml::from_str(text).map_err(|error| {
            let place = error.span().map(|span| line_of(text, span.start));
            let place = place.map_or_else(String::new, |line| format!(":{line}"));
            let message = format!("{shown}{place}: {}", error.message().replace('\n', " "));
            Failure::say(Exit::Input, message)
                .hint("fields and units are documented in docs/operating")
        })
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before.filter(|byte| **byte == b'\n').count() + 1
}

/// The state directory: `given`, or the role's usual one. Always an absolute path, since sandboxes are shown
/// parts of it, and programs are told its name that start elsewhere.
///
/// # Errors
/// If there is no usual one, `given` is empty, the current directory is gone, or others could read what is kept there.
pub fn state_dir(role: &str, given: Option<&Path>) -> Outcome<PathBuf> {
    let Some(given) = given else { return dirs::default_state(role) };
    let directory = absolute(given)?;
    dirs::need_private(&directory)?;
    Ok(directory)
}

/// The cache directory, which may be lost at any time: below the state directory `given`, so that daemons
/// with states of their own keep apart, or the role's usual one.
pub fn cache_dir(role: &str, given: Option<&Path>) -> Outcome<PathBuf> {
    given.map_or_else(|| dirs::default_cache(role), |given| Ok(absolute(given)?.join("cache")))
}

fn absolute(given: &Path) -> Outcome<PathBuf> {
    std::path::absolute(given).map_err(|error| {
        Failure::say(Exit::State, format!("no state directory at {given:?}: {error}"))
            .hint("name it with --state by its whole path, from / on")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Example {
        cores: u32,
        memory: Option<Bytes>,
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
    fn a_state_directory_is_named_in_full() {
        let here = std::env::current_dir().expect("there");
        assert_eq!(state_dir("broker", Some(Path::new("s"))).expect("a name"), here.join("s"));
        assert_eq!(
            cache_dir("broker", Some(Path::new("s"))).expect("a name"),
            here.join("s/cache")
        );
        assert!(state_dir("broker", Some(Path::new(""))).is_err());
    }

    #[test]
    fn a_file_that_was_named_must_be_there() {
        let missing = load::<Example>("broker", Some(Path::new("/nonexistent/broker.toml")));
        assert_eq!(missing.expect_err("no such file").exit(), Exit::Input);
        assert_eq!(load_text("cores = 3").expect("sound"), Example { cores: 3, memory: None });
    }

    #[test]
    fn a_span_has_a_unit() {
        #[derive(Debug, Deserialize)]
        struct Outage {
            after: Span,
        }
        let outage = |text: &str| toml::from_str::<Outage>(text).map(|it| it.after.0.as_secs());
        assert_eq!(outage("after = \"2m\""), Ok(120));
        assert!(outage("after = \"2\"").is_err());
    }

    #[test]
    fn bytes_are_a_number_or_a_quantity() {
        let memory = |text: &str| load_text(text).map(|example| example.memory);
        assert_eq!(memory("memory = 7").expect("sound"), Some(Bytes(7)));
        assert_eq!(memory("memory = \"2 GiB\"").expect("sound"), Some(Bytes(2 << 30)));
        for (wrong, reason) in [
            ("memory = -1", "expected an amount of bytes"),
            ("memory = 1.5", "expected an amount of bytes"),
            ("memory = \"two\"", "is not an amount of bytes"),
        ] {
            let failure = memory(wrong).expect_err(wrong);
            assert!(failure.to_string().contains(reason), "{failure}");
        }
    }
}
