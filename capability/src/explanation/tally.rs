//! Counting, one machine after the other.

use super::milder::{Found, can_be_milder, gist, milder, parts};
use super::{Explanation, Need, Obstacle};
use crate::facts::{Capabilities, Runtime};
use crate::index::Key;
use crate::matching::Place;
use crate::requirements::{Clause, Requirements};

/// How `machines` stand to `requirements`: each clause against each machine.
pub fn explain<'m>(
    machines: impl IntoIterator<Item = &'m Capabilities>,
    requirements: &Requirements,
) -> Explanation {
    let mut tally = Tally::new(requirements);
    machines.into_iter().for_each(|machine| tally.count(machine));
    tally.finish()
}

/// What has been counted so far.
pub(crate) struct Tally<'a> {
    requirements: &'a Requirements,
    pub(crate) known: u64,
    pub(crate) matching: u64,
    /// Machines that have none of the runtimes.
    pub(crate) without_runtime: u64,
    /// Those of them in which all else holds in a runtime that the job does not name.
    pub(crate) elsewhere: u64,
    /// By clause.
    pub(crate) excluded: Vec<u64>,
    kept_out: Vec<KeptOut<'a>>,
}

/// The machines that one clause alone keeps out.
#[derive(Debug, Clone, Default)]
struct KeptOut<'a> {
    count: u64,
    /// For each part of the clause, what stands beside it where it would let a machine in by holding.
    found: Vec<Found<'a>>,
}

impl<'a> Tally<'a> {
    pub(crate) fn new(requirements: &'a Requirements) -> Self {
        let clauses = requirements.clauses.len();
        Self {
            requirements,
            known: 0,
            matching: 0,
            without_runtime: 0,
            elsewhere: 0,
            excluded: vec![0; clauses],
            kept_out: vec![KeptOut::default(); clauses],
        }
    }

    fn count(&mut self, machine: &'a Capabilities) {
        self.known += 1;
        let runtimes = self.requirements.distinct_runtimes();
        let places: Vec<_> =
            runtimes.filter_map(|runtime| Place::inside(machine, runtime)).collect();
        if places.is_empty() {
            self.without_runtime += 1;
            self.elsewhere += u64::from(self.fits_elsewhere(machine));
            return;
        }
        let failing: Vec<_> = places.iter().map(|place| self.failing_in(place)).collect();
        if failing.iter().any(Vec::is_empty) {
            self.matching += 1;
            return;
        }
        for clause in 0..self.requirements.clauses.len() {
            self.excluded[clause] +=
                u64::from(failing.iter().all(|failing| failing.contains(&clause)));
            let only = |failing: &Vec<usize>| *failing == [clause];
            let where_alone = places.iter().zip(&failing).filter(|(_, failing)| only(failing));
            let where_alone: Vec<_> = where_alone.map(|(place, _)| place).collect();
            if !where_alone.is_empty() {
                let needed = &self.requirements.clauses[clause];
                self.keep_out(clause, |_, part| {
                    let hinging = where_alone.iter().filter(|place| hinges(place, needed, part));
                    hinging.filter_map(|place| place.key_beside(part)).collect()
                });
            }
        }
    }

    /// The clauses that do not hold in `place`.
    fn failing_in(&self, place: &Place<'_>) -> Vec<usize> {
        let clauses = self.requirements.clauses.iter().enumerate();
        clauses.filter(|(_, clause)| !place.satisfies(clause)).map(|(index, _)| index).collect()
    }

    /// `clause` alone keeps a machine out, which has `beside` a part of it, given with its number, those
    /// values where the clause would hold if the part did.
    ///
    /// Many machines have few values between them, so that values are counted and not collected.
    pub(crate) fn keep_out(
        &mut self,
        clause: usize,
        beside: impl Fn(usize, &Clause) -> Vec<Key<'a>>,
    ) {
        let kept_out = &mut self.kept_out[clause];
        kept_out.count += 1;
        let needed = &self.requirements.clauses[clause];
        kept_out.found.resize_with(parts(needed).len(), Found::new);
        let counted = parts(needed).iter().zip(&mut kept_out.found).enumerate();
        for (number, (part, found)) in counted.filter(|(_, (part, _))| can_be_milder(part)) {
            let beside = beside(number, part).into_iter();
            let mut values: Vec<_> = beside.filter_map(|value| gist(part, value)).collect();
            values.sort_unstable();
            values.dedup();
            if !values.is_empty() {
                *found.entry(values).or_default() += 1;
            }
        }
    }

    fn fits_elsewhere(&self, machine: &Capabilities) -> bool {
        Runtime::KNOWN.iter().any(|runtime| {
            Place::inside(machine, runtime).is_some_and(|place| self.failing_in(&place).is_empty())
        })
    }

    pub(crate) fn finish(self) -> Explanation {
        let runtimes = Obstacle {
            need: Need::Runtimes(self.requirements.runtimes.clone()),
            excludes: self.without_runtime,
            alone: self.elsewhere,
            relaxed: None,
        };
        let counted = self.excluded.iter().zip(&self.kept_out);
        let clauses =
            self.requirements.clauses.iter().zip(counted).map(|(clause, (excludes, kept_out))| {
                Obstacle {
                    need: Need::Clause(clause.clone()),
                    excludes: *excludes,
                    alone: kept_out.count,
                    relaxed: milder(clause, &kept_out.found),
                }
            });
        let obstacles = std::iter::once(runtimes).chain(clauses).collect();
        Explanation::new(self.known, self.matching, obstacles)
    }
}

/// Whether `clause`, which does not hold in `place`, would if `part` of it did.
fn hinges(place: &Place<'_>, clause: &Clause, part: &Clause) -> bool {
    match clause {
        Clause::All(clauses) => {
            clauses.iter().all(|other| std::ptr::eq(other, part) || place.satisfies(other))
        }
        _ => true,
    }
}
