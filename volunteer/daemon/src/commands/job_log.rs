//! `logs`: what a running job writes.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::Context;
use capability::format_bytes;
use mesh_shell::config::CommonArgs;
use mesh_shell::out::put;
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape, escape_json, escape_line};

use super::{ask, jobs};
use crate::arguments::LogsArgs;
use crate::in_hand::JobStatus;
use crate::log_events::LogEvent;

/// Bytes of an event at most: a piece in which every byte is escaped.
const MAX_EVENT: u64 = 256 << 10;

/// Prints it.
pub fn print(common: &CommonArgs, arguments: &LogsArgs) -> Outcome {
    let LogsArgs { job, follow, shown } = arguments;
    let status = ask::fetch(common, &shown.whom)?;
    let job = match job {
        Some(wanted) => jobs::find(&status.jobs, wanted)?,
        None => only(&status.jobs)?,
    };
    let path = format!("jobs/{}/log?follow={follow}", job.lease);
    if job.progress.is_none() && !follow {
        eprintln!("{} has not written anything: it is {}", escape_line(&job.name), job.stage);
        return Ok(());
    }
    if job.progress.is_none() && job.stage == "waiting" {
        let message = format!("{} has not begun", escape_line(&job.name));
        return Err(Failure::say(Exit::Input, message).hint("ask again in a moment"));
    }
    let mut events = BufReader::new(ask::stream(common, &shown.whom, &path)?);
    while let Some((line, event)) = next(&mut events)? {
        if shown.json {
            put(&escape_json(&line))?;
        }
        if let LogEvent::End { over } = event {
            if over {
                eprintln!(
                    "the job has ended; its output goes with its result, encrypted, to its project"
                );
            }
            return Ok(());
        }
        if !shown.json {
            show(event)?;
        }
        // Nobody needs it who does not read it.
        let _ = std::io::stdout().flush();
    }
    Err(Failure::say(Exit::Network, "the daemon has ended"))
}

/// The one job that runs.
fn only(jobs: &[JobStatus]) -> Outcome<&JobStatus> {
    let running: Vec<_> = jobs.iter().filter(|it| it.progress.is_some()).collect();
    match running.as_slice() {
        [job] => Ok(job),
        [] => Err(Failure::say(Exit::Input, "no job runs")
            .hint("talkoot-volunteer jobs shows what is in hand, and why says why nothing is")),
        several => Err(jobs::ambiguous(several, "there run")),
    }
}

/// The next event, and the line that tells it; `None` at the end of the stream.
fn next(events: &mut impl BufRead) -> Outcome<Option<(String, LogEvent)>> {
    let mut line = Vec::new();
    let read = events.by_ref().take(MAX_EVENT).read_until(b'\n', &mut line);
    if read.context("cannot read what the daemon tells").or_exit(Exit::Network)? == 0 {
        return Ok(None);
    }
    let event = serde_json::from_slice(&line).context("no event of a daemon of this version");
    let event = event.or_exit(Exit::Network)?;
    Ok(Some((String::from_utf8_lossy(&line).into_owned(), event)))
}

/// Output goes to standard output, with nothing in it that a terminal would obey; words about it to
/// standard error.
pub fn show(event: LogEvent) -> Outcome {
    match event {
        LogEvent::Step { name } => eprintln!("==> {} <==", escape_line(&name)),
        LogEvent::LeftOut { bytes } => {
            eprintln!("({} left out here; the result has them)", format_bytes(bytes));
        }
        LogEvent::Output { text } => put(&escape(text.as_bytes()))?,
        LogEvent::End { .. } => {}
    }
    Ok(())
}
