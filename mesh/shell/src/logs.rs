//! Logs: structured, to standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

use crate::exit::{Exit, Failure, Outcome};

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

/// Starts logging. To be called once.
pub fn start(args: &LogArgs) -> Outcome {
    let filter = EnvFilter::try_new(&args.log).map_err(|error| {
        Failure::new(Exit::Usage, error)
            .hint("--log takes a level: error, warn, info, debug, trace")
    })?;
    let logs = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match args.log_format {
        LogFormat::Text => logs.init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
    Ok(())
}
