//! Choosing anew which values of a column have labels of their own.

use super::dictionary::{Dictionary, MAX_OWN, ValueId};
use super::ranges::lowest;

/// Values in gaps that are looked at to choose: enough for gaps that are about equally full.
const SAMPLE: usize = 4 * MAX_OWN;

/// The labels that stand for the old ones: by old label, 0 for those of gaps, whose slots must be
/// settled one by one.
pub(super) struct Renamed(Vec<u16>);

impl Renamed {
    pub(super) fn label(&self, old: u16) -> Option<u16> {
        Some(self.0[usize::from(old)]).filter(|label| *label != 0)
    }
}

impl Dictionary {
    /// Chooses labels anew. Whoever had one is renamed; whoever lies in a gap must then be settled.
    pub(super) fn respace(&mut self) -> Renamed {
        let chosen = self.choose();
        let old_own = std::mem::take(&mut self.own);
        let old_labels: Vec<u16> = old_own.iter().map(|id| self.entry(*id).label).collect();
        let mut renamed = Renamed(vec![0; 1 << self.width]);
        for id in &old_own {
            let entry = self.entry_mut(*id);
            (entry.label, entry.above) = (0, 0);
        }
        (self.below, self.in_gaps) = (0, 0);
        self.spread(chosen);
        for (id, old) in old_own.into_iter().zip(old_labels) {
            let (label, slots) = (self.entry(id).label, self.entry(id).slots);
            let demoted = || self.gap_of(id);
            renamed.0[usize::from(old)] = match label {
                0 => {
                    let place = demoted();
                    self.enter_gap(place, slots)
                }
                label => label,
            };
        }
        renamed
    }

    /// The value and label of a slot that had value `id` in a gap before labels were chosen anew.
    pub(super) fn settle(&mut self, id: ValueId) -> (ValueId, u16) {
        let label = self.entry(id).label;
        if label != 0 {
            return (id, label);
        }
        let place = self.gap_of(id);
        if let Some(same) = self.own.get(place).copied()
            && self.entry(same).value == self.entry(id).value
        {
            self.release(id);
            let entry = self.entry_mut(same);
            entry.slots += 1;
            return (same, entry.label);
        }
        (id, self.enter_gap(place, 1))
    }

    /// The values that are to have labels, in their order, no two the same.
    fn choose(&self) -> Vec<ValueId> {
        let in_gaps = self.entries.iter().flatten().filter(|entry| entry.label == 0).count();
        let step = in_gaps.div_ceil(SAMPLE).max(1);
        let ids = 0..ValueId::try_from(self.entries.len()).expect("ids are of this type");
        let live = ids.filter(|id| self.entries[*id as usize].is_some());
        let (own, gaps): (Vec<_>, Vec<_>) = live.partition(|id| self.entry(*id).label != 0);
        let weigh = |id: ValueId, times: usize| (id, self.entry(id).slots as usize * times);
        let mut all: Vec<(ValueId, usize)> = own.into_iter().map(|id| weigh(id, 1)).collect();
        all.extend(gaps.into_iter().step_by(step).map(|id| weigh(id, step)));
        all.sort_by(|(left, _), (right, _)| self.entry(*left).value.cmp(&self.entry(*right).value));
        all.dedup_by(|(id, slots), (kept, sum)| {
            let same = self.entry(*id).value == self.entry(*kept).value;
            if same {
                *sum += *slots;
            }
            same
        });
        if all.len() <= MAX_OWN {
            return all.into_iter().map(|(id, _)| id).collect();
        }
        // Whatever ends a share of the slots: at most so many, and all that have a share of their own.
        let share = all.iter().map(|(_, slots)| slots).sum::<usize>().div_ceil(MAX_OWN);
        let mut passed = 0;
        all.retain(|(_, slots)| {
            let before = passed / share;
            passed += slots;
            passed / share > before
        });
        all.into_iter().map(|(id, _)| id).collect()
    }

    /// Gives `chosen` labels at equal distances.
    fn spread(&mut self, chosen: Vec<ValueId>) {
        let places = u32::try_from(chosen.len()).expect("values with a label are few") + 1;
        while lowest(self.width) < 3 * places {
            self.width += 1;
        }
        for (place, id) in (1..).zip(&chosen) {
            let label = lowest(self.width) + place * lowest(self.width) / places;
            self.entry_mut(*id).label = u16::try_from(label).expect("a label has at most 16 bits");
        }
        self.own = chosen;
    }
}
