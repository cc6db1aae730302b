//! Logs: structured, to standard error, as text for people or JSON for machines.

use std::io::{self, BufWriter, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure, Outcome};

/// Lines that may wait to be written, some 2 MiB as a rule. Whoever logs one more waits as well: none is dropped
/// while the program runs.
const MAX_WAITING_LINES: usize = 8192;

/// The flags about logs that every daemon has.
#[derive(Debug, Clone, Args)]
pub struct LogArgs {
    /// What to log: a level, or a tracing filter such as `info,talkoot_broker=debug`.
    #[arg(long, env = "TALKOOT_LOG", default_value = "info", global = true)]
    pub log: String,
    /// How to print it.
    #[arg(long, env = "TALKOOT_LOG_FORMAT", value_enum, default_value = "text", global = true)]
    pub log_format: LogFormat,
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Logging, as long as it is held. Lines are written by a thread of their own, those that wait in one
/// piece; dropping this writes the rest, if standard error takes it within a second.
#[must_use = "nothing is written without it"]
pub struct Logging {
    _writer: WorkerGuard,
}

/// Starts logging. To be called once.
pub fn start(args: &LogArgs) -> Outcome<Logging> {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        Failure::new(Exit::Usage, error)
            .hint("--log takes a level: error, warn, info, debug, trace")
    })?;
    let writer = NonBlockingBuilder::default()
        .lossy(false)
        .buffered_lines_limit(MAX_WAITING_LINES)
        .thread_name("logs");
    let (lines, writer) = writer.finish(BufWriter::new(io::stderr()));
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(lines)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(Logging { _writer: writer })
}
