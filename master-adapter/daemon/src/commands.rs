//! The commands that talk to the running adapter.

mod explain;
mod follow;
mod import;
mod lend;

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context;
use capability::{JobFile, MAX_JOB_FILE, MAX_OUTPUT, StatementId};
use mesh_shell::out::put;
use mesh_shell::package::pack_beside;
use mesh_shell::{Exit, Failure, OrExit, Outcome, escape, escape_json, escape_line, read_text};
use serde::Serialize;

use crate::client::Client;
use crate::model::{JobView, MatrixView, NewJobRequest, ProjectView, TaskDetail, TaskView};
use crate::show;

pub use explain::explain;
pub use follow::follow;
pub use import::import;
pub use lend::{Lent, lend};

/// How often the adapter is asked what is new.
const POLL: Duration = Duration::from_millis(250);
/// How long an adapter that has gone is awaited: longer than it takes to be upgraded.
const PATIENCE: Duration = Duration::from_secs(2 * 60);
/// Of jobs with more tasks only those that failed are shown step by step.
const MAX_DETAILED_TASKS: u32 = 8;
/// Lines and bytes of a failed step's log.
const TAIL_LINES: usize = 20;
const TAIL_BYTES: usize = 8 << 10;

/// How a submission is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Follow {
    /// Until it is durable at the adapter.
    No,
    /// Until every task is settled.
    UntilDone,
}

/// How answers are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Packs and submits the job in `path`.
pub fn submit(client: &Client, path: &Path, replicas: u16, follow: Follow, form: Form) -> Outcome {
    let (text, job) = read_job(path)?;
    let package = pack_beside(path, &job)?;
    let package = client.upload(package)?;
    let request = NewJobRequest { job_file: text, package, replicas };
    let offer = client.submit(&request)?.offer;
    eprintln!(
        "{} submitted: {}, {}, a package of {}",
        offer.short(),
        job.name,
        show::plural(u64::from(job.tasks), "task"),
        capability::format_bytes(package.size),
    );
    match follow {
        Follow::No => print(form, &crate::model::Submitted { offer }, || format!("{offer}\n")),
        Follow::UntilDone => tell(client, offer, form, PATIENCE),
    }
}

fn read_job(path: &Path) -> Outcome<(String, JobFile)> {
    let text = read_text(path, "the job file", MAX_JOB_FILE)?;
    match JobFile::parse(&text) {
        Ok(job) => Ok((text, job)),
        Err(error) => Err(Failure::say(Exit::Input, format!("{}:{error}", path.display()))),
    }
}

/// A finished job, for programs.
#[derive(Serialize)]
struct Finished {
    job: JobView,
    tasks: Vec<TaskView>,
}

/// Follows the job that `offer` names, in full or by its beginning.
pub fn wait(client: &Client, offer: &str, form: Form) -> Outcome {
    tell(client, client.job(offer)?.offer, form, PATIENCE)
}

/// Tells what happens to a job until it is over. The adapter may be away as long as `patience`.
fn tell(client: &Client, offer: StatementId, form: Form, patience: Duration) -> Outcome {
    let mut told = Told::default();
    let mut away_since = None;
    loop {
        match told.news(client, offer, form) {
            Ok(Some(finished)) => return finish(&finished, form),
            Ok(None) => away_since = None,
            Err(failure) if failure.exit() == Exit::Network => {
                let since = *away_since.get_or_insert_with(|| {
                    eprintln!("the adapter does not answer; waiting for it");
                    Instant::now()
                });
                if since.elapsed() >= patience {
                    return Err(failure.hint(format_args!(
                        "the job lives on; start the adapter with `talkoot-master run`, then \
                         follow the job with `talkoot-master wait {}`",
                        offer.short()
                    )));
                }
            }
            Err(failure) => return Err(failure),
        }
        std::thread::sleep(POLL);
    }
}

/// What has been said already.
#[derive(Default)]
struct Told {
    line: String,
    settled: u32,
    tasks: std::collections::BTreeSet<(u32, u16)>,
    published: usize,
    trouble: Option<String>,
}

impl Told {
    /// Says what has not been said; the job, if it is over. Whatever fails can be done again.
    fn news(
        &mut self,
        client: &Client,
        offer: StatementId,
        form: Form,
    ) -> Outcome<Option<Finished>> {
        let name = offer.to_string();
        let job = client.job(&name)?;
        self.publication(&job);
        let settled = job.passed + job.failed;
        if self.settled != settled {
            for task in client.tasks(&name)? {
                self.task(client, &job, &task, form)?;
            }
            self.line(format!("{settled} of {} finished, {} failed", job.tasks, job.failed));
            self.settled = settled;
        }
        if !job.is_over() && !has_expired(&job) {
            return Ok(None);
        }
        let tasks = if form == Form::Json { client.tasks(&name)? } else { Vec::new() };
        Ok(Some(Finished { job, tasks }))
    }

    /// Says which brokers keep the job and who could run it, if that is news. Words go to standard
    /// error.
    fn publication(&mut self, job: &JobView) {
        if job.published.len() > self.published {
            let brokers: Vec<_> = job.published.iter().map(|broker| broker.short()).collect();
            eprintln!("published at {}", brokers.join(", "));
        }
        self.published = job.published.len();
        if job.trouble != self.trouble {
            self.trouble.clone_from(&job.trouble);
            if let Some(trouble) = &self.trouble {
                eprintln!("a broker did not take it: {}", escape_line(trouble));
            }
        }
        if let Some(waiting) = show::waiting(job) {
            self.line(waiting);
        }
    }

    fn line(&mut self, line: String) {
        if line != self.line {
            eprintln!("{line}");
            self.line = line;
        }
    }

    fn task(&mut self, client: &Client, job: &JobView, task: &TaskView, form: Form) -> Outcome {
        let name = (task.task, task.replica);
        if self.tasks.contains(&name) || form == Form::Json {
            return Ok(());
        }
        let mut text = format!("{}\n", show::task(task));
        if job.tasks <= MAX_DETAILED_TASKS || !task.passed {
            text += &details(client, &job.offer.to_string(), task)?;
        }
        put(&text)?;
        self.tasks.insert(name);
        Ok(())
    }
}

/// The steps of a result, and the end of the log of the one that failed.
fn details(client: &Client, offer: &str, task: &TaskView) -> Outcome<String> {
    let (number, replica) = (task.task, task.replica);
    let detail: TaskDetail =
        client.get(&format!("/jobs/{offer}/tasks/{number}?replica={replica}"))?;
    let mut text = show::steps(&detail);
    if !task.passed
        && let Some(step) = detail.steps.iter().rfind(|step| step.exit != Some(0))
    {
        let path = log_path(offer, number, replica, &step.name);
        let log = read_up_to(client.bytes(&format!("{path}&tail={TAIL_BYTES}"))?, TAIL_BYTES)?;
        for line in tail(&escape(&log), TAIL_LINES).lines() {
            text += &format!("    | {line}\n");
        }
    }
    Ok(text)
}

fn finish(finished: &Finished, form: Form) -> Outcome {
    if form == Form::Json {
        put(&json(finished)?)?;
    }
    let job = &finished.job;
    let (passed, tasks, state) = (job.passed, job.tasks, show::state(job.state));
    if passed == tasks {
        eprintln!("passed");
        return Ok(());
    }
    show::given_up(job).iter().for_each(|line| eprintln!("{line}"));
    let message = format!(
        "{passed} of {} passed, the job is {state}",
        show::plural(u64::from(tasks), "task")
    );
    Err(Failure::say(Exit::JobFailed, message))
}

fn has_expired(job: &JobView) -> bool {
    job.expires < mesh_shell::Clock::new().now().wall
}

/// Shows the project and its jobs.
pub fn status(client: &Client, form: Form) -> Outcome {
    #[derive(Serialize)]
    struct Status {
        project: ProjectView,
        jobs: Vec<JobView>,
    }
    let status = Status { project: client.get("/project")?, jobs: client.get("/jobs")? };
    print(form, &status, || {
        let jobs: String = status.jobs.iter().map(show::job_and_waiting).collect();
        show::project(&status.project) + &jobs
    })
}

/// Shows a job and its accepted results.
pub fn results(client: &Client, offer: &str, form: Form) -> Outcome {
    let finished = Finished { job: client.job(offer)?, tasks: client.tasks(offer)? };
    if form == Form::Json {
        return put(&json(&finished)?);
    }
    let mut text = show::job_and_waiting(&finished.job);
    for task in &finished.tasks {
        text += &format!("{}\n", show::task(task));
        if finished.job.tasks <= MAX_DETAILED_TASKS || !task.passed {
            text += &details(client, offer, task)?;
        }
    }
    put(&text)
}

/// Prints the log of one step of a task, or of all.
pub fn logs(client: &Client, offer: &str, task: u32, replica: u16, step: Option<&str>) -> Outcome {
    let detail: TaskDetail =
        client.get(&format!("/jobs/{offer}/tasks/{task}?replica={replica}"))?;
    let steps: Vec<_> = detail.steps.iter().map(|step| step.name.as_str()).collect();
    let wanted: Vec<_> = match step {
        None => steps,
        Some(step) if steps.contains(&step) => vec![step],
        Some(step) => {
            let message = format!("no step {step:?} has run; there are {}", steps.join(", "));
            return Err(Failure::say(Exit::Input, escape_line(&message)));
        }
    };
    let several = wanted.len() > 1;
    for name in wanted {
        if several {
            put(&format!("==> {} <==\n", escape_line(name)))?;
        }
        let limit = usize::try_from(MAX_OUTPUT).unwrap_or(usize::MAX);
        let log = read_up_to(client.bytes(&log_path(offer, task, replica, name))?, limit)?;
        put(&escape(&log))?;
    }
    Ok(())
}

/// Saves all artifacts of a job below `into`.
pub fn artifacts(client: &Client, offer: &str, into: &Path) -> Outcome {
    let mut saved = false;
    for task in client.tasks(offer)? {
        let (number, replica) = (task.task, task.replica);
        let detail: TaskDetail =
            client.get(&format!("/jobs/{offer}/tasks/{number}?replica={replica}"))?;
        for artifact in &detail.artifacts {
            // Replicas are there to be compared: one must not overwrite another.
            let folder =
                if replica == 0 { number.to_string() } else { format!("{number}.{replica}") };
            let path = into.join(folder).join(inside(&artifact.path)?);
            let query = format!("?replica={replica}&path={}", encode(&artifact.path));
            let contents =
                client.bytes(&format!("/jobs/{offer}/tasks/{number}/artifact{query}"))?;
            save(contents, &path)
                .with_context(|| format!("cannot write {}", path.display()))
                .or_exit(Exit::State)?;
            put(&format!("{}\n", path.display()))?;
            saved = true;
        }
    }
    if !saved {
        eprintln!("no artifacts");
    }
    Ok(())
}

/// Shows results by platform and builder.
pub fn matrix(client: &Client, form: Form) -> Outcome {
    let matrix: MatrixView = client.get("/matrix")?;
    print(form, &matrix, || show::matrix(&matrix))
}

/// A path that came from a volunteer, if it stays where it is put. The adapter has checked that too.
fn inside(path: &str) -> Outcome<PathBuf> {
    let parts: Vec<_> = path.split('/').collect();
    if parts.iter().all(|part| !matches!(*part, "" | "." | "..")) {
        return Ok(parts.iter().collect());
    }
    Err(Failure::say(Exit::Input, format!("an artifact's path leads elsewhere: {path:?}")))
}

fn save(mut contents: impl Read, path: &Path) -> io::Result<()> {
    if let Some(directory) = path.parent() {
        fs::create_dir_all(directory)?;
    }
    io::copy(&mut contents, &mut File::create(path)?).map(drop)
}

fn log_path(offer: &str, task: u32, replica: u16, step: &str) -> String {
    format!("/jobs/{offer}/tasks/{task}/log?replica={replica}&step={}", encode(step))
}

/// `text` as the value of a query's parameter.
fn encode(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

fn read_up_to(reader: impl Read, limit: usize) -> Outcome<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = reader.take(limit as u64).read_to_end(&mut bytes);
    read.context("cannot read the log").or_exit(Exit::Network)?;
    Ok(bytes)
}

fn print<T: Serialize>(form: Form, value: &T, text: impl FnOnce() -> String) -> Outcome {
    match form {
        Form::Json => put(&json(value)?),
        Form::Text => put(&text()),
    }
}

fn json<T: Serialize>(value: &T) -> Outcome<String> {
    let text = serde_json::to_string_pretty(value).or_exit(Exit::Bug)?;
    Ok(escape_json(&text) + "\n")
}

/// The last `lines` lines of `text`.
fn tail(text: &str, lines: usize) -> &str {
    let text = text.trim_end_matches('\n');
    let starts = text.rmatch_indices('\n').map(|(at, _)| at + 1);
    starts.take(lines).nth(lines.saturating_sub(1)).map_or(text, |start| &text[start..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_gives_up_waiting_learns_that_the_job_lives_on() {
        let nobody = Client::at("127.0.0.1:9", "secret".into());
        let offer = StatementId::from_bytes([7; 32]);
        let failure = tell(&nobody, offer, Form::Text, Duration::ZERO).expect_err("given up");
        assert_eq!(failure.exit(), Exit::Network);
        let words = failure.to_string();
        assert!(words.contains("the job lives on"), "{words}");
        assert!(words.contains(&format!("talkoot-master wait {}", offer.short())), "{words}");
    }

    #[test]
    fn an_artifact_stays_below_its_folder() {
        assert_eq!(inside("out/a b.txt").expect("fine"), Path::new("out/a b.txt"));
        for path in ["../x", "/etc/x", "a//b", "a/./b", ""] {
            assert!(inside(path).is_err(), "{path}");
        }
    }

    #[test]
    fn a_query_carries_any_text() {
        assert_eq!(encode("a b/c&d=ä"), "a%20b%2Fc%26d%3D%C3%A4");
    }

    #[test]
    fn the_tail_is_whole_lines() {
        assert_eq!(tail("a\nb\nc\n", 2), "b\nc");
        assert_eq!(tail("a\nb\nc\n", 3), "a\nb\nc");
        assert_eq!(tail("a\nb\nc\n", 9), "a\nb\nc");
        assert_eq!(tail("", 2), "");
    }
}
