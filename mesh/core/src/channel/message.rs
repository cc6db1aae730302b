//! What the ends of a channel say to each other, each in one encrypted frame (rule C47).

use capability::{CborError, decode_cbor, encode_cbor};
use serde::{Deserialize, Serialize};

use super::FlowId;

/// Bytes of one message at most: a frame of 16 KiB without what the cipher adds.
const MAX_MESSAGE_BYTES: usize = (16 << 10) - 16;

/// Bytes of data in one message at most; what stands around them takes less than the rest.
pub const MAX_DATA_BYTES: usize = 15 << 10;

/// Bytes of a step's name at most.
pub const MAX_STEP_NAME: usize = 256;

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ChannelMessage {
    /// The sender begins a flow.
    Open {
        /// The sender's next number.
        flow: FlowId,
        /// What it is.
        carries: Carries,
    },
    /// Bytes of a flow of the sender's, which the receiver has granted.
    Data {
        /// Which flow.
        flow: FlowId,
        /// 1 to [`MAX_DATA_BYTES`].
        #[serde(with = "serde_bytes")]
        bytes: Vec<u8>,
    },
    /// Bytes of a flow of the sender's that will not come: they were taken too slowly.
    LeftOut {
        /// Which flow.
        flow: FlowId,
        /// How many.
        bytes: u64,
    },
    /// The sender's flow is complete.
    End {
        /// Which flow.
        flow: FlowId,
    },
    /// The sender has room for more of a flow of the receiver's.
    Grant {
        /// Which flow.
        flow: FlowId,
        /// For how many bytes more.
        bytes: u32,
    },
    /// The sender is there and has nothing to say.
    Here,
    /// The sender has nothing more to say, and why, for people. The channel is over.
    Bye(String),
}

/// What a flow carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Carries {
    /// What a step writes to its standard output and error, from its first byte.
    Log {
        /// The step's place in the job, from 0.
        step: u32,
        /// Its name; at most [`MAX_STEP_NAME`].
        name: String,
    },
}

impl ChannelMessage {
    /// What is encrypted.
    pub fn encode(&self) -> Vec<u8> {
        encode_cbor(self)
    }

    /// Reads what was decrypted.
    pub fn decode(bytes: &[u8]) -> Result<Self, CborError> {
        decode_cbor(bytes, MAX_MESSAGE_BYTES)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_data_fit_into_a_message() {
        let data = ChannelMessage::Data { flow: FlowId(u64::MAX), bytes: vec![0; MAX_DATA_BYTES] };
        assert_eq!(ChannelMessage::decode(&data.encode()).expect("our own"), data);
    }
}
