//! Rounds of questions for work that is for later.

use std::collections::BTreeSet;
use std::time::Duration;

use capability::statements::Offer;
use capability::{ProjectKey, StatementId, Verified};
use mesh_core::Mono;

use super::{Buffer, MAX_AHEAD};
use crate::claiming::Plan;
use crate::giving_way::is_full;
use crate::queue::Origin;
use crate::volunteer::Volunteer;

/// Between two rounds, if the first has brought anything; with each that has not it is twice as long.
const ROUND_INTERVAL: Duration = Duration::from_secs(60);

/// Doublings at most: up to 16 minutes.
const MOST_FRUITLESS: u32 = 5;

/// For so long a broker that was asked for what fits now has not answered when something is fetched for later.
const ASKED_FOR: Duration = Duration::from_secs(1);

/// Questions of one round: an answer shows some offers, and others in the next.
const PULLS_A_ROUND: u32 = 16;

/// A round begins when this part of the work that is wanted is lacking.
const SLACK: u32 = 8;

#[derive(Debug, Default)]
pub(super) struct Round {
    pulls: u32,
    /// What need not be shown again in this round.
    shown: BTreeSet<StatementId>,
    /// Those that were asked for by name.
    asked: BTreeSet<ProjectKey>,
    /// Those that have work which cannot be held for later.
    pub for_now: BTreeSet<ProjectKey>,
    /// Tasks that it has brought.
    pub taken: usize,
}

impl Buffer {
    /// Whether what is asked for and claimed is for later.
    pub fn is_fetching(&self) -> bool {
        self.round.is_some()
    }

    /// What the present round has seen.
    pub fn shown(&self) -> impl Iterator<Item = StatementId> {
        let unlent = self.round.iter().flat_map(|_| self.unlent.keys());
        self.round.iter().flat_map(|round| &round.shown).chain(unlent).copied()
    }

    /// These were shown in this round, and are of no use now.
    pub fn show(&mut self, offers: impl Iterator<Item = StatementId>) {
        if let Some(round) = &mut self.round {
            round.shown.extend(offers);
        }
    }

    /// Something more is asked for in this round.
    pub fn asks(&mut self) {
        self.round.iter_mut().for_each(|round| round.pulls += 1);
    }

    /// There is nothing more to be had for now.
    pub fn end_round(&mut self, now: Mono) {
        if let Some(round) = self.round.take() {
            let fruitless = if round.taken > 0 { 0 } else { self.fruitless + 1 };
            self.fruitless = fruitless.min(MOST_FRUITLESS);
            self.next_round = now + ROUND_INTERVAL * (1 << self.fruitless) / 2;
        }
    }

    /// These were asked for by name in this round.
    pub fn asked_for(&mut self, projects: &[ProjectKey]) {
        self.round.iter_mut().for_each(|round| round.asked.extend(projects));
    }

    /// Whether that was so.
    pub fn has_asked(&self, project: ProjectKey) -> bool {
        self.round.as_ref().is_some_and(|round| round.asked.contains(&project))
    }
}

impl Volunteer {
    /// Begins a round if it is time for one, or ends the present one if it has brought all that there is. Nothing is
    /// claimed just now, and nothing waits to be.
    pub(crate) fn turn_round(&mut self) {
        match &self.buffer.round {
            None if self.is_time_for_round() => {
                let now = self.now.mono;
                self.buffer.unlent.retain(|_, until| *until > now);
                self.buffer.round = Some(Round::default());
            }
            Some(round) if round.pulls >= PULLS_A_ROUND || !self.has_room_ahead() => {
                self.buffer.end_round(self.now.mono);
            }
            _ => {}
        }
    }

    /// What is free now is filled first: a round begins when nothing is, or nobody has anything for it.
    fn is_time_for_round(&self) -> bool {
        self.may_begin_round().is_some_and(|at| at <= self.now.mono) && self.lacks_work()
    }

    fn may_begin_round(&self) -> Option<Mono> {
        let next = self.buffer.next_round;
        let is_full = self.lent_left().is_none_or(is_full);
        match self.fetching.waits_since() {
            _ if self.work.is_empty() => None,
            Some(asked) => Some(next.max(asked + ASKED_FOR)),
            None => is_full.then_some(next),
        }
    }

    /// More is free than before, and is filled first.
    pub(crate) fn interrupt_round(&mut self) {
        if self.buffer.round.take().is_some() {
            self.buffer.next_round = self.now.mono;
        }
    }

    /// `offer` is good for this machine, and nothing of it is taken in this round.
    pub(crate) fn note_for_now(&mut self, offer: &Verified<Offer>) {
        let is_for_now = !self.is_lent(offer);
        if let Some(round) = self.buffer.round.as_mut().filter(|_| is_for_now) {
            round.for_now.insert(offer.project);
        }
    }

    /// Whether tasks of `offer` can be held for later.
    pub(super) fn is_lent(&self, offer: &Verified<Offer>) -> bool {
        let pin = self.trust.pin(&offer.project);
        // Who is followed at times of its own is followed when they have come.
        offer.offline_ms > 0
            && pin.is_some_and(|pin| pin.every.is_none() && !pin.has_hours)
            && !self.buffer.unlent.contains_key(&offer.id())
    }

    /// Whether a round is worth its questions.
    fn lacks_work(&self) -> bool {
        let enough = self.buffer.wanted - self.buffer.wanted / SLACK;
        self.has_room_ahead() && self.work_in_hand(&Plan::default()) <= enough
    }

    pub(super) fn has_room_ahead(&self) -> bool {
        self.has_buffer()
            && self.queue.count(Origin::Ahead) < MAX_AHEAD
            && self.work_in_hand(&Plan::default()) < self.buffer.wanted
    }

    /// When the next round may begin.
    pub(crate) fn buffer_wake(&self) -> Option<Mono> {
        self.may_begin_round().filter(|_| self.buffer.round.is_none() && self.has_room_ahead())
    }
}
