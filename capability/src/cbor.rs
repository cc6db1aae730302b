//! Deterministic CBOR (RFC 8949 section 4.2.1): one value, one encoding.
//!
//! Statements use a subset: integers, text, bytes, booleans, arrays and maps. No floats, no null,
//! no tags, no indefinite lengths. Determinism is checked on the generic value, so that keys unknown
//! to this version pass, and are kept.

use ciborium::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::invalid::Invalid;

/// Arrays and maps nest no deeper: the deepest statement uses 8 levels.
pub const MAX_DEPTH: usize = 16;

/// Bytes are not the deterministic encoding of what was expected.
#[derive(Debug, Error)]
pub enum CborError {
    /// Longer than its place allows.
    #[error("{size} bytes of CBOR where {limit} are allowed")]
    TooLarge {
        /// Bytes received.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not CBOR, or nested too deep.
    #[error("malformed CBOR")]
    Malformed,
    /// Trailing bytes, unsorted or repeated keys, or a number not in its shortest form.
    #[error("CBOR that is not deterministically encoded")]
    NotDeterministic,
    /// A float, null, tag, integer below -2^63 or other item that statements do not use.
    #[error("CBOR item of a type that statements do not use")]
    Forbidden,
    /// Sound CBOR, but not of the expected shape.
    #[error("CBOR of another shape: {0}")]
    Shape(String),
    /// Of the expected shape, but beyond a limit that is looked at while decoding.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl CborError {
    /// The rule of `docs/spec/statements.md` that is broken.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "S1",
            Self::Malformed | Self::NotDeterministic | Self::Forbidden => "S2",
            Self::Shape(_) => "S3",
            Self::Invalid(invalid) => invalid.rule,
        }
    }
}

/// Encodes `value`, with the keys of every map in bytewise order of their encodings.
///
/// # Panics
/// If `value` holds a float, null or a non-serialisable type: our own types never do.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    let mut value = Value::serialized(value).expect("our types serialise into CBOR values");
    sort(&mut value, MAX_DEPTH).expect("our types use the subset");
    to_bytes(&value)
}

/// Decodes `bytes` if they are the one deterministic encoding of a `T`, unknown keys aside.
pub fn decode<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, CborError> {
    shape(&decode_value(bytes, limit)?)
}

/// Decodes `bytes` to a generic value, under the same rules as [`decode`].
pub fn decode_value(bytes: &[u8], limit: usize) -> Result<Value, CborError> {
    if bytes.len() > limit {
        return Err(CborError::TooLarge { size: bytes.len(), limit });
    }
    // Each level of nesting costs ciborium one level of recursion, and the leaf one more.
    let mut value: Value = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH + 1)
        .map_err(|_| CborError::Malformed)?;
    sort(&mut value, MAX_DEPTH)?;
    if to_bytes(&value) == bytes { Ok(value) } else { Err(CborError::NotDeterministic) }
}

fn shape<T: DeserializeOwned>(value: &Value) -> Result<T, CborError> {
    value.deserialized().map_err(|ciborium::value::Error::Custom(text)| {
        Invalid::of_text(&text).map_or(CborError::Shape(text), CborError::Invalid)
    })
}

fn to_bytes(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("writing to memory does not fail");
    bytes
}

/// Sorts maps in place; refuses what is outside the subset, and repeated keys.
fn sort(value: &mut Value, depth: usize) -> Result<(), CborError> {
    match value {
        Value::Bytes(_) | Value::Text(_) | Value::Bool(_) => Ok(()),
        // CBOR has one bit more for negative integers than languages do.
        Value::Integer(number) if i128::from(*number) >= i128::from(i64::MIN) => Ok(()),
        Value::Array(items) => {
            let depth = depth.checked_sub(1).ok_or(CborError::Malformed)?;
            items.iter_mut().try_for_each(|item| sort(item, depth))
        }
        Value::Map(entries) => {
            let depth = depth.checked_sub(1).ok_or(CborError::Malformed)?;
            for (key, value) in entries.iter_mut() {
                sort(key, depth)?;
                sort(value, depth)?;
            }
            entries.sort_by_cached_key(|(key, _)| to_bytes(key));
            let repeated = entries.windows(2).any(|pair| pair[0].0 == pair[1].0);
            if repeated { Err(CborError::NotDeterministic) } else { Ok(()) }
        }
        _ => Err(CborError::Forbidden),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn refused(bytes: &[u8]) -> CborError {
        decode::<BTreeMap<String, u64>>(bytes, 1024).expect_err("these bytes must be refused")
    }

    #[test]
    fn keys_are_sorted_by_their_encoding() {
        let map = BTreeMap::from([("aa", 1), ("b", 2)]);
        assert_eq!(encode(&map), b"\xa2\x61b\x02\x62aa\x01");
    }

    #[test]
    fn only_the_one_encoding_is_taken() {
        let map: BTreeMap<String, u64> = decode(b"\xa1\x61a\x01", 1024).expect("deterministic");
        assert_eq!(map["a"], 1);

        for (what, bytes) in [
            ("trailing byte", &b"\xa1\x61a\x01\x00"[..]),
            ("long integer", b"\xa1\x61a\x18\x01"),
            ("indefinite map", b"\xbf\x61a\x01\xff"),
            ("repeated key", b"\xa2\x61a\x01\x61a\x02"),
            ("unsorted keys", b"\xa2\x61b\x01\x61a\x02"),
        ] {
            assert!(matches!(refused(bytes), CborError::NotDeterministic), "{what}");
        }
        assert!(matches!(refused(b"\xa1\x61a\xf6"), CborError::Forbidden), "null");
        assert!(matches!(refused(b"\xa1\x61a\xf9\x3c\x00"), CborError::Forbidden), "float");
        assert!(matches!(refused(b"\xc1\x01"), CborError::Forbidden), "tag");
        assert!(matches!(refused(b""), CborError::Malformed), "nothing");
        assert!(matches!(refused(&[0x81; 500]), CborError::Malformed), "deep nesting");
        assert!(matches!(refused(&[0; 1025]), CborError::TooLarge { .. }), "size");
    }
}
