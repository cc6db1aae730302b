//! What a test program says in TAP, the Test Anything Protocol (versions 13 and 14, in part).
//!
//! Read are versions, plans, test points with their directives, and `Bail out!`. Subtests and
//! diagnostics, which are indented, and every line that is not TAP are passed over, since test
//! programs and what they call write to one log. The log comes from a stranger's machine, so that
//! what is kept of it is small and can be shown on a terminal.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

use crate::facts::validated_on_decoding;

/// Failures that are kept by name.
pub const MAX_FAILURES: usize = 100;
/// Length of what is kept of a failure, in characters.
pub const MAX_FAILURE: usize = 200;
/// How much of a line is looked at, in bytes.
const MAX_LINE: usize = 4 << 10;

/// A summary of the test points of one log.
///
/// Decoding checks the limits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", remote = "Self")]
pub struct TapReport {
    /// Tests that passed.
    pub passed: u32,
    /// Tests that failed, and one more for each thing that is wrong with the run as a whole: no
    /// plan, two plans, another number of tests than planned, or bailing out.
    pub failed: u32,
    /// Tests that were skipped.
    pub skipped: u32,
    /// Tests that are known to fail, whether they did or not.
    pub todo: u32,
    /// How many tests were planned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub planned: Option<u32>,
    /// The first [`MAX_FAILURES`] failures, each of at most [`MAX_FAILURE`] characters and without
    /// control characters.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<String>,
}
validated_on_decoding!(TapReport);

/// A report from elsewhere keeps more than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TapReportError {
    /// There are more than [`MAX_FAILURES`].
    #[error("{0} failures are named, at most {MAX_FAILURES} are allowed")]
    TooManyFailures(usize),
    /// A failure is longer than [`MAX_FAILURE`] or has control characters.
    #[error("a failure is over {MAX_FAILURE} characters or has control characters")]
    Failure,
}

impl TapReport {
    /// Whether nothing failed.
    pub fn is_success(&self) -> bool {
        self.failed == 0
    }

    /// Checks the limits of a report from elsewhere.
    ///
    /// # Errors
    /// Says which limit is broken.
    pub fn validate(&self) -> Result<(), TapReportError> {
        if self.failures.len() > MAX_FAILURES {
            return Err(TapReportError::TooManyFailures(self.failures.len()));
        }
        let sound = |failure: &String| {
            failure.chars().count() <= MAX_FAILURE && !failure.contains(char::is_control)
        };
        if self.failures.iter().all(sound) { Ok(()) } else { Err(TapReportError::Failure) }
    }
}

/// Sums up the TAP in `log`; `None` if there is none.
///
/// ```
/// use capability::tap;
///
/// let report = tap::parse(b"1..2\nok 1 - adds\nnot ok 2 - divides\n").expect("TAP");
/// assert_eq!((report.passed, report.failed), (1, 1));
/// assert_eq!(report.failures, ["2 - divides"]);
/// assert_eq!(tap::parse(b"make: nothing to be done\n"), None);
/// ```
pub fn parse(log: &[u8]) -> Option<TapReport> {
    let mut run = Run::default();
    for line in log.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(&line[..line.len().min(MAX_LINE)]);
        if let Some(line) = Line::parse(line.trim_end()) {
            run.add(&line);
        }
    }
    run.finish()
}

/// One line of TAP.
enum Line<'t> {
    Version,
    Plan(u32),
    Test { passed: bool, description: &'t str, directive: Option<Directive> },
    BailOut(&'t str),
}

#[derive(Clone, Copy)]
enum Directive {
    Skip,
    Todo,
}

impl<'t> Line<'t> {
    /// Reads a line; `None` is what is not TAP, or inside a subtest.
    fn parse(line: &'t str) -> Option<Self> {
        if let Some(number) = line.strip_prefix("TAP version ") {
            return number.trim().parse::<u32>().is_ok().then_some(Self::Version);
        }
        if let Some(plan) = line.strip_prefix("1..") {
            let number = plan.split_once('#').map_or(plan, |(number, _)| number);
            return number.trim().parse().ok().map(Self::Plan);
        }
        if let Some(reason) = line.strip_prefix("Bail out!") {
            return Some(Self::BailOut(reason.trim()));
        }
        let (passed, rest) = match line.strip_prefix("not ok") {
            Some(rest) => (false, rest),
            None => (true, line.strip_prefix("ok")?),
        };
        if !rest.is_empty() && !rest.starts_with([' ', '\t']) {
            return None;
        }
        let (description, directive) = split_directive(rest.trim());
        Some(Self::Test { passed, description, directive })
    }
}

/// Separates a description from its `# TODO` or `# SKIP`; other hashes belong to it.
fn split_directive(text: &str) -> (&str, Option<Directive>) {
    for (at, _) in text.match_indices('#') {
        let escapes = text[..at].bytes().rev().take_while(|byte| *byte == b'\\').count();
        if escapes % 2 == 1 {
            continue;
        }
        let word = text[at + 1..].trim_start().as_bytes();
        let directive = match word.get(..4) {
            Some(word) if word.eq_ignore_ascii_case(b"skip") => Directive::Skip,
            Some(word) if word.eq_ignore_ascii_case(b"todo") => Directive::Todo,
            _ => continue,
        };
        return (text[..at].trim_end(), Some(directive));
    }
    (text, None)
}

#[derive(Default)]
struct Run {
    report: TapReport,
    tests: u32,
    is_tap: bool,
    bailed_out: bool,
}

impl Run {
    fn add(&mut self, line: &Line) {
        self.is_tap = true;
        match *line {
            Line::Version => {}
            Line::Plan(_) if self.report.planned.is_some() => self.fail("a second plan"),
            Line::Plan(tests) => self.report.planned = Some(tests),
            Line::BailOut(reason) => {
                self.bailed_out = true;
                self.fail(format!("Bail out! {reason}").trim_end());
            }
            Line::Test { passed, description, directive } => {
                count(&mut self.tests);
                match (directive, passed) {
                    (Some(Directive::Skip), _) => count(&mut self.report.skipped),
                    (Some(Directive::Todo), _) => count(&mut self.report.todo),
                    (None, true) => count(&mut self.report.passed),
                    (None, false) if description.is_empty() => {
                        self.fail(&format!("test {}", self.tests));
                    }
                    (None, false) => self.fail(description),
                }
            }
        }
    }

    fn finish(mut self) -> Option<TapReport> {
        let tests = self.tests;
        match self.report.planned {
            // A run that bailed out has failed already, and could not know how far it would get.
            _ if self.bailed_out => {}
            None if self.is_tap => self.fail("no plan"),
            Some(planned) if planned != tests => {
                self.fail(&format!("{planned} tests were planned, {tests} were run"));
            }
            _ => {}
        }
        self.is_tap.then_some(self.report)
    }

    fn fail(&mut self, what: &str) {
        count(&mut self.report.failed);
        if self.report.failures.len() < MAX_FAILURES {
            self.report.failures.push(printable(what));
        }
    }
}

fn count(number: &mut u32) {
    number.add_assign(u32::from(*number < u32::MAX));
}

/// The beginning of `text` with control characters as escapes.
fn printable(text: &str) -> String {
    let mut kept = String::new();
    let mut length = 0;
    for character in text.chars() {
        let escape = character.escape_default();
        let width = if character.is_control() { escape.len() } else { 1 };
        if length + width > MAX_FAILURE {
            break;
        }
        length += width;
        if character.is_control() { kept.extend(escape) } else { kept.push(character) }
    }
    kept
}
