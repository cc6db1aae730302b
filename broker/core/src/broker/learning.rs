//! What gossip says, and what follows from it.

use std::time::Duration;

use capability::statements::{Ad, Class, Home, Offer, Revocation, Succession, Summary, Withdrawal};
use capability::{Payload, PublicKey, StatementId, Verified};
use mesh_core::{Ask, Gossip, Now, Shard, Write};

use super::Broker;
use crate::calls::Purpose;
use crate::contract::{Action, GossipVerdict, News};
use crate::gossip_set::{Admission, Subject};
use crate::record;

/// More statements than that at once are somebody's catching up.
const LITTLE: usize = 15;
/// Classes of one summary whose ads are pulled at most.
const MAX_CLASSES_PULLED: usize = 16;
/// The ads of one class of one broker are pulled this often at most.
const PULL_ADS_EVERY: Duration = Duration::from_secs(60);
/// A broker gives ads to the home of an offer that it knows. Gossip of a new offer takes so long.
const GOSSIP_SETTLES: Duration = Duration::from_secs(2);
/// So long a broker that gave no ads is left alone: it may not know the offer yet.
const PULL_ADS_AGAIN: Duration = Duration::from_secs(10);

impl Broker {
    /// Takes what another broker gives, and gossips it on if it is a little that is new.
    ///
    /// What somebody catches up with is no news elsewhere.
    pub(super) fn learn_all(&mut self, statements: Vec<Gossip>, now: Now) {
        let little = statements.len() <= LITTLE;
        for gossip in statements {
            let told = gossip.clone();
            if self.learn(gossip, now) == Admission::News
                && little
                && !matches!(told, Gossip::Summary(_))
            {
                self.publish(told);
            }
        }
    }

    /// Learns what others tell, and says whether to pass it on. Of one signer so much is passed on in a time; the
    /// rest comes by reconciliation, which nobody can hurry.
    pub(super) fn hear(&mut self, gossip: Gossip, from: PublicKey, now: Now) -> GossipVerdict {
        let is_news = self.admitted.has(from)
            && self.known.judge(&gossip) == Admission::News
            && self.is_wanted(&gossip)
            && self.signers.passes_on(gossip.signer(), now)
            && self.learn(gossip, now) == Admission::News;
        if is_news { GossipVerdict::Accept } else { GossipVerdict::Ignore }
    }

    /// Takes one statement, unless it is old, over a bound, or not wanted.
    pub(super) fn learn(&mut self, gossip: Gossip, now: Now) -> Admission {
        if !self.is_wanted(&gossip) {
            return Admission::Old;
        }
        let admission = self.known.admit(&gossip);
        if admission == Admission::News {
            match gossip {
                Gossip::Card(card) => {
                    let broker = card.signer();
                    self.routes.learn(card);
                    self.link_if_broker(broker, now);
                    self.dialling.stir(now);
                    // There may be a way now.
                    self.custody.reroute();
                }
                Gossip::Registration(registration) => {
                    self.book.insert_registration(registration);
                }
                Gossip::Home(home) => self.learn_home(home),
                Gossip::Revocation(revocation) => self.learn_revocation(&revocation),
                Gossip::Succession(succession) => self.learn_succession(&succession),
                Gossip::Offer(offer) => self.learn_offer(offer),
                Gossip::Withdrawal(withdrawal) => self.learn_withdrawal(&withdrawal),
                Gossip::Summary(summary) => self.pull_ads(&summary, now),
            }
        }
        admission
    }

    /// Forgets what the set of gossip has let go.
    pub(super) fn forget(&mut self, subject: &Subject) {
        let delete = match subject {
            Subject::Card(_) | Subject::Summary(..) => return,
            Subject::Offer(_, id) => return self.end_offer(*id),
            Subject::Home(project) => {
                for offer in self.leases.offers_of(*project) {
                    self.turn.writes.extend(self.leases.end(offer));
                }
                self.book.remove_home(*project);
                record::home(*project)
            }
            Subject::Registration(project) => {
                self.book.remove_registration(*project);
                record::registration(*project)
            }
            Subject::Withdrawal(signer, offer) => {
                self.book.remove_withdrawal(*offer, *signer);
                record::withdrawal(*offer, *signer)
            }
            Subject::Revocation(signer, key) => {
                self.book.keys_mut().forget_revocation(*key, *signer);
                record::revocation(*key, *signer)
            }
            Subject::Succession(signer, successor) => {
                self.book.keys_mut().forget_succession(*signer, *successor);
                record::succession(*signer, *successor)
            }
        };
        self.turn.writes.push(Write::delete(delete));
    }

    /// What the set of gossip cannot judge by the statement alone.
    fn is_wanted(&self, gossip: &Gossip) -> bool {
        if self.rules.forbid(gossip) {
            return false;
        }
        match gossip {
            Gossip::Card(card) => {
                card.signer() != self.me && !self.book.keys().is_void(card.signer())
            }
            Gossip::Registration(it) => !self.book.keys().is_void(it.signer()),
            Gossip::Revocation(_) | Gossip::Succession(_) => true,
            // Two homes of one epoch are a master's lie; the first one heard of holds.
            Gossip::Home(home) => {
                let known = self.book.home(home.project);
                let rival = known.is_some_and(|it| it.epoch == home.epoch && it.home != home.home);
                !rival && !self.book.is_void_home(home)
            }
            Gossip::Offer(offer) => {
                !self.book.is_withdrawn(offer) && !self.book.is_void_offer(offer)
            }
            // Of an offer that was never known anybody's withdrawal is kept; its signer's will count.
            Gossip::Withdrawal(withdrawal) => match self.book.offer(withdrawal.statement) {
                Some(offer) => {
                    offer.signer() == withdrawal.signer() && withdrawal.expires() >= offer.expires()
                }
                None => {
                    let ended = self.book.ended_by(withdrawal.statement);
                    ended.is_none_or(|signer| signer == withdrawal.signer())
                }
            },
            Gossip::Summary(summary) => {
                let known = Shard::known();
                summary.signer() != self.me
                    && known.iter().any(|shard| shard.to_string() == summary.shard)
            }
        }
    }

    /// A home of a higher epoch ends the right to grant tasks of lower ones.
    fn learn_home(&mut self, home: Verified<Home>) {
        let (project, epoch) = (home.project, home.epoch);
        for offer in self.leases.offers_of(project) {
            let writes = if home.home == self.me {
                self.leases.end_leases(offer, epoch)
            } else {
                self.leases.end(offer)
            };
            self.turn.writes.extend(writes);
        }
        // Without this record a restart would bring the ended right back.
        if self.book.has_durable(project) {
            let bytes = home.envelope().as_bytes();
            self.turn.writes.push(Write::put(record::home(project), bytes));
        }
        // The same broker's word in other words opens no task that was not.
        if self.book.home(project).is_none_or(|known| known.home != home.home) {
            self.fresh_offers.extend(self.book.offers_of(project).map(Verified::id));
        }
        self.news(News::HomeKnown { project, epoch, peer: home.home });
        self.book.insert_home(home);
        self.custody.retry();
    }

    fn learn_offer(&mut self, offer: Verified<Offer>) {
        let (id, project) = (offer.id(), offer.project);
        self.news(News::OfferKnown { offer: id, project });
        self.fresh_offers.insert(id);
        if self.book.offers_of(project).next().is_none() {
            self.shares.came_back(project);
        }
        self.book.insert_offer(offer);
    }

    fn learn_withdrawal(&mut self, withdrawal: &Verified<Withdrawal>) {
        let offer = withdrawal.statement;
        self.book.insert_withdrawal(withdrawal);
        if self.book.is_durable(offer) {
            self.write_withdrawal(withdrawal);
        }
        let known = self.book.offer(offer);
        if let Some(project) = known.map(|offer| offer.project) {
            self.known.remove(&Subject::Offer(project, offer));
            self.book.end(withdrawal);
            self.end_offer(offer);
        }
    }

    pub(super) fn write_withdrawal(&mut self, withdrawal: &Verified<Withdrawal>) {
        let key = record::withdrawal(withdrawal.statement, withdrawal.signer());
        self.turn.writes.push(Write::put(key, withdrawal.envelope().as_bytes()));
    }

    fn learn_revocation(&mut self, revocation: &Verified<Revocation>) {
        let key = record::revocation(revocation.key, revocation.signer());
        self.turn.writes.push(Write::put(key, revocation.envelope().as_bytes()));
        self.book.keys_mut().revoke(revocation);
        self.news(News::Revoked { key: revocation.key, signer: revocation.signer() });
        let (offers, homes, registrations) = self.book.void();
        for id in offers {
            if let Some(project) = self.book.offer(id).map(|offer| offer.project) {
                self.known.remove(&Subject::Offer(project, id));
            }
            self.end_offer(id);
        }
        let homes = homes.into_iter().map(Subject::Home);
        for subject in homes.chain(registrations.into_iter().map(Subject::Registration)) {
            self.known.remove(&subject);
            self.forget(&subject);
        }
        // Anybody can revoke anything: what is not about the key is not looked up.
        let key = revocation.key;
        self.drop_void_receipts(|it| it.signer() == key || PublicKey::from(it.project) == key);
    }

    fn learn_succession(&mut self, succession: &Verified<Succession>) {
        let key = record::succession(succession.signer(), succession.successor);
        self.turn.writes.push(Write::put(key, succession.envelope().as_bytes()));
        self.book.keys_mut().pass_on(succession);
    }

    /// The offer is over, whatever ended it.
    fn end_offer(&mut self, offer: StatementId) {
        self.turn.writes.extend(self.leases.end(offer));
        self.shares.forget_offer(offer);
        if self.book.is_durable(offer) {
            self.turn.writes.push(Write::delete(record::offer(offer)));
        }
        if self.book.remove_offer(offer).is_some() {
            self.fresh_offers.remove(&offer);
            self.news(News::OfferOver { offer });
        }
    }

    /// Pulls the ads behind those classes of a linked broker's summary that could run what is
    /// offered here.
    fn pull_ads(&mut self, summary: &Verified<Summary>, now: Now) {
        let broker = summary.signer();
        if !self.routes.is_linked(broker) {
            return;
        }
        let useful = summary.classes.iter().map(|counted| &counted.class).filter(|class| {
            let asked = self.ads_asked.contains_key(&(broker, (*class).clone()));
            !asked && self.offers_something_for(class)
        });
        let useful: Vec<_> = useful.take(MAX_CLASSES_PULLED).cloned().collect();
        for class in useful {
            self.ads_asked.insert((broker, class.clone()), now.mono + PULL_ADS_EVERY);
            let purpose = Purpose::Ads { broker, class: class.clone() };
            if let Some(call) = self.calls.open(purpose) {
                self.outbox.push(Action::Ask { to: broker, call, ask: Ask::Ads { class } });
            }
        }
    }

    /// An offer was published here: soon linked brokers know it, and give ads.
    pub(super) fn pull_ads_soon(&mut self, now: Now) {
        let soon = now.mono + GOSSIP_SETTLES;
        for broker in self.routes.links() {
            let due = self.ads_due.entry(broker).or_insert(soon);
            *due = soon.min(*due);
        }
    }

    /// Takes the ads that `broker` gave of `class`, if any.
    pub(super) fn learn_ads(
        &mut self,
        broker: PublicKey,
        class: Class,
        ads: Vec<Verified<Ad>>,
        now: Now,
    ) {
        if ads.is_empty() {
            self.ads_asked.remove(&(broker, class));
            self.ads_due.entry(broker).or_insert(now.mono + PULL_ADS_AGAIN);
        }
        self.ads.learn(broker, ads, now.wall);
    }

    pub(super) fn pull_ads_that_are_due(&mut self, now: Now) {
        let due = self.ads_due.extract_if(.., |_, at| *at <= now.mono);
        for (broker, _) in due.collect::<Vec<_>>() {
            self.pull_ads_of(broker, now);
        }
    }

    /// The same for all that `broker` has told of its volunteers.
    pub(super) fn pull_ads_of(&mut self, broker: PublicKey, now: Now) {
        let kept = self.known.summaries_of(broker);
        let summaries: Vec<Verified<Summary>> =
            kept.filter_map(|envelope| Verified::check(envelope, &*self.verifier).ok()).collect();
        summaries.iter().for_each(|summary| self.pull_ads(summary, now));
    }

    fn offers_something_for(&self, class: &Class) -> bool {
        self.leases.offers().filter_map(|id| self.book.offer(id)).any(|offer| {
            let open = self.leases.open(offer.id()).is_some_and(|open| open > 0);
            open && offer.requirements.runtimes.contains(&class.runtime)
        })
    }
}
