//! The best machines by rank, without ranking most of them.
//!
//! Once there are as many as are wanted, a machine matters only if it comes before the last of them.
//! The slots of a block are parted by the preferences that hold or do not, the heaviest first, and a
//! part that cannot come up to the bar is left. What remains is narrowed to the numbers that it
//! would need, and ranked in handfuls, because each may raise the bar.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use super::bits::{BLOCK_SLOTS, Bits};
use super::labels::Slot;
use super::preferences::Preferences;
use super::rows::Rows;

/// Machines that are ranked between two looks at the bar.
const HANDFUL: usize = 16;

/// The best so far.
pub(super) struct Best {
    limit: usize,
    /// Slots that there are, and the one that counting begins with.
    slots: u64,
    start: Slot,
    entries: BTreeSet<Entry>,
}

/// A machine with its rank. The last in order is the best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Entry {
    pub(super) rank: u64,
    distance: Reverse<u64>,
    pub(super) slot: Slot,
    /// Which of the job's runtimes.
    pub(super) way: usize,
}

/// Slots of one block that satisfy the job in one runtime.
pub(super) struct Candidates<'a, 'p, K> {
    pub(super) rows: &'a Rows<K>,
    pub(super) preferences: &'a Preferences<'p>,
    pub(super) way: usize,
    pub(super) block: u32,
    pub(super) slots: &'a Bits,
    /// Slots of the block that have the runtime.
    pub(super) population: u16,
}

/// What is known of the preferences in one block.
struct Looked {
    /// Of those by clause that were looked at, the candidates that hold.
    holding: Vec<Option<Bits>>,
    /// The most points that numbers bring there.
    numbers: u64,
}

impl Best {
    pub(super) fn new(limit: usize, slots: u64, start: Slot) -> Self {
        Self { limit, slots, start, entries: BTreeSet::new() }
    }

    /// Adds those of `candidates` that are among the best.
    pub(super) fn add<K>(&mut self, candidates: &Candidates<'_, '_, K>) {
        if self.limit > 0 {
            let Candidates { rows, preferences, block, slots, population, .. } = candidates;
            let mut looked = Looked {
                holding: vec![None; preferences.holding.len()],
                numbers: preferences.most_of_numbers(rows, *block, slots, *population),
            };
            self.part(candidates, &mut looked, 0, **slots, 0);
        }
    }

    /// The best first.
    pub(super) fn into_sorted(self) -> impl Iterator<Item = Entry> {
        self.entries.into_iter().rev()
    }

    /// Adds those of `slots` that are among the best. They have `points` for the preferences before
    /// the one at `index`.
    fn part<K>(
        &mut self,
        candidates: &Candidates<'_, '_, K>,
        looked: &mut Looked,
        index: usize,
        slots: Bits,
        points: u64,
    ) {
        let Candidates { rows, preferences, block, .. } = candidates;
        let Some(nearest) = self.nearest(*block, &slots) else { return };
        if points + preferences.most_from(index) + looked.numbers < self.bar(nearest) {
            return;
        }
        let Some((weight, plan)) = preferences.holding.get(index) else {
            return self.rank(candidates, slots, points);
        };
        let holds = looked.holding[index].get_or_insert_with(|| {
            plan.find(rows, *block, candidates.slots, candidates.population)
        });
        let (mut with, mut without) = (slots, slots);
        with &= holds;
        without.subtract(holds);
        self.part(candidates, looked, index + 1, with, points + weight);
        self.part(candidates, looked, index + 1, without, points);
    }

    /// Adds those of `slots` that are among the best, all with `points` but for their numbers.
    fn rank<K>(&mut self, candidates: &Candidates<'_, '_, K>, mut slots: Bits, points: u64) {
        let Candidates { rows, preferences, way, block, population, .. } = candidates;
        let mut passed = 0;
        while let Some(nearest) = self.nearest(*block, &slots) {
            let bar = self.bar(nearest);
            if bar > passed {
                let needed = bar.saturating_sub(points);
                slots = preferences.narrow(needed, rows, *block, &slots, *population);
                passed = bar;
                continue;
            }
            for at in slots.iter().take(HANDFUL) {
                slots.remove(at);
                let slot = block * BLOCK_SLOTS as Slot + Slot::from(at);
                let rank = points + preferences.numbers_of(rows, slot);
                let distance = Reverse(self.distance(slot));
                self.entries.insert(Entry { rank, distance, slot, way: *way });
                if self.entries.len() > self.limit {
                    self.entries.pop_first();
                }
            }
        }
    }

    /// The rank that a machine at `distance` or farther needs to be among the best.
    fn bar(&self, distance: u64) -> u64 {
        match self.entries.first() {
            Some(last) if self.entries.len() >= self.limit => {
                last.rank + u64::from(last.distance.0 < distance)
            }
            _ => 0,
        }
    }

    /// The distance of the nearest of `slots` of `block`, all on one side of the start.
    fn nearest(&self, block: u32, slots: &Bits) -> Option<u64> {
        let at = slots.iter().next()?;
        Some(self.distance(block * BLOCK_SLOTS as Slot + Slot::from(at)))
    }

    /// Steps from the start.
    fn distance(&self, slot: Slot) -> u64 {
        (u64::from(slot) + self.slots - u64::from(self.start)) % self.slots
    }
}
