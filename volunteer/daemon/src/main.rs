//! `talkoot-volunteer`; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    talkoot_volunteer::main(talkoot_volunteer::Equipment::SHIPPED)
}
