//! The command line.

use std::path::PathBuf;

use clap::{Parser, value_parser};

/// The engine does not tell its version; a test holds this one against the lock file.
macro_rules! engine_version {
    () => {
        "48.0.8"
    };
}

/// Runs one WebAssembly module with WASI preview 1, or a component with preview 2.
///
/// With `--features` alone it prints in JSON what guests may use, and runs nothing.
#[derive(Debug, Parser)]
#[command(name = "talkoot-wasm-runner", version = VERSION)]
pub struct Arguments {
    /// Bytes that the guest's memories and tables may take together.
    ///
    /// Growing beyond fails as WebAssembly says, so the guest's `malloc` returns null.
    #[arg(long, value_name = "BYTES")]
    pub memory: u64,

    /// Instructions, roughly, that the guest may execute; unlimited, and up to a half faster, if
    /// absent.
    #[arg(long, value_name = "UNITS")]
    pub fuel: Option<u64>,

    /// Folder on this machine that the guest sees as `/work`.
    #[arg(long, value_name = "FOLDER")]
    pub dir: PathBuf,

    /// Bytes of private memory that this process may take, all in all.
    #[arg(long, value_name = "BYTES")]
    pub data: Option<u64>,

    /// Bytes of the largest file that may be written.
    #[arg(long, value_name = "BYTES")]
    pub file_size: Option<u64>,

    /// Seconds of processor time, compiling included.
    #[arg(long, value_name = "SECONDS")]
    pub cpu: Option<u64>,

    /// User, and group of the same number, to become before anything of the job is read; for root,
    /// on Linux. Paths are then looked up with that user's rights.
    #[arg(long, value_name = "UID", value_parser = value_parser!(u32).range(1..))]
    pub user: Option<u32>,

    /// Bytes that files may take together that are open but have no name any more; beyond that the
    /// process ends with SIGXFSZ. On Linux and macOS.
    #[arg(long, value_name = "BYTES")]
    pub unlinked: Option<u64>,

    /// Files that may be open at a time, the runner's own included.
    #[arg(long, value_name = "COUNT")]
    pub open_files: Option<u64>,

    /// End at once when the thread that started this process ends, or now, if the process that
    /// started it is no longer PID; on Linux.
    #[arg(long, value_name = "PID")]
    pub end_with_parent: Option<u32>,

    /// End at once when standard input does: for a parent that holds the other end of it for as long as it lives, where
    /// the system does not end a process with its parent.
    #[arg(long)]
    pub end_with_input: bool,

    /// Variable in the guest's environment; may be repeated.
    #[arg(long = "env", value_name = "NAME=VALUE", value_parser = variable)]
    pub variables: Vec<(String, String)>,

    /// New file for a report in JSON of how the guest ended; must lie outside the guest's folder.
    #[arg(long, value_name = "FILE")]
    pub report: Option<PathBuf>,

    /// Compiles the module into this new file, and runs nothing. What is to be metered is compiled with
    /// `--fuel`, however much.
    #[arg(long, value_name = "FILE", conflicts_with = "compiled")]
    pub compile: Option<PathBuf>,

    /// What `--compile` has made of the module: it is run instead, unless it was made by another
    /// engine or with other settings. It becomes code of this process, so nobody whom you would not
    /// let run programs may ever have written to it. Opened before this process becomes `--user`.
    #[arg(long, value_name = "FILE")]
    pub compiled: Option<PathBuf>,

    /// The module or component, in WebAssembly's binary format: a file inside the guest's folder, with its path
    /// from there. Links are not followed, as the guest may have made them.
    ///
    /// `--` before it keeps it and what follows from being taken for options.
    #[arg(value_name = "MODULE")]
    pub module: PathBuf,

    /// Arguments for the guest.
    #[arg(value_name = "ARGUMENT")]
    pub guest: Vec<String>,
}

/// The engine's version is part of ours: it decides what a module computes and what it costs.
const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), " (wasmtime ", engine_version!(), ")");

/// The version of the engine that this program is built with.
pub const ENGINE_VERSION: &str = engine_version!();

/// The only argument with which this program says what its engine can do, and runs nothing.
pub const FEATURES: &str = "--features";

impl Arguments {
    /// Reads the command line of this process.
    ///
    /// # Errors
    ///
    /// Wrong usage, or a request for help or for the version, which is to be printed as it is.
    pub fn from_command_line() -> Result<Self, clap::Error> {
        Self::try_parse()
    }
}

fn variable(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test")]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, clap::Error> {
        Arguments::try_parse_from(line.split(' '))
    }

    #[test]
    fn what_follows_the_dashes_is_the_guests() {
        let arguments =
            parse("runner --memory 1 --dir . --env A=1=2 --env B= m.wasm -- --memory x").unwrap();

        assert_eq!(arguments.guest, ["--memory", "x"]);
        assert_eq!(arguments.memory, 1);
        let variables = [("A".into(), "1=2".into()), ("B".into(), String::new())];
        assert_eq!(arguments.variables, variables);
    }

    #[test]
    fn nothing_after_the_dashes_is_an_option() {
        let arguments = parse("runner --memory 1 --dir . -- --help -- --dir /").unwrap();

        assert_eq!(arguments.module, PathBuf::from("--help"));
        assert_eq!(arguments.guest, ["--", "--dir", "/"]);
    }

    #[test]
    fn a_variable_needs_a_name_and_a_sign() {
        for wrong in ["A", "=1", "="] {
            parse(&format!("runner --memory 1 --dir . --env {wrong} m.wasm")).unwrap_err();
        }
    }

    #[test]
    fn the_version_names_the_engine_that_is_built_in() {
        let lock = include_str!("../../../Cargo.lock");
        let (_, entry) = lock.split_once("name = \"wasmtime\"\nversion = \"").unwrap();
        let (locked, _) = entry.split_once('"').unwrap();

        assert_eq!(VERSION, format!("{} (wasmtime {locked})", env!("CARGO_PKG_VERSION")));
    }
}
