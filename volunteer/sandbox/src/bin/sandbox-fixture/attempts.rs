//! What a job must not do, done as well as it can be; what succeeds is printed.

use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::process::Command;

use libc::c_long;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use rustix::mount::{
    FsOpenFlags, MountFlags, OpenTreeFlags, UnmountFlags, fsopen, mount, mount_bind, mount_remount,
    open_tree, unmount,
};

/// Tries all of a kind.
pub fn attempt(what: &str, about: &[&str]) {
    match what {
        "devices" => devices(),
        "keys" => keys(),
        "mounts" => mounts(),
        "namespaces" => namespaces(),
        "terminal" => terminal(),
        "trace" => trace(about),
        other => println!("nobody knows how to try {other}"),
    }
}

/// Prints who this is, and whether it has any capability.
pub fn say_identity() {
    let user = rustix::process::geteuid().as_raw();
    let held = rustix::thread::capabilities(None).expect("the kernel tells");
    println!("{user} {}", (held.effective | held.permitted | held.inheritable).is_empty());
}

fn report<T, E>(what: &str, result: Result<T, E>) {
    if result.is_ok() {
        println!("{what}");
    }
}

fn call(number: c_long, arguments: [u64; 5]) -> io::Result<c_long> {
    let [a, b, c, d, e] = arguments;
    #[expect(
        unsafe_code,
        reason = "what is tried has no safe wrapper, since nobody should need it"
    )]
    // SAFETY: pointers among the arguments are null, or to what outlives the call; a call that succeeds ends the test.
    let answer = unsafe { libc::syscall(number, a, b, c, d, e) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}

fn text(text: &CStr) -> u64 {
    text.as_ptr().expose_provenance() as u64
}

fn devices() {
    for place in ["/work", "/tmp", "/dev/shm", "/home/job", "/dev"] {
        for (kind, major) in [(FileType::CharacterDevice, 1), (FileType::BlockDevice, 8)] {
            let node = format!("{place}/node-{major}");
            report(&node, mknodat(CWD, &node, kind, Mode::RWXU, makedev(major, 3)));
        }
    }
    for device in
        ["mem", "kmsg", "sda", "vda", "loop0", "fuse", "kvm", "net/tun", "ptmx", "console"]
    {
        report(device, File::open(format!("/dev/{device}")));
    }
}

fn keys() {
    const SESSION: u64 = -3_i64 as u64;
    const GET_KEYRING_ID: u64 = 0;
    const JOIN_SESSION_KEYRING: u64 = 1;
    let (kind, name) = (text(c"user"), text(c"talkoot"));
    report("keyring", call(libc::SYS_keyctl, [GET_KEYRING_ID, SESSION, 1, 0, 0]));
    report("new keyring", call(libc::SYS_keyctl, [JOIN_SESSION_KEYRING, 0, 0, 0, 0]));
    report("new key", call(libc::SYS_add_key, [kind, name, name, 4, SESSION]));
    report("key", call(libc::SYS_request_key, [kind, name, 0, SESSION, 0]));
    for list in ["/proc/keys", "/proc/key-users"] {
        if !fs::read(list).unwrap_or_default().is_empty() {
            println!("{list}");
        }
    }
}

fn mounts() {
    let flags = MountFlags::empty();
    report("tmpfs", mount("none", "/tmp", "tmpfs", flags, None));
    report("proc", mount("proc", "/tmp", "proc", flags, None));
    report("bind", mount_bind("/usr", "/tmp"));
    report("remount", mount_remount("/usr", flags, ""));
    report("unmount", unmount("/usr", UnmountFlags::DETACH));
    report("fsopen", fsopen("tmpfs", FsOpenFlags::empty()));
    report("open_tree", open_tree(CWD, "/", OpenTreeFlags::OPEN_TREE_CLONE));
    report("pivot_root", rustix::process::pivot_root("/tmp", "/tmp"));
    report("chroot", rustix::process::chroot("/tmp"));
}

fn namespaces() {
    let kinds = [
        ("user", libc::CLONE_NEWUSER),
        ("mount", libc::CLONE_NEWNS),
        ("pid", libc::CLONE_NEWPID),
        ("net", libc::CLONE_NEWNET),
        ("ipc", libc::CLONE_NEWIPC),
        ("uts", libc::CLONE_NEWUTS),
        ("cgroup", libc::CLONE_NEWCGROUP),
        ("user and mount", libc::CLONE_NEWUSER | libc::CLONE_NEWNS),
    ];
    for (name, kind) in kinds {
        let flags = u64::from(kind.cast_unsigned());
        report(name, call(libc::SYS_unshare, [flags, 0, 0, 0, 0]));
        let signal = u64::from(libc::SIGCHLD.cast_unsigned());
        match call(libc::SYS_clone, [flags | signal, 0, 0, 0, 0]) {
            Ok(0) => std::process::exit(0),
            cloned => report(name, cloned),
        }
    }
    let mut request = [0_u64; 8];
    (request[0], request[4]) = (libc::CLONE_NEWUSER as u64, libc::SIGCHLD as u64);
    let pointer = request.as_mut_ptr().expose_provenance() as u64;
    match call(libc::SYS_clone3, [pointer, size_of_val(&request) as u64, 0, 0, 0]) {
        Ok(0) => std::process::exit(0),
        cloned => report("clone3", cloned),
    }
    for kind in ["user", "mnt", "pid", "net"] {
        let entered = File::open(format!("/proc/self/ns/{kind}"))
            .and_then(|file| call(libc::SYS_setns, [file.as_raw_fd() as u64, 0, 0, 0, 0]));
        report(kind, entered);
    }
}

/// Tries to type into whatever terminal there may be.
fn terminal() {
    const PUSH_INPUT: u64 = 0x5412; // TIOCSTI
    const CONSOLE: u64 = 0x541c; // TIOCLINUX
    const TAKE: u64 = 0x540e; // TIOCSCTTY
    for device in ["/dev/tty", "/dev/console", "/dev/tty0", "/dev/pts/0", "/dev/ptmx"] {
        report(device, File::open(device));
    }
    for stream in 0..3 {
        for request in [PUSH_INPUT, CONSOLE, TAKE] {
            let typed = call(libc::SYS_ioctl, [stream, request, text(c"x"), 0, 0]);
            report(&format!("request {request:x} on {stream}"), typed);
        }
    }
}

/// Tries to see into a child, init, and `others`.
fn trace(others: &[&str]) {
    const ATTACH: u64 = 16;
    const SEIZE: u64 = 0x4206;
    let mut child = Command::new("sleep").arg("60").spawn().expect("the toolchain has it");
    let all = others.iter().filter_map(|word| word.parse().ok());
    for process in all.chain([1, u64::from(child.id())]) {
        report(&format!("attach {process}"), call(libc::SYS_ptrace, [ATTACH, process, 0, 0, 0]));
        report(&format!("seize {process}"), call(libc::SYS_ptrace, [SEIZE, process, 0, 0, 0]));
        let read = call(libc::SYS_process_vm_readv, [process, 0, 0, 0, 0]);
        report(&format!("read {process}"), read);
        report(&format!("compare {process}"), call(libc::SYS_kcmp, [1, process, 1, 0, 0]));
    }
    for process in others.iter().chain(&["1"]) {
        for file in ["mem", "environ", "root", "cwd", "exe", "fd", "maps", "ns/pid"] {
            let path = format!("/proc/{process}/{file}");
            let seen = fs::read(&path).is_ok_and(|bytes| !bytes.is_empty())
                || fs::read_link(&path).is_ok()
                || fs::read_dir(&path).is_ok();
            report(&path, seen.then_some(()).ok_or(()));
        }
    }
    let _ = child.kill().and_then(|()| child.wait());
}

/// Outside of the sandbox: becomes the owner of a terminal, runs `command` in the sandbox with that in its reach, and
/// prints what came out and how much has been typed into the terminal.
pub fn on_a_terminal(command: &[&str]) {
    if rustix::process::getsid(None).ok() != Some(rustix::process::getpid()) {
        // A leader of a group cannot begin a session; a child can.
        let this = std::env::current_exe().expect("/proc is there");
        let mut again = Command::new(this);
        again.arg("on-a-terminal").args(command);
        #[expect(unsafe_code, reason = "the session begins between fork and exec")]
        // SAFETY: setsid is a system call and nothing else.
        let status =
            unsafe { again.pre_exec(|| Ok(rustix::process::setsid().map(drop)?)).status() };
        std::process::exit(status.ok().and_then(|it| it.code()).unwrap_or(1));
    }
    let (_keyboard, terminal) = open_terminal().expect("the host has pseudo-terminals");
    for stream in [rustix::stdio::dup2_stdin, rustix::stdio::dup2_stderr] {
        stream(&terminal).expect("the standard streams are open");
    }
    let (work, command) = command.split_first().expect("a test names the work directory");
    let said = run(work, command);
    let typed = rustix::io::ioctl_fionread(&terminal).expect("a terminal tells");
    println!("{said} {typed}");
}

/// Outside of the sandbox, in place of the daemon: runs `command` in it, and gives its end and its output.
pub fn run(work: &str, command: &[&str]) -> String {
    let command = command.iter().map(|word| (*word).to_owned()).collect();
    let mut spec = volunteer_sandbox::Spec::new(command, work.into());
    let this = std::env::current_exe().expect("/proc is there");
    spec.read_only = vec![(this, "/opt/fixture".into())];
    let helper =
        volunteer_sandbox::Helper::installed().expect("it is built, or copied, together with this");
    let bare = volunteer_sandbox::Sandbox::new(helper);
    let groups = volunteer_sandbox::Cgroups::find();
    let sandbox = groups.map_or(bare.clone(), |groups| bare.in_groups(groups));
    let outcome = sandbox.run(&spec).expect("it starts");
    format!("{:?} {:?}", outcome.ending, String::from_utf8_lossy(&outcome.output))
}

/// Both ends of a new terminal, which becomes that of this session.
fn open_terminal() -> io::Result<(File, File)> {
    let keyboard = File::options().read(true).write(true).open("/dev/ptmx")?;
    let mut number: libc::c_uint = 0;
    let unlocked: libc::c_int = 0;
    #[expect(unsafe_code, reason = "no safe wrapper exists")]
    // SAFETY: both requests take a pointer to an int that outlives them.
    unsafe {
        libc::ioctl(keyboard.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked);
        libc::ioctl(keyboard.as_raw_fd(), libc::TIOCGPTN, &raw mut number);
    }
    // The first terminal that the leader of a session opens becomes that of the session.
    let terminal = File::options().read(true).write(true).open(format!("/dev/pts/{number}"))?;
    Ok((keyboard, terminal))
}
