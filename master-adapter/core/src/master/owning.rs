//! Asking the home about the owners of machines that made results.

use mesh_core::{Answer, Ask, CallFailed, Now};

use super::Master;
use crate::message::{Action, News};

impl Master {
    /// Meets those of results that a former process has accepted.
    pub(super) fn meet_owners(&mut self) {
        let settled = self.jobs.iter().flat_map(|job| job.settled());
        settled.filter_map(|(_, settled)| settled.owner).for_each(|it| self.owners.meet(it));
    }

    pub(super) fn ask_of_owners(&mut self, now: Now) {
        let Some(to) = self.connected_home() else { return };
        let Some(of) = self.owners.ask(now.mono) else { return };
        let call = self.next_call();
        self.asking_of_owners = Some(call);
        self.outbox.push(Action::Ask { to, call, ask: Ask::KeyChanges { of } });
    }

    pub(super) fn told_of_owners(&mut self, answer: Result<Answer, CallFailed>, now: Now) {
        for (owner, heir) in self.owners.answered(answer, now) {
            self.outbox.push(News::OwnerMoved { owner, heir });
        }
    }
}
