//! The files of an image in place of the host's: what is at the top of its root, piece by piece.
//!
//! An image is a stranger's. Its pieces are cloned by names that were looked at and are no links, and whatever links
//! there are inside them lead nowhere but into the new root.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Something at the top of an image.
pub enum Entry {
    /// A directory or file of the image, and where the job sees it.
    Shown { host: PathBuf, inside: PathBuf },
    /// A link, and what it holds.
    Link { link: PathBuf, target: PathBuf },
}

/// What the sandbox has for itself at the top, whatever the image has there.
const OWN: &[&str] = &["dev", "proc", "sys", "tmp", "work"];

/// Holds directories of the image beside the job's own.
const HOMES: &str = "home";

/// The job's own among those.
const OWN_HOME: &str = "job";

/// Names at the top and in `/home`; usual are 20. Each costs a mount.
const MOST: usize = 256;

/// What a job sees of the image with the root `root`.
pub fn entries(root: &Path) -> io::Result<Vec<Entry>> {
    let mut found = Vec::new();
    list(root, Path::new("/"), &[OWN, &[HOMES]].concat(), &mut found)?;
    let homes = root.join(HOMES);
    if homes.symlink_metadata().is_ok_and(|meta| meta.is_dir()) {
        list(&homes, &Path::new("/").join(HOMES), &[OWN_HOME], &mut found)?;
    }
    Ok(found)
}

/// Adds what is in `directory`, which the job sees at `inside`, but for the names in `without`.
fn list(
    directory: &Path,
    inside: &Path,
    without: &[&str],
    found: &mut Vec<Entry>,
) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if without.iter().any(|own| name == *own) {
            continue;
        }
        if found.len() == MOST {
            return Err(io::Error::other(format!("over {MOST} names at the top of the image")));
        }
        let (host, inside) = (entry.path(), inside.join(&name));
        let kind = entry.file_type()?;
        if kind.is_symlink() {
            found.push(Entry::Link { link: inside, target: fs::read_link(host)? });
        } else if kind.is_dir() || kind.is_file() {
            found.push(Entry::Shown { host, inside });
        }
    }
    Ok(())
}
