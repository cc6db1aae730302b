//! Labels of one block, sliced into bits, so that a range of them is found 64 slots at a time.
//!
//! A slice has one bit of the labels of all slots (O'Neil and Quass, *Improved query performance
//! with variant indexes*, SIGMOD 1997). The slices of a group of 512 slots lie side by side, the
//! most significant first: to give a slot a label touches as many neighbouring cache lines as the
//! label has bits, and to find a range keeps its sums in registers.
//!
//! Bounds with zeros at their end need fewer slices: those below the last one of the bound make no
//! difference. Whoever gives labels leaves gaps so that there is a round bound to choose.

use super::bits::{At, Bits, GROUP_SLOTS, GROUP_WORDS, GROUPS, Group};
use super::ranges::Ranges;

/// The labels of the slots of a block; 0 is that of slots without one.
#[derive(Debug)]
pub(super) struct Slices {
    width: u32,
    words: Box<[u64]>,
}

impl Slices {
    pub(super) fn new(width: u32) -> Self {
        let words = GROUPS * width as usize * GROUP_WORDS;
        Self { width, words: vec![0; words].into() }
    }

    pub(super) fn set(&mut self, at: At, label: u16) {
        let (group, word, bit) = position(at);
        let width = self.width;
        let words = self.group_mut(group)[word..].iter_mut().step_by(GROUP_WORDS);
        for (index, slice) in words.enumerate() {
            let is_one = u64::from(label) >> (width as usize - 1 - index) & 1;
            *slice = *slice & !(1 << bit) | is_one << bit;
        }
    }

    pub(super) fn get(&self, at: At) -> u16 {
        let (group, word, bit) = position(at);
        let words = self.group(group)[word..].iter().step_by(GROUP_WORDS);
        words.fold(0, |label, slice| label << 1 | u16::from(slice >> bit & 1 == 1))
    }

    /// The slots of `mask` whose labels are in `ranges`.
    pub(super) fn find(&self, ranges: &Ranges, mask: &Bits) -> Bits {
        let mut found = Bits::NONE;
        for (index, (mask, found)) in mask.0.iter().zip(&mut found.0).enumerate() {
            if mask.iter().all(|word| *word == 0) {
                continue;
            }
            let slices = self.group(index);
            for range in ranges.iter() {
                let low = at_least(slices, range.start, self.width);
                let high = at_least(slices, range.end, self.width);
                for index in 0..GROUP_WORDS {
                    found[index] |= low[index] & !high[index] & mask[index];
                }
            }
        }
        found
    }

    fn group(&self, group: usize) -> &[u64] {
        let words = self.width as usize * GROUP_WORDS;
        &self.words[group * words..][..words]
    }

    fn group_mut(&mut self, group: usize) -> &mut [u64] {
        let words = self.width as usize * GROUP_WORDS;
        &mut self.words[group * words..][..words]
    }
}

/// Group, word within each slice, and bit of a place.
fn position(at: At) -> (usize, usize, u32) {
    let at = usize::from(at);
    (at / GROUP_SLOTS, at % GROUP_SLOTS / 64, u32::from(at as u16 % 64))
}

/// The slots whose labels are not below `bound`.
fn at_least(slices: &[u64], bound: u32, width: u32) -> Group {
    if bound >> width != 0 {
        return [0; GROUP_WORDS];
    }
    // From the least significant bit that counts: what is decided there stands unless a more
    // significant bit differs.
    let mut found = [!0; GROUP_WORDS];
    for bit in bound.trailing_zeros()..width {
        let start = (width - 1 - bit) as usize * GROUP_WORDS;
        let slice: &Group = slices[start..].first_chunk().expect("a whole slice of every bit");
        if bound >> bit & 1 == 1 {
            found.iter_mut().zip(slice).for_each(|(found, word)| *found &= word);
        } else {
            found.iter_mut().zip(slice).for_each(|(found, word)| *found |= word);
        }
    }
    found
}
