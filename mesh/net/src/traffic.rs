//! What crosses the network, above the encryption of each hop, at TRACE: for whoever debugs a protocol, and for the test
//! that brokers relay nothing that they can read. `--log info,mesh_net::traffic=trace` shows it, as hexadecimal digits:
//! frames of requests and their answers, gossip, channels, and blobs with their headers, piece by piece.

use std::fmt;

/// Tells of bytes that a peer has sent.
pub(crate) fn came(bytes: &[u8]) {
    tracing::trace!(bytes = %Hex(bytes), "came");
}

/// Tells of bytes that go to a peer.
pub(crate) fn went(bytes: &[u8]) {
    tracing::trace!(bytes = %Hex(bytes), "went");
}

struct Hex<'a>(&'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}
