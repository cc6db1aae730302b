//! What a job needs of a machine, and what it would rather have.
//!
//! Requirements name the runtimes that the job can run in and clauses that must all hold in one of
//! them. A clause is typed; there is no expression to evaluate. On the wire it is an array whose
//! first element names its kind:
//!
//! ```text
//! ["equals", fact, value]          ["one-of", fact, [value, …]]
//! ["at-least", fact, number]       ["at-most", fact, number]
//! ["donates", "cores" / "memory" / "disk", number]
//! ["version", fact, range]         ["includes", fact, [word, …]]
//! ["present", fact]                ["absent", fact]
//! ["all", [clause, …]]             ["any", [clause, …]]             ["not", clause]
//! ```
//!
//! An array that this version does not understand, whether for its kind, its length or one of its
//! values, is [`Clause::Unknown`]. It is carried along and never satisfied, nor is a `not` with one
//! inside: an old volunteer must not run a job whose needs it cannot judge.

mod clause;
mod preference;
mod wire;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use self::clause::Clause;
pub use self::preference::Preference;
use crate::facts::{
    Fact, FactName, FactsError, MAX_RUNTIMES, Runtime, shortened, validated_on_decoding,
};
use crate::invalid::Invalid;

/// Clauses of one job, those inside others and in preferences included: an order of magnitude above
/// what a job file of a large project asks for, and few enough to judge a job in microseconds.
pub const MAX_CLAUSES: usize = 64;
/// Alternatives in one `one-of` clause, and words in one `includes` clause.
pub const MAX_ALTERNATIVES: usize = 64;
/// Levels of clauses inside clauses: alternatives of groups that exclude something, and one more.
pub const MAX_NESTING: usize = 4;
/// Preferences of one job.
pub const MAX_PREFERENCES: usize = 16;
/// Largest weight of a preference.
pub const MAX_WEIGHT: u16 = 1000;

/// What must hold for a machine to run a job.
///
/// Decoding checks the limits; a value made here is checked by [`Requirements::validate`].
///
/// ```
/// use capability::{Clause, Requirements, Resource, Runtime};
///
/// let requirements = Requirements {
///     runtimes: vec![Runtime::Native],
///     clauses: vec![
///         Clause::Equals { fact: "os".parse()?, value: "linux".into() },
///         Clause::Donates { resource: Resource::Cores, amount: 2 },
///     ],
///     rank: Vec::new(),
/// };
/// requirements.validate()?;
/// assert_eq!(requirements.pinned("os"), Some("linux"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct Requirements {
    /// The runtimes that the job can run in, the preferred one first; at least one.
    pub runtimes: Vec<Runtime>,
    /// What must all hold in the runtime that is chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clauses: Vec<Clause>,
    /// What machines that satisfy the clauses are put in order by; see [`Preference`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rank: Vec<Preference>,
}
validated_on_decoding!(Requirements, Invalid::from);

/// What a machine's owner donates in amounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// Processor cores.
    Cores,
    /// Main memory in bytes.
    Memory,
    /// Disk space in bytes.
    Disk,
}

/// Requirements break a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RequirementsError {
    /// No runtime would do, or there are more than [`MAX_RUNTIMES`].
    #[error("{0} runtimes are named, 1 to {MAX_RUNTIMES} are allowed")]
    RuntimeCount(usize),
    /// There are more than [`MAX_CLAUSES`].
    #[error("{0} clauses, those of preferences included, at most {MAX_CLAUSES} are allowed")]
    TooManyClauses(usize),
    /// A `one-of` has no value, or more than [`MAX_ALTERNATIVES`].
    #[error("fact {fact} may be one of {count} values, 1 to {MAX_ALTERNATIVES} are allowed")]
    AlternativeCount {
        /// Which fact.
        fact: FactName,
        /// How many values.
        count: usize,
    },
    /// A group has no clause in it.
    #[error("a group of clauses is empty")]
    EmptyGroup,
    /// Clauses are nested more than [`MAX_NESTING`] deep.
    #[error("clauses are nested over {MAX_NESTING} deep")]
    Nested,
    /// There are more than [`MAX_PREFERENCES`].
    #[error("{0} preferences, at most {MAX_PREFERENCES} are allowed")]
    TooManyPreferences(usize),
    /// A weight is 0 or above [`MAX_WEIGHT`].
    #[error("weight {0}, 1 to {MAX_WEIGHT} are allowed")]
    Weight(u16),
    /// A preference by number ends at 0, where all are alike.
    #[error("the preference for fact {0} ends at 0, it must be above")]
    Scale(FactName),
    /// A value breaks a limit of facts.
    #[error("a value is not one that a fact can have")]
    Value(#[source] FactsError),
}

impl From<RequirementsError> for Invalid {
    fn from(error: RequirementsError) -> Self {
        Self::new("S43", error.to_string())
    }
}

impl Requirements {
    /// Checks every limit that the types do not hold by themselves.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn validate(&self) -> Result<(), RequirementsError> {
        if !(1..=MAX_RUNTIMES).contains(&self.runtimes.len()) {
            return Err(RequirementsError::RuntimeCount(self.runtimes.len()));
        }
        check_together(&self.clauses, &self.rank)
    }

    /// The cores that a task takes: as many as a clause asks to be donated, one by default.
    pub fn cores(&self) -> u32 {
        let cores = self.clauses.iter().map(|clause| match clause {
            Clause::Donates { resource: Resource::Cores, amount } => *amount,
            _ => 1,
        });
        u32::try_from(cores.max().unwrap_or(1).max(1)).unwrap_or(u32::MAX)
    }

    /// The runtimes, each where it is named first: nothing forbids to name one again, which says
    /// nothing more.
    pub fn distinct_runtimes(&self) -> impl Iterator<Item = &Runtime> {
        let named_before = |at: usize, it: &Runtime| self.runtimes[..at].contains(it);
        let named = self.runtimes.iter().enumerate();
        named.filter(move |(at, it)| !named_before(*at, it)).map(|(_, it)| it)
    }

    /// The text that fact `name` must equal, where a clause says so.
    ///
    /// With `os` and `arch` it tells which gossip shard an offer belongs to.
    pub fn pinned(&self, name: &str) -> Option<&str> {
        self.clauses.iter().find_map(|clause| match clause {
            Clause::Equals { fact, value: Fact::Text(value) } if fact.as_str() == name => {
                Some(value.as_str())
            }
            _ => None,
        })
    }
}

/// Checks the limits of clauses and of the preferences beside them.
pub(crate) fn check_together(
    clauses: &[Clause],
    rank: &[Preference],
) -> Result<(), RequirementsError> {
    let preferred = rank.iter().filter_map(Preference::clause);
    let count: usize = clauses.iter().chain(preferred).map(Clause::count).sum();
    if count > MAX_CLAUSES {
        return Err(RequirementsError::TooManyClauses(count));
    }
    clauses.iter().try_for_each(|clause| clause.validate(MAX_NESTING))?;
    if rank.len() > MAX_PREFERENCES {
        return Err(RequirementsError::TooManyPreferences(rank.len()));
    }
    rank.iter().try_for_each(Preference::validate)
}

impl Resource {
    /// The resource's name on the wire and in job files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cores => "cores",
            Self::Memory => "memory",
            Self::Disk => "disk",
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name is none of a [`Resource`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a resource; there are cores, memory and disk")]
pub struct UnknownResource(String);

impl FromStr for Resource {
    type Err = UnknownResource;

    fn from_str(name: &str) -> Result<Self, UnknownResource> {
        [Self::Cores, Self::Memory, Self::Disk]
            .into_iter()
            .find(|resource| resource.name() == name)
            .ok_or_else(|| UnknownResource(shortened(name)))
    }
}
