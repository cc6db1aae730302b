//! What orders the machines that can run a job.

use std::fmt;

use super::{Clause, MAX_NESTING, MAX_WEIGHT, RequirementsError};
use crate::facts::FactName;

/// What a job would rather have, and how much that counts.
///
/// A machine's rank is the sum over all preferences of weight times degree, where the degree is a
/// whole number from 0 to [`Preference::DEGREES`]. On the wire:
///
/// ```text
/// ["holds", weight, clause]   ["more", weight, fact, enough]   ["less", weight, fact, bearable]
/// ```
///
/// What a reader does not understand counts nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Preference {
    /// The clause holds, which is all of the degree.
    Holds {
        /// What it counts, 1 to [`MAX_WEIGHT`].
        weight: u16,
        /// What is preferred.
        clause: Clause,
    },
    /// The fact is a number, the larger the better up to `enough`, and the degree in proportion.
    More {
        /// What it counts, 1 to [`MAX_WEIGHT`].
        weight: u16,
        /// Which fact.
        fact: FactName,
        /// More than this is no better; above 0.
        enough: u64,
    },
    /// The fact is a number, the smaller the better, and the degree what is left to `bearable`.
    Less {
        /// What it counts, 1 to [`MAX_WEIGHT`].
        weight: u16,
        /// Which fact.
        fact: FactName,
        /// More than this is no worse; above 0.
        bearable: u64,
    },
    /// A preference of a newer version; counts nothing. Encoding keeps its kind alone.
    Unknown {
        /// What the newer version calls it.
        kind: String,
    },
}

impl Preference {
    /// Parts of a preference that can be fulfilled: a thousandth of it changes no order that
    /// anybody would care about.
    pub const DEGREES: u64 = 1000;

    /// What it counts; nothing if it is of a newer version.
    pub fn weight(&self) -> u16 {
        match self {
            Self::Holds { weight, .. } | Self::More { weight, .. } | Self::Less { weight, .. } => {
                *weight
            }
            Self::Unknown { .. } => 0,
        }
    }

    /// What a machine could get for it at most.
    pub fn most(&self) -> u64 {
        u64::from(self.weight()) * Self::DEGREES
    }

    /// The clause that is preferred, if it is one.
    pub(super) fn clause(&self) -> Option<&Clause> {
        match self {
            Self::Holds { clause, .. } => Some(clause),
            Self::More { .. } | Self::Less { .. } | Self::Unknown { .. } => None,
        }
    }

    pub(super) fn validate(&self) -> Result<(), RequirementsError> {
        let weight = match self {
            Self::Holds { weight, clause } => {
                clause.validate(MAX_NESTING)?;
                weight
            }
            Self::More { weight, fact, enough: scale }
            | Self::Less { weight, fact, bearable: scale } => {
                if *scale == 0 {
                    return Err(RequirementsError::Scale(fact.clone()));
                }
                weight
            }
            Self::Unknown { .. } => return Ok(()),
        };
        let allowed = (1..=MAX_WEIGHT).contains(weight);
        if allowed { Ok(()) } else { Err(RequirementsError::Weight(*weight)) }
    }
}

impl fmt::Display for Preference {
    /// What is preferred, as it fits after "prefers".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Holds { clause, .. } => write!(f, "{clause}"),
            Self::More { fact, enough, .. } => write!(f, "more {fact}, up to {enough}"),
            Self::Less { fact, bearable, .. } => write!(f, "less {fact}, down from {bearable}"),
            Self::Unknown { kind } => write!(f, "{kind:?}"),
        }
    }
}
