//! Process 1 of the sandbox: builds it, starts the job, watches, ends it, and tells how it went.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{
    Pid, PidfdFlags, Resource, Rlimit, Signal, WaitOptions, WaitStatus, pidfd_open,
};

use super::disk::{DiskWatch, Look};
use super::memory::{self, MemoryWatch};
use super::proxy::Line;
use super::{Attempt, Channels, FROZEN, Failure, KILL, PAUSE, RESUME, identity, job, report, root};
use crate::outcome::{Ending, Report};
use crate::spec::Spec;
use crate::sys;

/// Runs the step to its end. The exit code is 0 if the parent has been told how it went. The line to the proxy is open
/// until then: what that has to tell comes after.
pub fn main(spec: &Spec, channels: Channels, proxy: Option<Line>) -> ! {
    let Channels { control, output, report: report_to, supervisor } = channels;
    let mut report_to = File::from(report_to);
    let outcome = enter(spec, &supervisor, proxy.as_ref())
        .and_then(|()| Watch::start(spec, output, control, supervisor, proxy.as_ref()))
        .and_then(Watch::run);
    let told = outcome.unwrap_or_else(|failure| Report::failed(failure.to_string()));
    report(&told, &mut report_to);
    std::process::exit(0);
}

/// From a process that has just been cloned to one that stands in the finished sandbox.
fn enter(spec: &Spec, supervisor: &OwnedFd, proxy: Option<&Line>) -> Result<(), Failure> {
    sys::reset_signals();
    sys::hide_control_groups().attempt("make a namespace of control groups")?;
    rustix::process::umask(Mode::from_raw_mode(0o022));
    // While the helper maps the user: who this is does not change by that, only what it is called.
    let pieces = root::gather(spec)?;
    await_mapping(supervisor).attempt("wait for the helper")?;
    identity::assume_inside()?;
    root::build(pieces, spec.limits.memory / 2)?;
    rustix::system::sethostname(root::HOST_NAME.as_bytes()).attempt("set the host name")?;
    sys::bring_loopback_up().attempt("bring up the loopback interface")?;
    proxy.map_or(Ok(()), Line::open_port).attempt("open the port of the proxy")?;
    raise_descriptor_limit();
    identity::keep_watching_capabilities()?;
    use rustix::process::{DumpableBehavior, set_dumpable_behavior};
    set_dumpable_behavior(DumpableBehavior::NotDumpable).attempt("close init to the job")
}

fn await_mapping(supervisor: &OwnedFd) -> io::Result<()> {
    match rustix::io::read(supervisor, &mut [0; 1])? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

/// A deep tree takes a descriptor for each level to walk. The job's own limit is set later, and lower.
fn raise_descriptor_limit() {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    // Always permitted; should it fail, deep trees end the job, which is the safe side.
    let _ = rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A job that runs, and what is known about it.
struct Watch<'a> {
    job: Pid,
    job_ends: OwnedFd,
    control: OwnedFd,
    supervisor: OwnedFd,
    proxy: Option<&'a Line>,
    clock: Clock,
    wall: Duration,
    memory: MemoryWatch,
    disk: DiskWatch,
}

/// Between two looks at the job. Also how long an orphan waits to be reaped.
const LONGEST_NAP: Duration = Duration::from_millis(25);

/// The same while the job stands still, or ought to.
const PAUSED_NAP: Duration = Duration::from_millis(100);

/// Between two looks at memory, since a job can have orphans die as fast as they are reaped. Takes a few milliseconds.
const MOST_REAPED: usize = 256;

impl<'a> Watch<'a> {
    fn start(
        spec: &Spec,
        output: OwnedFd,
        control: OwnedFd,
        supervisor: OwnedFd,
        proxy: Option<&'a Line>,
    ) -> Result<Self, Failure> {
        let open = |path: &str| {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty()).attempt(format_args!("open {path}"))
        };
        let memory = MemoryWatch::new(
            open("/tmp")?,
            spec.limits.memory,
            spec.processors.len(),
            Instant::now(),
        );
        let disk = DiskWatch::new(open(root::WORK)?, spec.limits.disk, Instant::now())
            .attempt("watch the disk of the work directory")?;
        let clock = Clock::start();
        let job = job::start(spec, &output)?;
        drop(output);
        let job_ends =
            pidfd_open(job, PidfdFlags::empty()).attempt("watch for the end of the job")?;
        let wall = spec.limits.wall;
        Ok(Self { job, job_ends, control, supervisor, proxy, clock, wall, memory, disk })
    }

    fn run(mut self) -> Result<Report, Failure> {
        let ending = self.watch()?;
        let wall = self.clock.elapsed();
        // Also what the job has left in the background, before anything else: nobody watches over that any more.
        sys::signal_everyone(Signal::KILL);
        if ending == Ending::MemoryExceeded {
            memory::release().attempt("take the job's memory back")?;
        }
        while rustix::process::wait(WaitOptions::empty()).is_ok() {}
        let ending = self.judge(ending)?;
        Ok(Report { ending, wall, cpu: sys::children_cpu(), memory_peak: self.memory.peak })
    }

    fn watch(&mut self) -> Result<Ending, Failure> {
        loop {
            if let Some(ending) = self.reap().attempt("wait for the job")? {
                return Ok(ending);
            }
            if self.memory.look(Instant::now()).attempt("measure memory")? {
                return Ok(Ending::MemoryExceeded);
            }
            let now = Instant::now();
            let most = self.memory.rest_at(now);
            let looked = self.disk.look(now, most, self.clock.stands_still());
            match looked.attempt("measure the work directory")? {
                Look::Fine => {}
                Look::Exceeded => return Ok(Ending::DiskExceeded),
                Look::NearlyFull => {
                    let reason = "the disk of the work directory is nearly full".to_owned();
                    return Ok(Ending::SandboxFailed { reason });
                }
            }
            let left = self.wall.checked_sub(self.clock.elapsed());
            let rest = left.map_or(Duration::ZERO, |left| self.rest(left));
            match self.nap(rest).attempt("listen to the parent")? {
                Heard::End => return Ok(Ending::Killed),
                // There may be more of what the parent has to say about the time.
                Heard::Request => {}
                Heard::Nothing if left.is_none() => return Ok(Ending::TimedOut),
                Heard::Nothing => {}
            }
        }
    }

    /// How long nothing need be looked at if the job has this much time `left`.
    fn rest(&self, left: Duration) -> Duration {
        if !self.clock.stands_still() {
            return self.memory.rest_at(Instant::now()).min(LONGEST_NAP).min(left);
        }
        // What a job has asked of the kernel may have continued it: it can choose the signal that tells it of an event.
        sys::signal_everyone(Signal::STOP);
        PAUSED_NAP
    }

    /// Reaps some of those who have died. Answers how the job ended once it has.
    fn reap(&self) -> io::Result<Option<Ending>> {
        for _ in 0..MOST_REAPED {
            match rustix::process::wait(WaitOptions::NOHANG)? {
                Some((process, status)) if process == self.job => return Ok(Some(ending(status))),
                Some(_) => {}
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// How it really ended, once nobody is left: a job that ended by itself may have gone over a limit since the last
    /// look, and a full disk may be its doing or somebody else's.
    fn judge(&mut self, ending: Ending) -> Result<Ending, Failure> {
        let too_large = Ending::Signalled { signal: libc::SIGXFSZ };
        match ending {
            ended if ended == too_large => Ok(Ending::DiskExceeded),
            Ending::Exited { .. } | Ending::Signalled { .. } | Ending::SandboxFailed { .. } => {
                self.count_finally(ending)
            }
            ended => Ok(ended),
        }
    }

    /// Answers `ending`, unless the disk is too full for that, or the parent has no time to wait for it.
    fn count_finally(&mut self, ending: Ending) -> Result<Ending, Failure> {
        self.disk.begin_finally().attempt("measure the work directory")?;
        loop {
            match self.disk.advance_finally().attempt("measure the work directory")? {
                Some(true) => return Ok(Ending::DiskExceeded),
                Some(false) => return Ok(ending),
                None => {}
            }
            if self.nap(Duration::ZERO).attempt("listen to the parent")? == Heard::End {
                return Ok(Ending::Killed);
            }
        }
    }

    /// Sleeps until something happens, `nap` at most.
    fn nap(&mut self, nap: Duration) -> io::Result<Heard> {
        let mut watched = [
            PollFd::new(&self.control, PollFlags::IN),
            PollFd::new(&self.supervisor, PollFlags::empty()),
            PollFd::new(&self.job_ends, PollFlags::IN),
        ];
        let timeout = Timespec::try_from(nap).map_err(io::Error::other)?;
        match poll(&mut watched, Some(&timeout)) {
            // Somebody has stopped and continued init.
            Err(Errno::INTR) => return Ok(Heard::Nothing),
            result => result?,
        };
        let [asked, orphaned, _] = watched.map(|one| !one.revents().is_empty());
        if orphaned {
            return Ok(Heard::End);
        }
        if asked { self.obey() } else { Ok(Heard::Nothing) }
    }

    /// Does what the parent asks.
    fn obey(&mut self) -> io::Result<Heard> {
        let mut request = [0];
        if rustix::io::read(self.control.as_fd(), &mut request)? == 0 {
            return Ok(Heard::End);
        }
        match request[0] {
            PAUSE => {
                sys::signal_everyone(Signal::STOP);
                if let Some(proxy) = self.proxy {
                    proxy.pause();
                }
                self.clock.pause();
            }
            RESUME => {
                self.clock.resume();
                if let Some(proxy) = self.proxy {
                    proxy.resume();
                }
                sys::signal_everyone(Signal::CONT);
            }
            FROZEN => {
                // Written together with the request, so that they are there.
                let mut milliseconds = [0; 8];
                rustix::io::read(self.control.as_fd(), &mut milliseconds)?;
                self.clock.stood_still(Duration::from_millis(u64::from_be_bytes(milliseconds)));
            }
            KILL => return Ok(Heard::End),
            _ => {}
        }
        Ok(Heard::Request)
    }
}

/// What the parent has to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Heard {
    Nothing,
    /// Something that has been done.
    Request,
    /// That the step is to end. It is the same if the parent is gone.
    End,
}

fn ending(status: WaitStatus) -> Ending {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => Ending::Exited { code },
        (None, signal) => Ending::Signalled { signal: signal.unwrap_or(0) },
    }
}

/// Time that stands still while the job does.
struct Clock {
    before: Duration,
    running_since: Option<Instant>,
}

impl Clock {
    fn start() -> Self {
        Self { before: Duration::ZERO, running_since: Some(Instant::now()) }
    }

    fn elapsed(&self) -> Duration {
        self.before + self.running_since.map_or(Duration::ZERO, |since| since.elapsed())
    }

    fn stands_still(&self) -> bool {
        self.running_since.is_none()
    }

    fn pause(&mut self) {
        self.before = self.elapsed();
        self.running_since = None;
    }

    /// Leaves out a time that has gone by without this process.
    fn stood_still(&mut self, time: Duration) {
        let now = Instant::now();
        self.running_since = self.running_since.map(|since| (since + time).min(now));
    }

    fn resume(&mut self) {
        if self.running_since.is_none() {
            self.running_since = Some(Instant::now());
        }
    }
}
