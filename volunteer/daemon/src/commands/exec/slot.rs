//! A user id and processors of its own for a job that no daemon runs.
//!
//! As root each job has a user by its slot. Its processors go by the slot for everybody. The slots of `exec` begin behind those of a daemon. Which
//! of them are taken no file says, since that would outlive a process that is killed: each process
//! holds the name of its slot in the abstract namespace of sockets, which the kernel frees with it.

use mesh_shell::{Exit, Failure, Outcome, access};
use volunteer_sandbox::DEFAULT_HOST_UID;

use crate::runtimes;

/// Behind the daemon's: its jobs, and a check.
const FIRST: u32 = volunteer_core::MAX_JOBS as u32 + 1;

/// Jobs that `exec` runs at a time on one machine.
const COUNT: u32 = 256;

/// The ids from here on are nobody's.
const NOBODY: u32 = 65_534;

// Slot 0 has the id behind the probes'.
const _: () = assert!(DEFAULT_HOST_UID + 1 + FIRST + COUNT <= NOBODY);

/// A slot, for as long as this lives.
#[derive(Debug)]
pub struct Slot {
    number: u32,
    _held: Option<Held>,
}

impl Slot {
    /// One that no other process has.
    pub fn take() -> Outcome<Self> {
        let free = (FIRST..FIRST + COUNT).find_map(|number| Some((number, hold(number)?)));
        match free {
            Some((number, held)) => Ok(Self { number, _held: Some(held) }),
            // Everybody else runs jobs as himself, and shares processors if need be.
            None if !access::is_root() => Ok(Self { number: FIRST, _held: None }),
            None => Err(Failure::say(Exit::State, format!("{COUNT} jobs run by `exec` already"))
                .hint("wait until one has ended")),
        }
    }

    /// What a job with `cores` has of the machine.
    pub fn with(&self, cores: u32) -> runtimes::Slot {
        let (turn, available) = (self.number - FIRST, runtimes::Slot::available());
        runtimes::Slot::in_turn(self.number, turn, &available, cores)
    }
}

#[cfg(target_os = "linux")]
type Held = std::os::unix::net::UnixListener;

#[cfg(target_os = "linux")]
fn hold(number: u32) -> Option<Held> {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = SocketAddr::from_abstract_name(format!("talkoot-exec-{number}")).ok()?;
    UnixListener::bind_addr(&name).ok()
}

/// Elsewhere no runtime changes its user.
#[cfg(not(target_os = "linux"))]
type Held = ();

#[cfg(not(target_os = "linux"))]
fn hold(_number: u32) -> Option<Held> {
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_jobs_have_a_slot_and_none_is_one_of_a_daemon() {
        let (one, other) = (Slot::take().expect("free"), Slot::take().expect("free"));
        assert!(one.number > u32::try_from(volunteer_core::MAX_JOBS).expect("small"));
        // Elsewhere nothing depends on it.
        assert_eq!(one.number != other.number, cfg!(target_os = "linux"));
    }
}
