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
/// Why, for people.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct HandoverFailed(pub String);

impl HandoverFailed {
    /// The peer refuses, in these words of its own.
    pub fn refused(why: &str) -> Self {
        Self(format!("the peer refused custody: {why}"))
    }
}
