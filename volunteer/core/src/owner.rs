//! The owner's wishes, and what the owner sees.

use std::fmt;
use std::mem::discriminant;
use std::time::Duration;

use capability::statements::Receipt;
use capability::{
    Capabilities, CborError, Policy, ProjectKey, StatementId, Timestamp, Verified, decode_cbor,
    encode_cbor,
};
use mesh_core::{Mono, Write};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::action::{Action, Idle, News};
use crate::ledger::Total;
use crate::offers::Declined;
use crate::trust::{Pin, Trust};
use crate::volunteer::{DISK_RESERVE, Volunteer};
use crate::work::{JobView, Stage, needs};

/// Results without a receipt at which nothing new is taken.
pub(crate) const MAX_UNDELIVERED: usize = 4096;

/// Bytes of a note at most.
pub const MAX_NOTE: usize = 256;

/// The record of a [`Pause`], of which there is one.
pub(crate) const PAUSE_PREFIX: u8 = b'w';

/// The record of a [`Drain`], of which there is one.
pub(crate) const DRAIN_PREFIX: u8 = b'd';

/// Bytes of each record at most.
const MAX_WISH_RECORD: usize = 1024;

/// How long a process that goes on with a drain waits for its first broker, which is to take leases back.
pub(crate) const FIRST_BROKER: Mono = Mono(Duration::from_secs(30));

/// For how long jobs stand still, and why.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it ends by itself. Without it, when the owner says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// The owner's own words, at most [`MAX_NOTE`] bytes.
    #[serde(default)]
    pub note: String,
}

impl fmt::Display for Pause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("paused by the owner")?;
        if let Some(until) = self.until {
            write!(f, " until {until}")?;
        }
        if self.note.is_empty() { Ok(()) } else { write!(f, ": {}", self.note) }
    }
}

/// That the process is to end with its jobs, as it is kept for the next one, should this one end before.
#[derive(Debug, Serialize, Deserialize)]
struct Drain {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

/// Why the network is left alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Quiet {
    /// The owner has named other hours for it.
    #[error("outside of the hours for the network: nothing is fetched, and results wait")]
    Hours,
}

/// What the owner lets the machine do. Who leaves can be paused meanwhile.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) pause: Option<Pause>,
    stay: Stay,
    /// Whether there is a record of a drain.
    drain_kept: bool,
}

/// Whether the process is to end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Stay {
    #[default]
    Staying,
    Draining {
        until: Option<Timestamp>,
    },
    Quitting,
}

impl Wishes {
    /// Whether work is welcome.
    pub(crate) fn are_none(&self) -> bool {
        self.pause.is_none() && self.stay == Stay::Staying
    }

    pub(crate) fn restore_pause(&mut self, value: &[u8]) -> Result<(), CborError> {
        self.pause = Some(decode_cbor(value, MAX_WISH_RECORD)?);
        Ok(())
    }

    /// Goes on with the drain of a former process.
    pub(crate) fn restore_drain(&mut self, value: &[u8]) -> Result<(), CborError> {
        let Drain { until } = decode_cbor(value, MAX_WISH_RECORD)?;
        self.stay = Stay::Draining { until };
        self.drain_kept = true;
        Ok(())
    }

    /// When the pause or the drain ends by itself, whichever is first.
    pub(crate) fn next_end(&self) -> Option<Timestamp> {
        [self.pause_end(), self.drain_end()].into_iter().flatten().min()
    }

    fn pause_end(&self) -> Option<Timestamp> {
        self.pause.as_ref()?.until
    }

    fn drain_end(&self) -> Option<Timestamp> {
        match self.stay {
            Stay::Draining { until } => until,
            Stay::Staying | Stay::Quitting => None,
        }
    }
}

impl Volunteer {
    pub(crate) fn pins_changed(&mut self, pins: Vec<Pin>) {
        self.queue.touch();
        let trust = Trust::new(pins);
        let changed = trust != self.trust;
        self.trust = trust;
        // The first pins may be none, and a former process may have known more projects.
        let projects = self.trust.pins().map(|pin| pin.project.into());
        // Of those too that are not chosen now.
        let vouchers = self.pinned.iter().filter_map(|pin| pin.voucher.as_ref());
        let curators = vouchers.map(|voucher| voucher.curator);
        self.keys.pin(projects.chain(curators), self.now);
        self.forget_strangers();
        let standings = self.trust.pins().map(|pin| (pin.project, pin.standing));
        self.shares.trust(standings);
        self.commit_accounts();
        self.bound_rhythm();
        if !changed {
            return;
        }
        self.reconsider();
        self.checks_changed();
        let unwanted = self
            .work
            .jobs()
            .filter(|(_, job)| !self.trust.permits_offer(&job.offer, &job.lease.runtime));
        let unwanted: Vec<_> = unwanted.map(|(lease, _)| *lease).collect();
        self.give_up(&unwanted, "the owner does not trust the project any more");
    }

    pub(crate) fn machine_changed(&mut self, machine: Capabilities) {
        if self.measured.as_ref() != Some(&machine) {
            self.measured = Some(machine);
            self.checks_changed();
            self.charge_resumed();
            self.queue.touch();
        }
    }

    /// What is under way was welcome when it was taken, and goes on.
    pub(crate) fn policy_changed(&mut self, policy: Policy) {
        if policy != self.policy {
            self.policy = policy;
            self.reconsider();
        }
    }

    /// Every offer is to be judged anew.
    pub(crate) fn reconsider(&mut self) {
        self.queue.touch();
        self.offers.reconsider();
        self.fetching.drop_candidates();
    }

    pub(crate) fn pause(&mut self, pause: Pause) {
        if self.wishes.stay == Stay::Quitting {
            return;
        }
        self.commit(vec![Write::put([PAUSE_PREFIX], encode_cbor(&pause))], Vec::new());
        self.wishes.pause = Some(pause);
    }

    /// Takes back the last wish: of who drains and is paused, the pause.
    pub(crate) fn resume(&mut self) {
        if self.is_paused() {
            self.end_pause();
        } else if self.is_draining() {
            self.wishes.stay = Stay::Staying;
            self.drained = false;
            self.forget_drain();
        }
    }

    /// The newest drain says until when. It outlasts the process.
    pub(crate) fn drain(&mut self, until: Option<Timestamp>) {
        if self.wishes.stay == Stay::Quitting {
            return;
        }
        self.end_pause();
        self.commit(vec![Write::put([DRAIN_PREFIX], encode_cbor(&Drain { until }))], Vec::new());
        self.wishes.drain_kept = true;
        self.wishes.stay = Stay::Draining { until };
        let mut fresh = self.waiting();
        fresh.retain(|lease| !self.is_recorded(*lease));
        let reason = "the owner drains the machine";
        self.give_up(&fresh, reason);
        self.drop_ahead(reason);
    }

    /// The owner has no more use for the process: the next one is wanted for something else than a drain.
    pub(crate) fn stop(&mut self) {
        self.forget_drain();
        self.quit();
    }

    fn forget_drain(&mut self) {
        if std::mem::take(&mut self.wishes.drain_kept) {
            self.commit(vec![Write::delete([DRAIN_PREFIX])], Vec::new());
        }
    }

    pub(crate) fn quit(&mut self) {
        self.wishes.stay = Stay::Quitting;
        self.stop_check();
        let all = self.work.jobs().map(|(lease, _)| *lease);
        let (kept, others): (Vec<_>, Vec<_>) = all.partition(|lease| self.can_be_put_by(*lease));
        self.put_by(&kept);
        self.give_up(&others, "the volunteer leaves");
    }

    /// Ends a pause, or a drain, whose time is over.
    pub(crate) fn expire_wishes(&mut self) {
        let wall = self.now.wall;
        if self.wishes.pause_end().is_some_and(|end| end <= wall) {
            self.end_pause();
        }
        if self.wishes.drain_end().is_some_and(|end| end <= wall) {
            self.news(News::DrainOver);
            self.stop();
        }
    }

    fn end_pause(&mut self) {
        if self.wishes.pause.take().is_some() {
            self.commit(vec![Write::delete([PAUSE_PREFIX])], Vec::new());
        }
    }

    /// Cores that jobs may use just now.
    fn cores_lent(&self) -> u32 {
        if self.is_paused() {
            return 0;
        }
        self.yielding.share().map_or(u32::MAX, |share| share.cores)
    }

    /// Whether no job may move.
    pub(crate) fn stands_still(&self) -> bool {
        self.cores_lent() == 0
    }

    /// Makes jobs stand still that have no cores just now, and lets others go on. Those that move come
    /// first, so that none gives way to another job. A check gives way to any: it is short, and tried again.
    pub(crate) fn hold_jobs(&mut self) {
        let mut cores = self.cores_lent();
        if cores == u32::MAX && !self.work.jobs().any(|(_, job)| job.still) {
            return;
        }
        let mut running = self.running();
        running.sort_by_key(|lease| self.work.job(*lease).is_some_and(|job| job.still));
        for lease in running {
            let Some(job) = self.work.job_mut(lease) else { continue };
            let left = cores.checked_sub(needs(&job.offer).cores);
            let still = left.is_none();
            cores = left.unwrap_or(cores);
            if std::mem::replace(&mut job.still, still) == still {
                continue;
            }
            if still {
                self.shares.stands_still(lease);
                self.outbox.push(Action::Suspend { lease });
            } else {
                self.shares.moves(lease);
                self.outbox.push(Action::Proceed { lease });
            }
        }
        if cores < self.checks.cores() {
            self.stop_check();
        }
    }

    /// Who leaves waits for no job that gives way: nobody can tell when it would go on, and others may do its
    /// task at once. A pause is the owner's own wish, and keeps what there is.
    pub(crate) fn leave_what_stands_still(&mut self) {
        if !self.is_leaving() || self.is_paused() {
            return;
        }
        let is_still = |lease: &StatementId| self.work.job(*lease).is_some_and(|job| job.still);
        let still: Vec<_> = self.running().into_iter().filter(is_still).collect();
        if !still.is_empty() {
            self.give_up(&still, "the owner drains the machine, and it gives way meanwhile");
        }
    }

    /// The leases of jobs that have not begun.
    pub(crate) fn waiting(&self) -> Vec<StatementId> {
        let waiting = self.work.jobs().filter(|(_, job)| job.stage == Stage::Waiting);
        waiting.map(|(lease, _)| *lease).collect()
    }

    pub(crate) fn running(&self) -> Vec<StatementId> {
        let running = self.work.jobs().filter(|(_, job)| job.stage == Stage::Running);
        running.map(|(lease, _)| *lease).collect()
    }

    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.wishes.stay, Stay::Draining { .. })
    }

    pub(crate) fn is_leaving(&self) -> bool {
        self.wishes.stay != Stay::Staying
    }

    /// Whether jobs stand still because the owner says so.
    pub fn is_paused(&self) -> bool {
        self.wishes.pause.is_some()
    }

    /// What keeps the machine from taking more work, if anything does.
    pub fn obstacle(&self) -> Option<Idle> {
        if let Some(pause) = &self.wishes.pause {
            return Some(Idle::Paused(pause.clone()));
        }
        match &self.machine {
            _ if self.is_leaving() => Some(Idle::Draining(self.wishes.drain_end())),
            _ if self.share_holds_jobs() => Some(self.giving_way()),
            _ if self.off_duty => Some(Idle::OffDuty),
            None => Some(Idle::Probing),
            Some(machine) if machine.runtimes.is_empty() => Some(Idle::NoRuntime),
            _ if self.trust.is_empty() => Some(Idle::NoPins),
            _ if self.brokers.is_empty() => Some(Idle::NoBroker),
            _ if self.quiet.is_some() => self.quiet.map(Idle::Quiet),
            _ if self.quota_left() == Some(0) => self.quota.map(Idle::QuotaUsed),
            _ if self.disk_free < DISK_RESERVE => Some(Idle::DiskLow { free: self.disk_free }),
            _ if self.custody.len() >= MAX_UNDELIVERED => {
                Some(Idle::Backlog { results: self.custody.len() })
            }
            _ => {
                let own = self.rest().or_else(|| self.ad.obstacle()).or_else(|| self.room_making());
                own.or_else(|| self.share_is_taken().then(|| self.giving_way()))
            }
        }
    }

    fn room_making(&self) -> Option<Idle> {
        let pin = self.trust.pin(&self.fetching.room_for()?)?;
        Some(Idle::MakesRoom { project: pin.title() })
    }

    fn rest(&self) -> Option<Idle> {
        let left = self.faults.rest(self.now.mono)?;
        let (in_a_row, reason) = (self.faults.in_a_row(), self.faults.reason().to_owned());
        Some(Idle::BacksOff { in_a_row, left, reason })
    }

    /// Bytes of the disk for tasks beside those in hand.
    pub(crate) fn disk_left(&self) -> u64 {
        let taken = DISK_RESERVE.saturating_add(self.work.promised_disk());
        self.disk_free.saturating_sub(taken)
    }

    /// Why no job moves; `None` if one does, or will once its package is here.
    pub fn idle(&self) -> Option<Idle> {
        if self.moves() {
            return None;
        }
        Some(self.obstacle().unwrap_or_else(|| self.nothing_suits()))
    }

    fn nothing_suits(&self) -> Idle {
        let (free, left) = (self.disk_free, self.disk_left());
        if let Some(needed) = self.offers.disk_needed(left) {
            return Idle::DiskShort { free, needed: (free - left).saturating_add(needed) };
        }
        if self.share_is_too_small() {
            return self.giving_way();
        }
        let declined = self.offers.declined().len();
        let waiting = self.offers.waiting(self.now.mono);
        Idle::NothingSuits { declined, waiting }
    }

    /// Offers declined, with the reasons, in the order of their ids.
    pub fn declined(&self) -> impl ExactSizeIterator<Item = &Declined> {
        self.offers.declined()
    }

    /// The leased tasks.
    pub fn jobs(&self) -> impl Iterator<Item = JobView<'_>> {
        self.work.views()
    }

    /// The owner's pins.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The receipts kept, the oldest judgement first.
    pub fn receipts(&self) -> impl DoubleEndedIterator<Item = &Verified<Receipt>> {
        self.ledger.receipts()
    }

    /// What each project has said in all.
    pub fn totals(&self) -> impl Iterator<Item = (&ProjectKey, &Total)> {
        self.ledger.totals()
    }

    pub(crate) fn tell_idle(&mut self) {
        let reason = self.idle();
        // How many offers wait changes every few seconds, and is no news.
        let kind = reason.as_ref().map(discriminant);
        let told = self.idle.as_ref().map(|told| told.as_ref().map(discriminant));
        if told != Some(kind) {
            self.idle = Some(reason.clone());
            self.news(News::Idle { reason });
        }
    }

    /// Whether leases of a former process wait for the first broker of this one.
    pub(crate) fn hopes_for_broker(&self) -> bool {
        matches!(self.wishes.stay, Stay::Draining { .. })
            && self.known_primary.is_none()
            && self.leases.is_releasing()
            && self.now.mono < FIRST_BROKER
    }

    pub(crate) fn tell_drained(&mut self) {
        // Nobody can be told without a broker. Leases that are granted meanwhile are to be released too.
        let told = !self.leases.is_releasing() && !self.fetching.is_claiming();
        let is_alone = self.brokers.is_empty() && !self.hopes_for_broker();
        let done = self.is_leaving() && self.work.is_empty() && (told || is_alone);
        // What a former process has left to go on with is in hand too.
        let done = done && !self.checks.is_running() && self.resumable().next().is_none();
        if done && self.resuming.is_empty() {
            // Nothing is left to drain, and the next process is to work again.
            self.forget_drain();
        }
        if done && !self.drained && self.outbox.uncommitted() == 0 {
            self.drained = true;
            self.news(News::Drained);
        }
    }
}
