//! Results on their way to masters, and receipts on their way back.

use std::collections::BTreeMap;
use std::time::Duration;

use capability::statements::{JobResult, Lease, Receipt, TaskId, Verdict};
use capability::{MAX_CLOCK_SKEW, Payload, PublicKey, StatementError, StatementId, Verified};
use mesh_core::{
    Bundle, Cargo, CustodyFull, Duty, HandoverAnswer, HandoverFailed, Now, Refusal, ReplyId, Routes,
};
use thiserror::Error;

use super::{Broker, CUSTODY_PAUSE, Stay};
use crate::contract::{Action, Direction, News};
use crate::offer_book::OfferBook;

/// A receipt need not wait longer for its volunteer: by then the result has expired, and the
/// volunteer asks no more. The longest that a result lives.
const RECEIPT_WAITS: Duration = JobResult::MAX_LIFETIME;

/// So long it waits for a way to the volunteer's broker: longer than the volunteer does before it sends its result
/// again, which then waits at the other end of the way.
const RECEIPT_WAITS_FOR_A_WAY: Duration = Duration::from_secs(15 * 60);

/// Why a bundle stays with whoever has it.
#[derive(Debug, Error)]
enum NotTaken {
    #[error("it has expired")]
    Expired,
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error("custody refused: a receipt of the future")]
    Future,
    #[error("custody refused: full, the disk")]
    DiskFull,
    #[error(transparent)]
    Full(#[from] CustodyFull),
    // With nowhere to send it, it would only take the room of others.
    #[error("custody refused: no home of that project is known here yet")]
    NoHome,
    #[error("custody refused: the key that signed it was revoked")]
    Revoked,
    #[error("custody refused: {0}")]
    NotAdmitted(Refusal),
    #[error("custody refused: this broker is leaving, hand it to another one")]
    Leaving,
    #[error("custody refused: taken down by the operator: {0}")]
    TakenDown(String),
}

impl Broker {
    /// Each bundle has its answer, and all are given once what was taken is durable.
    pub(super) fn handed(
        &mut self,
        from: PublicKey,
        bundles: Vec<Bundle>,
        reply: ReplyId,
        now: Now,
    ) {
        let answers = bundles.into_iter().map(|bundle| self.answer_to(from, bundle, now));
        let answers = answers.collect();
        self.turn.acknowledgements.push(Action::ReplyHandover { reply, answers });
    }

    fn answer_to(&mut self, from: PublicKey, bundle: Bundle, now: Now) -> HandoverAnswer {
        let taken = self.may_hand_over(from, &bundle).and_then(|()| match bundle.cargo.clone() {
            Cargo::Result(result) => self.take_result(from, bundle, &result, now),
            Cargo::Receipt(receipt) => self.take_receipt(from, bundle, &receipt, now),
        });
        match taken {
            Ok(()) => HandoverAnswer::Taken,
            Err(reason) => HandoverAnswer::Refused(reason.to_string()),
        }
    }

    /// What the operator has decided stands before all else.
    fn may_hand_over(&self, from: PublicKey, bundle: &Bundle) -> Result<(), NotTaken> {
        if self.stay.is_ending() {
            return Err(NotTaken::Leaving);
        }
        if let Some(why) = self.taken_down(bundle.id()) {
            return Err(NotTaken::TakenDown(why));
        }
        let project = match &bundle.cargo {
            Cargo::Result(result) => result.project,
            Cargo::Receipt(receipt) => receipt.project,
        };
        self.works_for(from).map_err(NotTaken::NotAdmitted)?;
        for key in [bundle.origin(), project.into()] {
            self.is_welcome(key).map_err(NotTaken::NotAdmitted)?;
        }
        Ok(())
    }

    pub(super) fn handed_over(
        &mut self,
        to: PublicKey,
        outcomes: Vec<(StatementId, Result<(), HandoverFailed>)>,
        now: Now,
    ) {
        for (id, taken) in outcomes {
            let Some((cargo, task)) = self.custody.get(id).map(describe) else { continue };
            match taken {
                Ok(()) => {
                    self.custody.handed_over(id, now);
                    self.news(News::HandedOver { cargo, task, peer: to });
                }
                Err(failed) => {
                    self.custody.not_handed_over(id, now);
                    let reason = failed.to_string();
                    self.news(News::NotHandedOver { cargo, task, peer: to, reason });
                }
            }
        }
    }

    /// Hands over what is due.
    pub(super) fn carry(&mut self, now: Now) {
        if self.custody_again.is_some_and(|at| at <= now.mono) {
            self.custody_again = None;
            self.custody.reroute();
        }
        let Self { custody, routes, book, peers, me, stay, .. } = self;
        let ways = Ways { me: *me, routes, book, peers, stay };
        for handover in custody.due(now, |bundle| ways.next_hop(bundle)) {
            self.outbox.push(Action::HandOver(handover));
        }
        // Links, homes and peers that come stir what has no way; this is for what nobody thought of.
        if !self.custody.is_stranded() {
            self.custody_again = None;
        } else if self.custody_again.is_none() {
            self.custody_again = Some(now.mono + CUSTODY_PAUSE);
        }
    }

    /// Where bundles go from here.
    pub(super) fn ways(&self) -> Ways<'_> {
        let Self { me, routes, book, peers, stay, .. } = self;
        Ways { me: *me, routes, book, peers, stay }
    }

    /// The brokers of the volunteers for whom receipts are in custody.
    pub(super) fn receipts_go_by(&self) -> impl Iterator<Item = PublicKey> {
        self.custody.bundles().filter_map(|bundle| match bundle.cargo {
            Cargo::Receipt(_) => Some(bundle.via),
            Cargo::Result(_) => None,
        })
    }

    /// A receipt is not waited with for a broker that may be gone for good: whose it is has it already, or has sent
    /// the result again by then, and is given it anew (C23). Who sees no broker at all is cut off itself.
    pub(super) fn expire_custody(&mut self, now: Now) {
        self.custody.expire(now);
        let alone = self.routes.reachable() == 0;
        let in_vain = self.custody.bundles().filter(|bundle| match &bundle.cargo {
            Cargo::Receipt(receipt) => {
                receipt.issued + RECEIPT_WAITS <= now.wall
                    || (!alone && self.unseen.since(bundle.via) >= RECEIPT_WAITS_FOR_A_WAY)
            }
            Cargo::Result(_) => false,
        });
        for id in in_vain.map(Bundle::id).collect::<Vec<_>>() {
            self.custody.discharge(id);
        }
        self.custody.tidy();
    }

    /// Lets go the void ones of those receipts that `may_be_void`. Whoever had such a one from here
    /// would refuse it and ask again, for ever; so his result goes to the master, who judges anew.
    pub(super) fn drop_void_receipts(&mut self, may_be_void: impl Fn(&Verified<Receipt>) -> bool) {
        let keys = self.book.keys();
        let is_void = |receipt: &Verified<Receipt>| {
            may_be_void(receipt) && keys.is_void_for(receipt.signer(), receipt.project)
        };
        self.receipts.forget_if(is_void);
        let on_its_way = self.custody.bundles().filter(|bundle| match &bundle.cargo {
            Cargo::Receipt(receipt) => is_void(receipt),
            Cargo::Result(_) => false,
        });
        for id in on_its_way.map(Bundle::id).collect::<Vec<_>>() {
            self.custody.discharge(id);
        }
    }

    fn may_take<T: Payload>(&self, statement: &Verified<T>, now: Now) -> Result<(), NotTaken> {
        // Without the allowance for clocks that `current` makes: it is on its way, and arrives late.
        if statement.expires() <= now.wall {
            return Err(NotTaken::Expired);
        }
        statement.current(now.wall)?;
        if self.disk_is_full() { Err(NotTaken::DiskFull) } else { Ok(()) }
    }

    fn take_result(
        &mut self,
        from: PublicKey,
        bundle: Bundle,
        result: &Verified<JobResult>,
        now: Now,
    ) -> Result<(), NotTaken> {
        self.may_take(result, now)?;
        if self.book.keys().is_void(result.signer()) {
            return Err(NotTaken::Revoked);
        }
        if result.signer() == from {
            self.shares.ended(result.lease.id(), from, now.mono);
        }
        let id = result.id();
        // The judgement may have been lost on its way: the result need not go to the master again.
        if let Some(receipt) = self.receipts.of(result.project, id) {
            let cargo = Cargo::Receipt(receipt.clone());
            self.custody.take(Bundle { cargo, via: bundle.via }, Duty::Carrier)?;
            return Ok(());
        }
        let news = !self.custody.holds(id);
        if news && self.book.home(result.project).is_none() {
            return Err(NotTaken::NoHome);
        }
        self.custody.take(bundle, Duty::Carrier)?;
        if self.ends_task(result) {
            self.turn.writes.extend(self.leases.returned(result));
        }
        if news {
            let taken = News::ResultTaken { result: id, task: result.task, from };
            self.turn.acknowledgements.push(Action::News(taken));
        }
        Ok(())
    }

    /// Whether the task need not be leased to anybody else while the master judges the result: its
    /// lease is the current one, or it is late and the task is open. A lease of another broker's
    /// epoch proves nothing here, since anybody can sign one; such a result passes through.
    ///
    /// So does one that expires before the offer: it could be gone before the master has it, and
    /// its task would stay closed for good.
    fn ends_task(&self, result: &Verified<JobResult>) -> bool {
        let ours = self.book.offer(result.task.offer).is_some_and(|offer| {
            offer.project == result.project && result.expires() >= offer.expires()
        });
        let current = self.leases.current(result.task);
        ours && match current {
            Some(lease) => lease.id() == result.lease.id() && lease.volunteer == result.signer(),
            None => {
                self.leases.is_open(result.task)
                    && Verified::<Lease>::check(&result.lease, &*self.verifier).is_ok_and(|lease| {
                        lease.signer() == self.me
                            && lease.task == result.task
                            && lease.volunteer == result.signer()
                    })
            }
        }
    }

    fn take_receipt(
        &mut self,
        from: PublicKey,
        bundle: Bundle,
        receipt: &Verified<Receipt>,
        now: Now,
    ) -> Result<(), NotTaken> {
        self.may_take(receipt, now)?;
        // Of two judgements the later counts; nobody may put his beyond all others.
        if receipt.issued > now.wall + MAX_CLOCK_SKEW {
            return Err(NotTaken::Future);
        }
        let (project, task) = (receipt.project, receipt.task);
        if self.book.keys().is_void_for(receipt.signer(), project) {
            return Err(NotTaken::Revoked);
        }
        let news = !self.custody.holds(receipt.id());
        if news && self.book.home(project).is_none() {
            return Err(NotTaken::NoHome);
        }
        self.custody.take(bundle, Duty::Carrier)?;
        let at_home = self.book.home(project).is_some_and(|home| home.home == self.me);
        if at_home {
            let offer = self.book.offer(task.offer).filter(|offer| offer.project == project);
            let until = match offer {
                Some(offer) => offer.expires(),
                None => receipt.expires().min(now.wall + RECEIPT_WAITS),
            };
            if offer.is_some() {
                self.turn.writes.extend(self.leases.judged(receipt, now));
                self.fresh_offers.insert(task.offer);
            }
            self.receipts.keep(receipt.clone(), until);
        }
        if news {
            let result = receipt.result;
            let verdict = match receipt.verdict {
                Verdict::Accepted(_) => "accepted",
                Verdict::Rejected(_) => "rejected",
                Verdict::Again(_) => "again",
            };
            let taken = News::ReceiptTaken { receipt: receipt.id(), result, task, from, verdict };
            self.turn.acknowledgements.push(Action::News(taken));
        }
        Ok(())
    }
}

/// What it takes to find the next hop.
pub(super) struct Ways<'a> {
    me: PublicKey,
    routes: &'a Routes,
    book: &'a OfferBook,
    peers: &'a BTreeMap<PublicKey, Direction>,
    stay: &'a Stay,
}

impl Ways<'_> {
    /// A result towards the home of its project and its master; a receipt towards its volunteer.
    pub(super) fn next_hop(&self, bundle: &Bundle) -> Option<PublicKey> {
        let way = self.straight(bundle);
        // Who leaves hands on to a neighbour what waits for a way: it has time.
        way.or_else(|| self.routes.links().next().filter(|_| self.stay.is_ending()))
    }

    fn straight(&self, bundle: &Bundle) -> Option<PublicKey> {
        let connected = |peer| Some(peer).filter(|peer| self.peers.contains_key(peer));
        match &bundle.cargo {
            Cargo::Result(result) => {
                let home = self.book.home(result.project)?;
                if home.home == self.me {
                    connected(home.signer())
                } else {
                    self.routes.next_hop(home.home)
                }
            }
            Cargo::Receipt(receipt) if bundle.via == self.me => connected(receipt.volunteer),
            Cargo::Receipt(_) => self.routes.next_hop(bundle.via),
        }
    }
}

/// What `bundle` is, for people, and for which task.
pub(super) fn describe(bundle: &Bundle) -> (&'static str, TaskId) {
    let cargo = match &bundle.cargo {
        Cargo::Result(_) => "result",
        Cargo::Receipt(_) => "receipt",
    };
    (cargo, bundle.task())
}
