//! A milder clause in place of one that alone keeps machines out.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Comparator, Op, Prerelease, Version, VersionReq};

use super::Relaxed;
use crate::index::{Key, ValueKind};
use crate::requirements::{Clause, MAX_ALTERNATIVES, Resource};

/// Amounts of bytes are suggested in whole ones of these: nobody writes more digits.
const MIB: u64 = 1 << 20;

/// What machines have beside a part of a clause: the values of one machine in the job's runtimes, each
/// once and in order, by how many machines have them so.
pub(crate) type Found<'a> = BTreeMap<Vec<Key<'a>>, u64>;

/// The clauses of which one may become milder: `clause` itself, or what stands in a group.
pub(crate) fn parts(clause: &Clause) -> &[Clause] {
    match clause {
        Clause::All(clauses) | Clause::Any(clauses) => clauses,
        other => std::slice::from_ref(other),
    }
}

/// Whether [`milder`] has an answer for such parts.
pub(crate) fn can_be_milder(part: &Clause) -> bool {
    match part {
        Clause::AtLeast { .. }
        | Clause::AtMost { .. }
        | Clause::Donates { .. }
        | Clause::Version { .. }
        | Clause::Equals { .. } => true,
        Clause::OneOf { values, .. } => values.len() < MAX_ALTERNATIVES,
        Clause::Includes { words, .. } => words.len() > 1,
        _ => false,
    }
}

/// What of `value`, which does not satisfy `part`, says which milder one it would satisfy, if any does:
/// of a set the only word that it lacks.
pub(crate) fn gist<'a>(part: &'a Clause, value: Key<'a>) -> Option<Key<'a>> {
    let tells = match part {
        Clause::AtLeast { .. } | Clause::AtMost { .. } | Clause::Donates { .. } => {
            value.kind == ValueKind::Number
        }
        Clause::Version { .. } => value.kind == ValueKind::Version,
        Clause::Includes { words, .. } => return lacking(words, &value).map(Key::of_word),
        _ => value.kind != ValueKind::Unknown,
    };
    tells.then_some(value)
}

/// The one of `words` that `set` lacks, if it is one.
fn lacking<'w>(words: &'w BTreeSet<String>, set: &Key<'_>) -> Option<&'w str> {
    if set.kind != ValueKind::Set {
        return None;
    }
    // Both are in order.
    let mut has = set.words().peekable();
    let mut lacking = words.iter().map(String::as_str).filter(|word| {
        while has.next_if(|it| it < word).is_some() {}
        has.peek() != Some(word)
    });
    let first = lacking.next()?;
    lacking.next().is_none().then_some(first)
}

/// The milder clause that keeps the sense of `clause`, and how many of the machines it would let in
/// that `clause` alone keeps out. `found` has, for each of its [`parts`], the [`gist`] of what stands
/// beside that part on the machines that it would let in by holding.
///
/// A bound moves to the median of the machines, so that it lets half of them in; a range of versions
/// becomes a bound. What may be one of some values may also be the commonest other one; of some words
/// one is not needed. In a group the part changes of which a milder one gains most.
pub(crate) fn milder(clause: &Clause, found: &[Found<'_>]) -> Option<Relaxed> {
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

fn milder_part(part: &Clause, found: &Found<'_>) -> Option<Relaxed> {
    match part {
        Clause::AtLeast { fact, .. } => {
            let (amount, gains) = lower(best(found, Key::number, Ord::max))?;
            Some(Relaxed { clause: Clause::AtLeast { fact: fact.clone(), amount }, gains })
        }
        Clause::AtMost { fact, .. } => {
            let (amount, gains) = upper(best(found, Key::number, Ord::min))?;
            Some(Relaxed { clause: Clause::AtMost { fact: fact.clone(), amount }, gains })
        }
        Clause::Donates { resource, .. } => {
            let donated = best(found, Key::number, Ord::max).into_iter();
            let (amount, gains) =
                lower(donated.map(|(amount, count)| (rounded(*resource, amount), count)))?;
            Some(Relaxed { clause: Clause::Donates { resource: *resource, amount }, gains })
        }
        Clause::Version { fact, range } => {
            let (range, gains) = wider(range, found)?;
            Some(Relaxed { clause: Clause::Version { fact: fact.clone(), range }, gains })
        }
        Clause::Equals { fact, value } => {
            let (other, gains) = commonest(found)?;
            let values = vec![value.clone(), other.fact()];
            Some(Relaxed { clause: Clause::OneOf { fact: fact.clone(), values }, gains })
        }
        Clause::OneOf { fact, values } => {
            let (other, gains) = commonest(found)?;
            let values = values.iter().cloned().chain([other.fact()]).collect();
            Some(Relaxed { clause: Clause::OneOf { fact: fact.clone(), values }, gains })
        }
        Clause::Includes { fact, words } => {
            let (spared, gains) = commonest(found)?;
            let words = words.iter().filter(|word| **word != spared.text).cloned().collect();
            Some(Relaxed { clause: Clause::Includes { fact: fact.clone(), words }, gains })
        }
        _ => None,
    }
}

/// The value that most machines have, and how many those are.
fn commonest<'f, 'a>(found: &'f Found<'a>) -> Option<(&'f Key<'a>, u64)> {
    let mut counts: BTreeMap<&Key<'_>, u64> = BTreeMap::new();
    for (values, machines) in found {
        values.iter().for_each(|value| *counts.entry(value).or_default() += machines);
    }
    // Of equals the first, where `max_by_key` gives the last.
    counts.into_iter().rev().max_by_key(|(_, count)| *count)
}

fn wider(range: &VersionReq, found: &Found<'_>) -> Option<(VersionReq, u64)> {
    let Some(floor) = range.comparators.iter().filter_map(floor).max() else {
        let (bound, gains) = upper(best(found, Key::version, Ord::min))?;
        return Some((bounded(Op::LessEq, &bound), gains));
    };
    let versions = best(found, Key::version, Ord::max);
    let (median, _) = lower(versions.iter().cloned())?;
    // Not above what the range takes already.
    let bound = median.min(floor);
    let taken = versions.iter().filter(|(version, _)| *version >= bound);
    let gains = taken.map(|(_, machines)| machines).sum();
    Some((bounded(Op::GreaterEq, &bound), gains))
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

/// The best that each machine has, of those that have any, and how many machines that are.
fn best<'f, 'a, T>(
    found: &'f Found<'a>,
    read: fn(&'f Key<'a>) -> Option<T>,
    better: fn(T, T) -> T,
) -> Vec<(T, u64)> {
    let best = found.iter().filter_map(|(values, machines)| {
        Some((values.iter().filter_map(read).reduce(better)?, *machines))
    });
    best.collect()
}

/// The largest bound from below that half of the machines with these `values` keep, and how many do.
fn lower<T: Ord + Clone>(values: impl IntoIterator<Item = (T, u64)>) -> Option<(T, u64)> {
    let (values, all) = in_order(values);
    let (bound, below, _) = median(&values, all.checked_sub(1)? / 2)?;
    Some((bound, all - below))
}

/// The smallest bound from above that half of the machines with these `values` keep, and how many do.
fn upper<T: Ord + Clone>(values: impl IntoIterator<Item = (T, u64)>) -> Option<(T, u64)> {
    let (values, all) = in_order(values);
    let (bound, below, at) = median(&values, all / 2)?;
    Some((bound, below + at))
}

/// Each value once with its machines, in order, and how many machines there are.
fn in_order<T: Ord>(values: impl IntoIterator<Item = (T, u64)>) -> (BTreeMap<T, u64>, u64) {
    let (mut counts, mut all) = (BTreeMap::new(), 0);
    for (value, machines) in values {
        *counts.entry(value).or_default() += machines;
        all += machines;
    }
    (counts, all)
}

/// The value of the machine that `before` others come before, and how many machines are below that
/// value and at it.
fn median<T: Clone>(values: &BTreeMap<T, u64>, before: u64) -> Option<(T, u64, u64)> {
    let mut below = 0;
    for (value, machines) in values {
        if before < below + machines {
            return Some((value.clone(), below, *machines));
        }
        below += machines;
    }
    None
}

fn rounded(resource: Resource, amount: u64) -> u64 {
    match resource {
        Resource::Memory | Resource::Disk if amount >= MIB => amount - amount % MIB,
        _ => amount,
    }
}
