//! One machine and one job: every requirement, with the fact beside it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::facts::{Capabilities, Fact, Runtime};
use crate::matching::Place;
use crate::quantity::format_bytes;
use crate::requirements::{Clause, Preference, Requirements, Resource};

/// How a machine stands to a job, in each of the job's runtimes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Comparison {
    /// In the order of the requirements.
    pub runtimes: Vec<InRuntime>,
}

/// How a machine stands to a job in one runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct InRuntime {
    /// Which runtime.
    pub runtime: Runtime,
    /// What was found there; nothing if the machine has not got this runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub inside: Option<Inside>,
}

/// What was found inside a runtime.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Inside {
    /// Whether all requirements hold here.
    pub fits: bool,
    /// The requirements.
    pub clauses: Vec<Judged>,
    /// The preferences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rank: Vec<Credited>,
}

/// A clause, and whether it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Judged {
    /// What is needed.
    pub clause: Clause,
    /// Whether it holds.
    pub holds: bool,
    /// The fact that it is about, or what is donated; nothing if that is not stated, or for a group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<Fact>,
    /// The clauses inside a group.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inner: Vec<Self>,
}

/// A preference, and what it counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Credited {
    /// What is preferred.
    pub preference: Preference,
    /// What this machine gets for it.
    pub points: u64,
    /// What a machine could get for it.
    pub most: u64,
}

/// Holds every requirement of a job against `machine`.
///
/// ```
/// use capability::{Capabilities, Clause, Facts, Platform, Requirements, Resources, Runtime};
/// use capability::{RuntimeFacts, compare};
///
/// let mut facts = Facts::new();
/// facts.insert("tool.make", "3.81")?;
/// let machine = Capabilities {
///     platform: Platform::new("linux", "x86_64")?,
///     resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
///     runtimes: [(Runtime::Native, RuntimeFacts { strength: String::new(), facts })].into(),
/// };
/// let make = Clause::Version { fact: "tool.make".parse()?, range: ">=4".parse()? };
/// let gpu = Clause::Not(Box::new(Clause::Present { fact: "gpu".parse()? }));
/// let job = Requirements {
///     runtimes: vec![Runtime::Native, Runtime::Wasm],
///     clauses: vec![make, gpu],
///     rank: Vec::new(),
/// };
/// assert_eq!(
///     compare(&machine, &job).to_string(),
///     "native: could not run it\n\
///      \x20 no   tool.make >=4  3.81\n\
///      \x20 yes  not\n\
///      \x20 no     gpu          not stated\n\
///      wasm: this machine does not have it"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn compare(machine: &Capabilities, requirements: &Requirements) -> Comparison {
    let in_runtime = |runtime: &Runtime| InRuntime {
        runtime: runtime.clone(),
        inside: Place::inside(machine, runtime).map(|place| Inside::of(&place, requirements)),
    };
    Comparison { runtimes: requirements.runtimes.iter().map(in_runtime).collect() }
}

impl Inside {
    fn of(place: &Place<'_>, requirements: &Requirements) -> Self {
        let clauses: Vec<_> =
            requirements.clauses.iter().map(|clause| Judged::of(place, clause)).collect();
        let rank = requirements.rank.iter().map(|preference| Credited::of(place, preference));
        Self { fits: clauses.iter().all(|clause| clause.holds), rank: rank.collect(), clauses }
    }
}

impl Judged {
    fn of(place: &Place<'_>, clause: &Clause) -> Self {
        Self {
            clause: clause.clone(),
            holds: place.satisfies(clause),
            found: place.beside(clause),
            inner: clause.inner().iter().map(|clause| Self::of(place, clause)).collect(),
        }
    }

    /// A line of it, and then those of what is inside.
    fn lines(&self, depth: usize, lines: &mut Vec<Line>) {
        let needed = match &self.clause {
            Clause::All(_) => "all of".to_owned(),
            Clause::Any(_) => "one of".to_owned(),
            Clause::Not(_) => "not".to_owned(),
            clause => clause.to_string(),
        };
        let verdict = if self.holds { "yes" } else { "no" };
        let needed = format!("{:depth$}{needed}", "", depth = 2 * depth);
        lines.push(Line { verdict: verdict.to_owned(), needed, found: self.found() });
        self.inner.iter().for_each(|inner| inner.lines(depth + 1, lines));
    }

    fn found(&self) -> String {
        match (&self.clause, &self.found) {
            (Clause::Donates { resource: Resource::Memory | Resource::Disk, .. }, Some(found)) => {
                match found {
                    Fact::Number(bytes) => format_bytes(*bytes),
                    other => other.to_string(),
                }
            }
            (_, Some(found)) => found.to_string(),
            (Clause::Unknown { .. }, None) => "cannot be judged by this version".to_owned(),
            (Clause::All(_) | Clause::Any(_) | Clause::Not(_), None) => String::new(),
            (_, None) => "not stated".to_owned(),
        }
    }
}

impl Credited {
    fn of(place: &Place<'_>, preference: &Preference) -> Self {
        Self {
            points: place.points(preference),
            most: preference.most(),
            preference: preference.clone(),
        }
    }
}

/// Characters of a need, beyond which it does not move the column of facts.
const WIDEST: usize = 48;

/// One line for people, in columns.
struct Line {
    verdict: String,
    needed: String,
    found: String,
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.runtimes.iter().enumerate().try_for_each(|(index, in_runtime)| {
            let InRuntime { runtime, inside } = in_runtime;
            write!(f, "{}{runtime}: ", if index == 0 { "" } else { "\n" })?;
            match inside {
                None => f.write_str("this machine does not have it"),
                Some(inside) => write!(f, "{inside}"),
            }
        })
    }
}

impl fmt::Display for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.fits { "could run it" } else { "could not run it" })?;
        let mut lines = Vec::new();
        self.clauses.iter().for_each(|clause| clause.lines(0, &mut lines));
        let widths = lines.iter().map(|line| line.needed.chars().count());
        // Longer ones, such as choices of many values, push their facts out of the column.
        let width = widths.filter(|width| *width <= WIDEST).max().unwrap_or(0);
        for Line { verdict, needed, found } in &lines {
            let line = format!("  {verdict:3}  {needed:width$}  {found}");
            write!(f, "\n{}", line.trim_end())?;
        }
        if !self.rank.is_empty() {
            let points: u64 = self.rank.iter().map(|credited| credited.points).sum();
            write!(f, "\n  rank {points}")?;
        }
        self.rank.iter().try_for_each(|Credited { preference, points, most }| {
            write!(f, "\n    {points} of {most} for {preference}")
        })
    }
}
