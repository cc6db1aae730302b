//! Which slot a machine gets.
//!
//! Machines that are alike share blocks, so that a query skips or takes most blocks whole. Alike are
//! those of one platform that donate a similar number of cores.

use std::collections::BTreeMap;

use super::bits::{BLOCK_SLOTS, Bits};
use super::labels::{Slot, locate};
use crate::facts::{Capabilities, Platform};

/// Kinds of machines that get blocks of their own: a kind that nobody has leaves a block half empty.
/// There are some ten platforms; the rest is for what peers make up.
const MAX_KINDS: usize = 256;

/// What is alike of machines.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    platform: Platform,
    /// Logarithm of the cores.
    cores: u32,
}

impl Kind {
    pub(super) fn of(machine: &Capabilities) -> Self {
        let cores = machine.resources.cores.max(1).ilog2();
        Self { platform: machine.platform.clone(), cores }
    }
}

#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The kind that each block is for; see [`Self::kinds`].
    blocks: Vec<usize>,
    /// The slots of each block that are taken.
    taken: Vec<Bits>,
    /// Free slots of each kind, of which 0 is for all that have no blocks of their own.
    free: Vec<Vec<Slot>>,
    kinds: BTreeMap<Kind, usize>,
    /// Blocks in which nothing is left. They wait for machines of their kinds.
    empty: usize,
}

impl Layout {
    /// How many blocks there are, those in which nothing is left included.
    pub(super) fn blocks(&self) -> u32 {
        u32::try_from(self.blocks.len()).expect("slots have numbers of this type")
    }

    /// How many blocks have a machine.
    pub(super) fn used(&self) -> usize {
        self.blocks.len() - self.empty
    }

    /// The slots of `block` that are taken.
    pub(super) fn taken(&self, block: u32) -> &Bits {
        &self.taken[block as usize]
    }

    /// Whether a machine of `kind` may stay in `slot`.
    pub(super) fn suits(&self, slot: Slot, kind: &Kind) -> bool {
        let own = self.kinds.get(kind).copied().unwrap_or(0);
        self.blocks[locate(slot).0 as usize] == own
    }

    /// A slot for a machine of `kind`.
    pub(super) fn take(&mut self, kind: Kind) -> Slot {
        let kind = self.number(kind);
        let slot = self.free[kind].pop().unwrap_or_else(|| self.add_block(kind));
        let (block, at) = locate(slot);
        let taken = &mut self.taken[block as usize];
        self.empty -= usize::from(taken.is_empty());
        taken.insert(at);
        slot
    }

    pub(super) fn give_back(&mut self, slot: Slot) {
        let (block, at) = locate(slot);
        let taken = &mut self.taken[block as usize];
        taken.remove(at);
        self.empty += usize::from(taken.is_empty());
        self.free[self.blocks[block as usize]].push(slot);
    }

    fn number(&mut self, kind: Kind) -> usize {
        if self.free.is_empty() {
            self.free.push(Vec::new());
        }
        if let Some(number) = self.kinds.get(&kind) {
            return *number;
        }
        if self.kinds.len() >= MAX_KINDS {
            return 0;
        }
        self.kinds.insert(kind, self.free.len());
        self.free.push(Vec::new());
        self.free.len() - 1
    }

    /// A new block for machines of `kind`; gives its first slot.
    fn add_block(&mut self, kind: usize) -> Slot {
        let first = self.blocks() * BLOCK_SLOTS as Slot;
        self.blocks.push(kind);
        self.taken.push(Bits::NONE);
        self.empty += 1;
        // The lowest is taken first.
        self.free[kind].extend((first + 1..first + BLOCK_SLOTS as Slot).rev());
        first
    }
}
