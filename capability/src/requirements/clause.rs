//! One requirement.

use std::collections::BTreeSet;
use std::fmt;

use semver::VersionReq;

use super::{MAX_ALTERNATIVES, RequirementsError, Resource};
use crate::facts::{Fact, FactName};
use crate::quantity::format_bytes;

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
    pub(crate) fn count(&self) -> usize {
        1 + self.inner().iter().map(Self::count).sum::<usize>()
    }

    pub(crate) fn validate(&self, levels: usize) -> Result<(), RequirementsError> {
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
}

fn check_alternatives(fact: &FactName, count: usize) -> Result<(), RequirementsError> {
    if (1..=MAX_ALTERNATIVES).contains(&count) {
        return Ok(());
    }
    Err(RequirementsError::AlternativeCount { fact: fact.clone(), count })
}

impl fmt::Display for Clause {
    /// What is needed, as it fits after "needs".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, &|_, amount| amount.to_string())
    }
}

impl Clause {
    /// Writes what is needed, with amounts of facts as `amount` writes them.
    pub(crate) fn write(
        &self,
        f: &mut fmt::Formatter<'_>,
        amount: &dyn Fn(&FactName, u64) -> String,
    ) -> fmt::Result {
        match self {
            Self::Equals { fact, value } => write!(f, "{fact} {value}"),
            Self::OneOf { fact, values } => {
                write!(f, "{fact} ")?;
                values.iter().enumerate().try_for_each(|(index, value)| match index {
                    0 => write!(f, "{value}"),
                    _ => write!(f, " or {value}"),
                })
            }
            Self::AtLeast { fact, amount: least } => {
                write!(f, "{fact} of at least {}", amount(fact, *least))
            }
            Self::AtMost { fact, amount: most } => {
                write!(f, "{fact} of at most {}", amount(fact, *most))
            }
            Self::Includes { fact, words } => {
                write!(f, "{fact} with")?;
                words.iter().try_for_each(|word| write!(f, " {word}"))
            }
            Self::All(clauses) => write_group(f, clauses, " and ", amount),
            Self::Any(clauses) => write_group(f, clauses, " or ", amount),
            Self::Not(clause) => {
                f.write_str("not ")?;
                clause.write(f, amount)
            }
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
fn write_group(
    f: &mut fmt::Formatter<'_>,
    clauses: &[Clause],
    between: &str,
    amount: &dyn Fn(&FactName, u64) -> String,
) -> fmt::Result {
    let parentheses = if clauses.len() == 1 { ["", ""] } else { ["(", ")"] };
    f.write_str(parentheses[0])?;
    for (index, clause) in clauses.iter().enumerate() {
        f.write_str(if index == 0 { "" } else { between })?;
        clause.write(f, amount)?;
    }
    f.write_str(parentheses[1])
}
