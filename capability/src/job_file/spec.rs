//! What a volunteer is asked to run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};
use serde::{Deserialize, Serialize};

use super::image::{Image, MAX_IMAGE_PATH};
use crate::destination::{Destination, MAX_DESTINATIONS};
use crate::facts::{shortened, validated_on_decoding};
use crate::invalid::Invalid;

/// Steps of a job.
pub const MAX_STEPS: usize = 64;
/// Length of the name of a job, a builder or a step in bytes.
pub const MAX_NAME: usize = 64;
/// Arguments of one step, the program included.
pub const MAX_ARGUMENTS: usize = 256;
/// Length of one argument in bytes: a script of a screenful or two; longer ones belong into the
/// package.
pub const MAX_ARGUMENT: usize = 8 << 10;
/// Environment variables of a job.
pub const MAX_VARIABLES: usize = 128;
/// Length of the value of an environment variable in bytes.
pub const MAX_VARIABLE: usize = 4 << 10;
/// Patterns in one list.
pub const MAX_PATTERNS: usize = 64;
/// Length of a pattern in bytes.
pub const MAX_PATTERN: usize = 256;
/// Longest run of one task: a machine is promised to be its owner's again within a day.
pub const MAX_WALL: Duration = Duration::from_hours(24);
/// Output of one step in bytes: logs are for people, and travel through brokers.
pub const MAX_OUTPUT: u64 = 16 << 20;
/// Shortest time between two checkpoints that a volunteer asks for: each is written to its disk.
pub const MIN_CHECKPOINT: Duration = Duration::from_secs(10);
/// Of a job that says nothing of how large its checkpoint may be.
pub const USUAL_CHECKPOINT_BYTES: u64 = 64 << 20;
/// Processes and threads of a job; Linux's own limit for a system is 4 Mi.
pub const MAX_PROCESSES: u32 = 1 << 16;

/// Units of fuel of a job: what the engine can count.
pub const MAX_FUEL: u64 = i64::MAX as u64;

/// Environment variable that tells a task which one of the job's tasks it is, from 0.
pub const TASK_INDEX_VARIABLE: &str = "TALKOOT_TASK_INDEX";
/// Environment variable that tells a task how many tasks the job has.
pub const TASK_COUNT_VARIABLE: &str = "TALKOOT_TASK_COUNT";
/// Variables with this beginning are set by the volunteer only.
pub const RESERVED_VARIABLES: &str = "TALKOOT_";

/// What a volunteer is asked to run, as it travels inside an offer.
///
/// Decoding checks the limits; a value made here is checked by [`JobSpec::validate`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct JobSpec {
    /// Environment variables of every step.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub environment: BTreeMap<String, String>,
    /// What to run, in this order, until one fails.
    pub steps: Vec<Step>,
    /// What one task may use.
    #[serde(default)]
    pub limits: Limits,
    /// Patterns for the files to bring back, relative to the working directory.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<String>,
    /// The step whose output is TAP, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tap: Option<String>,
    /// What its connections may lead to; none: it reaches no network. At most [`MAX_DESTINATIONS`], all
    /// different (S98).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub network: Vec<Destination>,
    /// The image whose files are the root of its steps in the runtime `container`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<Image>,
    /// Whether it keeps checkpoints, from which it goes on where it was interrupted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<Checkpoint>,
}
validated_on_decoding!(JobSpec, Invalid::from);

/// One command of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Step {
    /// What people call it; unique in its job.
    pub name: String,
    /// The program and its arguments. In a wasm runtime the program is a `.wasm` file of the
    /// package.
    pub run: Vec<String>,
}

/// How a job keeps checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Checkpoint {
    /// How often it is asked for one, in milliseconds: from [`MIN_CHECKPOINT`] to [`MAX_WALL`].
    pub every_ms: u64,
    /// Bytes of one, at most. Two of them are set aside of the disk space of [`Limits`], so that half of that
    /// must be more.
    #[serde(default = "usual_checkpoint", skip_serializing_if = "is_usual_checkpoint")]
    pub size: u64,
}

fn usual_checkpoint() -> u64 {
    USUAL_CHECKPOINT_BYTES
}

fn is_usual_checkpoint(size: &u64) -> bool {
    *size == USUAL_CHECKPOINT_BYTES
}

/// What one task may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub struct Limits {
    /// Time for all steps together, in milliseconds; at most [`MAX_WALL`].
    pub wall_ms: u64,
    /// Main memory in bytes.
    pub memory: u64,
    /// Disk space in bytes, the unpacked package included.
    pub disk: u64,
    /// Output of one step in bytes, at most [`MAX_OUTPUT`].
    pub output: u64,
    /// Processes and threads at a time, at most [`MAX_PROCESSES`].
    pub processes: u32,
    /// Units of fuel for all steps together, an instruction each, roughly; unmetered if absent. For jobs of
    /// the runtime `wasm` alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel: Option<u64>,
}

/// A job breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JobSpecError {
    /// The number of steps is wrong.
    #[error("{0} steps, 1 to {MAX_STEPS} are allowed")]
    StepCount(usize),
    /// A name has a wrong length or character.
    #[error(
        "{0:?} is not a name of 1 to {MAX_NAME} characters of a-z, 0-9, dot, hyphen and underscore"
    )]
    Name(String),
    /// Two steps have one name.
    #[error("two steps are called {0:?}")]
    DuplicateStep(String),
    /// A step has no program or too many arguments.
    #[error("step has {0} arguments, 1 to {MAX_ARGUMENTS} are allowed, the program included")]
    ArgumentCount(usize),
    /// The first argument is empty.
    #[error("the program of a step is empty")]
    NoProgram,
    /// An argument is too long or has a NUL.
    #[error("argument of {0} bytes is over {MAX_ARGUMENT} or has a NUL character")]
    Argument(usize),
    /// There are more than [`MAX_VARIABLES`].
    #[error("{0} environment variables, at most {MAX_VARIABLES} are allowed")]
    VariableCount(usize),
    /// The name of a variable cannot be used.
    #[error("{0:?} cannot name an environment variable; use letters, digits and underscore")]
    VariableName(String),
    /// The name of a variable is the volunteer's to set.
    #[error(
        "environment variable {0:?} is reserved; those that begin with TALKOOT_ are set for the job"
    )]
    ReservedVariable(String),
    /// The value of a variable is too long or has a NUL.
    #[error(
        "value of environment variable {name:?} is over {MAX_VARIABLE} bytes or has a NUL character"
    )]
    VariableValue {
        /// Which variable.
        name: String,
    },
    /// A limit is 0 or above what is allowed.
    #[error("limit {limit} is {value}, 1 to {max} are allowed")]
    Limit {
        /// Which limit.
        limit: &'static str,
        /// What it is.
        value: u64,
        /// The most that it can be.
        max: u64,
    },
    /// There are more than [`MAX_PATTERNS`].
    #[error("{0} patterns, at most {MAX_PATTERNS} are allowed")]
    PatternCount(usize),
    /// A pattern is no pattern.
    #[error("{pattern:?} is not a pattern: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There are more than [`MAX_DESTINATIONS`].
    #[error("{0} destinations, at most {MAX_DESTINATIONS} are allowed")]
    DestinationCount(usize),
    /// A destination is there twice.
    #[error("{0} is there already")]
    DuplicateDestination(Destination),
    /// Checkpoints are asked for too often or too seldom.
    #[error("checkpoints every {0} ms, {min} to {max} are allowed", min = MIN_CHECKPOINT.as_millis(), max = MAX_WALL.as_millis())]
    CheckpointTime(u64),
    /// Two checkpoints would leave nothing of the disk space.
    #[error(
        "checkpoints of {size} bytes, of which two are kept, leave nothing of {disk} bytes of disk space"
    )]
    CheckpointSize {
        /// Bytes of one.
        size: u64,
        /// The job's disk space.
        disk: u64,
    },
    /// `tap` names no step.
    #[error("there is no step {0:?} that could write TAP")]
    TapStep(String),
    /// The path of an image leads out of the package, or nowhere.
    #[error(
        "{0:?} is not the path of an image: 1 to {MAX_IMAGE_PATH} bytes, relative to the package, without empty parts, `.` or `..`"
    )]
    ImagePath(String),
    /// The digest of an image is of another form.
    #[error("{0:?} is not the digest of an image: write sha256: and 64 digits of 0-9 and a-f")]
    ImageDigest(String),
    /// The name of a repository is of another form.
    #[error(
        "{0:?} is not the name of a repository with its registry and without a tag, as in docker.io/library/debian"
    )]
    Repository(String),
}

impl From<JobSpecError> for Invalid {
    fn from(error: JobSpecError) -> Self {
        let rule = match &error {
            JobSpecError::DestinationCount(_) | JobSpecError::DuplicateDestination(_) => "S98",
            JobSpecError::ImagePath(_) | JobSpecError::ImageDigest(_) => "S113",
            JobSpecError::Repository(_) => "S115",
            JobSpecError::CheckpointTime(_) | JobSpecError::CheckpointSize { .. } => "S109",
            _ => "S44",
        };
        Self::new(rule, error.to_string())
    }
}

impl JobSpec {
    /// Checks every limit that the types do not hold by themselves.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn validate(&self) -> Result<(), JobSpecError> {
        if self.environment.len() > MAX_VARIABLES {
            return Err(JobSpecError::VariableCount(self.environment.len()));
        }
        for (name, value) in &self.environment {
            check_variable(name, value)?;
        }
        if !(1..=MAX_STEPS).contains(&self.steps.len()) {
            return Err(JobSpecError::StepCount(self.steps.len()));
        }
        let mut names = BTreeSet::new();
        for step in &self.steps {
            step.validate()?;
            if !names.insert(step.name.as_str()) {
                return Err(JobSpecError::DuplicateStep(step.name.clone()));
            }
        }
        self.limits.validate()?;
        self.checkpoint.map_or(Ok(()), |it| it.validate(self.limits.disk))?;
        parsed(&self.artifacts)?;
        check_destinations(&self.network)?;
        self.image.as_ref().map_or(Ok(()), Image::validate)?;
        match &self.tap {
            Some(tap) if !names.contains(tap.as_str()) => {
                Err(JobSpecError::TapStep(shortened(tap)))
            }
            _ => Ok(()),
        }
    }

    /// The patterns for the files to bring back, ready to use.
    ///
    /// # Errors
    /// If one is not a pattern, which [`JobSpec::validate`] finds too.
    pub fn artifact_globs(&self) -> Result<Globs, JobSpecError> {
        Globs::new(&self.artifacts)
    }
}

impl Checkpoint {
    /// Time between two that a volunteer asks for.
    pub fn every(&self) -> Duration {
        Duration::from_millis(self.every_ms)
    }

    /// What is set aside for checkpoints of a job's disk space, in bytes: for the last one, and for the next
    /// while it is written.
    pub fn reserve(&self) -> u64 {
        self.size.saturating_mul(2)
    }

    /// Whether it suits a job with `disk` bytes of disk space (S109).
    ///
    /// # Errors
    /// Says what is wrong.
    pub(super) fn validate(&self, disk: u64) -> Result<(), JobSpecError> {
        if !(MIN_CHECKPOINT..=MAX_WALL).contains(&self.every()) {
            return Err(JobSpecError::CheckpointTime(self.every_ms));
        }
        if self.size == 0 || self.reserve() >= disk {
            return Err(JobSpecError::CheckpointSize { size: self.size, disk });
        }
        Ok(())
    }
}

impl Step {
    fn validate(&self) -> Result<(), JobSpecError> {
        check_name(&self.name)?;
        check_arguments(&self.run)
    }
}

impl Default for Limits {
    /// Enough to build and test a small project; whoever needs more says so.
    fn default() -> Self {
        Self {
            wall_ms: 600_000,
            memory: 1 << 30,
            disk: 1 << 30,
            output: 1 << 20,
            processes: 256,
            fuel: None,
        }
    }
}

impl Limits {
    /// Time for all steps together.
    pub fn wall(&self) -> Duration {
        Duration::from_millis(self.wall_ms)
    }

    fn validate(&self) -> Result<(), JobSpecError> {
        let max_wall = u64::try_from(MAX_WALL.as_millis()).unwrap_or(u64::MAX);
        // A job that asks for more memory or disk than there is matches no machine.
        [
            ("wall-ms", self.wall_ms, max_wall),
            ("memory", self.memory, u64::MAX),
            ("disk", self.disk, u64::MAX),
            ("output", self.output, MAX_OUTPUT),
            ("processes", u64::from(self.processes), u64::from(MAX_PROCESSES)),
            // Unmetered, which no number says.
            ("fuel", self.fuel.unwrap_or(1), MAX_FUEL),
        ]
        .into_iter()
        .find(|(_, value, max)| !(1..=*max).contains(value))
        .map_or(Ok(()), |(limit, value, max)| Err(JobSpecError::Limit { limit, value, max }))
    }
}

/// Patterns for paths, relative and with `/` between their parts.
///
/// `*` and `?` stop at a slash, `**` does not; case matters.
///
/// ```
/// use capability::Globs;
///
/// let globs = Globs::new(&["out/*.txt".to_owned()])?;
/// assert!(globs.matches("out/a.txt"));
/// assert!(!globs.matches("out/deep/a.txt"));
/// # Ok::<(), capability::JobSpecError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Globs(GlobSet);

impl Globs {
    /// Reads `patterns`.
    ///
    /// # Errors
    /// If there are too many, or one is not a pattern, is absolute or leads out by `..`.
    pub fn new(patterns: &[String]) -> Result<Self, JobSpecError> {
        let mut set = GlobSetBuilder::new();
        for glob in parsed(patterns)? {
            set.add(glob);
        }
        // Its automaton has an upper bound, which patterns within their own bounds stay below.
        set.build().map(Self).map_err(|error| refused("the patterns together", error.kind()))
    }

    /// Whether one of the patterns matches `path`.
    pub fn matches(&self, path: impl AsRef<std::path::Path>) -> bool {
        self.0.is_match(path)
    }
}

/// Reads patterns and makes no automaton of them yet: that takes a thousand bytes for each of theirs,
/// and most readers of an offer match nothing.
fn parsed(patterns: &[String]) -> Result<Vec<globset::Glob>, JobSpecError> {
    if patterns.len() > MAX_PATTERNS {
        return Err(JobSpecError::PatternCount(patterns.len()));
    }
    patterns.iter().map(|pattern| parsed_one(pattern)).collect()
}

fn glob(pattern: &str) -> Result<globset::Glob, globset::Error> {
    GlobBuilder::new(pattern).literal_separator(true).backslash_escape(true).build()
}

fn refused(pattern: &str, reason: &impl ToString) -> JobSpecError {
    JobSpecError::Pattern { pattern: shortened(pattern), reason: reason.to_string() }
}

pub(super) fn check_destinations(destinations: &[Destination]) -> Result<(), JobSpecError> {
    if destinations.len() > MAX_DESTINATIONS {
        return Err(JobSpecError::DestinationCount(destinations.len()));
    }
    let mut seen = BTreeSet::new();
    let again = destinations.iter().find(|destination| !seen.insert(*destination));
    again.map_or(Ok(()), |again| Err(JobSpecError::DuplicateDestination(again.clone())))
}

pub(super) fn check_pattern(pattern: &str) -> Result<(), JobSpecError> {
    parsed_one(pattern).map(drop)
}

fn parsed_one(pattern: &str) -> Result<globset::Glob, JobSpecError> {
    let reason = if !(1..=MAX_PATTERN).contains(&pattern.len()) {
        "it must have 1 to 256 bytes"
    } else if pattern.starts_with('/') {
        "it must be relative"
    } else if pattern.split('/').any(|part| part == "..") {
        "it must not lead out by \"..\""
    } else {
        return glob(pattern).map_err(|error| refused(pattern, error.kind()));
    };
    Err(refused(pattern, &reason))
}

pub(super) fn check_name(name: &str) -> Result<(), JobSpecError> {
    let valid = (1..=MAX_NAME).contains(&name.len())
        && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'));
    if valid { Ok(()) } else { Err(JobSpecError::Name(shortened(name))) }
}

pub(super) fn check_arguments(run: &[String]) -> Result<(), JobSpecError> {
    if !(1..=MAX_ARGUMENTS).contains(&run.len()) {
        return Err(JobSpecError::ArgumentCount(run.len()));
    }
    if run[0].is_empty() {
        return Err(JobSpecError::NoProgram);
    }
    run.iter()
        .find(|argument| argument.len() > MAX_ARGUMENT || argument.contains('\0'))
        .map_or(Ok(()), |argument| Err(JobSpecError::Argument(argument.len())))
}

pub(super) fn check_variable(name: &str, value: &str) -> Result<(), JobSpecError> {
    let valid = (1..=MAX_NAME).contains(&name.len())
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !valid {
        return Err(JobSpecError::VariableName(shortened(name)));
    }
    if name.starts_with(RESERVED_VARIABLES) {
        return Err(JobSpecError::ReservedVariable(name.to_owned()));
    }
    if value.len() > MAX_VARIABLE || value.contains('\0') {
        return Err(JobSpecError::VariableValue { name: name.to_owned() });
    }
    Ok(())
}
