//! One task from its package to its outcome: unpack, run the steps, bring back, leave nothing.

mod bring_back;
mod check;
mod checkpoints;
mod crew;
mod desk;
mod ending;
mod executor;
mod keeping;
mod outgoing;
mod reins;
mod said;
pub(crate) mod unpack;
mod version;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use capability::statements::{Artifact, Blob, Ended, StepReport};
use capability::{
    BlobHash, BlobKey, DecryptingReader, JobSpec, KEY_BYTES, Limits as JobLimits, Opener,
    TASK_COUNT_VARIABLE, TASK_INDEX_VARIABLE,
};
use mesh_shell::{Clock, access, chain};
use mesh_store::BlobStore;
use volunteer_core::{Order, Outcome};
use volunteer_sandbox::{Collected, Ending, Limits, remove_tree};

use self::bring_back::{BringBackError, Found};
pub use self::checkpoints::Checkpoints;
use self::checkpoints::{Attempts, Kept};
pub use self::crew::Crew;
use self::ending::{describe, judge, millis, report, short};
pub use self::executor::{Executor, Ran};
use self::keeping::Keeper;
use self::outgoing::Outgoing;
pub use self::reins::{Progress, Reins};
pub use self::said::Said;
use self::unpack::UnpackError;
use crate::images::{Hold, ImageError, Root, Wanted};
use crate::runtimes::{JobRuntime, Slot, Step, StepEnd, StepNetwork, StepOrder, job_uid};

/// Steps that a result can name.
const MAX_STEPS: usize = 64;

/// The names of what is reported like a step but is none of the job's.
const UNPACKING: &str = "package";
const IMAGE: &str = "image";
const BRINGING_BACK: &str = "artifacts";
const KEEPING: &str = "checkpoint";

/// Where jobs live.
#[derive(Clone)]
pub struct Place {
    /// One directory a job, named by its lease; closed to other users.
    pub directory: PathBuf,
    /// Packages come from here, logs and artifacts go there.
    pub blobs: Arc<BlobStore>,
    /// Checkpoints go there; none are kept without.
    pub checkpoints: Option<Checkpoints>,
    /// Opens what is sealed to this volunteer.
    pub opener: Arc<dyn Opener>,
    /// For the times in results.
    pub clock: Clock,
}

/// Runs `order`, and gives what became of it. Blocks as long as the job takes.
///
/// `before_collecting` is called before the first blob is stored.
pub fn run<G>(
    order: &Order,
    runtime: &dyn JobRuntime,
    slot: &Slot,
    reins: &Reins,
    place: &Place,
    before_collecting: impl FnOnce() -> G,
) -> (Outcome, G) {
    let home = place.directory.join(order.lease.to_string());
    let started = place.clock.now().wall;
    let declared = order.job.checkpoint.and(place.checkpoints.as_ref());
    let kept = declared.map(|checkpoints| checkpoints.of(order.lease));
    let mut job = Job {
        order,
        runtime,
        slot,
        reins,
        place,
        work: home.join("work"),
        kept: kept.clone(),
        attempts: Attempts::first(started),
        steps: vec![],
        passed: (0, 0),
    };
    let ended = match job.unpack() {
        Ok(()) => job.run_in_image(),
        Err(error) => job.not_unpacked(&error),
    };
    reins.tail().finish();
    let guard = before_collecting();
    let outcome = job.bring_back(ended);
    let goes_on = reins.is_put_by() && matches!(outcome.ended, Ended::Machine(_));
    if let Some(Err(error)) = kept.filter(|_| !goes_on).map(|kept| kept.remove()) {
        tracing::warn!(%error, "checkpoint not removed");
    }
    if let Err(error) = remove_tree(&home) {
        // Tried again when the daemon starts next.
        tracing::warn!(path = %home.display(), %error, "work directory not removed");
    }
    (outcome, guard)
}

struct Job<'a> {
    order: &'a Order,
    runtime: &'a dyn JobRuntime,
    slot: &'a Slot,
    reins: &'a Reins,
    place: &'a Place,
    work: PathBuf,
    /// Where its checkpoints go, if it has some and they are kept.
    kept: Option<Kept>,
    attempts: Attempts,
    steps: Vec<(StepReport, Vec<u8>)>,
    /// Bytes that its connections brought, and that went over them.
    passed: (u64, u64),
}

impl Job<'_> {
    fn unpack(&mut self) -> Result<(), UnpackError> {
        // What a former process left under the same lease.
        let home = self.work.parent().unwrap_or(Path::new("/"));
        remove_tree(home).map_err(UnpackError::Prepare)?;
        std::fs::create_dir_all(&self.work).map_err(UnpackError::Prepare)?;
        let hash = blake3::Hash::from_bytes(*self.order.package.hash.as_bytes());
        let package = self.place.blobs.read(&hash).map_err(UnpackError::Package)?;
        let limit = self.disk();
        let goes_on = || self.reins.go_on();
        match &self.order.private {
            None => unpack::unpack(package, &self.work, limit, goes_on)?,
            Some(private) => {
                let key = private.key(&*self.place.opener).map_err(UnpackError::Private)?;
                let package = DecryptingReader::new(package, key, 0, private.size);
                unpack::unpack(package, &self.work, limit, goes_on)?;
            }
        }
        desk::lay_out(&self.work).map_err(UnpackError::Prepare)?;
        self.reins.listen(&self.work);
        self.begin_attempt().map_err(UnpackError::Prepare)
    }

    /// Puts the checkpoint that is kept, if one is, in its place.
    fn begin_attempt(&mut self) -> std::io::Result<()> {
        let Some(kept) = &self.kept else { return Ok(()) };
        self.attempts = kept.begin(self.attempts.started)?;
        self.reins.resumed(self.attempts.resumed);
        if self.attempts.resumed > 0 {
            kept.restore(&self.work.join(desk::CHECKPOINT))?;
        }
        Ok(())
    }

    /// What the work directory may take of the disk: two checkpoints have their place outside of it.
    fn disk(&self) -> u64 {
        let JobSpec { limits, checkpoint, .. } = &self.order.job;
        limits.disk.saturating_sub(checkpoint.map_or(0, |it| it.reserve())).max(1)
    }

    /// Runs the steps, and takes checkpoints meanwhile.
    fn run_keeping(&mut self, root: Option<&Root>) -> Ended {
        let (Some(kept), Some(checkpoint)) = (self.kept.clone(), self.order.job.checkpoint) else {
            return self.run_steps(root);
        };
        let (reins, work) = (self.reins, self.work.clone());
        reins.keep(true);
        let keeper = Keeper::new(reins, &work, &kept, checkpoint, self.attempts);
        let (ended, refusal) = std::thread::scope(|scope| {
            let span = tracing::Span::current();
            let keeping = scope.spawn(move || span.in_scope(|| keeper.run()));
            let ended = self.run_steps(root);
            reins.keep(false);
            (ended, keeping.join().ok().flatten())
        });
        if let Some(refusal) = refusal {
            let reason = short(&format!("the checkpoint was refused: {refusal}"));
            self.push_last(report(KEEPING, Some(0), reason), String::new());
        }
        ended
    }

    fn not_unpacked(&mut self, error: &UnpackError) -> Ended {
        let reason = short(&chain(error));
        if error.is_ours() {
            return Ended::Machine(reason);
        }
        self.steps.push((report(UNPACKING, None, reason), Vec::new()));
        if error.is_limit() { Ended::Limit("disk".to_owned()) } else { Ended::Failed }
    }

    /// Runs the steps, after their root was provided if the runtime has images for that.
    fn run_in_image(&mut self) -> Ended {
        let Some(images) = self.runtime.images() else { return self.run_keeping(None) };
        let Some(image) = &self.order.job.image else {
            return self.without_image(&ImageError::Refused("the job names no image".to_owned()));
        };
        let limits = limits(&self.order.job.limits, self.order.job.limits.wall());
        let host_uid = job_uid(self.slot);
        let private_to = self.order.private.as_ref().map(|_| self.order.project);
        let wanted = Wanted { image, private_to, package: &self.work, limits, host_uid };
        let take = |control| self.reins.take(control);
        let hold = Hold { goes_on: &|| self.reins.go_on(), take: &take };
        match images.provide(&wanted, &hold) {
            Ok(root) => {
                let said = root.about.left_out.join("\n");
                if !said.is_empty() && self.order.job.steps.len() < MAX_STEPS {
                    self.steps.push((report(IMAGE, Some(0), String::new()), said.into_bytes()));
                }
                self.run_keeping(Some(&root))
            }
            Err(error) => self.without_image(&error),
        }
    }

    fn without_image(&mut self, error: &ImageError) -> Ended {
        let reason = short(&error.to_string());
        let ended = match error {
            ImageError::Refused(_) => Ended::Failed,
            ImageError::Limit(what) => Ended::Limit((*what).to_owned()),
            ImageError::Stopped | ImageError::Machine(_) => return Ended::Machine(reason),
        };
        self.steps.push((report(IMAGE, None, reason), Vec::new()));
        ended
    }

    fn run_steps(&mut self, root: Option<&Root>) -> Ended {
        let environment = self.environment();
        let mut fuel = self.order.job.limits.fuel;
        // Of what is metered a job without any has at least as much as tells that it has run out.
        fuel = fuel.map(|fuel| fuel.saturating_sub(self.attempts.fuel).max(1));
        let mut left = self.attempts.left(self.order.job.limits.wall());
        left = left.max(Duration::from_millis(1));
        for step in &self.order.job.steps {
            if !self.reins.go_on() {
                return Ended::Machine("stopped by the owner of the machine".to_owned());
            }
            self.reins.begin(&step.name);
            let order = StepOrder {
                command: &step.run,
                environment: &environment,
                work: &self.work,
                root,
                limits: Limits { disk: self.disk(), ..limits(&self.order.job.limits, left) },
                fuel,
                slot: self.slot,
                tail: Some(self.reins.tail()),
                network: StepNetwork {
                    destinations: &self.order.job.network,
                    bytes: self.network_left(),
                },
            };
            let end = match self.runtime.start(&order) {
                Ok(Step { control, wait }) => {
                    self.reins.take(control);
                    wait()
                }
                Err(reason) => return Ended::Machine(short(&reason)),
            };
            self.reins.note(&end);
            self.count(&end);
            // A step that could not run has no time of its own; the next one has none left either.
            left = left.saturating_sub(end.wall).max(Duration::from_millis(1));
            let used = end.fuel.map_or(0, |fuel| fuel.used);
            fuel = fuel.map(|fuel| fuel.saturating_sub(used));
            let ended = judge(&end);
            self.steps.push(self.report(&step.name, end));
            if let Some(ended) = ended {
                return ended;
            }
        }
        Ended::Passed
    }

    fn count(&mut self, end: &StepEnd) {
        let Some(used) = &end.network else { return };
        let (down, up) = &mut self.passed;
        (*down, *up) = (down.saturating_add(used.down), up.saturating_add(used.up));
    }

    /// Bytes that its further steps may pass.
    fn network_left(&self) -> u64 {
        let (down, up) = self.passed;
        self.order.network_bytes.saturating_sub(down.saturating_add(up))
    }

    fn environment(&self) -> BTreeMap<String, String> {
        let mut environment = self.order.job.environment.clone();
        environment.insert(TASK_INDEX_VARIABLE.to_owned(), self.order.task.task.to_string());
        environment.insert(TASK_COUNT_VARIABLE.to_owned(), self.order.tasks.to_string());
        desk::announce(&mut environment);
        if self.order.job.checkpoint.is_some() {
            desk::announce_checkpoint(&mut environment, self.attempts.resumed);
        }
        environment
    }

    fn report(&self, name: &str, end: StepEnd) -> (StepReport, Vec<u8>) {
        let ran_out = end.fuel.is_some_and(|fuel| fuel.ran_out);
        let exit = match end.ending {
            Ending::Exited { code } if !ran_out => Some(code),
            _ => None,
        };
        let mut report = report(name, exit, short(&describe(&end)));
        report.wall_ms = millis(end.wall);
        report.cpu_ms = millis(end.cpu);
        report.memory = end.memory;
        report.fuel = end.fuel.map(|fuel| fuel.used);
        (report, end.output)
    }

    /// Stores logs and artifacts, encrypted. What cannot be stored makes the outcome this machine's
    /// fault.
    fn bring_back(mut self, mut ended: Ended) -> Outcome {
        let finished = self.place.clock.now().wall;
        let files = self.find_artifacts(&mut ended);
        let mut stored = match Outgoing::new(&self.place.blobs, self.reins) {
            Ok(outgoing) => store(std::mem::take(&mut self.steps), files, outgoing),
            Err(error) => Stored::none(chain(&error)),
        };
        let ended = stored.failure.take().map_or(ended, |reason| Ended::Machine(short(&reason)));
        let Stored { steps, artifacts, blobs, key, leftover, .. } = stored;
        let (network_down, network_up) = self.passed;
        let system = short(&self.runtime.system());
        let system = system.get(..system.floor_char_boundary(128)).unwrap_or_default().to_owned();
        let Attempts { started, resumed, .. } = self.attempts;
        Outcome {
            ended,
            steps,
            artifacts,
            blobs,
            key,
            leftover,
            system,
            started,
            finished,
            resumed,
            network_down,
            network_up,
        }
    }

    /// The files that the job's patterns name; what is amiss with them is reported, and may change how
    /// the job has ended.
    fn find_artifacts(&mut self, ended: &mut Ended) -> Vec<Collected> {
        if let Err(error) = desk::clear(&self.work) {
            *ended = Ended::Machine(short(&format!("cannot clear the work directory: {error}")));
        }
        let ran = matches!(ended, Ended::Passed | Ended::Failed | Ended::Limit(_));
        let wanted = if ran { self.order.job.artifacts.as_slice() } else { &[] };
        match bring_back::find(&self.work, wanted, self.order.job.limits.disk) {
            Ok(found) => {
                let passed = *ended == Ended::Passed;
                self.complain(&found, passed);
                if passed && !found.refused.is_empty() {
                    *ended = Ended::Failed;
                }
                found.files
            }
            Err(BringBackError::Job(reason)) => {
                self.push_last(report(BRINGING_BACK, None, short(&reason)), String::new());
                if *ended == Ended::Passed {
                    *ended = Ended::Failed;
                }
                Vec::new()
            }
            Err(BringBackError::Machine(reason)) => {
                *ended = Ended::Machine(short(&reason));
                Vec::new()
            }
        }
    }

    /// Says which files are no artifacts although they match, which is the job's mistake, and which
    /// patterns of a job that has `passed` match nothing, which may be as it should.
    fn complain(&mut self, found: &Found, passed: bool) {
        let unmatched = if passed { found.unmatched.as_slice() } else { &[] };
        let said = bring_back::complaints(&found.refused, unmatched, self.order.job.limits.output);
        match found.refused.as_slice() {
            [] if unmatched.is_empty() || self.steps.len() >= MAX_STEPS => {}
            // The one exit code that a result may have passed with.
            [] => self.push_last(report(BRINGING_BACK, Some(0), String::new()), said),
            [one] => {
                let reason = format!("{:?} is refused: {}", one.path, one.reason);
                self.push_last(report(BRINGING_BACK, None, short(&reason)), said);
            }
            several => {
                let reason = format!("{} files are refused, as the log says", several.len());
                self.push_last(report(BRINGING_BACK, None, reason), said);
            }
        }
    }

    /// Reports what is none of the job's steps. If there is no room, a step that passed gives way.
    fn push_last(&mut self, report: StepReport, log: String) {
        let full = self.steps.len() >= MAX_STEPS;
        if full && self.steps.last().is_some_and(|(last, _)| last.exit == Some(0)) {
            self.steps.pop();
        }
        if self.steps.len() < MAX_STEPS {
            self.steps.push((report, log.into_bytes()));
        }
    }
}

/// What is stored of a job.
struct Stored {
    steps: Vec<StepReport>,
    artifacts: Vec<Artifact>,
    blobs: Vec<Blob>,
    key: BlobKey,
    /// What was stored in vain.
    leftover: Vec<BlobHash>,
    /// Why not all is.
    failure: Option<String>,
}

impl Stored {
    fn none(failure: String) -> Self {
        Self {
            steps: Vec::new(),
            artifacts: Vec::new(),
            blobs: Vec::new(),
            // Nothing is encrypted with it.
            key: BlobKey::from_bytes([0; KEY_BYTES]),
            leftover: Vec::new(),
            failure: Some(failure),
        }
    }
}

/// Stores what is too large for a report. Logs first, so that artifacts can be given up alone.
fn store(
    steps: Vec<(StepReport, Vec<u8>)>,
    files: Vec<Collected>,
    mut outgoing: Outgoing,
) -> Stored {
    let (mut reports, mut failure, mut room) = (Vec::new(), None, bring_back::INLINE_LOGS);
    for (mut report, output) in steps {
        match bring_back::log(output, &mut room, &mut outgoing) {
            Ok(log) => report.log = log,
            Err(reason) => failure = Some(reason),
        }
        reports.push(report);
    }
    let logs = outgoing.count();
    let (artifacts, leftover) = match bring_back::artifacts(files, &mut outgoing) {
        Ok(artifacts) => (artifacts, Vec::new()),
        Err(reason) => {
            failure = Some(reason);
            (Vec::new(), outgoing.keep(logs))
        }
    };
    let (blobs, key) = outgoing.into_parts();
    Stored { steps: reports, artifacts, blobs, key, leftover, failure }
}

/// `limits` with `wall` for the time, as the sandbox has them.
fn limits(limits: &JobLimits, wall: Duration) -> Limits {
    Limits {
        wall,
        memory: limits.memory,
        disk: limits.disk,
        output: limits.output,
        processes: limits.processes.into(),
    }
}

/// Removes what jobs of a former process have left below `directory`, and makes it anew.
pub fn clear(directory: &Path) -> std::io::Result<()> {
    remove_tree(directory)?;
    // Jobs may leave set-user-id files; nobody else may come near them.
    access::create_directories(directory, 0o700)
}

#[cfg(test)]
mod tests;
