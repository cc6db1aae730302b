//! Which offers a volunteer takes of those that it could run, and which of them first.
//!
//! A [`Policy`] is to offers what requirements are to machines: clauses that must all hold, and
//! preferences. It speaks of facts that an offer has, such as `duration` or `keywords`; the list is
//! in `docs/operating/volunteer.md`. An offer without a fact satisfies nothing about it but its
//! absence. A policy is evaluated where it is written and is part of no message.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::facts::{Fact, FactName, Facts};
use crate::job_file::{self, JobFileError};
use crate::matching::Place;
use crate::quantity::format_bytes;
use crate::requirements::{Clause, Preference};
use crate::vocabulary::{FactKind, offer_fact_kind};

/// What a volunteer takes, and what it takes first.
///
/// ```
/// use capability::{Facts, Policy};
///
/// let policy = Policy::read("[policy]\nduration = { at-most = \"1h\" }")?;
/// let mut offer = Facts::new();
/// offer.insert("duration", 7200_u64)?;
///
/// let unmet = policy.unmet(&offer);
/// assert_eq!(unmet[0].to_string(), "needs duration of at most 1h, this offer has 2h");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// What must all hold of an offer; none: every offer will do.
    pub clauses: Vec<Clause>,
    /// What offers that will do are put in order by.
    pub rank: Vec<Preference>,
}

/// A clause of a policy beside an offer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What the policy wants.
    pub clause: Clause,
    /// The facts that the clause is about, as far as the offer has them.
    pub found: BTreeMap<FactName, Fact>,
    /// Whether the clause holds.
    pub holds: bool,
}

impl Policy {
    /// Reads the table `policy` of a configuration, whose other fields are not looked at. A
    /// configuration without it has the policy that takes everything.
    ///
    /// # Errors
    /// Names the first problem with its place.
    pub fn read(configuration: &str) -> Result<Self, JobFileError> {
        job_file::policy(configuration)
    }

    /// Every clause beside `offer`, in the order of the policy.
    pub fn examine(&self, offer: &Facts) -> impl Iterator<Item = Finding> {
        let place = Place::of_facts(offer);
        self.clauses.iter().map(move |clause| Finding {
            clause: clause.clone(),
            found: place.found(clause),
            holds: place.satisfies(clause),
        })
    }

    /// The clauses that do not hold of `offer`; without any, the policy takes it.
    pub fn unmet(&self, offer: &Facts) -> Vec<Finding> {
        self.examine(offer).filter(|finding| !finding.holds).collect()
    }

    /// How welcome `offer` is among those that are taken; the larger the better.
    pub fn rank(&self, offer: &Facts) -> u64 {
        let place = Place::of_facts(offer);
        self.rank.iter().map(|preference| place.points(preference)).sum()
    }
}

/// A clause or preference as it reads when it is about offers: with the units of their facts.
#[derive(Debug, Clone, Copy)]
pub struct OfOffer<'a, T>(pub &'a T);

impl fmt::Display for OfOffer<'_, Clause> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, &with_unit)
    }
}

impl fmt::Display for OfOffer<'_, Preference> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Preference::Holds { clause, .. } => write!(f, "{}", OfOffer(clause)),
            Preference::More { fact, enough, .. } => {
                write!(f, "the more {fact}, up to {}", with_unit(fact, *enough))
            }
            Preference::Less { fact, bearable, .. } => {
                write!(f, "the less {fact}, below {}", with_unit(fact, *bearable))
            }
            Preference::Unknown { kind } => write!(f, "{kind:?}"),
        }
    }
}

impl Finding {
    /// The facts on the side of the offer, for people; empty if it has none of them.
    pub fn has(&self) -> String {
        let shown = |(name, fact): (&FactName, &Fact)| match fact {
            Fact::Number(number) => with_unit(name, *number),
            other => other.to_string(),
        };
        let alone = self.clause.fact().is_some();
        let facts = self.found.iter().map(|(name, fact)| match alone {
            true => shown((name, fact)),
            false => format!("{name} {}", shown((name, fact))),
        });
        facts.collect::<Vec<_>>().join(", ")
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "needs {}, this offer ", OfOffer(&self.clause))?;
        match self.has() {
            nothing if nothing.is_empty() => f.write_str("does not state it"),
            has => write!(f, "has {has}"),
        }
    }
}

/// `amount` of the offers' fact `name`.
fn with_unit(name: &FactName, amount: u64) -> String {
    match offer_fact_kind(name.as_str()) {
        Some(FactKind::Bytes) => format_bytes(amount),
        Some(FactKind::Seconds) => {
            humantime::format_duration(Duration::from_secs(amount)).to_string()
        }
        _ => amount.to_string(),
    }
}
