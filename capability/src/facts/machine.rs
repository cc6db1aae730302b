//! A machine: its platform, what its owner donates, and its runtimes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use super::{Facts, FactsError, MAX_WORD, Runtimes, shortened, validated_on_decoding};
use crate::invalid::Invalid;
use crate::requirements::Resource;

/// Runtimes of one machine.
pub const MAX_RUNTIMES: usize = 16;
/// Length of the description of a sandbox in bytes.
pub const MAX_STRENGTH: usize = 64;

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
    pub runtimes: Runtimes,
}
validated_on_decoding!(Capabilities, Invalid::from);

/// An operating system and an architecture, in Rust's names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct Platform {
    os: String,
    arch: String,
}
validated_on_decoding!(Platform, Invalid::from);

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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(into = "String")]
pub enum Runtime {
    /// Programs of the machine's own platform, in a sandbox.
    Native,
    /// WebAssembly modules.
    Wasm,
    /// Programs of the machine's own platform, in the same sandbox with the files of an image as root.
    Container,
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
        for (runtime, RuntimeFacts { strength, .. }) in self.runtimes.iter() {
            if strength.len() > MAX_STRENGTH || strength.contains(char::is_control) {
                return Err(FactsError::Strength(runtime.clone()));
            }
        }
        Ok(())
    }
}

impl Resources {
    /// How much of `resource` is donated: cores, or bytes.
    pub fn amount(&self, resource: Resource) -> u64 {
        match resource {
            Resource::Cores => self.cores.into(),
            Resource::Memory => self.memory,
            Resource::Disk => self.disk,
        }
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
    /// The runtimes of this version.
    pub const KNOWN: [Self; 3] = [Self::Native, Self::Wasm, Self::Container];

    /// The runtime's name on the wire and in job files.
    pub fn name(&self) -> &str {
        match self {
            Self::Native => "native",
            Self::Wasm => "wasm",
            Self::Container => "container",
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
            "container" => Ok(Self::Container),
            other if is_word(other) => Ok(Self::Other(OtherRuntime(other.to_owned()))),
            other => Err(FactsError::Word(shortened(other))),
        }
    }
}

impl<'de> Deserialize<'de> for Runtime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        super::word(deserializer)
    }
}

impl From<Runtime> for String {
    fn from(runtime: Runtime) -> Self {
        runtime.name().to_owned()
    }
}

pub(crate) fn is_word(word: &str) -> bool {
    (1..=MAX_WORD).contains(&word.len())
        && word.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-'))
}
