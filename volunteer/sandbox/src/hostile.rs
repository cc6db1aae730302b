//! The hostile program of the self-test: runs inside a sandbox, tries to get out, and tells what it reached.

use std::collections::BTreeSet;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode};

use crate::affinity;
use crate::network::PROXY_PORT;
use crate::sys::{self, Cloned};

/// Names the variable with the path of a file that only the host has.
pub const CANARY: &str = "TALKOOT_CANARY";
/// Names the variable with the port of a service on the host's loopback interface.
pub const HOST_PORT: &str = "TALKOOT_HOST_PORT";
/// Set if there is a proxy, which is to be tried instead of all else.
pub const PROXIED: &str = "TALKOOT_PROXIED";
/// Names the variable with the path of a file that only the image has, if there is one.
pub const IN_IMAGE: &str = "TALKOOT_IN_IMAGE";
/// How many processes the sandbox permits this program.
pub const PROCESSES: u64 = 24;
/// What it prints if it reached nothing.
pub const VERDICT: &str = "contained";

/// With this variable set to one of [`GATES`], it only makes a call that must kill it.
const FOREIGN_CALL: &str = "TALKOOT_FOREIGN_CALL";

/// Tries everything, and prints what succeeded, or [`VERDICT`].
pub fn main() -> ExitCode {
    if let Some(gate) = env::var_os(FOREIGN_CALL) {
        return foreign_call(&gate);
    }
    let breaches = if env::var_os(PROXIED).is_some() {
        [network(), proxy()].concat()
    } else {
        [identity(), files(), network(), calls(), cores(), processes()].concat()
    };
    if breaches.is_empty() {
        println!("{VERDICT}");
        return ExitCode::SUCCESS;
    }
    println!("{}", breaches.join("; "));
    ExitCode::FAILURE
}

type Breaches = Vec<String>;

/// Those of `attempts` that hold.
fn those(attempts: &[(bool, &str)]) -> Breaches {
    attempts.iter().filter(|(holds, _)| *holds).map(|(_, what)| (*what).to_owned()).collect()
}

fn identity() -> Breaches {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    let host_uid = map.split_ascii_whitespace().nth(1);
    let capabilities = rustix::thread::capabilities(None)
        .map_or(u64::MAX, |sets| (sets.effective | sets.permitted | sets.inheritable).bits());
    let no_new_privileges = rustix::thread::no_new_privs().unwrap_or(false);
    those(&[
        (matches!(host_uid, None | Some("0")), "it runs as root of the host"),
        (rustix::process::getuid().is_root(), "it runs as root"),
        (capabilities != 0, "it has capabilities"),
        (!no_new_privileges, "it can gain privileges"),
        (rustix::process::getpid().as_raw_nonzero().get() > 9, "it sees the host's processes"),
    ])
}

fn files() -> Breaches {
    let mut breaches = Breaches::new();
    let canary = env::var(CANARY).unwrap_or_default();
    for path in ["/etc/shadow", "/root", "/proc/1/root", "/dev/mem", "/proc/1/environ", &canary] {
        if fs::read(path).is_ok() || fs::read_dir(path).is_ok() {
            breaches.push(format!("it reads {path}"));
        }
    }
    let places = ["/", "/dev", "/etc", "/proc/sys/kernel", "/usr", "/usr/lib", "/lib"];
    for path in places.map(|place| format!("{place}/talkoot-breach")) {
        if File::create(&path).is_ok() {
            breaches.push(format!("it writes {path}"));
        }
    }
    let settings = ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/etc/passwd"];
    for path in settings {
        if File::options().append(true).open(path).is_ok() {
            breaches.push(format!("it writes {path}"));
        }
    }
    if let Ok(path) = env::var(IN_IMAGE)
        && let Err(error) = fs::read(&path)
    {
        breaches.push(format!("it cannot read {path} of its image: {error}"));
    }
    for path in ["/work/a", "/tmp/a", "/home/job/a", "/dev/shm/a", "/dev/null"] {
        if let Err(error) = fs::write(path, "a") {
            breaches.push(format!("it cannot write {path}: {error}"));
        }
    }
    breaches
}

fn network() -> Breaches {
    let port = host_port();
    let own_service = || -> io::Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        TcpStream::connect(listener.local_addr()?).map(drop)
    };
    // TEST-NET-1 of RFC 5737: nobody's address. Connecting a datagram socket sends nothing.
    let route_out = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect("192.0.2.1:9"));
    those(&[
        (TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok(), "it reaches the host's services"),
        (route_out.is_ok(), "it has a way to the network"),
        (own_service().is_err(), "it has no loopback interface of its own"),
    ])
}

fn host_port() -> u16 {
    env::var(HOST_PORT).ok().and_then(|port| port.parse().ok()).unwrap_or(0)
}

/// What the proxy answers about a service of the host that the job lists, and about a name that it does not.
fn proxy() -> Breaches {
    let service = format!("127.0.0.1:{}", host_port());
    let mut breaches = Breaches::new();
    for destination in [service.as_str(), "talkoot.invalid:443"] {
        match asked_of_proxy(destination) {
            Ok(answer) if answer.starts_with("HTTP/1.1 403 ") => {}
            Ok(answer) => breaches.push(format!("the proxy says of {destination}: {answer}")),
            Err(error) => breaches.push(format!("the proxy does not answer: {error}")),
        }
    }
    breaches
}

fn asked_of_proxy(destination: &str) -> io::Result<String> {
    let mut proxy = TcpStream::connect((Ipv4Addr::LOCALHOST, PROXY_PORT))?;
    proxy.write_all(format!("CONNECT {destination} HTTP/1.1\r\n\r\n").as_bytes())?;
    let mut answer = Vec::new();
    proxy.take(1024).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Calls that no job may make, with arguments that would do no harm.
fn calls() -> Breaches {
    let flag = |flag: i32| u64::from(flag.cast_unsigned());
    let forbidden = [
        ("mount", libc::SYS_mount, [0; 4]),
        ("umount2", libc::SYS_umount2, [0; 4]),
        ("setns", libc::SYS_setns, [0; 4]),
        ("chroot", libc::SYS_chroot, [0; 4]),
        ("ptrace", libc::SYS_ptrace, [flag(libc::PTRACE_TRACEME.cast_signed()), 0, 0, 0]),
        ("keyctl", libc::SYS_keyctl, [0; 4]),
        ("add_key", libc::SYS_add_key, [0; 4]),
        ("bpf", libc::SYS_bpf, [0; 4]),
        ("perf_event_open", libc::SYS_perf_event_open, [0; 4]),
        ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0]),
        ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0]),
        ("unshare", libc::SYS_unshare, [flag(libc::CLONE_NEWUSER), 0, 0, 0]),
        ("clone", libc::SYS_clone, [flag(libc::CLONE_NEWUSER | libc::SIGCHLD), 0, 0, 0]),
        ("vsock", libc::SYS_socket, [flag(libc::AF_VSOCK), flag(libc::SOCK_STREAM), 0, 0]),
        ("packet", libc::SYS_socket, [flag(libc::AF_PACKET), flag(libc::SOCK_RAW), 0, 0]),
    ];
    let refused = |call, arguments| sys::attempt(call, arguments) == Err(libc::EPERM);
    let mut breaches: Breaches = forbidden
        .iter()
        .filter(|(_, call, arguments)| !refused(*call, *arguments))
        .map(|(name, ..)| format!("the call {name} is not refused"))
        .collect();
    let output = io::stdout().as_raw_fd();
    // The kernel looks at 32 bits of the request; so must the filter.
    let requests = [0x5412, 0x5412 | 1 << 40];
    if requests.iter().any(|request| sys::attempt_terminal(*request, output) != Err(libc::EPERM)) {
        breaches.push("a request to push terminal input is not refused".to_owned());
    }
    if sys::attempt(libc::SYS_clone3, [0; 4]) != Err(libc::ENOSYS) {
        breaches.push("the call clone3 is not unknown".to_owned());
    }
    breaches
}

/// It was given one processor, and asks for all.
fn cores() -> Breaches {
    let all: BTreeSet<u32> = (0..64).collect();
    let answer = affinity::stay_on(&all);
    let left = !affinity::processors().is_ok_and(|now| now.len() == 1);
    those(&[
        (answer.is_err(), "it is refused to place its threads, which ends honest programs"),
        (left, "it uses more processors than it was given"),
    ])
}

fn processes() -> Breaches {
    let mut breaches = Breaches::new();
    for gate in GATES {
        let itself = Command::new("/proc/self/exe")
            .args(env::args_os().skip(1))
            .env(FOREIGN_CALL, gate)
            .status();
        if !itself.is_ok_and(|status| status.signal() == Some(libc::SIGSYS)) {
            breaches.push(format!("calls in {gate} numbering are not fatal"));
        }
    }
    let mut children = 0;
    while children <= PROCESSES {
        match sys::fork() {
            // Ended together with this program.
            Ok(Cloned::Child) => loop {
                std::thread::park();
            },
            Ok(Cloned::Parent { .. }) => children += 1,
            Err(_) => return breaches,
        }
    }
    breaches.push("the number of processes is not limited".to_owned());
    breaches
}

/// The ways to number system calls that the kernel may offer beside its own.
#[cfg(target_arch = "x86_64")]
const GATES: &[&str] = &["32-bit", "x32"];
#[cfg(not(target_arch = "x86_64"))]
const GATES: &[&str] = &[];

/// Asks for the process's id by way of `gate`, which must be fatal.
#[cfg(target_arch = "x86_64")]
fn foreign_call(gate: &OsStr) -> ExitCode {
    const X32_BIT: libc::c_long = 0x4000_0000;
    if gate == "x32" {
        println!("{:?}", sys::attempt(X32_BIT | libc::SYS_getpid, [0; 4]));
    } else {
        println!("{}", sys::attempt_foreign_call());
    }
    ExitCode::SUCCESS
}

#[cfg(not(target_arch = "x86_64"))]
fn foreign_call(_: &OsStr) -> ExitCode {
    ExitCode::SUCCESS
}
