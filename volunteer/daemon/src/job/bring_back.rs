//! What a job leaves becomes blobs: large logs, and the files that its artifacts' patterns name.

use std::io::{Read, Write};
use std::path::Path;

use capability::BlobHash;
use capability::statements::{Artifact, Log, MAX_INLINE_LOG_BYTES};
use mesh_shell::chain;
use mesh_store::{BlobError, BlobStore};
use volunteer_sandbox::{CollectCaps, CollectError, Collected, Collection, Refused, collect};

/// Artifacts that a result can name.
const MAX_ARTIFACTS: usize = 256;

/// Bytes of all logs together that travel inside the result, which is at most 64 KiB with all its
/// steps and artifacts.
pub const INLINE_LOGS: usize = 24 << 10;

/// Bytes of complaints about artifacts: enough to see what went wrong.
const MAX_COMPLAINTS: usize = 16 << 10;

/// What the job's patterns have found.
#[derive(Debug, Default)]
pub struct Found {
    /// The files that are stored now.
    pub artifacts: Vec<Artifact>,
    /// Matches that cannot be artifacts.
    pub refused: Vec<Refused>,
    /// Patterns that match nothing.
    pub unmatched: Vec<String>,
}

/// Artifacts could not be brought back; why, for people.
#[derive(Debug)]
pub enum BringBackError {
    /// The job left what it may not.
    Job(String),
    /// The machine could not read or store them.
    Machine {
        /// Why.
        reason: String,
        /// What was stored before.
        stored: Vec<BlobHash>,
    },
}

/// Stores the files below `work` that match `patterns`.
pub fn artifacts(
    work: &Path,
    patterns: &[String],
    max_bytes: u64,
    blobs: &BlobStore,
) -> Result<Found, BringBackError> {
    if patterns.is_empty() {
        return Ok(Found::default());
    }
    let caps = CollectCaps { files: MAX_ARTIFACTS, bytes_each: max_bytes, bytes_total: max_bytes };
    let collected = collect(work, patterns, caps).map_err(|error| {
        let reason = chain(&error);
        match error {
            CollectError::Read { .. } | CollectError::Unavailable => {
                BringBackError::Machine { reason, stored: Vec::new() }
            }
            _ => BringBackError::Job(reason),
        }
    })?;
    let Collection { files, mut refused, unmatched } = collected;
    let mut artifacts: Vec<Artifact> = Vec::new();
    for file in files {
        let path = file.path.clone();
        if let Some(reason) = Artifact::path_fault(&path) {
            refused.push(Refused { path, reason });
            continue;
        }
        match store(file, blobs) {
            Ok((hash, size)) => artifacts.push(Artifact { path, hash, size }),
            Err(error) => {
                let stored = artifacts.into_iter().map(|it| it.hash).collect();
                return Err(BringBackError::Machine { reason: chain(&error), stored });
            }
        }
    }
    refused.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Found { artifacts, refused, unmatched })
}

/// What is to be said about `refused` and `unmatched`, a line each and at most `limit` bytes.
pub fn complaints(refused: &[Refused], unmatched: &[String], limit: u64) -> String {
    let refused = refused.iter().map(|Refused { path, reason }| format!("{path:?}: {reason}\n"));
    let unmatched = unmatched.iter().map(|pattern| format!("no file matches {pattern:?}\n"));
    let mut text: String = refused.chain(unmatched).collect();
    let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(MAX_COMPLAINTS);
    text.truncate(text.floor_char_boundary(limit));
    text
}

/// Where `output` goes: into the result itself if it is small and the result has `room` for it,
/// which becomes less by that.
pub fn log(output: Vec<u8>, room: &mut usize, blobs: &BlobStore) -> Result<Log, String> {
    if output.len() <= MAX_INLINE_LOG_BYTES.min(*room) {
        *room -= output.len();
        return Ok(Log::Inline(output));
    }
    let write = || -> Result<_, BlobError> {
        let mut writer = blobs.create(output.len() as u64)?;
        writer.append(&output)?;
        writer.finish(None)
    };
    let (hash, size) = write().map_err(|error| chain(&error))?;
    Ok(Log::Blob { hash: our(hash), size })
}

fn store(file: Collected, blobs: &BlobStore) -> Result<(BlobHash, u64), BlobError> {
    let Collected { path, file, size } = file;
    let mut writer = blobs.create(size)?;
    let mut file = file.take(size);
    std::io::copy(&mut file, &mut writer).and_then(|_| writer.flush()).map_err(|source| {
        BlobError::Io { attempt: "store the artifact", path: path.into(), source }
    })?;
    let (hash, size) = writer.finish(None)?;
    Ok((our(hash), size))
}

fn our(hash: blake3::Hash) -> BlobHash {
    BlobHash::from_bytes(*hash.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_logs_stay_and_large_ones_become_blobs() {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = BlobStore::open(directory.path().join("blobs"), 1 << 20).expect("a store");
        let mut room = MAX_INLINE_LOG_BYTES;
        let small = vec![7; MAX_INLINE_LOG_BYTES];
        assert_eq!(log(small.clone(), &mut room, &blobs), Ok(Log::Inline(small)));
        assert_eq!(log(vec![], &mut room, &blobs), Ok(Log::Inline(vec![])));
        let stored = log(vec![7], &mut room, &blobs).expect("room in the store");
        assert_eq!(stored, Log::Blob { hash: BlobHash::of(&[7]), size: 1 });
        let mut room = INLINE_LOGS;

        let large = vec![7; MAX_INLINE_LOG_BYTES + 1];
        let stored = log(large.clone(), &mut room, &blobs).expect("room");
        assert_eq!(stored, Log::Blob { hash: BlobHash::of(&large), size: large.len() as u64 });
        log(vec![7; 2 << 20], &mut room, &blobs).expect_err("over the quota");
    }

    #[test]
    fn artifacts_are_stored_beside_what_cannot_be_one() {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = BlobStore::open(directory.path().join("blobs"), 1 << 20).expect("a store");
        let work = directory.path().join("work");
        std::fs::create_dir_all(work.join("out")).expect("made");
        std::fs::write(work.join("out/a.txt"), "answer").expect("written");
        std::os::unix::fs::symlink("/etc/passwd", work.join("out/b.txt")).expect("made");
        let long = work.join("out").join("d".repeat(200)).join("e".repeat(200));
        let line = work.join("out/line\n");
        for directory in [&long, &line] {
            std::fs::create_dir_all(directory).expect("made");
            std::fs::write(directory.join("f".repeat(120)), "").expect("written");
        }
        let patterns = ["out/**".to_owned(), "absent".to_owned()];

        let found = artifacts(&work, &patterns, 1000, &blobs).expect("one good file");

        let stored: Vec<_> = found.artifacts.iter().map(|it| (it.path.as_str(), it.size)).collect();
        assert_eq!(stored, [("out/a.txt", 6)]);
        assert_eq!(found.artifacts[0].hash, BlobHash::of(b"answer"));
        let reasons: Vec<_> = found.refused.iter().map(|it| it.reason).collect();
        let expected = [
            "it is a link",
            "its path is longer than 512 bytes",
            "its path holds control characters",
        ];
        assert_eq!(reasons, expected);
        assert_eq!(found.unmatched, ["absent"]);
    }

    #[test]
    fn complaints_are_lines_that_move_no_cursor_and_have_an_end() {
        let refused = Refused { path: "out/\x1b[2J\u{202e}\n".into(), reason: "its name is bad" };
        let said = complaints(&[refused], &["no/*".into()], 1000);
        let expected =
            "\"out/\\u{1b}[2J\\u{202e}\\n\": its name is bad\nno file matches \"no/*\"\n";
        assert_eq!(said, expected);
        assert_eq!(complaints(&[], &vec!["no".into(); 10_000], u64::MAX).len(), MAX_COMPLAINTS);
        assert_eq!(complaints(&[], &["no".into()], 3), "no ");
    }

    #[test]
    fn what_was_stored_before_a_failure_is_named() {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = BlobStore::open(directory.path().join("blobs"), 1 << 20).expect("a store");
        let work = directory.path().join("work");
        std::fs::create_dir(&work).expect("made");
        std::fs::write(work.join("a"), "answer").expect("written");
        std::fs::write(work.join("b"), vec![7; 2 << 20]).expect("written");

        let error = artifacts(&work, &["*".to_owned()], 4 << 20, &blobs).expect_err("full");
        let BringBackError::Machine { stored, .. } = error else { panic!("{error:?}") };
        assert_eq!(stored, [BlobHash::of(b"answer")]);
    }
}
