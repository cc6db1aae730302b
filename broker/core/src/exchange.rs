//! One reconciliation with one other broker at a time: a list of questions, asked one by one.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use capability::StatementId;
use mesh_core::{Branch, Comparison, MAX_STATEMENTS_A_FRAME, Mono, Now};

/// Sets are compared with each linked broker this often: what gossip dropped is missed that long.
pub const RECONCILE_EVERY: Duration = Duration::from_secs(60);
/// The first two pauses of a link are shorter: gossip's own paths take seconds to form, and what is
/// told meanwhile is lost.
const FIRST_PAUSES: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(10)];
/// After a failure: the peer may just have started.
const RETRY_AFTER: Duration = Duration::from_secs(10);
/// Rounds of comparing at most: four digits below the top, branches of 16, and some to spare.
const MAX_ROUNDS: u32 = 24;
/// Questions that wait at most. What is left over is found again the next time.
const MAX_STEPS: usize = 4_096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Exchange {
    steps: VecDeque<Step>,
    /// A question is out.
    asked: bool,
    /// What it asks for, if it fetches.
    fetching: Vec<StatementId>,
    rounds: u32,
    /// Exchanges begun before this one.
    before: usize,
    /// When the next exchange starts; meaningful while there are no steps.
    next: Mono,
}

/// One question.
#[derive(Debug, PartialEq)]
pub(crate) enum Step {
    /// Give our own card.
    Introduce,
    /// Compare everything.
    Start,
    /// Compare these.
    Compare(Vec<Branch>),
    /// Fetch these.
    Fetch(Vec<StatementId>),
    /// Give these.
    Give(Vec<StatementId>),
}

impl Exchange {
    /// Starts at once, with an introduction.
    pub(crate) fn introducing(now: Now) -> Self {
        let steps = [Step::Introduce, Step::Start].into();
        Self { steps, asked: false, fetching: Vec::new(), rounds: 0, before: 0, next: now.mono }
    }

    /// The next question, if none is out.
    pub(crate) fn next_step(&mut self, now: Now) -> Option<Step> {
        if self.asked {
            return None;
        }
        if self.steps.is_empty() && self.next <= now.mono {
            self.rounds = 0;
            self.before += 1;
            self.steps.push_back(Step::Start);
        }
        let step = self.steps.pop_front()?;
        self.asked = true;
        Some(step)
    }

    /// The question that is out asks for `ids`.
    pub(crate) fn fetches(&mut self, ids: &[StatementId]) {
        self.fetching = ids.to_vec();
    }

    /// What was asked for has come, or as much of it as a frame holds; the rest is asked for next.
    /// After an answer that brought nothing it is not: the other has no more of it.
    pub(crate) fn fetched(&mut self, came: &BTreeSet<StatementId>) {
        let mut rest = std::mem::take(&mut self.fetching);
        let asked = rest.len();
        rest.retain(|id| !came.contains(id));
        if !rest.is_empty() && rest.len() < asked {
            self.goes_on_with(Step::Fetch(rest));
        }
    }

    /// What had no room in the question that is out comes next.
    pub(crate) fn goes_on_with(&mut self, step: Step) {
        self.steps.push_front(step);
    }

    /// The question that was out has been answered.
    pub(crate) fn answered(&mut self, now: Now) {
        self.asked = false;
        let pause = FIRST_PAUSES.get(self.before).copied().unwrap_or(RECONCILE_EVERY);
        self.next = now.mono + pause;
    }

    /// The question that was out has not been answered.
    pub(crate) fn failed(&mut self, now: Now) {
        self.asked = false;
        self.fetching.clear();
        self.steps.clear();
        self.next = now.mono + RETRY_AFTER;
    }

    /// Carries on from what was compared.
    pub(crate) fn compared(&mut self, comparison: Comparison) {
        let Comparison { further, wanted, to_give } = comparison;
        let fetch = wanted.chunks(MAX_STATEMENTS_A_FRAME).map(|ids| Step::Fetch(ids.to_vec()));
        let give = to_give.chunks(MAX_STATEMENTS_A_FRAME).map(|ids| Step::Give(ids.to_vec()));
        let room = MAX_STEPS.saturating_sub(self.steps.len());
        self.steps.extend(fetch.chain(give).take(room));
        if !further.is_empty() && self.rounds < MAX_ROUNDS {
            self.rounds += 1;
            // First, so that the sets are compared while they are still as they were.
            self.steps.push_front(Step::Compare(further));
        }
    }

    /// When the next exchange starts; `None` while one is under way.
    pub(crate) fn next_start(&self) -> Option<Mono> {
        (!self.asked && self.steps.is_empty()).then_some(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(numbers: std::ops::Range<u8>) -> Vec<StatementId> {
        numbers.map(|n| StatementId::from_bytes([n; 32])).collect()
    }

    #[test]
    fn who_answers_with_what_was_not_asked_is_not_asked_again() {
        let now = Now { mono: Mono::default(), wall: Default::default() };
        let mut exchange = Exchange::introducing(now);
        let mut fetch = |asked: &[StatementId], came: std::ops::Range<u8>| {
            exchange.fetches(asked);
            exchange.fetched(&ids(came).into_iter().collect());
            exchange.steps.pop_front().filter(|step| matches!(step, Step::Fetch(_)))
        };
        assert_eq!(fetch(&ids(0..4), 0..2), Some(Step::Fetch(ids(2..4))));
        assert_eq!(fetch(&ids(2..4), 4..9), None);
        assert_eq!(fetch(&ids(2..4), 2..4), None);
    }
}
