//! What a job has of the machine for itself while others run beside it.

use std::cmp::Reverse;
use std::collections::BTreeSet;

/// A number, which nothing else that runs has, and processors, which others have only if there are too few.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Slot {
    /// The lowest that was free.
    pub number: u32,
    /// By the kernel's numbers; all that the daemon may use if there are none.
    pub processors: BTreeSet<u32>,
}

impl Slot {
    /// The processors that there are now: they come and go, and an owner can change what the daemon may use.
    pub fn available() -> BTreeSet<u32> {
        volunteer_sandbox::processors().unwrap_or_else(|error| {
            tracing::warn!(%error, "processors not known, jobs are not confined to theirs");
            BTreeSet::new()
        })
    }

    /// One with `cores` of the `available` processors for somebody who does not know what others have, but that `turn`
    /// of them came before him. From the first processor on, since a daemon's jobs have the last ones first.
    pub fn in_turn(number: u32, turn: u32, available: &BTreeSet<u32>, cores: u32) -> Self {
        let size = |cores: u32| usize::try_from(cores).unwrap_or(usize::MAX);
        let cores = size(cores.max(1));
        let start = size(turn).saturating_mul(cores).checked_rem(available.len()).unwrap_or(0);
        let processors = available.iter().cycle().skip(start).take(cores.min(available.len()));
        Self { number, processors: processors.copied().collect() }
    }

    /// One with `cores` of the `available` processors, and with those first of which the fewest of `taken` make use.
    pub fn beside(taken: &[&Self], available: &BTreeSet<u32>, cores: u32) -> Self {
        let is_free = |number: &u32| taken.iter().all(|slot| slot.number != *number);
        let number = (0..).find(is_free).unwrap_or_default();
        let users = |processor: &u32| {
            taken.iter().filter(|slot| slot.processors.contains(processor)).count()
        };
        let mut processors: Vec<u32> = available.iter().copied().collect();
        // Interrupts tend to be served by the first ones.
        processors.sort_by_key(|processor| (users(processor), Reverse(*processor)));
        processors.truncate(usize::try_from(cores.max(1)).unwrap_or(usize::MAX));
        Self { number, processors: processors.into_iter().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The processors of jobs that begin one after the other and need so many cores, of `there` that there are.
    #[track_caller]
    fn check(there: u32, cores: &[u32], expected: &[&[u32]]) {
        let available = (0..there).collect();
        let mut slots: Vec<Slot> = Vec::new();
        for cores in cores {
            let taken: Vec<&Slot> = slots.iter().collect();
            slots.push(Slot::beside(&taken, &available, *cores));
        }
        let processors: Vec<Vec<u32>> =
            slots.iter().map(|slot| slot.processors.iter().copied().collect()).collect();
        assert_eq!(processors, expected);
        assert!(slots.iter().zip(0..).all(|(slot, number)| slot.number == number));
    }

    #[test]
    fn jobs_have_processors_of_their_own_as_long_as_there_are_some() {
        check(4, &[1, 2, 1], &[&[3], &[1, 2], &[0]]);
        check(4, &[4], &[&[0, 1, 2, 3]]);
        check(2, &[0], &[&[1]]);
    }

    #[test]
    fn too_few_are_shared_evenly_and_nobody_goes_without() {
        check(2, &[1, 1, 1, 1], &[&[1], &[0], &[1], &[0]]);
        check(2, &[3, 1], &[&[0, 1], &[1]]);
        check(0, &[2], &[&[]]);
    }

    #[test]
    fn who_does_not_know_of_the_others_has_other_processors_all_the_same() {
        let check = |turn: u32, cores: u32, expected: &[u32]| {
            let slot = Slot::in_turn(70 + turn, turn, &[0, 2, 4, 6].into(), cores);
            assert_eq!(slot.processors, expected.iter().copied().collect(), "{turn}");
        };
        check(0, 1, &[0]);
        check(1, 1, &[2]);
        check(5, 1, &[2]);
        check(0, 2, &[0, 2]);
        check(1, 2, &[4, 6]);
        check(1, 3, &[6, 0, 2]);
        check(3, 9, &[0, 2, 4, 6]);
        assert_eq!(Slot::in_turn(70, 1, &BTreeSet::new(), 1).processors, [].into());
    }

    #[test]
    fn what_a_job_gives_back_is_taken_next() {
        let slot = |number, processors: &[u32]| Slot {
            number,
            processors: processors.iter().copied().collect(),
        };
        let (first, third) = (slot(0, &[3]), slot(2, &[0, 1]));

        let next = Slot::beside(&[&first, &third], &(0..4).collect(), 1);

        assert_eq!(next, slot(1, &[2]));
    }
}
