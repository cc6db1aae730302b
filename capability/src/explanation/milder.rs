//! A milder clause in place of one that alone keeps machines out.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Comparator, Op, Prerelease, Version, VersionReq};

use super::Relaxed;
use crate::cbor;
use crate::facts::Fact;
use crate::requirements::{Clause, MAX_ALTERNATIVES, Resource};

/// Amounts of bytes are suggested in whole ones of these: nobody writes more digits.
const MIB: u64 = 1 << 20;

/// The clauses of which one may become milder: `clause` itself, or what stands in a group.
pub(crate) fn parts(clause: &Clause) -> &[Clause] {
    match clause {
        Clause::All(clauses) | Clause::Any(clauses) => clauses,
        other => std::slice::from_ref(other),
    }
}

/// Whether [`milder`] has an answer for such parts.
pub(crate) fn can_be_milder(part: &Clause) -> bool {
    matches!(
        part,
        Clause::AtLeast { .. }
            | Clause::AtMost { .. }
            | Clause::Donates { .. }
            | Clause::Version { .. }
            | Clause::Equals { .. }
            | Clause::OneOf { .. }
            | Clause::Includes { .. }
    )
}

/// The milder clause that keeps the sense of `clause`, and how many of the machines it would let in
/// that `clause` alone keeps out. `found` has, for each of its [`parts`], what stands beside that part
/// on each machine that it would let in by holding.
///
/// A bound moves to the median of the machines, so that it lets half of them in; a range of versions
/// becomes a bound. What may be one of some values may also be the commonest other one; of some words
/// one is not needed. In a group the part changes of which a milder one gains most.
pub(crate) fn milder(clause: &Clause, found: &[Vec<Vec<Fact>>]) -> Option<Relaxed> {
    let relaxed = parts(clause).iter().zip(found).enumerate();
    let relaxed = relaxed.filter_map(|(at, (part, found))| Some((at, milder_part(part, found)?)));
    // Of equals the first, where `max_by_key` gives the last.
    let relaxed: Vec<_> = relaxed.collect();
    let (at, part) = relaxed.into_iter().rev().max_by_key(|(_, relaxed)| relaxed.gains)?;
    let mut clause = clause.clone();
    match &mut clause {
        Clause::All(clauses) | Clause::Any(clauses) => clauses[at] = part.clause,
        other => *other = part.clause,
    }
    Some(Relaxed { clause, gains: part.gains })
}

fn milder_part(part: &Clause, found: &[Vec<Fact>]) -> Option<Relaxed> {
    match part {
        Clause::AtLeast { fact, .. } => {
            let (amount, gains) = lower(best(found, number, Ord::max))?;
            Some(Relaxed { clause: Clause::AtLeast { fact: fact.clone(), amount }, gains })
        }
        Clause::AtMost { fact, .. } => {
            let (amount, gains) = upper(best(found, number, Ord::min))?;
            Some(Relaxed { clause: Clause::AtMost { fact: fact.clone(), amount }, gains })
        }
        Clause::Donates { resource, .. } => {
            let donated = best(found, number, Ord::max).into_iter();
            let (amount, gains) = lower(donated.map(|amount| rounded(*resource, amount)))?;
            Some(Relaxed { clause: Clause::Donates { resource: *resource, amount }, gains })
        }
        Clause::Version { fact, range } => {
            let (range, gains) = wider(range, found)?;
            Some(Relaxed { clause: Clause::Version { fact: fact.clone(), range }, gains })
        }
        Clause::Equals { fact, value } => {
            let (other, gains) = commonest(found)?;
            let values = vec![value.clone(), other];
            Some(Relaxed { clause: Clause::OneOf { fact: fact.clone(), values }, gains })
        }
        Clause::OneOf { fact, values } if values.len() < MAX_ALTERNATIVES => {
            let (other, gains) = commonest(found)?;
            let values = values.iter().cloned().chain([other]).collect();
            Some(Relaxed { clause: Clause::OneOf { fact: fact.clone(), values }, gains })
        }
        Clause::Includes { fact, words } if words.len() > 1 => {
            let (spared, gains) = dearest(words, found)?;
            let words = words.iter().filter(|word| *word != spared).cloned().collect();
            Some(Relaxed { clause: Clause::Includes { fact: fact.clone(), words }, gains })
        }
        _ => None,
    }
}

/// The one of `words` without which most machines would have them all, and how many those are.
fn dearest<'w>(words: &'w BTreeSet<String>, found: &[Vec<Fact>]) -> Option<(&'w String, u64)> {
    let has_others = |fact: &Fact, spared: &String| match fact {
        Fact::Set(has) => words.iter().all(|word| word == spared || has.contains(word)),
        _ => false,
    };
    let gains = |spared: &String| {
        let let_in = |machine: &&Vec<Fact>| machine.iter().any(|fact| has_others(fact, spared));
        found.iter().filter(let_in).count() as u64
    };
    let gains = words.iter().rev().map(|spared| (spared, gains(spared)));
    // Of equals the first, where `max_by_key` gives the last.
    gains.max_by_key(|(_, gains)| *gains).filter(|(_, gains)| *gains > 0)
}

/// The most machines that one other value would let in, and that value.
fn commonest(found: &[Vec<Fact>]) -> Option<(Fact, u64)> {
    // By encoding, which is an order that facts have not.
    let mut counts: BTreeMap<Vec<u8>, (&Fact, u64)> = BTreeMap::new();
    for machine in found {
        let known = machine.iter().filter(|fact| **fact != Fact::Unknown);
        let distinct: BTreeMap<_, _> = known.map(|fact| (cbor::encode(fact), fact)).collect();
        for (encoded, fact) in distinct {
            counts.entry(encoded).or_insert((fact, 0)).1 += 1;
        }
    }
    // Of equals the first, where `max_by_key` gives the last.
    let (fact, count) = counts.into_values().rev().max_by_key(|(_, count)| *count)?;
    Some((fact.clone(), count))
}

fn wider(range: &VersionReq, found: &[Vec<Fact>]) -> Option<(VersionReq, u64)> {
    let Some(floor) = range.comparators.iter().filter_map(floor).max() else {
        let (bound, gains) = upper(best(found, Fact::version, Ord::min))?;
        return Some((bounded(Op::LessEq, &bound), gains));
    };
    let versions = best(found, Fact::version, Ord::max);
    let (median, _) = lower(versions.iter().cloned())?;
    // Not above what the range takes already.
    let bound = median.min(floor);
    let gains = versions.iter().filter(|version| **version >= bound).count();
    Some((bounded(Op::GreaterEq, &bound), gains as u64))
}

/// A version that nothing which `comparator` takes is below, if it has such.
fn floor(comparator: &Comparator) -> Option<Version> {
    let Comparator { op, major, minor, patch, .. } = comparator;
    match op {
        Op::Less | Op::LessEq => None,
        _ => Some(Version::new(*major, minor.unwrap_or(0), patch.unwrap_or(0))),
    }
}

/// The range on one side of `bound`, in as few numbers as say it.
fn bounded(op: Op, bound: &Version) -> VersionReq {
    let Version { major, minor, patch, .. } = *bound;
    // `<=3.2` takes 3.2.1, `>=3.2` begins at 3.2.0.
    let patch = (op == Op::LessEq || patch > 0).then_some(patch);
    let comparator = Comparator { op, major, minor: Some(minor), patch, pre: Prerelease::EMPTY };
    VersionReq { comparators: vec![comparator] }
}

/// The best that each machine has, of those that have any.
fn best<T>(found: &[Vec<Fact>], read: fn(&Fact) -> Option<T>, better: fn(T, T) -> T) -> Vec<T> {
    found.iter().filter_map(|machine| machine.iter().filter_map(read).reduce(better)).collect()
}

/// The largest bound from below that half of `values` keep, and how many do.
fn lower<T: Ord + Clone>(values: impl IntoIterator<Item = T>) -> Option<(T, u64)> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    let bound = values.get(values.len().checked_sub(1)? / 2)?.clone();
    let keep = values.len() - values.partition_point(|value| *value < bound);
    Some((bound, keep as u64))
}

/// The smallest bound from above that half of `values` keep, and how many do.
fn upper<T: Ord + Clone>(values: impl IntoIterator<Item = T>) -> Option<(T, u64)> {
    let mut values: Vec<T> = values.into_iter().collect();
    values.sort_unstable();
    let bound = values.get(values.len() / 2)?.clone();
    let keep = values.partition_point(|value| *value <= bound);
    Some((bound, keep as u64))
}

fn number(fact: &Fact) -> Option<u64> {
    match fact {
        Fact::Number(number) => Some(*number),
        _ => None,
    }
}

fn rounded(resource: Resource, amount: u64) -> u64 {
    match resource {
        Resource::Memory | Resource::Disk if amount >= MIB => amount - amount % MIB,
        _ => amount,
    }
}
