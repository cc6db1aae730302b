//! What a maintainer writes: a job, and what it needs, in one TOML file.
//!
//! [`JobFile::parse`] turns the text into the [`Requirements`] and the [`JobSpec`] of an offer, or
//! says on which line what is wrong and what would be right. Whatever can be wrong with a job that
//! a single file shows is found here, before anything is signed.

mod clauses;
mod container;
mod image;
mod limits;
mod needs;
mod network;
mod offers;
mod own_checks;
mod reader;
mod repository;
mod spec;
mod wording;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use crate::facts::Runtime;
use crate::key::PublicKey;
use crate::quantity::parse_duration;
use crate::requirements::Requirements;
use crate::statement::Verified;
use crate::statements::{MAX_OFFLINE, MAX_PRIORITY, MAX_RECIPIENTS, Registration, USUAL_PRIORITY};
pub use image::{Image, ImageDigest, ImageSource, MAX_IMAGE_PATH};
pub(crate) use offers::policy;
use own_checks::OwnChecks;
use reader::{Field, Section, Words};
pub use repository::{MAX_REPOSITORY, Repositories, Repository};
pub use spec::{
    Checkpoint, Globs, JobSpec, JobSpecError, Limits, MAX_ARGUMENT, MAX_ARGUMENTS, MAX_FUEL,
    MAX_NAME, MAX_OUTPUT, MAX_PATTERN, MAX_PATTERNS, MAX_PROCESSES, MAX_STEPS, MAX_VARIABLE,
    MAX_VARIABLES, MAX_WALL, MIN_CHECKPOINT, RESERVED_VARIABLES, Step, TASK_COUNT_VARIABLE,
    TASK_INDEX_VARIABLE, USUAL_CHECKPOINT_BYTES,
};
use spec::{check_arguments, check_name, check_pattern, check_variable};

/// Longest job file in bytes; what it describes must fit into a statement of a quarter of that.
pub const MAX_JOB_FILE: usize = 256 << 10;
/// Tasks of one job: each costs its home broker a row.
pub const MAX_TASKS: u32 = 100_000;
/// Longest time that a job is offered: tombstones and archives grow with it.
pub const MAX_EXPIRY: Duration = Duration::from_hours(30 * 24);

const DEFAULT_EXPIRY: Duration = Duration::from_hours(7 * 24);

/// A job as its maintainer describes it.
///
/// ```
/// use capability::JobFile;
///
/// let job = JobFile::parse(r#"
///     name = "hello-make"
///     [requirements]
///     runtimes = ["native"]
///     tools.make = ">=4"
///     [[step]]
///     name = "build"
///     run = ["make", "-j1"]
/// "#)?;
/// assert_eq!(job.job.steps[0].run, ["make", "-j1"]);
///
/// let error = JobFile::parse("name = \"hello\"\n[requirments]\n").unwrap_err();
/// assert_eq!(
///     format!("job.toml:{error}"),
///     "job.toml:2:2: unknown field \"requirments\"; did you mean \"requirements\"?"
/// );
/// # Ok::<(), capability::JobFileError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobFile {
    /// What people call the job.
    pub name: String,
    /// The job's column in the project's matrix; its name unless the file says otherwise.
    pub builder: String,
    /// How many times the job runs, each time with another [`TASK_INDEX_VARIABLE`].
    pub tasks: u32,
    /// How long the job is offered.
    pub expires: Duration,
    /// How much longer than the job may take a machine may have a task and be out of reach; zero: not
    /// at all.
    pub offline: Duration,
    /// Which of the project's jobs come first: those of the highest number, 0 to 9.
    pub priority: u8,
    /// The only volunteers that can read the package and run the job; empty: all may.
    pub private: Vec<PublicKey>,
    /// What a machine must have.
    pub requirements: Requirements,
    /// What to pack.
    pub package: PackageSource,
    /// What to run.
    pub job: JobSpec,
}

/// The files that a job brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSource {
    /// A directory, relative to the job file.
    pub path: PathBuf,
    /// Patterns for what to leave out; one without a slash is for names at any depth.
    pub exclude: Vec<String>,
}

impl PackageSource {
    /// The patterns for what to leave out, ready to use on paths relative to [`Self::path`].
    ///
    /// A directory that matches is left out with all that is in it, for which the caller sees.
    ///
    /// # Errors
    /// If one is not a pattern; one that came from a job file is.
    pub fn exclude_globs(&self) -> Result<Globs, JobSpecError> {
        let anywhere = |pattern: &String| match pattern.trim_end_matches('/') {
            name if name.contains('/') => name.to_owned(),
            name => format!("**/{name}"),
        };
        Globs::new(&self.exclude.iter().map(anywhere).collect::<Vec<_>>())
    }
}

/// A job file, or a volunteer's policy, is wrong, and where.
///
/// It is shown as `line:column: problem`, so that it goes well behind the file's name and a colon.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{line}:{column}: {problem}")]
pub struct JobFileError {
    /// Line of the file, from 1.
    pub line: usize,
    /// Character of the line, from 1.
    pub column: usize,
    /// Dotted path of the field, such as `limits.memory` or `step[0].run`; empty for the whole.
    pub field: String,
    /// What is wrong.
    pub problem: Box<Problem>,
}

/// What is wrong with it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// It is longer than [`MAX_JOB_FILE`].
    #[error("job file of {0} bytes, at most {MAX_JOB_FILE} are allowed")]
    TooLong(usize),
    /// It is not TOML.
    #[error("{0}")]
    Syntax(String),
    /// There is no field of that name.
    #[error("unknown field {name:?}; {}", instead(nearest.as_deref(), known))]
    UnknownField {
        /// What the file says.
        name: String,
        /// What it was probably meant to be.
        nearest: Option<String>,
        /// The fields that there are.
        known: String,
    },
    /// A field must be there, and is not.
    #[error("{field} is missing; write for example {example}")]
    MissingField {
        /// Which field.
        field: String,
        /// How it could look.
        example: &'static str,
    },
    /// A value is of another type.
    #[error("{field} must be {expected}, this is of type {found}")]
    WrongType {
        /// Which field.
        field: String,
        /// What it must be.
        expected: &'static str,
        /// What it is, in TOML's terms.
        found: &'static str,
    },
    /// A value is none of a few words.
    #[error("{field} cannot be {value:?}; {}", instead(nearest.as_deref(), known))]
    UnknownValue {
        /// Which field.
        field: String,
        /// What the file says.
        value: String,
        /// What it was probably meant to be.
        nearest: Option<String>,
        /// The words that there are.
        known: String,
    },
    /// A value cannot be used.
    #[error("{field}: {reason}")]
    Value {
        /// Which field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

fn instead(nearest: Option<&str>, known: &str) -> String {
    match nearest {
        Some(word) => format!("did you mean {word:?}?"),
        None => format!("known are {known}"),
    }
}

impl JobFile {
    /// Reads the text of a job file.
    ///
    /// # Errors
    /// Names the first problem with its place. Unknown fields are refused: a misspelt limit must
    /// not go unnoticed.
    pub fn parse(text: &str) -> Result<Self, JobFileError> {
        Self::read(text, OwnChecks(None))
    }

    /// Reads the text of a job file of the project that has signed `registration`: what it requires
    /// of `check.NAME` it requires of what that project's check finds.
    ///
    /// # Errors
    /// As of [`JobFile::parse`]; a check that the project does not have is one more.
    pub fn parse_for(
        text: &str,
        registration: &Verified<Registration>,
    ) -> Result<Self, JobFileError> {
        Self::read(text, OwnChecks(Some(registration)))
    }

    fn read(text: &str, own: OwnChecks<'_>) -> Result<Self, JobFileError> {
        if text.len() > MAX_JOB_FILE {
            let problem = Box::new(Problem::TooLong(text.len()));
            return Err(JobFileError { line: 1, column: 1, field: String::new(), problem });
        }
        let mut root = Section::root(
            text,
            &[
                "name",
                "builder",
                "tasks",
                "expires",
                "offline",
                "priority",
                "private",
                "volunteers",
                "requirements",
                "prefer",
                "package",
                "container",
                "environment",
                "step",
                "limits",
                "checkpoint",
                "results",
                "network",
            ],
        )?;
        let name = root.require("name", "name = \"hello-make\"")?;
        let name = self::name(name)?;
        let builder = root.optional("builder", name.clone(), self::name)?;
        let tasks = root.optional("tasks", 1, |field| field.count(MAX_TASKS))?;
        let expires =
            root.optional("expires", DEFAULT_EXPIRY, |field| duration(field, MAX_EXPIRY))?;
        let offline =
            root.optional("offline", Duration::ZERO, |field| duration(field, MAX_OFFLINE))?;
        let priority = root.optional("priority", USUAL_PRIORITY, priority)?;
        let private = private(&mut root)?;
        let (limits, fuel) = limits::limits(&mut root)?;
        let mut requirements = needs::requirements(&mut root, &limits, own)?;
        let network = network::destinations(&mut root, &mut requirements)?;
        limits::check_fuel(fuel, &requirements.runtimes)?;
        let checkpoint = limits::checkpoint(&mut root, limits.disk)?;
        let package = package(&mut root)?;
        let environment = environment(&mut root)?;
        let steps = steps(&mut root, &requirements.runtimes)?;
        let (artifacts, tap) = results(&mut root, &steps)?;
        let image = container::image(&mut root, &mut requirements)?;
        let job =
            JobSpec { environment, steps, limits, artifacts, tap, network, image, checkpoint };
        Ok(Self {
            name,
            builder,
            tasks,
            expires,
            offline,
            priority,
            private,
            requirements,
            package,
            job,
        })
    }
}

/// The volunteers of a private job.
fn private(root: &mut Section<'_>) -> Result<Vec<PublicKey>, JobFileError> {
    let is_private = root.optional("private", false, Field::boolean)?;
    if !is_private {
        let refused =
            |field: Field<'_>| field.refuse("it is for private jobs; write private = true");
        return root.take("volunteers").map_or(Ok(Vec::new()), |field| Err(refused(field)));
    }
    let field = root.require("volunteers", "volunteers = [\"KEY\"], whose machines may run it")?;
    let place = field.place();
    let mut volunteers = Vec::new();
    for element in field.elements()? {
        let place = element.place();
        let volunteer = element.parse(str::parse::<PublicKey>)?;
        if volunteers.contains(&volunteer) {
            return Err(place.refuse("this volunteer is there already"));
        }
        volunteers.push(volunteer);
    }
    if (1..=MAX_RECIPIENTS).contains(&volunteers.len()) {
        Ok(volunteers)
    } else {
        Err(place.refuse(format_args!("name 1 to {MAX_RECIPIENTS} volunteers")))
    }
}

fn priority(field: Field<'_>) -> Result<u8, JobFileError> {
    let priority = field.whole(0..=MAX_PRIORITY.into())?;
    Ok(u8::try_from(priority).expect("at most MAX_PRIORITY"))
}

fn name(field: Field<'_>) -> Result<String, JobFileError> {
    field.parse(|name| check_name(name).map(|()| name.to_owned()))
}

/// A duration above zero and up to `max`, in whole milliseconds.
fn duration(field: Field<'_>, max: Duration) -> Result<Duration, JobFileError> {
    let place = field.place();
    let duration = field.parse(parse_duration)?;
    let whole_milliseconds = duration.subsec_nanos().is_multiple_of(1_000_000);
    if duration.is_zero() || duration > max || !whole_milliseconds {
        let max = humantime::format_duration(max);
        return Err(place.refuse(format_args!("it must be above zero and at most {max}")));
    }
    Ok(duration)
}

fn runtimes(field: Field<'_>) -> Result<Vec<Runtime>, JobFileError> {
    let place = field.place();
    let mut runtimes = Vec::new();
    for element in field.elements()? {
        let element_place = element.place();
        let runtime = element.one_of(&RUNTIMES)?;
        let runtime = runtime.parse().map_err(|error| element_place.refuse(error))?;
        if runtimes.contains(&runtime) {
            return Err(element_place.refuse(format_args!("{runtime} is there already")));
        }
        runtimes.push(runtime);
    }
    if runtimes.is_empty() {
        return Err(place.refuse("name at least one of native, wasm, container"));
    }
    Ok(runtimes)
}

fn package(root: &mut Section<'_>) -> Result<PackageSource, JobFileError> {
    let mut section = root.section("package", &["path", "exclude"])?;
    let path = section.optional("path", PathBuf::from("."), |field| {
        field.parse(|text| match Path::new(text) {
            path if text.is_empty() || text.contains('\0') => {
                Err(format!("{path:?} is not a directory"))
            }
            path if path.components().any(|part| !is_relative(part)) => {
                Err(format!("{text:?} must be relative to the job file"))
            }
            path => Ok(path.to_owned()),
        })
    })?;
    let exclude = section.optional("exclude", Vec::new(), patterns)?;
    Ok(PackageSource { path, exclude })
}

fn is_relative(part: Component<'_>) -> bool {
    !matches!(part, Component::RootDir | Component::Prefix(_))
}

fn patterns(field: Field<'_>) -> Result<Vec<String>, JobFileError> {
    let place = field.place();
    let elements = field.elements()?;
    if elements.len() > MAX_PATTERNS {
        return Err(place.refuse(JobSpecError::PatternCount(elements.len())));
    }
    let patterns = elements.into_iter().map(|element| {
        element.parse(|pattern| check_pattern(pattern).map(|()| pattern.to_owned()))
    });
    let patterns: Vec<_> = patterns.collect::<Result<_, _>>()?;
    Globs::new(&patterns).map_err(|error| place.refuse(error))?;
    Ok(patterns)
}

fn environment(root: &mut Section<'_>) -> Result<BTreeMap<String, String>, JobFileError> {
    let Some(field) = root.take("environment") else { return Ok(BTreeMap::new()) };
    let place = field.place();
    let mut environment = BTreeMap::new();
    for (name, value) in field.table()?.into_fields() {
        let (name_place, value_place) = (value.key_place(), value.place());
        let value = value.string()?;
        if looks_secret(&name) {
            return Err(name_place.refuse(
                "it looks like a secret, and jobs run on strangers' machines, who can read all \
                 that a job can; leave it out, or rename it if it is none",
            ));
        }
        check_variable(&name, &value).map_err(|error| match &error {
            JobSpecError::VariableValue { .. } => value_place.refuse(error),
            _ => name_place.refuse(error),
        })?;
        environment.insert(name, value);
    }
    if environment.len() > MAX_VARIABLES {
        return Err(place.refuse(JobSpecError::VariableCount(environment.len())));
    }
    Ok(environment)
}

/// Whether the name of an environment variable is one that people give to secrets.
fn looks_secret(name: &str) -> bool {
    const PARTS: [&str; 10] =
        ["TOKEN", "TOKENS", "KEY", "KEYS", "PASS", "PASSWD", "PASSPHRASE", "PAT", "AUTH", "CREDS"];
    const ANYWHERE: [&str; 5] = ["SECRET", "PASSWORD", "CREDENTIAL", "APIKEY", "PRIVATEKEY"];
    let name = name.to_uppercase();
    name.split('_').any(|part| PARTS.contains(&part))
        || ANYWHERE.iter().any(|word| name.contains(word))
        || name.ends_with("TOKEN")
}

fn steps(root: &mut Section<'_>, runtimes: &[Runtime]) -> Result<Vec<Step>, JobFileError> {
    let field = root.require("step", "[[step]] with name = \"build\" and run = [\"make\"]")?;
    let place = field.place();
    let elements = field.elements()?;
    if !(1..=MAX_STEPS).contains(&elements.len()) {
        return Err(place.refuse(JobSpecError::StepCount(elements.len())));
    }
    let mut steps: Vec<Step> = Vec::new();
    for element in elements {
        let mut section = element.section(&["name", "run", "shell"])?;
        let name = section.require("name", "name = \"build\"")?;
        let place = name.place();
        let name = self::name(name)?;
        if steps.iter().any(|step| step.name == name) {
            return Err(place.refuse(JobSpecError::DuplicateStep(name)));
        }
        let shell = section.optional("shell", false, Field::boolean)?;
        let run = section.require("run", "run = [\"make\", \"-j1\"]")?;
        steps.push(Step { name, run: arguments(run, shell, runtimes)? });
    }
    Ok(steps)
}

fn arguments(
    field: Field<'_>,
    shell: bool,
    runtimes: &[Runtime],
) -> Result<Vec<String>, JobFileError> {
    let place = field.place();
    let run = match (shell, field.is_string()) {
        (true, true) => vec!["/bin/sh".to_owned(), "-c".to_owned(), field.string()?],
        (true, false) => {
            return Err(
                place.refuse("with shell = true it is one text, such as \"make && make check\"")
            );
        }
        (false, true) => {
            return Err(place.refuse(
                "a text is split by no shell; write [\"make\", \"-j1\"], or add shell = true to \
                 give it to /bin/sh",
            ));
        }
        (false, false) => {
            field.elements()?.into_iter().map(Field::string).collect::<Result<_, _>>()?
        }
    };
    check_arguments(&run).map_err(|error| place.refuse(error))?;
    if runtimes.contains(&Runtime::Wasm) && !run[0].ends_with(".wasm") {
        let program = &run[0];
        return Err(place.refuse(format_args!(
            "the wasm runtime cannot run {program:?}, only a .wasm file of the package"
        )));
    }
    Ok(run)
}

fn results(
    root: &mut Section<'_>,
    steps: &[Step],
) -> Result<(Vec<String>, Option<String>), JobFileError> {
    let mut section = root.section("results", &["artifacts", "tap"])?;
    let artifacts = section.optional("artifacts", Vec::new(), patterns)?;
    let names: Vec<&str> = steps.iter().map(|step| step.name.as_str()).collect();
    let tap = section.take("tap");
    let tap = tap.map(|field| field.one_of(&Words { known: &names, aliases: &[] })).transpose()?;
    Ok((artifacts, tap))
}

const RUNTIMES: Words<'_> = Words {
    known: &["native", "wasm", "container"],
    aliases: &[("docker", "container"), ("podman", "container"), ("oci", "container")],
};

/// Rust's names, and what others call the same.
const OPERATING_SYSTEMS: Words<'_> = Words {
    known: &[
        "linux",
        "macos",
        "windows",
        "freebsd",
        "netbsd",
        "openbsd",
        "dragonfly",
        "illumos",
        "solaris",
        "android",
        "ios",
        "haiku",
        "aix",
        "hurd",
        "redox",
        "wasi",
    ],
    aliases: &[("darwin", "macos"), ("osx", "macos"), ("win32", "windows"), ("gnu", "hurd")],
};

const ARCHITECTURES: Words<'_> = Words {
    known: &[
        "x86_64",
        "x86",
        "aarch64",
        "arm",
        "riscv64",
        "riscv32",
        "powerpc64",
        "powerpc",
        "s390x",
        "loongarch64",
        "mips",
        "mips64",
        "sparc",
        "sparc64",
        "m68k",
        "wasm32",
    ],
    aliases: &[
        ("amd64", "x86_64"),
        ("x64", "x86_64"),
        ("arm64", "aarch64"),
        ("i386", "x86"),
        ("i686", "x86"),
        ("armhf", "arm"),
        ("armv7", "arm"),
        ("ppc64", "powerpc64"),
        ("ppc64le", "powerpc64"),
    ],
};
