//! Work that somebody has brought as a file: taken as lease and package would have come (C15).
//!
//! It waits here, durably, until there is room for it, whether a broker is there or not. A process that
//! is killed or asked to end loses no more than the run: the next one runs the task again, as nobody
//! else has it before its deadline. What ends the wait is a result, the deadline, or the owner.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use capability::statements::{Home, Lease, Offer, Registration, Verdict};
use capability::{
    BlobHash, Capabilities, Envelope, KeyBook, Kind, MAX_CLOCK_SKEW, Payload, PublicKey, Runtime,
    StatementError, StatementId, Timestamp, Verified, Verifier,
};
use mesh_core::{Cargo, CommitId, KeyChange, Offered, ReplyId, Write};
use thiserror::Error;

use crate::action::{Action, News};
use crate::claiming::MAX_LEASE_BYTES;
use crate::keys::ANSWER_HOLDS;
use crate::owner::MAX_UNDELIVERED;
use crate::trust::Decline;
use crate::volunteer::{DISK_RESERVE, RestoreError, Volunteer};

/// First byte of the keys of statements of brought work.
pub(crate) const BROUGHT_PREFIX: u8 = b'i';

/// Leases of brought work that wait or run, at most: what four homes lend.
pub const MAX_BROUGHT: usize = 1024;

/// Work as it is in a file, each statement checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Brought {
    /// Whose it is.
    pub registration: Verified<Registration>,
    /// Who has granted the leases.
    pub home: Verified<Home>,
    /// What is to be run.
    pub offer: Verified<Offer>,
    /// Of the offer's tasks; at least one.
    pub leases: Vec<Verified<Lease>>,
    /// What the master was told of the keys behind it.
    pub key_changes: Vec<KeyChange>,
    /// What if no broker has told within a day whether these keys still hold.
    pub unconfirmed: Unconfirmed,
}

/// What becomes of work behind whose keys nobody has looked for over a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// It is not taken.
    Refuse,
    /// The owner takes it all the same.
    Accept,
}

/// How much of brought work is new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TakenWork {
    /// Tasks that are taken on.
    pub new: usize,
    /// Tasks that were here before, or are done.
    pub known: usize,
}

/// Why brought work is not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NotTaken {
    /// It is for another machine.
    #[error("it is for the machine with the key {0}")]
    ForAnother(PublicKey),
    /// A lease does not belong to the offer and the home that came with it.
    #[error("a lease in it is not sound: {0}")]
    Lease(&'static str),
    /// Its time is over.
    #[error("its tasks were lent until {0}, which is over")]
    Lapsed(Timestamp),
    /// The owner, the machine or the keys are against it, as against an offer that a broker shows.
    #[error("{0}")]
    Declined(Decline),
    /// Nobody has told lately whether its keys hold.
    #[error("it was made over a day ago, and no broker has told since whether its keys still hold")]
    Unconfirmed,
    /// So much waits already.
    #[error("{MAX_BROUGHT} tasks that were brought are waiting already")]
    Full,
    /// It is not known yet what the machine can do.
    #[error("the runtimes of this machine are still being tried")]
    Probing,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    batches: BTreeMap<StatementId, Batch>,
    /// Which offer a lease is of.
    by_lease: BTreeMap<StatementId, StatementId>,
    /// What a former process had made durable, until it is put together.
    restored: Vec<Restored>,
}

/// Work of one offer in one runtime; a lease of another runtime has a place of its own.
#[derive(Debug)]
struct Batch {
    offered: Offered,
    /// Not running, or stopped meanwhile.
    leases: BTreeMap<StatementId, Verified<Lease>>,
    /// With which commit the newest of it is durable, until it is.
    landing: Option<CommitId>,
}

#[derive(Debug)]
enum Restored {
    Registration(Verified<Registration>),
    Home(Verified<Home>),
    Offer(Verified<Offer>),
    Lease(Verified<Lease>),
}

impl Waiting {
    /// Takes up a statement that a former process had made durable.
    pub fn restore(&mut self, value: &[u8], verifier: &dyn Verifier) -> Result<(), RestoreError> {
        let envelope = Envelope::parse(value).map_err(StatementError::from)?;
        self.restored.push(match envelope.kind() {
            Some(Kind::Registration) => {
                Restored::Registration(Verified::check(&envelope, verifier)?)
            }
            Some(Kind::Home) => Restored::Home(Verified::check(&envelope, verifier)?),
            Some(Kind::Offer) => Restored::Offer(Verified::check(&envelope, verifier)?),
            _ => Restored::Lease(Verified::check(&envelope, verifier)?),
        });
        Ok(())
    }

    /// Puts together what was restored. What has lost a part, as no process leaves it, waits for nothing.
    pub fn assemble(&mut self) {
        let restored = std::mem::take(&mut self.restored);
        let registration = |offer: &Verified<Offer>| {
            restored.iter().find_map(|it| match it {
                Restored::Registration(it) if PublicKey::from(offer.project) == it.signer() => {
                    Some(it.clone())
                }
                _ => None,
            })
        };
        let home = |lease: &Verified<Lease>| {
            restored.iter().find_map(|it| match it {
                Restored::Home(it) if it.home == lease.signer() && it.epoch == lease.epoch => {
                    Some(it.clone())
                }
                _ => None,
            })
        };
        for it in &restored {
            let Restored::Offer(offer) = it else { continue };
            let leases = restored.iter().filter_map(|it| match it {
                Restored::Lease(lease) if lease.task.offer == offer.id() => Some(lease.clone()),
                _ => None,
            });
            let leases: Vec<_> = leases.collect();
            let Some(home) = leases.first().and_then(home) else { continue };
            let (offer, registration) = (offer.clone(), registration(offer));
            let offered = Offered { offer, home, registration, others: None, home_unseen: None };
            self.add(offered, leases);
        }
    }

    fn add(&mut self, offered: Offered, leases: Vec<Verified<Lease>>) {
        let offer = offered.offer.id();
        self.by_lease.extend(leases.iter().map(|lease| (lease.id(), offer)));
        let new = || Batch { offered, leases: BTreeMap::new(), landing: None };
        let batch = self.batches.entry(offer).or_insert_with(new);
        batch.leases.extend(leases.into_iter().map(|lease| (lease.id(), lease)));
    }

    /// Whether the lease is of brought work that is not done.
    pub fn holds(&self, lease: StatementId) -> bool {
        self.by_lease.contains_key(&lease)
    }

    /// Whether a package is that of brought work.
    pub fn needs_package(&self, hash: &BlobHash) -> bool {
        self.batches.values().any(|batch| batch.offered.offer.package.hash == *hash)
    }

    /// How many tasks are not done, those that run included.
    pub fn len(&self) -> usize {
        self.by_lease.len()
    }

    /// The lease is done with; gives what need not be durable any more.
    pub fn end(&mut self, lease: StatementId) -> Vec<Write> {
        let Some(offer) = self.by_lease.remove(&lease) else { return Vec::new() };
        let mut writes = vec![forget(lease)];
        let left = self.by_lease.values().any(|of| *of == offer);
        if let Some(batch) = self.batches.get_mut(&offer) {
            batch.leases.remove(&lease);
        }
        if !left && let Some(batch) = self.batches.remove(&offer) {
            let Offered { offer, home, registration, .. } = batch.offered;
            let others = self.batches.values();
            let shared = |id| {
                others.clone().any(|it| {
                    it.offered.home.id() == id
                        || it.offered.registration.as_ref().is_some_and(|it| it.id() == id)
                })
            };
            let of_project = [Some(home.id()), registration.map(|it| it.id())];
            let unshared = of_project.into_iter().flatten().filter(|id| !shared(*id));
            writes.push(forget(offer.id()));
            writes.extend(unshared.map(forget));
        }
        writes
    }

    /// The task begins, or goes on.
    pub fn begins(&mut self, lease: StatementId) {
        let batch = self.by_lease.get(&lease).and_then(|it| self.batches.get_mut(it));
        batch.into_iter().for_each(|batch| drop(batch.leases.remove(&lease)));
    }

    /// The lease was given up for reasons that pass, and waits again.
    pub fn put_back(&mut self, lease: Verified<Lease>) {
        let batch = self.by_lease.get(&lease.id()).and_then(|it| self.batches.get_mut(it));
        batch.into_iter().for_each(|batch| drop(batch.leases.insert(lease.id(), lease.clone())));
    }

    /// The offer is over, as its signer says.
    pub fn end_offer(&mut self, offer: StatementId) -> Vec<Write> {
        let leases = self.by_lease.iter().filter(|(_, of)| **of == offer).map(|(lease, _)| *lease);
        let leases: Vec<_> = leases.collect();
        leases.into_iter().flat_map(|lease| self.end(lease)).collect()
    }

    /// What was written with `commit`, or before it, is durable.
    pub fn made_durable(&mut self, commit: CommitId) {
        for batch in self.batches.values_mut() {
            batch.landing = batch.landing.filter(|landing| *landing > commit);
        }
    }

    /// When, after `now`, the next lease that waits is over.
    pub fn next_end(&self, now: Timestamp) -> Option<Timestamp> {
        let leases = self.batches.values().flat_map(|batch| batch.leases.values());
        leases.map(|lease| over(lease)).filter(|at| *at > now).min()
    }
}

/// When a lease that has not begun is of no use any more.
fn over(lease: &Lease) -> Timestamp {
    lease.deadline.unwrap_or(lease.expires).min(lease.expires)
}

fn put<T: Payload>(statement: &Verified<T>) -> Write {
    Write::put(record_key(statement.id()), statement.envelope().as_bytes())
}

fn forget(statement: StatementId) -> Write {
    Write::delete(record_key(statement))
}

fn record_key(statement: StatementId) -> Vec<u8> {
    [&[BROUGHT_PREFIX], statement.as_bytes().as_slice()].concat()
}

impl Volunteer {
    /// Whether `work` would be taken now; how much of it is new. What it is held against is what a broker's
    /// offer and a home's leases are held against.
    ///
    /// # Errors
    /// The first reason why not.
    pub fn judge_brought(&self, work: &Brought) -> Result<TakenWork, NotTaken> {
        let new = self.new_leases(work)?;
        let taken = TakenWork { new: new.len(), known: work.leases.len() - new.len() };
        let Some(first) = new.first() else { return Ok(taken) };
        if let Some(until) = new.iter().map(|it| over(it)).find(|until| *until <= self.now.wall) {
            return Err(NotTaken::Lapsed(until));
        }
        let machine = self.machine.as_ref().ok_or(NotTaken::Probing)?;
        let runtime = &first.runtime;
        let only = only(machine, runtime);
        self.suits(&work.offered(), &only).map_err(NotTaken::Declined)?;
        self.judge_keys(work)?;
        if self.brought.len() + new.len() > MAX_BROUGHT { Err(NotTaken::Full) } else { Ok(taken) }
    }

    /// Takes work on that somebody has brought, whose package is among the blobs.
    pub(crate) fn take_brought(&mut self, work: Brought, reply: ReplyId) {
        let result = self.judge_brought(&work);
        let (mut writes, mut released) = (Vec::new(), Vec::new());
        let package = work.offer.package.hash;
        let (mut landing, mut told) = (None, Vec::new());
        match &result {
            Ok(taken) if taken.new > 0 => {
                let leases = self.new_leases(&work).unwrap_or_default();
                self.keys.meet(work.offer.signer(), self.now);
                // Whoever carries a file can add to it, and is heard about its own keys alone.
                let own = [PublicKey::from(work.offer.project), work.offer.signer()];
                let changes = work.key_changes.iter().filter(|it| own.contains(&it.signer()));
                let heard = self.keys.brought(changes.cloned().collect(), self.now);
                writes.extend(heard.writes);
                told = heard.news;
                // What came with a batch that is still here is durable, and goes with that.
                if !self.brought.batches.contains_key(&work.offer.id()) {
                    writes.extend([put(&work.registration), put(&work.home), put(&work.offer)]);
                }
                writes.extend(leases.iter().map(put));
                self.learn(work.registration.clone());
                let (offer, count) = (work.offer.id(), leases.len());
                self.brought.add(work.offered(), leases);
                landing = Some(offer);
                released.push(Action::News(News::Brought { offer, leases: count }));
            }
            _ => {}
        }
        released.insert(0, Action::BroughtJudged { reply, result });
        if writes.is_empty() && self.outbox.uncommitted() == 0 {
            released.into_iter().for_each(|action| self.outbox.push(action));
        } else {
            let commit = self.commit(writes, released);
            let batch = landing.and_then(|offer| self.brought.batches.get_mut(&offer));
            batch.into_iter().for_each(|batch| batch.landing = Some(commit));
        }
        self.drop_blobs(vec![package]);
        if !told.is_empty() {
            self.heed_key_changes(told);
        }
    }

    /// The leases of `work` that are neither here nor done, if all are what they should be.
    fn new_leases(&self, work: &Brought) -> Result<Vec<Verified<Lease>>, NotTaken> {
        for lease in &work.leases {
            self.check_brought(lease, work)?;
        }
        let is_new = |lease: &&Verified<Lease>| {
            !self.brought.holds(lease.id()) && !self.has_worked_on(lease)
        };
        Ok(work.leases.iter().filter(is_new).cloned().collect())
    }

    fn check_brought(&self, lease: &Verified<Lease>, work: &Brought) -> Result<(), NotTaken> {
        let Brought { registration, home, offer, leases, .. } = work;
        if lease.volunteer != self.me {
            return Err(NotTaken::ForAnother(lease.volunteer));
        }
        let runtime = leases.first().map(|first| &first.runtime);
        let unfit = if lease.signer() != home.home || lease.epoch != home.epoch {
            "the home that came with it has not granted it, or in another epoch"
        } else if lease.project != offer.project || lease.task.offer != offer.id() {
            "it is of another offer"
        } else if registration.signer() != PublicKey::from(offer.project) {
            "the registration that came with it is another project's"
        } else if lease.task.task >= offer.tasks || lease.task.replica >= offer.replicas {
            "the offer has no such task"
        } else if lease.deadline.is_none() {
            "it holds only while a broker hears of this machine"
        } else if Some(&lease.runtime) != runtime {
            "the tasks are for several runtimes"
        } else if lease.envelope().as_bytes().len() > MAX_LEASE_BYTES {
            "it is larger than leases are"
        } else if lease.granted > self.now.wall + MAX_CLOCK_SKEW {
            "it is of the future; see this machine's clock"
        } else {
            return Ok(());
        };
        Err(NotTaken::Lease(unfit))
    }

    /// Whether a result of the task waits here, was judged, or is being made.
    fn has_worked_on(&self, lease: &Verified<Lease>) -> bool {
        let mut results = self.custody.bundles().filter_map(|bundle| match &bundle.cargo {
            Cargo::Result(result) => Some(result),
            Cargo::Receipt(_) => None,
        });
        self.work.job(lease.id()).is_some()
            || results.any(|result| result.lease.id() == lease.id())
            || self.ledger.receipts().any(|receipt| {
                receipt.task == lease.task && !matches!(receipt.verdict, Verdict::Again(_))
            })
    }

    /// Whether the keys behind `work` hold, as far as is known here or told in the file.
    fn judge_keys(&self, work: &Brought) -> Result<(), NotTaken> {
        let (offer, mut told) = (&work.offer, KeyBook::default());
        for change in &work.key_changes {
            match change {
                KeyChange::Revocation(it) => told.revoke(it),
                KeyChange::Succession(it) => told.pass_on(it),
            };
        }
        if told.is_void_for(offer.signer(), offer.project) {
            return Err(NotTaken::Declined(Decline::Revoked(offer.signer())));
        }
        match self.keys.judge(offer, self.now) {
            Ok(()) => Ok(()),
            Err(Decline::Unconfirmed) if work.unconfirmed == Unconfirmed::Accept => Ok(()),
            Err(Decline::Unconfirmed) => {
                let fresh =
                    |lease: &Verified<Lease>| self.now.wall.since(lease.granted) < ANSWER_HOLDS;
                // Its home has lent something of it within that time.
                if work.leases.iter().any(fresh) { Ok(()) } else { Err(NotTaken::Unconfirmed) }
            }
            Err(reason) => Err(NotTaken::Declined(reason)),
        }
    }

    /// Begins brought work as far as there is room for it.
    pub(crate) fn begin_brought(&mut self) {
        if self.brought.len() == 0 {
            return;
        }
        self.drop_brought_that_is_over();
        if self.may_begin_brought() {
            let offers: Vec<_> = self.brought.batches.keys().copied().collect();
            offers.into_iter().for_each(|offer| self.begin_batch(offer));
        }
    }

    fn may_begin_brought(&self) -> bool {
        let rests = self.faults.is_on_trial() && !self.work.is_empty();
        let waits = self.is_leaving() || self.stands_still() || self.off_duty || rests;
        !waits
            && self.faults.rest(self.now.mono).is_none()
            && self.disk_free >= DISK_RESERVE
            && self.custody.len() < MAX_UNDELIVERED
    }

    fn begin_batch(&mut self, offer: StatementId) {
        loop {
            let Some(machine) = &self.machine else { return };
            let donated = machine.resources;
            let Some(batch) = self.brought.batches.get(&offer) else { return };
            let next = batch.leases.values().find(|it| self.work.job(it.id()).is_none());
            let Some(lease) = next.filter(|_| batch.landing.is_none()).cloned() else { return };
            let offered = batch.offered.clone();
            if machine.runtimes.get(&lease.runtime).is_none()
                || self.may_begin(&offered.offer).is_err()
                || !self.has_room_for(&offered.offer)
            {
                return;
            }
            self.brought.begins(lease.id());
            self.follow(lease.id(), &offered.offer);
            self.commit_rhythm();
            let (id, grounds) = (lease.id(), Arc::new(self.grounds(&offered, &lease.runtime)));
            self.shares.take(id, &offered.offer, donated);
            let package = offered.offer.package.hash;
            self.work.take(lease, Arc::new(offered.offer), grounds, self.now);
            self.work.is_here(package, self.now.mono);
            // It is, together with all that came with it.
            self.work.made_durable(id);
        }
    }

    fn has_room_for(&self, offer: &Verified<Offer>) -> bool {
        let Some(lent) = self.lent() else { return false };
        self.work.room(offer, self.checks.spare(lent)) > 0
            && self.disk_left() >= offer.job.limits.disk.max(1)
    }

    /// What has lapsed before it began, or is not trusted any more, is let go.
    fn drop_brought_that_is_over(&mut self) {
        let mut over_now: BTreeMap<StatementId, (BTreeSet<StatementId>, &'static str)> =
            BTreeMap::new();
        for (offer, batch) in &self.brought.batches {
            for lease in batch.leases.values() {
                let reason = if over(lease) <= self.now.wall {
                    "its tasks were lent until now, and have not begun"
                } else if !self.is_settled_trust() {
                    continue;
                } else if !self.may_work_on(&batch.offered.offer, &lease.runtime) {
                    "the owner does not trust it any more, or its key was revoked"
                } else {
                    continue;
                };
                let (leases, why) = over_now.entry(*offer).or_default();
                leases.insert(lease.id());
                *why = reason;
            }
        }
        for (offer, (leases, reason)) in over_now {
            let writes = leases.iter().flat_map(|lease| self.brought.end(*lease)).collect();
            let news = News::Released { offer, leases: leases.len(), reason };
            self.commit(writes, vec![Action::News(news)]);
        }
    }

    /// When the next brought task may begin whose builder rests until then.
    pub(crate) fn brought_rests_until(&self) -> Option<Timestamp> {
        let offers = self.brought.batches.values().filter(|batch| !batch.leases.is_empty());
        offers.filter_map(|it| self.may_begin(&it.offered.offer).err()?.ends()).min()
    }

    /// Whether the owner's pins are known: a process begins without any.
    fn is_settled_trust(&self) -> bool {
        self.keys.knows_pins()
    }

    /// A lease is given up: of brought work only for good if nobody may run it here any more.
    pub(crate) fn keeps_brought(&mut self, lease: StatementId) -> bool {
        let Some(job) = self.work.job(lease).filter(|_| self.brought.holds(lease)) else {
            return false;
        };
        let (of, offer) = (job.lease.clone(), Arc::clone(&job.offer));
        let keeps = over(&of) > self.now.wall && self.may_work_on(&offer, &of.runtime);
        if keeps {
            self.brought.put_back(of);
        }
        keeps
    }

    /// Brought tasks are done of which there are results: a process may have ended between the two.
    pub(crate) fn end_brought_with_results(&mut self, done: &BTreeSet<StatementId>) -> Vec<Write> {
        done.iter().flat_map(|lease| self.brought.end(*lease)).collect()
    }

    /// Tasks that were brought and have not begun.
    pub fn brought_waiting(&self) -> usize {
        self.brought.batches.values().map(|batch| batch.leases.len()).sum()
    }
}

impl Brought {
    fn offered(&self) -> Offered {
        Offered {
            offer: self.offer.clone(),
            home: self.home.clone(),
            registration: Some(self.registration.clone()),
            others: None,
            home_unseen: None,
        }
    }
}

/// `machine` as if `runtime` were all that it has.
fn only(machine: &Capabilities, runtime: &Runtime) -> Capabilities {
    let mut only = machine.clone();
    only.runtimes.retain(|it, _| it == runtime);
    only
}
