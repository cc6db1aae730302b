//! What the daemon and its prober in the sandbox say to each other: one JSON document in, and lines
//! of JSON out, each written as soon as it is known.

use serde::{Deserialize, Serialize};

/// Where the prober finds what it is asked.
pub const REQUEST_NAME: &str = "request.json";

/// Bytes of a request, which some 250 rows fill to a twentieth.
#[cfg_attr(not(unix), expect(dead_code, reason = "the prober is on Unix"))]
pub const MAX_REQUEST: u64 = 1 << 20;

/// Bytes of an answer: the longest known are those of programs that print their whole usage.
#[cfg_attr(not(unix), expect(dead_code, reason = "the prober is on Unix"))]
pub const MAX_ANSWER: usize = 8 << 10;

/// What is asked.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// In this order, as far as there are processors.
    pub queries: Vec<Query>,
}

/// One thing that may be there.
#[derive(Debug, Serialize, Deserialize)]
pub struct Query {
    /// What becomes of the answer.
    pub fact: String,
    /// The file that it depends on.
    pub sought: Sought,
    /// What is run for the answer; if empty, the file is the answer.
    pub command: Vec<String>,
    /// The file when it was asked last; as long as it is the same, nothing is run.
    pub known: Option<Stamp>,
}

/// A file, by what makes it count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sought {
    /// A program in `PATH`, or at this absolute path.
    Program(String),
    /// A module of pkg-config.
    Module(String),
    /// A file below an include directory.
    Header(String),
}

/// What tells a file from what it was before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// Its path without links, inside the sandbox.
    pub path: String,
    /// Nanoseconds of its last change since 1970.
    pub modified: i64,
    /// Bytes.
    pub size: u64,
}

/// A line of the prober.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Line {
    /// The system.
    Machine(Machine),
    /// What came of a query.
    Answer {
        /// Of which.
        fact: String,
        /// What.
        answer: Answer,
    },
}

/// The system as a job sees it. A text may be empty.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Release of the kernel.
    pub kernel: String,
    /// `ID` of os-release.
    pub distribution: String,
    /// `ID_LIKE` of os-release.
    pub family: Vec<String>,
    /// `VERSION_ID` of os-release.
    pub version: String,
    /// What the system calls itself.
    pub name: String,
    /// Logical processors.
    pub cores: u64,
    /// Bytes of main memory.
    pub memory: u64,
}

/// What came of a query.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answer {
    /// There is no such file.
    Absent,
    /// The file is the known one.
    Unchanged,
    /// It says this, at most [`MAX_ANSWER`] bytes.
    Said {
        /// The file.
        stamp: Stamp,
        /// Its words, or its beginning.
        text: String,
    },
    /// It ends without success, which it would do again.
    Failed {
        /// The file.
        stamp: Stamp,
        /// Why, for people.
        reason: String,
    },
    /// It did not come to its own end; another time it may.
    Unanswered {
        /// Why, for people.
        reason: String,
    },
}
