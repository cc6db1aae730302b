//! The program that this crate's tests start inside the sandbox: the misbehaving job.

#[cfg(target_os = "linux")]
mod attempts;
#[cfg(target_os = "linux")]
mod internet;

use std::collections::BTreeSet;
use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["flood"] => flood(),
        ["hog", mebibytes] => hog(number(mebibytes)),
        ["hogs", count, mebibytes] => hogs(number(count), mebibytes),
        #[cfg(target_os = "linux")]
        ["hog-without-leader", mebibytes] => linux::hog_without_leader(number(mebibytes)),
        #[cfg(target_os = "linux")]
        ["fork-bomb"] => linux::fork_bomb(),
        #[cfg(target_os = "linux")]
        ["huge-hogs", count, mebibytes] => linux::huge_hogs(number(count), number(mebibytes)),
        #[cfg(target_os = "linux")]
        ["share-later", count, own, shared] => {
            linux::share_later(number(count), number(own), number(shared));
        }
        #[cfg(target_os = "linux")]
        ["identity"] => attempts::say_identity(),
        #[cfg(target_os = "linux")]
        ["try", what, rest @ ..] => attempts::attempt(what, rest),
        #[cfg(target_os = "linux")]
        ["run", work, rest @ ..] => println!("{}", attempts::run(work, rest)),
        #[cfg(target_os = "linux")]
        ["serve", ports @ ..] => internet::serve(ports),
        #[cfg(target_os = "linux")]
        ["step"] => internet::step(),
        #[cfg(target_os = "linux")]
        ["paused-step", how] => internet::paused_step(how),
        #[cfg(target_os = "linux")]
        ["on-a-terminal", rest @ ..] => attempts::on_a_terminal(rest),
        #[cfg(target_os = "linux")]
        ["wake-itself-up"] => linux::wake_itself_up(),
        ["fill", directory, file_bytes] => fill(directory, number(file_bytes), false),
        ["fill-unlinked", directory, file_bytes] => fill(directory, number(file_bytes), true),
        ["spread", threads] => spread(number(threads)),
        #[cfg(target_os = "linux")]
        ["reach", address, rest @ ..] => linux::reach(address, rest),
        ["say", out, err, code] => {
            println!("{out}");
            eprintln!("{err}");
            return ExitCode::from(code.parse::<u8>().expect("a test passes codes"));
        }
        ["nap"] => std::thread::sleep(Duration::from_secs(60)),
        ["count-in", file] => count_in(file),
        other => {
            eprintln!("nobody knows how to do {other:?}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn number(word: &str) -> usize {
    word.parse().expect("a test passes numbers")
}

/// Prints for ever.
fn flood() {
    let piece = [b'x'; 64 * 1024];
    while io::stdout().write_all(&piece).is_ok() {}
}

/// Takes and touches memory, says so, and keeps it.
fn hog(mebibytes: usize) {
    let mut held = Vec::new();
    for _ in 0..mebibytes {
        held.push(vec![1_u8; 1 << 20]);
    }
    println!("{} held", held.len());
    std::thread::sleep(Duration::from_secs(60));
}

/// Starts processes that each take memory.
fn hogs(count: usize, mebibytes: &str) {
    let this = env::current_exe().expect("/proc is there");
    let start = || Command::new(&this).args(["hog", mebibytes]).spawn();
    let children: Vec<_> = (0..count).map(|_| start()).collect();
    for mut child in children.into_iter().flatten() {
        let _ = child.wait();
    }
}

/// Writes files of `file_bytes` until it fails, and says how far it came.
fn fill(directory: &str, file_bytes: usize, unlink: bool) {
    let content = vec![1; file_bytes];
    let mut held = Vec::new();
    for number in 0.. {
        let path = format!("{directory}/{number}");
        let write = || -> io::Result<File> {
            let mut file = File::create(&path)?;
            if unlink {
                fs::remove_file(&path)?;
            }
            file.write_all(&content)?;
            Ok(file)
        };
        match write() {
            Ok(file) if unlink => held.push(file),
            Ok(_) => {}
            Err(error) => {
                println!("{} bytes, then {error}", number * file_bytes);
                return;
            }
        }
    }
}

/// Asks for all processors, for each of some threads, and says on how many they then ran.
fn spread(threads: usize) {
    let run = || {
        let asked = volunteer_sandbox::stay_on(&(0..1024).collect()).is_ok();
        let began = Instant::now();
        let mut seen = BTreeSet::new();
        while began.elapsed() < Duration::from_millis(200) {
            seen.extend(volunteer_sandbox::processors().expect("the kernel tells"));
            #[cfg(target_os = "linux")]
            seen.extend(u32::try_from(rustix::thread::sched_getcpu()));
        }
        (asked, seen)
    };
    let running: Vec<_> = (0..threads).map(|_| std::thread::spawn(run)).collect();
    let ends = running.into_iter().map(|thread| thread.join().expect("it does not panic"));
    let (asked, seen): (Vec<bool>, Vec<BTreeSet<u32>>) = ends.unzip();
    let seen: BTreeSet<u32> = seen.into_iter().flatten().collect();
    println!("{} {seen:?}", asked.into_iter().all(|asked| asked));
}

/// Writes numbers into `file`, one after the other, for ever.
fn count_in(file: &str) {
    for number in 0.. {
        fs::write(file, format!("{number}")).expect("its own folder");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::File;
    use std::io::{self, Write};
    use std::net::{TcpStream, UdpSocket};
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixStream};
    use std::time::Duration;

    /// Tries to reach a service by its address, and sockets by their paths or (with an `@`) abstract names.
    pub fn reach(address: &str, sockets: &[&str]) {
        if TcpStream::connect(address).is_ok() {
            println!("reached {address}");
        }
        let udp = UdpSocket::bind("0.0.0.0:0").and_then(|udp| udp.send_to(b"x", "192.0.2.1:9"));
        if udp.is_ok() {
            println!("reached the network");
        }
        for socket in sockets {
            if connect(socket).is_ok() {
                println!("reached {socket}");
            }
        }
    }

    /// Forks until it cannot, and says how often it could.
    pub fn fork_bomb() {
        let mut children = 0;
        loop {
            #[expect(unsafe_code, reason = "a fork bomb forks")]
            // SAFETY: this process has one thread.
            match unsafe { libc::fork() } {
                0 => loop {
                    std::thread::park();
                },
                -1 => break,
                _ => children += 1,
            }
        }
        println!("{children}");
    }

    /// Ends the first thread, which `/proc` takes for the process, and takes memory in another.
    pub fn hog_without_leader(mebibytes: usize) {
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(50));
            super::hog(mebibytes);
        });
        #[expect(unsafe_code, reason = "no safe call ends one thread")]
        // SAFETY: nothing borrows from this thread's stack.
        unsafe {
            libc::syscall(libc::SYS_exit, 0);
        }
    }

    /// Starts processes that take memory in the largest pages that there are.
    pub fn huge_hogs(count: usize, mebibytes: usize) {
        for _ in 0..count {
            #[expect(unsafe_code, reason = "no safe wrapper exists")]
            // SAFETY: this process has one thread.
            if unsafe { libc::fork() } == 0 {
                huge_hog(mebibytes << 20);
            }
        }
        std::thread::sleep(Duration::from_secs(60));
    }

    fn huge_hog(bytes: usize) {
        let mut held = Vec::<u8>::with_capacity(bytes);
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: advice about memory changes none of it; an address that is none of a page is refused.
        unsafe {
            let page = held.as_mut_ptr().map_addr(|address| address.next_multiple_of(4096));
            libc::madvise(page.cast(), bytes - 4096, libc::MADV_HUGEPAGE);
        }
        held.resize(bytes, 1);
        println!("{} held", std::hint::black_box(&held).len());
        std::thread::sleep(Duration::from_secs(60));
    }

    /// Starts processes that each take `own` MiB, long enough to be seen, give them back, and then all use the same
    /// `shared` MiB. Says how many of them came to their end.
    pub fn share_later(count: usize, own: usize, shared: usize) {
        let bytes = shared << 20;
        let (access, kind) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: a new mapping, where the kernel likes.
        let region = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, kind, -1, 0) };
        assert_ne!(region, libc::MAP_FAILED, "there is room for addresses");
        for _ in 0..count {
            start(|| {
                drop(std::hint::black_box(held_for_a_while(own << 20)));
                #[expect(unsafe_code, reason = "no safe wrapper exists")]
                // SAFETY: all of the mapping, which nobody borrows from.
                unsafe {
                    libc::memset(region, 1, bytes);
                }
                std::thread::sleep(SEEN);
            });
        }
        // One that is new has the watch measure anew, while the others stand still.
        std::thread::sleep(SEEN / 2);
        start(|| std::thread::sleep(SEEN * 2));
        use rustix::process::{WaitOptions, wait};
        let ended = std::iter::from_fn(|| wait(WaitOptions::empty()).ok().flatten());
        println!("{}", ended.filter(|(_, status)| status.exit_status() == Some(0)).count());
    }

    fn start(run: impl FnOnce()) {
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: this process has one thread.
        if unsafe { libc::fork() } == 0 {
            run();
            std::process::exit(0);
        }
    }

    /// Many times as long as the watch leaves between two looks.
    const SEEN: Duration = Duration::from_millis(300);

    fn held_for_a_while(bytes: usize) -> Vec<u8> {
        let held = vec![1; bytes];
        std::thread::sleep(SEEN);
        held
    }

    /// Has a timer continue this process a thousand times a second, and writes to `ticks` whenever it runs.
    pub fn wake_itself_up() {
        // A timer stops that nobody listens to.
        extern "C" fn listen(_: libc::c_int) {}
        let every = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        let times = libc::itimerspec { it_interval: every, it_value: every };
        #[expect(unsafe_code, reason = "no safe wrapper exists")]
        // SAFETY: plain data for which all zeroes are valid; what the pointers lead to outlives the calls; the handler does
        // nothing.
        let set = unsafe {
            libc::signal(libc::SIGCONT, listen as *const () as libc::sighandler_t);
            let mut event: libc::sigevent = std::mem::zeroed();
            (event.sigev_notify, event.sigev_signo) = (libc::SIGEV_SIGNAL, libc::SIGCONT);
            let mut timer: libc::timer_t = std::ptr::null_mut();
            libc::timer_create(libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer)
                | libc::timer_settime(timer, 0, &raw const times, std::ptr::null_mut())
        };
        assert_eq!(set, 0, "everybody may have timers");
        let mut ticks = File::create("ticks").expect("the work directory is writable");
        while ticks.write_all(b"x").is_ok() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    fn connect(socket: &str) -> io::Result<UnixStream> {
        match socket.strip_prefix('@') {
            Some(name) => UnixStream::connect_addr(&SocketAddr::from_abstract_name(name)?),
            None => UnixStream::connect(socket),
        }
    }
}
