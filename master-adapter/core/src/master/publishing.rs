//! What the brokers are asked: to keep offers, to let them go, and who could run them.

use std::time::Duration;

use capability::statements::{Home, Withdrawal};
use capability::{PublicKey, StatementId, Verified, encode_cbor};
use mesh_core::{Answer, Ask, CallFailed, CallId, JobNeeds, Now, Refusal, Write};

use super::{Master, Pending};
use crate::authority::Authority;
use crate::jobs::{Job, JobState};
use crate::message::{Action, News};
use crate::records::state_key;

/// Questions to one broker under way at most; a thousand open offers are not published at once.
const MAX_CALLS_A_BROKER: usize = 16;

/// What was asked of a broker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question {
    to: PublicKey,
    epoch: u64,
    /// The job's id.
    offer: StatementId,
    about: About,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum About {
    Publication,
    Withdrawal,
    Explanation,
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
        }
    }

    fn ask(&mut self, question: Question, ask: Ask) {
        let call = self.next_call();
        self.calls.insert(call, question);
        self.outbox.push(Action::Ask { to: question.to, call, ask });
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
        match question.about {
            About::Publication => self.publication_answered(question, answer, now),
            About::Withdrawal => self.withdrawal_answered(question, &answer, now),
            About::Explanation => self.explanation_answered(question, answer, now),
        }
    }

    fn publication_answered(
        &mut self,
        question: Question,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) {
        let Question { to, epoch, offer, .. } = question;
        let stale = epoch != self.homes.epoch();
        let is_home = self.homes.broker_of(epoch) == Some(to);
        let Some(job) = self.jobs.get_mut(offer) else { return };
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
                let news = News::Published { offer, broker: to, epoch };
                if is_home {
                    job.acknowledge(epoch);
                    let write = Write::put(state_key(offer), encode_cbor(&job.record()));
                    self.commit(vec![write], vec![news.into()], Vec::new());
                } else {
                    self.outbox.push(news);
                }
                return;
            }
            Ok(Answer::Refused(refusal)) => {
                if refusal == Refusal::Forgotten
                    && is_home
                    && let Some(home) = self.homes.forgotten(epoch, now)
                {
                    attempts.fail(now);
                    self.begin_epoch(home, 0, now);
                    return;
                }
                if let Refusal::Superseded { epoch: known } = refusal {
                    attempts.fail(now);
                    let reason = refusal.to_string();
                    self.outbox.push(News::NotPublished { offer, broker: to, reason });
                    return self.superseded(epoch, known, now);
                }
                match refusal {
                    Refusal::Elsewhere(_) => self.homes.leaves(to),
                    Refusal::SlowDown(millis) => pause = Duration::from_millis(millis.into()),
                    _ => (),
                }
                refusal.to_string()
            }
            Ok(_) => "the answer does not fit the question".to_owned(),
            Err(failed) => failed.to_string(),
        };
        attempts.fail(now);
        if stale {
            attempts.start_over();
        }
        attempts.wait(pause, now);
        self.outbox.push(News::NotPublished { offer, broker: to, reason });
    }

    fn withdrawal_answered(
        &mut self,
        question: Question,
        answer: &Result<Answer, CallFailed>,
        now: Now,
    ) {
        let Some(job) = self.jobs.get_mut(question.offer) else { return };
        let over = matches!(answer, Ok(Answer::Done | Answer::Refused(Refusal::UnknownOffer)));
        if over && question.epoch == self.homes.epoch() {
            job.withdrawal.succeed();
            job.set_state(job.state().withdrawn());
            let write = Write::put(state_key(question.offer), encode_cbor(&job.record()));
            let news = News::Withdrawn { offer: question.offer };
            self.commit(vec![write], vec![news.into()], Vec::new());
        } else {
            job.withdrawal.fail(now);
        }
    }

    fn explanation_answered(
        &mut self,
        question: Question,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) {
        let Some(job) = self.jobs.get_mut(question.offer) else { return };
        job.inquiry.finish(now);
        if let Ok(Answer::Explanation(explanation)) = answer {
            job.set_explanation(explanation.clone());
            self.outbox.push(News::Explained { offer: question.offer, explanation });
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

    pub(super) fn ask_what_is_due(&mut self, now: Now) {
        let Some(home) = self.homes.published().cloned() else { return };
        for broker in self.homes.brokers() {
            // What a void key has told the broker holds until it hears of that.
            if !self.homes.is_up(broker) || self.declarations.precede(broker) {
                continue;
            }
            let under_way = self.calls.values().filter(|question| question.to == broker).count();
            let room = MAX_CALLS_A_BROKER.saturating_sub(under_way);
            for (question, ask) in self.due_at(broker, &home, room, now) {
                self.ask(question, ask);
            }
        }
    }

    /// At most `room` questions that are due at `broker`, publications first.
    fn due_at(
        &mut self,
        broker: PublicKey,
        home: &Verified<Home>,
        room: usize,
        now: Now,
    ) -> Vec<(Question, Ask)> {
        let (authority, is_home) = (&self.authority, broker == home.home);
        let mut due = Vec::new();
        for job in self.jobs.under_way_mut() {
            if due.len() == room {
                break;
            }
            let id = job.id();
            let question = |about| Question { to: broker, epoch: home.epoch, offer: id, about };
            if job.is_offered(now.wall) {
                let attempts = job.publications.entry(broker).or_default();
                if attempts.is_due(now) {
                    attempts.start();
                    let ask = Ask::Publish {
                        registration: authority.registration().clone(),
                        home: home.clone(),
                        offer: job.offer().clone(),
                        // A standby never grants, so that it does no harm if it has forgotten.
                        again: is_home && job.acknowledged() == Some(home.epoch),
                        settled: job.settled_ranges(),
                    };
                    due.push((question(About::Publication), ask));
                    continue;
                }
            }
            if is_home && job.needs_withdrawal(now.wall) && job.withdrawal.is_due(now) {
                job.withdrawal.start();
                let withdrawal = withdrawal(job, authority);
                due.push((question(About::Withdrawal), Ask::Withdraw { withdrawal }));
            } else if is_home
                && job.wants_explanation(home.epoch, now.wall)
                && job.inquiry.is_due(now)
            {
                job.inquiry.start();
                let ask = Ask::Explain(JobNeeds::Offer(job.offer().id()));
                due.push((question(About::Explanation), ask));
            }
        }
        due
    }
}

fn withdrawal(job: &Job, authority: &Authority) -> Verified<Withdrawal> {
    let reason = match job.state() {
        JobState::Done | JobState::DoneAndWithdrawn => "every task is settled",
        _ => "cancelled",
    };
    let payload = Withdrawal {
        statement: job.offer().id(),
        reason: reason.to_owned(),
        expires: job.offer().expires,
    };
    Verified::sign(payload, authority.signer())
}
