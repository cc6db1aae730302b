//! A decoder for fields of flattened structures.
//!
//! Serde hands such fields over by way of a buffer that takes a text for bytes. On the wire a value has
//! one form (S3), or readers in other languages would differ from this one.

use std::fmt;

use serde::Deserializer;
use serde::de::{Error, Visitor};

use crate::key::StatementId;

/// An id from bytes and from nothing else.
pub fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<StatementId, D::Error> {
    struct Bytes;

    impl Visitor<'_> for Bytes {
        type Value = StatementId;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("32 bytes of a statement id")
        }

        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<StatementId, E> {
            let id = bytes.try_into().map(StatementId::from_bytes);
            id.map_err(|_| E::invalid_length(bytes.len(), &self))
        }
    }

    deserializer.deserialize_bytes(Bytes)
}
