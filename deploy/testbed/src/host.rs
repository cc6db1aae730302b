//! A host: a network namespace with one address, and a mount namespace for disks of its own.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use xtask::tools;

/// Nothing but cables leads out of the namespace, and nothing passes through. When the input ends
/// whoever held it was killed: then all that runs here is. Twice, since a program may have been about
/// to enter.
const ANCHOR: &str = r#"
    ip link set lo up && echo 0 >/proc/sys/net/ipv4/ip_forward && echo ready && cat || exit 1
    here=$(readlink /proc/$$/ns/net)
    for round in 1 2; do
        for process in /proc/[0-9]*; do
            pid=${process#/proc/}
            if [ "$pid" != $$ ] && [ "$(readlink "$process/ns/net")" = "$here" ]; then
                kill -KILL "$pid"
            fi
        done
        sleep 1
    done
"#;

/// See the module. Its namespaces are gone when it is dropped and no process is left in them.
pub struct Host {
    name: String,
    address: Ipv4Addr,
    /// Keeps the namespaces. Its input is ours, and ends with us.
    anchor: Child,
    namespace: File,
}

impl Host {
    /// A host with no cable yet.
    pub fn new(name: &str, address: Ipv4Addr) -> Result<Self> {
        let mut unshare = Command::new("unshare");
        unshare.args(["--net", "--mount", "sh", "-c", ANCHOR]);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut anchor = unshare.spawn().context("cannot run unshare (Debian: util-linux)")?;
        let mut said = String::new();
        let stdout = anchor.stdout.take().expect("stdout was piped");
        BufReader::new(stdout).read_line(&mut said).context("cannot hear the new host")?;
        if said != "ready\n" {
            bail!("no new host: {}; is `ip` there (Debian: iproute2)?", anchor.wait()?);
        }
        let namespace = File::open(format!("/proc/{}/ns/net", anchor.id()));
        let namespace = namespace.context("cannot open the network namespace")?;
        let host = Self { name: name.to_owned(), address, anchor, namespace };
        host.ip(&format!("address add {address}/32 dev lo"))?;
        Ok(host)
    }

    /// What it is called.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its only address, besides loopback.
    pub fn address(&self) -> Ipv4Addr {
        self.address
    }

    /// The process that keeps it.
    pub fn anchor(&self) -> u32 {
        self.anchor.id()
    }

    /// The command by which people enter it.
    pub fn entrance(&self) -> String {
        format!("nsenter --target {} --net --mount", self.anchor())
    }

    /// The words before those of a program that is to run in the host. The process becomes the
    /// program's own: no shell is between.
    pub fn enter(&self) -> Vec<String> {
        self.entrance().split(' ').map(str::to_owned).collect()
    }

    /// `program` in the host, without arguments.
    pub fn command(&self, program: &str) -> Command {
        let mut words = self.enter().into_iter();
        let mut command = Command::new(words.next().expect("nsenter is the first"));
        command.args(words).arg(program);
        command
    }

    /// Does something with the sockets of the host, in a thread of its own.
    pub fn inside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let inside = || {
            let namespace = self.namespace.as_fd();
            move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))
                .with_context(|| format!("cannot enter {}", self.name))?;
            Ok(work())
        };
        std::thread::scope(|scope| scope.spawn(inside).join())
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }

    /// Gives the host a disk of that size at `path`, which is empty.
    pub fn small_disk(&self, path: &Path, bytes: u64) -> Result<()> {
        let size = format!("size={bytes}");
        let mut mount = self.command("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(path);
        tools::output(&mut mount).map(drop)
    }

    /// Runs `ip` with `words`.
    pub(crate) fn ip(&self, words: &str) -> Result<()> {
        let mut ip = self.command("ip");
        tools::output(ip.args(words.split(' '))).map(drop)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // It may have been killed by somebody else; nothing is left to do then.
        let _ = self.anchor.kill();
        let _ = self.anchor.wait();
    }
}
