//! Randomness for what must not happen everywhere at once: from a seed, so that a run can be repeated.

use std::time::Duration;

/// SplitMix64. Nothing secret may come from it.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Between half of `longest` and all of it.
    pub fn upper_half(&mut self, longest: Duration) -> Duration {
        longest / 2 + self.below(longest / 2)
    }

    /// Any time shorter than `limit`, or zero.
    pub fn below(&mut self, limit: Duration) -> Duration {
        // 16 bits are fine enough for what people and machines wait.
        let sixteen_bits = u16::try_from(self.next_u64() >> 48).unwrap_or(0);
        limit.mul_f64(f64::from(sixteen_bits) / 65_536.0)
    }
}

/// How long to wait after some failures in a row.
#[derive(Debug, Clone, Copy, Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// One more failure: the wait doubles from `first` up to `longest`, shortened by up to a half.
    pub fn lose(&mut self, first: Duration, longest: Duration, random: &mut Random) -> Duration {
        let doubled = first.saturating_mul(1 << self.failures.min(20));
        self.failures = self.failures.saturating_add(1);
        random.upper_half(doubled.min(longest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_one_sequence_and_another_seed_another() {
        let sequence = |seed| {
            let mut random = Random::new(seed);
            [(); 4].map(|()| random.next_u64())
        };
        assert_eq!(sequence(1), sequence(1));
        assert_ne!(sequence(1), sequence(2));
    }

    #[test]
    fn waits_grow_stay_within_their_bounds_and_differ() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(10));
        let waits = |seed| {
            let (mut patience, mut random) = (Patience::default(), Random::new(seed));
            [(); 40].map(|()| patience.lose(first, longest, &mut random))
        };
        let one = waits(1);
        assert!(one.iter().all(|wait| (first / 2..=longest).contains(wait)), "{one:?}");
        assert!(one[39] >= longest / 2);
        assert_ne!(one, waits(2));
    }
}
