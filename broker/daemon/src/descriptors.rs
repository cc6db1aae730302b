//! File descriptors: a connection takes one, and many systems start a process with 1,024.

use rustix::process::{Resource, getrlimit, setrlimit};

/// What is not a connection: the store, blobs on their way, the status page.
const OTHERS: u64 = 512;

/// Raises the limit of this process so that it can have `connections`; returns how many it can have.
pub fn make_room(connections: u32) -> u32 {
    let wanted = u64::from(connections) + OTHERS;
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= wanted) {
        return connections;
    }
    limit.current = Some(limit.maximum.map_or(wanted, |most| wanted.min(most)));
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of file descriptors cannot be raised");
    }
    let current = getrlimit(Resource::Nofile).current.unwrap_or(wanted);
    let room = current.saturating_sub(OTHERS).max(current / 2);
    let room = u32::try_from(room).unwrap_or(connections).min(connections);
    if room < connections {
        let hint = "raise it: LimitNOFILE in the systemd unit, or `ulimit -Hn`";
        tracing::warn!(connections, room, hint, "the limit of file descriptors is in the way");
    }
    room
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_made_within_what_the_system_allows() {
        let most = getrlimit(Resource::Nofile).maximum;
        assert!(make_room(64) == 64);
        let room = make_room(u32::MAX);
        assert!(most.is_none_or(|most| u64::from(room) <= most), "{room} of {most:?}");
    }
}
