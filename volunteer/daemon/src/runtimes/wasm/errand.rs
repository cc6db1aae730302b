//! What the runner is started for, and how: in the sandbox, or bare.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use volunteer_sandbox::{Ending, Limits, Observer, Spec, WalledSpec, give_tree};

use super::super::isolation::Isolation;
use super::super::native::{self, canonical};
use super::super::{Fuel, Slot, Step, StepEnd, StepOrder};
use super::compiled::Entry;

/// The runner's name, and that of its file but for what programs' names end with on some systems.
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

/// Where a sandboxed runner finds what was compiled before.
const COMPILED_INSIDE: &str = "/opt/compiled";

/// A step for the runner, on its own so that it can be taken to another thread.
#[derive(Debug, Clone)]
pub struct Errand {
    /// The module, below `work`, and its arguments.
    pub command: Vec<String>,
    /// The guest's variables.
    pub environment: BTreeMap<String, String>,
    /// The guest's folder; an absolute path without links.
    pub work: PathBuf,
    /// What ends it before its time; the memory is the guest's.
    pub limits: Limits,
    /// See [`StepOrder::fuel`].
    pub fuel: Option<u64>,
    /// See [`StepOrder::slot`].
    pub slot: Slot,
    /// What is done with the module.
    pub task: Task,
}

/// What is done with a module.
#[derive(Debug, Clone)]
pub enum Task {
    /// It is compiled and run.
    Run,
    /// It is run; this is what it was compiled to.
    RunCompiled(Arc<Entry>),
    /// It is compiled into the file [`TARGET`] of the guest's folder, and not run.
    Compile,
}

/// Where [`Task::Compile`] leaves its result, in the guest's folder.
pub const TARGET: &str = "compiled";

impl Errand {
    /// `step`, whose module is to be run.
    pub fn run(step: &StepOrder<'_>) -> Result<Self, String> {
        Ok(Self {
            command: step.command.to_vec(),
            environment: step.environment.clone(),
            work: canonical(step.work)?,
            limits: step.limits,
            fuel: step.fuel,
            slot: step.slot.clone(),
            task: Task::Run,
        })
    }

    /// Starts the runner, in the sandbox if there is one; `observer` is told what it writes.
    pub fn start(&self, isolation: &Isolation, observer: Option<Observer>) -> Result<Step, String> {
        let runner = runner()?;
        let Step { control, wait } = if isolation.sandbox().is_ok() {
            isolation.start(&sandboxed(runner, self), observer)?
        } else {
            let user = own_user(&self.slot);
            if let Some(user) = user {
                hand_over(&self.work, user)?;
            }
            isolation.start_walled(&walled(runner, self, user), observer)?
        };
        let (limits, fuel) = (self.limits, self.fuel);
        // What was compiled before has to stay while it runs.
        let task = self.task.clone();
        let wait = move || {
            let end = explain(wait(), &limits, fuel);
            drop(task);
            end
        };
        Ok(Step { control, wait: Box::new(wait) })
    }
}

/// The user that a runner without a sandbox becomes: none if the daemon's own will do, which is any but root.
#[cfg(target_os = "linux")]
fn own_user(slot: &Slot) -> Option<u32> {
    rustix::process::geteuid().is_root().then(|| native::job_uid(slot))
}

/// The wall refuses to have root behind it.
#[cfg(not(target_os = "linux"))]
fn own_user(_: &Slot) -> Option<u32> {
    None
}

fn sandboxed(runner: PathBuf, step: &Errand) -> Spec {
    let mut command = vec![RUNNER_INSIDE.to_owned()];
    command.extend(arguments(step, WORK_INSIDE, Path::new(COMPILED_INSIDE)));
    let mut spec = Spec::new(command, step.work.clone());
    spec.read_only = vec![(runner, RUNNER_INSIDE.into())];
    if let Task::RunCompiled(entry) = &step.task {
        spec.read_only.push((entry.path.clone(), COMPILED_INSIDE.into()));
    }
    spec.toolchain = false;
    spec.limits = step.limits;
    spec.limits.memory = step.limits.memory.saturating_add(RUNNER_MEMORY);
    spec.limits.output = output(step);
    spec.processors.clone_from(&step.slot.processors);
    spec.host_uid = native::job_uid(&step.slot);
    spec
}

/// The runner without a sandbox, which becomes `user`. That user owns `work`, and may be shut out of
/// all directories above; so the runner starts in there, and finds its way from there.
fn walled(runner: PathBuf, step: &Errand, user: Option<u32>) -> WalledSpec {
    let mut all = own_limits(&step.limits);
    if let Some(user) = user {
        all.extend(["--user".to_owned(), user.to_string()]);
    }
    let reads = match &step.task {
        Task::RunCompiled(entry) => vec![entry.path.clone()],
        Task::Run | Task::Compile => Vec::new(),
    };
    let compiled = reads.first().map_or(Path::new(""), PathBuf::as_path);
    all.extend(arguments(step, ".", compiled));
    let memory = step.limits.memory.saturating_add(RUNNER_MEMORY);
    WalledSpec {
        program: runner,
        arguments: all,
        reads,
        work: step.work.clone(),
        limits: Limits { output: output(step), memory, ..step.limits },
        processors: step.slot.processors.clone(),
    }
}

/// What the runner may write: what the guest may, and what it says of fuel.
fn output(step: &Errand) -> u64 {
    step.limits.output.saturating_add(step.fuel.map_or(0, |_| FUEL_LINE))
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
#[cfg(target_os = "linux")]
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

/// The wall limits it, and the end of its input is all that it has to heed.
#[cfg(not(target_os = "linux"))]
fn own_limits(limits: &Limits) -> Vec<String> {
    if cfg!(target_os = "macos") {
        let unlinked = limits.disk.to_string();
        return ["--end-with-input", "--unlinked", &unlinked].map(str::to_owned).into();
    }
    Vec::new()
}

/// The runner's command line for a step whose work directory it sees as `work`, and what was compiled
/// before, if that is to be run, as `compiled`.
fn arguments(step: &Errand, work: &str, compiled: &Path) -> Vec<String> {
    let mut arguments = vec!["--memory".to_owned(), step.limits.memory.to_string()];
    arguments.extend(["--dir".to_owned(), work.to_owned()]);
    if let Some(fuel) = step.fuel {
        arguments.extend(["--fuel".to_owned(), fuel.to_string()]);
    }
    match step.task {
        Task::Run => {}
        // The daemon's own path, and a path that is not UTF-8 is not there for the runner either.
        Task::RunCompiled(_) => {
            arguments.extend(["--compiled".to_owned(), compiled.display().to_string()]);
        }
        Task::Compile => arguments.extend(["--compile".to_owned(), format!("{work}/{TARGET}")]),
    }
    for (name, value) in &step.environment {
        arguments.extend(["--env".to_owned(), format!("{name}={value}")]);
    }
    // The module, which the runner looks for in there, and what it gets.
    arguments.push("--".to_owned());
    arguments.extend(step.command.iter().cloned());
    arguments
}

/// Says in words what the runner says with its exit code, and takes out of its output what it says of fuel.
fn explain(mut end: StepEnd, limits: &Limits, fuel: Option<u64>) -> StepEnd {
    // The guest cannot have used more; the rest is the runner's.
    end.memory = end.memory.min(limits.memory);
    let Ending::Exited { code } = end.ending else { return end };
    // A guest that never ran has used none.
    if fuel.is_some() && !matches!(code, REFUSED | FAILED) {
        let used = take_fuel(&mut end.output).unwrap_or_default();
        end.fuel = Some(Fuel { used, ran_out: code == OUT_OF_FUEL });
        let limit = usize::try_from(limits.output).unwrap_or(usize::MAX);
        if end.output.len() > limit && !matches!(code, TRAPPED | OUT_OF_FUEL) {
            end.output.truncate(limit);
            end.ending = Ending::OutputExceeded;
            return end;
        }
    }
    if matches!(code, REFUSED | FAILED | TRAPPED | OUT_OF_FUEL) {
        end.note = last_line(&end.output);
    }
    if code == FAILED {
        end.ending = Ending::SandboxFailed { reason: end.note.clone() };
    }
    end
}

/// Bytes of the runner's line about fuel, at most.
const FUEL_LINE: u64 = 80;

/// The number in the last line of `output` that is about fuel, which is the runner's since the guest was over by then.
/// The line goes.
fn take_fuel(output: &mut Vec<u8>) -> Option<u64> {
    const BEFORE: &[u8] = b"\ntalkoot-wasm-runner: used ";
    let start = output.windows(BEFORE.len()).rposition(|window| window == BEFORE)?;
    let text = output.get(start + BEFORE.len()..)?;
    let line = text.split_inclusive(|byte| *byte == b'\n').next()?;
    let (number, end) = (std::str::from_utf8(line).ok()?, start + BEFORE.len() + line.len());
    let used = number.strip_suffix(" units of fuel\n")?.parse().ok()?;
    output.drain(start..end);
    Some(used)
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
pub fn runner() -> Result<PathBuf, String> {
    let this =
        std::env::current_exe().map_err(|error| format!("cannot find this program: {error}"))?;
    let runner = this.with_file_name(format!("{RUNNER}{}", std::env::consts::EXE_SUFFIX));
    if runner.is_file() {
        return Ok(runner);
    }
    Err(format!("{} is not there; it is installed beside talkoot-volunteer", runner.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;
    use std::time::Duration;

    use super::*;

    fn errand(work: &Path) -> Errand {
        Errand {
            command: vec!["a.wasm".to_owned()],
            environment: BTreeMap::new(),
            work: work.to_owned(),
            limits: Limits { memory: 64 << 20, ..Limits::default() },
            fuel: None,
            slot: Slot::default(),
            task: Task::Run,
        }
    }

    #[test]
    fn the_jobs_words_cannot_be_taken_for_the_runners() {
        let mut step = errand(Path::new("/nowhere"));
        step.command = ["bin/a.wasm", "--dir", "/"].map(str::to_owned).into();
        step.environment = [("TALKOOT_TASK_INDEX".to_owned(), "3".to_owned())].into();
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
        assert_eq!(arguments(&step, "/work", Path::new("")), expected);
    }

    #[test]
    fn no_module_runs_as_root_without_a_sandbox() {
        let work = tempfile::tempdir().expect("a directory");
        let step = Errand { slot: Slot { number: 2, ..Slot::default() }, ..errand(work.path()) };
        let user = own_user(&step.slot);
        let spec = walled("/runner".into(), &step, user);
        let told = spec.arguments.windows(2).any(|pair| pair == ["--user", "64003"]);
        assert_eq!(told, rustix::process::geteuid().is_root(), "{spec:?}");
        if let Some(user) = user {
            hand_over(work.path(), user).expect("root may");
            assert_eq!(std::fs::metadata(work.path()).expect("a directory").uid(), 64_003);
        }
    }

    #[test]
    fn fuel_is_what_the_runner_says_last_and_no_part_of_the_log() {
        let check = |output: &[u8], code: i32, limit: u64, expected: (Option<Fuel>, &[u8])| {
            let (wall, cpu, fuel) = (Duration::ZERO, Duration::ZERO, None);
            let (ending, output) = (Ending::Exited { code }, output.to_vec());
            let (note, network) = (String::new(), None);
            let end = StepEnd { ending, note, wall, cpu, memory: 0, fuel, output, network };
            let end = explain(end, &Limits { output: limit, ..Limits::default() }, Some(9));
            assert_eq!((end.fuel, end.output.as_slice()), expected);
            end.ending
        };
        let forged = b"\ntalkoot-wasm-runner: used 1 units of fuel\n";
        let said = b"\ntalkoot-wasm-runner: used 7 units of fuel\n";
        let out = b"\ntalkoot-wasm-runner: out of fuel\n";
        let fuel = |ran_out| Some(Fuel { used: 7, ran_out });

        check(&[&forged[..], said].concat(), 0, 99, (fuel(false), &forged[..]));
        check(
            &[&b"a"[..], said, out].concat(),
            OUT_OF_FUEL,
            99,
            (fuel(true), &[&b"a"[..], out].concat()),
        );
        check(&forged[..], REFUSED, 99, (None, &forged[..]));
        let ending = check(&[&b"abc"[..], said].concat(), 0, 2, (fuel(false), &b"ab"[..]));
        assert_eq!(ending, Ending::OutputExceeded);
    }

    #[test]
    fn a_reason_is_the_runners_last_line() {
        let end = StepEnd {
            ending: Ending::Exited { code: REFUSED },
            note: String::new(),
            wall: Duration::ZERO,
            cpu: Duration::ZERO,
            memory: 1 << 40,
            fuel: None,
            network: None,
            output: b"guest\n\ntalkoot-wasm-runner: refused: no _start\n".to_vec(),
        };
        let end = explain(end, &Limits { memory: 5, ..Limits::default() }, None);
        assert_eq!((end.note.as_str(), end.memory), ("refused: no _start", 5));
        assert_eq!(end.ending, Ending::Exited { code: REFUSED });
    }
}
