//! A discrete-event simulator that drives the cores themselves: deterministic from a seed.
//!
//! [`Scenario`] builds a world of nodes and plans its faults; the world lets one event happen after
//! the other; after each an oracle looks whether every [`Invariant`] still holds. The same seed gives
//! the same [`trace`](Outcome::trace), so that a failure can be replayed.
//!
//! What is real here: the cores, their records, the encodings of everything that travels, and the
//! checks of everything that arrives. What is modelled: clocks, disks, connections, signatures,
//! blobs and runs.
//!
//! Safety is judged while things go wrong. Then everything that was not destroyed is healed, and
//! within a bound of virtual time every task must be settled and every result receipted.

mod crypto;
mod disk;
mod engine;
mod network;
mod nodes;
mod oracle;
mod scenarios;
mod world;

pub use engine::SimTime;
pub use oracle::{Invariant, Violation};
pub use scenarios::{Outcome, Scenario};
pub use world::{Counts, Sabotage};
