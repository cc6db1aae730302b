//! How much of the time this machine works: what was measured over the last days, switched off hours included.
//!
//! Who fetches work ahead must know how far a day carries on a machine that is switched off at night.

use std::time::Duration;

use capability::{CborError, Timestamp, decode_cbor, encode_cbor};
use mesh_core::{Now, Write};
use serde::{Deserialize, Serialize};

/// First byte of the key of the only record.
pub(crate) const AVAILABILITY_PREFIX: u8 = b'a';

/// Bytes of the record at most.
const MAX_RECORD: usize = 256;

/// What is counted is at most so long; with more, what is older counts less. Three weekends among them.
const REMEMBERED: Duration = Duration::from_secs(21 * 24 * 60 * 60);

/// A new machine is taken for one that has worked for so long without a pause.
const BEGINNING: Duration = Duration::from_secs(24 * 60 * 60);

/// Between two records. What passes between the last one and a crash counts as time off.
const RECORD_INTERVAL: Duration = Duration::from_secs(10 * 60);

/// See the module. Times are in milliseconds.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Record {
    worked: u64,
    of: u64,
    until: Timestamp,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Availability {
    record: Option<Record>,
    /// When it was looked at last in this process, and whether it worked from then on.
    last: Option<(Now, bool)>,
    /// As it is durable.
    durable_until: Timestamp,
}

impl Availability {
    /// Takes up what a former process had made durable.
    pub fn restore(&mut self, value: &[u8]) -> Result<(), CborError> {
        let record: Record = decode_cbor(value, MAX_RECORD)?;
        (self.record, self.durable_until) = (Some(record), record.until);
        Ok(())
    }

    /// It is `now`, and the machine works from now on, or does not.
    pub fn at(&mut self, now: Now, works: bool) {
        let begun = Record { worked: millis(BEGINNING), of: millis(BEGINNING), until: now.wall };
        let record = self.record.get_or_insert(begun);
        // A clock that was set tells nothing of the time that has passed.
        let passed = now.wall.since(record.until).min(REMEMBERED);
        let moved = match self.last {
            Some((last, true)) => (now.mono - last.mono).min(passed),
            _ => Duration::ZERO,
        };
        record.of += millis(passed);
        record.worked += millis(moved);
        record.until = now.wall;
        let most = millis(REMEMBERED);
        if record.of > most {
            record.worked = scaled(record.worked, most, record.of);
            record.of = most;
        }
        self.last = Some((now, works));
    }

    /// How much work it does in so long.
    pub fn works_in(&self, time: Duration) -> Duration {
        let Some(record) = self.record else { return time };
        Duration::from_millis(scaled(millis(time), record.worked, record.of.max(1)))
    }

    /// Nobody plans any more: what passes from now on is not to count as time off. Says whether anything was known.
    pub fn forget(&mut self) -> bool {
        std::mem::take(self).record.is_some()
    }

    /// What is to become durable, if it is time.
    pub fn writes(&mut self) -> Option<Write> {
        let record =
            self.record.filter(|it| it.until.since(self.durable_until) >= RECORD_INTERVAL)?;
        self.durable_until = record.until;
        Some(Write::put([AVAILABILITY_PREFIX], encode_cbor(&record)))
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn scaled(time: u64, by: u64, of: u64) -> u64 {
    let scaled = u128::from(time) * u128::from(by) / u128::from(of.max(1));
    u64::try_from(scaled).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use mesh_core::Mono;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn begin() -> (Availability, Now) {
        let now = Now { mono: Mono::default(), wall: Timestamp(1_800_000_000_000) };
        let mut availability = Availability::default();
        availability.at(now, true);
        (availability, now)
    }

    #[test]
    fn a_machine_that_always_works_does_an_hour_of_work_in_an_hour() {
        let (mut availability, mut now) = begin();
        for _ in 0..100 {
            now = now.after(HOUR);
            availability.at(now, true);
        }
        assert_eq!(availability.works_in(HOUR), HOUR);
    }

    #[test]
    fn a_machine_that_works_for_a_third_of_the_day_does_a_third_of_it() {
        let (mut availability, mut now) = begin();
        for _ in 0..60 {
            availability.at(now, true);
            now = now.after(8 * HOUR);
            availability.at(now, false);
            now = now.after(16 * HOUR);
        }
        availability.at(now, true);
        let works = availability.works_in(DAY).as_secs_f64() / 3600.0;
        assert!((7.5..8.6).contains(&works), "{works}");
    }

    #[test]
    fn sleep_and_a_process_that_is_not_there_are_time_off_and_a_clock_set_back_is_nothing() {
        let (mut availability, mut now) = begin();
        // While a machine sleeps, only wall time goes on.
        now.wall = now.wall + DAY;
        availability.at(now, true);
        assert_eq!(availability.works_in(2 * HOUR), HOUR);

        let written = availability.writes().expect("a day has passed");
        let Write::Put { value, .. } = written else { panic!("a put") };
        assert_eq!(availability.writes(), None);
        let mut next = Availability::default();
        next.restore(&value).expect("our own record");
        next.at(Now { mono: Mono::default(), wall: now.wall + DAY }, true);
        assert_eq!(next.works_in(3 * HOUR), HOUR);
        next.at(Now { mono: Mono::default(), wall: now.wall }, true);
        assert_eq!(next.works_in(3 * HOUR), HOUR);
    }
}
