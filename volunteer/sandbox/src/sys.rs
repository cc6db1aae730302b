//! The system calls for which no safe wrapper exists, each behind a safe function. All other modules but the
//! self-test's are free of `unsafe`.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::process::{Pid, Signal};

/// Which side of a clone this is.
pub enum Cloned {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The new one's id.
        child: Pid,
    },
}

/// Clones this process, which must have one thread, into one of each kind of namespace that the sandbox uses but that of
/// control groups, and into the control group `group`.
pub fn clone_into_namespaces(group: Option<&OwnedFd>) -> io::Result<Cloned> {
    let namespaces = libc::CLONE_NEWUSER
        | libc::CLONE_NEWNS
        | libc::CLONE_NEWPID
        | libc::CLONE_NEWNET
        | libc::CLONE_NEWIPC
        | libc::CLONE_NEWUTS;
    // The kernel's `clone_args`, version 2: flags first, the exit signal fifth, the group last, all else zero.
    let mut arguments = [0_u64; 11];
    arguments[0] = u64::from(namespaces.cast_unsigned());
    arguments[4] = u64::from(libc::SIGCHLD.cast_unsigned());
    if let Some(group) = group {
        arguments[0] |= CLONE_INTO_CGROUP;
        arguments[10] = u64::from(group.as_raw_fd().cast_unsigned());
    }
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: without CLONE_VM and a new stack this is a fork. The process has one thread, so that no lock can be
    // left held in the child. The arguments outlive the call, and their size is passed.
    let answer =
        unsafe { libc::syscall(libc::SYS_clone3, arguments.as_ptr(), size_of_val(&arguments)) };
    cloned(answer)
}

/// Of the kernel's `sched.h`; too wide for the type that the bindings give it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Makes the control group of this process the top of all that it and its children see of them.
pub fn hide_control_groups() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: takes a number, and leaves memory and descriptors alone.
    done(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into())
}

/// Forks this process, which must have one thread.
pub fn fork() -> io::Result<Cloned> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the process has one thread, so that no lock can be left held in the child.
    let answer = unsafe { libc::fork() };
    cloned(answer.into())
}

fn cloned(answer: libc::c_long) -> io::Result<Cloned> {
    if answer < 0 {
        return Err(io::Error::last_os_error());
    }
    match i32::try_from(answer).ok().and_then(Pid::from_raw) {
        Some(child) => Ok(Cloned::Parent { child }),
        None => Ok(Cloned::Child),
    }
}

/// Sets `attributes` (`MOUNT_ATTR_…`) on all mounts of the tree at `mount`, and cuts it off from events in others.
pub fn restrict_mounts(mount: BorrowedFd<'_>, attributes: u64) -> io::Result<()> {
    let change = libc::mount_attr {
        attr_set: attributes,
        attr_clr: 0,
        propagation: libc::MS_PRIVATE,
        userns_fd: 0,
    };
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the path is a C string, the structure outlives the call, and its size is passed.
    let answer = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    done(answer)
}

/// Closes every descriptor above standard error. For the very start of the helper, when it has opened none itself.
pub fn close_inherited() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: nothing in this process owns a descriptor yet, by this function's contract.
    let answer = unsafe { libc::syscall(libc::SYS_close_range, FIRST_FREE, libc::c_uint::MAX, 0) };
    done(answer)
}

/// Marks every descriptor above standard error as one that the next program does not get.
pub fn keep_from_next_program() -> io::Result<()> {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: changes a flag of descriptors, and closes none in this program.
    let answer = unsafe {
        let flag = libc::CLOSE_RANGE_CLOEXEC;
        libc::syscall(libc::SYS_close_range, FIRST_FREE, libc::c_uint::MAX, flag)
    };
    done(answer)
}

const FIRST_FREE: libc::c_uint = 3;

/// Sends `signal` to every process that this one may signal, itself and the init of its namespace excepted. For init.
pub fn signal_everyone(signal: Signal) {
    #[expect(unsafe_code, reason = "no safe wrapper takes the process id -1")]
    // SAFETY: takes two numbers. Fails only if there is nobody to signal.
    unsafe {
        libc::kill(-1, signal.as_raw());
    }
}

/// Gives every signal its default effect, which for an init means that its own descendants cannot reach it.
pub fn reset_signals() {
    for number in 1..=libc::SIGRTMAX() {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: installs no handler. Fails, without harm, for the two signals that have a fixed effect.
        unsafe {
            libc::signal(number, libc::SIG_DFL);
        }
    }
}

/// Takes the last place in the queues for processors and disks, from which an unprivileged process cannot come back.
pub fn yield_to_everyone() -> io::Result<()> {
    let idle = libc::sched_param { sched_priority: 0 };
    // IOPRIO_WHO_PROCESS, and IOPRIO_CLASS_IDLE above the 13 bits of the level.
    const WHO_PROCESS: i32 = 1;
    const CLASS_IDLE: i32 = 3 << 13;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: takes numbers, and a structure that outlives the call.
    let answers = unsafe {
        [
            libc::setpriority(libc::PRIO_PROCESS, 0, 19).into(),
            libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const idle).into(),
            libc::syscall(libc::SYS_ioprio_set, WHO_PROCESS, 0, CLASS_IDLE),
        ]
    };
    answers.into_iter().try_for_each(done)
}

/// Brings up the loopback interface of this network namespace; the kernel gives it its addresses.
pub fn bring_loopback_up() -> io::Result<()> {
    use rustix::net::{AddressFamily, SocketType, socket};
    let socket = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the request is plain data for which all zeroes are valid; the kernel reads it as the one that its
    // number announces; the union's field is the one that it reads.
    let answer = unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[..2].copy_from_slice(&[b'l'.cast_signed() as _, b'o'.cast_signed() as _]);
        request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
        libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request)
    };
    done(answer.into())
}

/// The processor time of all children that have been waited for, and of theirs.
pub fn children_cpu() -> Duration {
    cpu(libc::RUSAGE_CHILDREN)
}

/// The processor time of this process.
pub fn own_cpu() -> Duration {
    cpu(libc::RUSAGE_SELF)
}

fn cpu(of: libc::c_int) -> Duration {
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the structure is plain data for which all zeroes are valid, and outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(of, &raw mut usage);
        usage
    };
    let duration = |time: libc::timeval| {
        let microseconds = time.tv_sec.saturating_mul(1_000_000).saturating_add(time.tv_usec);
        Duration::from_micros(microseconds.try_into().unwrap_or(0))
    };
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

fn done(answer: libc::c_long) -> io::Result<()> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A system call by its number, for the self-test, which tries what no wrapper offers. Answers the error number.
///
/// Takes numbers only, so that no call can be given memory to write to; zeroes stand for absent pointers.
pub fn attempt(call: libc::c_long, arguments: [u64; 4]) -> Result<libc::c_long, i32> {
    let [a, b, c, d] = arguments;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: every pointer among the arguments is null by contract, which the kernel refuses or ignores.
    let answer = unsafe { libc::syscall(call, a, b, c, d, 0_u64, 0_u64) };
    if answer < 0 {
        return Err(io::Error::last_os_error().raw_os_error().unwrap_or(0));
    }
    Ok(answer)
}

/// Issues a request on a terminal that takes one byte, for the self-test. Answers the error number.
pub fn attempt_terminal(request: u64, descriptor: RawFd) -> Result<(), i32> {
    let byte = 0_u8;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: the byte outlives the call, and the requests in question read one byte.
    let answer = unsafe { libc::ioctl(descriptor, request as _, &raw const byte) };
    if answer < 0 { Err(io::Error::last_os_error().raw_os_error().unwrap_or(0)) } else { Ok(()) }
}

/// Issues `getpid` through the gate for 32-bit programs, whose numbers a filter for 64-bit ones misreads.
#[cfg(target_arch = "x86_64")]
pub fn attempt_foreign_call() -> i64 {
    let mut answer: i64 = 20; // `getpid` in the 32-bit numbering
    #[expect(unsafe_code, reason = "there is no other way through that gate")]
    // SAFETY: the call takes no argument and changes nothing but the register of its answer and those that the gate
    // does not preserve.
    unsafe {
        std::arch::asm!("int 0x80", inout("rax") answer, out("r8") _, out("r9") _, out("r10") _, out("r11") _);
    }
    answer
}
