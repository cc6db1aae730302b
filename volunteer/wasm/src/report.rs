//! The report that `--report` asks for.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::ending::{Ending, Finished};

/// A report to be written.
#[derive(Debug)]
pub struct Report {
    path: PathBuf,
    file: File,
}

impl Report {
    /// Creates the file at `path`, which must not exist: neither a file nor a link is followed.
    ///
    /// # Errors
    ///
    /// [`Ending::Failed`] if it cannot be created.
    pub fn create(path: &Path) -> Result<Self, Ending> {
        match File::create_new(path) {
            Ok(file) => Ok(Self { path: path.to_owned(), file }),
            Err(error) => Err(Ending::failed(format_args!(
                "cannot create the report {}: {error}",
                path.display()
            ))),
        }
    }

    /// Writes `finished` as one line of JSON.
    ///
    /// # Errors
    ///
    /// [`Ending::Failed`] if it cannot be written.
    pub fn write(mut self, finished: &Finished) -> Result<(), Ending> {
        let mut line = serde_json::to_vec(finished).expect("strings and integers only");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|error| {
            Ending::failed(format_args!("cannot write the report {}: {error}", self.path.display()))
        })
    }
}
