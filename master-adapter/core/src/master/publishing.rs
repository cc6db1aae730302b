//! What the brokers are asked: to keep offers, to let them go, and who could run them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use capability::statements::{Home, Package, Withdrawal};
use capability::{MAX_STATEMENT_BYTES, PublicKey, StatementId, Verified, encode_cbor};
use mesh_core::{
    Answer, Ask, CallFailed, CallId, JobNeeds, MAX_OFFERS_A_PUBLICATION, MAX_WITHDRAWALS_AN_ASK,
    Now, Published, Refusal, Write,
};

use super::{Master, Pending};
use crate::agenda::Agenda;
use crate::attempts::Attempts;
use crate::jobs::{Job, JobState};
use crate::message::{Action, News};
use crate::records::state_key;

/// Questions about several offers to one broker under way at most, of each kind: what is to be asked meanwhile goes
/// with the next one.
const MAX_TOGETHER: usize = 2;
/// Publications of one offer, of which it is not known how long they take, to one broker under way at most.
const MAX_ALONE: usize = 14;

/// Offers that are due and looked at in a turn: all that may be under way. To a full broker thousands may be due.
const MAX_LOOKED_AT: usize = MAX_TOGETHER * MAX_OFFERS_A_PUBLICATION + MAX_ALONE;

/// Questions who could run an offer, to one broker under way at most.
const MAX_INQUIRING: usize = 16;

/// Bytes of packages that may have to go ahead of offers that are published together: none of them waits long for
/// another's package.
const PACKAGES_TOGETHER: u64 = 1 << 20;

/// Bytes of an offer's settled ranges, each, and of what is around it in the question, at most.
const RANGE_BYTES: usize = 11;
const OFFER_MARGIN: usize = 64;
/// Bytes of the question around all of its offers, at most.
const PUBLICATION_MARGIN: usize = 1024;

/// How long an offer that a full broker refused is passed over in favour of others, which may be smaller.
const FULL_PAUSE: Duration = Duration::from_secs(1);

/// What was asked of a broker.
#[derive(Debug)]
pub(super) struct Question {
    to: PublicKey,
    epoch: u64,
    about: About,
}

/// By the jobs' ids.
#[derive(Debug)]
enum About {
    Publications(Vec<StatementId>, Company),
    Withdrawals(Vec<StatementId>),
    Explanation(StatementId),
}

/// In whose company an offer is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Together,
    /// Its package is large, or it failed before: whatever is wrong with it is to stop no other.
    Alone,
}

impl Master {
    pub(super) fn broker_up(&mut self, peer: PublicKey) {
        if self.homes.broker_up(peer) {
            self.declarations.broker_up(peer);
            self.custody.retry();
            for job in self.jobs.under_way_mut() {
                job.publications.entry(peer).or_default().start_over();
                job.withdrawal.start_over();
            }
            if let Some(agenda) = self.agendas.get_mut(&peer) {
                agenda.start_over();
            }
        }
    }

    fn ask(&mut self, question: Question, ask: Ask) {
        let (call, to) = (self.next_call(), question.to);
        self.calls.insert(call, question);
        self.outbox.push(Action::Ask { to, call, ask });
    }

    pub(super) fn next_call(&mut self) -> CallId {
        let call = CallId(self.next_call);
        self.next_call += 1;
        call
    }

    pub(super) fn answered(&mut self, call: CallId, answer: Result<Answer, CallFailed>, now: Now) {
        let Some(question) = self.calls.remove(&call) else {
            return self.told_of_keys(call, answer, now);
        };
        let Question { to, epoch, about } = question;
        match about {
            About::Publications(offers, _) => {
                self.publications_answered(to, epoch, offers, answer, now);
            }
            About::Withdrawals(offers) => self.withdrawals_answered(epoch, offers, answer, now),
            About::Explanation(offer) => self.explanation_answered(offer, answer, now),
        }
    }

    fn publications_answered(
        &mut self,
        to: PublicKey,
        epoch: u64,
        offers: Vec<StatementId>,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) {
        let count = offers.len();
        let unfit = || vec![Answer::Each(Vec::new()); count];
        let parts = match answer {
            Ok(answer) => answer.parts(count).unwrap_or_else(unfit).into_iter().map(Ok).collect(),
            Err(failed) => vec![Err(failed); count],
        };
        let (mut writes, mut news) = (Vec::new(), Vec::new());
        for (offer, answer) in offers.into_iter().zip(parts) {
            if let Some(state) = self.publication_answered(to, epoch, offer, answer, now) {
                writes.push(state);
                news.push(News::Published { offer, broker: to, epoch }.into());
            }
        }
        if !writes.is_empty() {
            self.commit(writes, news, Vec::new());
        }
    }

    /// What must become durable, if the home has taken the offer.
    fn publication_answered(
        &mut self,
        to: PublicKey,
        epoch: u64,
        offer: StatementId,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) -> Option<Write> {
        let stale = epoch != self.homes.epoch();
        let is_home = self.homes.broker_of(epoch) == Some(to);
        let full = matches!(answer, Ok(Answer::Refused(Refusal::Full(_))));
        if let Some(agenda) = self.agendas.get_mut(&to) {
            match answer {
                Ok(Answer::Done) => agenda.took_one(),
                _ if full => agenda.is_full(now),
                _ => agenda.took_none(now),
            }
        }
        let job = self.jobs.get_mut(offer)?;
        let attempts = job.publications.entry(to).or_default();
        let mut pause = Duration::ZERO;
        let reason = match answer {
            Ok(Answer::Done) => {
                if stale {
                    // It holds for an epoch that is over; the next one is due at once.
                    attempts.fail(now);
                    attempts.start_over();
                } else {
                    attempts.succeed();
                }
                self.homes.heeded();
                if is_home {
                    job.acknowledge(epoch);
                    return Some(Write::put(state_key(offer), encode_cbor(&job.record())));
                }
                self.outbox.push(News::Published { offer, broker: to, epoch });
                return None;
            }
            Ok(Answer::Refused(refusal)) => {
                if refusal == Refusal::Forgotten
                    && is_home
                    && let Some(home) = self.homes.forgotten(epoch, now)
                {
                    attempts.fail(now);
                    self.begin_epoch(home, 0, now);
                    return None;
                }
                if let Refusal::Superseded { epoch: known } = refusal {
                    attempts.fail(now);
                    let reason = refusal.to_string();
                    self.outbox.push(News::NotPublished { offer, broker: to, reason });
                    self.superseded(epoch, known, now);
                    return None;
                }
                match refusal {
                    Refusal::Elsewhere(_) => self.homes.leaves(to),
                    Refusal::SlowDown(millis) => {
                        pause = Duration::from_millis(millis.into());
                        if let Some(agenda) = self.agendas.get_mut(&to) {
                            agenda.publish_from(now.mono + pause);
                        }
                    }
                    _ => (),
                }
                refusal.to_string()
            }
            Ok(_) => "the answer does not fit the question".to_owned(),
            Err(failed) => failed.to_string(),
        };
        attempts.fail(now);
        if stale || full || pause > Duration::ZERO {
            // Of a full broker, or one that wants less, it is known when to try again.
            attempts.start_over();
        }
        attempts.wait(if full { FULL_PAUSE } else { pause }, now);
        self.outbox.push(News::NotPublished { offer, broker: to, reason });
        None
    }

    fn withdrawals_answered(
        &mut self,
        epoch: u64,
        offers: Vec<StatementId>,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) {
        let answers = answer.ok().and_then(|answer| answer.parts(offers.len()));
        let mut answers = answers.unwrap_or_default().into_iter();
        let (mut writes, mut news) = (Vec::new(), Vec::new());
        for offer in offers {
            let answer = answers.next();
            let Some(job) = self.jobs.get_mut(offer) else { continue };
            let over =
                matches!(answer, Some(Answer::Done | Answer::Refused(Refusal::UnknownOffer)));
            if !over || epoch != self.homes.epoch() {
                job.withdrawal.fail(now);
                continue;
            }
            job.withdrawal.succeed();
            job.set_state(job.state().withdrawn());
            if job.acknowledged().is_some() {
                self.agendas.values_mut().for_each(Agenda::freed_one);
            }
            writes.push(Write::put(state_key(offer), encode_cbor(&job.record())));
            news.push(News::Withdrawn { offer }.into());
        }
        if !writes.is_empty() {
            self.commit(writes, news, Vec::new());
        }
    }

    fn explanation_answered(
        &mut self,
        offer: StatementId,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) {
        let Some(job) = self.jobs.get_mut(offer) else { return };
        job.inquiry.finish(now);
        if let Ok(Answer::Explanation(explanation)) = answer {
            job.set_explanation(explanation.clone());
            self.outbox.push(News::Explained { offer, explanation });
        }
    }

    pub(super) fn begin_epoch(&mut self, home: PublicKey, above: u64, now: Now) {
        let (epoch, writes) = self.homes.begin_epoch(home, above, &self.authority, now);
        for job in self.jobs.under_way_mut() {
            job.publish_anew();
            job.withdrawal.start_over();
        }
        let news = News::HomeMoved { epoch, home };
        self.commit(writes, vec![news.into()], vec![Pending::Home(epoch)]);
    }

    fn superseded(&mut self, ours: u64, epoch: u64, now: Now) {
        let before = self.homes.other();
        if let Some(home) = self.homes.superseded(ours, epoch) {
            self.begin_epoch(home, epoch, now);
        }
        if let Some(epoch) = self.homes.other().filter(|_| before.is_none()) {
            self.outbox.push(News::Superseded { epoch });
        }
    }

    /// Puts what has changed on the agendas of the brokers.
    pub(super) fn note_what_is_due(&mut self, now: Now) {
        let (epoch, brokers) = (self.homes.epoch(), self.homes.brokers());
        if self.agendas_of != epoch {
            self.agendas_of = epoch;
            self.agendas = brokers.iter().map(|broker| (*broker, Agenda::default())).collect();
            self.jobs.touch_all();
        }
        for id in self.jobs.take_touched() {
            let job = self.jobs.get(id);
            let issued = job.map(|job| job.offer().issued).unwrap_or_default();
            for (broker, agenda) in &mut self.agendas {
                let publication = job.and_then(|job| job.next_publication(*broker, now.wall));
                agenda.publications.set(id, issued, publication, now);
                let at_home = job.filter(|_| brokers.first() == Some(broker));
                let withdrawal = at_home.and_then(|job| job.next_withdrawal(now.wall));
                agenda.withdrawals.set(id, issued, withdrawal, now);
                let inquiry = at_home.and_then(|job| job.next_inquiry(epoch, now.wall));
                agenda.inquiries.set(id, issued, inquiry, now);
            }
        }
    }

    pub(super) fn ask_what_is_due(&mut self, now: Now) {
        self.note_what_is_due(now);
        let Some(home) = self.homes.published().cloned() else { return };
        for broker in self.homes.brokers() {
            // What a void key has told the broker holds until it hears of that.
            if self.homes.is_up(broker) && !self.declarations.precede(broker) {
                // What makes room comes before what needs it.
                self.withdraw_at(broker, home.epoch, now);
                self.publish_at(broker, &home, now);
                self.inquire_at(broker, home.epoch, now);
            }
        }
    }

    /// How many questions to `broker` are under way of which `is_so`.
    fn under_way(&self, broker: PublicKey, is_so: impl Fn(&About) -> bool) -> usize {
        let to_it = self.calls.values().filter(|question| question.to == broker);
        to_it.filter(|question| is_so(&question.about)).count()
    }

    fn withdraw_at(&mut self, broker: PublicKey, epoch: u64, now: Now) {
        let withdraws = |about: &About| matches!(about, About::Withdrawals(_));
        let Some(agenda) = self.agendas.get(&broker) else { return };
        let more = MAX_TOGETHER.saturating_sub(self.under_way(broker, withdraws));
        let is_so =
            |id: &StatementId| self.jobs.get(*id).is_some_and(|job| job.needs_withdrawal(now.wall));
        let due = agenda.withdrawals.due(now).filter(is_so).take(more * MAX_WITHDRAWALS_AN_ASK);
        for offers in due.collect::<Vec<_>>().chunks(MAX_WITHDRAWALS_AN_ASK) {
            let mut withdrawals = Vec::with_capacity(offers.len());
            for offer in offers {
                let Some(job) = self.jobs.get_mut(*offer) else { continue };
                job.withdrawal.start();
                withdrawals.push(withdrawal(job));
            }
            let withdrawals = Verified::sign_batch(withdrawals, self.authority.signer());
            let question =
                Question { to: broker, epoch, about: About::Withdrawals(offers.to_vec()) };
            self.ask(question, Ask::Withdraw { withdrawals });
        }
    }

    fn publish_at(&mut self, broker: PublicKey, home: &Verified<Home>, now: Now) {
        let Some(agenda) = self.agendas.get(&broker) else { return };
        if !agenda.may_publish(now) {
            return;
        }
        let is_so = |id: &StatementId| self.jobs.get(*id).is_some_and(|it| it.is_offered(now.wall));
        let is_alone = |id: &StatementId| {
            self.jobs.get(*id).is_some_and(|job| company_of(job, broker) == Company::Alone)
        };
        let due = agenda.publications.due(now).filter(is_so).take(MAX_LOOKED_AT);
        let (alone, together): (VecDeque<_>, VecDeque<_>) = due.partition(is_alone);
        self.publish_some(broker, home, together, Company::Together, now);
        self.publish_some(broker, home, alone, Company::Alone, now);
    }

    fn publish_some(
        &mut self,
        broker: PublicKey,
        home: &Verified<Home>,
        mut due: VecDeque<StatementId>,
        company: Company,
        now: Now,
    ) {
        let (most_questions, most_offers) = match company {
            Company::Together => (MAX_TOGETHER, MAX_OFFERS_A_PUBLICATION),
            Company::Alone => (MAX_ALONE, 1),
        };
        let publishes =
            |about: &About| matches!(about, About::Publications(_, of) if *of == company);
        for _ in self.under_way(broker, publishes)..most_questions {
            let offers = self.next_publication(broker, home, &mut due, most_offers, now);
            if offers.is_empty() {
                break;
            }
            let about = offers.iter().map(|it| it.offer.id()).collect();
            let about = About::Publications(about, company);
            let registration = self.authority.registration().clone();
            let ask = Ask::Publish { registration, home: home.clone(), offers };
            self.ask(Question { to: broker, epoch: home.epoch, about }, ask);
        }
    }

    /// Of the offers in `due` as many as go into one question, and as the broker may have room for.
    fn next_publication(
        &mut self,
        broker: PublicKey,
        home: &Verified<Home>,
        due: &mut VecDeque<StatementId>,
        most: usize,
        now: Now,
    ) -> Vec<Published> {
        let registration = self.authority.registration().envelope().as_bytes().len();
        let mut bytes = PUBLICATION_MARGIN + registration + home.envelope().as_bytes().len();
        let mut packages = BTreeMap::new();
        let mut offers: Vec<Published> = Vec::new();
        while offers.len() < most
            && let Some(id) = due.pop_front()
        {
            let Some(job) = self.jobs.get(id) else { continue };
            let Package { hash, size } = job.offer().package;
            packages.insert(hash, size);
            let (offer, mut settled) = (job.offer().clone(), job.settled_ranges());
            bytes += OFFER_MARGIN + offer.envelope().as_bytes().len();
            let ranges = MAX_STATEMENT_BYTES.saturating_sub(bytes) / RANGE_BYTES;
            let fits = packages.values().sum::<u64>() <= PACKAGES_TOGETHER
                && bytes <= MAX_STATEMENT_BYTES
                && settled.len() <= ranges;
            if !fits && !offers.is_empty() {
                due.push_front(id);
                break;
            }
            // What is not told is leased once more.
            settled.truncate(ranges);
            bytes += settled.len() * RANGE_BYTES;
            // A standby never grants, so that it does no harm if it has forgotten.
            let again = broker == home.home && job.acknowledged() == Some(home.epoch);
            let agenda = self.agendas.get_mut(&broker);
            // What it has takes no more room.
            if (again || agenda.is_some_and(|agenda| agenda.take_room(now)))
                && let Some(job) = self.jobs.get_mut(id)
            {
                job.publications.entry(broker).or_default().start();
                offers.push(Published { offer, again, settled });
            }
        }
        offers
    }

    fn inquire_at(&mut self, broker: PublicKey, epoch: u64, now: Now) {
        let Some(agenda) = self.agendas.get(&broker) else { return };
        let is_so = |job: &Job| job.wants_explanation(epoch, now.wall);
        let wants = |id: &StatementId| self.jobs.get(*id).is_some_and(is_so);
        let first = agenda.inquiries.due(now).find(wants);
        let asks = |about: &About| matches!(about, About::Explanation(_));
        let may_ask = self.under_way(broker, asks) < MAX_INQUIRING;
        let Some(job) = first.filter(|_| may_ask).and_then(|offer| self.jobs.get_mut(offer)) else {
            return;
        };
        if !self.agendas.get_mut(&broker).is_some_and(|agenda| agenda.take_inquiry(now)) {
            return;
        }
        job.inquiry.start();
        let (offer, needs) = (job.id(), JobNeeds::Offer(job.offer().id()));
        let question = Question { to: broker, epoch, about: About::Explanation(offer) };
        self.ask(question, Ask::Explain(needs));
    }
}

fn company_of(job: &Job, broker: PublicKey) -> Company {
    let failed = job.publications.get(&broker).is_some_and(Attempts::has_failed);
    if failed || job.offer().package.size > PACKAGES_TOGETHER {
        Company::Alone
    } else {
        Company::Together
    }
}

fn withdrawal(job: &Job) -> Withdrawal {
    let reason = match job.state() {
        JobState::Done | JobState::DoneAndWithdrawn => "every task is settled",
        _ => "cancelled",
    };
    Withdrawal {
        statement: job.offer().id(),
        reason: reason.to_owned(),
        expires: job.offer().expires,
    }
}
