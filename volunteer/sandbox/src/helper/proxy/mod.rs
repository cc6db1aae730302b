//! The permitted network: a proxy outside of the sandbox, for connections of the job inside.
//!
//! The job's network namespace has a loopback interface and nothing else. Init opens a listening socket there and hands
//! it to the **proxy**, a process that the helper starts before there are namespaces and that stays in the host's
//! network. So a job reaches what the proxy connects it with, and has no other way out; names are resolved by the
//! proxy, not by the job. The port speaks HTTP (`CONNECT`, and requests for `http://…`) and SOCKS 5.
//!
//! The proxy reads what a hostile job writes, so it has nothing to lose: a user id that is not root's, no
//! capability, the job's own filter of system calls, and of the files those that resolving names takes, to read. It dies
//! with the helper, and ends when init does, whose end of the line between them tells it also when the job is paused. Where the
//! job stands still by its control group, and init with it, the kernel tells.

mod address;
mod connection;
mod freezer;
mod gate;
mod host;
mod ledger;
mod line;
mod process;
mod reach;
mod relay;
mod request;

pub use line::Line;
pub use process::start;

use crate::network::Network;
use gate::{Gate, Pace};
use ledger::Ledger;

/// What the threads of a proxy share.
struct Proxy {
    network: Network,
    gate: Gate,
    ledger: Ledger,
    down: Pace,
    up: Pace,
}
