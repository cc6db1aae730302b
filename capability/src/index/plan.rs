//! A job's clauses, translated into what the columns of one runtime say of them.
//!
//! A clause about one fact becomes a [`Leaf`]: ranges of labels, of which some are sure, and others
//! need a look at the machine. Clauses that fewer slots satisfy come first, because whoever comes
//! later looks only at blocks in which something is left.

use std::collections::BTreeSet;

use super::amounts::Amounts;
use super::bits::{At, BLOCK_SLOTS, Bits};
use super::columns::Columns;
use super::dictionary::Selection;
use super::labels::{Labels, Slot};
use super::machines::RESOURCES;
use super::ranges::Ranges;
use super::rows::{ColumnId, Rows};
use super::value::Key;
use super::wanted::Wanted;
use super::{amounts, column};
use crate::facts::{Fact, FactName, Runtime};
use crate::requirements::{Clause, Resource};

/// A clause in one runtime.
#[derive(Debug)]
pub(super) enum Plan<'a> {
    Never,
    Always,
    Leaf(Leaf<'a>),
    All(Vec<Self>),
    Any(Vec<Self>),
    Not(Box<Self>),
}

/// A clause about one column.
#[derive(Debug)]
pub(super) struct Leaf<'a> {
    labels: &'a Labels,
    sure: Ranges,
    unsure: Ranges,
    look: Look<'a>,
    slots: u32,
}

/// What to look at where labels do not tell.
#[derive(Debug)]
enum Look<'a> {
    Value { column: ColumnId, columns: &'a Columns, wanted: Vec<Wanted<'a>> },
    Amount { resource: Resource, least: u64 },
    Nothing,
}

/// The columns of one runtime.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) runtime: &'a Runtime,
    pub(super) columns: &'a Columns,
    pub(super) amounts: &'a [Amounts; 3],
}

impl<'a> Place<'a> {
    /// The plan for `clause`.
    pub(super) fn plan(&self, clause: &'a Clause) -> Plan<'a> {
        let wanted = match clause {
            Clause::All(clauses) => return self.all(clauses),
            Clause::Any(clauses) => {
                return Plan::Any(clauses.iter().map(|clause| self.plan(clause)).collect());
            }
            Clause::Not(clause) if clause.has_unknown() => return Plan::Never,
            Clause::Not(clause) => return Plan::Not(Box::new(self.plan(clause))),
            Clause::Unknown { .. } => return Plan::Never,
            Clause::Donates { resource, amount } => return self.donates(*resource, *amount),
            Clause::Includes { fact, words } => return self.includes(fact, words),
            Clause::Absent { fact } => {
                return match self.leaf(fact, vec![Wanted::Anything]) {
                    Plan::Never => Plan::Always,
                    present => Plan::Not(Box::new(present)),
                };
            }
            Clause::Equals { value, .. } => exactly(value).into_iter().collect(),
            Clause::OneOf { values, .. } => values.iter().filter_map(exactly).collect(),
            Clause::AtLeast { amount, .. } => {
                vec![Wanted::Numbers { low: *amount, high: u64::MAX }]
            }
            Clause::AtMost { amount, .. } => vec![Wanted::Numbers { low: 0, high: *amount }],
            Clause::Version { range, .. } => vec![Wanted::Versions(range)],
            Clause::Present { .. } => vec![Wanted::Anything],
        };
        clause.fact().map_or(Plan::Never, |fact| self.leaf(fact, wanted))
    }

    /// The plans for the parts of `clause`, if all of them must hold.
    pub(super) fn parts(&self, clause: &'a Clause) -> Vec<Plan<'a>> {
        match clause {
            Clause::All(clauses) => clauses.iter().map(|clause| self.plan(clause)).collect(),
            _ => Vec::new(),
        }
    }

    /// The plan for that all of `clauses` hold.
    pub(super) fn all(&self, clauses: &'a [Clause]) -> Plan<'a> {
        let mut plans: Vec<_> = clauses.iter().map(|clause| self.plan(clause)).collect();
        plans.sort_by_key(Plan::slots);
        Plan::All(plans)
    }

    /// The plan for that `fact` is one of `wanted`.
    pub(super) fn leaf(&self, fact: &FactName, wanted: Vec<Wanted<'a>>) -> Plan<'a> {
        let columns = self.columns;
        let Some((id, column)) = columns.fact(self.runtime, fact) else { return Plan::Never };
        let mut found = Selection::default();
        for wanted in &wanted {
            let Selection { sure, unsure, slots } = column.dictionary.select(wanted);
            found.sure.extend(sure);
            found.unsure.extend(unsure);
            found.slots += slots;
        }
        let look = Look::Value { column: id, columns, wanted };
        Leaf::plan(&column.labels, found, column.dictionary.width(), look)
    }

    fn donates(&self, resource: Resource, least: u64) -> Plan<'a> {
        let place = RESOURCES.iter().position(|other| *other == resource);
        let amounts = &self.amounts[place.expect("every resource is among them")];
        let look = Look::Amount { resource, least };
        Leaf::plan(&amounts.labels, amounts.at_least(least), amounts::WIDTH, look)
    }

    fn includes(&self, fact: &FactName, words: &'a BTreeSet<String>) -> Plan<'a> {
        let Some((_, column)) = self.columns.fact(self.runtime, fact) else {
            return Plan::Never;
        };
        if words.is_empty() {
            // Not valid on the wire, but then any set has all of them.
            return self.leaf(fact, vec![Wanted::Sets]);
        }
        let having = words.iter().map(|word| match column.words.get(word.as_str()) {
            None => Plan::Never,
            Some(labels) => {
                let whole =
                    Selection { sure: vec![1..2], unsure: Vec::new(), slots: column.slots() };
                Leaf::plan(labels, whole, column::WORD_WIDTH, Look::Nothing)
            }
        });
        Plan::All(having.collect())
    }
}

/// What equals `value`: nothing where that is of a kind that this version does not know.
fn exactly(value: &Fact) -> Option<Wanted<'_>> {
    (*value != Fact::Unknown).then(|| Wanted::Exactly(Key::of(value)))
}

impl Plan<'_> {
    /// About how many slots hold, for the order of plans.
    fn slots(&self) -> u32 {
        match self {
            Self::Never => 0,
            Self::Always | Self::Not(_) => u32::MAX,
            Self::Leaf(leaf) => leaf.slots,
            Self::All(plans) => plans.iter().map(Self::slots).min().unwrap_or(u32::MAX),
            Self::Any(plans) => plans.iter().map(Self::slots).fold(0, u32::saturating_add),
        }
    }

    /// The slots of `mask` in `block` in which it holds. All of `mask` are among the `population`
    /// slots of the block that have the plan's runtime.
    pub(super) fn find<K>(&self, rows: &Rows<K>, block: u32, mask: &Bits, population: u16) -> Bits {
        match self {
            Self::Never => Bits::NONE,
            Self::Always => *mask,
            Self::Leaf(leaf) => leaf.find(rows, block, mask, population),
            Self::All(plans) => {
                let mut found = *mask;
                for plan in plans {
                    if found.is_empty() {
                        break;
                    }
                    found = plan.find(rows, block, &found, population);
                }
                found
            }
            Self::Any(plans) => {
                let (mut left, mut found) = (*mask, Bits::NONE);
                for plan in plans {
                    let more = plan.find(rows, block, &left, population);
                    left.subtract(&more);
                    found |= &more;
                }
                found
            }
            Self::Not(plan) => {
                let mut found = *mask;
                found.subtract(&plan.find(rows, block, mask, population));
                found
            }
        }
    }
}

impl<'a> Leaf<'a> {
    fn plan(labels: &'a Labels, found: Selection, width: u32, look: Look<'a>) -> Plan<'a> {
        if found.sure.is_empty() && found.unsure.is_empty() {
            return Plan::Never;
        }
        let sure = Ranges::new(found.sure, width);
        let unsure = Ranges::new(found.unsure, width);
        Plan::Leaf(Self { labels, sure, unsure, look, slots: found.slots })
    }

    fn find<K>(&self, rows: &Rows<K>, block: u32, mask: &Bits, population: u16) -> Bits {
        let mut found = self.labels.find(block, &self.sure, mask, population);
        if !self.unsure.is_empty() {
            let unsure = self.labels.find(block, &self.unsure, mask, population);
            let slot = |at: At| block * BLOCK_SLOTS as Slot + Slot::from(at);
            let holding = unsure.iter().filter(|at| self.look.holds(rows, slot(*at)));
            holding.for_each(|at| found.insert(at));
        }
        found
    }
}

impl Look<'_> {
    fn holds<K>(&self, rows: &Rows<K>, slot: Slot) -> bool {
        match self {
            Self::Value { column, columns, wanted } => {
                rows.value(slot, *column).is_some_and(|id| {
                    let value = columns.get(*column).value(id);
                    wanted.iter().any(|wanted| wanted.admits(value))
                })
            }
            Self::Amount { resource, least } => {
                rows.get(slot).resources.amount(*resource) >= *least
            }
            Self::Nothing => false,
        }
    }
}
