//! The same C, compiled for this processor and for WebAssembly by the same compiler.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::figures::machine;
use crate::programs::{Common, Programs};

/// What `bench kernels` takes.
#[derive(Debug, Args)]
pub struct KernelsArgs {
    #[command(flatten)]
    common: Common,
    /// Runs of each program, of which the fastest counts.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Fails if WebAssembly takes more than so many times as long.
    #[arg(long, default_value_t = 1.2)]
    at_most: f64,
}

/// By their names, which those of the files in `kernels` are.
const KERNELS: [&str; 5] = ["xorshift", "matmul", "sieve", "saxpy", "hash"];

/// Compiles and runs each, in turns, and compares the processor time.
pub fn run(args: &KernelsArgs) -> Result<()> {
    ensure!(args.runs > 0, "nothing to measure in no runs");
    let programs = Programs::make(&args.common)?;
    println!("processor time, the least of {}, on {}", args.runs, machine());
    let mut slow = Vec::new();
    for name in KERNELS {
        let kernel = Kernel::compile(name, programs.directory())?;
        let (native, wasm) = kernel.measure(&programs, args.runs)?;
        let ratio = wasm / native;
        println!("  {name:<10} native {native:6.3} s, wasm {wasm:6.3} s, ratio {ratio:5.2}");
        if ratio > args.at_most {
            slow.push(name);
        }
    }
    ensure!(slow.is_empty(), "over {} times as long: {}", args.at_most, slow.join(", "));
    Ok(())
}

/// A kernel, compiled twice.
struct Kernel {
    folder: PathBuf,
    native: PathBuf,
    module: String,
}

impl Kernel {
    fn compile(name: &str, folder: &Path) -> Result<Self> {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("kernels/{name}.c"));
        let native = folder.join(name);
        clang(&["-O2"], &source, &native)?;
        let module = format!("{name}.wasm");
        let target = ["--target=wasm32-wasi", "--sysroot=/usr", "-O2", "-msimd128"];
        clang(&target, &source, &folder.join(&module))?;
        Ok(Self { folder: folder.to_owned(), native, module })
    }

    /// Seconds of processor time of the fastest of `runs`, native and as WebAssembly.
    fn measure(&self, programs: &Programs, runs: usize) -> Result<(f64, f64)> {
        /// Bytes; the sieve takes 50 MB.
        const MEMORY: &str = "268435456";
        let compiled = self.folder.join("compiled");
        let runner = || {
            let mut runner = Command::new(programs.path("talkoot-wasm-runner"));
            runner.args(["--memory", MEMORY, "--dir"]).arg(&self.folder);
            runner
        };
        let _ = std::fs::remove_file(&compiled);
        ensure!(
            runner().arg("--compile").arg(&compiled).arg(&self.module).status()?.success(),
            "{} cannot be compiled",
            self.module
        );
        let (mut native, mut wasm) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..runs {
            let (took, said) = time(&mut Command::new(&self.native))?;
            native = native.min(took);
            let mut guest = runner();
            let (took, says) = time(guest.arg("--compiled").arg(&compiled).arg(&self.module))?;
            wasm = wasm.min(took);
            ensure!(said == says, "{} computes something else as WebAssembly", self.module);
        }
        Ok((native, wasm))
    }
}

fn clang(options: &[&str], source: &Path, target: &Path) -> Result<()> {
    const MISSING: &str = "is there all of clang, lld, wasi-libc and libclang-rt-dev-wasm32? \
                           (apt-get install clang lld wasi-libc libclang-rt-dev-wasm32)";
    let mut command = Command::new("clang");
    command.args(options).arg(source).arg("-o").arg(target);
    if command.status().context(MISSING)?.success() {
        return Ok(());
    }
    bail!("clang fails; {MISSING}")
}

/// Runs `command`; gives its processor time in seconds and what it printed.
fn time(command: &mut Command) -> Result<(f64, Vec<u8>)> {
    let before = children()?;
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{command:?} ended with {}", output.status);
    Ok((children()? - before, output.stdout))
}

/// Seconds of processor time of all children that have ended, to the hundredth that Linux counts.
fn children() -> Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    // Behind the name, which can hold anything, `cutime` and `cstime` are numbers 14 and 15.
    let (_, fields) = stat.rsplit_once(')').context("a line of /proc")?;
    let ticks = fields.split_whitespace().skip(13).take(2).map(str::parse::<u32>);
    let ticks: u32 = ticks.sum::<Result<_, _>>()?;
    Ok(f64::from(ticks) / 100.0)
}
