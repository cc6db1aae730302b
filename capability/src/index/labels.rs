//! The labels of all slots in one column, block by block.
//!
//! A block in which few slots have a label is a sorted list, one in which many have one is
//! [`Slices`]. A column of one slot is thus a few words, however many slots there are.

use super::bits::{At, BLOCK_SLOTS, Bits};
use super::ranges::{Ranges, zone_bit};
use super::slices::Slices;

/// A slot by number. The block is what [`BLOCK_SLOTS`] goes into it.
pub(super) type Slot = u32;

/// Entries up to which a block is a list: a list of more would take more room than slices of eight
/// bits do, and more time.
const MAX_LIST: usize = 512;
/// Entries below which slices become a list again; well apart, so that no slot's coming and going
/// makes a block change its shape each time.
const MIN_SLICED: usize = 128;

/// Block and place of `slot`.
pub(super) fn locate(slot: Slot) -> (u32, At) {
    let size = BLOCK_SLOTS as Slot;
    (slot / size, At::try_from(slot % size).expect("a block is smaller than 2^16"))
}

/// Which slots have which label.
#[derive(Debug)]
pub(super) struct Labels {
    width: u32,
    /// Those that have a label, by number.
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Block {
    number: u32,
    /// Slots that have a label.
    slots: u16,
    /// Changes since `zones` were exact.
    changes: u16,
    /// A superset of the zones of the labels.
    zones: u64,
    body: Body,
}

#[derive(Debug)]
enum Body {
    List(Vec<(At, u16)>),
    Sliced(Slices),
}

impl Labels {
    pub(super) fn new(width: u32) -> Self {
        Self { width, blocks: Vec::new() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Gives `slot` a label, in place of the one that it had.
    pub(super) fn set(&mut self, slot: Slot, label: u16) {
        let (number, at) = locate(slot);
        let index = match self.blocks.binary_search_by_key(&number, |block| block.number) {
            Ok(index) => index,
            Err(index) => {
                if self.blocks.is_empty() {
                    // Most columns that a hostile ad makes up have one slot.
                    self.blocks.reserve_exact(1);
                }
                self.blocks.insert(index, Block::new(number));
                index
            }
        };
        self.blocks[index].set(at, label, self.width);
    }

    /// Takes the label of `slot` away, if it has one.
    pub(super) fn clear(&mut self, slot: Slot) {
        let (number, at) = locate(slot);
        if let Ok(index) = self.blocks.binary_search_by_key(&number, |block| block.number) {
            self.blocks[index].clear(at, self.width);
            if self.blocks[index].slots == 0 {
                self.blocks.remove(index);
            }
        }
    }

    /// Slots of block `number` that have a label.
    pub(super) fn slots_in(&self, number: u32) -> u16 {
        self.block(number).map_or(0, |block| block.slots)
    }

    /// The slots of `mask` in block `number` whose labels are in `ranges`. Of the slots that may
    /// be in `mask` there are `population` in the block.
    pub(super) fn find(&self, number: u32, ranges: &Ranges, mask: &Bits, population: u16) -> Bits {
        match self.block(number) {
            Some(block) if !ranges.misses(block.zones) => {
                if block.slots >= population && ranges.covers(block.zones) {
                    return *mask;
                }
                block.find(ranges, mask)
            }
            _ => Bits::NONE,
        }
    }

    /// Gives every slot the label that `rename` says in place of its own, of `width` bits.
    pub(super) fn rename(&mut self, width: u32, mut rename: impl FnMut(Slot, u16) -> u16) {
        for block in &mut self.blocks {
            let first = block.number * BLOCK_SLOTS as Slot;
            let renamed: Vec<_> = block.entries();
            *block = Block::new(block.number);
            for (at, label) in renamed {
                block.set(at, rename(first + Slot::from(at), label), width);
            }
        }
        self.width = width;
    }

    fn block(&self, number: u32) -> Option<&Block> {
        let index = self.blocks.binary_search_by_key(&number, |block| block.number).ok()?;
        Some(&self.blocks[index])
    }
}

impl Block {
    fn new(number: u32) -> Self {
        Self { number, slots: 0, changes: 0, zones: 0, body: Body::List(Vec::new()) }
    }

    fn set(&mut self, at: At, label: u16, width: u32) {
        let is_new = match &mut self.body {
            Body::List(list) => match list.binary_search_by_key(&at, |(at, _)| *at) {
                Ok(index) => {
                    list[index].1 = label;
                    false
                }
                Err(index) => {
                    if list.is_empty() {
                        list.reserve_exact(1);
                    }
                    list.insert(index, (at, label));
                    true
                }
            },
            Body::Sliced(slices) => {
                let is_new = slices.get(at) == 0;
                slices.set(at, label);
                is_new
            }
        };
        self.slots += u16::from(is_new);
        self.zones |= zone_bit(label, width);
        self.changed(width);
    }

    fn clear(&mut self, at: At, width: u32) {
        let was_there = match &mut self.body {
            Body::List(list) => {
                let found = list.binary_search_by_key(&at, |(at, _)| *at);
                found.map(|index| list.remove(index)).is_ok()
            }
            Body::Sliced(slices) => {
                let was_there = slices.get(at) != 0;
                slices.set(at, 0);
                was_there
            }
        };
        self.slots -= u16::from(was_there);
        self.changed(width);
    }

    /// Settles the shape, and now and then the zones, so that what is gone is forgotten.
    fn changed(&mut self, width: u32) {
        let slots = usize::from(self.slots);
        match &self.body {
            Body::List(list) if slots > MAX_LIST => {
                let mut slices = Slices::new(width);
                list.iter().for_each(|(at, label)| slices.set(*at, *label));
                self.body = Body::Sliced(slices);
            }
            Body::Sliced(_) if slots < MIN_SLICED => self.body = Body::List(self.entries()),
            _ => {}
        }
        self.changes += 1;
        if usize::from(self.changes) >= 2 * BLOCK_SLOTS {
            self.changes = 0;
            let zones = self.entries().into_iter().map(|(_, label)| zone_bit(label, width));
            self.zones = zones.fold(0, |zones, bit| zones | bit);
        }
    }

    fn entries(&self) -> Vec<(At, u16)> {
        match &self.body {
            Body::List(list) => list.clone(),
            Body::Sliced(slices) => {
                let all = Bits::ALL.iter().map(|at| (at, slices.get(at)));
                all.filter(|(_, label)| *label != 0).collect()
            }
        }
    }

    fn find(&self, ranges: &Ranges, mask: &Bits) -> Bits {
        match &self.body {
            Body::List(list) => {
                let meant =
                    list.iter().filter(|(at, label)| mask.contains(*at) && ranges.contains(*label));
                meant.map(|(at, _)| *at).collect()
            }
            Body::Sliced(slices) => slices.find(ranges, mask),
        }
    }
}
