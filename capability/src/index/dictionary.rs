//! The values that a column has, and the labels that stand for them.
//!
//! Labels are in the order of the values. Up to [`MAX_OWN`] values have a label of their own. The
//! labels between those of two neighbours are the *gap* between them: they stand for whatever other
//! values lie there, so that there is always a label, however many values peers make up. Whoever
//! asks for a range is told which gaps lie at its ends, and looks at those values one by one.
//!
//! A value that comes while there is a free label and nothing in the gap yet gets its own. When too
//! much lies in gaps, [`Dictionary::respace`] chooses anew: the values that most slots have are
//! among those with a label then, and the gaps about equally full.

use std::ops::Range;

use super::ranges::{lowest, roundest};
use super::value::{Kept, Key};
use super::wanted::Wanted;

/// A value in its dictionary.
pub(super) type ValueId = u32;

/// Values with a label of their own: several times the versions that a tool ever had.
pub(super) const MAX_OWN: usize = 2048;
/// Bits of a label at first: room for a few values. Most columns stay so.
const FIRST_WIDTH: u32 = 5;

#[derive(Debug)]
pub(super) struct Dictionary {
    pub(super) width: u32,
    pub(super) entries: Vec<Option<Entry>>,
    free: Vec<ValueId>,
    /// Those with a label of their own, in their order.
    pub(super) own: Vec<ValueId>,
    /// Slots in the gap below the first of them.
    pub(super) below: u32,
    /// Slots in all gaps.
    pub(super) in_gaps: u32,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) value: Kept,
    pub(super) slots: u32,
    /// Slots in the gap above it, if it has a label.
    pub(super) above: u32,
    /// 0 for a value in a gap.
    pub(super) label: u16,
}

/// Labels that a range of values has.
#[derive(Debug, Default)]
pub(super) struct Selection {
    /// All of whose slots are in the range.
    pub(super) sure: Vec<Range<u32>>,
    /// Gaps, some of whose slots may be in the range.
    pub(super) unsure: Vec<Range<u32>>,
    /// About how many slots that are.
    pub(super) slots: u32,
}

impl Dictionary {
    pub(super) fn new() -> Self {
        Self {
            width: FIRST_WIDTH,
            entries: Vec::new(),
            free: Vec::new(),
            own: Vec::new(),
            below: 0,
            in_gaps: 0,
        }
    }

    /// Bits of a label.
    pub(super) fn width(&self) -> u32 {
        self.width
    }

    /// Slots whose values have no label of their own.
    pub(super) fn in_gaps(&self) -> u32 {
        self.in_gaps
    }

    pub(super) fn value(&self, id: ValueId) -> &Kept {
        &self.entry(id).value
    }

    /// Notes one more slot with the value `key`; gives the slot's label.
    pub(super) fn insert(&mut self, key: &Key<'_>) -> (ValueId, u16) {
        let place = match self.place(key) {
            Ok(place) => {
                let id = self.own[place];
                let entry = self.entry_mut(id);
                entry.slots += 1;
                return (id, entry.label);
            }
            Err(place) => place,
        };
        let own = self.free_label(place);
        let label = own.unwrap_or(0);
        let id = self.keep(Entry { value: key.kept(), slots: 1, above: 0, label });
        match own {
            Some(label) => {
                self.own.insert(place, id);
                (id, label)
            }
            None => (id, self.enter_gap(place, 1)),
        }
    }

    /// Notes one slot less with the value `id`.
    pub(super) fn remove(&mut self, id: ValueId) {
        let Entry { label, above, slots, .. } = *self.entry(id);
        if label == 0 {
            let place = self.gap_of(id);
            *self.gap_mut(place) -= 1;
            self.in_gaps -= 1;
        } else if slots == 1 {
            let place = self.own.partition_point(|own| self.entry(*own).label < label);
            self.own.remove(place);
            // The gaps on both sides become one; the labels in them are between the neighbours.
            *self.gap_mut(place) += above;
        }
        self.release(id);
    }

    /// The labels of `wanted`.
    pub(super) fn select(&self, wanted: &Wanted<'_>) -> Selection {
        let slots_of = |own: &[ValueId]| own.iter().map(|id| self.entry(*id).slots).sum::<u32>();
        if matches!(wanted, Wanted::Anything) {
            let everything = lowest(self.width)..1 << self.width;
            let slots = slots_of(&self.own) + self.in_gaps;
            return Selection { sure: vec![everything], unsure: Vec::new(), slots };
        }
        let side = |id: &ValueId| wanted.side(&self.entry(*id).value);
        let first = self.own.partition_point(|id| side(id).is_lt());
        let end = first + self.own[first..].partition_point(|id| side(id).is_eq());
        let mut found =
            Selection { slots: slots_of(&self.own[first..end]), ..Selection::default() };
        if first < end {
            let low = match self.gap(first) {
                0 => roundest(self.label_below(first), self.label_at(first)),
                _ => self.label_at(first),
            };
            let high = match self.gap(end) {
                0 => roundest(self.label_below(end), self.label_at(end)),
                _ => self.label_below(end) + 1,
            };
            found.sure.push(low..high);
        }
        let ends = [Some(first), (first < end).then_some(end)];
        for place in ends.into_iter().flatten() {
            let slots = self.gap(place);
            if slots > 0 {
                found.unsure.push(self.label_below(place) + 1..self.label_at(place));
                found.slots += slots;
            }
        }
        found
    }

    /// A label for a new value at place `place` that leaves one for the gaps on its sides.
    fn free_label(&self, place: usize) -> Option<u16> {
        if self.own.len() >= MAX_OWN || self.gap(place) > 0 {
            return None;
        }
        let (below, above) = (self.label_below(place), self.label_at(place));
        let label = u32::midpoint(below, above);
        let has_room = label - below >= 2 && above - label >= 2;
        has_room.then(|| u16::try_from(label).expect("a label has at most 16 bits"))
    }

    /// Counts `slots` into the gap before place `place`, and gives its label.
    pub(super) fn enter_gap(&mut self, place: usize, slots: u32) -> u16 {
        *self.gap_mut(place) += slots;
        self.in_gaps += slots;
        u16::try_from(self.label_below(place) + 1).expect("the label above leaves room for a gap")
    }

    fn gap(&self, place: usize) -> u32 {
        place.checked_sub(1).map_or(self.below, |place| self.entry(self.own[place]).above)
    }

    fn gap_mut(&mut self, place: usize) -> &mut u32 {
        match place.checked_sub(1) {
            Some(place) => &mut self.entry_mut(self.own[place]).above,
            None => &mut self.below,
        }
    }

    fn label_below(&self, place: usize) -> u32 {
        let below = place.checked_sub(1).map(|place| self.entry(self.own[place]).label.into());
        below.unwrap_or(lowest(self.width) - 1)
    }

    fn label_at(&self, place: usize) -> u32 {
        self.own.get(place).map_or(1 << self.width, |id| self.entry(*id).label.into())
    }

    fn place(&self, key: &Key<'_>) -> Result<usize, usize> {
        self.own.binary_search_by(|id| self.entry(*id).value.cmp(key))
    }

    /// The place of the gap in which the value `id` lies.
    pub(super) fn gap_of(&self, id: ValueId) -> usize {
        let value = &self.entry(id).value;
        self.own.partition_point(|own| self.entry(*own).value.cmp(value).is_lt())
    }

    pub(super) fn entry(&self, id: ValueId) -> &Entry {
        self.entries[id as usize].as_ref().expect("a value is kept while a slot has it")
    }

    pub(super) fn entry_mut(&mut self, id: ValueId) -> &mut Entry {
        self.entries[id as usize].as_mut().expect("a value is kept while a slot has it")
    }

    fn keep(&mut self, entry: Entry) -> ValueId {
        if let Some(id) = self.free.pop() {
            self.entries[id as usize] = Some(entry);
            return id;
        }
        if self.entries.is_empty() {
            self.entries.reserve_exact(1);
        }
        self.entries.push(Some(entry));
        ValueId::try_from(self.entries.len() - 1).expect("values fit into memory")
    }

    /// One slot less has the value.
    pub(super) fn release(&mut self, id: ValueId) {
        let entry = self.entry_mut(id);
        entry.slots -= 1;
        if entry.slots == 0 {
            self.entries[id as usize] = None;
            self.free.push(id);
        }
    }
}
