//! Who the job is: a user that means nothing on the host, or the caller; never the host's root.

use std::fs;
use std::io;
use std::path::Path;

use rustix::process::{Gid, Pid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::{Attempt, Channels, Failure};
use crate::give_tree;
use crate::spec::Spec;

/// The user and group id of the job as it sees itself.
pub const INSIDE: u32 = 1000;

/// The ids of the job as the host sees them.
#[derive(Debug, Clone, Copy)]
pub struct Identity {
    uid: Uid,
    gid: Gid,
    /// Whether the job's user is another than the helper's.
    assumed: bool,
}

impl Identity {
    /// The caller, or, if that is root, the user that `spec` names.
    pub fn of_job(spec: &Spec) -> Self {
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        if uid.is_root() {
            let (uid, gid) = (Uid::from_raw(spec.host_uid), Gid::from_raw(spec.host_uid));
            return Self { uid, gid, assumed: true };
        }
        Self { uid, gid, assumed: false }
    }

    /// Gives the work directory to the job, and drops groups that would follow it into the sandbox.
    pub fn prepare(&self, spec: &Spec) -> Result<(), Failure> {
        if !self.assumed {
            return Ok(());
        }
        rustix::thread::set_thread_groups(&[]).attempt("drop supplementary groups")?;
        give_tree(&spec.work, self.uid.as_raw())
            .attempt("give the work directory to the job's user")
    }

    /// Lets the job open its own output again, as scripts do that write to `/dev/stderr`.
    pub fn own_output(&self, channels: &Channels) -> Result<(), Failure> {
        if !self.assumed {
            return Ok(());
        }
        rustix::fs::fchown(&channels.output, Some(self.uid), Some(self.gid))
            .attempt("give the output to the job's user")
    }

    /// Becomes the job's user, for a process that stays on the host.
    pub fn assume_outside(&self) -> Result<(), Failure> {
        if !self.assumed {
            return Ok(());
        }
        let Self { uid, gid, .. } = *self;
        rustix::thread::set_thread_res_gid(gid, gid, gid).attempt("become the job's group")?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).attempt("become the job's user")
    }

    /// Makes [`INSIDE`] of `init`'s namespace mean this identity, and every other id nobody.
    pub fn map_into(&self, init: Pid) -> Result<(), Failure> {
        let process = Path::new("/proc").join(init.as_raw_nonzero().to_string());
        let write = |file: &str, text: String| {
            fs::write(process.join(file), text)
                .attempt(format_args!("write {file} of the namespace"))
        };
        write("setgroups", "deny".to_owned())?;
        write("uid_map", format!("{INSIDE} {} 1", self.uid.as_raw()))?;
        write("gid_map", format!("{INSIDE} {} 1", self.gid.as_raw()))
    }
}

/// Becomes [`INSIDE`], for init, but keeps all capabilities over its namespaces.
pub fn assume_inside() -> Result<(), Failure> {
    let (uid, gid) = (Uid::from_raw(INSIDE), Gid::from_raw(INSIDE));
    rustix::thread::set_keep_capabilities(true).attempt("keep capabilities over the namespaces")?;
    rustix::thread::set_thread_res_gid(gid, gid, gid).attempt("become the job's group")?;
    rustix::thread::set_thread_res_uid(uid, uid, uid).attempt("become the job's user")?;
    rustix::thread::set_keep_capabilities(false).attempt("let capabilities go again")?;
    let all = rustix::thread::capabilities(None).attempt("read the capabilities")?.permitted;
    set_capabilities(all).attempt("use the capabilities over the namespaces")
}

/// Keeps what watching over the job takes, and makes sure that no program started from here ever has more than its
/// user. For init.
///
/// Reading any directory finds what a job hides behind a mode of 000, and seeing into any process finds the memory
/// of one that has declared itself undumpable.
pub fn keep_watching_capabilities() -> Result<(), Failure> {
    for number in 0..=MAX_CAPABILITY {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        // A kernel knows fewer than there are bits, and refuses the others.
        if rustix::thread::remove_capability_from_bounding_set(capability).is_err() {
            break;
        }
    }
    rustix::thread::clear_ambient_capability_set().attempt("clear ambient capabilities")?;
    rustix::thread::set_no_new_privs(true).attempt("forbid new privileges")?;
    set_capabilities(CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_PTRACE)
        .attempt("drop capabilities")?;
    // The kernel forgets the death signal whenever credentials change.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .attempt("tie init to the helper")
}

/// Gives up all capabilities. For the job, and for the helper once init runs.
pub fn give_up_capabilities() -> Result<(), Failure> {
    set_capabilities(CapabilitySet::empty()).attempt("drop all capabilities")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .attempt("tie the process to its parent")
}

/// The highest number that the kernel's format has room for.
const MAX_CAPABILITY: u32 = 63;

fn set_capabilities(set: CapabilitySet) -> io::Result<()> {
    let inheritable = CapabilitySet::empty();
    let sets = CapabilitySets { effective: set, permitted: set, inheritable };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}
