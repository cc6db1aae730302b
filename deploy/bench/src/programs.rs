//! The programs, and the folder that they keep their states and logs in.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use clap::Args;
use tempfile::TempDir;

use crate::processes::{self, Process};

/// What every benchmark takes.
#[derive(Debug, Args)]
pub struct Common {
    /// What the programs log; `warn` shows what the logs cost.
    #[arg(long, default_value = "info")]
    pub log: String,
    /// Takes the programs as they are, instead of building them.
    #[arg(long)]
    pub built: bool,
}

/// See the module. What is in the folder goes when this is dropped.
pub struct Programs {
    programs: PathBuf,
    directory: TempDir,
    log: String,
}

impl Programs {
    /// Builds the programs in release, unless they are to be taken as they are.
    pub fn make(common: &Common) -> Result<Self> {
        let built = if common.built { xtask::tools::programs() } else { processes::build() };
        Self::in_folder(built?, &common.log)
    }

    /// The same programs, with nothing kept.
    pub fn afresh(&self) -> Result<Self> {
        Self::in_folder(self.programs.clone(), &self.log)
    }

    fn in_folder(programs: PathBuf, log: &str) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("talkoot-bench-").tempdir()?;
        Ok(Self { programs, directory, log: log.to_owned() })
    }

    /// The folder of states and logs.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Where `program` is.
    pub fn path(&self, program: &str) -> PathBuf {
        self.programs.join(program)
    }

    /// `program` with the state of process `name`, and with the default configuration whatever this
    /// machine is configured to.
    pub fn command(&self, program: &str, name: &str) -> Command {
        let mut command = Command::new(self.path(program));
        command.arg("--state").arg(self.directory().join(name));
        command.arg("--config").arg("/dev/null");
        command
    }

    /// Starts a daemon, which shows its figures on loopback.
    pub fn start(&self, program: &str, name: &str, args: &[&str]) -> Result<Process> {
        let mut command = self.command(program, name);
        command.args(["run", "--http", "127.0.0.1:0", "--log", &self.log]).args(args);
        Process::start(name, command, self.directory())
    }

    /// Another program of this crate, with its log in the folder too.
    pub fn own(&self, program: &str) -> Command {
        Command::new(self.path(program))
    }
}
