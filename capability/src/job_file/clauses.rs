//! Clauses and preferences in TOML: one grammar for what a job needs of machines and for what a
//! volunteer wants of offers. A [`Subject`] says of which facts.

use std::collections::BTreeSet;

use semver::VersionReq;

use super::reader::{Field, Section};
use super::{JobFileError, MAX_EXPIRY, duration};
use crate::facts::{Fact, FactName};
use crate::quantity::parse_bytes;
use crate::requirements::{Clause, MAX_CLAUSES, MAX_NESTING, MAX_WEIGHT, Preference};
use crate::vocabulary::FactKind;

/// The fields that hold groups.
const GROUPS: [&str; 3] = ["all", "any", "not"];

/// What clauses speak of.
pub(super) trait Subject {
    /// A group of one clause, for errors.
    const EXAMPLE: &'static str;
    /// A number that could be preferred, for errors.
    const NUMBER: &'static str;

    /// The fields of a group, but those that hold groups.
    fn fields(&self) -> Vec<&'static str>;

    /// Reads those fields.
    fn clauses(&self, section: &mut Section<'_>) -> Result<Vec<Clause>, JobFileError>;

    /// The fact that is called `name`, and its kind.
    ///
    /// # Errors
    /// Why there is none, for people.
    fn fact(&self, name: &str) -> Result<(FactName, FactKind), String>;

    /// Every field of a group, after `own` ones of its surroundings.
    fn known(&self, own: &[&'static str]) -> Vec<&'static str> {
        [own, &self.fields(), &GROUPS].concat()
    }

    /// The clauses of a group, which must all hold, with `levels` more of groups inside it.
    fn group(&self, mut section: Section<'_>, levels: usize) -> Result<Vec<Clause>, JobFileError> {
        let mut clauses = self.clauses(&mut section)?;
        if let Some(field) = section.take("all") {
            clauses.extend(self.groups(field, levels)?);
        }
        if let Some(field) = section.take("any") {
            clauses.push(Clause::Any(self.groups(field, levels)?));
        }
        if let Some(field) = section.take("not") {
            let groups = self.groups(field, levels)?;
            clauses.extend(groups.into_iter().map(|it| Clause::Not(Box::new(it))));
        }
        Ok(clauses)
    }

    /// The groups of an array of tables, each as one clause.
    fn groups(&self, field: Field<'_>, levels: usize) -> Result<Vec<Clause>, JobFileError> {
        let place = field.place();
        let Some(levels) = levels.checked_sub(1) else {
            return Err(place.refuse(format_args!("groups are nested over {MAX_NESTING} deep")));
        };
        let elements = field.elements()?;
        let example = Self::EXAMPLE;
        if elements.is_empty() {
            return Err(place.refuse(format_args!("it is empty; write for example [{example}]")));
        }
        let groups =
            elements.into_iter().map(|element| {
                let place = element.place();
                let mut clauses = self.group(element.section(&self.known(&[]))?, levels)?;
                match clauses.len() {
                    0 => Err(place
                        .refuse(format_args!("it requires nothing; write for example {example}"))),
                    1 => Ok(clauses.remove(0)),
                    _ => Ok(Clause::All(clauses)),
                }
            });
        groups.collect()
    }

    /// Reads `prefer`.
    fn preferences(&self, root: &mut Section<'_>) -> Result<Vec<Preference>, JobFileError> {
        let Some(field) = root.take("prefer") else { return Ok(Vec::new()) };
        field.elements()?.into_iter().map(|element| self.preference(element)).collect()
    }

    fn preference(&self, field: Field<'_>) -> Result<Preference, JobFileError> {
        let place = field.place();
        let known = self.known(&["weight", "more", "enough", "less", "bearable"]);
        let mut section = field.section(&known)?;
        let weight = section.optional("weight", 1, |field| field.count(MAX_WEIGHT.into()))?;
        let weight = u16::try_from(weight).expect("it is bounded");
        let (more, less) = (section.take("more"), section.take("less"));
        let (enough, bearable) = (section.take("enough"), section.take("bearable"));
        let clauses = self.group(section, MAX_NESTING)?;
        match (more, enough, less, bearable, clauses.as_slice()) {
            (Some(fact), Some(enough), None, None, []) => {
                let (fact, enough) = self.scaled(fact, enough)?;
                Ok(Preference::More { weight, fact, enough })
            }
            (None, None, Some(fact), Some(bearable), []) => {
                let (fact, bearable) = self.scaled(fact, bearable)?;
                Ok(Preference::Less { weight, fact, bearable })
            }
            (None, None, None, None, [clause]) => {
                Ok(Preference::Holds { weight, clause: clause.clone() })
            }
            (None, None, None, None, [_, ..]) => {
                Ok(Preference::Holds { weight, clause: Clause::All(clauses) })
            }
            _ => Err(place.refuse(format_args!(
                "a preference is {{ more = {number:?}, enough = 4 }}, \
                 {{ less = {number:?}, bearable = 4 }}, or what could be required, such as {}",
                Self::EXAMPLE,
                number = Self::NUMBER,
            ))),
        }
    }

    /// A fact that is a number, and the number at which a preference for it ends.
    fn scaled(&self, fact: Field<'_>, scale: Field<'_>) -> Result<(FactName, u64), JobFileError> {
        let place = fact.place();
        let (name, kind) = fact.parse(|name| self.fact(name))?;
        let read = match kind {
            FactKind::Number | FactKind::Bytes | FactKind::Any => bytes,
            FactKind::Seconds => seconds,
            _ => return Err(place.refuse(format_args!("\"{name}\" is no number"))),
        };
        let place = scale.place();
        match read(scale)? {
            0 => Err(place.refuse("it must be above zero")),
            scale => Ok((name, scale)),
        }
    }
}

/// The fields of a table that stands for as many clauses.
pub(super) fn bounded<'t>(field: Field<'t>) -> Result<Vec<(String, Field<'t>)>, JobFileError> {
    let place = field.place();
    let fields: Vec<_> = field.table()?.into_fields().collect();
    if fields.len() > MAX_CLAUSES {
        return Err(place.refuse(format_args!("at most {MAX_CLAUSES} can be required")));
    }
    Ok(fields)
}

/// What is required of one fact of that kind.
pub(super) fn about(
    fact: FactName,
    kind: FactKind,
    value: Field<'_>,
) -> Result<Clause, JobFileError> {
    if value.is_text("*") {
        return Ok(Clause::Present { fact });
    }
    match kind {
        FactKind::Version => version(fact, value),
        FactKind::Number => number(fact, value, count, "3"),
        FactKind::Bytes => number(fact, value, bytes, "\"2 GiB\""),
        FactKind::Seconds => number(fact, value, seconds, "\"1h\""),
        FactKind::Word => text(fact, value),
        FactKind::Words => words(fact, value),
        FactKind::Any if value.is_table() => number(fact, value, bytes, "3"),
        FactKind::Any if !value.is_boolean() => text(fact, value),
        FactKind::Flag | FactKind::Any => {
            Ok(Clause::Equals { fact, value: value.boolean()?.into() })
        }
    }
}

pub(super) fn version(fact: FactName, field: Field<'_>) -> Result<Clause, JobFileError> {
    let range = field.parse(|text| {
        VersionReq::parse(text).map_err(|error| {
            format!("{text:?} is not a range of versions: {error}; write for example \">=4, <6\" or \"*\"")
        })
    })?;
    // Any version will do, also one that cannot be read as such.
    let any = range == VersionReq::STAR;
    Ok(if any { Clause::Present { fact } } else { Clause::Version { fact, range } })
}

/// `{ at-least = … }` or `{ at-most = … }` or both, with values such as `example`, which `read`
/// understands.
fn number(
    fact: FactName,
    field: Field<'_>,
    read: fn(Field<'_>) -> Result<u64, JobFileError>,
    example: &str,
) -> Result<Clause, JobFileError> {
    let place = field.place();
    let unbounded = || place.refuse(format_args!("write for example {{ at-least = {example} }}"));
    if !field.is_table() {
        return Err(unbounded());
    }
    let mut section = field.section(&["at-least", "at-most"])?;
    let mut bound = |name: &str| section.take(name).map(read);
    match (bound("at-least").transpose()?, bound("at-most").transpose()?) {
        (Some(amount), None) => Ok(Clause::AtLeast { fact, amount }),
        (None, Some(amount)) => Ok(Clause::AtMost { fact, amount }),
        (Some(low), Some(high)) => Ok(Clause::All(vec![
            Clause::AtLeast { fact: fact.clone(), amount: low },
            Clause::AtMost { fact, amount: high },
        ])),
        (None, None) => Err(unbounded()),
    }
}

/// A number without a unit.
fn count(field: Field<'_>) -> Result<u64, JobFileError> {
    field.whole(0..=u32::MAX).map(u64::from)
}

/// An amount of bytes, or a number.
fn bytes(field: Field<'_>) -> Result<u64, JobFileError> {
    field.parse_amount(parse_bytes)
}

/// A duration.
fn seconds(field: Field<'_>) -> Result<u64, JobFileError> {
    let place = field.place();
    let duration = duration(field, MAX_EXPIRY)?;
    match duration.subsec_nanos() {
        0 => Ok(duration.as_secs()),
        _ => Err(place.refuse("it must be in whole seconds")),
    }
}

/// A text, or several of which one will do.
fn text(fact: FactName, field: Field<'_>) -> Result<Clause, JobFileError> {
    if field.is_string() {
        return Ok(Clause::Equals { fact, value: field.string()?.into() });
    }
    let values = field.elements()?.into_iter().map(|element| element.string().map(Fact::from));
    Ok(Clause::OneOf { fact, values: values.collect::<Result<_, _>>()? })
}

fn words(fact: FactName, field: Field<'_>) -> Result<Clause, JobFileError> {
    let place = field.place();
    let words = field.elements()?.into_iter().map(Field::string);
    let words: BTreeSet<_> = words.collect::<Result<_, _>>()?;
    Fact::Set(words.clone()).check(&fact).map_err(|error| place.refuse(error))?;
    Ok(Clause::Includes { fact, words })
}
