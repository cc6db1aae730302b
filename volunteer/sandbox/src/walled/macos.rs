//! On macOS: Seatbelt, resource limits, and a process group that dies with its parent.
//!
//! Written from the manual pages of sandbox-exec(1), setrlimit(2), setpriority(2), wait4(2) and kill(2), and the headers
//! `libproc.h` and `sys/resource.h`. **No machine has run it yet.**

use std::io::{self, PipeWriter};
use std::mem::{size_of_val, zeroed};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{
    Pid, Resource, Rlimit, Signal, WaitId, WaitIdOptions, geteuid, getrlimit, kill_process_group,
    setrlimit, waitid,
};

use super::seatbelt;
use super::{Usage, WalledSpec};
use crate::outcome::Ending;
use crate::spec::Limits;

/// What is around the program.
pub const LAYERS: &[&str] = &["seatbelt", "rlimits", "process"];

/// What applies a profile to itself and becomes a program.
const SANDBOX_EXEC: &str = "/usr/bin/sandbox-exec";

/// Each may be a file without a name, which nobody but the program itself sees.
const OPEN_FILES: u64 = 256;

/// Its group has this many, should the profile ever let it start others.
const MOST_PROCESSES: usize = 64;

/// The program, which leads a process group of its own.
pub struct Process {
    pid: Pid,
    /// The program ends when this is closed, be it because the daemon has died. One that stands still then is in a
    /// group that nobody is left to continue, to which the kernel sends SIGHUP.
    _alive: PipeWriter,
    end: Option<(Ending, Duration)>,
}

impl Process {
    /// Starts `spec`, which writes to `output`.
    pub fn spawn(spec: &WalledSpec, output: PipeWriter) -> io::Result<Self> {
        if geteuid().is_root() {
            // Whoever is root inside a profile is root all the same.
            return Err(io::Error::other(
                "nothing runs as root; start the daemon as an ordinary user",
            ));
        }
        let program = spec.program.canonicalize()?;
        let reads = spec.reads.iter().map(|file| file.canonicalize());
        let reads: Vec<PathBuf> = reads.collect::<io::Result<_>>()?;
        let work = spec.work.canonicalize()?;
        let (input, alive) = io::pipe()?;
        let mut command = Command::new(SANDBOX_EXEC);
        command
            .args(seatbelt::profile(&program, &reads, &work).arguments())
            .arg(&program)
            .args(&spec.arguments)
            .current_dir(&work)
            .env_clear()
            .stdin(input)
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0);
        let limits = spec.limits;
        #[expect(unsafe_code, reason = "there is no other way to limit a child before it runs")]
        // SAFETY: makes system calls, which take numbers and structures of its own, and allocates nothing.
        unsafe {
            command.pre_exec(move || limit(&limits));
        }
        let child = command.spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // `child` is not asked any more: it would reap the process without telling what that has used.
        Ok(Self { pid: pid.expect("the system has numbered it"), _alive: alive, end: None })
    }

    /// What it and all of its group have used.
    pub fn usage(&self) -> Option<Usage> {
        if let Some((_, cpu)) = self.end {
            return Some(Usage { cpu, memory_peak: 0 });
        }
        let own = footprint(self.pid.as_raw_nonzero().get())?;
        let group = members(self.pid).into_iter().filter_map(footprint);
        let together = group.fold(0_u64, |sum, it| sum.saturating_add(it.ri_phys_footprint));
        let memory_peak = own.ri_lifetime_max_phys_footprint.max(together);
        Some(Usage { cpu: Duration::ZERO, memory_peak })
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> io::Result<Option<Ending>> {
        if self.end.is_none() && has_ended(self.pid)? {
            self.end_group()?;
        }
        Ok(self.end.as_ref().map(|(ending, _)| ending.clone()))
    }

    /// Ends it, and whoever is in its group, without waiting for that.
    pub fn kill(&mut self) {
        self.signal(Signal::KILL);
    }

    /// Ends it, and waits for that.
    pub fn end(&mut self) {
        // Fails only if somebody else has reaped it, and then it is over.
        let _ = self.end_group();
    }

    /// Stops it. Answers whether it stands still, or will at once.
    pub fn stop(&mut self) -> bool {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub fn go_on(&mut self) {
        self.signal(Signal::CONT);
    }

    fn signal(&mut self, signal: Signal) -> bool {
        // Not reaped: the id is still its own.
        self.end.is_none() && kill_process_group(self.pid, signal).is_ok()
    }

    /// Kills the group, with whoever it has started and left, before the id of its leader can become another's.
    fn end_group(&mut self) -> io::Result<()> {
        if self.end.is_none() {
            self.kill();
            let (status, cpu) = reap(self.pid)?;
            self.end = Some((ending(status), cpu));
        }
        Ok(())
    }
}

/// Whether `pid`, which is left to be reaped, has ended.
fn has_ended(pid: Pid) -> io::Result<bool> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Ok(waitid(WaitId::Pid(pid), options)?.is_some())
}

/// What the child takes from itself before it becomes the program, for good.
fn limit(limits: &Limits) -> io::Result<()> {
    // The daemon's clock comes first; this is for one that is stuck.
    let cpu = limits.wall.as_secs().saturating_mul(2).saturating_add(10);
    // What the guest had in memory is nobody's business.
    let all = [
        (Resource::Core, 0),
        (Resource::Cpu, cpu),
        (Resource::Fsize, limits.disk),
        (Resource::Nofile, OPEN_FILES),
    ];
    for (what, limit) in all {
        let most = getrlimit(what).maximum.map_or(limit, |maximum| maximum.min(limit));
        setrlimit(what, Rlimit { current: Some(most), maximum: Some(most) })?;
    }
    yield_to_everyone()
}

/// Takes the last place in the queues for processors and disks.
fn yield_to_everyone() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: takes numbers.
    let answers = unsafe {
        [
            libc::setpriority(libc::PRIO_PROCESS, 0, 19),
            libc::setpriority(libc::PRIO_DARWIN_PROCESS, 0, libc::PRIO_DARWIN_BG),
        ]
    };
    if answers.contains(&-1) { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for the end of `pid`; answers how it has ended and the processor time that it took.
fn reap(pid: Pid) -> io::Result<(ExitStatus, Duration)> {
    loop {
        let mut status = 0;
        #[expect(unsafe_code, reason = "no safe wrapper tells what the process has used")]
        // SAFETY: the structure is plain data for which all zeroes are valid; it and the status outlive the call.
        let (answer, usage) = unsafe {
            let mut usage: libc::rusage = zeroed();
            let raw = pid.as_raw_nonzero().get();
            (libc::wait4(raw, &raw mut status, 0, &raw mut usage), usage)
        };
        if answer >= 0 {
            let cpu = duration(usage.ru_utime) + duration(usage.ru_stime);
            return Ok((ExitStatus::from_raw(status), cpu));
        }
        let failure = io::Error::last_os_error();
        if failure.kind() != io::ErrorKind::Interrupted {
            return Err(failure);
        }
    }
}

fn duration(time: libc::timeval) -> Duration {
    let microseconds = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_usec.into());
    Duration::from_micros(microseconds.try_into().unwrap_or(0))
}

/// What the kernel accounts of `pid`, unless it has ended.
fn footprint(pid: i32) -> Option<libc::rusage_info_v4> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the structure is plain data for which all zeroes are valid, is the one of the version that is named, and
    // outlives the call.
    unsafe {
        let mut info: libc::rusage_info_v4 = zeroed();
        let answer = libc::proc_pid_rusage(pid, libc::RUSAGE_INFO_V4, (&raw mut info).cast());
        (answer == 0).then_some(info)
    }
}

/// Who is in the process group `group`.
fn members(group: Pid) -> Vec<i32> {
    let mut pids = [0_i32; MOST_PROCESSES];
    let size = i32::try_from(size_of_val(&pids)).expect("some hundred bytes");
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the buffer outlives the call, and its size in bytes is passed.
    let answer = unsafe {
        let group = group.as_raw_nonzero().get();
        libc::proc_listpgrppids(group, pids.as_mut_ptr().cast(), size)
    };
    // The header does not say whether it answers a number or a size; what it has not written is zero.
    if answer <= 0 { Vec::new() } else { pids.into_iter().filter(|pid| *pid > 0).collect() }
}

fn ending(status: ExitStatus) -> Ending {
    match (status.code(), status.signal()) {
        (Some(code), _) => Ending::Exited { code },
        (None, Some(libc::SIGXFSZ)) => Ending::DiskExceeded,
        (None, Some(libc::SIGXCPU)) => Ending::TimedOut,
        (None, signal) => Ending::Signalled { signal: signal.unwrap_or_default() },
    }
}
