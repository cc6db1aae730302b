//! What it takes to run `true` in the sandbox for native jobs, beside bubblewrap and a bare process.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use volunteer_sandbox::{Cgroups, Ending, Helper, Sandbox, Spec};

use crate::figures::machine;
use crate::programs::{Common, Programs};

/// Runs of each before those that count.
const WARM_UP: u32 = 10;

/// What `bench sandbox` takes.
#[derive(Debug, Args)]
pub struct SandboxArgs {
    #[command(flatten)]
    common: Common,
    /// Runs of each.
    #[arg(long, default_value_t = 300)]
    runs: u32,
}

/// Measures from the start to the exit code, as the daemon starts a step; each in turns, so that the load of the machine
/// is the same for all.
pub fn run(args: &SandboxArgs) -> Result<()> {
    ensure!(args.runs > 0, "no runs, no figures");
    let programs = Programs::make(&args.common)?;
    let mut sandbox = Sandbox::new(Helper { exe: programs.path(Helper::NAME) });
    if let Ok(groups) = Cgroups::find() {
        sandbox = sandbox.in_groups(groups);
    }
    let work = programs.directory().join("work");
    std::fs::create_dir(&work)?;
    let spec = Spec::new(vec!["true".to_owned()], work.clone());
    let bubblewrap = Command::new("bwrap").arg("--version").output().is_ok();

    let (mut own, mut other, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..WARM_UP + args.runs {
        let counts = run >= WARM_UP;
        own.extend(timed(|| run_in_sandbox(&sandbox, &spec))?.filter(|_| counts));
        bare.extend(timed(|| run_command(&mut Command::new("true")))?.filter(|_| counts));
        if bubblewrap {
            other.extend(timed(|| run_command(&mut in_bubblewrap(&work)))?.filter(|_| counts));
        }
    }
    println!("`true` from start to exit, {} runs in turns, on {}", args.runs, machine());
    println!("  native sandbox: {}", quantiles(own));
    if bubblewrap {
        println!("  bubblewrap:     {}", quantiles(other));
    } else {
        println!("  bubblewrap:     not installed");
    }
    println!("  bare process:   {}", quantiles(bare));
    Ok(())
}

fn timed(run: impl FnOnce() -> Result<()>) -> Result<Option<Duration>> {
    let began = Instant::now();
    run()?;
    Ok(Some(began.elapsed()))
}

fn run_in_sandbox(sandbox: &Sandbox, spec: &Spec) -> Result<()> {
    match sandbox.run(spec)?.ending {
        Ending::Exited { code: 0 } => Ok(()),
        other => bail!("the sandbox ended with {other:?}"),
    }
}

fn run_command(command: &mut Command) -> Result<()> {
    let program = command.get_program().display().to_string();
    let status = command.stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {program}"))?;
    ensure!(status.success(), "{program} ended with {status}");
    Ok(())
}

/// `true` behind all the namespaces that the sandbox has, with the same programs in sight, and with no filter.
fn in_bubblewrap(work: &Path) -> Command {
    let mut command = Command::new("bwrap");
    command.args(["--unshare-all", "--die-with-parent", "--new-session", "--clearenv"]);
    for path in ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/etc/ld.so.cache"] {
        command.args(["--ro-bind-try", path, path]);
    }
    command.args(["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]);
    command.arg("--bind").arg(work).args(["/work", "--chdir", "/work", "/usr/bin/true"]);
    command
}

fn quantiles(mut samples: Vec<Duration>) -> String {
    samples.sort_unstable();
    let at = |percent: usize| samples[(samples.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    let [least, median, most, worst] = [0, 50, 90, 99].map(at);
    format!("min {least:.1} ms, median {median:.1} ms, p90 {most:.1} ms, p99 {worst:.1} ms")
}
