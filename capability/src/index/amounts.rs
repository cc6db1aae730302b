//! What machines donate of one resource.
//!
//! The amounts of a million machines are mostly different, so labels stand for ranges of them: the
//! exponent of the amount and the first bits behind its leading one. Amounts that people ask for
//! are round, so that the bound is seldom inside of a range, and has zeros at its end.

use super::dictionary::Selection;
use super::labels::{Labels, Slot};
use super::ranges::lowest;

/// Bits of a label: the highest, six of the exponent, and the fraction.
pub(super) const WIDTH: u32 = 1 + 6 + FRACTION;
/// Bits of an amount behind its leading one.
const FRACTION: u32 = 7;

#[derive(Debug)]
pub(super) struct Amounts {
    pub(super) labels: Labels,
    /// Slots by exponent.
    slots: [u32; 64],
}

impl Amounts {
    pub(super) fn new() -> Self {
        Self { labels: Labels::new(WIDTH), slots: [0; 64] }
    }

    pub(super) fn insert(&mut self, slot: Slot, amount: u64) {
        self.slots[exponent(amount)] += 1;
        self.labels.set(slot, label(amount));
    }

    pub(super) fn remove(&mut self, slot: Slot, amount: u64) {
        self.slots[exponent(amount)] -= 1;
        self.labels.clear(slot);
    }

    /// The labels of amounts that are not below `bound`.
    pub(super) fn at_least(&self, bound: u64) -> Selection {
        let slots = self.slots[exponent(bound)..].iter().sum();
        let at = u32::from(label(bound));
        let end = 1 << WIDTH;
        // Nothing with this label is below it.
        let is_lowest = bound == 0 || label(bound - 1) != label(bound);
        if is_lowest {
            return Selection { sure: vec![at..end], unsure: Vec::new(), slots };
        }
        let sure = if at + 1 < end { vec![at + 1..end] } else { Vec::new() };
        Selection { sure, unsure: vec![at..at + 1], slots }
    }
}

/// 0 and 1 have one exponent; they differ in their fraction.
fn exponent(amount: u64) -> usize {
    amount.max(1).ilog2() as usize
}

/// The label of `amount`, in the order of amounts.
fn label(amount: u64) -> u16 {
    let label = match amount {
        // 1 takes the last fraction of its exponent, so that 0 is below it.
        0 => 0,
        1 => (1 << FRACTION) - 1,
        _ => {
            let exponent = amount.ilog2();
            let rest = amount ^ 1 << exponent;
            let fraction = match exponent.checked_sub(FRACTION) {
                Some(beyond) => rest >> beyond,
                None => rest << (FRACTION - exponent),
            };
            u64::from(exponent << FRACTION) | fraction
        }
    };
    u16::try_from(u64::from(lowest(WIDTH)) + label).expect("a label has at most 16 bits")
}
