//! A WebAssembly module that does next to nothing, from the start of its process to its end.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use tempfile::TempDir;
use volunteer_sandbox::{Ending, Helper, Sandbox, Spec};

use crate::figures::{lowest, machine};
use crate::programs::{Common, Programs};

/// What `bench wasm` takes.
#[derive(Debug, Args)]
pub struct WasmArgs {
    #[command(flatten)]
    common: Common,
    /// Runs of each kind.
    #[arg(long, default_value_t = 300)]
    runs: usize,
    /// A module of your own, which needs no arguments.
    #[arg(long, value_name = "FILE")]
    module: Option<PathBuf>,
}

/// One of these kinds after the other, again and again, so that the machine's moods meet all alike.
type Kind<'a> = (&'static str, Box<dyn Fn() -> Result<Duration> + 'a>);

/// Measures the runner alone and in the sandbox, with a module that was compiled before and without.
pub fn run(args: &WasmArgs) -> Result<()> {
    ensure!(args.runs > 0, "nothing to measure in no runs");
    let programs = Programs::make(&args.common)?;
    let guest = Guest::make(&programs, args.module.as_deref())?;
    let kinds: [Kind<'_>; 5] = [
        ("runner alone, compiled before", Box::new(|| guest.alone(true))),
        ("runner alone, compiling", Box::new(|| guest.alone(false))),
        ("in the sandbox, compiled before", Box::new(|| guest.sandboxed(true))),
        ("in the sandbox, compiling", Box::new(|| guest.sandboxed(false))),
        ("/bin/true in the sandbox", Box::new(|| guest.nothing())),
    ];
    let mut samples = kinds.each_ref().map(|_| Vec::with_capacity(args.runs));
    for _ in 0..args.runs {
        for ((_, run), samples) in kinds.iter().zip(&mut samples) {
            samples.push(run()?);
        }
    }
    println!("start to exit, on {}", machine());
    for ((what, _), samples) in kinds.iter().zip(samples) {
        println!("  {what:<32} {}", lowest(samples));
    }
    Ok(())
}

/// A module, what it is compiled to, and what runs it.
struct Guest {
    runner: PathBuf,
    sandbox: Sandbox,
    /// Of the guest.
    work: PathBuf,
    compiled: PathBuf,
    _folder: TempDir,
}

/// The module's name in its folder.
const MODULE: &str = "guest.wasm";

/// Bytes of memory that it gets.
const MEMORY: u64 = 64 << 20;

/// Where the sandbox shows what.
const RUNNER: &str = "/opt/runner";
const COMPILED: &str = "/opt/compiled";

impl Guest {
    fn make(programs: &Programs, module: Option<&Path>) -> Result<Self> {
        let module = match module {
            Some(path) => std::fs::read(path).with_context(|| path.display().to_string())?,
            None => greeting()?,
        };
        let folder = tempfile::Builder::new().prefix("talkoot-bench-").tempdir()?;
        let work = folder.path().join("work");
        std::fs::create_dir(&work)?;
        std::fs::write(work.join(MODULE), module)?;
        let runner = programs.path("talkoot-wasm-runner");
        let sandbox = Sandbox::new(Helper { exe: programs.path(Helper::NAME) });
        let compiled = folder.path().join("compiled");
        let guest = Self { runner, sandbox, work, compiled, _folder: folder };
        let mut compile = guest.command();
        compile.arg("--compile").arg(&guest.compiled).arg(MODULE);
        ensure!(compile.status()?.success(), "the module cannot be compiled");
        Ok(guest)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.runner);
        command.args(["--memory", &MEMORY.to_string(), "--dir"]).arg(&self.work);
        command.env_clear().stdin(Stdio::null());
        command
    }

    fn alone(&self, compiled: bool) -> Result<Duration> {
        let mut command = self.command();
        if compiled {
            command.arg("--compiled").arg(&self.compiled);
        }
        command.arg(MODULE).stdout(Stdio::null());
        let begun = Instant::now();
        let status = command.status()?;
        let took = begun.elapsed();
        ensure!(status.success(), "the guest ended with {status}");
        Ok(took)
    }

    fn sandboxed(&self, compiled: bool) -> Result<Duration> {
        let memory = MEMORY.to_string();
        let mut command = vec![RUNNER, "--memory", &memory, "--dir", "/work"];
        let mut read_only = vec![(self.runner.clone(), RUNNER.into())];
        if compiled {
            command.extend(["--compiled", COMPILED]);
            read_only.push((self.compiled.clone(), COMPILED.into()));
        }
        command.push(MODULE);
        let command = command.into_iter().map(str::to_owned).collect();
        let mut spec = Spec::new(command, self.work.clone());
        spec.read_only = read_only;
        spec.toolchain = false;
        self.time(&spec)
    }

    fn nothing(&self) -> Result<Duration> {
        self.time(&Spec::new(vec!["/bin/true".to_owned()], self.work.clone()))
    }

    fn time(&self, spec: &Spec) -> Result<Duration> {
        let begun = Instant::now();
        let outcome = self.sandbox.run(spec)?;
        let took = begun.elapsed();
        match outcome.ending {
            Ending::Exited { code: 0 } => Ok(took),
            ending => bail!("{:?} ended with {ending:?}", spec.command),
        }
    }
}

/// Prints a line, which takes what all guests need: memory, an import and an entry.
fn greeting() -> Result<Vec<u8>> {
    Ok(wat::parse_str(
        r#"(module
          (import "wasi_snapshot_preview1" "fd_write"
            (func $fd_write (param i32 i32 i32 i32) (result i32)))
          (memory (export "memory") 1)
          (data (i32.const 0) "\08\00\00\00\06\00\00\00hello\n")
          (func (export "_start")
            (drop (call $fd_write
              (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 16)))))"#,
    )?)
}
