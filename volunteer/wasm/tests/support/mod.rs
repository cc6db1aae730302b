//! Runs the built binary on modules that are assembled here.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// A module with its folder, and the command line to run it.
pub struct Run {
    scratch: TempDir,
    memory: u64,
    options: Vec<String>,
    shell_limits: Option<&'static str>,
}

/// The module's name in the guest's folder.
pub const MODULE: &str = "guest.wasm";

pub const MIB: u64 = 1 << 20;

impl Run {
    /// A run of the module `text`, in WebAssembly's text format.
    pub fn of_text(text: &str) -> Self {
        Self::of_bytes(&wat::parse_str(text).unwrap())
    }

    /// A run of a file with `bytes` in it.
    pub fn of_bytes(bytes: &[u8]) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        let run = Self { scratch, memory: 16 * MIB, options: Vec::new(), shell_limits: None };
        std::fs::create_dir(run.work()).unwrap();
        std::fs::write(run.module(), bytes).unwrap();
        run
    }

    pub fn memory(mut self, bytes: u64) -> Self {
        self.memory = bytes;
        self
    }

    pub fn option(mut self, name: &str, value: impl Into<String>) -> Self {
        self.options.extend([name.to_owned(), value.into()]);
        self
    }

    /// Runs behind a shell that first obeys `ulimit` with `limits`.
    pub fn limited(mut self, limits: &'static str) -> Self {
        self.shell_limits = Some(limits);
        self
    }

    /// The folder that holds everything below.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    pub fn work(&self) -> PathBuf {
        self.scratch().join("work")
    }

    pub fn module(&self) -> PathBuf {
        self.work().join(MODULE)
    }

    pub fn report(&self) -> PathBuf {
        self.scratch().join("report.json")
    }

    pub fn start(&self) -> Ended {
        self.start_with(&[])
    }

    /// Starts the guest with `arguments`.
    pub fn start_with(&self, arguments: &[&str]) -> Ended {
        let mut command = self.program();
        command
            .env("HOST_SECRET", "seen")
            .args(["--memory", &self.memory.to_string(), "--dir"])
            .arg(self.work())
            .args(&self.options)
            .arg(MODULE)
            .arg("--")
            .args(arguments);
        Ended::new(&command.output().unwrap())
    }

    fn program(&self) -> Command {
        let mut command = match self.shell_limits {
            None => Command::new(RUNNER),
            Some(limits) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit {limits} && exec \"$0\" \"$@\""), RUNNER]);
                shell
            }
        };
        // A file with something in it, so that reading it would show.
        command.stdin(Stdio::from(std::fs::File::open(self.module()).unwrap()));
        command
    }
}

pub const RUNNER: &str = env!("CARGO_BIN_EXE_talkoot-wasm-runner");

/// What is left of a run.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    pub fn new(output: &Output) -> Self {
        Self {
            code: output.status.code().expect("no signal ended the runner"),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Asserts that the guest exited with `code`, and that the runner was silent.
    #[track_caller]
    pub fn expect_exit(&self, code: i32) -> &Self {
        assert_eq!((self.code, self.stderr.as_str()), (code, ""), "{self:?}");
        self
    }

    /// Asserts the runner's exit code and its last line.
    #[track_caller]
    pub fn expect_verdict(&self, code: i32, last_line: &str) -> &Self {
        assert_eq!(self.code, code, "{self:?}");
        let last = self.stderr.lines().next_back().unwrap_or_default();
        assert!(last.starts_with("talkoot-wasm-runner: "), "{self:?}");
        assert!(last.contains(last_line), "{self:?}");
        self
    }
}
