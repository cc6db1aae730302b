//! Plays through what is in hand, to see how much more can be done in time.

use std::collections::BTreeSet;
use std::time::Duration;

use capability::statements::{Lease, MAX_TASKS_A_CLAIM, Offer};
use capability::{Timestamp, Verified};

use super::MAX_AHEAD;
use crate::claiming::Plan;
use crate::queue::{Origin, over};
use crate::schedule::{Runs, Schedule, Waits};
use crate::shares::WHOLE;
use crate::volunteer::Volunteer;
use crate::work::needs;

/// Of the time until a deadline so much is kept back, for what nobody foresees and for the result's way home.
const RESERVE: u32 = 8;

impl Volunteer {
    /// When a task of `offer` must begin to be done by the end of its lease, as it usually is.
    pub(crate) fn latest_begin(&self, lease: &Lease, offer: &Offer) -> Timestamp {
        over(lease).before(self.shares.usual_of(offer))
    }

    /// How many tasks of `offer` are fetched ahead beside what is planned: as many as can be done in time, until the
    /// owner has as much as is wanted.
    pub(crate) fn room_ahead(&self, plan: &Plan, offer: &Verified<Offer>) -> u16 {
        let Some(machine) = &self.machine else { return 0 };
        if !self.is_lent(offer) {
            return 0;
        }
        let takes = self.shares.takes_of(offer, machine.resources).max(Duration::from_millis(1));
        let wanted = self.buffer.wanted.saturating_sub(self.work_in_hand(plan));
        let wanted = wanted.as_millis() / takes.as_millis();
        let most = u128::from(MAX_TASKS_A_CLAIM.min(self.places_ahead(plan)));
        let most = most.min(wanted).min(offer.tasks.into());
        let most = u16::try_from(most).unwrap_or(u16::MAX);
        if self.is_fetchable(plan, offer) { self.most_in_time(plan, offer, most) } else { 0 }
    }

    fn places_ahead(&self, plan: &Plan) -> u16 {
        let places = MAX_AHEAD.saturating_sub(self.queue.count(Origin::Ahead));
        u16::try_from(places).unwrap_or(u16::MAX).saturating_sub(plan.tasks())
    }

    /// The most, up to `most`, that can be done in time beside what those have for now who share the machine.
    fn most_in_time(&self, plan: &Plan, offer: &Offer, most: u16) -> u16 {
        let part = self.part_of_ahead(plan, offer);
        let schedule = self.schedule(plan, part);
        let task = self.waits(offer, self.deadline_of(offer), part);
        most_that_hold(most, |count| {
            let mut tried = schedule.clone();
            (0..count).for_each(|_| tried.add(task));
            tried.holds()
        })
    }

    /// How many tasks of `offer`, up to `most`, can begin now without making any late that was fetched ahead.
    pub(crate) fn most_beside_queue(&self, plan: &Plan, offer: &Offer, most: u16) -> u16 {
        if self.queue.waiting(Origin::Ahead).next().is_none() {
            return most;
        }
        let mut schedule = self.schedule(&Plan::default(), WHOLE);
        for (planned, count) in plan.parts() {
            let task = Runs { needs: needs(planned), left: self.shares.usual_of(planned) };
            (0..count).for_each(|_| schedule.begin(task));
        }
        if !schedule.holds() {
            // What is late anyway keeps nobody waiting.
            return most;
        }
        let task = Runs { needs: needs(offer), left: self.shares.usual_of(offer) };
        most_that_hold(most, |count| {
            let mut tried = schedule.clone();
            (0..count).for_each(|_| tried.begin(task));
            tried.holds()
        })
    }

    /// Which part of the machine the projects have, in thousandths, of which tasks are fetched ahead.
    fn part_of_ahead(&self, plan: &Plan, offer: &Offer) -> u32 {
        let queued = self.queue.waiting(Origin::Ahead).map(|(_, offer)| offer.project);
        let planned = plan.parts().map(|(offer, _)| offer.project);
        let own: BTreeSet<_> = queued.chain(planned).chain([offer.project]).collect();
        let for_now = self.buffer.round.iter().flat_map(|round| &round.for_now);
        let others = for_now.copied().filter(|project| !own.contains(project)).collect();
        self.shares.part_beside(&own, &others)
    }

    /// Until when a home lends a task of `offer` that is claimed now (C13).
    pub(super) fn deadline_of(&self, offer: &Offer) -> Timestamp {
        let longest = offer.job.limits.wall() + Duration::from_millis(offer.offline_ms);
        (self.now.wall + longest).min(offer.expires)
    }

    /// What is in hand and planned, as it will be done.
    fn schedule(&self, plan: &Plan, part: u32) -> Schedule {
        let machine = self.machine.as_ref().map(|it| it.resources).unwrap_or_default();
        let runs = self.work.jobs().map(|(lease, job)| Runs {
            needs: needs(&job.offer),
            left: self.shares.left_of(*lease),
        });
        let queued = [Origin::Brought, Origin::Ahead].into_iter();
        let queued = queued.flat_map(|origin| self.queue.waiting(origin));
        let queued = queued.map(|(lease, offer)| self.waits(offer, over(lease), part));
        let planned = plan.parts().flat_map(|(offer, count)| {
            let task = self.waits(offer, self.deadline_of(offer), part);
            std::iter::repeat_n(task, count.into())
        });
        Schedule::new(machine, runs.collect(), queued.chain(planned).collect())
    }

    /// A task of `offer` of a project that has such a part of the machine.
    fn waits(&self, offer: &Offer, until: Timestamp, part: u32) -> Waits {
        let time = until.since(self.now.wall);
        let within = self.availability.works_in(time - time / RESERVE) * part / WHOLE;
        let (usual, limit) = (self.shares.usual_of(offer), offer.job.limits.wall());
        Waits { needs: needs(offer), usual, limit, within }
    }

    /// What is in hand and planned, as time of the whole machine.
    pub(super) fn work_in_hand(&self, plan: &Plan) -> Duration {
        let Some(machine) = &self.machine else { return Duration::ZERO };
        let running = self.shares.left_in_hand();
        let brought = self.queue.waiting(Origin::Brought);
        let brought = brought.map(|(_, offer)| self.shares.takes_of(offer, machine.resources));
        let planned = plan.parts().map(|(offer, count)| {
            self.shares.takes_of(offer, machine.resources) * u32::from(count)
        });
        // What was fetched ahead is on the accounts already.
        running + brought.sum::<Duration>() + planned.sum::<Duration>()
    }
}

/// The most tasks, up to `most`, of which `hold` says so; it says so of fewer as well.
fn most_that_hold(most: u16, hold: impl Fn(u16) -> bool) -> u16 {
    let (mut least, mut beyond) = (0, most.saturating_add(1));
    while least + 1 < beyond {
        let middle = least + (beyond - least) / 2;
        if hold(middle) { least = middle } else { beyond = middle }
    }
    least
}
