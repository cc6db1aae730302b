//! How far a job is, in its own words: a line in a file, which is read when somebody wants to know.

use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mesh_shell::escape_line;
use volunteer_sandbox::open_beneath;

use super::desk;

/// Between two looks at the file, at least, however many people ask.
const INTERVAL: Duration = Duration::from_secs(1);

/// Bytes that are read, from the end: whoever adds lines instead of writing the file anew is understood too.
const MAX_READ: u64 = 1024;

/// Characters of a message; the rest of it is left out.
const MAX_MESSAGE: usize = 200;

/// What a job says of how far it is. Nobody checks whether it is so.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Said {
    /// From 0 to 1.
    pub fraction: Option<f64>,
    /// What it is doing; may be empty. Nothing in it moves a cursor.
    pub message: String,
}

/// What was heard last of a job.
#[derive(Debug, Default)]
pub struct Hearing {
    work: Option<PathBuf>,
    looked: Option<Instant>,
    said: Option<Said>,
}

impl Hearing {
    /// From now on the job in `work` can be heard.
    pub fn listen(&mut self, work: &Path) {
        *self = Self { work: Some(work.to_owned()), ..Self::default() };
    }

    /// The last that it has said, at most a second ago. A file that is just being written, or makes no sense,
    /// leaves what was there before.
    pub fn said(&mut self) -> Option<Said> {
        let work = self.work.as_ref()?;
        if self.looked.is_none_or(|looked| looked.elapsed() >= INTERVAL) {
            self.looked = Some(Instant::now());
            self.said = read(work).ok().flatten().or(self.said.take());
        }
        self.said.clone()
    }
}

fn read(work: &Path) -> io::Result<Option<Said>> {
    let mut file = open_beneath(work, Path::new(desk::PROGRESS))?;
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(MAX_READ)))?;
    let mut bytes = Vec::new();
    file.take(MAX_READ).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().map(str::trim).rfind(|line| !line.is_empty()).map(parse))
}

/// `line` is a fraction and a message, or one of them.
fn parse(line: &str) -> Said {
    let (first, rest) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let fraction = first.parse().ok().filter(|fraction| (0.0..=1.0).contains(fraction));
    let message = if fraction.is_some() { rest.trim_start() } else { line };
    let message: String = message.chars().take(MAX_MESSAGE).collect();
    Said { fraction, message: escape_line(&message) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, fraction: Option<f64>, message: &str) {
        assert_eq!(parse(line), Said { fraction, message: message.to_owned() }, "{line:?}");
    }

    #[test]
    fn a_line_is_a_fraction_and_a_message_or_one_of_them() {
        check("0.4 compiling a.c", Some(0.4), "compiling a.c");
        check("1", Some(1.0), "");
        check("linking", None, "linking");
        check("2 of 3", None, "2 of 3");
        for absurd in ["-1", "1.01", "NaN", "inf", "1e999"] {
            check(absurd, None, absurd);
        }
    }

    #[test]
    fn no_message_is_long_or_moves_a_cursor() {
        check("0 a\x1b[2Jb\u{202e}c", Some(0.0), "a\\u{1b}[2Jb\\u{202e}c");
        assert_eq!(parse(&"ä".repeat(900)).message.chars().count(), MAX_MESSAGE);
    }

    #[cfg(unix)]
    #[test]
    fn of_a_job_that_plays_tricks_nothing_is_heard() {
        let work = tempfile::tempdir().expect("a directory");
        let path = work.path().join(desk::PROGRESS);
        let heard = || read(work.path()).ok().flatten();
        desk::lay_out(work.path()).expect("made");
        let secret = work.path().join("secret");
        std::fs::write(&secret, "0.5 secret").expect("written");

        std::os::unix::fs::symlink(&secret, &path).expect("linked");
        assert_eq!(heard(), None);
        std::fs::remove_file(&path).expect("there");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &path,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RWXU,
            0,
        )
        .expect("made");
        assert_eq!(heard(), None);
        std::fs::remove_file(&path).expect("there");
        std::fs::File::create(&path).expect("made").set_len(100 << 30).expect("sparse");
        assert_eq!(heard(), Some(parse(&"\0".repeat(1024))));
    }

    #[test]
    fn what_is_being_written_leaves_what_was_said_before() {
        let work = tempfile::tempdir().expect("a directory");
        desk::lay_out(work.path()).expect("made");
        let mut hearing = Hearing::default();
        hearing.listen(work.path());
        let mut after = |text: &str| {
            std::fs::write(work.path().join(desk::PROGRESS), text).expect("written");
            hearing.looked = None;
            hearing.said()
        };
        let first = after("0.1 first\n0.2 second\n");
        assert_eq!(first, Some(parse("0.2 second")));
        assert_eq!(after(""), first);
    }
}
