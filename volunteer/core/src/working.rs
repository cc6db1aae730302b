//! From the lease to the run: renewals, packages, starts, and giving up.

use std::collections::{BTreeMap, BTreeSet};

use capability::statements::Renewal;
use capability::{BlobHash, MAX_STATEMENT_BYTES, StatementId, Timestamp, Verified};
use mesh_core::{Answer, Ask, CallFailed, Cargo, MAX_HOPS, Refusal};

use crate::action::{Action, News, Order};
use crate::leases::{Due, GroupKey, Leaving, Purpose};
use crate::shares::End;
use crate::volunteer::{Call, DISK_RESERVE, REQUEST_LIFETIME, Volunteer};
use crate::work::{Job, Stage};

/// Bytes of a record at most: the largest statement, and what stands around it.
pub(crate) const MAX_RECORD: usize = MAX_STATEMENT_BYTES + 4096;

impl Volunteer {
    pub(crate) fn renew(&mut self) {
        if self.primary().is_none() {
            return;
        }
        for due in self.leases.due(self.now.mono) {
            let GroupKey { offer, epoch, home } = due.group;
            let renewal = Renewal {
                leases: due.leases.clone(),
                offer,
                epoch,
                intent: due.purpose.intent(),
                lost: due.purpose == Purpose::Release(Leaving::Lost),
                // The home ignores one that is not newer, so a clock set back must not show here.
                issued: Timestamp(self.number()),
                expires: self.now.wall + REQUEST_LIFETIME,
            };
            let renewal = Verified::sign(renewal, &*self.signer);
            self.ask(Call::Renew(due), Ask::Renew { renewal, home, hops: MAX_HOPS });
        }
    }

    pub(crate) fn renewed(&mut self, due: &Due, answer: Result<Answer, CallFailed>) {
        let lapsed = match answer {
            Ok(Answer::Renewed { lapsed }) => lapsed,
            Ok(Answer::Withdrawn(withdrawal)) => {
                if self.withdrawn(due, &withdrawal) {
                    return;
                }
                due.leases.clone()
            }
            // The home that granted them grants no more.
            Ok(Answer::Refused(Refusal::NotHome | Refusal::UnknownOffer | Refusal::Forgotten)) => {
                self.suspect(due);
                due.leases.clone()
            }
            _ => return self.leases.unanswered(due, self.now.mono),
        };
        let lapsed = self.leases.answered(due, &lapsed);
        self.forget_queued(&lapsed);
        for lease in lapsed.iter().copied() {
            let Some(job) = self.work.job_mut(lease) else { continue };
            job.lapsed = true;
            let task = job.lease.task;
            self.news(News::Lapsed { lease, task });
        }
        self.confirm_resumed(&due.leases, &lapsed);
    }

    /// Gives the leases up. Those that run are stopped, and their outcome will not matter. Work of the queue
    /// waits again, if it may run here another time.
    pub(crate) fn give_up(&mut self, leases: &[StatementId], reason: &'static str) {
        let mut by_offer: BTreeMap<StatementId, usize> = BTreeMap::new();
        let mut writes = Vec::new();
        for lease in leases {
            let is_kept = self.keeps_queued(*lease);
            let Some(job) = self.work.job_mut(*lease) else { continue };
            let offer = job.lease.task.offer;
            let offline_group = job.offline_group();
            match job.stage {
                Stage::Waiting => {
                    self.shares.end(*lease, End::Stopped);
                    self.unfollow(*lease);
                    drop(self.work.remove(*lease, self.now.mono));
                }
                Stage::Running => {
                    job.enter(Stage::Stopping, self.now.wall);
                    job.still = false;
                    self.outbox.push(Action::Stop { lease: *lease });
                }
                Stage::Stopping => continue,
            }
            if is_kept {
                continue;
            }
            *by_offer.entry(offer).or_default() += 1;
            match offline_group {
                Some(group) => self.leases.release_of(*lease, group, Leaving::GivenUp),
                None => self.leases.release(*lease),
            }
            writes.extend(self.held.end(*lease));
            writes.extend(self.queue.end(*lease));
            writes.extend(self.end_resuming(*lease));
        }
        writes.extend(self.rhythm.writes());
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
        }
        for (offer, leases) in by_offer {
            self.news(News::Released { offer, leases, reason });
        }
        self.resources_freed();
    }

    pub(crate) fn expire(&mut self) {
        let wall = self.now.wall;
        let over = self.work.jobs().filter(|(_, job)| job.lease.expires <= wall);
        let over: Vec<_> = over.map(|(lease, _)| *lease).collect();
        if !over.is_empty() {
            self.give_up(&over, "the offer has expired");
        }
        self.lapse_offline();
        let forgotten = self.keys.expire(wall);
        if !forgotten.is_empty() {
            self.commit(forgotten, Vec::new());
        }
        self.expire_results();
        self.expire_registrations();
        self.offers.expire(self.now);
        let packages = self.work.forget_packages(self.now.mono);
        self.drop_blobs(packages);
    }

    /// Offline leases end at their deadlines; their jobs go on, as those of any lease.
    fn lapse_offline(&mut self) {
        let wall = self.now.wall;
        let over = |job: &Job| !job.lapsed && job.lease.deadline.is_some_and(|at| at <= wall);
        let over = self.work.jobs().filter(|(_, job)| over(job)).map(|(lease, _)| *lease);
        for lease in over.collect::<Vec<_>>() {
            let Some(job) = self.work.job_mut(lease) else { continue };
            job.lapsed = true;
            let task = job.lease.task;
            self.news(News::Lapsed { lease, task });
        }
    }

    /// Whether no package may be on its way just now: no job may move, or the network is left alone. What is being
    /// fetched stands still then, or is cut and fetched anew if that lasts.
    pub fn lets_no_package_come(&self) -> bool {
        self.stands_still() || self.quiet.is_some()
    }

    pub(crate) fn fetch_packages(&mut self) {
        let Some(from) = self.primary() else { return };
        if self.disk_free < DISK_RESERVE || self.lets_no_package_come() {
            return;
        }
        for (hash, size) in self.work.begin_fetches(self.now.mono) {
            self.outbox.push(Action::Fetch { from, hash, size });
        }
    }

    pub(crate) fn package_fetched(&mut self, hash: BlobHash, is_here: bool) {
        if is_here {
            let size = self.work.fetched(hash, self.now.mono);
            return self.passed(size, 0);
        }
        let hopeless = self.work.not_fetched(hash, self.now.mono);
        if self.work.needs_package(&hash) {
            // It is tried again.
            return;
        }
        let reason = "its package could not be fetched";
        self.drop_ahead_of(&hash, reason);
        let job = hopeless.first().and_then(|lease| self.work.job(*lease));
        if let Some(job) = job {
            self.offers.leave_alone(&job.offer, reason, self.now.mono);
            self.give_up(&hopeless, reason);
        }
    }

    pub(crate) fn disk_measured(&mut self, free: u64) {
        self.disk_free = free;
        self.custody.tidy();
        if self.custody.has_writes() {
            self.commit(Vec::new(), Vec::new());
        }
        if free < DISK_RESERVE {
            self.give_up(&self.waiting(), "the disk is full");
        }
    }

    /// The work of a former process has died with it. Its leases are given back, but those whose
    /// results it had made durable: their tasks are not to be done again.
    pub(crate) fn give_back_what_was_held(&mut self) {
        let (leases, mut writes) = self.held.orphans();
        let results = self.custody.bundles().filter_map(|bundle| match &bundle.cargo {
            Cargo::Result(result) => Some(result.lease.id()),
            Cargo::Receipt(_) => None,
        });
        let done: BTreeSet<_> = results.collect();
        let gone = |lease| !done.contains(&lease) && !self.resuming.is_former(lease);
        let gone: Vec<_> = leases.into_iter().filter(|(lease, _)| gone(*lease)).collect();
        for (lease, group) in gone {
            self.leases.release_of(lease, group, Leaving::Lost);
        }
        // Should the release get lost now, the leases lapse by themselves.
        writes.extend(self.ledger.writes());
        if !writes.is_empty() {
            self.commit(writes, Vec::new());
        }
    }

    /// What runs for long is on the accounts of its projects before it ends.
    pub(crate) fn record_shares(&mut self) {
        if self.shares.checkpoint() {
            self.commit_accounts();
        }
    }

    /// Makes durable what projects had and what ran, as far as that is new.
    pub(crate) fn commit_accounts(&mut self) {
        let writes = self.shares.writes();
        if !writes.is_empty() || self.history.has_writes() {
            self.commit(writes, Vec::new());
        }
    }

    pub(crate) fn start_jobs(&mut self) {
        // What was taken up waits until it is known what runs here.
        let Some(machine) = self.machine.as_ref().filter(|_| !self.stands_still()) else { return };
        let network_bytes = self.quota_left().unwrap_or(u64::MAX);
        // What can go on is not spent on a runtime that is missing this time.
        let resuming = &self.resuming;
        let may =
            |lease, runtime: &_| machine.runtimes.get(runtime).is_some() || !resuming.has(lease);
        for order in self.work.start_ready(self.now.wall, may) {
            let order = Order { network_bytes, ..order };
            let (lease, task, runtime) = (order.lease, order.task, order.runtime.clone());
            self.shares.moves(lease);
            self.rhythm.begins(lease, self.now.wall);
            self.news(News::Started { lease, task, runtime });
            self.outbox.push(Action::Run(order));
        }
        self.commit_rhythm();
    }
}
