//! Ranges of labels.
//!
//! A label of `width` bits has its highest bit set; 0 is that of slots without a value. The labels
//! fall into at most 64 *zones* of equal size, and a block notes in a word which of them it has, so
//! that most blocks of machines that are alike are skipped or taken whole.

use std::ops::Range;

/// Some of the labels of a column.
#[derive(Debug, Default, Clone)]
pub(super) struct Ranges {
    ranges: Vec<Range<u32>>,
    /// Zones in which a range has a label.
    touched: u64,
    /// Zones all of whose labels are in one range.
    covered: u64,
}

impl Ranges {
    /// Ranges that do not touch each other.
    pub(super) fn new(ranges: Vec<Range<u32>>, width: u32) -> Self {
        let zones = |(touched, covered): (u64, u64), range: &Range<u32>| {
            let (first, last) = (zone(range.start, width), zone(range.end - 1, width));
            let size = 1_u32 << zone_shift(width);
            let whole_first = first + u32::from(!range.start.is_multiple_of(size));
            // The first zone that is not whole.
            let whole_end = last + u32::from(range.end.is_multiple_of(size));
            (
                touched | (ones(last + 1) & !ones(first)),
                covered | (ones(whole_end) & !ones(whole_first)),
            )
        };
        let (touched, covered) = ranges.iter().fold((0, 0), zones);
        Self { ranges, touched, covered }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Range<u32>> {
        self.ranges.iter()
    }

    pub(super) fn contains(&self, label: u16) -> bool {
        self.ranges.iter().any(|range| range.contains(&label.into()))
    }

    /// Whether none of the labels in `zones` is meant.
    pub(super) fn misses(&self, zones: u64) -> bool {
        self.touched & zones == 0
    }

    /// Whether all labels in `zones` are meant.
    pub(super) fn covers(&self, zones: u64) -> bool {
        zones & !self.covered == 0
    }
}

/// The lowest label of `width` bits.
pub(super) const fn lowest(width: u32) -> u32 {
    1 << (width - 1)
}

/// The zone of `label`, as the only bit of a word.
pub(super) fn zone_bit(label: u16, width: u32) -> u64 {
    1 << zone(label.into(), width)
}

/// The bound with the most zeros at its end among those above `below` and up to `above`.
pub(super) fn roundest(below: u32, above: u32) -> u32 {
    let common = (below ^ above).ilog2();
    above >> common << common
}

fn zone(label: u32, width: u32) -> u32 {
    (label - lowest(width)) >> zone_shift(width)
}

fn zone_shift(width: u32) -> u32 {
    (width - 1).saturating_sub(6)
}

/// The lowest `count` bits, at most 64.
fn ones(count: u32) -> u64 {
    if count < 64 { (1 << count) - 1 } else { !0 }
}
