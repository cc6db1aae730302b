//! Compiling a module when it is seen for the first time, and running it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use volunteer_sandbox::{Ending, Observer, open_beneath, remove_tree};

use super::super::isolation::Isolation;
use super::super::{Step, StepEnd};
use super::compiled::{BOUND, CompiledModules, Entry, Key};
use super::errand::{Errand, TARGET, Task};
use super::phases::Phases;

/// Bytes of a module, at most: the runner refuses what is larger.
const MODULE_LIMIT: u64 = 32 << 20;

/// What a compiling runner says is one line.
const OUTPUT: u64 = 64 << 10;

/// The module's name in the folder in which it is compiled.
const MODULE: &str = "module.wasm";

/// Runs steps with compiled modules out of a cache.
#[derive(Debug)]
pub struct Compiling {
    cache: Arc<CompiledModules>,
    /// What compiles, in words.
    compiler: [String; 3],
}

impl Compiling {
    /// Uses `cache` for what `compiler` makes.
    pub fn new(cache: CompiledModules, compiler: [String; 3]) -> Self {
        Self { cache: Arc::new(cache), compiler }
    }

    /// Starts `errand`, which is to run a module. One that is not in the cache is compiled first, as
    /// part of the same step: within its limits, and its wall time is what both take together.
    pub fn start(
        &self,
        mut errand: Errand,
        isolation: &Arc<Isolation>,
        observer: Option<Observer>,
    ) -> Result<Step, String> {
        // What cannot be read is the runner's to refuse.
        let Ok(module) = read_module(&errand) else { return errand.start(isolation, observer) };
        let key = self.key(&errand, &module);
        if let Some(entry) = self.cache.get(key) {
            errand.task = Task::RunCompiled(entry);
            return errand.start(isolation, observer);
        }
        let workshop = match Workshop::new(&errand, &module) {
            Ok(workshop) => workshop,
            Err(error) => {
                tracing::warn!(%error, "no folder to compile in");
                return errand.start(isolation, observer);
            }
        };
        let Step { control, wait } = workshop.errand.start(isolation, None)?;
        let phases = Phases::new(control);
        let (cache, isolation) = (Arc::clone(&self.cache), Arc::clone(isolation));
        let first = First { cache, key, workshop };
        let outside = phases.clone();
        let wait = move || first.then_run(wait(), errand, &isolation, &phases, observer);
        Ok(Step { control: Box::new(outside), wait: Box::new(wait) })
    }

    /// What is metered is other code than what is not.
    fn key(&self, errand: &Errand, module: &[u8]) -> Key {
        let [runner, version, compatibility] = self.compiler.each_ref().map(String::as_str);
        match errand.fuel {
            None => Key::new(&[runner, version, compatibility], module),
            Some(_) => Key::new(&[runner, version, compatibility, "fuel"], module),
        }
    }
}

/// What is done first, and where its result belongs.
struct First {
    cache: Arc<CompiledModules>,
    key: Key,
    workshop: Workshop,
}

impl First {
    /// Runs `errand` after `compiled`, the end of compiling its module.
    fn then_run(
        self,
        compiled: StepEnd,
        mut errand: Errand,
        isolation: &Isolation,
        phases: &Phases,
        observer: Option<Observer>,
    ) -> StepEnd {
        match compiled.ending {
            Ending::Exited { code: 0 } => match self.keep(phases) {
                Ok(entry) => errand.task = Task::RunCompiled(entry),
                Err(error) => tracing::warn!(%error, "a compiled module cannot be kept"),
            },
            // Perhaps it is the folder; the job's own may do.
            Ending::SandboxFailed { ref reason } => {
                tracing::warn!(reason, "a module cannot be compiled apart");
            }
            _ => return told(compiled, observer),
        }
        drop(self.workshop);
        let StepEnd { wall, cpu, .. } = compiled;
        errand.limits.wall = errand.limits.wall.saturating_sub(wall).max(Duration::from_millis(1));
        let mut end = match errand.start(isolation, observer) {
            Ok(Step { control, wait }) => {
                phases.go_on(control);
                wait()
            }
            Err(reason) => {
                return StepEnd { ending: Ending::SandboxFailed { reason }, ..compiled };
            }
        };
        end.wall += wall;
        end.cpu += cpu;
        end
    }

    fn keep(&self, phases: &Phases) -> io::Result<Arc<Entry>> {
        let code = open_beneath(&self.workshop.errand.work, Path::new(TARGET))?;
        self.cache.store(self.key, code, || phases.may_go_on())
    }
}

/// The end of a step that came no further than to compiling, which whoever watches is told as well.
fn told(end: StepEnd, observer: Option<Observer>) -> StepEnd {
    if let Some(mut observer) = observer.filter(|_| !end.output.is_empty()) {
        observer(&end.output);
    }
    end
}

/// A folder beside the step's own, with the module in it and nothing of the job.
struct Workshop {
    errand: Errand,
    /// Removed with what is in it.
    folder: TempDir,
}

impl Workshop {
    fn new(errand: &Errand, module: &[u8]) -> io::Result<Self> {
        let beside = errand.work.parent().unwrap_or(&errand.work);
        let folder = tempfile::Builder::new().prefix("compile-").tempdir_in(beside)?;
        std::fs::write(folder.path().join(MODULE), module)?;
        let mut errand = Errand {
            command: vec![MODULE.to_owned()],
            environment: [].into(),
            work: folder.path().to_owned(),
            task: Task::Compile,
            ..errand.clone()
        };
        errand.limits.disk = BOUND + MODULE_LIMIT;
        errand.limits.output = OUTPUT;
        Ok(Self { errand, folder })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        // Whoever breaks the compiler may leave anything there.
        if let Err(error) = remove_tree(self.folder.path()) {
            tracing::warn!(%error, "a folder for compiling is not removed");
        }
    }
}

fn read_module(errand: &Errand) -> io::Result<Vec<u8>> {
    let path = errand.command.first().ok_or(io::ErrorKind::NotFound)?;
    let file: File = open_beneath(&errand.work, Path::new(path))?;
    let mut module = Vec::new();
    file.take(MODULE_LIMIT + 1).read_to_end(&mut module)?;
    if module.len() as u64 > MODULE_LIMIT {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    Ok(module)
}
