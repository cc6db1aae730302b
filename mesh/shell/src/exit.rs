//! How a program ends: one clear line, a hint, and a documented exit code.

use std::fmt;
use std::process::ExitCode;

/// Why a program ended, as its exit code tells (DESIGN.md, appendix A).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// 1: the job failed.
    JobFailed,
    /// 2: the command line is wrong.
    Usage,
    /// 3: the configuration or an input file is wrong.
    Input,
    /// 4: no network, or no peer to talk to.
    Network,
    /// 5: the state directory or the disk.
    State,
    /// 6: refused by policy.
    Policy,
    /// 70: our bug.
    Bug,
}

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::JobFailed => 1,
            Self::Usage => 2,
            Self::Input => 3,
            Self::Network => 4,
            Self::State => 5,
            Self::Policy => 6,
            Self::Bug => 70,
        }
    }
}

/// An error for the person at the terminal.
#[derive(Debug)]
pub struct Failure {
    exit: Exit,
    error: anyhow::Error,
    hint: Option<String>,
}

/// What a program's `main` works with.
pub type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// Ends with `exit` because of `error`.
    pub fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into(), hint: None }
    }

    /// Ends with `exit` and says `message`.
    pub fn say(exit: Exit, message: impl fmt::Display) -> Self {
        Self::new(exit, anyhow::anyhow!("{message}"))
    }

    /// Adds what to do about it.
    #[must_use]
    pub fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// The way the program ends.
    pub fn exit(&self) -> Exit {
        self.exit
    }
}

impl fmt::Display for Failure {
    /// The whole chain of causes in one line, then the hint in another.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#}", self.error)?;
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Failure {}

/// Gives an error an exit code, as `anyhow::Context` gives it a context.
pub trait OrExit<T> {
    /// Ends with `exit` if this is an error.
    fn or_exit(self, exit: Exit) -> Outcome<T>;
}

impl<T, E: Into<anyhow::Error>> OrExit<T> for Result<T, E> {
    fn or_exit(self, exit: Exit) -> Outcome<T> {
        self.map_err(|error| Failure::new(exit, error))
    }
}

/// Prints the failure, if any, and gives the exit code: the last line of every `main`.
pub fn finish(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.exit.code())
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn a_failure_is_one_line_of_causes_and_a_hint() {
        let cause: Result<(), _> = Err(std::io::Error::other("disk on fire"));
        let failure = cause.context("cannot open the store").or_exit(Exit::State);
        let failure = failure.expect_err("it failed").hint("put it out");
        assert_eq!(failure.to_string(), "cannot open the store: disk on fire\nhint: put it out");
        assert_eq!(failure.exit().code(), 5);
    }
}
