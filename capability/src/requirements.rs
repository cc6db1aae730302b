//! What a job needs of a machine, and what it would rather have.
//!
//! Requirements name the runtimes that the job can run in and clauses that must all hold in one of
//! them. A clause is typed; there is no expression to evaluate. On the wire it is an array whose
//! first element names its kind:
//!
//! ```text
//! ["equals", fact, value]          ["one-of", fact, [value, …]]
//! ["at-least", fact, number]       ["at-most", fact, number]
//! ["donates", "cores" / "memory" / "disk", number]
//! ["version", fact, range]         ["includes", fact, [word, …]]
//! ["present", fact]                ["absent", fact]
//! ["all", [clause, …]]             ["any", [clause, …]]             ["not", clause]
//! ```
//!
//! An array that this version does not understand, whether for its kind, its length or one of its
//! values, is [`Clause::Unknown`]. It is carried along and never satisfied, nor is a `not` with one
//! inside: an old volunteer must not run a job whose needs it cannot judge.

use std::collections::BTreeSet;
use std::fmt;

use semver::VersionReq;
use serde::de::Error as _;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::facts::{
    Fact, FactName, FactsError, MAX_RUNTIMES, Runtime, shortened, validated_on_decoding,
};
use crate::quantity::format_bytes;
use crate::term::Term;

/// Clauses of one job, those inside others and in preferences included: an order of magnitude above
/// what a job file of a large project asks for, and few enough to judge a job in microseconds.
pub const MAX_CLAUSES: usize = 64;
/// Alternatives in one `one-of` clause, and words in one `includes` clause.
pub const MAX_ALTERNATIVES: usize = 64;
/// Levels of clauses inside clauses: alternatives of groups that exclude something, and one more.
pub const MAX_NESTING: usize = 4;
/// Preferences of one job.
pub const MAX_PREFERENCES: usize = 16;
/// Largest weight of a preference.
pub const MAX_WEIGHT: u16 = 1000;

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
///     rank: Vec::new(),
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
    /// What machines that satisfy the clauses are put in order by; see [`Preference`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rank: Vec<Preference>,
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
    /// The fact is a number that is not above `amount`.
    AtMost {
        /// Which fact.
        fact: FactName,
        /// The most that will do.
        amount: u64,
    },
    /// The fact is a set with all of these words.
    Includes {
        /// Which fact.
        fact: FactName,
        /// The words; at least one, at most [`MAX_ALTERNATIVES`].
        words: BTreeSet<String>,
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
    /// Every one of these holds. At least one.
    All(Vec<Self>),
    /// One of these holds. At least one.
    Any(Vec<Self>),
    /// This does not hold.
    Not(Box<Self>),
    /// A clause of a newer version; never satisfied.
    ///
    /// Encoding keeps its kind alone, which is still a clause that nobody satisfies.
    Unknown {
        /// What the newer version calls it, for people to read.
        kind: String,
    },
}

/// What a job would rather have, and how much that counts.
///
/// A machine's rank is the sum over all preferences of weight times degree, where the degree is a
/// whole number from 0 to [`Preference::DEGREES`]. On the wire:
///
/// ```text
/// ["holds", weight, clause]   ["more", weight, fact, enough]   ["less", weight, fact, bearable]
/// ```
///
/// What a reader does not understand counts nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preference {
    /// The clause holds, which is all of the degree.
    Holds {
        /// What it counts, 1 to [`MAX_WEIGHT`].
        weight: u16,
        /// What is preferred.
        clause: Clause,
    },
    /// The fact is a number, the larger the better up to `enough`, and the degree in proportion.
    More {
        /// What it counts, 1 to [`MAX_WEIGHT`].
        weight: u16,
        /// Which fact.
        fact: FactName,
        /// More than this is no better; above 0.
        enough: u64,
    },
    /// The fact is a number, the smaller the better, and the degree what is left to `bearable`.
    Less {
        /// What it counts, 1 to [`MAX_WEIGHT`].
        weight: u16,
        /// Which fact.
        fact: FactName,
        /// More than this is no worse; above 0.
        bearable: u64,
    },
    /// A preference of a newer version; counts nothing. Encoding keeps its kind alone.
    Unknown {
        /// What the newer version calls it.
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
    #[error("{0} clauses, those of preferences included, at most {MAX_CLAUSES} are allowed")]
    TooManyClauses(usize),
    /// A `one-of` has no value, or more than [`MAX_ALTERNATIVES`].
    #[error("fact {fact} may be one of {count} values, 1 to {MAX_ALTERNATIVES} are allowed")]
    AlternativeCount {
        /// Which fact.
        fact: FactName,
        /// How many values.
        count: usize,
    },
    /// A group has no clause in it.
    #[error("a group of clauses is empty")]
    EmptyGroup,
    /// Clauses are nested more than [`MAX_NESTING`] deep.
    #[error("clauses are nested over {MAX_NESTING} deep")]
    Nested,
    /// There are more than [`MAX_PREFERENCES`].
    #[error("{0} preferences, at most {MAX_PREFERENCES} are allowed")]
    TooManyPreferences(usize),
    /// A weight is 0 or above [`MAX_WEIGHT`].
    #[error("weight {0}, 1 to {MAX_WEIGHT} are allowed")]
    Weight(u16),
    /// A preference by number ends at 0, where all are alike.
    #[error("the preference for fact {0} ends at 0, it must be above")]
    Scale(FactName),
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
        let preferred = self.rank.iter().filter_map(Preference::clause);
        let count: usize = self.clauses.iter().chain(preferred).map(Clause::count).sum();
        if count > MAX_CLAUSES {
            return Err(RequirementsError::TooManyClauses(count));
        }
        self.clauses.iter().try_for_each(|clause| clause.validate(MAX_NESTING))?;
        if self.rank.len() > MAX_PREFERENCES {
            return Err(RequirementsError::TooManyPreferences(self.rank.len()));
        }
        self.rank.iter().try_for_each(Preference::validate)
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
            | Self::AtMost { fact, .. }
            | Self::Includes { fact, .. }
            | Self::Version { fact, .. }
            | Self::Present { fact }
            | Self::Absent { fact } => Some(fact),
            Self::Donates { .. }
            | Self::All(_)
            | Self::Any(_)
            | Self::Not(_)
            | Self::Unknown { .. } => None,
        }
    }

    /// The clauses directly inside this one.
    pub fn inner(&self) -> &[Self] {
        match self {
            Self::All(clauses) | Self::Any(clauses) => clauses,
            Self::Not(clause) => std::slice::from_ref(clause),
            _ => &[],
        }
    }

    /// Whether this clause or one inside it is of a newer version.
    pub fn has_unknown(&self) -> bool {
        matches!(self, Self::Unknown { .. }) || self.inner().iter().any(Self::has_unknown)
    }

    /// This clause and all inside it.
    fn count(&self) -> usize {
        1 + self.inner().iter().map(Self::count).sum::<usize>()
    }

    fn validate(&self, levels: usize) -> Result<(), RequirementsError> {
        let levels = levels.checked_sub(1).ok_or(RequirementsError::Nested)?;
        match self {
            Self::Equals { fact, value } => value.check(fact).map_err(RequirementsError::Value),
            Self::OneOf { fact, values } => {
                check_alternatives(fact, values.len())?;
                values
                    .iter()
                    .try_for_each(|value| value.check(fact).map_err(RequirementsError::Value))
            }
            Self::Includes { fact, words } => {
                check_alternatives(fact, words.len())?;
                Fact::Set(words.clone()).check(fact).map_err(RequirementsError::Value)
            }
            Self::All(clauses) | Self::Any(clauses) if clauses.is_empty() => {
                Err(RequirementsError::EmptyGroup)
            }
            _ => self.inner().iter().try_for_each(|clause| clause.validate(levels)),
        }
    }

    /// Reads a clause; `None` is what is not even an array that begins with a text.
    fn of_term(term: Term) -> Option<Self> {
        let (kind, arguments) = term.into_kind()?;
        let unknown = || Self::Unknown { kind: shortened(&kind) };
        Some(Self::known(&kind, arguments).unwrap_or_else(unknown))
    }

    /// Reads `kind` with its arguments; `None` is what this version does not understand.
    fn known(kind: &str, arguments: Vec<Term>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let (first, second) = (arguments.next()?, arguments.next());
        if arguments.next().is_some() {
            return None;
        }
        match (kind, first, second) {
            ("all", Term::List(clauses), None) => Some(Self::All(all(clauses)?)),
            ("any", Term::List(clauses), None) => Some(Self::Any(all(clauses)?)),
            ("not", clause, None) => {
                let clause = Self::of_term(clause)?;
                (!clause.has_unknown()).then(|| Self::Not(Box::new(clause)))
            }
            ("donates", Term::Fact(Fact::Text(what)), Some(amount)) => {
                Some(Self::Donates { resource: what.parse().ok()?, amount: amount.number()? })
            }
            (kind, Term::Fact(Fact::Text(fact)), value) => {
                Self::about(kind, fact.parse().ok()?, value)
            }
            _ => None,
        }
    }

    /// Reads a clause about one fact.
    fn about(kind: &str, fact: FactName, value: Option<Term>) -> Option<Self> {
        match (kind, value) {
            ("present", None) => Some(Self::Present { fact }),
            ("absent", None) => Some(Self::Absent { fact }),
            ("equals", Some(value)) => {
                let value = value.into_fact();
                (value != Fact::Unknown).then_some(Self::Equals { fact, value })
            }
            ("one-of", Some(Term::List(values))) => {
                let values: Vec<_> = values.into_iter().map(Term::into_fact).collect();
                (!values.contains(&Fact::Unknown)).then_some(Self::OneOf { fact, values })
            }
            ("includes", Some(words)) => match words.into_fact() {
                Fact::Set(words) => Some(Self::Includes { fact, words }),
                _ => None,
            },
            ("at-least", Some(amount)) => Some(Self::AtLeast { fact, amount: amount.number()? }),
            ("at-most", Some(amount)) => Some(Self::AtMost { fact, amount: amount.number()? }),
            ("version", Some(Term::Fact(Fact::Text(range)))) => {
                Some(Self::Version { fact, range: VersionReq::parse(&range).ok()? })
            }
            _ => None,
        }
    }
}

fn all(terms: Vec<Term>) -> Option<Vec<Clause>> {
    terms.into_iter().map(Clause::of_term).collect()
}

fn check_alternatives(fact: &FactName, count: usize) -> Result<(), RequirementsError> {
    if (1..=MAX_ALTERNATIVES).contains(&count) {
        return Ok(());
    }
    Err(RequirementsError::AlternativeCount { fact: fact.clone(), count })
}

impl Preference {
    /// Parts of a preference that can be fulfilled: a thousandth of it changes no order that
    /// anybody would care about.
    pub const DEGREES: u64 = 1000;

    /// The clause that is preferred, if it is one.
    fn clause(&self) -> Option<&Clause> {
        match self {
            Self::Holds { clause, .. } => Some(clause),
            Self::More { .. } | Self::Less { .. } | Self::Unknown { .. } => None,
        }
    }

    fn validate(&self) -> Result<(), RequirementsError> {
        let weight = match self {
            Self::Holds { weight, clause } => {
                clause.validate(MAX_NESTING)?;
                weight
            }
            Self::More { weight, fact, enough: scale }
            | Self::Less { weight, fact, bearable: scale } => {
                if *scale == 0 {
                    return Err(RequirementsError::Scale(fact.clone()));
                }
                weight
            }
            Self::Unknown { .. } => return Ok(()),
        };
        let allowed = (1..=MAX_WEIGHT).contains(weight);
        if allowed { Ok(()) } else { Err(RequirementsError::Weight(*weight)) }
    }

    fn of_term(term: Term) -> Option<Self> {
        let (kind, arguments) = term.into_kind()?;
        let unknown = || Self::Unknown { kind: shortened(&kind) };
        Some(Self::known(&kind, arguments).unwrap_or_else(unknown))
    }

    fn known(kind: &str, arguments: Vec<Term>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let weight = u16::try_from(arguments.next()?.number()?).ok()?;
        let (subject, scale) = (arguments.next()?, arguments.next());
        if arguments.next().is_some() {
            return None;
        }
        match (kind, subject, scale) {
            ("holds", clause, None) => {
                Some(Self::Holds { weight, clause: Clause::of_term(clause)? })
            }
            ("more", Term::Fact(Fact::Text(fact)), Some(enough)) => {
                Some(Self::More { weight, fact: fact.parse().ok()?, enough: enough.number()? })
            }
            ("less", Term::Fact(Fact::Text(fact)), Some(bearable)) => {
                Some(Self::Less { weight, fact: fact.parse().ok()?, bearable: bearable.number()? })
            }
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
            Self::AtMost { fact, amount } => write!(f, "{fact} of at most {amount}"),
            Self::Includes { fact, words } => {
                write!(f, "{fact} with")?;
                words.iter().try_for_each(|word| write!(f, " {word}"))
            }
            Self::All(clauses) => group(f, clauses, " and "),
            Self::Any(clauses) => group(f, clauses, " or "),
            Self::Not(clause) => write!(f, "not {clause}"),
            Self::Donates { resource: Resource::Cores, amount: 1 } => f.write_str("1 core"),
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

/// Clauses with a word between them, in parentheses where there is more than one.
fn group(f: &mut fmt::Formatter<'_>, clauses: &[Clause], between: &str) -> fmt::Result {
    if let [only] = clauses {
        return write!(f, "{only}");
    }
    clauses.iter().enumerate().try_for_each(|(index, clause)| {
        write!(f, "{}{clause}", if index == 0 { "(" } else { between })
    })?;
    f.write_str(")")
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
            Self::AtMost { fact, amount } => ("at-most", fact, amount).serialize(serializer),
            Self::Includes { fact, words } => ("includes", fact, words).serialize(serializer),
            Self::All(clauses) => ("all", clauses).serialize(serializer),
            Self::Any(clauses) => ("any", clauses).serialize(serializer),
            Self::Not(clause) => ("not", clause).serialize(serializer),
            Self::Donates { resource, amount } => {
                ("donates", resource.name(), amount).serialize(serializer)
            }
            Self::Version { fact, range } => ("version", fact, range).serialize(serializer),
            Self::Present { fact } => ("present", fact).serialize(serializer),
            Self::Absent { fact } => ("absent", fact).serialize(serializer),
            Self::Unknown { kind } => kind_alone(kind, serializer),
        }
    }
}

impl Serialize for Preference {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Holds { weight, clause } => ("holds", weight, clause).serialize(serializer),
            Self::More { weight, fact, enough } => {
                ("more", weight, fact, enough).serialize(serializer)
            }
            Self::Less { weight, fact, bearable } => {
                ("less", weight, fact, bearable).serialize(serializer)
            }
            Self::Unknown { kind } => kind_alone(kind, serializer),
        }
    }
}

fn kind_alone<S: Serializer>(kind: &str, serializer: S) -> Result<S::Ok, S::Error> {
    let mut array = serializer.serialize_seq(Some(1))?;
    array.serialize_element(kind)?;
    array.end()
}

impl<'de> Deserialize<'de> for Clause {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let term = Term::deserialize(deserializer)?;
        Self::of_term(term).ok_or_else(|| D::Error::custom(NO_KIND))
    }
}

impl<'de> Deserialize<'de> for Preference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let term = Term::deserialize(deserializer)?;
        Self::of_term(term).ok_or_else(|| D::Error::custom(NO_KIND))
    }
}

const NO_KIND: &str = "expected an array that begins with a kind";
