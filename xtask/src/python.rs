//! The client in Python (`examples/python-client`): its packages, and what the checks ask of it.
//!
//! The two directions of one question: does it judge what we made as we do, and do we take what it
//! makes?

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use capability::statements::{Ad, Delegation, Offer};
use capability::{Ed25519, Payload, Runtime, StatementId, Timestamp, Verified, evaluate};
use xtask::tools::{self, output, run};

/// Packages of Debian that bring Python and its virtual environments.
pub const DEBIAN_PACKAGES: [&str; 2] = ["python3", "python3-venv"];

/// What is missing where no such Python is.
pub const PROGRAM: &str = "python3 from 3.11.4, with venv";

/// The oldest Python that has all that the client uses.
const OLDEST: &str = "(3, 11, 4)";

/// Whether there is a Python that can make an environment for the client.
pub fn is_here() -> bool {
    let question = format!("import sys, venv, ensurepip; sys.exit(sys.version_info < {OLDEST})");
    let mut python = Command::new("python3");
    python.args(["-c", &question]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

/// The client's environment below the folder of what is built.
pub struct Environment {
    folder: PathBuf,
}

impl Environment {
    /// Where it is, or will be.
    pub fn new() -> Result<Self> {
        let built = tools::programs()?;
        let target = built.parent().context("programs are built below a target folder")?;
        Ok(Self { folder: target.join("python-client") })
    }

    /// Whether its packages are those that are pinned.
    pub fn is_ready(&self) -> bool {
        let installed = fs::read(self.installed()).ok();
        installed.is_some() && installed == fs::read(pinned()).ok()
    }

    /// Makes it anew, with the pinned packages.
    pub fn install(&self) -> Result<()> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)
                .with_context(|| format!("cannot remove {}", self.folder.display()))?;
        }
        run(Command::new("python3").args(["-m", "venv"]).arg(self.folder.join("venv")))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"];
        run(self.python().args(pip).arg("--requirement").arg(pinned()))?;
        // Last, so that what was interrupted is not taken for ready.
        fs::copy(pinned(), self.installed()).context("cannot note what was installed")?;
        Ok(())
    }

    /// Lets the client judge the vectors, test itself, and make statements for us to judge.
    pub fn check(&self) -> Result<()> {
        let talkoot = ["-m", "talkoot"];
        run(self.python().args(talkoot).args(["verify", "../../docs/spec/vectors"]))?;
        run(self.python().args(["-m", "unittest"]).args(test_modules()?))?;
        let made = self.folder.join("made");
        if made.exists() {
            fs::remove_dir_all(&made)
                .with_context(|| format!("cannot clear {}", made.display()))?;
        }
        let list = output(self.python().args(talkoot).arg("make").arg(&made))?;
        let now = SystemTime::now().into();
        let taken = list.lines().map(|line| take(line, &made, now)).collect::<Result<Vec<_>>>()?;
        ensure!(taken.len() > 3, "the client made {} statements, and should more", taken.len());
        fits(&made)?;
        println!("took {} statements of the client: {}", taken.len(), taken.join(", "));
        Ok(())
    }

    /// `python -m MODULE`, without arguments.
    pub fn module(&self, module: &str) -> Command {
        let mut python = self.python();
        python.args(["-m", module]);
        python
    }

    fn python(&self) -> Command {
        let mut python = Command::new(self.folder.join("venv/bin/python"));
        python.current_dir(client()).env("PYTHONDONTWRITEBYTECODE", "1");
        python
    }

    fn installed(&self) -> PathBuf {
        self.folder.join("installed.txt")
    }
}

/// Judges one statement by the client's line about it: kind, id and name. Gives the name.
fn take(line: &str, made: &Path, now: Timestamp) -> Result<String> {
    let words: Vec<_> = line.split(' ').collect();
    let &[kind, id, name] = words.as_slice() else { bail!("{line:?} is no kind, id and name") };
    let id = match kind {
        "1" => read::<Ad>(made, name, now)?.id() == id.parse::<StatementId>()?,
        "4" => read::<Delegation>(made, name, now)?.id() == id.parse::<StatementId>()?,
        "6" => read::<Offer>(made, name, now)?.id() == id.parse::<StatementId>()?,
        other => bail!("{name} is of kind {other}, which the client does not make"),
    };
    ensure!(id, "{name} has another id here than {line:?} says");
    Ok(name.to_owned())
}

/// The client's machine can run the client's offer, as it says itself.
fn fits(made: &Path) -> Result<()> {
    let now = SystemTime::now().into();
    let (ad, offer) = (read::<Ad>(made, "ad", now)?, read::<Offer>(made, "offer", now)?);
    let found = evaluate(&ad.capabilities, &offer.requirements)?;
    ensure!(found.runtime == Runtime::Native, "the offer runs in {}", found.runtime);
    Ok(())
}

fn read<T: Payload>(made: &Path, name: &str, now: Timestamp) -> Result<Verified<T>> {
    let path = made.join(name).with_extension("cbor");
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let statement = Verified::<T>::parse(&bytes, &Ed25519)
        .with_context(|| format!("the client's {name} is refused"))?;
    statement.current(now).with_context(|| format!("the client's {name} does not hold"))?;
    Ok(statement)
}

/// By name, because `unittest` is content with no test at all.
fn test_modules() -> Result<Vec<String>> {
    let folder = client().join("tests");
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", folder.display()))?;
    let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
    let names = names.collect::<std::io::Result<Vec<_>>>()?;
    let stems = names.iter().filter_map(|name| name.strip_suffix(".py"));
    let mut modules: Vec<_> = stems
        .filter(|stem| stem.starts_with("test_"))
        .map(|stem| format!("tests.{stem}"))
        .collect();
    modules.sort();
    ensure!(!modules.is_empty(), "no tests in {}", folder.display());
    Ok(modules)
}

fn client() -> PathBuf {
    tools::root().join("examples/python-client")
}

fn pinned() -> PathBuf {
    client().join("requirements.txt")
}
