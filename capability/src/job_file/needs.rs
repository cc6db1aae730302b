//! The parts of a job file that say what a machine must have, and what it had better have.

use semver::VersionReq;

use super::own_checks::OwnChecks;
use super::reader::{Field, Section, Words};
use super::{ARCHITECTURES, JobFileError, OPERATING_SYSTEMS, bytes, runtimes};
use crate::facts::{Fact, FactName, shortened};
use crate::quantity::parse_bytes;
use crate::requirements::{
    Clause, MAX_CLAUSES, MAX_NESTING, MAX_WEIGHT, Preference, Requirements, Resource,
};
use crate::vocabulary::{CPU_FEATURES, FactKind, fact_kind, nearest_fact};

use super::Limits;

/// The fields of a group of clauses, at the top and inside others.
const GROUP: [&str; 10] =
    ["os", "arch", "cores", "memory", "cpu", "tools", "facts", "all", "any", "not"];

/// Reads `requirements` and `prefer`.
pub(super) fn requirements(
    root: &mut Section<'_>,
    limits: &Limits,
    own: OwnChecks<'_>,
) -> Result<Requirements, JobFileError> {
    let known: Vec<&str> = ["runtimes"].into_iter().chain(GROUP).collect();
    let mut section = root.section("requirements", &known)?;
    let place = section.place();
    let runtimes = runtimes(section.require("runtimes", "runtimes = [\"native\"]")?)?;
    let cores = section.optional("cores", 1, |field| field.count(u32::MAX))?;
    let memory = section.optional("memory", limits.memory, |field| bytes(field, u64::MAX))?;
    let donated = [
        (Resource::Cores, u64::from(cores)),
        (Resource::Memory, memory),
        (Resource::Disk, limits.disk),
    ];
    let mut clauses: Vec<_> =
        donated.map(|(resource, amount)| Clause::Donates { resource, amount }).into();
    clauses.extend(group(section, MAX_NESTING, own)?);
    let rank = preferences(root, own)?;
    let requirements = Requirements { runtimes, clauses, rank };
    // What is said of one field has its place; what is left concerns all of them together.
    requirements.validate().map_err(|error| place.refuse(error))?;
    Ok(requirements)
}

/// The clauses of a group, which must all hold, with `levels` more of groups inside it.
fn group(
    mut section: Section<'_>,
    levels: usize,
    own: OwnChecks<'_>,
) -> Result<Vec<Clause>, JobFileError> {
    let mut clauses = Vec::new();
    for (fact, known) in [("os", OPERATING_SYSTEMS), ("arch", ARCHITECTURES)] {
        if let Some(field) = section.take(fact) {
            let value = field.one_of(&known)?.into();
            clauses.push(Clause::Equals { fact: name(fact), value });
        }
    }
    if let Some(field) = section.take("cores") {
        let amount = field.count(u32::MAX)?.into();
        clauses.push(Clause::Donates { resource: Resource::Cores, amount });
    }
    if let Some(field) = section.take("memory") {
        let amount = bytes(field, u64::MAX)?;
        clauses.push(Clause::Donates { resource: Resource::Memory, amount });
    }
    if let Some(field) = section.take("cpu") {
        let words =
            Words { known: &CPU_FEATURES, aliases: &[("sse4_1", "sse4.1"), ("sse4_2", "sse4.2")] };
        let words = field.elements()?.into_iter().map(|element| element.one_of(&words));
        let words = words.collect::<Result<_, _>>()?;
        clauses.push(Clause::Includes { fact: name("cpu.features"), words });
    }
    if let Some(field) = section.take("tools") {
        for (tool, range) in bounded(field)? {
            let fact = FactName::tool(&tool).map_err(|error| range.key_place().refuse(error))?;
            clauses.push(version(fact, range)?);
        }
    }
    if let Some(field) = section.take("facts") {
        for (fact, value) in bounded(field)? {
            clauses.push(about(&fact, value, own)?);
        }
    }
    if let Some(field) = section.take("all") {
        clauses.extend(groups(field, levels, own)?);
    }
    if let Some(field) = section.take("any") {
        clauses.push(Clause::Any(groups(field, levels, own)?));
    }
    if let Some(field) = section.take("not") {
        clauses.extend(groups(field, levels, own)?.into_iter().map(|it| Clause::Not(Box::new(it))));
    }
    Ok(clauses)
}

/// The groups of an array of tables, each as one clause.
fn groups(
    field: Field<'_>,
    levels: usize,
    own: OwnChecks<'_>,
) -> Result<Vec<Clause>, JobFileError> {
    let place = field.place();
    let Some(levels) = levels.checked_sub(1) else {
        return Err(place.refuse(format_args!("groups are nested over {MAX_NESTING} deep")));
    };
    let elements = field.elements()?;
    if elements.is_empty() {
        return Err(place.refuse("it is empty; write for example [{ tools.gcc = \">=10\" }]"));
    }
    let groups = elements.into_iter().map(|element| {
        let place = element.place();
        let mut clauses = group(element.section(&GROUP)?, levels, own)?;
        match clauses.len() {
            0 => {
                Err(place.refuse("it requires nothing; write for example { tools.gcc = \">=10\" }"))
            }
            1 => Ok(clauses.remove(0)),
            _ => Ok(Clause::All(clauses)),
        }
    });
    groups.collect()
}

/// The fields of a table that stands for as many clauses.
fn bounded<'t>(field: Field<'t>) -> Result<Vec<(String, Field<'t>)>, JobFileError> {
    let place = field.place();
    let fields: Vec<_> = field.table()?.into_fields().collect();
    if fields.len() > MAX_CLAUSES {
        return Err(place.refuse(format_args!("at most {MAX_CLAUSES} can be required")));
    }
    Ok(fields)
}

/// What is required of one fact.
fn about(fact: &str, value: Field<'_>, own: OwnChecks<'_>) -> Result<Clause, JobFileError> {
    let place = value.key_place();
    let Some(kind) = fact_kind(fact) else {
        let meant = nearest_fact(fact).map(|meant| format!("; did you mean {meant:?}?"));
        return Err(place.refuse(format_args!(
            "no volunteer states a fact {:?}{}",
            shortened(fact),
            meant.unwrap_or_default()
        )));
    };
    let fact = own.fact(fact).map_err(|error| place.refuse(error))?;
    if value.is_text("*") {
        return Ok(Clause::Present { fact });
    }
    match kind {
        FactKind::Version => version(fact, value),
        FactKind::Number => number(fact, value, count),
        FactKind::Word => text(fact, value),
        FactKind::Words => words(fact, value),
        FactKind::Any if value.is_boolean() => {
            Ok(Clause::Equals { fact, value: value.boolean()?.into() })
        }
        FactKind::Any if value.is_table() => number(fact, value, amount),
        FactKind::Any => text(fact, value),
    }
}

fn version(fact: FactName, field: Field<'_>) -> Result<Clause, JobFileError> {
    let range = field.parse(|text| {
        VersionReq::parse(text).map_err(|error| {
            format!("{text:?} is not a range of versions: {error}; write for example \">=4, <6\" or \"*\"")
        })
    })?;
    // Any version will do, also one that cannot be read as such.
    let any = range == VersionReq::STAR;
    Ok(if any { Clause::Present { fact } } else { Clause::Version { fact, range } })
}

/// `{ at-least = … }` or `{ at-most = … }`, whose values `read` understands.
fn number(
    fact: FactName,
    field: Field<'_>,
    read: fn(Field<'_>) -> Result<u64, JobFileError>,
) -> Result<Clause, JobFileError> {
    let place = field.place();
    if !field.is_table() {
        return Err(place.refuse("write for example { at-least = 3 }"));
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
        (None, None) => Err(place.refuse("write for example { at-least = 3 }")),
    }
}

/// A number without a unit.
fn count(field: Field<'_>) -> Result<u64, JobFileError> {
    field.count(u32::MAX).map(u64::from)
}

/// A number, or an amount of bytes.
fn amount(field: Field<'_>) -> Result<u64, JobFileError> {
    field.parse_amount(parse_bytes)
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
    let words = field.elements()?.into_iter().map(Field::string);
    Ok(Clause::Includes { fact, words: words.collect::<Result<_, _>>()? })
}

fn preferences(
    root: &mut Section<'_>,
    own: OwnChecks<'_>,
) -> Result<Vec<Preference>, JobFileError> {
    let Some(field) = root.take("prefer") else { return Ok(Vec::new()) };
    field.elements()?.into_iter().map(|field| preference(field, own)).collect()
}

fn preference(field: Field<'_>, own: OwnChecks<'_>) -> Result<Preference, JobFileError> {
    const OWN: [&str; 5] = ["weight", "more", "enough", "less", "bearable"];
    let place = field.place();
    let known: Vec<&str> = OWN.into_iter().chain(GROUP).collect();
    let mut section = field.section(&known)?;
    let weight = section.optional("weight", 1, |field| field.count(MAX_WEIGHT.into()))?;
    let weight = u16::try_from(weight).expect("it is bounded");
    let (more, less) = (section.take("more"), section.take("less"));
    let (enough, bearable) = (section.take("enough"), section.take("bearable"));
    let clauses = group(section, MAX_NESTING, own)?;
    match (more, enough, less, bearable, clauses.as_slice()) {
        (Some(fact), Some(enough), None, None, []) => {
            let (fact, enough) = (number_fact(fact, own)?, scale(enough)?);
            Ok(Preference::More { weight, fact, enough })
        }
        (None, None, Some(fact), Some(bearable), []) => {
            let (fact, bearable) = (number_fact(fact, own)?, scale(bearable)?);
            Ok(Preference::Less { weight, fact, bearable })
        }
        (None, None, None, None, [clause]) => {
            Ok(Preference::Holds { weight, clause: clause.clone() })
        }
        (None, None, None, None, [_, ..]) => {
            Ok(Preference::Holds { weight, clause: Clause::All(clauses) })
        }
        _ => Err(place.refuse(
            "a preference is { more = \"cpu.level\", enough = 4 }, \
             { less = \"cpu.level\", bearable = 4 }, or what could be required, such as \
             { tools.ccache = \"*\" }",
        )),
    }
}

fn number_fact(field: Field<'_>, own: OwnChecks<'_>) -> Result<FactName, JobFileError> {
    let place = field.place();
    let fact = field.string()?;
    match fact_kind(&fact) {
        Some(FactKind::Number | FactKind::Any) => {
            own.fact(&fact).map_err(|error| place.refuse(error))
        }
        Some(_) => Err(place.refuse(format_args!("{fact:?} is no number"))),
        None => {
            let fact = shortened(&fact);
            Err(place.refuse(format_args!("no volunteer states a fact {fact:?}")))
        }
    }
}

fn scale(field: Field<'_>) -> Result<u64, JobFileError> {
    let place = field.place();
    match amount(field)? {
        0 => Err(place.refuse("it must be above zero")),
        scale => Ok(scale),
    }
}

fn name(name: &str) -> FactName {
    name.parse().expect("the names here are lower case words")
}
