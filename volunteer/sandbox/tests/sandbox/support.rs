//! A work directory with a sandbox around it, and what one wants to ask of a finished step.

use std::path::{Path, PathBuf};
use std::sync::{OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::traces::{names_in, processes_with_mounts_of};
use volunteer_sandbox::{Cgroups, Ending, Helper, Outcome, Sandbox, Spec};

/// Names the folder of the helper and the fixture for a copy of these tests, which runs from another directory.
pub const PROGRAMS: &str = "TALKOOT_TEST_PROGRAMS";

/// Names the fixture as a set-user-id program of root, for tests that are not root's.
pub const SET_USER_ID: &str = "TALKOOT_TEST_SET_USER_ID";

/// An id that no user of a machine should have.
pub const NOBODY_ELSE: u32 = 61_234;

/// Where the job finds the fixture.
pub const FIXTURE: &str = "/opt/fixture";

pub struct Bench {
    directory: tempfile::TempDir,
    _turn: Turn,
}

enum Turn {
    AmongOthers { _guard: RwLockReadGuard<'static, ()> },
    Alone { _guard: RwLockWriteGuard<'static, ()> },
}

/// Held for reading by each test, and for writing by those that measure time, and by the one that runs them all once more:
/// two runs at a time on two cores would measure each other's load.
static RUNS: RwLock<()> = RwLock::new(());

/// Waits until no other test runs, and keeps them waiting.
pub fn alone() -> RwLockWriteGuard<'static, ()> {
    RUNS.write().unwrap_or_else(PoisonError::into_inner)
}

impl Bench {
    pub fn new() -> Self {
        let guard = RUNS.read().unwrap_or_else(PoisonError::into_inner);
        Self::with(Turn::AmongOthers { _guard: guard })
    }

    /// One whose steps no other test disturbs.
    pub fn without_others() -> Self {
        Self::with(Turn::Alone { _guard: alone() })
    }

    fn with(turn: Turn) -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("work")).unwrap();
        Self { directory, _turn: turn }
    }

    /// A directory of the host that the job must not see; the work directory lies in it.
    pub fn host(&self) -> &Path {
        self.directory.path()
    }

    /// Its name, which no other directory has.
    pub fn name(&self) -> &str {
        self.directory.path().file_name().unwrap().to_str().unwrap()
    }

    pub fn work(&self) -> PathBuf {
        self.directory.path().join("work")
    }

    /// A step with limits that nothing here reaches by accident.
    pub fn step(&self, command: &[&str]) -> Spec {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        let mut spec = Spec::new(command, self.work());
        spec.read_only = vec![(fixture(), FIXTURE.into())];
        // Jobs get what others leave of the processors, which may be little while tests run.
        spec.limits.wall = Duration::from_secs(60);
        spec.limits.memory = 1 << 30;
        spec.limits.disk = 64 << 20;
        spec.limits.output = 1 << 20;
        spec.limits.processes = 64;
        spec.host_uid += slot();
        spec
    }

    pub fn script(&self, script: &str) -> Spec {
        self.step(&["sh", "-c", script])
    }

    /// Runs a step, which must leave nothing but what is in its work directory.
    pub fn run(&self, spec: &Spec) -> Outcome {
        let before = names_in(self.host());
        let outcome = sandbox().run(spec).unwrap();
        assert_eq!(names_in(self.host()), before, "{outcome:?}");
        assert_eq!(processes_with_mounts_of(self.name()), [].into(), "{outcome:?}");
        outcome
    }

    /// Runs a script that must succeed, and answers what it printed.
    pub fn sh(&self, script: &str) -> String {
        let outcome = self.run(&self.script(script));
        assert_eq!(outcome.ending, Ending::Exited { code: 0 }, "{}", text(&outcome));
        text(&outcome)
    }
}

impl Drop for Bench {
    /// Whatever a test did, and however it ended its steps: nothing is left of them, and their directory can go.
    fn drop(&mut self) {
        if !std::thread::panicking() {
            eventually("the end of all processes and mounts", || {
                processes_with_mounts_of(self.name()).is_empty()
            });
            volunteer_sandbox::remove_tree(self.host()).unwrap();
        }
    }
}

/// Tests run beside each other, and so need host users of their own.
fn slot() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// With control groups if there are any.
pub fn sandbox() -> Sandbox {
    match groups() {
        Some(groups) => by_signals().in_groups(groups),
        None => by_signals(),
    }
}

/// Without control groups, so that a pause is made of signals.
pub fn by_signals() -> Sandbox {
    Sandbox::new(helper())
}

/// Below what steps have control groups. Root has them, and hands some on to those who repeat its tests.
pub fn groups() -> Option<Cgroups> {
    static FOUND: OnceLock<Option<Cgroups>> = OnceLock::new();
    let find = || match Cgroups::find() {
        Ok(groups) => Some(groups),
        Err(reason) => {
            let must = is_root() || std::env::var_os(PROGRAMS).is_some();
            assert!(!must, "{reason}");
            assert!(std::env::var_os("CI").is_none(), "CI runs as root");
            eprintln!("NOT RUN in control groups: {reason}");
            None
        }
    };
    FOUND.get_or_init(find).clone()
}

/// The control groups that `process` has made and not removed.
pub fn groups_of(process: u32, groups: &Cgroups) -> Vec<String> {
    let prefix = format!("talkoot-job-{process}-");
    names_in(groups.base()).into_iter().filter(|name| name.starts_with(&prefix)).collect()
}

pub fn helper() -> Helper {
    let copy = std::env::var_os(PROGRAMS).map(|folder| Path::new(&folder).join(Helper::NAME));
    Helper { exe: copy.unwrap_or_else(|| env!("CARGO_BIN_EXE_talkoot-sandbox-helper").into()) }
}

/// The hostile program, on the host.
pub fn fixture() -> PathBuf {
    helper().exe.with_file_name("sandbox-fixture")
}

pub fn text(outcome: &Outcome) -> String {
    String::from_utf8_lossy(&outcome.output).into_owned()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a process of the host has `word` among its arguments.
pub fn is_running(word: &str) -> bool {
    let runs = |process: std::fs::DirEntry| {
        let command = std::fs::read(process.path().join("cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == word.as_bytes())
    };
    std::fs::read_dir("/proc").unwrap().flatten().any(runs)
}

/// Waits for something that must come true.
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(std::time::Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(5));
    }
}
