//! `cargo xtask check`: every check, in the order in which they fail fastest.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;

use xtask::tools::{self, cargo, output, run};

use crate::python::{self, Environment};
use crate::python_volunteer;

/// What `cargo xtask check` takes.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Installs what is missing (Debian packages, cargo tools) first. Without it nothing is
    /// installed, and what is missing is named.
    #[arg(long)]
    setup: bool,
    /// Runs only the checks whose name contains this.
    #[arg(long)]
    only: Option<String>,
}

/// One check.
struct Check {
    name: &'static str,
    run: fn() -> Result<Verdict>,
}

/// How a check that did not fail ended.
enum Verdict {
    Passed,
    /// It could not run here; why. In CI that is a failure.
    Skipped(String),
}

const CHECKS: &[Check] = &[
    Check { name: "format", run: format },
    Check { name: "purity of the cores", run: purity },
    Check { name: "python client", run: python_client },
    Check { name: "clippy", run: clippy },
    Check { name: "other platforms", run: other_platforms },
    Check { name: "tests", run: tests },
    Check { name: "doc tests", run: doc_tests },
    Check { name: "documentation", run: documentation },
    Check { name: "dependencies", run: dependencies },
    Check { name: "python volunteer", run: python_volunteer },
    Check { name: "demo", run: demo },
];

/// Crates that must not know of time, network or disk.
const CORES: [&str; 5] =
    ["capability", "mesh-core", "broker-core", "volunteer-core", "master-core"];

/// What a core must not depend on, however indirectly.
const FORBIDDEN: [&str; 9] = [
    "tokio",
    "libp2p",
    "sled",
    "mio",
    "async-std",
    "rustix",
    "getrandom",
    "mesh-net",
    "mesh-store",
];

/// Platforms that no machine of ours is: what is written for them is compiled at least.
const OTHER_PLATFORMS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-pc-windows-gnu"];

/// Programs that the checks use, and the Debian packages that have them.
const PROGRAMS: [(&str, &str); 11] = [
    ("cc", "gcc"),
    ("make", "make"),
    ("git", "git"),
    ("setpriv", "util-linux"),
    ("ip", "iproute2"),
    ("curl", "curl"),
    ("faketime", "faketime"),
    ("chromium", "chromium"),
    ("chromedriver", "chromium-driver"),
    ("systemd-analyze", "systemd"),
    ("podman", "podman"),
];

/// Runs the checks; all of them, even after a failure, so that one run tells everything.
pub fn run_all(args: &CheckArgs) -> Result<()> {
    if args.setup {
        setup()?;
    }
    let missing = missing_programs();
    if !missing.is_empty() {
        println!("missing here: {} (cargo xtask check --setup installs them)", missing.join(", "));
    }
    let ci = std::env::var_os("CI").is_some();
    let mut rows = Vec::new();
    for check in CHECKS {
        if args.only.as_deref().is_some_and(|only| !check.name.contains(only)) {
            continue;
        }
        println!("\n== {}", check.name);
        let started = Instant::now();
        let (passed, verdict) = match (check.run)() {
            Ok(Verdict::Passed) => (true, "passed".to_owned()),
            Ok(Verdict::Skipped(why)) if ci => {
                (false, format!("skipped, which fails in CI: {why}"))
            }
            Ok(Verdict::Skipped(why)) => (true, format!("SKIPPED: {why}")),
            Err(error) => (false, format!("FAILED: {error:#}")),
        };
        println!("-- {}: {verdict}", check.name);
        rows.push((check.name, passed, started.elapsed(), verdict));
    }
    if rows.is_empty() {
        let names: Vec<_> = CHECKS.iter().map(|check| check.name).collect();
        bail!("no check has that name; there are: {}", names.join(", "));
    }
    summarize(&rows)
}

fn summarize(rows: &[(&str, bool, Duration, String)]) -> Result<()> {
    println!("\n== summary");
    for (name, _, took, verdict) in rows {
        println!("{name:22} {:6.1} s  {verdict}", took.as_secs_f64());
    }
    let failed = rows.iter().filter(|(_, passed, ..)| !passed).count();
    println!("\n{} passed, {failed} failed", rows.len() - failed);
    if failed == 0 { Ok(()) } else { bail!("{failed} of {} checks failed", rows.len()) }
}

fn format() -> Result<Verdict> {
    run(cargo().args(["fmt", "--all", "--check"]))?;
    Ok(Verdict::Passed)
}

/// No core depends on a runtime, a network, a disk or a source of randomness. That none reads a
/// clock is clippy's part (`clippy.toml` in each core).
fn purity() -> Result<Verdict> {
    for core in CORES {
        let tree = output(cargo().args([
            "tree",
            "--locked",
            "--package",
            core,
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}",
        ]))?;
        let names = tree.lines().filter_map(|line| line.split_whitespace().next());
        let found = names.filter(|name| {
            FORBIDDEN.iter().any(|bad| name == bad || name.starts_with(&format!("{bad}-")))
        });
        let found: Vec<_> = found.collect();
        if !found.is_empty() {
            bail!("{core} depends on {}", found.join(", "));
        }
        let bans = tools::root().join(core_folder(core)).join("clippy.toml");
        if !std::fs::read_to_string(&bans)?.contains("std::time::Instant::now") {
            bail!("{} does not ban the clock", bans.display());
        }
        println!("{core}: pure");
    }
    Ok(Verdict::Passed)
}

fn core_folder(core: &str) -> &'static str {
    match core {
        "mesh-core" => "mesh/core",
        "broker-core" => "broker/core",
        "volunteer-core" => "volunteer/core",
        "master-core" => "master-adapter/core",
        _ => "capability",
    }
}

/// Ours and an independent client agree.
fn python_client() -> Result<Verdict> {
    let environment = Environment::new()?;
    if !environment.is_ready() {
        let why = "the packages of examples/python-client are not installed; --setup does it";
        return Ok(Verdict::Skipped(why.to_owned()));
    }
    environment.check()?;
    Ok(Verdict::Passed)
}

/// A volunteer that shares no code with ours does a job of a real master.
fn python_volunteer() -> Result<Verdict> {
    let environment = Environment::new()?;
    if !environment.is_ready() {
        return Ok(Verdict::Skipped("as the python client, which is not installed".to_owned()));
    }
    if !tools::programs()?.join("talkoot-broker").exists() {
        return Ok(Verdict::Skipped("the programs are not built: `cargo build`".to_owned()));
    }
    python_volunteer::check(&environment)?;
    Ok(Verdict::Passed)
}

fn clippy() -> Result<Verdict> {
    run(cargo().args(["clippy", "--workspace", "--all-targets", "--locked", "--", "-Dwarnings"]))?;
    Ok(Verdict::Passed)
}

/// Of the one crate that has modules for other platforms, and no C in what it depends on, for which a compiler for
/// each of them would be needed.
fn other_platforms() -> Result<Verdict> {
    for platform in OTHER_PLATFORMS {
        if !has_standard_library(platform)? {
            bail!("Rust's standard library for {platform} is not installed; --setup does it");
        }
        let mut clippy = cargo();
        clippy.args(["clippy", "--package", "volunteer-sandbox", "--lib", "--bins", "--tests"]);
        run(clippy.args(["--locked", "--target", platform, "--", "-Dwarnings"]))?;
    }
    Ok(Verdict::Passed)
}

/// Whether programs can be compiled for `platform`.
fn has_standard_library(platform: &str) -> Result<bool> {
    let mut rustc = Command::new("rustc");
    let folder = output(rustc.args(["--print", "target-libdir", "--target", platform]))?;
    Ok(std::path::Path::new(folder.trim()).is_dir())
}

/// In release, because the stories run the programs as people run them. Cargo builds the programs
/// with the tests; to build them apart would compile most crates once more, with other features.
fn tests() -> Result<Verdict> {
    run(cargo().args([
        "test",
        "--release",
        "--workspace",
        "--locked",
        "--lib",
        "--bins",
        "--tests",
        "--examples",
        // One run tells everything.
        "--no-fail-fast",
    ]))?;
    Ok(Verdict::Passed)
}

fn doc_tests() -> Result<Verdict> {
    run(cargo().args(["test", "--release", "--workspace", "--locked", "--doc"]))?;
    Ok(Verdict::Passed)
}

fn documentation() -> Result<Verdict> {
    let mut doc = cargo();
    doc.args(["doc", "--workspace", "--locked", "--no-deps", "--document-private-items"]);
    run(doc.env("RUSTDOCFLAGS", "-Dwarnings"))?;
    Ok(Verdict::Passed)
}

/// Licences, sources and bans; advisories only where their database is at hand.
fn dependencies() -> Result<Verdict> {
    for platform in OTHER_PLATFORMS {
        if !has_standard_library(platform)? {
            run(Command::new("rustup").args(["target", "add", platform]))?;
        }
    }
    if !tools::exists("cargo-deny") {
        return Ok(Verdict::Skipped("cargo-deny is not installed".to_owned()));
    }
    run(cargo().args(["deny", "--offline", "check", "licenses", "bans", "sources"]))?;
    if has_advisories() {
        run(cargo().args(["deny", "--offline", "check", "advisories"]))?;
    } else {
        println!("advisories: no database on this machine (`cargo deny fetch` brings it)");
    }
    Ok(Verdict::Passed)
}

/// Whether cargo-deny has fetched an advisory database.
fn has_advisories() -> bool {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo")));
    let databases = home.and_then(|home| std::fs::read_dir(home.join("advisory-dbs")).ok());
    databases.into_iter().flatten().flatten().any(|entry| entry.path().join("crates").is_dir())
}

fn demo() -> Result<Verdict> {
    // By its path: this very file was replaced when the tests were built.
    let programs = tools::programs()?;
    let own = format!("xtask{}", std::env::consts::EXE_SUFFIX);
    let mut demo = Command::new(programs.join(own));
    demo.arg("demo").arg("--programs").arg(programs).current_dir(tools::root());
    run(&mut demo)?;
    Ok(Verdict::Passed)
}

fn missing_programs() -> Vec<&'static str> {
    let programs = PROGRAMS.iter().map(|(program, _)| *program);
    let missing = programs.filter(|program| !tools::exists(program));
    missing.chain((!python::is_here()).then_some(python::PROGRAM)).collect()
}

/// Installs what a new Debian machine lacks.
fn setup() -> Result<()> {
    let missing = missing_programs();
    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    let environment = Environment::new()?;
    if python::is_here() && !environment.is_ready() {
        println!("installing the packages of the client in Python");
        environment.install()?;
    }
    for component in ["clippy", "rustfmt"] {
        if !tools::exists(&format!("cargo-{}", component.trim_start_matches("rust"))) {
            run(Command::new("rustup").args(["component", "add", component]))?;
        }
    }
    if !tools::exists("cargo-deny") {
        println!("installing cargo-deny, which takes some minutes");
        run(cargo().args(["install", "--locked", "cargo-deny"]))?;
    }
    // It looks at the crates of all platforms, of which a build here has fetched its own.
    run(cargo().args(["fetch", "--locked"]))
}

fn install_packages(programs: &[&str]) -> Result<()> {
    let packages = PROGRAMS.iter().filter(|(program, _)| programs.contains(program));
    let python = programs.contains(&python::PROGRAM).then_some(python::DEBIAN_PACKAGES);
    let packages = packages.map(|(_, deb)| *deb).chain(python.into_iter().flatten());
    let packages: Vec<_> = packages.collect();
    println!("installing {}", packages.join(", "));
    run(Command::new("apt-get").arg("update").arg("--quiet"))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "--yes", "--no-install-recommends"]).args(packages);
    run(install.env("DEBIAN_FRONTEND", "noninteractive"))
}
