//! What became of a job, for people and programs, and what it left, in a directory.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use capability::statements::{BlobPart, Ended, Log, StepReport};
use capability::{DecryptingReader, format_bytes};
use mesh_shell::{Exit, Failure, OrExit, Outcome as Done, escape_line};
use serde::{Serialize, Serializer};
use volunteer_core::Outcome as Ran;

use super::site::Site;

/// What became of it.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// `passed`, `failed`, `limit` or `machine`.
    #[serde(serialize_with = "word")]
    pub ended: Ended,
    /// More about it; may be empty.
    reason: String,
    steps: Vec<Step>,
    artifacts: Vec<Artifact>,
    /// The operating system as the job saw it.
    system: String,
    /// Where logs and artifacts are, if they are kept.
    output: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: String,
    /// None if it did not exit by itself.
    exit: Option<i32>,
    /// What the exit code does not tell.
    ending: String,
    wall_ms: u64,
    cpu_ms: u64,
    /// Bytes.
    memory: u64,
    /// Bytes of its log.
    log: u64,
}

#[derive(Debug, Serialize)]
struct Artifact {
    path: String,
    size: u64,
}

fn word<S: Serializer>(ended: &Ended, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(crate::news::ending(ended).0)
}

/// A directory that was empty, for what a job leaves.
#[derive(Debug)]
pub struct Results {
    directory: PathBuf,
}

impl Results {
    /// Makes `directory`. One that has something in it is refused: nothing is overwritten, and no
    /// link in it followed.
    pub fn prepare(directory: &Path) -> Done<Self> {
        let shown = directory.display();
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot make {shown}"))
            .or_exit(Exit::State)?;
        let mut inside = fs::read_dir(directory)
            .with_context(|| format!("cannot read {shown}"))
            .or_exit(Exit::State)?;
        if inside.next().is_some() {
            return Err(Failure::say(Exit::Input, format!("{shown} is not empty"))
                .hint("name a new directory with --output"));
        }
        let directory = directory.canonicalize().or_exit(Exit::State)?;
        Ok(Self { directory })
    }

    /// Writes `content` under `name`, a path without `..`, which nobody has used yet.
    fn keep(&self, name: &Path, mut content: impl Read) -> Done {
        let path = self.directory.join(name);
        let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
        let file = folder.and_then(|()| File::create_new(&path));
        let written = file.and_then(|mut file| io::copy(&mut content, &mut file));
        let shown = || format!("cannot write {}", path.display());
        written.map(drop).with_context(shown).or_exit(Exit::State)
    }
}

/// Reads what `ran` has left at `site`, and keeps it in `results` if there are any.
pub fn read(ran: &Ran, site: &Site, results: Option<&Results>) -> Done<Outcome> {
    let mut steps = Vec::new();
    for (index, report) in ran.steps.iter().enumerate() {
        let size = match &report.log {
            Log::Inline(log) => log.len() as u64,
            Log::Blob(part) => part.size,
        };
        if let Some(results) = results {
            let name = format!("{:02}-{}.log", index + 1, report.name);
            let name = Path::new("logs").join(name);
            match &report.log {
                Log::Inline(log) => results.keep(&name, log.as_slice())?,
                Log::Blob(part) => results.keep(&name, open(ran, site, *part)?)?,
            }
        }
        steps.push(step(report, size));
    }
    let mut artifacts = Vec::new();
    for artifact in &ran.artifacts {
        if let Some(results) = results {
            let name = Path::new("artifacts").join(&artifact.path);
            results.keep(&name, open(ran, site, artifact.content)?)?;
        }
        artifacts.push(Artifact { path: artifact.path.clone(), size: artifact.content.size });
    }
    Ok(Outcome {
        ended: ran.ended.clone(),
        reason: crate::news::ending(&ran.ended).1.to_owned(),
        steps,
        artifacts,
        system: ran.system.clone(),
        output: results.map(|results| results.directory.clone()),
    })
}

fn step(report: &StepReport, log: u64) -> Step {
    let StepReport { name, exit, ending, wall_ms, cpu_ms, memory, .. } = report;
    Step {
        name: name.clone(),
        exit: *exit,
        ending: ending.clone(),
        wall_ms: *wall_ms,
        cpu_ms: *cpu_ms,
        memory: *memory,
        log,
    }
}

/// What the master would read.
fn open(ran: &Ran, site: &Site, part: BlobPart) -> Done<impl Read> {
    let hash = ran.blobs[part.blob as usize].hash;
    let stored = site.place().blobs.read(&crate::status::blob_name(&hash)).or_exit(Exit::State)?;
    Ok(DecryptingReader::new(stored, ran.key, part.blob, part.size).expecting(part.hash))
}

impl Outcome {
    /// Says it to people; what the job wrote was printed before.
    pub fn say(&self) {
        let mut lines = Vec::new();
        for Step { name, exit, ending, wall_ms, cpu_ms, memory, .. } in &self.steps {
            let exit = exit.map(|code| format!("exit {code}"));
            let how = exit.unwrap_or_else(|| ending.clone());
            let (wall, cpu) = (time(*wall_ms), time(*cpu_ms));
            let memory = format_bytes(*memory);
            lines.push(format!("{name}: {how}, {wall} ({cpu} of processor time), {memory}"));
        }
        for Artifact { path, size } in &self.artifacts {
            lines.push(format!("artifact {path}: {}", format_bytes(*size)));
        }
        match &self.output {
            Some(output) => lines.push(format!("kept in {}", output.display())),
            None if self.artifacts.is_empty() => {}
            None => lines.push("nothing is kept; --output DIR keeps logs and artifacts".to_owned()),
        }
        lines.iter().for_each(|line| eprintln!("{}", escape_line(line)));
    }

    /// How a job has failed.
    pub fn failure(&self) -> String {
        let failed = self.steps.iter().rev().find(|step| step.exit != Some(0));
        let line = match failed {
            Some(Step { name, exit: Some(code), .. }) => {
                format!("the job failed: {name} ended with exit code {code}")
            }
            Some(Step { name, ending, .. }) => format!("the job failed: {name}: {ending}"),
            None => "the job failed".to_owned(),
        };
        escape_line(&line)
    }
}

fn time(millis: u64) -> String {
    humantime::format_duration(Duration::from_millis(millis)).to_string()
}
