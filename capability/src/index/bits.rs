//! Sets of slots within one block, a bit for each slot.

use std::ops::{BitAndAssign, BitOrAssign, Range};

/// Slots of a group: a cache line has a bit for each.
pub(super) const GROUP_SLOTS: usize = 512;
/// Words that hold a group.
pub(super) const GROUP_WORDS: usize = GROUP_SLOTS / 64;
/// Groups of a block.
pub(super) const GROUPS: usize = 8;
/// Slots of a block: enough that what is done once a block costs little, and few enough that
/// blocks of one kind of machine are often skipped or taken whole.
pub(super) const BLOCK_SLOTS: usize = GROUPS * GROUP_SLOTS;

/// Slots of a group.
pub(super) type Group = [u64; GROUP_WORDS];

/// A place within a block, below [`BLOCK_SLOTS`].
pub(super) type At = u16;

/// Slots of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bits(pub(super) [Group; GROUPS]);

impl Bits {
    pub(super) const NONE: Self = Self([[0; GROUP_WORDS]; GROUPS]);
    pub(super) const ALL: Self = Self([[!0; GROUP_WORDS]; GROUPS]);

    pub(super) fn is_empty(&self) -> bool {
        self.0.as_flattened().iter().all(|word| *word == 0)
    }

    pub(super) fn count(&self) -> usize {
        self.0.as_flattened().iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(super) fn insert(&mut self, at: At) {
        let at = usize::from(at);
        self.0.as_flattened_mut()[at / 64] |= 1 << (at % 64);
    }

    pub(super) fn remove(&mut self, at: At) {
        let at = usize::from(at);
        self.0.as_flattened_mut()[at / 64] &= !(1 << (at % 64));
    }

    pub(super) fn contains(&self, at: At) -> bool {
        let at = usize::from(at);
        self.0.as_flattened()[at / 64] >> (at % 64) & 1 == 1
    }

    /// Takes away what is in `others`.
    pub(super) fn subtract(&mut self, others: &Self) {
        self.combine(others, |word, other| word & !other);
    }

    /// What is not in `others`.
    pub(super) fn minus(&self, others: &Self) -> Self {
        let mut left = *self;
        left.subtract(others);
        left
    }

    /// Keeps what lies in `range`.
    pub(super) fn clip(&mut self, range: Range<usize>) {
        for (index, word) in self.0.as_flattened_mut().iter_mut().enumerate() {
            // Bits below `end` within this word.
            let below = |end: usize| match end.saturating_sub(index * 64) {
                bits @ 0..64 => (1 << bits) - 1,
                _ => !0_u64,
            };
            *word &= below(range.end) & !below(range.start);
        }
    }

    /// The places in ascending order.
    pub(super) fn iter(&self) -> impl Iterator<Item = At> + use<> {
        let words = *self;
        (0..GROUPS * GROUP_WORDS).flat_map(move |index| {
            let mut word = words.0[index / GROUP_WORDS][index % GROUP_WORDS];
            std::iter::from_fn(move || {
                let bit = (word != 0).then(|| word.trailing_zeros() as usize)?;
                word &= word - 1;
                Some(At::try_from(index * 64 + bit).expect("a block is smaller than 2^16"))
            })
        })
    }

    fn combine(&mut self, others: &Self, combine: impl Fn(u64, u64) -> u64) {
        let words = self.0.as_flattened_mut().iter_mut();
        words.zip(others.0.as_flattened()).for_each(|(word, other)| *word = combine(*word, *other));
    }
}

impl BitAndAssign<&Self> for Bits {
    fn bitand_assign(&mut self, others: &Self) {
        self.combine(others, |word, other| word & other);
    }
}

impl BitOrAssign<&Self> for Bits {
    fn bitor_assign(&mut self, others: &Self) {
        self.combine(others, |word, other| word | other);
    }
}

impl FromIterator<At> for Bits {
    fn from_iter<I: IntoIterator<Item = At>>(places: I) -> Self {
        let mut bits = Self::NONE;
        places.into_iter().for_each(|at| bits.insert(at));
        bits
    }
}
