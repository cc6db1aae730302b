//! Clauses and preferences as arrays that begin with their kind.

use semver::VersionReq;
use serde::ser::SerializeSeq;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Clause, Preference};
use crate::facts::{Fact, FactName, shortened};
use crate::invalid::Invalid;
use crate::term::Term;

impl Clause {
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

impl Preference {
    /// Reads a preference; `None` is what is not even an array that begins with a text.
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
        Self::of_term(term).ok_or_else(no_kind)
    }
}

impl<'de> Deserialize<'de> for Preference {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let term = Term::deserialize(deserializer)?;
        Self::of_term(term).ok_or_else(no_kind)
    }
}

fn no_kind<E: serde::de::Error>() -> E {
    E::custom(Invalid::new("S43", "expected an array that begins with a kind"))
}
