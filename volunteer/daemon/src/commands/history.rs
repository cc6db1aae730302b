//! `history`: what ran here.

use std::time::Duration;

use capability::format_bytes;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Outcome, escape_line, outln};

use super::{ask, print_json};
use crate::arguments::HistoryArgs;
use crate::history::{PageAsked, RunStatus};

/// Characters of a project's key that stand for one without a name.
const SHORT_KEY: usize = 16;

/// Prints one page.
pub fn run(common: &CommonArgs, arguments: &HistoryArgs) -> Outcome {
    let HistoryArgs { before, limit, shown } = arguments;
    let asked = PageAsked { before: *before, limit: Some(*limit) };
    let page = ask::history(common, &shown.whom, asked)?;
    if shown.json {
        return print_json(&page);
    }
    for run in &page.runs {
        outln!("{}", escape_line(&line(run)));
    }
    if let Some(next) = page.next {
        eprintln!("for what ran before that: talkoot-volunteer history --before {next}");
    }
    Ok(())
}

fn line(run: &RunStatus) -> String {
    let key = run.project.get(..SHORT_KEY).unwrap_or(&run.project);
    let project = if run.project_name.is_empty() { key } else { &run.project_name };
    let reason = if run.reason.is_empty() { String::new() } else { format!(" ({})", run.reason) };
    let seconds = |ms| Duration::from_millis(ms).as_secs_f64();
    let receipt = run.receipt.as_ref();
    format!(
        "{} {project} {} task {} in {}: {}{reason}, {:.1} s, {:.1} core-seconds, {}, fetched {}, sent {}; {}",
        run.finished,
        run.name,
        run.task,
        run.runtime,
        run.ended,
        seconds(run.wall_ms),
        seconds(run.cpu_ms),
        format_bytes(run.memory),
        format_bytes(run.fetched),
        format_bytes(run.sent),
        receipt.map_or(run.result.as_str(), |receipt| &receipt.verdict),
    )
}
