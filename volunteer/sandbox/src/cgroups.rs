//! Control groups for steps, where a directory of cgroup v2 is this program's own.
//!
//! Each step gets a group of its own below that of this program, and its init is born into it. What is in a group can
//! be frozen without its noticing and killed without exception, and is held to limits by the controllers that the group
//! has. The helper stays outside, lest it be frozen, or killed for want of memory, with those that it waits for.
//!
//! Whoever has made a group holds a lock on its directory, so that the next program can tell what was left by one that
//! is dead.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};

use crate::spec::Limits;

/// The control group of this program, below which it may make others.
#[derive(Debug, Clone)]
pub struct Cgroups {
    base: PathBuf,
    controllers: Vec<&'static str>,
}

/// Why no control groups are to be had. Steps run without them, and are paused by signals.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NoCgroups {
    /// This process is in no group of version 2, or in one that it cannot see.
    #[error("no cgroup v2 of this process is in sight")]
    NotThere,
    /// It may not make groups there.
    #[error("no groups can be made below {}", base.display())]
    NotDelegated {
        /// The group of this process.
        base: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The kernel is too old to freeze and kill groups.
    #[error("groups cannot be frozen or killed on this system")]
    TooOld,
}

/// Those that are used where they can be had. Whatever else a job needs is limited otherwise.
const CONTROLLERS: [&str; 4] = ["cpu", "io", "memory", "pids"];

/// How the names of steps' groups begin.
const PREFIX: &str = "talkoot-job-";

/// The group into which a daemon moves, since one that hands on controllers may hold no process itself.
const DAEMON: &str = "talkoot-daemon";

impl Cgroups {
    /// Finds the group of this process, and ends and removes what a program that was killed has left there.
    ///
    /// Where systemd has delegated the group with controllers, this process and all others of its unit are moved one
    /// level down. Call it once, before the first step.
    pub fn find() -> Result<Self, NoCgroups> {
        let text = |path| fs::read_to_string(path).map_err(|_| NoCgroups::NotThere);
        let (own, mounts) = (text("/proc/self/cgroup")?, text("/proc/self/mountinfo")?);
        let base = directory(&own, &mounts).ok_or(NoCgroups::NotThere)?;
        sweep(&base);
        let mut found = Self { base, controllers: Vec::new() };
        let cannot = |source| NoCgroups::NotDelegated { base: found.base.clone(), source };
        let trial = found.make().map_err(cannot)?;
        if !["cgroup.freeze", "cgroup.kill"].iter().all(|file| trial.path.join(file).exists()) {
            return Err(NoCgroups::TooOld);
        }
        drop(trial);
        // Without controllers there is the freezer still.
        found.controllers = hand_on_controllers(&found.base).unwrap_or_default();
        Ok(found)
    }

    /// The directory of this program's group, which those of steps are in.
    pub fn base(&self) -> &Path {
        &self.base
    }

    /// What the kernel holds steps to: `cgroup`, and `cgroup-` with the name of each controller.
    pub fn layers(&self) -> Vec<String> {
        let controllers = self.controllers.iter().map(|name| format!("cgroup-{name}"));
        std::iter::once("cgroup".to_owned()).chain(controllers).collect()
    }

    /// A group for a step with `limits`, in which there is nobody yet.
    pub(crate) fn begin(&self, limits: &Limits) -> io::Result<Group> {
        let group = self.make()?;
        for (controller, file, value) in settings(limits) {
            if self.controllers.contains(&controller) {
                group.set(file, &value)?;
            }
        }
        Ok(group)
    }

    fn make(&self) -> io::Result<Group> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        for _ in 0..MOST_TRIES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = self.base.join(format!("{PREFIX}{}-{number}", std::process::id()));
            match fs::create_dir(&path) {
                Ok(()) => {}
                // Of a namesake, in another pid namespace or long dead.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            }
            // Somebody who tidies up may have come between, and removed it.
            if let Ok(lock) = lock(&path)
                && path.exists()
            {
                return Ok(Group { path, _lock: lock });
            }
        }
        Err(io::ErrorKind::AlreadyExists.into())
    }
}

/// Names that are taken, or groups that are removed at once, in a row.
const MOST_TRIES: u32 = 16;

/// What holds a step to `limits`: controller, file and value.
///
/// A second limit behind those of the kernel for each process and the watch of init, and a little above: it holds
/// memory that those cannot see. Processors are kept to by affinity.
fn settings(limits: &Limits) -> [(&'static str, &'static str, String); 6] {
    /// For init, and for what the kernel keeps about a job and its namespaces.
    const OVERHEAD: u64 = 32 << 20;
    [
        ("memory", "memory.max", (limits.memory + OVERHEAD).to_string()),
        // Half a job is of no use, and what is swapped out counts as used.
        ("memory", "memory.oom.group", "1".to_owned()),
        ("memory", "memory.swap.max", "0".to_owned()),
        // Init counts, too.
        ("pids", "pids.max", (limits.processes + 1).to_string()),
        // A fifth of the usual: init must not starve. The job itself yields to everybody anyway.
        ("cpu", "cpu.weight", "20".to_owned()),
        ("io", "io.weight", "20".to_owned()),
    ]
}

/// The control group of one step. Whoever is in it when this is dropped is killed, and it is removed.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
    /// Says that somebody cares for it.
    _lock: File,
}

impl Group {
    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes everybody in it stand still, within milliseconds.
    pub fn freeze(&self) -> io::Result<()> {
        self.set("cgroup.freeze", "1")
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.set("cgroup.freeze", "0")
    }

    /// Whether the kernel has killed somebody in it since it was at its limit of memory; not since the machine was.
    pub fn ran_out_of_memory(&self) -> bool {
        let events = self.read("memory.events");
        ["oom", "oom_kill"].iter().all(|it| number(&events, it).is_some_and(|count| count > 0))
    }

    /// The processor time of all that were in it.
    pub fn cpu(&self) -> Duration {
        Duration::from_micros(number(&self.read("cpu.stat"), "usage_usec").unwrap_or(0))
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path.join(file)).unwrap_or_default()
    }

    fn set(&self, file: &str, value: &str) -> io::Result<()> {
        // Not to be made, which such file systems refuse with another error than that it is not there.
        let opened = File::options().write(true).open(self.path.join(file));
        match opened.and_then(|mut opened| opened.write_all(value.as_bytes())) {
            // Where the kernel does not account for swap, or the scheduler of a disk knows no weights.
            Err(error)
                if ["memory.swap.max", "io.weight"].contains(&file)
                    && error.kind() == io::ErrorKind::NotFound =>
            {
                Ok(())
            }
            result => result,
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        end(&self.path);
    }
}

/// Kills everybody in the group at `path` and removes it, if they are gone soon. Otherwise the next one who finds it will.
fn end(path: &Path) {
    if fs::remove_dir(path).is_ok() {
        return;
    }
    if fs::write(path.join("cgroup.kill"), "1").is_err() {
        // There is no such group any more, or it is another user's.
        return;
    }
    let began = Instant::now();
    while fs::remove_dir(path).is_err() && path.exists() && began.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The kernel takes milliseconds for the death of a group, unless a disk hangs.
const PATIENCE: Duration = Duration::from_secs(2);

/// Ends what is below `base` and nobody cares for.
fn sweep(base: &Path) {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    for entry in entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(PREFIX)) {
        if let Ok(_lock) = lock(&entry.path()) {
            end(&entry.path());
        }
    }
}

fn lock(path: &Path) -> io::Result<File> {
    let directory = File::open(path)?;
    flock(&directory, FlockOperation::NonBlockingLockExclusive)?;
    Ok(directory)
}

/// The directory of the group that `own` (`/proc/self/cgroup`) names, as far as `mounts` (`/proc/self/mountinfo`) show it.
fn directory(own: &str, mounts: &str) -> Option<PathBuf> {
    let own = Path::new(own.lines().find_map(|line| line.strip_prefix("0::"))?);
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, at) = (place.next()?, place.next()?);
        let below = own.strip_prefix(root).ok().filter(|_| kind.starts_with("cgroup2 "))?;
        // Outside of this process's namespace, or with characters that the kernel has escaped.
        let plain = !own.starts_with("/..") && !at.contains('\\');
        plain.then(|| Path::new(at).join(below))
    })
}

/// Hands on to groups below `base` what controllers it has; gives those that they get.
fn hand_on_controllers(base: &Path) -> io::Result<Vec<&'static str>> {
    let listed = |file: &str| -> io::Result<Vec<&'static str>> {
        let text = fs::read_to_string(base.join(file))?;
        let has = |name: &&str| text.split_ascii_whitespace().any(|word| word == *name);
        Ok(CONTROLLERS.into_iter().filter(has).collect())
    };
    let there = listed("cgroup.controllers")?;
    if listed("cgroup.subtree_control")? != there && is_delegated(base) {
        move_down(base)?;
        let all: Vec<String> = there.iter().map(|name| format!("+{name}")).collect();
        fs::write(base.join("cgroup.subtree_control"), all.join(" "))?;
    }
    listed("cgroup.subtree_control")
}

/// Whether systemd says that all of `base` is its unit's. That it may be written to is not enough: the processes of
/// others may be in it.
fn is_delegated(base: &Path) -> bool {
    let mut value = [0_u8; 8];
    let names = ["user.delegate", "trusted.delegate"];
    names.iter().any(|name| {
        matches!(rustix::fs::getxattr(base, *name, &mut value[..]), Ok(length) if value[..length] == *b"1")
    })
}

/// Moves all processes of `base` into a group below it.
fn move_down(base: &Path) -> io::Result<()> {
    let daemon = base.join(DAEMON);
    match fs::create_dir(&daemon) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    for process in fs::read_to_string(base.join("cgroup.procs"))?.lines() {
        fs::write(daemon.join("cgroup.procs"), process)?;
    }
    Ok(())
}

/// The number behind `name` on a line of its own.
fn number(text: &str, name: &str) -> Option<u64> {
    let value = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    text.lines().find_map(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
        31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";

    #[test]
    fn the_directory_is_found_by_what_the_kernel_shows() {
        let check = |own: &str, mounts: &str, expected: Option<&str>| {
            assert_eq!(directory(own, mounts).as_deref(), expected.map(Path::new), "{own}");
        };
        check("4:memory:/a\n0::/\n", MOUNTS, Some("/sys/fs/cgroup/unified/"));
        check("0::/a.slice/b", MOUNTS, Some("/sys/fs/cgroup/unified/a.slice/b"));
        let of_a_container = "41 31 0:38 /a.slice /mnt rw - cgroup2 cgroup2 rw";
        check("0::/a.slice/b", of_a_container, Some("/mnt/b"));
        check("0::/c.slice", of_a_container, None);
        check("0::/../b", "41 31 0:38 / /mnt rw - cgroup2 cgroup2 rw", None);
        check("4:memory:/a\n", MOUNTS, None);
        check("0::/a", "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", None);
    }

    #[test]
    fn numbers_are_those_of_their_line() {
        let text = "low 0\noom 3\noom_kill 2\noom_group_kill 1\n";
        assert_eq!(number(text, "oom_kill"), Some(2));
        assert_eq!(number(text, "oom_"), None);
        assert_eq!(number("", "oom_kill"), None);
    }
}
