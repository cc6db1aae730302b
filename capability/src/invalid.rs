//! A broken rule of the specification.

use thiserror::Error;

/// What is said breaks a rule.
///
/// Some limits are looked at while a payload is decoded. There serde hands errors on as text and as
/// nothing else, so the text begins with the rule, and `Invalid::of_text` finds it at the end.
#[derive(Debug, Clone, Error, PartialEq, Eq)]
#[error("{rule}: {reason}")]
pub struct Invalid {
    /// The rule's number in `docs/spec/statements.md`.
    pub rule: &'static str,
    /// What is wrong.
    pub reason: String,
}

/// The rules that decoders look at: of envelopes inside payloads, facts, requirements, jobs,
/// destinations, checkpoints, images and encryption keys.
const RULES_OF_DECODERS: [&str; 12] =
    ["S1", "S2", "S3", "S4", "S20", "S43", "S44", "S80", "S98", "S109", "S113", "S115"];

impl Invalid {
    /// Rule `rule` is broken because of `reason`.
    pub fn new(rule: &'static str, reason: impl Into<String>) -> Self {
        Self { rule, reason: reason.into() }
    }

    /// Breaks `rule` unless `holds`.
    pub fn unless(holds: bool, rule: &'static str, reason: &str) -> Result<(), Self> {
        if holds { Ok(()) } else { Err(Self::new(rule, reason)) }
    }

    /// What a decoder complained of by such an error, if it did. Serde's own messages begin with
    /// words of its own, so no peer can put a rule there.
    pub(crate) fn of_text(text: &str) -> Option<Self> {
        let (rule, reason) = text.split_once(": ")?;
        let rule = RULES_OF_DECODERS.into_iter().find(|known| *known == rule)?;
        Some(Self::new(rule, reason))
    }
}
