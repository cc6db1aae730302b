//! What is told to Windows about a walled program, and what Windows tells, in plain numbers and words: all of it that
//! needs no Windows.

use std::time::Duration;

use crate::outcome::Ending;
use crate::spec::Limits;

/// The limits of a job object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JobLimits {
    /// Bytes that its processes may have committed together.
    pub memory: usize,
    /// Processor time in the mode of users, in units of 100 ns.
    pub user_time: i64,
    /// Processes at a time.
    pub processes: u32,
}

impl JobLimits {
    /// Those for `limits`. A fifth more memory than there is to be used: the watch ends what uses more, and can then
    /// tell why, while the system would have it fail in ways of its own.
    pub fn of(limits: &Limits) -> Self {
        let memory = limits.memory.saturating_add(limits.memory / 5);
        // The daemon's clock comes first; this is for one that is stuck.
        let seconds = limits.wall.as_secs().saturating_mul(2).saturating_add(10);
        Self {
            memory: usize::try_from(memory).unwrap_or(usize::MAX),
            user_time: i64::try_from(seconds.saturating_mul(UNITS_A_SECOND)).unwrap_or(i64::MAX),
            processes: 1,
        }
    }
}

const UNITS_A_SECOND: u64 = 10_000_000;

/// The processor time of a job object's accounting, whose numbers are units of 100 ns.
pub fn processor_time(user: i64, kernel: i64) -> Duration {
    let duration = |units: i64| {
        let units = u64::try_from(units).unwrap_or(0);
        Duration::from_nanos(units.saturating_mul(100))
    };
    duration(user) + duration(kernel)
}

/// What a process says of its end by its exit code: its own code, or what the system has ended it for. Where other
/// systems have signals, so do masters.
pub fn ending(code: u32) -> Ending {
    /// `ERROR_NOT_ENOUGH_QUOTA`: the job object's processor time is used up.
    const OUT_OF_TIME: u32 = 1816;
    /// `STATUS_ACCESS_VIOLATION`, `STATUS_STACK_OVERFLOW`.
    const BAD_ADDRESS: [u32; 2] = [0xC000_0005, 0xC000_00FD];
    /// From here on, codes are those of errors of the system, which no program exits with by itself.
    const ERRORS: u32 = 0xC000_0000;
    const SIGABRT: i32 = 6;
    const SIGSEGV: i32 = 11;
    match code {
        OUT_OF_TIME => Ending::TimedOut,
        code if BAD_ADDRESS.contains(&code) => Ending::Signalled { signal: SIGSEGV },
        ERRORS.. => Ending::Signalled { signal: SIGABRT },
        code => Ending::Exited { code: code.cast_signed() },
    }
}

/// A path as a process can have it for its program and its directory: without the mark of one that is taken word by
/// word, as `canonicalize` gives it, where it is on a drive.
pub fn in_plain_words(path: &str) -> &str {
    match path.strip_prefix(r"\\?\") {
        Some(rest) if rest.get(1..3) == Some(r":\") => rest,
        _ => path,
    }
}

/// One command line of a program and its arguments, which the program's own libraries take apart again.
pub fn command_line(program: &str, arguments: &[String]) -> String {
    let mut line = String::new();
    for word in std::iter::once(program).chain(arguments.iter().map(String::as_str)) {
        if !line.is_empty() {
            line.push(' ');
        }
        quote(word, &mut line);
    }
    line
}

/// In quotation marks, before which, and before whose end, each backslash counts twice.
fn quote(word: &str, line: &mut String) {
    line.push('"');
    let mut backslashes = 0;
    for char in word.chars() {
        match char {
            '\\' => backslashes += 1,
            '"' => {
                line.extend(std::iter::repeat_n('\\', backslashes + 1));
                backslashes = 0;
            }
            _ => backslashes = 0,
        }
        line.push(char);
    }
    line.extend(std::iter::repeat_n('\\', backslashes));
    line.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_object_has_a_little_more_than_what_the_watch_permits_and_no_second_process() {
        let limits =
            Limits { memory: 500 << 20, wall: Duration::from_secs(60), ..Limits::default() };
        let expected = JobLimits { memory: 600 << 20, user_time: 1_300_000_000, processes: 1 };
        assert_eq!(JobLimits::of(&limits), expected);

        let absurd = Limits { memory: u64::MAX, wall: Duration::MAX, ..Limits::default() };
        assert_eq!(JobLimits::of(&absurd).user_time, i64::MAX);
    }

    #[test]
    fn times_are_counted_in_tenths_of_microseconds() {
        assert_eq!(processor_time(25_000_000, 5_000_000), Duration::from_secs(3));
        assert_eq!(processor_time(-1, 0), Duration::ZERO);
    }

    #[test]
    fn what_ends_by_itself_is_told_from_what_the_system_ends() {
        let check = |code, expected| assert_eq!(ending(code), expected, "{code:#x}");
        check(0, Ending::Exited { code: 0 });
        check(152, Ending::Exited { code: 152 });
        check(1816, Ending::TimedOut);
        check(0xC000_0005, Ending::Signalled { signal: 11 });
        check(0xC000_0409, Ending::Signalled { signal: 6 });
    }

    #[test]
    fn a_path_on_a_drive_needs_no_mark() {
        let check = |path: &str, expected: &str| assert_eq!(in_plain_words(path), expected);
        check(r"\\?\C:\work", r"C:\work");
        check(r"C:\work", r"C:\work");
        check(r"\\?\UNC\server\share", r"\\?\UNC\server\share");
        check(r"\\?\", r"\\?\");
    }

    #[test]
    fn each_word_arrives_as_it_was() {
        let check = |words: &[&str], expected: &str| {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(
                command_line(r"C:\a b\p.exe", &words),
                format!("{}{expected}", "\"C:\\a b\\p.exe\"")
            );
        };
        check(&[], "");
        check(&["a b", ""], r#" "a b" """#);
        check(&[r"C:\dir\", r"a\b"], r#" "C:\dir\\" "a\b""#);
        check(&[r#"say "it""#, r#"\""#], r#" "say \"it\"" "\\\"""#);
        check(&["a\" --dir C:\\"], r#" "a\" --dir C:\\""#);
    }
}
