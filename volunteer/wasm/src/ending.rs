//! How a run ended, and how the parent is told.

use std::fmt::Display;

use serde::Serialize;

/// The module cannot be run: not a core module, too large, wants what is not there.
pub const REFUSED: u8 = 126;
/// The runner could not do its part.
pub const FAILED: u8 = 127;
/// The guest trapped; as a shell reports SIGABRT.
pub const TRAPPED: u8 = 134;
/// The guest used up its fuel; as a shell reports SIGXCPU.
pub const OUT_OF_FUEL: u8 = 152;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "ending", rename_all = "kebab-case")]
pub enum Ending {
    /// The guest returned from `_start` or exited.
    Exited {
        /// At most 125, which WASI guarantees.
        code: u8,
    },
    /// The guest was stopped by the engine.
    Trapped {
        /// One line.
        reason: String,
    },
    /// The guest used up its fuel.
    OutOfFuel,
    /// No instruction of the guest ran: the fault is the module's.
    Refused {
        /// One line.
        reason: String,
    },
    /// The fault is this machine's or the caller's.
    Failed {
        /// One line.
        reason: String,
    },
}

/// The end of a run, with what it cost.
#[derive(Debug, Serialize)]
pub struct Finished {
    /// How the run ended.
    #[serde(flatten)]
    pub ending: Ending,
    /// Equal on every machine for equal inputs; absent if fuel was not limited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fuel_used: Option<u64>,
}

impl Ending {
    /// The guest was stopped because of `reason`.
    pub fn trapped(reason: impl Display) -> Self {
        Self::Trapped { reason: one_line(&reason.to_string()) }
    }

    /// The module is not run because of `reason`.
    pub fn refused(reason: impl Display) -> Self {
        Self::Refused { reason: one_line(&reason.to_string()) }
    }

    /// The runner gives up because of `reason`.
    pub fn failed(reason: impl Display) -> Self {
        Self::Failed { reason: one_line(&reason.to_string()) }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Exited { code } => *code,
            Self::Trapped { .. } => TRAPPED,
            Self::OutOfFuel => OUT_OF_FUEL,
            Self::Refused { .. } => REFUSED,
            Self::Failed { .. } => FAILED,
        }
    }

    /// The line for standard error; none if the guest ended by itself.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Exited { .. } => None,
            Self::Trapped { reason } => Some(format!("trapped: {reason}")),
            Self::OutOfFuel => Some("out of fuel".to_owned()),
            Self::Refused { reason } => Some(format!("refused: {reason}")),
            Self::Failed { reason } => Some(format!("failed: {reason}")),
        }
    }
}

impl From<Ending> for Finished {
    fn from(ending: Ending) -> Self {
        Self { ending, fuel_used: None }
    }
}

/// Reasons quote names from the module, whose author could otherwise write lines of their own or
/// send control sequences to a terminal.
fn one_line(text: &str) -> String {
    /// A reason is read by people, in a list.
    const CHARS: usize = 400;
    text.chars().take(CHARS).map(|char| if char.is_control() { ' ' } else { char }).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a failed test")]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_short_line() {
        let Ending::Refused { reason } = Ending::refused("a\nb\x1b[2J".repeat(1000)) else {
            panic!("made by `refused`");
        };

        assert!(reason.starts_with("a b [2J"));
        assert_eq!(reason.chars().count(), 400);
        assert!(!reason.contains(char::is_control));
    }

    #[test]
    fn the_report_is_flat() {
        let finished = Finished { ending: Ending::Exited { code: 3 }, fuel_used: Some(9) };

        let json = serde_json::to_string(&finished).unwrap();

        assert_eq!(json, r#"{"ending":"exited","code":3,"fuel_used":9}"#);
    }
}
