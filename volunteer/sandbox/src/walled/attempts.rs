//! What a program tries that wants out of the wall around it, for the self-test: the helper, where it has no other part.

use std::env;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The argument with which the helper tries, before the folder and the port of the bait.
#[cfg(not(target_os = "linux"))]
pub const TRY: &str = "--try-the-wall";

/// The argument with which it does nothing, for whoever could start it.
pub const NOTHING: &str = "--do-nothing";

/// The file in the bait's folder that is to be read.
pub const CANARY: &str = "canary";

/// What was within reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Writing a file in the work directory and reading it, which must be.
    pub own_folder: bool,
    /// Reading a file of the owner's.
    pub reading: bool,
    /// Making a file in a folder of the owner's.
    pub writing: bool,
    /// Being connected with a service of this machine.
    pub network: bool,
    /// Starting a program.
    pub starting: bool,
}

/// Does as the arguments say, and tells what was within reach as JSON.
#[cfg(not(target_os = "linux"))]
pub fn main() -> std::process::ExitCode {
    use std::io::Write;
    use std::process::ExitCode;
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        [NOTHING] => ExitCode::SUCCESS,
        [TRY, bait, port] => {
            let reached =
                Reached::out_of(Path::new("."), Path::new(bait), port.parse().unwrap_or_default());
            let told = serde_json::to_string(&reached).expect("truth values only");
            match std::io::stdout().write_all(told.as_bytes()) {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE,
            }
        }
        _ => {
            eprintln!(
                "the sandbox for native jobs needs Linux; here this is for the daemon's self-test alone"
            );
            ExitCode::FAILURE
        }
    }
}

impl Reached {
    /// Tries all of it, with the work directory `own`.
    pub fn out_of(own: &Path, bait: &Path, port: u16) -> Self {
        let own = own.join("own");
        Self {
            own_folder: fs::write(&own, "its own").is_ok() && fs::read(&own).is_ok(),
            reading: fs::read(bait.join(CANARY)).is_ok(),
            writing: fs::write(bait.join("egg"), "a cuckoo's").is_ok(),
            network: connects(port),
            starting: starts_another(),
        }
    }
}

fn connects(port: u16) -> bool {
    TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), Duration::from_secs(5)).is_ok()
}

/// Whether this very program can be started once more; another might not be there.
fn starts_another() -> bool {
    let Ok(this) = env::current_exe() else { return false };
    let mut command = Command::new(this);
    command.arg(NOTHING).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_wall_all_of_the_bait_is_within_reach() {
        let (own, bait) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(bait.path().join(CANARY), "for the owner").unwrap();
        let service = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = service.local_addr().unwrap().port();

        let reached = Reached::out_of(own.path(), bait.path(), port);

        assert!(
            reached.own_folder && reached.reading && reached.writing && reached.network,
            "{reached:?}"
        );
        drop(service);
        let absent = own.path().join("absent");
        let reached = Reached::out_of(&absent, &absent, port);
        let Reached { own_folder, reading, writing, network, .. } = reached;
        assert!(![own_folder, reading, writing, network].contains(&true), "{reached:?}");
    }
}
