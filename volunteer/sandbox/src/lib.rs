//! Runs one step of a stranger's job so that it can harm nobody but itself.
//!
//! A step lives in a process of its own. The daemon hands a [`Spec`] to a [`Sandbox`], which starts the **helper**, a
//! small program beside the daemon that calls [`helper::main`] before any thread exists. The helper clones itself into new user, mount, pid, network, ipc, uts and cgroup namespaces. What comes out of that is
//! the **init** of the sandbox: it builds the file system, gives up its identity and nearly all capabilities, starts
//! the **job** (pid 2, with no capability, under Landlock and a seccomp filter) and watches over it until it ends or
//! breaks a limit. Then init kills all that is left, reports, and exits; with it the kernel removes the namespaces,
//! so neither a process nor a mount stays behind.
//!
//! Where a directory of cgroup v2 is the daemon's own, init and all that comes of it are in a control group of the step's
//! ([`Cgroups`]): it is frozen for a pause, killed in the end, and held to limits by what controllers there are.
//!
//! Death travels downwards. The helper dies with the thread that started it, init with the helper, the job with init;
//! and each of them also reads the end of a pipe from above, since a death signal is lost when credentials change.
//!
//! Three rules are never bent: a job whose user id on the host is 0 does not run; where a layer cannot be had, nothing
//! runs at all; and what comes back out, files from [`collect()`] included, is taken for hostile.
//!
//! Only Linux (5.14 or newer) has this sandbox. Elsewhere the same functions exist and answer [`Unavailable`].
//!
//! For one program of our own, which keeps its guest in by itself, there is less everywhere: a [`WalledSpec`] runs it
//! behind a second wall, of what the platform has for that.

mod affinity;
mod beneath;
mod collect;
mod disk_use;
mod give_tree;
mod mark;
mod network;
mod outcome;
mod remove_tree;
mod run;
mod self_test;
mod spec;
mod walled;

#[cfg(target_os = "linux")]
mod cgroups;
#[cfg(not(target_os = "linux"))]
#[path = "cgroups_elsewhere.rs"]
mod cgroups;

#[cfg(target_os = "linux")]
mod hostile;
#[cfg(target_os = "linux")]
mod processes;
#[cfg(target_os = "linux")]
mod sys;
#[cfg(target_os = "linux")]
mod walk;

#[cfg(target_os = "linux")]
pub mod helper;
#[cfg(not(target_os = "linux"))]
#[path = "helper_elsewhere.rs"]
pub mod helper;

pub use affinity::{processors, stay_on};
pub use beneath::open_beneath;
pub use cgroups::{Cgroups, NoCgroups};
pub use collect::{CollectCaps, CollectError, Collected, Collection, Refused, collect};
pub use disk_use::takes_more_than;
pub use give_tree::give_tree;
pub use mark::{make_mark, remove_mark};
pub use network::{
    Destination, MAX_DESTINATIONS, Network, NetworkUse, NotConnected, PROXY_PORT, Passed,
};
pub use outcome::{Ending, Outcome};
pub use remove_tree::remove_tree;
pub use run::{Handle, Helper, Observer, Running, Sandbox, StartError};
pub use self_test::{MARK, Strength, Unavailable, network_self_test, self_test, self_test_in};
pub use spec::{DEFAULT_HOST_UID, Limits, MAX_SPEC_BYTES, Spec, SpecError};
pub use walled::{Wall, Walled, WalledHandle, WalledSpec, wall_self_test};

/// Bytes that stay free on the file system of a work directory for its owner, whoever fills it: no step starts, or goes
/// on, with less.
pub const DISK_RESERVE: u64 = 256 << 20;
