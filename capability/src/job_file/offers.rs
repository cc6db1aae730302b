//! `[policy]` of a volunteer's configuration: the clauses of job files, about Offers.

use super::clauses::{self, Subject};
use super::needs;
use super::reader::{Field, Section};
use super::{JobFileError, RUNTIMES};
use crate::facts::{FactName, shortened};
use crate::key::ProjectKey;
use crate::policy::Policy;
use crate::requirements::{Clause, MAX_NESTING, check_together};
use crate::vocabulary::{FactKind, OFFER_FACTS, fact_kind, offer_fact_kind};

/// Offers: clauses in a policy are about their facts.
struct Offers;

impl Subject for Offers {
    const EXAMPLE: &'static str = "{ keywords = [\"compilers\"] }";
    const NUMBER: &'static str = "others";

    fn fields(&self) -> Vec<&'static str> {
        OFFER_FACTS.iter().map(|(name, _)| *name).collect()
    }

    fn clauses(&self, section: &mut Section<'_>) -> Result<Vec<Clause>, JobFileError> {
        let mut found = Vec::new();
        for (name, kind) in OFFER_FACTS {
            let Some(field) = section.take(name) else { continue };
            let fact = name.parse().expect("the names there are lower case words");
            found.push(match name {
                "project-key" => keys(fact, field)?,
                "runtimes" => words(fact, field, |word| word.one_of(&RUNTIMES))?,
                "needs" => words(fact, field, known_fact)?,
                _ => clauses::about(fact, kind, field)?,
            });
        }
        Ok(found)
    }

    fn fact(&self, name: &str) -> Result<(FactName, FactKind), String> {
        let known = offer_fact_kind(name).zip(name.parse().ok());
        let known = known.map(|(kind, fact)| (fact, kind));
        known.ok_or_else(|| format!("no offer has a fact {:?}", shortened(name)))
    }
}

/// Reads `policy` of `document`, of which the other fields are somebody else's.
pub(crate) fn policy(document: &str) -> Result<Policy, JobFileError> {
    let mut document = Section::document(document)?;
    let mut section = document.section("policy", &Offers.known(&["prefer"]))?;
    let place = section.place();
    let rank = Offers.preferences(&mut section)?;
    let clauses = Offers.group(section, MAX_NESTING)?;
    check_together(&clauses, &rank).map_err(|error| place.refuse(error))?;
    Ok(Policy { clauses, rank })
}

/// A project's key, or several of which one will do.
fn keys(fact: FactName, field: Field<'_>) -> Result<Clause, JobFileError> {
    let key = |field: Field<'_>| field.parse(str::parse::<ProjectKey>).map(|key| key.to_string());
    if field.is_string() {
        return Ok(Clause::Equals { fact, value: key(field)?.into() });
    }
    let values = field.elements()?.into_iter().map(|element| key(element).map(Into::into));
    Ok(Clause::OneOf { fact, values: values.collect::<Result<_, _>>()? })
}

/// A set of words that `read` knows.
fn words(
    fact: FactName,
    field: Field<'_>,
    read: fn(Field<'_>) -> Result<String, JobFileError>,
) -> Result<Clause, JobFileError> {
    let words = field.elements()?.into_iter().map(read);
    Ok(Clause::Includes { fact, words: words.collect::<Result<_, _>>()? })
}

/// The name of a fact that machines have.
fn known_fact(field: Field<'_>) -> Result<String, JobFileError> {
    field.parse(|name| match fact_kind(name) {
        Some(_) => Ok(name.to_owned()),
        None => Err(needs::unknown(name)),
    })
}
