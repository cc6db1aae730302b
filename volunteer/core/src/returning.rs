//! Results on their way home, and their receipts on the way back.

use std::collections::VecDeque;
use std::ops::Bound;

use capability::statements::{Blob, Ended, JobResult, Log, Receipt, Report, StepReport};
use capability::{
    BlobHash, MAX_STATEMENT_BYTES, Platform, PublicKey, StatementId, Verified, encode_cbor,
};
use mesh_core::{Bundle, Cargo, CommitId, Duty, HandoverAnswer, HandoverFailed, ReplyId};

use crate::action::{Action, News, Outcome};
use crate::shares::End;
use crate::volunteer::Volunteer;
use crate::work::{Job, Stage};

/// Length of a reason in bytes, as [`Report`] allows it.
const MAX_REASON: usize = 256;

/// Bytes of a receipt at most: ids, a reason and a delegation, with room for what later versions
/// may add. Thousands of them are kept.
const MAX_RECEIPT_BYTES: usize = 8 << 10;

/// Signature, key and path that come around a result, at most: a leaf of the largest batch has a path
/// of 16 hashes.
const ENVELOPE_BYTES: usize = 1 << 10;

/// Why a receipt for a result that waits here is not taken.
const DOES_NOT_HOLD: &str =
    "it does not hold: it has expired, is about another task, or its signer's key was revoked";

/// What becomes of a receipt that somebody has brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReceiptFate {
    /// The result is discharged, and the receipt kept.
    Taken,
    /// There was one for that result before; nothing has changed.
    Known,
    /// No result here waits for it.
    NotAwaited,
    /// It is not taken; why.
    Refused(&'static str),
}

/// Leases that are not acted upon before their commit is durable.
#[derive(Debug, Default)]
pub(crate) struct Unconfirmed(VecDeque<(CommitId, StatementId)>);

impl Unconfirmed {
    pub fn add(&mut self, commit: CommitId, statement: StatementId) {
        self.0.push_back((commit, statement));
    }

    /// Those that are durable with `commit`, the earlier ones included.
    pub fn confirmed(&mut self, commit: CommitId) -> Vec<StatementId> {
        let count = self.0.iter().take_while(|(waiting, _)| *waiting <= commit).count();
        self.0.drain(..count).map(|(_, statement)| statement).collect()
    }
}

impl Volunteer {
    /// Runs have ended: their results go into custody, durably, before anybody hears of them.
    pub(crate) fn ran(&mut self, runs: Vec<(StatementId, Outcome)>) {
        let ended: Vec<_> = runs
            .into_iter()
            .filter_map(|(lease, outcome)| self.run_ended(lease, outcome))
            .collect();
        if ended.is_empty() {
            return self.commit_accounts();
        }
        let (mut results, mut unsaid) = (Vec::new(), Vec::new());
        let mut writes = self.shares.writes();
        let mut ways = Vec::new();
        for (job, outcome) in ended {
            let past = self.past(&job, &outcome);
            let (result, left) = self.sayable_result(&job, outcome);
            writes.extend(self.held.end(job.lease.id()));
            writes.extend(self.queue.end(job.lease.id()));
            writes.extend(self.end_resuming(job.lease.id()));
            ways.push((past, self.known_primary.unwrap_or_else(|| job.lease.signer())));
            results.push(result);
            unsaid.extend(left);
        }
        let mut finished = Vec::new();
        let signed = Verified::sign_batch(results, &*self.signer);
        for (result, (past, via)) in signed.into_iter().zip(ways) {
            let (task, id, ended) = (result.task, result.id(), past.ended.clone());
            self.history.enter(past.with(&result));
            finished.push(Action::News(News::Finished { task, result: id, ended }));
            let bundle = Bundle { cargo: Cargo::Result(result), via };
            let taken = self.custody.take(bundle, Duty::Originator);
            taken.expect("an originator's own bundles are not bounded by custody");
        }
        self.commit(writes, finished);
        self.drop_blobs(unsaid);
    }

    /// The job of a run that has ended, if its result matters.
    fn run_ended(&mut self, lease: StatementId, mut outcome: Outcome) -> Option<(Job, Outcome)> {
        self.drop_blobs(std::mem::take(&mut outcome.leftover));
        self.passed_in_all(lease, outcome.network_down, outcome.network_up);
        let job = self.work.remove(lease, self.now.mono)?;
        self.resources_freed();
        let in_time = self.ended_in_time(lease, &outcome.ended);
        let is_stopped = job.stage == Stage::Stopping && !in_time;
        self.shares.end(lease, if is_stopped { End::Stopped } else { End::ByItself });
        if is_stopped {
            // Its lease was released when it was told to stop, unless it was put by.
            self.end_stopped(&job);
            self.drop_blobs(hashes(&outcome.blobs));
            let past = self.past(&job, &outcome);
            self.history.enter(past);
            return None;
        }
        if let Ended::Machine(reason) = &outcome.ended {
            // What failed here may fail again at once; others should have a chance.
            let failed = format!("a task of it failed because of this machine: {reason}");
            self.offers.leave_alone(&job.offer, &failed, self.now.mono);
            if let Some(rest) = self.faults.failed(reason, self.now.mono) {
                let (in_a_row, reason) = (self.faults.in_a_row(), reason.clone());
                self.news(News::BacksOff { in_a_row, rest, reason });
            }
        } else {
            self.faults.worked();
        }
        self.leases.ended(lease);
        Some((job, outcome))
    }

    /// The result of `job`, and the blobs of `outcome` that do not go with it.
    fn sayable_result(&self, job: &Job, outcome: Outcome) -> (JobResult, Vec<BlobHash>) {
        let Outcome {
            ended, steps, artifacts, blobs, key, system, started, finished, resumed, ..
        } = outcome;
        let platform = self.machine.as_ref().map(|machine| machine.platform.clone());
        let mut report = Report {
            ended,
            steps,
            artifacts,
            key,
            platform: platform.unwrap_or_else(Platform::current),
            system,
            runtime: job.lease.runtime.clone(),
            ownership: self.vouched(),
            started,
            finished,
            resumed,
        };
        if let Err(invalid) = report.validate(&blobs) {
            // A runtime reports what cannot be said: that is this machine's fault.
            clear(&mut report);
            report.system.clear();
            report.ended = Ended::Machine(short(&invalid.to_string()));
            return (self.seal(job, &report, Vec::new()), hashes(&blobs));
        }
        let result = self.seal(job, &report, blobs.clone());
        if encode_cbor(&result).len() + ENVELOPE_BYTES <= MAX_STATEMENT_BYTES {
            return (result, Vec::new());
        }
        // Each part is within its bounds, and together they are too much: that is the job's doing.
        clear(&mut report);
        report.steps.push(too_large());
        report.ended = Ended::Failed;
        (self.seal(job, &report, Vec::new()), hashes(&blobs))
    }

    fn seal(&self, job: &Job, report: &Report, blobs: Vec<Blob>) -> JobResult {
        JobResult::new(&job.lease, blobs, report, job.offer.recipient(), &*self.sealer)
    }

    /// Hands over what is due to the primary; what is due again because no receipt has come, to
    /// another broker than took it last, if there is one. A broker that takes and drops is not found
    /// out otherwise.
    pub(crate) fn hand_over(&mut self) {
        if self.quiet.is_some() {
            return;
        }
        let Self { custody, brokers, takers, .. } = self;
        let next = |bundle: &Bundle| {
            let last = takers.get(&bundle.id());
            let other = brokers.iter().find(|broker| Some(*broker) != last);
            other.or(brokers.first()).copied()
        };
        for mut handover in custody.due(self.now, next) {
            // The receipts are to come the way that the results have gone.
            handover.bundles.iter_mut().for_each(|bundle| bundle.via = handover.to);
            self.outbox.push(Action::HandOver(handover));
        }
    }

    pub(crate) fn handed_over(
        &mut self,
        to: PublicKey,
        outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>,
    ) {
        let mut sent = 0;
        for (id, taken) in outcomes {
            if taken.is_err() {
                self.custody.not_handed_over(id, self.now);
                continue;
            }
            if let Some(result) = self.result(id) {
                // Its home will hear of it now, or at the latest when it is sent again.
                let (lease, task) = (result.lease.id(), result.task);
                let blobs = result.blobs().map(|(_, size)| size).fold(0, u64::saturating_add);
                // Whoever has taken it before has had the blobs.
                if self.takers.insert(id, to) != Some(to) {
                    sent = blobs.saturating_add(sent);
                }
                self.leases.forget(lease);
                self.news(News::Delivered { result: id, task, to });
            }
            self.custody.handed_over(id, self.now);
        }
        self.passed(0, sent);
    }

    /// Receipts come back. They are taken whatever they say, so that no broker carries them on, if
    /// they are of a size to be kept.
    pub(crate) fn take_over(&mut self, bundles: Vec<Bundle>, reply: ReplyId) {
        let mut answers = Vec::new();
        let mut released = Vec::new();
        for bundle in bundles {
            let taken = match bundle.cargo {
                Cargo::Receipt(receipt) => self.takable(&receipt).map(|()| receipt),
                Cargo::Result(_) => Err("a volunteer carries nothing for others"),
            };
            answers.push(match taken {
                Ok(receipt) => {
                    released.extend(self.settle(receipt));
                    HandoverAnswer::Taken
                }
                Err(why) => HandoverAnswer::Refused(why.to_owned()),
            });
        }
        self.tell_of_receipts(Action::ReplyHandover { reply, answers }, released);
    }

    /// The same of receipts that somebody has brought as a file.
    pub(crate) fn take_receipts(&mut self, receipts: Vec<Verified<Receipt>>, reply: ReplyId) {
        let mut fates = Vec::new();
        let mut released = Vec::new();
        for receipt in receipts {
            let (result, is_known) = (receipt.result, self.ledger.knows(receipt.result));
            fates.push(match self.takable(&receipt) {
                Err(why) => ReceiptFate::Refused(why),
                Ok(()) if is_known => ReceiptFate::Known,
                Ok(()) if self.result(result).is_none() => ReceiptFate::NotAwaited,
                Ok(()) => match self.settle(receipt) {
                    settled if settled.is_empty() => ReceiptFate::Refused(DOES_NOT_HOLD),
                    settled => {
                        released.extend(settled);
                        ReceiptFate::Taken
                    }
                },
            });
        }
        self.tell_of_receipts(Action::ReceiptsTaken { reply, fates }, released);
    }

    /// Says `told`, and does what follows, once what was entered is durable.
    fn tell_of_receipts(&mut self, told: Action, released: Vec<Action>) {
        if released.is_empty() && self.outbox.uncommitted() == 0 {
            return self.outbox.push(told);
        }
        // What a receipt repeats may not be durable yet.
        let writes = self.ledger.writes();
        self.commit(writes, [told].into_iter().chain(released).collect());
    }

    fn takable(&self, receipt: &Verified<Receipt>) -> Result<(), &'static str> {
        if receipt.volunteer != self.me {
            Err("that receipt is for another volunteer")
        } else if receipt.envelope().as_bytes().len() > MAX_RECEIPT_BYTES {
            Err("that receipt is larger than receipts are")
        } else {
            Ok(())
        }
    }

    /// The blobs that `receipt` sets free, if it is the answer to a result in custody.
    fn settles(&self, receipt: &Verified<Receipt>) -> Option<Vec<BlobHash>> {
        let result = self.result(receipt.result)?;
        let sound = receipt.project == result.project
            && receipt.task == result.task
            && receipt.current(self.now.wall).is_ok()
            && !self.keys.book().is_void_for(receipt.signer(), receipt.project)
            && !self.ledger.knows(receipt.result);
        sound.then(|| result.blobs().map(|(hash, _)| hash).collect())
    }

    /// Enters `receipt`, if it is the answer to a result in custody; gives what follows once that is
    /// durable.
    fn settle(&mut self, receipt: Verified<Receipt>) -> Vec<Action> {
        // Else it is known, or about nothing that is here.
        let Some(blobs) = self.settles(&receipt) else { return Vec::new() };
        let (result, task, verdict) = (receipt.result, receipt.task, receipt.verdict.clone());
        if let Some(lease) = self.result(result).map(|it| it.lease.id()) {
            self.leases.forget(lease);
        }
        self.ledger.enter(receipt);
        self.custody.discharge(result);
        self.takers.remove(&result);
        let news = Action::News(News::Receipt { result, task, verdict });
        vec![Action::DropBlobs(blobs), news]
    }

    /// Results whose receipts a former process had made durable need not be sent again.
    pub(crate) fn forget_what_was_judged(&mut self) {
        let judged = self.custody.bundles().map(Bundle::id).filter(|id| self.ledger.knows(*id));
        for result in judged.collect::<Vec<_>>() {
            self.custody.discharge(result);
        }
        if self.custody.has_writes() {
            self.commit(Vec::new(), Vec::new());
        }
    }

    /// Results that nobody waits for any more are let go.
    pub(crate) fn expire_results(&mut self) {
        for result in self.custody.expired(self.now) {
            let blobs = self.custody.get(result).map(Bundle::blobs).unwrap_or_default();
            self.custody.discharge(result);
            self.takers.remove(&result);
            let blobs = blobs.into_iter().map(|(hash, _)| hash).collect();
            let news = Action::News(News::Expired { result });
            self.commit(Vec::new(), vec![Action::DropBlobs(blobs), news]);
        }
    }

    pub(crate) fn drop_blobs(&mut self, blobs: Vec<BlobHash>) {
        if !blobs.is_empty() {
            self.outbox.push(Action::DropBlobs(blobs));
        }
    }

    /// Whether a result in custody or a task needs the blob.
    pub fn needs_blob(&self, hash: &BlobHash) -> bool {
        let mut in_custody = self.custody.bundles().flat_map(Bundle::blobs);
        let in_hand = self.work.needs_package(hash)
            || self.queue.needs_package(hash)
            || self.resuming.needs_package(hash);
        in_hand || in_custody.any(|(blob, _)| blob == *hash)
    }

    /// How many results wait for their receipts.
    pub fn undelivered(&self) -> usize {
        self.custody.len()
    }

    /// The results that wait for their receipts and are durable, in the order of their ids, those after
    /// `last`: what anybody can carry to their masters.
    pub fn results(&self, last: Option<StatementId>) -> impl Iterator<Item = &Verified<JobResult>> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let bundles = self.custody.bundles_from(from);
        let durable = bundles.filter(|bundle| self.custody.is_durable(bundle.id()));
        durable.filter_map(|bundle| self.result(bundle.id()))
    }

    fn result(&self, id: StatementId) -> Option<&Verified<JobResult>> {
        match &self.custody.get(id)?.cargo {
            Cargo::Result(result) => Some(result),
            Cargo::Receipt(_) => None,
        }
    }
}

fn hashes(blobs: &[Blob]) -> Vec<BlobHash> {
    blobs.iter().map(|blob| blob.hash).collect()
}

/// Takes steps and artifacts out of `report`, and with them all blobs.
fn clear(report: &mut Report) {
    report.steps.clear();
    report.artifacts.clear();
}

/// Stands for all steps of a job whose result would be larger than a statement may be.
fn too_large() -> StepReport {
    StepReport {
        name: "report".to_owned(),
        exit: None,
        ending: "the report is too large".to_owned(),
        wall_ms: 0,
        cpu_ms: 0,
        memory: 0,
        fuel: None,
        log: Log::Inline(Vec::new()),
    }
}

/// `text` as a reason: one line, cut to length.
fn short(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).collect();
    short.truncate(short.floor_char_boundary(MAX_REASON));
    short
}
