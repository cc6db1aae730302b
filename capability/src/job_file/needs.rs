//! The parts of a job file that say what a machine must have, and what it had better have.

use super::clauses::{self, Subject, bounded, version};
use super::limits::bytes;
use super::own_checks::OwnChecks;
use super::reader::{Section, Words};
use super::{ARCHITECTURES, JobFileError, Limits, OPERATING_SYSTEMS, runtimes};
use crate::facts::{FactName, shortened};
use crate::requirements::{Clause, MAX_NESTING, Requirements, Resource};
use crate::vocabulary::{CPU_FEATURES, FactKind, fact_kind, misspelt_tool, nearest_fact};

/// Reads `requirements` and `prefer`.
pub(super) fn requirements(
    root: &mut Section<'_>,
    limits: &Limits,
    own: OwnChecks<'_>,
) -> Result<Requirements, JobFileError> {
    let machines = Machines { own };
    let mut section = root.section("requirements", &machines.known(&["runtimes"]))?;
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
    clauses.extend(machines.group(section, MAX_NESTING)?);
    let rank = machines.preferences(root)?;
    let requirements = Requirements { runtimes, clauses, rank };
    // What is said of one field has its place; what is left concerns all of them together.
    requirements.validate().map_err(|error| place.refuse(error))?;
    Ok(requirements)
}

/// Machines: clauses in a job file are about their facts.
struct Machines<'r> {
    own: OwnChecks<'r>,
}

impl Subject for Machines<'_> {
    const EXAMPLE: &'static str = "{ tools.gcc = \">=10\" }";
    const NUMBER: &'static str = "cpu.level";

    fn fields(&self) -> Vec<&'static str> {
        vec!["os", "arch", "cores", "memory", "cpu", "tools", "facts"]
    }

    fn clauses(&self, section: &mut Section<'_>) -> Result<Vec<Clause>, JobFileError> {
        let mut found = Vec::new();
        for (fact, known) in [("os", OPERATING_SYSTEMS), ("arch", ARCHITECTURES)] {
            if let Some(field) = section.take(fact) {
                let value = field.one_of(&known)?.into();
                found.push(Clause::Equals { fact: name(fact), value });
            }
        }
        if let Some(field) = section.take("cores") {
            let amount = field.count(u32::MAX)?.into();
            found.push(Clause::Donates { resource: Resource::Cores, amount });
        }
        if let Some(field) = section.take("memory") {
            let amount = bytes(field, u64::MAX)?;
            found.push(Clause::Donates { resource: Resource::Memory, amount });
        }
        if let Some(field) = section.take("cpu") {
            let words = Words {
                known: &CPU_FEATURES,
                aliases: &[("sse4_1", "sse4.1"), ("sse4_2", "sse4.2")],
            };
            let words = field.elements()?.into_iter().map(|element| element.one_of(&words));
            let words = words.collect::<Result<_, _>>()?;
            found.push(Clause::Includes { fact: name("cpu.features"), words });
        }
        if let Some(field) = section.take("tools") {
            for (tool, range) in bounded(field)? {
                let place = range.key_place();
                let fact = FactName::tool(&tool).map_err(|error| place.refuse(error))?;
                if let Some(meant) = misspelt_tool(&tool) {
                    return Err(place.refuse(format_args!(
                        "no volunteer looks for it by itself; did you mean {meant:?}? if not, require \
                         facts.\"{fact}\", and ask owners to add the tool"
                    )));
                }
                found.push(version(fact, range)?);
            }
        }
        if let Some(field) = section.take("facts") {
            for (fact, value) in bounded(field)? {
                let place = value.key_place();
                let (fact, kind) = self.fact(&fact).map_err(|error| place.refuse(error))?;
                found.push(clauses::about(fact, kind, value)?);
            }
        }
        Ok(found)
    }

    fn fact(&self, name: &str) -> Result<(FactName, FactKind), String> {
        let kind = fact_kind(name).ok_or_else(|| unknown(name))?;
        Ok((self.own.fact(name)?, kind))
    }
}

/// That no machine has such a fact, and which was probably meant.
pub(super) fn unknown(fact: &str) -> String {
    let meant = nearest_fact(fact).map(|meant| format!("; did you mean {meant:?}?"));
    format!("no volunteer states a fact {:?}{}", shortened(fact), meant.unwrap_or_default())
}

fn name(name: &str) -> FactName {
    name.parse().expect("the names here are lower case words")
}
