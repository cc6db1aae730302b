//! The daemon at a broker that is played by the test, over TCP.
#![expect(clippy::unwrap_used, reason = "tests")]

mod carried;
mod checkpoints;
mod checks;
mod fuel;
mod jobs;
mod support;
mod watching;
