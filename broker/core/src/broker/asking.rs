//! What volunteers, masters and brokers ask.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::{
    Ad, Claim, Class, Home, Intent, Lease, Offer, Ownership, Registration, Renewal, Withdrawal,
};
use capability::{Carried, Explanation, Payload, PublicKey, StatementId, Verified, Verifier};
use mesh_core::{
    Answer, Ask, CallFailed, CallId, Gossip, JobNeeds, KeyChange, MAX_KEY_CHANGE_BYTES,
    MAX_REGISTRATIONS_AN_ANSWER, Now, Published, Refusal, ReplyId, Wants, Write,
};

use super::Broker;
use crate::ad_table::{Advertised, fits_in};
use crate::calls::Purpose;
use crate::contract::{Action, News};
use crate::directory;
use crate::gossip_set::{Admission, Subject};
use crate::record;

/// Bytes of the reason why an ad does not satisfy an offer; the volunteer can work out the rest.
const MAX_REASON_BYTES: usize = 1_024;

/// An offer, and by what it is vouched for.
struct Publication<'a> {
    registration: &'a Verified<Registration>,
    home: &'a Verified<Home>,
    published: Published,
}

impl Broker {
    pub(super) fn asked(&mut self, from: PublicKey, ask: Ask, reply: ReplyId, now: Now) {
        if let Err(refusal) = self.may_ask(from, &ask) {
            return self.refuse(reply, refusal);
        }
        self.note_way_back(from, &ask, now);
        match ask {
            Ask::Advertise { ad } => match self.advertise(from, ad, now) {
                Ok(()) => self.reply(reply, Answer::Done),
                Err(refusal) => self.refuse(reply, refusal),
            },
            Ask::Pull { wants } => self.pull(from, wants, reply, now),
            Ask::Publish { registration, home, offers } => {
                let (registration, home) = (&registration, &home);
                let take = |published| {
                    let publication = Publication { registration, home, published };
                    self.take_publication(from, publication, now).map(|()| Answer::Done)
                };
                let parts = offers.into_iter().map(take).map(or_refused).collect();
                self.acknowledge(reply, Answer::to_parts(parts));
            }
            Ask::Withdraw { withdrawals } => {
                let parts = withdrawals.into_iter();
                let parts = parts.map(|it| self.withdraw(it, now).map(|()| Answer::Done));
                let parts = parts.map(or_refused).collect();
                self.acknowledge(reply, Answer::to_parts(parts));
            }
            Ask::Claim { claims, home, hops } if home != self.me => {
                let further = |hops| Ask::Claim { claims, home, hops };
                self.forward(home, hops, further, reply);
            }
            Ask::Claim { claims, .. } => {
                let parts = claims.iter().map(|claim| self.grant(claim, now).map(Answer::Leases));
                let parts = parts.map(or_refused).collect();
                self.acknowledge(reply, Answer::to_parts(parts));
            }
            Ask::Renew { renewal, home, hops } if home != self.me => {
                self.given_back(from, &renewal, now);
                let further = |hops| Ask::Renew { renewal, home, hops };
                self.forward(home, hops, further, reply);
            }
            Ask::Renew { renewal, .. } => {
                self.given_back(from, &renewal, now);
                match self.renew(&renewal, now) {
                    Ok(lapsed) => self.acknowledge(reply, Answer::Renewed { lapsed }),
                    Err(refusal) => {
                        let withdrawn = self.withdrawal_of(renewal.offer).map(Answer::Withdrawn);
                        self.reply(reply, withdrawn.unwrap_or(Answer::Refused(refusal)));
                    }
                }
            }
            Ask::Explain(needs) => match self.explain(from, &needs, now) {
                Ok(explanation) => self.reply(reply, Answer::Explanation(explanation)),
                Err(refusal) => self.refuse(reply, refusal),
            },
            Ask::Ad { volunteer } => self.seek_ad(from, volunteer, reply),
            Ask::Ads { class } => {
                let may_know = self.may_know_ads(from, &class, now);
                let ads = if may_know { self.ads.in_class(&class) } else { Vec::new() };
                self.reply(reply, Answer::Ads(ads));
            }
            Ask::Lend(loan) => match self.lend(from, &loan, now) {
                Ok(leases) => self.acknowledge(reply, Answer::Leases(leases)),
                Err(refusal) => self.refuse(reply, refusal),
            },
            Ask::Registrations { projects } => {
                let known = projects.iter().filter_map(|project| self.book.registration(*project));
                let known = known.take(MAX_REGISTRATIONS_AN_ANSWER).cloned().collect();
                self.reply(reply, Answer::Registrations(known));
            }
            Ask::Stopped { project } => match self.book.home(project) {
                Some(home) if home.home == self.me && home.signer() == from => {
                    let stopped = self.leases.stopped(project, now.mono);
                    self.reply(reply, Answer::Stopped(stopped));
                }
                _ => self.refuse(reply, Refusal::NotHome),
            },
            Ask::Declare { change } => match self.declare(change, now) {
                Ok(()) => self.acknowledge(reply, Answer::Done),
                Err(refusal) => self.refuse(reply, refusal),
            },
            Ask::Vouch { ownership } => match self.vouched(&ownership, now) {
                Ok(()) => self.reply(reply, Answer::Done),
                Err(refusal) => self.refuse(reply, refusal),
            },
            Ask::KeyChanges { of } => {
                let changes = self.key_changes(of);
                self.reply(reply, Answer::KeyChanges(changes));
            }
            Ask::Brokers { of, network } => {
                let cards = directory::cards_for(from, &of, &self.routes, now.wall);
                // Rule C61: of the one founder whom the operator has named.
                let known = self.network.as_ref().filter(|it| network == Some(it.signer()));
                let network = known.and_then(|it| it.current(now.wall)).cloned();
                self.reply(reply, Answer::Brokers { cards, network });
            }
        }
    }

    pub(super) fn answered(&mut self, call: CallId, answer: Result<Answer, CallFailed>, now: Now) {
        match (self.calls.close(call), answer) {
            (Some(Purpose::Forward { reply }), Ok(answer)) => {
                self.charge_for(&answer, now);
                self.reply(reply, answer);
            }
            (Some(Purpose::Forward { reply }), Err(CallFailed(_))) => {
                self.refuse(reply, Refusal::NoRoute);
            }
            (Some(Purpose::Ad { reply }), answer) => self.sought(reply, answer, now),
            (Some(Purpose::Ads { broker, class }), Ok(Answer::Ads(ads))) => {
                self.learn_ads(broker, class, ads, now);
            }
            (Some(Purpose::Ads { .. }) | None, _) => (),
        }
    }

    /// Whether the broker `asker` needs the ads behind `class`: it is the home of an offer that
    /// wants such a runtime.
    fn may_know_ads(&self, asker: PublicKey, class: &Class, now: Now) -> bool {
        self.routes.is_linked(asker)
            && self.book.offers().any(|offer| {
                let home = self.book.home(offer.project);
                home.is_some_and(|home| home.home == asker)
                    && offer.requirements.runtimes.contains(&class.runtime)
                    && offer.expires() > now.wall
            })
    }

    /// Opens the tasks of leases that were not renewed.
    pub(super) fn lapse(&mut self, now: Now) {
        let (lapsed, writes) = self.leases.lapse(now);
        self.turn.writes.extend(writes);
        for lease in lapsed {
            self.fresh_offers.insert(lease.task.offer);
            self.news(News::Lapsed { task: lease.task, volunteer: lease.volunteer });
        }
    }

    fn explain(
        &mut self,
        from: PublicKey,
        needs: &JobNeeds,
        now: Now,
    ) -> Result<Explanation, Refusal> {
        let requirements = match needs {
            JobNeeds::Requirements(requirements) => requirements,
            JobNeeds::Offer(offer) => {
                &self.book.offer(*offer).ok_or(Refusal::UnknownOffer)?.requirements
            }
        };
        if !self.inquiries.allow(from, now) {
            return Err(Refusal::Full("too many questions about machines, ask again".to_owned()));
        }
        self.ads.explain(requirements).ok_or_else(|| {
            invalid(
                "it would take too long to explain; name fewer clauses, alternatives or runtimes",
            )
        })
    }

    fn advertise(&mut self, from: PublicKey, ad: Verified<Ad>, now: Now) -> Result<(), Refusal> {
        ad.current(now.wall).map_err(invalid)?;
        if ad.signer() != from || ad.broker != self.me {
            return Err(invalid("an ad is left by its volunteer with the broker that it names"));
        }
        self.may_work(from)?;
        match self.ads.advertise(ad) {
            Advertised::Newer => {
                self.summaries.changed(now);
                self.news(News::AdTaken { peer: from });
                self.answer_pull(from, now);
                Ok(())
            }
            Advertised::Known => Ok(()),
            Advertised::Older => Err(invalid("a newer ad of this volunteer is known")),
            Advertised::Full => Err(Refusal::Full("too many volunteers".to_owned())),
        }
    }

    fn pull(&mut self, from: PublicKey, wants: Wants, reply: ReplyId, now: Now) {
        if self.ads.own(from).is_none() {
            return self.refuse(reply, invalid("no ad of this volunteer is known here"));
        }
        if let Some(older) = self.pulls.wait(from, reply, wants, now) {
            self.reply(older.reply, Answer::Offers(Vec::new()));
        }
        self.answer_pull(from, now);
    }

    fn take_publication(
        &mut self,
        from: PublicKey,
        publication: Publication<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        self.may_publish(from, &publication, now)?;
        self.may_grant(publication.home)?;
        let Publication { registration, home, published } = publication;
        let Published { offer, settled, .. } = published;
        self.admitted.acts_for(from, offer.project);
        let (id, tasks) = (offer.id(), offer.tasks);
        let (name, project) = (offer.name.clone(), registration.name.clone());
        let granted_in = (home.home == self.me).then_some(home.epoch);
        let mut news = !self.book.is_durable(id);
        let statements = statements(registration, home, &offer);
        for gossip in statements {
            if self.learn(gossip.clone(), now) == Admission::News {
                news = true;
                let topics = self.gossip_of(gossip);
                self.turn.acknowledgements.extend(topics);
            }
        }
        if news {
            self.book.make_durable(id);
            self.write_publication(&offer);
            let taken = News::OfferTaken { offer: id, name, project, tasks, epoch: granted_in };
            self.turn.acknowledgements.push(Action::News(taken));
        }
        if let Some(epoch) = granted_in {
            // The same again opens nothing, nor does what is settled.
            if news || !self.leases.grants(id, epoch) {
                self.fresh_offers.insert(id);
            }
            self.turn.writes.extend(self.leases.begin(&offer, epoch, &settled));
        }
        self.pull_ads_soon(now);
        Ok(())
    }

    /// Nothing is stored of a publication that is refused.
    fn may_publish(
        &self,
        from: PublicKey,
        publication: &Publication<'_>,
        now: Now,
    ) -> Result<(), Refusal> {
        let Publication { registration, home, published } = publication;
        let Published { offer, again, .. } = published;
        registration.current(now.wall).map_err(invalid)?;
        home.current(now.wall).map_err(invalid)?;
        offer.current(now.wall).map_err(invalid)?;
        let project = offer.project;
        if home.project != project || PublicKey::from(project) != registration.signer() {
            return Err(invalid("offer, home and registration are of different projects"));
        }
        // What is settled nobody signs but the asker.
        if from != home.signer() {
            return Err(invalid("an offer is published by the signer of its home"));
        }
        let grants = home.home == self.me;
        if !grants && !home.standbys.contains(&self.me) {
            return Err(Refusal::NotHome);
        }
        if let Some(known) = self.book.home(project) {
            let other = known.epoch == home.epoch && known.home != home.home;
            if known.epoch > home.epoch || other {
                return Err(Refusal::Superseded { epoch: known.epoch });
            }
        }
        self.works_for(project.into()).or_else(|refusal| {
            match self.is_welcome(project.into()) {
                // An admitted adapter may bring a project that is not.
                Ok(()) => self.works_for(from),
                Err(_) => Err(refusal),
            }
        })?;
        for statement in [offer.id(), home.id(), registration.id()] {
            self.is_down(statement)?;
        }
        self.is_down(offer.package.hash)?;
        if self.book.is_void_home(home) || self.book.is_void_offer(offer) {
            return Err(invalid("the key that signed it was revoked"));
        }
        if self.book.is_withdrawn(offer) || offer.expires() <= now.wall {
            return Err(Refusal::UnknownOffer);
        }
        if grants && *again && !self.leases.grants(offer.id(), home.epoch) {
            return Err(Refusal::Forgotten);
        }
        self.has_room_for(publication)
    }

    /// A broker that was restored from a back-up grants nothing in epochs in which it may have granted.
    fn may_grant(&mut self, home: &Verified<Home>) -> Result<(), Refusal> {
        if home.home != self.me || !self.owed.is_past(home.project, home.epoch) {
            return Ok(());
        }
        self.turn.writes.extend(self.owed.shown(home.project, home.epoch));
        Err(Refusal::Forgotten)
    }

    fn has_room_for(&self, publication: &Publication<'_>) -> Result<(), Refusal> {
        let Publication { registration, home, published: Published { offer, .. } } = publication;
        let full = |what: &str| Err(Refusal::Full(what.to_owned()));
        if self.disk_is_full() {
            return full("the disk");
        }
        let statements = statements(registration, home, offer);
        if statements.iter().any(|it| self.known.judge(it) == Admission::Full) {
            return full("too many offers");
        }
        self.is_within_quota(offer)?;
        if home.home == self.me { self.leases.has_room(offer) } else { Ok(()) }
    }

    /// Whether the project's offers that were published here leave room for one more.
    fn is_within_quota(&self, offer: &Verified<Offer>) -> Result<(), Refusal> {
        if self.book.is_durable(offer.id()) {
            return Ok(());
        }
        let quotas = self.meters.quotas();
        let of_project = self.book.offers_of(offer.project);
        let here: Vec<_> = of_project.filter(|it| self.book.is_durable(it.id())).collect();
        if here.len() >= quotas.offers_a_project {
            return Err(Refusal::Full("too many offers of this project".to_owned()));
        }
        let packages = here.into_iter().chain([offer]).map(|it| &it.package);
        let packages: BTreeMap<_, _> = packages.map(|it| (it.hash, it.size)).collect();
        if packages.values().sum::<u64>() > quotas.package_bytes_a_project {
            return Err(Refusal::Full("the packages of this project are too large".to_owned()));
        }
        Ok(())
    }

    fn write_publication(&mut self, offer: &Verified<Offer>) {
        let project = offer.project;
        let writes = &mut self.turn.writes;
        writes.push(Write::put(record::offer(offer.id()), offer.envelope().as_bytes()));
        if let Some(home) = self.book.home(project) {
            writes.push(Write::put(record::home(project), home.envelope().as_bytes()));
        }
        if let Some(registration) = self.book.registration(project) {
            let bytes = registration.envelope().as_bytes();
            writes.push(Write::put(record::registration(project), bytes));
        }
    }

    fn withdraw(&mut self, withdrawal: Verified<Withdrawal>, now: Now) -> Result<(), Refusal> {
        withdrawal.current(now.wall).map_err(invalid)?;
        let gossip = Gossip::Withdrawal(withdrawal.clone());
        // Before the offer is gone, by which the topics are found.
        let told = self.gossip_of(gossip.clone());
        let subject = Subject::of(&gossip);
        match self.learn(gossip, now) {
            Admission::News => self.turn.acknowledgements.extend(told),
            Admission::Old if self.known.of(&subject).is_some() => (),
            Admission::Old => return Err(invalid("not the offer's signer, or not to its expiry")),
            Admission::Full => return Err(Refusal::Full("too many withdrawals".to_owned())),
        }
        self.write_withdrawal(&withdrawal);
        Ok(())
    }

    fn grant(
        &mut self,
        claim: &Verified<Claim>,
        now: Now,
    ) -> Result<Vec<Verified<Lease>>, Refusal> {
        claim.current(now.wall).map_err(invalid)?;
        self.may_work(claim.signer())?;
        let offer = self.granted_offer(claim.offer, claim.epoch, now)?.clone();
        let ad = Verified::<Ad>::check(&claim.ad, &Carried(self.verifier())).map_err(invalid)?;
        ad.current(now.wall).map_err(invalid)?;
        if ad.signer() != claim.signer() {
            return Err(invalid("the ad in the claim is another volunteer's"));
        }
        if !offer.admits(claim.signer()) {
            return Err(Refusal::Unmatched("its package is for other volunteers".to_owned()));
        }
        fits_in(&claim.runtime, &ad.capabilities, &offer.requirements).map_err(|mut reason| {
            let end = (0..=MAX_REASON_BYTES).rev().find(|at| reason.is_char_boundary(*at));
            reason.truncate(end.unwrap_or_default());
            Refusal::Unmatched(reason)
        })?;
        let owner = self.owner_of(claim, now);
        let (leases, writes) = self.leases.grant(claim, owner, &offer, &*self.signer, now)?;
        if !writes.is_empty() {
            self.charge(&leases, now);
            let (offer, volunteer, count) = (claim.offer, claim.signer(), leases.len());
            let claimed = News::Claimed { offer, volunteer, count };
            self.turn.acknowledgements.push(Action::News(claimed));
        }
        self.turn.writes.extend(writes);
        Ok(leases)
    }

    fn renew(
        &mut self,
        renewal: &Verified<Renewal>,
        now: Now,
    ) -> Result<Vec<StatementId>, Refusal> {
        renewal.current(now.wall).map_err(invalid)?;
        self.may_work(renewal.signer())?;
        self.granted_offer(renewal.offer, renewal.epoch, now)?;
        let renewed = self.leases.renew(renewal, now);
        self.turn.writes.extend(renewed.writes);
        for task in renewed.overdue {
            self.fresh_offers.insert(task.offer);
            self.news(News::Lapsed { task, volunteer: renewal.signer() });
        }
        if renewed.released > 0 {
            let (offer, volunteer) = (renewal.offer, renewal.signer());
            self.fresh_offers.insert(offer);
            self.news(News::Released { offer, volunteer, count: renewed.released });
        }
        Ok(renewed.lapsed)
    }

    /// Whose machine makes `claim`, if that still holds. The ownership was checked with the claim
    /// (S92).
    fn owner_of(&self, claim: &Verified<Claim>, now: Now) -> Option<PublicKey> {
        let carried = Carried(self.verifier());
        let ownership = Verified::<Ownership>::check(claim.ownership.as_ref()?, &carried);
        let ownership = ownership.ok().filter(|it| it.current(now.wall).is_ok())?;
        let owner = ownership.signer();
        (!self.book.keys().is_void_for(claim.signer(), owner)).then_some(owner)
    }

    /// A volunteer of ours works no more on what it gives back.
    fn given_back(&mut self, from: PublicKey, renewal: &Verified<Renewal>, now: Now) {
        if renewal.intent == Intent::Release && renewal.signer() == from {
            renewal.leases.iter().for_each(|lease| self.shares.ended(*lease, from, now.mono));
        }
    }

    /// A volunteer whose key is void gets nothing: whoever stole it would.
    pub(super) fn may_work(&self, volunteer: PublicKey) -> Result<(), Refusal> {
        self.is_welcome(volunteer)?;
        let void = self.book.keys().is_void(volunteer);
        if void { Err(invalid("this volunteer's key was revoked")) } else { Ok(()) }
    }

    /// The withdrawal of an offer that has ended here by it.
    fn withdrawal_of(&self, offer: StatementId) -> Option<Verified<Withdrawal>> {
        let signer = self.book.ended_by(offer)?;
        let envelope = self.known.of(&Subject::Withdrawal(signer, offer))?;
        Verified::check(envelope, self.verifier()).ok()
    }

    fn declare(&mut self, change: KeyChange, now: Now) -> Result<(), Refusal> {
        change.current(now.wall).map_err(invalid)?;
        if change.envelope().as_bytes().len() > MAX_KEY_CHANGE_BYTES {
            return Err(invalid(format_args!("it has over {MAX_KEY_CHANGE_BYTES} bytes")));
        }
        let gossip = Gossip::from(change);
        match self.learn(gossip.clone(), now) {
            Admission::News => {
                let told = self.gossip_of(gossip);
                self.turn.acknowledgements.extend(told);
                Ok(())
            }
            Admission::Old => Ok(()),
            Admission::Full => Err(Refusal::Full("too many changes of keys".to_owned())),
        }
    }

    fn key_changes(&self, of: Vec<PublicKey>) -> Vec<KeyChange> {
        let of: BTreeSet<_> = of.into_iter().collect();
        let kept = of.into_iter().flat_map(|signer| self.known.key_changes_of(signer));
        kept.filter_map(|envelope| KeyChange::check(envelope, self.verifier()).ok()).collect()
    }

    /// The offer, if this broker is its home in `epoch`, and remembers it.
    pub(super) fn granted_offer(
        &self,
        offer: StatementId,
        epoch: u64,
        now: Now,
    ) -> Result<&Verified<Offer>, Refusal> {
        self.is_down(offer)?;
        let known = self.book.offer(offer).ok_or(Refusal::UnknownOffer)?;
        let home = self.book.home(known.project).ok_or(Refusal::NotHome)?;
        if home.home != self.me || home.epoch != epoch || home.current(now.wall).is_err() {
            Err(Refusal::NotHome)
        } else if !self.leases.grants(offer, epoch) || known.expires() <= now.wall {
            Err(Refusal::UnknownOffer)
        } else {
            Ok(known)
        }
    }

    /// Asks the broker next on the way to `home`, and passes its answer on.
    fn forward(
        &mut self,
        home: PublicKey,
        hops: u8,
        further: impl FnOnce(u8) -> Ask,
        reply: ReplyId,
    ) {
        let next = self.routes.next_hop(home);
        let (Some(to), Some(hops)) = (next, hops.checked_sub(1)) else {
            return self.refuse(reply, Refusal::NoRoute);
        };
        match self.calls.open(Purpose::Forward { reply }) {
            Some(call) => self.outbox.push(Action::Ask { to, call, ask: further(hops) }),
            None => self.refuse(reply, Refusal::Full("too many questions".to_owned())),
        }
    }

    fn gossip_of(&self, gossip: Gossip) -> Vec<Action> {
        let topics = self.topics_of(&gossip).into_iter();
        topics.map(|topic| Action::Publish { topic, gossip: gossip.clone() }).collect()
    }

    fn verifier(&self) -> &dyn Verifier {
        &*self.verifier
    }
}

/// What a publication tells.
fn statements(
    registration: &Verified<Registration>,
    home: &Verified<Home>,
    offer: &Verified<Offer>,
) -> [Gossip; 3] {
    [
        Gossip::Registration(registration.clone()),
        Gossip::Home(home.clone()),
        Gossip::Offer(offer.clone()),
    ]
}

fn or_refused(answer: Result<Answer, Refusal>) -> Answer {
    answer.unwrap_or_else(Answer::Refused)
}

pub(super) fn invalid(why: impl ToString) -> Refusal {
    Refusal::Invalid(why.to_string())
}
