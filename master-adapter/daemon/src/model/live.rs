//! What is told of a task that is watched.

use serde::{Deserialize, Serialize};

/// `GET …/log?follow=true`: one server-sent event. The last one of a stream is `settled`, `over` or `lost`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LiveEvent {
    /// A step has begun.
    Step {
        /// Its place in the job, from 0.
        step: u32,
        /// Its name.
        name: String,
    },
    /// A step has written something.
    Output {
        /// Which.
        step: u32,
        /// What; bytes that are no UTF-8 are replaced. May be empty.
        text: String,
    },
    /// Something of a step is missing here: it was written faster than it was read. The result has it.
    LeftOut {
        /// Of which step.
        step: u32,
        /// How many bytes.
        bytes: u64,
    },
    /// The channel to the volunteer broke, and is opened again.
    Broke {
        /// Why.
        reason: String,
    },
    /// Another volunteer works on the task now, from its beginning.
    Anew,
    /// The task has a result, which has the whole log.
    Settled,
    /// The volunteer has nothing more to tell.
    Over {
        /// Why, in its words.
        reason: String,
    },
    /// The channel could not be opened again.
    Lost {
        /// Why.
        reason: String,
    },
}
