//! Hostile jobs against the real sandbox. Nothing here is skipped: where the machine permits no sandbox, this fails.
//!
//! Run as root, everything is run once more as a user without privileges, from copies that such a user can read.

#![cfg(target_os = "linux")]
#![expect(clippy::unwrap_used, reason = "a failed test")]

mod containment;
mod cores;
mod groups;
mod kernel;
mod life;
mod limits;
mod network;
mod results;
mod support;
mod traces;
