//! How many bytes of packages and results went over the network this month, and how many may.
//!
//! Counted is what projects cause and owners pay for: packages that came, blobs that went with results, and what jobs
//! passed over connections of their own, every few minutes and once they have ended; what is left then is what the next job
//! may pass at most.
//! Questions, renewals and receipts are some hundred bytes each and are not. Once the quota is used up
//! nothing is claimed until the month ends, and before that nothing whose package it has no room for. Results
//! still go home, since a task that is done and not told is done again by somebody else; by them, and by
//! what the network itself needs, a quota can be exceeded.

use std::time::Duration;

use capability::{CborError, StatementId, Timestamp, decode_cbor, encode_cbor};
use mesh_core::Write;
use serde::{Deserialize, Serialize};

use crate::volunteer::Volunteer;

/// The record of the [`Traffic`] of this month, of which there is one.
pub(crate) const TRAFFIC_PREFIX: u8 = b'm';

/// Bytes of the record at most.
const MAX_RECORD: usize = 256;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// What has passed in one month.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Traffic {
    /// Months since January of the year 0, in the time of Greenwich.
    month: u32,
    /// Bytes of packages that came, and over connections of jobs.
    pub down: u64,
    /// Bytes of blobs that went with results, and over connections of jobs.
    pub up: u64,
}

impl Traffic {
    /// All of it.
    pub fn total(&self) -> u64 {
        self.down.saturating_add(self.up)
    }

    pub(crate) fn restore(value: &[u8]) -> Result<Self, CborError> {
        decode_cbor(value, MAX_RECORD)
    }

    /// The same in the month of `now`: in a new one nothing has passed.
    fn at(self, now: Timestamp) -> Self {
        let month = month(now);
        if self.month == month { self } else { Self { month, ..Self::default() } }
    }
}

/// The month of `at`, by the civil calendar: a year of days that begins in March, so that the day that
/// comes and goes is its last.
fn month(at: Timestamp) -> u32 {
    const DAYS_OF_400_YEARS: u64 = 146_097;
    /// From March 1 of the year 0 to 1970.
    const BEFORE_1970: u64 = 719_468;
    let days = Duration::from_millis(at.0).as_secs() / DAY.as_secs() + BEFORE_1970;
    let (era, day) = (days / DAYS_OF_400_YEARS, days % DAYS_OF_400_YEARS);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let since_march = (5 * day + 2) / 153;
    // March is the third month.
    u32::try_from((era * 400 + year) * 12 + since_march + 2).unwrap_or(u32::MAX)
}

impl Volunteer {
    /// What has passed this month.
    pub fn traffic(&self) -> Traffic {
        self.traffic.at(self.now.wall)
    }

    /// Bytes that may still pass this month, as far as the owner has set a quota.
    pub(crate) fn quota_left(&self) -> Option<u64> {
        Some(self.quota?.saturating_sub(self.traffic().total()))
    }

    /// Of these, the bytes that no package in hand needs on its way.
    pub(crate) fn quota_for_packages(&self) -> Option<u64> {
        Some(self.quota_left()?.saturating_sub(self.work.packages_to_come()))
    }

    pub(crate) fn quota_changed(&mut self, quota: Option<u64>) {
        if self.quota != quota {
            self.quota = quota;
            self.reconsider();
        }
    }

    /// So many bytes have come and gone by now over the connections of the job under `lease`.
    pub(crate) fn passing(&mut self, lease: StatementId, down: u64, up: u64) {
        if self.work.job(lease).is_some() {
            let before = self.passing.insert(lease, (down, up)).unwrap_or_default();
            self.passed(down.saturating_sub(before.0), up.saturating_sub(before.1));
        }
    }

    /// The same when it has ended.
    pub(crate) fn passed_in_all(&mut self, lease: StatementId, down: u64, up: u64) {
        let before = self.passing.remove(&lease).unwrap_or_default();
        self.passed(down.saturating_sub(before.0), up.saturating_sub(before.1));
    }

    /// So many bytes have come, and gone.
    pub(crate) fn passed(&mut self, down: u64, up: u64) {
        if down == 0 && up == 0 {
            return;
        }
        let before = self.traffic();
        let (down, up) = (before.down.saturating_add(down), before.up.saturating_add(up));
        self.traffic = Traffic { down, up, ..before };
        let record = encode_cbor(&self.traffic);
        self.commit(vec![Write::put([TRAFFIC_PREFIX], record)], Vec::new());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_follow_the_calendar() {
        let check = |seconds: u64, year: u32, of_year: u32| {
            assert_eq!(month(Timestamp(seconds * 1000)), year * 12 + of_year - 1, "{seconds}");
        };
        check(0, 1970, 1);
        check(951_782_399, 2000, 2);
        check(951_868_799, 2000, 2);
        check(951_868_800, 2000, 3);
        check(1_709_251_199, 2024, 2);
        check(1_709_251_200, 2024, 3);
        check(1_798_761_599, 2026, 12);
        check(1_798_761_600, 2027, 1);
    }
}
