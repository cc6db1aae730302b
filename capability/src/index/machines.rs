//! Machines, so that whichever an offer matches are found.

use std::collections::BTreeMap;
use std::iter::once;

use super::amounts::Amounts;
use super::columns::{Columns, OwnerRef};
use super::labels::Slot;
use super::layout::{Kind, Layout};
use super::rows::{Cell, Row, Rows};
use crate::facts::{Capabilities, Fact};
use crate::requirements::Resource;

/// Every machine with what it can do, to answer which of them can run a job, and which best; see
/// [`MachineIndex::select`].
///
/// ```
/// use capability::{Capabilities, Clause, Facts, MachineIndex, Platform, Requirements, Resources};
/// use capability::{Runtime, RuntimeFacts};
///
/// let mut facts = Facts::new();
/// facts.insert("tool.make", "4.3")?;
/// let machine = Capabilities {
///     platform: Platform::new("linux", "x86_64")?,
///     resources: Resources { cores: 2, memory: 4 << 30, disk: 20 << 30 },
///     runtimes: [(Runtime::Native, RuntimeFacts { strength: String::new(), facts })].into(),
/// };
/// let mut index = MachineIndex::new();
/// index.put("anna", &machine);
///
/// let job = Requirements {
///     runtimes: vec![Runtime::Native],
///     clauses: vec![Clause::Version { fact: "tool.make".parse()?, range: ">=4".parse()? }],
///     rank: Vec::new(),
/// };
/// let selected = index.select(&job, 10, 0);
/// assert_eq!((selected.len(), *selected.best()[0].id), (1, "anna"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct MachineIndex<K> {
    slots: BTreeMap<K, Slot>,
    pub(super) rows: Rows<K>,
    pub(super) layout: Layout,
    pub(super) columns: Columns,
    pub(super) amounts: [Amounts; 3],
}

/// The resources, and the order of [`MachineIndex::amounts`].
pub(super) const RESOURCES: [Resource; 3] = [Resource::Cores, Resource::Memory, Resource::Disk];

impl<K: Ord + Clone> MachineIndex<K> {
    /// No machines.
    pub fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            rows: Rows::new(),
            layout: Layout::default(),
            columns: Columns::default(),
            amounts: RESOURCES.map(|_| Amounts::new()),
        }
    }

    /// How many machines there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Facts of each runtime, and words in their sets, that some machine has. Each takes some hundred
    /// bytes, however few machines have it.
    pub fn parts(&self) -> usize {
        self.columns.parts()
    }

    /// Blocks in which each clause of a question is looked at: one for each 4,096 machines, and one
    /// more for each kind of machine. Those that have none left are passed over.
    pub fn blocks(&self) -> usize {
        self.layout.used()
    }

    /// States what machine `id` can do, in place of what it could before. What has not changed
    /// costs next to nothing.
    pub fn put(&mut self, id: K, machine: &Capabilities) {
        let kind = Kind::of(machine);
        match self.slots.get(&id) {
            Some(slot) if self.layout.suits(*slot, &kind) => self.change(*slot, machine),
            Some(_) => {
                self.remove(&id);
                self.insert(id, kind, machine);
            }
            None => self.insert(id, kind, machine),
        }
    }

    /// Forgets machine `id`; whether it was there.
    pub fn remove(&mut self, id: &K) -> bool {
        let Some(slot) = self.slots.remove(id) else { return false };
        let row = self.rows.remove(slot);
        // Facts before their runtime.
        for cell in row.cells.iter().rev() {
            self.columns.remove(slot, *cell);
        }
        for (amounts, resource) in self.amounts.iter_mut().zip(RESOURCES) {
            amounts.remove(slot, row.resources.amount(resource));
        }
        self.layout.give_back(slot);
        true
    }

    fn insert(&mut self, id: K, kind: Kind, machine: &Capabilities) {
        let slot = self.layout.take(kind);
        let cells = cells(machine).map(|(owner, fact)| self.columns.insert(slot, owner, fact));
        let cells: Box<[Cell]> = cells.collect();
        for (amounts, resource) in self.amounts.iter_mut().zip(RESOURCES) {
            amounts.insert(slot, machine.resources.amount(resource));
        }
        let row = Row { id: id.clone(), resources: machine.resources, cells };
        self.rows.insert(slot, row);
        self.slots.insert(id, slot);
        self.settle(slot);
    }

    /// Brings the row of `slot` to what `machine` is now: a walk along the old cells and the facts,
    /// which are in one order.
    fn change(&mut self, slot: Slot, machine: &Capabilities) {
        let row = self.rows.get_mut(slot);
        for (amounts, resource) in self.amounts.iter_mut().zip(RESOURCES) {
            let old = row.resources.amount(resource);
            let new = machine.resources.amount(resource);
            if old != new {
                amounts.remove(slot, old);
                amounts.insert(slot, new);
            }
        }
        row.resources = machine.resources;
        let columns = &mut self.columns;
        let mut old = row.cells.iter().copied().peekable();
        let mut gone = Vec::new();
        let mut new = Vec::with_capacity(row.cells.len());
        for (owner, fact) in cells(machine) {
            while let Some(cell) = old.next_if(|cell| columns.owner(cell) < owner) {
                gone.push(cell);
            }
            new.push(match old.next_if(|cell| columns.owner(cell) == owner) {
                Some(mut cell) => {
                    if !columns.get(cell.column).value(cell.value).is(fact) {
                        columns.replace(slot, &mut cell, fact);
                    }
                    cell
                }
                None => columns.insert(slot, owner, fact),
            });
        }
        gone.extend(old);
        gone.iter().rev().for_each(|cell| columns.remove(slot, *cell));
        row.cells = new.into();
        self.settle(slot);
    }

    /// Chooses labels anew in those columns of `slot` in which too much lies in gaps.
    fn settle(&mut self, slot: Slot) {
        for index in 0..self.rows.get(slot).cells.len() {
            let column = self.rows.get(slot).cells[index].column;
            self.columns.settle(column, &mut self.rows);
        }
    }
}

impl<K: Ord + Clone> Default for MachineIndex<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// What `machine` has, each with the column that it is a cell of, in the order of columns' owners.
fn cells(machine: &Capabilities) -> impl Iterator<Item = (OwnerRef<'_>, &Fact)> {
    machine.runtimes.iter().flat_map(|(runtime, inside)| {
        let facts = inside.facts.iter().map(move |(name, fact)| ((runtime, Some(name)), fact));
        once(((runtime, None), &Fact::Flag(true))).chain(facts)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::{Facts, Platform, Resources, Runtime, RuntimeFacts};

    #[test]
    fn what_nobody_has_any_more_leaves_nothing_behind() {
        let mut index = MachineIndex::new();
        let machine = |id: u64| {
            let mut facts = Facts::new();
            facts.insert(&format!("tool.{id}"), id).expect("a sound fact");
            let words: Vec<String> = (id..id + 9).map(|word| format!("w{word}")).collect();
            let words: Fact = words.iter().map(String::as_str).collect();
            facts.insert("features", words).expect("a sound fact");
            facts.insert("build", format!("{id}.1")).expect("a sound fact");
            let inside = RuntimeFacts { strength: String::new(), facts };
            let runtime: Runtime = format!("runtime{}", id % 7).parse().expect("a word");
            Capabilities {
                platform: Platform::new("linux", "x86_64").expect("words"),
                resources: Resources { cores: 1, memory: id, disk: 0 },
                runtimes: [(runtime, inside)].into(),
            }
        };
        (0..5000).for_each(|id| index.put(id, &machine(id)));
        (0..5000).for_each(|id| index.put(id, &machine(id + 1)));
        assert!(!index.columns.is_empty());
        (0..5000).for_each(|id| assert!(index.remove(&id)));
        assert!(index.columns.is_empty());
        assert!(index.amounts.iter().all(|amounts| amounts.labels.is_empty()));
    }
}
