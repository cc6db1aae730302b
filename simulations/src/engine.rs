//! The machinery of a deterministic run: virtual time, an ordered queue, randomness from a seed, and
//! a hash over everything that happens.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::{Add, RangeInclusive, Sub};
use std::time::Duration;

/// Virtual time since the beginning of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct SimTime(pub Duration);

impl Add<Duration> for SimTime {
    type Output = Self;

    fn add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(by))
    }
}

impl Sub for SimTime {
    type Output = Duration;

    /// How long after `earlier` this is; zero if it is not.
    fn sub(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for SimTime {
    /// Seconds with six decimals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:12.6}", self.0.as_secs_f64())
    }
}

/// Events in the order of their times; those of one time in the order in which they were put in.
#[derive(Debug)]
pub struct Queue<E> {
    events: BTreeMap<(SimTime, u64), E>,
    next: u64,
    now: SimTime,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { events: BTreeMap::new(), next: 0, now: SimTime::default() }
    }
}

impl<E> Queue<E> {
    /// The time of the event that was taken last.
    pub fn now(&self) -> SimTime {
        self.now
    }

    /// Lets `event` happen after `delay`.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// Lets `event` happen at `time`, or now if that is past.
    pub fn at(&mut self, time: SimTime, event: E) {
        self.events.insert((time.max(self.now), self.next), event);
        self.next += 1;
    }

    /// The next event; time moves on to it.
    pub fn pop(&mut self) -> Option<E> {
        let ((time, _), event) = self.events.pop_first()?;
        self.now = time;
        Some(event)
    }
}

/// Randomness that is the same on every machine: SplitMix64 (Steele, Lea, Flood 2014).
///
/// Each part of a simulation draws from a stream of its own, so that a change of one part leaves the
/// luck of the others as it was.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The generator of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The stream for `purpose`; it depends on this generator's state, and does not change it.
    pub fn stream(&self, purpose: &str) -> Self {
        let hash = blake3::hash(&[&self.0.to_be_bytes(), purpose.as_bytes()].concat());
        let mut seed = [0; 8];
        seed.copy_from_slice(&hash.as_bytes()[..8]);
        Self(u64::from_be_bytes(seed))
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// One of `range`. The bias of the remainder is below 2⁻³² for ranges that fit into 32 bits.
    pub fn within(&mut self, range: RangeInclusive<u64>) -> u64 {
        let (low, high) = range.into_inner();
        let span = (high - low).saturating_add(1);
        low + self.bits() % span
    }

    /// A duration in `range`, to the microsecond.
    pub fn duration(&mut self, range: RangeInclusive<Duration>) -> Duration {
        let (low, high) = range.into_inner();
        Duration::from_micros(self.within(micros(low)..=micros(high)))
    }

    /// Whether something happens that does in `permille` of 1,000 cases.
    pub fn happens(&mut self, permille: u64) -> bool {
        self.bits() % 1000 < permille
    }

    /// One of `choices`, which are not empty.
    pub fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        assert!(!choices.is_empty(), "a choice among nothing");
        let last = choices.len() as u64 - 1;
        let index = usize::try_from(self.within(0..=last)).expect("below the number of choices");
        choices[index]
    }
}

/// Hashes everything that happens, and shows it if somebody wants to see it.
pub struct Trace {
    hasher: blake3::Hasher,
    shown_to: Option<Box<dyn io::Write>>,
}

impl Trace {
    /// A trace that writes each line to `shown_to`, if given.
    pub fn new(shown_to: Option<Box<dyn io::Write>>) -> Self {
        Self { hasher: blake3::Hasher::new(), shown_to }
    }

    /// Adds a line.
    pub fn line(&mut self, at: SimTime, words: fmt::Arguments<'_>) {
        let line = format!("{at} {words}\n");
        self.hasher.update(line.as_bytes());
        if let Some(shown_to) = &mut self.shown_to
            && shown_to.write_all(line.as_bytes()).is_err()
        {
            // The reader has gone; the run goes on without it.
            self.shown_to = None;
        }
    }

    /// Adds bytes that nobody wants to read.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
    }

    /// The hash of all that was added so far.
    pub fn hash(&self) -> blake3::Hash {
        self.hasher.finalize()
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_arrival() {
        let mut queue = Queue::default();
        queue.after(Duration::from_secs(2), "late");
        queue.after(Duration::from_secs(1), "first");
        queue.after(Duration::from_secs(1), "second");

        assert_eq!(
            [queue.pop(), queue.pop(), queue.pop()].map(Option::unwrap_or_default),
            ["first", "second", "late"]
        );
        assert_eq!(queue.now(), SimTime(Duration::from_secs(2)));
    }

    #[test]
    fn an_event_in_the_past_happens_now() {
        let mut queue = Queue::default();
        queue.after(Duration::from_secs(5), ());
        queue.pop();
        queue.at(SimTime::default(), ());
        queue.pop();
        assert_eq!(queue.now(), SimTime(Duration::from_secs(5)));
    }

    #[test]
    fn the_generator_is_the_published_one() {
        let mut rng = Rng::new(1_234_567);
        assert_eq!(
            [rng.bits(), rng.bits()],
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973]
        );
    }

    #[test]
    fn streams_are_independent_of_each_other_and_of_what_was_drawn_from_them() {
        let root = Rng::new(7);
        let (mut one, mut other) = (root.stream("one"), root.stream("other"));
        assert_ne!(one.bits(), other.bits());
        assert_eq!(root.stream("one").bits(), root.stream("one").bits());
    }

    #[test]
    fn numbers_stay_within_their_range() {
        let mut rng = Rng::new(3);
        assert!((0..1000).all(|_| (5..=9).contains(&rng.within(5..=9))));
        assert!((0..1000).all(|_| !rng.happens(0)) && rng.happens(1000));
    }
}
