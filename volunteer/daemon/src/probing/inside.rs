//! The prober: this program again, as a job in the sandbox.
//!
//! What it does not find, no job will. Each program that it runs has a time limit and a bound on its
//! words of its own, so that one that hangs loses its own fact alone.

use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use sysinfo::System;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::exchange::{
    Answer, Line, MAX_ANSWER, MAX_REQUEST, Machine, Query, REQUEST_NAME, Request, Sought, Stamp,
};
use super::reading::first_line;

/// Programs answer within a tenth of a second, virtual machines on a slow disk within two. Jobs have
/// the last place in the queues of the processors, though, and may wait for theirs.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Programs asked at a time: twice the processors, since half of them wait for the disk, and no more
/// than that many virtual machines of 200 MiB fit into the prober's memory.
const MAX_AT_A_TIME: usize = 8;

/// Answers the request in the working directory. The sandbox must be around it already.
pub fn main() -> ExitCode {
    let outcome = read_request().and_then(|request| {
        say(&Line::Machine(machine()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(answer_all(request.queries))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn read_request() -> io::Result<Request> {
    let mut text = String::new();
    std::fs::File::open(REQUEST_NAME)?.take(MAX_REQUEST).read_to_string(&mut text)?;
    Ok(serde_json::from_str(&text)?)
}

/// Writes a line at once: what follows may not come.
fn say(line: &Line) -> io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    io::stdout().lock().write_all(&text)
}

async fn answer_all(queries: Vec<Query>) -> io::Result<()> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let places = Arc::new(Semaphore::new((2 * processors).min(MAX_AT_A_TIME)));
    let mut under_way = JoinSet::new();
    for query in queries {
        let places = Arc::clone(&places);
        under_way.spawn(async move {
            let _place = places.acquire_owned().await;
            let answer = answer(&query).await;
            Line::Answer { fact: query.fact, answer }
        });
    }
    while let Some(line) = under_way.join_next().await {
        say(&line?)?;
    }
    Ok(())
}

async fn answer(query: &Query) -> Answer {
    let Some(stamp) = find(&query.sought) else { return Answer::Absent };
    if query.known.as_ref() == Some(&stamp) {
        return Answer::Unchanged;
    }
    let text = match query.command.split_first() {
        Some((program, arguments)) => run(program, arguments).await,
        None => beginning(&stamp.path).map_err(|error| Mishap::Passing(error.to_string())),
    };
    match text {
        Ok(text) => Answer::Said { stamp, text },
        Err(Mishap::Lasting(reason)) => Answer::Failed { stamp, reason },
        Err(Mishap::Passing(reason)) => Answer::Unanswered { reason },
    }
}

/// Why there is no answer, for people.
enum Mishap {
    /// The program's own doing.
    Lasting(String),
    /// Perhaps the machine's.
    Passing(String),
}

// Where things are.

fn find(sought: &Sought) -> Option<Stamp> {
    match sought {
        Sought::Program(path) if path.contains('/') => executable(path.into()),
        Sought::Program(name) => {
            let path = std::env::var_os("PATH")?;
            std::env::split_paths(&path).find_map(|directory| executable(directory.join(name)))
        }
        Sought::Module(name) => below(&module_directories(), &format!("{name}.pc")),
        Sought::Header(name) => below(&include_directories(), name),
    }
}

fn executable(path: PathBuf) -> Option<Stamp> {
    let found = std::fs::metadata(&path).ok()?;
    let runs = found.is_file() && found.permissions().mode() & 0o111 != 0;
    if runs { stamp(&path) } else { None }
}

fn below(directories: &[PathBuf], name: &str) -> Option<Stamp> {
    directories.iter().find_map(|directory| stamp(&directory.join(name)))
}

fn stamp(path: &Path) -> Option<Stamp> {
    let path = path.canonicalize().ok()?;
    let found = std::fs::metadata(&path).ok().filter(std::fs::Metadata::is_file)?;
    let modified = found.mtime().saturating_mul(1_000_000_000).saturating_add(found.mtime_nsec());
    Some(Stamp { path: path.to_str()?.to_owned(), modified, size: found.len() })
}

/// Where pkg-config looks on all distributions. A module elsewhere is not asked for.
fn module_directories() -> Vec<PathBuf> {
    let mut directories = Vec::new();
    for prefix in ["/usr/local", "/usr"] {
        let library = Path::new(prefix).join("lib");
        directories.extend(of_platforms(&library).map(|it| it.join("pkgconfig")));
        let others = ["lib", "lib64", "share"].map(|it| Path::new(prefix).join(it));
        directories.extend(others.map(|it| it.join("pkgconfig")));
    }
    directories
}

fn include_directories() -> Vec<PathBuf> {
    let directories = ["/usr/local/include", "/usr/include"].map(PathBuf::from);
    let platforms: Vec<_> = of_platforms(&directories[1]).collect();
    directories.into_iter().chain(platforms).collect()
}

/// The directories in `parent` that are named after a platform, such as `x86_64-linux-gnu`.
fn of_platforms(parent: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let mut platforms: Vec<_> = entries
        .filter(|entry| entry.file_name().to_string_lossy().contains("-linux-"))
        .map(|entry| entry.path())
        .collect();
    platforms.sort();
    platforms.into_iter()
}

fn beginning(path: &str) -> io::Result<String> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(MAX_ANSWER as u64).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

// What they say.

/// Runs `program` in a group of its own, and ends all that it leaves behind.
async fn run(program: &str, arguments: &[String]) -> Result<String, Mishap> {
    let (mut child, words) = start(program, arguments)
        .map_err(|error| Mishap::Passing(format!("cannot be run: {error}")))?;
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    let answer = tokio::time::timeout(TIME_LIMIT, async {
        let text = listen(words).await?;
        let status = child.wait().await.map_err(|error| Mishap::Passing(error.to_string()))?;
        judge(status, text)
    });
    let answer = answer.await;
    if let Some(group) = group {
        // There may be nobody left.
        let _ = kill_process_group(group, Signal::KILL);
    }
    answer.unwrap_or_else(|_| {
        let reason = format!("did not answer within {} s", TIME_LIMIT.as_secs());
        Err(Mishap::Passing(reason))
    })
}

fn start(program: &str, arguments: &[String]) -> io::Result<(Child, pipe::Receiver)> {
    let (reader, writer) = io::pipe()?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).process_group(0);
    command.stdout(writer.try_clone()?).stderr(writer);
    // With it go our own ends for writing, without which the answer has an end.
    let child = command.spawn()?;
    drop(command);
    Ok((child, pipe::Receiver::from_owned_fd(reader.into())?))
}

async fn listen(words: pipe::Receiver) -> Result<String, Mishap> {
    let mut bytes = Vec::new();
    let read = words.take(MAX_ANSWER as u64 + 1).read_to_end(&mut bytes).await;
    read.map_err(|error| Mishap::Passing(error.to_string()))?;
    if bytes.len() > MAX_ANSWER {
        return Err(Mishap::Lasting(format!("says more than {} KiB", MAX_ANSWER >> 10)));
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn judge(status: ExitStatus, text: String) -> Result<String, Mishap> {
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(text),
        (Some(code), _) => {
            Err(Mishap::Lasting(format!("ends with exit code {code}: {}", first_line(&text))))
        }
        // The machine may have been short of memory.
        (None, Some(signal)) => Err(Mishap::Passing(format!("ends with signal {signal}"))),
        (None, None) => Err(Mishap::Passing(status.to_string())),
    }
}

fn machine() -> Machine {
    let memory = System::new().map(|mut system| {
        system.refresh_memory();
        system.total_memory()
    });
    Machine {
        kernel: System::kernel_version().unwrap_or_default(),
        distribution: distribution(),
        family: System::distribution_id_like(),
        version: System::os_version().unwrap_or_default(),
        name: System::long_os_version().unwrap_or_default(),
        cores: std::thread::available_parallelism().map_or(0, |cores| cores.get() as u64),
        memory: memory.unwrap_or_default(),
    }
}

/// `ID` of os-release. Where there is none, sysinfo names the operating system, which is another fact.
fn distribution() -> String {
    let id = System::distribution_id();
    if id == std::env::consts::OS { String::new() } else { id }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(path: &Path, known: Option<Stamp>) -> Query {
        let program = path.to_str().expect("a text").to_owned();
        let sought = Sought::Program(program.clone());
        Query { fact: "tool.it".to_owned(), sought, command: vec![program], known }
    }

    /// By a process of its own: one that another test starts just then would have the file open for writing as
    /// well, and nothing can be run that is.
    fn write(path: &Path, script: &str) {
        let text = format!("#!/bin/sh\n{script}\n");
        let mut shell = std::process::Command::new("sh");
        shell.args(["-c", r#"printf %s "$1" > "$0""#]).arg(path).arg(text);
        assert!(shell.status().expect("a shell").success());
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))
            .expect("its owner's");
    }

    async fn said(query: &Query) -> (Stamp, String) {
        match answer(query).await {
            Answer::Said { stamp, text } => (stamp, text),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn a_file_is_asked_again_when_it_has_changed() {
        let directory = tempfile::tempdir().expect("a directory");
        let (program, link) = (directory.path().join("it"), directory.path().join("link"));
        write(&program, "echo 1.2");
        std::os::unix::fs::symlink("it", &link).expect("linked");
        let (stamp, text) = said(&query(&link, None)).await;
        assert_eq!(text, "1.2\n");
        assert!(stamp.path.ends_with("/it"), "{stamp:?}");
        let known = query(&link, Some(stamp.clone()));
        assert_eq!(answer(&known).await, Answer::Unchanged);

        let file = std::fs::File::open(&program).expect("there");
        let later = std::time::SystemTime::now() + Duration::from_secs(7);
        file.set_modified(later).expect("its owner's");
        drop(file);
        let (touched, _) = said(&known).await;
        assert_eq!((touched.size, &touched.path), (stamp.size, &stamp.path));

        write(&program, "echo 1.23");
        let file = std::fs::File::open(&program).expect("there");
        file.set_modified(later).expect("its owner's");
        drop(file);
        assert_eq!(said(&query(&link, Some(touched))).await.1, "1.23\n");

        std::fs::remove_file(&program).expect("there");
        assert_eq!(answer(&known).await, Answer::Absent, "the link leads nowhere");
    }

    #[tokio::test]
    async fn what_cannot_be_run_is_not_there() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("it");
        std::fs::write(&program, "1.2").expect("written");
        assert_eq!(answer(&query(&program, None)).await, Answer::Absent);
        assert_eq!(answer(&query(directory.path(), None)).await, Answer::Absent);
    }

    #[test]
    fn the_system_says_what_it_is() {
        let machine = machine();
        assert!(
            !machine.kernel.is_empty() && machine.cores > 0 && machine.memory > 0,
            "{machine:?}"
        );
    }
}
