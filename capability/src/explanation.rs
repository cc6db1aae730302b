//! Why so few machines can run a job, and what would change that.
//!
//! An [`Explanation`] counts. For each [`Need`] of the job it says how many machines it excludes, how
//! many it *alone* keeps out, and which milder clause would let most of those in. [`explain`] is the
//! plain reference for whatever counts faster.

mod milder;
mod tally;

use std::cmp::Reverse;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use tally::explain;

pub(crate) use self::milder::{can_be_milder, parts};
pub(crate) use self::tally::Tally;

use crate::facts::{MAX_RUNTIMES, Runtime, validated_on_decoding};
use crate::requirements::{Clause, MAX_CLAUSES, MAX_NESTING, RequirementsError};

/// How the machines that somebody knows stand to a job's requirements.
///
/// Decoding checks that it is no larger than the requirements that it could be about.
///
/// ```
/// use capability::{Clause, Explanation, Need, Obstacle, Relaxed};
///
/// let needs = |range: &str| -> Result<Clause, Box<dyn std::error::Error>> {
///     Ok(Clause::Version { fact: "tool.cmake".parse()?, range: range.parse()? })
/// };
/// let explanation = Explanation {
///     known: 340,
///     matching: 12,
///     obstacles: vec![Obstacle {
///         need: Need::Clause(needs(">=3.25")?),
///         excludes: 210,
///         alone: 35,
///         relaxed: Some(Relaxed { clause: needs(">=3.22")?, gains: 30 }),
///     }],
/// };
/// assert_eq!(
///     explanation.to_string(),
///     "12 of 340 machines could run it\n\
///      needs tool.cmake >=3.25: excludes 210, alone 35; with tool.cmake >=3.22 it would be 30 more\n\
///      most would be gained with tool.cmake >=3.22: 30 machines"
/// );
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct Explanation {
    /// Machines that were looked at.
    pub known: u64,
    /// Those of them that satisfy every requirement.
    pub matching: u64,
    /// What keeps the others out: what keeps out most alone first, then what excludes most. Needs
    /// that exclude nobody are left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<Obstacle>,
}
validated_on_decoding!(Explanation);

/// A need that some machines do not meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Obstacle {
    /// What is needed.
    pub need: Need,
    /// Machines that do not meet it in any of the job's runtimes that they have.
    pub excludes: u64,
    /// Machines that would match if this were not needed. A machine with several of the job's
    /// runtimes can be kept out of each by another need; then each of those needs is one without
    /// which it would match, although none excludes it.
    pub alone: u64,
    /// The milder clause that lets in many of the machines that this alone keeps out, if one does
    /// and keeps the clause's sense.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub relaxed: Option<Relaxed>,
}

/// One thing that a job needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Need {
    /// One of these runtimes. A machine that has none of them is excluded by this alone if all the
    /// rest holds in another runtime that this version knows.
    Runtimes(Vec<Runtime>),
    /// What this says, groups as a whole.
    Clause(Clause),
}

/// A milder clause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Relaxed {
    /// What could stand in the clause's place.
    pub clause: Clause,
    /// How many more machines would match.
    pub gains: u64,
}

impl Explanation {
    /// Puts `obstacles`, given in the order of the requirements, in that of their weight.
    fn new(known: u64, matching: u64, mut obstacles: Vec<Obstacle>) -> Self {
        obstacles.retain(|obstacle| obstacle.excludes > 0 || obstacle.alone > 0);
        obstacles.sort_by_key(|obstacle| Reverse((obstacle.alone, obstacle.excludes)));
        Self { known, matching, obstacles }
    }

    /// The obstacle of which something milder gains most.
    pub fn worst(&self) -> Option<&Obstacle> {
        let gaining = self.obstacles.iter().filter(|obstacle| obstacle.gains() > 0);
        // Of equals the first, where `max_by_key` gives the last.
        gaining.rev().max_by_key(|obstacle| obstacle.gains())
    }

    fn validate(&self) -> Result<(), RequirementsError> {
        let mut clauses = 0;
        for obstacle in &self.obstacles {
            match &obstacle.need {
                Need::Runtimes(runtimes) if !(1..=MAX_RUNTIMES).contains(&runtimes.len()) => {
                    return Err(RequirementsError::RuntimeCount(runtimes.len()));
                }
                Need::Runtimes(_) => clauses += 1,
                Need::Clause(clause) => clauses += clause.count(),
            }
            obstacle.clauses().try_for_each(|clause| clause.validate(MAX_NESTING))?;
        }
        // The runtimes count as one.
        if clauses > MAX_CLAUSES + 1 {
            return Err(RequirementsError::TooManyClauses(clauses));
        }
        Ok(())
    }
}

impl Obstacle {
    /// How many more machines would match with the milder clause or, where there is none, without
    /// this need.
    pub fn gains(&self) -> u64 {
        self.relaxed.as_ref().map_or(self.alone, |relaxed| relaxed.gains)
    }

    fn clauses(&self) -> impl Iterator<Item = &Clause> {
        let needed = match &self.need {
            Need::Clause(clause) => Some(clause),
            Need::Runtimes(_) => None,
        };
        needed.into_iter().chain(self.relaxed.as_ref().map(|relaxed| &relaxed.clause))
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.matching, self.known) {
            (_, 0) => f.write_str("no machine is known")?,
            (0, 1) => f.write_str("the 1 machine could not run it")?,
            (0, known) => write!(f, "none of {known} machines could run it")?,
            (matching, known) => write!(f, "{matching} of {} could run it", machines(known))?,
        }
        self.obstacles.iter().try_for_each(|obstacle| write!(f, "\n{obstacle}"))?;
        let Some(worst) = self.worst() else { return Ok(()) };
        let gained = machines(worst.gains());
        match (&worst.need, &worst.relaxed) {
            (_, Some(relaxed)) => {
                write!(f, "\nmost would be gained with {}: {gained}", relaxed.clause)
            }
            (Need::Clause(clause), None) => {
                write!(f, "\nmost would be gained without {clause}: {gained}")
            }
            (Need::Runtimes(_), None) => {
                write!(f, "\nmost would be gained in another runtime: {gained}")
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { need, excludes, alone, relaxed } = self;
        write!(f, "needs {need}: excludes {excludes}")?;
        if *alone > 0 {
            write!(f, ", alone {alone}")?;
        }
        match relaxed {
            Some(Relaxed { clause, gains }) => {
                write!(f, "; with {clause} it would be {gains} more")
            }
            None => Ok(()),
        }
    }
}

impl fmt::Display for Need {
    /// What is needed, as it fits after "needs".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Runtimes(runtimes) => {
                f.write_str("runtime ")?;
                runtimes.iter().enumerate().try_for_each(|(index, runtime)| {
                    write!(f, "{}{runtime}", if index == 0 { "" } else { " or " })
                })
            }
            Self::Clause(clause) => write!(f, "{clause}"),
        }
    }
}

fn machines(count: u64) -> String {
    let word = if count == 1 { "machine" } else { "machines" };
    format!("{count} {word}")
}
