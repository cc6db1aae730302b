//! A fact: its name and its value.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smol_str::SmolStr;

use super::{FactsError, MAX_FACT_NAME, MAX_FACT_TEXT, MAX_SET, MAX_WORD};
use crate::version::parse_version;

/// The name of a fact: 1 to [`MAX_FACT_NAME`] bytes of `a-z`, `0-9` and `._+-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "SmolStr")]
pub struct FactName(SmolStr);

/// The value of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Text of up to [`MAX_FACT_TEXT`] bytes without control characters.
    Text(SmolStr),
    /// A number; its unit belongs to the fact's name.
    Number(u64),
    /// Yes or no.
    Flag(bool),
    /// Words of which each is there or not, such as the features of a processor. At most
    /// [`MAX_SET`], each of 1 to [`MAX_WORD`] characters of `a-z`, `0-9` and `._-`; on the wire in
    /// ascending order.
    Set(BTreeSet<String>),
    /// A value of a kind that this version does not know: present, equal to nothing.
    ///
    /// Encoding keeps that it is there, not what it was: what was signed is forwarded as it came.
    Unknown,
}

impl FactName {
    /// The name of the fact that states the version of `tool`.
    ///
    /// # Errors
    /// If the name that results breaks a limit.
    pub fn tool(tool: &str) -> Result<Self, FactsError> {
        format!("tool.{tool}").parse()
    }

    /// Whether it is of a family whose texts are versions (rule S20).
    pub(crate) fn is_version(&self) -> bool {
        ["tool.", "library."].iter().any(|family| self.0.starts_with(family))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FactName {
    type Err = FactsError;

    fn from_str(name: &str) -> Result<Self, FactsError> {
        let valid = (1..=MAX_FACT_NAME).contains(&name.len())
            && name
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'+' | b'-'));
        if valid { Ok(Self(name.into())) } else { Err(FactsError::Name(shortened(name))) }
    }
}

impl<'de> Deserialize<'de> for FactName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::word(deserializer)
    }
}

impl From<FactName> for SmolStr {
    fn from(name: FactName) -> Self {
        name.0
    }
}

impl Borrow<str> for FactName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FactName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Fact {
    /// The version that a text names, in the lenient reading of [`parse_version`].
    ///
    /// ```
    /// use capability::Fact;
    ///
    /// assert_eq!(Fact::from("12.2.0-14+deb12u1").version(), Some(semver::Version::new(12, 2, 0)));
    /// assert_eq!(Fact::from(12_u64).version(), None);
    /// ```
    pub fn version(&self) -> Option<semver::Version> {
        match self {
            Self::Text(text) => parse_version(text),
            _ => None,
        }
    }

    /// A set of those of `texts` that can be words of one, [`MAX_SET`] at most.
    pub fn set_of<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let words = texts.into_iter().filter(|text| is_set_word(text));
        words.take(MAX_SET).collect()
    }

    pub(crate) fn check(&self, name: &FactName) -> Result<(), FactsError> {
        match self {
            Self::Text(text) if text.len() > MAX_FACT_TEXT || text.contains(char::is_control) => {
                Err(FactsError::Text { name: name.clone(), length: text.len() })
            }
            Self::Set(words)
                if words.len() > MAX_SET || !words.iter().all(|word| is_set_word(word)) =>
            {
                Err(FactsError::Set(name.clone()))
            }
            _ => Ok(()),
        }
    }
}

impl From<&str> for Fact {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text.into())
    }
}

impl From<u64> for Fact {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl<'a> FromIterator<&'a str> for Fact {
    /// A set of these words.
    fn from_iter<I: IntoIterator<Item = &'a str>>(words: I) -> Self {
        Self::Set(words.into_iter().map(str::to_owned).collect())
    }
}

impl From<bool> for Fact {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl fmt::Display for Fact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Number(number) => number.fmt(f),
            Self::Flag(true) => f.write_str("yes"),
            Self::Flag(false) => f.write_str("no"),
            Self::Set(words) => {
                words.iter().enumerate().try_for_each(|(index, word)| match index {
                    0 => f.write_str(word),
                    _ => write!(f, " {word}"),
                })
            }
            Self::Unknown => f.write_str("a value that this version does not understand"),
        }
    }
}

impl Serialize for Fact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Number(number) => serializer.serialize_u64(*number),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::Set(words) => words.serialize(serializer),
            Self::Unknown => serializer.collect_map([((), ()); 0]),
        }
    }
}

pub(crate) fn is_set_word(word: &str) -> bool {
    (1..=MAX_WORD).contains(&word.len())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// Enough of `text` for an error message to name it.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_FACT_NAME).collect()
}
