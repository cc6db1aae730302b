//! What a job needs of a machine.
//!
//! Requirements name the runtimes that the job can run in and clauses that must all hold in one of
//! them. A clause is typed; there is no expression to evaluate. On the wire it is an array whose
//! first element names its kind:
//!
//! ```text
//! ["equals", fact, value]          ["one-of", fact, [value, …]]
//! ["at-least", fact, number]       ["donates", "cores" / "memory" / "disk", number]
//! ["version", fact, range]         ["present", fact]         ["absent", fact]
//! ```
//!
//! An array that this version does not understand, whether for its kind, its length or one of its
//! values, is [`Clause::Unknown`]. It is carried along and never satisfied: an old volunteer must
//! not run a job whose needs it cannot judge.

use std::fmt;

use semver::VersionReq;
use serde::de::{Error as _, IgnoredAny, SeqAccess, Visitor};
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::{
    Fact, FactName, FactsError, MAX_RUNTIMES, Runtime, Term, shortened, validated_on_decoding,
};
use crate::quantity::format_bytes;

/// Clauses of one job: an order of magnitude above what a job file of a large project asks for,
/// and few enough to judge a job in microseconds.
pub const MAX_CLAUSES: usize = 64;
/// Alternatives in one `one-of` clause.
pub const MAX_ALTERNATIVES: usize = 64;

/// What must hold for a machine to run a job.
///
/// Decoding checks the limits; a value made here is checked by [`Requirements::validate`].
///
/// ```
/// use capability::{Clause, Requirements, Resource, Runtime};
///
/// let requirements = Requirements {
///     runtimes: vec![Runtime::Native],
///     clauses: vec![
///         Clause::Equals { fact: "os".parse()?, value: "linux".into() },
///         Clause::Donates { resource: Resource::Cores, amount: 2 },
///     ],
/// };
/// requirements.validate()?;
/// assert_eq!(requirements.pinned("os"), Some("linux"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct Requirements {
    /// The runtimes that the job can run in, the preferred one first; at least one.
    pub runtimes: Vec<Runtime>,
    /// What must all hold in the runtime that is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Clause>,
}
validated_on_decoding!(Requirements);

/// One requirement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// The fact has this value.
    Equals {
        /// Which fact.
        fact: FactName,
        /// What it must be.
        value: Fact,
    },
    /// The fact has one of these values.
    OneOf {
        /// Which fact.
        fact: FactName,
        /// What it may be; at least one, at most [`MAX_ALTERNATIVES`].
        values: Vec<Fact>,
    },
    /// The fact is a number that is not below `amount`.
    AtLeast {
        /// Which fact.
        fact: FactName,
        /// The least that will do.
        amount: u64,
    },
    /// The machine donates at least `amount`, whatever the runtime.
    Donates {
        /// Of what.
        resource: Resource,
        /// How much: cores, or bytes.
        amount: u64,
    },
    /// The fact is a text that names a version in `range`.
    Version {
        /// Which fact.
        fact: FactName,
        /// Semver range.
        range: VersionReq,
    },
    /// The fact is stated, with whatever value.
    Present {
        /// Which fact.
        fact: FactName,
    },
    /// The fact is not stated.
    Absent {
        /// Which fact.
        fact: FactName,
    },
    /// A clause of a newer version; never satisfied.
    ///
    /// Encoding keeps its kind alone, which is still a clause that nobody satisfies.
    Unknown {
        /// What the newer version calls it, for people to read.
        kind: String,
    },
}

/// What a machine's owner donates in amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Processor cores.
    Cores,
    /// Main memory in bytes.
    Memory,
    /// Disk space in bytes.
    Disk,
}

/// Requirements break a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementsError {
    /// No runtime would do, or there are more than [`MAX_RUNTIMES`].
    #[error("{0} runtimes are named, 1 to {MAX_RUNTIMES} are allowed")]
    RuntimeCount(usize),
    /// There are more than [`MAX_CLAUSES`].
    #[error("{0} clauses, at most {MAX_CLAUSES} are allowed")]
    TooManyClauses(usize),
    /// A `one-of` has no value, or more than [`MAX_ALTERNATIVES`].
    #[error("fact {fact} may be one of {count} values, 1 to {MAX_ALTERNATIVES} are allowed")]
    AlternativeCount {
        /// Which fact.
        fact: FactName,
        /// How many values.
        count: usize,
    },
    /// A value breaks a limit of facts.
    #[error("a value is not one that a fact can have")]
    Value(#[source] FactsError),
}

impl Requirements {
    /// Checks every limit that the types do not hold by themselves.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn validate(&self) -> Result<(), RequirementsError> {
        if !(1..=MAX_RUNTIMES).contains(&self.runtimes.len()) {
            return Err(RequirementsError::RuntimeCount(self.runtimes.len()));
        }
        if self.clauses.len() > MAX_CLAUSES {
            return Err(RequirementsError::TooManyClauses(self.clauses.len()));
        }
        self.clauses.iter().try_for_each(Clause::validate)
    }

    /// The text that fact `name` must equal, where a clause says so.
    ///
    /// With `os` and `arch` it tells which gossip shard an offer belongs to.
    pub fn pinned(&self, name: &str) -> Option<&str> {
        self.clauses.iter().find_map(|clause| match clause {
            Clause::Equals { fact, value: Fact::Text(value) } if fact.as_str() == name => {
                Some(value.as_str())
            }
            _ => None,
        })
    }
}

impl Clause {
    /// The fact that the clause is about, if it is about one.
    pub fn fact(&self) -> Option<&FactName> {
        match self {
            Self::Equals { fact, .. }
            | Self::OneOf { fact, .. }
            | Self::AtLeast { fact, .. }
            | Self::Version { fact, .. }
            | Self::Present { fact }
            | Self::Absent { fact } => Some(fact),
            Self::Donates { .. } | Self::Unknown { .. } => None,
        }
    }

    fn validate(&self) -> Result<(), RequirementsError> {
        let (fact, values) = match self {
            Self::Equals { fact, value } => (fact, std::slice::from_ref(value)),
            Self::OneOf { fact, values } => (fact, values.as_slice()),
            _ => return Ok(()),
        };
        let count = values.len();
        if !(1..=MAX_ALTERNATIVES).contains(&count) {
            return Err(RequirementsError::AlternativeCount { fact: fact.clone(), count });
        }
        values.iter().try_for_each(|value| value.check(fact).map_err(RequirementsError::Value))
    }

    /// Reads `kind` with its arguments; `None` is what this version does not understand.
    fn known(kind: &str, mut arguments: Vec<Term>) -> Option<Self> {
        // Read backwards: what follows the fact's name first.
        let last = if arguments.len() > 1 { arguments.pop() } else { None };
        let [Term::Fact(Fact::Text(subject))] = arguments.as_slice() else { return None };
        if kind == "donates" {
            return Some(Self::Donates {
                resource: subject.parse().ok()?,
                amount: number(&last?)?,
            });
        }
        let fact: FactName = subject.parse().ok()?;
        match (kind, last) {
            ("equals", Some(Term::Fact(value))) if value != Fact::Unknown => {
                Some(Self::Equals { fact, value })
            }
            ("one-of", Some(Term::List(values))) if !values.contains(&Fact::Unknown) => {
                Some(Self::OneOf { fact, values })
            }
            ("at-least", Some(term)) => Some(Self::AtLeast { fact, amount: number(&term)? }),
            ("version", Some(Term::Fact(Fact::Text(range)))) => {
                Some(Self::Version { fact, range: VersionReq::parse(&range).ok()? })
            }
            ("present", None) => Some(Self::Present { fact }),
            ("absent", None) => Some(Self::Absent { fact }),
            _ => None,
        }
    }
}

impl fmt::Display for Clause {
    /// What is needed, as it fits after "needs".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Equals { fact, value } => write!(f, "{fact} {value}"),
            Self::OneOf { fact, values } => {
                write!(f, "{fact} ")?;
                values.iter().enumerate().try_for_each(|(index, value)| match index {
                    0 => write!(f, "{value}"),
                    _ => write!(f, " or {value}"),
                })
            }
            Self::AtLeast { fact, amount } => write!(f, "{fact} of at least {amount}"),
            Self::Donates { resource: Resource::Cores, amount } => write!(f, "{amount} cores"),
            Self::Donates { resource, amount } => {
                write!(f, "{} of {resource}", format_bytes(*amount))
            }
            Self::Version { fact, range } => write!(f, "{fact} {range}"),
            Self::Present { fact } => write!(f, "{fact}"),
            Self::Absent { fact } => write!(f, "no {fact}"),
            Self::Unknown { kind } => write!(f, "{kind:?}"),
        }
    }
}

impl Resource {
    /// The resource's name on the wire and in job files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of a [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a resource; there are cores, memory and disk")]
pub struct UnknownResource(String);

impl std::str::FromStr for Resource {
    type Err = UnknownResource;

    fn from_str(name: &str) -> Result<Self, UnknownResource> {
        [Self::Cores, Self::Memory, Self::Disk]
            .into_iter()
            .find(|resource| resource.name() == name)
            .ok_or_else(|| UnknownResource(shortened(name)))
    }
}

impl Serialize for Clause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Equals { fact, value } => ("equals", fact, value).serialize(serializer),
            Self::OneOf { fact, values } => ("one-of", fact, values).serialize(serializer),
            Self::AtLeast { fact, amount } => ("at-least", fact, amount).serialize(serializer),
            Self::Donates { resource, amount } => {
                ("donates", resource.name(), amount).serialize(serializer)
            }
            Self::Version { fact, range } => ("version", fact, range).serialize(serializer),
            Self::Present { fact } => ("present", fact).serialize(serializer),
            Self::Absent { fact } => ("absent", fact).serialize(serializer),
            Self::Unknown { kind } => {
                let mut array = serializer.serialize_seq(Some(1))?;
                array.serialize_element(kind)?;
                array.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Clause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(ClauseVisitor)
    }
}

struct ClauseVisitor;

impl<'de> Visitor<'de> for ClauseVisitor {
    type Value = Clause;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array that begins with the kind of the clause")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Clause, A::Error> {
        let Some(kind) = seq.next_element::<String>()? else {
            return Err(A::Error::invalid_length(0, &self));
        };
        let mut arguments = Vec::new();
        while arguments.len() < 3 {
            match seq.next_element()? {
                Some(argument) => arguments.push(argument),
                None => break,
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Clause::known(&kind, arguments)
            .unwrap_or_else(|| Clause::Unknown { kind: shortened(&kind) }))
    }
}

fn number(term: &Term) -> Option<u64> {
    match term {
        Term::Fact(Fact::Number(number)) => Some(*number),
        _ => None,
    }
}
