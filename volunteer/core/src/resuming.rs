//! Jobs that go on from a checkpoint in the next process.
//!
//! Once the shell has taken a checkpoint out of a job's work directory, durably, what it takes to go on with the job is
//! made durable too: the lease and the offer. The next process takes up those of which the shell still has a checkpoint
//! and a package. A lease that has a deadline holds by itself; one without may have lapsed meanwhile, and its job
//! waits until its home has renewed it. All others are given back, as any lease whose work is lost.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use capability::statements::{Ended, Lease, Offer};
use capability::{
    BlobHash, Envelope, PublicKey, StatementId, Verified, Verifier, compare, decode_cbor,
    encode_cbor,
};
use mesh_core::{Cargo, Write};
use serde::{Deserialize, Serialize};

use crate::action::{Action, News};
use crate::grounds::Grounds;
use crate::leases::{GroupKey, Leaving};
use crate::shares::End;
use crate::volunteer::{RestoreError, Volunteer};
use crate::work::{Job, Stage};
use crate::working::MAX_RECORD;

/// First byte of the keys of jobs that can be gone on with.
pub(crate) const RESUMING_PREFIX: u8 = b'g';

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Resuming {
    /// Of a former process, until the shell has said what it has kept.
    former: BTreeMap<StatementId, Former>,
    /// Those whose records are durable, or soon.
    recorded: BTreeSet<StatementId>,
    /// Taken up; the home is still to say whether their leases hold.
    unconfirmed: BTreeSet<StatementId>,
    /// Taken up before it was known what the machine donates.
    uncharged: BTreeSet<StatementId>,
    /// Told to stop with this process, to be gone on with in the next.
    put_by: BTreeSet<StatementId>,
}

#[derive(Debug)]
struct Former {
    lease: Verified<Lease>,
    offer: Arc<Verified<Offer>>,
    home: PublicKey,
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    lease: Envelope,
    offer: Envelope,
    home: PublicKey,
}

impl Resuming {
    /// Takes up what a former process had made durable.
    pub fn restore(&mut self, value: &[u8], verifier: &dyn Verifier) -> Result<(), RestoreError> {
        let Record { lease, offer, home } = decode_cbor(value, 2 * MAX_RECORD)?;
        let lease: Verified<Lease> = Verified::check(&lease, verifier)?;
        let offer: Verified<Offer> = Verified::check(&offer, verifier)?;
        let offer = Arc::new(offer);
        self.recorded.insert(lease.id());
        self.former.insert(lease.id(), Former { lease, offer, home });
        Ok(())
    }

    /// Whether `lease` was held by a former process and may be held again.
    pub fn is_former(&self, lease: StatementId) -> bool {
        self.former.contains_key(&lease)
    }

    /// Whether there is a checkpoint of it.
    pub fn has(&self, lease: StatementId) -> bool {
        self.recorded.contains(&lease)
    }

    /// Whether there is no checkpoint of anything.
    pub fn is_empty(&self) -> bool {
        self.recorded.is_empty()
    }

    /// Whether a job of a former process needs the blob.
    pub fn needs_package(&self, hash: &BlobHash) -> bool {
        self.former.values().any(|it| it.offer.package.hash == *hash)
    }

    /// Whether the home is still to say that `lease` holds.
    fn awaits(&self, lease: StatementId) -> bool {
        self.unconfirmed.contains(&lease)
    }
}

impl Volunteer {
    /// The leases of a former process whose jobs can go on if their checkpoints are still there, and their
    /// packages.
    pub fn resumable(&self) -> impl Iterator<Item = (StatementId, BlobHash)> {
        self.resuming.former.iter().map(|(lease, it)| (*lease, it.offer.package.hash))
    }

    /// Whether the job under `lease` would go on from a checkpoint if the process ended now.
    pub fn would_go_on(&self, lease: StatementId) -> bool {
        self.is_recorded(lease) && self.outbox.uncommitted() == 0
    }

    /// The checkpoint of a job that runs is durable.
    pub(crate) fn checkpointed(&mut self, lease: StatementId) {
        let Some(job) = self.work.job(lease) else { return };
        if self.resuming.recorded.contains(&lease) || job.lapsed {
            return;
        }
        let home = job.lease.signer();
        let (lease_envelope, offer) = (job.lease.envelope().clone(), job.offer.envelope().clone());
        let record = encode_cbor(&Record { lease: lease_envelope, offer, home });
        self.resuming.recorded.insert(lease);
        self.commit(vec![Write::put(key(lease), record)], Vec::new());
    }

    /// Goes on with the jobs under those `leases` of a former process, and gives the others back.
    pub(crate) fn take_up(&mut self, leases: &[StatementId]) {
        let done = self.leases_with_results();
        let mut writes = self.end_queued_with_results(&done);
        for (id, former) in std::mem::take(&mut self.resuming.former) {
            let Former { lease, offer, home } = former;
            let holds = lease.deadline.is_none_or(|until| until > self.now.wall)
                && lease.current(self.now.wall).is_ok();
            let group = GroupKey::of(&lease, home);
            let welcome = self.may_work_on(&offer, &lease.runtime);
            if done.contains(&id) || (holds && welcome && self.waits_anyway(id, leases)) {
                writes.extend(self.end_resuming(id));
                continue;
            }
            if !holds || !welcome || !leases.contains(&id) {
                self.leases.release_of(id, group, Leaving::Lost);
                writes.extend(self.end_resuming(id));
                continue;
            }
            if lease.deadline.is_none() {
                self.leases.hold(id, group, self.now.mono);
                self.resuming.unconfirmed.insert(id);
            }
            let task = lease.task;
            let (package, grounds) = (offer.package.hash, Arc::new(Grounds::default()));
            self.resuming.uncharged.insert(id);
            self.queue.begins(id);
            self.work.take(lease, offer, grounds, self.now);
            self.work.is_here(package, self.now.mono);
            if !self.resuming.awaits(id) {
                self.work.made_durable(id);
            }
            self.news(News::TakenUp { lease: id, task });
        }
        self.leases.hurry(self.now.mono);
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
        }
        self.charge_resumed();
    }

    /// Whether the task is one of the queue, and begins anew where it cannot go on.
    fn waits_anyway(&self, lease: StatementId, go_on: &[StatementId]) -> bool {
        self.queue.holds(lease) && !go_on.contains(&lease)
    }

    /// The leases of which there are results already.
    fn leases_with_results(&self) -> BTreeSet<StatementId> {
        let results = self.custody.bundles().filter_map(|bundle| match &bundle.cargo {
            Cargo::Result(result) => Some(result.lease.id()),
            Cargo::Receipt(_) => None,
        });
        results.collect()
    }

    /// Enters the jobs that were taken up on the accounts of their projects, once the machine is known.
    pub(crate) fn charge_resumed(&mut self) {
        let Some(machine) = &self.machine else { return };
        for lease in std::mem::take(&mut self.resuming.uncharged) {
            let Some(job) = self.work.job_mut(lease) else { continue };
            self.shares.take(lease, &job.offer, machine.resources);
            let compared = compare(machine, &job.offer.requirements).runtimes;
            job.set_grounds(Grounds {
                permitted: self
                    .trust
                    .pin(&job.lease.project)
                    .map(|it| it.runtimes.clone())
                    .unwrap_or_default(),
                requirements: compared.into_iter().find(|it| it.runtime == job.lease.runtime),
                ..Grounds::default()
            });
        }
    }

    /// The home has renewed `leases` but for those that have `lapsed`: of these somebody else may have the tasks,
    /// and what was taken up of them need not go on.
    pub(crate) fn confirm_resumed(&mut self, leases: &[StatementId], lapsed: &[StatementId]) {
        let mut over = Vec::new();
        for lease in leases.iter().filter(|lease| self.resuming.unconfirmed.remove(lease)) {
            if lapsed.contains(lease) {
                over.push(*lease);
            } else {
                self.work.made_durable(*lease);
            }
        }
        if !over.is_empty() {
            self.give_up(&over, "its lease has lapsed while the volunteer was away");
        }
    }

    /// Whether the job under `lease` may go on in the next process.
    pub(crate) fn can_be_put_by(&self, lease: StatementId) -> bool {
        self.work.job(lease).is_some_and(|job| match job.stage {
            Stage::Waiting => self.is_recorded(lease),
            Stage::Running => !job.lapsed && job.offer.job.checkpoint.is_some(),
            Stage::Stopping => false,
        })
    }

    /// Whether it has begun in a former process, or there is a checkpoint of it.
    pub(crate) fn is_recorded(&self, lease: StatementId) -> bool {
        self.resuming.recorded.contains(&lease)
    }

    /// Stops the jobs under `leases`, which are kept, once they have had a moment for a checkpoint.
    pub(crate) fn put_by(&mut self, leases: &[StatementId]) {
        for lease in leases {
            let Some(job) = self.work.job_mut(*lease) else { continue };
            if job.stage == Stage::Waiting {
                self.leases.forget(*lease);
                self.shares.end(*lease, End::Stopped);
                drop(self.work.remove(*lease, self.now.mono));
                continue;
            }
            job.enter(Stage::Stopping, self.now.wall);
            job.still = false;
            self.resuming.put_by.insert(*lease);
            self.outbox.push(Action::PutBy { lease: *lease });
        }
    }

    /// Whether a job that was put by has come to its end all the same.
    pub(crate) fn ended_in_time(&self, lease: StatementId, ended: &Ended) -> bool {
        self.resuming.put_by.contains(&lease) && !matches!(ended, Ended::Machine(_))
    }

    /// `job` was stopped. If it was put by, its lease is kept for the next process, or given back if there is
    /// no checkpoint to go on from.
    pub(crate) fn end_stopped(&mut self, job: &Job) {
        let lease = job.lease.id();
        if !self.resuming.put_by.remove(&lease) {
            return;
        }
        if self.is_recorded(lease) {
            return self.leases.forget(lease);
        }
        if self.queue.holds(lease) {
            // The next process begins it anew.
            self.leases.forget(lease);
            return self.queue.put_back(job.lease.clone());
        }
        match job.offline_group() {
            Some(group) => self.leases.release_of(lease, group, Leaving::GivenUp),
            None => self.leases.release(lease),
        }
        let writes = self.held.end(lease);
        self.commit(writes, Vec::new());
    }

    /// `lease` has ended, and what was kept for it is of no use.
    pub(crate) fn end_resuming(&mut self, lease: StatementId) -> Option<Write> {
        self.resuming.unconfirmed.remove(&lease);
        self.resuming.uncharged.remove(&lease);
        self.resuming.put_by.remove(&lease);
        self.resuming.recorded.remove(&lease).then(|| {
            self.outbox.push(Action::DropCheckpoint { lease });
            Write::delete(key(lease))
        })
    }
}

fn key(lease: StatementId) -> Vec<u8> {
    [&[RESUMING_PREFIX], lease.as_bytes().as_slice()].concat()
}
