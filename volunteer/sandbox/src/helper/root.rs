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

use super::{Attempt, Failure};
use crate::spec::Spec;
use crate::sys;

/// The pieces of the host that the job sees, not yet in place.
#[derive(Default)]
pub struct Pieces {
    mounts: Vec<Piece>,
    /// Links at the top, such as `/bin`, and what they hold.
    links: Vec<(PathBuf, PathBuf)>,
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
    let mut pieces = Pieces::default();
    pieces.add_system(spec.toolchain)?;
    for device in DEVICES {
        let path = Path::new("/dev").join(device);
        pieces.add(&path, &path, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)?;
    }
    for (host, inside) in &spec.read_only {
        pieces.add(host, inside, READ_ONLY)?;
    }
    pieces.add(&spec.work, Path::new(WORK), MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
    Ok(pieces)
}

impl Pieces {
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
                let target = fs::read_link(path).attempt(format!("read {}", path.display()))?;
                self.links.push((path.to_owned(), target));
                Ok(())
            }
            // What a link leads to may still be missing.
            Ok(_) if path.exists() => self.add(path, path, READ_ONLY),
            Ok(_) | Err(_) => Ok(()),
        }
    }

    fn add(&mut self, host: &Path, inside: &Path, attributes: u64) -> Result<(), Failure> {
        let mount = clone_mounts(host, attributes)?;
        self.mounts.push(Piece { mount, inside: inside.to_owned() });
        Ok(())
    }
}

const READ_ONLY: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

/// Makes the root of `pieces` and leaves the host's behind. For init once it is the job's user.
///
/// `scratch` is the size of what the job may write outside its work directory.
pub fn build(pieces: &Pieces, scratch: u64) -> Result<(), Failure> {
    let proc = file_system("proc", &[])?;
    enter_new_root()?;
    place_scratch(scratch)?;
    place(&proc, Path::new("/proc"))?;
    for Piece { mount, inside } in &pieces.mounts {
        place(mount, inside)?;
    }
    for (link, target) in &pieces.links {
        symlink(target, link).attempt(format!("make the link {}", link.display()))?;
    }
    make_device_links()?;
    write_etc()?;
    mask_proc()?;
    let root = rustix::fs::open("/", PATH, Mode::empty()).attempt("open the new root")?;
    sys::restrict_mount(root.as_fd(), READ_ONLY).attempt("make the new root read only")
}

const PATH: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

fn enter_new_root() -> Result<(), Failure> {
    let root = file_system("tmpfs", &[("size", "4m"), ("nr_inodes", "4096"), ("mode", "0755")])?;
    // Any directory will do to hang it up for the moment, and this one is always there.
    attach(&root, Path::new("/proc"))?;
    rustix::process::fchdir(&root).attempt("enter the new root")?;
    rustix::process::pivot_root(".", ".").attempt("change to the new root")?;
    unmount(".", UnmountFlags::DETACH).attempt("leave the host's root behind")?;
    rustix::process::chdir("/").attempt("enter the new root")
}

/// Makes the places other than the work directory that the job can write to, all in one file system, so that they
/// share one limit.
fn place_scratch(size: u64) -> Result<(), Failure> {
    const PLACES: [(&str, u32, &str); 3] =
        [("tmp", 0o1777, "/tmp"), ("shm", 0o1777, "/dev/shm"), ("home", 0o755, HOME)];
    let size = size.to_string();
    let options = [("size", size.as_str()), ("nr_inodes", "65536"), ("mode", "0755")];
    let scratch = Path::new("/scratch");
    place_directory(&file_system("tmpfs", &options)?, scratch)?;
    for (name, mode, inside) in PLACES {
        let source = scratch.join(name);
        fs::create_dir(&source)
            .and_then(|()| fs::set_permissions(&source, fs::Permissions::from_mode(mode)))
            .attempt(format!("make {inside}"))?;
        let mount = clone_mounts(&source, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)?;
        place_directory(&mount, Path::new(inside))?;
    }
    unmount(scratch, UnmountFlags::DETACH).attempt("detach the scratch space")?;
    fs::remove_dir(scratch).attempt("remove the scratch space's mount point")
}

fn make_device_links() -> Result<(), Failure> {
    let links = [("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")];
    for (name, target) in links {
        let link = Path::new("/dev").join(name);
        symlink(format!("/proc/self/fd{target}"), &link)
            .attempt(format!("make the link {}", link.display()))?;
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
        fs::write(Path::new("/etc").join(name), text).attempt(format!("write /etc/{name}"))?;
    }
    Ok(())
}

/// Covers what of `/proc` tells about the host or could change it.
fn mask_proc() -> Result<(), Failure> {
    let proc = Path::new("/proc");
    for path in PROC_FILES.iter().map(|name| proc.join(name)).filter(|path| path.exists()) {
        attach(&clone_mounts(Path::new("/dev/null"), READ_ONLY & !MOUNT_ATTR_NODEV)?, &path)?;
    }
    for path in PROC_DIRECTORIES.iter().map(|name| proc.join(name)).filter(|path| path.exists()) {
        attach(&clone_mounts(&path, READ_ONLY | MOUNT_ATTR_NOEXEC)?, &path)?;
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
    create().attempt(format!("create a file system of kind {kind}"))
}

/// A copy of all mounts at `path`, restricted by `attributes`, not yet anywhere.
fn clone_mounts(path: &Path, attributes: u64) -> Result<OwnedFd, Failure> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let mount =
        open_tree(CWD, path, flags).attempt(format!("clone the mount of {}", path.display()))?;
    sys::restrict_mounts(mount.as_fd(), attributes)
        .attempt(format!("restrict the mount of {}", path.display()))?;
    Ok(mount)
}

/// Attaches `mount` at `inside`, which is made for it.
fn place(mount: &OwnedFd, inside: &Path) -> Result<(), Failure> {
    let what = || format!("make a place for {}", inside.display());
    let stat = rustix::fs::fstat(mount).attempt(what())?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return place_directory(mount, inside);
    }
    if let Some(parent) = inside.parent() {
        fs::create_dir_all(parent).attempt(what())?;
    }
    fs::write(inside, "").attempt(what())?;
    attach(mount, inside)
}

fn place_directory(mount: &OwnedFd, inside: &Path) -> Result<(), Failure> {
    fs::create_dir_all(inside).attempt(format!("make a place for {}", inside.display()))?;
    attach(mount, inside)
}

fn attach(mount: &OwnedFd, at: &Path) -> Result<(), Failure> {
    move_mount(mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .attempt(format!("mount {}", at.display()))
}
