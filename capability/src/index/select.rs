//! Which machines satisfy a job, and the best of them.

use super::best::{Best, Candidates};
use super::bits::{BLOCK_SLOTS, Bits};
use super::column::Column;
use super::labels::{Slot, locate};
use super::machines::MachineIndex;
use super::plan::{Place, Plan};
use super::preferences::Preferences;
use super::ranges::{Ranges, lowest};
use crate::facts::Runtime;
use crate::requirements::{Clause, Preference, Requirements};

/// The machines that satisfy a job, as they were when it was asked.
#[derive(Debug)]
pub struct Selected<'a, K> {
    index: &'a MachineIndex<K>,
    found: Vec<Found<'a>>,
    best: Vec<Ranked<'a, K>>,
    count: usize,
}

/// A machine that satisfies a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ranked<'a, K> {
    /// Which machine.
    pub id: &'a K,
    /// The first of the job's runtimes in which everything holds.
    pub runtime: &'a Runtime,
    /// How well it suits the job's preferences there; see [`crate::rank`].
    pub rank: u64,
}

/// Slots of a block that satisfy the job in one runtime.
#[derive(Debug)]
struct Found<'a> {
    block: u32,
    runtime: &'a Runtime,
    slots: Bits,
}

/// A runtime that the job can run in.
struct Way<'a> {
    runtime: &'a Runtime,
    presence: &'a Column,
    present: Ranges,
    needs: Plan<'a>,
    preferences: Preferences<'a>,
}

impl<K: Ord + Clone> MachineIndex<K> {
    /// Which machines satisfy `job`, and the `limit` best of them by rank.
    ///
    /// It is what [`crate::satisfies`] and [`crate::rank`] say of each. Machines of one rank are
    /// put in the order of their places in the index, in a circle from one that `seed` says, so that
    /// the same seed gives the same machines, and other seeds share the work out.
    pub fn select<'a>(&'a self, job: &'a Requirements, limit: usize, seed: u64) -> Selected<'a, K> {
        // Whoever wants none of them ranks none.
        let rank = if limit == 0 { &[][..] } else { &job.rank };
        let ways: Vec<_> =
            job.distinct_runtimes().filter_map(|it| self.way(it, &job.clauses, rank)).collect();
        let blocks = self.layout.blocks();
        let slots = u64::from(blocks) * BLOCK_SLOTS as u64;
        let start = Slot::try_from(seed % slots.max(1)).expect("slots have numbers of this type");
        let mut best = Best::new(limit, slots, start);
        let mut found = Vec::new();
        let mut count = 0;
        let (first, at) = locate(start);
        // The first block comes twice: from the start on, and up to it at the end.
        for turn in 0..blocks + u32::from(blocks > 0) {
            let block = (first + turn) % blocks;
            let mut left = *self.layout.taken(block);
            if left.is_empty() {
                continue;
            }
            if turn == 0 {
                left.clip(at.into()..BLOCK_SLOTS);
            } else if turn == blocks {
                left.clip(0..at.into());
            }
            for (number, way) in ways.iter().enumerate() {
                let population = way.presence.labels.slots_in(block);
                let mask = way.presence.labels.find(block, &way.present, &left, u16::MAX);
                if mask.is_empty() {
                    continue;
                }
                let slots = way.needs.find(&self.rows, block, &mask, population);
                if slots.is_empty() {
                    continue;
                }
                left.subtract(&slots);
                count += slots.count();
                best.add(&Candidates {
                    rows: &self.rows,
                    preferences: &way.preferences,
                    way: number,
                    block,
                    slots: &slots,
                    population,
                });
                found.push(Found { block, runtime: way.runtime, slots });
            }
        }
        let best = best.into_sorted().map(|entry| Ranked {
            id: &self.rows.get(entry.slot).id,
            runtime: ways[entry.way].runtime,
            rank: entry.rank,
        });
        Selected { index: self, best: best.collect(), found, count }
    }

    fn way<'a>(
        &'a self,
        runtime: &'a Runtime,
        clauses: &'a [Clause],
        rank: &'a [Preference],
    ) -> Option<Way<'a>> {
        let presence = self.columns.presence(runtime)?;
        let width = presence.dictionary.width();
        let place = Place { runtime, columns: &self.columns, amounts: &self.amounts };
        Some(Way {
            runtime,
            presence,
            present: Ranges::new(vec![lowest(width)..1 << width], width),
            needs: place.all(clauses),
            preferences: Preferences::new(place, rank),
        })
    }
}

impl<'a, K> Selected<'a, K> {
    /// How many machines satisfy the job.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether none does.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The best of them, the best first.
    pub fn best(&self) -> &[Ranked<'a, K>] {
        &self.best
    }

    /// All of them with the runtime in which they do: in the circle that decides among machines of
    /// one rank, but those of one block of places by runtime first.
    pub fn iter(&self) -> impl Iterator<Item = (&'a K, &'a Runtime)> {
        let index = self.index;
        self.found.iter().flat_map(move |found| {
            let first = found.block * BLOCK_SLOTS as Slot;
            let slots = found.slots.iter().map(move |at| first + Slot::from(at));
            slots.map(move |slot| (&index.rows.get(slot).id, found.runtime))
        })
    }
}
