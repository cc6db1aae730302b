//! `completions`: what shells know of the command line.

use clap::CommandFactory;
use clap_complete::{Shell, generate};
use mesh_shell::Outcome;
use mesh_shell::out::put;

use crate::arguments::Arguments;

/// Prints the script of `shell`.
pub fn print(shell: Shell) -> Outcome {
    let mut script = Vec::new();
    generate(shell, &mut Arguments::command(), "talkoot-volunteer", &mut script);
    put(&String::from_utf8_lossy(&script))
}
