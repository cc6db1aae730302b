//! What one broker is still to be told or asked, and how many more offers it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::{KEY_BYTES, StatementId, Timestamp};
use mesh_core::{Mono, Now};

use crate::jobs::Attempts;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Offers that it is to let go.
    pub(crate) withdrawals: Schedule,
    /// Offers that it is to keep.
    pub(crate) publications: Schedule,
    /// Offers of which it is asked who could run them.
    pub(crate) inquiries: Schedule,
    room: Option<Room>,
}

/// Jobs by when something about them is due: the most overdue first, and of equals the oldest.
#[derive(Debug, Default)]
pub(crate) struct Schedule {
    order: BTreeSet<Entry>,
    of_job: BTreeMap<StatementId, Entry>,
}

type Entry = (Mono, Timestamp, StatementId);

/// Of a broker that was full: what it has room for again.
///
/// It would refuse each of a thousand offers that wait. So it is given one for each that it was told is
/// over, and now and then one on trial, since others make room too.
#[derive(Debug, Default)]
struct Room {
    freed: usize,
    trial: Attempts,
}

impl Schedule {
    /// Something about `job`, which was submitted at `issued`, is due from `when` on; or nothing is.
    pub(crate) fn set(&mut self, job: StatementId, issued: Timestamp, when: Option<Mono>) {
        if let Some(former) = self.of_job.remove(&job) {
            self.order.remove(&former);
        }
        if let Some(when) = when {
            let entry = (when, issued, job);
            self.order.insert(entry);
            self.of_job.insert(job, entry);
        }
    }

    /// The jobs about which something is due now.
    pub(crate) fn due(&self, now: Now) -> impl Iterator<Item = StatementId> {
        let due = self.order.iter().take_while(move |(when, ..)| *when <= now.mono);
        due.map(|(.., job)| *job)
    }

    /// When something is due next that is not due at `now`.
    fn next_wake(&self, now: Mono) -> Option<Mono> {
        let first = StatementId::from_bytes([0; KEY_BYTES]);
        let later = (now + Duration::from_nanos(1), Timestamp::default(), first);
        self.order.range(later..).next().map(|(when, ..)| *when)
    }
}

impl Agenda {
    /// When something is due next that is not due at `now`.
    pub(crate) fn next_wake(&self, now: Mono) -> Option<Mono> {
        let trial = self.room.as_ref().and_then(|room| room.trial.next_wake());
        let schedules = [&self.withdrawals, &self.publications, &self.inquiries];
        let due = schedules.into_iter().filter_map(|it| it.next_wake(now));
        due.chain(trial.filter(|at| *at > now)).min()
    }

    /// Whether the broker may have room for one more offer; it is given one.
    pub(crate) fn take_room(&mut self, now: Now) -> bool {
        let Some(room) = &mut self.room else { return true };
        if let Some(left) = room.freed.checked_sub(1) {
            room.freed = left;
            return true;
        }
        let is_due = room.trial.is_due(now);
        if is_due {
            room.trial.start();
        }
        is_due
    }

    /// The broker has said that it is full.
    pub(crate) fn is_full(&mut self, now: Now) {
        let room = self.room.get_or_insert_default();
        room.freed = 0;
        room.trial.fail(now);
    }

    /// The broker has taken an offer.
    pub(crate) fn took_one(&mut self) {
        if self.room.as_ref().is_some_and(|room| room.trial.is_under_way()) {
            self.room = None;
        }
    }

    /// Whether the broker takes an offer is not known: it was out of reach, or has another reason.
    pub(crate) fn took_none(&mut self, now: Now) {
        if let Some(room) = self.room.as_mut().filter(|room| room.trial.is_under_way()) {
            room.trial.fail(now);
        }
    }

    /// An offer that the broker had is over.
    pub(crate) fn freed_one(&mut self) {
        if let Some(room) = &mut self.room {
            room.freed += 1;
        }
    }

    /// It is met anew.
    pub(crate) fn start_over(&mut self) {
        self.room = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Now {
        Now { mono: Mono(Duration::from_millis(millis)), wall: Timestamp(millis) }
    }

    fn job(n: u8) -> StatementId {
        StatementId::from_bytes([n; KEY_BYTES])
    }

    #[test]
    fn the_most_overdue_come_first_and_of_equals_the_oldest() {
        let mut schedule = Schedule::default();
        schedule.set(job(1), Timestamp(9), Some(at(0).mono));
        schedule.set(job(2), Timestamp(5), Some(at(0).mono));
        schedule.set(job(3), Timestamp(1), Some(at(7).mono));
        schedule.set(job(4), Timestamp(1), Some(at(3).mono));
        schedule.set(job(4), Timestamp(1), None);
        assert_eq!(schedule.due(at(6)).collect::<Vec<_>>(), [job(2), job(1)]);
        assert_eq!(schedule.next_wake(at(6).mono), Some(at(7).mono));
        assert_eq!(schedule.due(at(7)).last(), Some(job(3)));
        assert_eq!(schedule.next_wake(at(7).mono), None);
    }

    #[test]
    fn a_full_broker_is_given_one_for_each_that_is_over_and_one_on_trial() {
        let mut agenda = Agenda::default();
        assert!((0..100).all(|_| agenda.take_room(at(0))));
        agenda.is_full(at(0));
        assert!(!agenda.take_room(at(1)));
        agenda.freed_one();
        assert!(agenda.take_room(at(2)) && !agenda.take_room(at(2)));
        agenda.took_one();
        assert!(!agenda.take_room(at(3)), "that was no trial");

        let trial = agenda.next_wake(at(3).mono).expect("a trial");
        let then = Now { mono: trial, wall: Timestamp::default() };
        assert!(agenda.take_room(then) && !agenda.take_room(then), "one at a time");
        agenda.took_none(then);
        assert!(agenda.next_wake(trial) > Some(trial), "nobody knows; once more");
        let then = Now { mono: agenda.next_wake(trial).expect("another"), ..then };
        assert!(agenda.take_room(then));
        agenda.took_one();
        assert!((0..100).all(|_| agenda.take_room(then)), "it has room again");
    }
}
