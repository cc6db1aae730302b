//! The commands: what each does with the parsed command line.

mod ask;
mod brought;
mod carried;
mod completions;
mod config;
mod doctor;
mod exec;
mod hand_in;
mod history;
mod init;
mod job_log;
mod jobs;
mod list;
mod owner;
mod policy;
mod project;
mod receipts;
mod service;
mod table;
mod why;

use std::path::Path;

use capability::{JobFile, MAX_JOB_FILE};
use mesh_shell::config::CommonArgs;
use mesh_shell::{
    Exit, Failure, OrExit, Outcome, config as shell_config, escape_json, logs, outln, read_text,
};

use self::ask::STOP;
pub use self::service::Kind;
use crate::arguments::{Arguments, Command, JobCommand, ResultsArgs, ResultsCommand};
use crate::config::ROLE;
use crate::reload::Source;
use crate::{Equipment, daemon};

/// Does what the command line says; a daemon runs jobs with `equipment`.
pub fn run(arguments: Arguments, equipment: Equipment) -> Outcome {
    let Arguments { command, common } = arguments;
    match command {
        Command::Init { yes } => init::init(&common, yes),
        Command::Run(flags) => {
            let _logging = logs::start(&common.logs)?;
            daemon::run(Source::new(common, flags)?, equipment)
        }
        Command::Project { command } => project::run(&common, command),
        Command::List { command } => list::run(&common, command),
        Command::Owner { command } => {
            owner::run(&shell_config::state_dir(ROLE, common.state.as_deref())?, command)
        }
        Command::Policy { job, json } => policy::run(&common, job.as_deref(), json),
        Command::Config { command } => config::run(&common, command),
        Command::Status(shown) => ask::status(&common, &shown),
        Command::Jobs { long, shown } => jobs::jobs(&common, long, &shown),
        Command::Job { command: JobCommand::Import { file, unconfirmed, shown } } => {
            brought::import(&common, &shown, &file, unconfirmed)
        }
        Command::Logs(arguments) => job_log::print(&common, &arguments),
        Command::Why { what, shown } => why::why(&common, what.as_deref(), &shown),
        Command::Results(asked) => results(&common, &asked),
        Command::History(asked) => history::run(&common, &asked),
        Command::Exec(arguments) => exec::run(&common, &arguments, equipment),
        Command::Service { command } => service::run(&common, command),
        Command::Completions { shell } => completions::print(shell),
        Command::Doctor(arguments) => doctor::run(&common, &arguments),
        Command::Page(whom) => ask::page(&common, &whom),
        Command::Pause(pause) => ask::pause(&common, pause),
        Command::Resume(shown) => ask::wish(&common, &shown, "resume"),
        Command::Drain(drain) => ask::drain(&common, drain),
        Command::Stop(shown) => ask::wish(&common, &shown, STOP),
    }
}

fn results(common: &CommonArgs, asked: &ResultsArgs) -> Outcome {
    let ResultsArgs { command, take, receipts, verify, shown } = asked;
    match command {
        Some(ResultsCommand::Export { file, shown }) => {
            return carried::export(common, shown, file);
        }
        Some(ResultsCommand::HandIn { file, brokers, json }) => {
            return hand_in::run(common, file, brokers, *json);
        }
        None => {}
    }
    if let Some(file) = take {
        return carried::take(common, shown, file);
    }
    match (receipts, verify) {
        (Some(file), _) => receipts::export(common, shown, file),
        (None, Some(file)) => receipts::verify(common, shown, file.as_deref()),
        (None, None) => ask::results(common, shown),
    }
}

/// Reads the job file at `path`.
fn read_job(path: &Path) -> Outcome<JobFile> {
    let text = read_text(path, "the job file", MAX_JOB_FILE)?;
    JobFile::parse(&text).map_err(|error| {
        Failure::say(Exit::Input, format!("{}:{error}", path.display()))
            .hint("docs/operating/master.md lists the fields of job files")
    })
}

/// Prints `value` as JSON.
fn print_json(value: &impl serde::Serialize) -> Outcome {
    outln!("{}", escape_json(&serde_json::to_string_pretty(value).or_exit(Exit::Bug)?));
    Ok(())
}
