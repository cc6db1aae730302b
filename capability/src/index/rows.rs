//! What is known of each machine, by slot.

use super::dictionary::ValueId;
use super::labels::Slot;
use crate::facts::Resources;

/// A column by number.
pub(super) type ColumnId = u32;

/// The value of a machine in one column.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) column: ColumnId,
    pub(super) value: ValueId,
}

/// One machine.
#[derive(Debug)]
pub(super) struct Row<K> {
    pub(super) id: K,
    pub(super) resources: Resources,
    /// In the order of the columns' owners.
    pub(super) cells: Box<[Cell]>,
}

/// Machines by slot.
#[derive(Debug)]
pub(super) struct Rows<K>(Vec<Option<Row<K>>>);

impl<K> Rows<K> {
    pub(super) fn new() -> Self {
        Self(Vec::new())
    }

    /// The machine in `slot`, which is taken.
    pub(super) fn get(&self, slot: Slot) -> &Row<K> {
        self.0[slot as usize].as_ref().expect(TAKEN)
    }

    pub(super) fn get_mut(&mut self, slot: Slot) -> &mut Row<K> {
        self.0[slot as usize].as_mut().expect(TAKEN)
    }

    pub(super) fn insert(&mut self, slot: Slot, row: Row<K>) {
        let index = slot as usize;
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index] = Some(row);
    }

    pub(super) fn remove(&mut self, slot: Slot) -> Row<K> {
        self.0[slot as usize].take().expect(TAKEN)
    }

    /// The value in `column` of the machine in `slot`, if it has one.
    pub(super) fn value(&self, slot: Slot, column: ColumnId) -> Option<ValueId> {
        let cell = self.get(slot).cells.iter().find(|cell| cell.column == column);
        cell.map(|cell| cell.value)
    }

    /// The cell in `column` of the machine in `slot`, which has one.
    pub(super) fn cell_mut(&mut self, slot: Slot, column: ColumnId) -> &mut Cell {
        let cell = self.get_mut(slot).cells.iter_mut().find(|cell| cell.column == column);
        cell.expect("whoever has a label in a column has a cell")
    }
}

const TAKEN: &str = "a slot that is taken has a row";
