//! What a peer wants at a broker's door that is no [`Ask`](crate::Ask) (docs/spec/door.md, C32).
//!
//! Over libp2p a peer proves once, when it connects, who it is; then a bundle or a blob needs no
//! signature of its own. At the door each request stands alone, so these carry a **pass**: a
//! request statement of which the body says what it lets through, and nothing else.

use capability::{BlobHash, CborError, StatementId, decode_cbor, encode_cbor};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::message::MAX_FRAME_BYTES;

/// Bundles that one answer to [`Pass::Collect`] has at most, and that one acknowledges.
pub const MAX_COLLECTED: usize = 256;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Pass {
    /// Wait for bundles that are handed over to me.
    Collect {
        /// Those that are durable with me now; at most [`MAX_COLLECTED`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        taken: Vec<StatementId>,
        /// Milliseconds to wait at most, if that is not the broker's to say: whoever only wants to
        /// say what is taken need not wait.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        wait_ms: Option<u64>,
    },
    /// Take custody of what this frame has.
    Custody {
        /// BLAKE3 of the frame.
        frame: BlobHash,
    },
    /// Give me a blob, or say how large it is.
    Get {
        /// Which.
        hash: BlobHash,
        /// The most bytes that I take.
        limit: u64,
    },
    /// Take a blob from me, or the next piece of it.
    Put {
        /// Which.
        hash: BlobHash,
        /// All of its bytes.
        size: u64,
    },
}

/// A pass is not what it should be.
#[derive(Debug, Error)]
pub enum PassError {
    /// Not the deterministic encoding of a pass.
    #[error("malformed pass")]
    Cbor(#[from] CborError),
    /// More acknowledgements than bundles can have been collected.
    #[error("over {MAX_COLLECTED} bundles are named as taken")]
    TooMany,
}

impl Pass {
    /// The body of the request.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// Reads the body of a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, PassError> {
        match decode_cbor(bytes, MAX_FRAME_BYTES)? {
            Self::Collect { taken, .. } if taken.len() > MAX_COLLECTED => Err(PassError::TooMany),
            pass => Ok(pass),
        }
    }
}
