//! Where there is no sandbox for native jobs, the helper tries the wall around walled programs, and nothing else.

use std::process::ExitCode;

use crate::walled::attempts;

/// Tries what its arguments name; for the daemon's self-test.
pub fn main() -> ExitCode {
    attempts::main()
}
