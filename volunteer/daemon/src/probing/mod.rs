//! What a native job finds: the system, and the versions of tools and libraries.
//!
//! A table says what is looked for (`table`). One sandbox holds the prober (`inside`), which is this
//! program again: it finds the files, and asks those that the cache does not know as they are. What
//! the programs say is read outside (`reading`), and becomes facts (`facts`).

mod cache;
mod exchange;
mod facts;
#[cfg(unix)]
mod inside;
mod reading;
mod survey;
mod table;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use volunteer_sandbox::{Ending, Limits, Spec};

use self::cache::{Cache, Known};
use self::exchange::{REQUEST_NAME, Request};
use crate::runtimes::Isolation;

pub use self::exchange::Sought;
pub use self::survey::{Lost, Survey};
pub use self::table::{MAX_OWN, Origin, OwnTool, Row, Table};

/// The argument that makes this program the prober.
pub const PROBER: &str = "__probe";

/// Where the prober finds itself.
const INSIDE: &str = "/opt/talkoot-volunteer";

/// The time is that of a machine so busy that each tool in turn runs out of its own. The memory is
/// that of as many virtual machines as are asked at a time.
const LIMITS: Limits = Limits {
    wall: Duration::from_secs(120),
    memory: 2 << 30,
    disk: 16 << 20,
    output: 4 << 20,
    processes: 512,
};

/// Answers what the daemon asks, inside the sandbox.
#[cfg(unix)]
pub fn prober() -> ExitCode {
    inside::main()
}

/// There is no sandbox to be inside of.
#[cfg(not(unix))]
pub fn prober() -> ExitCode {
    ExitCode::FAILURE
}

/// Looks for all that its table names.
#[derive(Debug)]
pub struct Probing {
    table: Table,
    cache: Cache,
    memory: Memory,
}

/// Whether what was found last time counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// Files that have not changed are not asked again.
    Trusted,
    /// Everything is asked.
    Ignored,
}

impl Probing {
    /// Looks for what is in `table`, and keeps what it finds in `directory`.
    pub fn new(table: Table, directory: &Path, memory: Memory) -> Self {
        let cache = Cache::new(directory, table.fingerprint());
        Self { table, cache, memory }
    }

    /// Looks around in a sandbox. Blocks.
    ///
    /// # Errors
    /// Why there is no looking around, for people.
    pub fn survey(&self, isolation: &Isolation) -> Result<Survey, String> {
        let known = match self.memory {
            Memory::Trusted => self.cache.load(),
            Memory::Ignored => Known::new(),
        };
        let output = self.ask(isolation, &known)?;
        let (survey, found) = Survey::read(&self.table, &known, &output)?;
        if found != known {
            // Without it, the next time is slower.
            let _ = self
                .cache
                .save(found)
                .inspect_err(|error| tracing::debug!(%error, "what was found is not kept"));
        }
        Ok(survey)
    }

    /// The words of the prober; it may have been ended before its time.
    fn ask(&self, isolation: &Isolation, known: &Known) -> Result<String, String> {
        let work =
            tempfile::tempdir().map_err(|error| format!("no directory to probe in: {error}"))?;
        let request =
            serde_json::to_vec(&self.request(known)).map_err(|error| error.to_string())?;
        std::fs::write(work.path().join(REQUEST_NAME), request)
            .map_err(|error| format!("cannot write to {}: {error}", work.path().display()))?;
        let spec = spec(work.path())
            .map_err(|error| format!("cannot find this program or its work directory: {error}"))?;
        let (ending, output) = isolation.run(&spec)?;
        if ending != (Ending::Exited { code: 0 }) {
            tracing::warn!(?ending, "the prober was ended");
        }
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    fn request(&self, known: &Known) -> Request {
        let queries = self.table.iter().map(|(fact, row)| {
            let mut query = row.query(fact);
            query.known = known.get(fact.as_str()).map(|entry| entry.stamp.clone());
            query
        });
        Request { queries: queries.collect() }
    }
}

fn spec(work: &Path) -> io::Result<Spec> {
    let command = [INSIDE, PROBER].map(str::to_owned).to_vec();
    let mut spec = Spec::new(command, work.canonicalize()?);
    spec.read_only = vec![(std::env::current_exe()?, PathBuf::from(INSIDE))];
    spec.limits = LIMITS;
    Ok(spec)
}
