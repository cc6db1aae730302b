//! Asking brokers about keys, and what follows from what they tell.

use capability::statements::{Offer, Ownership, Withdrawal};
use capability::{Envelope, ProjectKey, PublicKey, StatementId, Verified};
use mesh_core::{Answer, Ask, CallFailed, KeyChange};

use crate::action::News;
use crate::key_changes::Heard;
use crate::leases::Due;
use crate::volunteer::{Call, Volunteer};

impl Volunteer {
    pub(crate) fn ask_about_keys(&mut self) {
        for (broker, of) in self.keys.due(self.now.mono) {
            self.ask_of(broker, Call::KeyChanges, Ask::KeyChanges { of });
        }
    }

    /// Tells the brokers what the owner wants them to know about keys.
    pub(crate) fn declare(&mut self) {
        for (broker, change, ask) in self.declarations.due(self.now.mono) {
            self.ask_of(broker, Call::Declare(change), ask);
        }
    }

    pub(crate) fn declared(
        &mut self,
        broker: PublicKey,
        change: StatementId,
        answer: Result<Answer, CallFailed>,
    ) {
        let declared = self.declarations.answered(broker, change, answer, self.now.mono);
        self.news(News::Declared(declared));
    }

    pub(crate) fn told_about_keys(
        &mut self,
        broker: PublicKey,
        answer: Result<Answer, CallFailed>,
    ) {
        let Ok(Answer::KeyChanges(changes)) = answer else {
            self.keys.unanswered(broker, self.now.mono);
            return self.decline_unconfirmed();
        };
        let Heard { news, writes } = self.keys.answered(broker, changes, self.now);
        if writes.is_empty() {
            return;
        }
        self.commit(writes, Vec::new());
        self.heed_key_changes(news);
    }

    /// Tells of `news` about keys, and gives up what they have ended.
    pub(crate) fn heed_key_changes(&mut self, news: Vec<KeyChange>) {
        for change in news {
            let signer = change.signer();
            match change {
                KeyChange::Revocation(it) => self.news(News::Revoked { key: it.key, signer }),
                KeyChange::Succession(it) => {
                    self.news(News::PassedOn { key: signer, successor: it.successor });
                }
            }
        }
        let void = self.work.jobs().filter(|(_, job)| self.keys.is_void(&job.offer));
        let void: Vec<_> = void.map(|(lease, _)| *lease).collect();
        self.give_up(&void, "the key that offered it was revoked");
        self.queue.touch();
        self.checks_changed();
    }

    /// The home no longer knows an offer that is worked on. A revocation would explain it.
    pub(crate) fn suspect(&mut self, due: &Due) {
        let mut jobs = self.work.jobs().map(|(_, job)| &job.offer);
        if let Some(offer) = jobs.find(|offer| offer.id() == due.group.offer) {
            self.keys.ask_again(offer, offer.signer());
        }
    }

    /// Nobody waits for the tasks of an offer any more, as its own signer says; what anybody else
    /// says means only that the home does not know the offer. Tells whether they are given up.
    pub(crate) fn withdrawn(&mut self, due: &Due, withdrawal: &Verified<Withdrawal>) -> bool {
        let is_over = |offer: &Verified<Offer>| {
            offer.id() == due.group.offer
                && offer.id() == withdrawal.statement
                && offer.signer() == withdrawal.signer()
        };
        let over = self.work.jobs().filter(|(_, job)| is_over(&job.offer));
        let over: Vec<_> = over.map(|(lease, job)| (*lease, job.lease.project)).collect();
        let queued = self.queue.batch(due.group.offer).filter(|it| is_over(&it.offered.offer));
        let queued: Vec<_> = queued.into_iter().flat_map(|it| it.leases.keys().copied()).collect();
        let mut writes = Vec::new();
        if let Some((_, project)) = over.first().copied() {
            let count = u64::try_from(over.len()).unwrap_or(u64::MAX);
            writes.push(self.ledger.count_withdrawn(project, count));
        } else if queued.is_empty() {
            return false;
        }
        self.leases.answered(due, &due.leases);
        for lease in queued {
            writes.extend(self.end_queued(lease));
        }
        writes.extend(self.queue.end_offer(due.group.offer));
        self.commit(writes, Vec::new());
        let leases: Vec<_> = over.into_iter().map(|(lease, _)| lease).collect();
        self.give_up(&leases, "the project has withdrawn its job");
        true
    }

    /// Whose this machine is, as its results tell from now on.
    pub(crate) fn owned(&mut self, ownership: Option<Verified<Ownership>>) {
        self.ownership = ownership;
    }

    /// The key that vouches for this machine, as results tell.
    pub fn owner(&self) -> Option<PublicKey> {
        self.vouched().map(|ownership| ownership.signer())
    }

    /// Our owner's word, if it holds and names this machine.
    pub(crate) fn owner_statement(&self) -> Option<Verified<Ownership>> {
        self.vouched()?;
        self.ownership.clone()
    }

    /// The ownership for a claim or a result: one that holds and names this machine.
    pub(crate) fn vouched(&self) -> Option<Envelope> {
        let ownership = self.ownership.as_ref()?;
        let holds = ownership.current(self.now.wall).is_ok() && ownership.nodes.contains(&self.me);
        holds.then(|| ownership.envelope().clone())
    }

    /// The key that follows `project`, as far as its successions go; trusting it is up to the owner.
    pub fn heir(&self, project: ProjectKey) -> Option<PublicKey> {
        self.keys.book().heir(project.into())
    }

    /// Whether `project` has said itself that its key is void.
    pub fn is_void(&self, project: ProjectKey) -> bool {
        self.keys.book().is_void(project.into())
    }
}
