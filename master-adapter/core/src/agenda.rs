//! What one broker is still to be told or asked, and how many more offers it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::{KEY_BYTES, StatementId, Timestamp};
use mesh_core::{Mono, Now};

/// A full broker is given one offer on trial so often: there may be room again of which nobody told.
const TRIAL_PERIOD: Duration = Duration::from_secs(2);

/// From one inquiry to the next: brokers answer eight a second of one asker.
const INQUIRY_PAUSE: Duration = Duration::from_millis(150);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    /// Offers that it is to let go.
    pub(crate) withdrawals: Schedule,
    /// Offers that it is to keep.
    pub(crate) publications: Schedule,
    /// Offers of which it is asked who could run them.
    pub(crate) inquiries: Schedule,
    /// When it may be asked the next.
    inquire_from: Mono,
    /// When it may be given offers again, as it wishes.
    publish_from: Mono,
    room: Option<Room>,
}

/// Jobs by when something about them is or was due, and of equals the oldest first.
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
    is_on_trial: bool,
    next_trial: Mono,
}

impl Schedule {
    /// Something about `job`, which was submitted at `issued`, is due from `when` on; or nothing is.
    pub(crate) fn set(
        &mut self,
        job: StatementId,
        issued: Timestamp,
        when: Option<Mono>,
        now: Now,
    ) {
        let former = self.of_job.remove(&job);
        former.map(|former| self.order.remove(&former));
        let Some(when) = when else { return };
        let entry = match former {
            // It keeps its place.
            Some(former) if former.0 <= now.mono && when <= now.mono => former,
            _ => (when.max(now.mono), issued, job),
        };
        self.order.insert(entry);
        self.of_job.insert(job, entry);
    }

    /// The jobs about which something is due now.
    pub(crate) fn due(&self, now: Now) -> impl Iterator<Item = StatementId> {
        let due = self.order.iter().take_while(move |(when, ..)| *when <= now.mono);
        due.map(|(.., job)| *job)
    }

    /// When something is due, or was.
    fn first(&self) -> Option<Mono> {
        self.order.first().map(|(when, ..)| *when)
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
        let inquiry = self.inquiries.first().map(|due| due.max(self.inquire_from));
        let waiting = self.publications.first().filter(|due| *due <= now);
        let trial = self.room.as_ref().filter(|room| !room.is_on_trial && waiting.is_some());
        let wished = waiting.map(|_| self.publish_from);
        let paced = inquiry.into_iter().chain(trial.map(|room| room.next_trial)).chain(wished);
        let due =
            [&self.withdrawals, &self.publications].into_iter().filter_map(|it| it.next_wake(now));
        due.chain(paced.filter(|at| *at > now)).min()
    }

    /// The broker is given no offers before `time`.
    pub(crate) fn publish_from(&mut self, time: Mono) {
        self.publish_from = self.publish_from.max(time);
    }

    pub(crate) fn may_publish(&self, now: Now) -> bool {
        self.publish_from <= now.mono
    }

    /// Whether the broker may be asked who could run an offer; it is.
    pub(crate) fn take_inquiry(&mut self, now: Now) -> bool {
        let is_over = self.inquire_from <= now.mono;
        if is_over {
            self.inquire_from = now.mono + INQUIRY_PAUSE;
        }
        is_over
    }

    /// Whether the broker may have room for one more offer; it is given one.
    pub(crate) fn take_room(&mut self, now: Now) -> bool {
        let Some(room) = &mut self.room else { return true };
        if let Some(left) = room.freed.checked_sub(1) {
            room.freed = left;
            return true;
        }
        let is_due = !room.is_on_trial && room.next_trial <= now.mono;
        room.is_on_trial |= is_due;
        is_due
    }

    /// The broker has said that it is full.
    pub(crate) fn is_full(&mut self, now: Now) {
        let next_trial = now.mono + TRIAL_PERIOD;
        self.room = Some(Room { freed: 0, is_on_trial: false, next_trial });
    }

    /// The broker has taken an offer.
    pub(crate) fn took_one(&mut self) {
        self.room.take_if(|room| room.is_on_trial);
    }

    /// Whether the broker takes an offer is not known: it was out of reach, or has another reason.
    pub(crate) fn took_none(&mut self, now: Now) {
        if let Some(room) = self.room.as_mut().filter(|room| room.is_on_trial) {
            room.is_on_trial = false;
            room.next_trial = now.mono + TRIAL_PERIOD;
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

    /// An agenda with an offer that waits.
    fn waiting() -> Agenda {
        let mut agenda = Agenda::default();
        agenda.publications.set(job(1), Timestamp(0), Some(at(0).mono), at(0));
        agenda
    }

    #[test]
    fn the_most_overdue_come_first_and_of_equals_the_oldest() {
        let mut schedule = Schedule::default();
        schedule.set(job(1), Timestamp(9), Some(at(0).mono), at(0));
        schedule.set(job(2), Timestamp(5), Some(at(0).mono), at(0));
        schedule.set(job(3), Timestamp(1), Some(at(7).mono), at(0));
        schedule.set(job(4), Timestamp(1), Some(at(3).mono), at(0));
        schedule.set(job(4), Timestamp(1), None, at(0));
        assert_eq!(schedule.due(at(6)).collect::<Vec<_>>(), [job(2), job(1)]);
        assert_eq!(schedule.next_wake(at(6).mono), Some(at(7).mono));
        assert_eq!(schedule.due(at(7)).last(), Some(job(3)));
        assert_eq!(schedule.next_wake(at(7).mono), None);
    }

    #[test]
    fn who_waits_keeps_a_place_before_who_comes_later() {
        let mut schedule = Schedule::default();
        schedule.set(job(1), Timestamp(1), Some(at(0).mono), at(5));
        schedule.set(job(2), Timestamp(2), Some(at(0).mono), at(6));
        // It has changed, and is due all the same.
        schedule.set(job(1), Timestamp(1), Some(at(0).mono), at(8));
        schedule.set(job(3), Timestamp(0), Some(at(0).mono), at(8));
        assert_eq!(schedule.due(at(9)).collect::<Vec<_>>(), [job(1), job(2), job(3)]);
    }

    #[test]
    fn a_full_broker_is_given_one_for_each_that_is_over_and_one_on_trial() {
        let mut agenda = waiting();
        assert!((0..100).all(|_| agenda.take_room(at(0))));
        // What was on its way comes back.
        (0..16).for_each(|_| agenda.is_full(at(0)));
        assert!(!agenda.take_room(at(1)));
        agenda.freed_one();
        assert!(agenda.take_room(at(2)) && !agenda.take_room(at(2)));
        agenda.took_one();
        assert!(!agenda.take_room(at(3)), "that was no trial");

        let trial = agenda.next_wake(at(3).mono).expect("a trial");
        assert_eq!(trial, at(0).mono + TRIAL_PERIOD, "soon, however many were refused");
        let then = Now { mono: trial, wall: Timestamp::default() };
        assert!(agenda.take_room(then) && !agenda.take_room(then), "one at a time");
        agenda.took_none(then);
        let then = Now { mono: agenda.next_wake(trial).expect("another"), ..then };
        assert!(then.mono > trial && agenda.take_room(then), "nobody knows; once more");
        agenda.took_one();
        assert!((0..100).all(|_| agenda.take_room(then)), "it has room again");
    }

    #[test]
    fn a_full_broker_wakes_nobody_while_no_offer_waits() {
        let mut agenda = Agenda::default();
        agenda.is_full(at(0));
        assert_eq!(agenda.next_wake(at(1).mono), None);
    }

    #[test]
    fn inquiries_come_one_after_another() {
        let mut agenda = Agenda::default();
        for n in 0..3 {
            agenda.inquiries.set(job(n), Timestamp(0), Some(at(0).mono), at(0));
        }
        assert!(agenda.take_inquiry(at(0)) && !agenda.take_inquiry(at(0)));
        let next = agenda.next_wake(at(0).mono).expect("the next");
        assert_eq!(next, at(0).mono + INQUIRY_PAUSE);
        assert!(agenda.take_inquiry(Now { mono: next, wall: Timestamp::default() }));
    }
}
