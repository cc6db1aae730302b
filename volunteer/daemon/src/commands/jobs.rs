//! `jobs`: what is in hand; and how a person names one of them.

use std::time::Duration;

use capability::format_bytes;
use mesh_shell::config::CommonArgs;
use mesh_shell::{Exit, Failure, Outcome, escape_line, outln};

use super::ask::{self, say};
use super::{print_json, table};
use crate::arguments::Shown;
use crate::in_hand::{JobStatus, ProgressStatus};

/// Characters of an id that name a job at least.
const MIN_ID: usize = 4;

/// Lists what is in hand.
pub fn jobs(common: &CommonArgs, long: bool, shown: &Shown) -> Outcome {
    let status = ask::fetch(common, &shown.whom)?;
    if shown.json {
        return print_json(&status.jobs);
    }
    if status.jobs.is_empty() {
        outln!("nothing is in hand; talkoot-volunteer why says why");
    } else if long {
        status.jobs.iter().for_each(print);
    } else {
        let head = ["JOB", "PROJECT", "NAME", "TASK", "RUNTIME", "STAGE", "SINCE", "LIMIT", "STEP"];
        let rows: Vec<_> = status.jobs.iter().map(row).collect();
        table::print(head, &rows);
    }
    Ok(())
}

fn row(job: &JobStatus) -> [String; 9] {
    [
        job.lease.short(),
        job.project.clone(),
        job.name.clone(),
        format!("{}/{}", job.task, job.tasks),
        job.runtime.to_string(),
        job.stage.clone(),
        ago(&job.since),
        span(job.limits.wall_s),
        job.progress.as_ref().map_or_else(|| awaited(job).to_owned(), step_and_said),
    ]
}

/// All there is to say about a job.
pub fn print(job: &JobStatus) {
    let JobStatus { lease, project, name, task, tasks, runtime, limits, .. } = job;
    say!("{} {project} {name}, task {task} of {tasks}", lease.short());
    say!("  project    {}", job.project_key);
    say!("  offer      {}", job.offer);
    say!("  lease      {lease}");
    let since = ago(&job.since);
    match &job.progress {
        Some(progress) => say!("  stage      {} for {since}, step {}", job.stage, step(progress)),
        None => say!("  stage      {} for {since}, {}", job.stage, awaited(job)),
    }
    if let Some(said) = job.progress.as_ref().and_then(said) {
        say!("  says       {said}");
    }
    if let Some(kept) = job.progress.as_ref().and_then(|progress| kept(job, progress)) {
        say!("  checkpoint {kept}");
    }
    say!("  held       {}", held(job));
    say!("  permitted  {runtime} runtime, network: {}", job.network);
    let fuel = limits.fuel.map(|fuel| format!(", {fuel} units of fuel")).unwrap_or_default();
    say!(
        "  limits     {} cores, {} of memory, {} of disk, {} in all, {} processes, {} of output a step{fuel}",
        limits.cores,
        format_bytes(limits.memory),
        format_bytes(limits.disk),
        span(limits.wall_s),
        limits.processes,
        format_bytes(limits.output),
    );
    match &job.progress {
        Some(it) if it.step > 1 => say!(
            "  used       {} of processor time, {} of memory{} by the steps that have ended",
            humantime::format_duration(Duration::from_millis(it.cpu_ms)),
            format_bytes(it.memory),
            it.fuel.map(|fuel| format!(" and {fuel} units of fuel")).unwrap_or_default(),
        ),
        _ => say!("  used       known when a step has ended"),
    }
}

fn awaited(job: &JobStatus) -> &'static str {
    match job.stage.as_str() {
        "waiting" if job.lacks_package => "its package is on the way",
        "waiting" => "about to begin",
        _ => "its package is unpacked",
    }
}

fn held(job: &JobStatus) -> String {
    let over = &job.expires;
    match &job.offline_until {
        _ if job.lapsed => {
            format!("no longer: it goes on, and counts if nobody else is first; until {over}")
        }
        Some(until) => format!("until {until}, also out of reach"),
        None => {
            format!("while a broker hears of this machine every {} s; until {over}", job.term_s)
        }
    }
}

fn step(progress: &ProgressStatus) -> String {
    format!("{} of {}: {}", progress.step, progress.steps, progress.name)
}

fn step_and_said(progress: &ProgressStatus) -> String {
    match said(progress) {
        Some(said) => format!("{}; {said}", step(progress)),
        None => step(progress),
    }
}

/// What there is to say of its checkpoints.
fn kept(job: &JobStatus, progress: &ProgressStatus) -> Option<String> {
    let resumed =
        (progress.resumed > 0).then(|| format!("went on from one {} times", progress.resumed));
    let age = progress.checkpoint_age_s.map(|age| format!("the last one {} ago", span(age)));
    let refused = progress.checkpoint_refused.as_ref().map(|why| format!("refused: {why}"));
    let goes_on = job.goes_on.then(|| "would go on after a restart".to_owned());
    let parts: Vec<_> = [resumed, age, refused, goes_on].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// How far the job itself says that it is, if it says anything.
fn said(progress: &ProgressStatus) -> Option<String> {
    let ProgressStatus { fraction, message, .. } = progress;
    let percent = fraction.map(|fraction| format!("{:.1} %", fraction * 100.0));
    let message = (!message.is_empty()).then(|| message.clone());
    let parts: Vec<_> = percent.into_iter().chain(message).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

/// How long ago it was `then`.
fn ago(then: &str) -> String {
    let Ok(then) = then.parse::<jiff::Timestamp>() else { return "unknown".to_owned() };
    let seconds = jiff::Timestamp::now().as_second().saturating_sub(then.as_second());
    span(u64::try_from(seconds).unwrap_or_default())
}

/// `seconds` in their two largest units.
pub(super) fn span(seconds: u64) -> String {
    let rounded = match seconds {
        86_400.. => seconds / 3_600 * 3_600,
        3_600.. => seconds / 60 * 60,
        _ => seconds,
    };
    humantime::format_duration(Duration::from_secs(rounded)).to_string()
}

/// Those of `jobs` that `wanted` names: by the beginning of the id, by the job's name, or by name and
/// task.
pub fn named<'a>(jobs: &'a [JobStatus], wanted: &str) -> Vec<&'a JobStatus> {
    let is_named = |job: &&JobStatus| {
        let by_id = wanted.len() >= MIN_ID && job.lease.to_string().starts_with(wanted);
        by_id || job.name == wanted || format!("{}/{}", job.name, job.task) == wanted
    };
    jobs.iter().filter(is_named).collect()
}

/// The one of `jobs` that `wanted` names.
pub fn find<'a>(jobs: &'a [JobStatus], wanted: &str) -> Outcome<&'a JobStatus> {
    match named(jobs, wanted).as_slice() {
        [job] => Ok(job),
        [] => Err(unknown(wanted)),
        several => Err(ambiguous(several, &format!("{} names", escape_line(wanted)))),
    }
}

fn unknown(wanted: &str) -> Failure {
    let message = format!("no job {} is in hand", escape_line(wanted));
    Failure::say(Exit::Input, message).hint(
        "talkoot-volunteer jobs shows what is; what has ended went, encrypted, to its project, and \
         talkoot-volunteer results shows what that said",
    )
}

/// Which of `several` is meant?
pub fn ambiguous(several: &[&JobStatus], what: &str) -> Failure {
    let names = several.iter().take(8).map(|it| {
        let (id, name, task) = (it.lease.short(), &it.name, it.task);
        escape_line(&format!("{id} ({name}/{task})"))
    });
    let names = names.collect::<Vec<_>>().join(", ");
    Failure::say(Exit::Input, format!("{what} {} jobs", several.len()))
        .hint(format!("name one of them: {names}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_short() {
        for (seconds, shown) in [(0, "0s"), (59, "59s"), (3_599, "59m 59s"), (3_661, "1h 1m")] {
            assert_eq!(span(seconds), shown);
        }
        assert_eq!(span(90_061), "1day 1h");
        assert_eq!(ago("once"), "unknown");
    }
}
