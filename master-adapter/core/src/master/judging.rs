//! Results come in, are judged once, and go out again as receipts.

use std::time::Duration;

use capability::statements::{Ended, JobResult, Opened, Receipt, TaskId};
use capability::{BlobHash, PublicKey, StatementId, Verified, encode_cbor};
use mesh_core::{Bundle, Cargo, Duty, HandoverAnswer, Now, ReplyId, Write};

use super::{MAX_RECEIPTS_WAITING, Master, Pending};
use crate::jobs::{Job, JobState, Settled};
use crate::judge::{Court, Finding, Inside};
use crate::message::{Action, News};
use crate::records::{
    GivenUpRecord, Judgement, SettledRecord, delegation_key, given_up_key, judgement_key,
    result_key, settled_key, state_key,
};

/// A receipt outlives the longest result twice, so that a volunteer that is seldom online gets it.
const RECEIPT_LIFETIME: Duration = Duration::from_secs(60 * 24 * 60 * 60);

/// How a result came, with what, and who waits for the answer.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) from: PublicKey,
    pub(super) via: PublicKey,
    pub(super) inside: Inside,
    pub(super) missing: Vec<BlobHash>,
    pub(super) reply: ReplyId,
}

impl Master {
    pub(super) fn take_over(&mut self, cargo: Cargo, arrival: Arrival, now: Now) {
        let refused = |reason: &str| HandoverAnswer::Refused(reason.to_owned());
        let answer = match cargo {
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
            Cargo::Result(_) if self.custody.len() >= MAX_RECEIPTS_WAITING => {
                refused("custody refused: full")
            }
            Cargo::Result(_) if !self.authority.is_current(now.wall) => {
                refused("the delegation of the project has expired, nothing can be judged")
            }
            Cargo::Result(result) => return self.judge(&result, &arrival, now),
        };
        self.outbox.push(Action::ReplyHandover { reply: arrival.reply, answer });
    }

    /// Judges `result` once; the same one again gets the same receipt again.
    fn judge(&mut self, result: &Verified<JobResult>, arrival: &Arrival, now: Now) {
        if let Some(judgement) = self.judgements.get(&result.id()) {
            let receipt = self.receipt(result.id(), judgement);
            self.send_receipt(receipt, arrival, Vec::new(), Vec::new());
            return;
        }
        let court = Court {
            authority: &self.authority,
            homes: &self.homes,
            job: self.jobs.get(result.task.offer),
            now: now.wall,
        };
        let finding = court.judge(result, &arrival.inside);
        if matches!(finding, Finding::Settles { .. }) && !arrival.missing.is_empty() {
            let answer = HandoverAnswer::Missing(arrival.missing.clone());
            self.outbox.push(Action::ReplyHandover { reply: arrival.reply, answer });
            return;
        }
        let judgement = Judgement {
            task: result.task,
            volunteer: result.signer(),
            verdict: finding.verdict(),
            issued: now.wall,
            expires: self.authority.expiry(now.wall, RECEIPT_LIFETIME),
            delegation: self.authority.delegation().id(),
        };
        let receipt = self.receipt(result.id(), &judgement);
        let (writes, news) = self.apply(result, &finding, judgement, arrival);
        self.send_receipt(receipt, arrival, writes, news);
    }

    /// Changes the state as `finding` says. A rejection changes nothing and is not remembered: it
    /// would be judged alike again, and whoever sends worthless results must not fill the disk.
    fn apply(
        &mut self,
        result: &Verified<JobResult>,
        finding: &Finding,
        judgement: Judgement,
        arrival: &Arrival,
    ) -> (Vec<Write>, Vec<Action>) {
        let (id, volunteer) = (result.id(), result.signer());
        if let Finding::Rejected(reason) = finding {
            let (task, reason) = (result.task, (*reason).to_owned());
            return (
                Vec::new(),
                vec![News::Rejected { task, result: id, volunteer, reason }.into()],
            );
        }
        let mut writes = vec![Write::put(judgement_key(id), encode_cbor(&judgement))];
        writes.extend(self.remember_delegation());
        let opened = arrival.inside.report.as_ref().and_then(|report| report.as_ref().ok());
        let Opened { report, ownership } = opened.expect("what cannot be read is rejected");
        let ownership = ownership.as_ref();
        let owner = self.owners.owner_of(volunteer, ownership, judgement.issued);
        owner.into_iter().for_each(|owner| self.owners.meet(owner));
        self.judgements.insert(id, judgement);
        let job = self.jobs.get_mut(result.task.offer);
        let job = job.expect("only a result of a known job is not rejected");
        let task = TaskId { offer: job.id(), ..result.task };
        let news = match finding {
            Finding::Rejected(_) => unreachable!("handled above"),
            Finding::Again(reason) => {
                job.count_unfit_machine(task.task, volunteer);
                let reason = reason.clone();
                vec![News::Again { task, result: id, volunteer, reason }.into()]
            }
            Finding::Settles { passed, credit } => {
                let (passed, via) = (*passed, arrival.via);
                let settled = Settled { result: id, volunteer, owner, passed, via };
                job.settle(task.task, task.replica, settled);
                if result.task.offer != job.offer().id() {
                    // The home knows nothing of that offer any more, and would lease the task again.
                    job.publish_anew();
                }
                let record = SettledRecord::from(settled);
                writes.push(Write::put(settled_key(task), encode_cbor(&record)));
                writes.push(Write::put(result_key(id), result.envelope().as_bytes()));
                let accepted = News::Accepted {
                    task,
                    result: result.clone(),
                    report: report.clone(),
                    passed,
                    credit: *credit,
                    owner,
                    via,
                    from: arrival.from,
                };
                let mut news: Vec<Action> = vec![accepted.into()];
                let key = given_up_key(task.offer, task.task);
                if let Ended::Machine(why) = &report.ended {
                    // The judge settles nothing so before enough machines have failed.
                    let machines = job.unfit_machines(task.task) + 1;
                    let reason =
                        format!("no machine can run it, the last of {machines} for: {why}");
                    job.give_up(task.task, reason.clone());
                    let record = GivenUpRecord { reason: reason.clone() };
                    writes.push(Write::put(key, encode_cbor(&record)));
                    news.push(News::GivenUp { task, reason }.into());
                } else if job.take_up(task.task) {
                    writes.push(Write::delete(key));
                }
                news.extend(finish(job, &mut writes).map(Action::from));
                news
            }
        };
        (writes, news)
    }

    /// Takes `receipt` into custody in one commit with `writes`; `Taken` is answered behind it.
    fn send_receipt(
        &mut self,
        receipt: Verified<Receipt>,
        arrival: &Arrival,
        mut writes: Vec<Write>,
        news: Vec<Action>,
    ) {
        let id = receipt.id();
        let bundle = Bundle { cargo: Cargo::Receipt(receipt), via: arrival.via };
        let taken = self.custody.take(bundle, Duty::Carrier);
        writes.extend(taken.expect("its bound was checked before anything was judged"));
        let reply = arrival.reply;
        let mut released = vec![Action::ReplyHandover { reply, answer: HandoverAnswer::Taken }];
        released.extend(news);
        self.commit(writes, released, vec![Pending::Receipt(id)]);
    }

    /// The receipt that says `judgement`; signing it again with the same key gives the same bytes.
    fn receipt(&self, result: StatementId, judgement: &Judgement) -> Verified<Receipt> {
        let remembered = self.delegations.get(&judgement.delegation);
        let (delegation, expires) = match remembered {
            Some(delegation) => (delegation, judgement.expires),
            // It was to a former node key.
            None => {
                let current = self.authority.delegation();
                (current.envelope(), judgement.expires.min(current.expires))
            }
        };
        let payload = Receipt {
            project: self.authority.project(),
            result,
            task: judgement.task,
            volunteer: judgement.volunteer,
            verdict: judgement.verdict.clone(),
            issued: judgement.issued,
            delegation: delegation.clone(),
            expires,
        };
        Verified::sign(payload, self.authority.signer())
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
