//! What a curator does: writes down projects, and signs that.

use std::path::Path;
use std::time::Duration;

use capability::statements::{List, ListedProject};
use capability::{MAX_STATEMENT_BYTES, Payload, ProjectUri, Timestamp, Verified};
use mesh_shell::{
    Exit, Failure, Followed, Outcome, key_file, outln, read_text, statement_text, write_whole,
};
use serde::Deserialize;

use super::wrong;

/// Bytes of a file at most: what a statement has room for is written in fewer.
const MAX_FILE: usize = 4 * MAX_STATEMENT_BYTES;

/// What the curator writes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    #[serde(default, rename = "project")]
    projects: Vec<WrittenProject>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenProject {
    uri: String,
    name: String,
    #[serde(default)]
    keywords: Vec<String>,
}

/// Signs the list that is written in `file` with the key in the file `key`.
pub fn sign(file: &Path, key: &Path, lifetime: Duration, output: &Path, now: Timestamp) -> Outcome {
    let text = read_text(file, "the list", MAX_FILE)?;
    let shown = file.display();
    let written: Written = toml::from_str(&text).map_err(|error| {
        wrong(format!("{shown}: {}", error.message()), "docs/operating/volunteer.md shows one")
    })?;
    if lifetime > List::MAX_LIFETIME {
        return Err(wrong("the list would hold too long", "366d is the longest"));
    }
    let projects = written.projects.into_iter().map(WrittenProject::listed);
    let projects = projects.collect::<Outcome<Vec<_>>>()?;
    let key = key_file::load(key)?;
    // The time of the issue is later than that of any list before (S22).
    let list = List { name: written.name, seq: now.0, projects, expires: now + lifetime };
    let signed = Verified::try_sign(list, &key).map_err(|error| {
        let hint =
            "name at most 256 different projects, with at most 4 brokers and 8 keywords each";
        wrong(error.to_string(), hint)
    })?;
    let about = List::describe(&signed);
    write_whole(output, statement_text(&about, signed.envelope()).as_bytes(), 0o644)?;
    outln!("{about}");
    Ok(())
}

impl WrittenProject {
    fn listed(self) -> Outcome<ListedProject> {
        let Self { uri, name, keywords } = self;
        let ProjectUri { project, brokers } = uri.parse().map_err(|error| {
            Failure::say(Exit::Input, format!("{uri}: {error}"))
                .hint("`uri` is what the project publishes: talkoot:<key>?broker=<address>")
        })?;
        Ok(ListedProject { key: project, name, brokers, keywords })
    }
}
