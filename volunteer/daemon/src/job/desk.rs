//! The folder of the work directory in which a job and the daemon leave notes for each other.
//!
//! Files, since every language and every shell has them, and a module of WebAssembly too. Everything in it
//! is the job's to alter, so the daemon opens nothing there but regular files, behind no link, and takes
//! what they hold for the words of a stranger. It is part of the work directory and counts for its limit.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use volunteer_sandbox::remove_tree;

/// Its name in the work directory.
const FOLDER: &str = ".talkoot";

/// Where jobs find their work directory, in each runtime.
const WORK_INSIDE: &str = "/work";

/// Names the file in which the job says how far it is.
const PROGRESS_VARIABLE: &str = "TALKOOT_PROGRESS";

/// That file, from the work directory.
pub const PROGRESS: &str = ".talkoot/progress";

/// Makes an empty one in `work`, before anything of the job runs: its package may have brought another.
pub fn lay_out(work: &Path) -> io::Result<()> {
    clear(work)?;
    std::fs::create_dir(folder(work))
}

/// Removes it, once nothing of the job runs, so that nothing in it is taken for the job's work.
pub fn clear(work: &Path) -> io::Result<()> {
    let folder = folder(work);
    match std::fs::symlink_metadata(&folder) {
        Ok(found) if !found.is_dir() => std::fs::remove_file(folder),
        _ => remove_tree(&folder),
    }
}

/// Tells the job by `environment` where it is.
pub fn announce(environment: &mut BTreeMap<String, String>) {
    environment.insert(PROGRESS_VARIABLE.to_owned(), inside(PROGRESS));
}

fn inside(path: &str) -> String {
    format!("{WORK_INSIDE}/{path}")
}

fn folder(work: &Path) -> PathBuf {
    work.join(FOLDER)
}
