//! What jobs reach of the network, as the runtimes have it: who may, how fast, and what is told of it.

use capability::{Destination, Hosts, format_bytes};
use volunteer_sandbox::{Destination as Reached, Network, NetworkUse};

use crate::live::LiveTail;

/// What jobs reach of the network, as the fact `network` says it.
pub(super) const NO_NETWORK: &str = "none";

/// The fact that jobs can be connected with what they list (S99).
pub(super) const PROXY: &str = "network.proxy";

/// Whether jobs may be connected at all, and how fast.
#[derive(Debug, Clone, Copy, Default)]
pub struct JobNetwork {
    /// Whether the owner wants it.
    pub allowed: bool,
    /// Bytes a second that may come for one job; any, if absent.
    pub down: Option<u64>,
    /// Bytes a second that may go for one job.
    pub up: Option<u64>,
}

/// What a step may be connected with.
#[derive(Debug, Clone, Copy, Default)]
pub struct StepNetwork<'a> {
    /// What its job lists; none: it has no network.
    pub destinations: &'a [Destination],
    /// Bytes that may pass.
    pub bytes: u64,
}

impl JobNetwork {
    /// As the sandbox wants it; nothing for a job without destinations.
    ///
    /// # Errors
    /// Without the owner's leave.
    pub(super) fn for_step(&self, step: StepNetwork<'_>) -> Result<Option<Network>, String> {
        if step.destinations.is_empty() {
            return Ok(None);
        }
        if !self.allowed {
            return Err("jobs reach no network here, and this one lists what it reaches".to_owned());
        }
        let destinations = step.destinations.iter().map(reached).collect();
        Ok(Some(Network { destinations, bytes: step.bytes, down: self.down, up: self.up }))
    }
}

fn reached(destination: &Destination) -> Reached {
    let (host, below) = match destination.hosts() {
        Hosts::Name(name) => (name.clone(), false),
        Hosts::Below(name) => (name.clone(), true),
        Hosts::Address(address) => (address.to_string(), false),
    };
    Reached { host, below, port: destination.port() }
}

/// Adds to a step's `output`, and to its tail, what its proxy refused.
pub(super) fn tell(used: &NetworkUse, output: &mut Vec<u8>, tail: Option<&LiveTail>) {
    let words = words(used);
    if words.is_empty() {
        return;
    }
    // What the job wrote last may lack its end.
    let begin = if output.last().is_none_or(|last| *last == b'\n') { "" } else { "\n" };
    let told = format!("{begin}{words}");
    output.extend_from_slice(told.as_bytes());
    if let Some(tail) = tail {
        tail.observer()(told.as_bytes());
    }
}

/// A line for each kind of refusal; nothing without one. At most some kilobytes.
fn words(used: &NetworkUse) -> String {
    if used.refused.is_empty() {
        return String::new();
    }
    let (down, up) = (format_bytes(used.down), format_bytes(used.up));
    let connections = used.connections;
    let mut words = format!(
        "[talkoot] network: {connections} connections, {down} came, {up} went; not connected:\n"
    );
    for refused in &used.refused {
        let times =
            if refused.times > 1 { format!(" ({} times)", refused.times) } else { String::new() };
        words += &format!("[talkoot] {}: {}{times}\n", refused.destination, refused.reason);
    }
    if used.refused_beyond > 0 {
        words += &format!("[talkoot] and {} more\n", used.refused_beyond);
    }
    words
}

#[cfg(test)]
mod tests {
    use volunteer_sandbox::NotConnected;

    use super::*;

    #[test]
    fn what_was_refused_stands_below_what_the_job_wrote() {
        let refused = |destination: &str, times| NotConnected {
            destination: destination.to_owned(),
            reason: "the job does not list it".to_owned(),
            times,
        };
        let refused = vec![refused("a.example:443", 1), refused("b.example:80", 3)];
        let used = NetworkUse { connections: 2, down: 2048, up: 5, refused, refused_beyond: 7 };
        let (mut output, tail) = (b"no end of line".to_vec(), LiveTail::default());

        tell(&used, &mut output, Some(&tail));
        tell(&NetworkUse::default(), &mut output, Some(&tail));

        assert_eq!(
            String::from_utf8(output).expect("text"),
            "no end of line\n[talkoot] network: 2 connections, 2 KiB came, 5 bytes went; not connected:\n\
             [talkoot] a.example:443: the job does not list it\n\
             [talkoot] b.example:80: the job does not list it (3 times)\n[talkoot] and 7 more\n"
        );
    }

    #[test]
    fn a_job_that_lists_something_does_not_run_where_nothing_is_to_be_reached() {
        let listed = ["*.crates.io:443".parse().expect("a destination")];
        let step = |destinations| StepNetwork { destinations, bytes: 1 };
        let nothing = JobNetwork::default();
        assert_eq!(nothing.for_step(step(&[])), Ok(None));
        assert!(nothing.for_step(step(&listed)).is_err());
        let network = JobNetwork { allowed: true, ..nothing }.for_step(step(&listed));
        let destination = &network.expect("permitted").expect("a network").destinations[0];
        assert_eq!((destination.host.as_str(), destination.below), ("crates.io", true));
    }
}
