//! Among the projects that have work: which is asked for, and which is served.
//!
//! A broker shows some offers of some projects, in an order of its own. So before the best of what it
//! has shown is claimed, it is asked for what all those have that are needier, and answers at once; until
//! there is nothing, or it is the neediest of all that has work. Who had nothing is not asked for again for
//! a minute, unless it shows by itself. An idle machine, and one with a single project, asks no question more
//! than without shares.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use capability::ProjectKey;
use capability::statements::Offer;
use mesh_core::{MAX_EXCEPTIONS, Mono};

use crate::claiming::Plan;
use crate::fetching::Candidate;
use crate::shares::{For, Need};
use crate::volunteer::Volunteer;

/// For so long a project that had nothing is not asked for. What it offers meanwhile is seen whenever
/// anything is free for long enough.
const IN_VAIN: Duration = Duration::from_secs(60);

/// Projects that had nothing when it was their turn.
#[derive(Debug, Default)]
pub(crate) struct InVain(BTreeMap<ProjectKey, Mono>);

impl InVain {
    pub(crate) fn add(&mut self, project: ProjectKey, now: Mono) {
        self.0.insert(project, now + IN_VAIN);
    }

    fn remove(&mut self, project: ProjectKey) {
        self.0.remove(&project);
    }

    fn has(&self, project: ProjectKey, now: Mono) -> bool {
        self.0.get(&project).is_some_and(|until| *until > now)
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }
}

impl Volunteer {
    /// Puts the candidates in the order in which they are claimed: by rung; then the neediest, and those
    /// near to it as the owner's preferences say; then by need. Where all that is silent the
    /// broker's order stays.
    pub(crate) fn put_in_order(&mut self) {
        let Some((neediest, _)) = self.neediest() else { return };
        let (shares, turn) = (&self.shares, self.turn_for());
        let place = |candidate: &Candidate| {
            let need = shares.need(candidate.project(), turn).unwrap_or_default();
            let is_far = !shares.is_near(need, neediest);
            (need.0, is_far, Reverse(candidate.rank), need)
        };
        self.fetching.candidates.make_contiguous().sort_by_key(place);
    }

    /// For when it is that something is claimed.
    pub(crate) fn turn_for(&self) -> For {
        if self.buffer.is_fetching() { For::Later } else { For::Now }
    }

    /// The same of those that could be served now, from the queue as well.
    fn neediest_to_serve(&self) -> Option<(Need, ProjectKey)> {
        let queued = self.queued_next().filter(|_| self.turn_for() == For::Now);
        let queued = queued.and_then(|it| Some((self.shares.need(it, For::Now)?, it)));
        [self.neediest(), queued].into_iter().flatten().min()
    }

    /// Whether a project comes before `project` that may have work for now, as far as the broker was asked.
    pub(crate) fn others_come_first(&self, project: ProjectKey) -> bool {
        let Some(need) = self.shares.need(project, For::Now) else { return false };
        let waits = self.fetching.candidates.iter().map(Candidate::project);
        let mut waits = waits.filter_map(|it| self.shares.need(it, For::Now));
        waits.any(|other| other < need) || !self.to_ask_for().is_empty()
    }

    /// The neediest of those that have work.
    fn neediest(&self) -> Option<(Need, ProjectKey)> {
        let projects = self.fetching.candidates.iter().map(Candidate::project);
        let turn = self.turn_for();
        projects.filter_map(|project| Some((self.shares.need(project, turn)?, project))).min()
    }

    /// The broker was asked for the offers of `asked`, and has shown some of those of `brought`. Whose offers do
    /// not suit, or who has none, is not asked for again for a while. Who has none in the answer may
    /// be hidden behind those who have, as an answer holds a few: it is asked for again without them.
    pub(crate) fn asked_for(&mut self, asked: &[ProjectKey], brought: &BTreeSet<ProjectKey>) {
        let mut suiting: BTreeSet<_> =
            self.fetching.candidates.iter().map(Candidate::project).collect();
        suiting.iter().for_each(|project| self.fetching.in_vain.remove(*project));
        // Who has nothing for later may have much for now.
        if self.buffer.is_fetching() {
            return self.buffer.asked_for(asked);
        }
        let Some((_, served)) = self.neediest_to_serve() else { return };
        suiting.extend(self.offers.too_large().map(|(_, it)| it.project));
        let may_hide = asked.iter().any(|project| brought.contains(project));
        for project in asked.iter().filter(|project| !suiting.contains(project)) {
            if brought.contains(project) || !may_hide {
                self.fetching.in_vain.add(*project, self.now.mono);
                self.shares.had_nothing(*project, served);
            }
        }
    }

    /// Those to ask for before any candidate is claimed.
    pub(crate) fn to_ask_for(&self) -> Vec<ProjectKey> {
        let Some((neediest, _)) = self.neediest_to_serve() else { return Vec::new() };
        let too_large: BTreeSet<_> = self.offers.too_large().map(|(_, it)| it.project).collect();
        let is_known = |project: &ProjectKey| match self.turn_for() {
            For::Now => {
                too_large.contains(project) || self.fetching.in_vain.has(*project, self.now.mono)
            }
            For::Later => self.buffer.has_asked(*project),
        };
        let needier = self.shares.needier(neediest, self.turn_for());
        let needier = needier.filter(|project| !is_known(project));
        needier.take(MAX_EXCEPTIONS).collect()
    }

    /// For whom room is made, instead of claiming any candidate: for what would fit once all that is in hand
    /// has ended. What is too large for what the owner lends just now waits for more, and nobody for it.
    pub(crate) fn makes_room(&self) -> Option<ProjectKey> {
        if self.work.is_empty() && !self.checks.is_running() {
            return None;
        }
        let (neediest, served) = self.neediest()?;
        let lent = self.lent()?;
        let too_large = self.offers.too_large().filter(|(_, it)| it.fits(lent));
        let needs = too_large
            .filter_map(|(_, it)| Some((self.shares.need(it.project, For::Now)?, it.project)));
        let (need, project) = needs.min()?;
        let comes_first = need < neediest && self.shares.is_worth_waiting_for(project, served);
        comes_first.then_some(project)
    }

    /// How many tasks of `offer` are claimed at once, if any other project has work as well: all the
    /// cores would else be one project's for as long as its jobs take.
    pub(crate) fn turn(&self, plan: &Plan, offer: &Offer) -> u16 {
        let Some(machine) = &self.machine else { return 0 };
        let others = self.fetching.candidates.iter().map(Candidate::project);
        // What is for later can wait for another turn, and cores that are free now cannot.
        let planned = plan.parts().filter(|_| self.buffer.is_fetching());
        let others = others.chain(planned.map(|(offer, _)| offer.project));
        let others = others.filter(|project| *project != offer.project);
        let turn = self.turn_for();
        let next = others.min_by_key(|project| self.shares.need(*project, turn));
        next.map_or(u16::MAX, |next| self.shares.turn(offer, next, machine.resources, turn))
    }
}
