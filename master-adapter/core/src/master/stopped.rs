//! Asking the home about tasks that machine after machine took without being heard of again.

use capability::encode_cbor;
use capability::statements::TaskId;
use mesh_core::{Answer, Ask, CallFailed, Now, StoppedTask, Write};

use super::Master;
use super::judging::finish;
use crate::jobs::JobState;
use crate::message::{Action, News};
use crate::records::{GivenUpRecord, given_up_key};

impl Master {
    pub(super) fn ask_of_stopped(&mut self, now: Now) {
        let Some(to) = self.connected_home() else { return };
        let open = self.jobs.under_way().any(|job| job.is_offered(now.wall));
        if !open || !self.asking_of_stopped.is_due(now) {
            return;
        }
        let call = self.next_call();
        self.asking_of_stopped.start(call);
        let project = self.authority.project();
        self.outbox.push(Action::Ask { to, call, ask: Ask::Stopped { project } });
    }

    pub(super) fn told_of_stopped(&mut self, answer: Result<Answer, CallFailed>, now: Now) {
        self.asking_of_stopped.finish(now);
        // A home that does not know the question, or is none any more, stops nothing.
        let Ok(Answer::Stopped(stopped)) = answer else { return };
        stopped.into_iter().for_each(|task| self.give_up(task));
    }

    /// The home's word is enough to end a task: it could keep it from everybody without a word. A
    /// result that comes all the same still counts.
    fn give_up(&mut self, stopped: StoppedTask) {
        let StoppedTask { offer, task, volunteers, times } = stopped;
        let Some(job) = self.jobs.get_mut(offer) else { return };
        if job.state() != JobState::Open || task >= job.offer().tasks || job.is_over(task) {
            return;
        }
        let reason = format!(
            "{times} leases to {volunteers} machines ended without a word: it may bring machines down"
        );
        job.give_up(task, reason.clone());
        // The home grants it to nobody, also in its next epoch.
        job.publish_anew();
        let record = GivenUpRecord { reason: reason.clone() };
        let mut writes = vec![Write::put(given_up_key(job.id(), task), encode_cbor(&record))];
        let task = TaskId { offer: job.id(), task, replica: 0 };
        let mut news: Vec<Action> = vec![News::GivenUp { task, reason }.into()];
        news.extend(finish(job, &mut writes).map(Action::from));
        self.commit(writes, news, Vec::new());
    }
}
