//! Work that somebody has brought as a file: taken as lease and package would have come (C15).
//!
//! It waits in the queue ([`Queue`](crate::queue::Queue)) until there is room for it, whether a broker is there or not.

use capability::statements::{Home, Lease, Offer, Registration, Verdict};
use capability::{Capabilities, KeyBook, MAX_CLOCK_SKEW, PublicKey, Runtime, Timestamp, Verified};
use mesh_core::{Cargo, KeyChange, Offered, ReplyId};
use thiserror::Error;

use crate::action::{Action, News};
use crate::claiming::MAX_LEASE_BYTES;
use crate::keys::ANSWER_HOLDS;
use crate::queue::{Origin, over};
use crate::trust::Decline;
use crate::volunteer::Volunteer;

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
        if self.queue.count(Origin::Brought) + new.len() > MAX_BROUGHT {
            Err(NotTaken::Full)
        } else {
            Ok(taken)
        }
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
                self.learn(work.registration.clone());
                let (offer, count) = (work.offer.id(), leases.len());
                writes.extend(self.queue.put(work.offered(), leases, Origin::Brought));
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
            landing.into_iter().for_each(|offer| self.queue.lands(offer, commit));
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
        let is_new =
            |lease: &&Verified<Lease>| !self.queue.holds(lease.id()) && !self.has_worked_on(lease);
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
