//! Where there is no sandbox, the helper says so and fails.

use std::process::ExitCode;

/// Refuses: only Linux has this sandbox.
pub fn main() -> ExitCode {
    eprintln!("the sandbox helper needs Linux");
    ExitCode::FAILURE
}
