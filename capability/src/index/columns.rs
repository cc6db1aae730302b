//! The columns of all runtimes, and the cells of machines in them.

use std::collections::BTreeMap;

use super::column::{Column, Owner};
use super::labels::Slot;
use super::rows::{Cell, ColumnId, Rows};
use crate::facts::{Fact, FactName, Runtime};

/// Columns that some machine has a value in.
#[derive(Debug, Default)]
pub(super) struct Columns {
    columns: Vec<Option<Column>>,
    free: Vec<ColumnId>,
    tables: BTreeMap<Runtime, Table>,
    parts: usize,
}

/// The columns of a runtime.
#[derive(Debug)]
struct Table {
    presence: ColumnId,
    facts: BTreeMap<FactName, ColumnId>,
}

impl Columns {
    pub(super) fn get(&self, id: ColumnId) -> &Column {
        self.columns[id as usize].as_ref().expect("a column is kept while a cell is in it")
    }

    /// Columns, and words in them.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// Whether there is none, nor anything left of one.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.parts == 0 && self.columns.iter().all(Option::is_none)
    }

    /// What the column of `cell` is about.
    pub(super) fn owner(&self, cell: &Cell) -> OwnerRef<'_> {
        let Owner { runtime, fact } = &self.get(cell.column).owner;
        (runtime, fact.as_ref())
    }

    /// The column of the machines that have `runtime`.
    pub(super) fn presence(&self, runtime: &Runtime) -> Option<&Column> {
        self.tables.get(runtime).map(|table| self.get(table.presence))
    }

    /// The column of `fact` in `runtime`, and its number.
    pub(super) fn fact(&self, runtime: &Runtime, fact: &FactName) -> Option<(ColumnId, &Column)> {
        let id = *self.tables.get(runtime)?.facts.get(fact)?;
        Some((id, self.get(id)))
    }

    /// Gives `slot` the value of `fact` in a column where it has none.
    pub(super) fn insert(&mut self, slot: Slot, owner: OwnerRef<'_>, fact: &Fact) -> Cell {
        let column = self.find(owner).unwrap_or_else(|| self.create(owner));
        let value = self.change(column, |column| column.insert(slot, fact));
        Cell { column, value }
    }

    /// Takes the value of `cell` from `slot`, and forgets a column that nobody has a value in.
    pub(super) fn remove(&mut self, slot: Slot, cell: Cell) {
        self.change(cell.column, |column| column.remove(slot, cell.value));
        if self.get(cell.column).slots() == 0 {
            self.forget(cell.column);
        }
    }

    /// Puts the value of `fact` into `cell` of `slot`, in place of the one that it has.
    pub(super) fn replace(&mut self, slot: Slot, cell: &mut Cell, fact: &Fact) {
        cell.value = self.change(cell.column, |column| {
            column.remove(slot, cell.value);
            column.insert(slot, fact)
        });
    }

    /// Chooses the labels of column `id` anew if that is worth it.
    pub(super) fn settle<K>(&mut self, id: ColumnId, rows: &mut Rows<K>) {
        let column = self.get_mut(id);
        if column.is_crowded() {
            column.respace(id, rows);
        }
    }

    /// Changes column `id`, and counts the words that come and go.
    fn change<T>(&mut self, id: ColumnId, change: impl FnOnce(&mut Column) -> T) -> T {
        let column = self.get_mut(id);
        let before = column.words.len();
        let result = change(column);
        let after = column.words.len();
        self.parts = self.parts - before + after;
        result
    }

    fn get_mut(&mut self, id: ColumnId) -> &mut Column {
        self.columns[id as usize].as_mut().expect("a column is kept while a cell is in it")
    }

    fn find(&self, (runtime, fact): OwnerRef<'_>) -> Option<ColumnId> {
        let table = self.tables.get(runtime)?;
        match fact {
            None => Some(table.presence),
            Some(fact) => table.facts.get(fact).copied(),
        }
    }

    fn create(&mut self, (runtime, fact): OwnerRef<'_>) -> ColumnId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.columns.push(None);
            ColumnId::try_from(self.columns.len() - 1).expect("columns fit into memory")
        });
        let owner = Owner { runtime: runtime.clone(), fact: fact.cloned() };
        self.columns[id as usize] = Some(Column::new(owner));
        self.parts += 1;
        match (self.tables.get_mut(runtime), fact) {
            (Some(table), Some(fact)) => {
                table.facts.insert(fact.clone(), id);
            }
            _ => {
                let table = Table { presence: id, facts: BTreeMap::new() };
                self.tables.insert(runtime.clone(), table);
            }
        }
        id
    }

    fn forget(&mut self, id: ColumnId) {
        let column = self.columns[id as usize].take().expect("it was there");
        self.free.push(id);
        self.parts -= 1;
        match column.owner {
            Owner { runtime, fact: None } => {
                self.tables.remove(&runtime);
            }
            Owner { runtime, fact: Some(fact) } => {
                let table = self.tables.get_mut(&runtime).expect("facts go before their runtime");
                table.facts.remove(&fact);
            }
        }
    }
}

/// What [`Owner`] is, without keeping it.
pub(super) type OwnerRef<'a> = (&'a Runtime, Option<&'a FactName>);
