//! A network of real processes on one machine, for the demo and for the stories in `tests/`.

pub mod browser;
pub mod events;
pub mod network;
pub mod tools;
