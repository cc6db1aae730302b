//! WebAssembly modules with WASI preview 1, and components with preview 2, by the runner beside this
//! program.
//!
//! The runner is a process of its own, in the sandbox where there is one. Elsewhere the engine keeps
//! the module in, the runner limits itself and gives up root's rights, and the ad says so.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use capability::{Fact, Facts, FactsError, Runtime};
use serde::Deserialize;
use volunteer_sandbox::{Ending, Limits, Spec, give_tree};

use super::isolation::{Isolation, LAYERS, STRENGTH};
use super::native::{self, canonical};
use super::plain::{self, PlainSpec};
use super::{JobRuntime, Measured, NO_NETWORK, Step, StepEnd, StepOrder};
use crate::live::LiveTail;

/// The runner's file name.
const RUNNER: &str = "talkoot-wasm-runner";

/// Where a sandboxed runner finds itself, and its module's directory.
const RUNNER_INSIDE: &str = "/opt/talkoot-wasm-runner";
const WORK_INSIDE: &str = "/work";

/// What compiling a module and the runner itself take beside the module's own memory.
const RUNNER_MEMORY: u64 = 512 << 20;

/// The runner's exit codes above those of modules (see its documentation).
const REFUSED: i32 = 126;
const FAILED: i32 = 127;
const TRAPPED: i32 = 134;
const OUT_OF_FUEL: i32 = 152;

/// A module whose `_start` does nothing.
const EMPTY_MODULE: [u8; 36] = *b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x07\x0a\x01\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

/// A component whose `run` does nothing.
const EMPTY_COMPONENT: [u8; 119] = *b"\0asm\r\0\x01\0\x01$\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x07\x01\x03run\0\0\n\x06\x01\x04\0A\0\x0b\x02\x04\x01\0\0\0\x06\t\x01\0\0\x01\0\x03run\x07\x08\x02j\0\0@\0\0\0\x08\x06\x01\0\0\0\0\x01\x05\n\x01\x01\x01\0\x03run\x01\0\x0b\x18\x01\0\x12wasi:cli/run@0.2.0\x05\0\0";

/// What is tried before anything is advertised, by what it is.
const TRIALS: [(&str, &[u8]); 2] =
    [("an empty module", &EMPTY_MODULE), ("an empty component", &EMPTY_COMPONENT)];

/// The versions of WASI that those need.
const WASI: [&str; 2] = ["preview1", "preview2"];

/// What the ad says where there is no sandbox.
const BARE_STRENGTH: &str = "wasm process, no sandbox";

const PROBE_LIMITS: Limits = Limits {
    wall: Duration::from_secs(60),
    memory: 64 << 20,
    disk: 1 << 20,
    output: 64 << 10,
    processes: 64,
};

/// The wasm runtime.
#[derive(Debug)]
pub struct Wasm {
    isolation: Arc<Isolation>,
    engine: OnceLock<Engine>,
}

/// What the runner says of itself and its engine.
#[derive(Debug, Deserialize)]
struct Engine {
    runner: String,
    engine: String,
    version: String,
    features: Vec<String>,
}

impl Wasm {
    /// Uses `isolation` if that is to be had.
    pub fn new(isolation: Arc<Isolation>) -> Self {
        Self { isolation, engine: OnceLock::new() }
    }

    fn has_sandbox(&self) -> bool {
        self.isolation.sandbox().is_ok()
    }

    /// Runs a guest that does nothing.
    fn try_empty(&self, what: &str, guest: &[u8]) -> Result<(), String> {
        let work =
            tempfile::tempdir().map_err(|error| format!("no directory to try in: {error}"))?;
        std::fs::write(work.path().join("empty.wasm"), guest).map_err(|error| error.to_string())?;
        let step = StepOrder {
            command: &["empty.wasm".to_owned()],
            environment: &[].into(),
            work: work.path(),
            limits: PROBE_LIMITS,
            // No job runs yet.
            slot: 0,
            tail: None,
        };
        let Step { wait, .. } = self.start(&step)?;
        let end = wait();
        match end.ending {
            Ending::Exited { code: 0 } => Ok(()),
            ending => Err(format!("{what} ended with {ending:?} {}", end.note)),
        }
    }
}

/// The user that a bare runner becomes: none if the daemon's own will do, which is any but root.
fn own_user(slot: u32) -> Option<u32> {
    rustix::process::geteuid().is_root().then(|| native::job_uid(slot))
}

impl JobRuntime for Wasm {
    fn runtime(&self) -> Runtime {
        Runtime::Wasm
    }

    fn self_test(&self) -> Result<String, String> {
        let engine = Engine::ask(&runner()?)?;
        TRIALS.iter().try_for_each(|(what, guest)| self.try_empty(what, guest))?;
        // A second test would find the same.
        let _ = self.engine.set(engine);
        Ok(if self.has_sandbox() { format!("wasm+{STRENGTH}") } else { BARE_STRENGTH.to_owned() })
    }

    fn measure(&self) -> Result<Measured, String> {
        let engine = self.engine.get().ok_or("the runner was not asked")?;
        let layers: &[&str] = if self.has_sandbox() { &LAYERS } else { &["process"] };
        let facts = engine.facts(layers).map_err(|error| error.to_string())?;
        Ok(Measured { facts, ..Measured::default() })
    }

    fn system(&self) -> String {
        "WASI preview 1 and 2".to_owned()
    }

    fn start(&self, step: &StepOrder<'_>) -> Result<Step, String> {
        let runner = runner()?;
        let work = canonical(step.work)?;
        let observer = step.tail.map(LiveTail::observer);
        let Step { control, wait } = if self.has_sandbox() {
            self.isolation.start(&sandboxed(runner, step, work), observer)?
        } else {
            let user = own_user(step.slot);
            if let Some(user) = user {
                hand_over(&work, user)?;
            }
            plain::start(&bare(runner, step, work, user), observer)?
        };
        let memory = step.limits.memory;
        Ok(Step { control, wait: Box::new(move || explain(wait(), memory)) })
    }
}

fn sandboxed(runner: PathBuf, step: &StepOrder<'_>, work: PathBuf) -> Spec {
    let mut command = vec![RUNNER_INSIDE.to_owned()];
    command.extend(arguments(step, WORK_INSIDE));
    let mut spec = Spec::new(command, work);
    spec.read_only = vec![(runner, RUNNER_INSIDE.into())];
    spec.toolchain = false;
    spec.limits = step.limits;
    spec.limits.memory = step.limits.memory.saturating_add(RUNNER_MEMORY);
    spec.host_uid = native::job_uid(step.slot);
    spec
}

/// The runner without a sandbox, which becomes `user`. That user owns `work`, and may be shut out of
/// all directories above; so the runner starts in there, and finds its way from there.
fn bare(runner: PathBuf, step: &StepOrder<'_>, work: PathBuf, user: Option<u32>) -> PlainSpec {
    let mut all = own_limits(&step.limits);
    if let Some(user) = user {
        all.extend(["--user".to_owned(), user.to_string()]);
    }
    all.extend(arguments(step, "."));
    PlainSpec { program: runner, arguments: all, limits: step.limits, work }
}

/// Makes `user` own all of `work`.
fn hand_over(work: &Path, user: u32) -> Result<(), String> {
    give_tree(work, user).map_err(|error| {
        format!(
            "cannot give the work directory to user {user}: {error} (without a sandbox, root's \
             daemon needs a user of its own for each job; start it as an ordinary user)"
        )
    })
}

/// What the runner is told to limit itself by where nothing else does.
fn own_limits(limits: &Limits) -> Vec<String> {
    /// Each may be a file without a name, which the runner must look at again and again.
    const OPEN_FILES: u64 = 256;
    // Wall time comes first; this is for a daemon that is stuck.
    let cpu = limits.wall.as_secs().saturating_mul(2).saturating_add(10);
    let flags = [
        ("--end-with-parent", std::process::id().into()),
        ("--data", limits.memory.saturating_add(RUNNER_MEMORY)),
        ("--file-size", limits.disk),
        ("--unlinked", limits.disk),
        ("--open-files", OPEN_FILES),
        ("--cpu", cpu),
    ];
    flags.into_iter().flat_map(|(name, value)| [name.to_owned(), value.to_string()]).collect()
}

/// The runner's command line for a step whose work directory it sees as `work`.
fn arguments(step: &StepOrder<'_>, work: &str) -> Vec<String> {
    let mut arguments = vec!["--memory".to_owned(), step.limits.memory.to_string()];
    arguments.extend(["--dir".to_owned(), work.to_owned()]);
    for (name, value) in step.environment {
        arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    // The module, which the runner looks for in there, and what it gets.
    arguments.push("--".to_owned());
    arguments.extend(step.command.iter().cloned());
    arguments
}

/// Says in words what the runner says with its exit code.
fn explain(mut end: StepEnd, memory: u64) -> StepEnd {
    // The guest cannot have used more; the rest is the runner's.
    end.memory = end.memory.min(memory);
    let Ending::Exited { code } = end.ending else { return end };
    if matches!(code, REFUSED | FAILED | TRAPPED | OUT_OF_FUEL) {
        end.note = last_line(&end.output);
    }
    if code == FAILED {
        end.ending = Ending::SandboxFailed { reason: end.note.clone() };
    }
    end
}

fn last_line(output: &[u8]) -> String {
    /// Reasons are lines of at most 400 characters, and the runner's name before them.
    const MAX_LINE: usize = 2048;
    let end = &output[output.len().saturating_sub(MAX_LINE)..];
    let text = String::from_utf8_lossy(end);
    let line = text.lines().rfind(|line| !line.trim().is_empty()).unwrap_or_default();
    line.strip_prefix(RUNNER).unwrap_or(line).trim_start_matches(": ").to_owned()
}

/// The runner, which is installed beside this program.
fn runner() -> Result<PathBuf, String> {
    let this =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let runner = this.with_file_name(RUNNER);
    if runner.is_file() {
        return Ok(runner);
    }
    Err(format!("{} is not there; it is installed beside talkoot-volunteer", runner.display()))
}

impl Engine {
    /// Asks the runner what its engine can do. Outside the sandbox, since nothing of a job is there.
    fn ask(runner: &Path) -> Result<Self, String> {
        let output = std::process::Command::new(runner)
            .arg("--features")
            .env_clear()
            .output()
            .map_err(|error| format!("cannot start {}: {error}", runner.display()))?;
        serde_json::from_slice(&output.stdout).map_err(|_| {
            format!("{} is damaged, or of another version than this program", runner.display())
        })
    }

    /// What a module finds, behind `layers` beside the engine itself.
    fn facts(&self, layers: &[&str]) -> Result<Facts, FactsError> {
        let Self { runner, engine, version, features } = self;
        let texts = [
            ("os", "wasi"),
            ("arch", "wasm32"),
            // A single word, and of preview 1, since job files are about that have `wasi = "preview1"`.
            ("wasi", WASI[0]),
            ("wasm.runner", runner),
            ("wasm.engine", engine),
            ("wasm.engine.version", version),
            ("network", NO_NETWORK),
        ];
        let mut facts = Facts::new();
        for (name, value) in texts {
            facts.insert(name, value)?;
        }
        facts.insert("wasi.versions", WASI.into_iter().collect::<Fact>())?;
        facts.insert("wasm.features", features.iter().map(String::as_str).collect::<Fact>())?;
        let layers = ["wasm"].iter().chain(layers).copied();
        facts.insert("sandbox.layers", layers.collect::<Fact>())?;
        Ok(facts)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_jobs_words_cannot_be_taken_for_the_runners() {
        let step = StepOrder {
            command: &["bin/a.wasm", "--dir", "/"].map(str::to_owned),
            environment: &[("TALKOOT_TASK_INDEX".to_owned(), "3".to_owned())].into(),
            work: Path::new("/nowhere"),
            limits: PROBE_LIMITS,
            slot: 0,
            tail: None,
        };
        let expected = [
            "--memory",
            "67108864",
            "--dir",
            "/work",
            "--env",
            "TALKOOT_TASK_INDEX=3",
            "--",
            "bin/a.wasm",
            "--dir",
            "/",
        ];
        assert_eq!(arguments(&step, "/work"), expected);
    }

    #[test]
    fn no_module_runs_as_root_without_a_sandbox() {
        let work = tempfile::tempdir().expect("a directory");
        let step = StepOrder {
            command: &["a.wasm".to_owned()],
            environment: &[].into(),
            work: work.path(),
            limits: PROBE_LIMITS,
            slot: 2,
            tail: None,
        };
        let user = own_user(step.slot);
        let spec = bare("/runner".into(), &step, work.path().to_owned(), user);
        let told = spec.arguments.windows(2).any(|pair| pair == ["--user", "64003"]);
        assert_eq!(told, rustix::process::geteuid().is_root(), "{spec:?}");
        if let Some(user) = user {
            hand_over(work.path(), user).expect("root may");
            assert_eq!(std::fs::metadata(work.path()).expect("a directory").uid(), 64_003);
        }
    }

    #[test]
    fn modules_are_told_of_the_engine_in_facts_that_job_files_may_name() {
        let engine = Engine {
            runner: "0.1.0".to_owned(),
            engine: "wasmtime".to_owned(),
            version: "48.0.8".to_owned(),
            features: vec!["simd128".to_owned(), "bulk-memory".to_owned()],
        };
        let facts = engine.facts(&["process"]).expect("within all limits");
        assert_eq!(
            facts.get("wasm.features"),
            Some(&["bulk-memory", "simd128"].into_iter().collect())
        );
        assert_eq!(facts.get("sandbox.layers"), Some(&["process", "wasm"].into_iter().collect()));
        for (name, _) in facts.iter() {
            assert!(capability::fact_kind(name.as_str()).is_some(), "{name}");
        }
    }

    #[test]
    fn what_is_tried_is_what_it_says() {
        let module = r#"(module (func (export "_start")))"#;
        let component = r#"(component
          (core module (func (export "run") (result i32) (i32.const 0)))
          (core instance (instantiate 0))
          (alias core export 0 "run" (core func))
          (func (result (result)) (canon lift (core func 0)))
          (instance (export "run" (func 0)))
          (export "wasi:cli/run@0.2.0" (instance 0)))"#;
        for ((what, guest), text) in TRIALS.iter().zip([module, component]) {
            assert_eq!(wat::parse_str(text).expect(what), *guest, "{what}");
        }
    }

    #[test]
    fn a_job_that_asks_for_preview_1_alone_finds_it_as_before() {
        let engine = Engine {
            runner: "0.1.0".to_owned(),
            engine: "wasmtime".to_owned(),
            version: "48.0.8".to_owned(),
            features: Vec::new(),
        };
        let facts = engine.facts(&["process"]).expect("within all limits");
        assert_eq!(facts.get("wasi"), Some(&Fact::from("preview1")));
        let versions = ["preview1", "preview2"].into_iter().collect();
        assert_eq!(facts.get("wasi.versions"), Some(&versions));
    }

    #[test]
    fn a_reason_is_the_runners_last_line() {
        let end = StepEnd {
            ending: Ending::Exited { code: REFUSED },
            note: String::new(),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            memory: 1 << 40,
            output: b"guest\n\ntalkoot-wasm-runner: refused: no _start\n".to_vec(),
        };
        let end = explain(end, 5);
        assert_eq!((end.note.as_str(), end.memory), ("refused: no _start", 5));
        assert_eq!(end.ending, Ending::Exited { code: REFUSED });
    }
}
