//! Whether a machine can run a job, and if not, why.
//!
//! This is the plain evaluator: every clause against every wanted runtime, in the order of the
//! requirements. It is the reference for whatever is faster.

use std::fmt;

use semver::Version;
use serde::Serialize;

use crate::facts::{Capabilities, Fact, Facts, Resources, Runtime};
use crate::quantity::format_bytes;
use crate::requirements::{Clause, Requirements, Resource};

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
    /// A fact of a runtime is lacking or not as it should be.
    Fact {
        /// The runtime that was looked at.
        runtime: Runtime,
        /// What does not hold.
        clause: Clause,
        /// What the machine says instead, if anything.
        #[serde(skip_serializing_if = "Option::is_none")]
        found: Option<Fact>,
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
/// };
///
/// let no = evaluate(&machine, &job).unwrap_err();
/// assert_eq!(no.to_string(), "needs tool.make >=4, this machine's native runtime has 3.81");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn evaluate(machine: &Capabilities, requirements: &Requirements) -> Result<Match, NoMatch> {
    let clauses = &requirements.clauses;
    let mut reasons: Vec<Reason> =
        clauses.iter().filter_map(|clause| against_machine(clause, machine.resources)).collect();
    let donated = reasons.is_empty();
    for runtime in &requirements.runtimes {
        let Some(inside) = machine.runtimes.get(runtime) else {
            reasons.push(Reason::NoRuntime { runtime: runtime.clone() });
            continue;
        };
        let before = reasons.len();
        reasons.extend(
            clauses.iter().filter_map(|clause| against_runtime(clause, runtime, &inside.facts)),
        );
        if donated && reasons.len() == before {
            return Ok(Match { runtime: runtime.clone() });
        }
    }
    Err(NoMatch { reasons })
}

/// What `clause` finds wrong with the machine as a whole.
fn against_machine(clause: &Clause, resources: Resources) -> Option<Reason> {
    match clause {
        Clause::Donates { resource, amount } => {
            let donated = match resource {
                Resource::Cores => u64::from(resources.cores),
                Resource::Memory => resources.memory,
                Resource::Disk => resources.disk,
            };
            (donated < *amount).then_some(Reason::Donation {
                resource: *resource,
                needed: *amount,
                donated,
            })
        }
        Clause::Unknown { kind } => Some(Reason::Unknown { kind: kind.clone() }),
        _ => None,
    }
}

/// What `clause` finds wrong with one runtime.
fn against_runtime(clause: &Clause, runtime: &Runtime, facts: &Facts) -> Option<Reason> {
    let fact = clause.fact()?;
    let found = facts.get(fact.as_str());
    (!holds(clause, found)).then(|| Reason::Fact {
        runtime: runtime.clone(),
        clause: clause.clone(),
        found: found.cloned(),
    })
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
        (Clause::Version { range, .. }, Some(found)) => {
            found.version().is_some_and(|version| range.matches(&version))
        }
        (Clause::AtLeast { .. } | Clause::Donates { .. } | Clause::Unknown { .. }, Some(_)) => {
            false
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRuntime { runtime } => {
                write!(f, "needs runtime {runtime}, this machine does not have it")
            }
            Self::Fact { runtime, clause, found } => {
                write!(f, "needs {clause}, this machine's {runtime} runtime ")?;
                match found {
                    Some(found) => write!(f, "has {found}"),
                    None => f.write_str("does not have it"),
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

/// Reads a tool's version leniently as a semantic one.
///
/// An epoch (`1:`) and leading letters (`go`, `v`, `jdk-`) are skipped; then come up to three
/// numbers with dots between them; the rest is left out, pre-release marks too, because the
/// suffixes of distributions mean something else. Missing numbers are 0.
///
/// ```
/// use capability::parse_version;
///
/// assert_eq!(parse_version("4.3"), Some(semver::Version::new(4, 3, 0)));
/// assert_eq!(parse_version("12.2.0-14+deb12u1"), Some(semver::Version::new(12, 2, 0)));
/// assert_eq!(parse_version("unknown"), None);
/// ```
pub fn parse_version(text: &str) -> Option<Version> {
    let text = text.trim();
    let text = match text.split_once(':') {
        Some((epoch, rest)) if epoch.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => text,
    };
    let text = text.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    let text = text.strip_prefix(['-', '_', ' ']).unwrap_or(text);
    let mut rest = text;
    let mut numbers = [0; 3];
    for (index, number) in numbers.iter_mut().enumerate() {
        let digits = match index {
            0 => rest,
            _ => match rest.strip_prefix('.') {
                Some(digits) if digits.starts_with(|c: char| c.is_ascii_digit()) => digits,
                _ => break,
            },
        };
        let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
        *number = digits[..end].parse().ok()?;
        rest = &digits[end..];
    }
    let [major, minor, patch] = numbers;
    Some(Version::new(major, minor, patch))
}
