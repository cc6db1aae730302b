//! Values as they come from the wire, before it is known what they are to be.
//!
//! A peer of a newer version may send what this one has never seen; a [`Term`] takes it in, bounded,
//! and what cannot be a fact, a clause or a preference becomes the unknown one.

use std::fmt;

use serde::de::{IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use smol_str::SmolStr;

use crate::facts::{Fact, MAX_SET, is_set_word};

impl<'de> Deserialize<'de> for Fact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Term::deserialize(deserializer)?.into_fact())
    }
}

/// What can stand in the place of a fact's value: one, or a list, in a clause also of lists.
#[derive(Debug, Clone)]
pub(crate) enum Term {
    Fact(Fact),
    /// At most [`MAX_LIST`] are kept, so that the reader sees when there are too many.
    List(Vec<Term>),
}

/// One more than any list may have.
const MAX_LIST: usize = MAX_SET + 1;

impl Term {
    /// The text that a list begins with, which says what the list is, and what follows it. `None` is
    /// what is no such list.
    pub(crate) fn into_kind(self) -> Option<(SmolStr, Vec<Self>)> {
        let Self::List(mut list) = self else { return None };
        if list.is_empty() {
            return None;
        }
        match list.remove(0) {
            Self::Fact(Fact::Text(kind)) => Some((kind, list)),
            _ => None,
        }
    }

    /// The unsigned number that stands here.
    pub(crate) fn number(&self) -> Option<u64> {
        match self {
            Self::Fact(Fact::Number(number)) => Some(*number),
            _ => None,
        }
    }

    /// The fact's value that stands here. A list is a set if it is sorted, of few enough words.
    pub(crate) fn into_fact(self) -> Fact {
        let list = match self {
            Self::Fact(fact) => return fact,
            Self::List(list) if list.len() > MAX_SET => return Fact::Unknown,
            Self::List(list) => list,
        };
        let words = list.into_iter().map(|term| match term {
            Self::Fact(Fact::Text(word)) if is_set_word(&word) => Some(word),
            _ => None,
        });
        match words.collect::<Option<Vec<SmolStr>>>() {
            Some(words) if words.is_sorted_by(|left, right| left < right) => {
                Fact::Set(words.into_iter().map(String::from).collect())
            }
            _ => Fact::Unknown,
        }
    }
}

impl<'de> Deserialize<'de> for Term {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TermVisitor)
    }
}

struct TermVisitor;

impl<'de> Visitor<'de> for TermVisitor {
    type Value = Term;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, an unsigned number, a Boolean or a list of them")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Term, E> {
        Ok(Term::Fact(text.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Term, E> {
        Ok(Term::Fact(Fact::Number(number)))
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Term, E> {
        Ok(Term::Fact(u64::try_from(number).map_or(Fact::Unknown, Fact::Number)))
    }

    fn visit_i128<E: serde::de::Error>(self, _: i128) -> Result<Term, E> {
        Ok(Term::Fact(Fact::Unknown))
    }

    fn visit_bool<E: serde::de::Error>(self, flag: bool) -> Result<Term, E> {
        Ok(Term::Fact(Fact::Flag(flag)))
    }

    fn visit_bytes<E: serde::de::Error>(self, _: &[u8]) -> Result<Term, E> {
        Ok(Term::Fact(Fact::Unknown))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Term, A::Error> {
        let mut terms = Vec::new();
        while terms.len() < MAX_LIST {
            match seq.next_element()? {
                Some(term) => terms.push(term),
                None => return Ok(Term::List(terms)),
            }
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Term::List(terms))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Term, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Term::Fact(Fact::Unknown))
    }
}
