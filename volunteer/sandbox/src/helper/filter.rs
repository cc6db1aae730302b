//! The system calls that the job may not make.
//!
//! A list of what is forbidden, rather than of what is permitted: jobs are other people's programs, and what they call
//! cannot be known. Forbidden is what could undo the other layers (mounts, namespaces), what reaches kernel code that
//! a build has no use for and that has had more than its share of holes, and what holds memory that no watch sees.

use std::collections::BTreeMap;

use libc::c_long;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

/// Answered with `EPERM`, whatever the arguments.
const FORBIDDEN: &[c_long] = &[
    // Mounts and roots.
    libc::SYS_chroot,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount,
    libc::SYS_mount_setattr,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_pivot_root,
    libc::SYS_umount2,
    // Namespaces, and files by other ways than their path.
    libc::SYS_name_to_handle_at,
    libc::SYS_open_by_handle_at,
    libc::SYS_setns,
    // Other processes.
    libc::SYS_kcmp,
    libc::SYS_pidfd_getfd,
    libc::SYS_process_madvise,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_ptrace,
    // Kernel code that is large, and seldom needed by anybody.
    libc::SYS_add_key,
    libc::SYS_bpf,
    libc::SYS_fanotify_init,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_io_uring_setup,
    libc::SYS_keyctl,
    libc::SYS_migrate_pages,
    libc::SYS_move_pages,
    // Queued messages are memory that no limit of the job counts.
    libc::SYS_msgget,
    libc::SYS_perf_event_open,
    libc::SYS_request_key,
    libc::SYS_userfaultfd,
    // The machine itself.
    libc::SYS_acct,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    libc::SYS_finit_module,
    libc::SYS_init_module,
    libc::SYS_kexec_load,
    libc::SYS_quotactl,
    libc::SYS_quotactl_fd,
    libc::SYS_reboot,
    libc::SYS_setdomainname,
    libc::SYS_sethostname,
    libc::SYS_settimeofday,
    libc::SYS_swapoff,
    libc::SYS_swapon,
    libc::SYS_syslog,
    libc::SYS_vhangup,
];

/// Newer than the bindings; the same number on every architecture.
const OPEN_TREE_ATTR: c_long = 467;

#[cfg(target_arch = "x86_64")]
const FORBIDDEN_HERE: &[c_long] = &[
    libc::SYS_ioperm,
    libc::SYS_iopl,
    libc::SYS_kexec_file_load,
    libc::SYS_modify_ldt,
    libc::SYS_uselib,
    libc::SYS_ustat,
];
#[cfg(not(target_arch = "x86_64"))]
const FORBIDDEN_HERE: &[c_long] = &[];

/// Answered with `ENOSYS`, on which callers fall back to something older.
///
/// `clone3` hides its flags behind a pointer that a filter cannot follow; the C library then uses `clone`. Memory
/// behind a `memfd` belongs to no process and can be parked in a socket, out of the memory watch's sight.
const UNKNOWN: &[c_long] = &[libc::SYS_clone3, libc::SYS_memfd_create, libc::SYS_memfd_secret];

/// Answered with success, and not done. A job stays on the processors that it was given; libraries for parallel programs
/// pin their threads, and take a refusal for a reason to give up.
const PRETENDED: &[c_long] = &[libc::SYS_sched_setaffinity];

/// The address families of sockets that a test suite may need. Network namespaces do not cover all the others.
const FAMILIES: [i32; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];

/// Requests that push input into a terminal or drive a virtual console.
const TERMINAL_REQUESTS: [u64; 2] = [0x5412, 0x541c]; // TIOCSTI, TIOCLINUX

const SET_LEASE: u64 = 1024; // F_SETLEASE

const NAMESPACES: [i32; 7] = [
    libc::CLONE_NEWCGROUP,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWUTS,
];

/// `CLONE_NEWTIME`: for `unshare` only, since `clone` keeps its signal in these bits.
const NEW_TIME: i32 = 0x80;

/// Why no filter could be made.
pub type FilterError = seccompiler::BackendError;

/// The programs that the kernel is to run before each system call; the strictest answer counts.
///
/// Calls by way of another architecture's numbers end the process.
pub fn programs() -> Result<Vec<BpfProgram>, FilterError> {
    let mut forbidden: Rules =
        FORBIDDEN.iter().chain(FORBIDDEN_HERE).map(|call| (*call, Vec::new())).collect();
    forbidden.insert(libc::SYS_clone, any_flag(&NAMESPACES)?);
    let mut namespaces = any_flag(&NAMESPACES)?;
    namespaces.extend(any_flag(&[NEW_TIME])?);
    forbidden.insert(libc::SYS_unshare, namespaces);
    forbidden.insert(libc::SYS_socket, vec![none_of(&FAMILIES)?]);
    forbidden.insert(libc::SYS_socketpair, vec![none_of(&FAMILIES)?]);
    forbidden.insert(libc::SYS_ioctl, one_of(1, &TERMINAL_REQUESTS)?);
    // Who holds a lease on a file keeps others from opening it, the collector of results among them.
    forbidden.insert(libc::SYS_fcntl, one_of(1, &[SET_LEASE])?);
    let all_of = |calls: &[c_long]| calls.iter().map(|call| (*call, Vec::new())).collect();
    Ok(vec![
        compile(forbidden, libc::EPERM)?,
        compile(all_of(UNKNOWN), libc::ENOSYS)?,
        compile(all_of(PRETENDED), 0)?,
    ])
}

type Rules = BTreeMap<c_long, Vec<SeccompRule>>;

fn compile(rules: Rules, error: i32) -> Result<BpfProgram, FilterError> {
    let answer = SeccompAction::Errno(error.cast_unsigned());
    let architecture = TargetArch::try_from(std::env::consts::ARCH)?;
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, answer, architecture)?;
    let compiled: BpfProgram = filter.try_into()?;
    Ok(refuse_x32().into_iter().chain(compiled).collect())
}

/// Ends a process that uses the x32 numbering of x86-64, which passes for the native architecture but for one bit in
/// the number, with which every list of numbers could be circumvented. No other architecture has numbers that high.
fn refuse_x32() -> [sock_filter; 3] {
    const X32_BIT: u32 = 0x4000_0000;
    const NUMBER_OFFSET: u32 = 0; // of `nr` in `struct seccomp_data`
    let instruction = |code: u32, jt, jf, k| sock_filter { code: code as u16, jt, jf, k };
    [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, NUMBER_OFFSET),
        instruction(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, 0, 1, X32_BIT),
        instruction(libc::BPF_RET | libc::BPF_K, 0, 0, libc::SECCOMP_RET_KILL_PROCESS),
    ]
}

/// Holds for a first argument with at least one of `flags`.
fn any_flag(flags: &[i32]) -> Result<Vec<SeccompRule>, FilterError> {
    let rule = |flag: &i32| {
        let flag = u64::from(flag.cast_unsigned());
        SeccompRule::new(vec![condition(0, SeccompCmpOp::MaskedEq(flag), flag)?])
    };
    flags.iter().map(rule).collect()
}

/// Holds for a first argument other than all of `values`.
fn none_of(values: &[i32]) -> Result<SeccompRule, FilterError> {
    let other = |value: &i32| condition(0, SeccompCmpOp::Ne, u64::from(value.cast_unsigned()));
    SeccompRule::new(values.iter().map(other).collect::<Result<_, _>>()?)
}

/// Holds for an argument that is one of `values`.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, FilterError> {
    let rule = |value: &u64| SeccompRule::new(vec![condition(argument, SeccompCmpOp::Eq, *value)?]);
    values.iter().map(rule).collect()
}

/// Compares 32 bits: the kernel takes these arguments for that wide, and ignores what a job puts above.
fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, FilterError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}
