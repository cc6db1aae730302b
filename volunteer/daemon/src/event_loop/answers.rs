//! What the owner asks and wishes, by the command line and the page.

use capability::Runtime;
use mesh_core::CommitId;
use tokio::sync::oneshot;
use tokio::time::Instant;
use volunteer_core::Input;

use super::{Bringing, EventLoop, QUIT_TIME};
use crate::carried::RESULTS_A_PAGE;
use crate::face::Question;
use crate::history;
use crate::runtimes::Probe;
use crate::status::{self, Status};
use crate::why;

impl EventLoop {
    pub(super) fn answer(&mut self, question: Question) {
        match question {
            // Whoever asked may have gone.
            Question::Status(answer) => drop(answer.send(self.status())),
            Question::Results(last, answer) => {
                let results = self.core.results(last).take(RESULTS_A_PAGE);
                drop(answer.send(results.cloned().collect()));
            }
            Question::TakeReceipts(receipts, answer) => {
                let reply = self.next_reply();
                self.bringing.insert(reply, Bringing::Receipts(answer));
                self.handle(Input::Receipts { receipts, reply });
            }
            Question::JudgeBrought(work, answer) => {
                drop(answer.send(self.core.judge_brought(&work)));
            }
            Question::TakeBrought(work, answer) => {
                let reply = self.next_reply();
                self.bringing.insert(reply, Bringing::Work(answer));
                self.handle(Input::Brought { work, reply });
            }
            Question::Receipts(answer) => {
                drop(answer.send(self.core.receipts().cloned().collect()));
            }
            Question::History(asked, answer) => {
                drop(answer.send(history::page(&self.core, asked)));
            }
            Question::WhyNot(project, answer) => {
                let reasons = self.core.why_not(project);
                drop(answer.send(
                    reasons.iter().map(|it| why::advice(it, project, &self.settings)).collect(),
                ));
            }
            Question::WhyJob(lease, answer) => {
                let job = self.core.jobs().find(|job| job.lease == lease);
                drop(
                    answer.send(
                        job.map(|job| why::grounds(&self.core, &job, self.executor.as_ref())),
                    ),
                );
            }
            Question::Log(lease, answer) => {
                let reins = self.executor.reins(lease);
                drop(answer.send(reins.map(|reins| reins.tail().read())));
            }
            Question::Wish(Input::Stop, told) => {
                self.quit(Input::Stop);
                // The process ends, and what is durable of that is that it does.
                let _ = told.send(());
            }
            Question::Pause(asked, told) => {
                tracing::info!("the owner's wish: a pause");
                self.handle(Input::Pause(asked.from(self.clock.now().wall)));
                self.tell_when_durable(told);
            }
            Question::Drain(asked, told) => {
                tracing::info!("the owner's wish: a drain");
                self.handle(Input::Drain { until: asked.until(self.clock.now().wall) });
                self.tell_when_durable(told);
            }
            Question::Wish(wish, told) => {
                tracing::info!(?wish, "the owner's wish");
                self.handle(wish);
                self.tell_when_durable(told);
            }
        }
    }

    fn tell_when_durable(&mut self, told: oneshot::Sender<()>) {
        match self.landing {
            Some(commit) => self.wishing.push_back((commit, told)),
            None => drop(told.send(())),
        }
    }

    pub(super) fn committed(&mut self, commit: CommitId) {
        self.landing = self.landing.filter(|last| *last > commit);
        while let Some((_, told)) = self.wishing.pop_front_if(|(wanted, _)| *wanted <= commit) {
            let _ = told.send(());
        }
        self.handle(Input::Committed(commit));
    }

    /// Ends soon, by [`Input::Quit`] or [`Input::Stop`].
    pub(super) fn quit(&mut self, how: Input) {
        if self.quit_at.is_none() {
            tracing::info!("asked to end; stopping jobs and releasing leases");
            self.quit_at = Some(Instant::now() + QUIT_TIME);
            self.handle(how);
        }
    }

    fn status(&self) -> Status {
        let mut probes = self.probes.clone();
        if probes.is_empty() {
            let pending = |runtime: &Runtime| {
                Probe::refused(runtime.clone(), "it is still being tried".to_owned())
            };
            probes = self.settings.runtimes.iter().map(pending).collect();
        }
        let key = self.key.to_string();
        let addresses = self.dialer.addresses();
        let sensors = self.sensors.report();
        let executor = self.executor.as_ref();
        let (core, settings) = (&self.core, &self.settings);
        let status =
            status::status(core, &key, settings, &probes, self.disk_free, addresses, executor);
        let (complaint, waiting) = (self.source.complaint.clone(), &self.source.waiting);
        let waiting = waiting.iter().map(|setting| (*setting).to_owned()).collect();
        Status { sensors, config_complaint: complaint, waits_for_restart: waiting, ..status }
    }
}
