//! What the operator decides while the broker runs: whom to turn away, what to take down.

use std::time::Duration;

use capability::statements::Ownership;
use capability::{BlobHash, PublicKey, StatementId, Verified};
use mesh_core::{Ask, Bundle, Now, Refusal, ReplyId};

use super::Broker;
use super::leaving::is_new_work;
use crate::contract::{Disobeyed, News, Operation, Order};
use crate::gossip_set::Subject;
use crate::quotas::{AddressClass, Limited, Standing, Toll};
use crate::rules::{Content, Decision, Whom};

impl Broker {
    pub(super) fn obey(&mut self, order: Order, reply: ReplyId, now: Now) {
        let decision = |reason| Decision { reason, at: now.wall };
        let outcome = match order {
            Order::Block { whom, reason } => self.block(whom, decision(reason)),
            Order::Unblock { whom } => self.unblock(whom),
            Order::TakeDown { content, reason } => self.take_down(content, decision(reason)),
            Order::PutBack { content } => {
                let put_back =
                    self.rules.put_back(content).map(|write| self.turn.writes.push(write));
                put_back.ok_or(Disobeyed::NoSuchRule)
            }
            Order::Drain { within } => {
                self.begin_to_leave(within, now);
                Ok(())
            }
        };
        self.turn.acknowledgements.push(Operation::Obeyed { reply, outcome }.into());
    }

    fn block(&mut self, whom: Whom, decision: Decision) -> Result<(), Disobeyed> {
        let write = self.rules.block(whom.clone(), decision).map_err(|_| Disobeyed::TooMany)?;
        self.turn.writes.push(write);
        if let Whom::Key(key) = &whom {
            self.drop_subjects(self.known.subjects_of(*key));
        }
        self.outbox.push(Operation::Shut(whom.clone()));
        self.news(News::Blocked { whom });
        Ok(())
    }

    fn unblock(&mut self, whom: Whom) -> Result<(), Disobeyed> {
        let write = self.rules.unblock(&whom).ok_or(Disobeyed::NoSuchRule)?;
        self.turn.writes.push(write);
        self.outbox.push(Operation::Open(whom));
        Ok(())
    }

    fn take_down(&mut self, content: Content, decision: Decision) -> Result<(), Disobeyed> {
        let write = self.rules.take_down(content, decision);
        self.turn.writes.push(write.map_err(|_| Disobeyed::TooMany)?);
        let (id, blob) = (StatementId::from_bytes(content.0), BlobHash::from_bytes(content.0));
        let with_blob = self.book.offers_with(blob).map(|it| Subject::Offer(it.project, it.id()));
        let subjects = with_blob.chain(self.known.subject(id).cloned()).collect();
        self.drop_subjects(subjects);
        let hit = |bundle: &&Bundle| {
            bundle.id() == id || bundle.blobs().iter().any(|(hash, _)| *hash == blob)
        };
        for bundle in self.custody.bundles().filter(hit).map(Bundle::id).collect::<Vec<_>>() {
            self.custody.discharge(bundle);
        }
        self.receipts.forget_if(|receipt| receipt.id() == id);
        self.outbox.push(Operation::RemoveBlob(blob));
        self.news(News::TakenDown { content });
        Ok(())
    }

    fn drop_subjects(&mut self, subjects: Vec<Subject>) {
        for subject in subjects {
            self.known.remove(&subject);
            self.forget(&subject);
        }
    }

    /// Whether `key` is not turned away.
    pub(super) fn is_welcome(&self, key: PublicKey) -> Result<(), Refusal> {
        match self.rules.against(key) {
            Some(Decision { reason, .. }) => Err(self.not_admitted(&format!("blocked: {reason}"))),
            None => Ok(()),
        }
    }

    /// Whether the broker works for `peer` at all.
    pub(super) fn works_for(&self, peer: PublicKey) -> Result<(), Refusal> {
        self.is_welcome(peer)?;
        if self.admitted.has(peer) {
            Ok(())
        } else {
            Err(self.not_admitted("this broker works only for whom its operator admits"))
        }
    }

    /// Whether `from` may ask that at all. Publications are looked at by project, later; what keys
    /// say of themselves concerns everybody.
    pub(super) fn may_ask(&self, from: PublicKey, ask: &Ask) -> Result<(), Refusal> {
        match ask {
            Ask::Publish { .. }
            | Ask::Declare { .. }
            | Ask::KeyChanges { .. }
            | Ask::Vouch { .. } => {
                self.is_welcome(from)?;
            }
            _ => self.works_for(from)?,
        }
        if self.stay.is_ending() && is_new_work(ask, self.me) {
            return Err(Refusal::Elsewhere(self.other_brokers()));
        }
        Ok(())
    }

    pub(super) fn vouched(
        &mut self,
        ownership: &Verified<Ownership>,
        now: Now,
    ) -> Result<(), Refusal> {
        ownership.current(now.wall).map_err(|error| Refusal::Invalid(error.to_string()))?;
        if self.admitted.vouch(ownership) {
            Ok(())
        } else {
            Err(self.not_admitted("its operator does not go by the word of that owner"))
        }
    }

    fn not_admitted(&self, why: &str) -> Refusal {
        Refusal::NotAdmitted(self.with_contact(why))
    }

    /// What is said about something that was taken down, if it was.
    pub fn taken_down(&self, content: impl Into<Content>) -> Option<String> {
        let Decision { reason, .. } = self.rules.down(content)?;
        Some(self.with_contact(reason))
    }

    /// Why `peer` is not given that blob, if it is not.
    pub fn against_serving(&self, peer: PublicKey, hash: BlobHash) -> Option<String> {
        let down = self.is_down(hash);
        down.and_then(|()| self.works_for(peer)).err().map(|refusal| refusal.to_string())
    }

    pub(super) fn is_down(&self, content: impl Into<Content>) -> Result<(), Refusal> {
        self.taken_down(content).map_or(Ok(()), |why| Err(Refusal::TakenDown(why)))
    }

    fn with_contact(&self, why: &str) -> String {
        match &self.abuse_contact {
            Some(contact) => format!("{why} (write to {contact})"),
            None => why.to_owned(),
        }
    }

    /// Takes the toll of what `peer`, who comes from `address`, asks or brings. To be called before
    /// that is read: what is over a limit may be asked again after the time in the error, and is not
    /// taken before.
    pub fn take_toll(
        &mut self,
        peer: PublicKey,
        address: Option<AddressClass>,
        toll: Toll,
        now: Now,
    ) -> Result<(), Duration> {
        let linked = self.routes.is_linked(peer);
        let standing = if linked { Standing::Link } else { Standing::Peer };
        self.meters.charge(peer, address, toll, standing, now)
    }

    /// Those who were limited within the hour; a thousand at most.
    pub fn limited(&self) -> Vec<Limited> {
        self.meters.limited().collect()
    }

    /// Who is turned away, for the shell, which does it.
    pub fn turned_away(&self) -> impl Iterator<Item = &Whom> {
        self.rules.blocked.keys()
    }
}
