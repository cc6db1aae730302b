//! The volunteer with another executor: jobs end at once, as if they had passed.
//!
//! Everything else is the shipped program's: command line, core, store, network, event loop.

use std::process::ExitCode;
use std::sync::Arc;

use capability::statements::{Ended, Log, StepReport};
use capability::{BlobKey, KEY_BYTES, Runtime, StatementId};
use talkoot_volunteer::{
    Equipment, Executor, JobRuntime, Measured, Place, Ran, Reins, Step, StepOrder,
};
use tokio::sync::mpsc;
use volunteer_core::{CheckEnd, CheckOrder, Order, Outcome};

fn main() -> ExitCode {
    talkoot_volunteer::main(Equipment {
        runtimes: |_| vec![Arc::new(Nothing)],
        executor: |place, _, done| Box::new(AtOnce { place, done }),
    })
}

/// A runtime that is offered, and that nothing is run in.
struct Nothing;

impl JobRuntime for Nothing {
    fn runtime(&self) -> Runtime {
        Runtime::Native
    }

    fn self_test(&self) -> Result<String, String> {
        Ok("none".to_owned())
    }

    fn measure(&self) -> Result<Measured, String> {
        Ok(Measured::default())
    }

    fn system(&self) -> String {
        String::new()
    }

    fn start(&self, _: &StepOrder<'_>) -> Result<Step, String> {
        Err("this volunteer runs nothing".to_owned())
    }
}

/// Ends each job at its start.
struct AtOnce {
    place: Place,
    done: mpsc::UnboundedSender<Ran>,
}

impl Executor for AtOnce {
    fn start(&mut self, order: Order) {
        let now = self.place.clock.now().wall;
        let step = |name: &String| StepReport {
            name: name.clone(),
            exit: Some(0),
            ending: String::new(),
            wall_ms: 1,
            cpu_ms: 1,
            memory: 1 << 20,
            fuel: None,
            log: Log::Inline(Vec::new()),
        };
        let outcome = Outcome {
            ended: Ended::Passed,
            steps: order.job.steps.iter().map(|it| step(&it.name)).collect(),
            artifacts: Vec::new(),
            blobs: Vec::new(),
            // Nothing is encrypted with it.
            key: BlobKey::from_bytes([0; KEY_BYTES]),
            leftover: Vec::new(),
            system: String::new(),
            started: now,
            finished: now,
            resumed: 0,
            network_down: 0,
            network_up: 0,
        };
        // The loop may be over by now.
        let _ = self.done.send(Ran { lease: order.lease, outcome, storing: None });
    }

    fn reins(&self, _: StatementId) -> Option<&Reins> {
        None
    }

    fn ended(&mut self, _: StatementId) {}

    fn check(&mut self, _: CheckOrder, done: Box<dyn FnOnce(CheckEnd) + Send>) {
        done(CheckEnd::NotRun("this volunteer runs nothing".to_owned()));
    }

    fn stop_check(&self) {}

    fn unless_storing(&self, remove: &mut dyn FnMut()) {
        remove();
    }
}
