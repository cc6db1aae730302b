//! Whether a machine can run a job, and if not, why.
//!
//! This is the plain evaluator: every clause against every wanted runtime, in the order of the
//! requirements. It is the reference for whatever is faster.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::facts::{Capabilities, Fact, FactName, Facts, Resources, Runtime};
use crate::index::Key;
use crate::quantity::format_bytes;
use crate::requirements::{Clause, Preference, Requirements, Resource};

/// The machine can run the job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Match {
    /// The first of the job's runtimes in which everything holds.
    pub runtime: Runtime,
}

/// The machine cannot run the job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", reasons.iter().map(Reason::to_string).collect::<Vec<_>>().join("; "))]
pub struct NoMatch {
    /// Everything that stands in the way; never empty for requirements that are valid.
    pub reasons: Vec<Reason>,
}

/// One thing that stands in the way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "reason")]
pub enum Reason {
    /// The machine has not got a runtime that would do.
    NoRuntime {
        /// The runtime.
        runtime: Runtime,
    },
    /// A clause does not hold in a runtime.
    Clause {
        /// The runtime that was looked at.
        runtime: Runtime,
        /// What does not hold.
        clause: Clause,
        /// The facts that the clause is about, as far as the runtime has them.
        #[serde(skip_serializing_if = "BTreeMap::is_empty")]
        found: BTreeMap<FactName, Fact>,
    },
    /// Less is donated than needed.
    Donation {
        /// Of what.
        resource: Resource,
        /// How much is needed.
        needed: u64,
        /// How much is donated.
        donated: u64,
    },
    /// The job asks for something that this version cannot judge.
    Unknown {
        /// What a newer version calls it.
        kind: String,
    },
}

/// Whether `machine` satisfies `requirements`, in which runtime, or everything that is missing.
///
/// Runtimes are tried in the order that the requirements prefer. A fact that the machine does not
/// state satisfies nothing but its absence; a clause of a newer version is never satisfied.
///
/// # Errors
/// Every clause that fails, for each of the runtimes.
///
/// ```
/// use capability::{Capabilities, Clause, Facts, Platform, Requirements, Resources, Runtime};
/// use capability::{RuntimeFacts, evaluate};
///
/// let mut facts = Facts::new();
/// facts.insert("tool.make", "3.81")?;
/// let machine = Capabilities {
///     platform: Platform::new("linux", "x86_64")?,
///     resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
///     runtimes: [(Runtime::Native, RuntimeFacts { strength: String::new(), facts })].into(),
/// };
/// let job = Requirements {
///     runtimes: vec![Runtime::Native],
///     clauses: vec![Clause::Version { fact: "tool.make".parse()?, range: ">=4".parse()? }],
///     rank: Vec::new(),
/// };
///
/// let no = evaluate(&machine, &job).unwrap_err();
/// assert_eq!(no.to_string(), "needs tool.make >=4, this machine's native runtime has 3.81");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(machine: &Capabilities, requirements: &Requirements) -> Result<Match, NoMatch> {
    let is_global =
        |clause: &&Clause| matches!(clause, Clause::Donates { .. } | Clause::Unknown { .. });
    let (global, local): (Vec<_>, Vec<_>) = requirements.clauses.iter().partition(is_global);
    let resources = machine.resources;
    let nowhere = Place { resources, facts: &Facts::new() };
    // These name no runtime.
    let mut reasons = nowhere.reasons(&global, &Runtime::Native);
    let donated = reasons.is_empty();
    for runtime in requirements.distinct_runtimes() {
        let Some(inside) = machine.runtimes.get(runtime) else {
            reasons.push(Reason::NoRuntime { runtime: runtime.clone() });
            continue;
        };
        let failing = Place { resources, facts: &inside.facts }.reasons(&local, runtime);
        if donated && failing.is_empty() {
            return Ok(Match { runtime: runtime.clone() });
        }
        reasons.extend(failing);
    }
    Err(NoMatch { reasons })
}

/// In which runtime `machine` satisfies `requirements`, if it does: [`evaluate`] for whoever asks of
/// many machines, and wants no reasons.
pub fn satisfies<'r>(
    machine: &Capabilities,
    requirements: &'r Requirements,
) -> Option<&'r Runtime> {
    let enough = |clause: &Clause| match clause {
        Clause::Donates { resource, amount } => machine.resources.amount(*resource) >= *amount,
        _ => true,
    };
    // Amounts lie in the machine itself, facts somewhere else in memory.
    if !requirements.clauses.iter().all(enough) {
        return None;
    }
    requirements.distinct_runtimes().find(|runtime| {
        Place::inside(machine, runtime)
            .is_some_and(|place| requirements.clauses.iter().all(|clause| place.satisfies(clause)))
    })
}

/// How well `machine` suits the job's preferences in `runtime`; the larger the better. 0 where there
/// is no such runtime.
pub fn rank(machine: &Capabilities, runtime: &Runtime, preferences: &[Preference]) -> u64 {
    let Some(place) = Place::inside(machine, runtime) else { return 0 };
    preferences.iter().map(|preference| place.points(preference)).sum()
}

/// What clauses are judged by: for a job the machine, seen from inside one of its runtimes.
pub(crate) struct Place<'a> {
    resources: Resources,
    facts: &'a Facts,
}

impl<'a> Place<'a> {
    /// Facts alone; nobody donates anything.
    pub(crate) fn of_facts(facts: &'a Facts) -> Self {
        Self { resources: Resources::default(), facts }
    }

    /// `machine` from inside `runtime`, if it has it.
    pub(crate) fn inside(machine: &'a Capabilities, runtime: &Runtime) -> Option<Self> {
        let inside = machine.runtimes.get(runtime)?;
        Some(Self { resources: machine.resources, facts: &inside.facts })
    }

    /// What stands beside `clause`: the fact that it is about, or what is donated.
    pub(crate) fn beside(&self, clause: &Clause) -> Option<Fact> {
        match clause {
            Clause::Donates { resource, .. } => {
                Some(Fact::Number(self.resources.amount(*resource)))
            }
            _ => self.facts.get(clause.fact()?.as_str()).cloned(),
        }
    }

    /// The same, to be counted.
    pub(crate) fn key_beside(&self, clause: &Clause) -> Option<Key<'a>> {
        match clause {
            Clause::Donates { resource, .. } => {
                Some(Key::of_number(self.resources.amount(*resource)))
            }
            _ => self.facts.get(clause.fact()?.as_str()).map(Key::of),
        }
    }

    pub(crate) fn satisfies(&self, clause: &Clause) -> bool {
        match clause {
            Clause::Donates { resource, amount } => self.resources.amount(*resource) >= *amount,
            Clause::All(clauses) => clauses.iter().all(|clause| self.satisfies(clause)),
            Clause::Any(clauses) => clauses.iter().any(|clause| self.satisfies(clause)),
            // Not everything that cannot be judged is false.
            Clause::Not(clause) => !clause.has_unknown() && !self.satisfies(clause),
            Clause::Unknown { .. } => false,
            about_a_fact => {
                let found = about_a_fact.fact().and_then(|fact| self.facts.get(fact.as_str()));
                holds(about_a_fact, found)
            }
        }
    }

    /// Why those of `clauses` do not hold that do not.
    fn reasons(&self, clauses: &[&Clause], runtime: &Runtime) -> Vec<Reason> {
        let failing = clauses.iter().filter(|clause| !self.satisfies(clause));
        failing.map(|clause| self.reason(clause, runtime)).collect()
    }

    /// Why `clause`, which does not hold, does not.
    fn reason(&self, clause: &Clause, runtime: &Runtime) -> Reason {
        match clause {
            Clause::Donates { resource, amount } => Reason::Donation {
                resource: *resource,
                needed: *amount,
                donated: self.resources.amount(*resource),
            },
            Clause::Unknown { kind } => Reason::Unknown { kind: kind.clone() },
            _ => {
                let (runtime, found) = (runtime.clone(), self.found(clause));
                Reason::Clause { runtime, clause: clause.clone(), found }
            }
        }
    }

    /// The facts that `clause` is about, as far as they are stated.
    pub(crate) fn found(&self, clause: &Clause) -> BTreeMap<FactName, Fact> {
        let mut found = BTreeMap::new();
        self.collect(clause, &mut found);
        found
    }

    fn collect(&self, clause: &Clause, found: &mut BTreeMap<FactName, Fact>) {
        if let Some(name) = clause.fact()
            && let Some(fact) = self.facts.get(name.as_str())
        {
            found.insert(name.clone(), fact.clone());
        }
        clause.inner().iter().for_each(|clause| self.collect(clause, found));
    }

    pub(crate) fn points(&self, preference: &Preference) -> u64 {
        let number = |fact: &FactName| match self.facts.get(fact.as_str()) {
            Some(Fact::Number(number)) => Some(*number),
            _ => None,
        };
        let (weight, degree) = match preference {
            Preference::Holds { weight, clause } => {
                (weight, if self.satisfies(clause) { Preference::DEGREES } else { 0 })
            }
            Preference::More { weight, fact, enough } => {
                (weight, number(fact).map_or(0, |number| share(number, *enough)))
            }
            Preference::Less { weight, fact, bearable } => {
                let left = |number| Preference::DEGREES - share(number, *bearable);
                (weight, number(fact).map_or(0, left))
            }
            Preference::Unknown { .. } => return 0,
        };
        u64::from(*weight) * degree
    }
}

/// How much of `whole`, which is above 0, `part` is, in [`Preference::DEGREES`] parts, rounded down.
pub(crate) fn share(part: u64, whole: u64) -> u64 {
    let share =
        u128::from(part.min(whole)) * u128::from(Preference::DEGREES) / u128::from(whole.max(1));
    u64::try_from(share).expect("it is one of so many degrees at most")
}

fn holds(clause: &Clause, found: Option<&Fact>) -> bool {
    match (clause, found) {
        (Clause::Absent { .. }, found) => found.is_none(),
        (_, None) => false,
        (Clause::Present { .. }, Some(_)) => true,
        (_, Some(Fact::Unknown)) => false,
        (Clause::Equals { value, .. }, Some(found)) => found == value,
        (Clause::OneOf { values, .. }, Some(found)) => values.contains(found),
        (Clause::AtLeast { amount, .. }, Some(Fact::Number(number))) => number >= amount,
        (Clause::AtMost { amount, .. }, Some(Fact::Number(number))) => number <= amount,
        (Clause::Includes { words, .. }, Some(Fact::Set(found))) => words.is_subset(found),
        (Clause::Version { range, .. }, Some(found)) => {
            found.version().is_some_and(|version| range.matches(&version))
        }
        _ => false,
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime { runtime } => {
                write!(f, "needs runtime {runtime}, this machine does not have it")
            }
            Self::Clause { runtime, clause, found } => {
                write!(f, "needs {clause}, this machine's {runtime} runtime ")?;
                match (clause.fact(), found.first_key_value()) {
                    (Some(_), Some((_, found))) => write!(f, "has {found}"),
                    (Some(_), None) => f.write_str("does not have it"),
                    (None, None) => f.write_str("does not fit"),
                    (None, Some(_)) => {
                        f.write_str("has ")?;
                        found.iter().enumerate().try_for_each(|(index, (name, fact))| {
                            write!(f, "{}{name} {fact}", if index == 0 { "" } else { ", " })
                        })
                    }
                }
            }
            Self::Donation { resource: Resource::Cores, needed, donated } => {
                let (cores, are) = (plural(*needed), if *donated == 1 { "is" } else { "are" });
                write!(f, "needs {needed} {cores}, {donated} {are} donated")
            }
            Self::Donation { resource, needed, donated } => {
                let (needed, donated) = (format_bytes(*needed), format_bytes(*donated));
                write!(f, "needs {needed} of {resource}, {donated} are donated")
            }
            Self::Unknown { kind } => {
                write!(f, "needs {kind:?}, which this version cannot judge")
            }
        }
    }
}

fn plural(cores: u64) -> &'static str {
    if cores == 1 { "core" } else { "cores" }
}
