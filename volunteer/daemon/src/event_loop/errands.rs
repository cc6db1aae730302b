//! What the core wants.

use mesh_core::CallFailed;
use mesh_shell::{BlobFailed, Link, chain};
use tokio::time::Instant;
use volunteer_core::{Action, Input, News};

use super::{Bringing, EventLoop, QUIT_TIME};
use crate::news;
use crate::status::blob_name;

impl EventLoop {
    pub(super) fn act(&mut self, action: Action) {
        match action {
            Action::Commit(commit) => {
                self.landing = Some(commit.id);
                self.link.storage().commit(commit, &self.durable.sender);
            }
            Action::Ask { to, call, ask } => self.errand(move |link| async move {
                let answer = link.ask(to, &ask).await;
                Input::Answered { call, answer: answer.map_err(|it| CallFailed(chain(&it))) }
            }),
            Action::HandOver(handover) => self.errand(move |link| async move {
                let to = handover.to;
                Input::HandedOver { to, outcomes: link.hand_over(handover).await }
            }),
            Action::ReplyHandover { reply, answers } => {
                if let Some((reply, incoming)) = self.handovers.remove(&reply) {
                    // The peer may have gone; it will offer them again.
                    let _ = reply.send(incoming.answer(answers));
                }
            }
            Action::ReceiptsTaken { reply, fates } => {
                if let Some(Bringing::Receipts(answer)) = self.bringing.remove(&reply) {
                    // Whoever has brought them may have gone, here as below.
                    let _ = answer.send(fates);
                }
            }
            Action::BroughtJudged { reply, result } => {
                if let Some(Bringing::Work(answer)) = self.bringing.remove(&reply) {
                    let _ = answer.send(result);
                }
            }
            Action::Fetch { from, hash, size } => self.errand(move |link| async move {
                let fetched = link.fetch(from, hash, size).await;
                if let Err(BlobFailed::There(mesh_net::BlobError::Cut)) = fetched {
                    return Input::FetchCut { hash };
                }
                if let Err(error) = &fetched {
                    tracing::warn!(
                        peer = from.short(),
                        error = chain(error),
                        "package not fetched"
                    );
                }
                Input::Fetched { hash, fetched: fetched.map_err(|error| chain(&error)) }
            }),
            Action::Run(order) => self.executor.start(order),
            Action::Stop { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.stop());
            }
            Action::PutBy { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.put_by());
            }
            Action::DropCheckpoint { lease } => {
                if let Err(error) = self.checkpoints.of(lease).remove() {
                    tracing::warn!(%error, "checkpoint not removed");
                }
            }
            Action::Suspend { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.pause());
            }
            Action::Proceed { lease } => {
                self.executor.reins(lease).into_iter().for_each(|it| it.resume());
            }
            Action::RunCheck(order) => {
                let home = self.errands.sender.clone();
                // The loop may be over by then.
                self.executor
                    .check(order, Box::new(move |end| drop(home.send(Input::Checked(end)))));
            }
            Action::StopCheck => self.executor.stop_check(),
            Action::DropBlobs(blobs) => self.unneeded.extend(blobs),
            Action::News(news) => {
                news::log(&news);
                self.metrics.count(&news);
                self.drained |= news == News::Drained;
                if news == News::DrainOver {
                    self.quit_at = Some(Instant::now() + QUIT_TIME);
                }
            }
        }
    }

    /// Does something over the network beside the loop; what comes of it is an input.
    fn errand<F>(&self, errand: impl FnOnce(Link) -> F)
    where
        F: Future<Output = Input> + Send + 'static,
    {
        let (errand, home) = (errand(self.link.clone()), self.errands.sender.clone());
        // The loop may be over when the errand comes home.
        tokio::spawn(async move { drop(home.send(errand.await)) });
    }

    /// Removes blobs that nothing needs, unless a job may just be storing the same ones.
    pub(super) fn remove_unneeded(&mut self) {
        if self.unneeded.is_empty() {
            return;
        }
        let (core, unneeded) = (&self.core, &mut self.unneeded);
        let blobs = self.link.storage().blobs();
        self.executor.unless_storing(&mut || {
            for hash in std::mem::take(unneeded) {
                if !core.needs_blob(&hash)
                    && let Err(error) = blobs.remove(&blob_name(&hash))
                {
                    tracing::warn!(%hash, error = chain(&error), "blob not removed");
                }
            }
        });
    }
}
