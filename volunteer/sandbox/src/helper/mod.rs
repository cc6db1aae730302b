//! The helper process, from its start to its exit code.
//!
//! It stays outside the sandbox, does what only the outside can do (give the work directory to the job's user, map
//! that user into the namespace), and then waits for init, so that init has a parent to die with.

mod disk;
mod filter;
mod identity;
mod image;
mod init;
mod job;
mod memory;
mod proxy;
mod root;

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::ExitCode;

use rustix::fs::{Mode, OFlags};
use rustix::io::fcntl_dupfd_cloexec;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};

use crate::hostile;
use crate::outcome::Report;
use crate::spec::{MAX_SPEC_BYTES, Order};
use crate::sys::{self, Cloned};

use identity::Identity;

/// The argument with which the helper is the hostile program of the self-test instead.
pub(crate) const HOSTILE: &str = "hostile";

/// What the parent may ask of init, one byte each, after the specification. The end of the stream kills, too.
pub(crate) const KILL: u8 = b'k';
/// Stops the job's processes, and its clock.
pub(crate) const PAUSE: u8 = b'p';
/// Lets them go on.
pub(crate) const RESUME: u8 = b'r';
/// Says that all of them and init were frozen, for as many milliseconds as the next eight bytes tell, most significant
/// first.
pub(crate) const FROZEN: u8 = b'f';

/// Runs the step that standard input describes, and reports to standard error. Never returns inside the sandbox.
///
/// Must be called before the program has started a thread or opened a file. Standard output is the job's. Meant to be
/// started by [`Sandbox`](crate::Sandbox) only.
pub fn main() -> ExitCode {
    if std::env::args_os().next_back().is_some_and(|argument| argument == HOSTILE) {
        return hostile::main();
    }
    match supervise() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            report(&Report::failed(failure.to_string()), &mut io::stderr());
            ExitCode::FAILURE
        }
    }
}

/// A step of the way into the sandbox that failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {what}: {source}")]
struct Failure {
    what: String,
    source: io::Error,
}

/// Says what was attempted when it failed.
trait Attempt<T> {
    fn attempt(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Attempt<T> for Result<T, E> {
    fn attempt(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|source| Failure { what: what.to_string(), source: source.into() })
    }
}

/// The descriptors that tie the processes of a sandbox together.
struct Channels {
    /// Read by init: what the parent asks. Its end means that the parent is gone.
    control: OwnedFd,
    /// Written by the job.
    output: OwnedFd,
    /// Written by whoever knows how it ended.
    report: OwnedFd,
    /// Read by init: one byte when its user is mapped. Its end means that the helper is gone.
    supervisor: OwnedFd,
}

fn supervise() -> Result<(), Failure> {
    sys::close_inherited().attempt("close inherited descriptors")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .attempt("tie the helper to its parent")?;
    let Order { spec, group } = receive().attempt("receive the specification")?;
    let identity = Identity::of_job(&spec);
    identity.prepare(&spec)?;
    let start = |network| proxy::start(network, &identity, group.as_deref());
    let (proxy, line) = spec.network.as_ref().map(start).transpose()?.unzip();
    let group = group.map(open_group).transpose()?;

    let (supervisor, mapped) =
        rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).attempt("open a pipe to init")?;
    let channels = take_channels(supervisor).attempt("take over standard streams")?;
    identity.own_output(&channels)?;
    match sys::clone_into_namespaces(group.as_ref()).attempt("create namespaces")? {
        Cloned::Child => {
            drop((mapped, group));
            init::main(&spec, channels, line)
        }
        Cloned::Parent { child } => {
            let Channels { control, output, report, supervisor } = channels;
            drop((control, output, supervisor, line));
            stand_by(&identity, child, mapped, &mut File::from(report));
            if let Some(proxy) = proxy {
                // It ends with init, and has something to tell before.
                let _ = rustix::process::waitpid(Some(proxy), WaitOptions::empty());
            }
            Ok(())
        }
    }
}

/// The directory of a control group, as the kernel wants it of whoever clones into it.
fn open_group(path: PathBuf) -> Result<OwnedFd, Failure> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty())
        .attempt(format_args!("open the control group {}", path.display()))
}

/// Maps the job's user for init, waits for its end, and reports for it if it could not.
fn stand_by(identity: &Identity, init: Pid, mapped: OwnedFd, report_to: &mut File) {
    let mut pipe = File::from(mapped);
    let started = identity
        .map_into(init)
        .and_then(|()| pipe.write_all(&[1]).attempt("let init start"))
        .and_then(|()| identity::give_up_capabilities());
    if let Err(failure) = &started {
        report(&Report::failed(failure.to_string()), report_to);
        // Without its pipe, init gives up by itself.
        drop(pipe);
    }
    let status = rustix::process::waitpid(Some(init), WaitOptions::empty());
    let reported =
        started.is_err() || matches!(status, Ok(Some((_, status))) if has_reported(status));
    if !reported {
        report(&Report::failed("init of the sandbox died without a word".to_owned()), report_to);
    }
}

fn has_reported(status: WaitStatus) -> bool {
    status.exit_status() == Some(0)
}

/// Moves the standard streams out of reach of `println!` and panics, and closes what the helper does not use itself.
fn take_channels(supervisor: OwnedFd) -> io::Result<Channels> {
    let control = fcntl_dupfd_cloexec(io::stdin(), 3)?;
    let output = fcntl_dupfd_cloexec(io::stdout(), 3)?;
    let report = fcntl_dupfd_cloexec(io::stderr(), 3)?;
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&nothing)?;
    rustix::stdio::dup2_stdout(&nothing)?;
    Ok(Channels { control, output, report, supervisor })
}

/// Reads the specification: its length in four bytes, most significant first, and as many bytes of JSON.
fn receive() -> io::Result<Order<'static>> {
    // Unbuffered, so that no byte of what follows is taken.
    let mut input = File::from(rustix::io::dup(io::stdin())?);
    let mut length = [0; 4];
    input.read_exact(&mut length)?;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > MAX_SPEC_BYTES {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = vec![0; length];
    input.read_exact(&mut bytes)?;
    let order: Order<'static> = serde_json::from_slice(&bytes)?;
    order.spec.validate().map_err(io::Error::other)?;
    Ok(order)
}

/// Writes `report` for the parent. If that is gone, there is nobody left to tell.
fn report(report: &Report, to: &mut dyn Write) {
    let mut line = serde_json::to_vec(report).expect("a report has string keys and finite numbers");
    line.push(b'\n');
    let _ = to.write_all(&line);
}
