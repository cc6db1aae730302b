//! The last steps of a process on its way to becoming the job.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use landlock::{
    ABI, Access, AccessFs, BitFlags, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError,
    RulesetStatus, Scope, path_beneath_rules,
};
use rustix::process::{Pid, Resource, Rlimit, setrlimit};

use super::root::{HOME, WORK};
use super::{Attempt, Failure, filter, identity};
use crate::affinity;
use crate::spec::{Limits, Spec};
use crate::sys::{self, Cloned};

/// Starts the job as a child of init, with `output` for what it prints.
pub fn start(spec: &Spec, output: &OwnedFd) -> Result<Pid, Failure> {
    let (failures, tell) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)
        .attempt("open a pipe to the job")?;
    let child = match sys::fork().attempt("fork the job")? {
        Cloned::Parent { child } => child,
        Cloned::Child => become_job(spec, output, tell),
    };
    drop(tell);
    // Ends when the program is executed, which closes the pipe.
    let mut failure = String::new();
    File::from(failures).read_to_string(&mut failure).attempt("hear from the job")?;
    if failure.is_empty() {
        return Ok(child);
    }
    Err(io::Error::other(failure)).attempt("start the job")
}

fn become_job(spec: &Spec, output: &OwnedFd, tell: OwnedFd) -> ! {
    if let Err(failure) = enclose(spec, output) {
        let reason = io::Error::other(failure).to_string();
        let _ = File::from(tell).write_all(reason.as_bytes());
        std::process::exit(1);
    }
    let (program, arguments) = spec.command.split_first().expect("a sound command is not empty");
    let failure = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&spec.env)
        .current_dir(Path::new(WORK).join(&spec.cwd))
        .exec();
    // Standard output is the job's by now; what it says if this fails, nobody can be told.
    let _ = writeln!(
        io::stdout(),
        "cannot execute {program} in {WORK}/{}: {failure}",
        spec.cwd.display()
    );
    let missing = failure.kind() == io::ErrorKind::NotFound;
    std::process::exit(if missing { NOT_FOUND } else { NOT_EXECUTABLE });
}

/// What a shell answers for a program that is not there, or cannot be executed.
const NOT_FOUND: i32 = 127;
const NOT_EXECUTABLE: i32 = 126;

/// Puts every restriction on this process that it will hand down as the job.
fn enclose(spec: &Spec, output: &OwnedFd) -> Result<(), Failure> {
    // A session of its own has no terminal, and cannot get one: there is none in sight.
    rustix::process::setsid().attempt("leave the terminal")?;
    connect(output).attempt("connect the standard streams")?;
    affinity::stay_on(&spec.processors).attempt("confine the job to its processors")?;
    prefer_for_oom_killer().attempt("offer the job to the kernel when memory is short")?;
    limit(&spec.limits).attempt("set resource limits")?;
    let programs = filter::programs().map_err(io::Error::other).attempt("make the filter")?;
    identity::give_up_capabilities()?;
    restrict_files().map_err(io::Error::other).attempt("restrict files with Landlock")?;
    for program in &programs {
        seccompiler::apply_filter(program).map_err(io::Error::other).attempt("set the filter")?;
    }
    // Last, since from here on anybody's work comes first.
    sys::yield_to_everyone().attempt("take the last place in the queues")
}

fn connect(output: &OwnedFd) -> io::Result<()> {
    rustix::stdio::dup2_stdin(File::open("/dev/null")?)?;
    rustix::stdio::dup2_stdout(output)?;
    rustix::stdio::dup2_stderr(output)?;
    sys::keep_from_next_program()
}

/// When the host runs out of memory, its killer should take a guest first.
fn prefer_for_oom_killer() -> io::Result<()> {
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    // Files in `/proc` about an undumpable process, as init is, belong to root.
    set_dumpable_behavior(DumpableBehavior::Dumpable)?;
    fs::write("/proc/self/oom_score_adj", "1000")
}

/// The kernel's own limits, which hold for each process (or, for their number, each user). They bound what can happen
/// between two looks of init; it is init that adds up. For a process that is confined to its processors already.
fn limit(limits: &Limits) -> io::Result<()> {
    let a_fifth_more = |limit: u64| limit + limit / 5;
    let processors = affinity::processors().map_or(1, |all| all.len() as u64);
    let cpu = limits.wall.as_secs().saturating_add(CPU_GRACE).saturating_mul(processors);
    // Init counts, too: it has the same user in the same namespace.
    let processes = limits.processes + 1;
    let hard = [
        // Zero would still start the handler that `core_pattern` may pipe to, outside; one does not.
        (Resource::Core, 1),
        (Resource::Cpu, cpu),
        (Resource::Data, a_fifth_more(limits.memory)),
        (Resource::Fsize, a_fifth_more(limits.disk)),
        (Resource::Memlock, 1 << 20),
        (Resource::Msgqueue, 800 << 10),
        (Resource::Nice, 0),
        (Resource::Nproc, processes),
        (Resource::Rtprio, 0),
        (Resource::Sigpending, 4096),
    ];
    for (resource, most) in hard {
        lower(resource, most, most)?;
    }
    // What old programs that use `select` can bear; and each open pipe holds memory of the kernel.
    lower(Resource::Nofile, 1024, 1024)
}

/// Seconds of processor time beyond the wall time, so that it is the wall time that ends a job.
const CPU_GRACE: u64 = 10;

/// Sets both limits, but none above what this process has.
fn lower(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let maximum = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX).min(hard);
    let new = Rlimit { current: Some(soft.min(maximum)), maximum: Some(maximum) };
    Ok(setrlimit(resource, new)?)
}

/// The newest revision whose rights are asked for; older kernels enforce what they know.
///
/// What the network may do is left to its namespace: Landlock would forbid tests to talk to themselves.
const LANDLOCK: ABI = ABI::V6;

/// A second fence around the files, should the first (what is mounted, and how) have a hole.
fn restrict_files() -> Result<(), LandlockError> {
    let writable = AccessFs::from_all(LANDLOCK) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    let devices: BitFlags<AccessFs> = AccessFs::from_read(LANDLOCK)
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::IoctlDev;
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(["/"], AccessFs::from_read(LANDLOCK)))?
        .add_rules(path_beneath_rules(["/dev", "/proc"], devices))?
        .add_rules(path_beneath_rules([WORK, HOME, "/tmp", "/dev/shm"], writable))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(LandlockError::Missing),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

#[derive(Debug, thiserror::Error)]
enum LandlockError {
    #[error(
        "this kernel does not enforce it; it must be among those that the boot parameter lsm= names"
    )]
    Missing,
    #[error(transparent)]
    Rules(#[from] RulesetError),
}
