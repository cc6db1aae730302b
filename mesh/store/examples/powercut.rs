//! Cuts the power of a file system below a writing store, again and again, and counts what was lost.
//!
//! `powercut [ROUNDS] [fresh]`, as root on Linux. Makes an ext4 in a file, mounts it, lets a child write, and shuts
//! the file system down without flushing its journal (`EXT4_IOC_SHUTDOWN`): what had not reached the disk is gone, as
//! after a power cut. Then mounts it again and compares the store with what was acknowledged. With `fresh`, each
//! round begins with a new store. Exits with 1 if anything was lost.

#[path = "../tests/support/mod.rs"]
mod support;

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;

use support::{acknowledged_on, check, covers, open, random_between, write_on};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<ExitCode> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [role, dir] = &arguments[..]
        && role == "write"
    {
        return Err(write_on(&open(Path::new(dir))?).into());
    }
    let rounds = arguments.first().map_or(Ok(10), |rounds| rounds.parse())?;
    let fresh = arguments.get(1).is_some_and(|word| word == "fresh");
    let bad = cut(rounds, fresh)?;
    println!("{rounds} cuts, {bad} bad");
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns how many of `rounds` cuts lost or damaged something.
fn cut(rounds: u32, fresh: bool) -> Outcome<u32> {
    let temp = tempfile::tempdir()?;
    let (image, mount) = (temp.path().join("image"), temp.path().join("mount"));
    fs::create_dir(&mount)?;
    File::create(&image)?.set_len(1 << 30)?;
    run(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
    let store = mount.join("store");
    let mut acknowledged = None;
    let mut bad = 0;
    for round in 1..=rounds {
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))?;
        if fresh && store.exists() {
            fs::remove_dir_all(&store)?;
            acknowledged = None;
        }
        let last = write_until_cut(&store, &mount)?;
        acknowledged = acknowledged.max(last);
        run(Command::new("umount").arg(&mount))?;
        run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(&mount))?;
        let verdict = match check(&store) {
            Ok(found) if covers(found, acknowledged) => format!("good, {found:?} found"),
            Ok(found) => format!("BAD, {found:?} found"),
            Err(damage) => format!("BAD, {damage}"),
        };
        println!("cut {round}: {acknowledged:?} acknowledged, {verdict}");
        if verdict.starts_with("BAD") {
            bad += 1;
            acknowledged = None;
            fs::remove_dir_all(&store)?;
        }
        run(Command::new("umount").arg(&mount))?;
    }
    Ok(bad)
}

/// Lets a child write for a random while, cuts the power, and returns the last number that it acknowledged.
fn write_until_cut(store: &Path, mount: &Path) -> Outcome<Option<u64>> {
    let mut command = Command::new(env::current_exe()?);
    command.arg("write").arg(store).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn()?;
    let output = child.stdout.take().ok_or("it is piped")?;
    let reading = thread::spawn(move || acknowledged_on(output).last());
    thread::sleep(Duration::from_millis(random_between(200, 1_500)));
    let result = shut_down(&File::open(mount)?);
    child.kill()?;
    child.wait()?;
    result?;
    Ok(reading.join().map_err(|_| "the reader panicked")?)
}

/// Ends all writing to the ext4 of `mount`, without flushing its journal.
#[expect(unsafe_code, reason = "no safe wrapper of this request exists")]
fn shut_down(mount: &File) -> rustix::io::Result<()> {
    const EXT4_IOC_SHUTDOWN: rustix::ioctl::Opcode = rustix::ioctl::opcode::read::<u32>(b'X', 125);
    const NO_LOG_FLUSH: u32 = 2;
    // SAFETY: the request reads 32 bits of flags through its argument, and writes to no memory.
    unsafe {
        let request = rustix::ioctl::Setter::<EXT4_IOC_SHUTDOWN, u32>::new(NO_LOG_FLUSH);
        rustix::ioctl::ioctl(mount, request)
    }
}

fn run(command: &mut Command) -> Outcome<()> {
    let status = command.status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?}: {status}").into()) }
}
