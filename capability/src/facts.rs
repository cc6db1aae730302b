//! What a machine can do, as it says so itself in its ad.
//!
//! A machine has a platform, resources that its owner donates, and runtimes. Facts belong to a
//! runtime, because they are measured inside it: a compiler in the owner's home directory is none
//! for a job that cannot see it. A fact that is not listed is not there; nothing is ever "maybe".
//!
//! Names are dotted words. The tools that a job can call are `tool.<name>` with the version as
//! text; `os`, `arch`, `libc` and `distribution` describe the system that a job finds itself in.
//!
//! Everything here travels inside ads. On the wire a fact is a text, an unsigned number, a Boolean
//! or a set of words; whatever else a newer peer sends is kept as [`Fact::Unknown`], which is present
//! and equals nothing.

use std::borrow::Borrow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::matching::parse_version;

/// Facts of one runtime: a well equipped machine has about 150 tools, and 512 of average size
/// still fit into a statement.
pub const MAX_FACTS: usize = 512;
/// Length of a fact's name in bytes.
pub const MAX_FACT_NAME: usize = 64;
/// Length of a fact's text in bytes: versions and labels, not documents.
pub const MAX_FACT_TEXT: usize = 256;
/// Words in a fact that is a set: a processor of today has some 60 features that compilers name.
pub const MAX_SET: usize = 256;
/// Runtimes of one machine.
pub const MAX_RUNTIMES: usize = 16;
/// Length of the name of a runtime, an operating system or an architecture in bytes.
pub const MAX_WORD: usize = 32;
/// Length of the description of a sandbox in bytes.
pub const MAX_STRENGTH: usize = 64;

/// Gives `$name`, which derives serde's traits with `remote = "Self"`, a decoder that ends with
/// its own `validate`, so that there is no decoded value that breaks a limit.
macro_rules! validated_on_decoding {
    ($name:ty) => {
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let value = <$name>::deserialize(deserializer)?;
                value.validate().map_err(serde::de::Error::custom)?;
                Ok(value)
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                <$name>::serialize(self, serializer)
            }
        }
    };
}
pub(crate) use validated_on_decoding;

/// What a machine can do and how much of it is donated.
///
/// Decoding checks the limits; a value made here is checked by [`Capabilities::validate`].
///
/// ```
/// use capability::{Capabilities, Facts, Platform, Resources, Runtime, RuntimeFacts};
///
/// let mut facts = Facts::new();
/// facts.insert("os", "linux")?;
/// facts.insert("tool.make", "4.3")?;
///
/// let machine = Capabilities {
///     platform: Platform::new("linux", "x86_64")?,
///     resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
///     runtimes: [(Runtime::Native, RuntimeFacts { strength: "namespaces".into(), facts })].into(),
/// };
/// machine.validate()?;
/// assert_eq!(machine.platform.to_string(), "linux-x86_64");
/// # Ok::<(), capability::FactsError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct Capabilities {
    /// Operating system and architecture of the daemon.
    pub platform: Platform,
    /// What jobs may use altogether.
    pub resources: Resources,
    /// The ways in which this machine runs jobs, and what a job finds in each.
    #[serde(default)]
    pub runtimes: BTreeMap<Runtime, RuntimeFacts>,
}
validated_on_decoding!(Capabilities);

/// An operating system and an architecture, in Rust's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct Platform {
    os: String,
    arch: String,
}
validated_on_decoding!(Platform);

/// What the owner of a machine donates to all jobs together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Resources {
    /// Processor cores.
    pub cores: u32,
    /// Main memory in bytes.
    pub memory: u64,
    /// Disk space in bytes.
    pub disk: u64,
}

/// A way to run a job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Runtime {
    /// Programs of the machine's own platform, in a sandbox.
    Native,
    /// WebAssembly modules.
    Wasm,
    /// A runtime that this version does not know; nothing here can run it.
    Other(OtherRuntime),
}

/// The name of a runtime of a newer version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherRuntime(String);

/// What a job finds inside one runtime.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RuntimeFacts {
    /// What keeps a job in, for people to read: `namespaces+landlock+seccomp`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub strength: String,
    /// The facts that hold for a job in this runtime.
    #[serde(default)]
    pub facts: Facts,
}

/// Facts by name, within [`MAX_FACTS`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Facts(BTreeMap<FactName, Fact>);

/// The name of a fact: 1 to [`MAX_FACT_NAME`] bytes of `a-z`, `0-9` and `._+-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FactName(String);

/// The value of a fact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fact {
    /// Text of up to [`MAX_FACT_TEXT`] bytes without control characters.
    Text(String),
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

/// A description of a machine breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FactsError {
    /// The name has a wrong length or character.
    #[error(
        "fact name {0:?} is not 1 to {MAX_FACT_NAME} characters of a-z, 0-9, dot, plus, hyphen and underscore"
    )]
    Name(String),
    /// The text is too long or has control characters.
    #[error(
        "fact {name} has a text of {length} bytes that is over {MAX_FACT_TEXT} or has control characters"
    )]
    Text {
        /// Which fact.
        name: FactName,
        /// Length of the text in bytes.
        length: usize,
    },
    /// A set has too many words, or a wrong one.
    #[error(
        "fact {0} is not a set of at most {MAX_SET} words of 1 to {MAX_WORD} characters of a-z, 0-9, dot, hyphen and underscore"
    )]
    Set(FactName),
    /// There are more than [`MAX_FACTS`].
    #[error("more than {MAX_FACTS} facts in one runtime")]
    TooMany,
    /// The name of an operating system, an architecture or a runtime is wrong.
    #[error("{0:?} is not a word of 1 to {MAX_WORD} characters of a-z, 0-9, hyphen and underscore")]
    Word(String),
    /// There are more than [`MAX_RUNTIMES`].
    #[error("{0} runtimes, at most {MAX_RUNTIMES} are allowed")]
    TooManyRuntimes(usize),
    /// The sandbox's description is too long or has control characters.
    #[error("strength of runtime {0} is over {MAX_STRENGTH} bytes or has control characters")]
    Strength(Runtime),
}

impl Capabilities {
    /// Checks every limit that the types do not hold by themselves.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn validate(&self) -> Result<(), FactsError> {
        self.platform.validate()?;
        if self.runtimes.len() > MAX_RUNTIMES {
            return Err(FactsError::TooManyRuntimes(self.runtimes.len()));
        }
        for (runtime, RuntimeFacts { strength, .. }) in &self.runtimes {
            if strength.len() > MAX_STRENGTH || strength.contains(char::is_control) {
                return Err(FactsError::Strength(runtime.clone()));
            }
        }
        Ok(())
    }
}

impl Platform {
    /// The platform of operating system `os` and architecture `arch`.
    ///
    /// # Errors
    /// If one is not a word of at most [`MAX_WORD`] characters.
    pub fn new(os: &str, arch: &str) -> Result<Self, FactsError> {
        let platform = Self { os: os.to_owned(), arch: arch.to_owned() };
        platform.validate()?;
        Ok(platform)
    }

    /// The platform that this program was built for.
    pub fn current() -> Self {
        Self { os: std::env::consts::OS.to_owned(), arch: std::env::consts::ARCH.to_owned() }
    }

    /// The operating system.
    pub fn os(&self) -> &str {
        &self.os
    }

    /// The architecture.
    pub fn arch(&self) -> &str {
        &self.arch
    }

    // A hyphen in either would make two platforms share one gossip shard.
    fn validate(&self) -> Result<(), FactsError> {
        [&self.os, &self.arch].into_iter().try_for_each(|word| {
            let valid = is_word(word) && !word.contains('-');
            if valid { Ok(()) } else { Err(FactsError::Word(shortened(word))) }
        })
    }
}

impl fmt::Display for Platform {
    /// The name of the platform's gossip shard.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.os, self.arch)
    }
}

impl Runtime {
    /// The runtime's name on the wire and in job files.
    pub fn name(&self) -> &str {
        match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Other(OtherRuntime(name)) => name,
        }
    }
}

impl fmt::Display for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Runtime {
    type Err = FactsError;

    fn from_str(name: &str) -> Result<Self, FactsError> {
        match name {
            "native" => Ok(Self::Native),
            "wasm" => Ok(Self::Wasm),
            other if is_word(other) => Ok(Self::Other(OtherRuntime(other.to_owned()))),
            other => Err(FactsError::Word(shortened(other))),
        }
    }
}

impl TryFrom<String> for Runtime {
    type Error = FactsError;

    fn try_from(name: String) -> Result<Self, FactsError> {
        name.parse()
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> Self {
        runtime.name().to_owned()
    }
}

impl Facts {
    /// No facts.
    pub fn new() -> Self {
        Self::default()
    }

    /// States that `name` is `fact`, in place of what it was before.
    ///
    /// # Errors
    /// If the name or the text breaks a limit, or there are [`MAX_FACTS`] already.
    pub fn insert(&mut self, name: &str, fact: impl Into<Fact>) -> Result<(), FactsError> {
        self.insert_named(name.parse()?, fact.into())
    }

    /// The fact `name`, if this machine states it.
    pub fn get(&self, name: &str) -> Option<&Fact> {
        self.0.get(name)
    }

    /// All facts, sorted by name.
    pub fn iter(&self) -> impl Iterator<Item = (&FactName, &Fact)> {
        self.0.iter()
    }

    /// How many facts there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn insert_named(&mut self, name: FactName, fact: Fact) -> Result<(), FactsError> {
        fact.check(&name)?;
        let full = self.0.len() >= MAX_FACTS;
        match self.0.entry(name) {
            Entry::Occupied(mut known) => {
                known.insert(fact);
            }
            Entry::Vacant(_) if full => return Err(FactsError::TooMany),
            Entry::Vacant(free) => {
                free.insert(fact);
            }
        }
        Ok(())
    }
}

impl Serialize for Facts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Facts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(FactsVisitor)
    }
}

struct FactsVisitor;

impl<'de> Visitor<'de> for FactsVisitor {
    type Value = Facts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a map of at most {MAX_FACTS} facts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Facts, A::Error> {
        let mut facts = Facts::new();
        while let Some((name, fact)) = map.next_entry::<FactName, Fact>()? {
            if facts.0.contains_key(&name) {
                return Err(A::Error::custom(format_args!("fact {name} is stated twice")));
            }
            facts.insert_named(name, fact).map_err(A::Error::custom)?;
        }
        Ok(facts)
    }
}

impl FactName {
    /// The name of the fact that states the version of `tool`.
    ///
    /// # Errors
    /// If the name that results breaks a limit.
    pub fn tool(tool: &str) -> Result<Self, FactsError> {
        format!("tool.{tool}").parse()
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
        if valid { Ok(Self(name.to_owned())) } else { Err(FactsError::Name(shortened(name))) }
    }
}

impl TryFrom<String> for FactName {
    type Error = FactsError;

    fn try_from(name: String) -> Result<Self, FactsError> {
        name.parse()
    }
}

impl From<FactName> for String {
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
        Self::Text(text.to_owned())
    }
}

impl From<String> for Fact {
    fn from(text: String) -> Self {
        Self::Text(text)
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

fn is_word(word: &str) -> bool {
    (1..=MAX_WORD).contains(&word.len())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}

/// Enough of `text` for an error message to name it.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(MAX_FACT_NAME).collect()
}
