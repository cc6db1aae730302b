//! All that is known of one fact in one runtime.

use std::collections::BTreeMap;

use super::dictionary::{Dictionary, ValueId};
use super::labels::{Labels, Slot};
use super::rows::{ColumnId, Rows};
use super::value::{Kept, Key};
use crate::facts::{Fact, FactName, Runtime};

/// Slots that may lie in gaps before labels are chosen anew, as a share of all: they are what a
/// query may have to look at one by one.
const MAX_GAP_SHARE: u32 = 256;

/// What a column is about. In their order, a runtime comes before its facts.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    pub(super) runtime: Runtime,
    /// `None` for that the runtime is there at all, which every machine that has it says with the
    /// same value.
    pub(super) fact: Option<FactName>,
}

#[derive(Debug)]
pub(super) struct Column {
    pub(super) owner: Owner,
    pub(super) dictionary: Dictionary,
    pub(super) labels: Labels,
    /// For each word, the slots whose value is a set with it.
    pub(super) words: BTreeMap<Box<str>, Labels>,
    slots: u32,
    /// Values that came since labels were chosen.
    arrivals: u32,
}

/// The bits, and the only label, of a slot that has a word.
pub(super) const WORD_WIDTH: u32 = 1;
const WORD: u16 = 1;

impl Column {
    pub(super) fn new(owner: Owner) -> Self {
        let dictionary = Dictionary::new();
        Self {
            owner,
            labels: Labels::new(dictionary.width()),
            dictionary,
            words: BTreeMap::new(),
            slots: 0,
            arrivals: 0,
        }
    }

    /// Slots that have a value.
    pub(super) fn slots(&self) -> u32 {
        self.slots
    }

    /// Gives `slot`, which has no value here, that of `fact`.
    pub(super) fn insert(&mut self, slot: Slot, fact: &Fact) -> ValueId {
        let (id, label) = self.dictionary.insert(&Key::of(fact));
        self.labels.set(slot, label);
        self.slots += 1;
        self.arrivals = self.arrivals.saturating_add(1);
        if let Fact::Set(words) = fact {
            for word in words {
                self.set_word(slot, word);
            }
        }
        id
    }

    /// Takes the value `id` from `slot`.
    pub(super) fn remove(&mut self, slot: Slot, id: ValueId) {
        for word in self.dictionary.value(id).words() {
            if let Some(labels) = self.words.get_mut(word) {
                labels.clear(slot);
                if labels.is_empty() {
                    self.words.remove(word);
                }
            }
        }
        self.dictionary.remove(id);
        self.labels.clear(slot);
        self.slots -= 1;
    }

    pub(super) fn value(&self, id: ValueId) -> &Kept {
        self.dictionary.value(id)
    }

    /// Whether it is worth to choose labels anew: much lies in gaps, and enough has come since the
    /// last time that each arrival pays for no more than a few slots.
    pub(super) fn is_crowded(&self) -> bool {
        self.dictionary.in_gaps() > self.slots / MAX_GAP_SHARE && self.arrivals >= self.slots / 2
    }

    /// Chooses labels anew. This is column `id` of `rows`.
    pub(super) fn respace<K>(&mut self, id: ColumnId, rows: &mut Rows<K>) {
        self.arrivals = 0;
        let renamed = self.dictionary.respace();
        let dictionary = &mut self.dictionary;
        self.labels.rename(dictionary.width(), |slot, old| {
            renamed.label(old).unwrap_or_else(|| {
                let cell = rows.cell_mut(slot, id);
                let (value, label) = dictionary.settle(cell.value);
                cell.value = value;
                label
            })
        });
    }

    fn set_word(&mut self, slot: Slot, word: &str) {
        if let Some(labels) = self.words.get_mut(word) {
            return labels.set(slot, WORD);
        }
        let mut labels = Labels::new(WORD_WIDTH);
        labels.set(slot, WORD);
        self.words.insert(word.into(), labels);
    }
}
