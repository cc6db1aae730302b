//! The process of a proxy: how it gives up what it does not need, and takes connections.

use std::fs::File;
use std::io;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use landlock::{
    ABI, Access, AccessFs, Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
    path_beneath_rules,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Resource, Rlimit, setrlimit};

use super::super::identity::{self, Identity};
use super::super::{Attempt, Failure, PAUSE, filter};
use super::Proxy;
use super::connection::serve;
use super::freezer::Freezer;
use super::gate::{Gate, Pace};
use super::ledger::Ledger;
use super::line::{self, FarEnd, Line};
use crate::network::{Network, Passed};
use crate::sys::{self, Cloned};

/// Connections at a time; more wait for one of these to end. Package managers use a dozen.
const MAX_CONNECTIONS: usize = 64;

/// Bytes of the stack of a connection's thread: the C library's resolver takes most of it.
const STACK: usize = 512 << 10;

/// Bytes of memory of the whole process: all stacks and buffers, and twice as much again.
const MEMORY: u64 = 128 << 20;

/// Between two looks for a place, while all are taken.
const FULL: Duration = Duration::from_millis(50);

/// Between two words about what has passed: so much of it is not counted if the helper is killed. Nothing is said unless
/// something has passed, and nothing wakes up without a connection.
const TELL: Duration = Duration::from_secs(2);

/// What the C library reads to resolve a name, wherever a distribution keeps it.
const FILES: &[&str] = &[
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/run/NetworkManager",
    "/run/nscd",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/dev/null",
    "/dev/urandom",
];

/// Starts the proxy of `network` beside the helper, which must have no descriptors yet but the standard streams: the last
/// of them is kept for the proxy's report. It stands still with the job's control group at `group`. Gives its id, and init's
/// line to it.
pub fn start(
    network: &Network,
    identity: &Identity,
    group: Option<&Path>,
) -> Result<(Pid, Line), Failure> {
    let freezer = group.map(Freezer::open).transpose();
    let freezer = freezer.attempt("watch the control group for the proxy")?;
    let (near, far) = line::open().attempt("open a line to the proxy")?;
    let helper = rustix::process::getpid();
    match sys::fork().attempt("fork the proxy")? {
        Cloned::Parent { child } => Ok((child, near)),
        Cloned::Child => {
            drop(near);
            // A proxy that fails takes nothing with it: the job finds nobody at the port, and its line is told.
            if let Err(failure) =
                enclose(identity, helper).and_then(|()| run(network.clone(), &far, freezer))
            {
                eprintln!("the proxy of the network ended: {failure}");
            }
            std::process::exit(0);
        }
    }
}

/// Gives up everything but resolving names and connecting.
fn enclose(identity: &Identity, helper: Pid) -> Result<(), Failure> {
    let nothing = File::options().read(true).write(true).open("/dev/null");
    let nothing = OwnedFd::from(nothing.attempt("open /dev/null")?);
    rustix::stdio::dup2_stdin(&nothing).attempt("close standard input")?;
    rustix::stdio::dup2_stdout(&nothing).attempt("close standard output")?;
    rustix::process::chdir("/").attempt("go to the root")?;
    sys::yield_to_everyone().attempt("take the last place in the queues")?;
    for (resource, most) in [(Resource::Core, 1), (Resource::Data, MEMORY), (Resource::Fsize, 0)] {
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })
            .attempt("set resource limits")?;
    }
    identity.assume_outside()?;
    identity::give_up_capabilities()?;
    // The helper may have died before the signal of its death was asked for.
    if rustix::process::getppid() != Some(helper) {
        return Err(io::Error::from(io::ErrorKind::BrokenPipe)).attempt("live with the helper");
    }
    rustix::thread::set_no_new_privs(true).attempt("forbid new privileges")?;
    restrict_files().map_err(io::Error::other).attempt("restrict files with Landlock")?;
    let programs = filter::programs().map_err(io::Error::other).attempt("make the filter")?;
    for program in &programs {
        seccompiler::apply_filter(program).map_err(io::Error::other).attempt("set the filter")?;
    }
    Ok(())
}

fn restrict_files() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    const LANDLOCK: ABI = ABI::V6;
    let there = FILES.iter().filter(|path| Path::new(path).exists());
    let status = Ruleset::default()
        .handle_access(AccessFs::from_all(LANDLOCK))?
        .scope(Scope::from_all(LANDLOCK))?
        .create()?
        .add_rules(path_beneath_rules(there, AccessFs::ReadFile | AccessFs::ReadDir))?
        .restrict_self()?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err("this kernel does not enforce it".into()),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

/// Takes connections until init has gone, and tells what became of them.
fn run(network: Network, far: &FarEnd, freezer: Option<Freezer>) -> Result<(), Failure> {
    let Some(port) = far.take_port().attempt("take over the port")? else { return Ok(()) };
    port.set_nonblocking(true).attempt("take connections without waiting")?;
    let now = Instant::now();
    let proxy = Arc::new(Proxy {
        gate: Gate::default(),
        ledger: Ledger::new(network.bytes),
        down: Pace::new(network.down, now),
        up: Pace::new(network.up, now),
        network,
    });
    let ended = take_connections(&proxy, &port, far, freezer.as_ref()).attempt("take connections");
    say(&proxy.ledger.read());
    ended
}

fn take_connections(
    proxy: &Arc<Proxy>,
    port: &TcpListener,
    far: &FarEnd,
    freezer: Option<&Freezer>,
) -> io::Result<()> {
    let active = Arc::new(AtomicUsize::new(0));
    let (mut paused, mut frozen) = (false, false);
    let mut told_of = Told { passed: Passed::default(), at: Instant::now() };
    loop {
        let connections = active.load(Ordering::Acquire);
        told_of.tell(&proxy.ledger);
        let full = connections >= MAX_CONNECTIONS;
        let open = if full || paused || frozen { PollFlags::empty() } else { PollFlags::IN };
        let mut watched = vec![PollFd::new(far, PollFlags::IN), PollFd::new(port, open)];
        watched.extend(freezer.map(|freezer| PollFd::new(freezer, PollFlags::PRI)));
        let nap = Timespec::try_from(if full { FULL } else { TELL }).map_err(io::Error::other)?;
        match poll(&mut watched, (connections > 0).then_some(&nap)) {
            Err(rustix::io::Errno::INTR) => continue,
            result => result?,
        };
        let mut events = watched.iter().map(|one| !one.revents().is_empty());
        let (told, asked) = (events.next() == Some(true), events.next() == Some(true));
        if told {
            paused = match far.hear()? {
                None => return Ok(()),
                Some(word) => word == PAUSE,
            };
        }
        if let Some(freezer) = freezer {
            frozen = freezer.is_frozen()?;
        }
        if paused || frozen {
            proxy.gate.close();
        } else {
            proxy.gate.open();
        }
        if asked {
            take_one(proxy, port, &active);
        }
    }
}

/// What was told last.
struct Told {
    passed: Passed,
    at: Instant,
}

impl Told {
    /// Tells what has passed, if it is time for that and there is news.
    fn tell(&mut self, ledger: &Ledger) {
        if self.at.elapsed() < TELL {
            return;
        }
        self.at = Instant::now();
        let passed = ledger.passed();
        if passed != self.passed {
            self.passed = passed;
            say(&passed);
        }
    }
}

/// In one piece, so that nothing of init's report comes in between.
fn say(what: &impl serde::Serialize) {
    let words = serde_json::to_vec(what).expect("it has string keys");
    let _ = rustix::io::write(io::stderr(), &[&words[..], b"\n"].concat());
}

/// Counts one connection less when it is dropped, however its thread ends.
struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Release);
    }
}

/// A connection that cannot be taken is the job's loss.
fn take_one(proxy: &Arc<Proxy>, port: &TcpListener, active: &Arc<AtomicUsize>) {
    let Ok((job, _)) = port.accept() else { return };
    active.fetch_add(1, Ordering::AcqRel);
    let (proxy, place) = (Arc::clone(proxy), Place(Arc::clone(active)));
    let body = move || {
        let _place = place;
        if job.set_nonblocking(false).is_ok() {
            serve(&proxy, &job);
        }
    };
    let _ = thread::Builder::new().stack_size(STACK).spawn(body);
}
