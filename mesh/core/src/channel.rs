//! Channels between the adapter of a project and the volunteer that works on one of its tasks, over one broker or
//! several: what is said to open one, and what passes on it (docs/spec/channels.md).
//!
//! Brokers see headers, sizes and times. What passes is encrypted between the ends, whose keys the lease and the offer
//! name; the cipher is the shell's affair, since it draws randomness.

mod flows;
mod key;
mod message;

pub use flows::{FlowId, FlowNews, Flows, MAX_FLOWS, Violation, WINDOW};
pub use key::{ChannelKey, ChannelKeyError};
pub use message::{Carries, ChannelMessage, MAX_DATA_BYTES, MAX_STEP_NAME};

use capability::statements::{Lease, TaskId};
use capability::{Envelope, Verified, Verifier, decode_cbor, encode_cbor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::MessageError;

/// Bytes of a header at most: a lease, one of a batch of thousands, and some words.
const MAX_HEADER_BYTES: usize = 4 << 10;

/// What the opener of a channel says (rule C45).
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelOpen {
    /// An adapter to its home broker: to whoever works on this task.
    Task(TaskId),
    /// A broker to the next one, and to the volunteer in the end: to the holder of this lease.
    Lease {
        /// The lease, which the home has granted.
        lease: Verified<Lease>,
        /// Brokers that the question may still cross.
        hops: u8,
    },
}

/// What is answered to a [`ChannelOpen`].
#[derive(Debug, Clone, PartialEq)]
pub enum ChannelAnswer {
    /// The channel leads to the holder of this lease, who is ready to prove it.
    Open(Verified<Lease>),
    /// No, and why.
    Refused(ChannelRefusal),
}

/// Why there is no channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelRefusal {
    /// The task waits, has ended, or its package is still on the way.
    #[error("nobody works on that task now")]
    Nobody,
    /// The broker knows no such offer of whoever asks, or is not its home.
    #[error("the home broker does not know that offer as one of this adapter's")]
    NotYours,
    /// The volunteer works, and is not connected to a broker that this one knows of.
    #[error("there is no way to the volunteer at present")]
    NoRoute,
    /// The owner of the machine does not want to be watched live.
    #[error("the volunteer's owner does not allow live channels")]
    Declined,
    /// The operator of a broker on the way does not relay channels, or its version cannot.
    #[error("a broker on the way does not relay channels")]
    NotRelayed,
    /// As many channels as there may be are open, or were opened lately.
    #[error("too many channels are open")]
    Full,
    /// The question makes no sense.
    #[error("the question for a channel makes no sense")]
    Invalid,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireOpen {
    Task(TaskId),
    Lease { lease: Envelope, hops: u8 },
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WireAnswer {
    Open(Envelope),
    Refused(ChannelRefusal),
}

impl ChannelOpen {
    /// The header.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&match self {
            Self::Task(task) => WireOpen::Task(*task),
            Self::Lease { lease, hops } => {
                WireOpen::Lease { lease: lease.envelope().clone(), hops: *hops }
            }
        })
    }

    /// Reads a header and checks the lease in it.
    pub fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, MessageError> {
        Ok(match decode_cbor(bytes, MAX_HEADER_BYTES)? {
            WireOpen::Task(task) => Self::Task(task),
            WireOpen::Lease { lease, hops } => {
                Self::Lease { lease: Verified::check(&lease, verifier)?, hops }
            }
        })
    }
}

impl ChannelAnswer {
    /// The header.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(&match self {
            Self::Open(lease) => WireAnswer::Open(lease.envelope().clone()),
            Self::Refused(refusal) => WireAnswer::Refused(*refusal),
        })
    }

    /// Reads a header and checks the lease in it.
    pub fn decode(bytes: &[u8], verifier: &dyn Verifier) -> Result<Self, MessageError> {
        Ok(match decode_cbor(bytes, MAX_HEADER_BYTES)? {
            WireAnswer::Open(lease) => Self::Open(Verified::check(&lease, verifier)?),
            WireAnswer::Refused(refusal) => Self::Refused(refusal),
        })
    }
}
