//! Results come in, are judged once, and go out again as receipts.

use std::time::Duration;

use capability::statements::{Ended, JobResult, Opened, Receipt, TaskId};
use capability::{PublicKey, StatementId, Verified, encode_cbor};
use mesh_core::{Bundle, Cargo, Duty, HandoverAnswer, Now, ReplyId, Write};

use super::{MAX_RECEIPTS_WAITING, Master};
use crate::jobs::{Job, JobState, Settled};
use crate::judge::{Court, Finding};
use crate::message::{Action, Arrival, Fate, News};
use crate::records::{
    AcceptedRecord, GivenUpRecord, JudgedRecord, Judgement, SettledRecord, delegation_key,
    given_up_key, state_key,
};

/// A receipt outlives the longest result twice, so that a volunteer that is seldom online gets it.
const RECEIPT_LIFETIME: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// What a handover changes.
#[derive(Default)]
struct Changes {
    judged: Vec<JudgedRecord>,
    writes: Vec<Write>,
    news: Vec<Action>,
}

impl Changes {
    fn tell(&mut self, news: News) {
        self.news.push(news.into());
    }
}

/// What comes of one bundle.
enum Ruling {
    /// An answer, and nothing else.
    Answer(HandoverAnswer),
    /// A receipt, to be signed and sent by the broker `via`; whether its result was judged before.
    Receipt { payload: Receipt, via: PublicKey, known: bool },
}

/// The same, with the receipt signed.
enum Outcome {
    Answer(HandoverAnswer),
    Receipt(Heard),
}

struct Heard {
    receipt: Verified<Receipt>,
    via: PublicKey,
    known: bool,
}

/// What came, judged together, and what that changes.
struct Hearing {
    outcomes: Vec<Outcome>,
    changes: Changes,
}

impl Master {
    /// Judges what came. What is accepted, the receipts and their custody are one commit; the
    /// answers are given when it is durable.
    pub(super) fn take_over(
        &mut self,
        from: PublicKey,
        arrivals: Vec<Arrival>,
        reply: ReplyId,
        now: Now,
    ) {
        let hearing = self.hear(from, arrivals, now);
        let answer = |outcome: &Outcome| match outcome {
            Outcome::Answer(answer) => answer.clone(),
            Outcome::Receipt(_) => HandoverAnswer::Taken,
        };
        let answers = hearing.outcomes.iter().map(answer).collect();
        let answered = Action::ReplyHandover { reply, answers };
        self.conclude(hearing, answered, |_| true);
    }

    /// The same of what somebody has brought in a parcel. Who brings it carries the receipts back; the
    /// home has one of all that is new, and with it settles the task.
    pub(super) fn import(&mut self, arrivals: Vec<Arrival>, reply: ReplyId, now: Now) {
        let hearing = self.hear(self.authority.node(), arrivals, now);
        let fate = |outcome: &Outcome| match outcome {
            Outcome::Receipt(Heard { receipt, known, .. }) => {
                Fate::Judged { receipt: receipt.clone(), known: *known }
            }
            Outcome::Answer(HandoverAnswer::Missing(blobs)) => Fate::Missing(blobs.clone()),
            Outcome::Answer(HandoverAnswer::Refused(why)) => Fate::Refused(why.clone()),
            Outcome::Answer(HandoverAnswer::Taken) => unreachable!("what is taken has a receipt"),
        };
        let fates = hearing.outcomes.iter().map(fate).collect();
        self.conclude(hearing, Action::Imported { reply, fates }, |heard| !heard.known);
    }

    /// Rules on all that came, and signs the receipts together.
    fn hear(&mut self, from: PublicKey, arrivals: Vec<Arrival>, now: Now) -> Hearing {
        let (mut changes, mut rulings) = (Changes::default(), Vec::with_capacity(arrivals.len()));
        let mut receipts = Vec::new();
        for arrival in arrivals {
            let ruling = self.rule_on(from, arrival, receipts.len(), &mut changes, now);
            rulings.push(match ruling {
                Ruling::Answer(answer) => Err(answer),
                Ruling::Receipt { payload, via, known } => {
                    receipts.push(payload);
                    Ok((via, known))
                }
            });
        }
        let mut receipts = Verified::sign_batch(receipts, self.authority.signer()).into_iter();
        let outcome = |ruling| match ruling {
            Err(answer) => Outcome::Answer(answer),
            Ok((via, known)) => {
                let receipt = receipts.next().expect("one was signed for each");
                Outcome::Receipt(Heard { receipt, via, known })
            }
        };
        Hearing { outcomes: rulings.into_iter().map(outcome).collect(), changes }
    }

    /// Takes custody of the receipts that are `sent`, and says `told` once all of it is durable.
    fn conclude(&mut self, hearing: Hearing, told: Action, sent: impl Fn(&Heard) -> bool) {
        let Hearing { outcomes, changes } = hearing;
        let mut is_heard = false;
        for outcome in outcomes {
            let Outcome::Receipt(heard) = outcome else { continue };
            is_heard = true;
            if sent(&heard) {
                let bundle = Bundle { cargo: Cargo::Receipt(heard.receipt), via: heard.via };
                let taken = self.custody.take(bundle, Duty::Carrier);
                taken.expect("its bound was checked before anything was judged");
            }
        }
        if !is_heard {
            return self.outbox.push(told);
        }
        let Changes { judged, mut writes, news } = changes;
        writes.extend(self.judged.put(judged.into_iter().map(|it| (it.size(), it))).0);
        self.commit(writes, [told].into_iter().chain(news).collect(), Vec::new());
    }

    /// What becomes of one bundle, after `before` receipts of the same handover.
    fn rule_on(
        &mut self,
        from: PublicKey,
        arrival: Arrival,
        before: usize,
        changes: &mut Changes,
        now: Now,
    ) -> Ruling {
        let refused = |reason: &str| Ruling::Answer(HandoverAnswer::Refused(reason.to_owned()));
        match arrival.bundle.cargo.clone() {
            Cargo::Receipt(_) => refused("a master takes results, not receipts"),
            Cargo::Result(result) if result.project != self.authority.project() => {
                refused("this is the master of another project")
            }
            Cargo::Result(_) if self.is_revoked() => {
                refused("the key of this adapter was revoked, nothing can be judged")
            }
            Cargo::Result(_) if self.superseded_by().is_some() => {
                refused("another adapter speaks for the project, and will judge it")
            }
            Cargo::Result(_) if self.disk_full => refused("custody refused: the disk is full"),
            Cargo::Result(_) if self.custody.len() + before >= MAX_RECEIPTS_WAITING => {
                refused("custody refused: full")
            }
            Cargo::Result(_) if !self.authority.is_current(now.wall) => {
                refused("the delegation of the project has expired, nothing can be judged")
            }
            Cargo::Result(result) => self.judge(&result, from, &arrival, changes, now),
        }
    }

    /// Judges `result` once; the same one again gets the same receipt again.
    fn judge(
        &mut self,
        result: &Verified<JobResult>,
        from: PublicKey,
        arrival: &Arrival,
        changes: &mut Changes,
        now: Now,
    ) -> Ruling {
        let via = arrival.bundle.via;
        if let Some(judgement) = self.judgements.get(&result.id()) {
            let payload = self.receipt(result.id(), judgement);
            return Ruling::Receipt { payload, via, known: true };
        }
        let court = Court {
            authority: &self.authority,
            homes: &self.homes,
            job: self.jobs.get(result.task.offer),
            now: now.wall,
        };
        let finding = court.judge(result, &arrival.inside);
        if matches!(finding, Finding::Settles { .. }) && !arrival.missing.is_empty() {
            return Ruling::Answer(HandoverAnswer::Missing(arrival.missing.clone()));
        }
        let TaskId { offer, task, replica } = result.task;
        let judgement = Judgement {
            task,
            offer,
            issued: now.wall,
            expires: self.authority.expiry(now.wall, RECEIPT_LIFETIME),
            replica,
            verdict: finding.verdict(),
            volunteer: result.signer(),
            delegation: self.authority.delegation().id(),
        };
        let payload = self.receipt(result.id(), &judgement);
        self.apply(result, &finding, judgement, from, arrival, changes);
        Ruling::Receipt { payload, via, known: false }
    }

    /// Changes the state as `finding` says. A rejection changes nothing and is not remembered: it
    /// would be judged alike again, and whoever sends worthless results must not fill the disk.
    fn apply(
        &mut self,
        result: &Verified<JobResult>,
        finding: &Finding,
        judgement: Judgement,
        from: PublicKey,
        arrival: &Arrival,
        changes: &mut Changes,
    ) {
        let (id, volunteer) = (result.id(), result.signer());
        if let Finding::Rejected(reason) = finding {
            let (task, reason) = (result.task, (*reason).to_owned());
            return changes.tell(News::Rejected { task, result: id, volunteer, reason });
        }
        changes.writes.extend(self.remember_delegation());
        let opened = arrival.inside.report.as_ref().and_then(|report| report.as_ref().ok());
        let Opened { report, ownership } = opened.expect("what cannot be read is rejected");
        let ownership = ownership.as_ref();
        let owner = self.owners.owner_of(volunteer, ownership, judgement.issued);
        owner.into_iter().for_each(|owner| self.owners.meet(owner));
        self.judgements.insert(id, judgement.clone());
        let job = self.jobs.get_mut(result.task.offer);
        let job = job.expect("only a result of a known job is not rejected");
        let task = TaskId { offer: job.id(), ..result.task };
        match finding {
            Finding::Rejected(_) => unreachable!("handled above"),
            Finding::Again(reason) => {
                job.count_unfit_machine(task.task, volunteer);
                changes.judged.push(JudgedRecord { result: id, judgement, accepted: None });
                changes.tell(News::Again { task, result: id, volunteer, reason: reason.clone() });
            }
            Finding::Settles { passed, credit } => {
                let (passed, via) = (*passed, arrival.bundle.via);
                let settled = Settled { result: id, volunteer, owner, passed, via };
                job.settle(task.task, task.replica, settled);
                if result.task.offer != job.offer().id() {
                    // The home knows nothing of that offer any more, and would lease the task again.
                    job.publish_anew();
                }
                let (settled, result) = (SettledRecord::from(settled), result.clone());
                let envelope = result.envelope().clone();
                let accepted = Some(AcceptedRecord { task, settled, envelope });
                changes.judged.push(JudgedRecord { result: id, judgement, accepted });
                let (credit, report) = (*credit, report.clone());
                let ended = report.ended.clone();
                changes.tell(News::Accepted {
                    task,
                    result,
                    report,
                    passed,
                    credit,
                    owner,
                    via,
                    from,
                });
                settle_doubts(job, task, &ended, changes);
                finish(job, &mut changes.writes).into_iter().for_each(|done| changes.tell(done));
            }
        }
    }

    /// The receipt that says `judgement`; with the same key it has the same id, however often it is
    /// signed.
    fn receipt(&self, result: StatementId, judgement: &Judgement) -> Receipt {
        let remembered = self.delegations.get(&judgement.delegation);
        let (delegation, expires) = match remembered {
            Some(delegation) => (delegation, judgement.expires),
            // It was to a former node key.
            None => {
                let current = self.authority.delegation();
                (current.envelope(), judgement.expires.min(current.expires))
            }
        };
        Receipt {
            project: self.authority.project(),
            result,
            task: judgement.task(),
            volunteer: judgement.volunteer,
            verdict: judgement.verdict.clone(),
            issued: judgement.issued,
            delegation: delegation.clone(),
            expires,
        }
    }

    pub(super) fn remember_delegation(&mut self) -> Option<Write> {
        let envelope = self.authority.delegation().envelope();
        let id = envelope.id();
        if self.delegations.contains_key(&id) {
            return None;
        }
        self.delegations.insert(id, envelope.clone());
        Some(Write::put(delegation_key(id), envelope.as_bytes()))
    }
}

/// Gives `task` up if it was settled by a machine that could not run it, and else takes it up again.
fn settle_doubts(job: &mut Job, task: TaskId, ended: &Ended, changes: &mut Changes) {
    let key = given_up_key(task.offer, task.task);
    if let Ended::Machine(why) = ended {
        // The judge settles nothing so before enough machines have failed.
        let machines = job.unfit_machines(task.task) + 1;
        let reason = format!("no machine can run it, the last of {machines} for: {why}");
        job.give_up(task.task, reason.clone());
        let record = GivenUpRecord { reason: reason.clone() };
        changes.writes.push(Write::put(key, encode_cbor(&record)));
        changes.tell(News::GivenUp { task, reason });
    } else if job.take_up(task.task) {
        changes.writes.push(Write::delete(key));
    }
}

/// Ends `job` if its last task has just been settled.
pub(super) fn finish(job: &mut Job, writes: &mut Vec<Write>) -> Option<News> {
    if !job.is_complete() || job.state() != JobState::Open {
        return None;
    }
    job.set_state(JobState::Done);
    let offer = job.id();
    writes.push(Write::put(state_key(offer), encode_cbor(&job.record())));
    let (passed, failed) = job.tally();
    Some(News::JobDone { offer, passed, failed })
}
