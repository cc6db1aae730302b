//! What to run, and within which limits.

#[cfg(target_os = "linux")]
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::affinity::MAX_PROCESSORS;
use crate::network::{MAX_DESTINATIONS, Network};

/// A specification travels to the helper in one message; argument vectors and environments of honest jobs are a
/// hundredth of this.
pub const MAX_SPEC_BYTES: usize = 1024 * 1024;

/// The first of the user ids that jobs get when the daemon runs as root: above those of people and services, below the
/// ranges that tools hand out for containers (from 65536 or 100000).
pub const DEFAULT_HOST_UID: u32 = 64_000;

/// One step of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Program and arguments. A program without a slash is looked up in `PATH` of [`env`](Self::env). One that cannot
    /// be executed makes the step exit with 127, or 126 if it may not be, like a shell.
    pub command: Vec<String>,
    /// The complete environment: nothing is inherited. See [`Spec::new`] for what is set by default.
    pub env: BTreeMap<String, String>,
    /// Directory on the host that becomes `/work` and keeps its content between the steps of a job.
    ///
    /// Its parent should be closed to other users of the host: a job may leave set-user-id files in it. Started as
    /// root, the helper gives everything in it to [`host_uid`](Self::host_uid).
    pub work: PathBuf,
    /// Where the program starts, relative to `/work`.
    pub cwd: PathBuf,
    /// Files or directories of the host, and the absolute paths at which the job sees them, read only.
    pub read_only: Vec<(PathBuf, PathBuf)>,
    /// Directory on the host with the files of an image, which the job gets in place of the host's: what is at its top,
    /// read only, but for `/dev`, `/proc`, `/sys`, `/tmp`, `/work` and `/home/job`, which are the sandbox's own. It
    /// brings its `/etc`. Nothing may change it before the step has ended.
    pub root: Option<PathBuf>,
    /// Without a [`root`](Self::root), whether the job gets the host's programs: `/usr`, `/bin`, `/sbin`, the `/lib` directories, and those files of
    /// `/etc` that compilers and TLS libraries read. Without it, it gets the shared libraries and the loader's cache
    /// only, which a dynamically linked program in [`read_only`](Self::read_only) needs, and a `/proc` of processes alone.
    pub toolchain: bool,
    /// What ends the step before its time.
    pub limits: Limits,
    /// The processors that the job may use, by the kernel's numbers, and sees; all that the daemon may use if there are
    /// none here, or none of them is left. It cannot leave them: that it asks for others is answered as if it were done.
    pub processors: BTreeSet<u32>,
    /// The user and group id, as the host sees it, that the job runs under if the daemon runs as root. Ignored
    /// otherwise: then it is the daemon's own. Jobs that run at the same time need ids of their own, such as
    /// [`DEFAULT_HOST_UID`] plus a slot. Inside it is always 1000.
    pub host_uid: u32,
    /// What it may reach of the network; nothing, if absent. See [`permit`](Self::permit).
    pub network: Option<Network>,
}

/// What the helper is told.
#[cfg(target_os = "linux")]
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Order<'a> {
    /// What to run.
    pub spec: Cow<'a, Spec>,
    /// The directory of the control group for it.
    pub group: Option<PathBuf>,
}

/// The limits of a step, over all its processes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Time from start to end, pauses not counted.
    pub wall: Duration,
    /// Bytes of memory that only the job uses: anonymous, shared, in its `/tmp`, swapped out, and page tables.
    /// Half of it may be in `/tmp`, `/dev/shm` and the home directory.
    pub memory: u64,
    /// Bytes on disk in the work directory; each file and directory counts 1 KiB on top of its blocks.
    pub disk: u64,
    /// Bytes of standard output and error together.
    pub output: u64,
    /// Processes and threads at a time.
    pub processes: u64,
}

/// Why a [`Spec`] is not sound.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// There is no program to run.
    #[error("the command is empty")]
    NoCommand,
    /// A string that goes to the kernel holds a zero byte, or a variable's name an equals sign.
    #[error("{what} holds a character that it cannot hold")]
    Character {
        /// Where it was found.
        what: &'static str,
    },
    /// The work directory, or a source of a read-only mount, is not an absolute path.
    #[error("{} is not an absolute path", path.display())]
    NotAbsolute {
        /// The path.
        path: PathBuf,
    },
    /// The working directory leaves `/work`.
    #[error("{} does not lie below the work directory", path.display())]
    OutsideWork {
        /// The path.
        path: PathBuf,
    },
    /// A place for a read-only mount that is not free.
    #[error("nothing can be mounted at {}", path.display())]
    Mountpoint {
        /// The path.
        path: PathBuf,
    },
    /// The user id of the host is one that no job may have.
    #[error("user id {uid} of the host may not run a job")]
    HostUid {
        /// The id.
        uid: u32,
    },
    /// The number of a processor that no machine has.
    #[error("there is no processor {number}")]
    Processor {
        /// The number.
        number: u32,
    },
    /// More destinations are named than a step may have.
    #[error("{count} destinations on the network")]
    Destinations {
        /// How many.
        count: usize,
    },
    /// A limit is zero or so large that sums would overflow.
    #[error("the limit on {what} is zero or absurd")]
    Limit {
        /// Which.
        what: &'static str,
    },
}

impl Spec {
    /// A step with the host's programs, a plain environment (`PATH`, `HOME`, `USER`, `LANG`, `TMPDIR`) and default
    /// limits, starting in `/work`.
    pub fn new(command: Vec<String>, work: PathBuf) -> Self {
        let env = [
            ("HOME", "/home/job"),
            ("LANG", "C.UTF-8"),
            ("PATH", "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"),
            ("TMPDIR", "/tmp"),
            ("USER", "job"),
        ];
        Self {
            command,
            env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            work,
            cwd: PathBuf::new(),
            read_only: Vec::new(),
            root: None,
            toolchain: true,
            limits: Limits::default(),
            processors: BTreeSet::new(),
            host_uid: DEFAULT_HOST_UID,
            network: None,
        }
    }

    /// Lets the step reach `network`, and tells its programs how, unless their variables say otherwise.
    pub fn permit(&mut self, network: Network) {
        for (name, value) in Network::environment() {
            self.env.entry(name).or_insert(value);
        }
        self.network = Some(network);
    }

    /// Checks everything that can be checked without looking at the machine.
    pub fn validate(&self) -> Result<(), SpecError> {
        self.check_strings()?;
        self.check_paths()?;
        self.limits.validate()?;
        if let Some(number) = self.processors.last().copied().filter(|it| *it >= MAX_PROCESSORS) {
            return Err(SpecError::Processor { number });
        }
        // 65534 and the two all-ones ids are nobody's or mean "no id"; the rest below 1000 belongs to the system.
        if self.host_uid < 1000 || matches!(self.host_uid, 65_534 | 65_535 | u32::MAX) {
            return Err(SpecError::HostUid { uid: self.host_uid });
        }
        match self.network.as_ref().map(|network| network.destinations.len()) {
            Some(count) if count > MAX_DESTINATIONS => Err(SpecError::Destinations { count }),
            _ => Ok(()),
        }
    }

    fn check_strings(&self) -> Result<(), SpecError> {
        if self.command.first().is_none_or(String::is_empty) {
            return Err(SpecError::NoCommand);
        }
        if self.command.iter().any(|argument| argument.contains('\0')) {
            return Err(SpecError::Character { what: "an argument" });
        }
        let bad_name = |name: &String| name.is_empty() || name.contains(['\0', '=']);
        if self.env.iter().any(|(name, value)| bad_name(name) || value.contains('\0')) {
            return Err(SpecError::Character { what: "the environment" });
        }
        Ok(())
    }

    fn check_paths(&self) -> Result<(), SpecError> {
        let hosts = self.read_only.iter().map(|(host, _)| host);
        for path in hosts.chain([&self.work]).chain(&self.root) {
            if !path.is_absolute() {
                return Err(SpecError::NotAbsolute { path: path.clone() });
            }
        }
        let plain = |component| matches!(component, Component::Normal(_) | Component::CurDir);
        if !self.cwd.components().all(plain) {
            return Err(SpecError::OutsideWork { path: self.cwd.clone() });
        }
        match self.read_only.iter().find(|(_, inside)| !is_free(inside)) {
            Some((_, inside)) => Err(SpecError::Mountpoint { path: inside.clone() }),
            None => Ok(()),
        }
    }
}

impl Limits {
    fn validate(&self) -> Result<(), SpecError> {
        // 2^48: far above any machine, far below what a multiplication by the number of processors could overflow.
        let sound = |value: u64| (1..=1 << 48).contains(&value);
        let named = [
            ("wall time", self.wall.as_millis().try_into().unwrap_or(u64::MAX)),
            ("memory", self.memory),
            ("disk", self.disk),
            ("output", self.output),
            ("processes", self.processes),
        ];
        match named.into_iter().find(|(_, value)| !sound(*value)) {
            Some((what, _)) => Err(SpecError::Limit { what }),
            None => Ok(()),
        }
    }
}

impl Default for Limits {
    /// What a small build needs and any desktop of the last ten years can spare.
    fn default() -> Self {
        Self {
            wall: Duration::from_secs(3600),
            memory: 2 << 30,
            disk: 4 << 30,
            output: 16 << 20,
            processes: 256,
        }
    }
}

/// Whether a mount may go to `inside`: absolute, and not where the sandbox has things of its own.
fn is_free(inside: &Path) -> bool {
    let mut components = inside.components();
    if components.next() != Some(Component::RootDir) {
        return false;
    }
    let Some(Component::Normal(first)) = components.next() else { return false };
    let taken = ["dev", "etc", "home", "proc", "sys", "tmp", "work"];
    !taken.iter().any(|name| first == *name)
        && components.all(|component| matches!(component, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec::new(vec!["true".into()], "/srv/job".into())
    }

    #[test]
    fn a_plain_spec_is_sound_and_survives_the_wire() {
        assert_eq!(spec().validate(), Ok(()));

        let wire = serde_json::to_vec(&spec()).unwrap();

        assert_eq!(serde_json::from_slice::<Spec>(&wire).unwrap(), spec());
    }

    #[test]
    fn unsound_specs_are_refused() {
        let check = |change: fn(&mut Spec)| {
            let mut spec = spec();
            change(&mut spec);
            assert!(spec.validate().is_err(), "{spec:?}");
        };
        check(|spec| spec.command.clear());
        check(|spec| spec.command[0].clear());
        check(|spec| spec.command.push("a\0b".into()));
        check(|spec| drop(spec.env.insert("A=B".into(), String::new())));
        check(|spec| spec.work = "relative".into());
        check(|spec| spec.root = Some("relative".into()));
        check(|spec| spec.cwd = "../etc".into());
        check(|spec| spec.cwd = "/etc".into());
        check(|spec| spec.read_only.push(("/bin/sh".into(), "/proc/sh".into())));
        check(|spec| spec.read_only.push(("/bin/sh".into(), "/opt/../proc".into())));
        check(|spec| spec.read_only.push(("/bin/sh".into(), "/".into())));
        check(|spec| spec.processors = [MAX_PROCESSORS].into());
        check(|spec| spec.host_uid = 0);
        check(|spec| spec.host_uid = u32::MAX);
        check(|spec| spec.limits.memory = 0);
        check(|spec| spec.limits.disk = u64::MAX);
        check(|spec| spec.limits.wall = Duration::ZERO);
    }
}
