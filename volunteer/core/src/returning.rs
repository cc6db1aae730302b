//! Results on their way home, and their receipts on the way back.

use std::collections::VecDeque;

use capability::statements::{Blob, Ended, JobResult, Log, Receipt, Report, StepReport};
use capability::{BlobHash, MAX_STATEMENT_BYTES, Platform, PublicKey, StatementId, Verified};
use mesh_core::{Bundle, Cargo, CommitId, Duty, HandoverAnswer, ReplyId, Write};

use crate::action::{Action, News, Outcome};
use crate::volunteer::Volunteer;
use crate::work::{Job, Stage};
use crate::working::lease_key;

/// Length of a reason in bytes, as [`Report`] allows it.
const MAX_REASON: usize = 256;

/// Bytes of a receipt at most: ids, a reason and a delegation, with room for what later versions
/// may add. Thousands of them are kept.
const MAX_RECEIPT_BYTES: usize = 8 << 10;

/// Statements that are not acted upon before their commit is durable: results, and leases.
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
    /// A run has ended: its result goes into custody, durably, before anybody hears of it.
    pub(crate) fn ran(&mut self, lease: StatementId, mut outcome: Outcome) {
        self.drop_blobs(std::mem::take(&mut outcome.leftover));
        let Some(job) = self.work.remove(lease, self.now.mono) else { return };
        self.offers.resources_freed();
        if job.stage == Stage::Stopping {
            // Its lease was released when it was told to stop.
            return self.drop_blobs(hashes(&outcome.blobs));
        }
        if let Ended::Machine(reason) = &outcome.ended {
            // What failed here may fail again at once; others should have a chance.
            self.offers.leave_alone(job.offer.id(), self.now.mono);
            if let Some(rest) = self.faults.failed(reason, self.now.mono) {
                let (in_a_row, reason) = (self.faults.in_a_row(), reason.clone());
                self.news(News::BacksOff { in_a_row, rest, reason });
            }
        } else {
            self.faults.worked();
        }
        self.leases.ended(lease);
        let (task, ended) = (job.lease.task, outcome.ended.clone());
        let (result, unsaid) = self.sign_result(&job, outcome);
        let id = result.id();
        let via = self.known_primary.unwrap_or_else(|| job.lease.signer());
        let bundle = Bundle { cargo: Cargo::Result(result), via };
        let taken = self.custody.take(bundle, Duty::Originator);
        let mut writes = taken.expect("an originator's own bundles are not bounded by custody");
        writes.push(Write::delete(lease_key(lease)));
        let finished = Action::News(News::Finished { task, result: id, ended });
        let commit = self.commit(writes, vec![finished]);
        self.unconfirmed.add(commit, id);
        self.drop_blobs(unsaid);
    }

    /// The result of `job`, and the blobs of `outcome` that do not go with it.
    fn sign_result(&self, job: &Job, outcome: Outcome) -> (Verified<JobResult>, Vec<BlobHash>) {
        let Outcome { ended, steps, artifacts, blobs, key, system, started, finished, .. } =
            outcome;
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
        };
        if let Err(invalid) = report.validate(&blobs) {
            // A runtime reports what cannot be said: that is this machine's fault.
            clear(&mut report);
            report.system.clear();
            report.ended = Ended::Machine(short(&invalid.to_string()));
            return (self.seal(job, &report, Vec::new()), hashes(&blobs));
        }
        let signed = self.seal(job, &report, blobs.clone());
        if signed.envelope().as_bytes().len() <= MAX_STATEMENT_BYTES {
            return (signed, Vec::new());
        }
        // Each part is within its bounds, and together they are too much: that is the job's doing.
        clear(&mut report);
        report.steps.push(too_large());
        report.ended = Ended::Failed;
        (self.seal(job, &report, Vec::new()), hashes(&blobs))
    }

    fn seal(&self, job: &Job, report: &Report, blobs: Vec<Blob>) -> Verified<JobResult> {
        let to = job.offer.recipient();
        let result = JobResult::new(&job.lease, blobs, report, to, &*self.sealer);
        Verified::sign(result, &*self.signer)
    }

    /// Hands over what is due to the primary; what is due again because no receipt has come, to
    /// another broker than took it last, if there is one. A broker that takes and drops is not found
    /// out otherwise.
    pub(crate) fn hand_over(&mut self) {
        let Self { custody, brokers, takers, .. } = self;
        let next = |bundle: &Bundle| {
            let last = takers.get(&bundle.id());
            let other = brokers.iter().find(|broker| Some(*broker) != last);
            other.or(brokers.first()).copied()
        };
        for (to, mut bundle) in custody.due(self.now, next) {
            // The receipt is to come the way that the result has gone.
            bundle.via = to;
            self.outbox.push(Action::HandOver { to, bundle });
        }
    }

    pub(crate) fn handed_over(&mut self, id: StatementId, to: PublicKey, taken: bool) {
        if !taken {
            return self.custody.not_handed_over(id, self.now);
        }
        if let Some(result) = self.result(id) {
            // Its home will hear of it now, or at the latest when it is sent again.
            let (lease, task) = (result.lease.id(), result.task);
            self.takers.insert(id, to);
            self.leases.forget(lease);
            self.news(News::Delivered { result: id, task, to });
        }
        let writes = self.custody.handed_over(id, self.now);
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
        }
    }

    /// A receipt comes back. It is taken whatever it says, so that no broker carries it on, if it
    /// is of a size to be kept.
    pub(crate) fn take_over(&mut self, bundle: &Bundle, reply: ReplyId) {
        let refused = |why: &str| HandoverAnswer::Refused(why.to_owned());
        let Cargo::Receipt(receipt) = &bundle.cargo else {
            let answer = refused("a volunteer carries nothing for others");
            return self.outbox.push(Action::ReplyHandover { reply, answer });
        };
        if receipt.volunteer != self.me {
            let answer = refused("that receipt is for another volunteer");
            return self.outbox.push(Action::ReplyHandover { reply, answer });
        }
        if receipt.envelope().as_bytes().len() > MAX_RECEIPT_BYTES {
            let answer = refused("that receipt is larger than receipts are");
            return self.outbox.push(Action::ReplyHandover { reply, answer });
        }
        let taken = Action::ReplyHandover { reply, answer: HandoverAnswer::Taken };
        match self.settles(receipt) {
            Some(blobs) => self.settle(receipt, blobs, taken),
            // Known, or about nothing that is here. What it repeats may not be durable yet.
            None if self.outbox.uncommitted() > 0 => drop(self.commit(Vec::new(), vec![taken])),
            None => self.outbox.push(taken),
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

    fn settle(&mut self, receipt: &Verified<Receipt>, blobs: Vec<BlobHash>, taken: Action) {
        let (result, task, verdict) = (receipt.result, receipt.task, receipt.verdict.clone());
        if let Some(it) = self.result(result) {
            let lease = it.lease.id();
            self.leases.forget(lease);
        }
        let mut writes = self.ledger.enter(receipt.clone());
        writes.extend(self.custody.discharge(result));
        self.takers.remove(&result);
        let news = Action::News(News::Receipt { result, task, verdict });
        self.commit(writes, vec![taken, Action::DropBlobs(blobs), news]);
    }

    /// Results that nobody waits for any more are let go.
    pub(crate) fn expire_results(&mut self) {
        let now = self.now.wall;
        let expired = self.custody.bundles().filter(|bundle| bundle.expires() <= now);
        let expired: Vec<_> = expired.map(|bundle| (bundle.id(), bundle.blobs())).collect();
        for (result, blobs) in expired {
            let writes = self.custody.discharge(result);
            self.takers.remove(&result);
            let blobs = blobs.into_iter().map(|(hash, _)| hash).collect();
            let news = Action::News(News::Expired { result });
            self.commit(writes, vec![Action::DropBlobs(blobs), news]);
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
        self.work.needs_package(hash) || in_custody.any(|(blob, _)| blob == *hash)
    }

    /// How many results wait for their receipts.
    pub fn undelivered(&self) -> usize {
        self.custody.len()
    }

    fn result(&self, id: StatementId) -> Option<&Verified<JobResult>> {
        let bundle = self.custody.bundles().find(|bundle| bundle.id() == id)?;
        match &bundle.cargo {
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
        log: Log::Inline(Vec::new()),
    }
}

/// `text` as a reason: one line, cut to length.
fn short(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).collect();
    short.truncate(short.floor_char_boundary(MAX_REASON));
    short
}
