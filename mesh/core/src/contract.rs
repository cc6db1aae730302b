//! What the inputs and actions of every core have in common.

use thiserror::Error;

/// Names a question that a core asked, until its answer; chosen by the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// Names something that waits for a core's answer; chosen by the shell. Each is answered once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplyId(pub u64);

/// A question got no sound answer: the peer was not reached, or too slow, or talked nonsense. Why,
/// for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct CallFailed(pub String);

/// A handover did not end with the peer's taking the bundle; it is tried again later.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HandoverFailed {
    /// The peer refuses; why, in its own words.
    #[error("the peer refused custody: {0}")]
    Refused(String),
    /// There is no sound answer; why, for people.
    #[error("{0}")]
    NoAnswer(String),
}
