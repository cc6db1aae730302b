//! Which offers a volunteer is shown.

use capability::statements::{Lease, Offer};
use capability::{Payload, PublicKey, Requirements, Verified, evaluate};
use mesh_core::{Answer, MAX_OFFERS_AN_ANSWER, Now, Offered, Wants};

use super::Broker;

impl Broker {
    /// Answers the volunteer's pull if there is something for it.
    pub(super) fn answer_pull(&mut self, volunteer: PublicKey, now: Now) {
        let Some(pull) = self.pulls.of(volunteer) else { return };
        let mut offers = self.offers_for(volunteer, &pull.wants, now);
        if !offers.is_empty()
            && let Some(pull) = self.pulls.end(volunteer)
        {
            for offered in &mut offers {
                // Those beside somebody who can.
                let able = self.ads.matching(&offered.offer.requirements);
                offered.others = able.map(|able| able.saturating_sub(1));
            }
            self.reply(pull.reply, Answer::Offers(offers));
        }
    }

    /// Ends pulls that waited in vain, and answers those that one of the fresh offers suits.
    pub(super) fn match_pulls(&mut self, now: Now) {
        while let Some(pull) = self.pulls.expire(now) {
            self.reply(pull.reply, Answer::Offers(Vec::new()));
        }
        let fresh = std::mem::take(&mut self.fresh_offers);
        if fresh.is_empty() {
            return;
        }
        for volunteer in self.pulls.volunteers() {
            let suits = self.pulls.of(volunteer).is_some_and(|pull| {
                let fresh = fresh.iter().filter_map(|id| self.book.offer(*id));
                fresh.into_iter().any(|offer| self.suits(offer, volunteer, &pull.wants, now))
            });
            if suits {
                self.answer_pull(volunteer, now);
            }
        }
    }

    /// A project that was given tasks stands back behind those that were given fewer.
    ///
    /// An answer from elsewhere may hold leases that anybody made up: those count that the home of
    /// a known offer has signed, for that offer's project.
    pub(super) fn count_handed_out(&mut self, leases: &[Verified<Lease>]) {
        for lease in leases {
            let offer = self.book.offer(lease.task.offer);
            let home = offer.and_then(|offer| self.book.home(offer.project));
            if let Some(home) = home.filter(|home| home.home == lease.signer()) {
                self.handed_out.count(home.project, lease.id());
            }
        }
    }

    /// Offers for `volunteer`: of the projects that had least first, and the oldest of each.
    fn offers_for(&self, volunteer: PublicKey, wants: &Wants, now: Now) -> Vec<Offered> {
        let mut projects: Vec<_> = self.book.projects().collect();
        projects.sort_by_key(|project| self.handed_out.to(*project));
        let offers = projects.into_iter().flat_map(|project| self.book.offers_of(project));
        let suiting = offers.filter(|offer| self.suits(offer, volunteer, wants, now));
        let offered = suiting.filter_map(|offer| {
            Some(Offered {
                offer: offer.clone(),
                home: self.book.home(offer.project)?.clone(),
                registration: self.book.registration(offer.project).cloned(),
                others: None,
            })
        });
        offered.take(MAX_OFFERS_AN_ANSWER).collect()
    }

    fn suits(
        &self,
        offer: &Verified<Offer>,
        volunteer: PublicKey,
        wants: &Wants,
        now: Now,
    ) -> bool {
        let Some(ad) = self.ads.own(volunteer) else { return false };
        let wanted = wants.projects.is_empty() || wants.projects.contains(&offer.project);
        wanted
            && !wants.except.contains(&offer.id())
            && offer.expires() > now.wall
            && has_room(offer, wants)
            && self.can_be_claimed(offer)
            && match evaluate(&ad.capabilities, &offer.requirements) {
                Ok(fits) if wants.runtimes.contains(&fits.runtime) => true,
                // Another runtime of the job's may do.
                Ok(_) => {
                    let mut runtimes = offer.requirements.runtimes.clone();
                    runtimes.retain(|runtime| wants.runtimes.contains(runtime));
                    let clauses = offer.requirements.clauses.clone();
                    evaluate(
                        &ad.capabilities,
                        &Requirements { runtimes, clauses, rank: Vec::new() },
                    )
                    .is_ok()
                }
                Err(_) => false,
            }
    }

    /// Of an offer whose home is elsewhere only that home can tell.
    fn can_be_claimed(&self, offer: &Verified<Offer>) -> bool {
        let Some(home) = self.book.home(offer.project) else { return false };
        home.home != self.me
            || (self.leases.grants(offer.id(), home.epoch)
                && self.leases.open(offer.id()).is_some_and(|open| open > 0))
    }
}

/// Whether one task fits into what the volunteer has free.
fn has_room(offer: &Offer, wants: &Wants) -> bool {
    let limits = &offer.job.limits;
    let runtime = offer.requirements.runtimes.iter().any(|it| wants.runtimes.contains(it));
    runtime && limits.memory <= wants.free.memory && limits.disk <= wants.free.disk
}
