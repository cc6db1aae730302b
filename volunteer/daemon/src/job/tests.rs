//! Whole jobs, in a runtime that is a plain shell.

use std::io::Read;

use capability::statements::{Log, Package, TaskId};
use capability::{
    BlobHash, DecryptingReader, HpkeOpener, JobSpec, Limits as JobLimits, Runtime, StatementId,
    Step,
};
use volunteer_sandbox::DEFAULT_HOST_UID;

use super::*;
use crate::runtimes::{Measured, Step as RunningStep};

/// Runs shell scripts in the work directory, without any sandbox.
pub(super) struct Shell;

impl JobRuntime for Shell {
    fn runtime(&self) -> Runtime {
        Runtime::Native
    }

    fn self_test(&self) -> Result<String, String> {
        Ok(String::new())
    }

    fn measure(&self) -> Result<Measured, String> {
        Ok(Measured::default())
    }

    fn system(&self) -> String {
        "a shell".to_owned()
    }

    fn start(&self, step: &StepOrder<'_>) -> Result<RunningStep, String> {
        assert!(step.slot.number < DEFAULT_HOST_UID);
        let variables = step.environment.iter();
        let exports: String =
            variables.map(|(name, value)| format!("export {name}='{value}'; ")).collect();
        let script = format!("{exports}{}", step.command[0]);
        crate::runtimes::plain_shell(&script, step.work, step.limits)
    }
}

pub(super) struct Site {
    _directory: tempfile::TempDir,
    pub place: Place,
}

impl Site {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = BlobStore::open(directory.path().join("blobs"), 1 << 20).expect("a store");
        let jobs = directory.path().join("jobs");
        clear(&jobs).expect("made");
        let opener = Arc::new(HpkeOpener::new([]));
        let checkpoints = Checkpoints::open(directory.path().join("checkpoints")).expect("made");
        let (blobs, clock) = (Arc::new(blobs), Clock::new());
        let place = Place { directory: jobs, blobs, checkpoints: Some(checkpoints), opener, clock };
        Self { _directory: directory, place }
    }

    /// Runs `steps` on a package with the one file `input`.
    fn run(&self, steps: &[&str], limits: JobLimits, reins: &Reins) -> Outcome {
        let mut package = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        header.set_mode(0o644);
        package.append_data(&mut header, "input", &b"hello"[..]).expect("in memory");
        self.run_package(&package.into_inner().expect("in memory"), steps, limits, reins)
    }

    fn run_package(
        &self,
        package: &[u8],
        steps: &[&str],
        limits: JobLimits,
        reins: &Reins,
    ) -> Outcome {
        let mut writer = self.place.blobs.create(1 << 20).expect("room");
        writer.append(package).expect("room");
        let (hash, size) = writer.finish(None).expect("stored");
        let steps = steps.iter().enumerate().map(|(index, script)| Step {
            name: format!("step-{index}"),
            run: vec![(*script).to_owned()],
        });
        let order = Order {
            lease: StatementId::from_bytes([7; 32]),
            project: capability::ProjectKey::from_bytes([1; 32]),
            name: "job".into(),
            task: TaskId { offer: StatementId::from_bytes([8; 32]), task: 3, replica: 0 },
            tasks: 9,
            runtime: Runtime::Native,
            package: Package { hash: BlobHash::from_bytes(*hash.as_bytes()), size },
            private: None,
            job: JobSpec {
                environment: [("COLOUR".to_owned(), "blue".to_owned())].into(),
                steps: steps.collect(),
                limits,
                artifacts: vec!["out/*".into()],
                tap: None,
                network: Vec::new(),
                image: None,
                checkpoint: None,
            },
            cores: 1,
            network_bytes: u64::MAX,
        };
        let (outcome, ()) = run(&order, &Shell, &Slot::default(), reins, &self.place, || ());
        assert!(std::fs::read_dir(&self.place.directory).expect("there").next().is_none());
        outcome
    }
}

#[test]
fn steps_share_a_directory_and_their_artifacts_become_blobs() {
    let site = Site::new();
    let script =
        "mkdir out; cat input > out/a; echo $COLOUR $TALKOOT_TASK_INDEX/$TALKOOT_TASK_COUNT";
    let outcome = site.run(&[script, "cat out/a"], JobLimits::default(), &Reins::default());

    assert_eq!(outcome.ended, Ended::Passed);
    assert_eq!(outcome.steps[0].log, Log::Inline(b"blue 3/9\n".to_vec()));
    assert_eq!(outcome.steps[1].log, Log::Inline(b"hello".to_vec()));
    let artifact = &outcome.artifacts[0];
    assert_eq!((artifact.path.as_str(), artifact.content.size), ("out/a", 5));
    let blob = outcome.blobs[artifact.content.blob as usize];
    let stored = site.place.blobs.read(&blake3::Hash::from_bytes(*blob.hash.as_bytes()));
    let mut reader = DecryptingReader::new(stored.expect("stored"), outcome.key, 0, 5);
    let mut content = String::new();
    reader.read_to_string(&mut content).expect("sound");
    assert_eq!(content, "hello");
}

#[test]
fn the_first_step_that_fails_ends_the_job_and_what_it_left_is_brought_back() {
    let site = Site::new();
    let steps = ["mkdir out; echo why > out/log; exit 3", "echo never"];
    let outcome = site.run(&steps, JobLimits::default(), &Reins::default());

    assert_eq!(outcome.ended, Ended::Failed);
    assert_eq!((outcome.steps.len(), outcome.steps[0].exit), (1, Some(3)));
    assert_eq!(outcome.artifacts.len(), 1);
}

#[test]
fn time_is_one_budget_for_all_steps() {
    let site = Site::new();
    let limits = JobLimits { wall_ms: 300, ..JobLimits::default() };
    let outcome = site.run(&["sleep 0.1", "exec sleep 60"], limits, &Reins::default());
    assert_eq!(outcome.ended, Ended::Limit("wall time".into()));
    assert_eq!(outcome.steps.len(), 2);
}

#[test]
fn a_job_that_was_stopped_before_it_began_runs_nothing() {
    let site = Site::new();
    let reins = Reins::default();
    reins.stop();
    let outcome = site.run(&["mkdir out; echo ran > out/ran"], JobLimits::default(), &reins);
    assert!(matches!(outcome.ended, Ended::Machine(_)), "{:?}", outcome.ended);
    assert_eq!(outcome.steps, []);
}

#[test]
fn a_hostile_package_is_the_jobs_fault_and_says_why() {
    let site = Site::new();
    let outcome = site.run_package(&[9; 2048], &["true"], JobLimits::default(), &Reins::default());
    assert_eq!(outcome.ended, Ended::Failed);
    assert_eq!(outcome.steps[0].name, UNPACKING);
    assert!(outcome.steps[0].ending.contains("not a sound tar archive"), "{:?}", outcome.steps);
}

#[test]
fn a_package_over_the_jobs_own_limit_is_a_limit() {
    let site = Site::new();
    let limits = JobLimits { disk: 4096 + 4, ..JobLimits::default() };
    let outcome = site.run(&["true"], limits, &Reins::default());
    assert_eq!(outcome.ended, Ended::Limit("disk".into()));
}

#[test]
fn a_refused_artifact_is_named_and_fails_the_job_but_the_good_ones_come_back() {
    let site = Site::new();
    let script = r#"mkdir out; echo good >out/a; : >'out/b\c'; : >"$(printf 'out/x\ny')""#;
    let outcome = site.run(&[script], JobLimits::default(), &Reins::default());

    assert_eq!(outcome.ended, Ended::Failed);
    let paths: Vec<_> = outcome.artifacts.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["out/a", r"out/b\c"]);
    let [ran, refused] = outcome.steps.as_slice() else { panic!("{:?}", outcome.steps) };
    assert_eq!((ran.exit, refused.name.as_str(), refused.exit), (Some(0), BRINGING_BACK, None));
    assert_eq!(refused.ending, r#""out/x\ny" is refused: its name holds control characters"#);
    let said = b"\"out/x\\ny\": its name holds control characters\n".to_vec();
    assert_eq!(refused.log, Log::Inline(said));
}

#[test]
fn a_pattern_that_matches_nothing_is_said_and_fails_nothing() {
    let site = Site::new();
    let outcome = site.run(&["true"], JobLimits::default(), &Reins::default());

    assert_eq!(outcome.ended, Ended::Passed);
    let said = &outcome.steps[1];
    assert_eq!((said.name.as_str(), said.exit), (BRINGING_BACK, Some(0)));
    assert_eq!(said.log, Log::Inline(b"no file matches \"out/*\"\n".to_vec()));

    // A result has room for 64 steps, and those that the job asked for come first.
    let outcome = site.run(&["true"; 64], JobLimits::default(), &Reins::default());
    assert_eq!((outcome.ended, outcome.steps.len()), (Ended::Passed, 64));
    assert_ne!(outcome.steps[63].name, BRINGING_BACK);
    let mut steps = ["true"; 64];
    steps[0] = "mkdir out; ln -s /etc out/link";
    let outcome = site.run(&steps, JobLimits::default(), &Reins::default());
    assert_eq!((outcome.ended, outcome.steps.len()), (Ended::Failed, 64));
    assert_eq!(outcome.steps[63].name, BRINGING_BACK);
}

/// Waits a little: what stands still does not end meanwhile.
fn stands_still<T>(thread: &std::thread::ScopedJoinHandle<'_, T>) -> bool {
    std::thread::sleep(Duration::from_millis(200));
    !thread.is_finished()
}

#[test]
fn a_paused_job_is_not_even_unpacked() {
    let (site, reins) = (Site::new(), Reins::default());
    reins.pause();
    std::thread::scope(|scope| {
        let job = scope.spawn(|| site.run(&["cat input"], JobLimits::default(), &reins));
        assert!(stands_still(&job));
        let work = site.place.directory.join(StatementId::from_bytes([7; 32]).to_string());
        let unpacked = work.join("work/input").exists();
        reins.resume();
        assert!(!unpacked);
        assert_eq!(job.join().expect("no panic").ended, Ended::Passed);
    });
}

#[test]
fn a_paused_job_that_is_stopped_ends() {
    let (site, reins) = (Site::new(), Reins::default());
    reins.pause();
    std::thread::scope(|scope| {
        let job = scope.spawn(|| site.run(&["cat input"], JobLimits::default(), &reins));
        assert!(stands_still(&job));
        reins.stop();
        assert!(matches!(job.join().expect("no panic").ended, Ended::Machine(_)));
    });
}

#[test]
fn a_pause_stops_the_storing_of_what_a_job_leaves() {
    /// The owner pauses while this is read.
    struct Interrupted<'a>(&'a Reins, Option<std::sync::mpsc::Sender<()>>);
    impl Read for Interrupted<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            if let Some(told) = self.1.take() {
                self.0.pause();
                told.send(()).expect("somebody waits");
            }
            buffer[0] = 7;
            Ok(1)
        }
    }
    let (site, reins) = (Site::new(), Reins::default());
    let (told, paused) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        let storing = scope.spawn(|| {
            let mut outgoing = Outgoing::new(&site.place.blobs, &reins).expect("randomness");
            outgoing.add(Interrupted(&reins, Some(told)), 100).expect("room")
        });
        paused.recv().expect("it reads");
        assert!(stands_still(&storing));
        reins.resume();
        assert_eq!(storing.join().expect("no panic").size, 100);
    });
}
