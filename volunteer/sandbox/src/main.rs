//! `talkoot-sandbox-helper`: what `talkoot-volunteer` starts for each step of a job; all of it is in the library.
//!
//! A program of its own, since it is loaded anew for each step: the daemon is thirty times as large.

use std::process::ExitCode;

fn main() -> ExitCode {
    volunteer_sandbox::helper::main()
}
