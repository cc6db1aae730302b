//! What a job leaves becomes blobs: large logs, and the files that its artifacts' patterns name.

use std::path::Path;

use capability::statements::{Artifact, Log, MAX_INLINE_LOG_BYTES};
use mesh_shell::chain;
use volunteer_sandbox::{CollectCaps, CollectError, Collected, Collection, Refused, collect};

use super::outgoing::Outgoing;

/// Artifacts that a result can name.
const MAX_ARTIFACTS: usize = 256;

/// Bytes of all logs together that travel inside the report: with all its steps, artifacts and padding
/// the result is at most 64 KiB.
pub const INLINE_LOGS: usize = 24 << 10;

/// Bytes of complaints about artifacts: enough to see what went wrong.
const MAX_COMPLAINTS: usize = 16 << 10;

/// What the job's patterns have found.
#[derive(Default)]
pub struct Found {
    /// Files that can be artifacts.
    pub files: Vec<Collected>,
    /// Matches that cannot be artifacts.
    pub refused: Vec<Refused>,
    /// Patterns that match nothing.
    pub unmatched: Vec<String>,
}

/// Artifacts could not be found; why, for people.
#[derive(Debug)]
pub enum BringBackError {
    /// The job left what it may not.
    Job(String),
    /// The machine could not read them.
    Machine(String),
}

/// The files below `work` that match `patterns`.
pub fn find(work: &Path, patterns: &[String], max_bytes: u64) -> Result<Found, BringBackError> {
    if patterns.is_empty() {
        return Ok(Found::default());
    }
    let caps = CollectCaps { files: MAX_ARTIFACTS, bytes_each: max_bytes, bytes_total: max_bytes };
    let collected = collect(work, patterns, caps).map_err(|error| {
        let reason = chain(&error);
        match error {
            CollectError::Read { .. } => BringBackError::Machine(reason),
            _ => BringBackError::Job(reason),
        }
    })?;
    let Collection { files, mut refused, unmatched } = collected;
    let (mut sound, mut faulty) = (Vec::new(), Vec::new());
    for file in files {
        match Artifact::path_fault(&file.path) {
            Some(reason) => faulty.push(Refused { path: file.path, reason }),
            None => sound.push(file),
        }
    }
    refused.extend(faulty);
    refused.sort_by(|one, other| one.path.cmp(&other.path));
    Ok(Found { files: sound, refused, unmatched })
}

/// Stores `files`.
pub fn artifacts(files: Vec<Collected>, outgoing: &mut Outgoing) -> Result<Vec<Artifact>, String> {
    let artifacts = files.into_iter().map(|Collected { path, file, size }| {
        let content = outgoing.add(file, size).map_err(|error| chain(&error))?;
        Ok(Artifact { path, content })
    });
    artifacts.collect()
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

/// Where `output` goes: into the report itself if it is small and the report has `room` for it,
/// which becomes less by that.
pub fn log(output: Vec<u8>, room: &mut usize, outgoing: &mut Outgoing) -> Result<Log, String> {
    if output.len() <= MAX_INLINE_LOG_BYTES.min(*room) {
        *room -= output.len();
        return Ok(Log::Inline(output));
    }
    let stored = outgoing.add(output.as_slice(), output.len() as u64);
    stored.map(Log::Blob).map_err(|error| chain(&error))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use capability::DecryptingReader;
    use capability::statements::BlobPart;
    use mesh_store::BlobStore;

    use super::super::Reins;
    use super::*;

    /// What is in `part`, for whoever has the key; and in clear it is nowhere.
    fn read(part: BlobPart, blobs: &BlobStore, outgoing: Outgoing) -> Vec<u8> {
        let (sent, key) = outgoing.into_parts();
        let name = blake3::Hash::from_bytes(*sent[part.blob as usize].hash.as_bytes());
        let mut encrypted = Vec::new();
        blobs.read(&name).expect("stored").read_to_end(&mut encrypted).expect("read");
        assert_eq!(encrypted.len() as u64, sent[part.blob as usize].size);
        let mut content = Vec::new();
        let mut reader =
            DecryptingReader::new(&encrypted[..], key, part.blob, part.size).expecting(part.hash);
        reader.read_to_end(&mut content).expect("sound");
        assert!(!encrypted.windows(content.len()).any(|window| window == content));
        content
    }

    #[test]
    fn small_logs_stay_and_large_ones_become_blobs() {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = BlobStore::open(directory.path().join("blobs"), 1 << 20).expect("a store");
        let reins = Reins::default();
        let mut outgoing = Outgoing::new(&blobs, &reins).expect("randomness");
        let mut room = MAX_INLINE_LOG_BYTES;
        let small = vec![7; MAX_INLINE_LOG_BYTES];
        assert_eq!(log(small.clone(), &mut room, &mut outgoing), Ok(Log::Inline(small)));
        assert_eq!(log(vec![], &mut room, &mut outgoing), Ok(Log::Inline(vec![])));
        let stored = log(vec![7], &mut room, &mut outgoing).expect("room in the store");
        let hash = capability::BlobHash::of(&[7]);
        assert_eq!(stored, Log::Blob(BlobPart { blob: 0, size: 1, hash }));
        let mut room = INLINE_LOGS;

        let large = vec![7; MAX_INLINE_LOG_BYTES + 1];
        let stored = log(large.clone(), &mut room, &mut outgoing).expect("room");
        let Log::Blob(part) = stored else { panic!("{stored:?}") };
        assert_eq!((part.blob, part.size), (1, large.len() as u64));
        log(vec![7; 2 << 20], &mut room, &mut outgoing).expect_err("over the quota");
        assert_eq!(outgoing.count(), 2);
        assert_eq!(read(part, &blobs, outgoing), large);
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

        let mut found = find(&work, &patterns, 1000).expect("one good file");

        let reins = Reins::default();
        let mut outgoing = Outgoing::new(&blobs, &reins).expect("randomness");
        let files = std::mem::take(&mut found.files);
        let artifacts = artifacts(files, &mut outgoing).expect("room");
        let stored: Vec<_> =
            artifacts.iter().map(|it| (it.path.as_str(), it.content.size)).collect();
        assert_eq!(stored, [("out/a.txt", 6)]);
        assert_eq!(read(artifacts[0].content, &blobs, outgoing), b"answer");
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
    fn what_was_stored_before_a_failure_is_given_up() {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = BlobStore::open(directory.path().join("blobs"), 1 << 20).expect("a store");
        let work = directory.path().join("work");
        std::fs::create_dir(&work).expect("made");
        std::fs::write(work.join("a"), "answer").expect("written");
        std::fs::write(work.join("b"), vec![7; 2 << 20]).expect("written");
        let reins = Reins::default();
        let mut outgoing = Outgoing::new(&blobs, &reins).expect("randomness");
        log(vec![7; 5000], &mut INLINE_LOGS.clone(), &mut outgoing).expect("room");

        let files = find(&work, &["*".to_owned()], 4 << 20).expect("found").files;
        artifacts(files, &mut outgoing).expect_err("full");
        assert_eq!(outgoing.count(), 2);
        let given_up = outgoing.keep(1);
        let stored = blobs.list().expect("listed");
        let is_stored = |hash: &capability::BlobHash| {
            stored.iter().any(|(name, _)| name.as_bytes() == hash.as_bytes())
        };
        assert!(given_up.len() == 1 && given_up.iter().all(is_stored));
        assert_eq!(outgoing.count(), 1);
    }
}
