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
pub const FOLDER: &str = ".talkoot";

/// Where jobs find their work directory, in each runtime.
const WORK_INSIDE: &str = "/work";

/// Names the file in which the job says how far it is.
const PROGRESS_VARIABLE: &str = "TALKOOT_PROGRESS";

/// That file, from the work directory.
pub const PROGRESS: &str = ".talkoot/progress";

/// Names the file that is the job's checkpoint.
const CHECKPOINT_VARIABLE: &str = "TALKOOT_CHECKPOINT";
/// Names a file that is there while a checkpoint is asked for.
const WANTED_VARIABLE: &str = "TALKOOT_CHECKPOINT_WANTED";
/// How often the job went on from a checkpoint.
const RESUMED_VARIABLE: &str = "TALKOOT_RESUMED";

/// The checkpoint, from the work directory.
pub const CHECKPOINT: &str = ".talkoot/checkpoint";

/// The file that asks for one, from the desk.
pub const WANTED: &str = "checkpoint-wanted";

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

/// Tells a job that keeps checkpoints where they are, and that it went on from one so often.
pub fn announce_checkpoint(environment: &mut BTreeMap<String, String>, resumed: u32) {
    environment.insert(CHECKPOINT_VARIABLE.to_owned(), inside(CHECKPOINT));
    environment.insert(WANTED_VARIABLE.to_owned(), inside(&format!("{FOLDER}/{WANTED}")));
    environment.insert(RESUMED_VARIABLE.to_owned(), resumed.to_string());
}

fn inside(path: &str) -> String {
    format!("{WORK_INSIDE}/{path}")
}

fn folder(work: &Path) -> PathBuf {
    work.join(FOLDER)
}
