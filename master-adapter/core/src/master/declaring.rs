//! What brokers are told about keys, and what it means for this node if it is about its own.

use capability::{KeyBook, PublicKey};
use mesh_core::{Answer, CallFailed, CallId, KeyChange, Now};

use super::Master;
use crate::message::{Action, News, RevokedKey};

impl Master {
    pub(super) fn declare(&mut self, changes: Vec<KeyChange>) {
        let mut book = KeyBook::default();
        for change in &changes {
            match change {
                KeyChange::Revocation(it) => book.revoke(it),
                KeyChange::Succession(it) => book.pass_on(it),
            };
        }
        self.declarations.set(changes);
        let (node, project) = (self.authority.node(), self.authority.project());
        let revoked = if book.is_void(project.into()) {
            Some(RevokedKey::Project)
        } else {
            book.is_void_for(node, project).then_some(RevokedKey::Node)
        };
        // For ever (S71): that the file is gone takes nothing back.
        if let Some(key) = revoked.filter(|_| revoked > self.revoked) {
            self.revoked = revoked;
            self.outbox.push(News::Revoked(key));
        }
    }

    pub(super) fn broker_down(&mut self, peer: PublicKey, now: Now) {
        self.homes.broker_down(peer, now);
        self.declarations.broker_down(peer);
    }

    pub(super) fn tell_of_keys(&mut self, now: Now) {
        for (to, change, ask) in self.declarations.due(now.mono) {
            let call = self.next_call();
            self.declaring.insert(call, (to, change));
            self.outbox.push(Action::Ask { to, call, ask });
        }
    }

    pub(super) fn told_of_keys(
        &mut self,
        call: CallId,
        answer: Result<Answer, CallFailed>,
        now: Now,
    ) {
        if self.asking_of_owners.take_if(|it| *it == call).is_some() {
            return self.told_of_owners(answer, now);
        }
        if self.asking_of_stopped.is(call) {
            return self.told_of_stopped(answer, now);
        }
        let Some((broker, change)) = self.declaring.remove(&call) else { return };
        let declared = self.declarations.answered(broker, change, answer, now.mono);
        self.outbox.push(News::Declared(declared));
    }
}
