//! A job from outside: how it is ended, stopped and put by, and how far it is.

use std::path::Path;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::keeping::Nap;
use super::said::{Hearing, Said};
use crate::live::LiveTail;
use crate::runtimes::{Control, StepEnd};

/// Ends, pauses, resumes and watches one job from outside.
#[derive(Default)]
pub struct Reins {
    state: Mutex<Reined>,
    /// Rung when it is stopped, resumed or put by, and when it has ended.
    moves: Condvar,
    tail: LiveTail,
}

#[derive(Default)]
struct Reined {
    step: Option<Box<dyn Control>>,
    stopped: bool,
    paused: bool,
    /// Whether somebody sees to its checkpoints.
    keeping: bool,
    put_by: bool,
    /// Whether there is a checkpoint that the core has not heard of.
    unheard: bool,
    progress: Progress,
    /// What the steps that have ended have used of the network.
    passed: (u64, u64),
    hearing: Hearing,
}

/// How far a job is, for people.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Progress {
    /// Steps that have begun.
    pub begun: usize,
    /// The last one that has.
    pub step: String,
    /// Processor time of the steps that have ended.
    pub cpu: Duration,
    /// The most memory in bytes that one of these took.
    pub memory: u64,
    /// Fuel that these took, if it is metered.
    pub fuel: Option<u64>,
    /// What the job itself says of it.
    pub said: Option<Said>,
    /// How often it went on from a checkpoint.
    pub resumed: u32,
    /// When its last checkpoint was taken.
    pub kept: Option<Instant>,
    /// Why a checkpoint was refused last.
    pub refused: Option<String>,
}

impl Reins {
    /// Ends the job; no further step begins.
    pub fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        state.step.iter().for_each(|step| step.kill());
        self.moves.notify_all();
    }

    /// Ends the job after a moment for a last checkpoint, which is kept.
    pub fn put_by(&self) {
        let mut state = self.lock();
        state.put_by = true;
        let keeping = state.keeping;
        self.moves.notify_all();
        drop(state);
        if !keeping {
            self.stop();
        }
    }

    pub(super) fn is_put_by(&self) -> bool {
        self.lock().put_by
    }

    /// Whether there is a checkpoint that nobody has asked about.
    pub fn has_news_of_checkpoint(&self) -> bool {
        std::mem::take(&mut self.lock().unheard)
    }

    /// Waits until there is something to do for the checkpoints of a job, `tick` at most.
    pub(super) fn nap(&self, tick: Duration) -> Nap {
        let waits = |state: &mut Reined| state.keeping && !state.put_by;
        let napped = self.moves.wait_timeout_while(self.lock(), tick, waits);
        let (state, _) = napped.unwrap_or_else(PoisonError::into_inner);
        match &*state {
            Reined { keeping: false, .. } => Nap::Over,
            Reined { put_by: true, paused, .. } => Nap::PutBy { still: *paused },
            Reined { paused, .. } => Nap::Goes { still: *paused },
        }
    }

    pub(super) fn keep(&self, keeping: bool) {
        self.lock().keeping = keeping;
        self.moves.notify_all();
    }

    /// A checkpoint is durable.
    pub(super) fn kept(&self) {
        let mut state = self.lock();
        state.unheard = true;
        (state.progress.kept, state.progress.refused) = (Some(Instant::now()), None);
    }

    pub(super) fn refused(&self, reason: &str) {
        self.lock().progress.refused = Some(reason.to_owned());
    }

    pub(super) fn resumed(&self, resumed: u32) {
        self.lock().progress.resumed = resumed;
    }

    /// Makes it stand still, and what it begins next too.
    pub fn pause(&self) {
        let mut state = self.lock();
        state.paused = true;
        state.step.iter().for_each(|step| step.pause());
    }

    /// Lets it go on.
    pub fn resume(&self) {
        let mut state = self.lock();
        state.paused = false;
        state.step.iter().for_each(|step| step.resume());
        self.moves.notify_all();
    }

    /// Fuel that the steps that have ended took.
    pub(super) fn fuel(&self) -> u64 {
        self.lock().progress.fuel.unwrap_or(0)
    }

    /// Stands still as long as the job is paused; says whether it goes on, and was not stopped. Whatever
    /// the daemon itself does for a job asks here before each piece of it.
    pub(crate) fn go_on(&self) -> bool {
        let stands = |state: &mut Reined| state.paused && !state.stopped && !state.put_by;
        let state = self.moves.wait_while(self.lock(), stands);
        !state.unwrap_or_else(PoisonError::into_inner).stopped
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        let mut state = self.lock();
        state.progress.said = state.hearing.said();
        state.progress.clone()
    }

    pub(super) fn listen(&self, work: &Path) {
        self.lock().hearing.listen(work);
    }

    pub(super) fn begin(&self, step: &str) {
        let mut state = self.lock();
        state.progress.begun += 1;
        step.clone_into(&mut state.progress.step);
        drop(state);
        self.tail.begin(step);
    }

    pub(super) fn note(&self, end: &StepEnd) {
        let mut state = self.lock();
        state.step = None;
        let used = end.network.as_ref().map_or((0, 0), |used| (used.down, used.up));
        state.passed = sum(state.passed, used);
        let progress = &mut state.progress;
        progress.cpu += end.cpu;
        progress.memory = progress.memory.max(end.memory);
        if let Some(fuel) = end.fuel {
            progress.fuel = Some(progress.fuel.unwrap_or(0).saturating_add(fuel.used));
        }
    }

    /// Bytes that its connections have brought by now, and that went over them.
    pub fn passed(&self) -> (u64, u64) {
        let state = self.lock();
        let now = state.step.as_ref().map(|step| step.passed()).unwrap_or_default();
        sum(state.passed, (now.down_so_far, now.up_so_far))
    }

    /// What it writes.
    pub fn tail(&self) -> &LiveTail {
        &self.tail
    }

    pub(super) fn take(&self, step: Box<dyn Control>) {
        let mut state = self.lock();
        if state.stopped {
            step.kill();
        } else if state.paused {
            step.pause();
        }
        state.step = Some(step);
    }

    fn lock(&self) -> MutexGuard<'_, Reined> {
        // Each holder leaves the state whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sum(one: (u64, u64), other: (u64, u64)) -> (u64, u64) {
    (one.0.saturating_add(other.0), one.1.saturating_add(other.1))
}
