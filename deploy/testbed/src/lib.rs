//! Several hosts on one machine, for stories that need distance between processes.
//!
//! A [`Host`] is a network namespace with one address; a [`Cable`] joins two hosts, and packets take
//! the time and the losses of its [`Shape`]. Nothing is forwarded: hosts that have no cable cannot
//! reach each other. A [`Bed`] has hosts and cables, and starts the real programs there.
//!
//! Nothing of a bed outlives its process, however that ends. A namespace lives as long as a process
//! in it: the programs, and a shell whose input the bed holds, and which kills what is in the namespace
//! when that ends. `docs/adr/0023-test-bed.md` has the reasons.

mod bed;
mod cable;
mod host;
mod jobs;
mod netem;
mod oracle;
mod pipe;
mod rights;
mod story;
mod tun;

pub use bed::{Bed, Skew};
pub use cable::Cable;
pub use host::Host;
pub use jobs::Job;
pub use oracle::{Books, Oracle};
pub use pipe::{Pipe, Shape};
pub use story::PATIENCE;
