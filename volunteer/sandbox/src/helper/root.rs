//! The file system that the job sees.
//!
//! First every piece of the host that it may see is cloned, with the caller's eyes and still out of place; then init
//! becomes the job's user, moves to an empty root and hangs the pieces there. Nothing of the host that is not named
//! here is ever below that root.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use libc::{MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, UnmountFlags, fsconfig_create, fsconfig_set_string, fsmount, fsopen,
    mount_change, move_mount, open_tree, unmount,
};

use super::image::{self, Entry};
use super::{Attempt, Failure};
use crate::spec::Spec;
use crate::sys;

/// The pieces of the host that the job sees, not yet in place.
#[derive(Default)]
pub struct Pieces {
    /// What nobody may write to. Restricted once all of it hangs below the new root.
    read_only: Vec<Piece>,
    /// What has restrictions of its own, which are set already.
    others: Vec<Piece>,
    /// Links at the top, such as `/bin`, and what they hold.
    links: Vec<(PathBuf, PathBuf)>,
    /// Whether `/etc` is one of them, and whole.
    has_etc: bool,
    /// Whether `/proc` tells of the machine as well, as compilers and test suites expect, and not of processes alone.
    has_machine: bool,
}

struct Piece {
    mount: OwnedFd,
    inside: PathBuf,
}

/// Where the job finds its work directory.
pub const WORK: &str = "/work";

/// The job's home directory.
pub const HOME: &str = "/home/job";

/// The name of the machine, as the job sees it.
pub const HOST_NAME: &str = "talkoot";

/// Of `/etc`, what compilers, loaders and TLS libraries read, and nothing that could hold a secret.
const ETC: &[&str] = &[
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "debian_version",
    "fonts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "lsb-release",
    "magic",
    "mime.types",
    "os-release",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "protocols",
    "redhat-release",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "timezone",
    "xattr.conf",
];

/// Where the shared libraries of a program may be.
const LIBRARIES: &[&str] = &["lib", "lib32", "lib64", "libx32"];

/// Device nodes that are as harmless for the job as for anybody.
const DEVICES: &[&str] = &["full", "null", "random", "urandom", "zero"];

/// What of `/proc` tells about the host or changes it. Files read as empty, directories are read only.
const PROC_FILES: &[&str] = &[
    "config.gz",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "sched_debug",
    "sysrq-trigger",
    "timer_list",
    "vmallocinfo",
];
const PROC_DIRECTORIES: &[&str] = &["acpi", "asound", "bus", "driver", "fs", "irq", "scsi", "sys"];

/// Clones what `spec` shows to the job. For init while it still is who the caller was.
pub fn gather(spec: &Spec) -> Result<Pieces, Failure> {
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)
        .attempt("cut the mounts off from the host's")?;
    let has_machine = spec.root.is_some() || spec.toolchain;
    let mut pieces = Pieces { has_machine, ..Pieces::default() };
    match &spec.root {
        Some(root) => pieces.add_image(root)?,
        None => pieces.add_system(spec.toolchain)?,
    }
    for (host, inside) in &spec.read_only {
        pieces.add(host, inside)?;
    }
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        pieces.add_other(&path, &path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?;
    }
    pieces.add_other(&spec.work, Path::new(WORK), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    Ok(pieces)
}

impl Pieces {
    fn add_image(&mut self, root: &Path) -> Result<(), Failure> {
        self.has_etc = true;
        for entry in image::entries(root).attempt("look into the image")? {
            match entry {
                Entry::Shown { host, inside } => self.add(&host, &inside)?,
                Entry::Link { link, target } => self.links.push((link, target)),
            }
        }
        Ok(())
    }

    fn add_system(&mut self, toolchain: bool) -> Result<(), Failure> {
        if toolchain {
            self.add_if_there(Path::new("/usr"))?;
            for name in LIBRARIES.iter().chain(&["bin", "sbin"]) {
                self.add_if_there(&Path::new("/").join(name))?;
            }
            for name in ETC {
                self.add_if_there(&Path::new("/etc").join(name))?;
            }
            return Ok(());
        }
        for name in LIBRARIES {
            self.add_if_there(&Path::new("/usr").join(name))?;
            self.add_if_there(&Path::new("/").join(name))?;
        }
        self.add_if_there(Path::new("/etc/ld.so.cache"))
    }

    /// Adds what the host has at `path`, read only, at the same place, unless there is nothing that one may see.
    fn add_if_there(&mut self, path: &Path) -> Result<(), Failure> {
        match fs::symlink_metadata(path) {
            // Such as /bin; but /etc/localtime is worth following, since its target may be outside /usr.
            Ok(meta) if meta.is_symlink() && path.parent() != Some(Path::new("/etc")) => {
                let target =
                    fs::read_link(path).attempt(format_args!("read {}", path.display()))?;
                self.links.push((path.to_owned(), target));
                Ok(())
            }
            // What a link leads to may still be missing.
            Ok(meta) if !meta.is_symlink() || path.exists() => self.add(path, path),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn add(&mut self, host: &Path, inside: &Path) -> Result<(), Failure> {
        let mount = clone_mounts(host)?;
        self.read_only.push(Piece { mount, inside: inside.to_owned() });
        Ok(())
    }

    fn add_other(&mut self, host: &Path, inside: &Path, attributes: u64) -> Result<(), Failure> {
        let mount = clone_restricted(host, attributes)?;
        self.others.push(Piece { mount, inside: inside.to_owned() });
        Ok(())
    }
}

const READ_ONLY: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

/// Makes the root of `pieces` and leaves the host's behind. For init once it is the job's user.
///
/// `scratch` is the size of what the job may write outside its work directory.
pub fn build(pieces: Pieces, scratch: u64) -> Result<(), Failure> {
    let Pieces { read_only, mut others, links, has_etc, has_machine } = pieces;
    let of_processes = [("subset", "pid")];
    let proc = file_system("proc", if has_machine { &[] } else { &of_processes })?;
    enter_new_root(scratch)?;
    others.extend(make_scratch()?);
    others.push(Piece { mount: proc, inside: "/proc".into() });
    // All of it before any piece of the host is there, so that nothing of that is written to.
    for Piece { mount, inside } in read_only.iter().chain(&others) {
        make_place(mount, inside)?;
    }
    for (link, target) in &links {
        symlink(target, link).attempt(format_args!("make the link {}", link.display()))?;
    }
    make_device_links()?;
    if !has_etc {
        write_etc()?;
    }
    for Piece { mount, inside } in &read_only {
        attach(mount, inside)?;
    }
    let root = rustix::fs::open("/", PATH, Mode::empty()).attempt("open the new root")?;
    sys::restrict_mounts(root.as_fd(), READ_ONLY).attempt("make the new root read only")?;
    for Piece { mount, inside } in &others {
        attach(mount, inside)?;
    }
    if has_machine { mask_proc() } else { Ok(()) }
}

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// The new root has room for `scratch` bytes: of [`SCRATCH`], since nothing else of it can be written to in the end.
fn enter_new_root(scratch: u64) -> Result<(), Failure> {
    let size = (scratch + OWN_FILES).to_string();
    let options = [("size", size.as_str()), ("nr_inodes", "65536"), ("mode", "0755")];
    let root = file_system("tmpfs", &options)?;
    // Any directory will do to hang it up for the moment, and this one is always there.
    attach(&root, Path::new("/proc"))?;
    rustix::process::fchdir(&root).attempt("enter the new root")?;
    rustix::process::pivot_root(".", ".").attempt("change to the new root")?;
    unmount(".", UnmountFlags::DETACH).attempt("leave the host's root behind")?;
    rustix::process::chdir("/").attempt("enter the new root")
}

/// What the sandbox itself has in its root: some short files.
const OWN_FILES: u64 = 64 << 10;

/// The places other than the work directory that the job can write to, and their modes. All are in one file system, so
/// that they share one limit.
const SCRATCH: [(&str, u32); 3] = [("/tmp", 0o1777), ("/dev/shm", 0o1777), (HOME, 0o755)];

/// Makes them in the new root, which is writable still, and gives mounts of them that stay so.
fn make_scratch() -> Result<Vec<Piece>, Failure> {
    let make = |(place, mode): (&str, u32)| {
        fs::create_dir_all(place)
            .and_then(|()| fs::set_permissions(place, fs::Permissions::from_mode(mode)))
            .attempt(format_args!("make {place}"))?;
        Ok(Piece { mount: clone_mounts(Path::new(place))?, inside: place.into() })
    };
    SCRATCH.into_iter().map(make).collect()
}

fn make_device_links() -> Result<(), Failure> {
    let links = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, target) in links {
        let link = Path::new("/dev").join(name);
        symlink(format!("/proc/self/fd{target}"), &link)
            .attempt(format_args!("make the link {}", link.display()))?;
    }
    Ok(())
}

fn write_etc() -> Result<(), Failure> {
    let id = super::identity::INSIDE;
    let passwd = format!(
        "root:x:0:0:root:/:/bin/false\njob:x:{id}:{id}:job:{HOME}:/bin/sh\n\
         nobody:x:65534:65534:nobody:/:/bin/false\n"
    );
    let files = [
        ("group", format!("root:x:0:\njob:x:{id}:\nnogroup:x:65534:\n")),
        ("hostname", format!("{HOST_NAME}\n")),
        ("hosts", format!("127.0.0.1 localhost {HOST_NAME}\n::1 localhost\n")),
        ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n".to_owned()),
        ("passwd", passwd),
        ("resolv.conf", String::new()),
    ];
    fs::create_dir_all("/etc").attempt("make /etc")?;
    for (name, text) in files {
        fs::write(Path::new("/etc").join(name), text).attempt(format_args!("write /etc/{name}"))?;
    }
    Ok(())
}

/// Covers what of `/proc` tells about the host or could change it.
fn mask_proc() -> Result<(), Failure> {
    let proc = Path::new("/proc");
    for path in PROC_FILES.iter().map(|name| proc.join(name)).filter(|path| path.exists()) {
        // The sandbox's own, and restricted as that is.
        attach(&clone_mounts(Path::new("/dev/null"))?, &path)?;
    }
    for path in PROC_DIRECTORIES.iter().map(|name| proc.join(name)).filter(|path| path.exists()) {
        attach(&clone_restricted(&path, READ_ONLY | MOUNT_ATTR_NOEXEC)?, &path)?;
    }
    Ok(())
}

/// A new file system of the given kind, not yet anywhere.
fn file_system(kind: &str, options: &[(&str, &str)]) -> Result<OwnedFd, Failure> {
    let create = || {
        let context = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            fsconfig_set_string(&context, *key, *value)?;
        }
        fsconfig_create(&context)?;
        let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    };
    create().attempt(format_args!("create a file system of kind {kind}"))
}

/// A copy of all mounts at `path`, restricted by `attributes`, not yet anywhere.
fn clone_restricted(path: &Path, attributes: u64) -> Result<OwnedFd, Failure> {
    let mount = clone_mounts(path)?;
    sys::restrict_mounts(mount.as_fd(), attributes)
        .attempt(format_args!("restrict the mount of {}", path.display()))?;
    Ok(mount)
}

/// A copy of all mounts at `path` with the attributes that they have, not yet anywhere.
fn clone_mounts(path: &Path) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, path, flags).attempt(format_args!("clone the mount of {}", path.display()))
}

/// Makes at `inside` what `mount` can be attached to.
fn make_place(mount: &OwnedFd, inside: &Path) -> Result<(), Failure> {
    let make = || {
        let stat = rustix::fs::fstat(mount)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return fs::create_dir_all(inside);
        }
        fs::write(inside, "").or_else(|_| {
            fs::create_dir_all(inside.parent().unwrap_or(Path::new("/")))?;
            fs::write(inside, "")
        })
    };
    make().attempt(format_args!("make a place for {}", inside.display()))
}

fn attach(mount: &OwnedFd, at: &Path) -> Result<(), Failure> {
    move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .attempt(format_args!("mount {}", at.display()))
}
